//! Sinks as a run uses them: staged by several tasks, committed or dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use plan::{Mode, SinkFormat};

use super::*;
use crate::Val;

mod commits;
mod tables;

const CSV: SinkFormat = SinkFormat::Csv { header: true, delimiter: b',', quote: b'"' };

/// A directory for a flow, and a run in it.
struct Bench {
    _dir: tempfile::TempDir,
    run: Arc<RunContext>,
}

impl Bench {
    fn new() -> Bench {
        // In memory, if there is such a place: nothing here is about what a disk keeps, and flushes take their time.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let scratch = dir.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        std::fs::create_dir(dir.path().join("flow")).unwrap();
        let run = RunContext { seed: 1, threads: 2, ..RunContext::new(dir.path().join("flow"), scratch, 1 << 20) };
        Bench { _dir: dir, run: Arc::new(run) }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.run.base.join(relative)
    }

    fn open(&self, sink: &plan::Sink, ordered: bool) -> Result<Staging> {
        Staging::open("step", sink, &self.run, ordered)
    }

    fn writer(&self, staging: &Staging, task: usize) -> Box<dyn RowSink> {
        staging.writer(task, &Rc::new(TaskContext::new(Arc::clone(&self.run), task))).unwrap()
    }

    fn write(&self, staging: &Staging, task: usize, rows: &[&[Val<'_>]]) -> Result<()> {
        let mut writer = self.writer(staging, task);
        rows.iter().try_for_each(|row| writer.push(row))?;
        writer.finish()
    }

    /// Writes rows of several tasks and commits.
    fn run(&self, sink: &plan::Sink, ordered: bool, tasks: &[(usize, &[&[Val<'_>]])]) -> Result<()> {
        let staging = self.open(sink, ordered)?;
        for (task, rows) in tasks {
            self.write(&staging, *task, rows)?;
        }
        staging.commit()
    }

    /// All files below the flow's directory, with what they hold.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        collect(&self.run.base, "", &mut files);
        files
    }
}

fn collect(directory: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            files.insert(format!("{name}/"), String::new());
            collect(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
}

fn sink(format: SinkFormat, path: &str, mode: Mode) -> plan::Sink {
    plan::Sink::Files { format, path: path.to_owned(), mode, fields: None }
}

fn named(format: SinkFormat, path: &str, fields: &[&str]) -> plan::Sink {
    let fields = Some(fields.iter().map(|name| (*name).to_owned()).collect());
    plan::Sink::Files { format, path: path.to_owned(), mode: Mode::Fail, fields }
}

fn shown(files: &BTreeMap<String, String>) -> Vec<String> {
    files.iter().map(|(name, text)| format!("{name} {text:?}")).collect()
}

const ONE: &[&[Val<'_>]] = &[&[Val::Int(1), Val::Str(b"a")]];
const TWO: &[&[Val<'_>]] = &[&[Val::Int(2), Val::Str(b"b")], &[Val::Int(3), Val::Nil]];

#[test]
fn each_task_with_rows_makes_a_file_and_the_marker_comes_too() {
    let bench = Bench::new();
    bench.run(&sink(SinkFormat::Text, "deep/er/out", Mode::Fail), false, &[(0, ONE), (1, &[]), (2, TWO)]).unwrap();
    assert_eq!(
        shown(&bench.files()),
        [
            r#"deep/ """#,
            r#"deep/er/ """#,
            r#"deep/er/out/ """#,
            r#"deep/er/out/_SUCCESS """#,
            r#"deep/er/out/part-00000.txt "1\ta\n""#,
            r#"deep/er/out/part-00002.txt "2\tb\n3\t\n""#
        ]
    );
}

#[test]
fn ordered_rows_become_one_file_in_the_order_of_the_tasks() {
    for tasks in [[(2, TWO), (0, ONE), (1, &[][..])], [(2, ONE), (1, &[]), (3, TWO)], [(1, ONE), (0, &[]), (2, TWO)]] {
        let mut in_order = tasks;
        in_order.sort_by_key(|(task, _)| *task);
        let bench = Bench::new();
        bench.run(&sink(SinkFormat::Text, "out", Mode::Fail), true, &tasks).unwrap();
        let expected = "1\ta\n2\tb\n3\t\n";
        assert_eq!(bench.files()["out/part-00000.txt"], expected, "{tasks:?}");
        assert_eq!(bench.files().len(), 3);

        let bench = Bench::new();
        bench.run(&named(CSV, "out", &["n", "s"]), true, &tasks).unwrap();
        assert_eq!(bench.files()["out/part-00000.csv"], "n,s\n1,a\n2,b\n3,\n");
        assert_eq!(bench.files().len(), 3);
    }
}

#[test]
fn a_sink_without_rows_is_still_a_result() {
    for ordered in [false, true] {
        let bench = Bench::new();
        bench.run(&named(CSV, "csv", &["a", "b c"]), ordered, &[(0, &[])]).unwrap();
        bench.run(&sink(CSV, "bare", Mode::Fail), ordered, &[]).unwrap();
        bench.run(&sink(SinkFormat::Json, "json", Mode::Fail), ordered, &[]).unwrap();
        let files = bench.files();
        assert_eq!(files["csv/part-00000.csv"], "a,b c\n");
        assert_eq!(files["bare/part-00000.csv"], "");
        assert_eq!(files["json/part-00000.json"], "");
        assert!(files.contains_key("json/_SUCCESS"));
    }
}

#[test]
fn nothing_is_visible_before_the_commit_and_nothing_stays_of_a_failure() {
    for ordered in [false, true] {
        for format in [SinkFormat::Text, CSV, SinkFormat::Parquet] {
            let bench = Bench::new();
            std::fs::create_dir(bench.path("there")).unwrap();
            let stagings =
                ["new/a", "new/b/c", "there"].map(|path| bench.open(&sink(format.clone(), path, Mode::Fail), ordered).unwrap());
            for staging in &stagings {
                bench.write(staging, 0, ONE).unwrap();
                staging.prepare().unwrap();
                // A task that is still at it when the flow fails.
                bench.writer(staging, 1).push(TWO[0]).unwrap();
            }
            assert!(
                bench.files().keys().all(|name| !name.contains("/part-") || name.contains("/_staging-")),
                "{:?}",
                bench.files()
            );
            drop(stagings);
            assert_eq!(shown(&bench.files()), [r#"there/ """#]);
            assert_eq!(std::fs::read_dir(&bench.run.scratch).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_sink_fails_where_data_is_already() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("out")).unwrap();
    std::fs::write(bench.path("out/_SUCCESS"), "").unwrap();
    std::fs::write(bench.path("out/.hidden"), "").unwrap();
    let out = sink(SinkFormat::Text, "out", Mode::Fail);
    bench.open(&out, false).unwrap();
    std::fs::write(bench.path("out/data"), "").unwrap();
    let error = plan::in_full(&bench.open(&out, false).unwrap_err());
    assert!(error.starts_with(r#"step "step" failed: ""#), "{error}");
    assert!(error.ends_with(r#"already holds data ("data"); choose another path, or mode: replace or append"#), "{error}");
    let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, "out/data", Mode::Fail), false).unwrap_err());
    assert!(error.ends_with("out/data\" is not a directory, which a sink writes into"), "{error}");
    let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, "out/data/below", Mode::Append), false).unwrap_err());
    assert!(error.contains("out/data/below"), "{error}");
}

#[test]
fn of_two_runs_at_once_that_both_want_an_empty_place_the_second_fails_before_it_works() {
    let bench = Bench::new();
    let out = sink(SinkFormat::Text, "new/out", Mode::Fail);
    let first = bench.open(&out, false).unwrap();
    let error = plan::in_full(&bench.open(&out, false).unwrap_err());
    assert!(error.contains("another run is writing to"), "{error}");
    bench.write(&first, 0, ONE).unwrap();
    drop(first);
    bench.run(&out, false, &[(0, TWO)]).unwrap();
    assert_eq!(bench.files()["new/out/part-00000.txt"], "2\tb\n3\t\n");
}

#[test]
fn what_would_fail_the_commit_of_one_sink_is_found_before_another_one_commits() {
    let bench = Bench::new();
    let staging = bench.open(&sink(SinkFormat::Text, "out", Mode::Fail), false).unwrap();
    bench.write(&staging, 0, ONE).unwrap();
    std::fs::write(bench.path("out/others"), "").unwrap();
    let error = plan::in_full(&staging.prepare().unwrap_err());
    assert!(error.contains("already holds data"), "{error}");
}

#[test]
fn two_sinks_of_a_run_on_one_directory_are_refused_however_they_name_it() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("real")).unwrap();
    std::os::unix::fs::symlink(bench.path("real"), bench.path("link")).unwrap();
    let stagings = ["real/a", "link/a", "link/b", "link/b/c"]
        .map(|path| bench.open(&sink(SinkFormat::Text, path, Mode::Replace), false).unwrap());
    let meet = |pair: [usize; 2]| refuse_shared(pair.into_iter().map(|at| ("step", stagings[at].directory().unwrap())));
    let error = plan::in_full(&meet([0, 1]).unwrap_err());
    assert!(error.contains("where the sink of step \"step\" writes too"), "{error}");
    meet([2, 3]).unwrap_err();
    meet([0, 2]).unwrap();
}

#[test]
fn of_runs_that_replace_at_once_one_is_there_whole() {
    for there in [false, true] {
        let bench = Bench::new();
        let out = sink(SinkFormat::Text, "out", Mode::Replace);
        if there {
            bench.run(&out, false, &[(7, ONE)]).unwrap();
        }
        let stagings: Vec<Staging> = (0..4).map(|_| bench.open(&out, false).unwrap()).collect();
        for (at, staging) in stagings.iter().enumerate() {
            let row: &[Val<'_>] = &[Val::Int(at as i64)];
            (0..4).try_for_each(|task| bench.write(staging, task, &[row])).unwrap();
        }
        std::thread::scope(|threads| {
            stagings.into_iter().for_each(|staging| drop(threads.spawn(|| staging.commit().unwrap())));
        });
        let files = bench.files();
        let data: Vec<&str> = files.iter().filter(|(name, _)| name.contains("part-")).map(|(_, text)| &**text).collect();
        assert!(data.len() == 4 && data.iter().all(|text| *text == data[0]), "{files:?}");
        assert!(files.contains_key("out/_SUCCESS") && files.len() == 6, "{files:?}");
    }
}

#[test]
fn data_that_came_while_the_flow_ran_is_not_overwritten() {
    let bench = Bench::new();
    let staging = bench.open(&sink(SinkFormat::Text, "out", Mode::Fail), false).unwrap();
    bench.write(&staging, 0, ONE).unwrap();
    std::fs::write(bench.path("out/part-00000.txt"), "another's").unwrap();
    staging.commit().unwrap_err();
    assert_eq!(shown(&bench.files()), [r#"out/ """#, r#"out/part-00000.txt "another's""#]);
}

#[test]
fn replace_keeps_the_old_until_the_commit() {
    for in_place in [false, true] {
        let bench = Bench::new();
        bench.run(&sink(SinkFormat::Text, "out", Mode::Fail), false, &[(0, ONE), (5, TWO)]).unwrap();
        if in_place {
            // A directory that holds more than a sink's files is not swapped as a whole.
            std::fs::write(bench.path("out/.keep"), "mine").unwrap();
        }
        let before = bench.files();
        let replace = sink(SinkFormat::Text, "out", Mode::Replace);
        let staging = bench.open(&replace, false).unwrap();
        bench.write(&staging, 0, TWO).unwrap();
        staging.prepare().unwrap();
        let old = |files: &BTreeMap<String, String>| {
            files["out/part-00000.txt"] == "1\ta\n" && files.contains_key("out/part-00005.txt")
        };
        assert!(old(&bench.files()));
        drop(staging);
        assert_eq!(bench.files(), before);

        bench.run(&replace, false, &[(0, TWO)]).unwrap();
        let files = bench.files();
        let new: Vec<&String> = files.iter().filter(|(name, _)| name.starts_with("out/part-")).map(|(_, text)| text).collect();
        assert_eq!(new, ["2\tb\n3\t\n"]);
        assert_eq!(files.contains_key("out/.keep"), in_place);
        assert_eq!(files.len(), 3 + usize::from(in_place), "{files:?}");
        bench.run(&sink(SinkFormat::Text, "fresh", Mode::Replace), false, &[(0, ONE)]).unwrap();
        assert_eq!(bench.files()["fresh/part-00000.txt"], "1\ta\n");
    }
}

#[test]
fn replacing_the_directory_of_the_flow_is_refused() {
    let bench = Bench::new();
    std::fs::write(bench.path("flow.yaml"), "precious").unwrap();
    for path in [".", "..", "sub/.."] {
        std::fs::create_dir_all(bench.path("sub")).unwrap();
        let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, path, Mode::Replace), false).unwrap_err());
        assert!(error.contains("would remove the directory of the flow"), "{error}");
    }
}

#[test]
fn append_adds_files_behind_those_that_are_there() {
    let bench = Bench::new();
    let append = sink(SinkFormat::Text, "out", Mode::Append);
    bench.run(&append, false, &[(0, ONE), (3, TWO)]).unwrap();
    bench.run(&append, true, &[(0, ONE), (1, TWO)]).unwrap();
    let staging = bench.open(&append, false).unwrap();
    bench.write(&staging, 0, TWO).unwrap();
    drop(staging);
    let files = bench.files();
    let parts: Vec<_> = files.iter().filter(|(name, _)| name.contains("part-")).collect();
    assert_eq!(parts.iter().map(|(_, text)| text.len()).collect::<Vec<_>>(), [4, 7, 11]);
    assert!(parts[0].0.starts_with("out/part-00000-") && parts[2].0.starts_with("out/part-00004-"), "{parts:?}");
    assert_eq!(files.len(), 5);
}

#[test]
fn two_flows_may_append_at_once() {
    let bench = Bench::new();
    let append = sink(SinkFormat::Text, "out", Mode::Append);
    let stagings = [bench.open(&append, false).unwrap(), bench.open(&append, false).unwrap()];
    for staging in stagings {
        bench.write(&staging, 0, ONE).unwrap();
        staging.commit().unwrap();
    }
    assert_eq!(bench.files().keys().filter(|name| name.contains("part-00000-")).count(), 2);
}

#[test]
fn tasks_of_several_threads_write_at_once() {
    let bench = Bench::new();
    let staging = bench.open(&sink(SinkFormat::Text, "out", Mode::Fail), true).unwrap();
    std::thread::scope(|scope| {
        for task in 0..4 {
            let (staging, bench) = (&staging, &bench);
            scope.spawn(move || {
                let mut writer = bench.writer(staging, task);
                for i in 0..50_000 {
                    writer.push(&[Val::Int(task as i64 * 50_000 + i)]).unwrap();
                }
                writer.finish().unwrap();
            });
        }
    });
    let expected: String = (0..200_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(staging.bytes(), expected.len() as u64);
    staging.commit().unwrap();
    assert!(bench.files()["out/part-00000.txt"] == expected);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_at_the_start() {
    let bench = Bench::new();
    let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, "/proc/none/out", Mode::Fail), false).unwrap_err());
    assert!(error.contains("failed to make the directory \"/proc/none/out\""), "{error}");
    let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, "ftp://host/out", Mode::Fail), false).unwrap_err());
    assert!(error.contains("ftp://host/out"), "{error}");
    let error = plan::in_full(&bench.open(&sink(SinkFormat::Text, "http://localhost:1/out", Mode::Fail), false).unwrap_err());
    assert!(error.contains("a store behind http cannot do that"), "{error}");
    let path = format!("file://{}", bench.path("out dir").display()).replace(' ', "%20");
    bench.run(&sink(SinkFormat::Text, &path, Mode::Fail), false, &[(0, ONE)]).unwrap();
    assert!(bench.files().contains_key("out dir/part-00000.txt"));
}

#[test]
fn a_row_that_does_not_fit_shows_itself() {
    let bench = Bench::new();
    let fails = |sink: plan::Sink, rows: &[&[Val<'_>]]| plan::in_full(&bench.run(&sink, false, &[(0, rows)]).unwrap_err());
    let tsv = SinkFormat::Tsv { header: false };
    assert_eq!(
        fails(sink(tsv, "out", Mode::Fail), &[&[Val::Int(1), Val::Str(b"a\tb")]]),
        r#"step "step" failed on row (1, "a\tb"): field 2 has a tab or a line end, which tsv cannot carry"#
    );
    let error = fails(sink(SinkFormat::Json, "out", Mode::Fail), &[&[Val::Str(b"\xff")]]);
    assert!(error.ends_with("field 1 has no JSON form: a string is not UTF-8, which JSON cannot hold"), "{error}");
    for format in [CSV, SinkFormat::Json, SinkFormat::Parquet, SinkFormat::Tsv { header: true }] {
        let error = fails(named(format, "out", &["a"]), &[&[Val::Nil], &[Val::Int(1), Val::Int(2)]]);
        assert!(error.ends_with("on row (1, 2): the row has 2 fields, but only 1 are named"), "{error}");
    }
    assert!(bench.files().is_empty());
}

#[test]
fn a_header_made_from_rows_needs_rows_of_one_width() {
    let bench = Bench::new();
    bench.run(&sink(CSV, "out", Mode::Fail), true, &[(1, TWO), (0, &[])]).unwrap();
    assert_eq!(bench.files()["out/part-00000.csv"], "_1,_2\n2,b\n3,\n");
    let uneven: &[&[Val<'_>]] = &[ONE[0], &[Val::Nil]];
    for tasks in [&[(0, uneven)][..], &[(0, ONE), (1, &uneven[1..])]] {
        let error = plan::in_full(&bench.run(&sink(CSV, "other", Mode::Fail), false, tasks).unwrap_err());
        assert!(error.contains("name them with fields"), "{error}");
    }
}

/// An unordered or ordered stdout that writes into memory.
fn captured(bench: &Bench, format: Option<&str>, ordered: bool) -> (Staging, Arc<Mutex<Vec<u8>>>) {
    let written = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&written);
    let write = move |block: &[u8]| {
        assert_eq!(block.last().unwrap_or(&b'\n'), &b'\n', "blocks are whole lines");
        copy.lock().unwrap().extend_from_slice(block);
        Ok(())
    };
    let stdout = Stdout::with("step", format, &bench.run, ordered, Box::new(write)).unwrap();
    (Staging { step: "step".to_owned(), kind: Kind::Stdout(Arc::new(stdout)) }, written)
}

#[test]
fn ordered_lines_of_stdout_come_in_the_order_of_the_tasks() {
    let bench = Bench::new();
    let (staging, written) = captured(&bench, Some("%d"), true);
    let mut writers: Vec<_> = (0..4).map(|task| bench.writer(&staging, task)).collect();
    // More than the memory budget holds, so that some of it waits on disk.
    for i in 0..400_000 {
        for (task, writer) in writers.iter_mut().enumerate() {
            writer.push(&[Val::Int(task as i64 * 400_000 + i)]).unwrap();
        }
    }
    assert!(!written.lock().unwrap().is_empty(), "the first task's lines need not wait");
    for task in [2, 0, 3, 1] {
        writers[task].finish().unwrap();
    }
    staging.commit().unwrap();
    let expected: String = (0..1_600_000).map(|i| format!("{i}\n")).collect();
    assert!(*written.lock().unwrap() == expected.as_bytes());
}

#[test]
fn tasks_that_never_come_do_not_keep_others_from_stdout() {
    let bench = Bench::new();
    let (staging, written) = captured(&bench, None, true);
    bench.write(&staging, 7, TWO).unwrap();
    bench.write(&staging, 3, ONE).unwrap();
    staging.commit().unwrap();
    assert_eq!(*written.lock().unwrap(), b"1\ta\n2\tb\n3\t\n");
}

#[test]
fn lines_of_stdout_stay_whole_among_threads() {
    let bench = Bench::new();
    let (staging, written) = captured(&bench, Some("%s-%s"), false);
    std::thread::scope(|scope| {
        for task in 0..4 {
            let (staging, bench) = (&staging, &bench);
            scope.spawn(move || {
                let text = format!("task {task}").repeat(10);
                let mut writer = bench.writer(staging, task);
                (0..10_000).for_each(|_| writer.push(&[Val::Str(text.as_bytes()), Val::Str(text.as_bytes())]).unwrap());
                writer.finish().unwrap();
            });
        }
    });
    staging.commit().unwrap();
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 40_000);
    assert!(text.lines().all(|line| line.split_once('-').is_some_and(|(a, b)| a == b)));
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error() {
    let bench = Bench::new();
    let full = |_: &[u8]| Err(std::io::Error::from_raw_os_error(libc::ENOSPC));
    let stdout = Stdout::with("step", None, &bench.run, false, Box::new(full)).unwrap();
    let staging = Staging { step: "step".to_owned(), kind: Kind::Stdout(Arc::new(stdout)) };
    assert!(matches!(bench.write(&staging, 0, ONE), Err(Error::Stdout(_))));
}

#[test]
fn a_format_that_is_none_or_does_not_fit_is_an_error() {
    let bench = Bench::new();
    let bad = plan::Sink::Stdout { format: Some("%y".to_owned()) };
    let error = plan::in_full(&bench.open(&bad, false).unwrap_err());
    assert!(error.starts_with(r#"step "step" failed: unknown verb "%y""#), "{error}");
    let (staging, _) = captured(&bench, Some("%d %d"), false);
    let error = plan::in_full(&bench.write(&staging, 0, ONE).unwrap_err());
    assert_eq!(error, r#"step "step" failed on row (1, "a"): verb %d does not fit field 2, which is a string"#);
}
