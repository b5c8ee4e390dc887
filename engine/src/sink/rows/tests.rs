//! Lines of each format, and csv read back by a naive parser.

use proptest::prelude::*;

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn lines(format: &plan::SinkFormat, fields: Option<&[&str]>, rows: &[&[Val<'_>]]) -> String {
    let encoder = Encoder::new(format, fields.map(names).as_ref()).unwrap();
    let mut out = Vec::new();
    encoder.write_header(&mut out).unwrap();
    rows.iter().for_each(|row| encoder.write(&mut out, row).unwrap());
    String::from_utf8(out).unwrap()
}

fn csv(header: bool) -> plan::SinkFormat {
    plan::SinkFormat::Csv { header, delimiter: b',', quote: b'"' }
}

const LIST: Val<'_> = Val::List(&[0x92, 0x01, 0xa1, b'x']);

#[test]
fn text_joins_fields_by_tabs() {
    let row = [Val::Str(b"a\tb"), Val::Nil, Val::Float(4.0), LIST];
    assert_eq!(lines(&plan::SinkFormat::Text, None, &[&row, &[]]), "a\tb\t\t4.0\t[1,\"x\"]\n\n");
}

#[test]
fn csv_quotes_only_what_needs_it() {
    let row = [Val::Str(b"plain text"), Val::Str(b"a,b"), Val::Str(b"say \"hi\""), Val::Str(b"two\nlines"), Val::Str(b"\r")];
    assert_eq!(lines(&csv(false), None, &[&row]), "plain text,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\"\r\"\n");
    let row = [Val::Nil, Val::Int(-1), Val::Bool(true), Val::Float(0.5), LIST];
    assert_eq!(lines(&csv(false), None, &[&row]), ",-1,true,0.5,\"[1,\"\"x\"\"]\"\n");
    let other = plan::SinkFormat::Csv { header: false, delimiter: b';', quote: b'\'' };
    assert_eq!(lines(&other, None, &[&[Val::Str(b"a,b"), Val::Str(b"it's; so")]]), "a,b;'it''s; so'\n");
    let odd = plan::SinkFormat::Csv { header: false, delimiter: b'1', quote: b'"' };
    assert_eq!(lines(&odd, None, &[&[Val::Int(10), Val::Int(2)]]), "\"10\"12\n");
}

#[test]
fn a_lone_empty_field_is_no_empty_line() {
    assert_eq!(lines(&csv(false), None, &[&[Val::Nil], &[Val::Str(b"")], &[Val::Nil, Val::Nil]]), "\"\"\n\"\"\n,\n");
}

#[test]
fn headers_name_the_fields_and_fix_the_width() {
    let rows: &[&[Val<'_>]] = &[&[Val::Int(1), Val::Int(2)], &[Val::Int(3)], &[]];
    assert_eq!(lines(&csv(true), Some(&["a", "b,c"]), rows), "a,\"b,c\"\n1,2\n3,\n\"\",\n");
    assert_eq!(lines(&plan::SinkFormat::Tsv { header: true }, Some(&["a", "b"]), rows), "a\tb\n1\t2\n3\t\n\t\n");
    assert_eq!(lines(&csv(false), Some(&["a", "b"]), rows), "1,2\n3\n\"\"\n");
}

#[test]
fn json_makes_objects_of_named_fields_and_arrays_of_others() {
    let rows: &[&[Val<'_>]] = &[&[Val::Str("é\"".as_bytes()), LIST], &[Val::Float(4.0)], &[]];
    assert_eq!(lines(&plan::SinkFormat::Json, None, rows), "[\"é\\\"\",[1,\"x\"]]\n[4.0]\n[]\n");
    assert_eq!(
        lines(&plan::SinkFormat::Json, Some(&["a", "b\""]), rows),
        "{\"a\":\"é\\\"\",\"b\\\"\":[1,\"x\"]}\n{\"a\":4.0,\"b\\\"\":null}\n{\"a\":null,\"b\\\"\":null}\n"
    );
}

#[test]
fn tsv_refuses_what_it_cannot_carry() {
    let encoder = Encoder::new(&plan::SinkFormat::Tsv { header: false }, None).unwrap();
    for text in ["a\tb", "a\nb", "a\r"] {
        encoder.write(&mut Vec::new(), &[Val::Nil, Val::Str(text.as_bytes())]).unwrap_err();
    }
    // In JSON they are escaped.
    let list: Vec<u8> = [&[0x91, 0xa3][..], b"a\tb"].concat();
    let mut out = Vec::new();
    encoder.write(&mut out, &[Val::List(&list)]).unwrap();
    assert_eq!(out, b"[\"a\\tb\"]\n");
}

/// RFC 4180 by hand: one state, one byte at a time.
fn naive_csv(text: &[u8], delimiter: u8, quote: u8) -> Vec<Vec<Vec<u8>>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), Vec::new(), false);
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b if quoted && b == quote && bytes.peek() == Some(&quote) => field.extend(bytes.next()),
            b if b == quote => quoted = !quoted,
            b if quoted => field.push(b),
            b'\n' => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            b if b == delimiter => row.push(std::mem::take(&mut field)),
            b => field.push(b),
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn csv_reads_back_as_it_was(
        rows in prop::collection::vec(prop::collection::vec("[a,;'\"\r\n\t ]{0,6}", 1..4), 0..5),
        (delimiter, quote) in prop::sample::select(vec![(b',', b'"'), (b';', b'\''), (b'\t', b'"')]),
    ) {
        let encoder = Encoder::new(&plan::SinkFormat::Csv { header: false, delimiter, quote }, None).unwrap();
        let mut out = Vec::new();
        for row in &rows {
            let row: Vec<Val<'_>> = row.iter().map(|text| Val::Str(text.as_bytes())).collect();
            encoder.write(&mut out, &row).unwrap();
        }
        let expected: Vec<Vec<Vec<u8>>> =
            rows.iter().map(|row| row.iter().map(|text| text.clone().into_bytes()).collect()).collect();
        prop_assert_eq!(naive_csv(&out, delimiter, quote), expected);
    }
}
