//! Private namespaces: this program runs itself again inside them, as all that there is; when it ends, the kernel ends and unmounts
//! everything. Outside remain a folder and empty control groups, which are removed then, or by the next start.
//!
//! ```text
//! outside: lock, folder ─► setpriv (dies with us) ─► unshare ─► sh (first process: collects the dead) ─► inside: this program
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Prepared, cgroup, command, traces, workspace};

/// Tells the program inside which run it belongs to.
const INSIDE: &str = "E2E_INSIDE";
/// Where the run's folder is inside: short, as the names of sockets may not be long.
pub(crate) const HOME: &str = "/run/cluster";
const WATCH: Duration = Duration::from_millis(20);

/// The run that this program is inside of.
#[must_use]
pub fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs this program again, with its arguments, inside of new namespaces, and cleans up behind it.
pub fn enter(prepared: &Prepared) -> Result<ExitCode> {
    remove_remains()?;
    let run = Run::begin()?;
    let name = run.name.clone();
    let before = traces::look(&name, INSIDE);
    let status = run.watch(prepared);
    let cleaned = run.end(status.as_ref().is_ok_and(ExitStatus::success));
    let left: Vec<String> = traces::look(&name, INSIDE).difference(&before).cloned().collect();
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    cleaned?;
    ensure!(left.is_empty(), "the cluster has left on this machine: {left:#?}");
    Ok(ExitCode::from(code))
}

/// One stay inside: its folder, locked while it lasts.
struct Run {
    name: String,
    folder: PathBuf,
    lock: File,
}

impl Run {
    fn begin() -> Result<Self> {
        let name = format!("gleamflow-e2e-{}", std::process::id());
        let folder = runs().join(&name);
        fs::create_dir_all(folder.join("logs")).with_context(|| format!("failed to make {}", folder.display()))?;
        let lock = lock_file(&folder)?;
        lock.lock().with_context(|| format!("failed to lock {}", folder.display()))?;
        Ok(Self { name, folder, lock })
    }

    /// Runs the program inside to its end; an interrupt ends it at once.
    fn watch(&self, prepared: &Prepared) -> Result<ExitStatus> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("failed to watch for interrupts")?;
        }
        let mut child = self.command(prepared)?.spawn().context("failed to start unshare")?;
        loop {
            if let Some(status) = child.try_wait().context("failed to wait for unshare")? {
                return Ok(status);
            }
            // An interrupt of the terminal reaches the program inside too, which may want it (a shell does).
            if interrupted.load(Ordering::Relaxed) && !is_terminal() {
                child.kill().context("failed to end unshare")?;
            }
            thread::sleep(WATCH);
        }
    }

    fn command(&self, prepared: &Prepared) -> Result<Command> {
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["sh", "-c", "\"$@\"; exit $?", "sh"]).arg(program).args(std::env::args_os().skip(1));
        let (variable, value) = prepared.carry()?;
        command.env(INSIDE, &self.name).env(variable, value);
        Ok(command)
    }

    /// Removes what is left; the logs of a failure are kept in `target/e2e/logs`.
    fn end(self, success: bool) -> Result<()> {
        if !success {
            keep_logs(&self.folder)?;
        }
        clean(&self.folder, &self.name)?;
        drop(self.lock);
        Ok(())
    }
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin())
}

fn runs() -> PathBuf {
    workspace::kept().join("run")
}

/// A lock is beside the folder that it guards, so that the folder can go first.
fn lock_file(folder: &Path) -> Result<File> {
    let path = folder.with_extension("lock");
    File::create(&path).with_context(|| format!("failed to make {}", path.display()))
}

fn keep_logs(folder: &Path) -> Result<()> {
    let kept = workspace::kept().join("logs");
    if kept.exists() {
        fs::remove_dir_all(&kept).with_context(|| format!("failed to remove {}", kept.display()))?;
    }
    fs::rename(folder.join("logs"), &kept).with_context(|| format!("failed to move the logs to {}", kept.display()))?;
    eprintln!("e2e: the cluster's logs are in {}", kept.display());
    Ok(())
}

fn clean(folder: &Path, name: &str) -> Result<()> {
    cgroup::remove(name)?;
    fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    let lock = folder.with_extension("lock");
    fs::remove_file(&lock).with_context(|| format!("failed to remove {}", lock.display()))
}

/// Removes what runs left that were killed before they could.
fn remove_remains() -> Result<()> {
    let Ok(entries) = fs::read_dir(runs()) else { return Ok(()) };
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let abandoned = lock_file(&folder)?.try_lock().is_ok();
        if abandoned {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            clean(&folder, &name)?;
        }
    }
    Ok(())
}

/// Makes the inside a place of its own: nothing that programs write to fixed places reaches the host.
pub(crate) fn furnish(name: &str) -> Result<()> {
    for folder in ["/run", "/var/log", "/var/lib"] {
        mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder])?;
    }
    for folder in [HOME, "/run/netns", "/var/lib/cni", "/var/lib/kubelet"] {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {folder}"))?;
    }
    mount(&["--bind", &runs().join(name).to_string_lossy(), HOME])?;
    // What a kubelet mounts for a pod, in its own mounts, its containerd has to see.
    mount(&["--make-shared", HOME])?;
    // `ip netns` wants a mount point that it may share.
    mount(&["--bind", "/run/netns", "/run/netns"])?;
    mount(&["--make-shared", "/run/netns"])
}

fn mount(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("mount").args(arguments)).map(drop)
}
