//! Rows in memory, to be sorted: an arena of encoded keys and rows, and an index of key prefixes into it.

use std::ops::Range;

use super::sorted_run::{RowOrder, RunWriter, SortedRun, Ties};
use super::{Allowance, merge};
use crate::key::{self, ColumnError};
use crate::{Result, Val, codec};

/// What precedes a row in the arena: the lengths of its key and of itself.
const HEADER: usize = 16;

/// A row's place in the arena, with eight bytes of its key.
#[derive(Clone, Copy, Debug)]
struct Entry {
    prefix: u64,
    at: usize,
}

/// Rows to be sorted.
#[derive(Debug)]
pub(super) struct SortBuffer {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// How many leading bytes all keys have in common, and the length of the longest key.
    common: usize,
    longest: usize,
}

impl SortBuffer {
    pub(super) fn new() -> SortBuffer {
        SortBuffer { arena: Vec::new(), entries: Vec::new(), common: usize::MAX, longest: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Bytes of the keys and rows alone.
    pub(super) fn content_bytes(&self) -> usize {
        self.arena.len() - self.entries.len() * HEADER
    }

    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        (self.common, self.longest) = (usize::MAX, 0);
    }

    /// Adds a row, unless its sort key lies behind `bound`.
    pub(super) fn push(&mut self, row: &[Val<'_>], order: &RowOrder, bound: Option<&[u8]>) -> Result<(), ColumnError> {
        let at = self.arena.len();
        let start = at + HEADER;
        self.arena.resize(start, 0);
        key::encode_order(row, &order.by, &mut self.arena)?;
        if bound.is_some_and(|bound| &self.arena[start..] > bound) {
            self.arena.truncate(at);
            return Ok(());
        }
        let key_len = self.arena.len() - start;
        codec::write_row(&mut self.arena, row);
        let row_len = self.arena.len() - start - key_len;
        self.arena[at..at + 8].copy_from_slice(&(key_len as u64).to_le_bytes());
        self.arena[at + 8..start].copy_from_slice(&(row_len as u64).to_le_bytes());
        self.entries.push(Entry { prefix: 0, at });
        self.longest = self.longest.max(key_len);
        self.common = self.common.min(common_prefix(self.key(0), self.key(at), self.common));
        Ok(())
    }

    fn len_at(&self, at: usize) -> usize {
        u64::from_le_bytes(self.arena[at..at + 8].try_into().expect("eight bytes")) as usize
    }

    fn key(&self, at: usize) -> &[u8] {
        &self.arena[at + HEADER..at + HEADER + self.len_at(at)]
    }

    /// The encoded row.
    fn row(&self, at: usize) -> &[u8] {
        let start = at + HEADER + self.len_at(at);
        &self.arena[start..start + self.len_at(at + 8)]
    }

    fn decoded(&self, at: usize) -> Result<Vec<Val<'_>>> {
        let mut row = Vec::new();
        codec::read_row(&mut self.row(at), &mut row)?;
        Ok(row)
    }

    /// Sorts the rows.
    pub(super) fn sort(&mut self, ties: Ties) -> Result<()> {
        let mut entries = std::mem::take(&mut self.entries);
        let common = self.common;
        for entry in &mut entries {
            entry.prefix = merge::prefix(&self.key(entry.at)[common..]);
        }
        // No encoded key is a prefix of another: two that agree up to the end of one are the same.
        if self.longest <= common.saturating_add(8) {
            entries.sort_unstable_by_key(|entry| entry.prefix);
        } else {
            let rest = |entry: &Entry| self.key(entry.at).get(common + 8..).unwrap_or_default();
            entries.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| rest(a).cmp(rest(b))));
        }
        if ties == Ties::Row {
            for equals in entries.chunk_by_mut(|a, b| a.prefix == b.prefix && self.key(a.at) == self.key(b.at)) {
                self.break_ties(equals)?;
            }
        }
        self.entries = entries;
        Ok(())
    }

    /// Sorts rows with one sort key by their whole encoding, then by representation.
    fn break_ties(&self, equals: &mut [Entry]) -> Result<()> {
        if equals.len() < 2 || equals.iter().all(|entry| self.row(entry.at) == self.row(equals[0].at)) {
            return Ok(());
        }
        let (mut wholes, mut keyed, mut common) = (Vec::new(), Vec::with_capacity(equals.len()), usize::MAX);
        let mut row = Vec::new();
        for entry in equals.iter() {
            let start = wholes.len();
            row.clear();
            codec::read_row(&mut self.row(entry.at), &mut row)?;
            key::encode_row(&row, &mut wholes);
            let first = keyed.first().map_or(start..wholes.len(), |(_, first, _): &(u64, Range<usize>, usize)| first.clone());
            common = common_prefix(&wholes[first], &wholes[start..], common);
            keyed.push((0, start..wholes.len(), entry.at));
        }
        for (prefix, whole, _) in &mut keyed {
            *prefix = merge::prefix(&wholes[whole.clone()][common..]);
        }
        let row = |at| self.decoded(at).expect("the row was decoded just above");
        keyed.sort_unstable_by(|(a_prefix, a, a_at), (b_prefix, b, b_at)| {
            let wholes = || wholes[a.clone()].cmp(&wholes[b.clone()]);
            a_prefix.cmp(b_prefix).then_with(wholes).then_with(|| {
                if self.row(*a_at) == self.row(*b_at) {
                    return std::cmp::Ordering::Equal;
                }
                key::compare_rows_exact(&row(*a_at), &row(*b_at))
            })
        });
        for (entry, (_, _, at)) in equals.iter_mut().zip(keyed) {
            entry.at = at;
        }
        Ok(())
    }

    /// Calls `f` for each row, in order once sorted; false ends it.
    pub(super) fn for_each(&self, mut f: impl FnMut(&[Val<'_>]) -> Result<bool>) -> Result<()> {
        let mut row = Vec::new();
        for entry in &self.entries {
            row.clear();
            codec::read_row(&mut self.row(entry.at), &mut row)?;
            if !f(&row)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes the sorted rows into a run and clears the buffer.
    pub(super) fn write_run(&mut self, order: &RowOrder, allowance: &Allowance) -> Result<SortedRun> {
        let mut writer = RunWriter::new(order, allowance);
        for entry in &self.entries {
            writer.push_encoded(self.row(entry.at), || self.decoded(entry.at))?;
        }
        let run = writer.finish()?;
        self.clear();
        Ok(run)
    }

    /// Keeps the first `n` of the sorted rows; returns the sort key of the last one kept.
    pub(super) fn truncate(&mut self, n: usize) -> Option<Vec<u8>> {
        self.entries.truncate(n);
        let mut arena = Vec::with_capacity(self.arena.len() / 2);
        for entry in &mut self.entries {
            let len = |at: usize| u64::from_le_bytes(self.arena[at..at + 8].try_into().expect("eight bytes")) as usize;
            let end = entry.at + HEADER + len(entry.at) + len(entry.at + 8);
            let kept = &self.arena[entry.at..end];
            entry.at = arena.len();
            arena.extend_from_slice(kept);
        }
        self.arena = arena;
        self.entries.last().map(|last| self.key(last.at).to_vec())
    }
}

/// How many of the first `most` bytes two keys have in common.
fn common_prefix(a: &[u8], b: &[u8], most: usize) -> usize {
    a.iter().zip(b).take(most).take_while(|(a, b)| a == b).count()
}
