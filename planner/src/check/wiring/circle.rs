//! The order of the steps, and circles that leave none.

use std::collections::BTreeSet;

use crds::Step;

use super::super::FlowProblem;
use super::{Edges, reads};

/// Steps in an order in which each stands behind what it reads, otherwise in that of the file. Each circle is a problem, and
/// its steps come last.
pub(super) fn order(steps: &[Step], edges: &[Edges], problems: &mut Vec<FlowProblem>) -> Vec<usize> {
    let mut done = vec![false; edges.len()];
    let mut order = Vec::with_capacity(edges.len());
    while order.len() < edges.len() {
        let ready = (0..edges.len()).find(|step| !done[*step] && reads(&edges[*step]).all(|read| done[read]));
        let next = ready.unwrap_or_else(|| {
            let circle = find(edges, &done);
            let names: Vec<&str> = circle.iter().chain(&circle[..1]).map(|step| steps[*step].name.as_str()).collect();
            let first = circle[0];
            let message = match circle.as_slice() {
                [_] => "the step reads itself".to_owned(),
                _ => format!("steps read each other in a circle: {}", names.join(" -> ")),
            };
            problems.push(FlowProblem::new(format!("steps[{first}].from"), message).step(&steps[first].name).of_flow());
            first
        });
        done[next] = true;
        order.push(next);
    }
    order
}

/// A circle among the steps that are not done, each followed by one that reads it; it begins with its first in the file.
fn find(edges: &[Edges], done: &[bool]) -> Vec<usize> {
    let mut step = done.iter().position(|done| !done).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut path = Vec::new();
    // Every step that is not done reads one that is not done: going on and on must meet a step again.
    while seen.insert(step) {
        path.push(step);
        step = reads(&edges[step]).find(|read| !done[*read]).unwrap_or(step);
    }
    let start = path.iter().position(|seen| *seen == step).unwrap_or_default();
    let mut circle: Vec<usize> = path.split_off(start);
    circle.reverse();
    let first = circle.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(at, _)| at);
    circle.rotate_left(first);
    circle
}
