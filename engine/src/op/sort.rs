//! The external sort: sorted runs where they are made, merged where they are wanted, whole or range by range.

use plan::Order;

use super::merge::{self, Range};
use super::sort_buffer::SortBuffer;
use super::sorted_run::{RowOrder, RunWriter, SortedRun, Ties};
use super::{Allowance, Emitter};
use crate::{Batch, Result, RowScratch, RowSink, Val};

/// Larger buffers than this are not worth their cache misses: merging runs costs less.
const LARGEST_BUFFER: usize = 64 << 20;

/// So many runs, each opened by each range, take longer than a merge of them.
const MANY_OPENED: usize = 1 << 12;

/// Sorts rows by an order; ties by the whole row ascending, then by representation.
#[derive(Debug)]
pub struct Sorter {
    order: RowOrder,
    allowance: Allowance,
    buffer: SortBuffer,
    runs: Vec<SortedRun>,
}

impl Sorter {
    /// An empty sorter.
    #[must_use]
    pub fn new(by: &[Order], allowance: Allowance) -> Sorter {
        Sorter { order: whole_order(by), allowance, buffer: SortBuffer::new(), runs: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`crate::Error::Step`] for a row without a sort field, [`crate::Error::Spill`].
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.buffer.push(row, &self.order, None).map_err(|error| self.allowance.no_column(row, error))?;
        // Breaking ties needs as much again, at worst.
        let most = (self.allowance.budget / 2).min(LARGEST_BUFFER);
        if self.buffer.bytes() >= most { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.len() > 0 {
            self.buffer.sort(self.order.ties)?;
            self.runs.push(self.buffer.write_run(&self.order, &self.allowance)?);
        }
        Ok(())
    }

    /// Pushes all rows in order.
    ///
    /// # Errors
    /// As for `push`, and what the sink returns.
    pub fn finish(mut self, sink: &mut dyn RowSink) -> Result<()> {
        if !self.runs.is_empty() {
            let Sorter { order, allowance, .. } = &self;
            let (order, allowance) = (order.clone(), allowance.clone());
            let runs = self.into_runs()?;
            return merge_all(&runs, &order, Range::default(), &allowance, sink);
        }
        self.buffer.sort(self.order.ties)?;
        let mut emitter = Emitter::new(sink);
        self.buffer.for_each(|row| emitter.push(row))
    }

    /// The rows as sorted runs, for [`merge_range`].
    ///
    /// # Errors
    /// As for `push`.
    pub fn into_runs(mut self) -> Result<Vec<SortedRun>> {
        self.flush()?;
        Ok(self.runs)
    }
}

fn whole_order(by: &[Order]) -> RowOrder {
    RowOrder { by: by.to_vec(), ties: Ties::Row }
}

/// Where many small runs are to be read in many ranges, the one run that they make together: else each range would open each run.
///
/// # Errors
/// [`crate::Error::Spill`].
pub(crate) fn fewer_runs(runs: Vec<SortedRun>, parts: usize, by: &[Order], allowance: &Allowance) -> Result<Vec<SortedRun>> {
    let batches: usize = runs.iter().map(SortedRun::batches).sum();
    if runs.len().saturating_mul(parts) < MANY_OPENED || batches > 2 * runs.len() {
        return Ok(runs);
    }
    let order = whole_order(by);
    let bytes: usize = runs.iter().map(SortedRun::bytes).sum();
    let mut writer = RunWriter::new(&order, allowance).with_batches_of(bytes / parts.max(1));
    merge::merge(&runs.iter().collect::<Vec<_>>(), &order, Range::default(), allowance, &mut |_, row| {
        writer.push(row).map(|()| true)
    })?;
    Ok(vec![writer.finish()?])
}

/// Places that cut runs into at most `parts` ranges of about the same size: range `i` lies between bounds `i - 1` and `i`.
/// Equal rows are never cut apart.
#[must_use]
pub fn splitters(runs: &[SortedRun], parts: usize) -> Vec<Vec<u8>> {
    plan::schedule::bounds(runs.iter().flat_map(|run| &run.firsts).collect(), parts)
}

/// Pushes the rows of the runs of a [`Sorter`] by `by`, in order, from place `lower` on (inclusive) to `upper` (exclusive).
///
/// # Errors
/// [`crate::Error::Spill`], and what the sink returns.
pub fn merge_range(
    runs: &[SortedRun],
    by: &[Order],
    (lower, upper): (Option<&[u8]>, Option<&[u8]>),
    allowance: &Allowance,
    sink: &mut dyn RowSink,
) -> Result<()> {
    merge_all(runs, &whole_order(by), Range { lower, upper }, allowance, sink)
}

/// A run put together of frames that came from elsewhere, for [`merge_range`].
///
/// # Errors
/// What the frames say; [`crate::Error::Corrupt`] for damaged ones; [`crate::Error::Spill`].
pub(crate) fn run_of(frames: impl Iterator<Item = Result<Batch>>, by: &[Order], allowance: &Allowance) -> Result<SortedRun> {
    let order = whole_order(by);
    let mut writer = RunWriter::new(&order, allowance);
    let mut scratch = RowScratch::default();
    for frame in frames {
        writer.append(frame?, &mut scratch)?;
    }
    writer.finish()
}

fn merge_all(
    runs: &[SortedRun],
    order: &RowOrder,
    range: Range<'_>,
    allowance: &Allowance,
    sink: &mut dyn RowSink,
) -> Result<()> {
    let runs: Vec<&SortedRun> = runs.iter().collect();
    let mut emitter = Emitter::new(sink);
    merge::merge(&runs, order, range, allowance, &mut |_, row| emitter.push(row))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::key;
    use crate::op::trial::{Collected, Trial, budget, decode, orders, push_all, rows};

    /// The same, slowly.
    fn naive(input: &[Vec<u8>], by: &[Order]) -> Vec<Vec<u8>> {
        let mut sorted = input.to_vec();
        sorted.sort_by(|a, b| {
            let (a, b) = (decode(a), decode(b));
            let fields = by.iter().map(|order| {
                let (a, b) = (a[order.column as usize], b[order.column as usize]);
                if order.descending { key::compare(b, a) } else { key::compare(a, b) }
            });
            fields.fold(Ordering::Equal, Ordering::then).then_with(|| key::compare_rows_exact(&a, &b))
        });
        sorted
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn rows_come_out_in_order_whatever_the_budget(input in rows(2..=3, 120), by in orders(2), budget in budget()) {
            let trial = Trial::with(budget);
            let (mut sorter, mut collected) = (Sorter::new(&by, trial.allowance()), Collected::default());
            push_all(&input, |row| sorter.push(row));
            sorter.finish(&mut collected).unwrap();
            prop_assert_eq!(collected.rows, naive(&input, &by));
        }

        #[test]
        fn ranges_of_runs_make_up_the_whole(input in rows(2..=3, 120), by in orders(2), budget in budget(), parts in 1_usize..5) {
            let trial = Trial::with(budget);
            let mut sorters: Vec<Sorter> = (0..3).map(|_| Sorter::new(&by, trial.allowance())).collect();
            let mut turn = (0..3).cycle();
            push_all(&input, |row| sorters[turn.next().unwrap()].push(row));
            let runs: Vec<SortedRun> = sorters.into_iter().flat_map(|sorter| sorter.into_runs().unwrap()).collect();
            let bounds = splitters(&runs, parts);
            prop_assert!(bounds.len() < parts);
            let mut collected = Collected::default();
            for part in 0..=bounds.len() {
                merge_range(&runs, &by, range(&bounds, part), &trial.allowance(), &mut collected).unwrap();
            }
            prop_assert_eq!(collected.rows, naive(&input, &by));
        }
    }

    fn range(bounds: &[Vec<u8>], part: usize) -> (Option<&[u8]>, Option<&[u8]>) {
        (part.checked_sub(1).map(|lower| &bounds[lower][..]), bounds.get(part).map(Vec::as_slice))
    }

    #[test]
    fn many_small_runs_become_one_that_many_ranges_can_be_read_of() {
        let (trial, by) = (Trial::with(1 << 20), [Order { column: 0, descending: true }]);
        let runs: Vec<SortedRun> = (0..200_i64)
            .flat_map(|run| {
                let mut sorter = Sorter::new(&by, trial.allowance());
                (0..5).for_each(|row| sorter.push(&[Val::Int((run * 5 + row) * 7919 % 1000)]).unwrap());
                sorter.into_runs().unwrap()
            })
            .collect();
        let runs = fewer_runs(runs, 10, &by, &trial.allowance()).unwrap();
        assert_eq!(runs.len(), 200, "few ranges");
        let runs = fewer_runs(runs, 100, &by, &trial.allowance()).unwrap();
        assert_eq!((runs.len(), runs[0].rows()), (1, 1000));
        let bounds = splitters(&runs, 100);
        assert!(bounds.len() > 80, "{}", bounds.len());
        let mut collected = Collected::default();
        for part in 0..=bounds.len() {
            merge_range(&runs, &by, range(&bounds, part), &trial.allowance(), &mut collected).unwrap();
        }
        let numbers =
            collected.rows.iter().map(|row| if let [Val::Int(number)] = decode(row)[..] { number } else { panic!("{row:?}") });
        assert!(numbers.eq((0..1000).rev()));
    }

    #[test]
    fn many_runs_are_merged_in_several_passes_and_evenly_cut() {
        let trial = Trial::with(128 << 10);
        let by = [Order { column: 0, descending: true }];
        let mut sorter = Sorter::new(&by, trial.allowance());
        for i in 0..60_000_i64 {
            sorter.push(&[Val::Int(i * 7919 % 60_000 / 2), Val::Str(b"some text that takes room"), Val::Int(i)]).unwrap();
        }
        let runs = sorter.into_runs().unwrap();
        assert!(runs.len() > 2 * trial.allowance().fan_in());
        let bounds = splitters(&runs, 4);
        let (mut last, mut total) = (None, 0);
        for part in 0..4 {
            let mut collected = Collected::default();
            merge_range(&runs, &by, range(&bounds, part), &trial.allowance(), &mut collected).unwrap();
            assert!((10_000..20_000).contains(&collected.rows.len()), "{} rows in a quarter", collected.rows.len());
            total += collected.rows.len();
            for row in &collected.rows {
                let [Val::Int(key), _, Val::Int(tie)] = decode(row)[..] else { panic!("{row:?}") };
                assert!(last < Some((-key, tie)));
                last = Some((-key, tie));
            }
        }
        assert_eq!(total, 60_000);
    }

    #[test]
    fn a_missing_sort_field_names_the_step_and_shows_the_row() {
        let trial = Trial::with(1 << 20);
        let mut sorter = Sorter::new(&[Order { column: 1, descending: false }], trial.allowance());
        let error = sorter.push(&[Val::Str(b"alone")]).unwrap_err();
        assert_eq!(error.to_string(), "step \"trial\" failed on row (\"alone\")");
    }
}
