//! What must hold for every plan: each step runs once, where its rows are; nothing waits for itself; what is kept is what is needed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    check_graph,
    needs::{Places, is_read, stored},
};
use crate::{
    CollectionId, Group, InputChannel, Mscr, MscrId, Node, NodeId, Op, OutputChannel, Plan,
    mscr::{After, Pass},
    schedule,
};

/// All faults of a plan; empty where it is sound.
#[must_use]
pub fn check_plan(plan: &Plan) -> Vec<String> {
    let mut faults = check_graph(&plan.graph);
    if !faults.is_empty() {
        return faults;
    }
    every_step_once(plan, &mut faults);
    if !faults.is_empty() {
        return faults;
    }
    let places = Places::of(plan);
    let stored = stored(plan);
    let belonging = plan.graph.nodes.values().filter(|node| node.belongs_to_its_group());
    let mut bound: BTreeMap<CollectionId, Vec<&Node>> = BTreeMap::new();
    belonging.for_each(|node| node.inputs.iter().for_each(|read| bound.entry(*read).or_default().push(node)));
    if stored != plan.materialized {
        faults.push(format!("stored are {:?}, needed are {stored:?}", plan.materialized));
    }
    for mscr in &plan.mscrs {
        channels(plan, mscr, &mut faults);
        outputs(plan, mscr, &bound, &mut faults);
        passes(plan, mscr, &mut faults);
    }
    loaders(plan, &places, &mut faults);
    waits(plan, &places, &mut faults);
    order(plan, &mut faults);
    switches(plan, &mut faults);
    if plan.operations.fused > plan.operations.sunk {
        faults.push(format!("fusion made {} operations of {}", plan.operations.fused, plan.operations.sunk));
    }
    faults
}

/// What may switch is a join whose sides are made apart from each other.
fn switches(plan: &Plan, faults: &mut Vec<String>) {
    for switch in &plan.switches {
        let sound = schedule::switches(plan, switch.limit);
        if !sound.iter().any(|(_, found)| found.as_ref() == Ok(switch)) {
            faults.push(format!("the join of group {} cannot switch as planned", switch.group));
        }
    }
}

/// Each ParallelDo, combine and group is in one channel; each operate is a stage of its own; nothing else is anywhere.
fn every_step_once(plan: &Plan, faults: &mut Vec<String>) {
    let mut times: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut count = |node: &NodeId| *times.entry(*node).or_default() += 1;
    for mscr in &plan.mscrs {
        mscr.inputs.iter().flat_map(|channel| &channel.does).for_each(&mut count);
        for output in &mscr.outputs {
            if let OutputChannel::Group { group, reduce, .. } = output {
                count(group);
                reduce.iter().for_each(&mut count);
            }
        }
    }
    plan.operates.iter().for_each(|operate| count(&operate.node));
    for (id, node) in &plan.graph.nodes {
        let expected = usize::from(node.is_counted() || matches!(node.op, Op::Operate(_)));
        let found = times.remove(id).unwrap_or(0);
        if found != expected {
            faults.push(format!("{id} ({}) runs in {found} places, not {expected}", node.step));
        }
    }
    faults.extend(times.keys().map(|id| format!("{id} runs but is not in the graph")));
}

fn channels(plan: &Plan, mscr: &Mscr, faults: &mut Vec<String>) {
    let mut read = BTreeSet::new();
    for (index, channel) in mscr.inputs.iter().enumerate() {
        let place = format!("{} input {index}", mscr.id);
        if channel.reads.is_empty() {
            faults.push(format!("{place} reads nothing"));
        }
        for id in channel.reads.iter().filter(|id| !read.insert(**id)) {
            faults.push(format!("{place} reads {id}, as another channel does: its rows would come twice"));
        }
        chain(plan, &place, channel.reads.iter().copied().collect(), &channel.does, faults);
    }
    for (id, made) in mapped(plan, mscr) {
        if read.contains(&id) {
            faults.push(format!("{} reads {id}, which its own channel {made} makes", mscr.id));
        }
    }
}

/// Nodes of one pass: ParallelDos, each behind what comes before it, never across a persisted collection.
fn chain(plan: &Plan, place: &str, mut there: BTreeSet<CollectionId>, nodes: &[NodeId], faults: &mut Vec<String>) {
    for id in nodes {
        let node = plan.graph.node(*id);
        if !node.is_do() {
            faults.push(format!("{place} runs {id} ({}), which is no ParallelDo", node.step));
        }
        if !node.inputs.iter().all(|input| there.contains(input)) {
            faults.push(format!("{place} runs {id} ({}) before its input is there", node.step));
        }
        there.extend(node.outputs.iter().filter(|made| !plan.graph.collection(**made).persist));
    }
}

