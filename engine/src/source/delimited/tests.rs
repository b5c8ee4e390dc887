//! Csv and tsv fields as values.

use super::*;

#[test]
fn a_quoted_field_is_unquoted() {
    let check = |inner: &str, expected: &str| {
        let mut text = Vec::new();
        unquote(inner.as_bytes(), b'"', &mut text);
        assert_eq!(text, expected.as_bytes());
    };
    check("plain", "plain");
    check("a\"\"b", "a\"b");
    check("\"\"\"\"", "\"\"");
    check("", "");
}
