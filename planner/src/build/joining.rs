//! Puts units together to stages, one try at a time; each refusal is told.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Decision, Graph, NodeId};

use super::units::{Unit, Units};
use crate::{Draft, Options, PassName, passes::Log, quotient::Quotient};

/// Units in blocks.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) quotient: Quotient,
    pub(super) decisions: Vec<Decision>,
}

/// Joins all units of a draft.
pub(super) fn join(draft: &Draft, units: &Units, options: &Options) -> Joined {
    let mut joining = Joining {
        graph: &draft.graph,
        blocks: &draft.blocks,
        lifted: draft.combines.values().flatten().copied().collect(),
        units,
        quotient: units.quotient(),
        bound: units.list.iter().map(|unit| is_bound(draft, units, *unit)).collect(),
        has_group: units.list.iter().map(|unit| matches!(unit, Unit::Group(_))).collect(),
        together: options.runs(PassName::SiblingFusion),
        log: Log::new(PassName::MscrFusion.as_str()),
    };
    if options.runs(PassName::MscrFusion) {
        joining.related_groups();
    }
    let mut decisions = joining.told(super::STAGES);
    joining.mappers();
    joining.reducers();
    let by_input = joining.by_input();
    joining.read_along(&by_input);
    joining.loads(&by_input);
    decisions.extend(joining.told(PassName::MapOnlyMerging.as_str()));
    if options.runs(PassName::MapOnlyMerging) {
        joining.map_only();
    }
    decisions.extend(joining.log.into_decisions());
    Joined { quotient: joining.quotient, decisions }
}

fn is_bound(draft: &Draft, units: &Units, unit: Unit) -> bool {
    let Unit::Fusion(head) = unit else { return false };
    units.fusions[&head].iter().any(|node| draft.graph.node(*node).belongs_to_its_group())
}

struct Joining<'a> {
    graph: &'a Graph,
    /// Collections at which a stage ends.
    blocks: &'a BTreeSet<CollectionId>,
    /// Combines that run before the shuffle, and so must run behind it in the same stage.
    lifted: BTreeSet<NodeId>,
    units: &'a Units,
    quotient: Quotient,
    /// Whether a unit has a node that is one with the group before it: no other stage can run it.
    bound: Vec<bool>,
    /// Whether a block, by its number, holds a group.
    has_group: Vec<bool>,
    /// Whether readers of one collection share a pass.
    together: bool,
    log: Log,
}

/// What makes two groups related.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Mapper(usize),
    Input(CollectionId),
}

