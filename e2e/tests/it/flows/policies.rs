//! What NetworkPolicies let through, judged by an implementation of them that is not ours. Nothing in the test cluster enforces them: they
//! are asked about what a hostile pod would try, and about every connection that pods really have while flows run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, outcome};
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::nodes::shell_pod;
use crate::product::{self, HOME, Shared, await_complete, items, text, until};
use Who::{Agent, Elsewhere, Neighbour, Operator, OtherRun, Run, Server, Store, Stranger};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::policies_let_through_what_runs_need_and_nothing_else", what_runs_need_and_nothing_else)]
}

const AGENT: u16 = 7401;
const OPERATOR: u16 = 7400;
const METRICS: u16 = 8080;
/// Where the stores of the flows would be: nobody is there, and nobody is asked.
const STORE: &str = "192.0.2.7";
const ELSEWHERE: &str = "192.0.2.8";
const STORE_PORT: u16 = 9000;
const ROWS: u32 = 60_000;

/// Who is at one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// An executor of the run that names a store.
    Run,
    OtherRun,
    Agent,
    Operator,
    /// A pod that is not ours, in the runs' namespace.
    Neighbour,
    /// One in another.
    Stranger,
    /// The API server.
    Server,
    Store,
    Elsewhere,
}

/// Who connects to whom and where, and whether that may be.
const TRIES: [(Who, Who, u16, bool); 31] = [
    // What a run needs
    (Run, Agent, AGENT, true),
    (Run, Operator, OPERATOR, true),
    (OtherRun, Agent, AGENT, true),
    (Agent, Operator, OPERATOR, true),
    (Operator, Agent, AGENT, true),
    (Run, Store, STORE_PORT, true),
    (Run, Elsewhere, 53, true),
    // What user code tries
    (Run, Server, 6443, false),
    (Run, OtherRun, AGENT, false),
    (OtherRun, Run, METRICS, false),
    (Run, Neighbour, METRICS, false),
    (Run, Stranger, METRICS, false),
    (Run, Agent, METRICS, false),
    (Run, Operator, METRICS, false),
    (Run, Agent, OPERATOR, false),
    (Run, Elsewhere, STORE_PORT, false),
    (Run, Store, 443, false),
    (OtherRun, Store, STORE_PORT, false),
    // What strangers try, from the run's namespace and from theirs
    (Neighbour, Run, AGENT, false),
    (Stranger, Run, AGENT, false),
    (Neighbour, Agent, AGENT, false),
    (Stranger, Agent, AGENT, false),
    (Neighbour, Operator, OPERATOR, false),
    (Stranger, Operator, OPERATOR, false),
    (Elsewhere, Agent, AGENT, false),
    (Elsewhere, Operator, OPERATOR, false),
    // An agent that somebody has taken over
    (Agent, Server, 6443, false),
    (Agent, Run, AGENT, false),
    (Agent, Elsewhere, 53, false),
    // Readers of metrics
    (Stranger, Agent, METRICS, true),
    (Stranger, Operator, METRICS, true),
];

