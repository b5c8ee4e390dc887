//! Random files, cut in any way, give exactly the rows of a naive parser of the whole file.

use proptest::prelude::*;

use super::*;

/// What the naive parser reads: RFC 4180, character by character.
fn naive_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut chars, mut inside) = (text.chars().peekable(), false);
    while let Some(c) = chars.next() {
        match (inside, c) {
            (true, '"') if chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
            (_, '"') => inside = !inside,
            (false, ',') => row.push(std::mem::take(&mut field)),
            (false, '\r') if chars.peek() == Some(&'\n') => {}
            (false, '\n') => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            _ => field.push(c),
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        row.push(field);
        rows.push(row);
    }
    rows
}

/// One field as it stands in a file.
fn field() -> impl Strategy<Value = String> {
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
    prop_oneof![
        4 => "[a-c ]{0,6}",
        1 => "[a-c]{0,3}\r[a-c]{1,3}",
        3 => "[a,\"\r\n]{0,6}".prop_map(quoted),
        1 => "(a,b\n){0,20}".prop_map(quoted),
        1 => "[,\"\n]{0,3}".prop_map(quoted),
    ]
}

fn csv_text() -> impl Strategy<Value = String> {
    (1..4usize)
        .prop_flat_map(|width| {
            let record = proptest::collection::vec(field(), width);
            (proptest::collection::vec((record, any::<bool>()), 0..40), any::<bool>())
        })
        .prop_map(|(records, end)| {
            let mut text: String =
                records.iter().map(|(record, crlf)| record.join(",") + if *crlf { "\r\n" } else { "\n" }).collect();
            let last = text.trim_end_matches(['\r', '\n']).len();
            // An open last record must still be one: something must stand in it.
            if end
                && records
                    .last()
                    .is_some_and(|(record, _)| !record.join(",").is_empty() && !record.join(",").ends_with(['\r', '\n']))
            {
                text.truncate(last);
            }
            text
        })
}

fn strings(rows: &[Vec<Value>]) -> Vec<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Str(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?} is no string"),
    };
    rows.iter().map(|row| row.iter().map(text).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn csv_cut_anywhere_is_the_same_csv(text in csv_text()) {
        let fixture = Fixture::new([("in", text.as_bytes())]);
        let rows = fixture.rows(&files(Format::Csv(csv()), &["in"])).unwrap();
        prop_assert_eq!(strings(&rows), naive_csv(&text));
    }

    #[test]
    fn text_cut_anywhere_is_the_same_text(text in "([a-c]{0,9}(\n|\r\n|\r))*[a-c]{0,9}") {
        let fixture = Fixture::new([("in", text.as_bytes())]);
        let rows = fixture.rows(&files(Format::Text, &["in"])).unwrap();
        let naive: Vec<Vec<String>> = text.split_inclusive('\n').map(|line| {
            vec![line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line)).to_owned()]
        }).collect();
        prop_assert_eq!(strings(&rows), naive);
    }

    #[test]
    fn malformed_csv_fails_or_is_read_alike_however_it_is_cut(text in "([ab,\n]|\"){0,60}") {
        let fixture = Fixture::new([("in", text.as_bytes())]);
        // `rows` compares the outcomes.
        let _ = fixture.rows(&files(Format::Csv(csv()), &["in"]));
    }
}

#[test]
fn large_csv_is_cut_right_with_and_without_quotes() {
    let plain: String = (0..200_000).map(|row| format!("{row},some text,{}\n", row * 7)).collect();
    let one_quoted = plain.replacen("150000,some text", "150000,\"some\ntext\"", 1);
    // A quoted field as large as several pieces, and it looks like csv itself.
    let nested = format!("a,b,c\n1,\"{}\",2\n{plain}", plain.repeat(2));
    for text in [&plain, &one_quoted, &nested] {
        let fixture = Fixture::new([("in", text.as_bytes())]);
        let rows = fixture.rows(&files(Format::Csv(csv()), &["in"])).unwrap();
        assert_eq!(strings(&rows), naive_csv(text));
    }
    let fixture = Fixture::new([("in", plain.as_bytes())]);
    let splits = fixture.splits(&files(Format::Csv(csv()), &["in"]), Some(7)).unwrap();
    assert!(splits.iter().all(|rows| rows.len() > 10_000), "the pieces are about equal");
}
