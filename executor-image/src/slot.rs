//! A slot's process: takes orders from its executor over what was its standard input, runs one task at a time on a thread of
//! its own, and exchanges pieces with agents. User code may crash it, fill it or hang it: the executor is another process.

pub mod exchange;
pub mod frame;
pub mod protocol;
mod stores;
mod task;

use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use engine::pipe::descendants;

use protocol::{FromChild, Opening, ToChild};
use task::{Current, Order, Runner, Voice};

use crate::{log, unix};

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Orders that wait: the executor sends one task at a time.
const ORDERS: usize = 16;
/// Of the thread that runs tasks: long fused chains and deep values recurse.
const STACK: usize = 32 << 20;

/// Runs a slot until its executor lets go of it.
#[must_use]
pub fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gleamflow-executor slot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let mut socket = UnixStream::from(unix::take_standard_input().context("failed to set up standard input and output")?);
    let voice = Voice::new(socket.try_clone().context("failed to share the socket")?);
    let Some(ToChild::Open(opening)) = protocol::read(&mut socket).context("slots are started by an executor, not by hand")?
    else {
        anyhow::bail!("slots are started by an executor, not by hand");
    };
    log::start(vec![("run", opening.run.as_str().into()), ("pod", opening.pod.as_str().into()), ("slot", opening.slot.into())]);
    engine::print::take(log::printed);
    offer_to_the_kernel();
    descendants::adopt_orphans().context("failed to become the parent of orphans")?;
    serve(socket, *opening, &voice)
}

/// If memory gets short, the kernel is to choose this process, or what it starts, and never the executor.
fn offer_to_the_kernel() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::warn!(%error, "the kernel may not choose this process first when memory is short");
    }
}

fn serve(mut socket: UnixStream, opening: Opening, voice: &Voice) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gleamflow-wire")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let wire = exchange::connect(runtime.handle(), &opening)?;
    let current = Arc::new(Current::default());
    let (orders, incoming) = crossbeam_channel::bounded(ORDERS);
    let (running, reaching, answering) = (Arc::clone(&current), Arc::clone(&wire), voice.clone());
    // Both end with the process, which ends when this function returns.
    std::thread::Builder::new()
        .name("gleamflow-task".to_owned())
        .stack_size(STACK)
        .spawn(move || Runner::new(opening, reaching, running, answering).run(&incoming))
        .context("failed to start the task's thread")?;
    let (ticking, speaking) = (Arc::clone(&current), voice.clone());
    std::thread::Builder::new()
        .name("gleamflow-progress".to_owned())
        .spawn(move || tell_progress(&ticking, &speaking))
        .context("failed to start the progress thread")?;
    voice.say(&FromChild::Ready);
    while let Some(order) = protocol::read(&mut socket).context("failed to read an order")? {
        match order {
            ToChild::Open(_) => anyhow::bail!("opened twice"),
            ToChild::Settings(settings) => orders.send(Order::Settings(settings))?,
            ToChild::Plan(plan) => orders.send(Order::Plan(plan))?,
            ToChild::Run { task, output } => orders.send(Order::Run { task, output })?,
            ToChild::Stop { attempt } => {
                if current.stop(attempt) {
                    wire.stop();
                }
            }
        }
    }
    Ok(())
}

fn tell_progress(current: &Current, voice: &Voice) {
    let mut told = None;
    loop {
        std::thread::sleep(PROGRESS_INTERVAL);
        let Some((attempt, watch)) = current.get() else { continue };
        let (rows, bytes) = (watch.rows.load(Ordering::Relaxed), watch.bytes.load(Ordering::Relaxed));
        if told.replace((attempt, rows, bytes)) != Some((attempt, rows, bytes)) {
            voice.say(&FromChild::Progress { attempt, rows, bytes });
        }
    }
}

impl Voice {
    fn new(socket: UnixStream) -> Voice {
        Voice(Arc::new(std::sync::Mutex::new(socket)))
    }

    /// Says something to the executor. Without one there is no reason to go on.
    fn say(&self, message: &FromChild) {
        let mut socket = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = protocol::write(&mut *socket, message) {
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::error!(%error, "the executor does not listen");
            }
            std::process::exit(1);
        }
    }
}
