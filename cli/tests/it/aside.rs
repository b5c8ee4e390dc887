//! `onError` of every operator that has bad rows: they fail the flow, are skipped, or go to another step, and are counted.

use crate::flow::{Flow, Ran};

/// What the steps behind `s1` say they set aside.
fn count(ran: &Ran, step: &str) -> Option<u64> {
    let report = ran.report();
    let steps = report["steps"].as_array().expect("steps").clone();
    steps.iter().find(|found| found["step"] == step).expect("the step is in the report")["setAside"].as_u64()
}

/// The step `s2` behind rows (`s1`): each policy with 1, 2 and 7 partitions, with all passes and without any of some.
#[track_caller]
fn check(rows: &str, step: &str, good: &[&str], bad: &[&str]) {
    let read = format!("read: {{inline: {{rows: {rows}}}}}");
    let stays = "write: {text: {path: bad, mode: replace}}";
    Flow::of(&[&read, step, "write: {stdout: {}}"]).fails(&["\"s2\"", "row"]);
    let skip = Flow::of(&[&read, &format!("{step}\nonError: {{policy: Skip}}"), "write: {stdout: {}}"]);
    skip.prints(good);
    let dead = Flow::of(&[&read, &format!("{step}\nonError: {{policy: DeadLetter, to: s4}}"), "write: {stdout: {}}", stays]);
    dead.prints(good);
    for flow in [&skip, &dead] {
        let ran = flow.run(&["--report", "json", "--partitions", "7"]);
        assert_eq!(count(&ran, "s2"), Some(bad.len() as u64), "{step}");
    }
    for pass in ["sink-flattens", "lift-combine", "fusion-blocks"] {
        let mut expected: Vec<&str> = good.to_vec();
        expected.sort_unstable();
        assert_eq!(dead.run(&["--without-pass", pass]).expect(0, &[]).sorted_lines(), expected, "{step} without {pass}");
    }
    let mut expected: Vec<String> = bad.iter().map(|row| (*row).to_owned()).collect();
    expected.sort();
    assert_eq!(dead.output_lines("bad"), expected, "{step}");
}

const ROWS: &str = "[[2, b], [9], [1, a], [8], [3, a]]";

#[test]
fn rows_that_have_no_such_field_are_set_aside_before_a_shuffle() {
    check(ROWS, "select: {columns: [2, 1]}", &["b\t2", "a\t1", "a\t3"], &["9", "8"]);
    check(ROWS, "sort: {by: [{field: 2}]}", &["1\ta", "3\ta", "2\tb"], &["9", "8"]);
    check(ROWS, "top: {n: 2, by: [{field: 2}]}", &["1\ta", "3\ta"], &["9", "8"]);
    check(ROWS, "merge: {by: [{field: 2}]}", &["1\ta", "3\ta", "2\tb"], &["9", "8"]);
    check(ROWS, "partition: {key: [2]}", &["1\ta", "3\ta", "2\tb"], &["9", "8"]);
    check(ROWS, "distinct: {key: [2]}", &["1\ta", "2\tb"], &["9", "8"]);
    check(ROWS, "count: {key: [2]}", &["a\t2", "b\t1"], &["9", "8"]);
    check(ROWS, "groupBy: {key: [2], orderBy: [{field: 1}]}", &["a\t[1,3]", "b\t[2]"], &["9", "8"]);
    check("[[1, 2, 3], [1, 2]]", "groupBy: {key: [1], orderBy: [{field: 3}]}", &["1\t[[2,3]]"], &["1\t2"]);
}

#[test]
fn every_side_of_a_join_sets_its_rows_aside() {
    let bad = &["9", "8", "9", "8"];
    check(ROWS, "join: {key: [2]}\nfrom: [s1, s1]", &["a\t1\t1", "a\t1\t3", "a\t3\t1", "a\t3\t3", "b\t2\t2"], bad);
    let always = "join: {key: [2], broadcast: always}\nfrom: [s1, s1]";
    check(ROWS, always, &["a\t1\t1", "a\t1\t3", "a\t3\t1", "a\t3\t3", "b\t2\t2"], bad);
    let flow = Flow::of(&[
        &format!("read: {{inline: {{rows: {ROWS}}}}}"),
        "read: {inline: {rows: [[5], [6, a]]}}",
        "coGroup: {key: [2]}\nfrom: [s1, s2]\nonError: {policy: DeadLetter, to: s6}",
        "map: {lua: 'function(k, a, b) return k, #a, #b end'}",
        "write: {text: {path: good, mode: replace}}",
        "write: {stdout: {}}",
    ]);
    flow.prints(&["9", "8", "5"]);
    assert_eq!(flow.output_lines("good"), ["a\t2\t1", "b\t1\t0"]);
    assert_eq!(count(&flow.run(&["--report", "json"]), "s3"), Some(3));
}

