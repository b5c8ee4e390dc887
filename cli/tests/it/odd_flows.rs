//! Flows at the edges, against the naive interpreter: nothing or one row comes in, keys are nil, NaN, -0.0 or 4.0 beside 4, rows are
//! large and memory is small, joins are nested and read themselves.

use oracle::GeneratedFlow;

use crate::random_flows::check;

/// Numbers of all kinds, some of them equal to each other, as typed csv columns.
const NUMBERS: &str = "k,v\n4,a\n4.0,b\n-0.0,c\n0,d\n0.0,e\n7.5,f\n1e15,h\n4,i\n";

/// The same keys as integers and as floats in one column, which only json has.
const MIXED: &str = r#"{"k": 4, "v": "a"}
{"k": 4.0, "v": "b"}
{"k": -0.0, "v": "c"}
{"k": 0.0, "v": "d"}
{"k": 0, "v": "e"}
{"k": 7.0, "v": "f"}
{"k": 9.0, "v": "g"}
{"k": 9, "v": "h"}
{"k": -1.0, "v": "i"}
"#;

/// Steps (each an operator, and on further lines what stands beside it), named `s1`, `s2`, ...
#[track_caller]
fn odd(steps: &[&str]) {
    let mut yaml = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: odd}\nspec:\n  steps:\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        yaml.push_str(&format!("    - name: s{}\n", at + 1));
        step.lines().for_each(|line| yaml.push_str(&format!("      {line}\n")));
    }
    let files = vec![
        ("in/numbers.csv".to_owned(), NUMBERS.to_owned()),
        ("in/none.csv".to_owned(), "k,v\n".to_owned()),
        ("in/mixed.json".to_owned(), MIXED.to_owned()),
        ("in/none.txt".to_owned(), String::new()),
    ];
    let header = vec!["k".to_owned(), "v".to_owned()];
    let reads = steps.iter().enumerate().filter(|(_, step)| step.contains("csv"));
    let headers = reads.map(|(at, _)| (format!("s{}", at + 1), header.clone())).collect();
    // Every one of the ways to run a flow, a few at a time.
    for seed in [0, 3] {
        let flow = GeneratedFlow { seed, yaml: yaml.clone(), files: files.clone(), headers: Vec::clone(&headers) };
        check(&flow).unwrap_or_else(|message| panic!("{message}\n{yaml}"));
    }
}

const FLOATS: &str = "read: {csv: {paths: [in/numbers.csv], header: true, types: {k: float}}}";
const NOTHING: &str = "read: {csv: {paths: [in/none.csv], header: true}}";
const INTEGERS: &str = "read: {inline: {rows: [[4, p], [0, q], [7, r], [4, s], [null, t]]}}";

fn write(from: &str, path: &str) -> String {
    format!("write: {{text: {{path: out/{path}}}}}\nfrom: [{from}]")
}

#[test]
fn every_operator_takes_nothing_and_one_row() {
    for read in [NOTHING, "read: {inline: {rows: [[a, 1]]}}"] {
        let operators = [
            "map: {lua: 'function(k, v) return v, k end'}",
            "flatMap: {lua: 'function(k, v) return {k, v} end'}",
            "filter: {lua: 'function(k, v) return k end'}",
            "select: {columns: [2]}",
            "reduce: {lua: 'function(a, b, c, d) return a .. c, b .. d end'}",
            "reduceBy: {key: [1], lua: 'function(a, b) return a .. b end'}",
            "distinct: {}",
            "count: {}",
            "sort: {by: [{field: 2, order: desc}]}",
            "top: {by: [{field: 1}], n: 3}",
            "limit: {n: 5}",
            "limit: {n: 5, offset: 1}",
            "partition: {key: [1]}\npartitions: 5",
            "roundRobin: {}\npartitions: 3",
            "merge: {by: [{field: 1}]}",
            "pipe: {command: cat}",
        ];
        for operator in operators {
            odd(&[read, operator, &write("s2", "a")]);
        }
        for kind in ["inner", "left", "right", "full"] {
            for broadcast in ["auto", "never"] {
                let join = format!("join: {{key: [1], kind: {kind}, broadcast: {broadcast}}}\nfrom: [s1, s2]");
                odd(&[read, "read: {inline: {rows: [[a, 2], [b, 3]]}}", &join, &write("s3", "a")]);
                let join = format!("join: {{key: [1], kind: {kind}, broadcast: {broadcast}}}\nfrom: [s1, s2]");
                odd(&["read: {inline: {rows: [[a, 2], [b, 3]]}}", read, &join, &write("s3", "a")]);
            }
        }
    }
}

