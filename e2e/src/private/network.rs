//! The private cluster's network: a bridge with the control plane on it, a network namespace per node, plain routes to pods.

use std::process::Command;

use anyhow::Result;

use super::node::Node;
use crate::command;

const BRIDGE: &str = "cluster";
/// The API server, on the bridge.
pub(crate) const SERVER: &str = "172.30.0.1";
/// The API server as pods see it: the first address of services.
pub(crate) const SERVICE: &str = "10.96.0.1";
pub(crate) const SERVICES: &str = "10.96.0.0/16";
pub(crate) const PODS: &str = "10.244.0.0/16";

pub(crate) fn node_address(number: u8) -> String {
    format!("172.30.0.{}", 10 + number)
}

pub(crate) fn pod_range(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// Makes the bridge and joins the nodes to it.
pub(crate) fn make(nodes: &[Node]) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{SERVER}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    // What goes over the bridge is not for this namespace's packet filter; a kernel without that option has none to ask.
    let _ = command::run(Command::new("sysctl").args(["-qw", "net.bridge.bridge-nf-call-iptables=0"]));
    sysctl(None, "net.ipv4.ip_forward=1")?;
    nodes.iter().try_for_each(join)
}

fn join(node: &Node) -> Result<()> {
    let (name, link) = (node.name.as_str(), node.link());
    ip(&["netns", "add", name])?;
    ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name])?;
    ip(&["link", "set", &link, "master", BRIDGE, "up"])?;
    ip(&["-n", name, "address", "add", &format!("{}/24", node.address), "dev", "eth0"])?;
    ip(&["-n", name, "link", "set", "eth0", "up"])?;
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    ip(&["-n", name, "route", "add", "default", "via", SERVER])?;
    ip(&["route", "add", &node.pods, "via", &node.address])?;
    sysctl(Some(name), "net.ipv4.ip_forward=1")
}

/// Takes a node's link to all others away, or gives it back.
pub(crate) fn set_link(node: &Node, state: &str) -> Result<()> {
    ip(&["link", "set", &node.link(), state])
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::run(Command::new("ip").args(arguments)).map(drop)
}

/// Sets a kernel parameter, in a node's network or in ours.
fn sysctl(node: Option<&str>, setting: &str) -> Result<()> {
    let mut set = node.map_or_else(|| Command::new("sysctl"), |node| in_network(node, "sysctl"));
    command::run(set.args(["-qw", setting])).map(drop)
}

/// A program in a node's network. (`ip netns exec` would hide the control groups below /sys from it.)
pub(crate) fn in_network(node: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{node}")).arg(program);
    command
}
