//! The private cluster's control plane: etcd, the API server, the controllers and the scheduler.

use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Result;

use super::{Private, certificate, kube, network, start};
use crate::command;
use crate::until::until;

const STORE: &str = "http://127.0.0.1:2379";
const START: Duration = Duration::from_secs(300);

/// Its processes; they end with the namespaces.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    _processes: Vec<Child>,
}

impl ControlPlane {
    /// Starts all of it, and waits for the API server.
    pub(crate) fn start() -> Result<Self> {
        let mut processes = vec![start("etcd", &mut etcd())?, start("apiserver", &mut api_server())?];
        until(START, "starting the API server", || {
            let mut ready = kube("kubectl");
            command::run(ready.args(["get", "--raw", "/readyz"]).env("KUBECONFIG", Private::kubeconfig()))
        })?;
        processes.push(start("controllers", &mut controllers())?);
        processes.push(start("scheduler", &mut client("kube-scheduler", "scheduler"))?);
        Ok(Self { _processes: processes })
    }
}

fn etcd() -> Command {
    let mut etcd = kube("etcd");
    // Nothing of it outlives the run, so nothing has to reach the disk.
    etcd.args(["--data-dir", &format!("{}/etcd", super::HOME), "--unsafe-no-fsync", "--log-level=warn"]);
    etcd.args(["--listen-client-urls", STORE, "--advertise-client-urls", STORE, "--listen-peer-urls", "http://127.0.0.1:2380"]);
    etcd
}

fn api_server() -> Command {
    let file = |name: &str| certificate(name).display().to_string();
    let flags = [
        ("etcd-servers", STORE.to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("advertise-address", network::SERVER.to_owned()),
        ("secure-port", "6443".to_owned()),
        ("tls-cert-file", file("apiserver.crt")),
        ("tls-private-key-file", file("apiserver.key")),
        ("client-ca-file", file("authority.crt")),
        ("kubelet-client-certificate", file("apiserver-to-kubelet.crt")),
        ("kubelet-client-key", file("apiserver-to-kubelet.key")),
        ("kubelet-certificate-authority", file("authority.crt")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-signing-key-file", file("service-accounts.key")),
        ("service-account-key-file", file("service-accounts.pub")),
        ("service-cluster-ip-range", network::SERVICES.to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
    ];
    let mut server = kube("kube-apiserver");
    server.args(flags.map(|(name, value)| format!("--{name}={value}")));
    server
}

fn controllers() -> Command {
    let mut controllers = client("kube-controller-manager", "controller-manager");
    let file = |name: &str| certificate(name).display().to_string();
    let flags = [
        ("service-account-private-key-file", file("service-accounts.key")),
        ("root-ca-file", file("authority.crt")),
        ("cluster-signing-cert-file", file("authority.crt")),
        ("cluster-signing-key-file", file("authority.key")),
        ("use-service-account-credentials", "true".to_owned()),
        ("allocate-node-cidrs", "false".to_owned()),
        // A test that kills a node should not wait the usual 50 s for the cluster to see it.
        ("node-monitor-grace-period", "16s".to_owned()),
    ];
    controllers.args(flags.map(|(name, value)| format!("--{name}={value}")));
    controllers
}

/// A part that is the API server's client and asks it about its own callers, and of which there is one.
fn client(part: &str, identity: &str) -> Command {
    let kubeconfig = certificate(&format!("{identity}.kubeconfig")).display().to_string();
    let mut command = kube(part);
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}={kubeconfig}"));
    }
    command.arg("--leader-elect=false");
    command
}