fn what_runs_need_and_nothing_else(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let (ours, theirs) = (cluster.namespace("policies")?, cluster.namespace("policies-strangers")?);
    let shared = Shared::new(cluster, ours.name(), "shared")?;
    let gates = [("stored", Gate::new(shared.path(), "stored", 0)?), ("plain", Gate::new(shared.path(), "plain", 0)?)];
    for (name, gate) in &gates {
        cluster.apply(ours.name(), &flow(name, gate))?;
    }
    for namespace in [ours.name(), theirs.name()] {
        cluster.apply(namespace, &shell_pod("stranger", "exec sleep 3600"))?;
        cluster.wait(namespace, "condition=Ready", &["pod/stranger".to_owned()], product::PATIENCE)?;
    }
    gates.iter().try_for_each(|(_, gate)| gate.await_waiting(1))?;
    let executors = gates.iter().map(|(_, gate)| Ok(gate.waiting()?[0].clone())).collect::<Result<Vec<String>>>()?;
    // They are at their gates before the kubelet has told that they run.
    let world = until(product::PATIENCE, "executors in the API server that run", || {
        let world = World::look(cluster)?;
        let there = executors.iter().all(|name| world.pod(ours.name(), name).is_some());
        Ok(there.then_some(world))
    })?;
    let executor = |at: usize| world.peer(ours.name(), &executors[at]);
    let outside = |address: &str| json!({"IP": address});
    let who = BTreeMap::from([
        (Run, executor(0)?),
        (OtherRun, executor(1)?),
        (Agent, world.one_of("agent")?),
        (Operator, world.one_of("operator")?),
        (Neighbour, world.peer(ours.name(), "stranger")?),
        (Stranger, world.peer(theirs.name(), "stranger")?),
        (Server, outside(&server(cluster)?)),
        (Store, outside(STORE)),
        (Elsewhere, outside(ELSEWHERE)),
    ]);
    let asked = TRIES.map(|(from, to, port, _)| connection(&who[&from], &who[&to], port));
    for (verdict, (from, to, port, expected)) in let_through(cluster, &world.policies, &asked)?.iter().zip(TRIES) {
        ensure!(verdict.both() == expected, "{from:?} to {to:?} at {port}: {verdict:?} where {expected} is right");
    }
    let free = let_through(cluster, &[], &asked)?;
    ensure!(free.iter().all(Verdict::both), "without policies, something else keeps them apart: {free:?}");
    every_connection_is_let_through(cluster, ours.name())?;
    for (name, gate) in &gates {
        gate.open()?;
        await_complete(cluster, ours.name(), name)?;
    }
    Ok(())
}

/// A flow with a shuffle, whose tasks stand still behind it; one of the two names an object store, which it does not ask.
fn flow(name: &str, gate: &Gate) -> Value {
    let mut storage = Shared::storage("shared");
    if name == "stored" {
        storage["objectStores"] = json!([{"prefix": "s3://b/", "endpoint": format!("http://{STORE}:{STORE_PORT}")}]);
    }
    let steps = product::gated_steps(ROWS, 4, gate);
    product::flow(name, steps, json!({"storage": storage, "executors": {"minReplicas": 1, "maxReplicas": 2}}))
}

/// Looks at the connections of agents and of a namespace's executors until each kind that a run needs was seen, and asks about all of
/// them. Somebody's who has just gone or come may not be understood; that is so at one look, and not at the next.
fn every_connection_is_let_through(cluster: &Cluster, namespace: &str) -> Result<()> {
    let wanted = [("executor", "operator"), ("executor", "agent"), ("agent", "operator"), ("operator", "agent")];
    let (mut seen, mut kept) = (BTreeSet::new(), Vec::new());
    let looked = until(product::PATIENCE, "connections of all kinds, none of which policies keep", || {
        let world = World::look(cluster)?;
        let found = world.connections(cluster, namespace)?;
        let asked: Vec<Value> = found.iter().map(|(_, traffic)| traffic.clone()).collect();
        let verdicts = let_through(cluster, &world.policies, &asked)?;
        let none = let_through(cluster, &world.policies.iter().map(sealed).collect::<Vec<_>>(), &asked)?;
        ensure!(!none.iter().any(Verdict::both), "policies without rules let something through: {none:?} {asked:?}");
        let denied = found.iter().zip(verdicts).filter(|(_, verdict)| !verdict.both());
        kept = denied.map(|((kinds, traffic), verdict)| format!("{kinds:?} {verdict:?} {traffic}")).collect();
        seen.extend(found.into_iter().map(|(kinds, _)| kinds));
        let complete = wanted.iter().all(|(from, to)| seen.contains(&((*from).to_owned(), (*to).to_owned())));
        Ok((complete && kept.is_empty()).then_some(()))
    });
    looked.with_context(|| format!("seen: {seen:?}, kept from it: {kept:#?}"))
}

