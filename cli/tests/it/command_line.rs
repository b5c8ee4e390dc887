//! `semantics.md`, "Command line": exit codes, parameters, reports, the other commands.

use std::fs::{File, OpenOptions};
use std::process::{Command, Stdio};

use crate::flow::{Flow, binary, finish};

const READ: &str = "read: {range: {to: 3}}";
const SHOW: &str = "write: {stdout: {}}";

#[test]
fn standard_output_has_the_rows_and_nothing_else() {
    let ran = Flow::of(&[READ, SHOW]).run(&[]);
    ran.expect(0, &["s1", "s2"]);
    assert_eq!(ran.stdout, b"0\n1\n2\n");
    assert!(!ran.stderr.contains('\u{1b}'), "no colours and bars where standard error is no terminal: {:?}", ran.stderr);
}

#[test]
fn an_unwritable_standard_output_is_a_failure() {
    let flow = Flow::of(&["read: {range: {to: 200000}}", SHOW]);
    let mut command = flow.command("run", &[]);
    command.stdin(Stdio::null()).stdout(OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"));
    let output = command.stderr(Stdio::piped()).spawn().expect("starts").wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    flow.is_clean();
}

#[test]
fn a_closed_standard_output_is_a_failure_where_something_is_to_be_written() {
    let closed = |flow: &Flow, which: &str, arguments: &[&str]| {
        let run = flow.command("run", arguments);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {which}")]).arg(run.get_program()).args(run.get_args());
        let output = command.stdin(Stdio::null()).output().expect("runs");
        flow.is_clean();
        output.status.code()
    };
    for which in [">&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full"] {
        assert_eq!(closed(&Flow::of(&[READ, SHOW]), which, &[]), Some(1), "{which}");
        let to_file = Flow::of(&[READ, "write: {text: {path: out}}"]);
        assert_eq!(closed(&to_file, which, &[]), Some(0), "{which}");
        assert_eq!(to_file.output("out"), "0\n1\n2\n", "{which}");
        assert_eq!(closed(&Flow::of(&[READ, SHOW]), which, &["--help"]), Some(1), "{which}");
    }
}

#[test]
fn a_reader_that_goes_away_is_a_failure_and_no_panic() {
    let flow = Flow::of(&["read: {range: {to: 2000000}}", SHOW]);
    let mut command = flow.command("run", &[]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    flow.is_clean();
}

#[test]
fn wrong_requests_end_with_2() {
    let flow = Flow::of(&[READ, SHOW]);
    for arguments in [
        &["--partitions", "0"][..],
        &["--partitions", "-1"],
        &["--partitions", "many"],
        &["--threads", "0"],
        &["--memory", "0"],
        &["--memory", "lots"],
        &["--memory", "5Zi"],
        &["--report", "xml"],
        &["--no-such-flag"],
        &["--param", "x=1"],
        &["--param", "noequals"],
    ] {
        let ran = flow.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{arguments:?} runs nothing");
        assert!(!ran.stderr.trim().is_empty(), "{arguments:?} is explained");
    }
    for arguments in [
        &["run"][..],
        &["run", "/no/such/flow.yaml"],
        &["validate", "/no/such/flow.yaml"],
        &["plan", "/no/such/flow.yaml"],
        &["dance"],
        &["run", "/"],
        &[],
    ] {
        let mut command = binary();
        command.args(arguments);
        let ran = finish(command);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_file_that_is_no_flow_ends_with_2() {
    for (text, says) in [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("just some text\n", "flow.yaml"),
        ("steps: [\n", "flow.yaml"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "ConfigMap"),
        ("apiVersion: gleamflow.io/v7\nkind: GleamFlow\nmetadata: {name: x}\nspec: {steps: []}\n", "v7"),
        ("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: x}\nspec: {steps: []}\n", "steps"),
        ("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: x}\n", "spec"),
    ] {
        Flow::text(text).is_refused(&[says]);
    }
    let binary_file = Flow::text("x").file("flow.yaml", [0xff_u8, 0xfe, 0x00, 0x01]);
    binary_file.is_refused(&["flow.yaml"]);
}

#[test]
fn parameters_replace_text_in_every_string() {
    let spec = "params:\n  - {name: num, value: \"2\"}\n  - {name: word, value: plain}\n  - {name: dir}";
    let steps = [
        "read: {text: {paths: [\"$(params.dir)/a.txt\"]}}",
        "map: {lua: 'function(line) return line, $(params.num) * 2, \"$(params.word)\" end'}",
        "write: {stdout: {format: \"$(params.word):%s %d %s\"}}",
    ];
    let flow = Flow::with_spec(spec, &steps).file("in/a.txt", "x\n");
    let folder = flow.path("in").display().to_string();
    let ran = flow.run(&["--param", &format!("dir={folder}")]);
    assert_eq!(ran.expect(0, &[]).lines(), ["plain:x 4 plain"]);
    let ran = flow.run(&["--param", &format!("dir={folder}"), "--param", "num=21", "--param", "word=a=b"]);
    assert_eq!(ran.expect(0, &[]).lines(), ["a=b:x 42 a=b"]);
    flow.run(&[]).expect(2, &["dir"]);
    Flow::of(&["read: {text: {paths: [\"$(params.nowhere)\"]}}", SHOW]).is_refused(&["nowhere"]);
}

#[test]
fn relative_paths_are_relative_to_the_file_or_to_where_a_parameter_was_given() {
    let spec = "params:\n  - {name: dir, value: in}";
    let flow = Flow::with_spec(spec, &["read: {text: {paths: [\"$(params.dir)/a.txt\"]}}", SHOW])
        .file("in/a.txt", "beside the file\n")
        .file("elsewhere/in/a.txt", "in the working directory\n");
    let mut command = flow.command("run", &[]);
    command.current_dir(flow.path("elsewhere"));
    assert_eq!(finish(command).expect(0, &[]).lines(), ["beside the file"]);
    let mut command = flow.command("run", &["--param", "dir=in"]);
    command.current_dir(flow.path("elsewhere"));
    assert_eq!(finish(command).expect(0, &[]).lines(), ["in the working directory"]);
}

#[test]
fn a_report_is_one_json_object_and_the_last_thing_on_stderr() {
    let flow = Flow::of(&[
        "read: {range: {to: 10}}",
        "map: {lua: 'function(x) return x % 2, 1 end'}",
        "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}",
        SHOW,
    ]);
    let report = flow.run(&["--report", "json"]).report();
    assert_eq!(report["exitCode"], 0, "{report}");
    let rows = |step: &str| {
        let steps = report["steps"].as_array().expect("steps").clone();
        let found = steps.into_iter().find(|found| found["step"] == step).unwrap_or_else(|| panic!("{step} in {report}"));
        (found["rowsIn"].as_u64(), found["rowsOut"].as_u64())
    };
    assert_eq!(rows("s1").1, Some(10));
    assert_eq!(rows("s2"), (Some(10), Some(10)));
    assert_eq!(rows("s3"), (Some(10), Some(2)));
    assert_eq!(rows("s4").0, Some(2));
    for step in report["steps"].as_array().expect("steps") {
        let seconds = step["seconds"].as_f64().expect("a number");
        assert!(seconds > 0.0, "{step}");
    }
    let failed = Flow::of(&[READ, "map: {lua: 'function(x) error(\"no\") end'}", SHOW]).run(&["--report", "json"]);
    assert_eq!(failed.code, 1);
    let report = failed.report();
    assert_eq!((report["exitCode"].as_i64(), report["error"]["step"].as_str()), (Some(1), Some("s2")), "{report}");
}

#[test]
fn a_report_of_a_failed_run_tells_how_far_its_steps_came() {
    let flow = Flow::of(&[
        "read: {range: {to: 100}}",
        "map: {lua: 'function(x) if x > 97 then error(\"no\") end return x end'}",
        "write: {text: {path: out}}",
    ]);
    let report = flow.run(&["--report", "json", "--partitions", "1"]).expect(1, &[]).report();
    let steps = report["steps"].as_array().expect("steps");
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().expect("a name")).collect();
    assert_eq!(names, ["s1", "s2", "s3"], "{report}");
    assert!((98..=100).contains(&steps[0]["rowsOut"].as_u64().expect("rows")), "{report}");
    assert_eq!((report["status"].as_str(), report["decisions"].as_array().map(Vec::len)), (Some("failed"), Some(0)), "{report}");
    let refused = Flow::of(&["red: {}"]).run(&["--report", "json"]).expect(2, &[]).report();
    assert_eq!((refused["status"].as_str(), refused.get("steps")), (Some("refused"), None), "{refused}");
}

#[test]
fn bars_are_drawn_on_a_terminal_and_nowhere_else() {
    let flow = Flow::of(&["read: {range: {to: 10}}", "count: {}", "write: {text: {path: out, mode: replace}}"]);
    let plain = flow.command("run", &[]);
    let mut on_terminal = std::process::Command::new("python3");
    on_terminal.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]);
    on_terminal.arg(plain.get_program()).args(plain.get_args()).env("TMPDIR", flow.scratch()).env("TERM", "xterm");
    let ran = finish(on_terminal);
    let shown = String::from_utf8_lossy(&ran.expect(0, &[]).stdout).into_owned();
    assert!(shown.contains(" tasks "), "{shown}");
    assert!(shown.contains("rows in"), "{shown}");
    let piped = finish(plain);
    let shown = &piped.expect(0, &["rows in"]).stderr;
    assert!(!shown.contains(" tasks ") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn bytes_are_what_sources_read_and_sinks_wrote() {
    let steps = [
        "read: {text: {paths: [a.txt]}}",
        "filter: {lua: 'function(line) return line ~= \"two\" end'}",
        "write: {text: {path: out}}",
        "write: {stdout: {}}\nfrom: [s2]",
        "write: {parquet: {path: columns}}\nfrom: [s2]",
    ];
    let flow = Flow::of(&steps).file("a.txt", "one\ntwo\nthree\n");
    let ran = flow.run(&["--report", "json", "--threads", "1"]);
    let report = ran.expect(0, &[]).report();
    let bytes = |at: usize| report["steps"][at]["bytes"].as_u64().expect("bytes");
    assert_eq!([bytes(0), bytes(1), bytes(2), bytes(3)], [14, 0, 10, 10], "{report}");
    assert!(bytes(4) > 100, "{report}");
    assert!(!ran.stderr.contains('_'), "names are written like exitCode: {}", ran.stderr);
}

#[test]
fn validate_takes_several_files_and_reports_all_problems() {
    let good = Flow::of(&[READ, SHOW]);
    let bad = Flow::of(&[
        "red: {range: {to: 3}}",
        "map: {lua: 'function(x) return end end'}\nfrom: [s9]",
        "sort: {by: [{feld: 1}]}",
        SHOW,
    ]);
    let mut command = binary();
    command.arg("validate").arg(good.path("flow.yaml")).arg(bad.path("flow.yaml"));
    let ran = finish(command);
    ran.expect(2, &["did you mean"]);
    for (line, what) in
        [("flow.yaml:7:", "red"), ("flow.yaml:9:", "does not compile"), ("flow.yaml:10:", "s9"), ("flow.yaml:12:", "feld")]
    {
        let found = ran.stderr.lines().any(|told| told.contains(line) && told.contains(what));
        assert!(found, "a line with {line} and {what:?}:\n{}", ran.stderr);
    }
    ran.expect(2, &["4 problems"]);
    good.validate().expect(0, &[]);
}

#[test]
fn plan_shows_the_graph_in_each_format() {
    let flow = Flow::of(&[
        "read: {inline: {lines: [a b]}}",
        "flatMap: {lua: 'function(line) return line:gmatch(\"%w+\") end'}",
        "map: {lua: 'function(word) return word, 1 end'}",
        "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}",
        SHOW,
    ]);
    let json = finish(flow.command("plan", &["-o", "json"]));
    let plan: serde_json::Value = serde_json::from_slice(&json.expect(0, &[]).stdout).expect("json");
    assert_eq!(plan["operations"]["initial"], 5, "{plan}");
    assert!(plan["mscrs"].as_array().is_some_and(|mscrs| !mscrs.is_empty()), "{plan}");
    let tiers = plan["functions"].as_array().expect("functions").iter();
    let tiers: Vec<String> = tiers.map(|function| format!("{} {}", function["step"], function["tier"])).collect();
    assert_eq!(tiers, ["\"s2\" \"native\"", "\"s3\" \"native\"", "\"s4\" \"native\""], "{plan}");
    let channel = &plan["mscrs"][0]["inputs"][0];
    assert_eq!(channel["reads"], serde_json::json!(["s1"]), "{plan}");
    let text = finish(flow.command("plan", &[]));
    for step in ["s1", "s2", "s3", "s4", "s5"] {
        assert!(String::from_utf8_lossy(&text.stdout).contains(step), "{step} in the plan");
    }
    assert!(String::from_utf8_lossy(&finish(flow.command("plan", &["-o", "dot"])).stdout).contains("digraph"));
    finish(flow.command("plan", &["-o", "png"])).expect(2, &["png"]);
}

#[test]
fn crd_schema_and_completion_print_what_they_say() {
    let said = |arguments: &[&str]| {
        let mut command = binary();
        command.args(arguments);
        let ran = finish(command);
        ran.expect(0, &[]);
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let crd = said(&["crd"]);
    assert!(crd.contains("gleamflows.gleamflow.io") && crd.contains("v1alpha1"), "{crd}");
    let schema: serde_json::Value = serde_json::from_str(&said(&["schema"])).expect("a JSON schema");
    assert!(schema.is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&["completion", shell]).contains("gleamflow"));
    }
    assert!(said(&["--help"]).contains("run"));
    assert!(said(&["--version"]).contains("gleamflow"));
}

#[test]
fn standard_input_and_a_closed_standard_error_do_no_harm() {
    let flow = Flow::of(&[READ, "pipe: {command: cat}", SHOW]);
    let mut command = flow.command("run", &[]);
    let input = File::open("/dev/zero").expect("/dev/zero");
    let output = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::null()).output().expect("runs");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout.split(|b| *b == b'\n').count(), 4);
}
