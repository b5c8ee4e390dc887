//! A deliberately wrong variant of each pass: the planner's invariants, or the comparison with the interpreter, must report it.

use std::collections::BTreeSet;

use crds::Document;
use plan::{Do, Graph, JoinKind, Node, NodeId, Op, OutputChannel, Plan};
use planner::{Draft, Facts, InMaking, Options, PASSES, ParamValues, PassName};

/// What a wrong pass leaves behind.
enum Bug {
    Draft(fn(&mut Draft)),
    Plan(fn(&mut Plan)),
}

/// Who must report it, and in which words.
enum Caught {
    Invariant(&'static str),
    Oracle,
}

struct Planted {
    pass: PassName,
    steps: &'static str,
    bug: Bug,
    by: Caught,
}

const ROWS: &str = "- {name: r, read: {inline: {rows: [[1, 10, a], [2, 20, b], [2, 5, c], [3, 7, a], [1, 10, a]]}}}\n";

fn graph_of(steps: &str) -> Graph {
    let lines = format!("{ROWS}{steps}");
    let indented: String = lines.lines().map(|line| format!("    {}\n", line.trim())).collect();
    let yaml = format!("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: f}}\nspec:\n  steps:\n{indented}");
    let document = Document::parse(&yaml, "flow.yaml").unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}"));
    let checked = planner::check(&document.flow, &Facts::new(), &ParamValues::new());
    checked.unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}")).graph
}

/// Plans with a bug behind a pass and interprets the result; who reported what.
fn reported(graph: &Graph, pass: PassName, bug: Option<&Bug>) -> Result<(), (bool, String)> {
    let mut planted = false;
    let mut watch = |behind: PassName, what: InMaking<'_>| {
        if behind == pass && !planted {
            planted = true;
            match (bug, what) {
                (None, _) => {}
                (Some(Bug::Draft(plant)), InMaking::Draft(draft)) => plant(draft),
                (Some(Bug::Plan(plant)), InMaking::Plan(plan)) => plant(plan),
                (Some(_), what) => panic!("{pass} leaves {what:?}"),
            }
        }
    };
    let lua = planner::passes::Lua::default();
    let plan = planner::plan_watched(graph.clone(), String::new(), &Options::default(), lua, &mut watch)
        .map_err(|faults| (true, faults.join("\n")))?;
    assert!(planted, "{pass} was never behind");
    let folder = tempfile::tempdir().unwrap();
    let expected = oracle::interpret(graph, "", folder.path()).unwrap();
    let found = oracle::interpret(&plan.graph, "", folder.path()).map_err(|message| (false, message))?;
    oracle::compare::difference(&expected, &found).map_err(|message| (false, message))
}

fn of_step(graph: &Graph, step: &str, wanted: fn(&Node) -> bool) -> NodeId {
    graph.nodes.values().find(|node| node.step == step && wanted(node)).unwrap_or_else(|| panic!("no {step}")).id
}

fn any(_: &Node) -> bool {
    true
}

fn is_group(node: &Node) -> bool {
    matches!(node.op, Op::Group(_))
}

fn is_combine(node: &Node) -> bool {
    matches!(node.op, Op::Combine(_))
}

/// Takes a node away; its readers read what it read.
fn bypass(graph: &mut Graph, id: NodeId) {
    let node = graph.nodes.remove(&id).unwrap();
    for made in node.outputs {
        graph.collections.remove(&made);
        let inputs = graph.nodes.values_mut().flat_map(|other| &mut other.inputs);
        inputs.filter(|input| **input == made).for_each(|input| *input = node.inputs[0]);
    }
}

/// Makes the readers of one step read another, and drops it.
fn merge_into(graph: &mut Graph, drop: &str, keep: &str) {
    let (drop, keep) = (of_step(graph, drop, any), of_step(graph, keep, any));
    let kept = graph.node(keep).outputs[0];
    let dropped = graph.nodes.remove(&drop).unwrap();
    for made in dropped.outputs {
        graph.collections.remove(&made);
        let inputs = graph.nodes.values_mut().flat_map(|other| &mut other.inputs);
        inputs.filter(|input| **input == made).for_each(|input| *input = kept);
    }
}

