//! Real shells: what goes in, what comes out, how they fail, and that nothing of them stays.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;
use crate::aside::Aside;
use crate::{Error, RunContext, codec};

type Rows = Rc<RefCell<Vec<String>>>;

/// Keeps what comes out, as text; wants at most so many rows.
struct Keep {
    rows: Rows,
    limit: usize,
}

impl RowSink for Keep {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.rows.borrow_mut().push(codec::preview(row));
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        self.rows.borrow_mut().push("end".to_owned());
        Ok(())
    }
    fn wants_more(&self) -> bool {
        self.rows.borrow().len() < self.limit
    }
}

fn run_in(base: &Path) -> Arc<RunContext> {
    Arc::new(RunContext { seed: 1, ..RunContext::new(base, base, 1 << 20) })
}

struct Bench {
    dir: tempfile::TempDir,
    ctx: Rc<TaskContext>,
    rows: Rows,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Rc::new(TaskContext::new(run_in(dir.path()), 0));
        Bench { dir, ctx, rows: Rows::default() }
    }

    fn keep(&self, limit: usize) -> Box<dyn RowSink> {
        Box::new(Keep { rows: Rc::clone(&self.rows), limit })
    }

    fn pipe(&self, command: &str) -> Box<dyn RowSink> {
        pipe("step", command, &self.ctx, self.keep(usize::MAX)).unwrap()
    }

    fn as_args(&self, command: &str) -> Box<dyn RowSink> {
        pipe_as_args("step", command, Aside::none("step", &self.ctx), self.keep(usize::MAX))
    }

    fn rows(&self) -> Vec<String> {
        self.rows.take()
    }

    /// The id that a command wrote into a file, once it is there.
    fn id_in(&self, name: &str) -> i32 {
        let file = self.dir.path().join(name);
        until(|| std::fs::read_to_string(&file).ok()?.trim().parse().ok())
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs (one that ended and was not collected yet does not).
fn runs(id: i32) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{id}/stat"))).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn check(command: &str, lines: &[&[Val<'_>]], expected: &[&str]) {
    let bench = Bench::new();
    let mut sink = bench.pipe(command);
    lines.iter().for_each(|row| sink.push(row).unwrap());
    sink.finish().unwrap();
    assert_eq!(bench.rows(), expected, "{command}");
}

