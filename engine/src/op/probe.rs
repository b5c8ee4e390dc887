//! The broadcast join: the small legs in one table that tasks share, probed by the rows of the big leg.

use std::sync::Arc;

use plan::JoinKind;

use super::gather::{Chains, Links};
use super::groups::{rest, write_columns, write_rest};
use super::product::{Block, BlockScratch, Shape, combine};
use super::table::Probe;
use super::{Allowance, Emitter, OperatorError};
use crate::{BatchLog, Error, Result, RowScratch, RowSink, Val, codec, key};

/// What a broadcast join is: [`plan::Do::ProbeJoin`].
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    /// Inner; left where the big leg is the first, right where it is the last.
    pub kind: JoinKind,
    /// The leg whose rows probe.
    pub big: usize,
    /// The key columns of each leg.
    pub keys: Vec<Vec<u32>>,
    /// Value fields of each leg, where known; else those of its widest row.
    pub widths: Vec<Option<usize>>,
}

/// The small legs of a broadcast join, by key. Built once, read by any number of tasks.
#[derive(Debug)]
pub struct ProbeTable {
    spec: ProbeSpec,
    shape: Shape,
    chains: Chains,
}

impl ProbeTable {
    /// Builds it from the rows of the small legs, in the order of the legs.
    ///
    /// # Errors
    /// [`Error::Plan`] for a kind that needs all rows of another leg than the big one, [`Error::Step`] for a row without a
    /// key field or legs larger than the budget.
    pub fn build(spec: ProbeSpec, sides: &[&BatchLog], allowance: &Allowance) -> Result<ProbeTable> {
        check(&spec, sides.len())?;
        let mut widths: Vec<usize> = spec.widths.iter().map(|width| width.unwrap_or(0)).collect();
        let mut chains = Chains::new(spec.keys.len());
        let legs = (0..spec.keys.len()).filter(|leg| *leg != spec.big);
        for (leg, side) in legs.zip(sides) {
            let (mut reader, mut scratch, columns) = (side.reader(), RowScratch::default(), &spec.keys[leg]);
            while let Some(batch) = reader.next_batch()? {
                batch.for_each(&mut scratch, |row| {
                    chains.probe.set_columns(row, columns).map_err(|error| allowance.no_column(row, error))?;
                    let values = rest(row, columns).count();
                    if spec.widths[leg].is_none() {
                        widths[leg] = widths[leg].max(values);
                    }
                    chains.push(leg, |out| write_columns(row, columns, out), |out| write_rest(row, columns, out));
                    Ok(())
                })?;
                if chains.bytes() > allowance.budget {
                    return Err(Error::in_step(&allowance.step, OperatorError::SideTooLarge { bytes: chains.bytes() }));
                }
            }
        }
        Ok(ProbeTable { shape: Shape { kind: spec.kind, widths }, spec, chains })
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chains.bytes()
    }
}

fn check(spec: &ProbeSpec, sides: usize) -> Result<()> {
    let legs = spec.keys.len();
    let kind_fits = match spec.kind {
        JoinKind::Inner => true,
        JoinKind::Left => spec.big == 0,
        JoinKind::Right => spec.big + 1 == legs,
        JoinKind::Full => false,
    };
    if spec.widths.len() != legs || spec.big >= legs || sides + 1 != legs {
        return Err(Error::Plan(format!("a broadcast join of {legs} legs has {sides} sides")));
    }
    if kind_fits { Ok(()) } else { Err(Error::Plan(format!("leg {} cannot be the big one of a {:?} join", spec.big, spec.kind))) }
}

/// Probes with the rows of the big leg; one per task.
#[derive(Debug)]
pub struct ProbeJoin {
    table: Arc<ProbeTable>,
    step: String,
    probe: Probe,
    prober: Prober,
    keys: RowScratch,
}

impl ProbeJoin {
    /// A prober of a table.
    #[must_use]
    pub fn new(table: Arc<ProbeTable>, step: String) -> ProbeJoin {
        let prober = Prober::new(table.spec.keys.len());
        ProbeJoin { table, step, probe: Probe::default(), prober, keys: RowScratch::default() }
    }

