//! A wrong variant of each pass, planted into the plans of random flows: invariants and comparison find it within a few of them.

use std::collections::BTreeSet;

use oracle::GeneratedFlow;
use plan::{After, CollectionId, Do, Graph, Group, JoinKind, Node, NodeId, Op, Plan};
use planner::{Draft, InMaking, Options, PASSES, PassName};

/// So many flows in which the bug changed something may go by before one of them shows it.
const HARMLESS: usize = 40;
/// So many flows may be tried in all.
const FLOWS: u64 = 600;

/// Spoils what a pass made; false where there is nothing of the kind.
enum Bug {
    Draft(fn(&mut Draft) -> bool),
    Plan(fn(&mut Plan) -> bool),
}

const BUGS: [(PassName, Bug); 18] = [
    (PassName::MergeFlattens, Bug::Draft(|draft| lose_an_input(&mut draft.graph))),
    (PassName::DeadCode, Bug::Draft(|draft| remove(&mut draft.graph, Node::is_write))),
    (PassName::CommonSubexpressions, Bug::Draft(|draft| confuse_maps(&mut draft.graph))),
    (PassName::FilterPushdown, Bug::Draft(|draft| bypass(&mut draft.graph, |op| matches!(op, Op::ParallelDo(Do::Filter(_)))))),
    (PassName::ColumnPushdown, Bug::Draft(|draft| turn_columns(&mut draft.graph))),
    (PassName::BroadcastJoin, Bug::Draft(|draft| other_kind(&mut draft.graph, true))),
    (PassName::RedundantGroups, Bug::Draft(|draft| bypass(&mut draft.graph, |op| matches!(op, Op::Group(Group::ByKey { .. }))))),
    (PassName::JoinedGroups, Bug::Draft(|draft| other_kind(&mut draft.graph, false))),
    (PassName::SinkFlattens, Bug::Draft(|draft| lose_a_copy(&mut draft.graph))),
    (PassName::LiftCombine, Bug::Draft(lift_another)),
    (PassName::PackCombines, Bug::Draft(forget_one_packed)),
    (PassName::FusionBlocks, Bug::Draft(|draft| draft.blocks.pop_first().is_some())),
    (PassName::ProducerConsumerFusion, Bug::Draft(fuse_across_an_end)),
    (PassName::SiblingFusion, Bug::Draft(fuse_strangers)),
    (PassName::MscrFusion, Bug::Plan(|plan| merge_stages(plan, true))),
    (PassName::MapOnlyMerging, Bug::Plan(|plan| merge_stages(plan, false))),
    (PassName::LocalChoice, Bug::Plan(choose_otherwise)),
    (PassName::SwitchJoins, Bug::Plan(wait_for_all)),
];

fn found(graph: &Graph, wanted: impl Fn(&Node) -> bool) -> Option<NodeId> {
    graph.nodes.values().find(|node| wanted(node)).map(|node| node.id)
}

fn remove(graph: &mut Graph, wanted: fn(&Node) -> bool) -> bool {
    found(graph, wanted).and_then(|id| graph.nodes.remove(&id)).is_some()
}

fn read_instead(graph: &mut Graph, made: CollectionId, other: CollectionId) {
    for node in graph.nodes.values_mut() {
        let sides = node.side_inputs.iter_mut().map(|side| &mut side.from);
        node.inputs.iter_mut().chain(sides).filter(|read| **read == made).for_each(|read| *read = other);
    }
}

/// Takes a node away; its readers read what it read.
fn bypass(graph: &mut Graph, wanted: fn(&Op) -> bool) -> bool {
    let Some(id) = found(graph, |node| wanted(&node.op) && node.outputs.len() == 1) else { return false };
    let Some(node) = graph.nodes.remove(&id) else { return false };
    graph.collections.remove(&node.outputs[0]);
    read_instead(graph, node.outputs[0], node.inputs[0]);
    true
}

fn lose_an_input(graph: &mut Graph) -> bool {
    let union = |node: &Node| matches!(node.op, Op::Flatten { .. }) && node.inputs.len() > 1;
    let Some(node) = found(graph, union).and_then(|id| graph.nodes.get_mut(&id)) else { return false };
    node.inputs.pop().is_some()
}

