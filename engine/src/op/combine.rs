//! Hash aggregation: before the shuffle (a full table is flushed as partial rows) and behind it (a full table is spilled).
//!
//! Partial rows are private to the two: what [`MapCombine`] hands out, [`ReduceCombine::push_partial`] takes.

use std::fmt;

use plan::{Key, Order, Values};

use super::accumulator::Method;
use super::groups::Groups;
use super::merge::{self, Range};
use super::sorted_run::{RowOrder, SortedRun};
use super::top::Top;
use super::{Allowance, OperatorError};
use crate::fold::Folder;
use crate::{Error, Result, RowSink, Val, key};

/// Takes a partial row, keyed, with the hash of its key.
pub type Partials<'p> = dyn FnMut(u64, &[Val<'_>]) -> Result<()> + 'p;

/// Takes a result row of a fold.
pub type Results<'r> = dyn FnMut(usize, &[Val<'_>]) -> Result<()> + 'r;

/// One fold of a combine: [`plan::Fold`] with its function compiled.
pub enum FoldSpec {
    Lua(Box<dyn Folder>),
    Count,
    Smallest,
    Top { by: Vec<Order>, n: u64 },
}

impl fmt::Debug for FoldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FoldSpec::Lua(_) => "Lua",
            FoldSpec::Count => "Count",
            FoldSpec::Smallest => "Smallest",
            FoldSpec::Top { .. } => "Top",
        })
    }
}

/// The folds of a combine, those that share a table and those that keep rows of their own.
#[derive(Debug)]
struct Parts {
    allowance: Allowance,
    groups: Option<Groups>,
    /// Which fold each of the table's is.
    grouped: Vec<usize>,
    tops: Vec<(usize, Top)>,
}

impl Parts {
    fn new(key: Key, values: Values, folds: Vec<FoldSpec>, allowance: Allowance) -> Parts {
        let (mut methods, mut grouped, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        for (at, fold) in folds.into_iter().enumerate() {
            let method = match fold {
                FoldSpec::Lua(folder) => Method::Lua(folder),
                FoldSpec::Count => Method::Count,
                FoldSpec::Smallest => Method::Smallest,
                FoldSpec::Top { by, n } => {
                    tops.push((at, Top::new(&by, n, allowance.clone())));
                    continue;
                }
            };
            methods.push(method);
            grouped.push(at);
        }
        let groups = (!methods.is_empty()).then(|| Groups::new(key, values, methods));
        Parts { allowance, groups, grouped, tops }
    }

    /// Whether partial rows need to say which part they belong to.
    fn are_tagged(&self) -> bool {
        usize::from(self.groups.is_some()) + self.tops.len() > 1
    }

    /// What the partial rows of the table begin with.
    fn tag(&self) -> &'static [Val<'static>] {
        if self.are_tagged() { &[Val::Int(0)] } else { &[] }
    }