/// Puts the second stage into the first, though it waits for it.
fn merge_stages(plan: &mut Plan) {
    let second = plan.mscrs.remove(1);
    let first = &mut plan.mscrs[0];
    let shift = first.inputs.len();
    first.inputs.extend(second.inputs);
    first.outputs.extend(second.outputs.into_iter().map(|output| match output {
        OutputChannel::Group { group, combine, reduce, from } => {
            OutputChannel::Group { group, combine, reduce, from: from.iter().map(|index| index + shift).collect() }
        }
        pass @ OutputChannel::Pass { .. } => pass,
    }));
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn bugs() -> Vec<Planted> {
    use {Bug::Draft as D, Bug::Plan as P, Caught::Invariant as I, Caught::Oracle};
    let bug = |pass, steps, bug, by| Planted { pass, steps, bug, by };
    vec![
        bug(
            PassName::MergeFlattens,
            "- {name: u, from: [r, r], union: {}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| draft.graph.nodes.values_mut().for_each(|node| node.inputs.dedup())),
            Oracle,
        ),
        bug(
            PassName::DeadCode,
            "- {name: w, write: {text: {path: w}}}\n- {name: v, from: [r], write: {text: {path: v}}}",
            D(|draft| {
                let sink = of_step(&draft.graph, "v", any);
                draft.graph.nodes.remove(&sink);
            }),
            I("the sink `v` is gone"),
        ),
        bug(
            PassName::DeadCode,
            "- {name: s, map: {lua: 'function(a) return a end'}}
             - {name: x, from: [r], map: {lua: 'function(a) return #s end'}, sideInputs: [{name: s, from: s, as: list}]}
             - {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let side = of_step(&draft.graph, "s", any);
                let made = draft.graph.nodes.remove(&side).unwrap().outputs;
                made.iter().for_each(|made| drop(draft.graph.collections.remove(made)));
            }),
            I("which does not exist"),
        ),
        bug(
            PassName::CommonSubexpressions,
            "- {name: p, pipe: {command: cat}}\n- {name: w, write: {text: {path: w}}}
             - {name: q, from: [r], pipe: {command: cat}}\n- {name: v, write: {text: {path: v}}}",
            D(|draft| merge_into(&mut draft.graph, "q", "p")),
            I("the indeterminate step `q` is gone"),
        ),
        bug(
            PassName::CommonSubexpressions,
            "- {name: p, map: {lua: 'function(a) return a end'}}\n- {name: w, write: {text: {path: w}}}
             - {name: q, from: [r], map: {lua: 'function(a) return a + 1 end'}}\n- {name: v, write: {text: {path: v}}}",
            D(|draft| merge_into(&mut draft.graph, "q", "p")),
            Oracle,
        ),
        bug(
            PassName::FilterPushdown,
            "- {name: s, sort: {by: [{field: 1}]}}\n- {name: l, limit: {n: 3}}
             - {name: f, filter: {lua: 'function(a, b) return b > 6 end'}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let graph = &mut draft.graph;
                let (limit, filter) = (of_step(graph, "l", any), of_step(graph, "f", any));
                let (above, between, below) =
                    (graph.node(limit).inputs[0], graph.node(limit).outputs[0], graph.node(filter).outputs[0]);
                let sink = of_step(graph, "w", any);
                graph.nodes.get_mut(&filter).unwrap().inputs = vec![above];
                graph.nodes.get_mut(&limit).unwrap().inputs = vec![below];
                graph.nodes.get_mut(&sink).unwrap().inputs = vec![between];
            }),
            Oracle,
        ),
        bug(
            PassName::ColumnPushdown,
            "- {name: s, select: {columns: [2]}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let select = of_step(&draft.graph, "s", any);
                draft.graph.nodes.get_mut(&select).unwrap().op = Op::ParallelDo(Do::Select(vec![0]));
            }),
            Oracle,
        ),
        bug(
            PassName::BroadcastJoin,
            "- {name: q, read: {inline: {rows: [[1, x]]}}}\n- {name: j, from: [r, q], join: {key: [1], kind: left}}
             - {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let probe = of_step(&draft.graph, "j", any);
                let node = draft.graph.nodes.get_mut(&probe).unwrap();
                let Op::ParallelDo(Do::ProbeJoin { big, .. }) = &mut node.op else { panic!("no probe") };
                *big = 1;
                std::mem::swap(&mut node.inputs[0], &mut node.side_inputs[0].from);
            }),
            I("of which every row must be kept"),
        ),
        bug(
            PassName::RedundantGroups,
            "- {name: s, from: [r], select: {columns: [1, 2]}}\n- {name: a, reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}}
             - {name: b, reduceBy: {key: [2], lua: 'function(x, y) return x + y end'}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let (group, fold) = (of_step(&draft.graph, "b", is_group), of_step(&draft.graph, "b", is_combine));
                bypass(&mut draft.graph, group);
                bypass(&mut draft.graph, fold);
            }),
            Oracle,
        ),
        bug(
            PassName::RedundantGroups,
            "- {name: s, from: [r], select: {columns: [1, 2]}}\n- {name: a, reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}}
             - {name: b, groupBy: {key: [1]}}\n- {name: w, write: {json: {path: w}}}",
            D(|draft| {
                let group = of_step(&draft.graph, "b", any);
                draft.graph.nodes.get_mut(&group).unwrap().op = Op::ParallelDo(Do::Identity);
            }),
            Oracle,
        ),
        bug(
            PassName::JoinedGroups,
            "- {name: q, read: {inline: {rows: [[1, x]]}}}\n- {name: t, read: {inline: {rows: [[2, x]]}}}
             - {name: i, from: [r, q], join: {key: [1], kind: left, broadcast: never}}
             - {name: j, from: [i, t], join: {key: [1], kind: left, broadcast: never}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                for node in draft.graph.nodes.values_mut() {
                    if let Op::ParallelDo(Do::UntagJoin { kind, .. }) = &mut node.op {
                        *kind = JoinKind::Inner;
                    }
                }
            }),
            Oracle,
        ),
        bug(
            PassName::SinkFlattens,
            "- {name: q, read: {inline: {rows: [[9]]}}}\n- {name: u, from: [r, q], union: {}}
             - {name: x, map: {lua: 'function(a) return a end'}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let copies: Vec<NodeId> =
                    draft.graph.nodes.values().filter(|node| node.step == "w").map(|node| node.id).collect();
                assert_eq!(copies.len(), 2);
                draft.graph.nodes.remove(&copies[1]);
            }),
            Oracle,
        ),
        bug(
            PassName::LiftCombine,
            "- {name: g, groupBy: {key: [1]}}\n- {name: c, combine: {lua: 'function(a, b, x, y) return a + x, b end'}}
             - {name: w, write: {text: {path: w}}}\n- {name: x, from: [g], map: {lua: 'function(k) return k end'}}
             - {name: v, write: {text: {path: v}}}",
            D(|draft| {
                let (group, combine) = (of_step(&draft.graph, "g", any), of_step(&draft.graph, "c", any));
                draft.combines.insert(group, vec![combine]);
            }),
            I("combines"),
        ),
        bug(
            PassName::LiftCombine,
            "- {name: g, groupBy: {key: [1], orderBy: [{field: 2}]}}
             - {name: c, combine: {lua: 'function(a, b, x, y) return a, b end'}}\n- {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let (group, combine) = (of_step(&draft.graph, "g", any), of_step(&draft.graph, "c", any));
                draft.combines.insert(group, vec![combine]);
            }),
            I("group by key without an order"),
        ),
        bug(
            PassName::PackCombines,
            "- {name: g, groupBy: {key: [1]}}\n- {name: c, combine: {lua: 'function(a, b, x, y) return a + x, b end'}}
             - {name: w, write: {text: {path: w}}}\n- {name: d, from: [g], combine: {lua: 'function(a, b, x, y) return x, y end'}}
             - {name: v, write: {text: {path: v}}}\n- {name: x, from: [g], map: {lua: 'function(k) return k end'}}
             - {name: z, write: {text: {path: z}}}",
            D(|draft| {
                let group = of_step(&draft.graph, "g", any);
                let both = ["c", "d"].map(|step| of_step(&draft.graph, step, any)).to_vec();
                draft.combines.insert(group, both);
            }),
            I("combines"),
        ),
        bug(PassName::FusionBlocks, TWO_GROUPS, D(|draft| draft.blocks.clear()), I("no stage ends between the group `c` and")),
        bug(
            PassName::FusionBlocks,
            TWO_GROUPS,
            D(|draft| {
                let group = of_step(&draft.graph, "c", is_group);
                draft.blocks = BTreeSet::from([draft.graph.node(group).outputs[0]]);
            }),
            I("which no ParallelDo makes"),
        ),
        bug(
            PassName::ProducerConsumerFusion,
            PERSISTED,
            D(|draft| {
                let (x, z) = (of_step(&draft.graph, "x", any), of_step(&draft.graph, "z", any));
                let head = draft.fusion(x);
                let behind: Vec<NodeId> = draft.fusions()[&draft.fusion(z)].clone();
                draft.fused.extend(behind.into_iter().map(|node| (node, head)));
            }),
            I("fused across the end of a stage"),
        ),
        bug(
            PassName::SiblingFusion,
            "- {name: s, map: {lua: 'function(a) return a end'}}
             - {name: x, from: [r], map: {lua: 'function(a) return #s end'}, sideInputs: [{name: s, from: s, as: list}]}
             - {name: w, write: {text: {path: w}}}",
            D(|draft| {
                let (s, x) = (of_step(&draft.graph, "s", any), of_step(&draft.graph, "x", any));
                let behind = draft.fusions()[&draft.fusion(x)].clone();
                let head = s.min(behind[0]);
                draft.fused.extend(behind.into_iter().chain([s]).map(|node| (node, head)));
            }),
            I("wait for themselves"),
        ),
        bug(PassName::MscrFusion, TWO_GROUPS, P(merge_stages), I("waits for itself")),
        bug(PassName::MapOnlyMerging, PERSISTED, P(merge_stages), I("waits for itself")),
        bug(
            PassName::LocalChoice,
            "- {name: o, operate: {lua: 'function() emit(1) end'}}\n- {name: x, map: {lua: 'function(a) return a end'}}
             - {name: w, write: {text: {path: w}}}",
            P(|plan| {
                let told = plan.decisions.iter_mut().filter(|told| told.pass == PassName::LocalChoice.as_str());
                told.for_each(|told| told.did = true);
            }),
            I("not what was decided"),
        ),
        bug(
            PassName::SwitchJoins,
            "- {name: x, map: {lua: 'function(a) return a end'}, hints: {sizeRatio: 900000000}}
             - {name: q, read: {inline: {rows: [[1]]}}}\n- {name: z, map: {lua: 'function(a) return a end'}, hints: {sizeRatio: 900000000}}
             - {name: j, from: [x, z], join: {key: [1]}}\n- {name: w, write: {text: {path: w}}}",
            // The side that is measured waits for the one that waits for it.
            P(|plan| plan.switches[0].late = vec![0, 1]),
            I("cannot switch as planned"),
        ),
    ]
}

