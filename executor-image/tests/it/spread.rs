//! Random flows as a cluster runs them, without a cluster: the master's machine hands single tasks to workers, whose pieces lie
//! at agents that are maps. The result must be what the naive interpreter makes of the unoptimized graph.
//!
//! `GLEAMFLOW_SPREAD_FLOWS=2000 cargo test --release -p executor --test it spread` runs more, `GLEAMFLOW_SPREAD_SEED=17` only that one.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::worker::{Exchange, Frames, Results, Watch, Worker, WorkerOptions};
use engine::{Batch, Error, Stores};
use operator::master::api::{Entry, RunPhase, RunSpec};
use operator::master::machine::Machine;
use operator::master::machine::event::{AgentBeat, Command, Event, Found, SlotHello, SlotId};
use oracle::{Actual, GeneratedFlow, Random, Seeds};
use plan::task::{Attempt, Done, Failed, Fault, Held, TaskId};
use proto::master::ToSlot;
use proto::{RunId, Term};

/// Tasks run on the thread of their check, one after the other.
const SEEDS: Seeds = Seeds { name: "SPREAD", flows: 150, workers: 1, stack: engine::run::STACK };

#[test]
fn random_flows_spread_over_slots_and_agents_give_what_the_naive_interpreter_gives() {
    SEEDS.check(check);
}

fn check(flow: &GeneratedFlow) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let base = folder.path();
    flow.write_files(base).map_err(|error| error.to_string())?;
    let checked = flow.checked()?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, base)?;
    // The second run finds what the first one kept of persisted collections.
    for trouble in [flow.seed % 2 == 1, flow.seed.is_multiple_of(2)] {
        let mut cluster = Cluster::new(&flow.yaml, base, flow.seed, trouble)?;
        let outcome = cluster.run()?;
        if outcome != RunPhase::Succeeded {
            return Err(format!("trouble {trouble}: {outcome:?}"));
        }
        for (step, expected) in &expected {
            let plan::Sink::Files { path, .. } = &expected.sink else { return Err(format!("{step} writes no files")) };
            let actual = Actual::read(&base.join(path))?;
            oracle::matches(expected, &actual).map_err(|message| format!("trouble {trouble}: {step}: {message}"))?;
            if !base.join(path).join("_SUCCESS").exists() {
                return Err(format!("trouble {trouble}: {step} has no _SUCCESS"));
            }
        }
        let left = staged_below(&base.join("out"));
        if !left.is_empty() {
            return Err(format!("trouble {trouble}: {left:?} are left over"));
        }
        std::fs::remove_dir_all(base.join("out")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Staging directories below a directory.
fn staged_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let (staged, others): (Vec<_>, Vec<_>) = entries.partition(|path| path.to_string_lossy().contains("staging-"));
    let below = others.iter().filter(|path| path.is_dir()).flat_map(|path| staged_below(path));
    staged.iter().cloned().chain(below).collect()
}

/// A flow of the test's own, run to its end; how it then stands.
fn run_flow(steps: &str, base: &Path) -> operator::master::api::Progress {
    let yaml = format!("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: flow}}\nspec:\n  steps:\n{steps}");
    let mut cluster = Cluster::new(&yaml, base, 1, false).unwrap();
    cluster.run().unwrap();
    cluster.machine.progress()
}

#[test]
fn poison_rows_that_a_step_sets_aside_are_counted_as_in_a_run_in_one_process() {
    let base = tempfile::tempdir().unwrap();
    let steps = "
    - {name: numbers, read: {range: {from: 0, to: 100}}}
    - name: clean
      map: {lua: 'function(x) if x % 10 == 3 then error(\"bad\") end return x end'}
      onError: {policy: Skip}
    - {name: spread, roundRobin: {}, partitions: 5}
    - name: again
      map: {lua: 'function(x) if x % 10 == 4 then error(\"worse\") end return x end'}
      onError: {policy: DeadLetter, to: poisoned}
    - {name: good, from: [again], write: {text: {path: out/good}}}
    - {name: poisoned, write: {text: {path: out/poisoned}}}
";
    let progress = run_flow(steps, base.path());
    assert_eq!(progress.phase, RunPhase::Succeeded, "{progress:?}");
    assert_eq!(progress.set_aside, BTreeMap::from([("clean".to_owned(), 10), ("again".to_owned(), 10)]));
    let rows = |path: &str| {
        let files = std::fs::read_dir(base.path().join(path)).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| std::fs::read_to_string(file).unwrap().lines().count()).sum::<usize>()
    };
    assert_eq!((rows("out/good"), rows("out/poisoned")), (80, 10));
}

