//! Sources format by format: text in, rows out.

use super::*;

fn check(format: Format, content: &str, expected: &str) {
    let fixture = Fixture::new([("in", content.as_bytes())]);
    assert_eq!(fixture.text(&files(format, &["in"])), expected, "{content:?}");
}

/// The error of reading one file, which is the same however it is split.
fn check_error(format: Format, content: &str, expected: &str) {
    let fixture = Fixture::new([("in", content.as_bytes())]);
    let found = fixture.error(&files(format, &["in"]));
    assert!(found.contains(expected), "{content:?}: {found}");
}

#[test]
fn a_line_ends_at_lf_or_crlf() {
    check(Format::Text, "a\nb\r\n\r\n\nc\rd\n", "a\nb\n\n\nc\rd\n");
    check(Format::Text, "a\nlast", "a\nlast\n");
    check(Format::Text, "a\nlast\r", "a\nlast\r\n");
    check(Format::Text, "", "");
    check(Format::Text, "\n", "\n");
}

#[test]
fn a_long_line_is_a_long_line() {
    let long = "x".repeat(3 << 20);
    check(Format::Text, &format!("a\n{long}\nb\n"), &format!("a\n{long}\nb\n"));
}

#[test]
fn a_line_that_does_not_fit_into_memory_fails_with_its_file() {
    let mut fixture = Fixture::new([("in", "x".repeat(3 << 20).as_bytes())]);
    Arc::get_mut(&mut fixture.run).unwrap().memory = crate::MemoryPool::new(1 << 20);
    let error = fixture.error(&files(Format::Text, &["in"]));
    assert!(error.contains("a record of in") && error.contains("--memory"), "{error}");
}

#[test]
fn csv_has_quotes_delimiters_and_headers() {
    let plain = "a,b\r\n\"x, \"\"y\"\"\nz\",\n,\"\"\n";
    check(Format::Csv(csv()), plain, "a|b\nx, \"y\"\nz|\n|\n");
    check(Format::Csv(CsvOptions { header: true, ..csv() }), plain, "x, \"y\"\nz|\n|\n");
    check(Format::Csv(CsvOptions { columns: Some(vec![1, 0, 1]), ..csv() }), plain, "b|a|b\n|x, \"y\"\nz|\n||\n");
    check(Format::Csv(CsvOptions { delimiter: b';', quote: Some(b'\''), ..csv() }), "'a;b';\"c\n", "a;b|\"c\n");
    check(Format::Csv(csv()), "a\n\nb", "a\n\nb\n");
    check(Format::Csv(csv()), "", "");
    check(Format::Csv(CsvOptions { header: true, ..csv() }), "a,b", "");
    check(Format::Csv(CsvOptions { header: true, ..csv() }), "\"a\n1\",b\n1,2", "1|2\n");
}

#[test]
fn a_byte_order_mark_is_skipped() {
    check(Format::Csv(csv()), "\u{feff}a,b\n1,2\n", "a|b\n1|2\n");
    check(Format::Csv(csv()), "\u{feff}\"a\",b\n", "a|b\n");
    check(Format::Csv(CsvOptions { header: true, ..csv() }), "\u{feff}a,b\n1,2\n", "1|2\n");
    check(Format::Tsv(tsv()), "\u{feff}a\tb\n", "a|b\n");
    check(Format::Text, "\u{feff}a\nb\n\u{feff}c", "a\nb\n\u{feff}c\n");
    check(Format::Text, "\u{feff}", "");
    check(Format::Text, "\u{feff}\n", "\n");
    check(Format::Json { columns: None }, "\u{feff}{\"a\": 1}\n2\n", "{a:1}\n2\n");
    check_error(Format::Json { columns: None }, "1\n\u{feff}2\n", "in:2 is malformed");
}

#[test]
fn a_csv_record_of_another_width_fails_with_file_and_line() {
    let expected = "in:4 is malformed: the record has 3 fields; the first record of the file has 2";
    check_error(Format::Csv(csv()), "a,b\n\"x\ny\",2\n1,2,3\n", expected);
    check_error(Format::Csv(csv()), "a,b\n1\n", "in:2 is malformed: the record has one field");
    check_error(Format::Csv(csv()), "a,b\n\n", "in:2 is malformed");
    check_error(
        Format::Csv(CsvOptions { columns: Some(vec![2]), ..csv() }),
        "a,b\n",
        "in is malformed: the record has 2 fields, but column 3",
    );
}

