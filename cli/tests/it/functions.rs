//! `semantics.md`, "Functions".

use crate::flow::{Flow, one_step};

#[test]
fn functions_see_globals_and_locals_of_the_prelude() {
    let spec = "lua: |\n  local factor = 3\n  function scaled(x) return x * factor end\n  unit = \"m\"";
    Flow::with_spec(
        spec,
        &[
            "read: {range: {from: 1, to: 3}}",
            "map: {lua: 'function(x) return scaled(x), unit, factor end'}",
            "write: {stdout: {}}",
        ],
    )
    .prints(&["3\tm\t3", "6\tm\t3"]);
}

#[test]
fn each_step_has_an_environment_of_its_own() {
    let counting = "map: {lua: 'function(x) calls = (calls or 0) + 1 return x, calls end'}";
    let flow = Flow::of(&[
        "read: {inline: {rows: [[1]]}}",
        counting,
        "map: {lua: 'function(x, n) calls = (calls or 0) + 1 return n, calls end'}",
        "write: {stdout: {}}",
    ]);
    flow.prints(&["1\t1"]);
}

#[test]
fn a_prelude_that_changes_a_library_is_heeded() {
    let spec = "lua: |\n  function string.lower(s) return \"<\" .. s .. \">\" end\n  local old = string.gmatch\n  string.gmatch = function(s, p) return old(s .. \" more\", p) end";
    Flow::with_spec(
        spec,
        &[
            "read: {inline: {lines: [\"A b\"]}}",
            "flatMap: {lua: 'function(line) return line:gmatch(\"%w+\") end'}",
            "map: {lua: 'function(w) return w:lower() end'}",
            "write: {stdout: {}}",
        ],
    )
    .prints(&["<A>", "<b>", "<more>"]);
}

#[test]
fn a_message_names_step_place_line_and_row() {
    let function = "map:\n  lua: |\n    function(x)\n      local y = x\n      if y == 3 then error(\"three is too many\") end\n      return y\n    end";
    let flow = Flow::of(&["read: {range: {from: 0, to: 5}}", function, "write: {stdout: {}}"]);
    flow.fails(&["\"s2\"", "three is too many", "line 3", "flow.yaml", "row", "3"]);
}

#[test]
fn the_place_in_the_input_is_named() {
    let flow =
        Flow::of(&["read: {text: {paths: [in.txt]}}", "map: {lua: 'function(line) return line + 1 end'}", "write: {stdout: {}}"]);
    flow.file("in.txt", "1\n2\nx7\n").fails(&["\"s2\"", "in.txt:3", "x7"]);
}

#[test]
fn errors_never_shrink_the_result() {
    for step in [
        "map: {lua: 'function(x) error(\"no\") end'}",
        "map: {lua: 'function(x) return x.y.z end'}",
        "map: {lua: 'function(x) return nothing() end'}",
        "filter: {lua: 'function(x) return x < \"a\" end'}",
        "flatMap: {lua: 'function(x) return 5 end'}",
        "flatMap: {lua: 'function(x) return function() error(\"later\") end end'}",
        "forEach: {lua: 'function(x) emit(x) error({}) end'}",
        "parallelDo: {outputs: [a], lua: 'function(x) emit.a(x) emit.b(x) end'}",
        "reduce: {lua: 'function(x, y) return x + nil end'}",
        "map: {lua: 'function(x) os.exit(0) end'}",
        "map: {lua: 'function(x) os.exit() end'}",
    ] {
        let from = if step.starts_with("parallelDo") { "\nfrom: [s2.a]" } else { "" };
        Flow::of(&["read: {range: {to: 3}}", step, &format!("write: {{json: {{path: out}}}}{from}")]).fails(&["\"s2\""]);
    }
}

#[test]
fn lua_that_does_not_compile_is_found_by_validate_with_its_line() {
    one_step("[[1]]", "map: {lua: 'function(x) return x +  end'}").is_refused(&["s2", "flow.yaml:"]);
    one_step("[[1]]", "map: {lua: 'return 5'}").is_refused(&["s2"]);
    one_step("[[1]]", "map: {lua: '5'}").is_refused(&["s2"]);
    one_step("[[1]]", "map:\n  lua: |\n    function(x)\n      return x\n").is_refused(&["s2"]);
    Flow::with_spec("lua: 'function broken('", &["read: {range: {to: 3}}", "write: {stdout: {}}"])
        .is_refused(&["Lua", "flow.yaml:5"]);
    for function in ["function f(x) return x end", "return function(x) return x end", "x + 1", "local function f(x) end"] {
        let step = format!("map: {{lua: '{function}'}}");
        let flow = Flow::of(&["read: {range: {to: 1}}", &step, "write: {stdout: {}}"]);
        flow.is_refused(&["\"s2\"", "a function looks like: function(x) return x end"]);
    }
}

