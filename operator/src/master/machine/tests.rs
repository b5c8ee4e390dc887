//! Single courses of a run, told event by event.

mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use plan::task::{Attempt, Done, Failed, Fault, Piece, PieceName, Task, TaskId, Work};
use proto::Term;
use proto::master::ToSlot;

use super::Machine;
use super::event::{AgentBeat, Command, Event, Found, SlotHello, SlotId};
use crate::master::api::{Entry, RunPhase, RunSpec};

const FLOW: &str = r#"
apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {name: small}
spec:
  steps:
    - name: numbers
      read: {range: {from: 0, to: 10}}
    - name: shown
      write: {text: {path: out}}
"#;

/// A machine with one slot on each of some nodes, an agent on each of `a` and `b`; what it wants is done at once.
struct Course {
    machine: Machine,
    now: Duration,
    given: Vec<(SlotId, Task, String)>,
    commands: Vec<Command>,
    entries: Vec<Entry>,
}

impl Course {
    fn new(record: Vec<Entry>) -> Course {
        let document = crds::Document::parse(FLOW, "flow.yaml").unwrap();
        let spec = RunSpec {
            id: "small-1".to_owned().try_into().unwrap(),
            namespace: "default".to_owned(),
            flow: "small".to_owned(),
            spec: document.flow.spec,
            seed: 1,
            slot_memory: 1 << 30,
            record: record.clone(),
        };
        let (machine, commands) = Machine::new(spec, Term(1), Duration::ZERO);
        let mut course = Course { machine, now: Duration::ZERO, given: Vec::new(), commands: Vec::new(), entries: record };
        course.obey(commands);
        for node in ["a", "b"] {
            course.beat(node, false);
        }
        course
    }

    fn beat(&mut self, node: &str, waiting: bool) {
        let (address, node) = (format!("{node}:7401"), node.to_owned());
        let beat = AgentBeat { address, node, incarnation: 1, holds: false, waiting, used: 0, limit: 100 };
        self.tell(Event::Beat(beat));
    }

    fn slot(&mut self, id: u64, node: &str) {
        let hello = SlotHello { pod: format!("pod-{id}"), node: node.to_owned(), number: 0, incarnation: id, busy: None };
        self.tell(Event::SlotJoined { slot: SlotId(id), hello });
    }

    fn tell(&mut self, event: Event) {
        let commands = self.machine.handle(event, self.now);
        self.obey(commands);
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command.clone() {
                Command::Record { at, entry } => {
                    self.entries.push(entry);
                    self.tell(Event::Recorded { at, result: Ok(()) });
                }
                Command::Name { agent, winners, .. } => self.tell(Event::Named { agent, winners, missing: Vec::new() }),
                Command::Send { slot, message: ToSlot::Run { task, output } } => self.given.push((slot, *task, output)),
                _ => self.commands.push(command),
            }
        }
    }

    /// Ends the attempt that was given out last.
    fn done(&mut self, done: Done) -> Task {
        let (slot, task, agent) = self.given.pop().expect("something was given out");
        self.tell(Event::Done { slot, attempt: task.attempt, agent, done: Box::new(done) });
        task
    }

    fn failed(&mut self, fault: Fault) -> Attempt {
        let (slot, task, _) = self.given.pop().expect("something was given out");
        let failed = Box::new(Failed { step: Some("shown".to_owned()), message: "it broke".to_owned(), fault });
        self.tell(Event::Failed { slot, attempt: task.attempt, failed });
        task.attempt
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.beat("a", false);
            self.beat("b", false);
            self.tell(Event::Tick);
        }
    }

    fn phase(&self) -> RunPhase {
        self.machine.progress().phase
    }

    /// Up to the task that stages.
    fn to_stage(&mut self) {
        self.slot(1, "b");
        let task = self.done(splits());
        assert!(matches!(task.work, Work::Split { .. }));
        let task = self.done(written());
        assert!(matches!(task.work, Work::Map { .. }));
    }
}

fn splits() -> Done {
    let answer = plan::task::Answer::Splits(BTreeMap::new());
    Done { answer: Some(answer), ..Done::default() }
}

fn written() -> Done {
    // The write is the flow's second node.
    let name = PieceName::Write { node: plan::NodeId(1), number: 0 };
    Done { pieces: vec![Piece { name, rows: 10, bytes: 100, frames: 1 }], ..Done::default() }
}

fn staged() -> Done {
    Done { answer: Some(plan::task::Answer::Staged(plan::task::Manifest::default())), ..Done::default() }
}

#[test]
fn a_run_lists_maps_stages_records_and_commits() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    assert_eq!(course.given[0].2, "b:7401", "the output goes to the agent of the slot's node");
    let task = course.done(staged());
    assert!(matches!(&task.work, Work::Stage { sinks } if sinks["shown"].len() == 1), "{task:?}");
    assert!(matches!(course.entries.last(), Some(Entry::Committing { .. })));
    assert_eq!(course.phase(), RunPhase::Committing);
    assert_eq!(course.done(Done::default()).attempt.task, TaskId::Commit);
    assert_eq!(course.phase(), RunPhase::Succeeded);
    assert!(course.commands.iter().any(|command| matches!(command, Command::Send { message: ToSlot::Leave { .. }, .. })));
    course.tell(Event::Stop { why: "late".to_owned() });
    assert_eq!(course.phase(), RunPhase::Succeeded, "what is over stays over");
}

