//! Functions that eat memory or never end: they cost their task, and the slot beside goes on; a whole executor without memory.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Namespace};
use serde_json::{Value, json};

use super::kill::{self, Target};
use crate::ClusterTest;
use crate::gate::Gate;
use crate::pods::{PodWatch, uids};
use crate::product::{self, Shared, User, await_complete, status, text, until};

const CLAIM: &str = "data";
const FLOW: &str = "beside";
const ROWS: u32 = 4;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("failures::a_function_that_eats_memory_costs_its_task_alone", greedy_function),
        ("failures::a_pipe_that_eats_memory_costs_its_task_alone", greedy_pipe),
        ("failures::a_function_that_never_ends_costs_its_task_alone", endless),
        ("failures::an_executor_without_memory_costs_the_tasks_it_ran", starved),
    ]
}

/// A namespace with a volume, and one flow in it.
struct Place<'c> {
    cluster: &'c Cluster,
    watch: PodWatch,
    user: User,
    shared: Shared<'c>,
    namespace: Namespace,
}

impl<'c> Place<'c> {
    fn new(cluster: &'c Cluster, purpose: &str) -> Result<Place<'c>> {
        product::install(cluster)?;
        kill::await_fresh(cluster)?;
        let namespace = cluster.namespace(&format!("failures-{purpose}"))?;
        let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
        let user = User::new(cluster, namespace.name())?;
        let watch = PodWatch::start(cluster, namespace.name())?;
        Ok(Place { cluster, watch, user, shared, namespace })
    }

    fn status(&self) -> Result<Value> {
        status(self.cluster, self.namespace.name(), FLOW)
    }

    /// Its message, as soon as a task has failed.
    fn await_failure(&self) -> Result<String> {
        let mut last = Value::Null;
        let message = until(product::PATIENCE, "a failed task", || {
            last = self.status()?;
            Ok(last["failures"][0]["message"].as_str().map(str::to_owned))
        });
        message.with_context(|| format!("its status: {last:#}"))
    }

    fn executor(&self) -> Result<Target> {
        kill::await_executor(self.cluster, self.namespace.name(), FLOW)
    }

    /// All rows, once, after one retry; made by so many pods.
    fn finish(&self, what: &str, since: Instant, pods: usize) -> Result<()> {
        let status = await_complete(self.cluster, self.namespace.name(), FLOW)?;
        let found = product::sorted(&self.user.gleamflow(self.cluster, &["output", FLOW])?);
        let wanted = product::sorted(&(0..ROWS).map(|row| format!("{row}\n")).collect::<String>());
        ensure!(found == wanted, "it gives {found:?}");
        let stages = status["stages"].as_array().cloned().unwrap_or_default();
        let retried: i64 = stages.iter().filter_map(|stage| stage["retried"].as_i64()).sum();
        eprintln!(
            "figure: {what}: complete after {:.0} s; retried {retried}, failures {}",
            since.elapsed().as_secs_f64(),
            status["failures"]
        );
        let seen = self.watch.seen()?;
        let made = uids(&seen);
        ensure!(made.len() == pods && made.values().all(|uids| uids.len() == 1), "it ran in pods {made:?}");
        Ok(())
    }
}

/// What the first task to come does, once.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Lua(&'static str),
    Shell(&'static str),
}

/// Numbers dealt to four tasks, one of which does something bad. `behind`: a step behind that.
fn steps(bad: Bad, behind: &Value) -> Value {
    let (shell, bad) = match bad {
        Bad::Shell(bad) => (bad, ""),
        Bad::Lua(bad) => ("true", bad),
    };
    let first = format!("if mkdir first 2>/dev/null; then tag=bad; {shell}; else tag=good; fi; exec sed \"s/\\$/\\t$tag/\"");
    json!([
        {"name": "numbers", "read": {"range": {"to": ROWS}}},
        {"name": "dealt", "roundRobin": {}, "partitions": ROWS},
        {"name": "tagged", "pipe": {"command": first}, "deterministic": true},
        {"name": "done", "map": {"lua": format!("function(x, tag) if tag == 'bad' then {bad} end return x end")}},
        behind,
        {"name": "show", "write": {"stdout": {}}}
    ])
}

/// Two slots in one executor.
fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "storage": Shared::storage(CLAIM),
        "executors": {"maxReplicas": 1, "slots": 2, "resources": {"limits": {"memory": "384Mi"}, "requests": {"cpu": "100m"}}}
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    spec
}

/// The allocator of functions refuses.
fn greedy_function(cluster: &Cluster) -> Result<()> {
    let bad = "local t = {} for i = 1, 1e9 do t[i] = string.rep('x', 1e6) .. i end";
    greedy(cluster, Bad::Lua(bad), "not enough memory")
}

