//! An agent over loopback: what it holds, gives, refuses, and survives.

mod attack;
mod enroll;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use plan::task::Attempt;
use proptest::prelude::*;
use proto::agent::{Fetch, FetchItem, PUT_HEADER, PutHeader, missing_of};
use proto::chunk::{Chunk, Message, TRAILER};
use proto::gate::Keeper;
use proto::peer::{Peer, Shown};
use proto::token::{Claims, Role, Signer};
use proto::{RunId, Term};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::rig::{Rig, TERM, attempt, frame, held, in_thread, run, shared, until};
use crate::wire::WireError;

const MIB: usize = 1 << 20;

fn code<T: std::fmt::Debug>(result: Result<T, WireError>) -> Code {
    match result.unwrap_err() {
        WireError::Put { source, .. } | WireError::Refused { source, .. } | WireError::Denied { source, .. } => source.code(),
        other => panic!("{other:?}"),
    }
}

/// A `Put` by hand.
fn put_raw(rig: &Rig, run: &RunId, attempt: Attempt, messages: Vec<Message>) -> Result<(), Status> {
    let mut request = rig.call(tokio_stream::iter(messages), Role::Executor { run: run.clone() });
    let header = rmp_serde::to_vec_named(&PutHeader { run: run.clone(), attempt }).unwrap();
    request.metadata_mut().insert_bin(PUT_HEADER, MetadataValue::from_bytes(&header));
    let mut client = rig.client();
    rig.runtime.block_on(client.put(request)).map(drop)
}

fn message(chunks: &[(u32, bool, &'static [u8])]) -> Message {
    let chunk = |(piece, ends, bytes): &(u32, bool, &'static [u8])| Chunk {
        piece: *piece,
        ends: *ends,
        bytes: Bytes::from_static(bytes),
    };
    Message { chunks: chunks.iter().map(chunk).collect() }
}

#[test]
fn pieces_come_back_as_they_were_from_memory_and_from_the_disk() {
    // Room for about 10 MiB in memory, the rest goes to the disk.
    let (rig, a) = (Rig::new(16 << 20, 256 << 20), run("a"));
    let mut frames: Vec<(u32, Bytes)> = (0..600).map(|at| (at % 200, frame(at, at as usize * 7 % 5000))).collect();
    frames.push((3, frame(1, 17 * MIB + 5)));
    frames.push((3, Bytes::new()));
    frames.push((250, frame(2, 3 * MIB)));
    let stored = rig.put(&a, attempt(1, 1), &frames).unwrap();
    assert_eq!(
        (stored.frames.len(), stored.frames[3], stored.frames[4], stored.frames[249], stored.frames[250]),
        (251, 5, 3, 0, 1)
    );
    let (memory, disk) = rig.used();
    assert!(memory > 4 << 20 && memory <= 10 << 20 && disk > 8 << 20, "{memory} {disk}");
    rig.name(&a, &[attempt(1, 1)], &[]);
    for piece in [0, 3, 199, 250] {
        let expected: Vec<Bytes> = frames.iter().filter(|(of, _)| *of == piece).map(|(_, frame)| frame.clone()).collect();
        let pieces = [held(0, attempt(1, 1), piece, 0..expected.len() as u32)];
        assert!(rig.fetch(&a, &pieces).unwrap() == expected, "piece {piece}");
    }
    let some = rig.fetch(&a, &[held(0, attempt(1, 1), 3, 1..4), held(0, attempt(1, 1), 5, 2..3)]).unwrap();
    let of = |piece: u32| frames.iter().filter(move |(of, _)| *of == piece).map(|(_, frame)| frame.clone());
    assert!(some == of(3).skip(1).take(3).chain(of(5).skip(2)).collect::<Vec<_>>());
    assert_eq!(rig.release(&a, None).bytes, memory + disk);
    until("all is free", || rig.used() == (0, 0));
}

#[test]
fn what_was_not_asked_for_rightly_is_refused_with_the_reason() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    assert!(
        matches!(rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..1)]), Err(WireError::Lost { attempts, .. }) if attempts == [attempt(1, 1)])
    );
    rig.put(&a, attempt(1, 1), &[(0, frame(1, 10))]).unwrap();
    assert_eq!(code(rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..1)])), Code::FailedPrecondition);
    assert_eq!(rig.name(&a, &[attempt(1, 1), attempt(2, 1)], &[]).missing, [attempt(2, 1)]);
    assert_eq!(code(rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..2)])), Code::OutOfRange);
    assert_eq!(code(rig.fetch(&a, &[held(0, attempt(1, 1), 1, 0..1)])), Code::OutOfRange);
    let mut client = rig.client();
    let backwards = Fetch { run: a.clone(), items: vec![FetchItem { attempt: attempt(1, 1), piece: 0, first: 1, end: 0 }] };
    let call = rig.call(backwards, Role::Executor { run: a.clone() });
    assert_eq!(rig.runtime.block_on(client.fetch(call)).unwrap_err().code(), Code::OutOfRange);
    let items = vec![FetchItem { attempt: attempt(2, 1), piece: 0, first: 0, end: 1 }];
    let call = rig.call(Fetch { run: a.clone(), items }, Role::Operator { term: TERM });
    let status = rig.runtime.block_on(client.fetch(call)).unwrap_err();
    assert_eq!(missing_of(&status).unwrap(), [attempt(2, 1)]);
}

