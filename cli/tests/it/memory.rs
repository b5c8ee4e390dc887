//! Any data size finishes within `--memory`, one key holding most of the rows among them; what cannot fit fails by name.

use crate::flow::{Flow, PARTITIONS, finish};

/// Rows of about 120 bytes: (key, number, padding). Nine of ten keys are 0 where `hot`.
fn rows(hot: bool) -> String {
    let key = if hot { "x % 10 == 0 and x or 0" } else { "(x * 7919) % 500009" };
    format!("map: {{lua: 'function(x) return {key}, x, (\"p\"):rep(100) end'}}")
}

const MANY: &str = "read: {range: {to: 600000}}";

/// Runs with a budget that the data exceeds and checks the lines.
#[track_caller]
fn prints_within(flow: &Flow, memory: &str, expected: &[String]) {
    for partitions in PARTITIONS {
        let ran = flow.run(&["--memory", memory, "--partitions", partitions]);
        assert_eq!(ran.expect(0, &[]).sorted_lines(), expected, "{partitions} partitions");
    }
    flow.is_clean();
}

const SUM: &str = "reduce: {lua: 'function(a, b, c, d) return a + c, b + d end'}";

#[test]
fn a_sort_of_more_than_the_budget_is_in_order() {
    for hot in [false, true] {
        let flow = Flow::of(&[
            MANY,
            &rows(hot),
            "sort: {by: [{field: 1, order: desc}, {field: 2}]}",
            "select: {columns: [1, 2]}",
            "write: {stdout: {}}",
        ]);
        let ran = flow.run(&["--memory", "16Mi"]);
        let lines = ran.expect(0, &[]).lines();
        assert_eq!(lines.len(), 600_000);
        let pairs: Vec<(i64, i64)> = lines
            .iter()
            .map(|line| {
                let (key, number) = line.split_once('\t').expect("two fields");
                (-key.parse::<i64>().expect("a number"), number.parse().expect("a number"))
            })
            .collect();
        assert!(pairs.is_sorted(), "hot: {hot}");
        flow.is_clean();
    }
}

#[test]
fn distinct_count_and_reduce_by_of_more_than_the_budget() {
    let flow = |step: &str| {
        Flow::of(&[MANY, &rows(false), step, "map: {lua: 'function(key, n) return 1, n end'}", SUM, "write: {stdout: {}}"])
    };
    // 7919 and 500009 are coprime, so the first 500009 numbers have keys of their own.
    prints_within(&flow("count: {key: [1]}"), "16Mi", &["500009\t600000".to_owned()]);
    let least: u64 = (0..500_009).sum();
    prints_within(&flow("distinct: {key: [1]}"), "16Mi", &[format!("500009\t{least}")]);
    let all: u64 = (0..600_000).sum();
    prints_within(
        &flow("reduceBy: {key: [1], lua: 'function(n, p, m, q) return n + m, p end'}"),
        "16Mi",
        &[format!("500009\t{all}")],
    );
}

#[test]
fn a_hot_key_is_counted_and_reduced() {
    let flow = |step: &str| {
        Flow::of(&[MANY, &rows(true), step, "map: {lua: 'function(key, n) return 1, n end'}", SUM, "write: {stdout: {}}"])
    };
    prints_within(&flow("count: {key: [1]}"), "64Mi", &["60000\t600000".to_owned()]);
    let all: u64 = (0..600_000).sum();
    prints_within(
        &flow("reduceBy: {key: [1], lua: 'function(n, p, m, q) return n + m, p end'}"),
        "16Mi",
        &[format!("60000\t{all}")],
    );
}

#[test]
fn a_hot_key_is_joined() {
    let flow = Flow::of(&[
        MANY,
        &rows(true),
        "read: {range: {to: 200000}}",
        "map: {lua: 'function(x) return x, \"r\" end'}",
        "join: {key: [1], broadcast: never}\nfrom: [s2, s4]",
        "map: {lua: 'function(key, n) return 1, n end'}",
        SUM,
        "write: {stdout: {}}",
    ]);
    let matching = (0..600_000_u64).filter(|x| if x % 10 == 0 { *x < 200_000 } else { true });
    let (count, sum) = matching.fold((0, 0), |(count, sum), x| (count + 1, sum + x));
    prints_within(&flow, "64Mi", &[format!("{count}\t{sum}")]);
}

