//! The rows of one key of a join: every combination of its legs, in blocks, so that no leg needs to fit into memory.

use plan::JoinKind;

use super::gather::Collector;
use super::{Allowance, Emitter};
use crate::{Batch, BatchLog, Error, Result, RowScratch, RowSink, Val, codec};

/// Which keys are kept, and how wide a missing leg is.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) kind: JoinKind,
    /// Value fields of each leg.
    pub(super) widths: Vec<usize>,
}

impl Shape {
    /// Whether a key with rows in these legs is kept.
    pub(super) fn keeps(&self, has: impl Fn(usize) -> bool) -> bool {
        match self.kind {
            JoinKind::Inner => (0..self.widths.len()).all(has),
            JoinKind::Left => has(0),
            JoinKind::Right => has(self.widths.len() - 1),
            JoinKind::Full => true,
        }
    }
}

/// Some rows of a leg, decoded.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    pub(super) values: Vec<Val<'a>>,
    /// Where each row ends.
    pub(super) ends: Vec<usize>,
}

impl<'a> Block<'a> {
    /// A block in reused allocations.
    pub(super) fn reuse(scratch: &mut BlockScratch) -> Block<'a> {
        Block { values: scratch.values.take(), ends: std::mem::take(&mut scratch.ends) }
    }

    /// Gives the allocations back.
    pub(super) fn give_back(mut self, scratch: &mut BlockScratch) {
        scratch.values.give(self.values);
        self.ends.clear();
        scratch.ends = self.ends;
    }

    /// Adds an encoded row.
    pub(super) fn add(&mut self, mut row: &'a [u8]) -> Result<()> {
        self.add_next(&mut row)
    }

    /// Adds a row.
    pub(super) fn add_values(&mut self, values: &[Val<'a>]) {
        self.values.extend_from_slice(values);
        self.ends.push(self.values.len());
    }

    fn add_next(&mut self, rows: &mut &'a [u8]) -> Result<()> {
        codec::read_row(rows, &mut self.values)?;
        self.ends.push(self.values.len());
        Ok(())
    }

    fn add_all(&mut self, mut rows: &'a [u8]) -> Result<()> {
        while !rows.is_empty() {
            self.add_next(&mut rows)?;
        }
        Ok(())
    }

    /// Adds the row of a missing leg.
    pub(super) fn add_nils(&mut self, width: usize) {
        self.values.resize(self.values.len() + width, Val::Nil);
        self.ends.push(self.values.len());
    }

    fn rows(&self) -> impl Iterator<Item = &[Val<'a>]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.values[start..*end])
    }
}

/// Allocations for blocks.
#[derive(Debug, Default)]
pub(super) struct BlockScratch {
    values: RowScratch,
    ends: Vec<usize>,
}