#[test]
fn a_row_whose_shell_fails_is_set_aside_with_all_that_it_wrote() {
    let step = "pipeAsArgs: {command: 'echo got \"$1\"; test \"$1\" != bad'}";
    check("[[a], [bad], [b], [bad]]", step, &["got a", "got b"], &["bad", "bad"]);
    check("[[a], [\"x\\0y\"], [b]]", "pipeAsArgs: {command: 'echo \"$1\"'}", &["a", "b"], &["x\0y"]);
}

#[test]
fn a_row_that_does_not_fit_its_sink_is_set_aside() {
    let flow = |rows: &str, write: &str| {
        Flow::of(&[
            &format!("read: {{inline: {{rows: {rows}}}}}"),
            &format!("write: {write}\nonError: {{policy: DeadLetter, to: s3}}"),
            "write: {text: {path: bad, mode: replace}}",
        ])
    };
    let print = flow("[[a, 1], [b, x], [c], [d, 2.0]]", "{stdout: {format: '%s=%d'}}");
    print.prints(&["a=1", "d=2"]);
    assert_eq!(print.output_lines("bad"), ["b\tx", "c"]);
    assert_eq!(count(&print.run(&["--report", "json"]), "s2"), Some(2));
    for (rows, sink, good, bad) in [
        ("[[a], [\"b\\tc\"], [d]]", "tsv: {path: out, mode: replace}", vec!["a", "d"], vec!["b\tc"]),
        ("[[1], [2, 3], []]", "csv: {path: out, mode: replace, header: true}}\nfields: [x", vec!["\"\"", "1", "x"], vec!["2\t3"]),
        ("[[1], [2, 3]]", "json: {path: out, mode: replace}}\nfields: [x", vec!["{\"x\":1}"], vec!["2\t3"]),
    ] {
        let write = if sink.contains("fields") { format!("{{{sink}]") } else { format!("{{{sink}}}") };
        let flow = flow(rows, &write);
        for partitions in ["1", "2", "7"] {
            flow.run(&["--partitions", partitions]).expect(0, &[]);
            let mut lines = flow.output_lines("out");
            lines.dedup();
            assert_eq!(
                (lines, flow.output_lines("bad")),
                (good.iter().map(|s| s.to_string()).collect(), bad.iter().map(|s| s.to_string()).collect()),
                "{sink}"
            );
        }
    }
    let ordered = Flow::of(&[
        "read: {inline: {rows: [[3], [x], [1], [2]]}}",
        "sort: {by: [{field: 1}]}",
        "write: {stdout: {format: '%d'}}\nonError: {policy: Skip}",
    ]);
    ordered.prints_in_order(&["1", "2", "3"]);
}

#[test]
fn where_no_single_row_is_bad_none_can_be_set_aside() {
    for (step, says) in [
        ("pipe: {command: cat}", "a pipe: its command sees a stream"),
        ("reduce: {lua: 'function(x, y) return x end'}", "a reduce: what it fails on was folded of many rows"),
        ("reduceBy: {key: [1], lua: 'function(x, y) return x end'}", "a reduceBy: what it fails on was folded"),
        ("union: {}", "a union: it takes any row"),
        ("limit: {n: 1}", "a limit: it takes any row"),
        ("roundRobin: {}", "a roundRobin: it takes any row"),
        ("distinct: {}", "a distinct of whole rows: it takes any row"),
        ("sort: {}", "a sort by the whole row: it takes any row"),
        ("merge: {}", "a merge without \"by\": it takes any row"),
        ("write: {parquet: {path: out}}", "a write of parquet: a column gets its type from all rows together"),
        ("read: {text: {paths: [a]}}", "a read of text: any line is a row"),
        ("read: {files: {paths: [a]}}", "a read of files: a row is a whole file"),
        ("read: {parquet: {paths: [a]}}", "a read of this format: its columns are read whole"),
        ("read: {inline: {lines: [a]}}", "a read of inline rows: its rows stand in the flow"),
    ] {
        let flow = Flow::of(&["read: {inline: {lines: [a]}}", &format!("{step}\nonError: {{policy: Skip}}")]);
        flow.is_refused(&["rows cannot be set aside in ", says, "\"s2\""]);
    }
}

#[test]
fn a_message_about_dead_letters_names_the_step_that_set_them_aside() {
    let flow = Flow::of(&[
        "read: {csv: {paths: [in.csv]}}\nonError: {policy: DeadLetter, to: s3}",
        "write: {text: {path: out}}",
        "write: {stdout: {format: '%s %s'}}",
    ]);
    flow.file("in.csv", "a,b\n").is_refused(&["the format takes 2 fields, and rows of \"s1\" that were set aside have 1"]);
}
