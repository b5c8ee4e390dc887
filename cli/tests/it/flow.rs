//! A flow in a directory of its own, and runs of the binary over it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What a run must not depend on.
pub(crate) const PARTITIONS: [&str; 3] = ["1", "2", "7"];

/// What a run must not depend on, with little memory in one of them.
const RUNS: [&[&str]; 3] = [&["--partitions", "1"], &["--partitions", "2"], &["--partitions", "7", "--memory", "64Mi"]];

/// A flow file and its inputs, in a temporary directory.
#[derive(Debug)]
pub(crate) struct Flow {
    folder: TempDir,
}

/// What a run of the binary did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The binary under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gleamflow"))
}

/// Runs a prepared command to its end.
pub(crate) fn finish(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("the binary starts");
    Ran { code: status.code().unwrap_or(-1), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

impl Ran {
    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn sorted_lines(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }

    /// The object of `--report json`: the last line of standard error.
    #[track_caller]
    pub(crate) fn report(&self) -> serde_json::Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}; stderr:\n{}", self.stderr))
    }

    /// Checks the exit code and that standard error says all of this.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, says: &[&str]) -> &Ran {
        assert_eq!(self.code, code, "exit code; stderr:\n{}", self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "stderr should say {text:?}:\n{}", self.stderr);
        }
        self
    }
}

impl Flow {
    /// Steps named `s1`, `s2`, ...: each text is the operator, and on further lines what stands beside it.
    pub(crate) fn of(steps: &[&str]) -> Flow {
        Flow::with_spec("", steps)
    }

    /// The same with more fields of `spec` (lines, not indented).
    pub(crate) fn with_spec(spec: &str, steps: &[&str]) -> Flow {
        let mut text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: test}\nspec:\n".to_owned();
        for line in spec.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str("  steps:\n");
        for (at, step) in steps.iter().enumerate() {
            text.push_str(&format!("    - name: s{}\n", at + 1));
            for line in step.lines() {
                text.push_str(&format!("      {line}\n"));
            }
        }
        Flow::text(&text)
    }

    /// A flow file with exactly this text.
    pub(crate) fn text(text: &str) -> Flow {
        let flow = Flow { folder: tempfile::tempdir().expect("a temporary directory") };
        std::fs::create_dir(flow.scratch()).expect("a scratch directory");
        flow.file("flow.yaml", text)
    }

    /// With a file beside the flow.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Flow {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Where the runs put temporary files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path(".scratch")
    }

    /// A command over the flow file: `run`, `validate`, ...
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.arg(name).arg(self.path("flow.yaml")).args(arguments).env("TMPDIR", self.scratch());
        // Not beside the flow: relative paths of the file must not need the working directory.
        command.current_dir("/");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command("run", arguments))
    }

    pub(crate) fn validate(&self) -> Ran {
        finish(self.command("validate", &[]))
    }

    /// Names of what lies in the flow's directory, without its scratch directory.
    pub(crate) fn entries(&self) -> Vec<String> {
        let mut found = names(self.folder.path());
        found.retain(|name| name != ".scratch");
        found
    }

    /// The bytes of all data files of an output directory, one file after the other.
    #[track_caller]
    pub(crate) fn output(&self, path: &str) -> String {
        let folder = self.path(path);
        assert!(folder.is_dir(), "{path} should be there; there is {:?}", self.entries());
        let files = names(&folder).into_iter().filter(|name| !name.starts_with(['.', '_']));
        files.map(|name| std::fs::read_to_string(folder.join(name)).expect("a text file")).collect()
    }

    /// Its lines, sorted.
    #[track_caller]
    pub(crate) fn output_lines(&self, path: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.output(path).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Runs with 1, 2 and 7 partitions, in 64 MiB; each must print these lines, in any order.
    #[track_caller]
    pub(crate) fn prints(&self, expected: &[&str]) {
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        for arguments in RUNS {
            let ran = self.run(arguments);
            assert_eq!(ran.code, 0, "with {arguments:?}; stderr:\n{}", ran.stderr);
            assert_eq!(ran.sorted_lines(), expected, "with {arguments:?}");
        }
        self.is_clean();
    }

    /// Runs with 1, 2 and 7 partitions, in 64 MiB; each must print these lines, in this order.
    #[track_caller]
    pub(crate) fn prints_in_order(&self, expected: &[&str]) {
        for arguments in RUNS {
            let ran = self.run(arguments);
            assert_eq!(ran.code, 0, "with {arguments:?}; stderr:\n{}", ran.stderr);
            assert_eq!(ran.lines(), expected, "with {arguments:?}");
        }
        self.is_clean();
    }

    /// Runs with 1, 2 and 7 partitions, in 64 MiB; each must fail (exit code 1), say all of this, and leave nothing behind.
    #[track_caller]
    pub(crate) fn fails(&self, says: &[&str]) {
        let before = self.entries();
        for arguments in RUNS {
            self.run(arguments).expect(1, says);
            assert_eq!(self.entries(), before, "a failed flow leaves nothing");
        }
        self.is_clean();
    }

    /// `validate` and `run` must refuse it (exit code 2) and say all of this.
    #[track_caller]
    pub(crate) fn is_refused(&self, says: &[&str]) {
        self.validate().expect(2, says);
        self.run(&[]).expect(2, says);
        self.is_clean();
    }

    /// No temporary file is left.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        let left = names(&self.scratch());
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }
}

/// A failed test shows the flow that it was about.
impl Drop for Flow {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = std::fs::read(self.path("flow.yaml")).unwrap_or_default();
            eprintln!("the flow was:\n{}", String::from_utf8_lossy(&text));
        }
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A source of rows in YAML's flow style, a step, and standard output.
pub(crate) fn one_step(rows: &str, step: &str) -> Flow {
    Flow::of(&[&format!("read: {{inline: {{rows: {rows}}}}}"), step, "write: {stdout: {}}"])
}
