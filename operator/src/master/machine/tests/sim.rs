//! A cluster in a box: a virtual clock, a seeded random number generator, agents and slots of a few lines, and all that can go
//! wrong between them. A seed that fails is printed, and fails again.
//!
//! `GLEAMFLOW_SIMULATION_SEEDS=100000 cargo test --release -p operator simulation` tries so many more of each kind,
//! `GLEAMFLOW_SIMULATION_FROM=7000` begins with another one.

mod bugs;
mod content;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crds::Document;
use oracle::{GeneratedFlow, generate};

use self::world::{Faults, World};
use crate::master::api::{Progress, RunPhase, RunSpec};

/// Flows that were generated in this thread.
fn generated(seed: u64) -> GeneratedFlow {
    thread_local! {
        static FLOWS: RefCell<BTreeMap<u64, GeneratedFlow>> = const { RefCell::new(BTreeMap::new()) };
    }
    FLOWS.with_borrow_mut(|flows| flows.entry(seed).or_insert_with(|| generate(seed)).clone())
}

fn run_spec(seed: u64) -> RunSpec {
    let flow = generated(seed);
    let document = Document::parse(&flow.yaml, "flow.yaml").unwrap();
    let mut spec = document.flow.spec;
    spec.executors.max_replicas = 3;
    spec.cache.enabled = true;
    // Generated flows write files; here some of them show their rows instead.
    for (at, write) in spec.steps.iter_mut().filter_map(|step| step.write.as_mut()).enumerate() {
        if (seed + at as u64) % 3 == 0 {
            *write = crds::write::Write {
                stdout: Some(crds::write::Stdout { format: None, preview: true }),
                ..crds::write::Write::default()
            };
        }
    }
    RunSpec {
        id: "sim-1".to_owned().try_into().unwrap(),
        namespace: "default".to_owned(),
        flow: "sim".to_owned(),
        spec,
        seed,
        slot_memory: 1 << 30,
        record: Vec::new(),
    }
}

fn headers(seed: u64) -> Vec<(String, Vec<String>)> {
    generated(seed).headers
}

/// What a seed came to.
struct Course {
    outcome: RunPhase,
    progress: Progress,
    /// How often tasks were begun, and how many there are.
    work: (usize, usize),
    flow_faults: u32,
    /// How often a leader took its run up again.
    taken_up_again: u32,
}

/// Runs a seed's flow with some faults, and checks whatever must always hold.
fn simulate(seed: u64, faults: Faults) -> Course {
    // Some plans, many courses: planning costs more than running.
    simulate_flow(seed % 97, seed, faults)
}

fn simulate_flow(flow: u64, seed: u64, faults: Faults) -> Course {
    let mut spec = run_spec(flow);
    if faults.flow == 0 && !faults.poison {
        // What is lost is nobody's fault: not even one retry is spent.
        spec.spec.retry.limit = 0;
    }
    let mut world = World::new(spec, headers(flow), seed, faults);
    let outcome = world.run();
    world.check();
    Course {
        outcome,
        progress: world.progress(),
        work: world.work(),
        flow_faults: world.flow_faults(),
        taken_up_again: world.taken_up_again,
    }
}

fn succeeds(course: &Course) {
    assert_eq!(course.outcome, RunPhase::Succeeded);
}

/// How many seeds of one kind are tried, and from which on.
fn range(from: u64, count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of seeds"));
    let from = number("GLEAMFLOW_SIMULATION_FROM").unwrap_or(from);
    from..from + number("GLEAMFLOW_SIMULATION_SEEDS").unwrap_or(count)
}

fn seeds(from: u64, count: u64, faults: Faults, check: impl Fn(&Course)) {
    seeds_of(range(from, count), faults, |seed| check(&simulate(seed, faults)));
}

/// Tries seeds; says how many there were and how long they took, also where the test passes.
fn seeds_of(seeds: Range<u64>, faults: Faults, run: impl Fn(u64)) {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    static ALL_SO_FAR: AtomicU64 = AtomicU64::new(0);
    let (begun, here, count) = (*BEGUN, Instant::now(), seeds.end - seeds.start);
    let failing: Vec<u64> = seeds.filter(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed))).is_err()).collect();
    assert!(failing.is_empty(), "seeds {failing:?} fail with {faults:?}");
    let all = ALL_SO_FAR.fetch_add(count, Ordering::Relaxed) + count;
    let (this, whole) = (here.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
    // What is printed by the macros is shown of tests that fail alone.
    let figure = format!("figure: simulation: {count} seeds in {this:.1} s; {all} in {whole:.1} s since the first\n");
    std::io::stderr().write_all(figure.as_bytes()).unwrap();
}

