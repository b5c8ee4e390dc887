//! The product as the tests of flows use it: installed once, with two operators, for all namespaces; a user with rights in one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, IMAGE_TAG, Output, root};
use serde_json::{Value, json};

use crate::chart::CHART;
use crate::gate::Gate;

/// The namespace of the release.
pub(crate) const HOME: &str = "gleamflow";
/// Longer than anything may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// The same, for helm.
pub(crate) const HELM_PATIENCE: &str = "300s";

static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Installs the release, once for all tests of flows.
pub(crate) fn install(cluster: &Cluster) -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    // Agents and operators live under the same rules as what runs users' code.
    cluster.kubectl(&["create", "namespace", HOME])?;
    cluster.kubectl(&["label", "namespace", HOME, "pod-security.kubernetes.io/enforce=restricted"])?;
    helm_install(cluster)?;
    *installed = true;
    await_agents(cluster)
}

/// Removes all of it but the definition and the flows, and installs it anew.
pub(crate) fn install_anew(cluster: &Cluster) -> Result<()> {
    cluster.helm(&["uninstall", "gleamflow", "-n", HOME, "--wait", "--timeout", HELM_PATIENCE])?;
    until(PATIENCE, "no pod of the release", || Ok(items(&cluster.get(HOME, &["pods"])?).next().is_none().then_some(())))?;
    helm_install(cluster)?;
    await_agents(cluster)
}

fn helm_install(cluster: &Cluster) -> Result<()> {
    let tags = [format!("image.tag={IMAGE_TAG}"), format!("executorImage.tag={IMAGE_TAG}"), "replicas=2".to_owned()];
    let chart = root().join(CHART).display().to_string();
    let mut arguments = vec!["install", "gleamflow", &chart, "-n", HOME, "--take-ownership"];
    arguments.extend(["--wait", "--timeout", HELM_PATIENCE]);
    arguments.extend(tags.iter().flat_map(|tag| ["--set", tag.as_str()]));
    cluster.helm(&arguments).map(drop)
}

/// Waits until every node has an agent that is ready.
pub(crate) fn await_agents(cluster: &Cluster) -> Result<()> {
    let mut last = Vec::new();
    let found = until(PATIENCE, "an agent on every node", || {
        last = agents(cluster)?;
        Ok((last.len() == cluster.nodes().len()).then_some(()))
    });
    found.with_context(|| format!("agents: {last:?}"))
}

/// Waits until both operators are ready.
pub(crate) fn await_operators(cluster: &Cluster) -> Result<()> {
    let mut last = Value::Null;
    let found = until(PATIENCE, "two operators", || {
        last = cluster.get(HOME, &["deployment", "gleamflow-operator"])?["status"].take();
        Ok((last["readyReplicas"] == 2).then_some(()))
    });
    found.with_context(|| format!("the deployment: {last}"))
}

/// A flow's executors that run, once there are so many.
pub(crate) fn await_executors(cluster: &Cluster, namespace: &str, flow: &str, count: usize) -> Result<Vec<Value>> {
    let mut last = Vec::new();
    let found = until(PATIENCE, &format!("{count} executors of {flow}"), || {
        last = executors(cluster, namespace, flow)?;
        last.retain(|pod| pod["status"]["phase"] == "Running");
        Ok((last.len() >= count).then_some(()))
    });
    found.with_context(|| format!("{} run", last.len()))?;
    Ok(last)
}

/// Removes the release, if a test has installed it.
pub(crate) fn uninstall(cluster: &Cluster) -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if std::mem::take(&mut *installed) {
        cluster.helm(&["uninstall", "gleamflow", "-n", HOME, "--wait", "--timeout", HELM_PATIENCE])?;
        cluster.kubectl(&["delete", "namespace", HOME])?;
    }
    Ok(())
}

/// Asks again until there is an answer. What takes long is asked for less often: kubectl wants the cores that the cluster runs on.
pub(crate) fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(since.elapsed() < limit, "{what}: not within {} s", limit.as_secs());
        sleep((since.elapsed() / 10).clamp(Duration::from_millis(200), Duration::from_secs(1)));
    }
}

/// The names and nodes of the agents that are ready.
pub(crate) fn agents(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let pods = cluster.get(HOME, &["pods", "-l", "gleamflow.io/role=agent"])?;
    let ready =
        |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true && pod["metadata"]["deletionTimestamp"].is_null();
    let named = |pod: &Value| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]));
    Ok(items(&pods).filter(ready).map(named).collect())
}