#[test]
fn a_function_that_always_fails_is_told_with_its_message_its_row_and_its_pod() {
    let base = tempfile::tempdir().unwrap();
    let steps = "
    - {name: numbers, read: {range: {from: 0, to: 10}}}
    - name: broken
      map: {lua: 'function(x) if x == 7 then error(\"no sevens\") end return x end'}
    - {name: out, write: {text: {path: out}}}
";
    let progress = run_flow(steps, base.path());
    let RunPhase::Failed { reason, message } = &progress.phase else { panic!("{progress:?}") };
    assert!(reason == "UdfError" && message.contains("no sevens") && message.contains("row (7)"), "{message}");
    assert_eq!(progress.failures.len(), 4, "once and three retries");
    for failure in &progress.failures {
        assert!(failure.message.contains("no sevens") && failure.message.contains("row (7)"), "{failure:?}");
        assert_eq!((failure.reason.as_str(), failure.step.as_deref()), ("UdfError", Some("broken")));
        assert!(failure.pod.as_ref().is_some_and(|pod| pod.starts_with("pod-")), "{failure:?}");
    }
    assert!(!base.path().join("out").exists());
}

#[test]
fn an_output_that_is_in_the_way_fails_the_run_without_a_retry() {
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("out")).unwrap();
    std::fs::write(base.path().join("out/mine"), "precious").unwrap();
    let steps = "
    - {name: numbers, read: {range: {from: 0, to: 10}}}
    - {name: out, write: {text: {path: out}}}
";
    let progress = run_flow(steps, base.path());
    let RunPhase::Failed { reason, message } = &progress.phase else { panic!("{progress:?}") };
    assert!(reason == "Invalid" && message.contains("already holds data"), "{reason}: {message}");
    assert_eq!(progress.failures.len(), 1);
    assert_eq!(std::fs::read_dir(base.path().join("out")).unwrap().count(), 1, "nothing is staged there any more");
}

/// What an agent holds of one attempt.
#[derive(Debug, Default)]
struct Output {
    pieces: Vec<Vec<Batch>>,
    done: Option<Done>,
    named: bool,
}

/// All agents, by address.
#[derive(Debug, Default)]
struct Agents {
    held: Mutex<BTreeMap<String, BTreeMap<Attempt, Output>>>,
}

/// One running attempt's way to the agents.
#[derive(Debug)]
struct Wire {
    agents: Arc<Agents>,
    attempt: Attempt,
    output: String,
}

impl Exchange for Wire {
    fn put(&self, piece: u32, batch: Batch) -> engine::Result<()> {
        let mut held = self.agents.held.lock().unwrap();
        let output = held.entry(self.output.clone()).or_default().entry(self.attempt).or_default();
        if output.pieces.len() <= piece as usize {
            output.pieces.resize_with(piece as usize + 1, Vec::new);
        }
        output.pieces[piece as usize].push(batch);
        Ok(())
    }

    fn fetch(&self, pieces: &[Held], agents: &[String]) -> engine::Result<Frames> {
        let held = self.agents.held.lock().unwrap();
        let mut frames = Vec::new();
        for piece in pieces {
            let output = held.get(&agents[piece.agent as usize]).and_then(|outputs| outputs.get(&piece.attempt));
            let Some(output) = output else {
                let (attempt, lost) = (format!("fetch {}", piece.attempt), vec![piece.attempt]);
                return Err(Error::Exchange { attempt, lost, source: "it is gone".into() });
            };
            assert!(output.named, "{} is read before it is named", piece.attempt);
            frames.extend(output.pieces[piece.piece as usize][piece.first as usize..piece.end as usize].iter().cloned().map(Ok));
        }
        Ok(Box::new(frames.into_iter()))
    }
}

/// A run, and all that it talks to.
pub(crate) struct Cluster {
    pub(crate) machine: Machine,
    spec: RunSpec,
    agents: Arc<Agents>,
    slots: BTreeMap<SlotId, Worker>,
    options: WorkerOptions,
    record: Vec<Entry>,
    events: VecDeque<Event>,
    now: Duration,
    random: Random,
    /// Whether agents lose everything now and then, and leaders change.
    trouble: bool,
    term: u64,
    done: u32,
}

