//! Who tries to get in at an agent without a right to: by the connection, by the token, after the end, by a name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use operator::authority::Authority;
use proto::agent::{InventoryRequest, Name, PUT_HEADER};
use proto::credentials::{Credentials, Door, Papers};
use proto::peer::Member;
use proto::token::{Claims, Role, Signer, authorization, now};
use proto::transport::{self, Serves, To};
use proto::{RunId, Term};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use super::code;
use crate::rig::{LIVES, Rig, TERM, agents, attempt, authority, executors, executors_at, frame, held, operators, put_to, run};
use crate::wire::{Agents, WireError};

/// An agent with TLS, its authority, and a run of whose output it holds something.
fn held_by_an_agent() -> (Rig, Authority, RunId) {
    let authority = authority();
    let rig = Rig::secured(64 << 20, 64 << 20, agents(&authority, "node"));
    let a = run("a");
    let token = rig.token(Role::Executor { run: a.clone() });
    let own = rig.stranger(&a, executors(&authority, &a), &token);
    put_to(&own, &rig.address.to_string(), attempt(1, 1), &[(0, frame(1, 10))]).unwrap();
    rig.service.intake.store.name(&a, &[attempt(1, 1)], &[]);
    assert_eq!(fetched(&rig, &own).unwrap(), 1);
    (rig, authority, a)
}

fn fetched(rig: &Rig, with: &Agents) -> Result<usize, WireError> {
    let frames = with.fetch(&[held(0, attempt(1, 1), 0, 0..1)], &[rig.address.to_string()])?;
    frames.collect::<Result<Vec<_>, _>>().map(|frames| frames.len())
}

/// Neither takes nor gives anything, with this status, and nothing has changed.
#[track_caller]
fn refused(rig: &Rig, with: &Agents, expected: Code) {
    assert_eq!(code(put_to(with, &rig.address.to_string(), attempt(2, 1), &[(0, frame(1, 10))])), expected);
    assert_eq!(code(fetched(rig, with)), expected);
    assert_eq!(rig.service.intake.store.inventory(&run("a")).len(), 1);
}

/// Does not even get a connection.
#[track_caller]
fn not_connected(rig: &Rig, papers: Papers) {
    let credentials = Credentials::new(papers, Door::Members).unwrap();
    let _entered = rig.runtime.enter();
    let channel = transport::channel(To::agent(&rig.address.to_string(), Some(&credentials))).unwrap();
    let mut call = Request::new(InventoryRequest { run: run("a"), term: TERM });
    let token = rig.token(Role::Operator { term: TERM });
    call.metadata_mut().insert("authorization", authorization(&token).unwrap());
    let status = rig.runtime.block_on(transport::agent_client(channel).inventory(call)).unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
    assert_eq!(rig.service.intake.metrics.refused.get(), 0, "no call came through");
}

#[test]
fn without_a_certificate_nobody_is_connected() {
    let (rig, authority, _) = held_by_an_agent();
    not_connected(&rig, Papers { authority: authority.bundle(), own: None });
}

#[test]
fn a_certificate_of_another_authority_connects_nobody() {
    let (rig, ours, a) = held_by_an_agent();
    let theirs = Papers { authority: ours.bundle(), ..executors(&authority(), &a) };
    not_connected(&rig, theirs);
}

#[test]
fn an_expired_certificate_connects_nobody() {
    let (rig, authority, a) = held_by_an_agent();
    not_connected(&rig, executors_at(&authority, &a, now() - LIVES.certificate - 1));
}

#[test]
fn a_certificate_that_is_not_yet_good_connects_nobody() {
    let (rig, authority, a) = held_by_an_agent();
    not_connected(&rig, executors_at(&authority, &a, now() + 7200));
}

#[test]
fn a_stolen_token_is_nothing_without_its_holders_certificate() {
    let (rig, authority, a) = held_by_an_agent();
    let token = rig.token(Role::Executor { run: a.clone() });
    let other = rig.stranger(&a, executors(&authority, &run("b")), &token);
    refused(&rig, &other, Code::Unauthenticated);
    // Nor is it good in the hands of an agent.
    let call = |credentials| {
        let _entered = rig.runtime.enter();
        let channel = transport::channel(To::agent(&rig.address.to_string(), Some(&credentials))).unwrap();
        let mut call = Request::new(Name { run: a.clone(), term: TERM, winners: Vec::new(), fenced: vec![attempt(1, 1)] });
        let token = rig.token(Role::Operator { term: TERM });
        call.metadata_mut().insert("authorization", authorization(&token).unwrap());
        rig.runtime.block_on(transport::agent_client(channel).name(call)).map(drop)
    };
    assert_eq!(call(agents(&authority, "other")).unwrap_err().code(), Code::Unauthenticated);
    call(operators(&authority)).unwrap();
}

