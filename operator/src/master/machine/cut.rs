//! How a shuffle is shared by its reduce tasks, decided from what was measured; and which frames of a sorted run a range needs. Pure.

use std::ops::Range;

use plan::schedule;
use plan::task::{Mark, Piece, PieceName, Place};
use plan::{NodeId, Plan};

use crate::master::api::Cut;

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

/// Decides a cut from all pieces of the group's makers.
pub(super) fn decide<'a>(plan: &Plan, group: NodeId, shape: Shape, pieces: impl Iterator<Item = &'a Piece>) -> Cut {
    let exact = schedule::exact_partitions(plan, group, shape.partitions);
    if schedule::is_sort(plan, group) {
        return Cut::Places(places(group, exact, shape.slots, pieces));
    }
    let mut sizes = vec![0_u64; shape.buckets as usize];
    for piece in pieces {
        if let PieceName::Bucket { group: this, bucket, .. } = &piece.name
            && *this == group
            && let Some(size) = sizes.get_mut(*bucket as usize)
        {
            *size += piece.bytes;
        }
    }
    let ranges: Vec<Range<usize>> = if exact.is_some() {
        (0..sizes.len()).map(|at| at..at + 1).collect()
    } else {
        schedule::coalesce(sizes, schedule::TASK_BYTES)
    };
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Cut::Buckets(ranges.into_iter().map(|range| (number(range.start), number(range.end))).collect())
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
