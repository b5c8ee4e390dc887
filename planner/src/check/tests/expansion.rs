//! Steps as elementary operations: a line per node, its outputs with what is known of them.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use plan::{Collection, CollectionId, Do, Fold, Function, Graph, Group, Key, Node, OnError, Op, Order, Sink, Source};

use super::*;

/// The graph of a flow with these steps, the step `out` left out.
fn graph_of(steps: &str) -> String {
    let text = format!("{HEAD}{STEPS}{steps}");
    let document = Document::parse(&text, "").unwrap_or_else(|problems| panic!("{problems:#?}"));
    let checked = check(&document.flow, &facts(), &ParamValues::new());
    let graph = checked.unwrap_or_else(|problems| panic!("{:#?}", locate(&problems, &document.places))).graph;
    let lines: Vec<String> = graph.nodes.values().filter(|node| node.step != "out").map(|node| line(&graph, node)).collect();
    lines.join("\n")
}

#[track_caller]
fn check_graph(steps: &str, expected: &str) {
    assert_eq!(graph_of(steps), expected.trim(), "\n{steps}");
}

fn line(graph: &Graph, node: &Node) -> String {
    let mut text = format!("{}: {}", node.step, operation(&node.op));
    if !node.inputs.is_empty() {
        text += &format!(" of {}", ids(&node.inputs));
    }
    for side in &node.side_inputs {
        text += &format!(" with {}: {:?} {}", side.name, side.shape, side.from);
    }
    let options = [
        node.partitions.map(|partitions| format!("partitions {partitions}")),
        node.size_ratio.map(|ratio| format!("ratio {ratio}")),
        node.memory.map(|memory| format!("memory {memory}")),
        node.broadcast.map(|broadcast| format!("broadcast {broadcast}")),
        (!node.deterministic).then(|| "indeterminate".to_owned()),
        (node.on_error != OnError::Fail).then(|| format!("{:?}", node.on_error)),
    ];
    for option in options.into_iter().flatten() {
        text += &format!(", {option}");
    }
    let outputs: Vec<String> = node.outputs.iter().map(|id| output(graph.collection(*id))).collect();
    if outputs.is_empty() { text } else { format!("{text} -> {}", outputs.join("; ")) }
}

fn output(collection: &Collection) -> String {
    let mut text = format!("{} {}", collection.id, collection.name);
    if let Some(fields) = &collection.fields {
        text += &format!(" ({})", fields.join(", "));
    }
    for (is, word) in [(collection.ordered, " ordered"), (collection.persist, " persist")] {
        text += if is { word } else { "" };
    }
    collection.bytes.map_or(text.clone(), |bytes| format!("{text} {bytes} bytes"))
}