#[test]
fn flat_map_takes_iterators_and_lists() {
    for (body, expected) in [
        ("return x:gmatch(\"%w+\")", vec!["a", "b"]),
        ("return ipairs({x, \"z\"})", vec!["1\ta b", "2\tz"]),
        ("local n = 0 return function() n = n + 1 if n < 3 then return n, x end end", vec!["1\ta b", "2\ta b"]),
        ("return coroutine.wrap(function() coroutine.yield(x) coroutine.yield(2) end)", vec!["a b", "2"]),
        ("return {x, 2}", vec!["a b", "2"]),
        ("return {{x, 2}, {3}}", vec!["a b\t2", "3"]),
        ("return {}", vec![]),
        ("return nil", vec![]),
        ("return", vec![]),
        ("return next, {k = x}, nil", vec!["k\ta b"]),
        ("local done return function() if not done then done = true return {x, 1} end end", vec!["a b\t1"]),
        ("return {{k = 1}}", vec!["{\"k\":1}"]),
    ] {
        one_step("[[\"a b\"]]", &format!("flatMap: {{lua: 'function(x) {body} end'}}")).prints(&expected);
    }
}

#[test]
fn map_tells_nil_from_nothing() {
    one_step("[[1]]", "map: {lua: 'function(x) return nil end'}").prints(&[""]);
    one_step("[[1]]", "map: {lua: 'function(x) return end'}").prints(&[]);
    one_step("[[1]]", "map: {lua: 'function(x) end'}").prints(&[]);
    one_step("[[1]]", "map: {lua: 'function(x) return x, nil, nil end'}").prints(&["1\t\t"]);
    one_step("[[8888, null, \"hello\"]]", "map: {lua: 'function(...) return ... end'}").prints(&["8888\t\thello"]);
    one_step("[[8888, null]]", "map: {lua: 'function(...) return select(\"#\", ...) end'}").prints(&["2"]);
}

#[test]
fn filter_keeps_what_is_truthy_unchanged() {
    one_step("[[0], [\"\"], [false], [null], [true], [[]]]", "filter: {lua: 'function(x) return x end'}")
        .prints(&["0", "", "true", "[]"]);
    one_step("[[9007199254740993, null]]", "filter: {lua: 'function() return 1 end'}").prints(&["9007199254740993\t"]);
}

#[test]
fn reduce_folds_all_rows_and_nothing_gives_no_row() {
    one_step("[[100], [101], [101], [103]]", "reduce: {lua: 'function(x, y) return x + y end'}").prints(&["405"]);
    one_step("[]", "reduce: {lua: 'function(x, y) return x + y end'}").prints(&[]);
    one_step("[[5, \"a\"]]", "reduce: {lua: 'function(x1, x2, y1, y2) return 0, 0 end'}").prints(&["5\ta"]);
    one_step("[[5, \"a\"], [7, \"b\"]]", "reduce: {lua: 'function(n, s, m, t) return n + m, s < t and s or t end'}")
        .prints(&["12\ta"]);
}

#[test]
fn reduce_by_folds_values_by_key() {
    let rows = "[[\"key1\", 1, 2], [\"key2\", 101, 3], [\"key2\", 101, 4]]";
    one_step(rows, "reduceBy: {key: [1], lua: 'function(x1, x2, y1, y2) return x1 + y1, x2 + y2 end'}")
        .prints(&["key1\t1\t2", "key2\t202\t7"]);
    one_step(rows, "reduceBy: {key: [1, 2], lua: 'function(x, y) return x + y end'}").prints(&["key1\t1\t2", "key2\t101\t7"]);
    one_step(rows, "reduceBy: {key: [2, 1], lua: 'function(x, y) return x + y end'}").prints(&["1\tkey1\t2", "101\tkey2\t7"]);
}

#[test]
fn items_without_values_are_empty_lists() {
    one_step("[[1], [1], [2]]", "groupBy: {key: [1]}").prints(&["1\t[[],[]]", "2\t[[]]"]);
    one_step("[[1, \"a\"]]", "groupBy: {key: [1]}").prints(&["1\t[\"a\"]"]);
    one_step("[[1, \"a\", 2]]", "groupBy: {key: [1]}").prints(&["1\t[[\"a\",2]]"]);
    one_step("[[\"a\", 1, 2]]", "groupBy: {key: [3, 1]}").prints(&["2\ta\t[1]"]);
    one_step("[]", "groupBy: {key: [1]}").prints(&[]);
}