#[test]
fn a_run_that_commits_is_not_stopped_and_does_not_fail() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    course.done(staged());
    course.tell(Event::Stop { why: "cancelled".to_owned() });
    for fault in [Fault::Hopeless, Fault::Flow, Fault::Flow, Fault::Flow, Fault::Flow, Fault::Infrastructure] {
        assert_eq!(course.failed(fault).task, TaskId::Commit);
        assert_eq!(course.phase(), RunPhase::Committing);
        assert_eq!(course.machine.progress().waiting.unwrap().0, "CommitRetried");
        course.wait(70);
    }
    course.done(Done::default());
    assert_eq!(course.phase(), RunPhase::Succeeded);
}

#[test]
fn a_function_that_always_fails_does_so_after_its_retries_with_its_message_and_pod() {
    let mut course = Course::new(Vec::new());
    course.slot(1, "a");
    course.done(splits());
    for _ in 0..4 {
        course.failed(Fault::Flow);
        course.wait(10);
    }
    let RunPhase::Failed { reason, message } = course.phase() else { panic!("{:?}", course.phase()) };
    assert_eq!((reason.as_str(), message.as_str()), ("UdfError", "step \"shown\": it broke"));
    let failure = &course.machine.progress().failures[0];
    assert_eq!((failure.attempt, failure.pod.as_deref(), failure.stage.as_str()), (4, Some("pod-1"), "m1"));
    assert!(course.given.is_empty(), "nothing was staged, nothing is left to remove");
}

#[test]
fn what_was_staged_goes_when_the_run_is_stopped() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    course.tell(Event::Stop { why: "cancelled".to_owned() });
    let (slot, task, _) = course.given.pop().unwrap();
    assert!(course.commands.iter().any(|command| matches!(command, Command::Send { message: ToSlot::Cancel { .. }, .. })));
    let stopped = Box::new(Failed { fault: Fault::Stopped, ..Failed::default() });
    course.tell(Event::Failed { slot, attempt: task.attempt, failed: stopped });
    // Once more, as an attempt was heard of since the end was decided.
    for _ in 0..2 {
        assert_eq!(course.done(Done::default()).attempt.task, TaskId::Discard);
    }
    assert_eq!(course.phase(), RunPhase::Failed { reason: "Stopped".to_owned(), message: "cancelled".to_owned() });
}

#[test]
fn shuffles_without_room_are_told_of_and_fail_the_run_in_the_end() {
    let mut course = Course::new(Vec::new());
    course.slot(1, "a");
    for _ in 0..599 {
        course.now += Duration::from_secs(1);
        course.beat("a", true);
        course.tell(Event::Tick);
    }
    assert_eq!(course.machine.progress().waiting.unwrap().0, "ShuffleSpace");
    assert_eq!(course.phase(), RunPhase::Running);
    for _ in 0..5 {
        course.now += Duration::from_secs(1);
        course.beat("a", true);
        course.tell(Event::Tick);
    }
    assert!(matches!(course.phase(), RunPhase::Failed { reason, .. } if reason == "Stalled"));
}

#[test]
fn without_agents_a_run_waits_and_says_so() {
    let mut course = Course::new(Vec::new());
    for _ in 0..30 {
        course.now += Duration::from_secs(1);
        course.tell(Event::Tick);
    }
    course.slot(1, "a");
    assert!(course.given.is_empty());
    assert_eq!(course.machine.progress().waiting.unwrap().0, "AgentsNotReady");
}

#[test]
fn a_task_goes_to_the_node_that_holds_what_it_reads() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    // The staging slot fails; of the others the one beside the data gets it, though it came later.
    let before = course.given.len();
    course.slot(2, "a");
    course.slot(3, "b");
    assert_eq!(course.given.len(), before);
    course.failed(Fault::Infrastructure);
    assert_eq!(course.given.last().unwrap().0, SlotId(3), "not where it failed, but beside the data");
}

#[test]
fn retries_wait_longer_and_longer_and_the_loss_of_executors_costs_none() {
    let mut course = Course::new(Vec::new());
    course.slot(1, "a");
    course.slot(2, "b");
    course.done(splits());
    for wait in [1, 2, 4] {
        for _ in 0..5 {
            course.failed(Fault::Infrastructure);
            course.wait(10);
        }
        course.failed(Fault::Flow);
        course.wait(wait - 1);
        assert!(course.given.is_empty(), "it waits for {wait} s");
        course.wait(1);
        assert_eq!(course.given.len(), 1, "it has waited for {wait} s");
    }
    course.failed(Fault::Flow);
    assert!(matches!(course.phase(), RunPhase::Failed { reason, .. } if reason == "UdfError"));
}

