//! How the buckets of a shuffle are shared by reduce tasks, now that their sizes are known; and the rows that a task takes of a
//! bucket that is split.
//!
//! A bucket of several keys is split by key. The rows of one key stay together, but for a join's leg that no other row depends
//! on: its rows are dealt out, and every task gets all rows of the other legs.

use std::sync::{Arc, Mutex};

use plan::schedule::{self, Share};
use plan::task::Leg;
use plan::{Group, Key, NodeId, Op};

use crate::lock::lock;
use crate::shuffle::Kept;
use crate::{Error, Result, RowScratch, RowSink, Val, key};

use super::deal::{Target, key_fields};
use super::job::Job;
use super::reduce::From;
use super::stage::exact_partitions;

/// How a bucket of a group is taken apart.
#[derive(Clone, Debug)]
enum Apart {
    /// Each key by itself.
    ByKey(KeyOf),
    /// The rows of this leg of a join one by one; those of the others go to all.
    ByRow { leg: i64 },
}

/// Where a shuffled row has its key.
#[derive(Clone, Debug)]
enum KeyOf {
    Row(Key),
    /// Behind the tag, so many fields.
    Tagged(usize),
}

/// The rows of one part of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    apart: Apart,
    part: usize,
    of: usize,
}

/// A bucket that several tasks read; each lets go of it when it is done.
pub(crate) type Shared = Mutex<Option<Arc<Vec<Kept>>>>;

/// What the reduce tasks of a shuffle in buckets take, each with its bytes.
pub(super) fn shares(job: &Job, target: &Target) -> Result<Vec<(u64, From)>> {
    let sizes: Vec<u64> = target.shuffle.sizes().iter().map(|size| size.bytes).collect();
    let whole = |range| From::Buckets(Arc::clone(&target.shuffle), range);
    if exact_partitions(job, target.group).is_some() {
        return Ok(sizes.iter().enumerate().map(|(at, bytes)| (*bytes, whole(at..at + 1))).collect());
    }
    let apart = apart(job, target.group, &target.shuffle.legs())?;
    let shares = schedule::share(&sizes, job.task_bytes, job.run.threads, |bucket, wanted| match &apart {
        Some(Apart::ByRow { .. }) => wanted,
        Some(Apart::ByKey(key)) => parts_by_key(target, bucket, key, wanted),
        None => 1,
    });
    let shown = apart.as_ref().map(|apart| match apart {
        Apart::ByKey(_) => schedule::Apart::ByKey,
        Apart::ByRow { leg } => schedule::Apart::ByRow { leg: *leg as usize },
    });
    job.decided(schedule::told_shares(&job.plan, target.group, &sizes, &shares, shown));
    let mut found: Vec<(u64, From)> = Vec::with_capacity(shares.len());
    let mut open: Option<(usize, Arc<Vec<Kept>>)> = None;
    for share in shares {
        found.push(match (share, &apart) {
            (Share::Part { bucket, part, of }, Some(apart)) => {
                let kept = match open.take() {
                    Some((this, kept)) if this == bucket => kept,
                    _ => Arc::new(target.shuffle.take(bucket)),
                };
                open = Some((bucket, Arc::clone(&kept)));
                let part = Part { apart: apart.clone(), part, of };
                (sizes[bucket] / of as u64, From::Part(Mutex::new(Some(kept)), part))
            }
            (Share::Part { bucket, .. }, None) => (sizes[bucket], whole(bucket..bucket + 1)),
            (Share::Buckets(range), _) => (sizes[range.clone()].iter().sum(), whole(range)),
        });
    }
    Ok(found)
}

/// How the buckets of a group can be taken apart; `None`: not at all.
fn apart(job: &Job, group: NodeId, legs: &[Leg]) -> Result<Option<Apart>> {
    Ok(match schedule::apart(&job.plan, group, legs) {
        Some(schedule::Apart::ByKey) => Some(Apart::ByKey(key_of(job, group)?)),
        Some(schedule::Apart::ByRow { leg }) => Some(Apart::ByRow { leg: leg as i64 }),
        None => None,
    })
}

fn key_of(job: &Job, group: NodeId) -> Result<KeyOf> {
    let node = job.plan.graph.node(group);
    match &node.op {
        Op::Group(Group::ByKey { key, .. } | Group::Hash { key }) => Ok(KeyOf::Row(key.clone())),
        Op::Group(Group::ByLeg { .. }) => key_fields(&job.plan, node).map(KeyOf::Tagged),
        _ => Err(Error::Plan(format!("the shuffle of step {:?} cannot be split by key", node.step))),
    }
}

/// Into how many parts a bucket falls if it is split by key, judged by one row of each batch.
fn parts_by_key(target: &Target, bucket: usize, key: &KeyOf, wanted: usize) -> usize {
    let (mut marks, mut scratch, mut encoded) = (Vec::new(), RowScratch::default(), Vec::new());
    let looked =
        target.shuffle.look_at_some(bucket, |batch| batch.first(&mut scratch, |row| marks.extend(key.mark(row, &mut encoded))));
    // A batch that cannot be looked at is reported by the task that needs it.
    if looked.is_ok() { schedule::parts_by_key(marks, wanted) } else { 1 }
}

impl KeyOf {
    /// The mark of a row's key; `None` for a row without one, which fails where it is read.
    fn mark(&self, row: &[Val<'_>], encoded: &mut Vec<u8>) -> Option<u32> {
        encoded.clear();
        match self {
            KeyOf::Row(key) => key::encode_key(row, key, encoded).ok()?,
            KeyOf::Tagged(fields) => row.get(1..=*fields)?.iter().fold(true, |plain, value| key::encode(*value, encoded) & plain),
        };
        Some(schedule::mark(key::hash(encoded)))
    }
}

impl Part {
    /// Part `part` of `of` of the keys of a group's bucket.
    pub(crate) fn by_key(job: &Job, group: NodeId, part: usize, of: usize) -> Result<Part> {
        Ok(Part { apart: Apart::ByKey(key_of(job, group)?), part, of })
    }
}

/// Lets a part of the rows through.
pub(super) struct PartOf<'p> {
    part: &'p Part,
    dealt: usize,
    encoded: Vec<u8>,
}

impl<'p> PartOf<'p> {
    pub(super) fn new(part: &'p Part) -> PartOf<'p> {
        PartOf { part, dealt: 0, encoded: Vec::new() }
    }

    /// Pushes a row if it belongs to the part.
    pub(super) fn push(&mut self, row: &[Val<'_>], out: &mut dyn RowSink) -> Result<()> {
        let Part { apart, part, of } = self.part;
        let ours = match apart {
            // A row without a key must be seen: it is an error.
            Apart::ByKey(key) => key.mark(row, &mut self.encoded).is_none_or(|mark| schedule::part_of(mark, *of) == *part),
            Apart::ByRow { leg } if matches!(row.first(), Some(Val::Int(this)) if this == leg) => {
                self.dealt += 1;
                self.dealt % of == *part
            }
            Apart::ByRow { .. } => true,
        };
        if ours { out.push(row) } else { Ok(()) }
    }
}

/// Passes on a part of the rows.
pub(super) struct Parted<'p, 'o> {
    pub(super) ours: PartOf<'p>,
    pub(super) out: &'o mut dyn RowSink,
}

impl RowSink for Parted<'_, '_> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.ours.push(row, self.out)
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

/// Takes a bucket that others read, too.
pub(super) fn take(shared: &Shared) -> Option<Arc<Vec<Kept>>> {
    lock(shared).take()
}

#[cfg(test)]
mod tests;
