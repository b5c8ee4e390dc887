//! Reduce tasks of a join, bucket after bucket: a bucket has all rows of its keys, so that its small legs become a table, and the
//! rows of the largest leg, which is never kept, look theirs up.

use plan::{Do, Group, JoinKind, Op};

use crate::op::Allowance;
use crate::op::join::{Join, StreamedJoin};
use crate::shuffle::Kept;
use crate::{Result, RowScratch, RowSink, TaskContext, Val};

use super::chain::Chain;
use super::deal::{Target, key_fields};
use super::heads::{untag, widths};

/// A join that takes whole buckets.
pub(super) struct Streamed {
    join: StreamedJoin,
    kind: JoinKind,
    key_fields: usize,
    widths: Vec<usize>,
    allowance: Allowance,
    out: Box<dyn RowSink>,
    more: bool,
}

/// The join behind a target's shuffle, where it can be done in this way: every batch has rows of one leg, and every key is shown
/// as it is, whatever equal ones there are.
pub(super) fn streamed(chain: &Chain<'_>, target: &Target) -> Result<Option<Streamed>> {
    let node = chain.job.plan.graph.node(target.group);
    let Op::Group(Group::ByLeg { .. }) = &node.op else { return Ok(None) };
    let untag = untag(chain, node)?;
    let Op::ParallelDo(Do::UntagJoin { kind, widths: known, .. }) = &untag.op else { return Ok(None) };
    let legs = target.shuffle.legs();
    let big = (0..legs.len()).max_by_key(|leg| legs[*leg].bytes);
    let Some(big) = big.filter(|_| !target.shuffle.is_mixed() && legs.iter().all(|leg| !leg.odd)) else { return Ok(None) };
    let (key_fields, widths) = (key_fields(&chain.job.plan, node)?, widths(target, known));
    let allowance = chain.job.run.allowance(&node.step);
    Ok(Some(Streamed {
        join: StreamedJoin::new(*kind, big, key_fields, widths.clone(), &allowance),
        kind: *kind,
        key_fields,
        widths,
        allowance,
        out: chain.collection(untag.outputs[0])?,
        more: true,
    }))
}

impl Streamed {
    /// Joins the rows of a bucket.
    pub(super) fn push_bucket(&mut self, ctx: &TaskContext, bucket: Vec<Kept>) -> Result<()> {
        let (mut scratch, mut large) = (RowScratch::default(), Vec::with_capacity(bucket.len()));
        for kept in &bucket {
            ctx.check_running()?;
            let (batch, mut leg, mut fits) = (kept.read()?, None, true);
            batch.first(&mut scratch, |row| leg = row.first().copied().and_then(leg_of))?;
            large.push(leg == Some(self.join.big()));
            if leg != Some(self.join.big()) {
                batch.for_each(&mut scratch, |row| {
                    fits = fits && self.join.add(row)?;
                    Ok(())
                })?;
            }
            if !fits {
                self.join.clear();
                return self.join_anyhow(ctx, bucket);
            }
        }
        for (kept, _) in bucket.into_iter().zip(large).filter(|(_, large)| *large) {
            if !self.more {
                return Ok(());
            }
            ctx.check_running()?;
            let (join, out, more) = (&mut self.join, self.out.as_mut(), &mut self.more);
            kept.load()?.for_each(&mut scratch, |row| {
                *more = *more && join.probe(row, out)?;
                Ok(())
            })?;
        }
        self.more = self.more && self.join.end(self.out.as_mut())?;
        Ok(())
    }

    /// A bucket whose small legs are too large for a table.
    fn join_anyhow(&mut self, ctx: &TaskContext, bucket: Vec<Kept>) -> Result<()> {
        let mut join = Join::new(self.kind, self.key_fields, self.widths.clone(), self.allowance.clone());
        let mut scratch = RowScratch::default();
        for kept in bucket {
            ctx.check_running()?;
            kept.load()?.for_each(&mut scratch, |row| join.push(row))?;
        }
        join.finish(self.out.as_mut())
    }

    /// Whether more rows can change anything.
    pub(super) fn wants_more(&self) -> bool {
        self.more && self.out.wants_more()
    }

    /// All buckets are done.
    pub(super) fn finish(mut self) -> Result<()> {
        self.out.finish()
    }
}

fn leg_of(tag: Val<'_>) -> Option<usize> {
    if let Val::Int(leg) = tag { usize::try_from(leg).ok() } else { None }
}