/// A number on an agent's page of metrics.
pub(crate) fn agent_metric(cluster: &Cluster, agent: &str, metric: &str) -> Result<f64> {
    let page = cluster.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{HOME}/pods/{agent}:8080/proxy/metrics")])?;
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    let line = line.with_context(|| format!("agent {agent} does not count {metric}:\n{page}"))?;
    line.trim().parse().with_context(|| format!("{metric} is {line:?}"))
}

pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A flow of these steps (a JSON array) and other fields of its spec (a JSON object).
pub(crate) fn flow(name: &str, steps: Value, mut spec: Value) -> Value {
    spec["steps"] = steps;
    json!({"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": name}, "spec": spec})
}

/// Numbers below `rows`, each of which comes out once, from one of `partitions` tasks that pass a gate.
pub(crate) fn gated_steps(rows: u32, partitions: u32, gate: &Gate) -> Value {
    json!([
        {"name": "numbers", "read": {"range": {"to": rows}}},
        {"name": "dealt", "roundRobin": {}, "partitions": partitions},
        gate.step("gate"),
        {"name": "show", "write": {"stdout": {}}}
    ])
}

pub(crate) fn status(cluster: &Cluster, namespace: &str, name: &str) -> Result<Value> {
    Ok(cluster.get(namespace, &["gleamflow", name])?["status"].take())
}

/// A condition of a status.
pub(crate) fn condition<'s>(status: &'s Value, kind: &str) -> &'s Value {
    let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    found.unwrap_or(&Value::Null)
}

/// Waits until a condition has this status and, unless empty, this reason; the flow's status then.
pub(crate) fn await_condition(
    cluster: &Cluster,
    namespace: &str,
    flow: &str,
    kind: &str,
    is: &str,
    reason: &str,
) -> Result<Value> {
    let mut last = Value::Null;
    let found = until(PATIENCE, &format!("{flow}: {kind} {is} {reason}"), || {
        last = status(cluster, namespace, flow)?;
        let condition = condition(&last, kind);
        Ok((condition["status"] == is && (reason.is_empty() || condition["reason"] == reason)).then_some(()))
    });
    found.with_context(|| format!("its status: {last:#}"))?;
    Ok(last)
}

/// Waits until a flow is `Complete`; one that fails says so at once.
pub(crate) fn await_complete(cluster: &Cluster, namespace: &str, flow: &str) -> Result<Value> {
    await_complete_within(cluster, namespace, flow, PATIENCE)
}

/// As `await_complete`, of a flow that takes longer.
pub(crate) fn await_complete_within(cluster: &Cluster, namespace: &str, flow: &str, limit: Duration) -> Result<Value> {
    let mut last = Value::Null;
    let found = until(limit, &format!("{flow}: Complete"), || {
        last = status(cluster, namespace, flow)?;
        if condition(&last, "Failed")["status"] == "True" || condition(&last, "Accepted")["status"] == "False" {
            bail!("{flow} failed");
        }
        Ok((condition(&last, "Complete")["status"] == "True").then_some(()))
    });
    found.with_context(|| format!("its status: {last:#}"))?;
    Ok(last)
}

/// Waits until a flow is `Complete` by its run of this number.
pub(crate) fn await_run(cluster: &Cluster, namespace: &str, flow: &str, number: u32) -> Result<Value> {
    let mut last = Value::Null;
    let found = until(PATIENCE, &format!("{flow}: run {number}"), || {
        last = status(cluster, namespace, flow)?;
        let run = &last["currentRun"];
        let is_it = text(&run["id"]).ends_with(&format!("-{number}"));
        if is_it && condition(&last, "Failed")["status"] == "True" {
            bail!("{flow} failed");
        }
        Ok((is_it && condition(&last, "Complete")["status"] == "True").then_some(()))
    });
    found.with_context(|| format!("its status: {last:#}"))?;
    Ok(last)
}

/// Waits until a flow has a phase.
pub(crate) fn await_phase(cluster: &Cluster, namespace: &str, flow: &str, phase: &str) -> Result<Value> {
    let mut last = Value::Null;
    let found = until(PATIENCE, &format!("{flow}: {phase}"), || {
        last = status(cluster, namespace, flow)?;
        Ok((last["phase"] == phase).then_some(()))
    });
    found.with_context(|| format!("its status: {last:#}"))?;
    Ok(last)
}