#[test]
fn fields_go_in_as_text_and_lines_come_out_as_strings() {
    let row = [Val::Str(b"a\tb"), Val::Int(1), Val::Nil, Val::Float(4.0), Val::List(&[0x91, 0x01])];
    check("cat", &[&row, &[]], &[r#"("a", "b", "1", "", "4.0", "[1]")"#, r#"("")"#, "end"]);
    check("printf 'x\\ty\\n\\nlast'", &[], &[r#"("x", "y")"#, r#"("")"#, r#"("last")"#, "end"]);
}

#[test]
fn a_pipe_runs_for_an_empty_partition_too() {
    check("wc -l | tr -d ' '", &[], &[r#"("0")"#, "end"]);
}

#[test]
fn a_command_may_stop_reading_early() {
    let bench = Bench::new();
    let mut sink = bench.pipe("head -1");
    let mut pushed = 0;
    while sink.wants_more() {
        sink.push(&[Val::Int(pushed)]).unwrap();
        pushed += 1;
        assert!(pushed < 50_000_000, "nobody noticed");
    }
    sink.push(&[Val::Int(-1)]).unwrap();
    sink.finish().unwrap();
    assert_eq!(bench.rows(), [r#"("0")"#, "end"]);
}

fn failure(command: &str) -> String {
    let bench = Bench::new();
    let mut sink = bench.pipe(command);
    sink.push(&[Val::Int(1)]).unwrap();
    let error = plan::in_full(&sink.finish().unwrap_err());
    assert!(!bench.rows().contains(&"end".to_owned()));
    error
}

#[test]
fn the_exit_status_decides() {
    assert!(
        failure("cat; echo 'what happened' >&2; exit 3")
            .ends_with("exited with status 3; the end of its standard error:\nwhat happened")
    );
    assert!(failure("cat; kill -9 $$").ends_with("was killed by signal 9"));
    assert!(failure("no-such-command-here").contains("status 127 (a command was not found)"));
    assert!(failure("cat; exec >&-; sleep 0.1; exit 4").contains("status 4"));
    let error = failure("exit 3");
    assert!(error.starts_with("step \"step\" failed: command \"exit 3\" exited with status 3"), "{error}");
}

#[test]
fn a_line_end_inside_a_field_is_refused() {
    let bench = Bench::new();
    let error = bench.pipe("cat").push(&[Val::Int(1), Val::Str(b"a\nb")]).unwrap_err();
    assert_eq!(
        plan::in_full(&error),
        r#"step "step" failed on row (1, "a\nb"): field 2 has a line end, which a pipe cannot carry"#
    );
}

#[test]
fn a_pipe_works_in_the_directory_of_the_flow() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("here"), "yes\n").unwrap();
    bench.pipe("cat here").finish().unwrap();
    assert_eq!(bench.rows(), [r#"("yes")"#, "end"]);
}

#[test]
fn thirty_pipes_in_a_row_pass_everything_on() {
    let bench = Bench::new();
    let mut sink = bench.keep(usize::MAX);
    for _ in 0..30 {
        sink = pipe("step", "cat", &bench.ctx, sink).unwrap();
    }
    for i in 0..50_000 {
        sink.push(&[Val::Int(i), Val::Str(b"and some text behind it")]).unwrap();
    }
    sink.finish().unwrap();
    let rows = bench.rows();
    assert_eq!(rows.len(), 50_001);
    assert_eq!(rows[49_999], r#"("49999", "and some text behind it")"#);
}

struct Measure(Rc<RefCell<(usize, usize)>>);

impl RowSink for Measure {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let Val::Str(text) = row[0] else { panic!("pipes make strings") };
        let mut seen = self.0.borrow_mut();
        *seen = (seen.0 + 1, seen.1 + text.len());
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn long_rows_and_many_bytes_pass_without_a_deadlock() {
    let (bench, seen) = (Bench::new(), Rc::default());
    // Reads all before it writes anything back, then a command that writes as it reads.
    let inner = pipe("step", "cat", &bench.ctx, Box::new(Measure(Rc::clone(&seen)))).unwrap();
    let mut sink = pipe("step", "cat", &bench.ctx, inner).unwrap();
    let row = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        sink.push(&[Val::Str(&row)]).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(*seen.borrow(), (100, 100 << 20));
}

#[test]
fn a_command_may_write_much_before_it_reads() {
    let (bench, seen) = (Bench::new(), Rc::default());
    let mut sink = pipe("step", "seq 1 100000; cat", &bench.ctx, Box::new(Measure(Rc::clone(&seen)))).unwrap();
    for _ in 0..100_000 {
        sink.push(&[Val::Str(b"more")]).unwrap();
    }
    sink.finish().unwrap();
    assert_eq!(seen.borrow().0, 200_000);
}

#[test]
fn what_wants_no_more_ends_an_endless_command() {
    let bench = Bench::new();
    let mut sink = pipe("step", "echo $$ > id; yes", &bench.ctx, bench.keep(5)).unwrap();
    let id = bench.id_in("id");
    sink.finish().unwrap();
    assert!(!runs(id));
    assert!(bench.rows().len() > 5);
}

const TWO_SLEEPERS: &str = "sleep 1000 & echo $! > child; echo $$ > leader; wait";

#[test]
fn nothing_stays_of_a_pipe_that_is_dropped() {
    let bench = Bench::new();
    let mut sink = bench.pipe(TWO_SLEEPERS);
    sink.push(&[Val::Int(1)]).unwrap();
    let (child, leader) = (bench.id_in("child"), bench.id_in("leader"));
    assert!(runs(child) && runs(leader));
    drop(sink);
    until(|| (!runs(child) && !runs(leader)).then_some(()));
}

#[test]
fn a_command_that_ignores_the_polite_signal_is_killed() {
    let bench = Bench::new();
    let sink = bench.pipe("trap '' TERM; echo $$ > leader; while true; do sleep 1; done");
    let leader = bench.id_in("leader");
    drop(sink);
    until(|| (!runs(leader)).then_some(()));
}

#[test]
fn a_stopped_run_ends_its_pipes() {
    for wait_for_output in [true, false] {
        let bench = Bench::new();
        let close = if wait_for_output { "" } else { "exec >&- 2>&-; " };
        let mut sink = bench.pipe(&format!("{close}{TWO_SLEEPERS}"));
        let (child, leader) = (bench.id_in("child"), bench.id_in("leader"));
        let run = Arc::clone(&bench.ctx.run);
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            run.stop.store(true, Ordering::Relaxed);
        });
        assert!(matches!(sink.finish(), Err(Error::Interrupted)));
        stopper.join().unwrap();
        drop(sink);
        until(|| (!runs(child) && !runs(leader)).then_some(()));
    }
}

#[test]
fn what_a_command_left_running_ends_with_it() {
    let bench = Bench::new();
    bench.pipe("sleep 1000 >/dev/null 2>&1 & echo $! > child").finish().unwrap();
    let child = bench.id_in("child");
    until(|| (!runs(child)).then_some(()));
}

#[test]
fn arguments_are_real_and_never_pasted() {
    let bench = Bench::new();
    let mut sink = bench.as_args(r#"printf '%s|%s|%s\n' "$1" "$2" "$#"; echo "${10}""#);
    sink.push(&[Val::Str(b"$(touch pwned); `touch pwned` '\" x"), Val::Nil]).unwrap();
    let ten: Vec<Val<'_>> = (1..=10).map(Val::Int).collect();
    sink.push(&ten).unwrap();
    sink.push(&[Val::Str(b"two\nlines")]).unwrap();
    sink.finish().unwrap();
    assert_eq!(
        bench.rows(),
        [
            r#"("$(touch pwned); `touch pwned` '\" x||2")"#,
            r#"("")"#,
            r#"("1|2|10")"#,
            r#"("10")"#,
            r#"("two")"#,
            r#"("lines||1")"#,
            r#"("")"#,
            "end"
        ]
    );
    assert!(!bench.dir.path().join("pwned").exists());
}

#[test]
fn a_command_per_row_has_nothing_to_read_and_may_say_nothing() {
    let bench = Bench::new();
    let mut sink = bench.as_args("cat; test \"$1\" = 1 || echo \"got\t$1\"");
    sink.push(&[Val::Int(1)]).unwrap();
    sink.push(&[Val::Int(2)]).unwrap();
    sink.finish().unwrap();
    assert_eq!(bench.rows(), [r#"("got", "2")"#, "end"]);
}

#[test]
fn a_failing_command_shows_its_row() {
    let bench = Bench::new();
    let mut sink = bench.as_args("exit $1");
    sink.push(&[Val::Int(0)]).unwrap();
    let error = plan::in_full(&sink.push(&[Val::Int(7)]).unwrap_err());
    assert_eq!(error, r#"step "step" failed on row (7): command "exit $1" exited with status 7"#);
}

#[test]
fn a_zero_byte_is_no_argument() {
    let bench = Bench::new();
    let error = plan::in_full(&bench.as_args("true").push(&[Val::Str(b"a"), Val::Str(b"b\0c")]).unwrap_err());
    assert!(error.ends_with("field 2 has a zero byte, which a command's argument cannot carry"), "{error}");
}

#[test]
fn an_argument_that_the_system_refuses_is_an_error() {
    let bench = Bench::new();
    let error = plan::in_full(&bench.as_args("true").push(&[Val::Str(&vec![b'x'; 4 << 20])]).unwrap_err());
    assert!(error.contains("failed to start a shell for command \"true\""), "{error}");
    assert!(error.len() < 2000);
}

#[test]
fn a_shell_that_is_killed_fails_though_its_child_holds_the_output_open() {
    let bench = Bench::new();
    let mut sink = bench.pipe("sleep 1000 & echo $! > child; cat > /dev/null; kill -9 $$");
    sink.push(&[Val::Int(1)]).unwrap();
    let start = Instant::now();
    let error = plan::in_full(&sink.finish().unwrap_err());
    assert!(error.contains("was killed by signal 9"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "nobody waits for the child");
    let child = bench.id_in("child");
    until(|| (!runs(child)).then_some(()));
}

#[test]
fn a_shell_that_fails_while_its_child_writes_on_fails_the_step() {
    let bench = Bench::new();
    let error = plan::in_full(&bench.pipe("yes & exit 3").finish().unwrap_err());
    assert!(error.contains("exited with status 3"), "{error}");
}

#[test]
fn what_children_write_behind_a_shell_that_ended_well_counts() {
    let bench = Bench::new();
    bench.pipe("(sleep 0.3; echo late) & echo early; exit 0").finish().unwrap();
    assert_eq!(bench.rows(), [r#"("early")"#, r#"("late")"#, "end"]);
}

/// Gives each row to all, and ends them one after the other.
struct Several(Vec<Box<dyn RowSink>>);

impl RowSink for Several {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.0.iter_mut().try_for_each(|out| out.push(row))
    }
    fn finish(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(|out| out.close())?;
        self.0.iter_mut().try_for_each(|out| out.finish())
    }
}

#[test]
fn who_waits_for_one_pipe_sees_another_one_of_its_task_fail() {
    // Beside the one that is waited for, and behind it; `sleep 0.3`: while it is waited for already.
    for (nested, failing) in [(false, "cat; exit 3"), (false, "sleep 0.3; exit 3"), (true, "exit 3"), (true, "sleep 0.3; exit 3")]
    {
        let bench = Bench::new();
        let begun = Instant::now();
        let second = pipe("second", failing, &bench.ctx, bench.keep(usize::MAX)).unwrap();
        let endless = "cat > /dev/null; echo $$ > id; sleep 1000";
        let mut sink = if nested {
            pipe("first", endless, &bench.ctx, second).unwrap()
        } else {
            let first = pipe("first", endless, &bench.ctx, bench.keep(usize::MAX)).unwrap();
            Box::new(Several(vec![first, second]))
        };
        sink.push(&[Val::Int(1)]).unwrap();
        let error = plan::in_full(&sink.finish().unwrap_err());
        assert!(error.starts_with("step \"second\" failed: ") && error.contains("exited with status 3"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits for the first");
        drop(sink);
        let id = std::fs::read_to_string(bench.dir.path().join("id")).ok().and_then(|id| id.trim().parse().ok());
        assert!(!id.is_some_and(runs));
    }
}

#[test]
fn a_failure_beside_rows_that_go_on_is_seen_before_their_end() {
    let bench = Bench::new();
    let pipe = pipe("step", "exit 3", &bench.ctx, bench.keep(usize::MAX)).unwrap();
    let mut sink = Several(vec![pipe, bench.keep(usize::MAX)]);
    let row = [Val::Str(&[b'x'; 1000])];
    let failed = std::iter::repeat_with(|| sink.push(&row)).take(1_000_000).find_map(Result::err);
    assert!(plan::in_full(&failed.expect("nobody noticed")).contains("exited with status 3"));
}

#[test]
fn a_failing_pipe_whose_rows_nobody_wants_fails_nobody() {
    let bench = Bench::new();
    let unwanted = pipe("unwanted", "exit 3", &bench.ctx, bench.keep(0)).unwrap();
    let waited = pipe("waited", "sleep 0.3", &bench.ctx, Box::new(Several(Vec::new()))).unwrap();
    Several(vec![waited, unwanted]).finish().unwrap();
}
