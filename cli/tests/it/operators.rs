//! `semantics.md`, "Operators", and the operators' table of the design.

use crate::flow::{Flow, PARTITIONS, one_step};

const LEFT: &str = "read: {inline: {rows: [[1, \"l1\"], [2, \"l2\"], [2, \"l2b\"], [3, \"l3\"]]}}";
const RIGHT: &str = "read: {inline: {rows: [[2, \"r2\", true], [2, \"r2b\", false], [4, \"r4\", true]]}}";

fn joined(options: &str) -> Flow {
    Flow::of(&[LEFT, RIGHT, &format!("join: {{key: [1]{options}}}\nfrom: [s1, s2]"), "write: {stdout: {}}"])
}

#[test]
fn joins_of_each_kind_with_and_without_broadcast() {
    let both = ["2\tl2\tr2\ttrue", "2\tl2\tr2b\tfalse", "2\tl2b\tr2\ttrue", "2\tl2b\tr2b\tfalse"];
    let left = ["1\tl1\t\t", "3\tl3\t\t"];
    let right = ["4\t\tr4\ttrue"];
    for broadcast in ["", ", broadcast: auto", ", broadcast: never"] {
        joined(broadcast).prints(&both);
        joined(&format!(", kind: inner{broadcast}")).prints(&both);
        joined(&format!(", kind: left{broadcast}")).prints(&[&both[..], &left].concat());
        joined(&format!(", kind: right{broadcast}")).prints(&[&both[..], &right].concat());
        joined(&format!(", kind: full{broadcast}")).prints(&[&both[..], &left, &right].concat());
    }
    joined(", broadcast: always").prints(&both);
    joined(", kind: left, broadcast: always").prints(&[&both[..], &left].concat());
}

#[test]
fn joins_of_three_inputs_keep_the_keys_that_their_kind_says() {
    let reads = [
        "read: {inline: {rows: [[1, \"a\"], [2, \"a\"], [3, \"a\"]]}}",
        "read: {inline: {rows: [[2, \"b\"], [3, \"b\"], [5, \"b\"]]}}",
        "read: {inline: {rows: [[3, \"c\"], [4, \"c\"], [5, \"c\"]]}}",
    ];
    for (kind, expected) in [
        ("inner", vec!["3\ta\tb\tc"]),
        ("left", vec!["1\ta\t\t", "2\ta\tb\t", "3\ta\tb\tc"]),
        ("right", vec!["3\ta\tb\tc", "4\t\t\tc", "5\t\tb\tc"]),
        ("full", vec!["1\ta\t\t", "2\ta\tb\t", "3\ta\tb\tc", "4\t\t\tc", "5\t\tb\tc"]),
    ] {
        let join = format!("join: {{key: [1], kind: {kind}}}\nfrom: [s1, s2, s3]");
        Flow::of(&[reads[0], reads[1], reads[2], &join, "write: {stdout: {}}"]).prints(&expected);
    }
}

#[test]
fn a_missing_side_is_as_wide_as_its_widest_row_or_its_names() {
    let full = |right: &str| {
        Flow::of(&[
            "read: {inline: {rows: [[1, \"l\"]]}}",
            right,
            "join: {key: [1], kind: left}\nfrom: [s1, s2]",
            "write: {stdout: {}}",
        ])
    };
    full("read: {inline: {rows: [[2], [3, 1, 2, 3]]}}").prints(&["1\tl\t\t\t"]);
    full("read: {inline: {rows: []}}").prints(&["1\tl"]);
    full("read: {inline: {rows: []}}\nfields: [k, a, b]").prints(&["1\tl\t\t"]);
}

