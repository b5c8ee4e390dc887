//! What a plan says about its tasks, worked out once: who makes a collection, who reads what, which rows may come out otherwise.

use std::collections::{BTreeMap, BTreeSet};

use plan::schedule::{self, Cyclic, Forward, Unit};
use plan::task::TaskId;
use plan::{CollectionId, Do, InputChannel, Mscr, MscrId, Node, NodeId, Op, OutputChannel, Pass, Plan, Sink};

use super::output::is_stdout;
use super::staging::is_files;
use crate::master::api::TaskSet;

/// Where a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the map tasks of a channel.
    Channel {
        stage: MscrId,
        channel: usize,
    },
    /// In the reduce tasks of a group; as read `read` of channel `channel` of a later stage, where rows flow straight on.
    Group {
        group: NodeId,
        onward: Option<(usize, usize)>,
    },
    /// In the map tasks of a channel, in place of the reduce tasks of a join that has switched to a broadcast; `onward` as above.
    Late {
        stage: MscrId,
        channel: usize,
        onward: Option<(usize, usize)>,
    },
    Operate(NodeId),
}

impl Place {
    /// The tasks that run it.
    pub(super) fn set(self) -> TaskSet {
        match self {
            Place::Channel { stage, .. } | Place::Late { stage, .. } => TaskSet::Maps(stage),
            Place::Group { group, .. } => TaskSet::Reduces(group),
            Place::Operate(node) => TaskSet::Operate(node),
        }
    }
}

/// A forward, seen from the group whose reduce tasks push the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Onward {
    pub(super) group: NodeId,
    pub(super) to: MscrId,
    pub(super) channel: usize,
    pub(super) read: usize,
}

/// A plan and what follows from it.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) plan: Plan,
    /// Upstream first.
    pub(super) sets: Vec<TaskSet>,
    pub(super) onward: Vec<Onward>,
    forwarded: BTreeSet<CollectionId>,
    places: BTreeMap<NodeId, Vec<Place>>,
    groups: BTreeMap<NodeId, MscrId>,
    /// Joins that have switched to a broadcast.
    switched: BTreeSet<NodeId>,
    inputs: BTreeMap<TaskSet, BTreeSet<TaskSet>>,
    pub(super) indeterminate: BTreeSet<TaskSet>,
    /// Sets whose output stays to the end: they write, or make what is persisted.
    pub(super) lasting: BTreeSet<TaskSet>,
    /// Sets with write nodes, by the write's node.
    pub(super) writers: BTreeMap<NodeId, BTreeSet<TaskSet>>,
    /// Sets that run for their effects: operates and what is not deterministic, where nobody reads what they make.
    pub(super) effects: BTreeSet<TaskSet>,
}

impl Flow {
    /// Works it out.
    ///
    /// # Errors
    /// [`Cyclic`].
    pub(super) fn new(plan: Plan) -> Result<Flow, Cyclic> {
        let units = schedule::units(&plan)?;
        let forwards = schedule::forwards(&plan, &units);
        let sets = units.iter().flat_map(sets).collect();
        let groups = plan.mscrs.iter().flat_map(|stage| groups(stage).map(|group| (group, stage.id))).collect();
        let onward = forwards.iter().filter_map(|(collection, forward)| onward(&units, &plan, *collection, *forward)).collect();
        let forwarded = forwards.into_keys().collect();
        let mut flow = Flow {
            sets,
            onward,
            forwarded,
            places: BTreeMap::new(),
            groups,
            switched: BTreeSet::new(),
            inputs: BTreeMap::new(),
            indeterminate: BTreeSet::new(),
            effects: BTreeSet::new(),
            lasting: BTreeSet::new(),
            writers: BTreeMap::new(),
            plan,
        };
        flow.work_out();
        Ok(flow)
    }

    /// What follows once these joins have switched to a broadcast, and no others.
    pub(super) fn switch(&mut self, switched: BTreeSet<NodeId>) {
        if self.switched != switched {
            self.switched = switched;
            self.work_out();
        }
    }

