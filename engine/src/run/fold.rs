//! Combine nodes made into the folds of a hash table.

use plan::{Fold, Node, Op};

use crate::op::combine::FoldSpec;
use crate::{Error, Result, function};

use super::chain::Chain;

/// The folds of combine nodes that share a group.
pub(crate) fn folds(chain: &Chain<'_>, nodes: &[&Node]) -> Result<Vec<FoldSpec>> {
    nodes.iter().map(|node| fold(chain, node)).collect()
}

fn fold(chain: &Chain<'_>, node: &Node) -> Result<FoldSpec> {
    let Op::Combine(fold) = &node.op else {
        return Err(Error::Plan(format!("step {:?} does not combine", node.step)));
    };
    Ok(match fold {
        Fold::Lua(_) => FoldSpec::Lua(function::folder(node, chain.ctx, &chain.job.sides(node)?)?),
        Fold::Count => FoldSpec::Count,
        Fold::Smallest => FoldSpec::Smallest,
        Fold::Top { by, n } => FoldSpec::Top { by: by.clone(), n: *n },
    })
}