#[test]
fn a_side_that_ends_up_without_rows_is_as_wide_as_its_names() {
    let filtered = |named: &str, kept: &str, join: &str| {
        Flow::of(&[
            "read: {inline: {rows: [[1, \"l\"]]}}",
            &format!("read: {{inline: {{rows: [[2, 3, 4]]}}}}\n{named}"),
            &format!("filter: {{lua: 'function(k) return {kept} end'}}"),
            &format!("join: {join}\nfrom: [s1, s3]"),
            "write: {stdout: {}}",
        ])
    };
    for broadcast in ["auto", "always", "never"] {
        let join = format!("{{key: [1], kind: left, broadcast: {broadcast}}}");
        filtered("", "true", &join).prints(&["1\tl\t\t"]);
        filtered("", "false", &join).prints(&["1\tl"]);
        filtered("fields: [k, a, b]", "false", &join).prints(&["1\tl\t\t"]);
        // Whoever names the fields of a join says how many there are.
        filtered("", "false", &format!("{join}\nfields: [k, l, a, b]")).prints(&["1\tl\t\t"]);
    }
    // A name behind such a side means the field that it was found at.
    Flow::of(&[
        "read: {inline: {rows: [[1, \"l\"]]}}",
        "filter: {lua: 'function(k) return false end'}",
        "read: {inline: {rows: [[1, \"r\"]]}}\nfields: [k, r]",
        "join: {key: [1], kind: full}\nfrom: [s1, s2, s3]",
        "select: {columns: [r, 3]}",
        "write: {stdout: {}}",
    ])
    .prints(&["r\t"]);
}

#[test]
fn a_filter_behind_a_join_sees_no_key_that_the_join_drops() {
    let filtered = |kind: &str, kept: &str| {
        Flow::of(&[
            "read: {inline: {rows: [[1, \"a\"], [7, \"b\"], [null, \"c\"]]}}",
            "read: {inline: {rows: [[1, \"A\"], [7, \"B\"], [\"x\", \"C\"]]}}",
            &format!("join: {{key: [1], kind: {kind}, broadcast: never}}\nfrom: [s1, s2]"),
            &format!("filter: {{lua: 'function(k) return {kept} end'}}"),
            "write: {stdout: {}}",
        ])
    };
    filtered("inner", "k > 5").prints(&["7\tb\tB"]);
    filtered("inner", "k == 7").prints(&["7\tb\tB"]);
    filtered("left", "k == 7").prints(&["7\tb\tB"]);
    filtered("left", "k > 5").fails(&["s4"]);
}

#[test]
fn groups_without_rows_are_no_wider_than_other_sides() {
    let grouped = |named: &str, kind: &str| {
        Flow::of(&[
            &format!("read: {{inline: {{rows: [[1, 5]]}}}}\n{named}"),
            "groupBy: {key: [1]}",
            &format!("read: {{inline: {{rows: [[1, 6]]}}}}\n{named}"),
            "filter: {lua: 'function(k) return false end'}",
            "groupBy: {key: [1]}",
            &format!("join: {{key: [1], kind: {kind}, broadcast: never}}\nfrom: [s2, s5]"),
            "write: {stdout: {}}",
        ])
    };
    for kind in ["left", "full"] {
        grouped("", kind).prints(&["1\t[5]"]);
        grouped("fields: [k, v]", kind).prints(&["1\t[5]\t"]);
    }
}

#[test]
fn keys_of_a_join_may_be_any_fields_and_nil_is_a_key() {
    Flow::of(&[
        "read: {inline: {rows: [[\"x\", null, 1], [\"y\", \"k\", 2]]}}",
        "read: {inline: {rows: [[\"p\", null, 3], [\"q\", \"k\", 4]]}}",
        "join: {key: [2]}\nfrom: [s1, s2]",
        "write: {stdout: {}}",
    ])
    .prints(&["\tx\t1\tp\t3", "k\ty\t2\tq\t4"]);
}

#[test]
fn a_step_may_be_read_twice() {
    Flow::of(&["read: {range: {to: 3}}", "union: {}\nfrom: [s1, s1]", "write: {stdout: {}}"])
        .prints(&["0", "0", "1", "1", "2", "2"]);
    Flow::of(&["read: {inline: {rows: [[1, \"a\"], [1, \"b\"]]}}", "join: {key: [1]}\nfrom: [s1, s1]", "write: {stdout: {}}"])
        .prints(&["1\ta\ta", "1\ta\tb", "1\tb\ta", "1\tb\tb"]);
    Flow::of(&[
        "read: {range: {to: 4}}",
        "map: {lua: 'function(x) return x, x * x end'}",
        "join: {key: [1], broadcast: always}\nfrom: [s1, s2]",
        "write: {stdout: {}}",
    ])
    .prints(&["0\t0", "1\t1", "2\t4", "3\t9"]);
}

#[test]
fn co_group_has_a_list_per_input_and_keys_of_any() {
    Flow::of(&[
        LEFT,
        RIGHT,
        "coGroup: {key: [1]}\nfrom: [s1, s2]",
        "map: {lua: 'function(k, l, r) table.sort(l) return k, l, #r end'}",
        "write: {stdout: {}}",
    ])
    .prints(&["1\t[\"l1\"]\t0", "2\t[\"l2\",\"l2b\"]\t2", "3\t[\"l3\"]\t0", "4\t[]\t1"]);
}

