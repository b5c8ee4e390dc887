//! Parquet and ORC columns as values.

use std::fs::File;
use std::sync::Arc;

use ::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray, Float32Array,
    Int8Array, Int64Array, Int64Builder, LargeStringArray, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array,
};
use ::arrow::datatypes::{Field, Int32Type, Int64Type};
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use plan::Format;

use super::super::tests::{Fixture, files, show};
use super::super::{Wanted, inspect, list};

const PARQUET: Format = Format::Parquet { columns: None, known: None };
const ORC: Format = Format::Orc { columns: None, known: None };

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn parquet(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn orc(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        orc_rust::ArrowWriterBuilder::new(&mut bytes, batch.schema()).with_stripe_byte_size(20_000).try_build().unwrap();
    for start in (0..batch.num_rows()).step_by(1000) {
        writer.write(&batch.slice(start, 1000.min(batch.num_rows() - start))).unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn numbers(rows: i64) -> RecordBatch {
    let texts = StringArray::from_iter_values((0..rows).map(|row| format!("row {row}")));
    batch(vec![("n", Arc::new(Int64Array::from_iter_values(0..rows))), ("t", Arc::new(texts))])
}

fn all_types() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("z");
    map.values().append_value(1);
    map.keys().append_value("a");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let member = |name: &str, array: ArrayRef| (Arc::new(Field::new(name, array.data_type().clone(), true)), array);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("p"), None]));
    let nested = StructArray::from(vec![member("y", inner), member("x", Arc::new(list.clone()))]);
    let dictionary: DictionaryArray<Int32Type> = [Some("d"), None].into_iter().collect();
    batch(vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("int8", Arc::new(Int8Array::from(vec![Some(-128), None]))),
        ("uint32", Arc::new(UInt32Array::from(vec![Some(u32::MAX), None]))),
        ("uint64", Arc::new(UInt64Array::from(vec![Some(i64::MAX as u64), None]))),
        ("float", Arc::new(Float32Array::from(vec![Some(1.5), None]))),
        ("text", Arc::new(LargeStringArray::from(vec![Some("é"), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a view of some length"), None]))),
        ("binary", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"bin"), None]))),
        ("dictionary", Arc::new(dictionary)),
        ("date", Arc::new(Date32Array::from(vec![Some(19_782), None]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(45_296_500_000), None]))),
        ("local", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None]))),
        (
            "instant",
            Arc::new(TimestampNanosecondArray::from(vec![Some(1_709_210_096_000_000_001), None]).with_timezone("+02:00")),
        ),
        ("decimal", Arc::new(Decimal128Array::from(vec![Some(-1_234_500), None]).with_precision_and_scale(20, 4).unwrap())),
        ("list", Arc::new(list)),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(nested)),
    ])
}

#[test]
fn parquet_values_are_those_of_rows() {
    let fixture = Fixture::new([("in", &parquet(&all_types(), 10))]);
    let expected = "true|-128|4294967295|9223372036854775807|1.5|é|a view of some length|bin|d|2024-02-29|12:34:56.500|\
                    1969-12-31T23:59:59.999999|2024-02-29T12:34:56.000000001Z|-123.4500|[1 nil]|{a:nil z:1}|{x:[1 nil] y:p}\n\
                    nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|{x:nil y:nil}\n";
    assert_eq!(fixture.text(&files(PARQUET, &["in"])), expected);
}

#[test]
fn orc_values_are_those_of_rows() {
    // Written by pyarrow 26, as the Rust writer knows no nested types: a row of values, then one of nulls.
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/types.orc")).unwrap();
    let fixture = Fixture::new([("in", &bytes)]);
    let expected = "true|-128|9223372036854775807|1.5|é|\u{fffd}\0|2024-02-29|2024-02-29T12:34:56.500|-123.4500|\
                    [1 nil 3]|{a:nil z:1}|{x:[p] y:1}\nnil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil|nil\n";
    assert_eq!(fixture.text(&files(ORC, &["in"])), expected);
}

#[test]
fn row_groups_and_stripes_are_dealt_to_any_number_of_splits() {
    let expected: String = (0..5000).map(|row| format!("{row}|row {row}\n")).collect();
    for (format, bytes) in [(PARQUET, parquet(&numbers(5000), 300)), (ORC, orc(&numbers(5000)))] {
        let fixture = Fixture::new([("in", &bytes)]);
        assert_eq!(fixture.text(&files(format.clone(), &["in"])), expected);
        let splits = fixture.splits(&files(format, &["in"]), Some(3)).unwrap();
        assert!(splits.iter().filter(|rows| !rows.is_empty()).count() > 1);
    }
}

#[test]
fn only_the_wanted_columns_are_read_in_the_wanted_order() {
    let wanted = Some(vec!["t".to_owned(), "n".to_owned(), "t".to_owned()]);
    let parquet_format = Format::Parquet { columns: wanted.clone(), known: None };
    for (format, bytes) in
        [(parquet_format, parquet(&numbers(2), 10)), (Format::Orc { columns: wanted, known: None }, orc(&numbers(2)))]
    {
        let fixture = Fixture::new([("in", &bytes)]);
        assert_eq!(fixture.text(&files(format, &["in"])), "row 0|0|row 0\nrow 1|1|row 1\n");
    }
    let one = Format::Parquet { columns: Some(vec!["t".to_owned()]), known: None };
    let fixture = Fixture::new([("in", &parquet(&numbers(1), 10))]);
    assert_eq!(fixture.text(&files(one, &["in"])), "row 0\n");
    let none = Format::Orc { columns: Some(vec!["gone".to_owned()]), known: None };
    let fixture = Fixture::new([("in", &orc(&numbers(1)))]);
    assert!(fixture.error(&files(none, &["in"])).contains("in has no column \"gone\"; it has (n, t)"));
}

