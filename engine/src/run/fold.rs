//! Combine nodes made into hash tables.

use plan::{Fold, Key, Node, Op, Values};

use crate::op::{CombineSpec, CombineTable, FoldKind};
use crate::{Error, Result, function};

use super::chain::Chain;

/// A table that folds the values of each key with every one of `nodes`.
pub(crate) fn table(chain: &Chain<'_>, nodes: &[&Node], key: &Key, values: Values) -> Result<CombineTable> {
    let folds = nodes.iter().map(|node| fold(chain, node)).collect::<Result<Vec<_>>>()?;
    let step = nodes.first().map(|node| node.step.clone()).unwrap_or_default();
    Ok(CombineTable::new(CombineSpec { step, key: key.clone(), values, folds }, std::rc::Rc::clone(chain.ctx)))
}

fn fold(chain: &Chain<'_>, node: &Node) -> Result<FoldKind> {
    let Op::Combine(fold) = &node.op else {
        return Err(Error::Plan(format!("step {:?} does not combine", node.step)));
    };
    Ok(match fold {
        Fold::Lua(_) => FoldKind::Function(function::folder(node, chain.ctx, &chain.job.sides(node)?)?),
        Fold::Count => FoldKind::Count,
        Fold::Smallest => FoldKind::Smallest,
        Fold::Top { by, n } => FoldKind::Top { by: by.clone(), n: *n },
    })
}
