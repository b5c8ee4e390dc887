//! What must hold in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::status::{PersistState, Persisted};
use plan::task::{Attempt, TaskId};
use plan::{Do, Op, Sink};

use super::super::content;
use super::World;
use crate::master::api::{Entry, Progress, RunPhase};
use crate::master::machine::event::Event;
use crate::master::machine::flow::Flow;

/// So long it takes to hear what an agent holds whose link is whole again, and to refuse what does not count.
const SETTLED: Duration = Duration::from_secs(20);

impl World {
    /// How the run stands.
    pub(in super::super) fn progress(&self) -> Progress {
        self.leaders[self.current()].machine.progress()
    }

    /// Whatever happened: what the record says is what the world shows, and nothing is left over.
    pub(in super::super) fn check(&mut self) {
        let outcome = self.outcome.clone().unwrap();
        let commits = self.record.iter().any(|(_, entry)| matches!(entry, Entry::Committing { .. }));
        let ended = self.record.iter().any(|(_, entry)| matches!(entry, Entry::Ended { .. }));
        assert!(!(commits && ended), "the record says both");
        match outcome {
            RunPhase::Succeeded => {
                assert!(!ended, "a run that has ended has succeeded");
                self.check_result();
                self.check_lineage();
            }
            RunPhase::Failed { .. } => {
                assert!(!commits, "a run that commits has failed: {outcome:?}");
                assert!(self.volume.visible.is_none(), "output of a run that failed");
            }
            other => panic!("{other:?}"),
        }
        self.check_left();
        self.check_named();
        self.check_over();
    }

    /// Every sink holds exactly the rows that the graph says.
    fn check_result(&self) {
        let plan = &self.worker.as_ref().unwrap().plan;
        let mut expected: BTreeMap<&str, (Vec<u64>, bool)> = BTreeMap::new();
        for node in plan.graph.nodes.values() {
            if let Op::ParallelDo(Do::Write(sink)) = &node.op {
                let (rows, files) = expected.entry(&node.step).or_default();
                rows.extend(content::expected(plan, node.inputs[0]));
                *files = matches!(sink, Sink::Files { .. });
            }
        }
        for (step, (mut rows, files)) in expected {
            let found = if files { &self.volume.visible.as_ref().unwrap().sinks[step].encoded } else { &self.kept.1[step] };
            let mut found: Vec<u64> = found.chunks(8).map(|id| u64::from_be_bytes(id.try_into().unwrap())).collect();
            found.sort_unstable();
            rows.sort_unstable();
            assert_eq!(found, rows, "step {step}");
        }
    }

    /// Of rows that may come out otherwise, all that went into the output are of one attempt of each task.
    fn check_lineage(&self) {
        let flow = Flow::new(self.worker.as_ref().unwrap().plan.clone()).unwrap();
        let last = self.volume.visible.iter().flat_map(|manifest| manifest.sinks.values().map(|sink| sink.location.as_str()));
        let staged = last.map(|number| Attempt { task: TaskId::Stage, number: number.parse().unwrap() });
        let mut open: Vec<Attempt> = staged.chain(self.shown.iter().copied()).collect();
        let mut seen: BTreeSet<Attempt> = BTreeSet::new();
        while let Some(attempt) = open.pop() {
            if seen.insert(attempt) {
                open.extend(self.read.get(&attempt).into_iter().flatten());
            }
        }
        let mut of: BTreeMap<TaskId, u32> = BTreeMap::new();
        for attempt in seen.iter().filter(|attempt| flow.indeterminate.contains(&flow.set_of(attempt.task))) {
            let number = *of.entry(attempt.task).or_insert(attempt.number);
            assert_eq!(number, attempt.number, "two attempts of {} went into the output", attempt.task);
        }
    }

    /// Staged files are gone, but for those of slots that nobody could reach before the end.
    fn check_left(&self) {
        let unreachable = self.faults.cuts > 0 || self.faults.leaders > 0;
        let hidden = |number: &u32| unreachable && self.late.contains(number);
        let left: Vec<&u32> = self.volume.staged.keys().filter(|number| !hidden(number)).collect();
        assert!(left.is_empty(), "staged files of attempts {left:?} are left");
    }

    /// Of each task one attempt at most is named somewhere, where one leader had time enough to refuse the others.
    fn check_named(&self) {
        if self.leaders.len() > 1 {
            return;
        }
        let mut of: BTreeMap<TaskId, Attempt> = BTreeMap::new();
        for agent in self.agents.iter().filter(|agent| agent.cut_until + SETTLED < self.ended) {
            for attempt in agent.held.iter().filter(|(_, (named, ..))| *named).map(|(attempt, _)| *attempt) {
                let other = *of.entry(attempt.task).or_insert(attempt);
                assert_eq!(other, attempt, "two attempts are named");
            }
        }
    }

    /// What is over stays over.
    fn check_over(&mut self) {
        let leader = self.current();
        let outcome = self.outcome.clone().unwrap();
        for event in [
            Event::Tick,
            Event::Stop { why: "late".to_owned() },
            Event::PodGone { pod: "sim-1-0".to_owned(), why: String::new() },
        ] {
            self.tell(leader, event);
        }
        let progress = self.leaders[leader].machine.progress();
        assert_eq!(progress.phase, outcome);
        let open = |result: &Persisted| result.state == PersistState::Making;
        assert!(!progress.persisted.iter().any(open), "{:?}", progress.persisted);
        if outcome == RunPhase::Succeeded {
            // Whoever led when it was done.
            assert_eq!(progress.done, progress.known, "{progress:#?}");
            assert!(progress.stages.iter().all(|stage| stage.succeeded == stage.desired), "{progress:#?}");
        }
    }

    /// How often tasks that make pieces were begun, and how many such tasks there were.
    pub(in super::super) fn work(&self) -> (usize, usize) {
        let makes = |task: &&TaskId| matches!(task, TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. });
        let begun = self.begun.iter().filter(|(task, _)| makes(task));
        (begun.clone().map(|(_, times)| times).sum(), begun.count())
    }

    /// How often tasks failed by their own fault.
    pub(in super::super) fn flow_faults(&self) -> u32 {
        self.flow_faults.values().copied().max().unwrap_or(0)
    }
}
