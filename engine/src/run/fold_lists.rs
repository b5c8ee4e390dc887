//! A `combine` on a group that had to be materialized: folds the lists, as an ordinary step over (key fields, list).

use plan::{Fold, Node};

use crate::fold::Folder;
use crate::{Error, Result, RowBuf, RowScratch, RowSink, Val, codec, function};

use super::chain::Chain;

/// Folds each row's list.
pub(crate) struct FoldLists {
    folder: Box<dyn Folder>,
    scratch: RowScratch,
    accumulator: RowBuf,
    folded: RowBuf,
    out: Box<dyn RowSink>,
}

impl FoldLists {
    /// The stage for a combine node.
    pub(crate) fn new(chain: &Chain<'_>, node: &Node, fold: &Fold) -> Result<FoldLists> {
        let Fold::Lua(_) = fold else {
            return Err(Error::Plan(format!("the fold of step {:?} is separated from its group", node.step)));
        };
        Ok(FoldLists {
            folder: function::folder(node, chain.ctx, &chain.job.sides(node)?)?,
            scratch: RowScratch::default(),
            accumulator: RowBuf::default(),
            folded: RowBuf::default(),
            out: chain.collection(node.outputs[0])?,
        })
    }

    fn fold_item(&mut self, first: bool, item: &[Val<'_>]) -> Result<()> {
        if first {
            self.accumulator.clear();
            self.accumulator.extend(item);
            return Ok(());
        }
        self.folded.clear();
        let (folder, folded) = (&mut self.folder, &mut self.folded);
        self.accumulator.with(&mut self.scratch, |accumulator| folder.fold(accumulator, item, folded))?;
        std::mem::swap(&mut self.accumulator, &mut self.folded);
        Ok(())
    }
}

impl RowSink for FoldLists {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let Some((&Val::List(items), key)) = row.split_last() else {
            return Err(Error::Corrupt("a group has no list"));
        };
        let mut items = items;
        for at in 0..codec::read_array_header(&mut items)? {
            // An item is a list where the row had several values, but also where its one value was a list.
            let is_row = codec::is_row_item(items);
            match codec::read_val(&mut items)? {
                Val::List(mut values) if is_row => {
                    let mut item = Vec::new();
                    codec::read_row(&mut values, &mut item)?;
                    self.fold_item(at == 0, &item)?;
                }
                value => self.fold_item(at == 0, &[value])?,
            }
        }
        let mut whole = RowBuf::default();
        whole.extend(key);
        whole.extend(&self.accumulator.iter().collect::<Vec<_>>());
        whole.with(&mut self.scratch, |row| self.out.push(row))
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }
}
