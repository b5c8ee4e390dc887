//! A fold over lists that are made already: behind a groupBy whose lists are materialized.

use super::Allowance;
use super::accumulator::{Arena, Cell, Fold, Item, Method};
use crate::fold::Folder;
use crate::{Error, Result, RowScratch, RowSink, Val, codec};

/// Folds the list at the end of each row: key fields, then the values folded pairwise.
#[derive(Debug)]
pub struct ListFold {
    fold: Fold,
    /// Value fields of an item, where known.
    width: Option<usize>,
    arena: Arena,
    cells: Vec<Cell>,
    items: RowScratch,
    rows: RowScratch,
    allowance: Allowance,
}

impl ListFold {
    /// Folds by a Lua function. An item that is a list stands for several value fields, unless `width` says that there is one.
    #[must_use]
    pub fn new(folder: Box<dyn Folder>, width: Option<usize>, allowance: Allowance) -> ListFold {
        let fold = Fold::new(Method::Lua(folder), 0);
        let cells = vec![Cell::Empty; fold.cells];
        let (arena, items, rows) = (Arena::default(), RowScratch::default(), RowScratch::default());
        ListFold { fold, width, arena, cells, items, rows, allowance }
    }

    /// Folds a row's list and pushes the result; an empty list gives none.
    ///
    /// # Errors
    /// [`Error::Step`] if the row does not end with a list, what the function raised, and what the sink returns.
    pub fn push(&mut self, row: &[Val<'_>], sink: &mut dyn RowSink) -> Result<()> {
        let Some((Val::List(mut list), key)) = row.split_last().map(|(last, key)| (*last, key)) else {
            return Err(self.no_list(row));
        };
        self.cells.fill(Cell::Empty);
        self.arena.clear();
        let count = codec::read_array_header(&mut list)?;
        for _ in 0..count {
            let item = codec::read_val(&mut list)?;
            let mut values = self.items.take();
            match item {
                Val::List(mut encoded) if self.width != Some(1) => codec::read_row(&mut encoded, &mut values)?,
                _ => values.push(item),
            }
            self.fold.absorb(&mut self.cells, Item::Values(&values), &mut self.arena)?;
            self.items.give(values);
        }
        if count == 0 {
            return Ok(());
        }
        let mut out = self.rows.take();
        out.extend_from_slice(key);
        self.fold.read(&self.cells, &self.arena.rows, &mut out)?;
        sink.push(&out)?;
        self.rows.give(out);
        Ok(())
    }

    #[cold]
    fn no_list(&self, row: &[Val<'_>]) -> Error {
        let source = "a combine needs rows that end with a list".into();
        Error::Step { step: self.allowance.step.clone(), origin: None, row: Some(codec::preview(row)), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowBuf;
    use crate::Value;
    use crate::fold::Shortcut;
    use crate::op::trial::{Collected, Trial, decode, encode, encode_vals};

    /// Keeps the longer row, of equal ones the first.
    struct Longer;

    impl Folder for Longer {
        fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
            out.extend(if row.len() > acc.len() { row } else { acc });
            Ok(())
        }

        fn shortcuts(&self) -> Option<&[Shortcut]> {
            None
        }
    }

    fn check(width: Option<usize>, items: Vec<Value>, expected: &[Vec<Val<'_>>]) {
        let trial = Trial::with(1 << 20);
        let (mut fold, mut collected) = (ListFold::new(Box::new(Longer), width, trial.allowance()), Collected::default());
        let row = encode(&[Value::Str(b"key".to_vec()), Value::List(items)]);
        fold.push(&decode(&row), &mut collected).unwrap();
        fold.push(&decode(&row), &mut collected).unwrap();
        let expected: Vec<Vec<u8>> = expected.iter().map(|row| encode_vals(row)).collect();
        assert_eq!(collected.rows, [&expected[..], &expected[..]].concat());
    }

    #[test]
    fn the_items_of_a_list_are_folded_as_rows() {
        let pair = || Value::List(vec![Value::Int(1), Value::Int(2)]);
        let key = Val::Str(b"key");
        check(None, vec![Value::Int(7), pair(), Value::Nil], &[vec![key, Val::Int(1), Val::Int(2)]]);
        check(None, vec![Value::Int(7)], &[vec![key, Val::Int(7)]]);
        check(Some(1), vec![Value::Int(7), pair()], &[vec![key, Val::Int(7)]]);
        check(None, vec![], &[]);
    }

    #[test]
    fn a_row_without_a_list_is_an_error() {
        let trial = Trial::with(1 << 20);
        let mut fold = ListFold::new(Box::new(Longer), None, trial.allowance());
        for row in [&[][..], &[Val::Nil]] {
            assert!(fold.push(row, &mut Collected::default()).is_err());
        }
    }
}
