//! One run's scheduling as a state machine: events in, commands out. Never does I/O, never asks for the time.
//!
//! ```text
//!  Inspect ─► Planned ─► ┌ walk: what do the sinks still need? what of it can run? ┐ ─► Stage ─► keep stdout ─► Committing ─► Commit
//!                        └ Split, Cut, Redo (recorded first); tasks to idle slots  ┘
//! ```
//!
//! Nothing is remembered about "where the run is": every time something changed, the walk starts at the sinks and finds which
//! outputs are wanted and not there. A lost output, a new leader, a slow agent are then all the same thing: something is missing.

mod agents;
mod assemble;
mod cut;
mod demand;
mod doubt;
mod ending;
pub mod event;
mod flow;
mod journal;
mod ledger;
mod naming;
mod output;
mod placement;
mod planning;
mod planted;
mod progress;
mod results;
mod resume;
mod retry;
mod slots;
mod staging;
mod switching;
mod tasks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use plan::MscrId;
use plan::task::{Attempt, TaskId};
use proto::Term;
use proto::master::{Settings, ToSlot};

use self::agents::Agent;
use self::ending::Ending;
use self::event::{Command, Event, SlotId};
use self::flow::Flow;
use self::journal::{Journal, Recorded};
use self::ledger::Ledger;
use self::output::Output;
use self::results::Results;
use self::resume::Resume;
use self::slots::Slot;
use self::staging::Staging;
use self::tasks::MapSpec;
use super::api::{Entry, Progress, RunPhase, RunSpec};

/// So long a walk may be put off while all slots are busy.
const LOOK: Duration = Duration::from_secs(1);

/// A run.
#[derive(Debug)]
pub struct Machine {
    spec: RunSpec,
    term: Term,
    now: Duration,
    stage: Stage,
    journal: Journal,
    recorded: Recorded,
    flow: Option<Flow>,
    /// As slots get it.
    encoded_plan: Vec<u8>,
    ledger: Ledger,
    slots: BTreeMap<SlotId, Slot>,
    agents: BTreeMap<String, Agent>,
    /// Map tasks of each stage, as far as what they read is known.
    maps: BTreeMap<MscrId, Vec<MapSpec>>,
    /// What could run, upstream first; to be found anew where `stale`.
    agenda: VecDeque<TaskId>,
    stale: bool,
    /// When the walk was last done, and whether all was there that the sinks need.
    looked: Duration,
    sinks_ready: bool,
    /// Whether another leader had it before.
    resumed: bool,
    failures: VecDeque<crds::status::Failure>,
    staging: Staging,
    output: Output,
    ending: Ending,
    /// Since when shuffles have had no room, or no agent was there.
    stalled: Option<Duration>,
    bytes_shuffled: u64,
    results: Results,
    out: Vec<Command>,
}

/// Where the run is.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// A new leader finds out what there is.
    Resuming(Resume),
    /// The sources are being looked at.
    Inspecting,
    /// Results of earlier runs are being looked up.
    LookingUp,
    /// The plan is being recorded.
    Planning,
    Running,
    /// Sinks are staged; what is left is to commit them.
    Committing,
    /// Failed or stopped: what was staged is being removed, until then at most.
    Winding {
        outcome: RunPhase,
        until: Duration,
    },
    Over(RunPhase),
    /// Another leader has it.
    Abandoned,
}

impl Machine {
    /// A run at its beginning or, where there is a record, taken up again.
    #[must_use]
    pub fn new(spec: RunSpec, term: Term, now: Duration) -> (Machine, Vec<Command>) {
        Machine::above(spec, term, 0, now)
    }

    fn above(mut spec: RunSpec, term: Term, given: u32, now: Duration) -> (Machine, Vec<Command>) {
        let record = std::mem::take(&mut spec.record);
        let mut machine = Machine {
            spec,
            term,
            now,
            stage: Stage::Inspecting,
            journal: Journal::default(),
            recorded: Recorded::default(),
            flow: None,
            encoded_plan: Vec::new(),
            ledger: Ledger::new(term),
            slots: BTreeMap::new(),
            agents: BTreeMap::new(),
            maps: BTreeMap::new(),
            agenda: VecDeque::new(),
            stale: true,
            looked: Duration::ZERO,
            sinks_ready: false,
            resumed: false,
            failures: VecDeque::new(),
            staging: Staging::default(),
            output: Output::default(),
            ending: Ending::default(),
            stalled: None,
            bytes_shuffled: 0,
            results: Results::default(),
            out: Vec::new(),
        };
        machine.ledger.skip_to(given);
        machine.begin(record);
        machine.advance();
        let commands = std::mem::take(&mut machine.out);
        (machine, commands)
    }

    /// The same run, taken up anew by the same leader from all of its record: as by a new leader, whose attempts have numbers
    /// above all that were given out before.
    #[must_use]
    pub fn again(&self, record: Vec<Entry>, now: Duration) -> (Machine, Vec<Command>) {
        let spec = RunSpec { record, ..self.spec.clone() };
        Machine::above(spec, self.term, self.ledger.highest_of_all(), now)
    }

