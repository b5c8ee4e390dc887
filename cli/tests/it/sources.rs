//! `semantics.md`, "Sources".

use std::process::Command;

use crate::flow::{Flow, finish};

/// A read and standard output, with files.
fn read(source: &str, files: &[(&str, &str)]) -> Flow {
    let flow = Flow::of(&[&format!("read: {{{source}}}"), "write: {stdout: {}}"]);
    files.iter().fold(flow, |flow, (path, content)| flow.file(path, content))
}

#[test]
fn wildcards_stand_in_any_component() {
    let files = [("in/a/x.txt", "ax\n"), ("in/b/x.txt", "bx\n"), ("in/b/c/x.txt", "bcx\n"), ("in/b/y.log", "y\n")];
    read("text: {paths: [\"in/*/x.txt\"]}", &files).prints(&["ax", "bx"]);
    read("text: {paths: [\"in/**/*.txt\"]}", &files).prints(&["ax", "bx", "bcx"]);
    read("text: {paths: [\"in/?/x.*\"]}", &files).prints(&["ax", "bx"]);
    read("text: {paths: [in/a/x.txt, in/b]}", &files).prints(&["ax", "bx", "y"]);
}

#[test]
fn a_directory_means_its_files_and_hidden_ones_are_skipped() {
    let files = [("in/a.txt", "a\n"), ("in/.hidden", "h\n"), ("in/_SUCCESS", "s\n"), ("in/below/b.txt", "b\n")];
    read("text: {paths: [in]}", &files).prints(&["a"]);
    read("text: {paths: [\"in/*.txt\", \"in/*SUCCESS\"], allowEmpty: true}", &files).prints(&["a"]);
}

#[test]
fn nothing_found_fails_unless_that_is_allowed() {
    read("text: {paths: [\"in/*.txt\"]}", &[]).fails(&["\"s1\"", "in/*.txt"]);
    read("csv: {paths: [absent.csv], header: true}", &[]).fails(&["\"s1\"", "absent.csv"]);
    read("text: {paths: [\"in/*.txt\"], allowEmpty: true}", &[]).prints(&[]);
}

#[test]
fn lines_end_at_lf_or_crlf_and_the_last_needs_no_end() {
    read("text: {paths: [a.txt]}", &[("a.txt", "one\r\ntwo\n\n  four  ")]).prints(&["one", "two", "", "  four  "]);
    read("text: {paths: [a.txt]}", &[("a.txt", "")]).prints(&[]);
    read("text: {paths: [a.txt]}", &[("a.txt", "\n")]).prints(&[""]);
}

#[test]
fn a_long_line_is_a_long_line() {
    let long = "x".repeat(3_000_000);
    let flow =
        Flow::of(&["read: {text: {paths: [a.txt]}}", "map: {lua: 'function(line) return #line end'}", "write: {stdout: {}}"]);
    flow.file("a.txt", format!("{long}\nshort\n{}", &long[..70_000])).prints(&["3000000", "5", "70000"]);
}

#[test]
fn one_file_split_between_tasks_keeps_every_line_once() {
    let lines: Vec<String> = (0..60_000).map(|n| format!("line {n} {}", "y".repeat(n % 97))).collect();
    let flow = Flow::of(&[
        "read: {text: {paths: [a.txt]}}\npartitions: 5",
        "map: {lua: 'function(line) return #line, 1 end'}",
        "reduce: {lua: 'function(a, b, c, d) return a + c, b + d end'}",
        "write: {stdout: {}}",
    ]);
    let bytes: usize = lines.iter().map(String::len).sum();
    flow.file("a.txt", lines.join("\r\n")).prints(&[&format!("{bytes}\t60000")]);
}

#[test]
fn whole_files_are_rows_of_path_and_content() {
    let flow = Flow::of(&[
        "read: {files: {paths: [in]}}",
        "map: {lua: 'function(path, content) return path:match(\"[^/]*$\"), #content, content:sub(1, 3) end'}",
        "write: {stdout: {}}",
    ]);
    flow.file("in/a.bin", "abcdef").file("in/empty", "").prints(&["a.bin\t6\tabc", "empty\t0\t"]);
}

