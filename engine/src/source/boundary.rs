//! Finds where csv records begin near given places of a file, without reading all that is before them.
//!
//! A line end may be part of a quoted field, so a place in the middle of a file is either inside or outside of one. Both are
//! supposed, and the bytes that follow are indexed: in a file that keeps to RFC 4180 the wrong supposition soon meets a quote
//! where none may be. Where no quote is near, the next one is looked for; without any, the place is outside. What is found is
//! certain for a well-formed file, and where nothing is certain there is no cut. The reader of each piece also checks that its
//! last record ends where the next piece begins, so a malformed file fails instead of being read askew.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

use super::SourceError;
use super::file::{Place, SourceFile};
use super::index::{Index, Syntax};

/// How much is looked at first; then eight times as much, and so on.
const FIRST: u64 = 32 << 10;
/// Where quotes stay ambiguous for so long, the file is not cut.
const FARTHEST: u64 = 64 << 20;
/// As `FARTHEST`, where looking costs a request.
const FARTHEST_REMOTE: u64 = 1 << 20;
/// Requests at a time.
const REQUESTS: usize = 16;
/// What a search for quotes reads at a time.
const STRIDE: u64 = 256 << 10;

/// Starts of records at or behind the given places, ascending, each once; fewer than places where none is certain.
pub(super) fn record_starts(
    file: &Arc<SourceFile>,
    places: &[u64],
    syntax: Syntax,
    threads: usize,
) -> Result<Vec<u64>, SourceError> {
    let remote = matches!(file.place, Place::Object { .. });
    let search = Search { file, size: file.size.unwrap_or(0), syntax, farthest: if remote { FARTHEST_REMOTE } else { FARTHEST } };
    let threads = if remote { REQUESTS } else { threads.max(1) };
    let mut found = in_parallel(places.to_vec(), threads, |place| search.near(place))?;
    if !remote {
        search.resolve_quoteless(places, &mut found, threads)?;
    }
    let mut starts: Vec<u64> = found.into_iter().filter_map(Finding::start).collect();
    starts.sort_unstable();
    starts.dedup();
    Ok(starts)
}

/// What is known of one place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Finding {
    Start(u64),
    /// No record begins behind it, or none that is certain.
    Nothing,
    /// No quote is near.
    Quoteless,
}

impl Finding {
    fn start(self) -> Option<u64> {
        match self {
            Finding::Start(start) => Some(start),
            Finding::Nothing | Finding::Quoteless => None,
        }
    }
}

struct Search<'a> {
    file: &'a Arc<SourceFile>,
    size: u64,
    syntax: Syntax,
    farthest: u64,
}

/// What the bytes behind a place tell.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Whether the place is outside of quotes, and where the next record begins, if that is in sight.
    Certain {
        outside: bool,
        start: Option<usize>,
    },
    /// Neither supposition holds: the file is malformed.
    Malformed,
    Unknown,
}

