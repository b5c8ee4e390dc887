//! `run --cache DIR`: results that outlive a run are reused when all that they are made of is the same, and never else.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::flow::{Flow, Ran, finish, names};

const MAP: &str = "map: {lua: 'function(line) return line:lower(), 1 end'}\npersist: true";
const SUM: &str = "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}\npersist: true";
const SHOW: &str = "write: {stdout: {format: \"%s %d\"}}";

fn counting() -> Flow {
    flow_of(MAP, SUM).file("in/a.txt", "A\nb\na\n").file("in/b.txt", "b\nc\n")
}

fn flow_of(map: &str, sum: &str) -> Flow {
    Flow::of(&["read: {text: {paths: [\"in/*.txt\"]}}", map, sum, SHOW])
}

fn run(flow: &Flow, arguments: &[&str]) -> Ran {
    let cache = flow.path("cache");
    finish(flow.command("run", &[&["--cache", cache.to_str().expect("text"), "--report", "json"], arguments].concat()))
}

/// Runs, and checks the lines, which steps came from the cache, and which went in.
#[track_caller]
fn check(flow: &Flow, arguments: &[&str], lines: &[&str], cached: &[&str], kept: &[&str]) -> Ran {
    let ran = run(flow, arguments);
    ran.expect(0, &[]);
    assert_eq!(ran.sorted_lines(), lines);
    let report = ran.report();
    let steps = report["steps"].as_array().expect("steps").iter().filter(|step| step["cached"] == true);
    let found: Vec<&str> = steps.filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(found, cached, "cached; stderr:\n{}", ran.stderr);
    let mut found: Vec<&str> = report["kept"].as_array().expect("kept").iter().filter_map(|name| name.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, kept, "kept; stderr:\n{}", ran.stderr);
    flow.is_clean();
    ran
}

/// What `plan` says of the cache.
fn plan(flow: &Flow) -> String {
    let cache = flow.path("cache");
    let ran = finish(flow.command("plan", &["--cache", cache.to_str().expect("text")]));
    ran.expect(0, &[]);
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[track_caller]
fn plans(flow: &Flow, says: &[&str]) {
    let plan = plan(flow);
    for text in says {
        assert!(plan.contains(text), "the plan should say {text:?}:\n{plan}");
    }
}

/// Replaces the flow file.
fn rewrite(flow: &Flow, with: &Flow) {
    fs::copy(with.path("flow.yaml"), flow.path("flow.yaml")).expect("a flow file");
}

const LINES: [&str; 3] = ["a 2", "b 2", "c 1"];

#[test]
fn a_second_run_reuses_what_the_first_one_kept() {
    let flow = counting();
    plans(&flow, &["- s2, s3: made, and kept for later runs: the cache has no result of it yet"]);
    assert!(!flow.path("cache").exists(), "a plan writes nothing");
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
    plans(
        &flow,
        &[
            "+ s3: `s3` is read from the cache: 3 rows",
            "+ s1, s2: not run: what it makes is needed only for what is in the cache",
        ],
    );
    let json = finish(flow.command("plan", &["-o", "json", "--cache", flow.path("cache").to_str().expect("text")]));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["mscrs"][0]["inputs"][0]["reads"][0], "s3");
    assert!(json["decisions"].as_array().expect("decisions").iter().any(|told| told["pass"] == "reuse" && told["did"] == true));
    for arguments in [&[][..], &["--partitions", "7"], &["--threads", "1"], &["--memory", "1Mi"]] {
        check(&flow, arguments, &LINES, &["s3"], &[]);
    }
    let table = finish(flow.command("run", &["--cache", flow.path("cache").to_str().expect("text")]));
    table.expect(0, &["s3 (cached)"]);
    assert_eq!(flow.run(&[]).sorted_lines(), LINES, "without a cache all is made anew");
}