/// Flows of which a stage reads single parts of what may come out otherwise.
const IN_PARTS: [u64; 4] = [121, 154, 157, 163];

const NONE: Faults = Faults {
    kills: 0,
    drains: 0,
    restarts: 0,
    leaders: 0,
    cuts: 0,
    full: (0, 0),
    flow: 0,
    calls: 0,
    doubles: 0,
    late: 0,
    aimed: 0,
    relays: 0,
    delete: false,
    stop: false,
    poison: false,
};
const KILLS: Faults = Faults { kills: 6, drains: 2, ..NONE };
const FLOW: Faults = Faults { kills: 3, flow: 4, ..NONE };
const AGENTS: Faults = Faults { restarts: 3, kills: 1, doubles: 5, ..NONE };
const CUTS: Faults = Faults { cuts: 4, calls: 10, doubles: 10, ..NONE };
const LEADERS: Faults = Faults { leaders: 4, kills: 1, calls: 5, late: 10, ..NONE };
const ALL: Faults = Faults {
    kills: 3,
    drains: 1,
    restarts: 2,
    leaders: 3,
    cuts: 3,
    full: (1, 30),
    flow: 3,
    calls: 10,
    doubles: 5,
    late: 5,
    ..NONE
};
const STOPPED: Faults = Faults { stop: true, kills: 2, leaders: 2, calls: 10, late: 10, ..NONE };
const STOPPED_CALMLY: Faults = Faults { stop: true, kills: 2, ..NONE };
/// Whatever happens, happens at the last steps of a run.
const ENDS: Faults = Faults { aimed: 40, kills: 1, leaders: 1, cuts: 1, calls: 5, late: 10, ..NONE };
const STOPPED_LATE: Faults = Faults { aimed: 60, stop: true, kills: 1, cuts: 1, ..NONE };
const DELETED: Faults = Faults { aimed: 60, delete: true, ..NONE };
const RELAYS: Faults = Faults { relays: 2, restarts: 1, ..NONE };
const LOSSES: Faults = Faults { restarts: 3, leaders: 3, cuts: 2, doubles: 5, ..NONE };
const POISONED: Faults = Faults { poison: true, kills: 4, restarts: 1, ..NONE };
const FULL: Faults = Faults { full: (1, 300), ..NONE };
const FULL_FOR_LONG: Faults = Faults { full: (1, 700), ..NONE };

fn nothing_is_redone(course: &Course) {
    succeeds(course);
    assert_eq!(course.work.0, course.work.1, "begun, of so many");
}

#[test]
fn without_faults_every_task_runs_once() {
    seeds(0, 100, NONE, nothing_is_redone);
}

#[test]
fn a_new_leader_redoes_nothing() {
    seeds(0, 100, Faults { leaders: 1, ..NONE }, nothing_is_redone);
}

#[test]
fn a_lost_executor_costs_its_running_tasks_alone() {
    seeds(0, 100, Faults { kills: 1, ..NONE }, |course| {
        succeeds(course);
        assert!(course.work.0 <= course.work.1 + 2, "{} begun of {}", course.work.0, course.work.1);
    });
}

#[test]
fn results_are_exact_when_executors_are_lost_and_no_retry_is_spent() {
    seeds(1000, 300, KILLS, succeeds);
}

#[test]
fn results_are_exact_when_functions_fail_now_and_then() {
    seeds(1500, 150, FLOW, succeeds);
}

#[test]
fn results_are_exact_when_agents_are_lost() {
    seeds(2000, 300, AGENTS, succeeds);
}

#[test]
fn results_are_exact_when_links_are_cut_and_calls_lost_or_doubled() {
    seeds(3000, 300, CUTS, succeeds);
}

#[test]
fn results_are_exact_when_leaders_come_and_go() {
    let again = Cell::new(0);
    seeds(4000, 400, LEADERS, |course| {
        again.set(again.get() + course.taken_up_again);
        succeeds(course);
    });
    assert!(again.get() > 0, "no late entry of an earlier leader was ever met");
}

#[test]
fn results_are_exact_when_everything_happens_at_once() {
    seeds(5000, 500, ALL, succeeds);
}

#[test]
fn results_are_exact_when_it_happens_at_the_end() {
    seeds(10_000, 300, ENDS, succeeds);
}

