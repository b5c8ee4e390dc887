//! Nothing is left behind: no child, no temporary file, no staged output, whatever ends a run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::flow::Flow;

/// Waits (at most 120 s) until something is true.
#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
    assert!(status.success());
}

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    // A zombie whose parent is gone is reaped by the system, sooner or later.
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A flow whose pipe says its process id and then never ends.
fn endless() -> Flow {
    Flow::of(&[
        "read: {range: {to: 100000}}",
        "map: {lua: 'function(x) return x, x end'}",
        "write: {json: {path: staged}}",
        "merge: {}\nfrom: [s1]",
        "pipe: {command: 'sleep 1000 & echo $! > pids/child; echo $$ > pids/shell; cat > /dev/null; wait'}",
        "write: {text: {path: out}}",
    ])
}

fn started(flow: &Flow) -> (Child, [String; 2]) {
    std::fs::create_dir(flow.path("pids")).expect("a directory");
    let mut command = flow.command("run", &[]);
    let child = command
        .current_dir(flow.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let read = |name: &str| std::fs::read_to_string(flow.path("pids").join(name)).unwrap_or_default();
    wait_until("the pipe runs", || read("shell").ends_with('\n') && read("child").ends_with('\n'));
    (child, [read("shell"), read("child")])
}

#[test]
fn an_interrupted_run_ends_with_130_and_leaves_nothing() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let flow = endless();
        let (child, pids) = started(&flow);
        signal(name, child.id());
        let output = child.wait_with_output().expect("ends");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{name}: {told}");
        assert!(!told.contains("panicked"), "{told}");
        for pid in pids {
            wait_until("the pipe's processes are gone", || !is_running(&pid));
        }
        assert_eq!(flow.entries(), ["flow.yaml", "pids"]);
        flow.is_clean();
    }
}

#[test]
fn a_killed_pipe_fails_the_flow() {
    let flow = endless();
    let (child, [shell, other]) = started(&flow);
    signal("-KILL", shell.trim().parse().expect("a process id"));
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("\"s5\""), "{told}");
    wait_until("what the pipe started is gone", || !is_running(&other));
    assert_eq!(flow.entries(), ["flow.yaml", "pids"]);
    flow.is_clean();
}

#[test]
fn a_failure_elsewhere_ends_the_pipes() {
    let flow = Flow::of(&[
        "read: {range: {to: 2}}",
        "roundRobin: {}\npartitions: 2",
        "map: {lua: 'function(x) if x == 1 then error(\"late\") end return x end'}",
        "pipe: {command: 'echo $$ > pids/shell; cat; sleep 1000'}",
        "write: {text: {path: out}}",
    ]);
    std::fs::create_dir(flow.path("pids")).expect("a directory");
    let mut command = flow.command("run", &["--threads", "3"]);
    command.current_dir(flow.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("late"), "{told}");
    assert!(start.elapsed() < Duration::from_secs(60), "nobody waits for the other pipe");
    let pid = std::fs::read_to_string(flow.path("pids/shell")).unwrap_or_default();
    if !pid.is_empty() {
        wait_until("the pipe is gone", || !is_running(&pid));
    }
    assert_eq!(flow.entries(), ["flow.yaml", "pids"]);
    flow.is_clean();
}

#[test]
fn a_failure_beside_a_pipe_of_the_same_task_ends_it() {
    let late = "map: {lua: 'function(x) for i = 1, 2 do if x == 1 then error(\"late\") end end return x end'}";
    for (failing, says) in [(late, "late"), ("pipe: {command: 'cat; sleep 0.3; exit 3'}", "exited with status 3")] {
        let flow = Flow::of(&[
            "read: {range: {to: 2}}",
            "pipe: {command: 'cat; sleep 100'}\nfrom: [s1]",
            &format!("{failing}\nfrom: [s1]"),
            "write: {text: {path: out/a}}\nfrom: [s2]",
            "write: {text: {path: out/b}}\nfrom: [s3]",
        ]);
        let start = Instant::now();
        flow.run(&["--partitions", "1"]).expect(1, &["\"s3\"", says]);
        assert!(start.elapsed() < Duration::from_secs(60), "nobody waits for the other pipe");
        assert_eq!(flow.entries(), ["flow.yaml"]);
        flow.is_clean();
    }
}

#[test]
fn an_endless_lua_loop_can_be_interrupted() {
    // A machine that does much else may be late, but not every time.
    for (signals, at_most) in [(1, 15), (2, 2)] {
        let in_time = (0..4).any(|_| interrupt_an_endless_loop(signals) < Duration::from_secs(at_most));
        assert!(in_time, "{signals} signals: never within {at_most} s");
    }
}

/// The loop runs beside a pipe, staged files and spilled rows; the second of two signals comes at once. How long it took to end.
fn interrupt_an_endless_loop(signals: usize) -> Duration {
    let flow = Flow::of(&[
        "read: {range: {to: 100000}}",
        "map: {lua: 'function(x) return x, x end'}",
        "write: {json: {path: deep/staged}}",
        "read: {range: {to: 1}}",
        "pipe: {command: 'sleep 1000 & echo $! > pids/child; echo $$ > pids/shell; cat; wait'}",
        "write: {text: {path: piped}}",
        "read: {range: {to: 3}}",
        "map: {lua: 'function(x) while true do x = x + 1 end end'}",
        "write: {text: {path: out}}",
    ]);
    std::fs::create_dir(flow.path("pids")).expect("a directory");
    let mut command = flow.command("run", &["--threads", "4"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let read = |name: &str| std::fs::read_to_string(flow.path("pids").join(name)).unwrap_or_default();
    wait_until("the pipe runs", || read("shell").ends_with('\n') && read("child").ends_with('\n'));
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    for _ in 0..signals {
        signal("-INT", child.id());
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().expect("ends");
    let took = start.elapsed();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["shell", "child"] {
        wait_until("the pipe's processes are gone", || !is_running(&read(name)));
    }
    assert_eq!(flow.entries(), ["flow.yaml", "pids"]);
    flow.is_clean();
    took
}

#[test]
fn a_run_that_spills_leaves_no_temporary_file() {
    let flow = Flow::of(&[
        "read: {range: {to: 400000}}",
        "map: {lua: 'function(x) return (x * 7919) % 400000, \"some text to make it longer \" .. x end'}",
        "sort: {by: [{field: 1}]}",
        "limit: {n: 2}",
        "select: {columns: [1]}",
        "write: {stdout: {format: \"%d\"}}",
    ]);
    let ran = flow.run(&["--memory", "4Mi", "--report", "json"]);
    ran.expect(0, &[]);
    assert_eq!(ran.lines(), ["0", "1"]);
    let report = ran.report();
    let spilled: u64 = report["steps"].as_array().expect("steps").iter().filter_map(|step| step["spilledBytes"].as_u64()).sum();
    assert!(spilled > 0, "{report}");
    flow.is_clean();
}
