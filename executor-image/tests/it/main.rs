//! The executor program against an operator of the test's own: real processes, real TLS, the loopback only.

mod adaptive;
mod gone;
mod hostile;
mod kept;
mod loopback;
mod operator;
mod pod;
mod real_slot;
mod spread;
mod trust;

use std::time::{Duration, Instant};

use operator::{Operator, Stream};
use plan::task::{Attempt, Failed, Fault, Task, TaskId, Work};
use pod::Pod;
use proto::Term;
use proto::master::{FromSlot, Settings, ToSlot};

const DONE: u32 = 0;
const ENDLESS: u32 = 1;
const MEMORY_BOMB: u32 = 2;
const ABORT: u32 = 3;
const GARBAGE: u32 = 4;
const UNTIL_STOPPED: u32 = 5;
const LEAVES_PROCESSES: u32 = 6;
const TWO_SECONDS: u32 = 7;
const KILLED: u32 = 8;
const WORDS: u32 = 9;

fn attempt(number: u32) -> Attempt {
    Attempt { task: TaskId::Stage, number }
}

fn run(number: u32, behaviour: u32) -> ToSlot {
    let task = Task {
        attempt: attempt(number),
        place: (behaviour, 10),
        work: Work::Discard { manifest: None },
        agents: Vec::new(),
        sides: Default::default(),
        buckets: Default::default(),
        widths: Default::default(),
        tables: Default::default(),
    };
    ToSlot::Run { task: Box::new(task), output: "127.0.0.1:1".to_owned() }
}

fn welcome(term: u64, deadline: Option<u32>) -> ToSlot {
    let settings = Settings { seed: 1, memory: 32 << 20, task_deadline: deadline, ..Settings::default() };
    ToSlot::Welcome { term: Term(term), settings }
}

/// A pod whose only slot is welcome.
async fn welcomed(deadline: Option<u32>) -> (Operator, Pod, Stream) {
    let operator = Operator::start().await;
    let pod = Pod::start(&operator, 1);
    let mut stream = operator.stream().await;
    assert_eq!(stream.busy().await, None);
    stream.say(welcome(1, deadline)).await;
    (operator, pod, stream)
}

async fn failed(stream: &mut Stream, number: u32) -> Failed {
    match stream.result().await {
        FromSlot::Failed { attempt: failed, failed: how } if failed == attempt(number) => *how,
        other => panic!("not the failure of {number}: {other:?}"),
    }
}

async fn done(stream: &mut Stream, number: u32) {
    match stream.result().await {
        FromSlot::Done { attempt: done, agent, .. } => assert_eq!((done, agent.as_str()), (attempt(number), "127.0.0.1:1")),
        other => panic!("{number} is not done: {other:?}"),
    }
}

