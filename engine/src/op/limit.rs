//! Counting operators: limit and offset, dealing rows out, and the partition of a hash.

use crate::{Result, RowSink, Val};

/// Passes on at most `n` rows after the first `offset`. Whole only where all rows of the collection come by; before that, a
/// task may cut what it sends there to the first `offset + n` rows of its own ([`Limit::ahead`]).
#[derive(Debug)]
pub struct Limit<S> {
    skip: u64,
    left: u64,
    sink: S,
}

impl<S: RowSink> Limit<S> {
    /// A limit over the whole collection.
    pub fn new(n: u64, offset: u64, sink: S) -> Limit<S> {
        Limit { skip: offset, left: n, sink }
    }

    /// What one of several tasks need send on at most.
    pub fn ahead(n: u64, offset: u64, sink: S) -> Limit<S> {
        Limit { skip: 0, left: n.saturating_add(offset), sink }
    }
}

impl<S: RowSink> RowSink for Limit<S> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.sink.push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.sink.finish()
    }

    fn wants_more(&self) -> bool {
        self.left > 0 && self.sink.wants_more()
    }
}

/// Deals rows out to partitions one by one, each task beginning with another partition.
#[derive(Clone, Copy, Debug)]
pub struct RoundRobin {
    next: usize,
    partitions: usize,
}

impl RoundRobin {
    /// The dealer of one task.
    ///
    /// # Panics
    /// Without partitions.
    #[must_use]
    pub fn new(task: usize, partitions: usize) -> RoundRobin {
        assert!(partitions > 0, "rows cannot be dealt out to no partitions");
        RoundRobin { next: task % partitions, partitions }
    }

    /// The next row's partition.
    #[must_use]
    pub fn deal(&mut self) -> usize {
        let dealt = self.next;
        self.next = if dealt + 1 == self.partitions { 0 } else { dealt + 1 };
        dealt
    }
}

/// The partition of a key's hash: its high bits decide, so that partitions of 2n are halves of those of n.
#[inline]
#[must_use]
pub fn partition(hash: u64, partitions: usize) -> usize {
    ((u128::from(hash) * partitions as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::trial::{Collected, decode};

    /// What passes a limit over 0, 1, 2, ... 9, and after how many rows it wants no more.
    fn check(n: u64, offset: u64, expected: &[i64], asked: i64) {
        let mut limit = Limit::new(n, offset, Collected::default());
        let mut row = 0;
        while row < 10 && limit.wants_more() {
            limit.push(&[Val::Int(row)]).unwrap();
            row += 1;
        }
        let found: Vec<i64> = limit.sink.rows.iter().map(|row| if let Val::Int(i) = decode(row)[0] { i } else { -1 }).collect();
        assert_eq!((found.as_slice(), row), (expected, asked));
    }

    #[test]
    fn a_limit_passes_exactly_its_rows_and_stops_asking() {
        check(3, 0, &[0, 1, 2], 3);
        check(3, 2, &[2, 3, 4], 5);
        check(3, 8, &[8, 9], 10);
        check(3, 20, &[], 10);
        check(0, 2, &[], 0);
        check(u64::MAX, 0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10);
    }

    #[test]
    fn rows_are_dealt_out_evenly_from_a_tasks_own_partition_on() {
        let mut dealer = RoundRobin::new(4, 3);
        assert_eq!((0..5).map(|_| dealer.deal()).collect::<Vec<_>>(), [1, 2, 0, 1, 2]);
    }

    #[test]
    fn every_hash_has_one_partition_and_partitions_refine() {
        for i in 0..1000_u64 {
            let hash = crate::key::hash(&i.to_be_bytes());
            assert_eq!(partition(hash, 1), 0);
            assert_eq!(partition(hash, 14) / 2, partition(hash, 7));
        }
    }
}
