//! Expected sizes: from what is known of sources, and ratios (`hints.sizeRatio`, else 1).

use std::collections::BTreeSet;

use plan::{CollectionId, Graph, Node, NodeId, Op, Source};

/// Bytes that an integer of a `range` is reckoned with.
const INTEGER: u64 = 8;

/// Fills in the expected bytes of every collection. What a read has been given stays.
pub fn fill(graph: &mut Graph) {
    let Some(order) = graph.topological() else { return };
    let inner = inner_nodes(graph);
    for id in order {
        let node = &graph.nodes[&id];
        let bytes = expected(graph, node, ratio(node, &inner));
        for made in node.outputs.clone() {
            if let Some(collection) = graph.collections.get_mut(&made) {
                let known = collection.bytes.filter(|_| matches!(graph.nodes[&id].op, Op::Read(_)));
                collection.bytes = known.or(bytes);
            }
        }
    }
}

/// What the output is to the input. A step's hint is about the whole step, so it counts once, at the step's last node.
#[must_use]
pub fn ratio(node: &Node, inner: &BTreeSet<NodeId>) -> f64 {
    if inner.contains(&node.id) { 1.0 } else { node.size_ratio.unwrap_or(1.0) }
}

/// Nodes whose output goes on within their own step.
#[must_use]
pub fn inner_nodes(graph: &Graph) -> BTreeSet<NodeId> {
    let producer = |id: &CollectionId| graph.collections.get(id).map(|collection| collection.producer);
    let pairs = graph.nodes.values().flat_map(|node| node.inputs.iter().filter_map(producer).map(move |from| (from, node)));
    pairs.filter(|(from, node)| graph.nodes[from].step == node.step).map(|(from, _)| from).collect()
}

fn expected(graph: &Graph, node: &Node, ratio: f64) -> Option<u64> {
    match &node.op {
        Op::Read(source) => size_of(source),
        Op::Operate(_) => None,
        Op::Flatten { .. } | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) => {
            let mut inputs = node.inputs.iter().map(|input| graph.collections[input].bytes);
            let bytes = inputs.try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
            bytes.map(|bytes| scale(bytes, ratio))
        }
    }
}

fn size_of(source: &Source) -> Option<u64> {
    match source {
        Source::Files { .. } => None,
        Source::Cached { bytes, .. } => Some(*bytes),
        Source::Inline { rows } => {
            let values = rows.iter().flatten().map(|value| value.to_string().len());
            u64::try_from(values.sum::<usize>()).ok()
        }
        Source::Range { from, to, step } => {
            let distance = i128::from(*to) - i128::from(*from);
            let steps = if *step == 0 { 0 } else { (distance / i128::from(*step)).max(0) };
            u64::try_from(steps).ok().map(|count| count.saturating_mul(INTEGER))
        }
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn scale(bytes: u64, ratio: f64) -> u64 {
    if (ratio - 1.0).abs() < f64::EPSILON { bytes } else { (bytes as f64 * ratio) as u64 }
}

/// Bytes for a reader: `12 KiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
pub fn shown(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        None => format!("{bytes} bytes"),
        Some((unit, size)) if bytes % size == 0 => format!("{} {unit}", bytes / size),
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
    }
}