const TWO_GROUPS: &str = "- {name: c, count: {key: [1]}}\n- {name: x, map: {lua: 'function(k, n) return n, k end'}}
     - {name: s, sort: {by: [{field: 1}]}}\n- {name: w, write: {text: {path: w}}}";

const PERSISTED: &str = "- {name: x, map: {lua: 'function(a) return a end'}, persist: true}
     - {name: z, map: {lua: 'function(a) return a end'}}\n- {name: w, write: {text: {path: w}}}";

#[test]
fn a_bug_in_each_pass_is_reported() {
    let mut wrong = BTreeSet::new();
    for planted in bugs() {
        let graph = graph_of(planted.steps);
        let pass = planted.pass;
        assert_eq!(reported(&graph, pass, None), Ok(()), "{pass} without a bug");
        let (by_invariant, words) = reported(&graph, pass, Some(&planted.bug)).expect_err(pass.as_str());
        println!("{pass}: {words}");
        match planted.by {
            Caught::Invariant(expected) => assert!(by_invariant && words.contains(expected), "{pass}: {words}"),
            Caught::Oracle => assert!(!by_invariant, "{pass}: {words}"),
        }
        wrong.insert(pass);
    }
    assert_eq!(wrong, PASSES.into_iter().collect(), "each pass has a wrong variant");
}