#[test]
fn gzip_is_read_by_its_ending() {
    let flow = read("text: {paths: [\"*.gz\"]}", &[("a.txt", "one\ntwo\n")]);
    let gzipped = Command::new("gzip").arg(flow.path("a.txt")).status().expect("gzip is there");
    assert!(gzipped.success());
    flow.prints(&["one", "two"]);
    let cut = std::fs::read(flow.path("a.txt.gz")).expect("a file");
    let flow = read("text: {paths: [a.txt.gz]}", &[]).file("a.txt.gz", &cut[..cut.len() - 6]);
    flow.fails(&["a.txt.gz"]);
}

#[test]
fn json_lines_are_values_and_blank_lines_are_none() {
    let files = [("a.json", "{\"k\": 1, \"v\": [2.5]}\n\n   \n{\"v\": null}\n")];
    read("json: {paths: [a.json], columns: [v, k]}", &files).prints(&["[2.5]\t1", "\t"]);
    read("json: {paths: [a.json]}", &[("a.json", "[1,\"a\"]\n7\n\"text\"\n")]).prints(&["[1,\"a\"]", "7", "text"]);
    read("json: {paths: [a.json]}", &[("a.json", "1\n2\n{\"open\": \n")]).fails(&["\"s1\"", "a.json:3"]);
    read("json: {paths: [a.json]}", &[("a.json", "[\n  {\"a\": 1}\n]\n")]).fails(&["a.json:", "jq -c '.[]'"]);
}

#[test]
fn csv_is_rfc_4180() {
    let text = "a,\"b, c\",\"say \"\"hi\"\"\"\r\n1,\"two\nlines\",\n";
    let flow = Flow::of(&[
        "read: {csv: {paths: [a.csv]}}",
        "map: {lua: 'function(a, b, c) return a, #b, c end'}",
        "write: {stdout: {}}",
    ]);
    flow.file("a.csv", text).prints(&["a\t4\tsay \"hi\"", "1\t9\t"]);
    read("csv: {paths: [a.csv], delimiter: \";\", quote: \"'\"}", &[("a.csv", "a;'b;c';'it''s'\n")]).prints(&["a\tb;c\tit's"]);
}

#[test]
fn csv_headers_name_the_fields_of_every_file() {
    let flow = Flow::of(&["read: {csv: {paths: [\"*.csv\"], header: true, columns: [num, who]}}", "write: {stdout: {}}"]);
    flow.file("a.csv", "who,x,num\nada,0,1\n").file("b.csv", "who,x,num\nbo,0,2\n").prints(&["1\tada", "2\tbo"]);
    read("csv: {paths: [a.csv]}", &[("a.csv", "who,n\nada,1\n")]).prints(&["who\tn", "ada\t1"]);
    read("csv: {paths: [a.csv], header: true, columns: [nobody]}", &[("a.csv", "who,n\nada,1\n")]).is_refused(&["nobody"]);
}

#[test]
fn a_record_of_another_width_is_malformed() {
    read("csv: {paths: [a.csv]}", &[("a.csv", "1,2\n3,4\n5\n")]).fails(&["\"s1\"", "a.csv:3"]);
    read("csv: {paths: [a.csv]}", &[("a.csv", "1,2\n\"3,4\n")]).fails(&["\"s1\"", "a.csv"]);
}

#[test]
fn types_parse_columns_or_fail_with_their_place() {
    let typed = "csv: {paths: [a.csv], header: true, types: {num: integer, x: float, ok: bool}}";
    read(typed, &[("a.csv", "num,x,ok,s\n-3,4.0,true,007\n9223372036854775807,1e3,false,\n")])
        .prints(&["-3\t4.0\ttrue\t007", "9223372036854775807\t1000.0\tfalse\t"]);
    read(typed, &[("a.csv", "num,x,ok,s\n1,1,true,\n4.5,1,true,\n")]).fails(&["\"s1\"", "a.csv:3", "4.5"]);
    read(typed, &[("a.csv", "num,x,ok,s\n1,1,perhaps,\n")]).fails(&["a.csv:2", "perhaps"]);
    read(typed, &[("a.csv", "num,x,ok,s\n99999999999999999999,1,true,\n")]).fails(&["a.csv:2"]);
}

