//! The executor: works for one run with its slots, each a child process with a memory limit of its own.
//!
//! ```text
//! operator ◄──Work──► link ─┐                       ┌─ child ◄──socket──► `gleamflow-executor slot` ──Put, Fetch──► agents
//!                           ├─► Session (pure) ─────┤
//!            clock, SIGTERM ┘   one per slot        └─ watchdog: /proc
//! ```
//!
//! The executor itself never runs a flow's code and touches no data: whatever a task does costs its own process only.

mod child;
mod config;
mod death;
mod drive;
mod health;
mod link;
mod metrics;
mod processes;
mod session;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::{Term, pages};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use config::{Config, Options};

use child::Program;
use drive::{Seat, Shared};
use link::Dialer;
use metrics::Metrics;
use session::Identity;

use crate::slot::protocol::Opening;
use crate::{log, unix};

/// The exit code for wrong flags or environment.
const USAGE: u8 = 64;
/// How often the watchdog looks at the slots' memory.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Before the pod's end: what runs is handed back, results are reported, files go.
const DRAIN_MARGIN: Duration = Duration::from_secs(7);
/// Before the pod's end: the executor is gone by itself.
const EXIT_MARGIN: Duration = Duration::from_secs(1);

/// Runs an executor until it may leave.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    let config = match Config::read(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("gleamflow-executor: the environment is not an executor's:\n{problems}");
            return ExitCode::from(USAGE);
        }
    };
    log::start(vec![("run", config.run.as_str().into()), ("pod", config.pod.as_str().into())]);
    match start(&config, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the executor ends: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config, options: &Options) -> anyhow::Result<()> {
    unix::adopt_orphans().context("failed to become the parent of orphans")?;
    // One thread: the slots' processes do the work, and what is started is known before anything else happens.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    let result = runtime.block_on(run(config, options));
    runtime.shutdown_timeout(Duration::from_millis(200));
    // Nothing that a slot left behind outlives the executor.
    processes::survey(&Default::default());
    result
}

async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let shared = Arc::new(share(config, options)?);
    let mut slots = JoinSet::new();
    let (mut ears, mut welcome) = (Vec::new(), Vec::new());
    for slot in 0..config.slots {
        let (seat, ear) = seat(config, options, slot);
        ears.push(ear);
        welcome.push(Arc::clone(&seat.welcome));
        let shared = Arc::clone(&shared);
        slots.spawn(async move { drive::drive(&shared, seat).await });
    }
    let mut others = JoinSet::new();
    let listener = TcpListener::bind(&options.listen).await.with_context(|| format!("failed to listen on {}", options.listen))?;
    let metrics = shared.metrics.clone();
    others.spawn(async move {
        pages::serve(listener, move |path| health::page(path, &metrics, &welcome)).await;
        Ok(())
    });
    others.spawn(watch_memory(Arc::clone(&shared), ears, config.slot_memory));
    others.spawn(await_end(Arc::clone(&shared), config.grace));
    loop {
        tokio::select! {
            Some(ended) = slots.join_next() => ended?.map_err(anyhow::Error::msg)?,
            Some(Err(error)) = next_failure(&mut others), if !others.is_empty() => return Err(error),
            else => break,
        }
        if slots.is_empty() {
            break;
        }
    }
    Ok(())
}

/// The next of the tasks beside the slots that is over; only a failure ends the executor.
async fn next_failure(others: &mut JoinSet<anyhow::Result<()>>) -> Option<anyhow::Result<()>> {
    loop {
        match others.join_next().await? {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(Err(error)),
            Err(error) => return Some(Err(error.into())),
        }
    }
}

fn share(config: &Config, options: &Options) -> anyhow::Result<Shared> {
    let path = match &options.slot_program {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("failed to find this program")?,
    };
    Ok(Shared {
        dialer: Dialer { operator: config.operator.clone(), credentials: options.credentials.clone() },
        program: Program { path, arguments: vec!["slot".into()] },
        living: Arc::default(),
        metrics: Metrics::new(),
        term: watch::Sender::new(Term::default()),
        drain: watch::Sender::new(None),
    })
}

/// How the watchdog reaches a slot.
struct Ear {
    session: watch::Receiver<Option<i32>>,
    grown: mpsc::Sender<(i32, u64)>,
}

fn seat(config: &Config, options: &Options, slot: u32) -> (Seat, Ear) {
    let (to_grown, grown) = mpsc::channel(1);
    let (to_session, session) = watch::channel(None);
    let identity = Identity {
        run: config.run.clone(),
        pod: config.pod.clone(),
        node: config.node.clone(),
        slot,
        incarnation: RandomState::new().build_hasher().finish(),
        memory: config.slot_memory,
    };
    let opening = Opening {
        run: config.run.clone(),
        pod: config.pod.clone(),
        slot,
        credentials: options.credentials.clone(),
        base: options.base(),
        scratch: options.scratch.clone(),
        stores: config.stores.clone(),
    };
    let seat = Seat { identity, opening, grown, session: to_session, welcome: Arc::new(AtomicBool::new(false)) };
    (seat, Ear { session, grown: to_grown })
}

/// Looks at the slots' memory, ends what they left behind.
async fn watch_memory(shared: Arc<Shared>, ears: Vec<Ear>, limit: u64) -> anyhow::Result<()> {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    loop {
        interval.tick().await;
        let living = shared.living.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let held: BTreeMap<i32, u64> = processes::survey(&living);
        for ear in &ears {
            let session = *ear.session.borrow();
            if let Some((session, &held)) = session.and_then(|session| Some((session, held.get(&session)?))) {
                if held > limit {
                    // A slot that has not looked yet is told again at the next tick.
                    let _ = ear.grown.try_send((session, held));
                }
            }
        }
    }
}

/// Waits for SIGTERM (or SIGINT), and tells the slots until when they have time.
async fn await_end(shared: Arc<Shared>, grace: Duration) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let now = Instant::now();
    let (stop_at, end_at) = (now + grace.saturating_sub(DRAIN_MARGIN), now + grace.saturating_sub(EXIT_MARGIN));
    tracing::info!(seconds = grace.as_secs(), "the pod is being taken down");
    shared.drain.send_replace(Some((stop_at, end_at)));
    Ok(())
}
