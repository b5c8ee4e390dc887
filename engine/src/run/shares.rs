//! How the buckets of a shuffle are shared by reduce tasks, now that their sizes are known; and the rows that a task takes of a
//! bucket that is split.
//!
//! A bucket of several keys is split by key. The rows of one key stay together, but for a join's leg that no other row depends
//! on: its rows are dealt out, and every task gets all rows of the other legs.

use std::sync::{Arc, Mutex};

use plan::schedule::{self, Share};
use plan::{Do, Group, JoinKind, Key, Node, Op};

use crate::op::limit::partition;
use crate::shuffle::{Kept, lock};
use crate::{Result, RowScratch, RowSink, Val, key};

use super::deal::{Target, key_fields};
use super::job::Job;
use super::reduce::From;
use super::stage::exact_partitions;

/// What decisions of this kind are called in reports.
const PASS: &str = "share-buckets";

/// How a bucket of a group can be taken apart.
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
    let apart = apart(job, target)?;
    let shares = schedule::share(&sizes, job.task_bytes, job.run.threads, |bucket, wanted| match &apart {
        Some(Apart::ByRow { .. }) => wanted,
        Some(Apart::ByKey(key)) => parts_by_key(target, bucket, key, wanted),
        None => 1,
    });
    tell(job, target, &sizes, &shares, apart.as_ref());
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
fn apart(job: &Job, target: &Target) -> Result<Option<Apart>> {
    let node = job.plan.graph.node(target.group);
    let Op::Group(group) = &node.op else { return Ok(None) };
    Ok(match group {
        // What was combined has one row of a key per task: no key is hot, and such rows have their key elsewhere.
        Group::ByKey { key, .. } if target.combine.is_empty() => Some(Apart::ByKey(KeyOf::Row(key.clone()))),
        Group::Hash { key } => Some(Apart::ByKey(KeyOf::Row(key.clone()))),
        Group::ByLeg { .. } => {
            let fields = key_fields(&job.plan, node)?;
            let dealt = dealt_leg(job, target, node);
            Some(dealt.map_or(Apart::ByKey(KeyOf::Tagged(fields)), |leg| Apart::ByRow { leg }))
        }
        Group::ByKey { .. }
        | Group::Sort { .. }
        | Group::Merge { .. }
        | Group::Gather
        | Group::RoundRobin
        | Group::Limit { .. } => None,
    })
}

/// The leg of a join whose rows join one by one, whatever its other rows are: the largest that may be it.
fn dealt_leg(job: &Job, target: &Target, group: &Node) -> Option<i64> {
    let readers = job.consumers.get(&group.outputs[0])?;
    let [untag] = readers[..] else { return None };
    let Op::ParallelDo(Do::UntagJoin { kind, legs, .. }) = &job.plan.graph.node(untag).op else { return None };
    let seen = target.shuffle.legs();
    let leg = match kind {
        JoinKind::Left => 0,
        JoinKind::Right => *legs as usize - 1,
        JoinKind::Inner => (0..seen.len()).rev().max_by_key(|leg| seen[*leg].bytes)?,
        JoinKind::Full => return None,
    };
    // Which of 4 and 4.0 shows depends on all rows of the key.
    let plain = seen.get(leg).is_some_and(|leg| !leg.odd);
    // If another leg has most of the rows, all tasks would have to read them.
    let most = seen.iter().map(|leg| leg.bytes).sum::<u64>() / 2 < seen.get(leg).map_or(0, |leg| leg.bytes);
    (plain && most).then_some(leg as i64)
}

/// Into how many parts a bucket falls if it is split by key: one where a single key has most of it. Judged by one row of each batch.
fn parts_by_key(target: &Target, bucket: usize, key: &KeyOf, wanted: usize) -> usize {
    let mut rows = vec![0_usize; wanted];
    let (mut scratch, mut encoded) = (RowScratch::default(), Vec::new());
    let looked = target.shuffle.look_at_some(bucket, |batch| {
        batch.first(&mut scratch, |row| {
            if let Some(part) = key.part(row, wanted, &mut encoded) {
                rows[part] += 1;
            }
        })
    });
    let most = rows.iter().max().copied().unwrap_or(0);
    // A batch that cannot be looked at is reported by the task that needs it.
    if looked.is_ok() && most * 4 <= rows.iter().sum::<usize>() * 3 { wanted } else { 1 }
}

fn tell(job: &Job, target: &Target, sizes: &[u64], shares: &[Share], apart: Option<&Apart>) {
    let total: u64 = sizes.iter().sum();
    let hot = shares.iter().filter_map(|share| match share {
        Share::Part { bucket, part: 0, of } => Some((sizes[*bucket], *of)),
        Share::Part { .. } | Share::Buckets(_) => None,
    });
    let hot: Vec<(u64, usize)> = hot.collect();
    let (buckets, tasks) = (sizes.len(), shares.len());
    let mut reason = format!("{total} bytes in {buckets} buckets, reduce tasks: {tasks}");
    for (bytes, of) in &hot {
        let how = match apart {
            Some(Apart::ByRow { leg }) => {
                let name = schedule::leg_names(&job.plan, target.group).into_iter().nth(*leg as usize).unwrap_or_default();
                format!("the rows of `{name}` are dealt out, each task has all others")
            }
            Some(Apart::ByKey(_)) | None => "each has some of its keys".to_owned(),
        };
        reason.push_str(&format!("; one of {bytes} bytes is split between {of}: {how}"));
    }
    job.decided(PASS, target.group, tasks != buckets || !hot.is_empty(), reason);
}

impl KeyOf {
    /// The part of a row's key; `None` for a row without one, which fails where it is read.
    fn part(&self, row: &[Val<'_>], of: usize, encoded: &mut Vec<u8>) -> Option<usize> {
        encoded.clear();
        match self {
            KeyOf::Row(key) => key::encode_key(row, key, encoded).ok()?,
            KeyOf::Tagged(fields) => row.get(1..=*fields)?.iter().fold(true, |plain, value| key::encode(*value, encoded) & plain),
        };
        // Rows of one bucket share the high bits of their hash; a multiplication brings the low ones up.
        Some(partition(key::hash(encoded).wrapping_mul(0x9E37_79B9_7F4A_7C15), of))
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
            Apart::ByKey(key) => key.part(row, *of, &mut self.encoded).is_none_or(|found| found == *part),
            Apart::ByRow { leg } if matches!(row.first(), Some(Val::Int(this)) if this == leg) => {
                self.dealt += 1;
                self.dealt % of == *part
            }
            Apart::ByRow { .. } => true,
        };
        if ours { out.push(row) } else { Ok(()) }
    }
}

/// Takes a bucket that others read, too.
pub(super) fn take(shared: &Shared) -> Option<Arc<Vec<Kept>>> {
    lock(shared).take()
}

#[cfg(test)]
mod tests;
