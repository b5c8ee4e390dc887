//! Joins that are planned as shuffles and may yet do without: which side would wait until the others are measured, and when they
//! turned out small enough. Pure, so that whoever runs the plan decides alike.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::task::Leg;
use crate::{CollectionId, Decision, Do, JoinKind, Mscr, MscrId, Node, NodeId, Op, OutputChannel, Plan};

use super::forward::forwards;
use super::order::units;

/// `broadcast: auto` gives a side of a join to every task where it has no more bytes than this, known or measured.
pub const BROADCAST_BYTES: u64 = 32 << 20;

/// A shuffled join that switches to a broadcast if all sides but one turn out small: these are shuffled and measured first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    pub stage: MscrId,
    /// The shuffle of the join.
    pub group: NodeId,
    /// The leg that waits. If the join switches, its rows look up the rows of the others instead of being shuffled.
    pub big: u32,
    /// The input channels that make the leg's rows, and no other leg's.
    pub late: Vec<usize>,
    /// The most bytes that each other leg may have; `u64::MAX`: as many as a task can hold.
    pub limit: u64,
}

/// Why a join stays a shuffle, now that its sides are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// A side is larger than the limit; perhaps not all of it was seen.
    TooLarge { leg: usize, bytes: u64 },
    /// Keys of a side could be shown in another way by equal ones of the others.
    Odd { leg: usize },
    /// The sides are no table that a task may hold.
    NoRoom { bytes: u64 },
}

impl Switch {
    /// Whether the join switches, given what was seen of each leg; `Ok`: the bytes of the small ones together. `room`: what a task
    /// may hold. A reason to stay remains one whatever else is seen.
    ///
    /// # Errors
    /// [`Stays`].
    pub fn decide(&self, legs: &[Leg], room: u64) -> Result<u64, Stays> {
        let small = || legs.iter().enumerate().filter(|(leg, _)| *leg != self.big as usize);
        if let Some((leg, seen)) = small().find(|(_, seen)| seen.bytes > self.limit) {
            return Err(Stays::TooLarge { leg, bytes: seen.bytes });
        }
        if let Some((leg, _)) = small().find(|(_, seen)| seen.odd) {
            return Err(Stays::Odd { leg });
        }
        let (bytes, rows) = small().fold((0, 0), |(bytes, rows), (_, seen)| (bytes + seen.bytes, rows + seen.rows));
        if table_bytes(rows, bytes, legs.len()) > room { Err(Stays::NoRoom { bytes }) } else { Ok(bytes) }
    }

    /// Whether rows of a channel of the stage wait for the others.
    #[must_use]
    pub fn waits(&self, stage: MscrId, channel: usize) -> bool {
        self.stage == stage && self.late.contains(&channel)
    }

    /// A decision in words, for reports.
    #[must_use]
    pub fn told(&self, plan: &Plan, decided: &Result<u64, Stays>) -> Decision {
        let names = leg_names(plan, self.group);
        let name = |leg: usize| names.get(leg).map_or("", String::as_str);
        let reason = match decided {
            Ok(bytes) => {
                let others = names.iter().enumerate().filter(|(leg, _)| *leg != self.big as usize);
                let others: Vec<String> = others.map(|(_, name)| format!("`{name}`")).collect();
                let (others, big) = (others.join(" and "), name(self.big as usize));
                format!("switched to a broadcast: every task holds {others} whole, {bytes} bytes; `{big}` is not shuffled")
            }
            Err(Stays::TooLarge { leg, bytes }) => {
                format!("shuffled: `{}` has {bytes} bytes or more, above {}", name(*leg), self.limit)
            }
            Err(Stays::Odd { leg }) => {
                format!("shuffled: keys of `{}` could be shown in another way by equal ones, as 4.0 by 4", name(*leg))
            }
            Err(Stays::NoRoom { bytes }) => {
                format!("shuffled: the other sides ({bytes} bytes) do not fit into the memory of a task")
            }
        };
        let step = plan.graph.node(self.group).step.clone();
        Decision { pass: PASS.to_owned(), step, did: decided.is_ok(), reason }
    }

    /// For a run whose partitions are asked for.
    #[must_use]
    pub fn told_exact(&self, plan: &Plan, partitions: usize) -> Decision {
        let step = plan.graph.node(self.group).step.clone();
        let reason = format!("shuffled: into {partitions} partitions, as asked for");
        Decision { pass: PASS.to_owned(), step, did: false, reason }
    }
}

/// What decisions of this kind are called in reports: the planner's pass that made them possible.
const PASS: &str = "switch-joins";

/// More than the engine's table of so many rows takes: of each row its header, its place in the hash table while that grows and the
/// heads of its chains; of its bytes the values, and the key, which may be twice as long in its encoding.
fn table_bytes(rows: u64, bytes: u64, legs: usize) -> u64 {
    const ROW: u64 = 208;
    rows.saturating_mul(ROW + 8 * legs as u64).saturating_add(bytes.saturating_mul(3))
}

