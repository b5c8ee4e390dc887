//! A plan as a Graphviz graph: a cluster per stage, an arrow per collection, dashed for side inputs, bold where rows are kept.

use std::fmt::Write;

use crate::{Plan, text::operator};

/// The plan in the DOT language.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
    let places = crate::places::places(plan);
    for (place, nodes) in &places {
        let inside = place.is_some();
        if let Some(id) = place {
            let _ = writeln!(text, "  subgraph cluster_{id} {{\n    label=\"{id}\";");
        }
        for node in nodes.iter().map(|id| plan.graph.node(*id)) {
            let indent = if inside { "    " } else { "  " };
            let _ = writeln!(text, "{indent}{} [label=\"{}\\n{}\"];", node.id, escaped(&node.step), escaped(&operator(&node.op)));
        }
        if inside {
            text.push_str("  }\n");
        }
    }
    for edge in crate::places::edges(plan) {
        let style = if edge.side {
            " [style=dashed]"
        } else if edge.kept {
            " [style=bold]"
        } else {
            ""
        };
        let _ = writeln!(text, "  {} -> {}{style};", edge.from, edge.to);
    }
    text + "}\n"
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
