//! The interpreter against results written down by hand.

use std::path::Path;

use plan::{
    Collection, CollectionId, Do, Fold, Function, Graph, Group, JoinKind, Key, Node, NodeId, OnError, Op, Order, SideInput,
    SideShape, Sink, Source, Values,
};
use serde_json::json;

use super::interpret;
use crate::{Expected, text};

/// A graph, node by node; each node has one output.
#[derive(Default)]
struct Flow(Graph);

impl Flow {
    fn node(&mut self, op: Op, inputs: &[CollectionId]) -> CollectionId {
        let (id, output) = (self.0.fresh_node(), self.0.fresh_collection());
        let node = Node {
            id,
            step: format!("s{}", id.0),
            op,
            inputs: inputs.to_vec(),
            side_inputs: Vec::new(),
            outputs: vec![output],
            deterministic: true,
            partitions: None,
            size_ratio: None,
            memory: None,
            broadcast: None,
            on_error: OnError::Fail,
        };
        self.0.nodes.insert(id, node);
        self.0.collections.insert(output, collection(output, id));
        output
    }

    fn rows(&mut self, rows: serde_json::Value) -> CollectionId {
        let rows = serde_json::from_value(rows).unwrap();
        self.node(Op::Read(Source::Inline { rows }), &[])
    }

    fn last(&mut self) -> &mut Node {
        self.0.nodes.values_mut().next_back().unwrap()
    }

    /// What a write of this collection must write.
    fn written(&mut self, from: CollectionId) -> Result<Expected, String> {
        self.node(Op::ParallelDo(Do::Write(Sink::Stdout { format: None })), &[from]);
        let step = self.last().step.clone();
        interpret(&self.0, "", Path::new("/")).map(|written| written[&step].clone())
    }

    fn gives(&mut self, from: CollectionId, expected: &[&str]) {
        let rows = self.written(from).unwrap().rows;
        let lines: Vec<String> = rows.iter().map(|row| String::from_utf8(text::line(row)).unwrap()).collect();
        assert_eq!(lines, expected);
    }
}

fn collection(id: CollectionId, producer: NodeId) -> Collection {
    Collection { id, name: String::new(), producer, fields: None, ordered: false, persist: false, bytes: None }
}

fn lua(source: &str) -> Function {
    Function { source: source.to_owned(), place: String::new() }
}

fn by_key(columns: &[u32], values: Values) -> Op {
    Op::Group(Group::ByKey { key: Key::Columns(columns.to_vec()), values, order_by: Vec::new() })
}

#[test]
fn words_are_counted() {
    let mut flow = Flow::default();
    let lines = flow.rows(json!([["b a b"], ["a b"]]));
    let words = flow.node(Op::ParallelDo(Do::FlatMap(lua("function(line) return line:gmatch('%w+') end"))), &[lines]);
    let pairs = flow.node(Op::ParallelDo(Do::Map(lua("function(word) return word, 1 end"))), &[words]);
    let groups = flow.node(by_key(&[0], Values::Rest), &[pairs]);
    let counts = flow.node(Op::Combine(Fold::Lua(lua("function(x, y) return x + y end"))), &[groups]);
    flow.gives(counts, &["a\t2", "b\t3"]);
}

#[test]
fn joins_keep_the_keys_of_their_kind_and_pad() {
    for (kind, expected) in [
        (JoinKind::Inner, vec!["2\tb\tx\ty"]),
        (JoinKind::Left, vec!["1\ta\t\t", "2\tb\tx\ty"]),
        (JoinKind::Right, vec!["2\tb\tx\ty", "3\t\tz\t"]),
        (JoinKind::Full, vec!["1\ta\t\t", "2\tb\tx\ty", "3\t\tz\t"]),
    ] {
        let mut flow = Flow::default();
        let left = flow.rows(json!([[1, "a"], [2, "b"]]));
        let right = flow.rows(json!([[2, "x", "y"], [3, "z", null]]));
        let left = flow.node(Op::ParallelDo(Do::Tag { leg: 0, key: vec![0] }), &[left]);
        let right = flow.node(Op::ParallelDo(Do::Tag { leg: 1, key: vec![0] }), &[right]);
        let both = flow.node(Op::Flatten { ordered: false }, &[left, right]);
        let groups = flow.node(Op::Group(Group::ByLeg { legs: 2 }), &[both]);
        let joined = flow.node(Op::ParallelDo(Do::UntagJoin { kind, legs: 2, widths: vec![None, None] }), &[groups]);
        flow.gives(joined, &expected);
    }
}

