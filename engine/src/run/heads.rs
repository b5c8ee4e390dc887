//! What stands first in a reduce task: the operator that makes groups of the shuffled rows.

use plan::{CollectionId, Do, Group, Node, NodeId, Op};

use crate::op::combine::ReduceCombine;
use crate::op::group::{CoGrouper, Grouper};
use crate::op::join::Join;
use crate::op::limit::Limit;
use crate::{Error, Result, RowSink, Val};

use super::chain::Chain;
use super::deal::{Target, key_fields};
use super::fold;
use super::pass::Tee;

/// The sink for a group's shuffled rows, with all that comes behind it.
pub(crate) fn head(chain: &Chain<'_>, target: &Target) -> Result<Box<dyn RowSink>> {
    let node = chain.job.plan.graph.node(target.group);
    let Op::Group(group) = &node.op else {
        return Err(Error::Plan(format!("step {:?} is no group", node.step)));
    };
    match group {
        Group::ByKey { .. } if !target.combine.is_empty() => combined(chain, &target.combine, node, group, Input::Partial),
        Group::ByKey { .. } => grouped(chain, node, group),
        Group::ByLeg { legs } => joined(chain, node, target, *legs),
        Group::Limit { n, offset } => Ok(Box::new(Limit::new(*n, *offset, chain.collection(node.outputs[0])?))),
        Group::Sort { .. } | Group::Merge { .. } | Group::Gather | Group::Hash { .. } | Group::RoundRobin => {
            chain.collection(node.outputs[0])
        }
    }
}

/// Whether a table gets rows as they were or folded already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Raw,
    Partial,
}

/// Folded groups: one table for all the folds, one output for each.
fn combined(chain: &Chain<'_>, combine: &[NodeId], group_node: &Node, group: &Group, input: Input) -> Result<Box<dyn RowSink>> {
    let Group::ByKey { key, values, .. } = group else {
        return Err(Error::Plan(format!("step {:?} has no key", group_node.step)));
    };
    let nodes: Vec<&Node> = combine.iter().map(|id| chain.job.plan.graph.node(*id)).collect();
    let allowance = chain.job.run.allowance(&group_node.step);
    let table = Some(ReduceCombine::new(key.clone(), *values, fold::folds(chain, &nodes)?, allowance));
    let outs = nodes.iter().map(|node| chain.collection(node.outputs[0])).collect::<Result<_>>()?;
    Ok(Box::new(Combined { table, input, outs }))
}

struct Combined {
    table: Option<ReduceCombine>,
    input: Input,
    outs: Vec<Box<dyn RowSink>>,
}

impl RowSink for Combined {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let table = self.table.as_mut().expect("not finished yet");
        match self.input {
            Input::Partial => table.push_partial(row),
            Input::Raw => table.push_raw(row),
        }
    }

    fn settle(&mut self) -> Result<()> {
        let outs = &mut self.outs;
        let table = self.table.as_mut().expect("not finished yet");
        table.settle(&mut |fold, row| outs[fold].push(row))
    }

    fn finish(&mut self) -> Result<()> {
        let outs = &mut self.outs;
        self.table.take().expect("finished once").finish(&mut |fold, row| outs[fold].push(row))?;
        self.outs.iter_mut().try_for_each(|out| out.finish())
    }
}