#[test]
fn inventory_gives_the_trailers_back() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    assert_eq!(rig.inventory(&a).outputs, []);
    rig.put(&a, attempt(1, 1), &[]).unwrap();
    rig.put(&a, attempt(2, 1), &[(0, frame(1, 10))]).unwrap();
    rig.name(&a, &[attempt(2, 1)], &[]);
    let outputs = rig.inventory(&a).outputs;
    let seen: Vec<(Attempt, bool, &[u8])> = outputs.iter().map(|held| (held.attempt, held.named, &held.done[..])).collect();
    let done = |at: u32| format!("done {}", attempt(at, 1)).into_bytes();
    assert_eq!(seen, [(attempt(1, 1), false, &done(1)[..]), (attempt(2, 1), true, &done(2)[..])]);
}

#[test]
fn a_writer_waits_for_room_and_the_oldest_run_goes_on() {
    let rig = shared(16 << 20, 0);
    let (old, young) = (run("old"), run("young"));
    let limit = rig.service.intake.room.budget().memory_limit;
    rig.service.intake.room.budget().set_order(&[old.clone(), young.clone()]);
    let writer = {
        let (rig, young) = (Arc::clone(&rig), young.clone());
        in_thread(move || rig.put(&young, attempt(1, 1), &(0..20).map(|at| (at, frame(at, MIB))).collect::<Vec<_>>()))
    };
    until("the young run waits", || rig.waiting() == [young.clone()]);
    let before = rig.used().0;
    assert!(before <= limit / 4 * 3 && before > limit / 2, "{before} of {limit}");
    rig.put(&old, attempt(1, 1), &[(0, frame(9, MIB))]).unwrap();
    rig.name(&old, &[attempt(1, 1)], &[]);
    assert_eq!(rig.fetch(&old, &[held(0, attempt(1, 1), 0, 0..1)]).unwrap().len(), 1);
    assert_eq!(rig.waiting(), [young.clone()]);
    assert!(rig.used().0 <= limit);
    // Its end ends the wait of its writer too.
    rig.release(&young, None);
    assert_eq!(code(writer.join().unwrap()), Code::FailedPrecondition);
    until("the young run's bytes are free", || rig.used().0 < 2 * MIB as u64 && rig.waiting().is_empty());
}

#[test]
fn room_that_becomes_free_goes_to_those_who_wait() {
    let rig = shared(16 << 20, 0);
    let a = run("a");
    rig.put(&a, attempt(1, 1), &(0..8).map(|at| (at, frame(at, MIB))).collect::<Vec<_>>()).unwrap();
    let writer = {
        let (rig, a) = (Arc::clone(&rig), a.clone());
        in_thread(move || rig.put(&a, attempt(2, 1), &(0..6).map(|at| (at, frame(at, MIB))).collect::<Vec<_>>()))
    };
    until("it waits", || rig.waiting() == [a.clone()]);
    rig.release(&a, Some(&[attempt(1, 1)]));
    assert_eq!(writer.join().unwrap().unwrap().frames, [1; 6]);
    assert_eq!(rig.waiting(), []);
}

#[test]
fn a_put_that_breaks_off_leaves_nothing() {
    let (rig, a) = (Rig::new(64 << 20, 64 << 20), run("a"));
    let agents = rig.agents(&a);
    let mut sender = agents.put(&rig.address.to_string(), attempt(1, 1)).unwrap();
    for at in 0..5 {
        sender.send_blocking(at, frame(at, MIB)).unwrap();
    }
    until("some of it is there", || rig.used().0 > 0);
    assert_eq!(code(rig.put(&a, attempt(1, 1), &[])), Code::AlreadyExists);
    drop(sender);
    until("nothing of it is there", || rig.used() == (0, 0));
    assert_eq!(rig.inventory(&a).outputs, []);
    rig.put(&a, attempt(1, 1), &[(0, frame(1, 10))]).unwrap();
    assert_eq!(code(rig.put(&a, attempt(1, 1), &[])), Code::AlreadyExists);
}