/// The executor sees what a slot's processes hold, and ends them.
fn greedy_pipe(cluster: &Cluster) -> Result<()> {
    // More than a slot may have, less than the kernel minds; held until the executor, which looks ten times a second, has seen it.
    let bad = "(head -c 200M /dev/zero; sleep 600) | tail -c 600M >/dev/null";
    greedy(cluster, Bad::Shell(bad), "the task used more than 160 MiB")
}

fn greedy(cluster: &Cluster, bad: Bad, words: &str) -> Result<()> {
    let place = Place::new(cluster, "greedy")?;
    // The task beside stands there while the glutton eats.
    let gate = Gate::new(place.shared.path(), "beside", 0)?;
    cluster.apply(place.namespace.name(), &product::flow(FLOW, steps(bad, &gate.step("gate")), spec(&json!({}))))?;
    let message = place.await_failure()?;
    let since = Instant::now();
    ensure!(message.contains(words), "it failed of {message:?}");
    gate.await_waiting(1)?;
    let executor = place.executor()?;
    gate.open()?;
    place.finish(&format!("memory was eaten ({message})"), since, 1)?;
    let status = place.status()?;
    let stages = status["stages"].as_array().cloned().unwrap_or_default();
    let retried: i64 = stages.iter().filter_map(|stage| stage["retried"].as_i64()).sum();
    ensure!(retried == 1, "not one task was tried again: {status:#}");
    ensure!(status["failures"].as_array().is_some_and(|all| all.len() == 1), "not one task has failed: {status:#}");
    ensure!(text(&status["failures"][0]["pod"]) == executor.pod, "{status:#}");
    Ok(())
}

fn endless(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "endless")?;
    let behind = json!({"name": "same", "map": {"lua": "function(x) return x end"}});
    let more = json!({"taskDeadlineSeconds": 90});
    cluster.apply(place.namespace.name(), &product::flow(FLOW, steps(Bad::Lua("while true do end"), &behind), spec(&more)))?;
    // While one loops, the slot beside does all the others.
    let mut last = Value::Null;
    let beside = until(product::PATIENCE, "all tasks but the endless one", || {
        let status = place.status()?;
        last = status.clone();
        ensure!(status["failures"].is_null(), "the endless task was over before the others");
        let stages = status["stages"].as_array().cloned().unwrap_or_default();
        let busy = stages
            .iter()
            .any(|stage| stage["active"] == 1 && stage["desired"].as_u64() == stage["succeeded"].as_u64().map(|done| done + 1));
        let done: u64 = stages.iter().filter_map(|stage| stage["succeeded"].as_u64()).sum();
        Ok((busy && done >= u64::from(ROWS) - 1).then_some(()))
    });
    beside.with_context(|| format!("its status: {last:#}"))?;
    let since = Instant::now();
    let message = place.await_failure()?;
    ensure!(message.contains("taskDeadlineSeconds (90 s)"), "it failed of {message:?}");
    place.finish(&format!("a function never ended ({message})"), since, 1)
}

/// Memory that belongs to no process, in a file, until the kernel has to kill one: the executor itself, as the test asks for.
fn starved(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "starved")?;
    let gate = Gate::new(place.shared.path(), "beside", 0)?;
    let fill = gate.command("mkdir filled 2>/dev/null && head -c 600M /dev/zero > /fill/file; exec cat");
    let behind = json!({"name": "filling", "pipe": {"command": fill}, "deterministic": true});
    let mut spec = spec(&json!({}));
    spec["executors"]["template"] = json!({"spec": {
        "volumes": [{"name": "fill", "emptyDir": {"medium": "Memory"}}],
        "containers": [{"name": "executor", "volumeMounts": [{"name": "fill", "mountPath": "/fill"}]}]
    }});
    cluster.apply(place.namespace.name(), &product::flow(FLOW, steps(Bad::Lua(""), &behind), spec))?;
    gate.await_waiting(2)?;
    let executor = place.executor()?;
    executor.offer_to_kernel(cluster)?;
    let since = Instant::now();
    gate.open()?;
    // Its pod stays until the run is over.
    until(product::PATIENCE, "an executor that the kernel killed", || {
        let pod = cluster.get(place.namespace.name(), &["pod", &executor.pod])?;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(ended.is_null() || ended["reason"] == "OOMKilled", "it ended otherwise: {ended}");
        Ok((!ended.is_null()).then_some(()))
    })?;
    place.finish("an executor had no memory left", since, 2)
}
