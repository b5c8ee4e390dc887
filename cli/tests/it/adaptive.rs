//! What is decided at run time, when sizes are known: joins that switch to a broadcast, buckets that are split. The result is the same.

use std::fmt::Write;

use crate::flow::{Flow, Ran, finish};

/// Decisions of a run about a step, as `(pass, did, reason)`.
fn decisions(ran: &Ran, step: &str) -> Vec<(String, bool, String)> {
    let report = ran.report();
    let all = report["decisions"].as_array().expect("decisions").iter().filter(|told| told["step"] == step);
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    all.map(|told| (text(&told["pass"]), told["did"] == true, text(&told["reason"]))).collect()
}

#[track_caller]
fn decided(ran: &Ran, step: &str, pass: &str, did: bool, reason: &str) {
    let found = decisions(ran, step);
    let is = |told: &(String, bool, String)| told.0 == pass && told.1 == did && told.2.contains(reason);
    assert!(found.iter().any(is), "{pass} should say {did} of {step}, {reason:?}; it says {found:?}");
}

/// A side that is said to be enormous: what is known to be small is broadcast by the planner.
const HUGE: &str = "\nhints: {sizeRatio: 1000000}";
const LARGER: &str = "\nhints: {sizeRatio: 9000000}";

/// A large side, a side that a filter makes small, a join of the two and what stands behind it.
fn joined(kind: &str, more: &str, behind: &str) -> Flow {
    Flow::of(&[
        "read: {range: {from: 0, to: 20000}}",
        &format!("map: {{lua: 'function(n) return n % 100, n end'}}{LARGER}"),
        "read: {range: {from: 0, to: 5000}}",
        &format!("map: {{lua: 'function(n) return n, n * 10 end'}}{HUGE}"),
        "filter: {lua: 'function(k, v) return k % 40 == 0 end'}",
        &format!("join: {{key: [1], kind: {kind}{more}}}\nfrom: [s2, s5]"),
        behind,
        "write: {stdout: {}}",
    ])
}

const SUM: &str = "reduceBy: {key: [3], lua: 'function(k, v, k2, v2) return k + k2, v + v2 end'}";

#[test]
fn a_join_whose_other_side_turns_out_small_is_not_shuffled() {
    for (kind, rows) in [("inner", 3), ("left", 4)] {
        let flow = joined(kind, "", SUM);
        let shuffled = flow.run(&["--without-pass", "switch-joins", "--report", "json"]);
        assert_eq!(shuffled.lines().len(), rows, "{}", shuffled.stderr);
        assert!(decisions(&shuffled, "s6").iter().all(|told| told.0 != "switch-joins"));
        for threads in ["1", "2", "5"] {
            let ran = flow.run(&["--report", "json", "--threads", threads]);
            assert_eq!(ran.sorted_lines(), shuffled.sorted_lines(), "{kind}, {threads} threads");
            decided(&ran, "s6", "switch-joins", true, "every task holds `s5` whole");
            let (now, before) = (bytes(&ran), bytes(&shuffled));
            let least = if kind == "inner" { 10 } else { 0 };
            assert!(now * least <= before && now <= before, "{kind}: {now} bytes instead of {before} are shuffled");
        }
        flow.run(&[]).expect(0, &["s6: switched to a broadcast"]);
        flow.is_clean();
    }
}

/// What the stage of the join shuffled.
fn bytes(ran: &Ran) -> u64 {
    let report = ran.report();
    let stages = report["stages"].as_array().expect("stages");
    let joins =
        stages.iter().filter(|stage| stage["steps"].as_array().is_some_and(|steps| steps.iter().any(|step| step == "s6")));
    joins.map(|stage| stage["shuffledBytes"].as_u64().expect("bytes")).sum()
}