#[test]
fn fenced_losing_and_late_attempts_are_refused() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    rig.name(&a, &[], &[attempt(1, 1)]);
    assert_eq!(code(rig.put(&a, attempt(1, 1), &[(0, frame(1, 5 * MIB))])), Code::FailedPrecondition);
    rig.put(&a, attempt(2, 2), &[]).unwrap();
    rig.name(&a, &[attempt(2, 2)], &[]);
    assert_eq!(code(rig.put(&a, attempt(2, 1), &[])), Code::FailedPrecondition);
    rig.release(&a, None);
    assert_eq!(code(rig.put(&a, attempt(3, 1), &[])), Code::FailedPrecondition);
    assert_eq!(rig.used(), (0, 0));
}

#[test]
fn tokens_of_other_runs_roles_and_times_are_refused() {
    let (rig, a, b) = (Rig::new(64 << 20, 0), run("a"), run("b"));
    rig.put(&a, attempt(1, 1), &[(0, frame(1, 10))]).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    let stranger = Signer::new(&Signer::generate().unwrap()).unwrap();
    let of_a = Role::Executor { run: a.clone() };
    let forged = stranger.sign(&Claims { role: of_a.clone(), expires: u64::MAX });
    let expired = rig.signer.sign(&Claims { role: of_a, expires: 1 });
    let other = rig.token(Role::Executor { run: b });
    let cases = [(forged, Code::Unauthenticated), (expired, Code::Unauthenticated), (other, Code::PermissionDenied)];
    for (token, expected) in cases {
        let agents = rig.agents_with(&a, &token);
        assert_eq!(code(crate::rig::put_to(&agents, &rig.address.to_string(), attempt(2, 1), &[])), expected);
        let fetched: Result<Vec<Bytes>, _> =
            agents.fetch(&[held(0, attempt(1, 1), 0, 0..1)], &[rig.address.to_string()]).unwrap().collect();
        assert_eq!(code(fetched), expected);
    }
    let mut client = rig.client();
    let name = proto::agent::Name { run: a.clone(), term: TERM, winners: Vec::new(), fenced: vec![attempt(1, 1)] };
    let by_executor = rig.runtime.block_on(client.name(rig.call(name.clone(), Role::Executor { run: a.clone() }))).unwrap_err();
    assert_eq!(by_executor.code(), Code::PermissionDenied);
    assert_eq!(rig.runtime.block_on(client.name(Request::new(name))).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(rig.service.intake.metrics.refused.get(), 8);
}

#[test]
fn an_older_term_is_refused_after_a_newer_one() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    rig.put(&a, attempt(1, 1), &[]).unwrap();
    rig.try_name(Term(9), &a, &[attempt(1, 1)], &[]).unwrap();
    assert_eq!(rig.try_name(Term(8), &a, &[], &[attempt(1, 1)]).unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(rig.service.intake.store.inventory(&a).len(), 1);
}

#[test]
fn messages_that_are_no_output_cost_the_put_and_nothing_else() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let bad: [&[(u32, bool, &'static [u8])]; 6] = [
        &[(0, true, b"no trailer")],
        &[(0, false, b"open"), (TRAILER, true, b"done")],
        &[(TRAILER, true, b"done"), (0, true, b"after")],
        &[(TRAILER, true, b"done"), (TRAILER, true, b"twice")],
        &[(TRAILER, false, b"half")],
        &[(1 << 20, true, b"far"), (TRAILER, true, b"done")],
    ];
    for (at, chunks) in bad.into_iter().enumerate() {
        let status = put_raw(&rig, &a, attempt(1, 1), vec![message(chunks)]).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{at}: {status}");
    }
    let huge = Message { chunks: vec![Chunk { piece: 0, ends: true, bytes: Bytes::from(vec![0; 5 * MIB]) }] };
    assert_eq!(put_raw(&rig, &a, attempt(1, 1), vec![huge]).unwrap_err().code(), Code::OutOfRange);
    assert_eq!(rig.used(), (0, 0));
    put_raw(&rig, &a, attempt(1, 1), vec![message(&[(0, true, b"x")]), message(&[(TRAILER, true, b"done")])]).unwrap();
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let long = vec![0xff; 1 << 16];
    let garbage: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0; 9], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", &long];
    let mut half_open = Vec::new();
    for bytes in garbage {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        // It may hang up while we write.
        let _ = stream.write_all(bytes);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let _ = stream.read(&mut [0; 1024]);
        half_open.push(stream);
    }
    half_open.extend((0..20).map(|_| TcpStream::connect(rig.address).unwrap()));
    rig.put(&a, attempt(1, 1), &[(0, frame(1, MIB))]).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    assert_eq!(rig.fetch(&a, &[held(0, attempt(1, 1), 0, 0..1)]).unwrap(), [frame(1, MIB)]);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let many: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    until("some are turned away", || {
        many.iter().any(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut stream = stream;
            matches!(stream.read(&mut [0; 64]), Ok(0))
        })
    });
    drop(many);
    until("there is a place again", || rig.put(&a, attempt(1, 1), &[]).is_ok());
}