/// A policy for the same pods, without rules.
fn sealed(policy: &Value) -> Value {
    let mut sealed = policy.clone();
    sealed["spec"]["ingress"] = json!([]);
    sealed["spec"]["egress"] = json!([]);
    sealed
}

/// Pods, namespaces, services and policies of the cluster.
struct World {
    policies: Vec<Value>,
    pods: Vec<Value>,
    /// The labels of namespaces.
    namespaces: BTreeMap<String, Value>,
    /// The pods behind the addresses of services.
    services: BTreeMap<IpAddr, Vec<Value>>,
}

impl World {
    fn look(cluster: &Cluster) -> Result<World> {
        let all = |kind: &str| -> Result<Vec<Value>> {
            Ok(items(&cluster.get("default", &[kind, "--all-namespaces"])?).cloned().collect())
        };
        let mut pods = all("pods")?;
        pods.retain(|pod| pod["status"]["phase"] == "Running");
        let named = |object: &Value| (text(&object["metadata"]["name"]), object["metadata"]["labels"].clone());
        let namespaces = all("namespaces")?.iter().map(named).collect();
        let mut services = BTreeMap::new();
        for service in all("services")? {
            let namespace = &service["metadata"]["namespace"];
            let selector = &service["spec"]["selector"];
            let behind = pods.iter().filter(|pod| pod["metadata"]["namespace"] == *namespace && fits(pod, selector));
            if let Ok(address) = text(&service["spec"]["clusterIP"]).parse() {
                services.insert(address, behind.cloned().collect());
            }
        }
        // What the API server adds to objects is none of the policies' own.
        let policies = all("networkpolicies")?.into_iter().map(|mut policy| {
            let metadata = json!({"name": policy["metadata"]["name"], "namespace": policy["metadata"]["namespace"]});
            json!({"metadata": metadata, "spec": policy["spec"].take()})
        });
        Ok(World { policies: policies.collect(), pods, namespaces, services })
    }

    /// A pod that runs.
    fn pod(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.pods.iter().find(|pod| pod["metadata"]["namespace"] == namespace && pod["metadata"]["name"] == name)
    }

    fn peer(&self, namespace: &str, name: &str) -> Result<Value> {
        let pod = self.pod(namespace, name).with_context(|| format!("there is no pod {namespace}/{name}"))?;
        Ok(self.described(pod))
    }

    /// Some pod of ours of this role.
    fn one_of(&self, role: &str) -> Result<Value> {
        let pod = self.pods.iter().find(|pod| pod["metadata"]["namespace"] == HOME && role_of(pod) == role);
        Ok(self.described(pod.with_context(|| format!("there is no {role}"))?))
    }

    fn described(&self, pod: &Value) -> Value {
        let namespace = text(&pod["metadata"]["namespace"]);
        json!({"IP": pod["status"]["podIP"], "Internal": {
            "Namespace": namespace, "NamespaceLabels": self.namespaces[&namespace], "PodLabels": pod["metadata"]["labels"],
        }})
    }