    /// What follows from something that happened at `now` (since any fixed moment; never less than before).
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Command> {
        self.now = self.now.max(now);
        if self.stage != Stage::Abandoned {
            self.take(event);
            self.advance();
        }
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::SlotJoined { slot, hello } => self.slot_joined(slot, hello),
            Event::SlotLeft { slot } => self.slot_left(slot),
            Event::Progress { slot, attempt, rows, bytes } => self.slot_progress(slot, attempt, (rows, bytes)),
            Event::Done { slot, attempt, agent, done } => self.attempt_done(slot, attempt, agent, *done),
            Event::Failed { slot, attempt, failed } => self.attempt_failed(slot, attempt, *failed),
            Event::Draining { slot } => self.slot_draining(slot),
            Event::PodGone { pod, why } => self.pod_gone(&pod, &why),
            Event::Beat(beat) => self.beat(beat),
            Event::Recorded { at, result } => self.entry_recorded(at, result),
            Event::Named { agent, winners, missing } => self.named(&agent, &winners, &missing),
            Event::Inventory { agent, incarnation, outputs } => self.inventory(agent, incarnation, outputs),
            Event::OutputFetched { result } => self.output_fetched(result),
            Event::OutputKept { result } => self.output_kept(result),
            Event::Tick => self.tick(),
            Event::Stop { why } => self.stop(why),
        }
    }

    /// Goes on as far as it can without hearing more.
    fn advance(&mut self) {
        self.journal_write();
        match &self.stage {
            Stage::Resuming(_) => self.resume_if_ready(),
            Stage::Inspecting => self.offer(TaskId::Inspect),
            Stage::LookingUp => self.offer(TaskId::LookUp),
            Stage::Running => self.run_tasks(),
            Stage::Committing => self.offer(TaskId::Commit),
            Stage::Winding { .. } => self.wind(),
            Stage::Planning | Stage::Over(_) | Stage::Abandoned => {}
        }
        self.journal_write();
    }

    /// Looks what is to be done where something changed, and has it done.
    fn run_tasks(&mut self) {
        // Until it is known what is void, nothing can be decided.
        if self.is_recording(|entry| matches!(entry, Entry::Redo { .. })) {
            return;
        }
        // While every slot is busy nothing could start: now and then is often enough.
        let due = self.slots.values().any(Slot::is_idle) || self.now >= self.looked + LOOK;
        if self.stale && due {
            self.looked = self.now;
            self.sinks_ready = self.look_around();
        }
        if self.is_recording(|entry| matches!(entry, Entry::Redo { .. })) {
            return;
        }
        if self.sinks_ready && !self.stale {
            self.finish_sinks();
        }
        if matches!(self.stage, Stage::Running) {
            // First: a run that fails later is to have them.
            self.keep_results();
            self.give_out();
        }
    }

    fn tick(&mut self) {
        self.agents_silent();
        self.orphans_expired();
        self.check_stall();
        self.stale = true;
    }

    /// How the run stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.make_progress()
    }

    /// Where standard output is that is still on the agents; `None`: it is not all there.
    #[must_use]
    pub fn output(&self) -> Option<event::OutputRequest> {
        self.flow.as_ref().and_then(|_| self.output_request(false))
    }

    /// Whether nothing follows any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_) | Stage::Abandoned)
    }

    fn settings(&self) -> Settings {
        Settings {
            seed: self.spec.seed,
            memory: self.spec.slot_memory,
            task_deadline: self.spec.spec.task_deadline_seconds,
            partitions: self.recorded.partitions,
            results: self.results_place(),
        }
    }

    fn send(&mut self, slot: SlotId, message: ToSlot) {
        self.out.push(Command::Send { slot, message });
    }

    fn flow(&self) -> &Flow {
        self.flow.as_ref().expect("planned before anything runs")
    }

    /// Whether an attempt must not count.
    fn is_void(&self, attempt: Attempt) -> bool {
        let Some(flow) = &self.flow else { return false };
        self.recorded.is_void(flow.set_of(attempt.task), attempt) || self.ledger.is_forgotten(attempt.task)
    }

    /// Ends attempts that nobody waits for.
    fn cancel(&mut self, attempts: &BTreeSet<Attempt>) {
        let busy = |slot: &Slot| slot.work.filter(|work| attempts.contains(work));
        let found: Vec<(SlotId, Attempt)> =
            self.slots.iter().filter_map(|(id, slot)| busy(slot).map(|attempt| (*id, attempt))).collect();
        for (slot, attempt) in found {
            self.send(slot, ToSlot::Cancel { attempt });
        }
        for attempt in attempts {
            self.ledger.entry(attempt.task).running.retain(|running| running.attempt != *attempt);
        }
    }
}