#[test]
fn small_outputs_are_charged_for_what_they_hold() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    for at in 0..50 {
        rig.put(&a, attempt(at, 1), &[(0, frame(at, 100))]).unwrap();
    }
    let (memory, _) = rig.used();
    assert!((50 * 100..50 * 500).contains(&memory), "{memory}");
}

#[test]
fn a_reader_in_the_middle_keeps_what_is_released() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let frames: Vec<(u32, Bytes)> = (0..24).map(|at| (0, frame(at, MIB))).collect();
    rig.put(&a, attempt(1, 1), &frames).unwrap();
    rig.name(&a, &[attempt(1, 1)], &[]);
    let agents = rig.agents(&a);
    let mut fetched = agents.fetch(&[held(0, attempt(1, 1), 0, 0..24)], &[rig.address.to_string()]).unwrap();
    assert_eq!(fetched.next().unwrap().unwrap(), frames[0].1);
    assert!(rig.release(&a, None).bytes > 24 * MIB as u64);
    let rest: Vec<Bytes> = fetched.collect::<Result<_, _>>().unwrap();
    assert!(rest.iter().eq(frames[1..].iter().map(|(_, frame)| frame)));
    until("its bytes are free", || rig.used() == (0, 0));
}

#[test]
fn an_agent_that_has_heard_from_no_leader_serves_nobody() {
    let (rig, a) = (Rig::new(64 << 20, 0), run("a"));
    let fresh = super::make_service(&crate::rig::options(64 << 20, 0, std::path::Path::new("/")));
    let call = rig.call((), Role::Executor { run: a });
    let peer = Peer { address: [127, 0, 0, 1].into(), shown: Shown::Plain };
    assert_eq!(fresh.admit("Put", call.metadata(), &peer).unwrap_err().code(), Code::Unavailable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_of_a_message_are_an_output_or_an_error(chunks in proptest::collection::vec((0_u32..4, any::<bool>(), 0_usize..300_000), 0..12), trailer in any::<bool>()) {
        static CASE: AtomicU32 = AtomicU32::new(0);
        thread_local!(static RIG: Rig = Rig::new(64 << 20, 64 << 20));
        RIG.with(|rig| {
            let a = run(&format!("a{}", CASE.fetch_add(1, Ordering::Relaxed)));
            let mut all: Vec<Chunk> = chunks.iter().map(|(piece, ends, length)| Chunk { piece: *piece, ends: *ends, bytes: frame(*piece, *length) }).collect();
            let hollow = all.iter().any(|chunk| !chunk.ends && chunk.bytes.is_empty());
            let open = (0..4).any(|piece| all.iter().rfind(|chunk| chunk.piece == piece).is_some_and(|chunk| !chunk.ends));
            all.extend(trailer.then(|| Chunk { piece: TRAILER, ends: true, bytes: Bytes::from_static(b"done") }));
            let messages: Vec<Message> = all.chunks(3).map(|chunks| Message { chunks: chunks.to_vec() }).collect();
            let put = put_raw(rig, &a, attempt(1, 1), messages);
            prop_assert_eq!(put.is_ok(), trailer && !hollow && !open, "{:?}", put);
            rig.name(&a, &[attempt(1, 1)], &[]);
            let expected: Vec<Bytes> = if put.is_ok() { whole_frames(&all) } else { Vec::new() };
            let pieces: Vec<_> = (0..4).filter_map(|piece| {
                let frames = all.iter().filter(|chunk| chunk.piece == piece && chunk.ends).count() as u32;
                put.is_ok().then(|| held(0, attempt(1, 1), piece, 0..frames))
            }).collect();
            prop_assert!(rig.fetch(&a, &pieces).unwrap() == expected);
            // Each case is a run of its own: what is released does not come back.
            rig.release(&a, None);
            Ok(())
        })?;
    }
}

fn whole_frames(chunks: &[Chunk]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    for piece in 0..4 {
        let mut open = proto::chunk::Frames::default();
        frames.extend(chunks.iter().filter(|chunk| chunk.piece == piece).filter_map(|chunk| open.push(chunk.clone())));
    }
    frames
}