#[test]
fn tsv_splits_at_tabs_and_nothing_else() {
    read("tsv: {paths: [a.tsv]}", &[("a.tsv", "\"a\tb\"\tc, d\n\t\t\n")]).prints(&["\"a\tb\"\tc, d", "\t\t"]);
    read("tsv: {paths: [a.tsv], header: true, types: {num: integer}}", &[("a.tsv", "w\tnum\nx\t5\n")]).prints(&["x\t5"]);
}

#[test]
fn ranges_exclude_their_end_and_may_count_down() {
    for (range, expected) in [
        ("{from: 1, to: 4}", vec!["1", "2", "3"]),
        ("{to: 2}", vec!["0", "1"]),
        ("{from: 5, to: 0, step: -2}", vec!["5", "3", "1"]),
        ("{from: 5, to: 0}", vec![]),
        ("{from: 0, to: 5, step: -1}", vec![]),
        ("{from: 9223372036854775800, to: 9223372036854775807, step: 5}", vec!["9223372036854775800", "9223372036854775805"]),
    ] {
        read(&format!("range: {range}"), &[]).prints(&expected);
    }
    read("range: {from: 0, to: 5, step: 0}", &[]).is_refused(&["step"]);
}

#[test]
fn inline_lines_and_rows() {
    read("inline: {lines: [a, \"b c\", \"\"]}", &[]).prints(&["a", "b c", ""]);
    read("inline: {rows: []}", &[]).prints(&[]);
    read("inline: {rows: [[4.0, 4.5]]}", &[]).prints(&["4\t4.5"]);
}

#[test]
fn paths_may_come_from_rows() {
    let flow =
        Flow::of(&["read: {inline: {lines: [in/a.txt, in/b.txt]}}", "read: {text: {pathsFrom: s1}}", "write: {stdout: {}}"]);
    flow.file("in/a.txt", "a1\na2\n").file("in/b.txt", "b1\n").prints(&["a1", "a2", "b1"]);
    Flow::of(&["read: {inline: {lines: [in/no.txt]}}", "read: {text: {pathsFrom: s1}}", "write: {stdout: {}}"])
        .fails(&["\"s2\"", "in/no.txt"]);
}

#[test]
fn parquet_keeps_names_and_types() {
    let written = Flow::of(&[
        "read: {inline: {rows: [[1, \"a\", 2.5, true, null], [-7, \"b\", 0.5, false, \"x\"]]}}\nfields: [num, s, f, b, maybe]",
        "write: {parquet: {path: out}}",
    ]);
    written.run(&[]).expect(0, &[]);
    let folder = written.path("out");
    let flow = Flow::of(&[
        &format!("read: {{parquet: {{paths: [\"{}\"]}}}}", folder.display()),
        "write: {json: {path: out, mode: replace}}",
    ]);
    flow.run(&[]).expect(0, &[]);
    assert_eq!(
        flow.output_lines("out"),
        [r#"{"num":-7,"s":"b","f":0.5,"b":false,"maybe":"x"}"#, r#"{"num":1,"s":"a","f":2.5,"b":true,"maybe":null}"#]
    );
    let projected = Flow::of(&[
        &format!("read: {{parquet: {{paths: [\"{}\"], columns: [f, num]}}}}", folder.display()),
        "write: {stdout: {}}",
    ]);
    projected.prints(&["2.5\t1", "0.5\t-7"]);
    // Nobody needs more than two columns: which, the plan says.
    let named = format!("read: {{parquet: {{paths: [\"{}\"]}}}}\nfields: [a, b, c, d, e]", folder.display());
    let pruned = Flow::of(&[&named, "select: {columns: [c, a]}", "write: {stdout: {}}"]);
    pruned.prints(&["2.5\t1", "0.5\t-7"]);
    let plan = finish(pruned.command("plan", &[]));
    let text = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(text.contains("+ s1: reads 2 of 5 columns"), "{text}");
    let damaged = read("parquet: {paths: [a.parquet]}", &[("a.parquet", "no parquet at all")]);
    assert_ne!(damaged.run(&[]).code, 0);
}

#[test]
fn an_unreadable_file_fails_and_is_named() {
    let flow = read("text: {paths: [a.txt]}", &[]);
    std::os::unix::fs::symlink("/proc/self/mem", flow.path("a.txt")).expect("a link");
    let ran = flow.run(&[]);
    ran.expect(1, &["a.txt"]);
}
