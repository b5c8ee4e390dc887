//! A join whose other sides are small needs no shuffle: each task holds them whole and probes them with its rows of the large side.
//!
//! Only a side of which no row must appear unmatched can be held by every task.

use plan::{CollectionId, Do, Graph, JoinKind, Node, Op, SideInput, SideShape};

use super::{
    Context, Log,
    exact::are_exact,
    legs::{Join, untags},
    splice::{self, Readers},
};
use crate::estimate::shown;

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    for untag in untags(graph) {
        let readers = Readers::of(graph);
        let node = graph.node(untag);
        let step = node.step.clone();
        let Some(join) = Join::at(graph, &readers, node) else {
            log.declined(&step, "shuffled: parts of the join are read by others");
            continue;
        };
        match big_leg(graph, &join, context.options.broadcast_limit) {
            Ok((big, why)) => {
                let name = graph.collection(join.input(graph, big)).name.clone();
                log.did(&step, format!("every task holds the other sides whole and reads `{name}` without a shuffle: {why}"));
                broadcast(graph, &join, big);
            }
            Err(why) => log.declined(&step, format!("shuffled: {why}")),
        }
    }
}

/// The leg that is not held whole, and why the others may be; or why not.
fn big_leg(graph: &Graph, join: &Join, limit: u64) -> Result<(usize, String), String> {
    let wish = graph.node(join.untag).broadcast;
    if wish == Some(false) {
        return Err("`broadcast: never`".into());
    }
    if join.kind == JoinKind::Full {
        return Err("a full join keeps unmatched rows of every side".into());
    }
    if let Some(partitions) = graph.node(join.group).partitions {
        return Err(format!("the result is to have {partitions} partitions"));
    }
    let sizes: Vec<Option<u64>> = (0..join.tags.len()).map(|leg| graph.collection(join.input(graph, leg)).bytes).collect();
    let big = join.preserved().unwrap_or_else(|| largest(&sizes));
    if wish == Some(true) {
        return shows_keys_alike(graph, join, big).map(|()| (big, "`broadcast: always`".into()));
    }
    for (leg, size) in sizes.iter().enumerate().filter(|(leg, _)| *leg != big) {
        let name = &graph.collection(join.input(graph, leg)).name;
        match size {
            None => return Err(format!("the size of `{name}` is not known")),
            Some(size) if *size > limit => {
                return Err(format!("`{name}` has about {}, more than {}", shown(*size), shown(limit)));
            }
            Some(_) => {}
        }
    }
    shows_keys_alike(graph, join, big)?;
    let sides: u64 = sizes.iter().enumerate().filter(|(leg, _)| *leg != big).filter_map(|(_, size)| *size).sum();
    Ok((big, format!("they have about {} together, and up to {} each would do", shown(sides), shown(limit))))
}

/// Whether each row of the large leg knows how its key is shown: of 4 and 4.0 the integer, whichever row of the join has it.
fn shows_keys_alike(graph: &Graph, join: &Join, big: usize) -> Result<(), String> {
    let is_exact = |leg: usize| are_exact(graph, join.input(graph, leg), &join.key(graph, leg));
    let others = || (0..join.tags.len()).filter(|leg| *leg != big);
    if is_exact(big) || (join.kind == JoinKind::Inner && others().all(is_exact)) {
        return Ok(());
    }
    let name = &graph.collection(join.input(graph, big)).name;
    Err(format!(
        "keys of `{name}` may be 4 in one row and 4.0 in another, which show alike only where all rows of a key meet; once its sides \
         are measured, the join may do without the shuffle all the same"
    ))
}

/// The largest leg, the first of such; one of unknown size may be larger than any.
fn largest(sizes: &[Option<u64>]) -> usize {
    let mut best = 0;
    for leg in 1..sizes.len() {
        if sizes[leg].unwrap_or(u64::MAX) > sizes[best].unwrap_or(u64::MAX) {
            best = leg;
        }
    }
    best
}

/// The untag becomes the probe; everything before it goes.
fn broadcast(graph: &mut Graph, join: &Join, big: usize) {
    let keys = (0..join.tags.len()).map(|leg| join.key(graph, leg)).collect();
    let others = (0..join.tags.len()).filter(|leg| *leg != big).map(|leg| join.input(graph, leg));
    let side_inputs = others.map(|from| side(graph, from)).collect();
    let input = join.input(graph, big);
    let op = Op::ParallelDo(Do::ProbeJoin { kind: join.kind, big: super::facts::width(big), keys, widths: join.widths.clone() });
    splice::remove(graph, join.tags.iter().copied().chain([join.union, join.group]));
    if let Some(node) = graph.nodes.get_mut(&join.untag) {
        *node = Node { op, inputs: vec![input], side_inputs, ..node.clone() };
    }
}

fn side(graph: &Graph, from: CollectionId) -> SideInput {
    SideInput { name: graph.collection(from).name.clone(), from, shape: SideShape::List }
}
