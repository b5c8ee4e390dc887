//! Each kind of problem with its message, its place, and what to do.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use super::super::Document;

/// The problems of a flow with these steps, which begin on line 6.
fn steps(steps: &str) -> String {
    let head = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: test}\nspec:\n  steps:\n";
    problems(&format!("{head}{steps}"))
}

fn problems(text: &str) -> String {
    match Document::parse(text, "f") {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[track_caller]
fn check(found: &str, expected: &str) {
    assert_eq!(found, expected.trim());
}

#[test]
fn a_file_that_is_no_flow() {
    check(
        &problems(r#""#),
        r#"
f: the file is empty: it holds no flow
"#,
    );
    check(
        &problems(
            r#"# nothing
---
"#,
        ),
        r#"
f: the file is empty: it holds no flow
"#,
    );
    check(
        &problems(
            r#"just text
"#,
        ),
        r#"
f:1:1: this is no GleamFlow: it has no kind; a flow file begins with "apiVersion: gleamflow.io/v1alpha1" and "kind: GleamFlow"
"#,
    );
    check(
        &problems(
            r#"- a
- b
"#,
        ),
        r#"
f:1:1: this is no GleamFlow: it has no kind; a flow file begins with "apiVersion: gleamflow.io/v1alpha1" and "kind: GleamFlow"
"#,
    );
    check(
        &problems(
            r#"kind: Deployment
foo: x
"#,
        ),
        r#"
f:1:7: this is no GleamFlow: its kind is "Deployment"; a flow file begins with "apiVersion: gleamflow.io/v1alpha1" and "kind: GleamFlow"
"#,
    );
    check(
        &problems(
            r#"a: b
"#,
        ),
        r#"
f:1:1: this is no GleamFlow: it has no kind; a flow file begins with "apiVersion: gleamflow.io/v1alpha1" and "kind: GleamFlow"
"#,
    );
    check(
        &problems(
            r#"apiVersion: gleamflow.io/v1
kind: Gleamflow
metadata: {name: a}
spec: {steps: [{name: a, read: {range: {to: 3}}}]}
"#,
        ),
        r#"
f:1:13: "apiVersion" cannot be "gleamflow.io/v1"; write gleamflow.io/v1alpha1
f:2:7: "kind" cannot be "Gleamflow"; did you mean "GleamFlow"?
"#,
    );
    check(
        &problems(
            r#"apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
spec: {steps: []}
---
a: b
"#,
        ),
        r#"
f:1:1: "metadata" is missing
f:3:15: "steps" is an empty list
f:5:1: a flow file holds one document, and a second one begins here; put each flow into a file of its own
"#,
    );
    check(
        &problems(
            r#"apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {}
spec: {step: [], lua: x, luaFrom: {configMapKeyRef: {name: a}}}
staus: {}
"#,
        ),
        r#"
f:3:11: the flow has no name; give "name" in metadata
f:4:8: unknown field "step"; did you mean "steps"?
f:4:26: only one prelude is allowed here, and there are 2: "lua", "luaFrom"
f:4:53: "configMapKeyRef" needs "key"
f:5:1: unknown field "staus"; did you mean "status"?
"#,
    );
    check(
        &problems(
            r#"apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {name: Word_Count, labels: {a: 1, yes: b}}
spec: {steps: {a: {read: x}}}
"#,
        ),
        r#"
f:3:18: a flow cannot be named "Word_Count"; allowed are lower-case letters, digits and "-", with a letter or digit at both ends
f:3:42: "a" should be text, not the number 1; put it in quotes: "1"
f:3:45: YAML readers do not agree on the key yes; put the key in quotes: "yes"
f:4:15: "steps" should be a list, not a mapping; begin each step with "- name: ..."
"#,
    );
    check(
        &problems(
            r#"apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {name: a, creationTimestamp: today}
spec: {steps: [{name: a, read: {range: {to: 3}}}]}
"#,
        ),
        r#"
f:3:11: the metadata is not understood: failed to parse four digit integer as year: invalid digit, expected 0-9 but got t
"#,
    );
}

#[test]
fn text_that_is_no_yaml() {
    check(
        &problems(
            r#"a: [
"#,
        ),
        r#"
f:2:1: this is not YAML: while parsing a node, did not find expected node content
"#,
    );
    check(
        &problems("a:\n\t- b\n"),
        r#"
f:2:2: this is not YAML: tabs disallowed within this context (block indentation); YAML is indented with spaces, not with tabs
"#,
    );
    check(
        &problems(
            r#"a: b: c
"#,
        ),
        r#"
f:1:5: this is not YAML: mapping values are not allowed in this context
"#,
    );
    check(
        &steps(
            r#"  - name: x
    map: {lua: function(x) return {x, 1} end}
"#,
        ),
        r#"
f:7:35: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'; put the text in single quotes, or on lines of its own after "|"
"#,
    );
    check(
        &problems(
            r#"a: 'b
"#,
        ),
        r#"
f:1:4: this is not YAML: while scanning a quoted scalar, found unexpected end of stream
"#,
    );
    check(
        &problems(
            r#"*a
"#,
        ),
        r#"
f:1:1: this is not YAML: while parsing node, found unknown anchor; a text that begins with "*" needs quotes: "*a"
"#,
    );
    check(
        &problems(
            r#"&a [*a]
"#,
        ),
        r#"
f:1:5: an alias stands inside what it stands for
"#,
    );
    check(
        &problems("a: b\0c\n"),
        r#"
f:1:5: this is not YAML: found unprintable character
"#,
    );
}

#[test]
fn yaml_that_divides_readers() {
    check(
        &problems(
            r#"%YAML 1.2
---
apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {name: test}
spec:
  steps:
  - name: a
    read: {range: {to: 3}}
"#,
        ),
        r#"
f:1:1: YAML directives divide readers; leave the line out
"#,
    );
    check(
        &steps(
            r#"  - name: a
    <<: {read: {range: {to: 3}}}
    read: !x {range: {to: !!int 3}}
    ? [x]
    : y
"#,
        ),
        r#"
f:7:5: merge keys (<<) are known to some YAML readers only; write the fields out, or use an alias for the whole mapping
f:8:11: the YAML tag !x is not understood; leave it out
f:8:27: the YAML tag !!int is not understood; leave it out
f:9:7: a key must be text; write "key: value"
"#,
    );
    check(
        &steps("  - name: a\n    read: {inline: {rows: [[a\u{2028}b]]}}\n"),
        r#"
f:7:30: the character U+2028 ends a line for some YAML readers; write "\u2028" in double quotes
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {range: {to: 3}}
    name: b
"#,
        ),
        r#"
f:8:5: field "name" is given twice; it was given on line 6 before
"#,
    );
    check(
        &steps(
            r#"  - name: y
    read: {inline: {rows: [[012, yes, 1_0, .inf, 99999999999999999999, ~, {no: No}, 1:30, 0o7, 4.0, 2024-01-01]]}}
    persist: on
    partitions: 010
"#,
        ),
        r#"
f:6:11: step "y": y is true to some YAML readers (kubectl) and text to others; put it in quotes: "y"
f:7:29: step "y": 012 has a leading zero: it is octal to some YAML readers (kubectl) and decimal to others; write it in plain decimal digits, or in quotes: "012"
f:7:34: step "y": yes is true to some YAML readers (kubectl) and text to others; write true or "yes"
f:7:39: step "y": 1_0 is a number to some YAML readers and text to others; write it in plain decimal digits, or in quotes: "1_0"
f:7:44: step "y": .inf is a number that Kubernetes cannot keep; put it in quotes, ".inf", or make it in Lua
f:7:50: step "y": 99999999999999999999 does not fit into 64 bits, and Kubernetes would round it; put it in quotes: "99999999999999999999", or write a float
f:7:76: step "y": YAML readers do not agree on the key no; put the key in quotes: "no"
f:7:80: step "y": No is false to some YAML readers (kubectl) and text to others; write false or "No"
f:7:85: step "y": 1:30 is a number to some YAML readers and text to others; write it in plain decimal digits, or in quotes: "1:30"
f:7:91: step "y": 0o7 is a number to some YAML readers and text to others; write it in plain decimal digits, or in quotes: "0o7"
f:8:14: step "y": on is true to some YAML readers (kubectl) and text to others; write true
f:9:17: step "y": 010 has a leading zero: it is octal to some YAML readers (kubectl) and decimal to others; write it in plain decimal digits
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {inline: {lines: [a, 1, on, 007, 1.5, true, ~, 'off', "no"]}}
    fields: [y]
"#,
        ),
        r#"
f:7:32: step "a": "lines[1]" should be text, not the number 1; put it in quotes: "1"
f:7:35: step "a": on is true to some YAML readers (kubectl) and text to others; put it in quotes: "on"
f:7:39: step "a": 007 has a leading zero: it is octal to some YAML readers (kubectl) and decimal to others; put it in quotes: "007"
f:7:44: step "a": "lines[4]" should be text, not the number 1.5; put it in quotes: "1.5"
f:7:49: step "a": "lines[5]" should be text, not true; put it in quotes: "true"
f:7:55: step "a": "lines[6]" is empty, and should be text
f:8:14: step "a": y is true to some YAML readers (kubectl) and text to others; put it in quotes: "y"
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {csv: {paths: [x], types: {n: integer, '1': float, 01: float, 1: bool, 1.5: bool, ~: bool}}}
  - name: b
    sort: {by: [{field: on}, {field: 1.0}, {field: 1.5}, {field: 01}, {field: true}]}
"#,
        ),
        r#"
f:7:38: step "a": YAML readers do not agree on the key n; put the key in quotes: "n"
f:7:62: step "a": YAML readers do not agree on the key 01; put the key in quotes: "01"
f:7:73: field "1" is given twice; it was given on line 7 before
f:7:82: step "a": YAML readers do not agree on the key 1.5; put the key in quotes: "1.5"
f:7:93: step "a": a key is missing before ":"; write key: value
f:9:25: step "b": on is true to some YAML readers (kubectl) and text to others; put it in quotes: "on"
f:9:52: step "b": "field" should be text or a whole number, not the number 1.5
f:9:66: step "b": 01 has a leading zero: it is octal to some YAML readers (kubectl) and decimal to others; write it in plain decimal digits, or in quotes: "01"
f:9:79: step "b": "field" should be text or a whole number, not true
"#,
    );
}