#[test]
fn a_csv_quote_out_of_place_fails_with_file_and_line() {
    check_error(Format::Csv(csv()), "a,b\n1,5\" disk\n2,3\n", "in:2 is malformed: a quote stands inside a field");
    check_error(Format::Csv(csv()), "a,b\n1,\"5\" disk\n", "in:2 is malformed: text follows a quoted field");
    check_error(Format::Csv(csv()), "a,b\n1,\"5\n2,3\n", "in:2 is malformed: a quoted field does not end");
}

#[test]
fn csv_fields_are_strings_unless_typed() {
    let types = vec![(0, ValueType::Integer), (2, ValueType::Float), (3, ValueType::Bool)];
    let typed = CsvOptions { types, ..csv() };
    check(
        Format::Csv(typed.clone()),
        "1,2,3,true\n-9223372036854775808,x,1e3,FALSE\n,,,\n",
        "1|2|3.0|true\n-9223372036854775808|x|1000.0|false\nnil||nil|nil\n",
    );
    check_error(Format::Csv(typed.clone()), "1,2,3,true\n1,2,x,true\n", "in:2 is malformed: column 3 is no number: \"x\"");
    for large in ["1e999", "-1e999", "1".repeat(400).as_str()] {
        let shown = &large[..large.len().min(100)];
        let problem = format!("in:1 is malformed: column 3 is no number that a float can hold: \"{shown}");
        check_error(Format::Csv(typed.clone()), &format!("1,2,{large},true\n"), &problem);
    }
    check(
        Format::Csv(typed.clone()),
        "1,2,inf,true\n1,2,-Infinity,true\n1,2,1e-999,true\n",
        "1|2|inf|true\n1|2|-inf|true\n1|2|0.0|true\n",
    );
    check_error(
        Format::Csv(typed.clone()),
        "9223372036854775808,2,3,true\n",
        "in:1 is malformed: column 1 is no integer of 64 bits",
    );
    check_error(Format::Csv(typed.clone()), "1,2,3,yes\n", "column 4 is no bool");
    check(Format::Csv(CsvOptions { columns: Some(vec![3, 1]), ..typed }), "1,2,3,\"true\"\n", "true|2\n");
}

#[test]
fn tsv_is_split_at_tabs_and_nothing_else() {
    check(Format::Tsv(tsv()), "a\t\"b\tc\"\r\nd\n\t\n", "a|\"b|c\"\nd\n|\n");
    check(Format::Tsv(CsvOptions { header: true, ..tsv() }), "a\tb\n1\t2\n", "1|2\n");
    check_error(Format::Tsv(CsvOptions { header: true, ..tsv() }), "a\tb\n1\n", "in:2 is malformed: the record has one field");
    check_error(
        Format::Tsv(CsvOptions { columns: Some(vec![1]), ..tsv() }),
        "a\tb\n1\n",
        "in:2 is malformed: the record has one field, but column 2",
    );
}

#[test]
fn json_has_one_value_per_line_and_blank_lines_are_skipped() {
    let text =
        "{\"b\": 1, \"a\": [1, 2.5, null, {\"x\": \"\\u00e9\\n\"}]}\r\n\n  \n\"text\"\nnull\n9223372036854775807\n4.0\n[]\n{}";
    let expected = "{a:[1 2.5 nil {x:é\n}] b:1}\ntext\nnil\n9223372036854775807\n4.0\n[]\n{}\n";
    check(Format::Json { columns: None }, text, expected);
}

#[test]
fn json_columns_are_one_field_each_and_nil_where_absent() {
    let columns = Format::Json { columns: Some(vec!["b".to_owned(), "a".to_owned(), "b".to_owned()]) };
    check(
        columns.clone(),
        "{\"a\": {\"x\": 1}, \"c\": [1], \"b\": \"\\\"\"}\n{}\n{\"b\":1,\"b\":2}\n",
        "\"|{x:1}|\"\nnil|nil|nil\n2|nil|2\n",
    );
    check_error(columns, "[1]\n", "in:1 is malformed: the value is no object");
}

#[test]
fn malformed_json_fails_with_file_and_line() {
    let problems = [
        "{",
        "[1,]",
        "[1 2]",
        "{\"a\" 1}",
        "{a: 1}",
        "01",
        "1.",
        "-",
        "tru",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\t\"",
        "1 2",
        "'a'",
        "{\"a\":1,}",
        "nulll",
        "\"a",
    ];
    for problem in problems {
        check_error(Format::Json { columns: None }, &format!("1\n\n{problem}\n"), "in:3 is malformed: ");
    }
    check_error(Format::Json { columns: None }, "9223372036854775808", "needs more than 64 bits");
    check_error(Format::Json { columns: None }, "1e999", "too large");
    check_error(Format::Json { columns: None }, &"[".repeat(200), "nest more than 128 levels");
    let fixture = Fixture::new([("in", b"\"\xff\"\n")]);
    assert!(fixture.error(&files(Format::Json { columns: None }, &["in"])).contains("in:1 is malformed"));
}

