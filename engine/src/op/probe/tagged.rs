//! A shuffled join that became a broadcast: the rows of its small legs, which were tagged and shuffled already, in one table, and
//! the tagged rows of the large leg that look them up.

use std::sync::Arc;

use plan::JoinKind;

use super::{Found, Prober};
use crate::op::gather::Chains;
use crate::op::group::Legs;
use crate::op::product::Shape;
use crate::op::table::Probe;
use crate::op::{Allowance, Emitter};
use crate::{Error, Result, RowScratch, RowSink, Val, codec};

/// The small legs, by key. Built once, read by any number of tasks.
#[derive(Debug)]
pub(crate) struct TaggedTable {
    legs: Legs,
    shape: Shape,
    big: usize,
    chains: Chains,
    budget: usize,
}

impl TaggedTable {
    /// No rows yet. A leg that is missing for a key is padded to its width.
    pub(crate) fn new(kind: JoinKind, big: usize, key_fields: usize, widths: Vec<usize>, allowance: &Allowance) -> TaggedTable {
        let legs = Legs { legs: widths.len(), key_fields };
        TaggedTable { chains: Chains::new(legs.legs), legs, shape: Shape { kind, widths }, big, budget: allowance.budget }
    }

    /// Adds a tagged row of a small leg; false if the table has become larger than a task may hold.
    pub(crate) fn push(&mut self, row: &[Val<'_>]) -> Result<bool> {
        let (leg, fields, values) = self.legs.split(row)?;
        if leg == self.big {
            return Err(Error::Plan("the large side of a join was shuffled before the others were measured".to_owned()));
        }
        self.chains.probe.set_fields(fields);
        self.chains.push(leg, |out| codec::write_row(out, fields), |out| codec::write_row(out, values));
        Ok(self.chains.bytes() <= self.budget)
    }

    /// Whether all keys are shown as they are, whatever equal keys the large leg has.
    pub(crate) fn is_plain(&self) -> bool {
        self.chains.all_plain
    }

    /// Whether rows of the large leg that find nothing are in the result.
    pub(crate) fn keeps_unmatched(&self) -> bool {
        self.shape.keeps(|leg| leg == self.big)
    }
}

/// Looks rows of the large leg up; one per task.
#[derive(Debug)]
pub(crate) struct TaggedProbe {
    table: Arc<TaggedTable>,
    probe: Probe,
    prober: Prober,
    keys: RowScratch,
}

impl TaggedProbe {
    pub(crate) fn new(table: Arc<TaggedTable>) -> TaggedProbe {
        let prober = Prober::new(table.legs.legs);
        TaggedProbe { table, probe: Probe::default(), prober, keys: RowScratch::default() }
    }

    /// Pushes what a tagged row joins to; false if no small leg has its key, and nothing was pushed.
    pub(crate) fn push(&mut self, row: &[Val<'_>], sink: &mut dyn RowSink) -> Result<bool> {
        let table = &*self.table;
        let (_, fields, values) = table.legs.split(row)?;
        self.probe.set_fields(fields);
        let Some(entry) = table.chains.table.find(&self.probe) else { return Ok(false) };
        let found = Found { chains: &table.chains, group: Some(&entry.value), leg: table.big, values: Some(values) };
        let mut emitter = Emitter::new(sink);
        if self.probe.plain {
            self.prober.emit(&table.shape, &found, fields, &mut emitter)?;
        } else {
            // The table's keys are plain: of equal ones they are what shows.
            let prober = &mut self.prober;
            table.chains.table.with_key(entry, &mut self.keys, |shown| prober.emit(&table.shape, &found, shown, &mut emitter))?;
        }
        Ok(true)
    }
}