/// Groups that were not folded before the shuffle: lists for those who read them, tables for combines fused here.
fn grouped(chain: &Chain<'_>, node: &Node, group: &Group) -> Result<Box<dyn RowSink>> {
    let output = node.outputs[0];
    let mut outs: Vec<Box<dyn RowSink>> = Vec::new();
    for combine in fused_combines(chain, output) {
        outs.push(combined(chain, &[combine], node, group, Input::Raw)?);
    }
    let readers = chain.job.consumers.get(&output).map_or(0, Vec::len);
    if readers > outs.len() || chain.job.keeps(output) {
        let Group::ByKey { key, values, order_by } = group else {
            return Err(Error::Plan(format!("step {:?} has no key", node.step)));
        };
        // Those that run elsewhere get the lists, and take them apart again.
        let consumers = chain.job.consumers.get(&output).map(Vec::as_slice).unwrap_or_default();
        let combines = consumers.iter().filter(|id| matches!(chain.job.plan.graph.node(**id).op, Op::Combine(_))).count();
        let grouper = Grouper::new(key.clone(), *values, order_by.clone(), chain.job.run.allowance(&node.step))
            .with_marked_rows(combines > outs.len());
        outs.push(Box::new(Gathered { operator: Some(grouper), out: chain.lists(output)? }));
    }
    Ok(if outs.len() == 1 { outs.pop().expect("there is one") } else { Box::new(Tee(outs)) })
}

/// The combines that run in this stage straight on a group.
pub(crate) fn fused_combines(chain: &Chain<'_>, group: CollectionId) -> Vec<NodeId> {
    let consumers = chain.job.consumers.get(&group).map(Vec::as_slice).unwrap_or_default();
    let fused = |id: &&NodeId| chain.reach.nodes.contains(id) && matches!(chain.job.plan.graph.node(**id).op, Op::Combine(_));
    consumers.iter().filter(fused).copied().collect()
}

/// The node behind the shuffle of a join or coGroup: it says what comes out.
pub(super) fn untag<'c>(chain: &Chain<'c>, node: &Node) -> Result<&'c Node> {
    let consumers = chain.job.consumers.get(&node.outputs[0]).map(Vec::as_slice).unwrap_or_default();
    let untag = consumers.iter().find(|id| chain.reach.nodes.contains(id)).map(|id| chain.job.plan.graph.node(*id));
    untag.ok_or_else(|| Error::Plan(format!("step {:?} is separated from its shuffle", node.step)))
}

/// The value fields of each leg of a join: as the plan knows, or those of its widest row.
pub(super) fn widths(target: &Target, known: &[Option<u32>]) -> Vec<usize> {
    let width = |(leg, width): (usize, &Option<u32>)| width.map_or_else(|| target.shuffle.width(leg), |width| width as usize);
    known.iter().enumerate().map(width).collect()
}

/// A join or coGroup.
fn joined(chain: &Chain<'_>, node: &Node, target: &Target, legs: u32) -> Result<Box<dyn RowSink>> {
    let untag = untag(chain, node)?;
    let keys = key_fields(&chain.job.plan, node)?;
    let allowance = chain.job.run.allowance(&node.step);
    let out = chain.collection(untag.outputs[0])?;
    match &untag.op {
        Op::ParallelDo(Do::UntagCoGroup { .. }) => {
            Ok(Box::new(Gathered { operator: Some(CoGrouper::new(legs as usize, keys, allowance)), out }))
        }
        Op::ParallelDo(Do::UntagJoin { kind, widths, .. }) => {
            let join = Join::new(*kind, keys, self::widths(target, widths), allowance);
            Ok(Box::new(Gathered { operator: Some(join), out }))
        }
        _ => Err(Error::Plan(format!("the shuffle of step {:?} is read by something else", node.step))),
    }
}

/// An operator that sees all its rows before it puts any out.
trait Operator {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()>;
    fn finish(self, out: &mut dyn RowSink) -> Result<()>;
}

macro_rules! operator {
    ($name:ty) => {
        impl Operator for $name {
            fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
                <$name>::push(self, row)
            }

            fn finish(self, out: &mut dyn RowSink) -> Result<()> {
                <$name>::finish(self, out)
            }
        }
    };
}

operator!(Grouper);
operator!(CoGrouper);
operator!(Join);

struct Gathered<O> {
    operator: Option<O>,
    out: Box<dyn RowSink>,
}

impl<O: Operator> RowSink for Gathered<O> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.operator.as_mut().expect("not finished yet").push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.operator.take().expect("finished once").finish(self.out.as_mut())?;
        self.out.finish()
    }
}
