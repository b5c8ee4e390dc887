//! The world around the machine: executors, agents, the record, the volume of the sinks, the network, and all their faults.

mod calls;
mod slots;
mod trouble;
mod verdict;
mod volume;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use oracle::Random;
use plan::task::{Attempt, Done, Task, TaskId};
use proto::Term;
use proto::master::ToSlot;

use self::slots::Slot;
use self::trouble::Trouble;
use self::volume::Volume;
use super::content::{Filled, Worker};
use crate::master::api::{Entry, RunPhase, RunSpec};
use crate::master::machine::Machine;
use crate::master::machine::event::{AgentBeat, Command, Event, SlotId};

/// How much goes wrong, all of it in the first minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Executors that are killed.
    pub(super) kills: u32,
    /// Executors that are taken down in good order.
    pub(super) drains: u32,
    /// Agents that lose all they hold, in the same place or in another.
    pub(super) restarts: u32,
    /// Leaders that are followed by others: at once, after a while, or while they go on.
    pub(super) leaders: u32,
    /// Links of a node that are cut for a while.
    pub(super) cuts: u32,
    /// Times when agents have no room, and for how many seconds.
    pub(super) full: (u32, u64),
    /// Tasks that fail by their own fault.
    pub(super) flow: u32,
    /// Calls that get lost, of a hundred; and answers.
    pub(super) calls: usize,
    /// Messages and calls that come twice, the second time much later, of a hundred.
    pub(super) doubles: usize,
    /// Writes to the record that come late, of a hundred.
    pub(super) late: usize,
    /// Of a hundred moments at a run's end (it stages, decides, commits), those at which something of the above happens.
    pub(super) aimed: usize,
    /// Links that are cut until what is behind them is given up, and heal when another leader begins.
    pub(super) relays: u32,
    /// Whether the flow is deleted at some time, and its pods with it.
    pub(super) delete: bool,
    /// Whether the run is stopped at some time.
    pub(super) stop: bool,
    /// Whether some task always fails by its own fault.
    pub(super) poison: bool,
}

pub(super) const NODES: usize = 3;
const PODS: usize = 4;
const SLOTS: u32 = 2;
pub(super) const TROUBLE: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(3000);
/// So long the world goes on after the end: what is over must stay over.
const AFTERMATH: Duration = Duration::from_secs(60);
/// So long nothing may move without a reason in the status.
const QUIET: Duration = Duration::from_secs(30);

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Debug)]
struct Leader {
    machine: Machine,
    term: u64,
    since: Duration,
    alive: bool,
    /// Raised when an agent is given up: older calls are dropped.
    epochs: BTreeMap<String, u32>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Agent {
    /// Which of its pods it is: the address is another one then.
    pod: u32,
    incarnation: u64,
    held: BTreeMap<Attempt, (bool, Done, Vec<Filled>)>,
    fenced: BTreeSet<Attempt>,
    term: u64,
    cut_until: Duration,
    full_until: Duration,
    waiting: bool,
}

#[derive(Debug)]
enum Item {
    /// `via`: the connection that it comes over.
    Tell {
        leader: usize,
        via: Option<SlotId>,
        event: Event,
    },
    Receive {
        slot: usize,
        connection: SlotId,
        message: ToSlot,
    },
    Finish {
        slot: usize,
        incarnation: u64,
        task: Box<Task>,
        output: String,
    },
    Stopped {
        slot: usize,
        attempt: Attempt,
    },
    Gone {
        slot: usize,
    },
    Connect {
        slot: usize,
    },
    Call {
        leader: usize,
        epoch: u32,
        asked: Duration,
        command: Command,
    },
    /// A call that was answered before.
    Echo {
        term: u64,
        agent: String,
        command: Command,
    },
    Lead,
    Beats,
    Tick,
    Trouble(Trouble),
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
    terms: u64,
    agents: Vec<Agent>,
    slots: Vec<Slot>,
    /// Connections whose messages on their way are lost.
    broken: BTreeSet<SlotId>,
    /// With the term of the writer.
    record: Vec<(u64, Entry)>,
    pub(super) taken_up_again: u32,
    worker: Option<Rc<Worker>>,
    /// Standard output that is kept, with the term of who did.
    kept: (u64, BTreeMap<String, Vec<u8>>),
    /// What standard output that was kept was read from.
    shown: Vec<Attempt>,
    /// Attempts that staged files when the run was over.
    late: BTreeSet<u32>,
    volume: Volume,
    begun: BTreeMap<TaskId, usize>,
    /// Attempts that some slot began.
    attempts: BTreeSet<Attempt>,
    /// What an attempt has read.
    read: BTreeMap<Attempt, BTreeSet<Attempt>>,
    flow_faults: BTreeMap<TaskId, u32>,
    next_id: u64,
    quiet_since: Duration,
    blocked_since: Option<Duration>,
    outcome: Option<RunPhase>,
    ended: Duration,
    stopped: bool,
    deleted: bool,
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
            terms: 1,
            agents: (0..NODES).map(|at| Agent { incarnation: 1000 + at as u64, ..Agent::default() }).collect(),
            slots: Vec::new(),
            broken: BTreeSet::new(),
            record: Vec::new(),
            taken_up_again: 0,
            worker: None,
            kept: (0, BTreeMap::new()),
            shown: Vec::new(),
            late: BTreeSet::new(),
            volume: Volume::default(),
            begun: BTreeMap::new(),
            attempts: BTreeSet::new(),
            read: BTreeMap::new(),
            flow_faults: BTreeMap::new(),
            next_id: 1,
            quiet_since: Duration::ZERO,
            blocked_since: None,
            outcome: None,
            ended: Duration::ZERO,
            stopped: false,
            deleted: false,
        };
        world.lead(1);
        for pod in 0..PODS {
            world.add_pod(pod, pod % NODES);
        }
        world.at(ms(10), Item::Beats);
        world.at(ms(500), Item::Tick);
        world.plan_trouble();
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