/// All shuffled joins of a plan, in its order: those that may switch, and why the others cannot.
#[must_use]
pub fn switches(plan: &Plan, limit: u64) -> Vec<(NodeId, Result<Switch, String>)> {
    // A plan that waits for itself is reported elsewhere.
    let Ok(order) = units(plan) else { return Vec::new() };
    let forwarded: BTreeSet<CollectionId> = forwards(plan, &order).into_keys().collect();
    let consumers = plan.graph.consumers();
    let mut found = Vec::new();
    for stage in &plan.mscrs {
        let mut orders = Orders::default();
        for output in &stage.outputs {
            let OutputChannel::Group { group, reduce, .. } = output else { continue };
            let readers = consumers.get(&plan.graph.node(*group).outputs[0]).map_or(&[][..], Vec::as_slice);
            let Some(join) = Join::of(plan, *group, readers) else { continue };
            let may = join.may(plan).and_then(|()| {
                let stays = || Err("its groups are used apart from the join".to_owned());
                if readers.len() == 1 && reduce.contains(&readers[0]) { Ok(()) } else { stays() }
            });
            let switch = may.and_then(|()| join.waiting(plan, stage, &forwarded)).and_then(|(big, late, early)| {
                orders.add(&late, &early)?;
                // Who asks for it gets it where a task can hold the sides.
                let limit = if join.untag.broadcast == Some(true) { u64::MAX } else { limit };
                let (big, late) = (u32::try_from(big).unwrap_or(u32::MAX), late.into_iter().collect());
                Ok(Switch { stage: stage.id, group: *group, big, late, limit })
            });
            found.push((*group, switch));
        }
    }
    found
}

/// Which channels of a stage run before which others.
#[derive(Default)]
struct Orders {
    late: BTreeSet<usize>,
    early: BTreeSet<usize>,
}

impl Orders {
    fn add(&mut self, late: &BTreeSet<usize>, early: &BTreeSet<usize>) -> Result<(), String> {
        if !self.early.is_disjoint(late) || !self.late.is_disjoint(early) {
            return Err("another join of the stage measures what this one would make wait".to_owned());
        }
        self.late.extend(late);
        self.early.extend(early);
        Ok(())
    }
}

/// A shuffled join: its tags, by leg.
struct Join<'p> {
    group: &'p Node,
    untag: &'p Node,
    kind: JoinKind,
    tags: BTreeMap<usize, Vec<&'p Node>>,
    legs: usize,
}

