//! Sinks on an object store: uploads in parts, invisible until the commit.

use std::rc::Rc;
use std::sync::Arc;

use engine::sink::Staging;
use engine::{Result, RunContext, Stores, TaskContext, Val};
use plan::{Mode, Sink, SinkFormat};

use super::moto::{make_bucket, stores, uploads};
use super::run;

const CSV: SinkFormat = SinkFormat::Csv { header: true, delimiter: b',', quote: b'"' };

fn sink(format: SinkFormat, path: &str, mode: Mode) -> Sink {
    Sink::Files { format, path: path.to_owned(), mode, fields: Some(vec!["n".to_owned(), "text".to_owned()]) }
}

fn open(run: &Arc<RunContext>, sink: &Sink, ordered: bool) -> Result<Staging> {
    Staging::open("step", sink, run, ordered)
}

/// Lets a task write rows (number, text).
fn write(run: &Arc<RunContext>, staging: &Staging, task: usize, numbers: std::ops::Range<i64>, text: &str) {
    let mut writer = staging.writer(task, &Rc::new(TaskContext::new(Arc::clone(run), task))).unwrap();
    for number in numbers {
        writer.push(&[Val::Int(number), Val::Str(text.as_bytes())]).unwrap();
    }
    writer.finish().unwrap();
}

/// The keys below a prefix and what the objects hold.
fn objects(stores: &Arc<Stores>, url: &str) -> Vec<(String, String)> {
    let found = stores.locate(url).unwrap().list().unwrap();
    let text = |object: &engine::store::Object| String::from_utf8_lossy(&object.location.get().unwrap()).into_owned();
    found.iter().map(|object| (object.location.key().to_owned(), text(object))).collect()
}

fn keys(stores: &Arc<Stores>, url: &str) -> Vec<String> {
    objects(stores, url).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn large_files_go_up_in_parts_and_appear_at_the_commit() {
    make_bucket("parts");
    let (stores, line) = (stores(), "x".repeat(1000));
    for ordered in [false, true] {
        let run = run(&stores);
        let path = format!("s3://parts/out-{ordered}");
        let staging = open(&run, &sink(CSV, &path, Mode::Fail), ordered).unwrap();
        write(&run, &staging, 1, 20_000..20_100, "later");
        write(&run, &staging, 0, 0..20_000, &line);
        staging.prepare().unwrap();
        assert_eq!(keys(&stores, &path), [""; 0]);
        assert_eq!(uploads("parts"), if ordered { 1 } else { 2 });
        staging.commit().unwrap();
        let mut first: String = "n,text\n".to_owned();
        first.extend((0..20_000).map(|number| format!("{number},{line}\n")));
        let second: String = (20_000..20_100).map(|number| format!("{number},later\n")).collect();
        let expected = if ordered { vec![first + &second] } else { vec![first, format!("n,text\n{second}")] };
        let mut found = objects(&stores, &path);
        assert_eq!(found.remove(0), (format!("out-{ordered}/_SUCCESS"), String::new()));
        let names: Vec<_> = found.iter().map(|(key, _)| key.rsplit('/').next().unwrap()).collect();
        assert_eq!(names.len(), expected.len());
        for (at, name) in names.iter().enumerate() {
            assert!(name.starts_with(&format!("part-{at:05}-")) && name.ends_with(".csv"), "{names:?}");
        }
        assert!(found.iter().map(|(_, text)| text).eq(&expected));
        assert_eq!(uploads("parts"), 0);
    }
}

#[test]
fn nothing_stays_of_a_sink_that_did_not_commit() {
    make_bucket("dropped");
    let stores = stores();
    let run = run(&stores);
    for format in [CSV, SinkFormat::Parquet] {
        let staging = open(&run, &sink(format, "s3://dropped/out", Mode::Fail), false).unwrap();
        write(&run, &staging, 0, 0..1000, "text");
        write(&run, &staging, 1, 0..1000, "text");
        staging.prepare().unwrap();
        assert_eq!(uploads("dropped"), 2);
        drop(staging);
        assert_eq!(uploads("dropped"), 0);
        assert_eq!(keys(&stores, "s3://dropped"), [""; 0]);
    }
}

#[test]
fn nothing_stays_of_a_sink_whose_process_ends_at_once() {
    make_bucket("swept");
    let stores = stores();
    let run = run(&stores);
    let staging = open(&run, &sink(CSV, "s3://swept/out", Mode::Fail), false).unwrap();
    write(&run, &staging, 0, 0..1000, "text");
    staging.prepare().unwrap();
    assert_eq!(uploads("swept"), 1);
    // The sink is still open: nobody waits for its tasks.
    assert!(run.cleanup.sweep());
    assert_eq!(uploads("swept"), 0);
    drop(staging);
    assert_eq!(keys(&stores, "s3://swept"), [""; 0]);
}

#[test]
fn modes_mean_the_same_as_on_a_disk() {
    make_bucket("modes");
    let stores = stores();
    let run = run(&stores);
    let path = "s3://modes/a/out";
    let commit = |mode, task, text| {
        let staging = open(&run, &sink(SinkFormat::Text, path, mode), false).unwrap();
        write(&run, &staging, task, 0..1, text);
        let before = objects(&stores, path);
        staging.prepare().unwrap();
        assert_eq!(objects(&stores, path), before);
        staging.commit().unwrap();
        objects(&stores, path)
    };
    stores.locate("s3://modes/a/output-of-another").unwrap().put("x".into()).unwrap();
    assert_eq!(commit(Mode::Fail, 3, "one").len(), 2);
    let error = plan::in_full(&open(&run, &sink(SinkFormat::Text, path, Mode::Fail), false).unwrap_err());
    assert!(error.contains(r#""s3://modes/a/out" already holds data ("a/out/part-00003-"#), "{error}");
    let appended = commit(Mode::Append, 0, "two");
    assert_eq!(appended.len(), 3);
    assert!(appended[2].0.starts_with("a/out/part-00004-"), "{appended:?}");
    let replaced = commit(Mode::Replace, 3, "three");
    assert_eq!(replaced.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["", "0\tthree\n"]);
    assert!(replaced[1].0.starts_with("a/out/part-00003-"), "{replaced:?}");
    assert_eq!(keys(&stores, "s3://modes/a").len(), 3);
}

#[test]
fn a_sink_without_rows_is_an_empty_object() {
    make_bucket("empty");
    let stores = stores();
    let run = run(&stores);
    open(&run, &sink(SinkFormat::Json, "s3://empty", Mode::Fail), true).unwrap().commit().unwrap();
    let found = objects(&stores, "s3://empty");
    assert!(found.len() == 2 && found.iter().all(|(_, text)| text.is_empty()), "{found:?}");
    assert!(found[0].0 == "_SUCCESS" && found[1].0.starts_with("part-00000-"), "{found:?}");
}

#[test]
fn a_bucket_that_is_not_there_is_told_before_the_first_row() {
    let run = run(&stores());
    let error = plan::in_full(&open(&run, &sink(CSV, "s3://no-such-bucket/out", Mode::Fail), false).unwrap_err());
    assert!(error.starts_with("step \"step\" failed: failed to list s3://no-such-bucket/out"), "{error}");
    assert!(error.contains("bucket does not exist"), "{error}");
}
