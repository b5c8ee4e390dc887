//! The rules of STYLE.md and ARCHITECTURE.md that no lint can check, over the files of this tree. A failure prints the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 6] = [".git", ".venv", ".hypothesis", "__pycache__", "node_modules", "target"];

/// Which crate may use which, in programs (design.md, section 9). No other use is allowed.
const ARROWS: [(&str, &[&str]); 12] = [
    ("crds", &[]),
    ("plan", &[]),
    ("lua", &[]),
    ("planner", &["crds", "lua", "plan"]),
    ("engine", &["lua", "plan"]),
    ("gleamflow", &["crds", "engine", "plan", "planner", "proto"]),
    ("proto", &["plan"]),
    ("operator", &["crds", "plan", "planner", "proto"]),
    ("executor", &["engine", "plan", "proto"]),
    ("oracle", &["crds", "plan", "planner"]),
    ("hostile", &["crds", "engine", "executor", "lua", "operator", "plan", "planner", "proto"]),
    ("e2e", &[]),
];

/// What tests may use beyond that: the naive interpreter is there for nothing else.
const TEST_ARROWS: [(&str, &[&str]); 6] = [
    ("gleamflow", &["oracle"]),
    ("engine", &["crds", "oracle", "planner"]),
    ("planner", &["oracle"]),
    ("operator", &["oracle"]),
    // The whole of a cluster but for the cluster: the master's machine against the engine's worker.
    ("executor", &["crds", "operator", "oracle", "planner"]),
    ("e2e", &["crds"]),
];

const LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the workspace").to_owned()
}

/// All files of the tree, relative to its root, with their bytes.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let (root, mut found, mut folders) = (root(), Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().into_string().unwrap();
            if kind.is_dir() && !FOREIGN.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file() && name != ".git" {
                found.push((path.strip_prefix(&root).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "rs"));
    rust.map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect()
}

/// Fails with the rule and everything that breaks it.
fn hold(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

/// Only test code: a `tests` folder, or a file `tests.rs`.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let broken = silent.map(|(path, _)| path.display().to_string()).collect();
    hold("the first line of each Rust file is `//! ` and what the file is", broken);
}

#[test]
fn files_stay_short() {
    let code = |text: &str| text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    let long = sources().into_iter().filter(|(path, _)| !is_test(path)).map(|(path, text)| (path, code(&text)));
    let broken = long.filter(|(_, lines)| *lines > LINES).map(|(path, lines)| format!("{}: {lines}", path.display())).collect();
    hold(&format!("a file has at most {LINES} lines before its tests: split it by noun"), broken);
}

#[test]
fn modules_are_foo_rs_beside_foo() {
    let broken = sources().into_iter().filter(|(path, _)| path.ends_with("mod.rs") && !is_test(path));
    hold("a module is `foo.rs` beside `foo/`, never `foo/mod.rs`", broken.map(|(path, _)| path.display().to_string()).collect());
}

#[test]
fn what_is_left_to_do_has_an_issue() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            // Written apart, so that this line is not one of them.
            for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")] {
                let open = line.find(mark).is_some_and(|at| !has_issue(&line[at + mark.len()..]));
                if open {
                    broken.push(format!("{}:{}", path.display(), number + 1));
                }
            }
        }
    }
    hold("a note of work left carries its issue's number: `(#12)` right behind the word", broken);
}

/// Whether the text goes on with `(#12)`.
fn has_issue(behind: &str) -> bool {
    let inside = behind.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    inside.is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[test]
fn lua_is_run_in_one_place() {
    let inside = |path: &Path| path.to_string_lossy().starts_with("engine/src/function") || path.starts_with("oracle");
    let uses = |text: &str| text.contains("mlua::") || text.contains("use mlua");
    let broken = sources().into_iter().filter(|(path, text)| !inside(path) && uses(text));
    hold(
        "`mlua` is used in engine/src/function.rs and the files below it alone (and by the oracle, which is for tests)",
        broken.map(|(path, _)| path.display().to_string()).filter(|path| path != "cli/tests/tidy.rs").collect(),
    );
}

#[test]
fn crates_use_each_other_as_drawn() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let in_tests: BTreeMap<&str, &[&str]> = TEST_ARROWS.into_iter().collect();
    let mut broken = Vec::new();
    for (user, used, kind) in uses() {
        let drawn = allowed.get(user.as_str()).is_some_and(|list| list.contains(&used.as_str()));
        let for_tests = kind == "dev" && in_tests.get(user.as_str()).is_some_and(|list| list.contains(&used.as_str()));
        if !drawn && !for_tests {
            broken.push(format!("{user} -> {used} ({kind})"));
        }
    }
    hold("crates use each other only along the arrows of ARCHITECTURE.md", broken);
}

