//! A node of the private cluster: containerd, kubelet, kube-proxy and pods in a network namespace and a control group.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{certificate, network, size, start};
use crate::namespaces::HOME;
use crate::until::until;
use crate::{cgroup, command};

const START: Duration = Duration::from_secs(300);
/// Where distributions put the plugins that give pods their network.
const PLUGINS: [&str; 3] = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: String,
    /// The addresses of its pods.
    pub(crate) pods: String,
    number: u8,
    run: String,
    processes: Vec<Child>,
}

impl Node {
    pub(crate) fn new(run: &str, number: u8) -> Self {
        let (address, pods) = (network::node_address(number), network::pod_range(number));
        Self { name: format!("node{number}"), address, pods, number, run: run.to_owned(), processes: Vec::new() }
    }

    /// The host's end of its link.
    pub(crate) fn link(&self) -> String {
        format!("to-{}", self.name)
    }

    fn folder(&self) -> PathBuf {
        Path::new(HOME).join(&self.name)
    }

    fn socket(&self) -> PathBuf {
        self.folder().join("containerd.sock")
    }

    /// Starts what runs containers, and gives it images.
    pub(crate) fn start_runtime(&mut self, images: &[PathBuf]) -> Result<()> {
        cgroup::make(&self.run, &self.name)?;
        self.write("cni/10-bridge.conflist", &self.pod_network().to_string())?;
        self.write("containerd.toml", &self.runtime_config()?)?;
        self.write("kubelet.yaml", &self.kubelet_config()?.to_string())?;
        let mut containerd = network::in_network(&self.name, "containerd");
        let containerd =
            start(&format!("{}-containerd", self.name), containerd.arg("--config").arg(self.folder().join("containerd.toml")))?;
        self.processes.push(containerd);
        until(START, "starting containerd", || self.ctr(&["version"]))?;
        images.iter().try_for_each(|image| self.load(image))
    }

    /// Starts what the control plane talks to.
    pub(crate) fn start_kubernetes(&mut self) -> Result<()> {
        let kubelet = start(&format!("{}-kubelet", self.name), &mut self.kubelet())?;
        self.processes.push(kubelet);
        let proxy = start(&format!("{}-proxy", self.name), &mut self.proxy())?;
        self.processes.push(proxy);
        Ok(())
    }

    /// Starts it again after [`Node::kill`].
    pub(crate) fn restart(&mut self) -> Result<()> {
        ensure!(self.processes.is_empty(), "{} was not killed", self.name);
        self.start_runtime(&[])?;
        self.start_kubernetes()
    }

    /// Takes an image archive in.
    pub(crate) fn load(&self, image: &Path) -> Result<()> {
        self.ctr(&["images", "import", &image.to_string_lossy()]).map(drop)
    }

