//! The join of n legs over one partition: a hash table of all rows; where those are too many, of all but the largest leg's,
//! whose rows then probe it; where even those are too many, the merge of sorted runs.

use plan::JoinKind;

pub(crate) use streamed::StreamedJoin;

use super::gather::{Gather, KeyShape};
use super::group::Legs;
use super::probe::{Found, Prober};
use super::product::{Products, Shape};
use super::table::Probe;
use super::{Allowance, Emitter};
use crate::{BatchLog, Result, RowScratch, RowSink, Val, codec};

/// Joins tagged rows (leg, key fields, values): key fields, then the values of each leg, every combination per key.
#[derive(Debug)]
pub struct Join {
    legs: Legs,
    shape: Shape,
    gather: Gather,
    /// Bytes of each leg in the table.
    bytes: Vec<usize>,
    /// The leg that is not in the table, and its rows: key fields, then values.
    logged: Option<(usize, BatchLog)>,
}

impl Join {
    /// No rows yet. A leg that is missing for a key is padded with nils to its width (its number of value fields).
    #[must_use]
    pub fn new(kind: JoinKind, key_fields: usize, widths: Vec<usize>, allowance: Allowance) -> Join {
        let legs = Legs { legs: widths.len(), key_fields };
        let gather = Gather::new(legs.legs, KeyShape::Fields(key_fields), allowance);
        Join { legs, bytes: vec![0; legs.legs], shape: Shape { kind, widths }, gather, logged: None }
    }

    /// Adds a tagged row.
    ///
    /// # Errors
    /// [`crate::Error::Spill`]; [`crate::Error::Corrupt`] for a row that is not tagged.
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let (leg, fields, _) = self.legs.split(row)?;
        if let Some((logged, log)) = &mut self.logged
            && *logged == leg
        {
            log.push(&row[1..])?;
            return self.keep_plain(fields.len(), row);
        }
        let before = self.gather.chains.bytes();
        self.legs.push(row, &mut self.gather)?;
        self.bytes[leg] += self.gather.chains.bytes().saturating_sub(before);
        if self.logged.is_some() && !self.gather.chains.all_plain {
            return self.unlog();
        }
        if self.gather.is_full() { self.make_room() } else { Ok(()) }
    }

    /// Rows in the log are joined one by one: how a key is shown must not depend on the rows that come later.
    fn keep_plain(&mut self, fields: usize, row: &[Val<'_>]) -> Result<()> {
        let probe = &mut self.gather.chains.probe;
        probe.set_fields(&row[1..=fields]);
        if probe.plain { Ok(()) } else { self.unlog() }
    }

    fn make_room(&mut self) -> Result<()> {
        let largest = (0..self.bytes.len()).max_by_key(|leg| self.bytes[*leg]).unwrap_or(0);
        let total: usize = self.bytes.iter().sum();
        let pays = self.bytes[largest] > total / 2;
        match &self.logged {
            None if pays && self.gather.runs.is_empty() && self.gather.chains.all_plain => self.log_leg(largest),
            None => self.gather.spill(),
            Some(_) => self.unlog(),
        }
    }

    /// Moves a leg's rows out of the table into a log.
    fn log_leg(&mut self, logged: usize) -> Result<()> {
        let legs = self.legs.legs;
        let fresh = Gather::new(legs, KeyShape::Fields(self.legs.key_fields), self.gather.allowance.clone());
        let old = std::mem::replace(&mut self.gather, fresh);
        let mut log = self.gather.allowance.log();
        let mut keys = RowScratch::default();
        for entry in old.chains.table.iter() {
            old.chains.table.with_key(entry, &mut keys, |fields| {
                let mut row = vec![Val::Nil];
                row.extend_from_slice(fields);
                for leg in 0..legs {
                    for values in old.chains.rows(&entry.value, leg) {
                        row.truncate(1 + fields.len());
                        row[0] = Val::Int(leg as i64);
                        codec::read_row(&mut &values[..], &mut row)?;
                        if leg == logged { log.push(&row[1..])? } else { self.legs.push(&row, &mut self.gather)? }
                    }
                }
                Ok(())
            })?;
        }
        self.bytes[logged] = 0;
        self.logged = Some((logged, log));
        Ok(())
    }

    /// Gives the log up: from now on, all rows go to sorted runs.
    fn unlog(&mut self) -> Result<()> {
        let Some((leg, mut log)) = self.logged.take() else { return Ok(()) };
        self.gather.allowance.seal(&mut log)?;
        self.gather.spill()?;
        let (mut reader, mut scratch) = (log.reader(), RowScratch::default());
        let mut tagged = RowScratch::default();
        while let Some(batch) = reader.next_batch()? {
            batch.for_each(&mut scratch, |row| {
                let mut with_leg = tagged.take();
                with_leg.push(Val::Int(leg as i64));
                with_leg.extend_from_slice(row);
                self.legs.push(&with_leg, &mut self.gather)?;
                tagged.give(with_leg);
                if self.gather.is_full() { self.gather.spill() } else { Ok(()) }
            })?;
        }
        self.gather.spill()
    }

    /// Pushes the joined rows.
    ///
    /// # Errors
    /// As for `push`, and what the sink returns.
    pub fn finish(mut self, sink: &mut dyn RowSink) -> Result<()> {
        let Some((leg, mut log)) = self.logged.take() else {
            let mut products = Products::new(self.shape, self.gather.allowance.clone(), sink);
            return self.gather.finish(&mut products);
        };
        self.gather.allowance.seal(&mut log)?;
        let mut probing = Probing::new(&self, leg, sink);
        if probing.probe_all(&log)? { probing.emit_unmatched() } else { Ok(()) }
    }
}