#[test]
fn a_changed_input_is_noticed_though_its_size_and_times_are_the_same() {
    let flow = counting();
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
    let file = fs::OpenOptions::new().write(true).open(flow.path("in/a.txt")).expect("opens");
    let modified = file.metadata().expect("metadata").modified().expect("a time");
    file.write_all_at(b"c", 0).expect("written");
    file.set_modified(modified).expect("set");
    plans(&flow, &["- s2, s3: made, and kept for later runs: input in/a.txt changed"]);
    check(&flow, &[], &["a 1", "b 2", "c 2"], &[], &["s2", "s3"]);
    let flow = flow.file("in/c.txt", "d\n");
    plans(&flow, &["input in/c.txt is new"]);
    check(&flow, &[], &["a 1", "b 2", "c 2", "d 1"], &[], &["s2", "s3"]);
    fs::remove_file(flow.path("in/c.txt")).expect("removed");
    // The files are those of the run before the last: so is the result.
    check(&flow, &[], &["a 1", "b 2", "c 2"], &["s3"], &[]);
    fs::write(flow.path("in/a.txt"), "A\nb\na\n").expect("written");
    check(&flow, &[], &LINES, &["s3"], &[]);
}

#[test]
fn a_changed_function_prelude_parameter_or_side_input_is_noticed() {
    let flow = counting();
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
    rewrite(&flow, &flow_of(&MAP.replace("1 end", "2 end"), SUM));
    plans(&flow, &["- s2, s3: made, and kept for later runs: the function of `s2` changed"]);
    check(&flow, &[], &["a 4", "b 4", "c 2"], &[], &["s2", "s3"]);
    rewrite(&flow, &flow_of(MAP, &SUM.replace("x + y", "x * y")));
    // The first step is as it was: the second one reads its result.
    check(&flow, &[], &["a 1", "b 1", "c 1"], &["s2"], &["s3"]);

    let steps = |limit: &str| {
        let map = "map: {lua: 'function(x) return x + add() + $(params.more) + #list end'}\n\
                   sideInputs: [{name: list, from: s1, as: list}]\nfrom: [s2]\npersist: true";
        let read = format!("read: {{range: {{to: {limit}}}}}");
        let spec = "params: [{name: more, value: \"10\"}]\nlua: 'function add() return 100 end'";
        Flow::with_spec(spec, &[&read, "read: {range: {to: 1}}", map, "write: {stdout: {}}"])
    };
    let flow = steps("3");
    check(&flow, &[], &["113"], &[], &["s3"]);
    check(&flow, &[], &["113"], &["s3"], &[]);
    check(&flow, &["--param", "more=20"], &["123"], &[], &["s3"]);
    check(&flow, &["--param", "more=10"], &["113"], &["s3"], &[]);
    rewrite(&flow, &steps("4"));
    check(&flow, &[], &["114"], &[], &["s3"]);
    let text = fs::read_to_string(flow.path("flow.yaml")).expect("text").replace("return 100", "return 200");
    fs::write(flow.path("flow.yaml"), text).expect("written");
    plans(&flow, &["the flow's `lua` changed"]);
    check(&flow, &[], &["214"], &[], &["s3"]);
}

#[test]
fn a_failed_run_resumes_from_what_it_had() {
    let bad = "map: {lua: 'function(word, count) error(\"not today\") end'}";
    let steps = |last: &str| Flow::of(&["read: {text: {paths: [\"in/*.txt\"]}}", MAP, SUM, last, SHOW]);
    let flow = steps(bad).file("in/a.txt", "A\nb\na\n");
    run(&flow, &[]).expect(1, &["not today"]);
    rewrite(&flow, &steps("map: {lua: 'function(word, count) return word, count + 1 end'}"));
    check(&flow, &[], &["a 3", "b 2"], &["s3"], &[]);
}