#[test]
fn a_sort_breaks_ties_by_the_whole_row() {
    let mut flow = Flow::default();
    let rows = flow.rows(json!([[1, "b"], [2, "z"], [1, "a"], [2.5, "q"], [null, 0]]));
    let by = vec![Order { column: 0, descending: true }];
    let sorted = flow.node(Op::Group(Group::Sort { by }), &[rows]);
    flow.gives(sorted, &["2.5\tq", "2\tz", "1\ta", "1\tb", "\t0"]);
}

#[test]
fn rows_that_a_function_refuses_go_where_on_error_says() {
    for (on_error, expected) in [(OnError::Skip, vec!["2"]), (OnError::DeadLetter, vec!["2"])] {
        let mut flow = Flow::default();
        let rows = flow.rows(json!([[1], ["x"]]));
        let mapped = flow.node(Op::ParallelDo(Do::Map(lua("function(x) return x + 1 end"))), &[rows]);
        let letters = flow.0.fresh_collection();
        let id = flow.last().id;
        flow.0.collections.insert(letters, collection(letters, id));
        if on_error == OnError::DeadLetter {
            flow.last().outputs.push(letters);
        }
        flow.last().on_error = on_error.clone();
        flow.gives(mapped, &expected);
        if on_error == OnError::DeadLetter {
            flow.gives(letters, &["x"]);
        }
    }
    let mut flow = Flow::default();
    let rows = flow.rows(json!([["x"]]));
    let mapped = flow.node(Op::ParallelDo(Do::Map(lua("function(x) return x + 1 end"))), &[rows]);
    assert!(flow.written(mapped).unwrap_err().contains("s1"));
}

#[test]
fn a_limit_without_an_order_may_keep_any_rows() {
    let mut flow = Flow::default();
    let rows = flow.rows(json!([[1], [2], [3]]));
    let limited = flow.node(Op::Group(Group::Limit { n: 2, offset: 0 }), &[rows]);
    let expected = flow.written(limited).unwrap();
    assert_eq!((expected.any, expected.rows.len()), (Some(2), 3));
    let mapped = flow.node(Op::ParallelDo(Do::Map(lua("function(x) return x end"))), &[limited]);
    assert!(flow.written(mapped).unwrap_err().contains("limit"));
}

#[test]
fn side_inputs_have_their_shapes() {
    for (shape, body, expected) in
        [(SideShape::Map, "return x, side[x]", vec!["a\t1"]), (SideShape::List, "return #side, #side[1]", vec!["2\t2"])]
    {
        let mut flow = Flow::default();
        let side = flow.rows(json!([["a", 1], ["b", 2]]));
        let rows = flow.rows(json!([["a"]]));
        let mapped = flow.node(Op::ParallelDo(Do::Map(lua(&format!("function(x) {body} end")))), &[rows]);
        flow.last().side_inputs.push(SideInput { name: "side".to_owned(), from: side, shape });
        flow.gives(mapped, &expected);
    }
}

#[test]
fn integers_that_lua_cannot_hold_pass_unchanged() {
    let mut flow = Flow::default();
    let rows = flow.rows(json!([[9_007_199_254_740_993_i64, 4.5]]));
    let mapped = flow.node(Op::ParallelDo(Do::Map(lua("function(x, y) return x, x + 1, y * 2, -x end"))), &[rows]);
    flow.gives(mapped, &["9007199254740993\t9007199254740994\t9\t-9007199254740993"]);
}