/// What the mappers of a stage make, and in which channel.
fn mapped(plan: &Plan, mscr: &Mscr) -> BTreeMap<CollectionId, usize> {
    let channels = mscr.inputs.iter().enumerate();
    let nodes = channels.flat_map(|(index, channel)| channel.does.iter().map(move |node| (*node, index)));
    nodes.flat_map(|(node, index)| plan.graph.node(node).outputs.iter().map(move |made| (*made, index))).collect()
}

fn outputs(plan: &Plan, mscr: &Mscr, bound: &BTreeMap<CollectionId, Vec<&Node>>, faults: &mut Vec<String>) {
    let mapped = mapped(plan, mscr);
    for output in &mscr.outputs {
        let OutputChannel::Group { group, combine, reduce, from } = output else { continue };
        let node = plan.graph.node(*group);
        let place = format!("{} group {group} ({})", mscr.id, node.step);
        if !matches!(node.op, Op::Group(_)) {
            faults.push(format!("{place} is no group"));
            continue;
        }
        let behind = node.outputs.iter().filter(|made| !plan.graph.collection(**made).persist);
        chain(plan, &place, behind.copied().collect(), reduce, faults);
        let fed = feeders(plan, mscr, &mapped, *group, faults);
        if fed != *from {
            faults.push(format!("{place} is fed by {fed:?}, not by {from:?}"));
        }
        lifted(plan, &place, *group, combine, reduce, faults);
        // What comes out of a join and what folds a group natively, only the shuffle itself can do.
        let belonging = node.outputs.iter().filter_map(|made| bound.get(made)).flatten();
        for reader in belonging.filter(|reader| !reduce.contains(&reader.id)) {
            faults.push(format!("{place} does not do {} ({}), which nobody else can", reader.id, reader.step));
        }
    }
}

/// The channels that feed a group, each leaf of its input found in exactly one way.
fn feeders(
    plan: &Plan,
    mscr: &Mscr,
    mapped: &BTreeMap<CollectionId, usize>,
    group: NodeId,
    faults: &mut Vec<String>,
) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let numbered = mscr.inputs.iter().enumerate();
    let read: BTreeMap<CollectionId, usize> =
        numbered.flat_map(|(index, channel)| channel.reads.iter().map(move |id| (*id, index))).collect();
    for leaf in plan.graph.feeding(group) {
        match (read.get(&leaf), mapped.get(&leaf)) {
            (Some(index), None) => found.extend([*index]),
            (None, Some(index)) => {
                if plan.graph.collection(leaf).persist {
                    faults.push(format!("{} groups {leaf}, which is persisted, in the pass that makes it", mscr.id));
                }
                found.extend([*index]);
            }
            (Some(_), Some(_)) => faults.push(format!("{} has {leaf} twice", mscr.id)),
            (None, None) => faults.push(format!("{} groups {leaf}, which does not get there", mscr.id)),
        }
    }
    found.into_iter().collect()
}

/// A combine runs before the shuffle only where nobody sees the whole groups.
fn lifted(plan: &Plan, place: &str, group: NodeId, combine: &[NodeId], reduce: &[NodeId], faults: &mut Vec<String>) {
    if combine.is_empty() {
        return;
    }
    let node = plan.graph.node(group);
    let sees_groups = plan.graph.nodes.values().filter(|other| other.reads().any(|read| node.outputs.contains(&read)));
    let readers: Vec<NodeId> = sees_groups.map(|other| other.id).collect();
    let all_are_folds = readers.iter().all(|id| matches!(plan.graph.node(*id).op, Op::Combine(_)));
    if readers != combine || !all_are_folds || !combine.iter().all(|id| reduce.contains(id)) {
        faults.push(format!("{place} combines {combine:?} early, though {readers:?} read its groups"));
    }
    if node.outputs.iter().any(|made| plan.materialized.contains(made)) {
        faults.push(format!("{place} combines early, though its groups are stored"));
    }
    if !matches!(&node.op, Op::Group(Group::ByKey { order_by, .. }) if order_by.is_empty()) {
        faults.push(format!("{place} combines early, though the order of its items counts"));
    }
}

/// Pass-through outputs are what leaves the mappers, each once.
fn passes(plan: &Plan, mscr: &Mscr, faults: &mut Vec<String>) {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for channel in &mscr.inputs {
        for node in channel.does.iter().map(|id| plan.graph.node(*id)) {
            if node.is_write() {
                expected.insert(format!("{:?}", Pass::Write(node.id)));
            }
            let kept = node.outputs.iter().filter(|made| plan.materialized.contains(made));
            expected.extend(kept.map(|made| format!("{:?}", Pass::Collection(*made))));
        }
    }
    let mut found = BTreeSet::new();
    for output in &mscr.outputs {
        let OutputChannel::Pass { what } = output else { continue };
        if !found.insert(format!("{what:?}")) {
            faults.push(format!("{} passes {what:?} twice", mscr.id));
        }
        if let Pass::Collection(id) = what
            && is_read(plan, *id)
            && mscr.inputs.iter().any(|channel| loads(plan, mscr, channel, *id))
        {
            expected.insert(format!("{what:?}"));
        }
    }
    if expected != found {
        faults.push(format!("{} passes {found:?}, not {expected:?}", mscr.id));
    }
}

