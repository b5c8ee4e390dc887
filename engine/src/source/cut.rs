//! Cuts files into pieces and deals the pieces out to splits, in order. Reads files only to find where csv records begin.

use std::ops::Range;
use std::sync::Arc;

use plan::Format;
use serde::{Deserialize, Serialize};

use super::delimited::BYTE_ORDER_MARK;
use super::file::{Compression, SourceFile};
use super::index::Syntax;
use super::{SourceError, Wanted, boundary};

/// A part of a file that one task reads.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<SourceFile>,
    pub(super) extent: Extent,
}

/// Which part of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Extent {
    Whole,
    /// The lines that begin in the range.
    Lines(Range<u64>),
    /// Exactly the bytes of the range: records begin at its start and end at its end.
    Records(Range<u64>),
    /// The row groups or stripes that begin in the range.
    Groups(Range<u64>),
}

/// A piece is no larger where a file can be cut: enough to make opening it cheap, small enough to spread over threads.
const LARGEST: u64 = 32 << 20;
/// A piece is no smaller unless the number of splits is given, or so many steps are made of every row that less is work enough.
const SMALLEST: u64 = 1 << 20;
/// Up to so many steps are worth no more than one.
const FEW_STEPS: u64 = 8;
/// A piece is no smaller for any number of steps.
const TINY: u64 = 64 << 10;
/// Pieces for each thread, so that no thread waits long for the last one.
const PER_THREAD: u64 = 4;
/// What opening a file costs, in bytes read instead.
const OPENING: u64 = 64 << 10;
/// About how much a file grows when it is decompressed.
const EXPANSION: u64 = 4;

/// The pieces of each split; exactly `wanted.partitions` of them if given.
pub(super) fn cut(files: &[Arc<SourceFile>], format: &Format, wanted: Wanted) -> Result<Vec<Vec<Piece>>, SourceError> {
    let total: u64 = files.iter().map(|file| file.size.unwrap_or(0)).sum();
    let threads = wanted.threads.max(1) as u64;
    let target = match wanted.partitions {
        Some(partitions) => total.div_ceil(u64::from(partitions.max(1))).max(1),
        None => (total / (threads * PER_THREAD)).clamp(smallest(wanted.steps), LARGEST),
    };
    let mut pieces = Vec::new();
    for file in files {
        pieces.extend(pieces_of(file, format, target, wanted.threads)?);
    }
    Ok(match wanted.partitions {
        Some(partitions) => deal(pieces, partitions as usize),
        None => pack(pieces, target),
    })
}

fn smallest(steps: usize) -> u64 {
    (SMALLEST * FEW_STEPS / (steps as u64).max(FEW_STEPS)).max(TINY)
}

fn pieces_of(file: &Arc<SourceFile>, format: &Format, target: u64, threads: usize) -> Result<Vec<Piece>, SourceError> {
    let size = file.size.unwrap_or(0);
    let whole = vec![Piece { file: Arc::clone(file), extent: Extent::Whole }];
    if size <= target || !file.has_ranges() {
        return Ok(whole);
    }
    let count = size.div_ceil(target);
    let even = (1..count).map(|at| (u128::from(size) * u128::from(at) / u128::from(count)) as u64);
    // A byte order mark stays in one piece with the beginning of the record behind it.
    let even = even.filter(|at| *at > BYTE_ORDER_MARK.len() as u64);
    let (bounds, extent): (Vec<u64>, fn(Range<u64>) -> Extent) = match format {
        Format::Whole => return Ok(whole),
        Format::Text | Format::Json { .. } => (even.collect(), Extent::Lines),
        Format::Parquet { .. } | Format::Orc { .. } => (even.collect(), Extent::Groups),
        Format::Csv(options) | Format::Tsv(options) => match options.quote {
            None => (even.collect(), Extent::Lines),
            Some(_) => {
                let syntax = Syntax { delimiter: Some(options.delimiter), quote: options.quote };
                (boundary::record_starts(file, &even.collect::<Vec<_>>(), syntax, threads)?, Extent::Records)
            }
        },
    };
    let starts = std::iter::once(0).chain(bounds.iter().copied());
    let ends = bounds.iter().copied().chain([size]);
    let ranges = starts.zip(ends).filter(|(start, end)| start < end);
    Ok(ranges.map(|(start, end)| Piece { file: Arc::clone(file), extent: extent(start..end) }).collect())
}