#[test]
fn an_end_is_recorded_before_anything_that_was_staged_goes() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    course.failed(Fault::Hopeless);
    assert!(matches!(course.entries.last(), Some(Entry::Ended { reason, .. }) if reason == "Invalid"), "{:?}", course.entries);
    assert_eq!(course.given.last().unwrap().1.attempt.task, TaskId::Discard);
    let stage = course.given.last().unwrap().1.attempt.number;
    assert!(stage > 1, "it removes what attempts of lower numbers have staged");
    // Another leader comes before it is done: the run has ended all the same.
    let mut next = Course::new(course.entries.clone());
    next.slot(1, "a");
    assert_eq!(next.done(Done::default()).attempt.task, TaskId::Discard);
    assert!(matches!(next.phase(), RunPhase::Failed { reason, .. } if reason == "Invalid"));
}

#[test]
fn a_stage_attempt_that_is_heard_of_late_has_its_files_removed_by_another_commit() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    let (slot, late, agent) = course.given.pop().unwrap();
    course.tell(Event::SlotLeft { slot });
    course.slot(2, "a");
    course.wait(11);
    course.done(staged());
    assert_eq!(course.phase(), RunPhase::Committing);
    let (_, commit, _) = course.given.last().unwrap();
    assert_eq!(commit.attempt.task, TaskId::Commit);
    course.tell(Event::Done { slot, attempt: late.attempt, agent, done: Box::new(staged()) });
    course.done(Done::default());
    assert_eq!(course.phase(), RunPhase::Committing, "one more");
    assert_eq!(course.done(Done::default()).attempt.task, TaskId::Commit);
    assert_eq!(course.phase(), RunPhase::Succeeded);
}

#[test]
fn an_agent_that_was_given_up_is_not_waited_for() {
    let mut course = Course::new(Vec::new());
    course.slot(1, "b");
    course.done(splits());
    let (slot, task, agent) = course.given.pop().unwrap();
    // The agent of that node falls silent for good; long after, its slot is done.
    for _ in 0..25 {
        course.now += Duration::from_secs(1);
        course.beat("a", false);
        course.tell(Event::Tick);
    }
    course.tell(Event::Done { slot, attempt: task.attempt, agent, done: Box::new(written()) });
    course.wait(1);
    let (_, again, agent) = course.given.last().expect("it is made again");
    assert_eq!((again.attempt.task, agent.as_str()), (task.attempt.task, "a:7401"));
}

#[test]
fn a_commit_is_done_even_by_a_slot_that_is_about_to_go() {
    let mut course = Course::new(Vec::new());
    course.to_stage();
    let staging = course.given.pop().unwrap();
    course.tell(Event::Draining { slot: SlotId(1) });
    course.given.push(staging);
    course.done(staged());
    course.wait(2);
    assert_eq!(course.given.last().map(|(_, task, _)| task.attempt.task), Some(TaskId::Commit));
}

#[test]
fn what_a_slot_tells_a_new_leader_does_not_count_beside_what_was_named() {
    let mut before = Course::new(Vec::new());
    before.slot(1, "b");
    before.done(splits());
    let task = before.given[0].1.attempt.task;
    let (late, named) = (Attempt { task, number: 1 }, Attempt { task, number: 2 });

    let mut course = Course::new(before.entries.clone());
    let hello = SlotHello { pod: "pod-1".to_owned(), node: "b".to_owned(), number: 0, incarnation: 1, busy: Some(late) };
    course.tell(Event::SlotJoined { slot: SlotId(1), hello });
    let (agent, done) = ("b:7401".to_owned(), Box::new(written()));
    course.tell(Event::Done { slot: SlotId(1), attempt: late, agent, done });
    let (agent, found) = ("a:7401".to_owned(), Found { attempt: named, named: true, done: Some(written()) });
    course.tell(Event::Inventory { agent, incarnation: 1, outputs: vec![found] });
    course.wait(11);
    let (_, stage, _) = course.given.last().expect("it goes on");
    assert!(matches!(&stage.work, Work::Stage { sinks } if sinks["shown"][0].attempt == named), "{stage:?}");
}

#[test]
fn numbers_of_attempts_go_on_above_those_of_an_earlier_installation() {
    let mut before = Course::new(Vec::new());
    before.slot(1, "b");
    before.done(splits());
    let earlier = before.given[0].1.attempt;
    // Its terms begin with 1 again.
    let mut record = before.entries.clone();
    record.push(Entry::Anew { terms: 1024 });
    let mut course = Course::new(record);
    course.slot(1, "b");
    course.wait(11);
    let attempt = course.given.last().expect("it goes on").1.attempt;
    assert_eq!(attempt.task, earlier.task);
    assert!(attempt.number > 1024 << 16 && earlier.number < 2 << 16, "{earlier:?}, then {attempt:?}");
}
