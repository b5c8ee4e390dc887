//! Hard flows that stand at different moments at the same time, so that one kill meets all of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Namespace};
use serde_json::Value;

use super::hard::{self, CLAIM, Gates, Input, TASKS, is_part, names};
use super::kill::{self, Target};
use super::leftovers;
use crate::pods::{PodWatch, most_at_once};
use crate::product::{self, Shared, await_complete_within, condition, status, text, until};

/// Flows over so many bytes end within the usual patience, where twenty programs want each core, too.
const USUAL: u64 = 10 << 20;

/// Where a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// One map task is done, others wait.
    Early,
    /// Two tasks behind the first shuffle are done, others wait.
    Shuffling,
    /// One of the last tasks is done, others wait.
    Late,
    /// One sink of three is there, of the second the files but not the marker.
    Committing,
    /// It is complete.
    Over,
}

pub(crate) const ALL: [Moment; 5] = [Moment::Early, Moment::Shuffling, Moment::Late, Moment::Committing, Moment::Over];

impl Moment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Moment::Early => "early",
            Moment::Shuffling => "shuffling",
            Moment::Late => "late",
            Moment::Committing => "committing",
            Moment::Over => "over",
        }
    }

    /// How many tasks get through each gate.
    fn through(self) -> [usize; 3] {
        const OPEN: usize = usize::MAX;
        match self {
            Moment::Early => [1, OPEN, OPEN],
            Moment::Shuffling => [OPEN, 2, OPEN],
            Moment::Late => [OPEN, OPEN, 1],
            Moment::Committing | Moment::Over => [OPEN; 3],
        }
    }

    pub(crate) fn executors(self) -> usize {
        match self {
            Moment::Early | Moment::Shuffling | Moment::Late => 3,
            Moment::Committing | Moment::Over => 1,
        }
    }
}

/// One flow.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) moment: Moment,
    gates: Gates,
}

/// All of them, in a namespace of their own.
pub(crate) struct Fleet<'c> {
    cluster: &'c Cluster,
    watch: PodWatch,
    shared: Shared<'c>,
    namespace: Namespace,
    input: Input,
    members: Vec<Member>,
    patience: Duration,
    /// Nodes that were taken away: pods there are beside the count.
    outage: Vec<String>,
}

/// Where attempts were when somebody was killed, per gate: the pods of all that came, and of those that waited.
#[derive(Debug)]
pub(crate) struct Stood {
    pub(crate) came: [Vec<String>; 3],
    pub(crate) waiting: [Vec<String>; 3],
    /// The executors that ran.
    pub(crate) executors: Vec<Target>,
}

/// How many attempts more than tasks may come to each gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Exactly([usize; 3]),
    AtMost([usize; 3]),
}