    fn work_out(&mut self) {
        self.place_nodes();
        self.inputs = self.sets.iter().map(|set| (*set, self.set_inputs(*set))).collect();
        self.mark_sets();
    }

    /// Whether a join has switched to a broadcast.
    pub(super) fn is_switched(&self, group: NodeId) -> bool {
        self.switched.contains(&group)
    }

    /// The channels whose map tasks run what stands behind a join that has switched; none of any other group.
    pub(super) fn late(&self, group: NodeId) -> &[usize] {
        let switch = self.plan.switches.iter().find(|switch| switch.group == group && self.is_switched(group));
        switch.map_or(&[], |switch| &switch.late)
    }

    /// The sets that run what stands behind a group.
    fn behind(&self, group: NodeId) -> impl Iterator<Item = TaskSet> + '_ {
        let maps = self.is_switched(group).then(|| TaskSet::Maps(self.stage_of(group)));
        [TaskSet::Reduces(group)].into_iter().chain(maps)
    }

    /// The places of what stands behind a group.
    fn places_behind(&self, group: NodeId, onward: Option<(usize, usize)>) -> Vec<Place> {
        let stage = self.stage_of(group);
        let late = self.late(group).iter().map(|channel| Place::Late { stage, channel: *channel, onward });
        [Place::Group { group, onward }].into_iter().chain(late).collect()
    }

    fn place_nodes(&mut self) {
        let mut places: BTreeMap<NodeId, Vec<Place>> = BTreeMap::new();
        for stage in &self.plan.mscrs {
            for (channel, input) in stage.inputs.iter().enumerate() {
                let mut here = vec![Place::Channel { stage: stage.id, channel }];
                let flows_in = self.onward.iter().filter(|onward| (onward.to, onward.channel) == (stage.id, channel));
                here.extend(flows_in.flat_map(|onward| self.places_behind(onward.group, Some((channel, onward.read)))));
                for node in &input.does {
                    places.entry(*node).or_default().extend(&here);
                }
            }
            for output in &stage.outputs {
                if let OutputChannel::Group { group, reduce, .. } = output {
                    for node in [group].into_iter().chain(reduce) {
                        places.entry(*node).or_default().extend(self.places_behind(*group, None));
                    }
                }
            }
        }
        for operate in &self.plan.operates {
            places.entry(operate.node).or_default().push(Place::Operate(operate.node));
        }
        self.places = places;
        self.place_reads();
    }

    /// A source is read by the stage that keeps it, else by the first of those that read it.
    fn place_reads(&mut self) {
        for set in self.sets.clone() {
            let TaskSet::Maps(stage) = set else { continue };
            for (channel, input) in self.stage(stage).inputs.clone().into_iter().enumerate() {
                for leaf in input.reads.iter().flat_map(|read| self.leaves(*read)).collect::<Vec<_>>() {
                    let producer = self.plan.graph.producer(leaf);
                    if matches!(producer.op, Op::Read(_)) && self.runs_read(stage, leaf) {
                        let node = producer.id;
                        self.places.entry(node).or_insert_with(|| vec![Place::Channel { stage, channel }]);
                    }
                }
            }
        }
    }

    fn mark_sets(&mut self) {
        (self.indeterminate, self.lasting, self.writers) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        self.effects = BTreeSet::new();
        let read: BTreeSet<CollectionId> = self.plan.graph.nodes.values().flat_map(Node::reads).collect();
        let nodes =
            self.places.iter().flat_map(|(node, places)| places.iter().map(|place| (self.plan.graph.node(*node), *place)));
        for (node, place) in nodes.collect::<Vec<_>>() {
            let set = place.set();
            if !node.deterministic {
                self.indeterminate.insert(set);
            }
            if node.is_write() {
                self.writers.entry(node.id).or_default().insert(set);
            } else if (!node.deterministic || matches!(node.op, Op::Operate(_)))
                && node.outputs.iter().all(|made| !read.contains(made))
            {
                self.effects.insert(set);
            }
            if node.is_write() || node.outputs.iter().any(|output| self.plan.graph.collection(*output).persist) {
                self.lasting.insert(set);
            }
        }
        // What combines before the shuffle runs in map tasks, too.
        for stage in &self.plan.mscrs {
            for output in &stage.outputs {
                if let OutputChannel::Group { group, combine, .. } = output
                    && combine.iter().any(|node| !self.plan.graph.node(*node).deterministic)
                {
                    self.indeterminate.insert(TaskSet::Maps(stage.id));
                    let ahead = self.onward.iter().filter(|onward| self.feeds(onward, *group)).map(|onward| onward.group);
                    let ahead: Vec<TaskSet> = ahead.flat_map(|group| self.behind(group)).collect();
                    self.indeterminate.extend(ahead);
                }
            }
        }
    }

    pub(super) fn stage(&self, id: MscrId) -> &Mscr {
        self.plan.mscrs.iter().find(|stage| stage.id == id).expect("ids come from this plan")
    }

    /// The stage of a group.
    pub(super) fn stage_of(&self, group: NodeId) -> MscrId {
        self.groups[&group]
    }

    pub(super) fn is_group(&self, group: NodeId) -> bool {
        self.groups.contains_key(&group)
    }

    /// The channels that feed a group, and the nodes that its reduce tasks run.
    pub(super) fn group(&self, group: NodeId) -> (&[usize], &[NodeId]) {
        let outputs = &self.stage(self.stage_of(group)).outputs;
        let found = outputs.iter().find_map(|output| match output {
            OutputChannel::Group { group: this, reduce, from, .. } if *this == group => Some((&from[..], &reduce[..])),
            OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
        });
        found.unwrap_or_default()
    }

    /// Whether rows that flow on end in this group's shuffle.
    pub(super) fn feeds(&self, onward: &Onward, group: NodeId) -> bool {
        self.stage_of(group) == onward.to && self.group(group).0.contains(&onward.channel)
    }

    pub(super) fn set_of(&self, task: TaskId) -> TaskSet {
        match task {
            TaskId::Split { stage } => TaskSet::Split(stage),
            TaskId::Map { stage, .. } => TaskSet::Maps(stage),
            TaskId::Reduce { group, .. } => TaskSet::Reduces(group),
            TaskId::Operate { node } => TaskSet::Operate(node),
            TaskId::Inspect | TaskId::LookUp | TaskId::Keep { .. } | TaskId::Stage | TaskId::Commit | TaskId::Discard => {
                TaskSet::One(task)
            }
        }
    }

    /// The sets whose output a set reads.
    pub(super) fn inputs(&self, set: TaskSet) -> impl Iterator<Item = TaskSet> + '_ {
        self.inputs.get(&set).into_iter().flatten().copied()
    }

    /// The sets that read some sets' output, and who reads theirs in turn, up to the task that stages files.
    pub(super) fn readers(&self, of: &BTreeSet<TaskSet>) -> BTreeSet<TaskSet> {
        let mut found = BTreeSet::new();
        // Upstream first: one pass finds them all.
        for set in &self.sets {
            if self.inputs(*set).any(|input| of.contains(&input) || found.contains(&input)) {
                found.insert(*set);
            }
        }
        if self.write(of, is_files) || self.write(&found, is_files) {
            found.insert(TaskSet::One(TaskId::Stage));
        }
        found
    }

    /// Whether some of these sets write to such a sink.
    pub(super) fn write(&self, sets: &BTreeSet<TaskSet>, such: impl Fn(&Sink) -> bool) -> bool {
        let nodes = self.sinks().filter(|(_, sink)| such(sink)).map(|(node, _)| node.id);
        nodes.filter_map(|node| self.writers.get(&node)).flatten().any(|set| sets.contains(set))
    }

    /// The sets that read a set's output straight.
    pub(super) fn read_by(&self, set: TaskSet) -> impl Iterator<Item = TaskSet> + '_ {
        self.sets.iter().copied().filter(move |reader| self.inputs(*reader).any(|input| input == set))
    }

    fn set_inputs(&self, set: TaskSet) -> BTreeSet<TaskSet> {
        match set {
            TaskSet::Split(stage) => self.path_reads(stage).into_iter().flat_map(|(_, read)| self.makers(read)).collect(),
            TaskSet::Maps(stage) => self.map_inputs(stage),
            TaskSet::Reduces(group) => self.reduce_inputs(group),
            TaskSet::Operate(node) => self.sides_of(&[node]).into_iter().flat_map(|side| self.makers(side)).collect(),
            TaskSet::One(_) => BTreeSet::new(),
        }
    }

    fn map_inputs(&self, id: MscrId) -> BTreeSet<TaskSet> {
        let stage = self.stage(id);
        let mut inputs = BTreeSet::new();
        if self.splits(id) {
            inputs.insert(TaskSet::Split(id));
        }
        inputs.extend(self.stored_reads(id).flat_map(|read| self.makers(read)));
        for group in groups(stage).filter(|group| self.is_switched(*group)) {
            // What its small sides are made of, and what stands behind the join.
            inputs.extend(self.reduce_inputs(group));
            inputs.remove(&TaskSet::Maps(id));
        }
        inputs
    }

    /// What a stage's map tasks fetch: what other tasks stored of the collections that it reads, and side inputs.
    pub(super) fn stored_reads(&self, id: MscrId) -> impl Iterator<Item = CollectionId> + '_ {
        self.stage(id).inputs.iter().flat_map(move |input| {
            let reads = input.reads.iter().filter(|read| !self.is_forwarded(**read)).flat_map(|read| self.leaves(*read));
            reads.filter(move |leaf| !self.runs_read(id, *leaf)).chain(self.sides_of(&input.does))
        })
    }

    /// Whether a stage has joins that have switched to a broadcast.
    pub(super) fn has_switched(&self, stage: MscrId) -> bool {
        groups(self.stage(stage)).any(|group| self.is_switched(group))
    }

    /// The sets that fill a group's shuffle.
    pub(super) fn feeders(&self, group: NodeId) -> BTreeSet<TaskSet> {
        let ahead = self.onward.iter().filter(|onward| self.feeds(onward, group));
        ahead.flat_map(|onward| self.behind(onward.group)).chain([TaskSet::Maps(self.stage_of(group))]).collect()
    }

    fn reduce_inputs(&self, group: NodeId) -> BTreeSet<TaskSet> {
        let mut inputs = self.feeders(group);
        inputs.extend(self.reduce_sides(group).into_iter().flat_map(|side| self.makers(side)));
        inputs
    }

    /// The side inputs of a group's reduce tasks, with those of what they push rows on to.
    pub(super) fn reduce_sides(&self, group: NodeId) -> BTreeSet<CollectionId> {
        let mut sides = self.sides_of(self.group(group).1);
        for onward in self.onward.iter().filter(|onward| onward.group == group) {
            sides.extend(self.sides_of(&self.channel(onward.to, onward.channel).does));
        }
        sides
    }

    pub(super) fn sides_of(&self, nodes: &[NodeId]) -> BTreeSet<CollectionId> {
        nodes.iter().flat_map(|node| schedule::side_inputs(&self.plan, *node)).collect()
    }

    pub(super) fn channel(&self, stage: MscrId, channel: usize) -> &InputChannel {
        &self.stage(stage).inputs[channel]
    }

    pub(super) fn is_forwarded(&self, collection: CollectionId) -> bool {
        self.forwarded.contains(&collection)
    }

    /// What a collection is made of: unions resolved, with multiplicity, in order.
    pub(super) fn leaves(&self, collection: CollectionId) -> Vec<CollectionId> {
        let producer = self.plan.graph.producer(collection);
        match producer.op {
            Op::Flatten { .. } => producer.inputs.iter().flat_map(|input| self.leaves(*input)).collect(),
            Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => vec![collection],
        }
    }

    /// Where the rows of a collection that is no union are made.
    pub(super) fn made(&self, leaf: CollectionId) -> &[Place] {
        self.places.get(&self.plan.graph.collection(leaf).producer).map_or(&[], Vec::as_slice)
    }

    /// The sets that make a collection.
    pub(super) fn makers(&self, collection: CollectionId) -> BTreeSet<TaskSet> {
        self.leaves(collection)
            .into_iter()
            .flat_map(|leaf| self.made(leaf).iter().map(|place| place.set()).collect::<Vec<_>>())
            .collect()
    }

    /// Whether a stage runs the source of a read collection, instead of reading what another stage stored of it.
    pub(super) fn runs_read(&self, stage: MscrId, leaf: CollectionId) -> bool {
        if !matches!(self.plan.graph.producer(leaf).op, Op::Read(_)) {
            return false;
        }
        let passes = |stage: &Mscr| {
            let what = Pass::Collection(leaf);
            stage.outputs.iter().any(|output| matches!(output, OutputChannel::Pass { what: this } if *this == what))
        };
        let owner = self.sets.iter().find_map(|set| match set {
            TaskSet::Maps(id) if passes(self.stage(*id)) => Some(*id),
            _ => None,
        });
        owner.is_none_or(|owner| owner == stage)
    }

    /// The sources that a stage runs.
    pub(super) fn sources(&self, stage: MscrId) -> Vec<&Node> {
        let reads = self.stage(stage).inputs.iter().flat_map(|input| &input.reads);
        let leaves = reads.filter(|read| !self.is_forwarded(**read)).flat_map(|read| self.leaves(*read));
        let sources: BTreeSet<NodeId> =
            leaves.filter(|leaf| self.runs_read(stage, *leaf)).map(|leaf| self.plan.graph.collection(leaf).producer).collect();
        sources.into_iter().map(|node| self.plan.graph.node(node)).collect()
    }

    /// Whether a stage's sources must be listed.
    pub(super) fn splits(&self, stage: MscrId) -> bool {
        !self.sources(stage).is_empty()
    }

    /// The collections that name the files of a stage's sources.
    pub(super) fn path_reads(&self, stage: MscrId) -> Vec<(NodeId, CollectionId)> {
        self.sources(stage).into_iter().flat_map(|node| node.inputs.iter().map(|input| (node.id, *input))).collect()
    }

    /// Write nodes with their sinks.
    pub(super) fn sinks(&self) -> impl Iterator<Item = (&Node, &Sink)> {
        self.plan.graph.nodes.values().filter_map(|node| match &node.op {
            Op::ParallelDo(Do::Write(sink)) => Some((node, sink)),
            _ => None,
        })
    }

    /// Whether anything is to be staged and committed.
    pub(super) fn has_files(&self) -> bool {
        self.sinks().any(|(_, sink)| is_files(sink))
    }

    /// Whether rows are kept for `gleamflow output`.
    pub(super) fn has_stdout(&self) -> bool {
        self.sinks().any(|(_, sink)| is_stdout(sink))
    }
}

fn sets(unit: &Unit<'_>) -> Vec<TaskSet> {
    match unit {
        Unit::Stage(stage) => {
            let mut sets = vec![TaskSet::Split(stage.id), TaskSet::Maps(stage.id)];
            sets.extend(groups(stage).map(TaskSet::Reduces));
            sets
        }
        Unit::Operate(node) => vec![TaskSet::Operate(*node)],
    }
}

fn groups(stage: &Mscr) -> impl Iterator<Item = NodeId> + '_ {
    stage.outputs.iter().filter_map(|output| match output {
        OutputChannel::Group { group, .. } => Some(*group),
        OutputChannel::Pass { .. } => None,
    })
}

fn onward(units: &[Unit<'_>], plan: &Plan, collection: CollectionId, forward: Forward) -> Option<Onward> {
    let (Unit::Stage(from), Unit::Stage(to)) = (units[forward.from], units[forward.to]) else { return None };
    let producer = plan.graph.collection(collection).producer;
    let group = from.outputs.iter().find_map(|output| match output {
        OutputChannel::Group { group, reduce, .. } if *group == producer || reduce.contains(&producer) => Some(*group),
        OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
    })?;
    Some(Onward { group, to: to.id, channel: forward.channel, read: forward.read })
}
