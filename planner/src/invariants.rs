//! What must hold behind every pass beside a sound graph: nothing that must run is lost, and the notes beside the graph only
//! put together what may run together. Found again by other code than the passes', so that a wrong pass does not excuse itself.

mod notes;

use std::collections::BTreeSet;

use plan::{Graph, Node, Op, OutputChannel, Plan};

use crate::{Draft, Options, PassName};

/// All faults behind a pass, given the graph before it; empty where it did no harm.
pub(crate) fn behind(pass: PassName, before: &Graph, draft: &Draft, options: &Options) -> Vec<String> {
    let mut faults = plan::check_graph(&draft.graph);
    if !faults.is_empty() {
        // What follows walks along ids and would stumble over dangling ones.
        return faults;
    }
    lost(pass, before, &draft.graph, &mut faults);
    notes::combines(draft, &mut faults);
    notes::fusions(draft, &mut faults);
    if pass >= PassName::FusionBlocks && options.runs(PassName::FusionBlocks) {
        notes::blocks(draft, &mut faults);
    }
    faults
}

/// All faults of a plan that is done.
pub(crate) fn of_plan(plan: &Plan, options: &Options) -> Vec<String> {
    let mut faults = plan::check_plan(plan);
    if faults.is_empty() && options.runs(PassName::LocalChoice) {
        local_choices(plan, options.local_limit, &mut faults);
    }
    faults
}

/// Steps that must run however well the plan gets: sinks, operates, what is not deterministic; and collections that must be kept.
fn lost(pass: PassName, before: &Graph, after: &Graph, faults: &mut Vec<String>) {
    let kinds: [(&str, fn(&Node) -> bool); 3] = [
        ("the sink", Node::is_write),
        ("the operate", |node| matches!(node.op, Op::Operate(_))),
        ("the indeterminate step", |node| !node.deterministic),
    ];
    for (kind, belongs) in kinds {
        let left = steps(after, belongs);
        faults.extend(steps(before, belongs).difference(&left).map(|step| format!("{kind} `{step}` is gone")));
    }
    let persisted = |graph: &Graph| -> BTreeSet<String> {
        let kept = graph.collections.values().filter(|collection| collection.persist);
        kept.map(|collection| collection.name.clone()).collect()
    };
    // Of two equal collections one is enough.
    if pass != PassName::CommonSubexpressions {
        let left = persisted(after);
        faults.extend(persisted(before).difference(&left).map(|name| format!("`{name}`, which is persisted, is gone")));
    }
}

fn steps(graph: &Graph, belongs: fn(&Node) -> bool) -> BTreeSet<String> {
    graph.nodes.values().filter(|node| belongs(node)).map(|node| node.step.clone()).collect()
}

/// A stage is said to need one process only where all that it reads is known to be small.
fn local_choices(plan: &Plan, limit: u64, faults: &mut Vec<String>) {
    for mscr in &plan.mscrs {
        let reads = mscr.inputs.iter().flat_map(|channel| &channel.reads).map(|id| plan.graph.collection(*id).bytes);
        let bytes = reads.fold(Some(0_u64), |sum, bytes| Some(sum?.saturating_add(bytes?)));
        let wanted = bytes.is_some_and(|bytes| bytes < limit);
        let prefix = format!("stage {} ", mscr.id);
        let mut told = plan.decisions.iter().filter(|told| told.pass == PassName::LocalChoice.as_str());
        if !told.any(|told| told.reason.starts_with(&prefix) && told.did == wanted) {
            let what =
                if mscr.outputs.iter().any(|output| matches!(output, OutputChannel::Group { .. })) { "groups" } else { "maps" };
            faults.push(format!("{} {what} {bytes:?} bytes, which is not what was decided about it", mscr.id));
        }
    }
}