    /// Pushes what a row of the big leg (as it is, not tagged) joins to.
    ///
    /// # Errors
    /// [`Error::Step`] for a row without a key field, and what the sink returns.
    pub fn push(&mut self, row: &[Val<'_>], sink: &mut dyn RowSink) -> Result<()> {
        let ProbeTable { spec, shape, chains } = &*self.table;
        let columns = &spec.keys[spec.big];
        self.probe.set_columns(row, columns).map_err(|source| Error::Step {
            step: self.step.clone(),
            origin: None,
            row: Some(codec::preview(row)),
            source: Box::new(source),
        })?;
        let entry = chains.table.find(&self.probe);
        let mut keyed = self.keys.take();
        keyed.extend(columns.iter().map(|column| row[*column as usize]));
        keyed.extend(rest(row, columns));
        let (fields, values) = keyed.split_at(columns.len());
        let found = Found { chains, group: entry.map(|entry| &entry.value), leg: spec.big, values: Some(values) };
        let mut emitter = Emitter::new(sink);
        match entry {
            // Of 4 and 4.0 the integer shows, whichever side has it.
            Some(entry) if !self.probe.plain => {
                chains.table.with_key(entry, &mut RowScratch::default(), |shown| {
                    let smaller = |(a, b): (&Val<'_>, &Val<'_>)| key::compare_exact(*b, *a).is_lt();
                    let picked: Vec<Val<'_>> =
                        fields.iter().zip(shown).map(|pair| if smaller(pair) { *pair.1 } else { *pair.0 }).collect();
                    self.prober.emit(shape, &found, &picked, &mut emitter)
                })?;
            }
            _ => {
                self.prober.emit(shape, &found, fields, &mut emitter)?;
            }
        }
        self.keys.give(keyed);
        Ok(())
    }
}

/// What a probe has found: the rows of a group, and one row of the probing leg or none.
pub(super) struct Found<'f> {
    pub(super) chains: &'f Chains,
    pub(super) group: Option<&'f Links>,
    pub(super) leg: usize,
    pub(super) values: Option<&'f [Val<'f>]>,
}

/// Pushes combinations, with allocations that serve for all of them.
#[derive(Debug)]
pub(super) struct Prober {
    scratches: Vec<BlockScratch>,
    row: RowScratch,
    blocks: usize,
}

impl Prober {
    pub(super) fn new(legs: usize) -> Prober {
        Prober { scratches: (0..legs).map(|_| BlockScratch::default()).collect(), row: RowScratch::default(), blocks: legs }
    }

    /// Pushes what is found, if the key is kept; false if no more is wanted.
    pub(super) fn emit(
        &mut self,
        shape: &Shape,
        found: &Found<'_>,
        fields: &[Val<'_>],
        emitter: &mut Emitter<'_>,
    ) -> Result<bool> {
        let Found { chains, group, leg: probing, values } = *found;
        let in_table = |leg: usize| group.is_some_and(|group| chains.has(group, leg));
        if !shape.keeps(|leg| if leg == probing { values.is_some() } else { in_table(leg) }) {
            return Ok(true);
        }
        if let (2, Some(values)) = (self.blocks, values) {
            return self.emit_pair(shape, found, (fields, values), emitter);
        }
        let mut blocks = Vec::with_capacity(self.blocks);
        for (leg, scratch) in self.scratches.iter_mut().enumerate() {
            let mut block = Block::reuse(scratch);
            match (group, values) {
                (_, Some(values)) if leg == probing => block.add_values(values),
                (Some(group), _) if leg != probing => chains.rows_backwards(group, leg).try_for_each(|row| block.add(row))?,
                _ => {}
            }
            if block.ends.is_empty() {
                block.add_nils(shape.widths[leg]);
            }
            blocks.push(block);
        }
        let mut row = self.row.take();
        row.extend_from_slice(fields);
        let more = combine(&mut row, &blocks.iter().collect::<Vec<_>>(), emitter)?;
        self.row.give(row);
        for (block, scratch) in blocks.into_iter().zip(&mut self.scratches) {
            block.give_back(scratch);
        }
        Ok(more)
    }

    /// One row of the probing leg with each of the one other leg.
    fn emit_pair(
        &mut self,
        shape: &Shape,
        found: &Found<'_>,
        (fields, values): (&[Val<'_>], &[Val<'_>]),
        emitter: &mut Emitter<'_>,
    ) -> Result<bool> {
        let (other, first) = (1 - found.leg, found.leg == 0);
        let mut row = self.row.take();
        row.extend_from_slice(fields);
        if first {
            row.extend_from_slice(values);
        }
        let (before, mut met, mut more) = (row.len(), false, true);
        for mut encoded in found.group.into_iter().flat_map(|group| found.chains.rows_backwards(group, other)) {
            row.truncate(before);
            codec::read_row(&mut encoded, &mut row)?;
            if !first {
                row.extend_from_slice(values);
            }
            met = true;
            more = emitter.push(&row)?;
            if !more {
                break;
            }
        }
        if !met {
            row.resize(before + shape.widths[other], Val::Nil);
            if !first {
                row.extend_from_slice(values);
            }
            more = emitter.push(&row)?;
        }
        self.row.give(row);
        Ok(more)
    }
}

pub(crate) mod tagged;
#[cfg(test)]
mod tests;