#[test]
fn distinct_and_count() {
    let rows = "[[\"a\", 1], [\"b\", 1], [\"a\", 1], [\"a\", 0]]";
    one_step(rows, "distinct: {}").prints(&["a\t0", "a\t1", "b\t1"]);
    one_step(rows, "distinct: {key: [2]}").prints(&["a\t0", "a\t1"]);
    one_step(rows, "count: {}").prints(&["a\t0\t1", "a\t1\t2", "b\t1\t1"]);
    one_step(rows, "count: {key: [2]}").prints(&["0\t1", "1\t3"]);
    one_step("[[true], [false], [null]]", "distinct: {}").prints(&["true", "false", ""]);
    one_step("[]", "count: {}").prints(&[]);
}

#[test]
fn partitioning_does_not_move_fields() {
    one_step("[[\"a\", 2, \"c\"]]", "partition: {key: [2]}\npartitions: 3").prints(&["a\t2\tc"]);
    one_step("[[\"a\", 2, \"c\"]]", "distinct: {key: [3]}").prints(&["a\t2\tc"]);
}

/// How many shells a pipe behind these steps starts: one per partition.
#[track_caller]
fn partitions_behind(step: &str, arguments: &[&str]) -> usize {
    let flow = Flow::of(&["read: {range: {to: 20}}", step, "pipe: {command: cat >/dev/null; echo one}", "write: {stdout: {}}"]);
    flow.run(arguments).expect(0, &[]).lines().len()
}

#[test]
fn a_steps_own_partitions_are_exact_and_the_flag_is_the_default() {
    for step in [
        "partition: {key: [1]}",
        "roundRobin: {}",
        "merge: {}",
        "sort: {by: [{field: 1}]}",
        "distinct: {}",
        "groupBy: {key: [1]}",
    ] {
        assert_eq!(partitions_behind(&format!("{step}\npartitions: 3"), &["--partitions", "5"]), 3, "{step}");
    }
    for step in ["partition: {key: [1]}", "roundRobin: {}"] {
        assert_eq!(partitions_behind(step, &["--partitions", "5"]), 5, "{step}");
    }
    assert_eq!(partitions_behind("merge: {}", &["--partitions", "5"]), 1);
}

#[test]
fn partitions_that_get_no_rows_still_run_their_pipe() {
    let flow = Flow::of(&[
        "read: {inline: {rows: []}}",
        "roundRobin: {}\npartitions: 4",
        "pipe: {command: cat; echo end}",
        "write: {stdout: {}}",
    ]);
    flow.prints(&["end"; 4]);
}

#[test]
fn order_holds_from_a_sort_on() {
    let numbers: Vec<String> = (0..50).rev().map(|n| (n * 2).to_string()).collect();
    let expected: Vec<&str> = numbers.iter().map(String::as_str).collect();
    Flow::of(&[
        "read: {range: {to: 100}}",
        "sort: {by: [{field: 1, order: desc}]}",
        "map: {lua: 'function(x) return x, -x end'}",
        "filter: {lua: 'function(x) return x % 2 == 0 end'}",
        "flatMap: {lua: 'function(x) return {{x, x}} end'}",
        "select: {columns: [2]}",
        "pipe: {command: cat}",
        "limit: {n: 60}",
        "write: {stdout: {}}",
    ])
    .prints_in_order(&expected);
}

#[test]
fn the_first_of_an_order_by_limit_and_top() {
    Flow::of(&[
        "read: {range: {to: 100}}",
        "sort: {by: [{field: 1, order: desc}]}",
        "limit: {n: 3, offset: 2}",
        "write: {stdout: {}}",
    ])
    .prints_in_order(&["97", "96", "95"]);
    Flow::of(&[
        "read: {range: {to: 12}}",
        "roundRobin: {}\npartitions: 3",
        "top: {n: 3, by: [{field: 1, order: desc}]}",
        "write: {stdout: {}}",
    ])
    .prints_in_order(&["11", "10", "9"]);
    one_step("[]", "top: {n: 3, by: [{field: 1}]}").prints_in_order(&[]);
}