#[test]
fn what_no_value_can_hold_fails_with_file_and_column() {
    let large = batch(vec![("u", Arc::new(UInt64Array::from(vec![1 << 63])))]);
    let fixture = Fixture::new([("in", &parquet(&large, 10))]);
    let error = fixture.error(&files(PARQUET, &["in"]));
    assert!(error.contains("in is malformed: column \"u\" holds 9223372036854775808"), "{error}");
    let duration = batch(vec![("d", Arc::new(DurationSecondArray::from(vec![1])))]);
    let fixture = Fixture::new([("in", &parquet(&duration, 10))]);
    let error = fixture.error(&files(PARQUET, &["in"]));
    assert!(error.contains("column \"d\" of in has a type that a flow cannot read"), "{error}");
}

#[test]
fn a_file_that_is_cut_off_or_of_another_kind_fails_with_its_name() {
    for (format, bytes) in [(PARQUET, parquet(&numbers(5000), 300)), (ORC, orc(&numbers(5000)))] {
        let middle = bytes.len() / 2;
        let mut flipped = bytes.clone();
        flipped[middle..middle + 200].fill(0x5a);
        for damaged in [&bytes[..middle], &bytes[..bytes.len() - 1], b"", b"no such file", &flipped] {
            let fixture = Fixture::new([("in", damaged)]);
            let found = fixture.rows(&files(format.clone(), &["in"]));
            // Data without checksums may be damaged unseen, but no row may be missing.
            assert!(
                found.as_ref().is_err_and(|error| error.contains("in is malformed"))
                    || found.is_ok_and(|rows| rows.len() == 5000)
            );
        }
    }
}

#[test]
fn every_file_has_the_columns_of_the_first() {
    let other =
        batch(vec![("t", Arc::new(StringArray::from(vec!["x"])) as ArrayRef), ("n", Arc::new(Int64Array::from(vec![1])))]);
    let fixture = Fixture::new([("1", &parquet(&numbers(1), 10)), ("2", &parquet(&other, 10))]);
    let error = fixture.error(&files(PARQUET, &["*"]));
    assert!(error.contains("2 has other columns than 1") && error.contains("(t, n), not (n, t)"), "{error}");
    let by_name = Format::Parquet { columns: Some(vec!["n".to_owned()]), known: None };
    assert_eq!(fixture.text(&files(by_name, &["*"])), "0\n1\n");
}

#[test]
fn a_column_that_nobody_reads_is_not_decoded_and_yet_must_be_in_every_file() {
    let with = |name: &'static str| {
        let numbers = Arc::new(Int64Array::from(vec![7])) as ArrayRef;
        parquet(&batch(vec![("n", numbers), (name, Arc::new(DurationSecondArray::from(vec![1])))]), 10)
    };
    let fixture = Fixture::new([("1", &with("d")), ("2", &with("d"))]);
    let some = |known: Option<&[&str]>| Format::Parquet {
        columns: Some(vec!["n".to_owned()]),
        known: known.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    };
    assert_eq!(fixture.text(&files(some(Some(&["n", "d"])), &["*"])), "7\n7\n");
    let fixture = Fixture::new([("1", &with("d")), ("2", &with("e"))]);
    let error = fixture.error(&files(some(Some(&["n", "d"])), &["*"]));
    assert!(error.contains("2 has other columns than 1"), "{error}");
    assert_eq!(fixture.text(&files(some(None), &["*"])), "7\n7\n", "the flow itself asks for one column alone");
}

#[test]
fn inspecting_tells_the_columns() {
    let bytes = parquet(&numbers(5), 10);
    let fixture = Fixture::new([("in", &bytes), ("in.orc", &orc(&numbers(5)))]);
    for (format, name) in [(PARQUET, "in"), (ORC, "in.orc")] {
        let facts = inspect(&files(format, &[name]), fixture.dir.path(), &fixture.run.stores).unwrap();
        assert_eq!(facts.fields, Some(vec!["n".to_owned(), "t".to_owned()]));
        assert_eq!(facts.bytes, Some(File::open(fixture.dir.path().join(name)).unwrap().metadata().unwrap().len()));
    }
}

#[test]
fn compressed_parquet_is_read_through_memory() {
    let bytes = zstd::encode_all(&parquet(&numbers(3), 10)[..], 1).unwrap();
    let fixture = Fixture::new([("in.zst", &bytes)]);
    let splits =
        list(&files(PARQUET, &["in.zst"]), None, &fixture.run, Wanted { partitions: None, threads: 1, steps: 1 }).unwrap();
    assert_eq!(splits.len(), 1);
    assert_eq!(show(&fixture.rows(&files(PARQUET, &["in.zst"])).unwrap()), "0|row 0\n1|row 1\n2|row 2\n");
}
