//! An executor as its pod would start it, with directories of the test's own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::operator::Operator;

/// Longer than anything takes on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Pod {
    process: Child,
    root: tempfile::TempDir,
    port: u16,
}

impl Pod {
    pub(crate) fn start(operator: &Operator, slots: u32) -> Pod {
        Pod::start_with(operator, slots, &[])
    }

    pub(crate) fn start_with(operator: &Operator, slots: u32, variables: &[(&str, &str)]) -> Pod {
        Pod::start_program(operator, slots, variables, Some(fake_slot()))
    }

    /// With slots that run tasks, of so many bytes each.
    pub(crate) fn start_real(operator: &Operator, slots: u32, memory: u64) -> Pod {
        Pod::start_program(operator, slots, &[("GLEAMFLOW_SLOT_MEMORY", &memory.to_string())], None)
    }

    fn start_program(operator: &Operator, slots: u32, variables: &[(&str, &str)], slot: Option<PathBuf>) -> Pod {
        let root = tempfile::tempdir().unwrap();
        let papers = operator.papers("abc-1");
        let files = [("ca.crt", papers.authority), ("tls.crt", papers.certificate), ("tls.key", papers.key)];
        for (name, content) in files.into_iter().chain([("token", "the-token\n".to_owned())]) {
            std::fs::write(root.path().join(name), content).unwrap();
        }
        std::fs::create_dir(root.path().join("scratch")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gleamflow-executor"));
        command.arg("executor").arg("--credentials").arg(root.path()).arg("--scratch").arg(root.path().join("scratch"));
        command.arg("--data").arg(root.path()).arg("--listen").arg(format!("127.0.0.1:{port}"));
        if let Some(slot) = slot {
            command.arg("--slot-program").arg(slot);
        }
        command.env("GLEAMFLOW_OPERATOR", operator.address()).env("GLEAMFLOW_RUN", "abc-1").env("POD_NAME", "pod-1");
        command
            .env("NODE_NAME", "node-1")
            .env("GLEAMFLOW_SLOTS", slots.to_string())
            .env("GLEAMFLOW_SLOT_MEMORY", (64 << 20).to_string());
        command.envs(variables.iter().copied());
        let log = std::fs::File::create(root.path().join("log")).unwrap();
        let process = command.stdin(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap();
        Pod { process, root, port }
    }

    pub(crate) fn terminate(&self) {
        let pid = self.process.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    }

    pub(crate) async fn exit(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("the executor ends");
        status.unwrap().code().expect("it exits")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap()
    }

    /// The log once it holds these words.
    pub(crate) async fn log_when(&self, words: &str) -> String {
        assert!(until(|| self.log().contains(words)).await, "{}", self.log());
        self.log()
    }

    /// A file of the flow's volume.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn scratch_is_empty(&self) -> bool {
        std::fs::read_dir(self.root.path().join("scratch")).unwrap().next().is_none()
    }

    /// Whether a process below this executor has this command line.
    pub(crate) fn has(&self, command: &str) -> bool {
        let own = self.process.id().expect("it runs");
        let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes.filter(|path| command_line(path) == command).any(|path| is_below(path, own))
    }

    pub(crate) async fn wait_until_there(&self, name: &str) -> bool {
        until(|| self.data(name).exists()).await
    }

    /// Waits until a slot is at work on the attempt of this number.
    pub(crate) async fn wait_until_begun(&self, number: u32) {
        let mark = format!("begun-{number}");
        let slots = || std::fs::read_dir(self.root.path().join("scratch")).unwrap().flatten();
        let begun = until(|| slots().any(|slot| slot.path().join(&mark).exists())).await;
        assert!(begun, "attempt {number} is not begun: {}", self.log());
    }

    pub(crate) async fn wait_until_gone(&self, command: &str) -> bool {
        until(|| !self.has(command)).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Looks again and again; false if it never comes true.
async fn until(mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

fn command_line(process: &Path) -> String {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ")
}

/// Whether a process descends from another one.
fn is_below(mut process: PathBuf, ancestor: u32) -> bool {
    loop {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let Some(parent) = status.lines().find_map(|line| line.strip_prefix("PPid:")) else { return false };
        match parent.trim().parse::<u32>() {
            Ok(parent) if parent == ancestor => return true,
            Ok(1..) => process = Path::new("/proc").join(parent.trim()),
            Ok(0) | Err(_) => return false,
        }
    }
}

/// The program beside the tests that speaks a slot's protocol.
fn fake_slot() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).expect("tests are in a directory of the build").join("examples/fake-slot");
    assert!(path.exists(), "{path:?} is not built: run `cargo test -p executor` without naming a test target");
    path
}
