//! The small sinks between steps: count, copy to several, keep, project, drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::aside::Aside;
use crate::op::probe::ProbeJoin;
use crate::shuffle::MapTask;
use crate::worker::Watch;
use crate::{BatchLog, Result, RowScratch, RowSink, Val, key};

use super::job::Job;

/// Counts the rows of a collection on their way.
pub(crate) struct Count {
    pub(crate) rows: u64,
    pub(crate) total: Arc<AtomicU64>,
    pub(crate) out: Box<dyn RowSink>,
}

impl RowSink for Count {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.rows += 1;
        self.out.push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.total.fetch_add(std::mem::take(&mut self.rows), Ordering::Relaxed);
        self.out.finish()
    }

    fn close(&mut self) -> Result<()> {
        self.out.close()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

impl Drop for Count {
    /// Of a task that fails, what it has seen counts too.
    fn drop(&mut self) {
        self.total.fetch_add(self.rows, Ordering::Relaxed);
    }
}

/// Tells a watcher, now and then, how many rows have entered a task.
pub(crate) struct Watched {
    pub(crate) untold: u64,
    pub(crate) watch: Arc<Watch>,
    pub(crate) out: Box<dyn RowSink>,
}

/// After so many rows a watcher is told.
const TELL: u64 = 1024;

impl Watched {
    fn tell(&mut self) {
        self.watch.rows.fetch_add(std::mem::take(&mut self.untold), Ordering::Relaxed);
    }
}

impl RowSink for Watched {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.untold += 1;
        if self.untold >= TELL {
            self.tell();
        }
        self.out.push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.tell();
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

/// Hands each row to several consumers.
pub(crate) struct Tee(pub(crate) Vec<Box<dyn RowSink>>);

impl RowSink for Tee {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.0.iter_mut().try_for_each(|out| out.push(row))
    }

    fn finish(&mut self) -> Result<()> {
        self.close()?;
        self.0.iter_mut().try_for_each(|out| out.finish())
    }

    fn close(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(|out| out.close())
    }

    fn wants_more(&self) -> bool {
        self.0.iter().any(|out| out.wants_more())
    }
}

/// Takes rows that nobody reads (an unread output of a parallelDo).
pub(crate) struct Nobody {
    /// Whether they are to be made all the same, for the effects of what makes them.
    pub(crate) for_effects: bool,
}

impl RowSink for Nobody {
    fn push(&mut self, _row: &[Val<'_>]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn wants_more(&self) -> bool {
        self.for_effects
    }
}

/// Keeps a part of a collection for later stages.
pub(crate) struct Keep {
    pub(crate) job: Arc<Job>,
    pub(crate) collection: plan::CollectionId,
    pub(crate) task: MapTask,
    pub(crate) log: Option<BatchLog>,
}

impl RowSink for Keep {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.log.as_mut().expect("not finished yet").push(row)
    }

    fn finish(&mut self) -> Result<()> {
        let mut log = self.log.take().expect("finished once");
        log.seal()?;
        self.job.keep_part(self.collection, self.task, log);
        Ok(())
    }
}

/// `select`: the columns of a row, reordered.
pub(crate) struct Select {
    pub(crate) columns: Vec<u32>,
    pub(crate) scratch: RowScratch,
    pub(crate) aside: Aside,
    pub(crate) out: Box<dyn RowSink>,
}

impl RowSink for Select {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let mut selected = self.scratch.take();
        let missing = self.columns.iter().find_map(|column| match key::column(row, *column) {
            Ok(value) => {
                selected.push(value);
                None
            }
            Err(missing) => Some(missing),
        });
        let result = match missing {
            None => self.out.push(&selected),
            Some(missing) => self.aside.row(row, missing),
        };
        self.scratch.give(selected);
        result
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()?;
        self.aside.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more() || self.aside.wants_more()
    }
}

/// A broadcast join's big leg.
pub(crate) struct Probe {
    pub(crate) join: ProbeJoin,
    pub(crate) out: Box<dyn RowSink>,
}

impl RowSink for Probe {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.join.push(row, self.out.as_mut())
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}
