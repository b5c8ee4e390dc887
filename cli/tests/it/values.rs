//! `semantics.md`, "Rows, values, text".

use crate::flow::{Flow, one_step};

#[test]
fn rows_of_different_width_are_different_rows() {
    one_step("[[1], [1, null], [1]]", "distinct: {}").prints(&["1", "1\t"]);
    one_step("[[1], [1, null], [1]]", "count: {}").prints(&["1\t2", "1\t\t1"]);
}

#[test]
fn a_field_beyond_the_row_fails_and_shows_the_row() {
    for step in [
        "sort: {by: [{field: 2}]}",
        "top: {n: 3, by: [{field: 2}]}",
        "distinct: {key: [2]}",
        "count: {key: [2]}",
        "select: {columns: [2]}",
        "partition: {key: [2]}",
        "groupBy: {key: [2]}",
        "reduceBy: {key: [2], lua: 'function(x, y) return x end'}",
        "join: {key: [2]}\nfrom: [s1, s1]",
        "coGroup: {key: [2]}\nfrom: [s1, s1]",
        "merge: {by: [{field: 2}]}",
    ] {
        one_step("[[\"wide\", 2], [\"narrow\"]]", step).fails(&["\"s2\"", "narrow"]);
    }
}

#[test]
fn names_live_on_where_fields_are_passed_on() {
    let csv = "read: {csv: {paths: [a.csv], header: true}}";
    let write = "write: {json: {path: out, mode: replace}}";
    for (step, expected) in [
        ("filter: {lua: 'function(k) return k ~= \"x\" end'}", r#"{"k":"a","v":"1"}"#),
        ("sort: {by: [{field: v}]}", r#"{"k":"a","v":"1"}"#),
        ("top: {n: 5, by: [{field: v}]}", r#"{"k":"a","v":"1"}"#),
        ("limit: {n: 5}", r#"{"k":"a","v":"1"}"#),
        ("distinct: {key: [k]}", r#"{"k":"a","v":"1"}"#),
        ("partition: {key: [k]}", r#"{"k":"a","v":"1"}"#),
        ("roundRobin: {}", r#"{"k":"a","v":"1"}"#),
        ("merge: {}", r#"{"k":"a","v":"1"}"#),
        ("select: {columns: [v, 1]}", r#"{"v":"1","k":"a"}"#),
        ("union: {}\nfrom: [s1, s1]\n", r#"{"k":"a","v":"1"}"#),
        ("count: {key: [k]}\nfields: [k, num]", r#"{"k":"a","num":1}"#),
        ("reduceBy: {key: [k], lua: 'function(x, y) return x end'}\nfields: [k, num]", r#"{"k":"a","num":"1"}"#),
        ("map: {lua: 'function(k, v) return v, k end'}", r#"["1","a"]"#),
        ("map: {lua: 'function(k, v) return v, k end'}\nfields: [a, b]", r#"{"a":"1","b":"a"}"#),
    ] {
        let flow = Flow::of(&[csv, step, write]).file("a.csv", "k,v\na,1\n");
        flow.run(&[]).expect(0, &[]);
        let lines = flow.output_lines("out");
        assert_eq!(lines.first().map(String::as_str), Some(expected), "{step}");
    }
}

#[test]
fn names_of_join_values_live_on_where_they_are_unique() {
    let left = "read: {csv: {paths: [a.csv], header: true}}";
    let right = "read: {csv: {paths: [b.csv], header: true}}";
    let flow = Flow::of(&[
        left,
        right,
        "join: {key: [id]}\nfrom: [s1, s2]",
        "sort: {by: [{field: id}, {field: color}, {field: size}]}",
        "write: {stdout: {}}",
    ]);
    flow.file("a.csv", "id,size\n1,s\n2,m\n")
        .file("b.csv", "id,color\n2,red\n1,blue\n")
        .prints_in_order(&["1\ts\tblue", "2\tm\tred"]);
}

#[test]
fn a_name_that_no_field_has_is_refused_and_a_near_one_offered() {
    let csv = "read: {inline: {rows: [[1, 2]]}}\nfields: [amount, person]";
    Flow::of(&[csv, "sort: {by: [{field: amuont}]}", "write: {stdout: {}}"]).is_refused(&["amuont", "amount", "s2"]);
    Flow::of(&[csv, "map: {lua: 'function(a) return a end'}", "sort: {by: [{field: amount}]}", "write: {stdout: {}}"])
        .is_refused(&["amount", "s3"]);
}

#[test]
fn lua_tables_are_lists_or_maps() {
    let flow = |body: &str| one_step("[[1]]", &format!("map: {{lua: 'function() return {body} end'}}"));
    flow("{}").prints(&["[]"]);
    flow("{1, \"a\", {true}}").prints(&["[1,\"a\",[true]]"]);
    flow("{b = 1, a = {2}}").prints(&["{\"a\":[2],\"b\":1}"]);
}

#[test]
fn functions_threads_and_userdata_are_no_fields() {
    for body in ["print", "coroutine.create(function() end)", "io.stdout", "{1, print}"] {
        one_step("[[1]]", &format!("map: {{lua: 'function() return {body} end'}}")).fails(&["\"s2\""]);
    }
}

#[test]
fn numbers_that_lua_returns_are_integers_where_they_can_be() {
    let step = "map: {lua: 'function(x) return x * 2, 4.0, 2^53, -2^53, 1/2, 7/7 end'}";
    one_step("[[1.5]]", step).prints(&["3\t4\t9007199254740992\t-9007199254740992\t0.5\t1"]);
    let beyond = one_step("[[1]]", "map: {lua: 'function(x) return 2^60 end'}").run(&[]);
    let printed = String::from_utf8_lossy(&beyond.stdout).trim().to_owned();
    assert_eq!(printed.parse::<f64>().ok(), Some(1_152_921_504_606_846_976.0), "{printed}");
    assert!(printed.contains(['.', 'e']), "a float beyond 2^53 stays a float: {printed}");
}

#[test]
fn one_total_order_for_all_values() {
    let rows = r#"[[{"a": 1}], [[2]], [[]], [[1, 0]], [[1]], ["b"], ["B"], [""], [2.5], [-9223372036854775808], [9223372036854775807], [2], [true], [false], [null]]"#;
    one_step(rows, "sort: {by: [{field: 1}]}").prints_in_order(&[
        "",
        "false",
        "true",
        "-9223372036854775808",
        "2",
        "2.5",
        "9223372036854775807",
        "",
        "B",
        "b",
        "[]",
        "[1]",
        "[1,0]",
        "[2]",
        "{\"a\":1}",
    ]);
    one_step(rows, "top: {n: 2, by: [{field: 1, order: desc}]}").prints_in_order(&["{\"a\":1}", "[2]"]);
}

#[test]
fn integers_beyond_what_a_float_holds_are_not_rounded() {
    let rows = "[[9007199254740993], [9007199254740992], [-9223372036854775807]]";
    one_step(rows, "sort: {by: [{field: 1, order: desc}]}").prints_in_order(&[
        "9007199254740993",
        "9007199254740992",
        "-9223372036854775807",
    ]);
    one_step(rows, "map: {lua: 'function(x) return x end'}").prints(&[
        "9007199254740993",
        "9007199254740992",
        "-9223372036854775807",
    ]);
    one_step("[[9007199254740993]]", "map: {lua: 'function(x) return x + 1, x == 9007199254740993LL, x * 2 end'}")
        .prints(&["9007199254740994\ttrue\t18014398509481986"]);
    one_step(rows, "distinct: {}").prints(&["9007199254740993", "9007199254740992", "-9223372036854775807"]);
}

#[test]
fn mixing_a_wide_integer_so_that_digits_would_be_lost_raises() {
    for body in ["x + 0.5", "\"n\" .. x", "({})[x]", "(function() local t = {} t[x] = 1 return 1 end)()"] {
        one_step("[[9007199254740993]]", &format!("map: {{lua: 'function(x) return {body} end'}}")).fails(&["\"s2\""]);
    }
}

#[test]
fn four_and_four_point_zero_are_one_key_and_the_integer_shows() {
    let flow = |step: &str| {
        let flow = Flow::of(&[
            "read: {csv: {paths: [a.csv], types: {\"1\": float}}}",
            "read: {inline: {rows: [[4, \"int\"]]}}",
            "union: {}\nfrom: [s1, s2]",
            step,
            "write: {stdout: {}}",
        ]);
        flow.file("a.csv", "4.0,float\n4.0,again\n-0.0,zero\n0.0,zero\n")
    };
    flow("count: {key: [1]}\nfrom: [s3]").prints(&["4\t3", "-0.0\t2"]);
    flow("sort: {by: [{field: 1}]}\nfrom: [s3]").prints_in_order(&[
        "-0.0\tzero",
        "0.0\tzero",
        "4.0\tagain",
        "4.0\tfloat",
        "4\tint",
    ]);
    flow("join: {key: [1]}\nfrom: [s1, s2]").prints(&["4\tfloat\tint", "4\tagain\tint"]);
}

#[test]
fn an_integer_stands_before_an_equal_float() {
    let flow = Flow::of(&[
        "read: {csv: {paths: [a.csv], types: {\"1\": float}}}",
        "read: {inline: {rows: [[4]]}}",
        "union: {}\nfrom: [s1, s2]",
        "sort: {by: [{field: 1, order: desc}]}",
        "write: {stdout: {}}",
    ]);
    flow.file("a.csv", "4.0\n5.0\n").prints_in_order(&["5.0", "4", "4.0"]);
}

#[test]
fn nan_is_one_key_after_all_numbers() {
    let nan = "map: {lua: 'function(x) if x == 0 then return 0/0 end return x end'}";
    let rows = "read: {inline: {rows: [[0], [7], [\"a\"], [0]]}}";
    let kind = "map: {lua: 'function(x, n) return x ~= x and \"nan\" or x, n end'}";
    Flow::of(&[rows, nan, "count: {key: [1]}", "sort: {by: [{field: 1}]}", kind, "write: {stdout: {}}"])
        .prints_in_order(&["7\t1", "nan\t2", "a\t1"]);
}

#[test]
fn ties_are_broken_by_the_whole_row_ascending_behind_desc_too() {
    let rows = "[[1, \"b\"], [2, \"z\"], [1, \"a\"], [2, \"y\"]]";
    one_step(rows, "sort: {by: [{field: 1, order: desc}]}").prints_in_order(&["2\ty", "2\tz", "1\ta", "1\tb"]);
    one_step(rows, "top: {n: 3, by: [{field: 1, order: desc}]}").prints_in_order(&["2\ty", "2\tz", "1\ta"]);
    one_step(rows, "distinct: {key: [1]}").prints(&["1\ta", "2\ty"]);
}

#[test]
fn limit_without_an_order_keeps_exactly_so_many() {
    for (step, count) in [
        ("limit: {n: 10}", 10),
        ("limit: {n: 0}", 0),
        ("limit: {n: 500}", 100),
        ("limit: {n: 30, offset: 90}", 10),
        ("limit: {n: 3, offset: 200}", 0),
    ] {
        let flow = Flow::of(&["read: {range: {to: 100}}", "roundRobin: {}\npartitions: 5", step, "write: {stdout: {}}"]);
        for partitions in crate::flow::PARTITIONS {
            let mut lines = flow.run(&["--partitions", partitions]).expect(0, &[]).lines();
            lines.sort();
            lines.dedup();
            assert_eq!(lines.len(), count, "{step}");
        }
    }
}

#[test]
fn text_of_values() {
    one_step(
        r#"[[null, true, false, 9223372036854775807, -5, 0.1, 1.5, "s p", [1, null, "x"], {"k": [true]}]]"#,
        "filter: {lua: 'function() return true end'}",
    )
    .prints(&["\ttrue\tfalse\t9223372036854775807\t-5\t0.1\t1.5\ts p\t[1,null,\"x\"]\t{\"k\":[true]}"]);
}

#[test]
fn stdout_formats_as_printf_does() {
    for (rows, format, expected) in [
        ("[[\"w\", 3]]", r"%s\t%d", "w\t3"),
        ("[[\"w\", 3]]", "%-4s|%4d|", "w   |   3|"),
        ("[[255, 255]]", "%x %04d", "ff 0255"),
        ("[[2.5]]", "%.2f", "2.50"),
        ("[[2.5]]", "%7.1f|", "    2.5|"),
        ("[[12345.678]]", "%e", "1.234568e+04"),
        ("[[0.0001]]", "%g", "0.0001"),
        ("[[3]]", "%.1f", "3.0"),
        ("[[50]]", "%d%%", "50%"),
        ("[[null, true, [1]]]", "%s %s %s", "nil true [1]"),
        ("[[\"a\\\"b\"]]", "%q", r#""a\"b""#),
        ("[[7]]", "%v", "7"),
    ] {
        let write = format!("write: {{stdout: {{format: \"{}\"}}}}", format.replace('"', "\\\""));
        Flow::of(&[&format!("read: {{inline: {{rows: {rows}}}}}"), &write]).prints(&[expected]);
    }
}

#[test]
fn a_format_that_does_not_fit_is_an_error() {
    let read = "read: {inline: {rows: [[\"word\", 2]]}}\nfields: [word, num]";
    Flow::of(&[read, "write: {stdout: {format: \"%s\"}}"]).is_refused(&["s2"]);
    Flow::of(&[read, "write: {stdout: {format: \"%s %s %s\"}}"]).is_refused(&["s2"]);
    Flow::of(&[read, "write: {stdout: {format: \"%s %k\"}}"]).is_refused(&["%k"]);
    let unnamed = "map: {lua: 'function(word, n) return word, n end'}";
    Flow::of(&[read, unnamed, "write: {stdout: {format: \"%d %s\"}}"]).fails(&["\"s3\"", "word"]);
    Flow::of(&["read: {inline: {rows: [[1], [1, 2]]}}", "write: {stdout: {format: \"%s\"}}"]).fails(&["\"s2\""]);
}