#[test]
fn a_hot_key_moves_through_every_shuffle() {
    for step in [
        "partition: {key: [1]}",
        "merge: {}",
        "roundRobin: {}",
        "distinct: {}",
        "merge: {by: [{field: 1}]}",
        "sort: {by: [{field: 1}]}\npartitions: 7",
        "top: {n: 600000, by: [{field: 1, order: desc}]}",
        "limit: {n: 600000}",
    ] {
        let flow =
            Flow::of(&[MANY, &rows(true), step, "map: {lua: 'function(key, n) return 1, n end'}", SUM, "write: {stdout: {}}"]);
        let all: u64 = (0..600_000).sum();
        let ran = flow.run(&["--memory", "16Mi", "--partitions", "7"]);
        assert_eq!(ran.expect(0, &[]).lines(), [format!("600000\t{all}")], "{step}");
        flow.is_clean();
    }
}

#[test]
fn a_groups_list_that_cannot_fit_fails_by_name() {
    let flow = Flow::of(&[
        "read: {range: {to: 1500000}}",
        &rows(true),
        "groupBy: {key: [1]}",
        "map: {lua: 'function(key, items) return key, #items end'}",
        "write: {json: {path: out}}",
    ]);
    flow.run(&["--memory", "64Mi"]).expect(1, &["\"s3\"", "key", "0"]);
    assert_eq!(flow.entries(), ["flow.yaml"]);
    flow.is_clean();
    for step in ["groupBy: {key: [1], orderBy: [{field: 2}]}", "coGroup: {key: [1]}\nfrom: [s2, s2]"] {
        let flow = Flow::of(&[MANY, &rows(true), step, "write: {json: {path: out}}"]);
        flow.run(&["--memory", "16Mi"]).expect(1, &["step \"s3\" failed", "the list of key (0) does not fit into memory"]);
        assert_eq!(flow.entries(), ["flow.yaml"]);
        flow.is_clean();
    }
}

#[test]
fn groups_that_fit_are_grouped_however_many_there_are() {
    let flow = Flow::of(&[
        MANY,
        &rows(false),
        "groupBy: {key: [1]}",
        "map: {lua: 'function(key, items) return 1, #items end'}",
        SUM,
        "write: {stdout: {}}",
    ]);
    prints_within(&flow, "16Mi", &["500009\t600000".to_owned()]);
}

#[test]
fn a_side_input_that_cannot_fit_fails_by_name() {
    let flow = Flow::of(&[
        "read: {range: {to: 1500000}}",
        &rows(false),
        "read: {range: {to: 3}}",
        "map: {lua: 'function(x) return #side end'}\nsideInputs: [{name: side, from: s2, as: list}]",
        "write: {stdout: {}}",
    ]);
    flow.run(&["--memory", "32Mi"])
        .expect(1, &["\"s4\"", "the side input \"side\" does not fit into memory", "1500000 rows", "--memory"]);
    flow.is_clean();
}

#[test]
fn a_full_disk_fails_with_the_step_whose_rows_it_does_not_take() {
    let check = |step: &str, says: &str| {
        let flow = Flow::of(&["read: {range: {to: 60000}}", &rows(false), step, "write: {text: {path: out}}"]);
        let plain = flow.command("run", &["--memory", "2Mi", "--partitions", "2"]);
        let mut limited = std::process::Command::new("sh");
        // No file grows beyond some kilobytes; without the trap, the signal would kill.
        limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
        limited.arg(plain.get_program()).args(plain.get_args()).env("TMPDIR", flow.scratch());
        finish(limited).expect(1, &[says, "File too large"]);
        assert_eq!(flow.entries(), ["flow.yaml"]);
        flow.is_clean();
    };
    for step in ["sort: {by: [{field: 1}]}", "groupBy: {key: [1]}", "distinct: {}", "partition: {key: [1]}"] {
        check(step, "step \"s3\" failed to write rows that do not fit into memory, in ");
    }
    // What is staged for a sink; and what is stored for a second reader.
    check("filter: {lua: 'function(x) return true end'}", "step \"s4\" failed");
    check("map: {lua: 'function(x, n, p) return x, p end'}\npersist: true", "step \"s");
}

