//! A cluster of docker containers, by kind: one control plane, three nodes of different size. Unproven where no docker runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::private::{NODES, reserved};
use crate::{command, tools, workspace};

/// One cluster of kind.
#[derive(Debug)]
pub(crate) struct Kind {
    name: String,
    program: PathBuf,
}

impl Kind {
    pub(crate) fn up(images: &[PathBuf]) -> Result<Self> {
        let installed = command::succeeds("kind", &["version"]);
        let program = if installed { PathBuf::from("kind") } else { tools::KIND.path() };
        let kind = Self { name: format!("gleamflow-e2e-{}", std::process::id()), program };
        let mut create = kind.command(&["create", "cluster", "--config", "-", "--wait", "180s", "--kubeconfig"]);
        let created = command::run_with_input(create.arg(kind.kubeconfig()), &config()?.to_string());
        if created.is_err() {
            kind.down()?;
        }
        created?;
        images.iter().try_for_each(|image| kind.load(image))?;
        Ok(kind)
    }

    pub(crate) fn down(&self) -> Result<()> {
        command::run(self.command(&["delete", "cluster", "--kubeconfig"]).arg(self.kubeconfig())).map(drop)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        workspace::kept().join(format!("{}.kubeconfig", self.name))
    }

    /// The nodes that pods run on.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |number| if number == 1 { format!("{}-worker", self.name) } else { format!("{}-worker{number}", self.name) };
        (1..=NODES).map(name).collect()
    }

    pub(crate) fn load(&self, image: &Path) -> Result<()> {
        command::run(self.command(&["load", "image-archive"]).arg(image)).map(drop)
    }

    pub(crate) fn export_logs(&self, folder: &Path) -> Result<()> {
        command::run(self.command(&["export", "logs"]).arg(folder)).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--name", &self.name]);
        command
    }
}

/// What docker does to a node, which is a container.
pub(crate) fn docker(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("docker").args(arguments)).map(drop)
}

/// Does something to each `$process` of a container on a node, or to those whose command line has this word.
pub(crate) fn in_container(node: &str, container: &str, word: &str, deed: &str) -> Result<()> {
    let script = format!(
        "for process in $(find /sys/fs/cgroup -path \"*$1*\" -name cgroup.procs -exec cat {{}} + | sort -u); do \
           if [ -z \"$2\" ] || tr '\\0' '\\n' < /proc/$process/cmdline | grep -qxF \"$2\"; then {deed}; fi; done"
    );
    docker(&["exec", node, "sh", "-c", &script, "sh", container, word])
}

fn config() -> Result<Value> {
    let shared = workspace::shared();
    std::fs::create_dir_all(&shared).with_context(|| format!("failed to make {}", shared.display()))?;
    let mut nodes = vec![json!({"role": "control-plane"})];
    for number in 1..=NODES {
        let kept = reserved(number)?;
        let patch = json!({"kind": "JoinConfiguration", "nodeRegistration": {
            "kubeletExtraArgs": {"system-reserved": format!("cpu={},memory={}", kept.cpu, kept.memory)}
        }});
        nodes.push(json!({"role": "worker", "kubeadmConfigPatches": [patch.to_string()],
            "extraMounts": [{"hostPath": shared, "containerPath": shared}]}));
    }
    Ok(json!({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}))
}
