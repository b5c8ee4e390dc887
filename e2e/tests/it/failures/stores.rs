//! Who dies while flows write to an object store: its requests stand still at a moment of each flow's own, and go on once everybody is
//! dead, as requests do that were on their way.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Namespace};
use serde_json::{Value, json};

use super::hard::{self, CLAIM, Gates, Input, SINKS, TASKS};
use super::{kill, leftovers};
use crate::ClusterTest;
use crate::product::{self, Shared, await_complete, condition, status, text, until};
use crate::store::{Door, Object, Store};

const BYTES: u64 = 1 << 20;
const BUCKET: &str = "results";

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("failures::executors_killed_at_a_commit_to_an_object_store_cost_nothing", executors),
        ("failures::a_leader_killed_at_a_commit_to_an_object_store_costs_nothing", leader),
        ("failures::an_agent_killed_while_sinks_are_staged_costs_what_it_held", agent),
        ("failures::a_flow_deleted_while_it_commits_to_an_object_store_is_committed", deleted),
    ]
}

/// Where a flow stands: its name.
const ALL: [&str; 3] = [STAGING, COMPLETING, MARKING];
/// All tasks are done; of the second sink nothing is staged yet.
const STAGING: &str = "staging";
/// It commits; some objects of the first sink are there.
const COMPLETING: &str = "completing";
/// The first sink is there with its marker, the second without.
const MARKING: &str = "marking";

/// The requests at which a flow stands still.
fn door(flow: &str) -> Door {
    let (method, parts) = match flow {
        STAGING => ("PUT", ["/sample/part-", "partNumber="]),
        COMPLETING => ("POST", ["/rows/part-00001", "uploadId="]),
        _ => ("PUT", ["/sample/", "_SUCCESS"]),
    };
    Door::new(flow, method, &[&format!("/{BUCKET}/{flow}/"), parts[0], parts[1]])
}

/// Flows that write to a store, each with one executor.
struct Fleet<'c> {
    cluster: &'c Cluster,
    store: Store,
    shared: Shared<'c>,
    namespace: Namespace,
    input: Input,
    flows: Vec<(&'static str, Gates)>,
}

impl<'c> Fleet<'c> {
    /// Starts them, and waits until each stands at its moment.
    fn stand(cluster: &'c Cluster, purpose: &str, names: &[&'static str]) -> Result<Fleet<'c>> {
        product::install(cluster)?;
        kill::await_fresh(cluster)?;
        let namespace = cluster.namespace(&format!("failures-store-{purpose}"))?;
        let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
        let input = Input::write(shared.path(), BYTES)?;
        let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
            "stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}});
        cluster.apply(namespace.name(), &keys)?;
        let mut fleet = Fleet { cluster, store: Store::start(cluster)?, shared, namespace, input, flows: Vec::new() };
        names.iter().try_for_each(|name| fleet.launch(name))?;
        for name in names {
            fleet.store.await_waiting(name).with_context(|| format!("{name}: {:#}", fleet.status(name)))?;
            fleet.check_moment(name).with_context(|| format!("{name}: {:#}", fleet.status(name)))?;
        }
        Ok(fleet)
    }

    fn launch(&mut self, name: &'static str) -> Result<()> {
        self.store.close(door(name));
        let gates = Gates::new(self.shared.path(), name, [usize::MAX; 3])?;
        let mut flow = hard::flow_to(name, &format!("s3://{BUCKET}/{name}"), &gates, 1, 0.0);
        flow["spec"]["storage"]["objectStores"] = json!([{
            "prefix": format!("s3://{BUCKET}"), "secretRef": {"name": "keys"}, "endpoint": self.store.endpoint, "region": "here"
        }]);
        // Clients do not wait for ever: what stands still for long is tried again.
        flow["spec"]["retry"]["limit"] = json!(1000);
        self.cluster.apply(self.namespace.name(), &flow)?;
        self.flows.push((name, gates));
        Ok(())
    }

    fn status(&self, name: &str) -> Value {
        status(self.cluster, self.namespace.name(), name).unwrap_or_default()
    }

    fn objects(&self, flow: &str, sink: &str) -> Vec<Object> {
        self.store.objects(&format!("{BUCKET}/{flow}/{sink}/"))
    }

    /// What is to be seen of the flow while it stands.
    fn check_moment(&self, name: &str) -> Result<()> {
        let marked = |objects: &[Object]| objects.iter().any(|object| object.key.ends_with("/_SUCCESS"));
        let (rows, sample, totals) = (self.objects(name, "rows"), self.objects(name, "sample"), self.objects(name, "totals"));
        let is_right = match name {
            STAGING => rows.is_empty() && sample.is_empty(),
            COMPLETING => !rows.is_empty() && !marked(&rows) && sample.is_empty(),
            _ => marked(&rows) && !sample.is_empty() && !marked(&sample),
        };
        ensure!(is_right && totals.is_empty(), "it stands elsewhere: {:?}", keys(&self.store.objects(BUCKET)));
        let phase = text(&self.status(name)["phase"]);
        // It is told at most once a second.
        ensure!(name != STAGING || phase != "Committing", "it commits before all is staged");
        Ok(())
    }

    /// Waits until all are complete, and looks at everything; how many attempts more than tasks came to each gate.
    fn finish(&self, what: &str, since: Instant) -> Result<Vec<(&'static str, [usize; 3])>> {
        let mut all = Vec::new();
        for (name, gates) in &self.flows {
            let status = await_complete(self.cluster, self.namespace.name(), name)?;
            let seconds = since.elapsed().as_secs_f64();
            ensure!(text(&status["currentRun"]["id"]).ends_with("-1"), "{name} ran twice: {status:#}");
            ensure!(condition(&status, "Failed").is_null(), "{name} is Failed too: {status:#}");
            self.check_results(name).with_context(|| format!("{what}: {name}: {status:#}"))?;
            let mut again = [0; 3];
            for (at, gate) in gates.all().into_iter().enumerate() {
                again[at] = gate.came()?.len().checked_sub(TASKS[at]).context("not all tasks came to a gate")?;
            }
            eprintln!("figure: {what}: {name}: complete after {seconds:.0} s; done again {again:?}");
            all.push((*name, again));
        }
        self.no_leftovers()?;
        Ok(all)
    }

    /// The objects of a flow are those of one attempt, the marker last, and hold exactly the rows.
    fn check_results(&self, name: &str) -> Result<()> {
        let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
        for sink in SINKS {
            let objects = self.objects(name, sink);
            write_down(&objects, &folder.path().join(sink)).with_context(|| format!("{sink}: {:?}", keys(&objects)))?;
        }
        let all = self.store.objects(&format!("{BUCKET}/{name}/"));
        let of_sinks: usize = SINKS.iter().map(|sink| self.objects(name, sink).len()).sum();
        ensure!(all.len() == of_sinks, "there are other objects: {:?}", keys(&all));
        hard::check_rows(folder.path(), self.input)
    }

    fn no_leftovers(&self) -> Result<()> {
        let mut uploads = Vec::new();
        // Those of other attempts go behind the marker.
        let gone = until(product::PATIENCE, "no unfinished uploads", || {
            uploads = self.store.uploads();
            Ok(uploads.is_empty().then_some(()))
        });
        gone.with_context(|| format!("there are some to {uploads:?}"))?;
        let flows: Vec<&str> = self.flows.iter().map(|(name, _)| *name).collect();
        leftovers::none(self.cluster, self.namespace.name(), &[], self.shared.path(), &flows)
    }
}

