//! The world around the machine: executors, agents, the record, the network, and their faults.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crds::status::{PersistState, Persisted};
use oracle::Random;
use plan::Plan;
use plan::task::{
    Answer, Attempt, Done, Facts, Failed, Fault, Held, Manifest, MapInput, ReduceInput, Size, Split, StagedSink, Task, TaskId,
    Work,
};
use plan::{Do, InputFile, Op, Recipe, Sink};
use proto::Term;
use proto::master::ToSlot;

use super::content::{self, Filled, Token, Worker};
use crate::master::api::{Entry, RunPhase, RunSpec};
use crate::master::machine::Machine;
use crate::master::machine::event::{AgentBeat, Command, Event, Found, OutputRequest, SlotHello, SlotId, Unfetched, Unrecorded};

/// How much goes wrong, all of it in the first minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Executors that are killed.
    pub(super) kills: u32,
    /// Agents that lose all they hold.
    pub(super) restarts: u32,
    pub(super) leaders: u32,
    /// Links of a node that are cut for a while.
    pub(super) cuts: u32,
    /// Tasks that fail by their own fault.
    pub(super) flow: u32,
    /// Calls that get lost, of a hundred; and answers.
    pub(super) calls: usize,
}

const NODES: usize = 3;
const PODS: usize = 4;
const SLOTS: u32 = 2;
const TROUBLE: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(3000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Debug)]
struct Leader {
    machine: Machine,
    alive: bool,
    /// Raised when an agent is given up: older calls are dropped.
    epochs: BTreeMap<String, u32>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Agent {
    incarnation: u64,
    held: BTreeMap<Attempt, (bool, Done, Vec<Filled>)>,
    fenced: BTreeSet<Attempt>,
    term: u64,
    cut_until: Duration,
}

#[derive(Debug)]
struct Slot {
    pod: usize,
    pod_name: String,
    node: usize,
    number: u32,
    incarnation: u64,
    alive: bool,
    /// The leader that it is connected to, and the connection.
    connection: Option<(usize, SlotId)>,
    busy: Option<(Attempt, Option<Event>)>,
    cancelled: BTreeSet<Attempt>,
    /// When the last message on its way arrives, either way.
    down: Duration,
    up: Duration,
}

#[derive(Debug)]
enum Item {
    Tell { leader: usize, event: Event },
    Receive { slot: usize, connection: SlotId, message: ToSlot },
    Finish { slot: usize, incarnation: u64, task: Box<Task>, output: String },
    Connect { slot: usize },
    Call { leader: usize, epoch: u32, command: Command },
    Beats,
    Tick,
    Trouble(Trouble),
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Kill,
    Restart,
    Leader,
    Cut,
    /// An old leader ends at last.
    Depose(usize),
}

#[derive(Debug)]
pub(super) struct World {
    spec: RunSpec,
    headers: Vec<(String, Vec<String>)>,
    now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Item>,
    random: Random,
    faults: Faults,
    leaders: Vec<Leader>,
    agents: Vec<Agent>,
    slots: Vec<Slot>,
    /// With who wrote it.
    record: Vec<(usize, Entry)>,
    pub(super) taken_up_again: u32,
    plan: Option<Rc<Plan>>,
    kept: BTreeMap<String, Vec<u8>>,
    committed: Option<Manifest>,
    begun: BTreeMap<TaskId, usize>,
    flow_faults: BTreeMap<TaskId, u32>,
    next_id: u64,
    quiet_since: Duration,
}

impl World {
    pub(super) fn new(spec: RunSpec, headers: Vec<(String, Vec<String>)>, seed: u64, faults: Faults) -> World {
        let mut world = World {
            spec,
            headers,
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            random: Random::new(seed),
            faults,
            leaders: Vec::new(),
            agents: (0..NODES).map(|at| Agent { incarnation: 1000 + at as u64, ..Agent::default() }).collect(),
            slots: Vec::new(),
            record: Vec::new(),
            taken_up_again: 0,
            plan: None,
            kept: BTreeMap::new(),
            committed: None,
            begun: BTreeMap::new(),
            flow_faults: BTreeMap::new(),
            next_id: 1,
            quiet_since: Duration::ZERO,
        };
        world.lead();
        for pod in 0..PODS {
            world.add_pod(pod, pod % NODES);
        }
        world.at(ms(10), Item::Beats);
        world.at(ms(500), Item::Tick);
        let mut trouble = |count: u32, what: Trouble| {
            for _ in 0..count {
                let when = ms(world.random.next() % TROUBLE.as_millis() as u64);
                // Rather early: small runs are over soon.
                let when = if world.random.chance(60) { when / 8 } else { when };
                world.at(when, Item::Trouble(what));
            }
        };
        trouble(faults.kills, Trouble::Kill);
        trouble(faults.restarts, Trouble::Restart);
        trouble(faults.leaders, Trouble::Leader);
        trouble(faults.cuts, Trouble::Cut);
        world
    }

