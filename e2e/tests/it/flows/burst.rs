//! Many small flows at once: each runs once, in one pod.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::pods::{PodWatch, uids};
use crate::product::{self, User, await_complete};

const FLOWS: usize = 60;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::a_burst_of_60_runs_each_flow_once_in_one_pod", a_burst_of_60_runs_each_flow_once_in_one_pod)]
}

fn a_burst_of_60_runs_each_flow_once_in_one_pod(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-burst")?;
    let user = User::new(cluster, namespace.name())?;
    let watch = PodWatch::start(cluster, namespace.name())?;
    let led = product::changes_of_leader(cluster)?;
    let start = Instant::now();
    let flows: Vec<Value> = (0..FLOWS).map(word_count).collect();
    cluster.apply(namespace.name(), &json!({"apiVersion": "v1", "kind": "List", "items": flows}))?;
    for number in 0..FLOWS {
        await_complete(cluster, namespace.name(), &name(number))?;
    }
    eprintln!("figure: {FLOWS} small flows at once: {:.1} s from apply to the last Complete", start.elapsed().as_secs_f64());
    for number in 0..FLOWS {
        let found = product::sorted(&user.gleamflow(cluster, &["output", &name(number)])?);
        let wanted = product::sorted(&format!("all\t{}\nonly-{number}\t1", 2));
        ensure!(found == wanted, "flow {number}: {found:?} is not {wanted:?}");
    }
    let seen = watch.seen()?;
    let pods = uids(&seen);
    let doubled: Vec<_> = pods.iter().filter(|(_, uids)| uids.len() != 1).collect();
    ensure!(doubled.is_empty(), "made twice: {doubled:?}");
    let changes = product::changes_of_leader(cluster)? - led;
    if changes == 0 {
        ensure!(pods.len() == FLOWS, "{FLOWS} small flows ran in {} pods: {:?}", pods.len(), pods.keys());
    } else {
        // The executor of a run may have left when its end was not written down yet: the next leader needs another one.
        eprintln!("figure: the leader changed {changes} times meanwhile, and {FLOWS} small flows ran in {} pods", pods.len());
        ensure!(pods.len() >= FLOWS, "some of {FLOWS} flows ran in no pod: {:?}", pods.keys());
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("burst-{number}")
}

fn word_count(number: usize) -> Value {
    let steps = json!([
        {"name": "lines", "read": {"inline": {"lines": [format!("all only-{number}"), "all"]}}},
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%S+') end"}},
        {"name": "counts", "count": {}},
        {"name": "show", "write": {"stdout": {"format": "%s\t%d"}}}
    ]);
    product::flow(&name(number), steps, json!({}))
}