#[test]
fn unknown_fields() {
    check(
        &steps(
            r#"  - name: a
    flatmap: {lua: x}
    form: [b]
"#,
        ),
        r#"
f:7:5: step "a": unknown field "flatmap"; did you mean "flatMap"?
f:8:5: step "a": unknown field "form"; did you mean "from"?
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {range: {to: 3}}
  - name: b
    join: {key: [1], partitions: 5, knd: inner}
  - name: c
    sort: {}
    by: [{field: 1}]
  - name: d
    top: {n: 3}
    explode: true
"#,
        ),
        r#"
f:9:22: step "b": unknown field "partitions"; "partitions" belongs to the step itself, beside its operator
f:9:37: step "b": unknown field "knd"; did you mean "kind"?
f:12:5: step "c": unknown field "by"; "by" belongs inside "sort"
f:15:5: step "d": unknown field "explode"; known here are coGroup, combine, count, deterministic, distinct, fields, filter, flatMap, forEach, from, groupBy, hints, join, limit, map, merge, name, onError, operate, parallelDo, partition, partitions, persist, pipe, pipeAsArgs, read, reduce, reduceBy, roundRobin, select, sideInputs, sort, top, union, write
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {txt: {paths: [a]}}
  - name: b
    read: {text: {path: a}}
"#,
        ),
        r#"
