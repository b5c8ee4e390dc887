//! How a shuffle is shared by its reduce tasks, decided from what was measured; and which frames of a sorted run a range needs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use plan::schedule::{self, Apart, Share};
use plan::task::{Leg, MapTask, Mark, Piece, PieceName, Place};
use plan::{Decision, Mscr, NodeId, Plan};

use crate::master::api::{Cut, Taken};

/// The most buckets of a group whose number of partitions is free.
const MOST_BUCKETS: usize = 1024;
/// The most pieces of a group, about: what the master must remember of a shuffle.
const MOST_PIECES: usize = 1 << 17;

/// In how many buckets a group's shuffle is written, by how many tasks.
pub(super) fn buckets(plan: &Plan, group: NodeId, partitions: Option<u32>, slots: u32, makers: Option<usize>) -> u32 {
    let slots = slots.max(1) as usize;
    let buckets = schedule::buckets(plan, group, partitions, slots);
    let exact = schedule::exact_partitions(plan, group, partitions).is_some();
    // Where rows flow on from tasks that are not known yet, their number must not matter.
    let most = makers.map_or(MOST_BUCKETS, |makers| (MOST_PIECES / makers.max(1)).clamp(1, MOST_BUCKETS));
    let buckets = if exact { buckets } else { buckets.min(most) };
    u32::try_from(buckets).unwrap_or(u32::MAX)
}

/// Decides a cut from all pieces of the group's makers that its reduce tasks read, each with the marks of some keys, and from what
/// was seen of its legs; and what there is to tell about it.
pub(super) fn decide(
    (plan, stage): (&Plan, &Mscr),
    group: NodeId,
    shape: Shape,
    (pieces, legs): (Vec<(&Piece, &[u32])>, &[Leg]),
) -> (Cut, Option<Decision>) {
    let exact = schedule::exact_partitions(plan, group, shape.partitions);
    if schedule::is_sort(plan, group) {
        return (Cut::Places(places(group, exact, shape.slots, pieces.into_iter().map(|(piece, _)| piece))), None);
    }
    let mut sizes = vec![0_u64; shape.buckets as usize];
    let mut buckets: BTreeMap<usize, Bucket<'_>> = BTreeMap::new();
    for (piece, marks) in pieces {
        if let PieceName::Bucket { group: this, bucket, from } = &piece.name
            && *this == group
            && let Some(size) = sizes.get_mut(*bucket as usize)
        {
            *size += piece.bytes;
            buckets.entry(*bucket as usize).or_default().push((*from, piece.bytes, marks));
        }
    }
    if exact.is_some() {
        return (Cut::Buckets((0..shape.buckets).map(|at| (at, at + 1)).collect()), None);
    }
    let apart = match schedule::apart(plan, group, legs) {
        Some(Apart::ByRow { leg }) => match schedule::leg_channels(plan, stage, group, leg) {
            Some(channels) => Some((Apart::ByRow { leg }, channels)),
            None => Some((Apart::ByKey, BTreeSet::new())),
        },
        Some(Apart::ByKey) => Some((Apart::ByKey, BTreeSet::new())),
        None => None,
    };
    let mut firsts: BTreeMap<usize, Vec<MapTask>> = BTreeMap::new();
    let shares = schedule::share(&sizes, schedule::TASK_BYTES, shape.slots.max(1) as usize, |at, wanted| {
        let Some(bucket) = buckets.get(&at) else { return 1 };
        match &apart {
            Some((Apart::ByRow { .. }, channels)) => {
                let dealt = dealt(bucket, channels, wanted);
                let parts = dealt.len();
                firsts.insert(at, dealt);
                parts
            }
            Some((Apart::ByKey, _)) => {
                schedule::parts_by_key(bucket.iter().flat_map(|(_, _, marks)| marks.iter().copied()), wanted)
            }
            None => 1,
        }
    });
    let (apart, channels) = apart.map_or((None, BTreeSet::new()), |(apart, channels)| (Some(apart), channels));
    let told = schedule::told_shares(plan, group, &sizes, &shares, apart);
    (recorded(&shares, &channels, &firsts), Some(told))
}

/// The pieces of one bucket: who made them, their bytes, marks of some keys.
type Bucket<'a> = Vec<(MapTask, u64, &'a [u32])>;

/// Mappers of some channels in up to `parts` ranges of about the same size, by who stands first in each.
fn dealt(bucket: &Bucket<'_>, channels: &BTreeSet<usize>, parts: usize) -> Vec<MapTask> {
    let mut made: Vec<(MapTask, u64)> =
        bucket.iter().filter(|(from, ..)| channels.contains(&from.channel)).map(|(from, bytes, _)| (*from, *bytes)).collect();
    made.sort_unstable();
    let total: u64 = made.iter().map(|(_, bytes)| bytes).sum();
    let (mut firsts, mut before) = (Vec::new(), 0_u64);
    for (from, bytes) in made {
        // A part begins where the ones before have their fair share.
        let full = u128::from(before) * parts as u128 >= u128::from(total) * firsts.len() as u128;
        if full && firsts.len() < parts && firsts.last() != Some(&from) {
            firsts.push(from);
        }
        before += bytes;
    }
    firsts
}

