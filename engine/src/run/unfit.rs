//! A broadcast join whose sides turned out not to fit into memory: each task joins its rows with them as it would behind a
//! shuffle, spilling. Slower than that, as every task reads all sides, but never wrong and never too large.

use std::rc::Rc;
use std::sync::Arc;

use crate::op::group::tag;
use crate::op::join::Join;
use crate::op::probe::ProbeSpec;
use crate::{BatchLog, Error, Result, RowScratch, RowSink, TaskContext, Val};

/// Gathers a task's rows of the big leg; at its end, joins them with all rows of the others.
pub(crate) struct Unfit {
    step: String,
    ctx: Rc<TaskContext>,
    spec: ProbeSpec,
    /// The other legs, in their order.
    sides: Vec<Arc<BatchLog>>,
    /// From the first row on.
    join: Option<Join>,
    scratch: RowScratch,
    out: Box<dyn RowSink>,
}

impl Unfit {
    pub(crate) fn new(
        step: &str,
        ctx: &Rc<TaskContext>,
        (spec, sides): (ProbeSpec, Vec<Arc<BatchLog>>),
        out: Box<dyn RowSink>,
    ) -> Unfit {
        Unfit { step: step.to_owned(), ctx: Rc::clone(ctx), spec, sides, join: None, scratch: RowScratch::default(), out }
    }

    /// Each side with the number of its leg.
    fn legs(&self) -> Vec<(usize, Arc<BatchLog>)> {
        let legs = (0..self.spec.keys.len()).filter(|leg| *leg != self.spec.big);
        legs.zip(self.sides.iter().map(Arc::clone)).collect()
    }

    fn begin(&self) -> Result<Join> {
        let mut widths: Vec<usize> = self.spec.widths.iter().map(|width| width.unwrap_or(0)).collect();
        for (leg, side) in self.legs().into_iter().filter(|(leg, _)| self.spec.widths[*leg].is_none()) {
            let columns = &self.spec.keys[leg];
            each_row(&self.ctx, &side, |row| {
                let values = (0..row.len()).filter(|at| !columns.contains(&(*at as u32))).count();
                widths[leg] = widths[leg].max(values);
                Ok(())
            })?;
        }
        let key_fields = self.spec.keys[self.spec.big].len();
        Ok(Join::new(self.spec.kind, key_fields, widths, self.ctx.run.allowance(&self.step)))
    }
}

impl RowSink for Unfit {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if self.join.is_none() {
            self.join = Some(self.begin()?);
        }
        let mut tagged = self.scratch.take();
        tag(self.spec.big as u32, &self.spec.keys[self.spec.big], row, &mut tagged)
            .map_err(|missing| self.ctx.fail(&self.step, Some(row), missing))?;
        let pushed = self.join.as_mut().map_or(Ok(()), |join| join.push(&tagged));
        self.scratch.give(tagged);
        pushed
    }

    fn finish(&mut self) -> Result<()> {
        // Every row that a broadcast join gives has one of the big leg in it.
        if let Some(mut join) = self.join.take() {
            for (leg, side) in self.legs() {
                let mut scratch = RowScratch::default();
                each_row(&self.ctx, &side, |row| {
                    let mut tagged = scratch.take();
                    tag(leg as u32, &self.spec.keys[leg], row, &mut tagged)
                        .map_err(|missing| Error::in_step(&self.step, missing))?;
                    let pushed = join.push(&tagged);
                    scratch.give(tagged);
                    pushed
                })?;
            }
            join.finish(self.out.as_mut())?;
        }
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

fn each_row(ctx: &TaskContext, log: &BatchLog, mut each: impl FnMut(&[Val<'_>]) -> Result<()>) -> Result<()> {
    let (mut reader, mut scratch) = (log.reader(), RowScratch::default());
    while let Some(batch) = reader.next_batch()? {
        ctx.check_running()?;
        batch.for_each(&mut scratch, &mut each)?;
    }
    Ok(())
}
