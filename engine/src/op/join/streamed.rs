//! A join whose largest leg is not kept: once all rows of the other legs are in a table, its rows probe them one by one.

use plan::JoinKind;

use crate::op::gather::Chains;
use crate::op::group::Legs;
use crate::op::probe::{Found, Prober};
use crate::op::product::Shape;
use crate::op::{Allowance, Emitter};
use crate::{Result, RowScratch, RowSink, Val, codec};

/// Joins tagged rows with plain keys, some keys after the other: of each the rows of the small legs first.
#[derive(Debug)]
pub(crate) struct StreamedJoin {
    legs: Legs,
    shape: Shape,
    big: usize,
    chains: Chains,
    /// Which groups of the table a row of the large leg has met.
    matched: Vec<bool>,
    prober: Prober,
    keys: RowScratch,
    budget: usize,
}

impl StreamedJoin {
    /// No rows yet. A leg that is missing for a key is padded with nils to its width.
    pub(crate) fn new(kind: JoinKind, big: usize, key_fields: usize, widths: Vec<usize>, allowance: &Allowance) -> StreamedJoin {
        let legs = Legs { legs: widths.len(), key_fields };
        StreamedJoin {
            chains: Chains::new(legs.legs),
            prober: Prober::new(legs.legs),
            legs,
            shape: Shape { kind, widths },
            big,
            matched: Vec::new(),
            keys: RowScratch::default(),
            budget: allowance.budget,
        }
    }

    /// The leg whose rows are not kept.
    pub(crate) fn big(&self) -> usize {
        self.big
    }

    /// Adds a tagged row of a small leg; false if the table has become larger than it may be.
    pub(crate) fn add(&mut self, row: &[Val<'_>]) -> Result<bool> {
        let (leg, fields, values) = self.legs.split(row)?;
        self.chains.probe.set_fields(fields);
        self.chains.push(leg, |out| codec::write_row(out, fields), |out| codec::write_row(out, values));
        Ok(self.chains.bytes() <= self.budget)
    }

    /// Pushes what a tagged row of the large leg joins to; false if no more is wanted.
    pub(crate) fn probe(&mut self, row: &[Val<'_>], sink: &mut dyn RowSink) -> Result<bool> {
        let (_, fields, values) = self.legs.split(row)?;
        self.chains.probe.set_fields(fields);
        let chains = &self.chains;
        let group = chains.table.find(&chains.probe).map(|entry| &entry.value);
        if let Some(group) = group {
            self.matched.resize(chains.len(), false);
            self.matched[group.number as usize] = true;
        }
        let found = Found { chains, group, leg: self.big, values: Some(values) };
        self.prober.emit(&self.shape, &found, fields, &mut Emitter::new(sink))
    }

    /// Pushes the keys that only small legs have, where they are kept, and forgets all keys; false if no more is wanted.
    pub(crate) fn end(&mut self, sink: &mut dyn RowSink) -> Result<bool> {
        let mut more = true;
        if !self.shape.keeps(|leg| leg != self.big) {
            self.clear();
            return Ok(more);
        }
        self.matched.resize(self.chains.len(), false);
        let table = &self.chains.table;
        for entry in table.iter().filter(|entry| !self.matched[entry.value.number as usize]) {
            let found = Found { chains: &self.chains, group: Some(&entry.value), leg: self.big, values: None };
            let (prober, shape) = (&mut self.prober, &self.shape);
            let emit = |fields: &[Val<'_>]| prober.emit(shape, &found, fields, &mut Emitter::new(sink));
            more = table.with_key(entry, &mut self.keys, emit)?;
            if !more {
                break;
            }
        }
        self.clear();
        Ok(more)
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.chains.clear();
        self.matched.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::op::join::tests::{kinds, naive, tagged};
    use crate::op::trial::{Collected, Trial, decode, encode_vals, sorted};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn rows_of_the_large_leg_join_as_if_all_were_kept(
            buckets in prop::collection::vec(prop::collection::vec(0_i64..12, 0..40), 1..3),
            turns in prop::collection::vec(0_i64..3, 1..6),
            (kind, legs, big) in (kinds(), 2_usize..4, 0_usize..3),
        ) {
            let (big, turns): (usize, Vec<i64>) = (big % legs, turns.iter().map(|turn| turn % legs as i64).collect());
            let (shape, trial) = (Shape { kind, widths: (1..=legs).collect() }, Trial::with(1 << 20));
            let mut join = StreamedJoin::new(kind, big, 1, shape.widths.clone(), &trial.allowance());
            let (mut collected, mut expected) = (Collected::default(), Vec::new());
            for (keys, bucket) in buckets.iter().zip(0..) {
                let rows: Vec<Vec<u8>> =
                    keys.iter().zip(0..).map(|(key, at)| encode_vals(&[Val::Int(key + 100 * bucket), Val::Int(at)])).collect();
                let rows = tagged(&rows, &turns);
                let of_big = |row: &&Vec<u8>| decode(row)[0] == Val::Int(big as i64);
                for row in rows.iter().filter(|row| !of_big(row)) {
                    prop_assert!(join.add(&decode(row)).unwrap());
                }
                for row in rows.iter().filter(of_big) {
                    prop_assert!(join.probe(&decode(row), &mut collected).unwrap());
                }
                prop_assert!(join.end(&mut collected).unwrap());
                expected.extend(naive(&rows, &shape, 1));
            }
            prop_assert_eq!(sorted(collected.rows), sorted(expected));
        }
    }

    #[test]
    fn a_table_beyond_its_budget_says_so() {
        let mut join = StreamedJoin::new(JoinKind::Inner, 0, 1, vec![1, 1], &Trial::with(4 << 10).allowance());
        let fits = (0..1000).take_while(|at| join.add(&[Val::Int(1), Val::Int(*at), Val::Nil]).unwrap()).count();
        assert!((10..900).contains(&fits), "{fits}");
    }
}