#[test]
fn inline_rows_and_ranges_are_dealt_to_any_number_of_splits() {
    let rows = serde_json::from_str("[[1, \"a\"], [4.0, [1, {\"b\": 2}]], [], [null]]").unwrap();
    let fixture = Fixture::new([]);
    assert_eq!(fixture.text(&Source::Inline { rows }), "1|a\n4|[1 {b:2}]\n\nnil\n");
    assert_eq!(fixture.text(&Source::Range { from: 1, to: 10, step: 4 }), "1\n5\n9\n");
    assert_eq!(fixture.text(&Source::Range { from: 3, to: 0, step: -1 }), "3\n2\n1\n");
    assert_eq!(fixture.text(&Source::Range { from: 3, to: 0, step: 1 }), "");
    assert_eq!(fixture.text(&Source::Range { from: i64::MAX - 1, to: i64::MAX, step: 9 }), format!("{}\n", i64::MAX - 1));
    let large = fixture.splits(&Source::Range { from: 0, to: 1_000_000, step: 1 }, None).unwrap();
    assert_eq!((large.len(), large.concat().len()), (8, 1_000_000));
}

#[test]
fn bad_records_can_be_set_aside_as_they_stand() {
    let check = |format: Format, content: &str, expected: &str, expected_bad: &[&str]| {
        let fixture = Fixture::new([("in", content.as_bytes())]);
        let source = files(format, &["in"]);
        let splits = list(&source, None, &fixture.run, Wanted { partitions: None, threads: 1, steps: 1 }).unwrap();
        let ctx = TaskContext::new(Arc::clone(&fixture.run), 0);
        let (mut rows, mut bad) = (Rows::default(), Vec::new());
        let mut keep = |record: &[u8]| {
            bad.push(String::from_utf8(record.to_vec()).unwrap());
            Ok(())
        };
        read_into(&splits[0], &source, &ctx, "step", Target { out: &mut rows, bad: Some(&mut keep), counts: true }).unwrap();
        assert_eq!((show(&rows.0).as_str(), &bad.iter().map(String::as_str).collect::<Vec<_>>()[..]), (expected, expected_bad));
        assert_eq!(fixture.run.set_aside["step"].load(Ordering::Relaxed), expected_bad.len() as u64);
    };
    check(Format::Csv(csv()), "a,b\n1\n2,\"x\" y\n\"3\",4\n5\"5,\n6,6", "a|b\n3|4\n6|6\n", &["1", "2,\"x\" y", "5\"5,"]);
    check(Format::Csv(csv()), "a,b\n1,\"2\n3,4\n", "a|b\n", &["1,\"2\n3,4\n"]);
    let typed = CsvOptions { types: vec![(1, ValueType::Integer)], ..csv() };
    check(Format::Csv(typed), "a,1\n\"b\",\"x\"\n", "a|1\n", &["\"b\",\"x\""]);
    check(Format::Json { columns: None }, "1\n{\n2\n", "1\n2\n", &["{"]);
}

#[test]
fn a_source_stops_when_no_more_is_wanted_or_the_run_is_stopped() {
    struct Enough(usize);
    impl RowSink for Enough {
        fn push(&mut self, _: &[Val<'_>]) -> Result<()> {
            self.0 += 1;
            Ok(())
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
        fn wants_more(&self) -> bool {
            self.0 == 0
        }
    }
    let fixture = Fixture::new([("in", "1,2\n".repeat(1 << 18).as_bytes())]);
    for format in [Format::Text, Format::Csv(csv()), Format::Json { columns: None }] {
        let source = files(format.clone(), &["in"]);
        if matches!(format, Format::Json { .. }) {
            fs::write(fixture.dir.path().join("in"), "[1]\n".repeat(1 << 18)).unwrap();
        }
        let splits = list(&source, None, &fixture.run, Wanted { partitions: Some(1), threads: 1, steps: 1 }).unwrap();
        let ctx = TaskContext::new(Arc::clone(&fixture.run), 0);
        let mut out = Enough(0);
        read(&splits[0], &source, &ctx, "step", &mut out).unwrap();
        assert!(out.0 > 0 && out.0 < 1 << 18, "{}", out.0);
        fixture.run.stop.store(true, Ordering::Relaxed);
        assert!(matches!(read(&splits[0], &source, &ctx, "step", &mut out), Err(crate::Error::Interrupted)));
        fixture.run.stop.store(false, Ordering::Relaxed);
    }
}