    fn troubled(&self) -> bool {
        self.now < TROUBLE
    }

    /// A new leader begins, with what is on record.
    fn lead(&mut self, term: u64) {
        let spec = RunSpec { record: self.entries(), ..self.spec.clone() };
        let new = Machine::new(spec, Term(term), self.now);
        self.go_on_with(term, new);
    }

    fn entries(&self) -> Vec<Entry> {
        self.record.iter().map(|(_, entry)| entry.clone()).collect()
    }

    fn go_on_with(&mut self, term: u64, (machine, commands): (Machine, Vec<Command>)) {
        let leader = Leader { machine, term, since: self.now, alive: true, epochs: BTreeMap::new(), finished: false };
        self.leaders.push(leader);
        self.obey(self.leaders.len() - 1, commands);
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
                Command::Finished => self.leader_finished(leader),
                Command::Abandon => self.leader_abandons(leader),
                Command::TakeUpAgain => self.leader_takes_up_again(leader),
                Command::Name { ref agent, .. } | Command::Release { ref agent, .. } | Command::Inventory { ref agent, .. } => {
                    let epoch = self.leaders[leader].epochs.get(agent).copied().unwrap_or(0);
                    self.call_soon(leader, epoch, command);
                }
                Command::Record { .. } | Command::FetchOutput(_) | Command::KeepOutput { .. } => {
                    if matches!(command, Command::Record { entry: Entry::Committing { .. } | Entry::Ended { .. }, .. }) {
                        self.aim(None);
                    }
                    self.call_soon(leader, 0, command);
                }
            }
        }
    }

    fn call_soon(&mut self, leader: usize, epoch: u32, command: Command) {
        let late = matches!(command, Command::Record { .. }) && self.troubled() && self.random.chance(self.faults.late);
        let delay = if late { ms(self.random.next() % 5000) } else { self.latency() };
        let asked = self.now;
        self.at(self.now + delay, Item::Call { leader, epoch, asked, command });
    }

    fn leader_finished(&mut self, leader: usize) {
        self.leaders[leader].finished = true;
        if leader == self.current() && self.outcome.is_none() {
            let phase = self.leaders[leader].machine.progress().phase;
            assert!(phase.is_over(), "{phase:?}");
            self.outcome = Some(phase);
            self.ended = self.now;
            self.late = self.volume.staged.keys().copied().collect();
        }
    }

    /// A leader that is one no more ends. One that is has been superseded by a write of the one before: it begins anew.
    fn leader_abandons(&mut self, leader: usize) {
        self.leaders[leader].alive = false;
        self.leave(leader);
        assert!(leader < self.current(), "who leads has nobody to leave the run to");
    }

    /// The process is the same, and its term: its slots come back, and what it had asked for is heard by nobody.
    fn leader_takes_up_again(&mut self, leader: usize) {
        self.taken_up_again += 1;
        self.leaders[leader].alive = false;
        self.leave(leader);
        if leader == self.current() {
            let new = self.leaders[leader].machine.again(self.entries(), self.now);
            self.go_on_with(self.leaders[leader].term, new);
        }
    }

    /// Runs to the end, and a while beyond.
    pub(super) fn run(&mut self) -> RunPhase {
        let mut until = None;
        while let Some(((when, _), item)) = self.queue.pop_first() {
            self.now = when;
            if until.is_some_and(|until| self.now >= until) {
                break;
            }
            assert!(self.now < END, "hangs: {:#?}", self.leaders[self.current()].machine.progress());
            self.step(item);
            if self.outcome.is_some() {
                until.get_or_insert(self.now + AFTERMATH);
            }
        }
        self.outcome.clone().unwrap()
    }

    fn step(&mut self, item: Item) {
        match item {
            Item::Tell { via: Some(via), .. } if self.broken.contains(&via) => {}
            Item::Tell { leader, event, .. } => {
                if self.troubled() && self.random.chance(self.faults.doubles) && is_idempotent(&event) {
                    let (when, event) = (self.now + ms(self.random.next() % 8000), event.clone());
                    self.at(when, Item::Tell { leader, via: None, event });
                }
                self.tell(leader, event);
            }
            Item::Receive { slot, connection, message } => self.receive(slot, connection, message),
            Item::Finish { slot, incarnation, task, output } => self.finish(slot, incarnation, task, output),
            Item::Stopped { slot, attempt } => self.slot_stopped(slot, attempt),
            Item::Gone { slot } => self.slot_gone(slot),
            Item::Connect { slot } => self.connect(slot),
            Item::Call { leader, epoch, asked, command } => self.call(leader, (epoch, asked), command),
            Item::Echo { term, agent, command } => self.echo(term, &agent, &command),
            Item::Lead => {
                if !self.leaders[self.current()].alive && self.outcome.is_none() && !self.deleted {
                    // Terms only grow.
                    self.terms += 1;
                    self.lead(self.terms);
                }
            }
            Item::Beats => self.beats(),
            Item::Tick => self.tick(),
            Item::Trouble(trouble) => self.trouble(trouble),
        }
    }

    fn tick(&mut self) {
        for leader in 0..self.leaders.len() {
            self.tell(leader, Event::Tick);
        }
        let leader = &self.leaders[self.current()];
        let progress = leader.machine.progress();
        let busy: Vec<&Slot> = self.slots.iter().filter(|slot| slot.is_working()).collect();
        if !busy.is_empty() || progress.waiting.is_some() || leader.machine.is_over() || !leader.alive {
            self.quiet_since = self.now;
        }
        assert!(self.now < self.quiet_since + QUIET, "nothing moves, and no reason: {progress:#?}");
        let blocked = !busy.is_empty() && busy.iter().all(|slot| slot.blocked) && progress.waiting.is_none();
        self.blocked_since = self.blocked_since.filter(|_| blocked).or_else(|| blocked.then_some(self.now));
        let since = self.blocked_since.unwrap_or(self.now);
        assert!(self.now < since + QUIET, "all that works waits for room, and no reason: {progress:#?}");
        assert!(progress.done <= progress.known, "{progress:?}");
        if let Some(outcome) = self.outcome.as_ref().filter(|_| leader.finished) {
            assert_eq!(progress.phase, *outcome, "what is over stays over");
        }
        self.at(self.now + ms(1000), Item::Tick);
    }

    fn beats(&mut self) {
        for at in 0..self.agents.len() {
            if self.agents[at].cut_until > self.now {
                continue;
            }
            let mut to = self.current();
            // Some agents have not noticed yet that another leads.
            if to > 0 && self.leaders[to - 1].alive && self.random.chance(40) {
                to -= 1;
            }
            let agent = &mut self.agents[at];
            let waiting = std::mem::take(&mut agent.waiting) && agent.full_until > self.now;
            let beat = AgentBeat {
                address: format!("agent-{at}.{}", agent.pod),
                node: format!("node-{at}"),
                incarnation: agent.incarnation,
                holds: !agent.held.is_empty(),
                waiting,
                used: agent.held.len() as u64,
                limit: 1000,
            };
            agent.waiting = waiting;
            self.soon(Item::Tell { leader: to, via: None, event: Event::Beat(beat) });
        }
        self.at(self.now + ms(2000), Item::Beats);
    }

    /// The agent of an address; `None`: its pod is gone.
    fn agent(&self, address: &str) -> Option<usize> {
        let (at, pod) = address.strip_prefix("agent-").unwrap().split_once('.').unwrap();
        let at: usize = at.parse().unwrap();
        (self.agents[at].pod == pod.parse::<u32>().unwrap()).then_some(at)
    }

    fn is_cut(&self, node: usize) -> bool {
        self.agents[node].cut_until > self.now
    }
}

/// What may come twice: what is said over a connection comes in order and once, but may be said again over the next one.
fn is_idempotent(event: &Event) -> bool {
    matches!(
        event,
        Event::Beat(_)
            | Event::PodGone { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::Draining { .. }
            | Event::SlotLeft { .. }
            | Event::Stop { .. }
    )
}
