//! What each operator stands for.

use crds::operator::{Broadcast, GroupBy, Join, JoinKind, Merge, OptionalKey, ParallelDo, ReduceBy, Top};
use crds::read::Read;
use crds::{FieldRef, Operator};
use plan::{CollectionId, Do, Fold, Group, Key, Op, Values};

use super::{Current, Expansion, Made, is_single};
use crate::check::source;
use crate::names::{Names, Rest};

impl Expansion<'_> {
    /// Adds the nodes of a step; its outputs.
    pub(super) fn operator(&mut self, current: &Current<'_>) -> Vec<Made> {
        let made = match current.operator {
            Operator::Unclear => return Vec::new(),
            Operator::Read(read) => self.read(current, read),
            Operator::Map(lua) => self.by_row(current, Do::Map(self.function(current, &lua.lua)), Names::unknown()),
            Operator::FlatMap(lua) => self.by_row(current, Do::FlatMap(self.function(current, &lua.lua)), Names::unknown()),
            Operator::Filter(lua) => self.by_row(current, Do::Filter(self.function(current, &lua.lua)), current.input().names),
            Operator::ForEach(lua) => self.by_row(current, Do::ForEach(self.function(current, &lua.lua)), Names::unknown()),
            Operator::ParallelDo(split) => return self.split(current, split),
            Operator::Select(select) => self.select(current, &select.columns),
            Operator::Reduce(lua) => {
                let fold = Fold::Lua(self.function(current, &lua.lua));
                self.folded(current, by_key(Key::Columns(Vec::new()), Values::Rest), fold, Names::unknown())
            }
            Operator::GroupBy(group) => self.group_by(current, group),
            Operator::Combine(lua) => self.combine(current, &lua.lua),
            Operator::ReduceBy(reduce) => self.reduce_by(current, reduce),
            Operator::CoGroup(keyed) => self.co_group(current, &keyed.key),
            Operator::Join(join) => self.join(current, join),
            Operator::Union(union) => self.union(current, union.ordered),
            Operator::Distinct(distinct) => {
                let key = self.optional_key(current, distinct);
                self.folded(current, by_key(key, Values::Row), Fold::Smallest, current.input().names)
            }
            Operator::Count(count) => self.count(current, count),
            Operator::Sort(sort) => {
                let by = self.orders(current, &sort.by, "by");
                let made = self.group(current, Group::Sort { by });
                Made { ordered: true, ..made }
            }
            Operator::Top(top) => self.top(current, top),
            Operator::Limit(limit) => {
                let limit = Group::Limit { n: unsigned(limit.n), offset: unsigned(limit.offset) };
                Made { ordered: current.input().ordered, ..self.group(current, limit) }
            }
            Operator::Partition(keyed) => {
                let input = current.input();
                let key = Key::Columns(self.columns(current, &input, &keyed.key, "key"));
                self.group(current, Group::Hash { key })
            }
            Operator::RoundRobin(_) => self.group(current, Group::RoundRobin),
            Operator::Merge(merge) => self.merge(current, merge),
            Operator::Pipe(pipe) => self.pipe(current, Do::Pipe { command: pipe.command.clone() }),
            Operator::PipeAsArgs(pipe) => {
                self.by_row(current, Do::PipeAsArgs { command: pipe.command.clone() }, Names::unknown())
            }
            Operator::Operate(lua) => {
                let id = self.one(current, Op::Operate(self.function(current, &lua.lua)), Vec::new());
                current.made(id, Names::unknown())
            }
            Operator::Write(write) => {
                self.write(current, write);
                return Vec::new();
            }
        };
        vec![made]
    }

    fn read(&mut self, current: &Current<'_>, read: &Read) -> Made {
        let resolved = source::resolve(current.step, read, self.facts, self.options, current.index);
        self.problems.extend(resolved.problems);
        self.certain &= resolved.certain;
        let id = self.one(current, Op::Read(resolved.source), current.ids());
        let bytes = self.facts.get(&current.step.name).and_then(|facts| facts.bytes);
        if let Some(collection) = self.graph.collections.get_mut(&id) {
            collection.bytes = bytes;
        }
        Made { single: current.step.partitions == Some(1), ..current.made(id, resolved.names) }
    }

    /// A ParallelDo that takes row after row: order and partitions stay.
    fn by_row(&mut self, current: &Current<'_>, what: Do, names: Names) -> Made {
        let input = current.input();
        let id = self.one(current, Op::ParallelDo(what), current.ids());
        Made { ordered: input.ordered, single: input.single, ..current.made(id, names) }
    }

    fn select(&mut self, current: &Current<'_>, asked: &[FieldRef]) -> Made {
        let input = current.input();
        let columns = self.columns(current, &input, asked, "columns");
        let names = input.names.chosen(asked, &columns);
        self.by_row(current, Do::Select(columns), names)
    }

    /// A shell per partition sees the order of the rows only where there is one partition.
    fn pipe(&mut self, current: &Current<'_>, what: Do) -> Made {
        let made = self.by_row(current, what, Names::unknown());
        Made { ordered: made.ordered && made.single, ..made }
    }

    fn split(&mut self, current: &Current<'_>, split: &ParallelDo) -> Vec<Made> {
        for (index, output) in split.outputs.iter().enumerate() {
            if split.outputs[..index].contains(output) {
                let path = current.option(&format!("outputs[{index}]"));
                self.report(current, path, format!("two outputs are named {output:?}"), None);
            }
            if output == "onError" {
                let path = current.option(&format!("outputs[{index}]"));
                self.report(current, path, "an output cannot be named \"onError\": that is where bad rows go".to_owned(), None);
            }
        }
        let step = &current.step.name;
        let labels: Vec<String> = split.outputs.iter().map(|output| format!("{step}.{output}")).collect();
        let function = self.function(current, &split.lua);
        let op = Op::ParallelDo(Do::Split { function, outputs: split.outputs.clone() });
        let ids = self.node(current, op, current.ids(), &labels);
        let input = current.input();
        let made = |(id, label): (CollectionId, String)| Made {
            label,
            ordered: input.ordered,
            single: input.single,
            ..current.made(id, Names::unknown())
        };
        ids.into_iter().zip(labels).map(made).collect()
    }

    /// One shuffle that keeps the rows as they are.
    fn group(&mut self, current: &Current<'_>, group: Group) -> Made {
        let single = is_single(&group, current.step.partitions);
        let id = self.one(current, Op::Group(group), current.ids());
        Made { single, ..current.made(id, current.input().names) }
    }

    /// A ParallelDo, a group and a fold: count, distinct, reduce, top.
    fn folded(&mut self, current: &Current<'_>, group: Group, fold: Fold, names: Names) -> Made {
        let rows = self.one(current, Op::ParallelDo(Do::Identity), current.ids());
        let single = is_single(&group, current.step.partitions);
        let groups = self.one(current, Op::Group(group), vec![rows]);
        let id = self.one(current, Op::Combine(fold), vec![groups]);
        Made { single, ..current.made(id, names) }
    }

    fn group_by(&mut self, current: &Current<'_>, group: &GroupBy) -> Made {
        let input = current.input();
        let key = self.columns(current, &input, &group.key, "key");
        let order_by = self.orders(current, &group.order_by, "orderBy");
        let names = input.names.chosen(&group.key, &key).and_one();
        let group = Group::ByKey { key: Key::Columns(key), values: Values::Rest, order_by };
        Made { names, grouped: true, ..self.group(current, group) }
    }

    fn combine(&mut self, current: &Current<'_>, lua: &str) -> Made {
        let input = current.input();
        if !input.grouped && input.names.rest != Rest::Broken {
            let message = format!("a combine stands directly on a groupBy, and {:?} is none", input.label);
            let help = "use reduceBy, which groups and combines, or reduce for all rows".to_owned();
            self.report(current, current.path(".from"), message, Some(help));
        }
        let keys = input.names.fields.len().saturating_sub(1);
        let rest = if input.names.rest == Rest::Nothing { Rest::Unnamed } else { input.names.rest };
        let names = Names { fields: input.names.fields[..keys].to_vec(), rest };
        let fold = Fold::Lua(self.function(current, lua));
        let id = self.one(current, Op::Combine(fold), current.ids());
        Made { single: input.single, ..current.made(id, names) }
    }

    fn reduce_by(&mut self, current: &Current<'_>, reduce: &ReduceBy) -> Made {
        let input = current.input();
        let key = self.columns(current, &input, &reduce.key, "key");
        let names = input.names.chosen(&reduce.key, &key).and(Rest::Unnamed);
        let group = by_key(Key::Columns(key), Values::Rest);
        let single = is_single(&group, current.step.partitions);
        let groups = self.one(current, Op::Group(group), current.ids());
        let fold = Fold::Lua(self.function(current, &reduce.lua));
        let id = self.one(current, Op::Combine(fold), vec![groups]);
        Made { single, ..current.made(id, names) }
    }

    fn optional_key(&mut self, current: &Current<'_>, optional: &OptionalKey) -> Key {
        let input = current.input();
        match &optional.key {
            Some(key) => Key::Columns(self.columns(current, &input, key, "key")),
            None => Key::Row,
        }
    }

    fn count(&mut self, current: &Current<'_>, count: &OptionalKey) -> Made {
        let key = self.optional_key(current, count);
        let input = current.input().names;
        let names = match &key {
            Key::Columns(key) => input.chosen(count.key.as_deref().unwrap_or_default(), key).and_one(),
            Key::Row => input.and_one(),
        };
        self.folded(current, by_key(key, Values::Rest), Fold::Count, names)
    }

    fn top(&mut self, current: &Current<'_>, top: &Top) -> Made {
        let by = self.orders(current, &top.by, "by");
        let fold = Fold::Top { by, n: unsigned(top.n) };
        let made = self.folded(current, by_key(Key::Columns(Vec::new()), Values::Row), fold, current.input().names);
        Made { ordered: true, ..made }
    }

    fn merge(&mut self, current: &Current<'_>, merge: &Merge) -> Made {
        let by = self.orders(current, &merge.by, "by");
        if by.is_empty() {
            // One partition after the other: an order over all of them stays, if one partition takes them all.
            let made = self.group(current, Group::Gather);
            return Made { ordered: current.input().ordered && made.single, ..made };
        }
        Made { ordered: true, ..self.group(current, Group::Merge { by }) }
    }

    fn union(&mut self, current: &Current<'_>, ordered: bool) -> Made {
        let names: Vec<Names> = current.inputs.iter().map(|input| input.names.clone()).collect();
        let id = self.one(current, Op::Flatten { ordered }, current.ids());
        Made { ordered, ..current.made(id, Names::union(&names)) }
    }

    /// Tags each input as a leg; the key columns of each leg, and the shuffle that brings the legs together.
    fn legs(&mut self, current: &Current<'_>, key: &[FieldRef]) -> (Vec<Vec<u32>>, CollectionId) {
        let mut keys = Vec::new();
        let mut tagged = Vec::new();
        for (leg, input) in (0..).zip(&current.inputs) {
            let key = self.columns(current, input, key, "key");
            tagged.push(self.one(current, Op::ParallelDo(Do::Tag { leg, key: key.clone() }), vec![input.id]));
            keys.push(key);
        }
        let legs = count(&keys);
        let flat = self.one(current, Op::Flatten { ordered: false }, tagged);
        (keys, self.one(current, Op::Group(Group::ByLeg { legs }), vec![flat]))
    }

    fn co_group(&mut self, current: &Current<'_>, key: &[FieldRef]) -> Made {
        let (keys, groups) = self.legs(current, key);
        let mut names = key_names(current, key, &keys);
        for _ in &keys {
            names = names.and_one();
        }
        let id = self.one(current, Op::ParallelDo(Do::UntagCoGroup { legs: count(&keys) }), vec![groups]);
        current.made(id, names)
    }

    fn join(&mut self, current: &Current<'_>, join: &Join) -> Made {
        let (keys, groups) = self.legs(current, &join.key);
        let legs = current.inputs.iter().zip(&keys);
        let values: Vec<Names> = legs.map(|(input, key)| input.names.without(key)).collect();
        let kind = match join.kind {
            JoinKind::Inner => plan::JoinKind::Inner,
            JoinKind::Left => plan::JoinKind::Left,
            JoinKind::Right => plan::JoinKind::Right,
            JoinKind::Full => plan::JoinKind::Full,
        };
        // Without names, a side that can be missing is as wide as its rows turn out to be: with no rows, not at all. But names behind
        // it have to stay where they were found.
        let is_named = |leg: usize| current.inputs[leg].names.has_any() || values[leg + 1..].iter().any(Names::has_any);
        let is_sure = |leg: usize| !kind.may_miss(leg, values.len()) || current.step.fields.is_some() || is_named(leg);
        let sides: Vec<Names> = values
            .iter()
            .enumerate()
            .map(|(leg, names)| if is_sure(leg) { names.clone() } else { names.of_any_width() })
            .collect();
        let widths = sides.iter().map(|names| names.width().and_then(|width| u32::try_from(width).ok())).collect();
        let what = Do::UntagJoin { kind, legs: count(&keys), widths };
        let names = Names::join(&key_names(current, &join.key, &keys), &sides);
        let id = self.one(current, Op::ParallelDo(what), vec![groups]);
        current.made(id, names)
    }
}

/// A group whose items have no order.
fn by_key(key: Key, values: Values) -> Group {
    Group::ByKey { key, values, order_by: Vec::new() }
}

/// Whether a join broadcasts.
pub(super) fn broadcast(operator: &Operator<'_>) -> Option<bool> {
    let Operator::Join(join) = operator else { return None };
    match join.broadcast {
        Broadcast::Auto => None,
        Broadcast::Always => Some(true),
        Broadcast::Never => Some(false),
    }
}

/// The names of a key, by the first input.
fn key_names(current: &Current<'_>, asked: &[FieldRef], keys: &[Vec<u32>]) -> Names {
    let first = current.inputs.first().zip(keys.first());
    let names = first.map_or_else(Names::unknown, |(input, key)| input.names.chosen(asked, key));
    match names.rest {
        // Rows of the other inputs may come through.
        Rest::NoRows => Names::with_rest(Rest::Unread),
        Rest::Nothing | Rest::Unnamed | Rest::Unread | Rest::Broken => names,
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// The schema has refused negative numbers.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
