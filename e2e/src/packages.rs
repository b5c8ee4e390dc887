//! Debian packages that a private cluster needs on the host.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command;

/// A file that is there when a package is, and the package.
const NEEDED: [(&str, &str); 8] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/host-local", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/sbin/sysctl", "procps"),
];

/// Installs what is missing.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&str> = NEEDED.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("e2e: installing {}", missing.join(" "));
    if apt(&missing).is_err() {
        // The package lists may be missing or old.
        command::run(Command::new("apt-get").args(["update", "-qq"]))?;
        apt(&missing)?;
    }
    Ok(())
}

/// Debian moves files between /sbin and /usr/sbin, /bin and /usr/bin, from release to release.
fn is_there(file: &str) -> bool {
    let name = Path::new(file).file_name().unwrap_or_default();
    Path::new(file).exists()
        || ["/sbin", "/bin", "/usr/bin", "/usr/sbin"].iter().any(|folder| Path::new(folder).join(name).exists())
}

fn apt(packages: &[&str]) -> Result<String> {
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    // The services that some of them start are of no use here: /usr/sbin/policy-rc.d would be the host's, RUNLEVEL is ours alone.
    command::run(install.env("RUNLEVEL", "1"))
}