impl<'c> Fleet<'c> {
    /// Starts a flow for each of these moments, over so many bytes.
    pub(crate) fn begin(cluster: &'c Cluster, purpose: &str, bytes: u64, moments: &[Moment]) -> Result<Fleet<'c>> {
        product::install(cluster)?;
        kill::await_fresh(cluster)?;
        let namespace = cluster.namespace(&format!("failures-{purpose}"))?;
        let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
        let input = Input::write(shared.path(), bytes)?;
        let watch = PodWatch::start(cluster, namespace.name())?;
        let patience = product::PATIENCE * u32::try_from((bytes / USUAL).max(1))?;
        let (members, outage) = (Vec::new(), Vec::new());
        let mut fleet = Fleet { cluster, watch, shared, namespace, input, members, patience, outage };
        for moment in moments {
            fleet.launch(*moment)?;
        }
        Ok(fleet)
    }

    fn launch(&mut self, moment: Moment) -> Result<()> {
        let (name, folder) = (moment.name(), self.shared.path());
        let gates = Gates::new(folder, name, moment.through())?;
        if moment == Moment::Committing {
            for obstacle in self.obstacles() {
                fs::create_dir_all(obstacle.join("in-the-way")).context("failed to make an obstacle")?;
            }
            product::open_to_all(&folder.join(format!("out-{name}")))?;
            // Sticky: who commits may make files there, but not put aside what is another's.
            let sink = folder.join(format!("out-{name}/sample"));
            fs::set_permissions(&sink, fs::Permissions::from_mode(0o1777)).context("failed to guard the obstacles")?;
        }
        self.cluster.apply(self.namespace.name(), &hard::flow(name, &gates, moment.executors(), 0.0))?;
        self.members.push(Member { name, moment, gates });
        Ok(())
    }

    /// A folder where the marker goes, so that a commit gets to there and no further; and one that keeps the sink's own folder from
    /// being replaced with all that is in it.
    fn obstacles(&self) -> [PathBuf; 2] {
        let sink = self.shared.path().join(format!("out-{}/sample", Moment::Committing.name()));
        [sink.join("_SUCCESS"), sink.join("_other")]
    }

    /// Waits until every flow stands at its moment; where each then is.
    pub(crate) fn stand(&self) -> Result<BTreeMap<&'static str, Stood>> {
        let mut stood = BTreeMap::new();
        for member in &self.members {
            let reached = self.reach(member).with_context(|| {
                let status = status(self.cluster, self.namespace.name(), member.name).unwrap_or_default();
                format!("{} does not get to its moment: {status:#}", member.name)
            });
            reached?;
        }
        for member in &self.members {
            stood.insert(member.name, self.look(member)?);
        }
        Ok(stood)
    }

    fn reach(&self, member: &Member) -> Result<()> {
        match member.moment {
            Moment::Early => member.gates.map.await_waiting_within(2, self.patience),
            Moment::Shuffling => member.gates.reduce.await_waiting_within(3, self.patience),
            Moment::Late => member.gates.last.await_waiting_within(3, self.patience),
            Moment::Committing => {
                let place = self.shared.path().join(format!("out-{}", member.name));
                until(self.patience, "a commit that cannot go on", || {
                    let status = status(self.cluster, self.namespace.name(), member.name)?;
                    Ok((status["phase"] == "Committing" && status["reason"] == "CommitRetried").then_some(()))
                })?;
                ensure!(place.join("rows/_SUCCESS").is_file(), "the first sink is not there");
                let has_parts =
                    |sink: &str| Ok::<bool, anyhow::Error>(names(&place.join(sink))?.iter().any(|name| is_part(name)));
                ensure!(!has_parts("sample")?, "the second sink's files came beside a marker of before");
                ensure!(!has_parts("totals")?, "the third sink came before the second one's marker");
                Ok(())
            }
            Moment::Over => await_complete_within(self.cluster, self.namespace.name(), member.name, self.patience).map(drop),
        }
    }

    fn look(&self, member: &Member) -> Result<Stood> {
        let [map, reduce, last] = member.gates.all();
        Ok(Stood {
            came: [map.came()?, reduce.came()?, last.came()?],
            waiting: [map.waiting()?, reduce.waiting()?, last.waiting()?],
            executors: kill::executors(self.cluster, self.namespace.name(), member.name)?,
        })
    }

    /// A node is being taken away: its pods are beside the count from now on.
    pub(crate) fn without(&mut self, node: &str) {
        self.outage.push(node.to_owned());
    }

    /// Lets everything go on.
    pub(crate) fn open(&self) -> Result<()> {
        for member in &self.members {
            member.gates.all().into_iter().try_for_each(|gate| gate.open())?;
            if member.moment == Moment::Committing {
                self.obstacles().iter().try_for_each(fs::remove_dir_all).context("failed to remove an obstacle")?;
            }
        }
        Ok(())
    }