#[test]
fn more_tasks_spill_than_files_may_usually_be_open() {
    let flow = Flow::of(&[
        "read: {range: {to: 60000}}",
        &rows(false),
        "sort: {by: [{field: 1}]}",
        "map: {lua: 'function() return 1 end'}",
        "reduce: {lua: 'function(x, y) return x + y end'}",
        "write: {stdout: {}}",
    ]);
    let plain = flow.command("run", &["--memory", "1Mi", "--partitions", "100"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -Sn 64; exec \"$@\"", "sh"]);
    limited.arg(plain.get_program()).args(plain.get_args()).env("TMPDIR", flow.scratch());
    let ran = finish(limited);
    assert_eq!(ran.expect(0, &[]).lines(), ["60000"]);
    flow.is_clean();
}

#[test]
fn a_side_that_is_broadcast_and_does_not_fit_is_joined_all_the_same() {
    let side: String = (0..40_000).map(|i| format!("{},{}\n", i % 20_000, "q".repeat(60))).collect();
    for (kind, broadcast, expected) in [("inner", "auto", "40000"), ("left", "always", "50000"), ("inner", "never", "40000")] {
        let flow = Flow::of(&[
            "read: {csv: {paths: [side.csv], types: {'1': integer}}}",
            "read: {range: {to: 30000}}",
            &format!("join: {{key: [1], kind: {kind}, broadcast: {broadcast}}}\nfrom: [s2, s1]"),
            "map: {lua: 'function() return 1 end'}",
            "reduce: {lua: 'function(x, y) return x + y end'}",
            "write: {stdout: {}}",
        ])
        .file("side.csv", &side);
        prints_within(&flow, "2Mi", &[expected.to_owned()]);
    }
}

/// The most memory that a run was seen to hold, in KiB.
#[cfg(target_os = "linux")]
fn peak(flow: &Flow, arguments: &[&str]) -> u64 {
    let mut run = flow.command("run", arguments).stdout(std::process::Stdio::null()).spawn().expect("the binary starts");
    let status = format!("/proc/{}/status", run.id());
    let mut peak = 0;
    while run.try_wait().expect("it is ours").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let seen = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        peak = peak.max(seen.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(run.wait().expect("it has ended").success());
    flow.is_clean();
    peak
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_grows_with_the_number_of_rows() {
    const ROWS: &str = "read: {range: {to: 1000000}}";
    const KEYED: &str = "map: {lua: 'function(x) return (x * 7919) % 3000017, x end'}";
    let held = |steps: &[&str]| {
        let count =
            ["map: {lua: 'function() return 1 end'}", "reduce: {lua: 'function(x, y) return x + y end'}", "write: {stdout: {}}"];
        peak(&Flow::of(&[&[ROWS, KEYED], steps, &count].concat()), &["--memory", "4Mi", "--threads", "2"])
    };
    let least = held(&[]);
    // Ten small tables beside each other share what one has alone.
    let beside: Vec<String> = (1..=10).map(|at| format!("count: {{key: [{}]}}\nfrom: [s2]", at % 2 + 1)).collect();
    let mut beside: Vec<&str> = beside.iter().map(String::as_str).collect();
    beside.push("union: {}\nfrom: [s3, s4, s5, s6, s7, s8, s9, s10, s11, s12]");
    for steps in [
        &["sort: {by: [{field: 1}]}"][..],
        &["reduceBy: {key: [1], lua: 'function(n, m) return n + m end'}"],
        &["groupBy: {key: [1]}"],
        &[ROWS, "join: {key: [1], broadcast: never}\nfrom: [s2, s3]"],
        &beside,
    ] {
        let most = held(steps);
        // Sixteen bytes per row would be as much.
        assert!(most < least + (16 << 10), "{steps:?} held {most} KiB, and a flow without them {least} KiB");
    }
}
