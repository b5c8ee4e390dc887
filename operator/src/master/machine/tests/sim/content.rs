//! What abstract tasks do with rows: a row is a number, its way through a plan the engine's, told again in few words.
//!
//! A step that is not deterministic salts the rows with the attempt: they then fall into other buckets, as real ones would.

use std::collections::{BTreeMap, BTreeSet};

use plan::schedule::{self, Unit};
use plan::task::{Attempt, Leg, MapTask, Mark, Piece, PieceName, Place, Task, Work};
use plan::{CollectionId, Do, Group, JoinKind, Mscr, MscrId, NodeId, Op, OutputChannel, Plan};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) id: u64,
    pub(super) salt: u32,
}

/// A piece with its rows, in frames.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    pub(super) piece: Piece,
    pub(super) frames: Vec<Vec<Token>>,
}

const FRAME: usize = 3;

pub(super) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, part| {
        let mut z = (hash ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 32)
    })
}

pub(super) fn place(token: Token) -> Place {
    // Few places, so that many rows are equal.
    Place((hash(&[token.id, u64::from(token.salt)]) % 50).to_be_bytes().to_vec())
}

/// Of the key of a row, where a bucket is split by key.
pub(super) fn mark(token: Token) -> u32 {
    schedule::mark(hash(&[token.id]))
}

/// What the small sides of a join hold that may switch.
pub(super) fn small(plan: &Plan, group: NodeId) -> Vec<u64> {
    let big = plan.switches.iter().find(|switch| switch.group == group).unwrap().big;
    let (mut open, mut ids) = (plan.graph.node(group).inputs.clone(), Vec::new());
    while let Some(collection) = open.pop() {
        let producer = plan.graph.producer(collection);
        match producer.op {
            Op::ParallelDo(Do::Tag { leg, .. }) if leg == big => {}
            Op::ParallelDo(Do::Tag { .. }) => ids.extend(expected(plan, collection)),
            _ => open.extend(&producer.inputs),
        }
    }
    ids.sort_unstable();
    ids
}

/// The rows of split `at` of a source.
pub(super) fn source(node: NodeId, at: u64) -> Vec<Token> {
    let count = hash(&[u64::from(node.0), at]) % 12;
    (0..count).map(|row| Token { id: hash(&[u64::from(node.0), at, row]), salt: 0 }).collect()
}

pub(super) fn splits(node: NodeId) -> u64 {
    hash(&[u64::from(node.0), 7]) % 4
}

/// What a collection must hold, by the meaning of the graph alone.
pub(super) fn expected(plan: &Plan, collection: CollectionId) -> Vec<u64> {
    let producer = plan.graph.producer(collection);
    let mut ids: Vec<u64> = match &producer.op {
        Op::Read(_) => (0..splits(producer.id)).flat_map(|at| source(producer.id, at)).map(|token| token.id).collect(),
        Op::Operate(_) => vec![u64::from(producer.id.0)],
        Op::Flatten { .. } | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) => {
            producer.inputs.iter().flat_map(|input| expected(plan, *input)).collect()
        }
    };
    ids.sort_unstable();
    ids
}

/// The engine of the simulation.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) plan: Plan,
    kept: BTreeSet<CollectionId>,
    consumers: BTreeMap<CollectionId, Vec<NodeId>>,
    /// Per forwarded collection: the stage, channel and read that it flows into.
    forwards: BTreeMap<CollectionId, (MscrId, usize, usize)>,
}

/// Where rows may go in one task.
struct Reach {
    nodes: BTreeSet<NodeId>,
    groups: BTreeSet<NodeId>,
    from: MapTask,
    onward: bool,
}

/// What a task has made so far.
struct Made<'t> {
    task: &'t Task,
    tables: &'t BTreeMap<NodeId, Vec<Token>>,
    rows: BTreeMap<PieceName, Vec<Token>>,
    /// The leg of the join that is being dealt to.
    leg: usize,
    legs: BTreeMap<NodeId, Vec<Leg>>,
}

impl Worker {
    pub(super) fn new(plan: Plan) -> Worker {
        let units = schedule::units(&plan).unwrap();
        let forwards = schedule::forwards(&plan, &units).into_iter().map(|(collection, forward)| {
            let Unit::Stage(to) = units[forward.to] else { panic!("forwards lead to stages") };
            (collection, (to.id, forward.channel, forward.read))
        });
        let forwards = forwards.collect();
        Worker { kept: schedule::kept(&plan), consumers: plan.graph.consumers(), forwards, plan }
    }

    fn stage(&self, id: MscrId) -> &Mscr {
        self.plan.mscrs.iter().find(|stage| stage.id == id).unwrap()
    }