#[test]
fn a_join_stays_a_shuffle_where_it_is_asked_for_or_the_side_does_not_fit() {
    let ran = joined("inner", "", SUM).run(&["--report", "json", "--partitions", "3"]);
    decided(&ran, "s6", "switch-joins", false, "into 3 partitions, as asked for");
    let ran = joined("inner", ", broadcast: never", SUM).run(&["--report", "json"]);
    assert!(decisions(&ran, "s6").iter().all(|told| told.0 != "switch-joins"));
    // 40,000 rows of about 110 bytes, and tasks that may hold some 100 KiB.
    let large = Flow::of(&[
        "read: {range: {to: 41000}}",
        &format!("filter: {{lua: 'function(n) return true end'}}{LARGER}"),
        "read: {range: {to: 40000}}",
        &format!("map: {{lua: 'function(n) return n, string.rep(\"x\", 100) end'}}{HUGE}"),
        "join: {key: [1]}\nfrom: [s2, s4]",
        "map: {lua: 'function(n, x) return 1, 1 end'}",
        "reduceBy: {key: [1], lua: 'function(a, b) return a + b end'}",
        "write: {stdout: {}}",
    ]);
    let ran = large.run(&["--report", "json", "--memory", "1Mi"]);
    assert_eq!(ran.lines(), ["1\t40000"], "{}", ran.stderr);
    decided(&ran, "s5", "switch-joins", false, "do not fit into the memory of a task");
    // 4.0 and 4 are one key, which shows as 4 wherever one side has it.
    let odd = Flow::of(&[
        "read: {csv: {paths: [a.csv], header: true, types: {k: float}}}",
        &format!("filter: {{lua: 'function(k, v) return true end'}}{LARGER}"),
        "read: {range: {from: 4, to: 6}}",
        &format!("filter: {{lua: 'function(n) return true end'}}{LARGER}"),
        "join: {key: [1], kind: left}\nfrom: [s4, s2]",
        "write: {stdout: {}}",
    ]);
    let odd = odd.file("a.csv", "k,v\n4.0,x\n7.0,y\n");
    let ran = odd.run(&["--report", "json"]);
    assert_eq!(ran.sorted_lines(), ["4\tx", "5\t"], "{}", ran.stderr);
    decided(&ran, "s5", "switch-joins", false, "could be shown in another way");
}

#[test]
fn the_plan_says_that_a_join_may_switch_and_what_it_waits_for() {
    let flow = joined("left", "", SUM);
    let text = finish(flow.command("plan", &[]));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for says in [
        "+ s6: may switch to broadcast at run time: `s2` waits until `s5` is measured",
        "-> s6; may switch to broadcast at run time",
    ] {
        assert!(text.contains(says), "{says:?} is not in\n{text}");
    }
    let json = finish(flow.command("plan", &["-o", "json"]));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["switches"][0]["step"], "s6");
    assert_eq!(json["switches"][0]["waits"], "s2");
    assert_eq!(json["switches"][0]["limitBytes"], 32 << 20);
}

#[test]
fn a_hot_key_of_a_join_is_dealt_out_to_tasks() {
    // One key has nine tenths of 200,000 rows of 100 bytes and more.
    let mut small = String::new();
    for key in 0..50 {
        write!(small, "[{key}, \"v{key}\"], ").expect("text");
    }
    let flow = |kind: &str| {
        Flow::of(&[
            "read: {range: {to: 200000}}",
            "map: {lua: 'function(n) local k = 7 if n % 10 == 0 then k = n % 77 end return k, n, string.rep(\"x\", 100) end'}",
            &format!("read: {{inline: {{rows: [{small}]}}}}"),
            &format!("join: {{key: [1], kind: {kind}}}\nfrom: [s2, s3]"),
            "map: {lua: 'function(k, n, x, v) return k, v, 1, n % 1000 end'}",
            "reduceBy: {key: [1, 2], lua: 'function(a, b, c, d) return a + c, b + d end'}",
            "write: {stdout: {}}",
        ])
    };
    for kind in ["inner", "left"] {
        let flow = flow(kind);
        let once = flow.run(&["--partitions", "1"]);
        let split = flow.run(&[
            "--report",
            "json",
            "--threads",
            "4",
            "--without-pass",
            "switch-joins",
            "--without-pass",
            "broadcast-join",
        ]);
        assert_eq!(split.sorted_lines(), once.sorted_lines(), "{}", split.stderr);
        decided(&split, "s4", "share-buckets", true, "the rows of `s2` are dealt out, each task has all others");
    }
}