fn ids(ids: &[CollectionId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn operation(op: &Op) -> String {
    match op {
        Op::Read(source) => format!("read {}", read(source)),
        Op::ParallelDo(what) => parallel_do(what),
        Op::Flatten { ordered } => if *ordered { "flatten in order" } else { "flatten" }.to_owned(),
        Op::Group(group) => format!("group {}", grouping(group)),
        Op::Combine(Fold::Lua(function)) => format!("combine {}", place(function)),
        Op::Combine(Fold::Top { by, n }) => format!("combine top {n} {}", orders(by)),
        Op::Combine(fold @ (Fold::Count | Fold::Smallest)) => format!("combine {fold:?}"),
        Op::Operate(function) => format!("operate {}", place(function)),
    }
}

fn read(source: &Source) -> String {
    match source {
        Source::Cached { entry, .. } => format!("cached {entry}"),
        Source::Files { format, paths, allow_empty } => {
            format!("{format:?} {paths:?}{}", if *allow_empty { " or none" } else { "" })
        }
        Source::Inline { rows } => format!("inline {}", serde_json::to_string(rows).expect("JSON")),
        Source::Range { from, to, step } => format!("range {from} {to} {step}"),
    }
}

fn parallel_do(what: &Do) -> String {
    match what {
        Do::Map(function) => format!("map {}", place(function)),
        Do::FlatMap(function) => format!("flatMap {}", place(function)),
        Do::Filter(function) => format!("filter {}", place(function)),
        Do::ForEach(function) => format!("forEach {}", place(function)),
        Do::Split { function, outputs } => format!("split {} {}", place(function), outputs.join(" ")),
        Do::Write(Sink::Files { format, path, mode, fields }) => format!("write {format:?} {path} {mode:?} {fields:?}"),
        Do::Write(Sink::Stdout { format }) => format!("write {format:?}"),
        other => format!("{other:?}"),
    }
}

fn grouping(group: &Group) -> String {
    match group {
        Group::ByKey { key, values, order_by } => {
            let key = match key {
                Key::Columns(columns) => format!("{columns:?}"),
                Key::Row => "row".to_owned(),
            };
            format!(
                "by {key} values {values:?}{}",
                if order_by.is_empty() { String::new() } else { format!(" {}", orders(order_by)) }
            )
        }
        Group::Sort { by } => format!("sort {}", orders(by)),
        Group::Merge { by } => format!("merge {}", orders(by)),
        other => format!("{other:?}"),
    }
}

fn orders(by: &[Order]) -> String {
    let orders = by.iter().map(|order| format!("{}{}", order.column, if order.descending { " desc" } else { "" }));
    format!("[{}]", orders.collect::<Vec<_>>().join(", "))
}

fn place(function: &Function) -> &str {
    if function.source.len() > 24 { "(...)" } else { &function.source }
}

#[test]
fn row_by_row_operators_are_one_parallel_do() {
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: words
    flatMap: {lua: 'function(x) end'}
    hints: {sizeRatio: 0.5, memory: 1Mi}
  - name: pairs
    map: {lua: 'function(x) end'}
    fields: [word, times]
    persist: true
  - name: some
    filter: {lua: 'function(x) end'}
  - name: each
    forEach: {lua: 'function(x) end'}
  - name: two
    from: [some]
    select: {columns: [times, 1, times]}
  - name: sh
    from: [each]
    pipe: {command: sort}
  - name: args
    deterministic: true
    pipeAsArgs: {command: echo}
  - name: all
    from: [two, args]
    union: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
words: flatMap function(x) end of c0, ratio 0.5, memory 1048576 -> c1 words
pairs: map function(x) end of c1 -> c2 pairs (word, times) persist
some: filter function(x) end of c2 -> c3 some (word, times)
each: forEach function(x) end of c3, indeterminate -> c4 each
two: Select([1, 0, 1]) of c3 -> c5 two
sh: Pipe { command: "sort" } of c4, indeterminate -> c6 sh
args: PipeAsArgs { command: "echo" } of c6 -> c7 args
all: flatten of c5 c7 -> c8 all
"#,
    );
}

#[test]
fn reads_of_files() {
    check_graph(
        r#"  - name: a
    read: {text: {paths: [a, b], allowEmpty: true}}
    partitions: 3
  - name: people
    read: {csv: {paths: [p], header: true, columns: [city, 1], types: {age: integer, name: string}}}
  - name: c
    read: {csv: {paths: [c], delimiter: ';', quote: "'", columns: [3, 1], types: {name: bool, '2': float}}}
    fields: [id, name]
  - name: d
    read: {tsv: {pathsFrom: a, types: {'2': integer}}}
  - name: e
    read: {json: {paths: [e], columns: [x, z]}}
  - name: f
    read: {files: {paths: [f]}}
  - name: g
    read: {range: {from: 3, to: 0, step: -1}}
  - name: h
    read: {inline: {rows: [[1, 2.5, null, x, [4.0], {a: true}]]}}
  - name: all
    from: [people, c, d, e, f, g, h]
    union: {ordered: true}
  - name: out
    write: {stdout: {}}
"#,
        r#"
a: read Text Listed(["a", "b"]) or none, partitions 3 -> c0 a
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: Some([2, 0]), types: [(1, Integer)] }) Listed(["p"]) -> c1 people (city, name) 1000 bytes
c: read Csv(CsvOptions { header: false, delimiter: 59, quote: Some(39), columns: Some([2, 0]), types: [(0, Bool), (1, Float)] }) Listed(["c"]) -> c2 c (id, name)
d: read Tsv(CsvOptions { header: false, delimiter: 9, quote: None, columns: None, types: [(1, Integer)] }) Rows of c0 -> c3 d
e: read Json { columns: Some(["x", "z"]) } Listed(["e"]) -> c4 e (x, z)
f: read Whole Listed(["f"]) -> c5 f
g: read range 3 0 -1 -> c6 g
h: read inline [[1,2.5,null,"x",[4],{"a":true}]] -> c7 h
all: flatten in order of c1 c2 c3 c4 c5 c6 c7 -> c8 all ordered
"#,
    );
}