    fn channel_reach(&self, stage: MscrId, from: MapTask, onward: bool) -> Reach {
        let stage = self.stage(stage);
        let groups = stage.outputs.iter().filter_map(|output| match output {
            OutputChannel::Group { group, from: fed, .. } if fed.contains(&from.channel) => Some(*group),
            _ => None,
        });
        Reach { nodes: stage.inputs[from.channel].does.iter().copied().collect(), groups: groups.collect(), from, onward }
    }

    /// What a task leaves, given the rows that it read.
    pub(super) fn run(
        &self,
        task: &Task,
        input: Vec<Token>,
        tables: &BTreeMap<NodeId, Vec<Token>>,
    ) -> (Vec<Filled>, BTreeMap<NodeId, Vec<Leg>>) {
        let mut made = Made { task, tables, rows: BTreeMap::new(), leg: 0, legs: BTreeMap::new() };
        match &task.work {
            Work::Map { stage, from, collection, input: kind } => {
                let reach = self.channel_reach(*stage, *from, false);
                let producer = self.plan.graph.producer(*collection);
                let stored = matches!(kind, plan::task::MapInput::Stored { .. });
                if stored {
                    self.readers(*collection, &input, &reach, &mut made);
                } else {
                    self.collection(*collection, &input, &reach, &mut made);
                    if let Some(dead) = producer.outputs.get(1).filter(|_| matches!(producer.op, Op::Read(_))) {
                        self.collection(*dead, &input, &reach, &mut made);
                    }
                }
            }
            Work::Reduce { stage, group, .. } => {
                let from = MapTask { channel: 0, read: 0, split: task.place.0 as usize };
                let reach = self.behind(*stage, *group, from);
                let input = self.salted(*group, &input, task.attempt);
                self.collection(self.plan.graph.node(*group).outputs[0], &input, &reach, &mut made);
            }
            Work::Operate { node } => {
                let reach = Reach { nodes: BTreeSet::new(), groups: BTreeSet::new(), from: MapTask::default(), onward: false };
                let rows = self.salted(*node, &[Token { id: u64::from(node.0), salt: 0 }], task.attempt);
                self.collection(self.plan.graph.node(*node).outputs[0], &rows, &reach, &mut made);
            }
            _ => panic!("{:?} makes no pieces", task.work),
        }
        (made.rows.into_iter().map(|(name, rows)| filled(name, rows)).collect(), made.legs)
    }

    /// What the reduce tasks of a group run.
    fn behind(&self, stage: MscrId, group: NodeId, from: MapTask) -> Reach {
        let reduce = self.stage(stage).outputs.iter().find_map(|output| match output {
            OutputChannel::Group { group: this, reduce, .. } if *this == group => Some(reduce.clone()),
            _ => None,
        });
        Reach { nodes: reduce.unwrap().into_iter().collect(), groups: BTreeSet::new(), from, onward: true }
    }

    fn salted(&self, node: NodeId, rows: &[Token], attempt: Attempt) -> Vec<Token> {
        if self.plan.graph.node(node).deterministic {
            return rows.to_vec();
        }
        rows.iter().map(|token| Token { id: token.id, salt: attempt.number }).collect()
    }

    fn collection(&self, collection: CollectionId, rows: &[Token], reach: &Reach, made: &mut Made<'_>) {
        self.readers(collection, rows, reach, made);
        if self.kept.contains(&collection) && !self.forwards.contains_key(&collection) {
            made.push(PieceName::Part { collection, from: reach.from }, rows);
        }
        if let Some((stage, channel, read)) = self.forwards.get(&collection).filter(|_| reach.onward) {
            let from = MapTask { channel: *channel, read: *read, split: made.task.place.0 as usize };
            self.readers(collection, rows, &self.channel_reach(*stage, from, false), made);
        }
    }

    fn readers(&self, collection: CollectionId, rows: &[Token], reach: &Reach, made: &mut Made<'_>) {
        for id in self.consumers.get(&collection).into_iter().flatten() {
            let node = self.plan.graph.node(*id);
            if reach.groups.contains(id) {
                self.deal(*id, rows, reach, made);
            } else if matches!(node.op, Op::Flatten { .. }) {
                if self.leads_on(node.outputs[0], reach) {
                    self.collection(node.outputs[0], rows, reach, made);
                }
            } else if reach.nodes.contains(id) {
                if node.is_write() {
                    made.push(PieceName::Write { node: *id, number: made.task.place.0 }, rows);
                }
                let rows = self.salted(*id, rows, made.task.attempt);
                if let Op::ParallelDo(Do::Tag { leg, .. }) = &node.op {
                    made.leg = *leg as usize;
                }
                for output in &node.outputs {
                    self.collection(*output, &rows, reach, made);
                }
            }
        }
    }