#[test]
fn an_ordered_union_is_one_input_after_the_other() {
    Flow::of(&[
        "read: {inline: {lines: [b, a]}}",
        "sort: {by: [{field: 1}]}",
        "map: {lua: 'function(x) return x .. \"1\" end'}\nfrom: [s2]",
        "map: {lua: 'function(x) return x .. \"2\" end'}\nfrom: [s2]",
        "union: {ordered: true}\nfrom: [s4, s3, s4]",
        "write: {stdout: {}}",
    ])
    .prints_in_order(&["a2", "b2", "a1", "b1", "a2", "b2"]);
}

#[test]
fn what_looks_at_the_order_of_an_ordered_union_sees_one_input_after_the_other() {
    let behind = |steps: &[&str], from: &str, expected: &[&str]| {
        let union = format!("union: {{ordered: true}}\nfrom: [{from}]");
        Flow::of(&[steps, &[&union, "limit: {n: 3}", "write: {stdout: {}}"]].concat()).prints_in_order(&expected[..3]);
        Flow::of(&[steps, &[&union, "limit: {n: 3, offset: 1}", "write: {stdout: {}}"]].concat())
            .prints_in_order(&expected[1..4]);
        Flow::of(&[steps, &[&union, "merge: {}", "pipe: {command: cat}", "write: {stdout: {}}"]].concat())
            .prints_in_order(expected);
    };
    let reads = ["read: {inline: {lines: [a, b]}}", "read: {inline: {lines: [c, d]}}"];
    behind(&reads, "s1, s2", &["a", "b", "c", "d"]);
    behind(&reads, "s2, s1", &["c", "d", "a", "b"]);
    behind(&reads, "s2, s1, s2", &["c", "d", "a", "b", "c", "d"]);
    // Two views of one source, which one pass makes at the same time.
    let views = [
        "read: {inline: {lines: [a, b]}}",
        "map: {lua: 'function(x) return x .. 1 end'}\nfrom: [s1]",
        "map: {lua: 'function(x) return x .. 2 end'}\nfrom: [s1]",
    ];
    behind(&views, "s3, s2", &["a2", "b2", "a1", "b1"]);
    behind(&views, "s3, s1, s2", &["a2", "b2", "a", "b", "a1", "b1"]);
    // What comes straight out of a sort, and what is made of another.
    let sorts = [
        "read: {inline: {rows: [[1, a], [2, b], [3, c]]}}",
        "sort: {by: [{field: 1, order: desc}]}",
        "sort: {by: [{field: 2}]}",
        "select: {columns: [1]}\nfrom: [s2]",
    ];
    behind(&sorts, "s4, s3", &["3", "2", "1", "1\ta", "2\tb", "3\tc"]);
    behind(&sorts, "s3, s4", &["1\ta", "2\tb", "3\tc", "3", "2", "1"]);
}

#[test]
fn a_sorted_merge_and_a_sort_into_several_partitions_are_in_order() {
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    let shuffled = "map: {lua: 'function(x) return (x * 7) % 300 end'}";
    Flow::of(&[
        "read: {range: {to: 300}}",
        shuffled,
        "roundRobin: {}\npartitions: 4",
        "merge: {by: [{field: 1}]}",
        "write: {stdout: {}}",
    ])
    .prints_in_order(&expected);
    Flow::of(&["read: {range: {to: 300}}", shuffled, "sort: {by: [{field: 1}]}\npartitions: 25", "write: {stdout: {}}"])
        .prints_in_order(&expected);
}

#[test]
fn pipes_take_and_give_lines() {
    one_step("[[\"a\", 1, null, true, 2.5]]", "pipe: {command: \"awk -F'\\\\t' '{print NF, $1, $2, $4, $5}'\"}")
        .prints(&["5 a 1 true 2.5"]);
    one_step("[[\"a\\tb\"]]", "pipe: {command: cat}").prints(&["a\tb"]);
    Flow::of(&["read: {range: {to: 1}}", "merge: {}", "pipe: {command: printf 'no end'}", "write: {stdout: {}}"])
        .prints(&["no end"]);
    Flow::of(&[
        "read: {range: {to: 5}}",
        "merge: {}",
        "pipe: {command: \"sed 's/^/n\\\\t/'\"}",
        "map: {lua: 'function(n, x) return x .. n end'}",
        "write: {stdout: {}}",
    ])
    .prints(&["0n", "1n", "2n", "3n", "4n"]);
}

