//! A plan as a Mermaid flowchart: a box per stage, dotted arrows for side inputs, thick ones where rows are kept.

use std::fmt::Write;

use crate::{Plan, text::operator};

/// The plan in Mermaid's language.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut text = String::from("flowchart LR\n");
    for (place, nodes) in &crate::places::places(plan) {
        if let Some(id) = place {
            let _ = writeln!(text, "  subgraph {id}");
        }
        for node in nodes.iter().map(|id| plan.graph.node(*id)) {
            let indent = if place.is_some() { "    " } else { "  " };
            let _ = writeln!(text, "{indent}{}[\"{}<br>{}\"]", node.id, escaped(&node.step), escaped(&operator(&node.op)));
        }
        if place.is_some() {
            text.push_str("  end\n");
        }
    }
    for edge in crate::places::edges(plan) {
        let arrow = if edge.side {
            "-.->"
        } else if edge.kept {
            "==>"
        } else {
            "-->"
        };
        let _ = writeln!(text, "  {} {arrow} {}", edge.from, edge.to);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