/// As it is recorded; `firsts`: the first mapper of each part of a bucket whose rows from these channels are dealt out.
fn recorded(shares: &[Share], channels: &BTreeSet<usize>, firsts: &BTreeMap<usize, Vec<MapTask>>) -> Cut {
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let whole = |share: &Share| match share {
        Share::Buckets(range) => Some((number(range.start), number(range.end))),
        Share::Part { .. } => None,
    };
    if let Some(whole) = shares.iter().map(whole).collect::<Option<Vec<_>>>() {
        return Cut::Buckets(whole);
    }
    let taken = |share: &Share| match share {
        Share::Buckets(range) => Taken::Buckets { first: number(range.start), end: number(range.end) },
        Share::Part { bucket, part, of } => match firsts.get(bucket) {
            Some(firsts) => Taken::ByMaker {
                bucket: number(*bucket),
                channels: channels.clone(),
                first: if *part == 0 { MapTask::default() } else { firsts[*part] },
                end: firsts.get(part + 1).copied(),
            },
            None => Taken::ByKey { bucket: number(*bucket), part: number(*part), of: number(*of) },
        },
    };
    Cut::Shares(shares.iter().map(taken).collect())
}

/// Whether task `at` of a cut in buckets reads a piece of a bucket.
pub(super) fn reads(cut: &Cut, at: u32, bucket: u32, from: &MapTask) -> bool {
    match cut {
        Cut::Buckets(ranges) => ranges.get(at as usize).is_some_and(|(first, end)| (first..end).contains(&&bucket)),
        Cut::Shares(taken) => taken.get(at as usize).is_some_and(|taken| taken.reads(bucket, from)),
        Cut::Places(_) => false,
    }
}

/// The part of the keys of its bucket that a task of a cut takes, if not all.
pub(super) fn part(cut: &Cut, at: u32) -> Option<(u32, u32)> {
    match cut {
        Cut::Shares(taken) => match taken.get(at as usize) {
            Some(Taken::ByKey { part, of, .. }) => Some((*part, *of)),
            _ => None,
        },
        Cut::Buckets(_) | Cut::Places(_) => None,
    }
}

/// What a cut depends on beside the pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) partitions: Option<u32>,
    pub(super) slots: u32,
    pub(super) buckets: u32,
}

fn places<'a>(group: NodeId, exact: Option<usize>, slots: u32, pieces: impl Iterator<Item = &'a Piece>) -> Vec<Place> {
    let (mut firsts, mut bytes) = (Vec::new(), 0);
    for piece in pieces {
        if let PieceName::Run { group: this, marks, .. } = &piece.name
            && *this == group
        {
            firsts.extend(marks.iter().map(|mark| &mark.place));
            bytes += piece.bytes;
        }
    }
    let parts = exact.unwrap_or_else(|| schedule::free_tasks(bytes, slots as usize));
    let mut bounds = schedule::bounds(firsts, parts);
    if let Some(exact) = exact {
        // As many tasks as the flow says, the last ones of nothing: between a place and itself lies no row.
        let last = bounds.last().cloned();
        match last {
            Some(last) => bounds.resize(exact.saturating_sub(1), last),
            None => bounds.resize(exact.saturating_sub(1), Place::default()),
        }
    }
    bounds
}

/// How many tasks a cut makes.
pub(super) fn tasks(cut: &Cut) -> usize {
    match cut {
        Cut::Buckets(ranges) => ranges.len(),
        Cut::Places(bounds) => bounds.len() + 1,
        Cut::Shares(taken) => taken.len(),
    }
}

/// The range of task `at` of a cut by places.
pub(super) fn range(bounds: &[Place], at: usize) -> (Option<&Place>, Option<&Place>) {
    (at.checked_sub(1).and_then(|lower| bounds.get(lower)), bounds.get(at))
}

