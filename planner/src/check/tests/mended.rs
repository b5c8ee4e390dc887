//! A file that is wrong in its structure: all that is wrong beside it is found too, and nothing that only follows from it.

use super::*;

/// All problems of a file with these steps, from line 6 on, or of this spec, from line 5 on.
fn all_of(steps: &str) -> String {
    let text = match steps.strip_prefix("SPEC ") {
        Some(spec) => format!("{HEAD}  {spec}"),
        None => format!("{HEAD}{STEPS}{steps}"),
    };
    let crds::Reading { document, mut problems } = Document::read(&text, "");
    let document = document.unwrap_or_else(|| panic!("{problems:#?}"));
    let options = CheckOptions { places: Some(&document.places), working_directory: Some("/flows"), ..CheckOptions::default() };
    match check_with(&document.flow, &facts(), &ParamValues::new(), &options) {
        Ok(_) => assert!(problems.is_empty(), "a flow with problems is not to be run: {problems:?}"),
        Err(found) => problems.extend(locate(&found, &document.places)),
    }
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[track_caller]
fn check_all(steps: &str, expected: &str) {
    assert_eq!(all_of(steps).trim(), expected.trim(), "\n{steps}");
}

#[test]
fn a_mistyped_operator_hides_nothing_of_other_steps() {
    check_all(
        r#"  - name: a
    red: {range: {to: 3}}
  - name: b
    map: {lua: 'function(x) return end end'}
    from: [nowhere]
  - name: c
    from: [a]
    sort: {by: [{feld: 1}]}
  - name: d
    join: {key: [word]}
  - name: e
    write: {stdout: {format: "%y"}}
"#,
        r#"
7:5: step "a": unknown field "red"; did you mean "read"?
9:17: step "b": the Lua does not compile: '<eof>' expected near 'end'
10:12: step "b": there is no step "nowhere"
13:18: step "c": unknown field "feld"; did you mean "field"?
14:5: step "d": a join takes two or more inputs, and this one has 1; write from: [first, second]
17:30: step "e": the format has an unknown verb "%y"; the verbs are %s %v %q %d %x %f %e %g, and %% for a percent sign
"#,
    );
}

#[test]
fn what_follows_from_a_mistyped_field_is_not_told() {
    // The header is gone, and with it the names; the input is gone; the outputs are gone; the policy's "to" is gone.
    for (steps, expected) in [
        (
            "  - {name: a, read: {csv: {paths: [x], headr: true}}}\n  - {name: b, count: {key: [word]}}\n  - {name: c, write: {csv: {path: o, header: true}}}\n",
            "6:40: step \"a\": unknown field \"headr\"; did you mean \"header\"?",
        ),
        (
            "  - {name: a, read: {range: {to: 3}}}\n  - {name: b, form: [a, a], join: {key: [1]}}\n  - {name: c, write: {stdout: {}}}\n",
            "7:15: step \"b\": unknown field \"form\"; did you mean \"from\"?",
        ),
        (
            "  - {name: a, read: {range: {to: 3}}}\n  - {name: b, parallelDo: {outptus: [x], lua: 'function(x) emit.x(x) end'}}\n  - {name: c, from: [b.x], write: {stdout: {}}}\n",
            "7:28: step \"b\": unknown field \"outptus\"; did you mean \"outputs\"?",
        ),
        (
            "  - {name: a, read: {range: {to: 3}}}\n  - {name: b, map: {lua: 'function(x) return x end'}, onError: {policy: DeadLetter, too: c}}\n  - {name: c, write: {stdout: {}}}\n",
            "7:85: step \"b\": unknown field \"too\"; did you mean \"to\"?",
        ),
        (
            "  - {nam: a, read: {range: {to: 3}}}\n  - {name: b, from: [a], write: {stdout: {}}}\n",
            "6:6: unknown field \"nam\"; did you mean \"name\"?",
        ),
        (
            "  - {name: a, read: {range: {to: 3}}, sort: {by: [{field: 1}]}}\n  - {name: b, write: {stdout: {}}}\n",
            "6:39: step \"a\": only one operator is allowed here, and there are 2: \"read\", \"sort\"; make a step of each",
        ),
        (
            "SPEC parms: [{name: n, value: '1'}]\n  steps:\n  - {name: a, read: {range: {to: 3}}}\n  - {name: b, write: {stdout: {format: \"$(params.n)%s\"}}}\n",
            "5:3: unknown field \"parms\"; did you mean \"params\"?",
        ),
    ] {
        check_all(steps, expected);
    }
}

#[test]
fn a_step_that_is_wrong_in_one_field_is_checked_in_the_others() {
    check_all(
        r#"  - name: a
    read: {csv: {paths: [x]}}
    fields: [a, b]
    partitons: 3
  - name: b
    reduceBy: {lua: 'function(x) return x end'}
    sideInputs: [{name: string, from: nowhere, as: value}]
  - name: c
    count: {key: [c]}
    from: [a]
  - name: d
    write: {text: {path: out}}
  - name: e
    from: [b]
    write: {text: {path: sub/.././out/, mod: fail}}
"#,
        r#"
9:5: step "a": unknown field "partitons"; did you mean "partitions"?
11:15: step "b": "reduceBy" needs "key"
11:21: step "b": a function that folds takes two rows' values, function(x1..xn, y1..yn), and this one has 1 parameter
12:25: step "b": a side input cannot be named "string": that is a name of Lua or of the engine; choose another name
12:39: step "b": there is no step "nowhere"
14:19: step "c": rows of "a" have no field named "c"; named are a, b
20:26: step "e": step "d" writes to "sub/.././out/" already; choose another path
20:41: step "e": unknown field "mod"; did you mean "mode"?
"#,
    );
}

#[test]
fn sinks_on_one_path_are_found_however_it_is_written() {
    let clash = |a: &str, b: &str| {
        let steps = format!(
            "  - {{name: a, read: {{range: {{to: 3}}}}}}\n  - {{name: b, write: {{text: {{path: '{a}'}}}}}}\n  - {{name: c, from: [a], write: {{json: {{path: '{b}'}}}}}}\n"
        );
        all_of(&steps).contains("already")
    };
    for (a, b) in [
        ("out", "sub/../out"),
        ("out", "./out/"),
        ("out", "/flows/out"),
        ("../out", "/out"),
        ("/a/../../out", "file:///out"),
        ("s3://bucket/out/", "s3://bucket/out"),
    ] {
        assert!(clash(a, b), "{a} and {b}");
    }
    for (a, b) in
        [("out", "sub/out"), ("out", "../out"), ("s3://a/out", "s3://b/out"), ("s3://a/../b", "s3://b"), ("out", "out2")]
    {
        assert!(!clash(a, b), "{a} and {b}");
    }
}

#[test]
fn a_comment_that_cuts_a_function_off_is_named() {
    check_all(
        "  - name: a\n    read: {range: {to: 3}}\n  - name: b\n    map:\n      lua: function(t) return #t end\n  - name: c\n    write: {stdout: {}}\n",
        "10:12: step \"b\": the Lua does not compile: 'end' expected near '<eof>'; a \" #\" begins a comment in YAML, and cut the text off there: put the text in single quotes",
    );
}
