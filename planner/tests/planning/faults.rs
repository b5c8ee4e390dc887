//! Faults planted into sound graphs and plans: the checks must see each.

use plan::{After, CollectionId, MscrId, NodeId, OutputChannel, Pass, Plan, check_graph, check_plan};
use planner::Options;

use crate::{
    form::{graph, planned},
    goldens::{FIGURE_4, SITE_DATA},
};

#[track_caller]
fn caught(text: &str, plant: impl Fn(&mut Plan), words: &str) {
    let mut plan = planned(text, &Options::default());
    assert_eq!(check_plan(&plan), Vec::<String>::new());
    plant(&mut plan);
    let faults = check_plan(&plan);
    assert!(faults.iter().any(|fault| fault.contains(words)), "not seen: {words}; seen: {faults:?}");
}

fn group(plan: &mut Plan, mscr: usize) -> &mut OutputChannel {
    &mut plan.mscrs[mscr].outputs[0]
}

#[test]
fn a_broken_plan_is_seen() {
    caught(SITE_DATA, |plan| plan.materialized.clear(), "stored are");
    caught(SITE_DATA, |plan| plan.mscrs[1].after.clear(), "is after []");
    caught(SITE_DATA, |plan| plan.mscrs[1].after.push(After::Mscr(MscrId(2))), "is after");
    caught(SITE_DATA, |plan| plan.mscrs.swap(0, 1), "stands in place");
    caught(SITE_DATA, |plan| plan.mscrs[1].inputs[0].does.reverse(), "before its input is there");
    caught(SITE_DATA, |plan| plan.mscrs[1].inputs[0].does.truncate(2), "runs in 0 places");
    caught(SITE_DATA, |plan| drop(plan.mscrs[1].inputs.remove(1)), "runs in 0 places");
    caught(SITE_DATA, |plan| plan.mscrs[1].outputs.truncate(1), "passes");
    caught(SITE_DATA, |plan| plan.operations.fused = 99, "fusion made");
    caught(
        SITE_DATA,
        |plan| {
            let again = plan.mscrs[1].inputs[0].does[0];
            plan.mscrs[0].inputs[0].does.push(again);
        },
        "runs in 2 places",
    );
    caught(
        FIGURE_4,
        |plan| {
            let channel = plan.mscrs[0].inputs[0].clone();
            plan.mscrs[0].inputs.push(channel);
        },
        "its rows would come twice",
    );
    caught(FIGURE_4, |plan| drop(plan.operates.remove(0)), "runs in 0 places");
    caught(FIGURE_4, |plan| drop(plan.mscrs[0].outputs.pop()), "passes");
    caught(
        FIGURE_4,
        |plan| plan.mscrs[0].outputs.push(OutputChannel::Pass { what: Pass::Collection(CollectionId(0)) }),
        "passes",
    );
}

#[test]
fn a_broken_group_is_seen() {
    caught(
        SITE_DATA,
        |plan| {
            if let OutputChannel::Group { from, .. } = group(plan, 1) {
                from.truncate(1);
            }
        },
        "is fed by",
    );
    caught(
        "r=read; g=gbk G r; c=cv C g; x=pd X g; write W c; write V x",
        |plan| {
            if let OutputChannel::Group { combine, reduce, .. } = group(plan, 0) {
                combine.push(reduce[0]);
            }
        },
        "combines",
    );
    caught(
        "r=read; g=gbk G r by:1; c=cv C g; write W c",
        |plan| {
            if let OutputChannel::Group { combine, reduce, .. } = group(plan, 0) {
                combine.push(reduce[0]);
            }
        },
        "the order of its items counts",
    );
    caught(
        "r=read; g=gbk G r; x=pd X g; write W x",
        |plan| {
            let id = plan.graph.collections.values().find(|collection| collection.name == "g").unwrap().id;
            plan.graph.collections.get_mut(&id).unwrap().persist = true;
        },
        "before its input is there",
    );
    // What a fusion across a persisted collection would look like.
    caught(
        "r=read; x=pd X r; g=gbk G x; write W g",
        |plan| {
            let id = plan.graph.collections.values().find(|collection| collection.name == "x").unwrap().id;
            plan.graph.collections.get_mut(&id).unwrap().persist = true;
        },
        "which is persisted, in the pass that makes it",
    );
}

#[test]
fn a_broken_graph_is_seen() {
    let sound = graph("r=read; (a,b)=pd A r; u=fl U a b; g=gbk G u; c=cv C g; x=pd X c | b; write W x");
    assert_eq!(check_graph(&sound), Vec::<String>::new());
    let check = |plant: &dyn Fn(&mut plan::Graph), words: &str| {
        let mut graph = sound.clone();
        plant(&mut graph);
        let faults = check_graph(&graph);
        assert!(faults.iter().any(|fault| fault.contains(words)), "not seen: {words}; seen: {faults:?}");
    };
    let made = |name: &str| sound.collections.values().find(|collection| collection.name == name).unwrap().id;
    let node = |step: &str| sound.nodes.values().find(|node| node.step == step).unwrap().id;
    check(&|graph| drop(graph.collections.remove(&made("u"))), "does not exist");
    check(&|graph| drop(graph.nodes.remove(&node("C"))), "has no producer");
    check(&|graph| graph.nodes.get_mut(&node("X")).unwrap().inputs.push(made("a")), "has 2 inputs");
    check(&|graph| graph.nodes.get_mut(&node("X")).unwrap().outputs.push(made("a")), "two producers");
    check(&|graph| graph.nodes.get_mut(&node("A")).unwrap().inputs = vec![made("x")], "a cycle");
    check(&|graph| graph.nodes.get_mut(&node("C")).unwrap().inputs = vec![made("a")], "not a group by key");
    check(&|graph| graph.nodes.get_mut(&node("A")).unwrap().id = NodeId(99), "says that it is");
    check(&|graph| graph.collections.get_mut(&made("a")).unwrap().producer = node("X"), "not an output of its producer");
}

#[test]
fn a_side_input_that_makes_a_cycle_is_seen() {
    let mut broken = graph("r=read; a=pd A r; b=pd B a | r; write W b");
    let (a, b) = (NodeId(1), CollectionId(2));
    let side = broken.node(NodeId(2)).side_inputs[0].clone();
    broken.nodes.get_mut(&a).unwrap().side_inputs.push(plan::SideInput { from: b, ..side });
    assert!(check_graph(&broken).iter().any(|fault| fault.contains("a cycle")));
}