#[test]
fn a_pipes_exit_status_decides() {
    for command in ["exit 3", "cat; exit 3", "no-such-command-at-all", "kill -9 $$", "cat | false"] {
        Flow::of(&["read: {range: {to: 5}}", &format!("pipe: {{command: '{command}'}}"), "write: {json: {path: out}}"])
            .fails(&["\"s2\""]);
        Flow::of(&["read: {range: {to: 5}}", &format!("pipeAsArgs: {{command: '{command}'}}"), "write: {json: {path: out}}"])
            .fails(&["\"s2\""]);
    }
    let says = Flow::of(&["read: {range: {to: 5}}", "pipe: {command: 'echo what is wrong >&2; exit 7'}", "write: {stdout: {}}"]);
    says.fails(&["\"s2\"", "7", "what is wrong"]);
    one_step("[[a]]", "pipe: {command: grep zzz}").fails(&["exited with status 1 (as grep does where it finds nothing"]);
}

#[test]
fn a_command_that_stops_reading_early_is_fine() {
    Flow::of(&["read: {range: {to: 200000}}", "merge: {}", "pipe: {command: head -n 2}", "count: {}", "write: {stdout: {}}"])
        .prints(&["0\t1", "1\t1"]);
}

#[test]
fn a_line_end_inside_a_field_fails_a_pipe() {
    one_step("[[\"two\\nlines\"]]", "pipe: {command: cat}").fails(&["\"s2\"", "two"]);
}

#[test]
fn arguments_of_a_command_are_never_pasted_text() {
    one_step(
        "[[\"a b; echo hacked\", \"$HOME `id`\", 7]]",
        "pipeAsArgs: {command: 'printf \"%s|\" \"$1\" \"$2\" \"$3\" \"$#\"'}",
    )
    .prints(&["a b; echo hacked|$HOME `id`|7|3|"]);
    one_step("[[1, 2, 3, 4, 5, 6, 7, 8, 9, \"ten\"]]", "pipeAsArgs: {command: 'echo \"${10} $1\"'}").prints(&["ten 1"]);
    one_step("[[\"x\"]]", "pipeAsArgs: {command: 'printf \"a\\tb\\nc\\n\"'}").prints(&["a\tb", "c"]);
}

#[test]
fn a_step_that_nobody_reads_is_dropped_with_a_warning() {
    let flow = Flow::of(&[
        "read: {range: {to: 2}}",
        "map: {lua: 'function(x) error(\"never runs\") end'}",
        "write: {stdout: {}}\nfrom: [s1]",
    ]);
    flow.prints(&["0", "1"]);
    flow.run(&[]).expect(0, &["s2"]);
    let mut strict = flow.command("validate", &["--strict"]);
    assert_eq!(strict.output().expect("runs").status.code(), Some(2));
    flow.validate().expect(0, &[]);
}

#[test]
fn persist_changes_nothing_but_the_plan() {
    Flow::of(&[
        "read: {range: {to: 6}}",
        "map: {lua: 'function(x) return x % 2, x end'}\npersist: true",
        "groupBy: {key: [1]}\npersist: true",
        "combine: {lua: 'function(x, y) return x + y end'}",
        "write: {stdout: {}}",
    ])
    .prints(&["0\t6", "1\t9"]);
}

#[test]
fn a_group_may_be_read_by_combines_and_others() {
    Flow::of(&[
        "read: {range: {to: 6}}",
        "map: {lua: 'function(x) return x % 2, x end'}",
        "groupBy: {key: [1]}",
        "combine: {lua: 'function(x, y) return x + y end'}\nfrom: [s3]",
        "combine: {lua: 'function(x, y) return math.max(x, y) end'}\nfrom: [s3]",
        "map: {lua: 'function(k, items) return k, #items end'}\nfrom: [s3]",
        "union: {}\nfrom: [s4, s5, s6]",
        "write: {stdout: {}}",
    ])
    .prints(&["0\t6", "1\t9", "0\t4", "1\t5", "0\t3", "1\t3"]);
}

