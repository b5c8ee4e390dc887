//! Shuffles that change nothing: one whose order or placement the next shuffle undoes, and one whose groups are single rows.

use plan::{Alone, Do, Fold, Graph, Group, Key, Node, NodeId, OnError, Op, Values};

use super::{
    Context, Log,
    facts::{keeps_key_in_place, leading, least_width, looks_at, passes_rows_on, tagged, unique},
    splice::{self, Readers},
};

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    if graph.nodes.values().filter(|node| matches!(node.op, Op::Group(_))).nth(1).is_none() {
        // It takes two.
        return;
    }
    // What goes may bring what it stood between within reach of each other.
    loop {
        let mut round = Log::new(log.pass);
        once(graph, context, &mut round);
        let told = round.into_decisions();
        let is_last = told.iter().all(|decision| !decision.did);
        for decision in told {
            match decision.did {
                true => log.did(&decision.step, decision.reason),
                // Of the others, what stands at the end.
                false if is_last => log.declined(&decision.step, decision.reason),
                false => {}
            }
        }
        if is_last {
            break;
        }
    }
}

fn once(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    let mut readers = Readers::of(graph);
    for id in graph.topological().unwrap_or_default() {
        let Some(Op::Group(_)) = graph.nodes.get(&id).map(|node| &node.op) else { continue };
        if let Some(verdict) = undone(graph, context, &readers, id).or_else(|| placed(graph, context, id)) {
            let step = graph.node(id).step.clone();
            match verdict {
                Ok(why) => {
                    log.did(&step, why);
                    splice::bypass(graph, id);
                    readers = Readers::of(graph);
                    continue;
                }
                Err(why) => log.declined(&step, why),
            }
        }
        if let Some(verdict) = single_rows(graph, context, &readers, id) {
            let step = graph.node(id).step.clone();
            match verdict {
                Ok(single) => {
                    log.did(&step, single.told());
                    single.put_in(graph, id);
                    readers = Readers::of(graph);
                }
                Err(why) => log.declined(&step, why),
            }
        }
    }
}

/// Whether the next shuffle undoes all that this one does; `None` where that is not the question.
fn undone(graph: &Graph, context: &Context<'_>, readers: &Readers, id: NodeId) -> Option<Result<String, String>> {
    let node = graph.node(id);
    let Op::Group(group) = &node.op else { return None };
    let next = next_group(graph, readers, node)?;
    let Op::Group(then) = &graph.node(next).op else { return None };
    let name = &graph.node(next).step;
    let keeps_order = matches!(then, Group::Limit { .. } | Group::Gather | Group::Merge { .. });
    match group {
        Group::Hash { .. } | Group::RoundRobin => {}
        Group::Sort { .. } | Group::Merge { .. } | Group::Gather if !keeps_order => {}
        Group::Sort { .. } | Group::Merge { .. } | Group::Gather => {
            return Some(Err(format!("kept: `{name}` heeds the order of its rows")));
        }
        Group::ByKey { .. } | Group::ByLeg { .. } | Group::Limit { .. } => return None,
    }
    let least = least_width(graph, context, node.inputs[0]);
    let then_columns = looks_at(then);
    let unchecked = looks_at(group).into_iter().find(|column| *column >= least && !then_columns.contains(column));
    Some(match unchecked {
        Some(column) => Err(format!("kept: it fails where a row has no field {}, which `{name}` would not", column + 1)),
        None if !node.deterministic => Err("kept: it is not deterministic".into()),
        None if node.on_error != OnError::Fail => Err("kept: it sets bad rows aside".into()),
        None => Ok(format!("dropped: the shuffle of `{name}` undoes what it does")),
    })
}

/// Whether rows with equal keys are together already, because no two have the same; `None` where that is not the question.
fn placed(graph: &Graph, context: &Context<'_>, id: NodeId) -> Option<Result<String, String>> {
    let node = graph.node(id);
    let Op::Group(group @ Group::Hash { key }) = &node.op else { return None };
    let unique = unique(graph, context, node.inputs[0])?;
    let least = least_width(graph, context, node.inputs[0]);
    let missing = looks_at(group).into_iter().find(|column| *column >= least);
    Some(if !unique.implies(key) {
        Err("kept: its key is not that of the group before it".into())
    } else if let Some(column) = missing {
        Err(format!("kept: it fails where a row has no field {}", column + 1))
    } else if node.partitions.is_some() || graph.collection(node.outputs[0]).persist {
        Err("kept: its result is to have its own partitions, or is persisted".into())
    } else if !node.deterministic || node.on_error != OnError::Fail {
        Err("kept: it sets bad rows aside or is not deterministic".into())
    } else {
        Ok("dropped: no two rows have the same key, so none has to move".into())
    })
}

/// The shuffle that is all that reads a group, rows unchanged in between.
fn next_group(graph: &Graph, readers: &Readers, node: &Node) -> Option<NodeId> {
    let mut made = *node.outputs.first()?;
    loop {
        let reader = graph.node(readers.sole(graph, made)?);
        match reader.op {
            Op::Group(_) => return Some(reader.id),
            Op::ParallelDo(Do::Identity) => made = reader.outputs[0],
            _ => return None,
        }
    }
}

/// What a group of single rows becomes.
struct Single {
    /// What is done to a row in its place.
    work: Do,
    /// The fold that goes with it, if that is all that reads it.
    combine: Option<NodeId>,
}