    /// Waits until all are complete, and looks at everything. `again`: how much may have been done again.
    pub(crate) fn finish(&self, what: &str, since: Instant, again: impl Fn(&Member) -> Again) -> Result<()> {
        for member in &self.members {
            let status = await_complete_within(self.cluster, self.namespace.name(), member.name, self.patience)?;
            let seconds = since.elapsed().as_secs_f64();
            self.check(member, &status).with_context(|| format!("{what}: {}: {status:#}", member.name))?;
            let done = self.count(member)?;
            eprintln!(
                "figure: {what}: {}: complete after {seconds:.0} s; done again {done:?}, said to be retried {}, failures {}",
                member.name,
                retried(&status),
                reasons(&status)
            );
            let fits = match again(member) {
                Again::Exactly(wanted) => done == wanted,
                Again::AtMost(most) => done.iter().zip(most).all(|(done, most)| *done <= most),
            };
            ensure!(fits, "{what}: {}: {done:?} attempts more than tasks, not {:?}: {status:#}", member.name, again(member));
        }
        self.no_leftovers()
    }

    /// Has all flows deleted.
    pub(crate) fn delete(&self) -> Result<()> {
        for member in &self.members {
            self.cluster.kubectl(&["delete", "gleamflow", member.name, "-n", self.namespace.name()])?;
        }
        Ok(())
    }

    /// Of flows that were deleted: waits until all of their output is there, and nothing else.
    pub(crate) fn end_whole(&self, what: &str, since: Instant) -> Result<()> {
        for member in &self.members {
            let mut last = Ok(());
            let whole = until(self.patience, &format!("all output of {}", member.name), || {
                last = hard::check(self.shared.path(), member.name, self.input);
                Ok(last.is_ok().then_some(()))
            });
            whole.with_context(|| format!("{last:?}"))?;
            eprintln!("figure: {what}: {}: whole after {:.0} s", member.name, since.elapsed().as_secs_f64());
        }
        self.no_leftovers()
    }

    fn check(&self, member: &Member, status: &Value) -> Result<()> {
        ensure!(text(&status["currentRun"]["id"]).ends_with("-1"), "it ran twice");
        ensure!(condition(status, "Failed").is_null(), "it is Failed too");
        let (tasks, stages) = (status["stages"].as_array(), "a stage is not done");
        ensure!(tasks.into_iter().flatten().all(|stage| stage["succeeded"] == stage["desired"]), stages);
        hard::check(self.shared.path(), member.name, self.input)?;
        let most = most_at_once(&self.watch.seen()?, member.name, &self.outage);
        ensure!(most <= member.moment.executors(), "{most} executors at once");
        Ok(())
    }

    /// How many attempts more than tasks came to each gate.
    fn count(&self, member: &Member) -> Result<[usize; 3]> {
        let mut done = [0; 3];
        for (at, gate) in member.gates.all().into_iter().enumerate() {
            let came = gate.came()?.len();
            done[at] =
                came.checked_sub(TASKS[at]).with_context(|| format!("only {came} of {} tasks came to a gate", TASKS[at]))?;
        }
        Ok(done)
    }

    /// Waits until nothing but the results is left.
    pub(crate) fn no_leftovers(&self) -> Result<()> {
        let flows: Vec<&str> = self.members.iter().map(|member| member.name).collect();
        let nodes = self.cluster.get("default", &["nodes"])?;
        let down = product::items(&nodes).filter(|node| condition(&node["status"], "Ready")["status"] != "True");
        let down: Vec<String> = down.map(|node| text(&node["metadata"]["name"])).collect();
        leftovers::none(self.cluster, self.namespace.name(), &down, self.shared.path(), &flows)
    }

    /// Whatever comes back later: what is over stays as it is.
    pub(crate) fn stays_over(&self) -> Result<()> {
        for member in &self.members {
            let status = status(self.cluster, self.namespace.name(), member.name)?;
            ensure!(condition(&status, "Complete")["status"] == "True", "{} is not complete any more: {status:#}", member.name);
            self.check(member, &status).with_context(|| format!("{}: {status:#}", member.name))?;
        }
        self.no_leftovers()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.name()
    }
}

fn retried(status: &Value) -> i64 {
    status["stages"].as_array().into_iter().flatten().filter_map(|stage| stage["retried"].as_i64()).sum()
}

fn reasons(status: &Value) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for failure in status["failures"].as_array().into_iter().flatten() {
        *counts.entry(text(&failure["reason"])).or_default() += 1;
    }
    format!("{counts:?}")
}