/// The frames of a sorted run that can hold rows from `lower` on (inclusive) to `upper` (exclusive). Places may be cut short:
/// a row's own place begins with its mark's, and is not less.
pub(super) fn frames(marks: &[Mark], frames: u32, lower: Option<&Place>, upper: Option<&Place>) -> Range<u32> {
    if lower.is_some() && lower == upper {
        return 0..0;
    }
    let surely_below = |mark: &Mark| lower.is_some_and(|lower| mark.place < *lower && !lower.0.starts_with(&mark.place.0));
    // A frame can be left out if the next mark's row, and so all before it, is below.
    let skipped = marks.iter().skip(1).take_while(|next| surely_below(next)).last();
    let first = skipped.map_or(0, |mark| mark.frame);
    let end = upper.and_then(|upper| marks.iter().find(|mark| mark.place >= *upper)).map_or(frames, |mark| mark.frame);
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place(text.as_bytes().to_vec())
    }

    #[test]
    fn mappers_are_dealt_out_in_ranges_of_about_the_same_size() {
        fn check(bytes: &[u64], parts: usize, expected: &[usize]) {
            let task = |split| MapTask { channel: 1, read: 0, split };
            let mut bucket: Bucket<'_> = bytes.iter().enumerate().map(|(split, bytes)| (task(split), *bytes, &[][..])).collect();
            bucket.push((MapTask { channel: 0, read: 0, split: 9 }, 1000, &[]));
            let firsts: Vec<usize> = dealt(&bucket, &BTreeSet::from([1]), parts).into_iter().map(|task| task.split).collect();
            assert_eq!(firsts, expected, "{bytes:?} in {parts}");
        }
        check(&[5, 5, 5, 5], 2, &[0, 2]);
        check(&[5, 5, 5, 5], 9, &[0, 1, 2, 3]);
        check(&[100, 1, 1, 1], 2, &[0, 1]);
        check(&[1, 1, 1, 100], 2, &[0]);
        check(&[7], 3, &[0]);
        check(&[], 3, &[]);
    }

    #[test]
    fn every_row_of_a_bucket_that_is_dealt_out_is_read_once_and_those_of_other_legs_by_all() {
        let firsts = [0, 2, 5].map(|split| MapTask { channel: 1, read: 0, split });
        let shares: Vec<Share> = (0..3).map(|part| Share::Part { bucket: 4, part, of: 3 }).collect();
        let channels = BTreeSet::from([1, 2]);
        let cut = recorded(&shares, &channels, &BTreeMap::from([(4, firsts.to_vec())]));
        let readers = |channel, split| {
            let from = MapTask { channel, read: 0, split };
            (0..3).filter(|at| reads(&cut, *at, 4, &from)).collect::<Vec<u32>>()
        };
        assert_eq!([readers(1, 0), readers(1, 1), readers(1, 4), readers(1, 5), readers(2, 0)], [[0], [0], [1], [2], [2]]);
        assert_eq!(readers(0, 3), [0, 1, 2]);
        assert!((0..3).all(|at| !reads(&cut, at, 3, &firsts[0])));
    }

    #[test]
    fn a_range_gets_every_frame_that_can_hold_a_row_of_it() {
        fn check(marks: &[&str], lower: Option<&str>, upper: Option<&str>, expected: Range<u32>) {
            let mark = |(at, text): (usize, &&str)| Mark { frame: 10 * at as u32, place: place(text) };
            let marks: Vec<Mark> = marks.iter().enumerate().map(mark).collect();
            let total = 10 * marks.len() as u32;
            let found = frames(&marks, total, lower.map(place).as_ref(), upper.map(place).as_ref());
            assert_eq!(found, expected, "{lower:?}..{upper:?} of {marks:?}");
        }
        let abc = ["a", "c", "e", "g"];
        check(&abc, None, None, 0..40);
        check(&abc, Some("c"), Some("e"), 0..20);
        check(&abc, Some("d"), Some("f"), 10..30);
        check(&abc, Some("h"), None, 30..40);
        check(&abc, None, Some("a"), 0..0);
        check(&abc, None, Some("b"), 0..10);
        check(&abc, Some("c"), Some("c"), 0..0);
        // A mark that is a prefix of the bound may stand for a row behind it.
        check(&abc, Some("cx"), None, 0..40);
        check(&["a", "b", "b", "b", "c"], Some("b"), Some("c"), 0..40);
        check(&[], Some("b"), Some("c"), 0..0);
    }

    #[test]
    fn every_row_of_a_run_is_in_the_frames_of_its_range_however_marks_are_cut() {
        // Rows "aa".."zz", three to a frame, marks cut to one byte; all pairs of bounds.
        let letters = || (b'a'..=b'h').map(char::from);
        let rows: Vec<String> = letters().flat_map(|one| letters().map(move |two| format!("{one}{two}"))).collect();
        let marks: Vec<Mark> = rows
            .chunks(3)
            .enumerate()
            .map(|(at, rows)| Mark { frame: at as u32, place: place(&rows[0][..1 + at % 2]) })
            .collect();
        for lower in &rows {
            for upper in rows.iter().filter(|upper| *upper > lower) {
                let found = frames(&marks, marks.len() as u32, Some(&place(lower)), Some(&place(upper)));
                for (at, row) in rows.iter().enumerate() {
                    let inside = found.contains(&(at as u32 / 3));
                    assert!(inside || row < lower || row >= upper, "{row} of {lower}..{upper} is not in {found:?}");
                }
            }
        }
    }
}
