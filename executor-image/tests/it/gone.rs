//! Flows that are deleted while they run, and their pods with them: all of the output or nothing, and nothing beside it.

use operator::master::api::{RunPhase, Runs};

use crate::loopback::{Cluster, run};

const STEPS: &str = "    - {name: numbers, read: {range: {to: 400}}}
    - {name: dealt, roundRobin: {}, partitions: 2}
    - {name: held, pipe: {command: 'while [ ! -e gate ]; do sleep 0.05; done; cat'}, deterministic: true}
    - {name: out, write: {csv: {path: out}}}
";

/// Deletes a flow as soon as it is so far, and looks at what is left; how many rows there are.
async fn deleted_when(so_far: impl Fn(&Cluster, &RunPhase) -> bool) -> Option<usize> {
    let mut cluster = Cluster::start(0).await;
    cluster.agent().await;
    let id = run("abc-1");
    cluster.apply(&id, STEPS);
    let mut executor = cluster.executor(&id, "flow-1-0").await;
    cluster.until("it is so far", || so_far(&cluster, &cluster.progress(&id).phase)).await;
    cluster.master.gone(&id);
    executor.terminate();
    cluster.until("the run is forgotten", || cluster.master.progress(&id).is_none()).await;
    assert_eq!(executor.exit().await, 0);
    let data = cluster.folder.path().join("data");
    let names = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = names.filter(|name| name != "out" && name != "gate").collect();
    assert_eq!(beside, [""; 0], "beside the output");
    data.join("out").exists().then(|| cluster.lines("out").len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_is_deleted_in_its_commit_has_all_of_its_output() {
    let rows = deleted_when(|cluster, phase| {
        if !cluster.folder.path().join("data/gate").exists() && *phase == RunPhase::Running {
            cluster.open("gate");
        }
        matches!(phase, RunPhase::Committing | RunPhase::Succeeded)
    });
    assert_eq!(rows.await, Some(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_is_deleted_before_its_commit_leaves_nothing() {
    let rows = deleted_when(|cluster, phase| {
        // Its tasks stand at the gate.
        *phase == RunPhase::Running && cluster.folder.path().join("data").exists()
    });
    assert_eq!(rows.await, None);
}