/// Waits until so many tasks of the run are done, and not all are: something keeps those from ending.
pub(crate) fn await_progress(cluster: &Cluster, namespace: &str, flow: &str, done: u32) -> Result<Value> {
    let mut last = Value::Null;
    let found = until(PATIENCE, &format!("{flow}: {done} tasks done"), || {
        let status = status(cluster, namespace, flow)?;
        last = status.clone();
        ensure!(status["currentRun"]["completionTime"].is_null(), "{flow} was over too soon: {status:#}");
        let progress = text(&status["progress"]);
        let (now, of) = progress.split_once('/').unwrap_or(("0", "0"));
        let (now, of): (u32, u32) = (now.parse()?, of.parse()?);
        Ok((now >= done && now < of).then_some(status))
    });
    found.with_context(|| format!("its status: {last:#}"))
}

/// The pods of a flow's executors.
pub(crate) fn executors(cluster: &Cluster, namespace: &str, flow: &str) -> Result<Vec<Value>> {
    let pods = cluster.get(namespace, &["pods", "-l", &format!("gleamflow.io/flow={flow}")])?;
    Ok(items(&pods).cloned().collect())
}

/// The name of the operator's pod that leads.
pub(crate) fn leader(cluster: &Cluster) -> Result<String> {
    let lease = cluster.get(HOME, &["lease", "gleamflow-operator"])?;
    Ok(text(&lease["spec"]["holderIdentity"]))
}

/// How often the lead of the operators has changed.
pub(crate) fn changes_of_leader(cluster: &Cluster) -> Result<u64> {
    let lease = cluster.get(HOME, &["lease", "gleamflow-operator"])?;
    Ok(lease["spec"]["leaseTransitions"].as_u64().unwrap_or_default())
}

/// Sorted lines.
pub(crate) fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Somebody who uses one namespace with a token, and has the command line on the path.
pub(crate) struct User {
    folder: tempfile::TempDir,
    namespace: String,
}

impl User {
    /// Makes an account that may edit in the namespace, and in all others.
    pub(crate) fn new(cluster: &Cluster, namespace: &str) -> Result<User> {
        let reach = format!("{namespace}-reaches-operators");
        let who = format!("--serviceaccount={namespace}:user");
        cluster.kubectl(&["create", "clusterrolebinding", &reach, "--clusterrole=edit", &who])?;
        let user = User::named(cluster, namespace, "user", "edit")?;
        user.await_rights(&[&["list", "gleamflows.gleamflow.io", "--all-namespaces"], &["list", "pods", "-n", HOME]])?;
        Ok(user)
    }

    /// Makes an account that may edit in the namespace, and nothing elsewhere but what the chart has for such users.
    pub(crate) fn confined(cluster: &Cluster, namespace: &str) -> Result<User> {
        User::reading(cluster, namespace, "confined", "edit")
    }

    /// Makes an account that may look at what is in the namespace but for its Secrets, and read what flows put out.
    pub(crate) fn viewing(cluster: &Cluster, namespace: &str) -> Result<User> {
        User::reading(cluster, namespace, "viewing", "view")
    }

    fn reading(cluster: &Cluster, namespace: &str, name: &str, role: &str) -> Result<User> {
        let who = format!("--serviceaccount={namespace}:{name}");
        let reach = format!("{namespace}-{name}-reads-output");
        cluster.kubectl(&["create", "rolebinding", &reach, "-n", HOME, "--role=gleamflow-output", &who])?;
        let user = User::named(cluster, namespace, name, role)?;
        user.await_rights(&[&["list", "pods", "-n", HOME]])?;
        Ok(user)
    }

