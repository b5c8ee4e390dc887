//! What a single task leaves for others: numbered pieces, handed on batch by batch while the task runs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use plan::task::{Piece, PieceName};

use crate::lock::lock;
use crate::worker::{Exchange, Watch};
use crate::{Batch, Result};

/// The pieces of one running attempt.
#[derive(Debug)]
pub(crate) struct Outbox {
    exchange: Arc<dyn Exchange>,
    watch: Arc<Watch>,
    pieces: Mutex<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    made: Vec<Piece>,
    numbers: BTreeMap<PieceName, usize>,
    marks: BTreeMap<u32, Vec<u32>>,
}

/// So many marks of a piece are told, the last ones.
const MARKS: usize = 8;

impl Outbox {
    /// An empty outbox of a task that begins.
    pub(crate) fn new(exchange: Arc<dyn Exchange>, watch: Arc<Watch>) -> Outbox {
        Outbox { exchange, watch, pieces: Mutex::default() }
    }

    /// Hands on a batch of a piece, which begins with its first batch; blocks while there is no room.
    pub(crate) fn put(&self, name: PieceName, batch: Batch) -> Result<()> {
        self.put_marked(name, batch, None)
    }

    /// [`Outbox::put`], with the mark of a key in the batch.
    pub(crate) fn put_marked(&self, name: PieceName, batch: Batch, mark: Option<u32>) -> Result<()> {
        let number = {
            let mut pieces = lock(&self.pieces);
            let next = pieces.made.len();
            let number = *pieces.numbers.entry(name.clone()).or_insert(next);
            if number == next {
                pieces.made.push(Piece { name, rows: 0, bytes: 0, frames: 0 });
            }
            if let Some(mark) = mark {
                let at = pieces.made[number].frames as usize % MARKS;
                let marks = pieces.marks.entry(number as u32).or_default();
                match marks.get_mut(at) {
                    Some(old) => *old = mark,
                    None => marks.push(mark),
                }
            }
            let piece = &mut pieces.made[number];
            piece.rows += batch.rows as u64;
            piece.bytes += batch.bytes.len() as u64;
            piece.frames += 1;
            number
        };
        self.watch.bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
        self.exchange.put(number as u32, batch)
    }

    /// Replaces the name of a piece that is whole, by what became known of it meanwhile.
    pub(crate) fn rename(&self, from: &PieceName, to: PieceName) {
        let mut pieces = lock(&self.pieces);
        if let Some(number) = pieces.numbers.remove(from) {
            pieces.made[number].name = to;
        }
    }

    /// Everything that was handed on, by number.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        lock(&self.pieces).made.clone()
    }

    /// The marks of some keys, by the number of their piece.
    pub(crate) fn marks(&self) -> BTreeMap<u32, Vec<u32>> {
        lock(&self.pieces).marks.clone()
    }
}
