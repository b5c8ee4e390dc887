//! A plan as JSON: the contract of `gleamflow plan -o json`. Everything is named by its step, never by an id of ours.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    CollectionId, InputChannel, Mscr, MscrId, NodeId, OperateStage, OutputChannel, Plan,
    mscr::{After, Pass},
    schedule::{self, Switch},
};

/// The plan as one JSON object.
#[must_use]
pub fn render(plan: &Plan) -> Value {
    let mut object = json!({
        "operations": {
            "initial": plan.operations.initial, "sunk": plan.operations.sunk, "fused": plan.operations.fused,
        },
        "mscrs": plan.mscrs.iter().filter(|mscr| !mscr.is_load()).map(|mscr| stage(plan, mscr)).collect::<Vec<_>>(),
        "loads": plan.mscrs.iter().filter(|mscr| mscr.is_load()).map(|mscr| load(plan, mscr)).collect::<Vec<_>>(),
        "operates": plan.operates.iter().map(|operate| operate_stage(plan, operate)).collect::<Vec<_>>(),
        "decisions": plan.decisions,
        "functions": plan.functions,
    });
    if !plan.switches.is_empty() {
        object["switches"] = plan.switches.iter().map(|switch| may_switch(plan, switch)).collect();
    }
    object
}

/// A shuffled join that becomes a broadcast if all but the side that waits have at most so many bytes each.
fn may_switch(plan: &Plan, switch: &Switch) -> Value {
    let step = &plan.graph.node(switch.group).step;
    let waits = schedule::leg_names(plan, switch.group).into_iter().nth(switch.big as usize);
    json!({"step": step, "stage": switch.stage.to_string(), "waits": waits, "limitBytes": Some(switch.limit).filter(|limit| *limit < u64::MAX)})
}

fn stage(plan: &Plan, mscr: &Mscr) -> Value {
    json!({
        "id": mscr.id.to_string(),
        "after": after(plan, &mscr.after),
        "inputs": mscr.inputs.iter().map(|channel| input(plan, channel)).collect::<Vec<_>>(),
        "outputs": outputs(plan, mscr),
    })
}

fn operate_stage(plan: &Plan, operate: &OperateStage) -> Value {
    let node = plan.graph.node(operate.node);
    json!({"step": node.step, "reads": collections(plan, node.reads()), "after": after(plan, &operate.after)})
}

/// A source that is stored before others read it: it runs, but no operation of the flow is in it, so it is no MSCR.
fn load(plan: &Plan, mscr: &Mscr) -> Value {
    let reads = mscr.inputs.iter().flat_map(|channel| channel.reads.iter().copied());
    json!({"id": mscr.id.to_string(), "reads": collections(plan, reads), "after": after(plan, &mscr.after)})
}

/// Ids of MSCRs only: what an operate waits for is among them already; instead of a load, what that waits for.
fn after(plan: &Plan, waits: &[After]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut open = waits.to_vec();
    while let Some(wait) = open.pop() {
        let After::Mscr(id) = wait else { continue };
        match plan.mscrs.iter().find(|mscr| mscr.id == id && mscr.is_load()) {
            Some(load) => open.extend(&load.after),
            None => drop(found.insert(id)),
        }
    }
    found.iter().map(MscrId::to_string).collect()
}

fn input(plan: &Plan, channel: &InputChannel) -> Value {
    json!({
        "reads": collections(plan, channel.reads.iter().copied()),
        "does": steps(plan, &channel.does),
        "sideInputs": side_inputs(plan, &channel.does),
    })
}

/// Groups as they are; copies of one write or one collection are one output to the reader.
fn outputs(plan: &Plan, mscr: &Mscr) -> Vec<Value> {
    let mut passed = BTreeSet::new();
    let mut found = Vec::new();
    for output in &mscr.outputs {
        match output {
            OutputChannel::Group { group, combine, reduce, from } => {
                found.push(grouping(plan, (*group, combine, reduce, from)));
            }
            OutputChannel::Pass { what } => {
                let name = pass_name(plan, *what);
                if passed.insert(name.clone()) {
                    found.push(json!({"pass": name}));
                }
            }
        }
    }
    found
}

fn grouping(plan: &Plan, (group, combine, reduce, from): (NodeId, &[NodeId], &[NodeId], &[usize])) -> Value {
    let mut object = Map::new();
    object.insert("group".into(), plan.graph.node(group).step.clone().into());
    match steps(plan, combine).as_slice() {
        [] => None,
        [one] => object.insert("combine".into(), one.clone().into()),
        several => object.insert("combine".into(), several.to_vec().into()),
    };
    object.insert("reduce".into(), steps(plan, reduce).into());
    object.insert("from".into(), from.into());
    let sides = side_inputs(plan, reduce);
    if !sides.is_empty() {
        object.insert("sideInputs".into(), sides.into());
    }
    Value::Object(object)
}

/// What names a pass: its collection, or the write that it ends in.
pub(crate) fn pass_name(plan: &Plan, what: Pass) -> String {
    match what {
        Pass::Collection(id) => plan.graph.collection(id).name.clone(),
        Pass::Write(id) => plan.graph.node(id).step.clone(),
    }
}

/// The steps of some nodes, each once, in order.
pub(crate) fn steps(plan: &Plan, nodes: &[NodeId]) -> Vec<String> {
    once(nodes.iter().map(|id| plan.graph.node(*id).step.as_str()))
}

pub(crate) fn side_inputs(plan: &Plan, nodes: &[NodeId]) -> Vec<String> {
    let sides = nodes.iter().flat_map(|id| &plan.graph.node(*id).side_inputs);
    once(sides.map(|side| plan.graph.collection(side.from).name.as_str()))
}

fn collections(plan: &Plan, ids: impl Iterator<Item = CollectionId>) -> Vec<String> {
    let names: Vec<&str> = ids.map(|id| plan.graph.collection(id).name.as_str()).collect();
    once(names.into_iter())
}

fn once<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).map(String::from).collect()
}
