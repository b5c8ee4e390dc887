//! The merge of sorted runs, or of a range of them, with a bounded number of runs open at once.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Allowance;
use super::sorted_run::{RowOrder, RunWriter, SortedRun, Ties, surely_before};
use crate::{Batch, BatchReader, Result, RowScratch, Val, codec, key};

/// Takes a row and its encoded sort key; false ends the merge.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[Val<'_>]) -> Result<bool> + 'v;

/// Rows whose place is at least `lower` and below `upper`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range<'r> {
    pub(super) lower: Option<&'r [u8]>,
    pub(super) upper: Option<&'r [u8]>,
}

/// Merges a range of runs, in several passes where there are more than may be open at once.
pub(super) fn merge(
    runs: &[&SortedRun],
    order: &RowOrder,
    range: Range<'_>,
    allowance: &Allowance,
    visit: &mut Visit<'_>,
) -> Result<()> {
    if runs.len() <= allowance.fan_in() {
        return merge_once(runs, order, range, allowance, visit);
    }
    let mut merged = Vec::new();
    for some in runs.chunks(allowance.fan_in()) {
        let mut writer = RunWriter::new(order, allowance);
        merge_once(some, order, range, allowance, &mut |_, row| writer.push(row).map(|()| true))?;
        merged.push(writer.finish()?);
    }
    merge(&merged.iter().collect::<Vec<_>>(), order, Range::default(), allowance, visit)
}

fn merge_once(
    runs: &[&SortedRun],
    order: &RowOrder,
    range: Range<'_>,
    allowance: &Allowance,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let mut source = Source { order, allowance, range, scratch: RowScratch::default(), place: Vec::new() };
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        let mut cursor = Cursor::open(run, range.lower);
        cursor.seek(&mut source)?;
        if !cursor.done {
            cursors.push(cursor);
        }
    }
    let mut tree = LoserTree::new(cursors, order.ties);
    while let Some(cursor) = tree.winner() {
        if !cursor.visit(&mut source, visit)? {
            return Ok(());
        }
        cursor.advance(&mut source)?;
        tree.replay();
    }
    Ok(())
}

/// What all cursors of a merge share.
struct Source<'r> {
    order: &'r RowOrder,
    allowance: &'r Allowance,
    range: Range<'r>,
    scratch: RowScratch,
    place: Vec<u8>,
}

/// A run being read: its current row is `batch.bytes[at..next]`.
struct Cursor<'r> {
    run: &'r SortedRun,
    reader: BatchReader<'r>,
    batch: Arc<Batch>,
    /// The index of `batch` in the run, plus one.
    batches: usize,
    at: usize,
    next: usize,
    done: bool,
    /// Whether the batch may hold rows behind the range.
    near_end: bool,
    prefix: u64,
    key: Vec<u8>,
    /// The whole row, encoded, once a tie has asked for it.
    whole: Vec<u8>,
}