    /// What agents and executors of the namespace are connected to, with the roles of both ends: as their kernel tells it.
    fn connections(&self, cluster: &Cluster, namespace: &str) -> Result<Vec<((String, String), Value)>> {
        let mut found = Vec::new();
        for pod in &self.pods {
            let (home, name, role) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]), role_of(pod));
            if (home.as_str(), role.as_str()) != (namespace, "executor") && role != "agent" {
                continue;
            }
            // An executor that is of no more use leaves.
            let read = ["exec", "-n", &home, &name, "--", "cat", "/proc/net/tcp", "/proc/net/tcp6"];
            let sockets: Vec<Socket> = cluster.try_kubectl(&read, "")?.stdout.lines().filter_map(Socket::parse).collect();
            let served: BTreeSet<u16> = sockets.iter().filter(|socket| socket.listens).map(|socket| socket.here.port()).collect();
            for socket in sockets.iter().filter(|socket| !socket.listens && !socket.there.ip().is_loopback()) {
                let comes = served.contains(&socket.here.port());
                for peer in self.at(socket.there.ip()) {
                    let (from, to, port) =
                        if comes { (&peer, pod, socket.here.port()) } else { (pod, &peer, socket.there.port()) };
                    // A pod's own node always reaches it, whatever policies say.
                    if !comes || role_of(from) != "nobody" {
                        let traffic = connection(&self.any(from), &self.any(to), port);
                        found.push(((role_of(from), role_of(to)), traffic));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The pods at an address, or behind it; else the address.
    fn at(&self, address: IpAddr) -> Vec<Value> {
        let pods: Vec<Value> =
            self.pods.iter().filter(|pod| text(&pod["status"]["podIP"]) == address.to_string()).cloned().collect();
        let behind = self.services.get(&address).filter(|behind| !behind.is_empty());
        if pods.is_empty() { behind.cloned().unwrap_or_else(|| vec![json!({"address": address.to_string()})]) } else { pods }
    }

    fn any(&self, peer: &Value) -> Value {
        if peer["metadata"].is_null() { json!({"IP": peer["address"]}) } else { self.described(peer) }
    }
}

/// Whether a pod has all labels of a selector, which names some.
fn fits(pod: &Value, selector: &Value) -> bool {
    selector.as_object().is_some_and(|labels| labels.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value))
}

fn role_of(pod: &Value) -> String {
    pod["metadata"]["labels"]["gleamflow.io/role"].as_str().unwrap_or("nobody").to_owned()
}

/// A connection over TCP, in the words of the judge. Both of our ports that have names have them in the chart.
fn connection(from: &Value, to: &Value, port: u16) -> Value {
    let name = if port == METRICS {
        "metrics"
    } else if port == OPERATOR {
        "grpc"
    } else {
        ""
    };
    json!({"Source": from, "Destination": to, "ResolvedPort": port, "ResolvedPortName": name, "Protocol": "TCP"})
}

/// What the policies of both ends say.
#[derive(Debug)]
struct Verdict {
    ingress: bool,
    egress: bool,
}

impl Verdict {
    fn both(&self) -> bool {
        self.ingress && self.egress
    }
}

fn let_through(cluster: &Cluster, policies: &[Value], traffic: &[Value]) -> Result<Vec<Verdict>> {
    let question = json!({"policies": policies, "traffic": traffic}).to_string();
    let output = outcome(&mut Command::new(&cluster.prepared().policies), Some(&question))?;
    ensure!(output.success, "{}", output.stderr);
    let answer: Vec<Value> = serde_json::from_str(&output.stdout).context("the judge's answer is not JSON")?;
    ensure!(answer.len() == traffic.len(), "{} answers to {} questions", answer.len(), traffic.len());
    Ok(answer.iter().map(|it| Verdict { ingress: it["ingress"] == true, egress: it["egress"] == true }).collect())
}

/// The API server's address.
fn server(cluster: &Cluster) -> Result<String> {
    let endpoints = cluster.get("default", &["endpointslices", "-l", "kubernetes.io/service-name=kubernetes"])?;
    let address = text(&endpoints["items"][0]["endpoints"][0]["addresses"][0]);
    ensure!(!address.is_empty(), "the API server has no address: {endpoints}");
    Ok(address)
}

/// A line of `/proc/net/tcp` or `tcp6`.
#[derive(Debug)]
struct Socket {
    here: SocketAddr,
    there: SocketAddr,
    listens: bool,
}

impl Socket {
    /// None of the line of titles, and of connections that are over.
    fn parse(line: &str) -> Option<Socket> {
        let mut words = line.split_whitespace().skip(1);
        let (here, there, state) = (address(words.next()?)?, address(words.next()?)?, words.next()?);
        ["01", "0A"].contains(&state).then_some(Socket { here, there, listens: state == "0A" })
    }
}

/// `0100007F:1CE8`: words of four bytes, each in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words = address.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let address = match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 16]>::try_from(bytes.as_slice())) {
        (Ok(bytes), _) => IpAddr::from(Ipv4Addr::from(bytes)),
        (_, Ok(bytes)) => IpAddr::from(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}
