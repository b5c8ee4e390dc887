//! How a shuffle is shared by reduce tasks: exact where the flow says how many partitions there are, by size where it is free.

use std::ops::Range;

use crate::task::Leg;
use crate::{Decision, Do, Group, JoinKind, Key, NodeId, Op, OutputChannel, Plan};

use super::switch::leg_names;

/// Where nothing says how many partitions a shuffle has, it is written in this many buckets per thread or slot, which reduce
/// tasks then share.
pub const FINE_BUCKETS: usize = 8;
/// A reduce task has about this many bytes where the number of partitions is free: enough to be worth a task.
pub const TASK_BYTES: u64 = 4 << 20;

/// How many partitions a group must have; `None`: as its data asks for. `default`: that of the run (`--partitions`).
#[must_use]
pub fn exact_partitions(plan: &Plan, group: NodeId, default: Option<u32>) -> Option<usize> {
    let node = plan.graph.node(group);
    let default = match &node.op {
        Op::Group(Group::Gather | Group::Merge { .. } | Group::Limit { .. }) => Some(1),
        Op::Group(Group::ByKey { key: Key::Columns(key), .. }) if key.is_empty() => return Some(1),
        _ => default,
    };
    node.partitions.or(default).map(|partitions| partitions.max(1) as usize)
}

/// In how many buckets the shuffle of a group is written; `workers`: threads or slots that share it.
#[must_use]
pub fn buckets(plan: &Plan, group: NodeId, default: Option<u32>, workers: usize) -> usize {
    exact_partitions(plan, group, default).unwrap_or_else(|| match plan.graph.node(group).op {
        Op::Group(Group::RoundRobin) => workers,
        _ => workers * FINE_BUCKETS,
    })
}

/// Whether a group's rows go into sorted runs instead of buckets.
#[must_use]
pub fn is_sort(plan: &Plan, group: NodeId) -> bool {
    matches!(plan.graph.node(group).op, Op::Group(Group::Sort { .. } | Group::Merge { .. }))
}

/// How many tasks a number of bytes is worth.
#[must_use]
pub fn free_tasks(bytes: u64, workers: usize) -> usize {
    usize::try_from(bytes / TASK_BYTES).unwrap_or(usize::MAX).clamp(1, workers.max(1) * 4)
}

/// Neighbouring buckets of these sizes put together until a task has `task_bytes` to do; at least one task, even of nothing.
#[must_use]
pub fn coalesce(sizes: impl IntoIterator<Item = u64>, task_bytes: u64) -> Vec<Range<usize>> {
    let (mut ranges, mut begin, mut bytes, mut end) = (Vec::new(), 0, 0, 0);
    for size in sizes {
        bytes += size;
        end += 1;
        if bytes >= task_bytes {
            ranges.push(begin..end);
            (begin, bytes) = (end, 0);
        }
    }
    if begin < end {
        ranges.push(begin..end);
    }
    ranges
}

/// What one reduce task takes of a shuffle in buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// Whole buckets.
    Buckets(Range<usize>),
    /// Some rows of one bucket: part `part` of `of`.
    Part { bucket: usize, part: usize, of: usize },
}

/// Buckets of these sizes shared by tasks: small neighbours are put together ([`coalesce`]), and one that would keep a worker busy
/// long after the others are done is split. `parts` says how many parts a bucket can have, given how many are wanted: whoever knows
/// the rows knows whether they can be told apart.
#[must_use]
pub fn share(sizes: &[u64], task_bytes: u64, workers: usize, mut parts: impl FnMut(usize, usize) -> usize) -> Vec<Share> {
    let total: u64 = sizes.iter().sum();
    let fair = (total / workers.max(1) as u64).max(task_bytes);
    let mut shares = Vec::new();
    for range in coalesce(sizes.iter().copied(), task_bytes) {
        // Only the last bucket of a range can be large; those before it go with their neighbours.
        let hot = range.end - 1;
        let wanted = usize::try_from(sizes[hot].div_ceil(fair)).unwrap_or(usize::MAX).min(workers);
        let of = if sizes[hot] > fair + fair / 2 { parts(hot, wanted) } else { 1 };
        if of < 2 {
            shares.push(Share::Buckets(range));
            continue;
        }
        if range.start < hot {
            shares.push(Share::Buckets(range.start..hot));
        }
        shares.extend((0..of).map(|part| Share::Part { bucket: hot, part, of }));
    }
    shares
}