f:7:12: step "a": unknown field "txt"; did you mean "text"?
f:9:19: step "b": unknown field "path"; did you mean "paths"?
"#,
    );
}

#[test]
fn operators_of_a_step() {
    check(
        &steps(
            r#"  - name: a
"#,
        ),
        r#"
f:6:5: step "a": the step has no operator; give one of read, map, flatMap, filter, forEach, parallelDo, select, reduce, groupBy, combine, reduceBy, coGroup, join, union, distinct, count, sort, top, limit, partition, roundRobin, merge, pipe, pipeAsArgs, operate, write
"#,
    );
    check(
        &steps(
            r#"  - name: a
    map: {lua: f}
    filter: {lua: g}
    sort: {}
"#,
        ),
        r#"
f:8:5: step "a": only one operator is allowed here, and there are 3: "map", "filter", ...; make a step of each
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {}
  - name: b
    write: {stdout: {}, text: {path: a}}
"#,
        ),
        r#"
f:7:11: step "a": "read" has no source; give one of text, csv, tsv, json, parquet, orc, files, inline, range
f:9:25: step "b": only one sink is allowed here, and there are 2: "stdout", "text"
"#,
    );
    check(
        &steps(
            r#"  - name: a
    read: {text: {}}
  - name: b
    read: {text: {paths: [a], pathsFrom: a}}
"#,
        ),
        r#"
f:7:18: step "a": "text" has no place to read from; give one of paths, pathsFrom
f:9:31: step "b": only one place to read from is allowed here, and there are 2: "paths", "pathsFrom"
"#,
    );
}