/// Whether a channel may store what it reads: a persisted source shares its pass with nothing.
fn loads(plan: &Plan, mscr: &Mscr, channel: &InputChannel, id: CollectionId) -> bool {
    let alone = channel.does.is_empty() && mscr.outputs.len() == 1;
    channel.reads.contains(&id) && (alone || !plan.graph.collection(id).persist)
}

fn loaders(plan: &Plan, places: &Places, faults: &mut Vec<String>) {
    for id in plan.materialized.iter().filter(|id| is_read(plan, **id)) {
        let count = places.loaders.get(id).map_or(0, Vec::len);
        if count != 1 {
            faults.push(format!("{id} ({}) is stored by {count} stages", plan.graph.collection(*id).name));
        }
    }
}

/// `after` names what the stage reads from, and what the operates among that wait for; never the stage itself.
fn waits(plan: &Plan, places: &Places, faults: &mut Vec<String>) {
    for mscr in &plan.mscrs {
        let own = After::Mscr(mscr.id);
        let mut wanted = BTreeSet::new();
        for read in mscr.inputs.iter().flat_map(|channel| &channel.reads) {
            let before = places.before(plan, *read);
            let loaded_here = plan.graph.leaves(*read) == [*read] && places.loaders.get(read).is_some_and(|by| by[..] == [own]);
            wanted.extend(before.into_iter().filter(|stage| !(loaded_here && *stage == own)));
            if loaded_here {
                let paths = &plan.graph.producer(*read).inputs;
                wanted.extend(paths.iter().flat_map(|path| places.before(plan, *path)));
            }
        }
        for (node, _) in places.of.iter().filter(|(_, stage)| **stage == own) {
            let sides = &plan.graph.node(*node).side_inputs;
            wanted.extend(sides.iter().flat_map(|side| places.before(plan, side.from)));
        }
        compare(plan, own, wanted, &mscr.after, faults);
    }
    for operate in &plan.operates {
        let wanted = plan.graph.node(operate.node).reads().flat_map(|read| places.before(plan, read)).collect();
        compare(plan, After::Operate(operate.node), wanted, &operate.after, faults);
    }
}

fn compare(plan: &Plan, own: After, mut wanted: BTreeSet<After>, found: &[After], faults: &mut Vec<String>) {
    let operates: Vec<&[After]> = plan
        .operates
        .iter()
        .filter(|operate| wanted.contains(&After::Operate(operate.node)))
        .map(|operate| operate.after.as_slice())
        .collect();
    wanted.extend(operates.into_iter().flatten());
    if wanted.contains(&own) {
        faults.push(format!("{own:?} waits for itself"));
    }
    if !wanted.iter().eq(found) {
        faults.push(format!("{own:?} is after {found:?}, not {wanted:?}"));
    }
}

/// Stages are numbered from 1 in an order in which they can run, those that only store sources apart from the others.
fn order(plan: &Plan, faults: &mut Vec<String>) {
    let (mut stages, mut loads) = (0, 0);
    let mut before: BTreeSet<MscrId> = BTreeSet::new();
    for mscr in &plan.mscrs {
        let (count, id): (&mut u32, fn(u32) -> MscrId) =
            if mscr.is_load() { (&mut loads, MscrId::load) } else { (&mut stages, MscrId) };
        *count += 1;
        if mscr.id != id(*count) {
            faults.push(format!("{} stands in place of {}", mscr.id, id(*count)));
        }
        let later = |wait: &&After| matches!(wait, After::Mscr(id) if !before.contains(id));
        if let Some(wait) = mscr.after.iter().find(later) {
            faults.push(format!("{} waits for {wait:?}, which comes later", mscr.id));
        }
        before.insert(mscr.id);
    }
    let waits: BTreeMap<NodeId, &[After]> =
        plan.operates.iter().map(|operate| (operate.node, operate.after.as_slice())).collect();
    let mut done: BTreeSet<NodeId> = BTreeSet::new();
    for operate in &plan.operates {
        let early = operate.after.iter().any(|wait| matches!(wait, After::Operate(other) if !done.contains(other)));
        if early || !waits.contains_key(&operate.node) {
            faults.push(format!("operate {} stands before one that it waits for", operate.node));
        }
        done.insert(operate.node);
    }
}