async fn leave(mut pod: Pod, stream: &Stream) {
    stream.say(ToSlot::Leave { reason: "the run is over".to_owned() }).await;
    assert_eq!(pod.exit().await, 0, "{}", pod.log());
    assert!(pod.scratch_is_empty(), "files are left in /scratch");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_child_fails_its_task_and_the_slot_goes_on() {
    let (_operator, pod, mut stream) = welcomed(None).await;
    for (at, behaviour, fault, words) in [
        (1, ABORT, Fault::Flow, "died of SIGABRT"),
        (2, GARBAGE, Fault::Flow, "no message"),
        (3, MEMORY_BOMB, Fault::Flow, "more than 64 MiB"),
        (4, KILLED, Fault::Infrastructure, "killed from outside (SIGKILL)"),
    ] {
        stream.say(run(at, behaviour)).await;
        let failed = failed(&mut stream, at).await;
        assert!(failed.fault == fault && failed.message.contains(words), "{failed:?}");
        stream.say(run(10 + at, DONE)).await;
        done(&mut stream, 10 + at).await;
    }
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_deadline_and_the_neighbour_goes_on() {
    let operator = Operator::start().await;
    let pod = Pod::start(&operator, 2);
    let (mut one, mut other) = (operator.stream().await, operator.stream().await);
    one.busy().await;
    other.busy().await;
    one.say(welcome(1, Some(1))).await;
    other.say(welcome(1, None)).await;
    let begin = Instant::now();
    one.say(run(1, ENDLESS)).await;
    other.say(run(2, TWO_SECONDS)).await;
    done(&mut other, 2).await;
    let failed = failed(&mut one, 1).await;
    assert!(failed.fault == Fault::Flow && failed.message.contains("taskDeadlineSeconds (1 s)"), "{failed:?}");
    // The deadline and the grace; the rest is up to the machine.
    assert!(begin.elapsed() >= Duration::from_secs(6), "{:?}", begin.elapsed());
    one.say(run(3, DONE)).await;
    done(&mut one, 3).await;
    other.say(ToSlot::Leave { reason: "not needed".to_owned() }).await;
    leave(pod, &one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_is_handed_back() {
    let (_operator, pod, mut stream) = welcomed(None).await;
    stream.say(run(1, UNTIL_STOPPED)).await;
    stream.say(ToSlot::Cancel { attempt: attempt(1) }).await;
    let failed = failed(&mut stream, 1).await;
    assert_eq!((failed.fault, failed.step.as_deref()), (Fault::Stopped, Some("a-step")));
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_taken_down_ends_its_task_in_time() {
    let (_operator, pod, mut stream) = welcomed(None).await;
    stream.say(run(1, TWO_SECONDS)).await;
    pod.wait_until_begun(1).await;
    pod.terminate();
    assert_eq!(stream.next().await, Some(FromSlot::Draining));
    done(&mut stream, 1).await;
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_taken_down_hands_back_what_it_cannot_finish_and_goes() {
    let operator = Operator::start().await;
    let mut pod = Pod::start_with(&operator, 1, &[("GLEAMFLOW_GRACE_SECONDS", "9")]);
    let mut stream = operator.stream().await;
    stream.busy().await;
    stream.say(welcome(1, None)).await;
    stream.say(run(1, UNTIL_STOPPED)).await;
    pod.wait_until_begun(1).await;
    let begin = Instant::now();
    pod.terminate();
    assert_eq!(stream.next().await, Some(FromSlot::Draining));
    assert_eq!(failed(&mut stream, 1).await.fault, Fault::Stopped);
    // Nobody says that it may leave.
    assert_eq!(pod.exit().await, 0);
    // Its nine seconds, and not the thirty that it has otherwise.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    assert!(pod.scratch_is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_outlives_the_operator_and_reaches_the_next_leader_only() {
    let (operator, pod, stream) = welcomed(None).await;
    stream.say(run(1, TWO_SECONDS)).await;
    pod.wait_until_begun(1).await;
    operator.stop().await;
    drop(stream);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let operator = operator.restart().await;
    let mut stream = operator.stream().await;
    assert_eq!(stream.busy().await, Some(attempt(1)));
    stream.say(welcome(0, None)).await;
    assert_eq!(stream.next().await, None, "an older term is refused");
    let mut stream = operator.stream().await;
    assert_eq!(stream.busy().await, Some(attempt(1)));
    stream.say(ToSlot::NotLeader { leader: Some(operator.address()) }).await;
    let mut stream = operator.stream().await;
    assert_eq!(stream.busy().await, Some(attempt(1)));
    stream.say(welcome(2, None)).await;
    done(&mut stream, 1).await;
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_a_task_left_behind_end_with_its_slot() {
    let (_operator, pod, mut stream) = welcomed(None).await;
    stream.say(run(1, LEAVES_PROCESSES)).await;
    done(&mut stream, 1).await;
    // The one of a session of its own belongs to nobody, and goes first.
    assert!(pod.wait_until_gone("sleep 4322").await);
    assert!(pod.has("sleep 4321"));
    stream.say(run(2, ABORT)).await;
    failed(&mut stream, 2).await;
    assert!(pod.wait_until_gone("sleep 4321").await);
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_log_tell_what_happens() {
    let operator = Operator::start().await;
    let pod = Pod::start(&operator, 1);
    let mut stream = operator.stream().await;
    stream.busy().await;
    assert!(pod.get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(pod.get("/readyz").await.starts_with("HTTP/1.1 503"));
    stream.say(welcome(1, None)).await;
    stream.say(run(1, WORDS)).await;
    done(&mut stream, 1).await;
    assert!(pod.get("/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = pod.get("/metrics").await;
    assert!(metrics.contains("gleamflow_executor_tasks_total{result=\"done\"} 1"), "{metrics}");
    let log = pod.log_when("words of user code").await;
    let line = log.lines().find(|line| line.contains("words of user code")).expect("it is there");
    let line: serde_json::Value = serde_json::from_str(line).expect("the log is JSON lines");
    assert_eq!((&line["run"], &line["task"], &line["slot"]), (&"abc-1".into(), &"stage".into(), &0.into()), "{line}");
    leave(pod, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_the_token_of_the_run() {
    let (_operator, pod, stream) = welcomed(None).await;
    assert_eq!(stream.authorization(), "Bearer the-token");
    leave(pod, &stream).await;
}

#[test]
fn an_environment_that_is_no_executors_is_told_whole() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_gleamflow-executor")).arg("executor").env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("GLEAMFLOW_RUN: not set") && text.contains("POD_NAME: not set"), "{text}");
}

#[test]
fn a_slot_that_is_started_by_hand_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gleamflow-executor"))
        .arg("slot")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not by hand"));
}