impl Piece {
    /// Bytes as stored.
    pub(super) fn bytes(&self) -> u64 {
        match &self.extent {
            Extent::Whole => self.file.size.unwrap_or(0),
            Extent::Lines(range) | Extent::Records(range) | Extent::Groups(range) => range.end - range.start,
        }
    }

    fn cost(&self) -> u64 {
        OPENING + self.bytes() * if self.file.compression == Compression::None { 1 } else { EXPANSION }
    }
}

/// Neighbours together until they cost as much as a large piece.
fn pack(pieces: Vec<Piece>, target: u64) -> Vec<Vec<Piece>> {
    let mut splits: Vec<Vec<Piece>> = Vec::new();
    let mut cost = u64::MAX;
    for piece in pieces {
        cost = cost.saturating_add(piece.cost());
        if cost > target + OPENING {
            cost = piece.cost();
            splits.push(Vec::new());
        }
        splits.last_mut().expect("the first piece begins a split").push(piece);
    }
    splits
}

/// Into a given number of splits of about equal cost.
fn deal(pieces: Vec<Piece>, count: usize) -> Vec<Vec<Piece>> {
    let mut splits = vec![Vec::new(); count];
    let total: u64 = pieces.iter().map(Piece::cost).sum();
    let mut before = 0;
    for piece in pieces {
        let middle = u128::from(before + piece.cost() / 2);
        before += piece.cost();
        let place = (middle * count as u128 / u128::from(total.max(1))) as usize;
        splits[place.min(count - 1)].push(piece);
    }
    splits
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn check(sizes: &[u64], format: &Format, wanted: Wanted) -> String {
        let file = |(at, size): (usize, &u64)| {
            let name = PathBuf::from(format!("{at}{}", if *size % 10 == 7 { ".gz" } else { "" }));
            Arc::new(SourceFile::local(name.clone(), name, Some(*size)))
        };
        let files: Vec<_> = sizes.iter().enumerate().map(file).collect();
        let piece = |piece: &Piece| match &piece.extent {
            Extent::Whole => piece.file.name.to_string(),
            Extent::Lines(range) | Extent::Records(range) | Extent::Groups(range) => format!("{}[{range:?}]", piece.file.name),
        };
        let splits = cut(&files, format, wanted).unwrap();
        splits.iter().map(|split| split.iter().map(piece).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_large_file_is_cut_and_small_ones_go_together() {
        let wanted = Wanted { partitions: None, threads: 2, steps: 1 };
        assert_eq!(check(&[3 << 20, 10, 10], &Format::Text, wanted), "0[0..1048576]|0[1048576..2097152]|0[2097152..3145728]|1 2");
        assert_eq!(check(&[3_000_007], &Format::Text, wanted), "0.gz");
        assert_eq!(check(&[3 << 20], &Format::Whole, wanted), "0");
        let long = Wanted { steps: 200, ..wanted };
        assert_eq!(check(&[200_000], &Format::Text, long), "0[0..50000]|0[50000..100000]|0[100000..150000]|0[150000..200000]");
        let many = check(&vec![1000; 1000], &Format::Text, wanted);
        assert_eq!(many.split('|').count(), 63);
    }

    #[test]
    fn a_given_number_of_splits_is_exact() {
        let exactly = |partitions| Wanted { partitions: Some(partitions), threads: 2, steps: 1 };
        assert_eq!(check(&[100], &Format::Text, exactly(2)), "0[0..50]|0[50..100]");
        assert_eq!(check(&[5], &Format::Text, exactly(7)).split('|').count(), 7);
        assert_eq!(check(&[10, 10, 10, 10], &Format::Text, exactly(2)), "0 1|2 3");
        assert_eq!(check(&[], &Format::Text, exactly(3)), "||");
        assert_eq!(check(&[0, 0], &Format::Text, exactly(1)), "0 1");
    }
}