#[test]
fn values_of_another_type() {
    check(
        &steps(
            r#"  - name: a
    map: 'function(x) return x end'
  - name: b
    map:
  - name: c
    map: {}
  - name: d
    distinct:
  - name: e
    write: stdout
"#,
        ),
        r#"
f:7:10: step "a": "map" should be fields, not "function(x) return x end"; write map: {lua: ...}
f:9:8: step "b": "map" is empty, and should be fields; write map: {lua: ...}
f:11:10: step "c": "map" needs "lua"
f:13:13: step "d": "distinct" is empty, and should be fields; write distinct: {}
f:15:12: step "e": "write" should be fields, not "stdout"; write write: {stdout: ...}
"#,
    );
    check(
        &steps(
            r#"  - name: a
    from: lines
    read: {text: {paths: a}}
  - name: b
    sort: {by: {field: 1}}
  - name: [c]
    union: []
  - just text
"#,
        ),
        r#"
f:7:11: step "a": "from" should be a list, not "lines"; write from: [lines]
f:8:26: step "a": "paths" should be a list, not "a"; write paths: [a]
f:10:16: step "b": "by" should be a list, not a mapping; begin each item with "- "
f:11:11: "name" should be text, not a list
f:12:12: "union" should be fields, not a list
f:13:5: "steps[3]" should be fields, not "just text"; write {name: ...}
"#,
    );
    check(
        &steps(
            r#"  - name: 5
    read: {range: {to: many}}
  - name: b
    limit: {n: 1.5}
    persist: 1
    hints: {sizeRatio: x, memory: [1]}
  - name: c
    limit: {n: '3'}
    persist: 'true'
"#,
        ),
        r#"
f:6:11: step "5": "name" should be text, not the number 5; put it in quotes: "5"
f:7:24: step "5": "to" should be a whole number, not "many"
f:9:16: step "b": "n" should be a whole number, not the number 1.5
f:10:14: step "b": "persist" should be true or false, not the number 1
f:11:24: step "b": "sizeRatio" should be a number, not "x"
f:11:35: step "b": "memory" should be text or a whole number, not a list
f:13:16: step "c": "n" should be a whole number, not "3"
f:14:14: step "c": "persist" should be true or false, not "true"
"#,
    );
    check(
        &steps(
            r#"  - name: a
    map:
      lua: |
        function(x)
          return x
        end
    fields: |
      a
"#,
        ),
        r#"
f:12:13: step "a": "fields" should be a list, not "a"
"#,
    );
}