#[test]
fn each_crate_is_drawn() {
    let drawn: BTreeSet<String> = ARROWS.into_iter().map(|(name, _)| name.to_owned()).collect();
    let members: BTreeSet<String> = packages().into_iter().map(|package| name_of(&package)).collect();
    assert_eq!(members, drawn, "the arrows (cli/tests/tidy.rs) name every crate of the workspace");
}

/// What one package of ours uses of ours: (user, used, `normal`, `dev` or `build`).
fn uses() -> Vec<(String, String, String)> {
    let ours: BTreeSet<String> = packages().iter().map(name_of).collect();
    let mut found = Vec::new();
    for package in packages() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
            found.push((name_of(&package), name_of(dependency), kind));
        }
    }
    found.retain(|(_, used, _)| ours.contains(used));
    found
}

fn name_of(object: &serde_json::Value) -> String {
    object["name"].as_str().unwrap().to_owned()
}

fn packages() -> Vec<serde_json::Value> {
    let mut cargo = Command::new(env!("CARGO"));
    let output =
        cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn nothing_names_one_machine() {
    // Written apart, so that this file does not name them either.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("arti", "factory"),
        concat!("pypi", ".org"),
        concat!("deb.deb", "ian.org"),
    ];
    let mut broken = Vec::new();
    for (path, bytes) in files() {
        for place in places {
            if bytes.windows(place.len()).any(|window| window == place.as_bytes()) {
                broken.push(format!("{}: {place}", path.display()));
            }
        }
    }
    hold("no file names a path of one machine or the address of a registry", broken);
}

/// The lines of fenced blocks in the README's section of that heading.
fn commands(heading: &str) -> Vec<String> {
    let readme = read("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with(heading)).expect("the README has the section");
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.flat_map(|block| block.lines().skip(1)).map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let commands = commands("Set up");
    assert_eq!(commands.len(), 2, "the README sets up with exactly two commands, found {commands:?}");
    let script = read(".ci/run");
    let called = script.lines().any(|line| line.trim() == commands[1]);
    assert!(called, ".ci/run calls the README's test command: {}", commands[1]);
}

#[test]
fn the_first_command_runs_a_flow_that_is_there() {
    let commands = commands("Set up");
    let file = commands[0].strip_prefix("cargo run --release -- run ").expect("the README's first command runs a flow");
    assert!(root().join(file).is_file(), "the README's first command runs a flow file of this tree: {file}");
}

#[test]
fn each_example_is_whole_and_listed() {
    let listed = read("README.md");
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        for part in ["flow.yaml", "README.md", "expected"] {
            if !entry.path().join(part).exists() {
                broken.push(format!("examples/{name}: no {part}"));
            }
        }
        if !listed.contains(&format!("(examples/{name}/)")) {
            broken.push(format!("examples/{name}: not in README.md"));
        }
    }
    hold("each folder of examples/ has flow.yaml, README.md and what is expected, and a line in the README", broken);
}

/// No docker builds them in the tests: what they name is there at least.
#[test]
fn dockerfiles_name_what_is_there() {
    let packages = packages();
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().unwrap());
    let programs: BTreeSet<String> = targets.filter(|target| target["kind"][0] == "bin").map(name_of).collect();
    let mut broken = Vec::new();
    for file in ["operator/Dockerfile", "executor-image/Dockerfile"] {
        let text = read(file);
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let built = words.windows(2).filter(|pair| pair[0] == "--bin").map(|pair| pair[1]);
            broken.extend(built.filter(|name| !programs.contains(*name)).map(|name| format!("{file} builds {name}")));
            // Without it cargo knows the programs of the default members alone.
            if words.contains(&"--bin") && !words.contains(&"--workspace") {
                broken.push(format!("{file} builds without --workspace"));
            }
            if let ["COPY", sources @ .., _] = words.as_slice()
                && !line.contains("--from=")
            {
                let missing = sources.iter().filter(|source| !root().join(source).exists());
                broken.extend(missing.map(|source| format!("{file} copies {source}")));
            }
        }
    }
    hold("Dockerfiles build programs and copy files that are there", broken);
}