fn keys(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.key.as_str()).collect()
}

/// Gives a sink's objects the names that files have.
fn write_down(objects: &[Object], folder: &Path) -> Result<()> {
    fs::create_dir(folder).context("failed to make a folder")?;
    let (mut marker, mut last, mut attempts) = (0, 0, Vec::new());
    for object in objects {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        if name == "_SUCCESS" {
            marker = object.change;
            continue;
        }
        let of = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".tsv")).and_then(|rest| rest.split_once('-'));
        let (number, attempt) = of.with_context(|| format!("{name} is no part"))?;
        attempts.push(attempt.to_owned());
        last = last.max(object.change);
        fs::write(folder.join(format!("part-{number}.tsv")), &object.bytes).context("failed to write an object down")?;
    }
    ensure!(marker > last, "the marker is not the last");
    attempts.dedup();
    ensure!(attempts.len() == 1, "parts of attempts {attempts:?}");
    Ok(())
}

fn nothing_again(all: &[(&str, [usize; 3])]) -> Result<()> {
    ensure!(all.iter().all(|(_, again)| *again == [0; 3]), "attempts more than tasks: {all:?}");
    Ok(())
}

fn executors(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::stand(cluster, "executors", &ALL)?;
    let since = Instant::now();
    for (name, _) in &fleet.flows {
        kill::await_executor(cluster, fleet.namespace.name(), name)?.kill(cluster)?;
    }
    fleet.store.open();
    nothing_again(&fleet.finish("executor killed at an object store", since)?)
}

fn leader(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::stand(cluster, "leader", &ALL)?;
    let operators = kill::operators(cluster)?;
    let since = Instant::now();
    operators.leader.kill(cluster)?;
    fleet.store.open();
    nothing_again(&fleet.finish("leader killed at an object store", since)?)
}

/// Pieces that are still to be staged are lost: their tasks run again, and all that came of rows that may come out otherwise.
fn agent(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::stand(cluster, "agent", &[STAGING])?;
    let node = kill::await_executor(cluster, fleet.namespace.name(), STAGING)?.node;
    let since = Instant::now();
    kill::agent(cluster, &node)?.kill(cluster)?;
    fleet.store.open();
    let all = fleet.finish("agent killed while sinks are staged", since)?;
    // All that there was, once more; what the executor began before the loss was known; and what it then tried to leave at an agent
    // that was not back yet.
    let once_more = TASKS.map(|tasks| tasks + 2);
    let fits = all.iter().all(|(_, again)| again.iter().zip(once_more).all(|(again, most)| *again <= most));
    ensure!(fits, "attempts more than tasks: {all:?}");
    Ok(())
}

/// Its executor has its grace period to end what it does.
fn deleted(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::stand(cluster, "deleted", &[COMPLETING, MARKING])?;
    let since = Instant::now();
    for (name, _) in &fleet.flows {
        cluster.kubectl(&["delete", "gleamflow", name, "-n", fleet.namespace.name()])?;
    }
    fleet.store.open();
    for (name, _) in &fleet.flows {
        let mut last = Ok(());
        let whole = until(product::PATIENCE, &format!("all output of {name}"), || {
            last = fleet.check_results(name);
            Ok(last.is_ok().then_some(()))
        });
        whole.with_context(|| format!("{last:?}"))?;
        eprintln!("figure: a flow was deleted at its commit: {name}: whole after {:.0} s", since.elapsed().as_secs_f64());
    }
    fleet.no_leftovers()
}