#[test]
fn what_is_not_deterministic_is_made_anew_unless_the_step_vouches_for_it() {
    let pipe = |more: &str| {
        let pipe = format!("pipe: {{command: 'cat; echo x >> runs'}}\npersist: true{more}");
        Flow::of(&["read: {range: {to: 2}}", "merge: {}", &pipe, "write: {stdout: {}}"])
    };
    let runs = |flow: &Flow| {
        let mut command = flow.command("run", &["--cache", "cache"]);
        command.current_dir(flow.path(""));
        finish(command).expect(0, &[]);
        fs::read_to_string(flow.path("runs")).expect("ran").lines().count()
    };
    let flow = pipe("");
    assert_eq!((runs(&flow), runs(&flow)), (1, 2));
    plans(&flow, &["- s3: neither kept nor reused: `s3` is not deterministic: it is a pipe"]);
    let flow = pipe("\ndeterministic: true");
    assert_eq!((runs(&flow), runs(&flow)), (1, 1));

    let clock = Flow::of(&["read: {range: {to: 2}}", "map: {lua: 'function(x) return os.clock() end'}\npersist: true", SHOW]);
    plans(&clock, &["neither kept nor reused: `s2` may not be deterministic: its function, or the flow's `lua`, uses `os`"]);
    let said = Flow::of(&[
        "read: {range: {to: 2}}",
        "map: {lua: 'function(x) return x end'}\npersist: true\ndeterministic: false",
        SHOW,
    ]);
    plans(&said, &["`s2` is not deterministic: the step says so"]);
    let random = Flow::of(&[
        "read: {range: {to: 9}}",
        "map: {lua: 'function(x) return math.random() end'}\npersist: true",
        "write: {stdout: {}}",
    ]);
    let first = run(&random, &["--partitions", "2"]).sorted_lines();
    assert_eq!(run(&random, &["--partitions", "3"]).sorted_lines(), first, "a sample that was kept stays the same");
    assert_ne!(run(&random, &["--seed", "1"]).sorted_lines(), first);
}

#[test]
fn damaged_entries_are_made_anew_with_a_warning() {
    let flow = counting();
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
    let entries = flow.path("cache/v1");
    let damage = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        for name in names(&entries).into_iter().filter(|name| name.len() == 64) {
            let bytes = fs::read(entries.join(&name)).expect("an entry");
            fs::write(entries.join(&name), change(bytes)).expect("written");
        }
    };
    for change in [
        &(|mut bytes: Vec<u8>| {
            bytes[10] ^= 0x40;
            bytes
        }) as &dyn Fn(Vec<u8>) -> Vec<u8>,
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
        &|_| Vec::new(),
        &|bytes| [bytes, b"more".to_vec()].concat(),
    ] {
        damage(change);
        check(&flow, &[], &LINES, &[], &["s2", "s3"]).expect(0, &["in the cache is not used: an entry of the cache is damaged"]);
        check(&flow, &[], &LINES, &["s3"], &[]);
    }
    names(&entries).iter().for_each(|name| fs::write(entries.join(name), b"{nonsense").expect("written"));
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
    fs::remove_dir_all(flow.path("cache")).expect("removed");
    check(&flow, &[], &LINES, &[], &["s2", "s3"]);
}

#[test]
fn a_result_keeps_its_order_and_its_partitions() {
    let steps = |last: &str| {
        Flow::of(&[
            "read: {range: {to: 1000}}",
            "map: {lua: 'function(x) return (x * 7919) % 1000 end'}",
            "sort: {by: [{field: 1, order: desc}]}\npartitions: 3\npersist: true",
            last,
            "write: {stdout: {}}",
        ])
    };
    let flow = steps("map: {lua: 'function(x) return x end'}");
    let first = run(&flow, &[]);
    let expected: Vec<String> = (0..1000).rev().map(|number: u32| number.to_string()).collect();
    assert_eq!(first.lines(), expected);
    let second = run(&flow, &[]);
    assert_eq!((second.lines(), second.report()["steps"][0]["cached"].clone()), (expected, true.into()));
    rewrite(&flow, &steps("pipe: {command: 'wc -l'}"));
    let ran = run(&flow, &[]);
    assert_eq!(ran.lines().len(), 3, "one pipe per partition of the result: {:?}", ran.lines());
}