impl Search<'_> {
    fn near(&self, place: u64) -> Result<Finding, SourceError> {
        let mut len = FIRST;
        loop {
            let window = self.file.window(place - 1, len + 1)?;
            let last = place + len >= self.size;
            match judge(&window, last, self.syntax) {
                Verdict::Certain { start: Some(start), .. } => return Ok(self.finding(place - 1 + start as u64)),
                Verdict::Malformed => return Ok(Finding::Nothing),
                Verdict::Certain { .. } | Verdict::Unknown if last => return Ok(Finding::Nothing),
                Verdict::Unknown if !has(&window, self.syntax.quote) => return Ok(Finding::Quoteless),
                Verdict::Certain { .. } | Verdict::Unknown => {}
            }
            if len >= self.farthest {
                return Ok(Finding::Nothing);
            }
            len *= 8;
        }
    }

    fn finding(&self, start: u64) -> Finding {
        if start < self.size { Finding::Start(start) } else { Finding::Nothing }
    }

    /// Settles the places that have no quote near: by the next quote there is.
    fn resolve_quoteless(&self, places: &[u64], found: &mut [Finding], threads: usize) -> Result<(), SourceError> {
        let open: Vec<usize> = (0..places.len()).filter(|&at| found[at] == Finding::Quoteless).collect();
        let ends = open.iter().skip(1).map(|&at| places[at]).chain([self.size]);
        let stretches: Vec<Range<u64>> = open.iter().zip(ends).map(|(&at, end)| places[at]..end).collect();
        let quotes = in_parallel(stretches, threads, |stretch| self.first(self.syntax.quote, stretch))?;
        let mut next_quote = None;
        for (at, quote) in open.into_iter().zip(quotes).rev() {
            next_quote = quote.or(next_quote);
            found[at] = self.by_next_quote(places[at], next_quote)?;
        }
        Ok(())
    }

    fn by_next_quote(&self, place: u64, quote: Option<u64>) -> Result<Finding, SourceError> {
        let line_end = self.first(Some(b'\n'), place..quote.unwrap_or(self.size))?;
        let Some(quote) = quote else {
            return Ok(line_end.map_or(Finding::Nothing, |end| self.finding(end + 1)));
        };
        let mut len = FIRST;
        while len <= self.farthest {
            let last = quote + len >= self.size;
            match (judge(&self.file.window(quote - 1, len + 1)?, last, self.syntax), line_end) {
                (Verdict::Certain { outside: true, .. }, Some(end)) => return Ok(self.finding(end + 1)),
                (Verdict::Certain { start: Some(start), .. }, _) => return Ok(self.finding(quote - 1 + start as u64)),
                (Verdict::Malformed, _) => return Ok(Finding::Nothing),
                (Verdict::Certain { .. } | Verdict::Unknown, _) if last => return Ok(Finding::Nothing),
                (Verdict::Certain { .. } | Verdict::Unknown, _) => len *= 8,
            }
        }
        Ok(Finding::Nothing)
    }

    /// The first place of a byte in a stretch of the file.
    fn first(&self, byte: Option<u8>, stretch: Range<u64>) -> Result<Option<u64>, SourceError> {
        let Some(byte) = byte else { return Ok(None) };
        let mut at = stretch.start;
        while at < stretch.end {
            let window = self.file.window(at, STRIDE.min(stretch.end - at))?;
            if let Some(found) = memchr(byte, &window) {
                return Ok(Some(at + found as u64));
            }
            at += window.len().max(1) as u64;
        }
        Ok(None)
    }
}

fn has(bytes: &[u8], byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| memchr(byte, bytes).is_some())
}

/// Supposes that the bytes behind the first one are outside, and inside, of a quoted field.
fn judge(window: &[u8], last: bool, syntax: Syntax) -> Verdict {
    // Behind a quote there is a third possibility (it is half of two); so the first place behind another byte is taken.
    let Some(place) = (1..window.len()).find(|&at| Some(window[at - 1]) != syntax.quote) else { return Verdict::Unknown };
    let before = window[place - 1];
    let bytes = &window[place..];
    let suppose = |inside: bool| {
        let mut index = Index::supposing(syntax, inside, before == b'\n' || Some(before) == syntax.delimiter);
        index.extend(bytes, last);
        let first = index.records().first().map(|&record| place + index.ends()[record as usize] as usize + 1);
        (index.fault().is_none(), first)
    };
    match (suppose(false), suppose(true)) {
        ((true, start), (false, _)) => Verdict::Certain { outside: true, start },
        ((false, _), (true, start)) => Verdict::Certain { outside: false, start },
        ((false, _), (false, _)) => Verdict::Malformed,
        ((true, _), (true, _)) => Verdict::Unknown,
    }
}

/// The results of `work` in the order of its inputs, by several threads.
fn in_parallel<T: Clone + Send + Sync, R: Send>(
    inputs: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> Result<R, SourceError> + Sync,
) -> Result<Vec<R>, SourceError> {
    let share = inputs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = inputs
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().cloned().map(work).collect::<Result<Vec<R>, _>>()))
            .collect();
        let mut results = Vec::new();
        for thread in threads {
            results.extend(thread.join().expect("a search for records does not panic")?);
        }
        Ok(results)
    })
}