/// One map for another of the same rows.
fn confuse_maps(graph: &mut Graph) -> bool {
    let is_map = |node: &&Node| matches!(node.op, Op::ParallelDo(Do::Map(_)));
    let maps: Vec<&Node> = graph.nodes.values().filter(is_map).collect();
    let pair = maps.iter().find_map(|one| {
        let other = maps.iter().find(|other| other.inputs == one.inputs && other.op != one.op)?;
        Some((one.outputs[0], other.outputs[0]))
    });
    pair.is_some_and(|(keep, drop)| {
        read_instead(graph, drop, keep);
        true
    })
}

fn turn_columns(graph: &mut Graph) -> bool {
    let select = |node: &Node| matches!(&node.op, Op::ParallelDo(Do::Select(columns)) if columns.iter().collect::<BTreeSet<_>>().len() > 1);
    let node = found(graph, select).and_then(|id| graph.nodes.get_mut(&id));
    match node.map(|node| &mut node.op) {
        Some(Op::ParallelDo(Do::Select(columns))) => {
            columns.rotate_left(1);
            true
        }
        _ => false,
    }
}

/// A join that keeps other rows than was asked for.
fn other_kind(graph: &mut Graph, is_probe: bool) -> bool {
    let kinds = graph.nodes.values_mut().filter_map(|node| match &mut node.op {
        Op::ParallelDo(Do::ProbeJoin { kind, .. }) if is_probe => Some(kind),
        Op::ParallelDo(Do::UntagJoin { kind, .. }) if !is_probe => Some(kind),
        _ => None,
    });
    let kind = kinds.into_iter().find(|kind| matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full));
    kind.is_some_and(|kind| {
        *kind = if *kind == JoinKind::Inner { JoinKind::Left } else { JoinKind::Inner };
        true
    })
}

fn lose_a_copy(graph: &mut Graph) -> bool {
    let writes: Vec<&Node> = graph.nodes.values().filter(|node| node.is_write()).collect();
    let mut seen = BTreeSet::new();
    let copy = writes.into_iter().find(|node| !seen.insert(&node.step)).map(|node| node.id);
    copy.is_some_and(|id| graph.nodes.remove(&id).is_some())
}

/// A combine runs early that was left behind its group.
fn lift_another(draft: &mut Draft) -> bool {
    let graph = &draft.graph;
    let combines = graph.nodes.values().filter(|node| matches!(node.op, Op::Combine(_)));
    let groups = combines.map(|node| (graph.collection(node.inputs[0]).producer, node.id));
    let Some((group, combine)) = groups.into_iter().find(|(group, _)| !draft.combines.contains_key(group)) else { return false };
    draft.combines.insert(group, vec![combine]);
    true
}

fn forget_one_packed(draft: &mut Draft) -> bool {
    let packed = draft.combines.values_mut().find(|combines| combines.len() > 1);
    packed.is_some_and(|combines| combines.pop().is_some())
}

fn join(draft: &mut Draft, one: NodeId, other: NodeId) {
    let fusions = draft.fusions();
    let (one, other) = (draft.fusion(one), draft.fusion(other));
    let head = one.min(other);
    for node in [one, other].iter().flat_map(|head| fusions.get(head)).flatten() {
        draft.fused.insert(*node, head);
    }
}

fn fuse_across_an_end(draft: &mut Draft) -> bool {
    let graph = &draft.graph;
    let across = graph.nodes.values().filter(|node| node.is_do()).find_map(|node| {
        let producer = graph.producer(node.inputs[0]);
        (producer.is_do() && !draft.is_open(node.inputs[0], node)).then_some((producer.id, node.id))
    });
    across.is_some_and(|(producer, reader)| {
        join(draft, producer, reader);
        true
    })
}

/// What reads one collection with what reads another.
fn fuse_strangers(draft: &mut Draft) -> bool {
    let graph = &draft.graph;
    let roots = graph.nodes.values().filter(|node| node.is_do() && !graph.producer(node.inputs[0]).is_do());
    let roots: Vec<(NodeId, CollectionId)> = roots.map(|node| (node.id, node.inputs[0])).collect();
    let pair = roots.iter().find_map(|(one, read)| {
        let other = roots.iter().find(|(_, other)| other != read)?;
        Some((*one, other.0))
    });
    pair.is_some_and(|(one, other)| {
        join(draft, one, other);
        true
    })
}