    fn leads_on(&self, flatten: CollectionId, reach: &Reach) -> bool {
        self.consumers.get(&flatten).into_iter().flatten().any(|id| {
            let node = self.plan.graph.node(*id);
            let further = matches!(node.op, Op::Flatten { .. }) && self.leads_on(node.outputs[0], reach);
            further || reach.nodes.contains(id) || reach.groups.contains(id)
        })
    }

    fn deal(&self, group: NodeId, rows: &[Token], reach: &Reach, made: &mut Made<'_>) {
        if matches!(self.plan.graph.node(group).op, Op::Group(Group::Sort { .. } | Group::Merge { .. })) {
            return made.push(PieceName::Run { group, run: 0, from: reach.from, marks: Vec::new() }, rows);
        }
        let rows = self.joined(group, rows, reach, made);
        let buckets = u64::from(made.task.buckets[&group]);
        for token in &rows {
            // One bucket has most of the rows: it is worth more than a task.
            let bucket = hash(&[token.id, u64::from(token.salt), u64::from(group.0)]) % (buckets * 4);
            let bucket = if bucket < buckets { bucket } else { 0 };
            made.push(PieceName::Bucket { group, bucket: bucket as u32, from: reach.from }, &[*token]);
        }
        if let Op::Group(Group::ByLeg { legs }) = &self.plan.graph.node(group).op {
            let size = [10, 1 << 20, 4 << 20][hash(&[u64::from(group.0), 3]) as usize % 3];
            let seen = made.legs.entry(group).or_insert_with(|| vec![Leg::default(); *legs as usize]);
            let odd = hash(&[u64::from(group.0), 5]).is_multiple_of(5) && !rows.is_empty();
            seen[made.leg].add(Leg { rows: rows.len() as u64, bytes: rows.len() as u64 * size, width: 1, odd });
        }
    }

    /// Where a join has switched to a broadcast, what becomes of the large side's rows; what is left for its shuffle. A join is the
    /// union of its sides here: of what all tasks know, one of them tells.
    fn joined(&self, group: NodeId, rows: &[Token], reach: &Reach, made: &mut Made<'_>) -> Vec<Token> {
        let Some(small) = made.tables.get(&group) else { return rows.to_vec() };
        let switch = self.plan.switches.iter().find(|switch| switch.group == group).unwrap();
        let Work::Map { stage, from, .. } = &made.task.work else { panic!("only map tasks have tables") };
        let untag = &self.consumers[&self.plan.graph.node(group).outputs[0]];
        let Op::ParallelDo(Do::UntagJoin { kind, .. }) = &self.plan.graph.node(untag[0]).op else { panic!("a join") };
        let keeps = *kind != JoinKind::Inner;
        let (unmatched, mut matched): (Vec<Token>, Vec<Token>) =
            rows.iter().partition(|token| keeps && hash(&[token.id, 11]).is_multiple_of(3));
        let first = MapTask { channel: *switch.late.iter().min().unwrap(), read: 0, split: 0 };
        if *from == first {
            matched.extend(small);
        }
        let stage_channels = self.stage(*stage).inputs.len();
        let behind = self.behind(*stage, group, MapTask { channel: stage_channels + reach.from.channel, ..reach.from });
        let matched = self.salted(group, &matched, made.task.attempt);
        self.collection(self.plan.graph.node(group).outputs[0], &matched, &behind, made);
        unmatched
    }
}

impl Made<'_> {
    fn push(&mut self, name: PieceName, rows: &[Token]) {
        self.rows.entry(name).or_default().extend_from_slice(rows);
    }
}

fn filled(mut name: PieceName, mut rows: Vec<Token>) -> Filled {
    let heavy = !matches!(name, PieceName::Write { .. });
    if let PieceName::Run { marks, .. } = &mut name {
        rows.sort_by_key(|token| (place(*token), *token));
        let first = |(frame, rows): (usize, &[Token])| Mark { frame: frame as u32, place: place(rows[0]) };
        *marks = rows.chunks(FRAME).enumerate().map(first).collect();
    }
    let frames: Vec<Vec<Token>> = rows.chunks(FRAME).map(<[Token]>::to_vec).collect();
    let bytes = rows.len() as u64 * if heavy { 1 << 20 } else { 8 };
    Filled { piece: Piece { name, rows: rows.len() as u64, bytes, frames: frames.len() as u32 }, frames }
}