#[test]
fn results_are_exact_when_what_was_given_up_comes_back_to_another_leader() {
    seeds(11_000, 200, RELAYS, succeeds);
}

#[test]
fn results_are_exact_when_leaders_and_agents_are_lost() {
    seeds(12_000, 300, LOSSES, succeeds);
}

#[test]
fn results_are_exact_where_parts_of_what_may_come_out_otherwise_are_read() {
    for flow in IN_PARTS {
        for (from, faults) in [(14_000, ALL), (14_100, LOSSES), (14_200, LEADERS), (14_300, AGENTS)] {
            seeds_of(range(from, 10), faults, |seed| succeeds(&simulate_flow(flow, seed, faults)));
        }
    }
}

/// Whichever came first, the stop or the commit, has happened alone.
fn is_stopped_or_done(course: &Course) {
    match &course.outcome {
        RunPhase::Succeeded => {}
        RunPhase::Failed { reason, message } => assert_eq!((reason.as_str(), message.as_str()), ("Stopped", "cancelled")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_is_stopped_has_all_of_its_output_or_nothing() {
    seeds(6000, 150, STOPPED_CALMLY, is_stopped_or_done);
    seeds(6500, 250, STOPPED, is_stopped_or_done);
    seeds(6800, 150, STOPPED_LATE, is_stopped_or_done);
}

#[test]
fn a_flow_that_is_deleted_has_all_of_its_output_or_nothing_and_leaves_nothing() {
    seeds(13_000, 150, DELETED, is_stopped_or_done);
}

/// A task that always fails does so after its retries, however often it was lost beside.
fn fails_after_its_retries(course: &Course) {
    let RunPhase::Failed { reason, message } = &course.outcome else {
        // A flow without map tasks.
        return assert_eq!((&course.outcome, course.flow_faults), (&RunPhase::Succeeded, 0));
    };
    assert_eq!((reason.as_str(), message.as_str()), ("UdfError", "step \"a-step\": Flow of row 7"));
    // The limit is 3 retries; of what failed beside nobody heard, where its executor was lost at once.
    assert!((4..=7).contains(&course.flow_faults), "{}", course.flow_faults);
    let failure = course.progress.failures.iter().find(|failure| failure.reason == "UdfError").expect("it is told");
    assert!(failure.pod.as_ref().is_some_and(|pod| pod.starts_with("sim-1-")), "{failure:?}");
    assert_eq!((failure.step.as_deref(), failure.message.as_str()), (Some("a-step"), "Flow of row 7"));
}

#[test]
fn a_task_that_always_fails_fails_the_run_after_its_retries() {
    seeds(7000, 200, POISONED, fails_after_its_retries);
}

#[test]
fn shuffles_without_room_wait_with_a_reason_and_not_for_ever() {
    seeds(8000, 60, FULL, succeeds);
    let failed = Cell::new(0);
    seeds(8000, 60, FULL_FOR_LONG, |course| match &course.outcome {
        RunPhase::Failed { reason, .. } if reason == "Stalled" => failed.set(failed.get() + 1),
        outcome => assert_eq!(*outcome, RunPhase::Succeeded, "it was done before"),
    });
    assert!(failed.get() > 10, "{} failed", failed.get());
}

/// Seeds that once failed, each with what was wrong.
#[test]
fn seeds_that_once_failed_pass() {
    // What sinks had of rows that were done over counted: standard output that was kept, or files that were staged.
    succeeds(&simulate(2029, AGENTS));
    succeeds(&simulate(5301, ALL));
    // A beat from before an agent moved came after one from behind: what it held was neither taken up again nor refused.
    succeeds(&simulate(2313, AGENTS));
    // What was read and let go of was made anew under another leader.
    nothing_is_redone(&simulate(55, Faults { leaders: 1, ..NONE }));
    // A map task that had never begun, of a stage with rows that may come out otherwise, took along a group that does not read it.
    nothing_is_redone(&simulate(22, Faults { leaders: 1, ..NONE }));
    // A slot told once more of an attempt that had been named, read and let go of: it was done over, with all that reads it.
    nothing_is_redone(&simulate(76, Faults { leaders: 1, ..NONE }));
    // A stage that reads rows which may come out otherwise was done over with its map tasks that read something else.
    nothing_is_redone(&simulate(1082, Faults { leaders: 1, ..NONE }));
    nothing_is_redone(&simulate(2731, Faults { leaders: 1, ..NONE }));
}
