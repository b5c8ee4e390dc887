//! The master's side of the wire: slots and agents on the one side, the runs' machines on the other. Carries, never decides.
//!
//! ```text
//!  Work stream ─► events ─► actor of a run: Machine ─► commands ─► Work stream, calls to agents, the recorder
//!  Beat ───────────► agents, events ─┘ ▲ └─► progress ─► controller
//!                                      └── answers of calls
//! ```

mod actor;
mod calls;
mod grpc;
mod lines;
mod trust;
mod words;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use proto::master::Beat;
use proto::{RunId, Term};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, watch};

pub use self::calls::{Connect, TlsConnect};
pub use self::trust::{KeptOutput, Refusal, Trust};

use self::actor::Told;
use super::api::{AgentState, Progress, Recorder, RunSpec, Runs};
use super::machine::event::{AgentBeat, Event, OutputRequest};

/// Events on their way to a run: more than its slots and agents say at once. Who says more waits.
const EVENTS: usize = 1024;
/// Runs whose progress changed; a listener that is behind further looks at all runs.
const CHANGES: usize = 1024;
/// So long a run may take to end whose flow is deleted: its pods have no longer either.
const GONE: Duration = Duration::from_secs(60);
/// An agent that was not heard of for so long is not told of.
const AGENT_KNOWN: Duration = Duration::from_secs(10);

/// Runs the tasks of all runs, as long as this process leads.
#[derive(Clone, Debug)]
pub struct Master {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changes: broadcast::Sender<RunId>,
    trust: OnceLock<Arc<dyn Trust>>,
    connect: Arc<dyn Connect>,
    runtime: Handle,
    begun: Instant,
    next_slot: AtomicU64,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    lead: Lead,
    runs: BTreeMap<RunId, Run>,
    /// Runs that an earlier leader ended, whose standard output agents still hold; `None`: nobody knows where.
    held: BTreeMap<RunId, Option<OutputRequest>>,
    /// How many runs were ever started: the oldest goes first.
    started: u64,
    /// Whether every run that may still need something is started: before, agents must not drop anything.
    complete: bool,
    /// By address.
    agents: BTreeMap<String, KnownAgent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Lead {
    Standby { leader: Option<String> },
    Leader(Term),
}

#[derive(Debug)]
struct Run {
    order: u64,
    events: mpsc::Sender<Told>,
    progress: Arc<Mutex<Progress>>,
    /// Its actor ends when this is dropped.
    _end: watch::Sender<()>,
}

#[derive(Debug)]
struct KnownAgent {
    beat: Beat,
    heard: Instant,
}

/// What there is to count, for the metrics endpoint.
#[derive(Debug, Default)]
pub struct Counters {
    pub attempts_given: AtomicU64,
    pub attempts_done: AtomicU64,
    pub attempts_failed: AtomicU64,
    pub calls_retried: AtomicU64,
    pub calls_refused: AtomicU64,
    pub slots_connected: AtomicU64,
}

impl Counters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Master {
    /// A master that stands by. To be made within a tokio runtime.
    #[must_use]
    pub fn new(connect: Arc<dyn Connect>) -> Master {
        let state = State {
            lead: Lead::Standby { leader: None },
            runs: BTreeMap::new(),
            held: BTreeMap::new(),
            started: 0,
            complete: false,
            agents: BTreeMap::new(),
        };
        let inner = Inner {
            state: Mutex::new(state),
            changes: broadcast::channel(CHANGES).0,
            trust: OnceLock::new(),
            connect,
            runtime: Handle::current(),
            begun: Instant::now(),
            next_slot: AtomicU64::new(1),
            counters: Arc::default(),
        };
        Master { inner: Arc::new(inner) }
    }

    /// Whom to trust; set once, before the first call is served.
    pub fn set_trust(&self, trust: Arc<dyn Trust>) {
        if self.inner.trust.set(trust).is_err() {
            tracing::warn!("whom to trust was said twice: the first stays");
        }
    }

    /// This process leads from now on.
    pub fn lead(&self, term: Term) {
        self.inner.state().lead = Lead::Leader(term);
    }

    /// This process does not lead (any more): its runs are dropped, without a word to anybody. `leader`: who does.
    pub fn stand_by(&self, leader: Option<String>) {
        let runs = {
            let mut state = self.inner.state();
            (state.lead, state.complete) = (Lead::Standby { leader }, false);
            state.agents.clear();
            state.held.clear();
            std::mem::take(&mut state.runs)
        };
        // Their actors end with them.
        drop(runs);
    }

    /// Every run that goes on was started: whatever agents hold of others can go.
    pub fn all_runs_started(&self) {
        self.inner.state().complete = true;
    }

    /// Whether a run that is over is known here, with what agents hold of it.
    #[must_use]
    pub fn holds(&self, run: &RunId) -> bool {
        let state = self.inner.state();
        state.held.contains_key(run) || state.runs.contains_key(run)
    }

    /// For the metrics endpoint.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.counters)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machines' clock.
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells a run something, now or as soon as it listens.
    fn tell(&self, run: &RunId, event: Event) {
        let events = self.state().runs.get(run).map(|run| run.events.clone());
        if let Some(events) = events
            && let Err(mpsc::error::TrySendError::Full(told)) = events.try_send(Told::Event(event))
        {
            // It ends with the channel: a run that ends listens no more.
            self.runtime.spawn(async move { events.send(told).await });
        }
    }

