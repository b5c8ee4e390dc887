//! Parquet sinks: what readers find in their files.

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

/// A file's schema and rows as text.
fn read(path: &Path) -> (Vec<String>, Vec<String>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = reader.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let options = FormatOptions::default().with_null("nil");
        let columns: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    (schema, rows)
}

fn parquet(mode: Mode) -> plan::Sink {
    sink(SinkFormat::Parquet, "out", mode)
}

fn check(rows: &[&[Val<'_>]], schema: &[&str], expected: &[&str]) {
    let bench = Bench::new();
    bench.run(&parquet(Mode::Fail), false, &[(0, rows)]).unwrap();
    let (found, rows) = read(&bench.path("out/part-00000.parquet"));
    assert_eq!(found, schema);
    assert_eq!(rows, expected);
}

#[test]
fn columns_are_typed_by_what_they_hold() {
    check(
        &[
            &[Val::Int(i64::MAX), Val::Float(0.5), Val::Bool(true), Val::Str("é".as_bytes()), Val::Str(b"\xff"), Val::Nil],
            &[Val::Nil, Val::Int(3), Val::Nil, Val::Str(b""), Val::Str(b"b")],
        ],
        &["_1 Int64", "_2 Float64", "_3 Boolean", "_4 Utf8", "_5 Binary", "_6 Utf8"],
        &["9223372036854775807|0.5|true|é|ff|nil", "nil|3.0|nil||62|nil"],
    );
}

#[test]
fn lists_and_maps_keep_their_types_where_they_have_one() {
    // [1, 2.5] | [["a"], nil] | {"k": 1}
    let row: &[Val<'_>] = &[
        Val::List(&[0x92, 0x01, 0xcb, 0x40, 0x04, 0, 0, 0, 0, 0, 0]),
        Val::List(&[0x92, 0x91, 0xa1, b'a', 0xc0]),
        Val::Map(&[0x81, 0xa1, b'k', 0x01]),
    ];
    // [] | [] | {}
    let empty: &[Val<'_>] = &[Val::List(&[0x90]), Val::List(&[0x90]), Val::Map(&[0x80])];
    let bench = Bench::new();
    bench.run(&parquet(Mode::Fail), false, &[(0, &[row, empty, &[]])]).unwrap();
    let (schema, rows) = read(&bench.path("out/part-00000.parquet"));
    assert!(schema[0].starts_with("_1 List(Float64"), "{schema:?}");
    assert!(schema[1].starts_with("_2 List(List(Utf8"), "{schema:?}");
    assert!(schema[2].starts_with("_3 Map("), "{schema:?}");
    assert_eq!(rows, ["[1.0, 2.5]|[[a], nil]|{k: 1}", "[]|[]|{}", "nil|nil|nil"]);
}

#[test]
fn lists_and_maps_without_a_common_type_are_json_text() {
    // [["a", 1]] | {"k": 1, "l": "x"} | [1] and then {}
    check(
        &[
            &[
                Val::List(&[0x91, 0x92, 0xa1, b'a', 0x01]),
                Val::Map(&[0x82, 0xa1, b'k', 0x01, 0xa1, b'l', 0xa1, b'x']),
                Val::List(&[0x91, 0x01]),
            ],
            &[Val::List(&[0x90]), Val::Nil, Val::Map(&[0x80])],
        ],
        &["_1 Utf8", "_2 Utf8", "_3 Utf8"],
        &[r#"[["a",1]]|{"k":1,"l":"x"}|[1]"#, "[]|nil|{}"],
    );
}

#[test]
fn all_files_of_a_sink_have_one_schema() {
    let bench = Bench::new();
    let tasks: [(usize, &[&[Val<'_>]]); 3] = [
        (0, &[&[Val::Int(1)]]),
        (1, &[&[Val::Float(0.5), Val::Str(b"x")]]),
        (2, &[&[Val::Nil, Val::Str(b"\xfe"), Val::List(&[0x90])]]),
    ];
    bench.run(&parquet(Mode::Fail), false, &tasks).unwrap();
    let files = [0, 1, 2].map(|task| read(&bench.path(&format!("out/part-0000{task}.parquet"))));
    assert_eq!(files[0].0[..2], ["_1 Float64", "_2 Binary"]);
    assert!(files.iter().all(|(schema, _)| schema == &files[0].0));
    assert_eq!(files.map(|(_, rows)| rows.join(",")), ["1.0|nil|nil", "0.5|78|nil", "nil|fe|[]"]);
}

#[test]
fn ordered_rows_become_one_parquet_file() {
    let bench = Bench::new();
    let staging = bench.open(&named(SinkFormat::Parquet, "out", &["n", "text"]), true).unwrap();
    for task in [3, 1] {
        let mut writer = bench.writer(&staging, task);
        for i in 0..30_000 {
            writer.push(&[Val::Int(task as i64 * 100_000 + i), Val::Str(b"some text that takes a bit of memory")]).unwrap();
        }
        writer.finish().unwrap();
    }
    staging.commit().unwrap();
    let (schema, rows) = read(&bench.path("out/part-00000.parquet"));
    assert_eq!(schema, ["n Int64", "text Utf8"]);
    let expected = (100_000..130_000).chain(300_000..330_000).map(|i| format!("{i}|some text that takes a bit of memory"));
    assert!(rows.into_iter().eq(expected));
    assert_eq!(bench.files().len(), 3);
}

#[test]
fn a_parquet_sink_without_rows_has_a_file_with_its_columns() {
    let bench = Bench::new();
    bench.run(&named(SinkFormat::Parquet, "out", &["a", "b"]), false, &[(0, &[])]).unwrap();
    assert_eq!(read(&bench.path("out/part-00000.parquet")), (vec!["a Utf8".to_owned(), "b Utf8".to_owned()], Vec::new()));
    bench.run(&sink(SinkFormat::Parquet, "bare", Mode::Fail), true, &[]).unwrap();
    assert_eq!(read(&bench.path("bare/part-00000.parquet")).1.len(), 0);
}

#[test]
fn a_column_of_two_kinds_is_refused_whichever_task_made_them() {
    let text: &[&[Val<'_>]] = &[&[Val::Str(b"a")]];
    let int: &[&[Val<'_>]] = &[&[Val::Int(1)]];
    let both: &[&[Val<'_>]] = &[&[Val::Str(b"a")], &[Val::Int(1)]];
    for tasks in [&[(0, text), (1, int)][..], &[(0, both)]] {
        let bench = Bench::new();
        let error = plan::in_full(&bench.run(&parquet(Mode::Fail), false, tasks).unwrap_err());
        assert!(error.starts_with(r#"step "step" failed: column "_1" holds both strings and integers, but"#), "{error}");
        assert!(bench.files().is_empty());
    }
    let bench = Bench::new();
    let large: &[&[Val<'_>]] = &[&[Val::Int((1 << 53) + 1)], &[Val::Float(0.5)]];
    let error = plan::in_full(&bench.run(&parquet(Mode::Fail), false, &[(0, large)]).unwrap_err());
    assert!(error.contains("both integers that no float equals and floats"), "{error}");
    check(&[&[Val::Int(1 << 60)], &[Val::Float(0.5)]], &["_1 Float64"], &["1.152921504606847e18", "0.5"]);
}

#[test]
fn what_json_text_cannot_hold_shows_its_row() {
    let bench = Bench::new();
    // [1, "\xff"]
    let rows: &[&[Val<'_>]] = &[&[Val::Int(7), Val::List(&[0x92, 0x01, 0xa1, 0xff])]];
    let error = plan::in_full(&bench.run(&parquet(Mode::Fail), false, &[(0, rows)]).unwrap_err());
    assert!(error.starts_with(r#"step "step" failed on row (7, "#), "{error}");
    assert!(error.ends_with("field 2 has no JSON form: a string is not UTF-8, which JSON cannot hold"), "{error}");
}
