//! Slots with the engine in them: what a function can do to its task, and that it does it to no other.

use std::collections::BTreeMap;

use plan::task::{Attempt, Failed, Fault, Task, TaskId, Work};
use plan::{NodeId, Op};
use proto::Term;
use proto::master::{FromSlot, Settings, ToSlot};

use super::operator::{Operator, Stream};
use super::pod::Pod;

const MEMORY: u64 = 192 << 20;

/// A plan with one operate per function, and the tasks that run them.
fn planned(functions: &[&str]) -> (ToSlot, Vec<NodeId>) {
    let mut text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: f}\nspec:\n  steps:\n".to_owned();
    for (at, function) in functions.iter().enumerate() {
        let lua: String = format!("function()\n{function}\nend").lines().map(|line| format!("          {line}\n")).collect();
        text += &format!("    - name: o{at}\n      operate:\n        lua: |\n{lua}");
        text += &format!("    - name: w{at}\n      from: [o{at}]\n      write: {{text: {{path: out{at}}}}}\n");
    }
    let document = crds::Document::parse(&text, "flow.yaml").unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    let options = (planner::ParamValues::new(), planner::CheckOptions::default());
    let checked = planner::check_with(&document.flow, &BTreeMap::new(), &options.0, &options.1).unwrap();
    let plan = planner::plan(checked.graph, checked.prelude, &planner::Options::default());
    let nodes = plan.graph.nodes.values().filter(|node| matches!(node.op, Op::Operate(_)));
    let mut nodes: Vec<(String, NodeId)> = nodes.map(|node| (node.step.clone(), node.id)).collect();
    nodes.sort();
    let plan = zstd::bulk::compress(&rmp_serde::to_vec_named(&plan).unwrap(), 3).unwrap();
    (ToSlot::Plan { plan }, nodes.into_iter().map(|(_, node)| node).collect())
}

fn order(node: NodeId, number: u32) -> ToSlot {
    let task = Task {
        attempt: Attempt { task: TaskId::Operate { node }, number },
        place: (0, 1),
        work: Work::Operate { node },
        agents: Vec::new(),
        sides: BTreeMap::new(),
        buckets: BTreeMap::new(),
        widths: BTreeMap::new(),
        tables: BTreeMap::new(),
    };
    // Nobody is there: a task that comes to its end fails for want of an agent.
    ToSlot::Run { task: Box::new(task), output: "127.0.0.1:1".to_owned() }
}

fn welcome(deadline: Option<u32>) -> ToSlot {
    let settings = Settings { seed: 1, memory: 32 << 20, task_deadline: deadline, partitions: None, results: None };
    ToSlot::Welcome { term: Term(1), settings }
}

/// Two slots of one pod that know a plan.
async fn two(operator: &Operator, deadline: Option<u32>, plan: &ToSlot) -> (Pod, [Stream; 2]) {
    let pod = Pod::start_real(operator, 2, MEMORY);
    let mut streams = [operator.stream().await, operator.stream().await];
    for stream in &mut streams {
        assert_eq!(stream.busy().await, None);
        stream.say(welcome(deadline)).await;
        stream.say(plan.clone()).await;
    }
    (pod, streams)
}

async fn failed(stream: &mut Stream) -> Failed {
    match stream.result().await {
        FromSlot::Failed { failed, .. } => *failed,
        other => panic!("no failure: {other:?}"),
    }
}

/// Waits for the gate, then says that it went through it.
fn gated(pod: &Pod) -> String {
    let (gate, through) = (pod.data("gate").display().to_string(), pod.data("through").display().to_string());
    format!("while not io.open(\"{gate}\") do end\nio.open(\"{through}\", \"w\"):close()\nemit(1)")
}

fn touching(pod: &Pod, name: &str) -> String {
    format!("io.open(\"{}\", \"w\"):close()\nemit(1)", pod.data(name).display())
}

/// The bad task fails with these words while the one beside it goes on, and the slot of the bad one does another task after it.
async fn costs_its_task_alone(bad: &str, deadline: Option<u32>, words: &[&str]) {
    let operator = Operator::start().await;
    // The paths of the gate are known once there is a pod; its plan comes after.
    let pod = Pod::start_real(&operator, 2, MEMORY);
    let (plan, nodes) = planned(&[bad, &gated(&pod), &touching(&pod, "again")]);
    let (mut one, mut other) = (operator.stream().await, operator.stream().await);
    for (stream, deadline) in [(&mut one, deadline), (&mut other, None)] {
        assert_eq!(stream.busy().await, None);
        stream.say(welcome(deadline)).await;
        stream.say(plan.clone()).await;
    }
    other.say(order(nodes[1], 1)).await;
    one.say(order(nodes[0], 1)).await;
    let told = failed(&mut one).await;
    assert_eq!(told.fault, Fault::Flow, "{told:?}");
    for word in words {
        assert!(told.message.contains(word), "{told:?}");
    }
    assert!(!pod.data("through").exists());
    std::fs::write(pod.data("gate"), "").unwrap();
    assert!(pod.wait_until_there("through").await, "{}", pod.log());
    // No agent takes what it made: so far it has come.
    assert_eq!(failed(&mut other).await.fault, Fault::Infrastructure);
    one.say(order(nodes[2], 2)).await;
    failed(&mut one).await;
    assert!(pod.data("again").exists());
    leave(pod, [one, other]).await;
}

async fn leave(mut pod: Pod, streams: [Stream; 2]) {
    for stream in &streams {
        stream.say(ToSlot::Leave { reason: "the run is over".to_owned() }).await;
    }
    assert_eq!(pod.exit().await, 0, "{}", pod.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_loop_without_end_costs_its_task_alone() {
    let bad = "local x = 0\nwhile true do x = x + 1 end";
    costs_its_task_alone(bad, Some(3), &["longer than taskDeadlineSeconds (3 s)", "raise taskDeadlineSeconds"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_eats_memory_costs_its_task_alone() {
    let bad = "local held = {}\nwhile true do held[#held + 1] = (\"x\"):rep(1000000) .. #held end";
    costs_its_task_alone(bad, None, &["memory"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_crashes_its_process_costs_its_task_alone() {
    let bad = "require(\"ffi\").cast(\"int *\", 8)[0] = 1";
    costs_its_task_alone(bad, None, &["died of SIGSEGV"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_a_function_has_others_eat_counts_too() {
    let bad = "local p = io.popen(\"setsid -w sh -c 'head -c 400m /dev/zero | tail'\")\np:read(\"*a\")\nwhile true do end";
    costs_its_task_alone(bad, Some(20), &["more than 192 MiB"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_a_function_starts_end_with_their_task() {
    let operator = Operator::start().await;
    let ends = "os.execute(\"sleep 5311 &\")\nos.execute(\"setsid sleep 5312 &\")\nemit(1)";
    let hangs = "os.execute(\"setsid sleep 5313 &\")\nlocal p = io.popen(\"sleep 5314\")\nwhile true do end";
    let (plan, nodes) = planned(&[ends, hangs]);
    let (pod, [mut one, other]) = two(&operator, Some(1), &plan).await;
    one.say(order(nodes[0], 1)).await;
    failed(&mut one).await;
    // The result comes when they are gone.
    assert!(!pod.has("sleep 5311") && !pod.has("sleep 5312"));
    one.say(order(nodes[1], 2)).await;
    let told = failed(&mut one).await;
    assert!(told.message.contains("taskDeadlineSeconds"), "{told:?}");
    for command in ["sleep 5313", "sleep 5314"] {
        assert!(pod.wait_until_gone(command).await, "{command}");
    }
    leave(pod, [one, other]).await;
}