    fn beat_of(beat: &Beat, run: &RunId) -> AgentBeat {
        AgentBeat {
            address: beat.address.clone(),
            node: beat.node.clone(),
            incarnation: beat.incarnation,
            holds: beat.runs.contains(run),
            waiting: beat.waiting.contains(run),
            used: beat.memory_used.saturating_add(beat.disk_used),
            limit: beat.memory_limit.saturating_add(beat.disk_limit),
        }
    }

    /// What agents said last, as a run hears it.
    fn known_agents(&self, run: &RunId) -> Vec<Event> {
        self.state().agents.values().map(|agent| Event::Beat(Inner::beat_of(&agent.beat, run))).collect()
    }

    /// Runs that may still need what agents hold, the oldest first, those that are over last: the first ones get room before
    /// others do. `None`: not known yet.
    fn needed_runs(&self) -> Option<Vec<RunId>> {
        let state = self.state();
        let is_over = |run: &Run| run.progress.lock().unwrap_or_else(PoisonError::into_inner).phase.is_over();
        let mut runs: Vec<(bool, u64, &RunId)> = state.runs.iter().map(|(id, run)| (is_over(run), run.order, id)).collect();
        runs.sort_unstable();
        let runs = runs.into_iter().map(|(_, _, id)| id).chain(state.held.keys());
        state.complete.then(|| runs.cloned().collect())
    }
}

impl Runs for Master {
    fn start(&self, run: RunSpec, recorder: Arc<dyn Recorder>) {
        let id = run.id.clone();
        let mut state = self.inner.state();
        let Lead::Leader(term) = state.lead else { return };
        if state.runs.contains_key(&id) {
            return;
        }
        let (events, told) = mpsc::channel(EVENTS);
        let (progress, (end, ended)) = (Arc::new(Mutex::new(Progress::default())), watch::channel(()));
        state.started += 1;
        let order = state.started;
        state.runs.insert(id.clone(), Run { order, events, progress: Arc::clone(&progress), _end: end });
        drop(state);
        let known = self.inner.known_agents(&id);
        let actor = actor::Actor::new(Arc::clone(&self.inner), (id, term), recorder, progress);
        self.inner.runtime.spawn(actor.run(run, known, told, ended));
    }

    fn stop(&self, run: &RunId, why: &str) {
        self.inner.tell(run, Event::Stop { why: why.to_owned() });
    }

    fn gone(&self, run: &RunId) {
        let (master, run, mut changes) = (self.clone(), run.clone(), self.changes());
        self.stop(&run, "the flow was deleted");
        self.inner.runtime.spawn(async move {
            let over = async {
                while master.progress(&run).is_some_and(|progress| !progress.phase.is_over()) {
                    // Who is behind just looks again.
                    if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                        return;
                    }
                }
            };
            if tokio::time::timeout(GONE, over).await.is_err() {
                tracing::warn!(%run, "the flow was deleted, and its run had nobody to end it: staged files may be left");
            }
            master.forget(&run, false);
        });
    }

    fn forget(&self, run: &RunId, keep_output: bool) {
        let (found, lead) = {
            let mut state = self.inner.state();
            let lead = state.lead.clone();
            let found = if keep_output { None } else { state.runs.remove(run) };
            let held = !keep_output && state.held.remove(run).is_some();
            (found.is_some() || held, lead)
        };
        if let (true, Lead::Leader(term)) = (found, lead) {
            let addresses: Vec<String> = self.inner.state().agents.keys().cloned().collect();
            for address in addresses {
                self.inner.runtime.spawn(calls::release_all(Arc::clone(&self.inner), term, run.clone(), address));
            }
        }
    }

    fn hold(&self, run: &RunId, output: Option<OutputRequest>) {
        let mut state = self.inner.state();
        if matches!(state.lead, Lead::Leader(_)) && !state.runs.contains_key(run) {
            state.held.insert(run.clone(), output);
        }
    }

    fn progress(&self, run: &RunId) -> Option<Progress> {
        let progress = Arc::clone(&self.inner.state().runs.get(run)?.progress);
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(progress)
    }

    fn pod_gone(&self, run: &RunId, pod: &str, why: &str) {
        self.inner.tell(run, Event::PodGone { pod: pod.to_owned(), why: why.to_owned() });
    }

    fn agents(&self) -> BTreeMap<String, AgentState> {
        let state = self.inner.state();
        let heard = state.agents.values().filter(|agent| agent.heard.elapsed() < AGENT_KNOWN);
        let shown = |agent: &KnownAgent| AgentState {
            address: agent.beat.address.clone(),
            memory_used: agent.beat.memory_used,
            memory_limit: agent.beat.memory_limit,
            disk_used: agent.beat.disk_used,
            disk_limit: agent.beat.disk_limit,
        };
        heard.map(|agent| (agent.beat.node.clone(), shown(agent))).collect()
    }

    fn changes(&self) -> broadcast::Receiver<RunId> {
        self.inner.changes.subscribe()
    }
}
