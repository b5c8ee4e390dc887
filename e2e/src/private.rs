//! A Kubernetes cluster of plain processes inside private namespaces: one control plane, three nodes of different size.
//!
//! A node is a network namespace with a containerd, a kubelet and a kube-proxy, joined to the others by one bridge. There is no cluster
//! DNS: services have addresses, and nothing of the product looks up a name.

mod control_plane;
mod network;
mod node;
mod size;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::namespaces::{self, HOME};
use crate::tools;
use control_plane::ControlPlane;
use node::Node;

pub(crate) use network::set_link;
pub(crate) use size::reserved;

pub(crate) const NODES: u8 = 3;

/// The whole cluster; its processes end with the namespaces.
#[derive(Debug)]
pub(crate) struct Private {
    _control_plane: ControlPlane,
    nodes: Vec<Node>,
}

impl Private {
    /// Starts everything; the nodes load `images` while the control plane starts.
    pub(crate) fn up(run: &str, images: &[PathBuf]) -> Result<Self> {
        namespaces::furnish(run)?;
        let mut nodes: Vec<Node> = (1..=NODES).map(|number| Node::new(run, number)).collect();
        network::make(&nodes)?;
        certificates(&nodes)?;
        let control_plane = thread::scope(|scope| {
            let starts: Vec<_> = nodes.iter_mut().map(|node| scope.spawn(move || node.start_runtime(images))).collect();
            let control_plane = ControlPlane::start();
            for start in starts {
                start.join().map_err(|_| anyhow!("starting a node panicked"))??;
            }
            control_plane
        })?;
        nodes.iter_mut().try_for_each(Node::start_kubernetes)?;
        Ok(Self { _control_plane: control_plane, nodes })
    }

    pub(crate) fn kubeconfig() -> PathBuf {
        certificate("admin.kubeconfig")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("there is no node {name:?}"))
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.name == name).with_context(|| format!("there is no node {name:?}"))
    }

    pub(crate) fn load(&self, image: &Path) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.load(image))
    }
}

/// Makes the keys and certificates of everybody.
fn certificates(nodes: &[Node]) -> Result<()> {
    let folder = Path::new(HOME).join("certificates");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let mut make = kube("certificates");
    make.arg("-dir").arg(folder).args(["-server", network::SERVER, "-service", network::SERVICE]);
    make.args(nodes.iter().map(|node| format!("{}={}", node.name, node.address)));
    crate::command::run(&mut make).map(drop)
}

fn certificate(file: &str) -> PathBuf {
    Path::new(HOME).join("certificates").join(file)
}

/// A part of Kubernetes.
fn kube(part: &str) -> Command {
    let mut command = Command::new(tools::KUBE.path());
    command.arg(part);
    command
}

/// Starts a process that stays; it writes to a log of its own.
fn start(name: &str, command: &mut Command) -> Result<Child> {
    let path = Path::new(HOME).join("logs").join(format!("{name}.log"));
    let log =
        File::options().create(true).append(true).open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    let errors = log.try_clone().context("failed to share a log")?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().with_context(|| format!("failed to start {name}"))
}
