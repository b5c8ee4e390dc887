//! Somebody who uses the cluster: kubectl, helm and gleamflow are on their path and know it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::Cluster;

/// What a user has; gone when dropped.
#[derive(Debug)]
pub struct User {
    programs: TempDir,
    kubeconfig: PathBuf,
}

impl User {
    /// Of a cluster.
    pub fn new(cluster: &Cluster) -> Result<User> {
        let programs = tempfile::tempdir().context("failed to make a temporary folder")?;
        let link = |program: &Path, name: &str| {
            symlink(program, programs.path().join(name)).with_context(|| format!("failed to link {name}"))
        };
        link(&cluster.prepared().gleamflow, "gleamflow")?;
        link(&cluster.prepared().gleamflow, "kubectl-gleamflow")?;
        link(&cluster.prepared().helm, "helm")?;
        let kubectl = cluster.kubectl_command();
        let kubectl = fs::canonicalize(kubectl.get_program());
        // kind is used with the kubectl that is installed.
        kubectl.map_or(Ok(()), |kubectl| link(&kubectl, "kubectl"))?;
        Ok(User { programs, kubeconfig: cluster.kubeconfig().to_owned() })
    }

    /// A command that finds the programs and the cluster.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("PATH", format!("{}:{path}", self.programs.path().display()));
        command
    }
}