    /// Hands a row on as the partial row that it alone would make.
    #[inline]
    fn pass(&mut self, row: &[Val<'_>], out: &mut Partials<'_>) -> Result<()> {
        for (_, top) in &mut self.tops {
            top.push(row)?;
        }
        let tag = self.tag();
        match &mut self.groups {
            Some(groups) => groups.pass(tag, row, &self.allowance, out),
            None => Ok(()),
        }
    }

    #[inline]
    fn push_raw(&mut self, row: &[Val<'_>]) -> Result<()> {
        for (_, top) in &mut self.tops {
            top.push(row)?;
        }
        match &mut self.groups {
            Some(groups) => groups.push_raw(row, &self.allowance),
            None => Ok(()),
        }
    }

    fn push_partial(&mut self, row: &[Val<'_>]) -> Result<()> {
        let (part, row) = match row {
            [Val::Int(part), row @ ..] if self.are_tagged() => (*part as usize, row),
            _ if self.are_tagged() => return Err(Error::Corrupt("a partial row without its part")),
            _ => (usize::from(self.groups.is_none()), row),
        };
        match (part.checked_sub(1), &mut self.groups) {
            (None, Some(groups)) => groups.push_partial(row, &self.allowance),
            (Some(top), _) if top < self.tops.len() => self.tops[top].1.push(row),
            _ => Err(Error::Corrupt("a partial row of an unknown part")),
        }
    }
}

/// The combine before the shuffle. Where keys seldom come again, a table only costs time: then rows go on as they are, each as
/// a partial row of its own, and now and then it is tried again.
#[derive(Debug)]
pub struct MapCombine {
    parts: Parts,
    /// Rows in the table.
    folded: usize,
    /// With so many groups in a table it is asked for the first time whether the table is worth it.
    first: usize,
    /// With so many groups it is asked next.
    ask_at: usize,
    /// So many of the next rows go on as they are.
    passing: usize,
}

/// A table of fewer groups stays in a cache, and is small to shuffle.
const MANY_GROUPS: usize = 16 << 10;
/// The same where rows are shuffled over a network, which is slower than any table.
const FAR_GROUPS: usize = 512 << 10;
/// The table is worth it if its groups have so many rows on average.
const WORTH: usize = 2;
/// After a table that was not worth it, so many times its rows pass.
const PATIENCE: usize = 16;

impl MapCombine {
    /// An empty table over raw rows of a [`plan::Group::ByKey`] with this key and these values.
    #[must_use]
    pub fn new(key: Key, values: Values, folds: Vec<FoldSpec>, allowance: Allowance) -> MapCombine {
        let parts = Parts::new(key, values, folds, allowance);
        MapCombine { parts, folded: 0, first: MANY_GROUPS, ask_at: MANY_GROUPS, passing: 0 }
    }

    /// For rows that go over a network: only a large table is asked whether it is worth it.
    #[must_use]
    pub fn far(self) -> MapCombine {
        MapCombine { first: FAR_GROUPS, ask_at: FAR_GROUPS, ..self }
    }

    /// Folds a row in; when the table is full or not worth it, hands out partial rows, each with the hash of its key.
    ///
    /// # Errors
    /// [`Error::Step`] for a row without a key field, what a function raised, and what `out` returns.
    #[inline]
    pub fn push(&mut self, row: &[Val<'_>], out: &mut Partials<'_>) -> Result<()> {
        if self.passing > 0 {
            self.passing -= 1;
            return self.parts.pass(row, out);
        }
        self.parts.push_raw(row)?;
        self.folded += 1;
        let Parts { groups: Some(groups), allowance, .. } = &mut self.parts else { return Ok(()) };
        if groups.is_over(allowance.budget) {
            return self.flush(out);
        }
        if groups.len() >= self.ask_at { self.judge(out) } else { Ok(()) }
    }

    #[cold]
    fn judge(&mut self, out: &mut Partials<'_>) -> Result<()> {
        if self.ask_at * WORTH <= self.folded {
            self.ask_at *= 2;
            return Ok(());
        }
        self.passing = self.folded.saturating_mul(PATIENCE);
        self.flush(out)
    }

    fn flush(&mut self, out: &mut Partials<'_>) -> Result<()> {
        let tag = self.parts.tag();
        if let Some(groups) = &mut self.parts.groups {
            groups.emit_partials(tag, out)?;
            groups.clear();
        }
        (self.folded, self.ask_at) = (0, self.first);
        Ok(())
    }

    /// Hands out what is left.
    ///
    /// # Errors
    /// As for `push`.
    pub fn finish(mut self, out: &mut Partials<'_>) -> Result<()> {
        self.flush(out)?;
        let tagged = self.parts.are_tagged();
        for (at, (_, top)) in self.parts.tops.into_iter().enumerate() {
            let tag = tagged.then_some(Val::Int(at as i64 + 1));
            top.finish(&mut Tagged { tag, out })?;
        }
        Ok(())
    }
}

/// Hands a top's rows on as partial rows: all in one group.
struct Tagged<'o, 'p> {
    tag: Option<Val<'static>>,
    out: &'o mut Partials<'p>,
}

impl RowSink for Tagged<'_, '_> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let hash = key::hash(&[]);
        let Some(tag) = self.tag else { return (self.out)(hash, row) };
        let mut tagged = Vec::with_capacity(row.len() + 1);
        tagged.push(tag);
        tagged.extend_from_slice(row);
        (self.out)(hash, &tagged)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The combine behind the shuffle, over one partition.
#[derive(Debug)]
pub struct ReduceCombine {
    parts: Parts,
    order: RowOrder,
    runs: Vec<SortedRun>,
}

impl ReduceCombine {
    /// An empty table for what a [`MapCombine`] of the same arguments hands out, or for raw rows.
    #[must_use]
    pub fn new(key: Key, values: Values, folds: Vec<FoldSpec>, allowance: Allowance) -> ReduceCombine {
        let parts = Parts::new(key, values, folds, allowance);
        let order = RowOrder::by_leading(parts.groups.as_ref().map_or(0, Groups::lead));
        ReduceCombine { parts, order, runs: Vec::new() }
    }

    /// Folds a partial row in.
    ///
    /// # Errors
    /// What a function raised, [`Error::Spill`], [`Error::Corrupt`] for a row that no [`MapCombine`] made.
    pub fn push_partial(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.parts.push_partial(row)?;
        self.spill_if_full()
    }

    /// Folds a raw row in, as [`MapCombine::push`] does.
    ///
    /// # Errors
    /// [`Error::Step`] for a row without a key field, and as for `push_partial`.
    pub fn push_raw(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.parts.push_raw(row)?;
        self.spill_if_full()
    }

    /// Hands out the results of the keys pushed so far, of which no more rows come, where they need not wait for others.
    ///
    /// # Errors
    /// As for `finish`.
    pub fn settle(&mut self, out: &mut Results<'_>) -> Result<()> {
        let Parts { groups: Some(groups), tops, grouped, .. } = &mut self.parts else { return Ok(()) };
        if tops.is_empty() && self.runs.is_empty() {
            groups.emit_results(&mut |at, row| out(grouped[at], row))?;
            groups.clear();
        }
        Ok(())
    }

    fn spill_if_full(&mut self) -> Result<()> {
        let Parts { groups: Some(groups), allowance, .. } = &mut self.parts else { return Ok(()) };
        if !groups.is_over(allowance.budget) {
            return Ok(());
        }
        if let Some((key, bytes)) = groups.only_group()? {
            // It must fit: spilling it would not make it smaller.
            let too_large = OperatorError::ValuesTooLarge { key, bytes };
            return if bytes > allowance.budget { Err(Error::in_step(&allowance.step, too_large)) } else { Ok(()) };
        }
        self.runs.push(groups.spill(&self.order, allowance)?);
        Ok(())
    }

    /// Hands out the result rows of each fold, by its position among the folds; of a top in order, of others in any order.
    ///
    /// # Errors
    /// As for `push_partial`, and what `out` returns.
    pub fn finish(mut self, out: &mut Results<'_>) -> Result<()> {
        let grouped = std::mem::take(&mut self.parts.grouped);
        if self.runs.is_empty() {
            if let Some(groups) = self.parts.groups.take() {
                groups.emit_results(&mut |at, row| out(grouped[at], row))?;
            }
        } else {
            self.merge_runs(&mut |at, row| out(grouped[at], row))?;
        }
        for (at, top) in self.parts.tops {
            top.finish(&mut Numbered { at, out })?;
        }
        Ok(())
    }

    /// Equal keys are adjacent in the merged runs: the table is emptied between two keys whenever it is full.
    fn merge_runs(&mut self, out: &mut Results<'_>) -> Result<()> {
        let Parts { groups: Some(groups), allowance, .. } = &mut self.parts else { return Ok(()) };
        if groups.len() > 0 {
            self.runs.push(groups.spill(&self.order, allowance)?);
        }
        groups.reset();
        let runs: Vec<&SortedRun> = self.runs.iter().collect();
        let mut last = Vec::new();
        merge::merge(&runs, &self.order, Range::default(), allowance, &mut |key, row| {
            if key != last.as_slice() {
                if groups.is_block(allowance.budget) {
                    groups.emit_results(out)?;
                    groups.clear();
                }
                last.clear();
                last.extend_from_slice(key);
            }
            groups.push_spilled(row).map(|()| true)
        })?;
        groups.emit_results(out)
    }
}

/// Hands a top's rows on as results of its fold.
struct Numbered<'o, 'r> {
    at: usize,
    out: &'o mut Results<'r>,
}

impl RowSink for Numbered<'_, '_> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        (self.out)(self.at, row)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