#[test]
fn values_out_of_bounds() {
    check(
        &steps(
            r#"  - name: a
    read: {range: {to: 3}}
    partitions: 0
  - name: b
    limit: {n: -1}
    partitions: 100000
  - name: c
    join: {key: [], kind: outer}
  - name: d
    join: {key: [1], kind: inne}
  - name: e
    map: {lua: ''}
    from: []
"#,
        ),
        r#"
f:8:17: step "a": "partitions" is 0, and must be at least 1
f:10:16: step "b": "n" is -1, and must be at least 0
f:11:17: step "b": "partitions" is 100000, and must be at most 65536
f:13:17: step "c": "key" is an empty list
f:13:27: step "c": "kind" cannot be "outer"; write inner, left, right or full
f:15:28: step "d": "kind" cannot be "inne"; did you mean "inner"?
f:17:16: step "e": "lua" is empty
f:18:11: step "e": "from" is an empty list
"#,
    );
    check(
        &steps(
            r#"  - name: Big_Words
    read: {range: {to: 3}}
  - name: abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij
    map: {lua: f}
    sideInputs: [{name: my-table, from: a, as: table}]
  - name: ''
    parallelDo: {outputs: [a b], lua: f}
  - map: {lua: f}
"#,
        ),
        r#"
f:6:11: step "Big_Words": "name" cannot be "Big_Words"; allowed are lower-case letters, digits and "-", with a letter or digit at both ends
f:8:11: step "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij": "name" has 50 characters, and at most 40 are allowed
f:10:25: step "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij": "name" cannot be "my-table"; allowed are letters, digits and "_", not beginning with a digit
f:10:48: step "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij": "as" cannot be "table"; write value, list or map
f:11:11: "name" cannot be ""; allowed are lower-case letters, digits and "-", with a letter or digit at both ends
f:12:28: "outputs[0]" cannot be "a b"; allowed are letters, digits and "_", not beginning with a digit
f:13:5: "name" is missing
"#,
    );
}

#[test]
fn words_that_are_no_text_where_one_of_some_is_wanted() {
    check(
        &steps("  - name: j\n    join: {key: [1], broadcast: true, kind: off}\n"),
        r#"
f:7:33: step "j": "broadcast" should be text, not true; write always, never or auto
f:7:45: step "j": "kind" should be text, not "off"; write inner, left, right or full
"#,
    );
}

#[test]
fn texts_that_need_quotes() {
    check(
        &steps("  - name: a\n    read: {inline: {lines: [|-, a|b]}}\n"),
        r#"
f:7:29: YAML readers do not agree on text that begins with '|'; put it in quotes: "|-"
"#,
    );
    check(
        &steps("  - name: a\n    read: {text: {paths: [*.txt]}}\n"),
        r#"
f:7:27: this is not YAML: while parsing node, found unknown anchor; a text that begins with "*" needs quotes: "*.txt"
"#,
    );
    check(
        &steps("  - name: a\n    write: {stdout: {format: %s %d}}\n"),
        r#"
f:7:30: this is not YAML: unexpected character: `%'; a text that begins with "%" needs quotes: "%s %d"
"#,
    );
    check(
        &steps("  - name: a\n    map: {lua: function(x, y) return x, 1 end}\n"),
        r#"
f:7:28: step "a": a comma between { and } ends an unquoted text, so "y) return x" is a field of its own; put all of "lua" in quotes
"#,
    );
}

#[test]
fn an_order_by_nothing() {
    let sorts = "  - name: a\n    sort: {by: []}\n  - name: b\n    top: {n: 1, by: []}\n  - name: c\n    merge: {by: []}\n";
    check(
        &steps(&format!("{sorts}  - name: d\n    groupBy: {{key: [1], orderBy: []}}\n")),
        r#"
f:7:16: step "a": "by" is an empty list
f:9:21: step "b": "by" is an empty list
f:11:17: step "c": "by" is an empty list
f:13:34: step "d": "orderBy" is an empty list
"#,
    );
}