#[test]
fn groups_and_folds() {
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: groups
    groupBy: {key: [city], orderBy: [{field: age, order: desc}]}
    partitions: 4
  - name: folded
    combine: {lua: 'function(x, y) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
groups: group by [2] values Rest [1 desc] of c0, partitions 4 -> c1 groups
folded: combine function(x, y) end of c1 -> c2 folded
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: r
    reduceBy: {key: [city, 1], lua: 'function(x, y) end'}
    hints: {sizeRatio: 2}
    persist: true
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
r: group by [2, 0] values Rest of c0 -> c1 r
r: combine function(x, y) end of c1, ratio 2 -> c2 r persist
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: r
    reduce: {lua: 'function(x, y) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
r: Identity of c0 -> c1 r
r: group by [] values Rest of c1 -> c2 r
r: combine function(x, y) end of c2 -> c3 r
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: all
    count: {}
  - name: by
    from: [people]
    count: {key: [city]}
    fields: [city, times]
    partitions: 2
  - name: u
    from: [all, by]
    union: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
all: Identity of c0 -> c1 all
all: group by row values Rest of c1 -> c2 all
all: combine Count of c2 -> c3 all
by: Identity of c0 -> c4 by
by: group by [2] values Rest of c4, partitions 2 -> c5 by
by: combine Count of c5 -> c6 by (city, times)
u: flatten of c3 c6 -> c7 u
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: d
    distinct: {key: [age]}
  - name: e
    distinct: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
d: Identity of c0 -> c1 d
d: group by [1] values Row of c1 -> c2 d
d: combine Smallest of c2 -> c3 d (name, age, city)
e: Identity of c3 -> c4 e
e: group by row values Row of c4 -> c5 e
e: combine Smallest of c5 -> c6 e (name, age, city)
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: t
    top: {n: 3, by: [{field: age, order: desc}, {field: 1}]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
t: Identity of c0 -> c1 t
t: group by [] values Row of c1 -> c2 t
t: combine top 3 [1 desc, 0] of c2 -> c3 t (name, age, city) ordered
"#,
    );
}

#[test]
fn joins_and_co_groups() {
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: cities
    read: {inline: {rows: [[1, 2]]}}
    fields: [name, city]
  - name: j
    from: [people, cities, people]
    join: {key: [name], kind: full, broadcast: never}
    partitions: 5
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
cities: read inline [[1,2]] -> c1 cities (name, city)
j: Tag { leg: 0, key: [0] } of c0, broadcast false -> c2 j
j: Tag { leg: 1, key: [0] } of c1, broadcast false -> c3 j
j: Tag { leg: 2, key: [0] } of c0, broadcast false -> c4 j
j: flatten of c2 c3 c4 -> c5 j
j: group ByLeg { legs: 3 } of c5, partitions 5 -> c6 j
j: UntagJoin { kind: Full, legs: 3, widths: [Some(2), Some(1), Some(2)] } of c6, broadcast false -> c7 j
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: words
    from: [people]
    map: {lua: 'function(x) end'}
  - name: j
    from: [people, words]
    join: {key: [1], kind: left, broadcast: always}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
words: map function(x) end of c0 -> c1 words
j: Tag { leg: 0, key: [0] } of c0, broadcast true -> c2 j
j: Tag { leg: 1, key: [0] } of c1, broadcast true -> c3 j
j: flatten of c2 c3 -> c4 j
j: group ByLeg { legs: 2 } of c4 -> c5 j
j: UntagJoin { kind: Left, legs: 2, widths: [Some(2), None] } of c5, broadcast true -> c6 j
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: g
    from: [people, people]
    coGroup: {key: [city, name]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
g: Tag { leg: 0, key: [2, 0] } of c0 -> c1 g
g: Tag { leg: 1, key: [2, 0] } of c0 -> c2 g
g: flatten of c1 c2 -> c3 g
g: group ByLeg { legs: 2 } of c3 -> c4 g
g: UntagCoGroup { legs: 2 } of c4 -> c5 g
"#,
    );
}

#[test]
fn shuffles_that_keep_rows() {
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: s
    sort: {by: [{field: age}]}
  - name: l
    limit: {n: 5, offset: 1}
  - name: p
    partition: {key: [name]}
    partitions: 3
  - name: r
    roundRobin: {}
  - name: m
    merge: {}
  - name: o
    merge: {by: [{field: 2, order: desc}]}
    partitions: 2
  - name: out
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
s: group sort [1] of c0 -> c1 s (name, age, city) ordered
l: group Limit { n: 5, offset: 1 } of c1 -> c2 l (name, age, city) ordered
p: group Hash { key: Columns([0]) } of c2, partitions 3 -> c3 p (name, age, city)
r: group RoundRobin of c3 -> c4 r (name, age, city)
m: group Gather of c4 -> c5 m (name, age, city)
o: group merge [1 desc] of c5, partitions 2 -> c6 o (name, age, city) ordered
"#,
    );
}

#[test]
fn order_lives_on() {
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: s
    sort: {}
  - name: a
    map: {lua: 'function(x) end'}
  - name: b
    select: {columns: [1]}
  - name: c
    pipe: {command: cat}
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
s: group sort [] of c0 -> c1 s ordered
a: map function(x) end of c1 -> c2 a ordered
b: Select([0]) of c2 -> c3 b ordered
c: Pipe { command: "cat" } of c3, indeterminate -> c4 c
"#,
    );
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: s
    sort: {}
    partitions: 1
  - name: c
    pipe: {command: cat}
  - name: d
    limit: {n: 1}
  - name: e
    distinct: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
s: group sort [] of c0, partitions 1 -> c1 s ordered
c: Pipe { command: "cat" } of c1, indeterminate -> c2 c ordered
d: group Limit { n: 1, offset: 0 } of c2 -> c3 d ordered
e: Identity of c3 -> c4 e
e: group by row values Row of c4 -> c5 e
e: combine Smallest of c5 -> c6 e
"#,
    );
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: s
    sort: {}
  - name: g
    merge: {}
  - name: c
    pipe: {command: cat}
  - name: h
    merge: {}
    partitions: 2
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
s: group sort [] of c0 -> c1 s ordered
g: group Gather of c1 -> c2 g ordered
c: Pipe { command: "cat" } of c2, indeterminate -> c3 c ordered
h: group Gather of c3, partitions 2 -> c4 h
"#,
    );
}