/// A stage in the stage that it waits for.
fn merge_stages(plan: &mut Plan, with_groups: bool) -> bool {
    let is_wanted = |stage: &plan::Mscr| {
        let has_group = stage.outputs.iter().any(|output| matches!(output, plan::OutputChannel::Group { .. }));
        has_group == with_groups && !stage.is_load()
    };
    let before =
        |stage: &plan::Mscr| stage.after.iter().find_map(|wait| if let After::Mscr(id) = wait { Some(*id) } else { None });
    let place = plan.mscrs.iter().position(|stage| is_wanted(stage) && before(stage).is_some());
    let Some(place) = place else { return false };
    let late = plan.mscrs.remove(place);
    let early = before(&late).and_then(|id| plan.mscrs.iter_mut().find(|stage| stage.id == id));
    early.is_some_and(|early| {
        early.inputs.extend(late.inputs);
        early.outputs.extend(late.outputs);
        true
    })
}

fn choose_otherwise(plan: &mut Plan) -> bool {
    let told = plan.decisions.iter_mut().find(|told| told.pass == PassName::LocalChoice.as_str());
    told.is_some_and(|told| {
        told.did = !told.did;
        true
    })
}

/// A join whose sides all wait for one another.
fn wait_for_all(plan: &mut Plan) -> bool {
    let Some(switch) = plan.switches.first_mut() else { return false };
    let Some(stage) = plan.mscrs.iter().find(|stage| stage.id == switch.stage) else { return false };
    switch.late = (0..stage.inputs.len()).collect();
    true
}

/// Plans a flow with a bug: whether the bug changed something, and what is said of that.
fn reported(flow: &GeneratedFlow, pass: PassName, bug: &Bug) -> Result<(bool, Option<String>), String> {
    let checked = flow.checked()?;
    let mut planted = false;
    let mut watch = |behind: PassName, what: InMaking<'_>| {
        if behind == pass && !planted {
            planted = match (bug, what) {
                (Bug::Draft(plant), InMaking::Draft(draft)) => plant(draft),
                (Bug::Plan(plant), InMaking::Plan(plan)) => plant(plan),
                (_, what) => panic!("{pass} leaves {what:?}"),
            };
        }
    };
    let lua = planner::passes::Lua::default();
    let options = Options::default();
    let planned = planner::plan_watched(checked.graph.clone(), checked.prelude.clone(), &options, lua, &mut watch);
    let plan = match planned {
        Err(faults) if planted => return Ok((true, Some(faults.join("\n")))),
        Err(faults) => return Err(faults.join("\n")),
        Ok(_) if !planted => return Ok((false, None)),
        Ok(plan) => plan,
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    flow.write_files(folder.path()).map_err(|error| error.to_string())?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, folder.path())?;
    let found = oracle::interpret(&plan.graph, &plan.prelude, folder.path());
    Ok((true, found.and_then(|found| oracle::compare::difference(&expected, &found)).err()))
}

#[test]
fn a_bug_in_each_pass_shows_in_a_few_random_flows() {
    for (pass, bug) in &BUGS {
        let mut harmless = 0;
        let shown = (0..FLOWS).find_map(|seed| {
            let (planted, words) =
                reported(&oracle::generate(seed), *pass, bug).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            harmless += usize::from(planted && words.is_none());
            assert!(harmless <= HARMLESS, "{pass} is wrong in {harmless} flows, and nobody says so");
            words.map(|words| (seed, words))
        });
        let (seed, words) = shown.unwrap_or_else(|| panic!("{pass} is wrong in none of {FLOWS} flows"));
        println!("{pass}: seed {seed}, after {harmless} harmless ones: {}", words.lines().next().unwrap_or_default());
    }
    assert_eq!(BUGS.iter().map(|(pass, _)| *pass).collect::<Vec<_>>(), PASSES, "each pass has a wrong variant");
}