/// One leg's rows probing the table of the others.
struct Probing<'j, 's> {
    join: &'j Join,
    leg: usize,
    /// Which groups of the table a row has met.
    matched: Vec<bool>,
    emitter: Emitter<'s>,
    prober: Prober,
}

impl<'j, 's> Probing<'j, 's> {
    fn new(join: &'j Join, leg: usize, sink: &'s mut dyn RowSink) -> Probing<'j, 's> {
        let matched = vec![false; join.gather.chains.len()];
        Probing { join, leg, matched, emitter: Emitter::new(sink), prober: Prober::new(join.legs.legs) }
    }

    /// False if the sink wants no more.
    fn probe_all(&mut self, log: &BatchLog) -> Result<bool> {
        let (mut reader, mut scratch, mut probe) = (log.reader(), RowScratch::default(), Probe::default());
        let mut more = true;
        while let Some(batch) = reader.next_batch()? {
            batch.for_each(&mut scratch, |row| {
                if more {
                    more = self.probe(row, &mut probe)?;
                }
                Ok(())
            })?;
            if !more {
                break;
            }
        }
        Ok(more)
    }

    fn probe(&mut self, row: &[Val<'_>], probe: &mut Probe) -> Result<bool> {
        let (fields, values) = row.split_at(self.join.legs.key_fields);
        probe.set_fields(fields);
        let group = self.join.gather.chains.table.find(probe).map(|entry| &entry.value);
        if let Some(group) = group {
            self.matched[group.number as usize] = true;
        }
        let found = Found { chains: &self.join.gather.chains, group, leg: self.leg, values: Some(values) };
        self.prober.emit(&self.join.shape, &found, fields, &mut self.emitter)
    }

    /// Keys of the table that no row has met.
    fn emit_unmatched(&mut self) -> Result<()> {
        let (chains, mut keys) = (&self.join.gather.chains, RowScratch::default());
        for entry in chains.table.iter().filter(|entry| !self.matched[entry.value.number as usize]) {
            let found = Found { chains, group: Some(&entry.value), leg: self.leg, values: None };
            let (prober, emitter) = (&mut self.prober, &mut self.emitter);
            let emit = |fields: &[Val<'_>]| prober.emit(&self.join.shape, &found, fields, emitter);
            if !chains.table.with_key(entry, &mut keys, emit)? {
                break;
            }
        }
        Ok(())
    }
}

mod streamed;
#[cfg(test)]
pub(in crate::op) mod tests;