#[test]
fn groups_outputs_sources_and_unions_are_kept_and_reused() {
    let flow = Flow::of(&[
        "read: {range: {to: 6}}\npersist: true",
        "parallelDo: {outputs: [even, odd], lua: 'function(x) if x % 2 == 0 then emit.even(x) else emit.odd(x) end end'}\npersist: true",
        "union: {}\nfrom: [s2.even, s2.odd, s2.odd]\npersist: true",
        "map: {lua: 'function(x) return x % 3, x end'}",
        "groupBy: {key: [1]}\npersist: true",
        "combine: {lua: 'function(x, y) return x + y end'}",
        "write: {stdout: {format: \"%d %d\"}}",
        "operate: {lua: 'function() local n = 0; for _ in pairs(all) do n = n + 1 end; emit(\"count\", n) end'}\n\
         sideInputs: [{name: all, from: s3, as: list}]\npersist: true",
        "write: {stdout: {format: \"%s %d\"}}",
    ]);
    let lines = ["0 6", "1 6", "2 12", "count 9"];
    let kept = ["s1", "s2.even", "s2.odd", "s5", "s8"];
    let found = run(&flow, &[]);
    found.expect(0, &[]);
    assert_eq!(found.sorted_lines(), lines);
    let mut names: Vec<String> =
        found.report()["kept"].as_array().expect("kept").iter().map(|name| name.as_str().expect("text").to_owned()).collect();
    names.sort();
    assert_eq!(names, kept);
    check(&flow, &[], &lines, &["s5", "s8"], &[]);
}

#[test]
fn dead_letters_are_there_whatever_is_reused() {
    let flow = Flow::of(&[
        "read: {range: {to: 4}}",
        "map: {lua: 'function(x) if x == 2 then error(\"two\") end return x end'}\npersist: true\nonError: {policy: DeadLetter, to: s4}",
        "write: {stdout: {}}",
        "write: {text: {path: bad, mode: replace}}",
    ]);
    for _ in 0..2 {
        let ran = run(&flow, &[]);
        ran.expect(0, &[]);
        assert_eq!(ran.sorted_lines(), ["0", "1", "3"]);
        assert_eq!(flow.output("bad"), "2\n");
    }
}

#[test]
fn a_cache_that_takes_nothing_is_told_before_anything_runs() {
    let flow = counting().file("cache", "a file");
    run(&flow, &[]).expect(1, &["failed to make the cache at"]);
}

#[test]
fn runs_that_share_a_cache_do_not_disturb_each_other() {
    let flow = counting();
    let cache = flow.path("cache");
    let start = || {
        let mut command = flow.command("run", &["--cache", cache.to_str().expect("text"), "--threads", "1"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("starts")
    };
    let runs: Vec<_> = (0..4).map(|_| start()).collect();
    for child in runs {
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, LINES);
    }
    assert!(names(&flow.path("cache/v1")).iter().all(|name| !name.starts_with("tmp-")));
}

#[test]
fn a_full_disk_costs_the_entry_and_not_the_result() {
    let flow = Flow::of(&[
        "read: {range: {to: 200000}}",
        "map: {lua: 'function(x) return (x * 7919) % 200003, \"row \" .. x end'}\npersist: true",
        "map: {lua: 'function(x) return 1 end'}",
        "reduce: {lua: 'function(x, y) return x + y end'}",
        "write: {stdout: {}}",
    ]);
    let cache = flow.path("cache");
    let mut limited = std::process::Command::new("sh");
    // No file grows beyond some kilobytes; without the trap, the signal would kill.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
    let plain = flow.command("run", &["--cache", cache.to_str().expect("text")]);
    limited.arg(plain.get_program()).args(plain.get_args()).env("TMPDIR", flow.scratch());
    let ran = finish(limited);
    ran.expect(0, &["\"s2\" is not kept in the cache: failed to write an entry of the cache"]);
    assert_eq!(ran.lines(), ["200000"]);
    let left = names(&cache.join("v1"));
    assert!(left.iter().all(|name| name == "inputs"), "{left:?}");
    let again = run(&flow, &[]);
    assert_eq!((again.lines(), again.report()["kept"].clone()), (vec!["200000".to_owned()], serde_json::json!(["s2"])));
}