impl<'p> Join<'p> {
    fn of(plan: &'p Plan, group: NodeId, readers: &[NodeId]) -> Option<Join<'p>> {
        let is_join = |node: &Node| matches!(node.op, Op::ParallelDo(Do::UntagJoin { .. }));
        let untag = readers.iter().map(|id| plan.graph.node(*id)).find(|node| is_join(node))?;
        let Op::ParallelDo(Do::UntagJoin { kind, legs, .. }) = &untag.op else { return None };
        let mut tags: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
        let mut open = plan.graph.node(group).inputs.clone();
        while let Some(collection) = open.pop() {
            let producer = plan.graph.producer(collection);
            match &producer.op {
                Op::Flatten { .. } => open.extend(&producer.inputs),
                Op::ParallelDo(Do::Tag { leg, .. }) => tags.entry(*leg as usize).or_default().push(producer),
                _ => return None,
            }
        }
        Some(Join { group: plan.graph.node(group), untag, kind: *kind, tags, legs: *legs as usize })
    }

    /// Whether any size could make it switch.
    fn may(&self, plan: &Plan) -> Result<(), String> {
        if self.untag.broadcast == Some(false) {
            return Err("`broadcast: never`".to_owned());
        }
        if self.kind == JoinKind::Full {
            return Err("a full join keeps unmatched rows of every side".to_owned());
        }
        if let Some(partitions) = self.group.partitions {
            return Err(format!("the result is to have {partitions} partitions"));
        }
        if self.group.outputs.iter().any(|made| plan.graph.collection(*made).persist) {
            return Err("its groups are persisted".to_owned());
        }
        Ok(())
    }

    /// The leg that can wait for the others, its channels, and theirs.
    fn waiting(
        &self,
        plan: &Plan,
        stage: &Mscr,
        forwarded: &BTreeSet<CollectionId>,
    ) -> Result<(usize, BTreeSet<usize>, BTreeSet<usize>), String> {
        let legs: Vec<Vec<usize>> = (0..self.legs).map(|leg| self.channels(stage, leg)).collect::<Result<_, _>>()?;
        let asked = match self.kind {
            JoinKind::Left => vec![0],
            JoinKind::Right => vec![self.legs - 1],
            JoinKind::Inner | JoinKind::Full => self.by_size(plan),
        };
        let mut why = String::new();
        for leg in asked {
            let late: BTreeSet<usize> = legs[leg].iter().copied().collect();
            let early: BTreeSet<usize> =
                legs.iter().enumerate().filter(|(other, _)| *other != leg).flat_map(|(_, other)| other).copied().collect();
            let flows_in = late.iter().flat_map(|channel| &stage.inputs[*channel].reads).any(|read| forwarded.contains(read));
            let problem = if flows_in {
                "is shuffled while it is made, before the others are measured"
            } else if !late.is_disjoint(&early) {
                "comes out of the same pass as another side"
            } else if late.len() < legs[leg].len() {
                "is made on several ways in one pass"
            } else {
                return Ok((leg, late, early));
            };
            if why.is_empty() {
                why = format!("`{}` {problem}", self.name(plan, leg));
            }
        }
        Err(why)
    }

    /// The channel of each tag of a leg.
    fn channels(&self, stage: &Mscr, leg: usize) -> Result<Vec<usize>, String> {
        let tags = self.tags.get(&leg).map_or(&[][..], Vec::as_slice);
        let channel = |tag: &&Node| stage.inputs.iter().position(|input| input.does.contains(&tag.id));
        let found: Option<Vec<usize>> = tags.iter().map(channel).collect();
        found.filter(|found| !found.is_empty()).ok_or_else(|| "a side is made by another stage".to_owned())
    }

    /// All legs, the largest first; one of unknown size may be larger than any; the first of equal ones.
    fn by_size(&self, plan: &Plan) -> Vec<usize> {
        let bytes = |leg: &usize| {
            let tags = self.tags.get(leg).into_iter().flatten();
            let sizes = tags.map(|tag| plan.graph.collection(tag.inputs[0]).bytes);
            sizes.fold(Some(0_u64), |sum, bytes| Some(sum?.saturating_add(bytes?))).unwrap_or(u64::MAX)
        };
        let mut legs: Vec<usize> = (0..self.legs).collect();
        legs.sort_by_key(|leg| std::cmp::Reverse(bytes(leg)));
        legs
    }

    fn name<'a>(&self, plan: &'a Plan, leg: usize) -> &'a str {
        let tag = self.tags.get(&leg).and_then(|tags| tags.first());
        tag.map_or("", |tag| &plan.graph.collection(tag.inputs[0]).name)
    }
}

/// The channels of a stage that make the rows of one leg of a join, and of no other; `None`: some make rows of several.
#[must_use]
pub fn leg_channels(plan: &Plan, stage: &Mscr, group: NodeId, leg: usize) -> Option<BTreeSet<usize>> {
    let readers = plan.graph.consumers().remove(&plan.graph.node(group).outputs[0]).unwrap_or_default();
    let join = Join::of(plan, group, &readers)?;
    let own: BTreeSet<usize> = join.channels(stage, leg).ok()?.into_iter().collect();
    let mut others = (0..join.legs).filter(|other| *other != leg).map(|other| join.channels(stage, other));
    others.all(|other| other.is_ok_and(|other| other.iter().all(|channel| !own.contains(channel)))).then_some(own)
}

/// The names of a join's legs: what is joined, by leg; copies of a leg share the name of the first.
#[must_use]
pub fn leg_names(plan: &Plan, group: NodeId) -> Vec<String> {
    let readers = plan.graph.consumers().remove(&plan.graph.node(group).outputs[0]).unwrap_or_default();
    let join = Join::of(plan, group, &readers);
    join.map_or_else(Vec::new, |join| (0..join.legs).map(|leg| join.name(plan, leg).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_switches_if_each_other_side_is_small_and_plain_whatever_the_waiting_one_has() {
        let switch = Switch { stage: MscrId(0), group: NodeId(0), big: 1, late: vec![0], limit: 10 };
        let check = |bytes: [u64; 3], odd: Option<usize>, room: u64, expected: Result<u64, Stays>| {
            let leg = |(at, bytes)| Leg { rows: 1, bytes, odd: odd == Some(at), ..Leg::default() };
            let legs: Vec<Leg> = bytes.into_iter().enumerate().map(leg).collect();
            assert_eq!(switch.decide(&legs, room), expected);
        };
        check([10, 1000, 9], None, 1000, Ok(19));
        check([11, 0, 9], None, 1000, Err(Stays::TooLarge { leg: 0, bytes: 11 }));
        check([0, 0, 0], None, 1000, Ok(0));
        check([1, 1, 1], Some(1), 1000, Ok(2));
        check([1, 1, 1], Some(2), 1000, Err(Stays::Odd { leg: 2 }));
        check([10, 1, 9], None, 500, Err(Stays::NoRoom { bytes: 19 }));
    }
}
