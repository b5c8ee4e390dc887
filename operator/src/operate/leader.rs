//! What only the leader does: makes the authority, keeps the agents, looks at flows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use proto::{RunId, Term};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Process, now, serve};
use crate::authority::{Authority, AuthorityError, Founded};
use crate::controller::{Again, Controller, Fleet, Outputs, Told};
use crate::lead::Standing;
use crate::master::api::{NODE_LOCAL, Runs};
use crate::master::service::Master;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowKey, FlowView, text};
use crate::{agents, events, naming};

const RETRY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(500);

/// Waits for the lease, then leads until the process ends.
pub(super) async fn lead(
    process: Process,
    master: Master,
    mut standing: watch::Receiver<Option<Standing>>,
    (mut listed, mut trusted): (watch::Receiver<bool>, watch::Receiver<bool>),
) -> anyhow::Result<()> {
    let won = |standing: &Option<Standing>| matches!(standing, Some(Standing::Leads(_)));
    let term = match *standing.wait_for(won).await.context("the lease is not asked for any more")? {
        Some(Standing::Leads(term)) => term,
        _ => return Err(anyhow!("the lease is not held")),
    };
    tracing::info!(term = term.0, "this operator leads");
    found(&process).await;
    let operator = address(&process).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_agents(process.clone(), operator.clone()));
    listed.wait_for(|listed| *listed).await.context("the watches ended")?;
    let (tell, told) = mpsc::channel(events::WAITING);
    let teller = events::tell(Arc::clone(&process.free), told, process.arguments.pod_name.clone());
    tasks.spawn(async move {
        teller.await;
        false
    });
    trusted.wait_for(|trusted| *trusted).await.context("the gRPC server ended")?;
    master.lead(term);
    let runs: Arc<dyn Runs> = Arc::new(master.clone());
    tasks.spawn(tend_authority(process.clone()));
    let controller = Arc::new(controller(&process, Arc::clone(&runs), tell, (operator, term)));
    tasks.spawn(follow_runs(process.clone(), runs));
    // Whoever waits for a run is not to wait for all that are over.
    for key in controller.cached(|cache| cache.keys()) {
        match controller.cached(|cache| cache.is_settled(&key)) {
            true => process.queue.add_last(key),
            false => process.queue.add(key, Duration::ZERO),
        }
    }
    tasks.spawn(all_started(process.clone(), Arc::clone(&controller), master));
    for _ in 0..process.arguments.concurrency.max(1) {
        tasks.spawn(work(process.clone(), Arc::clone(&controller)));
    }
    loop {
        match tasks.join_next().await {
            Some(Err(error)) => return Err(error).context("a part of the leader panicked"),
            Some(Ok(false)) => return Err(anyhow!("a part of the leader ended")),
            // What had an end has reached it.
            Some(Ok(true)) => {}
            None => return Err(anyhow!("all parts of the leader ended")),
        }
    }
}