#[test]
fn a_group_is_ordered_by_fields_of_the_row() {
    let rows = "[[\"k\", 2, \"x\"], [\"k\", 3, \"y\"], [\"k\", 1, \"z\"], [\"k\", 2, \"a\"]]";
    one_step(rows, "groupBy: {key: [1], orderBy: [{field: 2, order: desc}, {field: 3}]}")
        .prints(&["k\t[[3,\"y\"],[2,\"a\"],[2,\"x\"],[1,\"z\"]]"]);
}

fn with_side(rows: &str, shape: &str, body: &str) -> Flow {
    Flow::of(&[
        &format!("read: {{inline: {{rows: {rows}}}}}"),
        "read: {inline: {rows: [[\"a\"]]}}",
        &format!("map: {{lua: 'function(x) return {body} end'}}\nsideInputs: [{{name: side, from: s1, as: {shape}}}]"),
        "write: {stdout: {}}",
    ])
}

#[test]
fn side_inputs_are_plain_lua_tables() {
    with_side("[[1], [2], [3]]", "list", "#side, side[1] + side[2] + side[3]").prints(&["3\t6"]);
    with_side("[[\"a\", 1], [\"b\", 2]]", "list", "#side, #side[1]").prints(&["2\t2"]);
    with_side("[[\"a\", 1], [\"b\", 2]]", "map", "side[x], side.b, side.c").prints(&["1\t2\t"]);
    with_side("[[\"a\", 1, 2]]", "map", "side[x][1], side[x][2]").prints(&["1\t2"]);
    with_side("[[42]]", "value", "side, x").prints(&["42\ta"]);
    with_side("[[42, 43]]", "value", "side[1], side[2]").prints(&["42\t43"]);
    with_side("[]", "list", "#side").prints(&["0"]);
    with_side("[]", "map", "next(side)").prints(&[""]);
}

#[test]
fn side_inputs_that_do_not_fit_their_shape_fail() {
    with_side("[[\"a\", 1], [\"a\", 2]]", "map", "1").fails(&["\"s3\"", "side", "\"a\""]);
    with_side("[]", "value", "1").fails(&["\"s3\"", "side"]);
    with_side("[[1], [2]]", "value", "1").fails(&["\"s3\"", "side"]);
}

#[test]
fn a_side_input_named_like_a_global_is_refused() {
    for name in ["string", "print", "emit", "ffi", "_G", "ipairs"] {
        Flow::of(&[
            "read: {inline: {rows: [[1]]}}",
            &format!("map: {{lua: 'function(x) return x end'}}\nfrom: [s1]\nsideInputs: [{{name: {name}, from: s1, as: list}}]"),
            "write: {stdout: {}}",
        ])
        .is_refused(&["s2", name]);
    }
}

#[test]
fn two_steps_may_use_one_name_for_different_side_inputs() {
    Flow::of(&[
        "read: {inline: {rows: [[1]]}}",
        "read: {inline: {rows: [[2]]}}",
        "map: {lua: 'function(x) return side end'}\nfrom: [s1]\nsideInputs: [{name: side, from: s1, as: value}]",
        "map: {lua: 'function(x) return x, side end'}\nsideInputs: [{name: side, from: s2, as: value}]",
        "write: {stdout: {}}",
    ])
    .prints(&["1\t2"]);
}

#[test]
fn print_goes_to_the_log_and_never_into_the_results() {
    let ran = one_step("[[1]]", "map: {lua: 'function(x) print(\"seen\", x) io.write(\"written\") return x end'}").run(&[]);
    ran.expect(0, &["seen", "written"]);
    assert_eq!(ran.lines(), ["1"]);
}

#[test]
fn emit_makes_rows() {
    one_step("[[2], [0]]", "forEach: {lua: 'function(x) for i = 1, x do emit(x, i) end return 99 end'}")
        .prints(&["2\t1", "2\t2"]);
    Flow::of(&[
        "read: {range: {from: 1, to: 6}}",
        "parallelDo: {outputs: [even, odd], lua: 'function(x) if x % 2 == 0 then emit.even(x) else emit.odd(x, x) end end'}",
        "write: {stdout: {format: \"even %d\"}}\nfrom: [s2.even]",
        "write: {json: {path: out, mode: replace}}\nfrom: [s2.odd]",
    ])
    .prints(&["even 2", "even 4"]);
}

#[test]
fn operate_runs_once_over_its_side_inputs() {
    let operate = "operate: {lua: 'function() local sum = 0 for _, x in ipairs(xs) do sum = sum + x end emit(sum) emit(#xs) end'}\nsideInputs: [{name: xs, from: s1, as: list}]";
    Flow::of(&["read: {range: {to: 5}}", operate, "write: {stdout: {}}"]).prints(&["10", "5"]);
    Flow::of(&["operate: {lua: 'function() emit(1) end'}", "write: {stdout: {}}"]).prints(&["1"]);
}