/// How a bucket of a group can be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The rows of each key stay together.
    ByKey,
    /// The rows of this leg of a join one by one; those of the others go to all.
    ByRow { leg: usize },
}

/// How the buckets of a group can be taken apart, given what was seen of its legs; `None`: not at all.
#[must_use]
pub fn apart(plan: &Plan, group: NodeId, legs: &[Leg]) -> Option<Apart> {
    match &plan.graph.node(group).op {
        // What was combined has one row of a key per task: no key is hot, and such rows have their key elsewhere.
        Op::Group(Group::ByKey { .. }) if is_combined(plan, group) => None,
        Op::Group(Group::ByKey { .. } | Group::Hash { .. }) => Some(Apart::ByKey),
        Op::Group(Group::ByLeg { .. }) => Some(dealt_leg(plan, group, legs).map_or(Apart::ByKey, |leg| Apart::ByRow { leg })),
        _ => None,
    }
}

fn is_combined(plan: &Plan, of: NodeId) -> bool {
    let outputs = plan.mscrs.iter().flat_map(|stage| &stage.outputs);
    let mut combines = outputs.filter_map(|output| match output {
        OutputChannel::Group { group, combine, .. } if *group == of => Some(combine),
        OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
    });
    combines.any(|combine| !combine.is_empty())
}

/// The leg of a join whose rows join one by one, whatever its other rows are: the largest that may be it.
fn dealt_leg(plan: &Plan, group: NodeId, legs: &[Leg]) -> Option<usize> {
    let readers = plan.graph.consumers().remove(&plan.graph.node(group).outputs[0])?;
    let [untag] = readers[..] else { return None };
    let Op::ParallelDo(Do::UntagJoin { kind, legs: count, .. }) = &plan.graph.node(untag).op else { return None };
    let leg = match kind {
        JoinKind::Left => 0,
        JoinKind::Right => *count as usize - 1,
        JoinKind::Inner => (0..legs.len()).rev().max_by_key(|leg| legs[*leg].bytes)?,
        JoinKind::Full => return None,
    };
    let seen = legs.get(leg)?;
    // If another leg has most of the rows, all tasks would have to read them.
    let most = legs.iter().map(|leg| leg.bytes).sum::<u64>() / 2 < seen.bytes;
    // Which of 4 and 4.0 shows depends on all rows of the key.
    (!seen.odd && most).then_some(leg)
}

/// What is remembered of a key's hash to tell its part. Keys of one bucket share the high bits of their hash; a multiplication
/// brings the low ones up.
#[must_use]
pub fn mark(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

/// The part of a bucket that is split by key that a key with this mark belongs to.
#[must_use]
pub fn part_of(mark: u32, of: usize) -> usize {
    ((u128::from(mark) * of as u128) >> 32) as usize
}

/// Into how many parts a bucket falls if it is split by key: one where a single key has most of it. Judged by some of its rows.
#[must_use]
pub fn parts_by_key(marks: impl IntoIterator<Item = u32>, wanted: usize) -> usize {
    let mut rows = vec![0_usize; wanted];
    marks.into_iter().filter(|_| wanted > 0).for_each(|mark| rows[part_of(mark, wanted)] += 1);
    let most = rows.iter().max().copied().unwrap_or(0);
    if most * 4 <= rows.iter().sum::<usize>() * 3 { wanted } else { 1 }
}

/// How buckets were shared, in words for reports.
#[must_use]
pub fn told_shares(plan: &Plan, group: NodeId, sizes: &[u64], shares: &[Share], apart: Option<Apart>) -> Decision {
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
                let name = leg_names(plan, group).into_iter().nth(leg).unwrap_or_default();
                format!("the rows of `{name}` are dealt out, each task has all others")
            }
            Some(Apart::ByKey) | None => "each has some of its keys".to_owned(),
        };
        reason.push_str(&format!("; one of {bytes} bytes is split between {of}: {how}"));
    }
    let (step, did) = (plan.graph.node(group).step.clone(), tasks != buckets || !hot.is_empty());
    Decision { pass: "share-buckets".to_owned(), step, did, reason }
}