#[test]
fn another_runs_token_is_refused() {
    let (rig, authority, a) = held_by_an_agent();
    let b = run("b");
    let token = rig.token(Role::Executor { run: b.clone() });
    refused(&rig, &rig.stranger(&a, executors(&authority, &b), &token), Code::PermissionDenied);
}

#[test]
fn a_token_of_another_role_is_refused() {
    let (rig, authority, a) = held_by_an_agent();
    for role in [Role::Agent { node: "node".to_owned() }, Role::Operator { term: TERM }] {
        refused(&rig, &rig.stranger(&a, executors(&authority, &a), &rig.token(role)), Code::Unauthenticated);
    }
}

#[test]
fn an_expired_token_is_refused() {
    let (rig, authority, a) = held_by_an_agent();
    let token = rig.signer.sign(&Claims { role: Role::Executor { run: a.clone() }, expires: now() });
    refused(&rig, &rig.stranger(&a, executors(&authority, &a), &token), Code::Unauthenticated);
}

#[test]
fn forged_tokens_are_refused() {
    let (rig, authority, a) = held_by_an_agent();
    let claims = Claims { role: Role::Executor { run: a.clone() }, expires: now() + 60 };
    let good = rig.signer.sign(&claims);
    let (body, signature) = good.split_once('.').unwrap();
    let stranger = Signer::new(&Signer::generate().unwrap()).unwrap();
    let longer = BASE64.encode(rmp_serde::to_vec_named(&Claims { expires: u64::MAX, ..claims.clone() }).unwrap());
    let none = BASE64.encode(br#"{"alg":"none","typ":"JWT"}"#);
    let forged = [
        stranger.sign(&claims),
        // Another body under a good signature.
        format!("{longer}.{signature}"),
        // What other kinds of tokens let through: no signature, the public key as a secret, a header that names its own rules.
        format!("{body}."),
        body.to_owned(),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{body}.{}", BASE64.encode([0; 64])),
        format!("{body}.{}", BASE64.encode(&rig.signer.public_key().0)),
        good[..good.len() - 1].to_owned(),
        good[1..].to_owned(),
        format!("{good}A"),
        ".".to_owned(),
        "x".repeat(1900),
    ];
    for token in forged {
        refused(&rig, &rig.stranger(&a, executors(&authority, &a), &token), Code::Unauthenticated);
    }
}

#[test]
fn no_bit_of_a_token_can_be_changed() {
    let (rig, _, a) = held_by_an_agent();
    let good = rig.token(Role::Executor { run: a });
    let keys = [rig.signer.public_key()];
    for at in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(proto::token::verify(&changed, &keys, now()).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_token_that_is_replayed_after_its_runs_end_is_refused() {
    let (rig, authority, a) = held_by_an_agent();
    let token = rig.token(Role::Executor { run: a.clone() });
    let own = rig.stranger(&a, executors(&authority, &a), &token);
    rig.service.intake.store.release(&a, None);
    assert_eq!(code(put_to(&own, &rig.address.to_string(), attempt(3, 1), &[])), Code::FailedPrecondition);
    assert!(matches!(fetched(&rig, &own), Err(WireError::Lost { .. })));
}

#[test]
fn a_token_of_a_run_that_the_leader_lists_no_more_is_refused_even_if_its_end_was_not_told() {
    let (rig, authority, a) = held_by_an_agent();
    let token = rig.token(Role::Executor { run: a.clone() });
    let own = rig.stranger(&a, executors(&authority, &a), &token);
    let put = |number| put_to(&own, &rig.address.to_string(), attempt(number, 1), &[]);
    for _ in 0..20 {
        drop(rig.service.intake.store.keep_only(&[]));
    }
    assert_eq!(code(put(3)), Code::FailedPrecondition);
    // A leader that had forgotten it is believed when it names it again.
    drop(rig.service.intake.store.keep_only(std::slice::from_ref(&a)));
    put(3).unwrap();
}

#[test]
fn a_leader_of_an_older_term_is_refused_everywhere() {
    let (rig, authority, a) = held_by_an_agent();
    let call = |term: u64| -> [Result<(), Status>; 3] {
        let _entered = rig.runtime.enter();
        let credentials = operators(&authority);
        let channel = transport::channel(To::agent(&rig.address.to_string(), Some(&credentials))).unwrap();
        let client = transport::agent_client(channel);
        let (run, term) = (a.clone(), Term(term));
        let name = rig.call(Name { run: run.clone(), term, winners: Vec::new(), fenced: Vec::new() }, Role::Operator { term });
        let asks = rig.call(InventoryRequest { run: run.clone(), term }, Role::Operator { term });
        let lets_go = proto::agent::Release { run, term, attempts: Some(Vec::new()) };
        let lets_go = rig.call(lets_go, Role::Operator { term });
        rig.runtime.block_on(async move {
            let (mut one, mut two, mut three) = (client.clone(), client.clone(), client);
            [one.name(name).await.map(drop), two.inventory(asks).await.map(drop), three.release(lets_go).await.map(drop)]
        })
    };
    assert!(call(TERM.0 + 1).iter().all(Result::is_ok));
    for result in call(TERM.0) {
        assert_eq!(result.unwrap_err().code(), Code::FailedPrecondition);
    }
}

#[test]
fn an_executor_can_play_neither_agent_nor_operator_and_an_agent_no_operator() {
    let (authority, a) = (authority(), run("a"));
    let papers = executors(&authority, &a);
    let calls_as = |serves: Serves, played_by: &std::sync::Arc<Credentials>| {
        let rig = Rig::secured(64 << 20, 0, std::sync::Arc::clone(played_by));
        let _entered = rig.runtime.enter();
        let credentials = Credentials::new(papers.clone(), Door::Members).unwrap();
        let address = rig.address.to_string();
        let channel = transport::channel(To { address: &address, serves, credentials: Some(&credentials) }).unwrap();
        let call = rig.call(InventoryRequest { run: a.clone(), term: TERM }, Role::Executor { run: a.clone() });
        rig.runtime.block_on(transport::agent_client(channel).inventory(call)).unwrap_err().code()
    };
    let (executor, agent) = (Credentials::new(papers.clone(), Door::Members).unwrap(), agents(&authority, "node"));
    assert_eq!(calls_as(Serves::Agent, &agent), Code::PermissionDenied, "this one is what it says");
    for code in [calls_as(Serves::Agent, &executor), calls_as(Serves::Operator, &executor), calls_as(Serves::Operator, &agent)] {
        assert!(matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled), "{code:?}");
    }
}

#[test]
fn no_name_from_the_wire_gets_near_a_file_name() {
    #[derive(serde::Serialize)]
    struct Loose<'a> {
        run: &'a str,
        attempt: plan::task::Attempt,
    }
    let (rig, _, _) = held_by_an_agent();
    let plain = Rig::new(8 << 20, 256 << 20);
    let huge = "a".repeat(8000);
    for name in ["../../escape", "/etc/escape", "a\0b", ".", "..", "", &huge, "A", "a/b", "a\\b", "-a", "caf\u{e9}", "a.b"] {
        assert!(RunId::try_from(name.to_owned()).is_err(), "{name:?}");
        assert_eq!(Member::parse(&format!("gleamflow:executor:{name}")), None);
        let mut call = plain.call(tokio_stream::iter(Vec::new()), Role::Executor { run: run("a") });
        let header = rmp_serde::to_vec_named(&Loose { run: name, attempt: attempt(1, 1) }).unwrap();
        call.metadata_mut().insert_bin(PUT_HEADER, MetadataValue::from_bytes(&header));
        let mut client = plain.client();
        let status = plain.runtime.block_on(client.put(call)).unwrap_err();
        assert!(
            matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted | Code::Internal),
            "{name:?}: {status:?}"
        );
    }
    // What goes to the disk goes to files that have no names at all.
    let frames: Vec<_> = (0..24).map(|at| (at, frame(at, 1 << 20))).collect();
    plain.put(&run("a"), attempt(1, 1), &frames).unwrap();
    assert!(plain.used().1 > 0);
    assert_eq!(std::fs::read_dir(plain.spill()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(rig.spill()).unwrap().count(), 0);
}