#[test]
fn ffi_and_bit_are_there() {
    one_step("[[6]]", "map: {lua: 'function(x) return bit.band(x, 3), bit.lshift(1, x) end'}").prints(&["2\t64"]);
    one_step(
        "[[6]]",
        "map: {lua: 'function(x) local ffi = require(\"ffi\") return ffi.sizeof(\"int64_t\"), ffi.new(\"int64_t\", x) * 2 end'}",
    )
    .prints(&["8\t12"]);
}

#[test]
fn random_numbers_are_the_same_in_every_run_and_differ_between_partitions() {
    let flow = Flow::of(&[
        "read: {range: {to: 8}}",
        "roundRobin: {}\npartitions: 4",
        "map: {lua: 'function(x) return math.random(1000000000) end'}",
        "write: {stdout: {}}",
    ]);
    let (first, second) = (flow.run(&[]), flow.run(&[]));
    assert_eq!(first.expect(0, &[]).sorted_lines(), second.sorted_lines());
    let mut numbers = first.sorted_lines();
    numbers.dedup();
    assert!(numbers.len() > 4, "partitions draw different numbers: {numbers:?}");
}

#[test]
fn names_mean_the_same_whatever_the_functions_style() {
    let plain = "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}";
    let odd = "reduceBy:\n  key: [1]\n  lua: |\n    function(left, right)\n      -- adds\n      local sum = right + left\n      return (sum)\n    end";
    for step in [plain, odd] {
        one_step("[[\"a\", 1], [\"a\", 2.5], [\"b\", 1]]", step).prints(&["a\t3.5", "b\t1"]);
    }
}

#[test]
fn on_error_sets_rows_aside_and_counts_them() {
    let map = "map: {lua: 'function(x) if x == \"bad\" then error(\"no\") end return x, 1 end'}";
    let read = "read: {inline: {rows: [[\"a\"], [\"bad\"], [\"b\"], [\"bad\"]]}}";
    let skip = Flow::of(&[read, &format!("{map}\nonError: {{policy: Skip}}"), "write: {stdout: {}}"]);
    skip.prints(&["a\t1", "b\t1"]);
    let report: serde_json::Value = skip.run(&["--report", "json"]).report();
    let steps = report["steps"].as_array().expect("steps").clone();
    let set_aside = steps.iter().find(|step| step["step"] == "s2").expect("s2")["setAside"].as_u64();
    assert_eq!(set_aside, Some(2), "{report}");
    let dead = Flow::of(&[
        read,
        &format!("{map}\nonError: {{policy: DeadLetter, to: s4}}"),
        "write: {json: {path: out, mode: replace}}",
        "write: {stdout: {}}",
    ]);
    dead.prints(&["bad", "bad"]);
    assert_eq!(dead.output_lines("out"), ["[\"a\",1]", "[\"b\",1]"]);
}

#[test]
fn a_source_sets_bad_records_aside_and_only_these() {
    let read = "read: {csv: {paths: [in.csv], header: true}}";
    let rows = "a,b\n1,2\n3\n4,5\n6,7,8\n";
    let steps = |more: &[&str]| {
        let read = format!("{read}\nonError: {{policy: DeadLetter, to: s3}}");
        Flow::of(&[&[read.as_str()][..], more].concat()).file("in.csv", rows)
    };
    let count = |flow: &Flow| {
        let report = flow.run(&["--report", "json"]).report();
        let step = report["steps"].as_array().expect("steps").iter().find(|step| step["step"] == "s1").expect("s1").clone();
        step["setAside"].as_u64()
    };
    let apart = steps(&["write: {text: {path: good, mode: replace}}", "write: {stdout: {}}"]);
    apart.prints(&["3", "6,7,8"]);
    assert_eq!(apart.output_lines("good"), ["1\t2", "4\t5"]);
    assert_eq!(count(&apart), Some(2));
    // Rows and bad records of one source in one collection.
    let together = steps(&["map: {lua: 'function(a, b) return a .. b end'}", "union: {}\nfrom: [s2]", "write: {stdout: {}}"]);
    together.prints(&["12", "45", "3", "6,7,8"]);
    let united =
        steps(&["write: {text: {path: good, mode: replace}}\nfrom: [s1]", "union: {}\nfrom: [s1]", "write: {stdout: {}}"]);
    united.prints(&["1\t2", "4\t5", "3", "6,7,8"]);
    assert_eq!(count(&united), Some(2));
    let skipped = Flow::of(&[&format!("{read}\nonError: {{policy: Skip}}"), "write: {stdout: {}}"]).file("in.csv", rows);
    skipped.prints(&["1\t2", "4\t5"]);
    assert_eq!(count(&skipped), Some(2));
}
