//! A cluster in a box: a virtual clock, a seeded random number generator, agents and slots of a few lines, and all that can go
//! wrong between them. A seed that fails is printed, and fails again.

mod content;
mod world;

use crds::Document;
use oracle::generate;

use self::world::{Faults, World};
use crate::master::api::{RunPhase, RunSpec};

fn run_spec(seed: u64) -> RunSpec {
    let flow = generate(seed);
    let document = Document::parse(&flow.yaml, "flow.yaml").unwrap();
    let mut spec = document.flow.spec;
    spec.executors.max_replicas = 3;
    spec.cache.enabled = true;
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
    generate(seed).headers
}

/// Runs a seed's flow with some faults; how often tasks were begun, how many there are, and how often a leader took its run up again.
#[track_caller]
fn simulate(seed: u64, faults: Faults) -> (usize, usize, u32) {
    // Some plans, many courses: planning costs more than running.
    let flow = seed % 97;
    let mut world = World::new(run_spec(flow), headers(flow), seed, faults);
    let outcome = world.run();
    assert_eq!(outcome, RunPhase::Succeeded, "seed {seed}, {faults:?}");
    world.check_result();
    world.check_over();
    let (begun, tasks) = world.work();
    (begun, tasks, world.taken_up_again)
}

/// How often, in all, a leader took its run up again.
fn seeds(from: u64, count: u64, faults: Faults) -> u32 {
    let run = |seed| {
        let caught = std::panic::catch_unwind(|| simulate(seed, faults));
        caught.unwrap_or_else(|_| panic!("seed {seed} fails with {faults:?}")).2
    };
    (from..from + count).map(run).sum()
}

const NONE: Faults = Faults { kills: 0, restarts: 0, leaders: 0, cuts: 0, flow: 0, calls: 0 };

#[test]
fn without_faults_every_task_runs_once() {
    for seed in 0..150 {
        let (begun, tasks, _) = simulate(seed, NONE);
        assert_eq!(begun, tasks, "seed {seed}");
    }
}

#[test]
fn a_new_leader_redoes_nothing() {
    for seed in 0..150 {
        let (begun, tasks, _) = simulate(seed, Faults { leaders: 1, ..NONE });
        assert_eq!(begun, tasks, "seed {seed}");
    }
}

#[test]
fn a_lost_executor_costs_its_running_tasks_alone() {
    for seed in 0..150 {
        let (begun, tasks, _) = simulate(seed, Faults { kills: 1, ..NONE });
        assert!(begun <= tasks + 2, "seed {seed}: {begun} begun of {tasks}");
    }
}

#[test]
fn results_are_exact_when_executors_are_lost() {
    seeds(1000, 250, Faults { kills: 6, flow: 4, ..NONE });
}

#[test]
fn results_are_exact_when_agents_are_lost() {
    seeds(2000, 250, Faults { restarts: 3, kills: 1, ..NONE });
}

#[test]
fn results_are_exact_when_links_are_cut_and_calls_lost() {
    seeds(3000, 250, Faults { cuts: 4, calls: 10, ..NONE });
}

#[test]
fn results_are_exact_when_leaders_come_and_go() {
    let again = seeds(4000, 250, Faults { leaders: 4, kills: 1, calls: 5, ..NONE });
    assert!(again > 0, "no late entry of an earlier leader was ever met");
}

#[test]
fn results_are_exact_when_everything_happens_at_once() {
    seeds(5000, 500, Faults { kills: 3, restarts: 2, leaders: 3, cuts: 3, flow: 3, calls: 10 });
}