    fn at(&mut self, when: Duration, item: Item) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), item);
    }

    fn latency(&mut self) -> Duration {
        ms(1 + self.random.next() % 40)
    }

    fn soon(&mut self, item: Item) {
        let when = self.now + self.latency();
        self.at(when, item);
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn add_pod(&mut self, pod: usize, node: usize) {
        let pod_name = format!("sim-1-{pod}-{}", self.id());
        for number in 0..SLOTS {
            let incarnation = self.id();
            let slot = Slot {
                pod,
                pod_name: pod_name.clone(),
                node,
                number,
                incarnation,
                alive: true,
                connection: None,
                busy: None,
                cancelled: BTreeSet::new(),
                down: Duration::ZERO,
                up: Duration::ZERO,
            };
            self.slots.push(slot);
            let slot = self.slots.len() - 1;
            self.soon(Item::Connect { slot });
        }
    }

    /// A new leader begins, with what is on record.
    fn lead(&mut self) {
        let spec = RunSpec { record: self.entries(), ..self.spec.clone() };
        let term = Term(self.leaders.len() as u64 + 1);
        let (machine, commands) = Machine::new(spec, term, self.now);
        self.leaders.push(Leader { machine, alive: true, epochs: BTreeMap::new(), finished: false });
        self.obey(self.leaders.len() - 1, commands);
    }

    fn entries(&self) -> Vec<Entry> {
        self.record.iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// The process is the same: its slots come back, and what it had asked for is heard by nobody.
    fn take_up_again(&mut self, leader: usize) {
        self.taken_up_again += 1;
        self.leave(leader);
        self.queue.retain(|_, item| match item {
            Item::Call { leader: of, .. } => *of != leader,
            Item::Tell { leader: of, event } => {
                let answer = matches!(
                    event,
                    Event::Named { .. }
                        | Event::Inventory { .. }
                        | Event::Recorded { .. }
                        | Event::OutputFetched { .. }
                        | Event::OutputKept { .. }
                );
                *of != leader || !answer
            }
            _ => true,
        });
        let (machine, commands) = self.leaders[leader].machine.again(self.entries(), self.now);
        self.leaders[leader].machine = machine;
        self.obey(leader, commands);
    }

    fn current(&self) -> usize {
        self.leaders.len() - 1
    }

    fn tell(&mut self, leader: usize, event: Event) {
        let state = &mut self.leaders[leader];
        if !state.alive {
            return;
        }
        let commands = state.machine.handle(event, self.now);
        self.obey(leader, commands);
    }

    fn obey(&mut self, leader: usize, commands: Vec<Command>) {
        for command in commands {
            if self.leaders[leader].finished {
                let harmless = matches!(
                    &command,
                    Command::Send { message: ToSlot::Welcome { .. } | ToSlot::Leave { .. } | ToSlot::Cancel { .. }, .. }
                ) || matches!(&command, Command::GiveUp { .. } | Command::Name { .. });
                assert!(harmless, "{command:?} after the end");
            }
            self.quiet_since = self.now;
            match command {
                Command::Send { slot, message } => self.send(leader, slot, message),
                Command::GiveUp { agent } => *self.leaders[leader].epochs.entry(agent).or_default() += 1,
                Command::Finished => self.leaders[leader].finished = true,
                Command::Abandon => self.leaders[leader].alive = false,
                Command::TakeUpAgain => self.take_up_again(leader),
                Command::Name { ref agent, .. } | Command::Release { ref agent, .. } | Command::Inventory { ref agent, .. } => {
                    let epoch = self.leaders[leader].epochs.get(agent).copied().unwrap_or(0);
                    self.soon(Item::Call { leader, epoch, command });
                }
                Command::Record { .. } | Command::FetchOutput(_) | Command::KeepOutput { .. } => {
                    self.soon(Item::Call { leader, epoch: 0, command });
                }
            }
        }
    }

    fn send(&mut self, leader: usize, to: SlotId, message: ToSlot) {
        let found = self.slots.iter().position(|slot| slot.connection == Some((leader, to)));
        let Some(slot) = found else { return };
        let when = (self.now + self.latency()).max(self.slots[slot].down);
        self.slots[slot].down = when;
        self.at(when, Item::Receive { slot, connection: to, message });
    }

    /// A slot says something, if it is connected.
    fn say(&mut self, slot: usize, event: impl FnOnce(SlotId) -> Event) {
        let Some((leader, id)) = self.slots[slot].connection else { return };
        let when = (self.now + self.latency()).max(self.slots[slot].up);
        self.slots[slot].up = when;
        let event = event(id);
        self.at(when, Item::Tell { leader, event });
    }

    pub(super) fn run(&mut self) -> RunPhase {
        while let Some(((when, _), item)) = self.queue.pop_first() {
            self.now = when;
            assert!(self.now < END, "hangs: {:#?}", self.leaders[self.current()].machine.progress());
            self.step(item);
            let leader = &self.leaders[self.current()];
            if leader.finished {
                return leader.machine.progress().phase;
            }
        }
        unreachable!("ticks go on for ever")
    }

    fn step(&mut self, item: Item) {
        match item {
            Item::Tell { leader, event } => self.tell(leader, event),
            Item::Receive { slot, connection, message } => self.receive(slot, connection, message),
            Item::Finish { slot, incarnation, task, output } => self.finish(slot, incarnation, &task, &output),
            Item::Connect { slot } => self.connect(slot),
            Item::Call { leader, epoch, command } => self.call(leader, epoch, command),
            Item::Beats => self.beats(),
            Item::Tick => self.tick(),
            Item::Trouble(trouble) => self.trouble(trouble),
        }
    }

    fn tick(&mut self) {
        for leader in 0..self.leaders.len() {
            self.tell(leader, Event::Tick);
        }
        let (machine, idle) = (&self.leaders[self.current()].machine, self.slots.iter().all(|slot| slot.busy.is_none()));
        let progress = machine.progress();
        if !idle || progress.waiting.is_some() || machine.is_over() {
            self.quiet_since = self.now;
        }
        assert!(self.now < self.quiet_since + Duration::from_secs(30), "nothing moves, and no reason: {progress:#?}");
        assert!(progress.done <= progress.known, "{progress:?}");
        self.at(self.now + ms(1000), Item::Tick);
    }

    fn beats(&mut self) {
        let leader = self.current();
        for at in 0..self.agents.len() {
            if self.agents[at].cut_until > self.now {
                continue;
            }
            let agent = &self.agents[at];
            let beat = AgentBeat {
                address: format!("agent-{at}"),
                node: format!("node-{at}"),
                incarnation: agent.incarnation,
                holds: !agent.held.is_empty(),
                waiting: false,
                used: agent.held.len() as u64,
                limit: 1000,
            };
            self.soon(Item::Tell { leader, event: Event::Beat(beat) });
        }
        self.at(self.now + ms(2000), Item::Beats);
    }

    fn agent(&self, address: &str) -> usize {
        address.strip_prefix("agent-").unwrap().parse().unwrap()
    }

    fn connect(&mut self, slot: usize) {
        if !self.slots[slot].alive || self.slots[slot].connection.is_some() {
            return;
        }
        let node = self.slots[slot].node;
        if self.agents[node].cut_until > self.now {
            let when = self.agents[node].cut_until + self.latency();
            return self.at(when, Item::Connect { slot });
        }
        let (leader, id) = (self.current(), SlotId(self.id()));
        let state = &mut self.slots[slot];
        (state.connection, state.up, state.down) = (Some((leader, id)), self.now, self.now);
        let hello = SlotHello {
            pod: state.pod_name.clone(),
            node: format!("node-{node}"),
            number: state.number,
            incarnation: state.incarnation,
            busy: state.busy.as_ref().map(|(attempt, _)| *attempt),
        };
        let unsaid = state.busy.as_ref().and_then(|(_, unsaid)| unsaid.clone());
        self.say(slot, |id| Event::SlotJoined { slot: id, hello });
        if let Some(event) = unsaid {
            self.slots[slot].busy = None;
            self.say(slot, |id| readdressed(event, id));
        }
    }

    fn disconnect(&mut self, slot: usize) {
        let Some((leader, id)) = self.slots[slot].connection.take() else { return };
        let when = self.now + ms(self.random.next() % 4000);
        self.at(when, Item::Tell { leader, event: Event::SlotLeft { slot: id } });
        let when = self.now + ms(300 + self.random.next() % 3000);
        self.at(when, Item::Connect { slot });
    }

    fn receive(&mut self, slot: usize, connection: SlotId, message: ToSlot) {
        let state = &mut self.slots[slot];
        if !state.alive || state.connection.is_none_or(|(_, id)| id != connection) {
            return;
        }
        match message {
            ToSlot::Run { task, output } => {
                assert!(state.busy.is_none(), "{slot} is busy with {:?} and gets {}", state.busy, task.attempt);
                state.busy = Some((task.attempt, None));
                *self.begun.entry(task.attempt.task).or_default() += 1;
                let incarnation = state.incarnation;
                let when = self.now + ms(100 + self.random.next() % 3000);
                self.at(when, Item::Finish { slot, incarnation, task, output });
            }
            ToSlot::Cancel { attempt } => {
                if state.busy.as_ref().is_some_and(|(busy, _)| *busy == attempt) {
                    state.busy = None;
                    state.cancelled.insert(attempt);
                    let failed = Box::new(Failed { fault: Fault::Stopped, message: "told to stop".to_owned(), step: None });
                    self.say(slot, |id| Event::Failed { slot: id, attempt, failed });
                }
            }
            ToSlot::Leave { .. } => state.alive = false,
            ToSlot::Welcome { .. } | ToSlot::Plan { .. } | ToSlot::NotLeader { .. } => {}
        }
    }

    fn finish(&mut self, slot: usize, incarnation: u64, task: &Task, output: &str) {
        let state = &self.slots[slot];
        let current = state.busy.as_ref().is_some_and(|(attempt, _)| *attempt == task.attempt);
        if !state.alive || state.incarnation != incarnation || !current {
            return;
        }
        let attempt = task.attempt;
        let event = match self.execute(slot, task, output) {
            Ok(done) => Event::Done { slot: SlotId(0), attempt, agent: output.to_owned(), done: Box::new(done) },
            Err(fault) => {
                let failed = Failed { step: None, message: format!("{fault:?}"), fault };
                Event::Failed { slot: SlotId(0), attempt, failed: Box::new(failed) }
            }
        };
        if self.slots[slot].connection.is_some() {
            // It may yet be lost on the way: kept until the connection has carried it.
            self.slots[slot].busy = None;
            self.say(slot, |id| readdressed(event, id));
        } else {
            self.slots[slot].busy = Some((attempt, Some(event)));
        }
    }

    fn execute(&mut self, slot: usize, task: &Task, output: &str) -> Result<Done, Fault> {
        let fails = self.flow_faults.entry(task.attempt.task).or_default();
        if *fails < self.faults.flow.min(3) && self.now < TROUBLE && self.random.chance(5) {
            *fails += 1;
            return Err(Fault::Flow);
        }
        let node = self.slots[slot].node;
        let cut = |world: &World, at: usize| {
            at != node && (world.agents[at].cut_until > world.now || world.agents[node].cut_until > world.now)
        };
        let (mut lost, mut rows) = (Vec::new(), Vec::new());
        let (input, range) = inputs(&task.work);
        let mut fetch = |held: &[Held], rows: &mut Vec<Token>| {
            for held in held {
                let at = self.agent(&task.agents[held.agent as usize]);
                let found =
                    if cut(self, at) { None } else { self.agents[at].held.get(&held.attempt).filter(|(named, ..)| *named) };
                match found {
                    Some((_, _, pieces)) => {
                        rows.extend(pieces[held.piece as usize].frames[held.first as usize..held.end as usize].concat())
                    }
                    None => lost.push(held.attempt),
                }
            }
        };
        fetch(&input, &mut rows);
        let sides: Vec<_> = task
            .sides
            .iter()
            .map(|(collection, held)| {
                let mut rows = Vec::new();
                fetch(held, &mut rows);
                (*collection, rows)
            })
            .collect();
        if !lost.is_empty() {
            return Err(Fault::Lost(lost));
        }
        if let Some((lower, upper)) = range {
            rows.retain(|token| {
                let place = content::place(*token);
                lower.as_ref().is_none_or(|lower| place >= *lower) && upper.as_ref().is_none_or(|upper| place < *upper)
            });
        }
        let plan = self.plan.clone();
        if let Some(plan) = &plan {
            for (collection, rows) in sides {
                let mut ids: Vec<u64> = rows.iter().map(|token| token.id).collect();
                ids.sort_unstable();
                assert_eq!(ids, content::expected(plan, collection), "side input {collection} of {}", task.attempt);
            }
        }
        let (done, pieces) = self.make(task, rows, plan.as_deref());
        let at = self.agent(output);
        let agent = &mut self.agents[at];
        let unreachable = at != node && (agent.cut_until > self.now || self.agents[node].cut_until > self.now);
        let agent = &mut self.agents[at];
        let taken = agent.held.iter().any(|(held, (named, ..))| *named && held.task == task.attempt.task);
        if unreachable || agent.fenced.contains(&task.attempt) || taken {
            return Err(Fault::Infrastructure);
        }
        agent.held.insert(task.attempt, (false, done.clone(), pieces));
        Ok(done)
    }

    fn make(&mut self, task: &Task, rows: Vec<Token>, plan: Option<&Plan>) -> (Done, Vec<Filled>) {
        let answer = |answer| (Done { answer: Some(answer), ..Done::default() }, Vec::new());
        match &task.work {
            Work::Inspect { sources, versions } => {
                let fields = |step: &String| self.headers.iter().find(|(name, _)| name == step).map(|(_, fields)| fields.clone());
                let facts = |step: &String| Facts { fields: fields(step), bytes: Some(1 << 30), ..Facts::default() };
                let mut found: BTreeMap<String, Facts> = sources.iter().map(|(step, _)| (step.clone(), facts(step))).collect();
                for (step, _) in versions {
                    let file = InputFile { name: step.clone(), version: "1".to_owned() };
                    found.entry(step.clone()).or_default().versions = Some(Ok(vec![file]));
                }
                answer(Answer::Facts(found))
            }
            Work::Split { .. } => {
                let plan = plan.unwrap();
                let reads = plan.graph.nodes.values().filter(|node| matches!(node.op, Op::Read(_)));
                let split = |at: u64| Split { encoded: at.to_be_bytes().to_vec(), bytes: 10 };
                answer(Answer::Splits(reads.map(|node| (node.id, (0..content::splits(node.id)).map(split).collect())).collect()))
            }
            Work::Stage { sinks } => {
                let staged = sinks.keys().map(|step| (step.clone(), self.staged(task, step, sinks)));
                answer(Answer::Staged(Manifest { sinks: staged.collect() }))
            }
            Work::Commit { manifest } => {
                assert!(self.committed.as_ref().is_none_or(|before| before == manifest), "two manifests");
                self.committed = Some(manifest.clone());
                (Done::default(), Vec::new())
            }
            Work::Discard { .. } => (Done::default(), Vec::new()),
            Work::LookUp { recipes } => {
                // Some are there: the same ones whoever asks.
                let there = |recipe: &Recipe| recipe.collection.len().is_multiple_of(2).then_some(Size { rows: 1, bytes: 1 });
                let found =
                    |recipe: &Recipe| (recipe.collection.clone(), plan::task::Found { there: there(recipe), former: None });
                answer(Answer::Found(recipes.iter().map(found).collect()))
            }
            Work::Keep { .. } => {
                let TaskId::Keep { collection } = task.attempt.task else { panic!("{} keeps", task.attempt) };
                let mut ids: Vec<u64> = rows.iter().map(|token| token.id).collect();
                ids.sort_unstable();
                assert_eq!(ids, content::expected(plan.unwrap(), collection), "{} keeps {collection}", task.attempt);
                answer(Answer::Kept(Size::default()))
            }
            Work::Map { input: MapInput::Split { node, split }, .. } => {
                let at = u64::from_be_bytes(split.encoded.clone().try_into().unwrap());
                self.made(task, content::source(*node, at), plan)
            }
            Work::Map { .. } | Work::Reduce { .. } | Work::Operate { .. } => self.made(task, rows, plan),
        }
    }

    fn made(&self, task: &Task, rows: Vec<Token>, plan: Option<&Plan>) -> (Done, Vec<Filled>) {
        let pieces = Worker::new(plan.unwrap()).run(task, rows);
        (Done { pieces: pieces.iter().map(|filled| filled.piece.clone()).collect(), ..Done::default() }, pieces)
    }

    fn staged(&self, task: &Task, step: &str, sinks: &BTreeMap<String, Vec<Held>>) -> StagedSink {
        let mut encoded = Vec::new();
        for held in &sinks[step] {
            let at = self.agent(&task.agents[held.agent as usize]);
            let (_, _, pieces) = &self.agents[at].held[&held.attempt];
            encoded.extend(pieces[held.piece as usize].frames.concat().iter().flat_map(|token| token.id.to_be_bytes()));
        }
        StagedSink { encoded, ..StagedSink::default() }
    }

    fn call(&mut self, leader: usize, epoch: u32, command: Command) {
        let (alive, term) = (self.leaders[leader].alive, leader as u64 + 1);
        if !alive {
            return;
        }
        let troubled = self.now < TROUBLE;
        let (loses, answer_lost) =
            (troubled && self.random.chance(self.faults.calls), troubled && self.random.chance(self.faults.calls));
        match command {
            Command::Name { ref agent, .. } | Command::Release { ref agent, .. } | Command::Inventory { ref agent, .. } => {
                let at = self.agent(agent);
                if self.leaders[leader].epochs.get(agent).copied().unwrap_or(0) != epoch {
                    return;
                }
                let fails = loses || self.agents[at].cut_until > self.now || self.agents[at].term > term;
                let answer = if fails { None } else { self.answer(at, term, &command) };
                match answer {
                    Some(event) if !answer_lost => self.soon(Item::Tell { leader, event }),
                    None if !fails => {}
                    _ => {
                        let when = self.now + ms(1000);
                        self.at(when, Item::Call { leader, epoch, command });
                    }
                }
            }
            Command::Record { at, entry } => {
                let result = if loses { Err(Unrecorded::Unavailable("lost".to_owned())) } else { self.append(leader, at, entry) };
                let result = if answer_lost { Err(Unrecorded::Unavailable("answer lost".to_owned())) } else { result };
                self.soon(Item::Tell { leader, event: Event::Recorded { at, result } });
            }
            Command::FetchOutput(request) => {
                let result = if loses { Err(Unfetched::Unavailable("lost".to_owned())) } else { self.fetch_output(&request) };
                self.soon(Item::Tell { leader, event: Event::OutputFetched { result } });
            }
            Command::KeepOutput { output } => {
                self.kept = output;
                self.soon(Item::Tell { leader, event: Event::OutputKept { result: Ok(()) } });
            }
            Command::Send { .. } | Command::GiveUp { .. } | Command::Finished | Command::TakeUpAgain | Command::Abandon => {
                unreachable!("no call")
            }
        }
    }

    /// What an agent does and answers.
    fn answer(&mut self, at: usize, term: u64, command: &Command) -> Option<Event> {
        let state = &mut self.agents[at];
        state.term = term;
        match command {
            Command::Name { agent, winners, fenced } => {
                for attempt in fenced {
                    state.held.remove(attempt);
                    state.fenced.insert(*attempt);
                }
                let mut missing = Vec::new();
                for winner in winners {
                    match state.held.get_mut(winner) {
                        Some((named, ..)) => *named = true,
                        None => missing.push(*winner),
                    }
                    let losers: Vec<Attempt> =
                        state.held.keys().filter(|held| held.task == winner.task && **held != *winner).copied().collect();
                    for loser in losers.into_iter().filter(|_| !missing.contains(winner)) {
                        state.held.remove(&loser);
                        state.fenced.insert(loser);
                    }
                }
                Some(Event::Named { agent: agent.clone(), winners: winners.clone(), missing })
            }
            Command::Release { attempts, .. } => {
                attempts.iter().for_each(|attempt| drop(state.held.remove(attempt)));
                None
            }
            Command::Inventory { agent, .. } => {
                let found = state.held.iter().map(|(attempt, (named, done, _))| Found {
                    attempt: *attempt,
                    named: *named,
                    done: Some(done.clone()),
                });
                Some(Event::Inventory { agent: agent.clone(), incarnation: state.incarnation, outputs: found.collect() })
            }
            _ => None,
        }
    }

    /// Whoever comes first to a place has it, even a leader whose successor has read the record already.
    fn append(&mut self, leader: usize, at: usize, entry: Entry) -> Result<(), Unrecorded> {
        if let Some((writer, before)) = self.record.get(at) {
            return match writer.cmp(&leader) {
                Ordering::Equal if *before == entry => Ok(()),
                Ordering::Greater => Err(Unrecorded::Superseded),
                Ordering::Equal | Ordering::Less => Err(Unrecorded::Behind),
            };
        }
        if let Entry::Planned { plan, .. } = &entry {
            self.plan = Some(Rc::new(crate::master::machine::planning::decode(plan).unwrap()));
        }
        self.record.push((leader, entry));
        Ok(())
    }

    fn fetch_output(&self, request: &OutputRequest) -> Result<BTreeMap<String, Vec<u8>>, Unfetched> {
        let mut output = BTreeMap::new();
        for (step, pieces) in &request.steps {
            let mut bytes = Vec::new();
            for held in pieces {
                let agent = &self.agents[self.agent(&request.agents[held.agent as usize])];
                if agent.cut_until > self.now {
                    return Err(Unfetched::Unavailable("cut".to_owned()));
                }
                let Some((true, _, pieces)) = agent.held.get(&held.attempt) else {
                    return Err(Unfetched::Lost(vec![held.attempt]));
                };
                let frames = &pieces[held.piece as usize].frames[held.first as usize..held.end as usize];
                bytes.extend(frames.concat().iter().flat_map(|token| token.id.to_be_bytes()));
            }
            output.insert(step.clone(), bytes);
        }
        Ok(output)
    }

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Kill => {
                let pod = self.random.below(PODS);
                self.kill(pod);
            }
            Trouble::Restart => {
                let (at, incarnation) = (self.random.below(NODES), self.id());
                let agent = &mut self.agents[at];
                (agent.incarnation, agent.held, agent.fenced) = (incarnation, BTreeMap::new(), BTreeSet::new());
            }
            Trouble::Leader => self.change_leader(),
            Trouble::Cut => {
                let at = self.random.below(NODES);
                self.agents[at].cut_until = self.now + ms(self.random.next() % 40_000);
                let there: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].node == at).collect();
                there.into_iter().for_each(|slot| self.disconnect(slot));
            }
            Trouble::Depose(leader) => {
                self.leaders[leader].alive = false;
                self.leave(leader);
            }
        }
    }

    fn kill(&mut self, pod: usize) {
        let slots: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].pod == pod && self.slots[*slot].alive).collect();
        let Some(first) = slots.first() else { return };
        let (name, node) = (self.slots[*first].pod_name.clone(), self.slots[*first].node);
        for slot in slots {
            self.slots[slot].alive = false;
            self.slots[slot].busy = None;
            self.disconnect(slot);
        }
        if self.random.chance(60) {
            let (when, leader) = (self.now + ms(self.random.next() % 5000), self.current());
            self.at(when, Item::Tell { leader, event: Event::PodGone { pod: name, why: "killed".to_owned() } });
        }
        self.add_pod(pod, node);
    }

    /// Another leader begins; the one before may not know it yet.
    fn change_leader(&mut self) {
        let old = self.current();
        self.lead();
        let overlap = self.faults.calls > 0 && self.random.chance(50);
        if overlap {
            let when = self.now + ms(self.random.next() % 10_000);
            self.at(when, Item::Trouble(Trouble::Depose(old)));
            // Some slots have noticed, others not.
            let some: Vec<usize> = (0..self.slots.len()).filter(|_| self.random.chance(50)).collect();
            some.into_iter().for_each(|slot| self.disconnect(slot));
        } else {
            self.leaders[old].alive = false;
            self.leave(old);
        }
    }

    fn leave(&mut self, leader: usize) {
        let there: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].connection.is_some_and(|(at, _)| at == leader)).collect();
        there.into_iter().for_each(|slot| self.disconnect(slot));
    }

    /// Every sink holds exactly the rows that the graph says.
    pub(super) fn check_result(&self) {
        let plan = self.plan.as_ref().unwrap();
        let mut expected: BTreeMap<&str, (Vec<u64>, bool)> = BTreeMap::new();
        for node in plan.graph.nodes.values() {
            if let Op::ParallelDo(Do::Write(sink)) = &node.op {
                let (rows, files) = expected.entry(&node.step).or_default();
                rows.extend(content::expected(plan, node.inputs[0]));
                *files = matches!(sink, Sink::Files { .. });
            }
        }
        for (step, (mut rows, files)) in expected {
            let found = if files { &self.committed.as_ref().unwrap().sinks[step].encoded } else { &self.kept[step] };
            let mut found: Vec<u64> = found.chunks(8).map(|id| u64::from_be_bytes(id.try_into().unwrap())).collect();
            found.sort_unstable();
            rows.sort_unstable();
            assert_eq!(found, rows, "step {step}");
        }
    }

    /// What is over stays over.
    pub(super) fn check_over(&mut self) {
        let leader = self.current();
        for event in [
            Event::Tick,
            Event::Stop { why: "late".to_owned() },
            Event::PodGone { pod: "sim-1-0".to_owned(), why: String::new() },
        ] {
            self.tell(leader, event);
        }
        let progress = self.leaders[leader].machine.progress();
        assert_eq!(progress.phase, RunPhase::Succeeded);
        let open = |result: &Persisted| result.state == PersistState::Making;
        assert!(!progress.persisted.iter().any(open), "{:?}", progress.persisted);
        // Whoever led when it was done.
        assert_eq!(progress.done, progress.known, "{progress:#?}");
        assert!(progress.stages.iter().all(|stage| stage.succeeded == stage.desired), "{progress:#?}");
    }

    /// How often tasks that make pieces were begun, and how many such tasks there were.
    pub(super) fn work(&self) -> (usize, usize) {
        let makes = |task: &&TaskId| matches!(task, TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. });
        let begun = self.begun.iter().filter(|(task, _)| makes(task));
        (begun.clone().map(|(_, times)| times).sum(), begun.count())
    }
}

fn readdressed(event: Event, id: SlotId) -> Event {
    match event {
        Event::Done { attempt, agent, done, .. } => Event::Done { slot: id, attempt, agent, done },
        Event::Failed { attempt, failed, .. } => Event::Failed { slot: id, attempt, failed },
        other => other,
    }
}

type Range = (Option<plan::task::Place>, Option<plan::task::Place>);

fn inputs(work: &Work) -> (Vec<Held>, Option<Range>) {
    match work {
        Work::Map { input: MapInput::Stored { pieces }, .. } => (pieces.clone(), None),
        Work::Reduce { input: ReduceInput::Buckets { pieces }, .. } => (pieces.clone(), None),
        Work::Reduce { input: ReduceInput::Range { runs, lower, upper }, .. } => {
            (runs.clone(), Some((lower.clone(), upper.clone())))
        }
        Work::Stage { sinks } => (sinks.values().flatten().cloned().collect(), None),
        Work::Keep { parts, .. } => (parts.concat(), None),
        Work::Split { paths, .. } => (paths.values().flatten().cloned().collect(), None),
        _ => (Vec::new(), None),
    }
}