/// Places that cut sorted runs into at most `parts` ranges of about the same size, given the places where frames of about the
/// same size begin: range `i` lies between bounds `i - 1` and `i`. Equal rows are never cut apart.
#[must_use]
pub fn bounds<P: Ord + Clone>(mut firsts: Vec<&P>, parts: usize) -> Vec<P> {
    firsts.sort_unstable();
    let mut bounds: Vec<P> =
        (1..parts).filter_map(|part| firsts.get(part * firsts.len() / parts)).map(|at| (*at).clone()).collect();
    bounds.dedup();
    // Nothing lies before the smallest first row.
    bounds.retain(|bound| firsts.first().is_some_and(|first| *first < bound));
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buckets_share_a_task_and_large_ones_have_their_own() {
        let ranges = |sizes: &[u64]| coalesce(sizes.iter().copied(), TASK_BYTES);
        assert_eq!(ranges(&[0, 0, 0]), [0..3]);
        assert_eq!(ranges(&[TASK_BYTES, 1, 1, TASK_BYTES, 5]), [0..1, 1..4, 4..5]);
        assert_eq!(ranges(&[TASK_BYTES, TASK_BYTES]), [0..1, 1..2]);
    }

    #[test]
    fn a_bucket_with_more_than_its_fair_share_is_split_where_that_can_be() {
        let buckets = |range| Share::Buckets(range);
        let part = |bucket, part, of| Share::Part { bucket, part, of };
        let mib = |sizes: &[u64]| sizes.iter().map(|size| size << 20).collect::<Vec<u64>>();
        let hot = mib(&[1, 1, 60, 9, 9]);
        let all = |_: usize, wanted| wanted;
        assert_eq!(
            share(&hot, TASK_BYTES, 4, all),
            [buckets(0..2), part(2, 0, 3), part(2, 1, 3), part(2, 2, 3), buckets(3..4), buckets(4..5)]
        );
        assert_eq!(share(&hot, TASK_BYTES, 4, |_, _| 1), [buckets(0..3), buckets(3..4), buckets(4..5)]);
        assert_eq!(share(&hot, TASK_BYTES, 1, all), [buckets(0..3), buckets(3..4), buckets(4..5)], "one worker gains nothing");
        assert_eq!(share(&mib(&[20, 20, 20, 20]), TASK_BYTES, 4, all), [0..1, 1..2, 2..3, 3..4].map(Share::Buckets));
        assert_eq!(share(&mib(&[0, 3, 0]), TASK_BYTES, 4, all), [buckets(0..3)], "what is not worth a task is not worth two");
        assert_eq!(share(&mib(&[64]), TASK_BYTES, 4, all).len(), 4);
        assert_eq!(share(&[], TASK_BYTES, 4, all), []);
    }

    #[test]
    fn a_bucket_is_split_by_key_unless_one_key_has_most_of_it() {
        // Hashes of one bucket: their high bits are the same.
        let key = |key: u64| mark(0xAB00_0000_0000_0000 | key.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8);
        let spread: Vec<u32> = (0..1000).map(key).collect();
        assert_eq!(parts_by_key(spread.iter().copied(), 4), 4);
        let parts: std::collections::BTreeSet<usize> = spread.iter().map(|mark| part_of(*mark, 4)).collect();
        assert_eq!(parts, (0..4).collect());
        assert_eq!(parts_by_key((0..1000).map(|row| key(if row % 10 == 0 { row } else { 7 })), 4), 1);
        assert_eq!(parts_by_key([], 4), 4);
        assert_eq!(parts_by_key([1], 0), 0);
    }

    #[test]
    fn bounds_are_places_of_rows_and_never_cut_equal_ones_apart() {
        fn check(firsts: &[u32], parts: usize, expected: &[u32]) {
            assert_eq!(bounds(firsts.iter().collect(), parts), expected);
        }
        check(&[1, 2, 3, 4], 2, &[3]);
        check(&[4, 2, 3, 1], 4, &[2, 3, 4]);
        check(&[5, 5, 5, 5], 3, &[]);
        check(&[5, 5, 5, 9], 4, &[9]);
        check(&[], 4, &[]);
        check(&[7], 1, &[]);
    }

    #[test]
    fn bytes_are_worth_tasks_within_what_the_workers_can_take() {
        assert_eq!(free_tasks(0, 4), 1);
        assert_eq!(free_tasks(3 * TASK_BYTES, 4), 3);
        assert_eq!(free_tasks(u64::MAX, 4), 16);
    }
}
