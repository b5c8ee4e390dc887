//! The ends of a single task's chain whose rows come from other processes and go to others: pieces instead of logs and files.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use plan::task::{Held, Mark, PieceName, Place};
use plan::{CollectionId, Do, Node, NodeId, Op, Sink};

use crate::op::sorted_run::SortedRun;
use crate::outbox::Outbox;
use crate::shuffle::MapTask;
use crate::sink::LineFormat;
use crate::worker::{Exchange, Frames, Watch};
use crate::{Batch, Error, Result, RowSink, TaskContext, Val};

use super::pass::Watched;

/// What a single task has of the world.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) exchange: Arc<dyn Exchange>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) agents: Vec<String>,
    pub(crate) sides: BTreeMap<CollectionId, Vec<Held>>,
    pub(crate) buckets: BTreeMap<NodeId, u32>,
}

/// A run tells the places of about so many of its frames: enough to cut it evenly, few enough to send around.
const MARKS: usize = 256;
/// A place is told up to so many bytes; a cut one only makes ranges less even.
const PLACE: usize = 128;

impl Away {
    /// In how many buckets a group's rows are dealt; 0 where the task was not told.
    pub(crate) fn buckets(&self, group: NodeId) -> usize {
        self.buckets.get(&group).map_or(0, |buckets| *buckets as usize)
    }

    /// A sink that tells the watcher of the rows that pass.
    pub(crate) fn watched(&self, out: Box<dyn RowSink>) -> Box<dyn RowSink> {
        Box::new(Watched { untold: 0, watch: Arc::clone(&self.watch), out })
    }

    /// Pieces that others hold, one after the other.
    pub(crate) fn fetch(&self, pieces: &[Held]) -> Result<Frames> {
        self.exchange.fetch(pieces, &self.agents)
    }

    /// A whole side input.
    pub(crate) fn side(&self, collection: CollectionId) -> Result<Frames> {
        match self.sides.get(&collection) {
            Some(pieces) => self.fetch(pieces),
            None => Err(Error::Plan(format!("the task was not told where side input {collection} is"))),
        }
    }

    /// The end of a chain whose rows are stored.
    pub(crate) fn part(&self, collection: CollectionId, from: MapTask) -> Box<dyn RowSink> {
        self.rows(PieceName::Part { collection, from })
    }

    /// The end of a chain whose rows are written: lines for standard output, rows for the task that stages files.
    pub(crate) fn write(&self, node: &Node, number: usize, ctx: &Rc<TaskContext>) -> Result<Box<dyn RowSink>> {
        let name = PieceName::Write { node: node.id, number: number as u32 };
        match &node.op {
            Op::ParallelDo(Do::Write(Sink::Stdout { format })) => {
                let format = LineFormat::new(format.as_deref()).map_err(|error| Error::in_step(&node.step, error))?;
                let outbox = Arc::clone(&self.outbox);
                Ok(Box::new(Lines { name, outbox, format, step: node.step.clone(), ctx: Rc::clone(ctx), open: Batch::default() }))
            }
            Op::ParallelDo(Do::Write(Sink::Files { .. })) => Ok(self.rows(name)),
            _ => Err(Error::Plan(format!("step {:?} does not write", node.step))),
        }
    }

    fn rows(&self, name: PieceName) -> Box<dyn RowSink> {
        Box::new(Rows { name, outbox: Arc::clone(&self.outbox), open: Batch::default() })
    }
}

/// Hands on a sorted run.
pub(crate) fn send_run(outbox: &Outbox, group: NodeId, from: MapTask, run: &SortedRun) -> Result<()> {
    let number = outbox.pieces().len() as u32;
    let name = PieceName::Run { group, run: number, from, marks: Vec::new() };
    let every = run.batches().div_ceil(MARKS).max(1);
    let mut marks = Vec::new();
    for (frame, batch) in run.frames().enumerate() {
        let (batch, first) = batch?;
        if frame.is_multiple_of(every) {
            marks.push(Mark { frame: frame as u32, place: Place(first[..first.len().min(PLACE)].to_vec()) });
        }
        outbox.put(name.clone(), batch)?;
    }
    outbox.rename(&name, PieceName::Run { group, run: number, from, marks });
    Ok(())
}

/// Rows of one piece.
struct Rows {
    name: PieceName,
    outbox: Arc<Outbox>,
    open: Batch,
}

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.open.push(row);
        if self.open.is_full() { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        send(&self.outbox, &self.name, &mut self.open)
    }
}

/// Lines of text of one piece.
struct Lines {
    name: PieceName,
    outbox: Arc<Outbox>,
    format: LineFormat,
    step: String,
    ctx: Rc<TaskContext>,
    open: Batch,
}

impl RowSink for Lines {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.format.write(&mut self.open.bytes, row).map_err(|error| self.ctx.fail(&self.step, Some(row), error))?;
        self.open.rows += 1;
        if self.open.is_full() { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        send(&self.outbox, &self.name, &mut self.open)
    }
}

/// Hands on what there is of a piece, if anything.
fn send(outbox: &Outbox, name: &PieceName, open: &mut Batch) -> Result<()> {
    if open.rows == 0 { Ok(()) } else { outbox.put(name.clone(), std::mem::take(open)) }
}