#[test]
fn sides_and_operate() {
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) end'}
    sideInputs: [{name: t, from: lines, as: map}]
  - name: o
    operate: {lua: 'function() end'}
    sideInputs: [{name: one, from: m, as: value}, {name: all, from: lines, as: list}]
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
m: map function(x) end of c0 with t: Map c0 -> c1 m
o: operate function() end with one: Value c1 with all: List c0 -> c2 o
"#,
    );
}

#[test]
fn a_parallel_do_has_a_collection_per_output() {
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: split
    parallelDo: {outputs: [a, b], lua: 'function(x) end'}
    fields: [x]
    persist: true
    onError: {policy: DeadLetter, to: bad}
  - name: bad
    write: {text: {path: bad}}
  - name: out
    from: [split.b]
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
split: split function(x) end a b of c0, DeadLetter -> c1 split.a (x) persist; c2 split.b (x) persist; c3 split.onError
bad: write Text bad Fail None of c3
"#,
    );
}

#[test]
fn dead_letters() {
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: m
    map: {lua: 'function(x) end'}
    onError: {policy: DeadLetter, to: bad}
  - name: f
    filter: {lua: 'function(x) end'}
    onError: {policy: DeadLetter, to: bad}
  - name: out
    write: {stdout: {}}
  - name: bad
    map: {lua: 'function(x) end'}
  - name: file
    write: {json: {path: bad, mode: replace}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
m: map function(x) end of c0, DeadLetter -> c1 m; c2 m.onError (name, age, city)
f: filter function(x) end of c1, DeadLetter -> c3 f; c4 f.onError
bad: flatten of c2 c4 -> c5 bad
bad: map function(x) end of c5 -> c6 bad
file: write Json bad Replace None of c6
"#,
    );
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
    onError: {policy: DeadLetter, to: bad}
  - name: bad
    from: [people]
    limit: {n: 3}
  - name: out
    from: [people, bad]
    union: {}
  - name: w
    write: {stdout: {}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]), DeadLetter -> c0 people (name, age, city) 1000 bytes; c1 people.onError