    fn named(cluster: &Cluster, namespace: &str, name: &str, role: &str) -> Result<User> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        cluster.apply(namespace, &account)?;
        let (bound, who) = (format!("{name}-{role}"), format!("--serviceaccount={namespace}:{name}"));
        cluster.kubectl(&["create", "rolebinding", &bound, "-n", namespace, &format!("--clusterrole={role}"), &who])?;
        let token = cluster.kubectl(&["create", "token", name, "-n", namespace])?;
        let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
        let kubectl = cluster.kubectl_command();
        let kubectl = fs::canonicalize(kubectl.get_program()).context("kubectl is not found by a path")?;
        for (program, name) in [(cluster.prepared().gleamflow.clone(), "kubectl-gleamflow"), (kubectl, "kubectl")] {
            symlink(program, folder.path().join(name)).with_context(|| format!("failed to link {name}"))?;
        }
        let user = User { folder, namespace: namespace.to_owned() };
        user.write_kubeconfig(cluster, token.trim())?;
        user.await_rights(&[&["get", "gleamflows.gleamflow.io"], &["get", "pods/log"]])?;
        if role == "edit" {
            user.await_rights(&[&["patch", "gleamflows.gleamflow.io"]])?;
        }
        Ok(user)
    }

    /// The API server knows of a binding some time after it has taken it.
    fn await_rights(&self, questions: &[&[&str]]) -> Result<()> {
        for question in questions {
            let mut said = None;
            let allowed = until(PATIENCE, &format!("the right to {}", question.join(" ")), || {
                let arguments = [&["auth", "can-i"], *question].concat();
                let output = self.outcome(Command::new(self.folder.path().join("kubectl")).args(arguments))?;
                let is_allowed = output.success;
                said = Some(output);
                Ok(is_allowed.then_some(()))
            });
            allowed.with_context(|| format!("kubectl says {said:?}"))?;
        }
        Ok(())
    }

    fn write_kubeconfig(&self, cluster: &Cluster, token: &str) -> Result<()> {
        let found = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&found).context("the kubeconfig is not JSON")?;
        config["users"][0]["user"] = json!({"token": token});
        config["contexts"][0]["context"]["namespace"] = json!(self.namespace);
        fs::write(self.kubeconfig(), config.to_string()).context("failed to write a kubeconfig")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// `gleamflow ARGUMENTS`, whatever comes of it.
    pub(crate) fn try_gleamflow(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
        self.outcome(Command::new(&cluster.prepared().gleamflow).args(arguments))
    }

    /// `gleamflow ARGUMENTS`; what it prints.
    pub(crate) fn gleamflow(&self, cluster: &Cluster, arguments: &[&str]) -> Result<String> {
        let output = self.try_gleamflow(cluster, arguments)?;
        ensure!(output.success, "gleamflow {arguments:?}: {}{}", output.stderr, output.stdout);
        Ok(output.stdout)
    }

    /// `kubectl ARGUMENTS` of the same user; what it prints.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.outcome(Command::new(self.folder.path().join("kubectl")).args(arguments))?;
        ensure!(output.success, "kubectl {arguments:?}: {}{}", output.stderr, output.stdout);
        Ok(output.stdout)
    }

    /// A program that is to be this user's, to be given arguments and started.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.equip(&mut command);
        command
    }

    fn equip(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("KUBECONFIG", self.kubeconfig()).env("PATH", format!("{}:{path}", self.folder.path().display()));
    }

    fn outcome(&self, command: &mut Command) -> Result<Output> {
        self.equip(command);
        let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }
}

/// A folder that all nodes have, and the claim by which a namespace's flows mount it. The volume goes with this.
pub(crate) struct Shared<'cluster> {
    cluster: &'cluster Cluster,
    volume: String,
    folder: tempfile::TempDir,
}

impl<'cluster> Shared<'cluster> {
    pub(crate) fn new(cluster: &'cluster Cluster, namespace: &str, claim: &str) -> Result<Self> {
        Shared::with_mode(cluster, namespace, claim, "ReadWriteMany")
    }

    /// Of this access mode; it only says who may mount it.
    pub(crate) fn with_mode(cluster: &'cluster Cluster, namespace: &str, claim: &str, mode: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(cluster.shared_folder()?).context("failed to make a shared folder")?;
        open_to_all(folder.path())?;
        let volume = format!("{namespace}-{claim}");
        let access = json!({"accessModes": [mode], "storageClassName": "", "volumeName": volume});
        let mut spec = access.clone();
        spec["resources"] = json!({"requests": {"storage": "1Gi"}});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": [mode], "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder.path(), "type": "Directory"}
            }},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim}, "spec": spec}
        ]});
        let shared = Self { cluster, volume, folder };
        cluster.apply(namespace, &objects)?;
        Ok(shared)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What a flow says of it.
    pub(crate) fn storage(claim: &str) -> Value {
        json!({"volume": {"persistentVolumeClaim": {"claimName": claim}}})
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        if let Err(error) =
            self.cluster.kubectl(&["delete", "persistentvolume", &self.volume, "--wait=false", "--ignore-not-found"])
        {
            eprintln!("e2e: {error:#}");
        }
    }
}

/// Executors are nobody; what they write into is anybody's.
pub(crate) fn open_to_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let is_folder = path.is_dir();
    let mode = if is_folder { 0o777 } else { 0o666 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("failed to open {}", path.display()))?;
    if is_folder {
        for entry in fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))? {
            open_to_all(&entry.context("failed to list a folder")?.path())?;
        }
    }
    Ok(())
}
