//! Every folder of `examples/` gives what its `expected/` says: with 1, 2 and 7 partitions, and in little memory.
//!
//! `expected/stdout.txt` is what standard output says, `stdout.sorted.txt` the same where its order is free;
//! `expected/out/...` are directories of results with one file of all rows, `rows.sorted.EXT` where the order is free.

use std::path::{Path, PathBuf};

use crate::flow::{binary, finish, names};

/// Arguments of each run of an example.
const RUNS: [&[&str]; 5] = [
    &["--partitions", "1"],
    &["--partitions", "2"],
    &["--partitions", "7"],
    &["--memory", "64Mi"],
    &["--memory", "1Mi", "--partitions", "3", "--threads", "3"],
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The examples' names.
fn examples() -> Vec<String> {
    names(&folder()).into_iter().filter(|name| folder().join(name).is_dir()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for name in names(from) {
        if from.join(&name).is_dir() {
            copy(&from.join(&name), &to.join(&name));
        } else {
            std::fs::copy(from.join(&name), to.join(&name)).expect("a copied file");
        }
    }
}

/// Results (files of lines): where, and what they must say.
fn expected(folder: &Path, below: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for name in names(&folder.join(below)) {
        let path = below.join(name);
        if folder.join(&path).is_dir() {
            found.extend(expected(folder, &path));
        } else {
            let text = std::fs::read_to_string(folder.join(&path)).expect("a text file");
            found.push((path, text));
        }
    }
    found
}

fn data_of(folder: &Path) -> String {
    let files = names(folder).into_iter().filter(|name| !name.starts_with(['.', '_']));
    files.map(|name| std::fs::read_to_string(folder.join(name)).expect("a text file")).collect()
}

fn check(example: &str, arguments: &[&str]) {
    let copied = tempfile::tempdir().expect("a temporary directory");
    copy(&folder().join(example), copied.path());
    let mut command = binary();
    command.arg("run").arg(copied.path().join("flow.yaml")).args(arguments);
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{example} {arguments:?}; stderr:\n{}", ran.stderr);
    let results = expected(&copied.path().join("expected"), Path::new(""));
    assert!(!results.is_empty(), "{example} says nothing of what it gives");
    for (path, wanted) in results {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let found = if name.starts_with("stdout.") {
            String::from_utf8_lossy(&ran.stdout).into_owned()
        } else {
            data_of(&copied.path().join(path.parent().expect("a parent")))
        };
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if name.contains(".sorted.") {
                lines.sort();
            }
            lines
        };
        assert_eq!(lines(&found), lines(&wanted), "{example} {arguments:?}: {path:?}");
    }
}

#[test]
fn every_example_gives_what_it_promises_however_it_is_run() {
    let examples = examples();
    assert!(examples.len() >= 12, "only {examples:?}");
    for example in examples {
        for arguments in RUNS {
            check(&example, arguments);
        }
    }
}

#[test]
fn every_example_is_valid_has_a_plan_and_a_readme() {
    for example in examples() {
        let file = folder().join(&example).join("flow.yaml");
        let mut validate = binary();
        validate.args(["validate", "--strict"]).arg(&file);
        finish(validate).expect(0, &[]);
        for format in ["text", "json", "dot", "mermaid"] {
            let mut plan = binary();
            plan.arg("plan").arg(&file).args(["-o", format]);
            let ran = finish(plan);
            ran.expect(0, &[]);
            assert!(!ran.stdout.is_empty(), "{example} has no plan as {format}");
        }
        let readme = std::fs::read_to_string(folder().join(&example).join("README.md")).expect("a README.md");
        assert!(readme.contains("gleamflow run"), "{example}/README.md says how to run it");
    }
}