/// Tells the master once every run that went on when this leader began is taken up or over, and every one whose standard output is
/// still on agents is known: only then may agents drop what nobody asks for.
async fn all_started(process: Process, controller: Arc<Controller>, master: Master) -> bool {
    let active = |key: &FlowKey| {
        let flow = controller.cached(|cache| cache.flow(key)).and_then(|object| FlowView::read(&object).ok())?;
        let run = flow.status.current_run.filter(|_| !flow.deleting)?;
        let kept = flow.spec.map_or(0, |spec| i64::from(spec.retention.output_seconds));
        let local = flow.status.outputs.iter().any(|output| output.location == NODE_LOCAL) && !run.released;
        let open = match &run.completion_time {
            None => true,
            Some(ended) => local && jiff::Timestamp::now().as_second() < ended.0.as_second() + kept,
        };
        RunId::try_from(run.id).ok().filter(|_| open)
    };
    let mut waiting = controller.cached(|cache| cache.keys());
    while !waiting.is_empty() {
        waiting.retain(|key| active(key).is_some_and(|run| !master.holds(&run)));
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!(flows = process.cache.lock().map(|cache| cache.keys().len()).unwrap_or(0), "every run is taken up");
    master.all_runs_started();
    true
}

fn controller(
    process: &Process,
    runs: Arc<dyn Runs>,
    tell: mpsc::Sender<Told>,
    (operator, Term(term)): (String, Term),
) -> Controller {
    let authority = Arc::clone(&process.authority);
    let trust = move |run: &RunId| {
        let papers = authority.get()?.executors(run, now());
        papers.inspect_err(|error| tracing::error!(%run, %error, "a run gets no certificate")).ok()
    };
    Controller {
        server: Arc::clone(&process.server),
        runs,
        cache: Arc::clone(&process.cache),
        trust: Box::new(trust),
        clock: Box::new(|| jiff::Timestamp::now().as_millisecond()),
        // Events are best effort: what cannot wait is dropped.
        tell: Box::new(move |told| drop(tell.try_send(told))),
        metrics: Arc::clone(&process.metrics),
        image: process.config.executor.clone(),
        namespace: process.arguments.namespace.clone(),
        operator,
        writer: format!("{}/{term}", process.arguments.pod_name),
        flows: Mutex::default(),
        outputs: Outputs::default(),
        fleet: Fleet::default(),
    }
}

/// Looks at one flow after the other.
async fn work(process: Process, controller: Arc<Controller>) -> bool {
    loop {
        let key = process.queue.next().await;
        let again = match controller.reconcile(&key).await {
            Again::Now => Some(Duration::ZERO),
            Again::After(after) => Some(after),
            Again::WhenSomethingHappens => None,
        };
        process.queue.done(&key, again);
        process.metrics.queued(process.queue.len());
    }
}

/// Looks at a flow whenever its run has changed.
async fn follow_runs(process: Process, runs: Arc<dyn Runs>) -> bool {
    let mut changes = runs.changes();
    loop {
        let cache = || process.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match changes.recv().await {
            Ok(run) => {
                if let Some(key) = cache().of_uid(naming::run_uid(run.as_str())) {
                    process.queue.add(key, Duration::ZERO);
                }
            }
            // Some were missed: all are looked at.
            Err(RecvError::Lagged(_)) => {
                for key in cache().keys() {
                    process.queue.add(key, Duration::ZERO);
                }
            }
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Replaces the authority when it gets old, and makes again what is deleted of it; never ends.
async fn tend_authority(process: Process) -> bool {
    let (server, namespace) = (process.server.as_ref(), &process.arguments.namespace);
    let lives = process.config.certificates.lives();
    let mut owner = None;
    let mut tend = async || {
        // Known in time: without its owner, what is made while all is removed would stay.
        if owner.is_none() {
            owner = Some(agents::owner(server, namespace, &process.arguments.pod_name).await?);
        }
        let held = process.authority.get();
        let Founded { authority, anew } = Authority::found(server, namespace, lives, (held.as_deref(), now())).await?;
        if anew {
            tracing::warn!(namespace, "the authority's Secret or ConfigMap was deleted: it is made again, as it was");
        }
        let next = authority.tend(server, namespace, now()).await?;
        // What is written, by this task or by who keeps the lease, names no owner.
        if let Some(owner) = owner.as_ref().and_then(Option::as_ref) {
            agents::adopt_all(server, namespace, owner).await?;
        }
        if let Some(authority) = next {
            process.authority.set(authority);
        }
        Ok::<(), AuthorityError>(())
    };
    loop {
        if let Err(error) = tend().await {
            tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "the authority cannot be looked after");
        }
        tokio::time::sleep(serve::pause(&process)).await;
    }
}

/// Makes the authority, unless it is there.
async fn found(process: &Process) {
    loop {
        let (lives, held) = (process.config.certificates.lives(), process.authority.get());
        let known = (held.as_deref(), now());
        match Authority::found(process.server.as_ref(), &process.arguments.namespace, lives, known).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "the authority cannot be had"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Where executors and agents find the operator: the Service's address, which needs no names; else the Service's name.
async fn address(process: &Process) -> String {
    if let Some(address) = &process.arguments.address {
        return address.clone();
    }
    let namespace = &process.arguments.namespace;
    let port = process.arguments.port;
    match process.server.get(&Ref::new(Kind::Service, namespace, naming::OPERATOR)).await {
        Ok(service) => {
            let address = text(&service, "/spec/clusterIP").filter(|address| !address.is_empty() && *address != "None");
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                return std::net::SocketAddr::new(address, port).to_string();
            }
        }
        Err(error @ (ApiError::NotFound(_) | ApiError::Forbidden(_))) => {
            tracing::warn!(%error, "the operator's Service cannot be read; its name is used instead of its address");
        }
        Err(error) => tracing::warn!(%error, "the operator's Service cannot be read; its name is used instead of its address"),
    }
    format!("{}.{namespace}.svc:{port}", naming::OPERATOR)
}

async fn keep_agents(process: Process, operator: String) -> bool {
    let (server, arguments) = (process.server.as_ref(), &process.arguments);
    let (mut owner, mut adopted) = (None, false);
    let mut keep = async || {
        if owner.is_none() {
            owner = Some(agents::owner(server, &arguments.namespace, &arguments.pod_name).await?);
        }
        let owner = owner.as_ref().and_then(Option::as_ref);
        agents::apply(server, &process.config.agent, &arguments.namespace, owner, &operator).await?;
        if let Some(owner) = owner.filter(|_| !adopted) {
            agents::adopt_all(server, &arguments.namespace, owner).await?;
            adopted = true;
        }
        Ok::<(), ApiError>(())
    };
    loop {
        let wait = match keep().await {
            Ok(()) => agents::EVERY,
            Err(error) => {
                tracing::warn!(%error, "the agents' DaemonSet could not be applied");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}