impl Cluster {
    /// Results of its persisted collections outlive its runs. `trouble`: of what kind, is drawn from `seed`.
    pub(crate) fn new(yaml: &str, base: &Path, seed: u64, trouble: bool) -> Result<Cluster, String> {
        let document = crds::Document::parse(yaml, "flow.yaml").map_err(|problems| format!("{problems:?}"))?;
        let mut flow = document.flow.spec;
        flow.cache.enabled = true;
        let scratch = base.join("scratch");
        std::fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
        let spec = RunSpec {
            id: RunId::try_from("run-1".to_owned()).map_err(|error| error.to_string())?,
            namespace: "default".to_owned(),
            flow: "flow".to_owned(),
            spec: flow,
            seed: 7,
            slot_memory: 8 << 20,
            record: Vec::new(),
        };
        let options = WorkerOptions {
            base: base.to_owned(),
            scratch,
            memory: 8 << 20,
            seed: 7,
            partitions: None,
            stores: Stores::from_environment(),
            run: "run-1".to_owned(),
        };
        let (machine, commands) = Machine::new(spec.clone(), Term(1), Duration::ZERO);
        let mut cluster = Cluster {
            machine,
            spec,
            agents: Arc::default(),
            slots: BTreeMap::new(),
            options,
            record: Vec::new(),
            events: VecDeque::new(),
            now: Duration::ZERO,
            random: Random::new(seed ^ 0x5eed),
            trouble,
            term: 1,
            done: 0,
        };
        cluster.carry_out(commands);
        cluster.join();
        Ok(cluster)
    }

    /// Two agents and three slots on two nodes say hello.
    fn join(&mut self) {
        for node in ["a", "b"] {
            self.events.push_back(self.beat(node));
        }
        for number in 0..3 {
            let slot = SlotId(self.term * 10 + number);
            let node = ["a", "b"][number as usize % 2].to_owned();
            let hello = SlotHello { pod: format!("pod-{number}"), node, number: 0, incarnation: slot.0, busy: None };
            self.slots.insert(slot, Worker::new(self.options.clone()));
            self.events.push_back(Event::SlotJoined { slot, hello });
        }
    }

    fn beat(&self, node: &str) -> Event {
        let held = self.agents.held.lock().unwrap();
        let holds = held.get(node).is_some_and(|outputs| !outputs.is_empty());
        let node = node.to_owned();
        Event::Beat(AgentBeat { address: node.clone(), node, incarnation: 1, holds, waiting: false, used: 0, limit: 1 << 30 })
    }

    pub(crate) fn run(&mut self) -> Result<RunPhase, String> {
        for _ in 0..200_000 {
            if self.machine.is_over() {
                return Ok(self.machine.progress().phase);
            }
            let event = self.events.pop_front().unwrap_or_else(|| {
                self.now += Duration::from_secs(1);
                Event::Tick
            });
            if event == Event::Tick {
                self.events.extend([self.beat("a"), self.beat("b")]);
            }
            self.now += Duration::from_micros(10);
            let commands = self.machine.handle(event, self.now);
            self.carry_out(commands);
        }
        Err(format!("does not end: {:?}", self.machine.progress()))
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        let term = self.term;
        for command in commands {
            self.carry_out_one(command);
            if self.term != term {
                // Another leads since: what the one before still wanted is not said any more.
                break;
            }
        }
    }

    fn carry_out_one(&mut self, command: Command) {
        match command {
            Command::Send { slot, message } => self.deliver(slot, message),
            Command::Name { agent, winners, fenced } => self.name(agent, winners, &fenced),
            Command::Release { agent, attempts } => {
                let mut held = self.agents.held.lock().unwrap();
                held.entry(agent).or_default().retain(|attempt, _| !attempts.contains(attempt));
            }
            Command::Inventory { agent, incarnation } => {
                let held = self.agents.held.lock().unwrap();
                let found = |(attempt, output): (&Attempt, &Output)| Found {
                    attempt: *attempt,
                    named: output.named,
                    done: output.done.clone(),
                };
                let whole = held.get(&agent).into_iter().flatten().filter(|(_, output)| output.done.is_some());
                let outputs = whole.map(found).collect();
                drop(held);
                self.events.push_back(Event::Inventory { agent, incarnation, outputs });
            }
            Command::Record { at, entry } => {
                assert_eq!(at, self.record.len());
                let coded = rmp_serde::from_slice(&rmp_serde::to_vec_named(&entry).unwrap()).unwrap();
                assert_eq!(entry, coded, "an entry comes back as it was");
                self.record.push(entry);
                self.events.push_back(Event::Recorded { at, result: Ok(()) });
            }
            Command::FetchOutput(_) | Command::KeepOutput { .. } => panic!("generated flows write files"),
            Command::TakeUpAgain => panic!("the record has one writer"),
            Command::GiveUp { .. } | Command::Finished | Command::Abandon => {}
        }
    }