/// Pushes `row` (a key) with every combination of rows of the blocks; false if no more are wanted.
pub(super) fn combine<'a>(row: &mut Vec<Val<'a>>, blocks: &[&Block<'a>], emitter: &mut Emitter<'_>) -> Result<bool> {
    let Some((block, others)) = blocks.split_first() else { return emitter.push(row) };
    let len = row.len();
    for values in block.rows() {
        row.extend_from_slice(values);
        let more = combine(row, others, emitter)?;
        row.truncate(len);
        if !more {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rows of one leg of the current key: the last ones in memory, those before in a log.
#[derive(Debug, Default)]
struct Leg {
    open: Batch,
    log: Option<BatchLog>,
    scratch: BlockScratch,
}

/// Joins the rows of one key after the other.
pub(super) struct Products<'s> {
    shape: Shape,
    legs: Vec<Leg>,
    allowance: Allowance,
    emitter: Emitter<'s>,
    scratch: RowScratch,
}

impl<'s> Products<'s> {
    pub(super) fn new(shape: Shape, allowance: Allowance, sink: &'s mut dyn RowSink) -> Products<'s> {
        let legs = shape.widths.iter().map(|_| Leg::default()).collect();
        Products { shape, legs, allowance, emitter: Emitter::new(sink), scratch: RowScratch::default() }
    }

    /// Legs with logs: block by block of the first, for each of them block by block of the second, and so on.
    fn combine_logs(&mut self, key: &[Val<'_>]) -> Result<bool> {
        for leg in &mut self.legs {
            if let Some(log) = &mut leg.log {
                log.append(std::mem::take(&mut leg.open))?;
                self.allowance.seal(log)?;
            }
        }
        combine_blocks(key, &self.legs, &self.shape.widths, &mut Vec::new(), &mut self.emitter)
    }

    fn combine_in_memory(&mut self, key: &[Val<'_>]) -> Result<bool> {
        let mut scratches: Vec<BlockScratch> = self.legs.iter_mut().map(|leg| std::mem::take(&mut leg.scratch)).collect();
        let mut blocks = Vec::with_capacity(self.legs.len());
        for ((leg, scratch), width) in self.legs.iter().zip(&mut scratches).zip(&self.shape.widths) {
            let mut block = Block::reuse(scratch);
            leg.fill(&mut block, *width)?;
            blocks.push(block);
        }
        let mut row = self.scratch.take();
        row.extend_from_slice(key);
        let more = combine(&mut row, &blocks.iter().collect::<Vec<_>>(), &mut self.emitter)?;
        self.scratch.give(row);
        for (block, scratch) in blocks.into_iter().zip(&mut scratches) {
            block.give_back(scratch);
        }
        for (leg, scratch) in self.legs.iter_mut().zip(scratches) {
            leg.scratch = scratch;
        }
        Ok(more)
    }
}

impl Leg {
    fn has_rows(&self) -> bool {
        self.open.rows > 0 || self.log.is_some()
    }

    fn fill<'a>(&'a self, block: &mut Block<'a>, width: usize) -> Result<()> {
        block.add_all(&self.open.bytes)?;
        if block.ends.is_empty() {
            block.add_nils(width);
        }
        Ok(())
    }
}

fn combine_blocks<'a>(
    key: &[Val<'a>],
    legs: &'a [Leg],
    widths: &[usize],
    chosen: &mut Vec<&Block<'a>>,
    emitter: &mut Emitter<'_>,
) -> Result<bool> {
    let Some((leg, others)) = legs.split_first() else {
        return combine(&mut key.to_vec(), chosen, emitter);
    };
    let Some(log) = &leg.log else {
        let mut block = Block::default();
        leg.fill(&mut block, widths[0])?;
        return combine_blocks(key, others, &widths[1..], &mut with(chosen, &block), emitter);
    };
    let mut reader = log.reader();
    while let Some(batch) = reader.next_batch()? {
        let mut block = Block::default();
        block.add_all(&batch.bytes)?;
        if !combine_blocks(key, others, &widths[1..], &mut with(chosen, &block), emitter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The blocks with one more, all for as long as the shortest-lived of them.
fn with<'b, 'a>(chosen: &[&'b Block<'a>], block: &'b Block<'a>) -> Vec<&'b Block<'a>> {
    let mut more = chosen.to_vec();
    more.push(block);
    more
}

impl Collector for Products<'_> {
    fn add(&mut self, leg: usize, values: &[u8]) -> Result<()> {
        let share = self.allowance.batch_bytes().max(self.allowance.budget / (4 * self.legs.len()));
        let leg = self.legs.get_mut(leg).ok_or(Error::Corrupt("a row of an unknown leg"))?;
        leg.open.bytes.extend_from_slice(values);
        leg.open.rows += 1;
        // A block is decoded while it is combined, which takes some times its size.
        if leg.open.bytes.len() >= if leg.log.is_some() { self.allowance.batch_bytes() } else { share } {
            let log = leg.log.get_or_insert_with(|| self.allowance.log());
            log.append(std::mem::take(&mut leg.open))?;
        }
        Ok(())
    }

    fn end(&mut self, key: &[Val<'_>]) -> Result<bool> {
        let mut more = true;
        if self.shape.keeps(|leg| self.legs[leg].has_rows()) {
            let in_memory = self.legs.iter().all(|leg| leg.log.is_none());
            more = if in_memory { self.combine_in_memory(key)? } else { self.combine_logs(key)? };
        }
        for leg in &mut self.legs {
            leg.log = None;
            leg.open.rows = 0;
            leg.open.bytes.clear();
        }
        Ok(more)
    }
}