#[test]
fn a_bucket_of_several_keys_is_split_between_them_and_one_of_a_single_key_is_not() {
    let flow = |keys: u32| {
        let map = format!("map: {{lua: 'function(n) return n % {keys}, string.rep(\"x\", 100) end'}}");
        // Lists, not folds: what is folded before the shuffle has no hot keys.
        let size = "map: {lua: 'function(k, items) return k, #items end'}";
        Flow::of(&["read: {range: {to: 150000}}", &map, "groupBy: {key: [1]}", size, "write: {stdout: {}}"])
    };
    let one = flow(1).run(&["--report", "json", "--threads", "4"]);
    assert_eq!(one.lines(), ["0\t150000"], "{}", one.stderr);
    assert!(decisions(&one, "s3").iter().all(|told| !told.2.contains("split")), "{:?}", decisions(&one, "s3"));
    decided(&one, "s3", "share-buckets", true, "15600000 bytes in 32 buckets");
}

#[test]
fn a_stage_that_waits_for_nothing_runs_beside_one_that_leaves_a_worker_idle() {
    let flow = Flow::of(&["read: {inline: {lines: [a]}}"]);
    let gate = flow.path("open");
    let gate = gate.display();
    // The first stage goes on when the second one has opened the gate; it gives up after half a minute.
    let waits =
        format!("pipe: {{command: 'n=0; until [ -e {gate} ]; do n=$((n+1)); [ $n -gt 3000 ] && exit 1; sleep 0.01; done; cat'}}");
    let opens = format!("pipe: {{command: 'touch {gate}; cat'}}");
    let both = Flow::of(&[
        "read: {inline: {lines: [a]}}",
        &waits,
        "count: {key: [1]}",
        "read: {inline: {lines: [b]}}",
        &opens,
        "count: {key: [1]}",
        "union: {}\nfrom: [s3, s6]",
        "write: {stdout: {}}",
    ]);
    let ran = both.run(&["--threads", "2", "--report", "json"]);
    assert_eq!(ran.sorted_lines(), ["a\t1", "b\t1"], "{}", ran.stderr);
    let report = ran.report();
    let stages: Vec<&str> =
        report["stages"].as_array().expect("stages").iter().filter_map(|stage| stage["id"].as_str()).collect();
    assert_eq!(stages, ["m1", "m2"], "two stages, in the plan's order");
    both.is_clean();
}

/// Some keys that share one of so many buckets.
fn of_one_bucket(count: usize, buckets: usize) -> String {
    let bucket = |key: &i64| {
        let mut encoded = Vec::new();
        engine::key::encode(engine::Val::Int(*key), &mut encoded);
        engine::op::limit::partition(engine::key::hash(&encoded), buckets)
    };
    (0..).filter(|key| bucket(key) == 3).take(count).map(|key| key.to_string()).collect::<Vec<_>>().join(",")
}

#[test]
fn a_bucket_of_several_hot_keys_is_split_between_them() {
    // With four threads a free shuffle has 32 buckets.
    let keys = of_one_bucket(6, 32);
    let map = format!("map: {{lua: 'function(n) local k = {{{keys}}} return k[n % 6 + 1], string.rep(\"x\", 100), n end'}}");
    let size = "map: {lua: 'function(k, items) return k, #items end'}";
    let flow = Flow::of(&["read: {range: {to: 150000}}", &map, "groupBy: {key: [1]}", size, "write: {stdout: {}}"]);
    let once = flow.run(&["--partitions", "1"]);
    let split = flow.run(&["--report", "json", "--threads", "4"]);
    assert_eq!(split.sorted_lines(), once.sorted_lines(), "{}", split.stderr);
    assert_eq!(split.lines().len(), 6);
    decided(&split, "s3", "share-buckets", true, "each has some of its keys");
    // Tagged rows have their key elsewhere: a full join deals out no side.
    let flow = Flow::of(&[
        "read: {range: {to: 150000}}",
        &map,
        &format!("read: {{inline: {{rows: [[{}]]}}}}", keys.replace(',', "], [")),
        "join: {key: [1], kind: full}\nfrom: [s2, s3]",
        "map: {lua: 'function(k, x, n) return k, n % 7, 1 end'}",
        "reduceBy: {key: [1, 2], lua: 'function(a, b) return a + b end'}",
        "write: {stdout: {}}",
    ]);
    let once = flow.run(&["--partitions", "1"]);
    let split = flow.run(&["--report", "json", "--threads", "4"]);
    assert_eq!(split.sorted_lines(), once.sorted_lines(), "{}", split.stderr);
    assert_eq!(split.lines().len(), 42);
    decided(&split, "s4", "share-buckets", true, "each has some of its keys");
}
