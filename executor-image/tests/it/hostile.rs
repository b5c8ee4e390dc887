//! Every port of operator, agent and executor under attack while a flow runs: by strangers, and by members of another run.
//! The flow ends right, nothing is done twice, nothing restarts, and memory stays bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use operator::master::api::Runs;
use plan::task::{Attempt, TaskId};
use proto::agent::{Fetch, FetchItem, PUT_HEADER, PutHeader};
use proto::chunk::{Chunk, Message};
use proto::credentials::{Credentials, Door, Papers};
use proto::master::{Enroll, FromSlot};
use proto::token::{authorization, now};
use proto::transport::{To, channel};
use proto::{AgentClient, MasterClient, RunId};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::loopback::{Cluster, memory, run};

const MIB: usize = 1 << 20;
/// How much more than before the process of all parts (and of the attackers) may come to hold, and how much an executor.
const BOUND: u64 = 384 << 20;
const EXECUTOR_BOUND: u64 = 64 << 20;

const STEPS: &str = "    - {name: numbers, read: {range: {to: 20000}}}
    - {name: dealt, roundRobin: {}, partitions: 3}
    - {name: gated, pipe: {command: 'while [ ! -e gate ]; do sleep 0.05; done; cat'}, deterministic: true}
    - {name: keyed, map: {lua: 'function(n) return tonumber(n) % 3, tonumber(n) end'}}
    - {name: sums, reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}, partitions: 3}
    - {name: out, write: {csv: {path: out}}}
";

/// What goes on until it is told to stop.
struct Attack {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    rounds: Arc<AtomicU64>,
}

/// Beginnings of things, and nothing at all.
fn garbage() -> Vec<Vec<u8>> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frame = |length: u32, kind: u8, flags: u8, stream: u32| {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame
    };
    let with = |frames: &[Vec<u8>]| [preface.clone(), frames.concat()].concat();
    vec![
        vec![0; 9],
        vec![0xff; MIB],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(200_000)].concat(),
        [b"GET /".to_vec(), vec![b'a'; MIB]].concat(),
        // A ClientHello that says that more comes.
        [vec![0x16, 3, 1, 0x40, 0], vec![1; 100]].concat(),
        with(&[frame(0x00ff_ffff, 0, 0, 1)]),
        with(&[frame(0, 4, 0, 0), frame(10, 1, 4, 1), vec![0x82; 10], frame(0, 3, 0, 1)]),
        with(&vec![frame(0, 4, 0, 0); 5000]),
        with(&[frame(0, 4, 0, 0), frame(16_384, 1, 0, 1), vec![0x40; 16_384], frame(16_384, 9, 0, 1), vec![0x41; 16_384]]),
    ]
}