    /// Kills every process of it at once, as a power cut does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        // A process that was starting others while we looked is caught by the next look.
        for _ in 0..3 {
            let mut found = cgroup::processes(&self.run, &self.name);
            found.extend(processes_in_network(&self.name)?);
            if !found.is_empty() {
                // Some are gone by now; what matters is what the next look finds.
                let _ = command::run(Command::new("kill").arg("-KILL").args(found));
            }
        }
        for mut process in self.processes.drain(..) {
            process.wait().with_context(|| format!("failed to wait for a process of {}", self.name))?;
        }
        Ok(())
    }

    /// Kills processes of a container, as seen from outside: all of them, or those whose command line has this word.
    pub(crate) fn kill_container(&self, container: &str, word: Option<&str>) -> Result<()> {
        let found = self.processes_of(container, word)?;
        // One of them may end with another before its turn comes; what matters is that they were alive.
        command::outcome(Command::new("kill").arg("-KILL").args(found), None).map(drop)
    }

    /// Has the kernel kill a container's processes with this word first, where its memory is short.
    pub(crate) fn kill_first_for_memory(&self, container: &str, word: &str) -> Result<()> {
        let files = self.processes_of(container, Some(word))?.into_iter().map(|process| format!("/proc/{process}/oom_score_adj"));
        files.into_iter().try_for_each(|file| fs::write(&file, "1000").with_context(|| format!("failed to write {file}")))
    }

    /// Has a shell do something to each `$process` of a container with this word.
    pub(crate) fn outside_container(&self, container: &str, word: &str, deed: &str) -> Result<()> {
        for process in self.processes_of(container, Some(word))? {
            // What becomes of it is seen by who asked: the deed may cost the shell itself its life.
            command::outcome(Command::new("sh").args(["-c", deed]).env("process", process), None)?;
        }
        Ok(())
    }

    fn processes_of(&self, container: &str, word: Option<&str>) -> Result<Vec<String>> {
        let mut found = cgroup::container_processes(&self.run, &self.name, container);
        found.retain(|process| word.is_none_or(|word| command_line(process).iter().any(|part| part == word)));
        ensure!(!found.is_empty(), "container {container} of {} has no such process", self.name);
        Ok(found)
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        command::run(Command::new("ctr").arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]).args(arguments))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder().join(file);
        let folder = path.parent().expect("the file is in the node's folder");
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// The kubelet; its sockets for device plugins are at one fixed place, which each gets to itself.
    fn kubelet(&self) -> Command {
        let mut kubelet = network::in_network(&self.name, "unshare");
        kubelet.args(["--mount", "--propagation", "unchanged", "sh", "-c"]);
        kubelet.args(["mount -t tmpfs tmpfs /var/lib/kubelet && exec \"$@\"", "sh", &kube_path(), "kubelet"]);
        kubelet.arg("--config").arg(self.folder().join("kubelet.yaml"));
        kubelet.arg("--kubeconfig").arg(certificate(&format!("{}.kubeconfig", self.name)));
        kubelet.arg("--root-dir").arg(self.folder().join("kubelet")).arg("--cert-dir").arg(self.folder().join("kubelet/pki"));
        kubelet.args(["--hostname-override", &self.name, "--node-ip", &self.address]);
        kubelet
    }

    fn proxy(&self) -> Command {
        let mut proxy = network::in_network(&self.name, &kube_path());
        proxy.arg("kube-proxy").arg("--kubeconfig").arg(certificate("proxy.kubeconfig"));
        proxy.args(["--hostname-override", &self.name, "--proxy-mode", "iptables", "--cluster-cidr", network::PODS]);
        // These would set parameters of the whole machine.
        proxy.args([
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]);
        proxy.arg(format!("--healthz-bind-address={}:10256", self.address));
        proxy.arg(format!("--metrics-bind-address={}:10249", self.address));
        proxy
    }

    fn pod_network(&self) -> Value {
        json!({"cniVersion": "1.0.0", "name": self.name, "plugins": [
            {"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
                "type": "host-local", "dataDir": self.folder().join("addresses"),
                "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}]
            }},
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]})
    }

    fn runtime_config(&self) -> Result<String> {
        let plugins = PLUGINS.into_iter().find(|folder| Path::new(folder).join("bridge").exists());
        let plugins = plugins.context("the network plugins are in none of the usual places")?;
        let (folder, address, socket) = (self.folder().display().to_string(), &self.address, self.socket().display().to_string());
        Ok(format!(
            r#"version = 2
root = "{folder}/containerd"
state = "{folder}/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# A container of ours may not go below its own oom_score_adj, which the kubelet would ask for.
restrict_oom_score_adj = true
stream_server_address = "{address}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
            pause = crate::image::PAUSE
        ))
    }

    fn kubelet_config(&self) -> Result<Value> {
        let reserved = size::reserved(self.number)?;
        Ok(json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": certificate("authority.crt")}
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": certificate(&format!("{}.crt", self.name)),
            "tlsPrivateKeyFile": certificate(&format!("{}.key", self.name)),
            "containerRuntimeEndpoint": format!("unix://{}", self.socket().display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}/{}", self.run, self.name),
            "systemReserved": {"cpu": reserved.cpu, "memory": reserved.memory},
            "failSwapOn": false,
            "resolvConf": "",
            "address": self.address,
            "healthzBindAddress": self.address,
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 10,
            // The machine's disk may be nearly full; that is not what tests are about.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": self.folder().join("logs"),
            "maxPods": 200,
        }))
    }
}

fn kube_path() -> String {
    crate::tools::KUBE.path().display().to_string()
}

fn command_line(process: &str) -> Vec<String> {
    let line = fs::read_to_string(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
    line.split('\0').map(str::to_owned).collect()
}

/// The processes in a node's own network: all but those in pods.
fn processes_in_network(node: &str) -> Result<Vec<String>> {
    let network = fs::metadata(Path::new("/run/netns").join(node)).with_context(|| format!("{node} has no network"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list /proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
        // A process may end while we look at it.
        if is_process && fs::metadata(entry.path().join("ns/net")).is_ok_and(|its| its.ino() == network.ino()) {
            found.push(name);
        }
    }
    Ok(found)
}