#[test]
fn equal_keys_are_one_key_however_they_are_written() {
    for operator in [
        "reduceBy: {key: [1], lua: 'function(a, b) if a < b then return a end return b end'}",
        "count: {key: [1]}",
        "distinct: {key: [1]}",
        "sort: {by: [{field: 1}, {field: 2}]}",
        "top: {by: [{field: 1, order: desc}], n: 4}",
        "coGroup: {key: [1]}\nfrom: [s1, s1]",
    ] {
        let counted = "map: {lua: 'function(k, a, b) return k, type(a), type(b) end'}";
        odd(&[FLOATS, operator, counted, &write("s3", "a")]);
    }
    // Hints that make sides look large: which of 4 and 4.0 shows must not depend on how a join is run.
    for kind in ["inner", "left", "right", "full"] {
        let large = "filter: {lua: 'function(k, v) return true end'}\nhints: {sizeRatio: 9000000}";
        let join = format!("join: {{key: [1], kind: {kind}}}\nfrom: [s2, s4]");
        odd(&[FLOATS, large, INTEGERS, large, &join, &write("s5", "a")]);
        odd(&[INTEGERS, large, FLOATS, large, &join, &write("s5", "a")]);
        odd(&[FLOATS, large, NOTHING, large, &join, &write("s5", "a")]);
        odd(&[INTEGERS, large, NOTHING, large, &join, &write("s5", "a")]);
    }
}

#[test]
fn one_form_of_equal_keys_shows_in_all_rows_of_a_join_however_it_runs() {
    const MIXED: &str = "read: {json: {paths: [in/mixed.json], columns: [k, v]}}";
    for kind in ["inner", "left", "right", "full"] {
        for (left, right) in [(MIXED, MIXED), (MIXED, INTEGERS), (INTEGERS, MIXED), (MIXED, FLOATS), (FLOATS, FLOATS)] {
            for (broadcast, hint) in [("auto", ""), ("always", ""), ("auto", "\nhints: {sizeRatio: 9000000}")] {
                let filter = format!("filter: {{lua: 'function(k, v) return true end'}}{hint}");
                let join = format!("join: {{key: [1], kind: {kind}, broadcast: {broadcast}}}\nfrom: [s2, s4]");
                odd(&[left, &filter, right, &filter, &join, &write("s5", "a")]);
            }
        }
    }
    // Of two key fields each shows by itself.
    let two = "map: {lua: 'function(k, v) return k, v == \"b\" and k or 0, v end'}";
    let join = "join: {key: [1, 2], kind: left}\nfrom: [s2, s4]";
    odd(&[MIXED, two, INTEGERS, two, join, &write("s5", "a")]);
}

#[test]
fn what_was_grouped_is_joined_and_grouped_again() {
    const MIXED: &str = "read: {json: {paths: [in/mixed.json], columns: [k, v]}}";
    let group = "groupBy: {key: [1]}";
    let pairs = "coGroup: {key: [1]}\nfrom: [s2, s3]";
    for kind in ["inner", "left", "right", "full"] {
        let join = format!("join: {{key: [1], kind: {kind}, broadcast: never}}\nfrom: [s2, s4]");
        let sizes = "map: {lua: 'function(k, a, b) return k, a and #a, b and #b end'}";
        odd(&[MIXED, group, INTEGERS, group, &join, sizes, &write("s6", "a")]);
        let join = format!("join: {{key: [1], kind: {kind}, broadcast: never}}\nfrom: [s4, s6]");
        let sizes = "map: {lua: 'function(k, a, b, c) return k, a and #a, b and #b, c and #c end'}";
        odd(&[MIXED, MIXED, INTEGERS, pairs, NOTHING, group, &join, sizes, &write("s8", "a")]);
        odd(&[MIXED, MIXED, INTEGERS, pairs, FLOATS, group, &join, sizes, &write("s8", "a")]);
    }
    let sizes = "map: {lua: 'function(k, a, b) return k, #a, a[1] and #a[1], a[1] and #a[1][1], #b end'}";
    odd(&[
        MIXED,
        group,
        INTEGERS,
        "coGroup: {key: [1]}\nfrom: [s2, s3]",
        "map: {lua: 'function(k, a, b) return k, #a, a[1] and #a[1], #b end'}",
        &write("s5", "a"),
    ]);
    odd(&[MIXED, MIXED, INTEGERS, pairs, FLOATS, "coGroup: {key: [1]}\nfrom: [s4, s5]", sizes, &write("s7", "a")]);
}

#[test]
fn nil_and_nan_are_keys_like_others() {
    let keys = "map: {lua: 'function(n) local k if n % 3 == 0 then k = 0/0 elseif n % 3 == 1 then k = n end return k, n end'}";
    let large = format!("{keys}\nhints: {{sizeRatio: 9000000}}");
    odd(&[
        "read: {range: {to: 30}}",
        keys,
        "reduceBy: {key: [1], lua: 'function(a, b) return a + b end'}",
        &write("s3", "a"),
        "count: {key: [1]}\nfrom: [s2]",
        &write("s5", "b"),
        "sort: {by: [{field: 1, order: desc}, {field: 2}]}\nfrom: [s2]",
        &write("s7", "c"),
    ]);
    for kind in ["inner", "left", "full"] {
        let join = format!("join: {{key: [1], kind: {kind}}}\nfrom: [s2, s4]");
        odd(&["read: {range: {to: 30}}", &large, "read: {range: {to: 9}}", &large, &join, &write("s5", "a")]);
    }
}

