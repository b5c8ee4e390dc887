//! Where records and fields begin and end.

use super::*;

const CSV: Syntax = Syntax { delimiter: Some(b','), quote: Some(b'"') };

/// Records as texts of their fields, quotes and all; then the fault.
fn check(syntax: Syntax, text: &str, steps: usize) -> (Vec<Vec<String>>, Option<Fault>) {
    let bytes = text.as_bytes();
    let mut index = Index::new(syntax);
    for step in 1..=steps {
        index.extend(&bytes[..bytes.len() * step / steps], step == steps);
    }
    let (mut found, mut first, mut start) = (Vec::new(), 0, 0);
    for &last in index.records() {
        let ends = &index.ends()[first..=last as usize];
        found.push(
            ends.iter()
                .map(|&end| std::mem::replace(&mut start, end as usize + 1)..end as usize)
                .map(|field| text[field].to_owned())
                .collect(),
        );
        first = last as usize + 1;
    }
    (found, index.fault())
}

#[test]
fn fields_and_records_end_outside_of_quotes_only() {
    let (records, fault) = check(CSV, "a,b\n\"c,\n\"\"\",d\r\n,\n\"\"", 1);
    assert_eq!(records, [vec!["a", "b"], vec!["\"c,\n\"\"\"", "d\r"], vec!["", ""], vec!["\"\""]]);
    assert_eq!(fault, None);
}

#[test]
fn text_is_indexed_alike_in_any_steps() {
    let row = "plain,\"quoted, with \"\"quotes\"\" and\r\nlines\",,1234567890,\"\"\r\n";
    let text = row.repeat(40);
    let whole = check(CSV, &text, 1);
    assert_eq!((whole.0.len(), whole.0[39].len(), whole.1), (40, 5, None));
    for steps in [2, 3, 7, 50] {
        assert_eq!(check(CSV, &text, steps), whole);
    }
}

#[test]
fn quotes_where_none_may_be_are_faults() {
    let faults = |text: &str| {
        // At any distance to the border of a block.
        let found: Vec<_> = (0..70)
            .map(|pad| check(CSV, &format!("{}{text}", "\n".repeat(pad)), 1).1.map(|fault| (fault.at - pad, fault.kind)))
            .collect();
        assert!(found.iter().all(|fault| *fault == found[0]), "{text}: {found:?}");
        found[0]
    };
    assert_eq!(faults("a,b\"c,d\n"), Some((3, FaultKind::QuoteInsideUnquoted)));
    assert_eq!(faults("\"a\"b,d\n"), Some((3, FaultKind::TextBehindQuoted)));
    assert_eq!(faults("\"a\" ,d\n"), Some((3, FaultKind::TextBehindQuoted)));
    assert_eq!(faults("\"a\"\rb\n"), Some((4, FaultKind::TextBehindQuoted)));
    assert_eq!(faults("x,\"a\nb\n"), Some((7, FaultKind::Unterminated)));
    assert_eq!(faults("\"a\",\"\"\"\",\"b\"\r\n\"\"\n"), None);
    assert_eq!(faults("\"a\"\"b\"\n\"a\""), None);
}

#[test]
fn the_last_record_needs_no_line_end() {
    for text in ["a,b", "a,b\n", "\"a\",b"] {
        assert_eq!(check(CSV, text, 1).0.len(), 1, "{text}");
    }
    assert_eq!(check(CSV, "", 1).0.len(), 0);
    assert_eq!(check(CSV, "\n", 1).0.len(), 1);
    assert_eq!(check(CSV, "a,", 1).0, [["a", ""]]);
}