#[test]
fn a_chain_of_shuffles_and_branches_meets_again() {
    let flow = Flow::of(&[
        "read: {range: {to: 100}}",
        "map: {lua: 'function(x) return x % 10, x end'}",
        "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}",
        "join: {key: [1]}\nfrom: [s2, s3]",
        "filter: {lua: 'function(k, x, sum) return x * 10 > sum end'}",
        "count: {key: [1]}",
        "sort: {by: [{field: 1}]}",
        "write: {stdout: {format: \"%d:%d\"}}",
    ]);
    let expected: Vec<String> = (0..10)
        .map(|k| {
            let sum: i64 = (0..10).map(|i| i * 10 + k).sum();
            format!("{k}:{}", (0..10).filter(|i| (i * 10 + k) * 10 > sum).count())
        })
        .collect();
    flow.prints_in_order(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn threads_do_not_change_the_result() {
    let flow = Flow::of(&[
        "read: {range: {to: 5000}}",
        "map: {lua: 'function(x) return x % 7, 1 end'}",
        "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}",
        "write: {stdout: {}}",
    ]);
    let expected: Vec<String> = (0..7).map(|k| format!("{k}\t{}", (0..5000).filter(|x| x % 7 == k).count())).collect();
    for threads in ["1", "2", "5"] {
        for partitions in PARTITIONS {
            assert_eq!(flow.run(&["--threads", threads, "--partitions", partitions]).expect(0, &[]).sorted_lines(), expected);
        }
    }
}

#[test]
fn a_group_that_is_kept_is_folded_like_any_other() {
    for persist in ["", "\npersist: true"] {
        let group = format!("groupBy: {{key: [1]}}{persist}");
        // One value that is a list, in a function that could take any number of values.
        Flow::of(&[
            "read: {inline: {rows: [[a, 1], [a, 2], [b, 5]]}}",
            "map: {lua: 'function(k, v) return k, {v, 0} end'}",
            &group,
            "combine: {lua: 'function(...) local x, y = ... return {x[1] + y[1], 0} end'}",
            "write: {stdout: {}}",
        ])
        .prints(&["a\t[3,0]", "b\t[5,0]"]);
        // Several values.
        Flow::of(&[
            "read: {inline: {rows: [[a, 1, 10], [a, 2, 20], [b, 5, 50]]}}",
            &group,
            "combine: {lua: 'function(...) local v, w, x, y = ... return v + x, w + y end'}",
            "write: {stdout: {}}",
        ])
        .prints(&["a\t3\t30", "b\t5\t50"]);
    }
}

#[test]
fn what_nobody_reads_runs_for_its_effects_to_the_last_row() {
    let flow = Flow::of(&[
        "read: {range: {to: 50000}}",
        "pipe: {command: cat > pipe.out}",
        "forEach: {lua: 'function(n) if n == 49999 then io.open(\"each.out\", \"w\"):close() end end'}\nfrom: [s1]",
        "operate: {lua: 'function() for i = 1, 1000 do emit(i) end io.open(\"operate.out\", \"w\"):close() end'}\nsideInputs: [{name: rows, from: s3, as: list}]",
        "map: {lua: 'function(n) error(\"dropped\") end'}\nfrom: [s1]",
        "limit: {n: 1}\nfrom: [s1]",
        "write: {stdout: {}}",
    ]);
    let mut command = flow.command("run", &["--partitions", "1"]);
    command.current_dir(flow.path(""));
    crate::flow::finish(command).expect(0, &["s2", "s4", "it runs all the same", "s5", "the step is dropped"]);
    assert_eq!(std::fs::read_to_string(flow.path("pipe.out")).expect("a file").lines().count(), 50000);
    assert!(flow.path("each.out").exists() && flow.path("operate.out").exists());
}

#[test]
fn an_endless_source_of_rows_ends_where_nobody_wants_more() {
    let once = "read: {inline: {lines: [a]}}";
    for (endless, first) in [
        ("flatMap: {lua: 'function(x) local i = 0 return function() i = i + 1 return i end end'}", "1"),
        ("forEach: {lua: 'function(x) while true do emit(x) end end'}", "a"),
        ("pipe: {command: 'yes'}", "y"),
        ("pipe: {command: 'while sleep 0.05; do echo s; done'}", "s"),
    ] {
        let passed = "map: {lua: 'function(x) local t = {x} return t[1] end'}";
        let steps = [once, "merge: {}", endless, passed];
        Flow::of(&[&steps[..], &["limit: {n: 3}", "top: {n: 1, by: [{field: 1}]}", "write: {stdout: {}}"]].concat())
            .prints(&[first]);
        Flow::of(&[&steps[..], &["pipe: {command: head -n 1}", "write: {stdout: {}}"]].concat()).prints(&[first]);
    }
}