/// A group whose groups are single rows as what it makes of one of them, or why not.
fn single_rows(graph: &Graph, context: &Context<'_>, readers: &Readers, id: NodeId) -> Option<Result<Single, String>> {
    let node = graph.node(id);
    let Op::Group(Group::ByKey { key, values, .. }) = &node.op else { return None };
    let Some(unique) = unique(graph, context, node.inputs[0]) else {
        return behind_fold(graph, node).or_else(|| behind_join(graph, node, key)).map(Err);
    };
    if !unique.implies(key) {
        return Some(Err("shuffled: its key is not that of the group before it, so rows with equal keys may be apart".into()));
    }
    let combine = readers.sole(graph, node.outputs[0]).map(|reader| graph.node(reader));
    let combine = combine.filter(|reader| matches!(reader.op, Op::Combine(_)));
    let is_combined = readers.main(node.outputs[0]).iter().any(|reader| matches!(graph.node(*reader).op, Op::Combine(_)));
    let least = least_width(graph, context, node.inputs[0]);
    let columns = if let Op::Group(group) = &node.op { looks_at(group) } else { return None };
    let sets_aside = node.on_error != OnError::Fail || combine.is_some_and(|combine| combine.on_error != OnError::Fail);
    let why = if combine.is_none() && is_combined {
        "its groups are single rows, but folds are not all that reads them, or one of several"
    } else if columns.iter().any(|column| *column >= least) {
        "its groups are single rows, but a row without a key field must fail"
    } else if node.partitions.or(combine.and_then(|combine| combine.partitions)).is_some() {
        "its groups are single rows, but its result is to have its own partitions"
    } else if graph.collection(node.outputs[0]).persist {
        "its groups are single rows, but they are persisted"
    } else if sets_aside || !node.deterministic || combine.is_some_and(|combine| !combine.deterministic) {
        "its groups are single rows, but it sets bad rows aside or is not deterministic"
    } else {
        return Some(match work(key, *values, combine) {
            Some(work) => Ok(Single { work, combine: combine.map(|combine| combine.id) }),
            None => Err("its groups are single rows, but come out in another form".into()),
        });
    };
    Some(Err(why.into()))
}

/// What a group, with its fold if that is all that reads it, makes of a row that is alone.
fn work(key: &Key, values: Values, combine: Option<&Node>) -> Option<Do> {
    let alone = |made| Some(Do::Alone { key: key.clone(), made });
    match (combine.map(|combine| &combine.op), values) {
        (None, Values::Rest) => alone(Alone::List),
        (Some(Op::Combine(Fold::Smallest)), Values::Row) => Some(Do::Identity),
        (Some(Op::Combine(Fold::Lua(_))), Values::Rest) => match key {
            Key::Columns(_) if keeps_key_in_place(key, values) => Some(Do::Identity),
            Key::Columns(_) => alone(Alone::Values),
            Key::Row => None,
        },
        _ => None,
    }
}

/// A group behind a fold with a function between them that might, for all we know, keep the key.
fn behind_fold(graph: &Graph, node: &Node) -> Option<String> {
    let mut producer = graph.producer(node.inputs[0]);
    let mut between = None;
    while let Op::ParallelDo(_) = producer.op {
        if !passes_rows_on(producer) {
            between = Some(producer);
        }
        producer = graph.producer(*producer.inputs.first()?);
    }
    matches!(producer.op, Op::Combine(_)).then_some(())?;
    between.map(|node| {
        format!(
            "shuffled: `{}` lies between it and the group before it, and may change the key or make several rows of one",
            node.step
        )
    })
}

/// A group of a join's rows by the key of the join, with nothing but filters between: they need not move, but they do.
fn behind_join(graph: &Graph, node: &Node, key: &Key) -> Option<String> {
    let mut producer = graph.producer(node.inputs[0]);
    while passes_rows_on(producer) && matches!(producer.op, Op::ParallelDo(_)) {
        producer = graph.producer(producer.inputs[0]);
    }
    let Op::ParallelDo(Do::UntagJoin { .. }) = producer.op else { return None };
    let Key::Columns(columns) = key else { return None };
    (leading(columns) && tagged(graph, producer) == Some(columns.len())).then(|| {
        let join = &producer.step;
        if producer.broadcast == Some(false) {
            format!("kept: the join `{join}` has the same key, but makes several rows of one, which only a shuffle brings together as a group")
        } else {
            format!("kept: the join `{join}` has the same key, but may yet become a broadcast, which leaves rows where they are")
        }
    })
}

impl Single {
    fn told(&self) -> &'static str {
        match &self.work {
            Do::Alone { .. } => "each of its groups is one row already: each row becomes what its group would, without a shuffle",
            _ => "each of its groups is one row already: rows are passed on without a shuffle",
        }
    }

    /// The group becomes a ParallelDo; the fold goes.
    fn put_in(self, graph: &mut Graph, group: NodeId) {
        let fold = self.combine.map(|combine| graph.node(combine).clone());
        if let Some(fold) = &fold {
            let grouped = graph.node(group).outputs.clone();
            graph.nodes.remove(&fold.id);
            for made in &grouped {
                graph.collections.remove(made);
            }
            for made in &fold.outputs {
                if let Some(collection) = graph.collections.get_mut(made) {
                    collection.producer = group;
                }
            }
        }
        if let Some(node) = graph.nodes.get_mut(&group) {
            node.op = Op::ParallelDo(self.work);
            if let Some(fold) = fold {
                node.outputs = fold.outputs;
                node.size_ratio = fold.size_ratio;
            }
        }
    }
}
