//! `semantics.md`, "Sinks".

use crate::flow::{Flow, names};

const ROWS: &str = "read: {inline: {rows: [[1, \"a\"], [2, null]]}}";

fn written(rows: &str, sink: &str) -> Flow {
    let flow = Flow::of(&[rows, &format!("write: {{{sink}}}")]);
    flow.run(&[]).expect(0, &[]);
    flow.is_clean();
    flow
}

#[test]
fn a_sink_makes_its_directory_and_parents() {
    assert_eq!(written(ROWS, "text: {path: deep/down/out}").output_lines("deep/down/out"), ["1\ta", "2\t"]);
    let flow = written("read: {inline: {rows: []}}", "text: {path: out}");
    assert_eq!(flow.output("out"), "");
}

#[test]
fn sorted_output_is_one_file_in_order() {
    let flow = Flow::of(&["read: {range: {to: 1000}}", "sort: {by: [{field: 1, order: desc}]}", "write: {text: {path: out}}"]);
    flow.run(&["--partitions", "7"]).expect(0, &[]);
    let expected: String = (0..1000).rev().map(|n| format!("{n}\n")).collect();
    assert_eq!(flow.output("out"), expected);
    let data = names(&flow.path("out")).into_iter().filter(|name| !name.starts_with(['.', '_']));
    assert_eq!(data.count(), 1);
}

#[test]
fn something_there_fails_the_flow_unless_the_mode_says_otherwise() {
    let flow = |mode: &str| {
        Flow::of(&["read: {inline: {lines: [new]}}", &format!("write: {{text: {{path: out{mode}}}}}")])
            .file("out/old.txt", "old\n")
    };
    for mode in ["", ", mode: fail"] {
        let flow = flow(mode);
        flow.run(&[]).expect(1, &["\"s2\"", "out"]);
        assert_eq!(flow.output("out"), "old\n");
        flow.is_clean();
    }
    let replaced = flow(", mode: replace");
    replaced.run(&[]).expect(0, &[]);
    assert_eq!(replaced.output("out"), "new\n");
    let appended = flow(", mode: append");
    appended.run(&[]).expect(0, &[]);
    appended.run(&[]).expect(0, &[]);
    assert_eq!(appended.output_lines("out"), ["new", "new", "old"]);
    flow(", mode: overwrite").is_refused(&["overwrite"]);
}

#[test]
fn an_empty_directory_is_nothing() {
    let flow = Flow::of(&["read: {inline: {lines: [new]}}", "write: {text: {path: out}}"]);
    std::fs::create_dir(flow.path("out")).expect("a directory");
    flow.run(&[]).expect(0, &[]);
    assert_eq!(flow.output("out"), "new\n");
}

#[test]
fn a_failed_flow_leaves_no_file_and_keeps_what_was_there() {
    let failing = "map: {lua: 'function(x) if x == 90000 then error(\"late\") end return x end'}";
    for mode in ["fail", "replace", "append"] {
        let flow = Flow::of(&[
            "read: {range: {to: 100000}}",
            failing,
            &format!("write: {{json: {{path: out, mode: {mode}}}}}"),
            "write: {text: {path: fine/out}}\nfrom: [s1]",
        ]);
        flow.fails(&["\"s2\"", "late", "90000"]);
        if mode != "fail" {
            let flow = flow.file("out/old.txt", "old\n");
            flow.run(&[]).expect(1, &["late"]);
            assert_eq!(flow.output("out"), "old\n");
            assert_eq!(names(&flow.path("out")), ["old.txt"]);
            assert_eq!(flow.entries(), ["flow.yaml", "out"]);
        }
    }
}

#[test]
fn csv_quotes_where_it_must_and_has_a_header_where_wanted() {
    let rows = "read: {inline: {rows: [[\"a,b\", \"say \\\"x\\\"\", null], [\"two\\nlines\", \"\", 1.5]]}}\nfields: [a, b, c]";
    let flow = written(rows, "csv: {path: out, header: true}");
    let text = flow.output("out");
    assert!(text.starts_with("a,b,c\n"), "{text}");
    assert!(text.contains("\"a,b\",\"say \"\"x\"\"\",\n"), "{text}");
    assert!(text.contains("\"two\nlines\",,1.5\n"), "{text}");
    let other = written("read: {inline: {rows: [[\"a;b\", \"it's\", 1]]}}", "csv: {path: out, delimiter: \";\", quote: \"'\"}");
    assert_eq!(other.output("out"), "'a;b';'it''s';1\n");
}

#[test]
fn tsv_cannot_hold_tabs_and_line_ends() {
    let flow = written("read: {inline: {rows: [[1, \"a b\"]]}}\nfields: [num, s]", "tsv: {path: out, header: true}");
    assert_eq!(flow.output("out"), "num\ts\n1\ta b\n");
    for bad in ["a\\tb", "a\\nb"] {
        Flow::of(&[&format!("read: {{inline: {{rows: [[\"{bad}\"]]}}}}"), "write: {tsv: {path: out}}"]).fails(&["\"s2\""]);
    }
}

#[test]
fn json_has_objects_where_fields_are_named_else_arrays() {
    let rows = "[[1, \"a\", 2.0, null, [1, \"x\"], {\"k\": true}]]";
    assert_eq!(
        written(&format!("read: {{inline: {{rows: {rows}}}}}"), "json: {path: out}").output("out"),
        "[1,\"a\",2,null,[1,\"x\"],{\"k\":true}]\n"
    );
    let named = written(&format!("read: {{inline: {{rows: {rows}}}}}\nfields: [a, b, c, d, e, f]"), "json: {path: out}");
    assert_eq!(named.output("out"), "{\"a\":1,\"b\":\"a\",\"c\":2,\"d\":null,\"e\":[1,\"x\"],\"f\":{\"k\":true}}\n");
}

#[test]
fn json_cannot_hold_text_that_is_no_utf_8() {
    Flow::of(&["read: {range: {to: 1}}", "map: {lua: 'function() return \"\\255\" end'}", "write: {json: {path: out}}"])
        .fails(&["\"s3\""]);
    let text =
        Flow::of(&["read: {range: {to: 1}}", "map: {lua: 'function() return \"\\255\" end'}", "write: {text: {path: out}}"]);
    text.run(&[]).expect(0, &[]);
}

#[test]
fn a_collection_may_be_written_more_than_once() {
    let flow = Flow::of(&[
        "read: {range: {to: 3}}",
        "write: {text: {path: a}}",
        "write: {json: {path: b}}\nfrom: [s1]",
        "write: {stdout: {}}\nfrom: [s1]",
    ]);
    let ran = flow.run(&[]);
    ran.expect(0, &[]);
    assert_eq!(ran.sorted_lines(), ["0", "1", "2"]);
    assert_eq!(flow.output_lines("a"), ["0", "1", "2"]);
    assert_eq!(flow.output_lines("b"), ["[0]", "[1]", "[2]"]);
}

#[test]
fn two_sinks_on_one_path_are_refused() {
    for other in ["out", "./out", "out/"] {
        Flow::of(&[
            "read: {range: {to: 3}}",
            "write: {text: {path: out}}",
            &format!("write: {{json: {{path: {other}}}}}\nfrom: [s1]"),
        ])
        .is_refused(&["s3", "out"]);
    }
}

#[test]
fn a_sink_that_cannot_be_made_fails_and_is_named() {
    Flow::of(&["read: {range: {to: 3}}", "write: {text: {path: file/out}}"])
        .file("file", "no directory")
        .fails(&["\"s2\"", "file/out"]);
}