impl Joining<'_> {
    /// What was told so far; what comes next is told in another name.
    fn told(&mut self, next: &'static str) -> Vec<Decision> {
        std::mem::replace(&mut self.log, Log::new(next)).into_decisions()
    }

    fn step(&self, unit: usize) -> &str {
        &self.graph.node(self.units.node(unit)).step
    }

    fn try_join(&mut self, left: usize, right: usize) -> bool {
        let group = self.has_group[self.quotient.block(left)] || self.has_group[self.quotient.block(right)];
        let joined = self.quotient.try_join(left, right);
        if joined {
            self.has_group[self.quotient.block(left)] = group;
        }
        joined
    }

    fn groups(&self) -> Vec<(usize, NodeId)> {
        let groups = self.units.list.iter().enumerate();
        groups.filter_map(|(unit, kind)| if let Unit::Group(node) = kind { Some((unit, *node)) } else { None }).collect()
    }

    fn fusions(&self) -> impl Iterator<Item = (usize, NodeId)> {
        let fusions = self.units.list.iter().enumerate();
        fusions.filter_map(|(unit, kind)| if let Unit::Fusion(head) = kind { Some((unit, *head)) } else { None })
    }

    fn is_in_stage_of_group(&self, unit: usize) -> bool {
        self.has_group[self.quotient.block(unit)]
    }

    /// Groups of equal depth that share an input or a mapper; transitively.
    fn related_groups(&mut self) {
        let mut first: BTreeMap<Shared, Vec<usize>> = BTreeMap::new();
        for (unit, node) in self.groups() {
            for shared in self.shares(node) {
                let others = first.entry(shared).or_default();
                match others.iter().copied().find(|other| self.units.depth[*other] == self.units.depth[unit]) {
                    Some(other) => self.relate(unit, other, shared),
                    None => {
                        if let Some(other) = others.first().copied() {
                            let (name, what) = (self.step(other).to_owned(), self.what(shared));
                            let more = if self.units.depth[unit] > self.units.depth[other] { "more" } else { "fewer" };
                            let why = format!(
                                "not in one shuffle pass with `{name}`, though both {what}: {more} shuffles lie before it"
                            );
                            self.log.declined(&self.step(unit).to_owned(), why);
                        }
                        others.push(unit);
                    }
                }
            }
        }
    }

    fn relate(&mut self, unit: usize, other: usize, shared: Shared) {
        if self.quotient.block(unit) == self.quotient.block(other) {
            return;
        }
        let (own, name, what) = (self.step(unit).to_owned(), self.step(other).to_owned(), self.what(shared));
        if self.try_join(unit, other) {
            self.log.did(&own, format!("shares a shuffle pass with `{name}`: both {what}"));
        } else {
            self.log.declined(&own, format!("not in one shuffle pass with `{name}`: the stage would wait for itself"));
        }
    }

    fn what(&self, shared: Shared) -> String {
        match shared {
            Shared::Mapper(unit) => format!("are fed by the pass of `{}`", self.step(unit)),
            Shared::Input(id) => format!("read `{}`", self.graph.collection(id).name),
        }
    }

    fn shares(&self, group: NodeId) -> Vec<Shared> {
        let mut found = Vec::new();
        for leaf in self.graph.feeding(group) {
            match self.mapper(leaf) {
                Some(mapper) => {
                    found.push(Shared::Mapper(mapper));
                    let root = self.units.root(mapper).filter(|_| self.together);
                    found.extend(root.map(Shared::Input));
                }
                None => found.push(Shared::Input(leaf)),
            }
        }
        found
    }

    /// The fusion that makes a collection in the pass that groups it.
    fn mapper(&self, leaf: CollectionId) -> Option<usize> {
        let maker = self.units.maker(self.graph, leaf)?;
        let ends_here = self.graph.collection(leaf).persist || self.blocks.contains(&leaf);
        (matches!(self.units.list[maker], Unit::Fusion(_)) && !ends_here && !self.bound[maker]).then_some(maker)
    }

    /// Fusions that feed groups, each into the earliest stage that can take it.
    fn mappers(&mut self) {
        let mut feeds: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (unit, node) in self.groups() {
            for leaf in self.graph.feeding(node) {
                if let Some(mapper) = self.mapper(leaf) {
                    feeds.entry(mapper).or_default().push(unit);
                }
            }
        }
        for (mapper, mut groups) in feeds {
            if self.is_lifted(mapper) {
                continue;
            }
            groups.sort_by_key(|group| (self.units.depth[*group], *group));
            groups.dedup();
            let home = groups.iter().copied().find(|group| self.tries(mapper, *group));
            let Some(home) = home else { continue };
            for other in groups.into_iter().filter(|other| self.quotient.block(*other) != self.quotient.block(home)) {
                let (own, home, other) = (self.step(mapper).to_owned(), self.step(home), self.step(other).to_owned());
                let why = format!("runs once, in the stage of `{home}`; the later group `{other}` reads its stored result");
                self.log.did(&own, why);
            }
        }
    }

    /// Whether a fusion is nothing but a combine whose place is behind its group.
    fn is_lifted(&self, unit: usize) -> bool {
        let Unit::Fusion(head) = self.units.list[unit] else { return false };
        self.units.fusions[&head].iter().all(|node| self.lifted.contains(node))
    }

    fn tries(&mut self, mapper: usize, group: usize) -> bool {
        let joined = self.try_join(mapper, group);
        if !joined {
            let (own, group) = (self.step(mapper).to_owned(), self.step(group));
            let why = format!(
                "does not run in the stage of the shuffle of `{group}`, which it feeds: that stage also waits for another one, which needs \
                 its result"
            );
            self.log.declined(&own, why);
        }
        joined
    }

    /// Fusions behind a group that no other stage takes as a mapper.
    fn reducers(&mut self) {
        for unit in self.alone() {
            let Some(root) = self.units.root(unit) else { continue };
            let Some(maker) = self.units.maker(self.graph, root) else { continue };
            if !matches!(self.units.list[maker], Unit::Group(_)) || self.try_join(unit, maker) {
                continue;
            }
            let (own, group) = (self.step(unit).to_owned(), self.step(maker));
            let why = if self.graph.collection(root).persist {
                format!("does not run right behind the shuffle of `{group}`: what comes out of that is persisted first")
            } else {
                format!("does not run right behind the shuffle of `{group}`: one of its side inputs comes out of that very stage")
            };
            self.log.declined(&own, why);
        }
    }

    /// Fusions outside the stages of groups.
    fn alone(&self) -> Vec<usize> {
        self.fusions().map(|(unit, _)| unit).filter(|unit| !self.is_in_stage_of_group(*unit)).collect()
    }

    /// The units that read each collection from outside their stage, the earliest first.
    fn by_input(&self) -> BTreeMap<CollectionId, Vec<usize>> {
        let mut found: BTreeMap<CollectionId, Vec<usize>> = BTreeMap::new();
        for (unit, _) in self.fusions() {
            if let Some(root) = self.units.root(unit) {
                found.entry(root).or_default().push(unit);
            }
        }
        for (unit, node) in self.groups() {
            for leaf in self.graph.feeding(node) {
                if self.mapper(leaf).is_none() {
                    found.entry(leaf).or_default().push(unit);
                }
            }
        }
        for units in found.values_mut() {
            units.sort_by_key(|unit| (self.units.depth[*unit], *unit));
            units.dedup();
        }
        found
    }

    /// What reads a collection that a stage with a group reads goes along in that pass.
    fn read_along(&mut self, by_input: &BTreeMap<CollectionId, Vec<usize>>) {
        if !self.together {
            return;
        }
        for unit in self.alone() {
            let Some(root) = self.units.root(unit) else { continue };
            for other in by_input.get(&root).into_iter().flatten().copied() {
                if self.is_in_stage_of_group(other) && self.try_join(unit, other) {
                    let (own, name) = (self.step(unit).to_owned(), self.step(other));
                    let read = &self.graph.collection(root).name;
                    self.log.did(&own, format!("reads `{read}` in the same pass as the stage of `{name}`"));
                    break;
                }
            }
        }
    }

    /// A source that must be stored is stored by a stage that reads it anyway, if one can.
    fn loads(&mut self, by_input: &BTreeMap<CollectionId, Vec<usize>>) {
        for (id, unit) in &self.units.loads {
            let mut readers = by_input.get(id).into_iter().flatten();
            let host = readers.find(|other| self.try_join(*unit, **other)).copied();
            let (own, name) = (self.step(*unit).to_owned(), host.map(|host| self.step(host).to_owned()));
            match name {
                Some(name) => self.log.did(&own, format!("stored in the pass of `{name}`, which reads it anyway")),
                None => self.log.declined(&own, "stored in a pass of its own: no other stage can do it on the way"),
            }
        }
    }

    /// Stages without a group that write into one sink.
    fn map_only(&mut self) {
        let mut first: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (unit, sinks) in self.map_only_sinks() {
            for sink in sinks {
                let others = first.entry(sink.clone()).or_default().clone();
                let depth = self.units.depth[unit];
                match others.iter().copied().find(|other| self.units.depth[*other] == depth) {
                    Some(other) if self.quotient.block(other) == self.quotient.block(unit) => {}
                    Some(other) if self.try_join(unit, other) => self.log.did(&sink, "its stages without a group are one stage"),
                    Some(_) => self.log.declined(&sink, "its stages stay apart: one waits for the other"),
                    None => {
                        if !others.is_empty() {
                            self.log.declined(&sink, "its stages stay apart: more shuffles lie before one than before the other");
                        }
                        first.entry(sink).or_default().push(unit);
                    }
                }
            }
        }
    }

    /// Fusions outside the stages of groups, with the sinks that they write.
    fn map_only_sinks(&self) -> Vec<(usize, Vec<String>)> {
        let sinks = |head: NodeId| {
            let writes = self.units.fusions[&head].iter().map(|id| self.graph.node(*id)).filter(|node| node.is_write());
            writes.map(|node| node.step.clone()).collect::<Vec<_>>()
        };
        let alone = self.fusions().filter(|(unit, _)| !self.is_in_stage_of_group(*unit));
        alone.map(|(unit, head)| (unit, sinks(head))).collect()
    }
}
