//! The cluster as tests see it: kubectl, helm, images, and what can happen to nodes; the same for all places.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{self, Output};
use crate::kind::{self, Kind};
use crate::private::{Private, set_link};
use crate::{Prepared, namespaces, tools, workspace};

/// Until all nodes are ready, from the start of their kubelets.
const READY: Duration = Duration::from_secs(300);

thread_local! {
    /// Namespaces whose test is over, on this thread.
    static ENDED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A running cluster of three nodes.
#[derive(Debug)]
pub struct Cluster {
    machines: Machines,
    kubeconfig: PathBuf,
    names: Vec<String>,
    prepared: Prepared,
    namespaces: AtomicU32,
}

#[derive(Debug)]
enum Machines {
    Private(Mutex<Private>),
    Kind(Kind),
}

impl Cluster {
    /// Brings it up, with the prepared images on every node, and waits until all nodes are ready: private inside of namespaces, else
    /// with kind.
    pub fn up(prepared: Prepared) -> Result<Self> {
        let (machines, kubeconfig, names) = match namespaces::inside() {
            Some(run) => {
                let private = Private::up(&run, &prepared.images)?;
                let names = private.names();
                (Machines::Private(Mutex::new(private)), Private::kubeconfig(), names)
            }
            None => {
                let kind = Kind::up(&prepared.images)?;
                let (kubeconfig, names) = (kind.kubeconfig(), kind.names());
                (Machines::Kind(kind), kubeconfig, names)
            }
        };
        let cluster = Self { machines, kubeconfig, names, prepared, namespaces: AtomicU32::new(0) };
        let nodes: Vec<String> = cluster.names.iter().map(|name| format!("node/{name}")).collect();
        // kubectl waits for the creation of one object only.
        nodes.chunks(1).try_for_each(|node| cluster.wait("default", "create", node, READY))?;
        cluster.wait("default", "condition=Ready", &nodes, READY)?;
        Ok(cluster)
    }

    /// Ends it. (A private one ends with its namespaces too.)
    pub fn down(&self) -> Result<()> {
        match &self.machines {
            Machines::Private(_) => Ok(()),
            Machines::Kind(kind) => kind.down(),
        }
    }

    /// The nodes that pods run on, the largest first.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.names
    }

    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What was made for it.
    #[must_use]
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Runs kubectl; its standard output. What an API server says in a bad moment is waited out.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        command::run_patiently(|| self.kubectl_with(arguments), None)
    }

    /// Runs kubectl, whatever comes of it.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        command::outcome(self.kubectl_command().args(arguments), Some(input))
    }

    /// kubectl for this cluster, to be given arguments and started.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut kubectl = match self.machines {
            Machines::Private(_) => {
                let mut kube = Command::new(tools::KUBE.path());
                kube.arg("kubectl");
                kube
            }
            Machines::Kind(_) => Command::new("kubectl"),
        };
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl
    }

    fn kubectl_with(&self, arguments: &[&str]) -> Command {
        let mut kubectl = self.kubectl_command();
        kubectl.args(arguments);
        kubectl
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, namespace: &str, objects: &impl Display) -> Result<String> {
        let arguments = ["apply", "--namespace", namespace, "-f", "-"];
        command::run_patiently(|| self.kubectl_with(&arguments), Some(&objects.to_string()))
    }

    /// `kubectl get -o json`.
    pub fn get(&self, namespace: &str, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "--namespace", namespace, "-o", "json"], arguments].concat();
        let text = self.kubectl(&arguments)?;
        serde_json::from_str(&text).context("kubectl's answer is not JSON")
    }

    /// `kubectl wait --for=CONDITION OBJECTS`.
    pub fn wait(&self, namespace: &str, condition: &str, objects: &[String], limit: Duration) -> Result<()> {
        let (condition, limit) = (format!("--for={condition}"), format!("--timeout={}s", limit.as_secs()));
        let mut arguments = vec!["wait", "--namespace", namespace, &condition, &limit];
        arguments.extend(objects.iter().map(String::as_str));
        self.kubectl(&arguments).map(drop)
    }

    /// Runs helm; its standard output.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let home = workspace::kept().join("helm-home");
        let mut helm = Command::new(&self.prepared.helm);
        for (variable, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")] {
            helm.env(variable, home.join(folder));
        }
        command::run(helm.env("KUBECONFIG", &self.kubeconfig).args(arguments))
    }

    /// The namespaces that were dropped on this thread since it was asked.
    #[must_use]
    pub fn ended_namespaces() -> Vec<String> {
        ENDED.take()
    }

    /// Has namespaces deleted; nobody waits for that.
    pub fn delete_namespaces(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.kubectl(&["delete", "namespace", name, "--wait=false"]) {
                eprintln!("e2e: {error:#}");
            }
        }
    }

    /// A new namespace, under restricted pod security. Once dropped it is one of `ended_namespaces`: its objects can still be looked at.
    pub fn namespace(&self, purpose: &str) -> Result<Namespace> {
        let name = format!("{purpose}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name])?;
        let namespace = Namespace { name };
        self.kubectl(&["label", "namespace", &namespace.name, "pod-security.kubernetes.io/enforce=restricted"])?;
        self.wait(&namespace.name, "create", &["serviceaccount/default".to_owned()], READY)?;
        Ok(namespace)
    }

    /// A folder that every node has at the same place, for volumes that many nodes mount.
    pub fn shared_folder(&self) -> Result<PathBuf> {
        let folder = workspace::shared();
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        Ok(folder)
    }

    /// Gives an image archive to all nodes.
    pub fn load(&self, image: &Path) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).load(image),
            Machines::Kind(kind) => kind.load(image),
        }
    }

    /// Kills (SIGKILL) all processes of a container of a node, or those whose command line has this word.
    pub fn kill_container(&self, node: &str, container: &str, word: Option<&str>) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).node(node)?.kill_container(container, word),
            Machines::Kind(_) => kind::in_container(node, container, word.unwrap_or_default(), "kill -KILL $process"),
        }
    }

    /// Has the kernel kill a container's processes whose command line has this word first, where its memory is short.
    pub fn kill_first_for_memory(&self, node: &str, container: &str, word: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).node(node)?.kill_first_for_memory(container, word),
            Machines::Kind(_) => kind::in_container(node, container, word, "echo 1000 > /proc/$process/oom_score_adj"),
        }
    }

    /// Has a shell outside of a container do something to each `$process` of it whose command line has this word.
    pub fn outside_container(&self, node: &str, container: &str, word: &str, deed: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).node(node)?.outside_container(container, word, deed),
            Machines::Kind(_) => kind::in_container(node, container, word, deed),
        }
    }

    /// Kills every process of a node at once.
    pub fn kill_node(&self, node: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).node_mut(node)?.kill(),
            Machines::Kind(_) => kind::docker(&["kill", node]),
        }
    }

    /// Starts a node that was killed.
    pub fn start_node(&self, node: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => held(private).node_mut(node)?.restart(),
            Machines::Kind(_) => kind::docker(&["start", node]),
        }
    }

    /// Takes a node's link away; everything on it goes on.
    pub fn cut_link(&self, node: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => set_link(held(private).node(node)?, "down"),
            Machines::Kind(_) => kind::docker(&["network", "disconnect", "kind", node]),
        }
    }

    /// Gives a node its link back.
    pub fn mend_link(&self, node: &str) -> Result<()> {
        match &self.machines {
            Machines::Private(private) => set_link(held(private).node(node)?, "up"),
            Machines::Kind(_) => kind::docker(&["network", "connect", "kind", node]),
        }
    }

    /// Writes down what the cluster knows and its containers said, for someone who looks for the cause of a failure; says where.
    pub fn collect_logs(&self) -> Result<PathBuf> {
        let folder = match &self.machines {
            Machines::Private(_) => Path::new(namespaces::HOME).join("logs"),
            Machines::Kind(_) => workspace::kept().join("logs"),
        };
        let dump = format!("--output-directory={}", folder.join("dump").display());
        self.kubectl(&["cluster-info", "dump", "--all-namespaces", "-o", "yaml", &dump])?;
        if let Machines::Kind(kind) = &self.machines {
            kind.export_logs(&folder)?;
        }
        Ok(folder)
    }
}

/// A test that failed while it held the lock has said so itself.
fn held(private: &Mutex<Private>) -> MutexGuard<'_, Private> {
    private.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A namespace of one test.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ENDED.with_borrow_mut(|ended| ended.push(std::mem::take(&mut self.name)));
    }
}