    fn name(&mut self, agent: String, winners: Vec<Attempt>, fenced: &[Attempt]) {
        let mut held = self.agents.held.lock().unwrap();
        let outputs = held.entry(agent.clone()).or_default();
        let mut missing = Vec::new();
        for winner in &winners {
            match outputs.get_mut(winner) {
                Some(output) if output.done.is_some() => output.named = true,
                _ => missing.push(*winner),
            }
        }
        outputs.retain(|attempt, _| !fenced.contains(attempt));
        drop(held);
        self.events.push_back(Event::Named { agent, winners, missing });
    }

    fn deliver(&mut self, slot: SlotId, message: ToSlot) {
        let Some(known) = self.slots.get_mut(&slot) else { return };
        match message {
            ToSlot::Plan { plan } => {
                let plan = rmp_serde::from_slice(&zstd::decode_all(plan.as_slice()).unwrap()).unwrap();
                known.set_plan(plan);
            }
            ToSlot::Run { task, output } => {
                let attempt = task.attempt;
                let wire: Arc<dyn Exchange> =
                    Arc::new(Wire { agents: Arc::clone(&self.agents), attempt, output: output.clone() });
                let task: plan::task::Task = rmp_serde::from_slice(&rmp_serde::to_vec_named(&*task).unwrap()).unwrap();
                let run = || known.run(&task, &wire, &Arc::new(Watch::default()));
                let sinks = matches!(attempt.task, TaskId::Stage | TaskId::Commit);
                // Not so often that nothing else could be done beside: a run gives up after twenty losses without any progress.
                let spared = attempt.number % (1 << 16) > 8;
                let ended = if sinks && !spared && self.trouble && self.done <= 400 && self.random.chance(60) {
                    // Its process is killed somewhere on the way, perhaps behind the last change.
                    engine::sink::killed_after(self.random.below(12), run)
                } else {
                    Some(run())
                };
                let killed = || Failed { message: "killed".to_owned(), fault: Fault::Infrastructure, step: None };
                let event = match ended.unwrap_or_else(|| Err(killed())) {
                    Ok(done) => {
                        let mut held = self.agents.held.lock().unwrap();
                        held.entry(output.clone()).or_default().entry(attempt).or_default().done = Some(done.clone());
                        drop(held);
                        Event::Done { slot, attempt, agent: output, done: Box::new(done) }
                    }
                    Err(failed) => Event::Failed { slot, attempt, failed: Box::new(failed) },
                };
                self.events.push_back(event);
                self.done += 1;
                self.make_trouble();
            }
            ToSlot::Leave { .. } => drop(self.slots.remove(&slot)),
            ToSlot::Welcome { settings, .. } => known.set_results(settings.results.map(|results| Results {
                namespace: results.namespace,
                flow: results.flow,
                ttl_seconds: results.ttl_seconds,
            })),
            ToSlot::NotLeader { .. } | ToSlot::Cancel { .. } => {}
        }
    }

    /// Now and then an agent loses what it holds, or another leader takes over; not for ever, so that the run can end.
    fn make_trouble(&mut self) {
        if !self.trouble || self.done > 400 {
            return;
        }
        if self.random.chance(3) {
            let node = *self.random.pick(&["a", "b"]);
            self.agents.held.lock().unwrap().remove(node);
        }
        if self.random.chance(3) && self.term < 6 {
            self.term += 1;
            let spec = RunSpec { record: self.record.clone(), ..self.spec.clone() };
            self.slots.clear();
            self.events.clear();
            let (machine, commands) = Machine::new(spec, Term(self.term), self.now);
            self.machine = machine;
            self.join();
            self.carry_out(commands);
        }
    }
}
