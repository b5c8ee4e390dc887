//! The way to agents and back over loopback, through a proxy that cuts it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use plan::task::{Fault, Held};

use super::WireError;
use crate::rig::{Rig, attempt, frame, held, in_thread, put_to, run, until};

const MIB: usize = 1 << 20;

/// Passes bytes on to `to`; each connection is cut after so many bytes back, as often as there are cuts.
struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

fn proxy(to: SocketAddr, cuts: Vec<usize>) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (cuts, connections) = (Mutex::new(cuts.into_iter()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(to).unwrap());
            counted.fetch_add(1, Ordering::Relaxed);
            let limit = cuts.lock().unwrap().next().unwrap_or(usize::MAX);
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass(near, far, usize::MAX));
            std::thread::spawn(move || pass(far_too, near_too, limit));
        }
    });
    Proxy { address, connections }
}

fn pass(mut from: TcpStream, mut to: TcpStream, limit: usize) {
    let (mut buffer, mut left) = (vec![0; 64 << 10], limit);
    while left > 0 {
        let most = left.min(buffer.len());
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => left -= read,
            _ => break,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_fetch_that_is_cut_goes_on_where_it_was() {
    let (rig, a) = (Rig::new(128 << 20, 0), run("a"));
    let frames: Vec<Bytes> = (0..200).map(|at| frame(at, at as usize * 1500)).collect();
    let pieces: Vec<(u32, Bytes)> = frames.iter().enumerate().map(|(at, frame)| (at as u32 / 50, frame.clone())).collect();
    rig.put(&a, attempt(1, 1), &pieces).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    let proxy = proxy(rig.address, vec![3 * MIB, 100, 10 * MIB, 5 * MIB]);
    let wanted: Vec<Held> = (0..4).map(|piece| held(0, attempt(1, 1), piece, 0..50)).collect();
    let fetched = rig.agents(&a).fetch(&wanted, &[proxy.address.to_string()]).unwrap();
    assert!(fetched.collect::<Result<Vec<_>, _>>().unwrap() == frames);
    assert_eq!(proxy.connections.load(Ordering::Relaxed), 5);
}

#[test]
fn frames_come_in_the_order_asked_from_many_agents() {
    let rigs: Vec<Rig> = (0..3).map(|_| Rig::new(64 << 20, 0)).collect();
    let a = run("a");
    let mut expected = Vec::new();
    let mut wanted = Vec::new();
    for map in 0..60 {
        let at = map as usize * 7 % 3;
        let own: Vec<Bytes> = (0..map % 4).map(|number| frame(map * 10 + number, 20_000)).collect();
        rigs[at].put(&a, attempt(map, 1), &own.iter().map(|frame| (0, frame.clone())).collect::<Vec<_>>()).unwrap();
        rigs[at].name(&a, &[attempt(map, 1)], &[]);
        wanted.push(held(at as u32, attempt(map, 1), 0, 0..own.len() as u32));
        expected.extend(own);
    }
    for rig in &rigs[1..] {
        rig.service.access.learn(crate::rig::TERM, &[rigs[0].signer.public_key()]);
    }
    let addresses: Vec<String> = rigs.iter().map(|rig| rig.address.to_string()).collect();
    let fetched = rigs[0].agents(&a).fetch(&wanted, &addresses).unwrap();
    assert!(fetched.collect::<Result<Vec<_>, _>>().unwrap() == expected);
    let streams: u64 = rigs.iter().map(|rig| rig.service.intake.metrics.fetches.get()).sum();
    assert_eq!(streams, 3, "one stream for each agent");
}

#[test]
fn many_streams_at_a_time_do_not_stand_in_each_others_way() {
    let (rig, a) = (Rig::new(512 << 20, 0), run("a"));
    let count = 40;
    let frames: Vec<Vec<Bytes>> = (0..count).map(|piece| (0..3).map(|at| frame(piece * 3 + at, 2 * MIB)).collect()).collect();
    let all: Vec<(u32, Bytes)> =
        frames.iter().enumerate().flat_map(|(piece, own)| own.iter().map(move |frame| (piece as u32, frame.clone()))).collect();
    rig.put(&a, attempt(1, 1), &all).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    let agents = rig.agents(&a);
    let fetch = |piece| agents.fetch(&[held(0, attempt(1, 1), piece, 0..3)], &[rig.address.to_string()]).unwrap();
    let mut streams: Vec<_> = (0..count).map(fetch).collect();
    // The last first: the others are full and wait.
    for at in 0..3 {
        for piece in (0..count as usize).rev() {
            assert!(streams[piece].next().unwrap().unwrap() == frames[piece][at]);
        }
    }
    assert!(streams.iter_mut().all(|stream| stream.next().is_none()));
}

#[test]
fn outputs_of_an_agent_that_is_gone_are_lost() {
    let (mut rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let frames: Vec<(u32, Bytes)> = (0..30).map(|at| (0, frame(at, MIB))).collect();
    for at in [1, 2] {
        rig.put(&a, attempt(at, 1), &frames[..15]).unwrap();
    }
    rig.name(&a, &[attempt(1, 1), attempt(2, 1)], &[]);
    let wanted = [held(0, attempt(1, 1), 0, 0..15), held(0, attempt(2, 1), 0, 0..15)];
    let mut fetched = rig.agents(&a).fetch(&wanted, &[rig.address.to_string()]).unwrap();
    assert!(fetched.next().unwrap().is_ok());
    rig.stop();
    let error = fetched.find_map(Result::err).unwrap();
    assert!(matches!(error.fault(), Fault::Lost(attempts) if attempts.ends_with(&[attempt(2, 1)])), "{error}");
    assert!(fetched.next().is_none());
}

#[test]
fn an_agent_that_comes_back_empty_says_what_is_lost() {
    let (mut rig, a) = (Rig::new(64 << 20, 0), run("a"));
    rig.put(&a, attempt(1, 1), &[(0, frame(1, 10))]).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    rig.stop();
    rig.restart_empty();
    let error = rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..1)]).unwrap_err();
    assert_eq!(error.fault(), Fault::Lost(vec![attempt(1, 1)]));
    assert_eq!(rig.inventory(&a).outputs, []);
    assert_eq!(rig.name(&a, &[attempt(1, 1)], &[]).missing, [attempt(1, 1)]);
    rig.put(&a, attempt(1, 2), &[(0, frame(1, 10))]).unwrap();
}