bad: flatten of c0 c1 -> c2 bad
bad: group Limit { n: 3, offset: 0 } of c2 -> c3 bad
w: write None of c4
"#,
    );
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) end'}
    onError: {policy: Skip}
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
m: map function(x) end of c0, Skip -> c1 m
"#,
    );
}

#[test]
fn sinks_know_the_names() {
    check_graph(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: a
    write: {csv: {path: a, header: true, delimiter: ';', mode: append}}
  - name: c
    from: [people]
    count: {key: [city]}
  - name: b
    from: [c]
    write: {parquet: {path: b}}
  - name: d
    from: [c]
    fields: [city, times]
    write: {json: {path: d}}
  - name: e
    from: [c]
    write: {tsv: {path: e}}
"#,
        r#"
people: read Csv(CsvOptions { header: true, delimiter: 44, quote: Some(34), columns: None, types: [] }) Listed(["people.csv"]) -> c0 people (name, age, city) 1000 bytes
a: write Csv { header: true, delimiter: 59, quote: 34 } a Append Some(["name", "age", "city"]) of c0
c: Identity of c0 -> c1 c
c: group by [2] values Rest of c1 -> c2 c
c: combine Count of c2 -> c3 c
b: write Parquet b Fail Some(["city", "_2"]) of c3
d: write Json d Fail Some(["city", "times"]) of c3
e: write Tsv { header: false } e Fail None of c3
"#,
    );
}

#[test]
fn later_steps_may_come_first() {
    check_graph(
        r#"  - name: out
    from: [m]
    write: {stdout: {}}
  - name: m
    from: [lines]
    map: {lua: 'function(x) end'}
  - name: lines
    read: {inline: {lines: [a]}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
m: map function(x) end of c0 -> c1 m
"#,
    );
}

#[test]
fn what_reaches_no_write_is_expanded_too() {
    check_graph(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: a
    map: {lua: 'function(x) end'}
  - name: b
    sort: {}
  - name: kept
    from: [lines]
    map: {lua: 'function(x) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
lines: read inline [["a"]] -> c0 lines
kept: map function(x) end of c0 -> c1 kept
a: map function(x) end of c0 -> c2 a
b: group sort [] of c2 -> c3 b ordered
"#,
    );
}

#[test]
fn rows_without_a_key_are_found_before_the_shuffle() {
    check_graph(
        r#"  - name: lines
    read: {inline: {rows: [[1], [1, 2]]}}
  - name: s
    sort: {by: [{field: 2}]}
    onError: {policy: DeadLetter, to: bad}
  - name: show
    write: {stdout: {format: '%d %d'}}
    onError: {policy: Skip}
  - name: bad
    write: {stdout: {}}
"#,
        r#"
lines: read inline [[1],[1,2]] -> c0 lines
s: Fit(Width(2)) of c0, DeadLetter -> c1 s; c2 s.onError
s: group sort [1] of c1 -> c3 s ordered
show: Fit(Line(Stdout { format: Some("%d %d") })) of c3, Skip -> c4 show ordered
show: write Some("%d %d") of c4
bad: write None of c2
"#,
    );
}