impl Attack {
    fn on(ports: &[SocketAddr]) -> Attack {
        let mut attack = Attack { stop: Arc::default(), threads: Vec::new(), rounds: Arc::default() };
        for port in ports.iter().copied() {
            let (stop, rounds) = (Arc::clone(&attack.stop), Arc::clone(&attack.rounds));
            attack.threads.push(std::thread::spawn(move || throw_garbage(port, &stop, &rounds)));
            let stop = Arc::clone(&attack.stop);
            attack.threads.push(std::thread::spawn(move || hold_open(port, &stop)));
        }
        attack
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// One bad beginning after the other.
fn throw_garbage(port: SocketAddr, stop: &AtomicBool, rounds: &AtomicU64) {
    let garbage = garbage();
    while !stop.load(Ordering::Relaxed) {
        for bytes in &garbage {
            let Ok(mut stream) = TcpStream::connect(port) else { continue };
            // Whoever hangs up is right.
            let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
            let _ = stream.write_all(bytes);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            let _ = stream.read(&mut [0; 1024]);
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Half-open connections, each of which gets a byte of a good beginning now and then.
fn hold_open(port: SocketAddr, stop: &AtomicBool) {
    let slow = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ";
    let mut held: Vec<(TcpStream, usize)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if held.len() < 40 {
            held.extend(TcpStream::connect(port).map(|stream| (stream, 0)));
        }
        held.retain_mut(|(stream, sent)| {
            let byte = slow.get(*sent).copied().unwrap_or(b'a');
            *sent += 1;
            stream.write_all(&[byte]).is_ok()
        });
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Calls of those who have no certificate, of the largest kind.
async fn strangers(cluster: &Cluster) {
    let papers = Papers { authority: cluster.trust.authority().bundle(), own: None };
    let credentials = Credentials::new(papers, Door::Members).unwrap();
    let address = cluster.operator.to_string();
    let calls = (0..24).map(|_| {
        let mut client = MasterClient::new(channel(To::operator(&address, Some(&credentials))).unwrap());
        let enroll = Enroll { csr: "x".repeat(8 * MIB), node: "n".to_owned(), address: "a".to_owned() };
        let mut call = Request::new(enroll);
        call.metadata_mut().insert("authorization", authorization("projected of n").unwrap());
        tokio::spawn(async move { client.enroll(call).await.unwrap_err().code() })
    });
    for call in calls.collect::<Vec<_>>() {
        // Too many, too large, or not even connected.
        let code = call.await.unwrap();
        let turned_away = [Code::ResourceExhausted, Code::OutOfRange, Code::Unavailable, Code::Unknown, Code::Cancelled];
        assert!(turned_away.contains(&code), "{code:?}");
    }
}

/// Calls of executors of another run: messages that are too large, streams that never end, hellos that never come.
async fn members(cluster: &Cluster, agent: &str) {
    let other = run("other-1");
    let papers = cluster.trust.authority().executors(&other, now()).unwrap();
    let own = Papers { authority: papers.authority, own: Some((papers.certificate, papers.key)) };
    let credentials = Credentials::new(own, Door::Members).unwrap();
    let bearer = authorization(&papers.token).unwrap();
    let signed = |run: &RunId, number: u32, messages: tokio::sync::mpsc::Receiver<Message>| {
        let mut call = Request::new(tokio_stream::wrappers::ReceiverStream::new(messages));
        let attempt = Attempt { task: TaskId::Stage, number };
        let header = rmp_serde::to_vec_named(&PutHeader { run: run.clone(), attempt }).unwrap();
        call.metadata_mut().insert_bin(PUT_HEADER, MetadataValue::from_bytes(&header));
        call.metadata_mut().insert("authorization", bearer.clone());
        call
    };
    let (mut open, mut calls) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let (messages, stream) = tokio::sync::mpsc::channel(1);
        let bytes = vec![7; if number % 2 == 0 { 5 * MIB } else { 1000 }];
        messages.try_send(Message { chunks: vec![Chunk { piece: 0, ends: true, bytes: bytes.into() }] }).unwrap();
        open.push(messages);
        let mut client = AgentClient::new(channel(To::agent(agent, Some(&credentials))).unwrap());
        let call = signed(&other, number, stream);
        calls.push(tokio::spawn(async move { client.put(call).await.map(drop) }));
    }
    let items = vec![FetchItem { attempt: Attempt { task: TaskId::Stage, number: 1 }, piece: 0, first: 0, end: 1 }; 60_000];
    for _ in 0..20 {
        let mut client = AgentClient::new(channel(To::agent(agent, Some(&credentials))).unwrap());
        let mut call = Request::new(Fetch { run: other.clone(), items: items.clone() });
        call.metadata_mut().insert("authorization", bearer.clone());
        assert!(client.fetch(call).await.is_err());
    }
    let mut silent = Vec::new();
    for _ in 0..40 {
        let (messages, stream) = tokio::sync::mpsc::channel::<FromSlot>(1);
        silent.push(messages);
        let mut client = MasterClient::new(channel(To::operator(&cluster.operator.to_string(), Some(&credentials))).unwrap());
        let mut call = Request::new(tokio_stream::wrappers::ReceiverStream::new(stream));
        call.metadata_mut().insert("authorization", bearer.clone());
        calls.push(tokio::spawn(async move { client.work(call).await.map(drop) }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_ends_right_while_every_port_is_attacked() {
    let mut cluster = Cluster::start(0).await;
    let (agent, agent_pages) = cluster.agent().await;
    let id = run("abc-1");
    cluster.apply(&id, STEPS);
    let mut executor = cluster.executor(&id, "flow-1-0").await;
    cluster.until("a slot works", || cluster.progress(&id).slots == 1).await;
    cluster.until("the executor is healthy", || TcpStream::connect(executor.pages).is_ok()).await;
    let incarnations = cluster.trust.enrolled.load(Ordering::Relaxed);
    let (before, executor_before) = (memory("self"), executor.memory());
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let attack = Attack::on(&[cluster.operator, cluster.operator_pages, local(agent), local(agent_pages), executor.pages]);
    let highest = Arc::new(AtomicU64::new(0));
    let watching = {
        let highest = Arc::clone(&highest);
        tokio::spawn(async move {
            loop {
                highest.fetch_max(memory("self"), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    strangers(&cluster).await;
    members(&cluster, &local(agent).to_string()).await;
    cluster.until("each port has had its share", || attack.rounds.load(Ordering::Relaxed) >= 5).await;
    cluster.open("gate");
    let progress = cluster.succeeds(&id).await;
    attack.end();
    watching.abort();
    let sums = (0..20_000_u64).fold([0; 3], |mut sums, n| {
        sums[(n % 3) as usize] += n;
        sums
    });
    assert_eq!(cluster.lines("out"), [0, 1, 2].map(|key| format!("{key},{}", sums[key])));
    assert_eq!(progress.done, progress.known);
    assert_eq!(cluster.master.counters().attempts_failed.load(Ordering::Relaxed), 0, "nothing was done twice");
    assert_eq!(cluster.master.agents().len(), 1, "the agent is still there");
    assert!(cluster.trust.enrolled.load(Ordering::Relaxed) >= incarnations);
    let grown = highest.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < BOUND, "operator, agent and attackers hold {} MiB more", grown >> 20);
    if executor.process.id().is_some() && executor.process.try_wait().unwrap().is_none() {
        let grown = executor.memory().saturating_sub(executor_before);
        assert!(grown < EXECUTOR_BOUND, "the executor holds {} MiB more", grown >> 20);
    }
    assert_eq!(executor.exit().await, 0);
    eprintln!("grown by {} MiB at most", grown >> 20);
}