#[test]
fn a_fetch_survives_an_agent_that_is_away_for_a_moment() {
    let (mut rig, a) = (Rig::new(64 << 20, 0), run("a"));
    rig.put(&a, attempt(1, 1), &[(0, frame(1, 10)), (0, frame(2, 10))]).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    rig.stop();
    let (agents, address) = (rig.agents(&a), rig.address.to_string());
    let reader =
        in_thread(move || agents.fetch(&[held(0, attempt(1, 1), 0, 0..2)], &[address]).unwrap().collect::<Result<Vec<_>, _>>());
    std::thread::sleep(Duration::from_millis(300));
    rig.start();
    assert_eq!(reader.join().unwrap().unwrap(), [frame(1, 10), frame(2, 10)]);
}

#[test]
fn a_put_to_an_agent_that_is_gone_fails_and_is_not_the_flows_fault() {
    let (mut rig, a) = (Rig::new(64 << 20, 0), run("a"));
    rig.stop();
    let error = rig.put(&a, attempt(1, 1), &[(0, frame(1, 10))]).unwrap_err();
    assert!(matches!(error, WireError::Put { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Infrastructure);
}

#[test]
fn whoever_is_blocked_can_be_stopped() {
    let (rig, a) = (Arc::new(Rig::new(16 << 20, 0)), run("a"));
    let agents = rig.agents(&a);
    let writer = {
        let (agents, address) = (agents.clone(), rig.address.to_string());
        in_thread(move || put_to(&agents, &address, attempt(1, 1), &(0..40).map(|at| (0, frame(at, MIB))).collect::<Vec<_>>()))
    };
    until("it waits for room", || !rig.waiting().is_empty());
    agents.stop();
    assert!(matches!(writer.join().unwrap(), Err(WireError::Stopped)));
    until("nothing of it stays", || rig.used() == (0, 0));
    put_to(&agents, &rig.address.to_string(), attempt(1, 1), &[]).unwrap();
}

#[test]
fn pieces_without_frames_are_not_asked_for() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    assert_eq!(rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..0), held(9, attempt(1, 1), 3, 4..4)]).unwrap(), Vec::<Bytes>::new());
    let error = rig.fetch(&a, &[held(3, attempt(1, 1), 0, 0..1)]).unwrap_err();
    assert_eq!(error.to_string(), "a piece is at agent 3 of only 1");
}
