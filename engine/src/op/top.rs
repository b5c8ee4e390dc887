//! The first `n` rows by an order: keeps little more than `n` rows in memory, and runs of at most `n` where that is too many.

use plan::Order;

use super::merge::{self, Range};
use super::sort_buffer::SortBuffer;
use super::sorted_run::{RowOrder, SortedRun, Ties};
use super::{Allowance, Emitter};
use crate::{Result, RowSink, Val};

/// How many rows more than needed are gathered before the needed ones are picked.
const SLACK: usize = 4096;

/// Keeps the first `n` rows; ties by the whole row ascending, then by representation.
#[derive(Debug)]
pub struct Top {
    order: RowOrder,
    n: usize,
    allowance: Allowance,
    buffer: SortBuffer,
    /// A sort key behind which no row can be among the first `n`.
    bound: Option<Vec<u8>>,
    runs: Vec<SortedRun>,
}

impl Top {
    /// Nothing yet.
    #[must_use]
    pub fn new(by: &[Order], n: u64, allowance: Allowance) -> Top {
        let order = RowOrder { by: by.to_vec(), ties: Ties::Row };
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        Top { order, n, allowance, buffer: SortBuffer::new(), bound: None, runs: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`crate::Error::Step`] for a row without a sort field, [`crate::Error::Spill`].
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let pushed = self.buffer.push(row, &self.order, self.bound.as_deref());
        pushed.map_err(|error| self.allowance.no_column(row, error))?;
        let crowded = self.buffer.len() >= self.n.saturating_mul(2).saturating_add(SLACK);
        if crowded || self.buffer.bytes() >= self.allowance.budget / 2 { self.pick() } else { Ok(()) }
    }

    /// Drops what is not among the first `n`; moves the rest out of memory if it is much.
    fn pick(&mut self) -> Result<()> {
        self.sort_and_cut()?;
        if self.buffer.bytes() >= self.allowance.budget / 4 { self.flush() } else { Ok(()) }
    }

    fn sort_and_cut(&mut self) -> Result<()> {
        self.buffer.sort(self.order.ties)?;
        if self.buffer.len() >= self.n {
            let last = self.buffer.truncate(self.n);
            // The buffer's last row may lie behind the bound that an earlier run has set.
            self.bound = match (self.bound.take(), last) {
                (Some(bound), Some(last)) => Some(bound.min(last)),
                (bound, last) => bound.or(last),
            };
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.len() > 0 {
            self.runs.push(self.buffer.write_run(&self.order, &self.allowance)?);
        }
        Ok(())
    }

    /// Pushes the first `n` rows, in order.
    ///
    /// # Errors
    /// As for `push`, and what the sink returns.
    pub fn finish(mut self, sink: &mut dyn RowSink) -> Result<()> {
        self.sort_and_cut()?;
        let mut emitter = Emitter::new(sink);
        if self.runs.is_empty() {
            return self.buffer.for_each(|row| emitter.push(row));
        }
        self.flush()?;
        let runs: Vec<&SortedRun> = self.runs.iter().collect();
        let mut left = self.n;
        merge::merge(&runs, &self.order, Range::default(), &self.allowance, &mut |_, row| {
            left -= 1;
            Ok(emitter.push(row)? && left > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::op::sort::Sorter;
    use crate::op::trial::{Collected, Trial, budget, orders, push_all, rows};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn top_is_the_beginning_of_the_sorted_rows(input in rows(2..=3, 120), by in orders(2), budget in budget(), n in 0_u64..130) {
            let trial = Trial::with(budget);
            let (mut top, mut found) = (Top::new(&by, n, trial.allowance()), Collected::default());
            push_all(&input, |row| top.push(row));
            top.finish(&mut found).unwrap();
            let (mut sorter, mut expected) = (Sorter::new(&by, trial.allowance()), Collected::default());
            push_all(&input, |row| sorter.push(row));
            sorter.finish(&mut expected).unwrap();
            expected.rows.truncate(n as usize);
            prop_assert_eq!(found.rows, expected.rows);
        }
    }

    #[test]
    fn a_small_top_of_many_rows_holds_few() {
        let trial = Trial::with(1 << 20);
        let mut top = Top::new(&[Order { column: 0, descending: true }], 3, trial.allowance());
        for i in 0..200_000 {
            top.push(&[Val::Int(i * 7 % 200_000)]).unwrap();
            assert!(top.buffer.len() <= SLACK + 6);
        }
        assert!(top.runs.is_empty());
        let mut found = Collected::default();
        top.finish(&mut found).unwrap();
        assert_eq!(found.rows.len(), 3);
        assert_eq!(crate::op::trial::decode(&found.rows[0]), [Val::Int(199_999)]);
    }
}