#[test]
fn joins_read_themselves_unions_and_each_other() {
    let large = "map: {lua: 'function(n) return n % 5, n end'}\nhints: {sizeRatio: 9000000}";
    let rows = ["read: {range: {to: 20}}", large, "read: {range: {from: 3, to: 9}}", large];
    let with = |steps: &[&str]| odd(&[&rows[..], steps].concat());
    let out = write("s5", "a");
    with(&["join: {key: [1], kind: left}\nfrom: [s2, s2]", &out]);
    with(&["join: {key: [1], kind: left}\nfrom: [s2, s4, s2]", &out]);
    with(&["union: {}\nfrom: [s2, s2]", "join: {key: [1], kind: left}\nfrom: [s5, s4]", &write("s6", "a")]);
    with(&["union: {}\nfrom: [s2, s4]", "join: {key: [1], kind: right}\nfrom: [s4, s5]", &write("s6", "a")]);
    with(&[
        "join: {key: [1]}\nfrom: [s2, s4]",
        "join: {key: [2], kind: left}\nfrom: [s5, s4]",
        &write("s6", "a"),
        &write("s5", "b"),
    ]);
    // What stands behind a switched join flows on into the next shuffle, is kept for another stage, or is written.
    with(&[
        "join: {key: [1], kind: left}\nfrom: [s2, s4]",
        "reduceBy: {key: [2], lua: 'function(a, b, c, d) return math.max(a, c), math.max(b or 0, d or 0) end'}",
        &write("s6", "a"),
        &write("s5", "b"),
        "map: {lua: 'function(k, a, b) return a, #list end'}\nsideInputs: [{name: list, from: s5, as: list}]\nfrom: [s2]",
        &write("s9", "c"),
    ]);
    with(&[
        "join: {key: [1], kind: left}\nfrom: [s2, s4]\npersist: true",
        "sort: {by: [{field: 2}, {field: 3}]}",
        &write("s6", "a"),
    ]);
    with(&["join: {key: [1]}\nfrom: [s2, s4]", "limit: {n: 3}", &write("s6", "a")]);
    with(&[
        "join: {key: [1]}\nfrom: [s2, s4]",
        "pipe: {command: 'sort | uniq -c | wc -l'}",
        "reduce: {lua: 'function(a, b) return 1 end'}",
        "map: {lua: 'function(x) return 1 end'}",
        &write("s8", "a"),
    ]);
}

#[test]
fn rows_larger_than_a_batch_pass_through_every_shuffle() {
    let large = "map: {lua: 'function(n) return n % 3, string.rep(\"x\", 300000 + n) end'}\nhints: {sizeRatio: 9000000}";
    let short = "map: {lua: 'function(k, a, b) return k, #a, b and #b or 0 end'}";
    odd(&[
        "read: {range: {to: 6}}",
        large,
        "read: {range: {from: 2, to: 4}}",
        large,
        "join: {key: [1], kind: left}\nfrom: [s2, s4]",
        short,
        &write("s6", "a"),
        "sort: {by: [{field: 2}]}\nfrom: [s2]",
        "map: {lua: 'function(k, a) return k, #a end'}",
        &write("s9", "b"),
    ]);
}

#[test]
fn joins_and_co_groups_of_the_same_sides_do_not_take_rows_from_each_other() {
    odd(&[
        FLOATS,
        INTEGERS,
        "join: {key: [1], broadcast: never}\nfrom: [s1, s2]",
        "coGroup: {key: [1]}\nfrom: [s1, s2]",
        "join: {key: [1], kind: full}\nfrom: [s1, s2]",
        "map: {lua: 'function(k, a, b) return k, #a, #b end'}\nfrom: [s4]",
        &write("s3", "a"),
        &write("s6", "b"),
        &write("s5", "c"),
    ]);
}

#[test]
fn a_join_whose_rows_wait_for_a_side_input_of_its_own_stage() {
    odd(&[
        "read: {range: {to: 10}}",
        "join: {key: [1], broadcast: never}\nfrom: [s1, s1]",
        "map: {lua: 'function(x) return x end'}",
        "join: {key: [1], broadcast: never}\nfrom: [s2, s1]",
        "map: {lua: 'function(x) return x, #all end'}\nsideInputs: [{name: all, from: s3, as: list}]",
        &write("s5", "a"),
    ]);
}