impl<'r> Cursor<'r> {
    /// A cursor before the first row of the last batch with nothing of the range before it.
    fn open(run: &'r SortedRun, lower: Option<&[u8]>) -> Cursor<'r> {
        let first = lower.and_then(|lower| run.firsts.iter().rposition(|first| surely_before(first, lower))).unwrap_or(0);
        Cursor {
            run,
            reader: run.log.reader_from(first),
            batch: Arc::default(),
            batches: first,
            at: 0,
            next: 0,
            done: false,
            near_end: false,
            prefix: 0,
            key: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// Moves to the first row of the range.
    fn seek(&mut self, source: &mut Source<'_>) -> Result<()> {
        self.advance(source)?;
        let Some(lower) = source.range.lower else { return Ok(()) };
        while !self.done && self.place(source)?.as_slice() < lower {
            self.advance(source)?;
        }
        Ok(())
    }

    /// Moves to the next row, or sets `done`.
    fn advance(&mut self, source: &mut Source<'_>) -> Result<()> {
        if self.next == self.batch.bytes.len() && !self.next_batch(source.range.upper)? {
            self.done = true;
            return Ok(());
        }
        self.at = self.next;
        self.key.clear();
        self.whole.clear();
        let mut row = source.scratch.take();
        let mut input = &self.batch.bytes[self.at..];
        codec::read_row(&mut input, &mut row)?;
        self.next = self.batch.bytes.len() - input.len();
        key::encode_order(&row, &source.order.by, &mut self.key).map_err(|error| source.allowance.no_column(&row, error))?;
        source.scratch.give(row);
        self.prefix = prefix(&self.key);
        if let (true, Some(upper)) = (self.near_end, source.range.upper) {
            self.done = self.place(source)?.as_slice() >= upper;
        }
        Ok(())
    }

    fn next_batch(&mut self, upper: Option<&[u8]>) -> Result<bool> {
        let begins_behind = |upper: &[u8]| self.run.firsts.get(self.batches).is_some_and(|first| first.as_slice() >= upper);
        if upper.is_some_and(begins_behind) {
            return Ok(false);
        }
        let Some(batch) = self.reader.next_batch()? else { return Ok(false) };
        (self.batch, self.at, self.next) = (batch, 0, 0);
        self.batches += 1;
        let following = self.run.firsts.get(self.batches);
        self.near_end = upper.is_some_and(|upper| !following.is_some_and(|first| surely_before(first, upper)));
        Ok(true)
    }

    /// The place of the current row.
    fn place<'s>(&self, source: &'s mut Source<'_>) -> Result<&'s Vec<u8>> {
        source.place.clear();
        let mut row = source.scratch.take();
        codec::read_row(&mut &self.batch.bytes[self.at..], &mut row)?;
        source.order.place(&row, &mut source.place).map_err(|error| source.allowance.no_column(&row, error))?;
        source.scratch.give(row);
        Ok(&source.place)
    }

    fn visit(&self, source: &mut Source<'_>, visit: &mut Visit<'_>) -> Result<bool> {
        let mut row = source.scratch.take();
        codec::read_row(&mut &self.batch.bytes[self.at..], &mut row)?;
        let more = visit(&self.key, &row)?;
        source.scratch.give(row);
        Ok(more)
    }

    fn encoded(&self) -> &[u8] {
        &self.batch.bytes[self.at..self.next]
    }

    fn row(&self) -> Vec<Val<'_>> {
        let mut row = Vec::new();
        codec::read_row(&mut self.encoded(), &mut row).expect("the row was read when the cursor came to it");
        row
    }

    fn encode_whole(&mut self) {
        if self.whole.is_empty() {
            let mut whole = std::mem::take(&mut self.whole);
            key::encode_row(&self.row(), &mut whole);
            self.whole = whole;
        }
    }
}

/// The first eight bytes of a key, to compare most pairs without looking further.
pub(super) fn prefix(key: &[u8]) -> u64 {
    if let Some(bytes) = key.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(bytes)
}

/// A tournament of cursors: finds the smallest of k in log k comparisons per row.
struct LoserTree<'r> {
    cursors: Vec<Cursor<'r>>,
    /// At 0 the winner, at each other node the loser of the match played there.
    nodes: Vec<usize>,
    ties: Ties,
}

/// A node that no cursor has come to yet.
const EMPTY: usize = usize::MAX;

impl<'r> LoserTree<'r> {
    fn new(cursors: Vec<Cursor<'r>>, ties: Ties) -> LoserTree<'r> {
        let count = cursors.len();
        let mut tree = LoserTree { cursors, nodes: vec![EMPTY; count.max(1)], ties };
        for at in 0..count {
            tree.enter(at);
        }
        tree
    }

    fn enter(&mut self, mut climber: usize) {
        let mut node = (climber + self.cursors.len()) / 2;
        while node > 0 {
            if self.nodes[node] == EMPTY {
                self.nodes[node] = climber;
                return;
            }
            climber = self.play(node, climber);
            node /= 2;
        }
        self.nodes[0] = climber;
    }

    /// The cursor at the smallest row, unless all are done.
    fn winner(&mut self) -> Option<&mut Cursor<'r>> {
        let at = *self.nodes.first()?;
        self.cursors.get_mut(at).filter(|cursor| !cursor.done)
    }

    /// Finds the new winner after the last one has moved.
    fn replay(&mut self) {
        let mut climber = self.nodes[0];
        let mut node = (climber + self.cursors.len()) / 2;
        while node > 0 {
            climber = self.play(node, climber);
            node /= 2;
        }
        self.nodes[0] = climber;
    }

    /// Leaves the loser at the node, returns the winner.
    fn play(&mut self, node: usize, climber: usize) -> usize {
        let resident = self.nodes[node];
        if self.is_before(resident, climber) {
            self.nodes[node] = climber;
            return resident;
        }
        climber
    }

    fn is_before(&mut self, a: usize, b: usize) -> bool {
        let (left, right) = (&self.cursors[a], &self.cursors[b]);
        let order =
            left.done.cmp(&right.done).then_with(|| left.prefix.cmp(&right.prefix)).then_with(|| left.key.cmp(&right.key));
        match order {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => self.break_tie(a, b).then(a.cmp(&b)).is_lt(),
        }
    }

    fn break_tie(&mut self, a: usize, b: usize) -> Ordering {
        if self.ties == Ties::Any || self.cursors[a].done || self.cursors[a].encoded() == self.cursors[b].encoded() {
            return Ordering::Equal;
        }
        self.cursors[a].encode_whole();
        self.cursors[b].encode_whole();
        let (a, b) = (&self.cursors[a], &self.cursors[b]);
        a.whole.cmp(&b.whole).then_with(|| key::compare_rows_exact(&a.row(), &b.row()))
    }
}
