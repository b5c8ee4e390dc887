//! Corners of `semantics.md` that stand between its sections: addresses, names behind groups, rows that were seen too early.

use crate::flow::{Flow, one_step};

#[test]
fn an_address_that_can_never_work_is_refused_before_anything_runs() {
    let write = "write: {stdout: {}}";
    for (read, says) in [
        ("text: {paths: [\"ftp://x/y\"]}", "\"ftp://x/y\" is not in a store that is known here"),
        ("csv: {paths: [\"s3://\"]}", "\"s3://\" names no bucket"),
        ("json: {paths: [\"gs:///a\"]}", "\"gs:///a\" names no bucket"),
        ("parquet: {paths: [\"http://\"]}", "\"http://\" names no host"),
        ("files: {paths: [\"file://elsewhere/a\"]}", "\"file://elsewhere/a\" is not a file of this machine"),
    ] {
        Flow::of(&[&format!("read: {{{read}}}"), write]).is_refused(&["\"s1\"", "flow.yaml:7:", says]);
    }
    for (path, says) in [
        ("https://x.org/y", "cannot be written to: what is behind http is only read"),
        ("hdfs://n/x", "known are local paths, file:///, s3://, gs:// and az://"),
        ("az://", "\"az://\" names no bucket"),
        ("S3://b/x", "write s3://"),
    ] {
        let sink = format!("write: {{text: {{path: \"{path}\"}}}}");
        Flow::of(&["read: {range: {to: 1}}", &sink]).is_refused(&["\"s2\"", says]);
    }
    let parameter = Flow::with_spec("params: [{name: out}]", &["read: {range: {to: 1}}", "write: {text: {path: $(params.out)}}"]);
    parameter.run(&["--param", "out=ftp://q/r"]).expect(2, &["\"ftp://q/r\" is not in a store"]);
    let rows = Flow::of(&["read: {inline: {lines: [\"ftp://x/y\"]}}", "read: {text: {pathsFrom: s1}}", write]);
    rows.fails(&["\"s2\"", "\"ftp://x/y\" is not in a store"]);
}

#[test]
fn a_file_url_is_a_path_to_read_from_and_to_write_to() {
    let flow =
        Flow::of(&["read: {range: {to: 1}}", "write: {stdout: {}}"]).file("in put/a.txt", "one\n").file("in put/b.txt", "two\n");
    let folder = flow.path("in put").display().to_string();
    let out = flow.path("out put").display().to_string().replace(' ', "%20");
    let write = format!("write: {{text: {{path: \"file://{out}\", mode: replace}}}}");
    for path in [folder.clone(), folder.replace(' ', "%20") + "/*.txt", format!("localhost{folder}")] {
        let read = format!("read: {{text: {{paths: [\"file://{path}\"]}}}}");
        Flow::of(&[&read, &write]).run(&[]).expect(0, &[]);
        assert_eq!(flow.output_lines("out put"), ["one", "two"], "{path}");
    }
}

#[test]
fn key_fields_keep_their_names_behind_a_group() {
    let csv = "read: {csv: {paths: [a.csv], header: true}}";
    for (step, expected) in [
        ("count: {key: [k]}", "a\t2"),
        ("groupBy: {key: [k], orderBy: [{field: v}]}", "a\t[\"1\",\"2\"]"),
        ("reduceBy: {key: [k], lua: 'function(x, y) return x + y end'}", "a\t3"),
        ("join: {key: [k]}\nfrom: [s2, s3]", "a\t1\t2"),
    ] {
        let flow = Flow::of(&[
            csv,
            "filter: {lua: 'function(k, v) return v == \"1\" end'}\nfrom: [s1]",
            "filter: {lua: 'function(k, v) return v == \"2\" end'}\nfrom: [s1]",
            "union: {}\nfrom: [s2, s3]",
            step,
            "sort: {by: [{field: k}]}",
            "write: {stdout: {}}",
        ]);
        let flow = flow.file("a.csv", "k,v\na,1\na,2\n");
        flow.prints(&[expected]);
    }
}

#[test]
fn a_fold_of_rows_of_two_fields_takes_four_values() {
    let rows = "[[1, 10], [2, 20], [3, 30]]";
    one_step(rows, "reduce: {lua: 'function(a, b, c, d) return a + c, b + d end'}").prints(&["6\t60"]);
    let keyed = "[[k, 1, 10], [k, 2, 20], [l, 3, 30]]";
    one_step(keyed, "reduceBy: {key: [1], lua: 'function(a, b, c, d) return a + c, b + d end'}")
        .prints(&["k\t3\t30", "l\t3\t30"]);
}

#[test]
fn minus_zero_and_zero_are_one_key() {
    let zeros = "map: {lua: 'function(x) return x == 1 and -0.0 or 0 end'}";
    Flow::of(&["read: {inline: {rows: [[1], [2]]}}", zeros, "count: {}", "write: {stdout: {}}"]).prints(&["0\t2"]);
}

#[test]
fn rows_on_stdout_may_be_seen_before_a_failure_and_files_never() {
    let flow = Flow::of(&[
        "read: {range: {to: 100000}}",
        "map: {lua: 'function(x) if x == 99999 then error(\"late\") end return x end'}",
        "write: {stdout: {}}",
        "write: {text: {path: out}}\nfrom: [s2]",
    ]);
    let ran = flow.run(&["--partitions", "1", "--threads", "1"]);
    ran.expect(1, &["late"]);
    assert!(ran.lines().len() < 100_000);
    assert!(!flow.entries().contains(&"out".to_owned()), "no file of a flow that failed");
}
