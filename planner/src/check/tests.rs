//! Problems of flows: each kind with its message, its place, and what to do.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use crds::Document;

use super::*;
use crate::SourceFacts;

mod expansion;
mod mended;
mod options;

const HEAD: &str = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: test}\nspec:\n";
const STEPS: &str = "  steps:\n";
const ONE_STEP: &str = "  steps:\n  - name: lines\n    read: {inline: {lines: [a]}}\n  - name: out\n    write: {stdout: {}}\n";

/// A csv file with columns name, age and city.
fn facts() -> Facts {
    let fields = ["name", "age", "city"].map(str::to_owned).to_vec();
    Facts::from([("people".to_owned(), SourceFacts { fields: Some(fields), bytes: Some(1000) })])
}

/// Problems or warnings, with their places, of a flow with these steps, from line 6 on (or this spec, from line 5 on).
fn problems_of(steps: &str) -> String {
    let (params, steps) = match steps.strip_prefix("PARAMS ").and_then(|rest| rest.split_once(' ')) {
        Some((param, steps)) => (param.split_once('='), steps),
        None => (None, steps),
    };
    let text = match (steps.strip_prefix("SPEC "), steps.strip_prefix("PRELUDE ")) {
        (Some(spec), _) if spec.contains("steps:") => format!("{HEAD}  {spec}"),
        (Some(spec), _) => format!("{HEAD}  {spec}{ONE_STEP}"),
        (None, Some(lua)) => format!("{HEAD}  lua: |\n    {lua}{ONE_STEP}"),
        (None, None) => format!("{HEAD}{STEPS}{steps}"),
    };
    let document = Document::parse(&text, "").unwrap_or_else(|problems| panic!("{problems:#?}"));
    let params: ParamValues = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let found = match check(&document.flow, &facts(), &params) {
        Ok(checked) => checked.warnings,
        Err(problems) => problems,
    };
    let found: Vec<String> = locate(&found, &document.places).iter().map(ToString::to_string).collect();
    found.join("\n")
}

#[track_caller]
fn check_problems(steps: &str, expected: &str) {
    assert_eq!(problems_of(steps), expected.trim(), "\n{steps}");
}

#[test]
fn names_of_steps_and_inputs() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: lines
    filter: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:11: step "lines": there are two steps named "lines"; steps[0] has that name before
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: upper
    from: [lnies]
    map: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:12: step "upper": there is no step "lnies"; did you mean "lines"?
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {}}
  - name: next
    map: {lua: 'function(x) return x end'}
"#,
        r#"
10:5: step "next": the step before, "out", is a write and makes no rows; name the input in "from"
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {}}
  - name: next
    from: [out]
    map: {lua: 'function(x) return x end'}
"#,
        r#"
11:12: step "next": step "out" is a write and makes no rows
"#,
    );
    check_problems(
        r#"  - name: first
    map: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
6:5: step "first": the first step has no step before it to take rows from; begin the flow with a read, or give "from"
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: r
    from: [lines]
    read: {text: {paths: [a]}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "r": a read takes no "from"; where the paths are rows of a step, say "pathsFrom" in the source
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: o
    from: [lines]
    operate: {lua: 'function() emit(1) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "o": an operate takes no "from"; give it "sideInputs"
"#,
    );
}

#[test]
fn circles() {
    check_problems(
        r#"  - name: a
    from: [c]
    map: {lua: 'function(x) return x end'}
  - name: b
    from: [a]
    filter: {lua: 'function(x) return x end'}
  - name: c
    from: [b]
    filter: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:11: step "a": steps read each other in a circle: a -> b -> c -> a
"#,
    );
    check_problems(
        r#"  - name: a
    from: [a]
    map: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:11: step "a": the step reads itself
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: a
    from: [lines]
    map: {lua: 'function(x) return t end'}
    sideInputs: [{name: t, from: b, as: list}]
  - name: b
    from: [a]
    distinct: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "a": steps read each other in a circle: a -> b -> a
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: a
    from: [b]
    map: {lua: 'function(x) return x end'}
    onError: {policy: DeadLetter, to: b}
  - name: b
    distinct: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "a": steps read each other in a circle: a -> b -> a
"#,
    );
}

#[test]
fn outputs_of_a_parallel_do() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: split
    parallelDo: {outputs: [long, short], lua: 'function(x) emit.long(x) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:5: step "out": the step before, "split", has several outputs; name one in "from": split.long, split.short
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: split
    parallelDo: {outputs: [long, short], lua: 'function(x) emit.long(x) end'}
  - name: out
    from: [split.log]
    write: {stdout: {}}
"#,
        r#"
11:12: step "out": step "split" has no output "log"; choose from split.long, split.short
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    from: [lines.x]
    write: {stdout: {}}
"#,
        r#"
9:12: step "out": step "lines" has one output only, without a name; write lines
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: split
    parallelDo: {outputs: [a, a, onError], lua: 'function(x) emit.a(x) end'}
  - name: out
    from: [split.a]
    write: {stdout: {}}
"#,
        r#"
9:31: step "split": two outputs are named "a"
9:34: step "split": an output cannot be named "onError": that is where bad rows go
"#,
    );
}

#[test]
fn numbers_of_inputs() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: j
    join: {key: [1]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:5: step "j": a join takes two or more inputs, and this one has 1; write from: [first, second]
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: g
    from: [lines]
    coGroup: {key: [1]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "g": a coGroup takes two or more inputs, and this one has 1; write from: [first, second]
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: u
    union: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:5: step "u": a union needs to be told its inputs; write from: [first, second]
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    from: [lines, lines]
    map: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:11: step "m": a map takes one input, and this one has 2; bring them together in a union or join before
"#,
    );
}

#[test]
fn a_combine_stands_on_a_group() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: c
    combine: {lua: 'function(x, y) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:5: step "c": a combine stands directly on a groupBy, and "lines" is none; use reduceBy, which groups and combines, or reduce for all rows
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: g
    groupBy: {key: [1]}
  - name: f
    filter: {lua: 'function(k, v) return v end'}
  - name: c
    combine: {lua: 'function(x, y) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
12:5: step "c": a combine stands directly on a groupBy, and "f" is none; use reduceBy, which groups and combines, or reduce for all rows
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: g
    groupBy: {key: [1]}
  - name: c
    partitions: 3
    combine: {lua: 'function(x, y) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
11:17: step "c": a combine keeps the partitions of its input, so "partitions" does nothing here; give it to the groupBy
"#,
    );
}

#[test]
fn lua_that_does_not_compile() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x +  end'}
  - name: next
    map:
      lua: |
        function(x)
          local y = = x
        end
  - name: o
    map: {lua: 'x + 1'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:17: step "m": the Lua does not compile: unexpected symbol near 'end'
14:9: step "next": the Lua does not compile: unexpected symbol near '='
17:17: step "o": the Lua does not compile: one function is expected: function(...) ... end; a function looks like: function(x) return x end
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: r
    reduce: {lua: 'function(x) return x end'}
  - name: s
    reduceBy: {key: [1], lua: 'function(a, b, c) return a end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:19: step "r": a function that folds takes two rows' values, function(x1..xn, y1..yn), and this one has 1 parameter
11:31: step "s": a function that folds takes two rows' values, function(x1..xn, y1..yn), and this one has 3 parameters
"#,
    );
    check_problems(
        r#"  - name: o
    operate: {lua: 'function(x) emit(x) end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:20: step "o": the function of an operate takes no parameters; use "sideInputs"
"#,
    );
    check_problems(
        r#"PRELUDE function f() retrun 1 end
"#,
        r#"
6:5: the Lua does not compile: '=' expected near '<number>'
"#,
    );
}

#[test]
fn names_of_fields() {
    check_problems(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: s
    sort: {by: [{field: agee}, {field: nme}, {field: 7}, {field: 0}]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:25: step "s": rows of "people" have no field named "agee"; did you mean "age"?
9:40: step "s": rows of "people" have no field named "nme"; did you mean "name"?
9:54: step "s": there is no field 7: rows of "people" have 3 fields
9:66: step "s": there is no field 0; positions count from 1
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x, 1 end'}
  - name: s
    select: {columns: [word]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
11:24: step "s": rows of "m" have no named fields, so there is no "word"; give "fields" to step "m", or use a position
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x, 1 end'}
    fields: [word, times]
  - name: s
    groupBy: {key: [wrod], orderBy: [{field: 3}]}
  - name: t
    select: {columns: [word, 3]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
12:21: step "s": rows of "m" have no field named "wrod"; did you mean "word"?
12:46: step "s": there is no field 3: rows of "m" have 2 fields
14:30: step "t": there is no field 3: rows of "s" have 2 fields
"#,
    );
    check_problems(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: c
    count: {key: [name]}
  - name: t
    top: {n: 3, by: [{field: count, order: desc}]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
11:30: step "t": rows of "c" have no field named "count"; named are name
"#,
    );
    check_problems(
        r#"  - name: unseen
    read: {csv: {paths: [unseen.csv], header: true}}
  - name: s
    select: {columns: [name, 2]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:24: step "s": whether rows of "unseen" have a field "name" is not known: its files were not looked at; give "fields" to step "unseen", or use a position
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    from: [lines]
    map: {lua: 'function(x) return x end'}
    fields: [a, a]
  - name: f
    from: [lines]
    fields: [a, b]
    filter: {lua: 'function(x) return x end'}
  - name: u
    from: [m, f]
    union: {}
  - name: out
    write: {stdout: {}}
"#,
        r#"
11:17: step "m": two fields are named "a"
14:13: step "f": "fields" has 2 names, and the rows have 1 fields
"#,
    );
    check_problems(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true}}
  - name: d
    select: {columns: [name, age]}
  - name: j
    from: [people, d]
    join: {key: [name]}
  - name: s
    select: {columns: [age]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
14:24: step "s": rows of "j" have no field named "age"; named are name, city
"#,
    );
    check_problems(
        r#"  - name: i
    read: {inline: {rows: [[1, 2], [3]]}}
  - name: k
    read: {inline: {rows: [[1, 2], [3, 4]]}}
  - name: u
    from: [i, k]
    union: {}
  - name: s
    select: {columns: [3]}
  - name: t
    from: [k]
    select: {columns: [3]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
17:24: step "t": there is no field 3: rows of "k" have 2 fields
"#,
    );
}

#[test]
fn columns_and_types_of_csv() {
    check_problems(
        r#"  - name: r
    read: {csv: {paths: [r.csv], columns: [name, 2], types: {nme: integer}}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:44: step "r": the columns of a file without a header have no names, so there is no "name"; use positions here and name the fields in "fields", or set header: true
7:67: step "r": the columns of a file without a header have no names, so there is no "nme"; use positions here and name the fields in "fields", or set header: true
"#,
    );
    check_problems(
        r#"  - name: people
    read: {csv: {paths: [people.csv], header: true, columns: [nam, 9], types: {agee: integer, '2': float, age: bool, city: string}}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:63: step "people": rows of "people" have no field named "nam"; did you mean "name"?
7:68: step "people": there is no field 9: rows of "people" have 3 fields
7:86: step "people": rows of "people" have no field named "agee"; did you mean "age"?
7:112: step "people": the type of column 2 is given twice
"#,
    );
    check_problems(
        r#"  - name: r
    read: {csv: {paths: [r.csv], delimiter: ab, quote: "\n"}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:45: step "r": delimiter must be one byte, not "ab"
7:56: step "r": quote cannot be a line end
"#,
    );
    check_problems(
        r#"  - name: r
    read: {csv: {paths: [r.csv], delimiter: '\t', quote: ','}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:45: step "r": delimiter must be one byte, not "\\t"; write "\t" in double quotes, or read tsv
7:45: step "r": delimiter and quote are the same
"#,
    );
    check_problems(
        r#"  - name: r
    read: {json: {paths: [r.json], columns: [a, b, a]}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:52: step "r": column "a" is named twice
"#,
    );
    check_problems(
        r#"  - name: unseen
    read: {parquet: {paths: [u.parquet], columns: [a, 2]}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:52: step "unseen": whether there is a column "a" is not known: the files were not looked at; use a position
"#,
    );
    check_problems(
        r#"  - name: unseen
    read: {csv: {pathsFrom: p, header: true, types: {age: integer}}}
  - name: p
    read: {inline: {lines: [a.csv]}}
  - name: out
    from: [unseen]
    write: {stdout: {}}
"#,
        r#"
7:59: step "unseen": whether there is a column "age" is not known: the files were not looked at; use a position
"#,
    );
}

#[test]
fn formats() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {format: '%s %y'}}
"#,
        r#"
9:30: step "out": the format has an unknown verb "%y"; the verbs are %s %v %q %d %x %f %e %g, and %% for a percent sign
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {format: '%s %d'}}
"#,
        r#"
9:30: step "out": the format takes 2 fields, and rows of "lines" have 1
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {format: '100%'}}
"#,
        r#"
9:30: step "out": the format ends inside a verb: "%"; write %% for a percent sign
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x, 1 end'}
  - name: out
    write: {stdout: {format: '%s %d %d'}}
"#,
        r#"

"#,
    );
}

#[test]
fn sinks() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: one
    write: {text: {path: out/}}
  - name: two
    from: [lines]
    write: {json: {path: ./out}}
"#,
        r#"
12:26: step "two": step "one" writes to "./out" already; choose another path
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: one
    write: {text: {path: out/a/}}
  - name: two
    from: [lines]
    write: {json: {path: out}}
  - name: three
    from: [lines]
    write: {csv: {path: ./out/a/b}}
  - name: four
    from: [lines]
    write: {csv: {path: out2}}
"#,
        r#"
12:26: step "two": what step "one" writes is inside of "out"; choose another path
15:25: step "three": "./out/a/b" is inside of what step "one" writes; choose another path
"#,
    );
    check_problems(
        r#"  - name: rows
    read: {inline: {rows: [[1, 2, 3]]}}
    fields: [a, b, a]
  - name: one
    write: {csv: {path: out, header: true}}
  - name: two
    from: [rows]
    write: {json: {path: out2}}
"#,
        r#"
8:20: step "rows": two fields are named "a"
13:19: step "two": two fields are named "a", and a json object can hold one of them only; give "fields" to this step or the one before, with a name of its own for each
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: one
    write: {csv: {path: out, header: true}}
  - name: two
    from: [lines]
    write: {tsv: {path: out2, header: true}}
    fields: [line]
"#,
        r#"
9:38: step "one": the header needs names, and not all fields have one; give "fields" to this step or the one before
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: one
    write: {csv: {path: out, delimiter: '\t', quote: ''}}
    persist: true
    partitions: 2
"#,
        r#"
9:41: step "one": delimiter must be one byte other than a line end, not "\\t"
9:54: step "one": quote must be one byte other than a line end, not ""
10:14: step "one": a write makes no rows that could be kept
11:17: step "one": a write keeps the partitions of its input, so "partitions" does nothing here; put a partition or roundRobin step with "partitions" before it
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: one
    write: {csv: {path: out, delimiter: '"'}}
    fields: [a, b]
"#,
        r#"
9:41: step "one": delimiter and quote are the same
10:13: step "one": "fields" has 2 names, and the rows have 1 fields
"#,
    );
}

#[test]
fn side_inputs() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x end'}
    sideInputs: [{name: string, from: lines, as: list}, {name: t, from: lins, as: map}, {name: t, from: lines, as: value}, {name: emit, from: lines, as: list}]
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:25: step "m": a side input cannot be named "string": that is a name of Lua or of the engine; choose another name
10:73: step "m": there is no step "lins"; did you mean "lines"?
10:96: step "m": two side inputs are named "t"
10:131: step "m": a side input cannot be named "emit": that is a name of Lua or of the engine; choose another name
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    sort: {}
    sideInputs: [{name: t, from: lines, as: list}]
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:17: step "m": "sort" has no function that could use side inputs; give them to a step with "lua"
"#,
    );
}

#[test]
fn partitions_where_nothing_shuffles() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    partitions: 4
    map: {lua: 'function(x) return x end'}
  - name: out
    write: {stdout: {}}
"#,
        r#"
9:17: step "m": a map keeps the partitions of its input, so "partitions" does nothing here; put a partition or roundRobin step with "partitions" before it
"#,
    );
}

#[test]
fn ranges_and_hints() {
    check_problems(
        r#"  - name: r
    read: {range: {to: 5, step: 0}}
    hints: {memory: lots}
  - name: out
    write: {stdout: {}}
"#,
        r#"
7:33: step "r": a range with step 0 never ends; leave it out to count up by 1, or write -1 to count down
8:21: step "r": "lots" is not an amount of memory such as 256Mi, 2Gi or 1000000
"#,
    );
}

#[test]
fn errors_set_aside() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: s
    sort: {}
    onError: {policy: Skip}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:14: step "s": rows cannot be set aside in a sort by the whole row: it takes any row
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x end'}
    onError: {policy: DeadLetter}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:14: step "m": policy DeadLetter needs "to"; name in "to" the step that reads the rows set aside
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x end'}
    onError: {policy: Skip, to: out}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:33: step "m": "to" goes with policy DeadLetter, not with Skip
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x end'}
    onError: {policy: DeadLetter, to: outt}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:39: step "m": there is no step "outt"; did you mean "out"?
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: m
    map: {lua: 'function(x) return x end'}
    onError: {policy: DeadLetter, to: j}
  - name: j
    from: [m, m]
    join: {key: [1]}
  - name: out
    write: {stdout: {}}
"#,
        r#"
10:39: step "m": step "j" is a join, which cannot read dead letters; name a step with one input, such as a map or a write
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {text: {paths: [a]}}
    onError: {policy: Skip}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:14: step "lines": rows cannot be set aside in a read of text: any line is a row
"#,
    );
}

#[test]
fn not_built_yet() {
    check_problems(
        r#"SPEC managedBy: kueue
  scheduling: {queueName: q}
  executors: {minReplicas: 3, maxReplicas: 2, template: {spec: {hostNetwork: true, containers: [{name: a, securityContext: {}}], volumes: [{name: a}, {name: b, hostPath: {path: /}}]}}}
"#,
        r#"
5:14: "managedBy" is not built yet; leave it out
6:15: "scheduling" is not built yet; leave it out
7:28: minReplicas 3 is above maxReplicas 2
7:78: an executor's template cannot set "hostNetwork"; leave it out
7:124: an executor's template cannot set "securityContext"; leave it out
7:171: an executor's template cannot set "hostPath"; leave it out
"#,
    );
    check_problems(
        r#"SPEC executors:
    template:
      spec:
        nodeSelectr: {a: b}
        nodeName: node1
        activeDeadlineSeconds: 5
        restartPolicy: Always
        containers:
        - name: executor
          command: [sh]
          image: mine
          env: [{name: MORE, value: a}, {name: GLEAMFLOW_RUN, value: b}]
          livenessProbe: {exec: {command: ["false"]}}
          startupProbe: {exec: {command: ["false"]}}
          readinessProbe: {exec: {command: ["false"]}}
          lifecycle: {postStart: {exec: {command: ["false"]}}}
        - {name: beside, image: other, ports: [{containerPort: 80, hostPort: 80}], livenessProbe: {exec: {command: ["true"]}}}
        volumes:
        - {name: gleamflow-run, emptyDir: {}}
        - {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}
  storage: {volume: {hostPath: {path: /}, emptyDir: {sizeLimits: 1Gi}}}
"#,
        r#"
8:22: a PodTemplateSpec has no field "nodeSelectr" there
9:19: an executor's template cannot set "nodeName"; leave it out
10:32: an executor's template cannot set "activeDeadlineSeconds"; set the flow's own activeDeadlineSeconds
11:24: an executor's template cannot set "restartPolicy"; leave it out
14:20: an executor's template cannot set "command"; leave it out
15:18: an executor's template cannot set "image"; set executors.image
16:41: an executor's template cannot set "GLEAMFLOW_RUN"; leave it out
17:26: an executor's template cannot set "livenessProbe"; leave it out: the operator knows by their connections which executors work
18:25: an executor's template cannot set "startupProbe"; leave it out: the operator knows by their connections which executors work
19:27: an executor's template cannot set "readinessProbe"; leave it out: the operator knows by their connections which executors work
20:22: an executor's template cannot set "lifecycle"; leave it out
21:78: an executor's template cannot set "hostPort"; leave it out
23:18: names that begin with "gleamflow-" are those of the operator's own volumes; take another
24:69: an executor's template cannot set "serviceAccountToken"; leave it out
25:32: a flow's volume cannot be of "hostPath": user code would see more than its own; use a persistentVolumeClaim or nfs
25:66: a volume has no field "sizeLimits" there
"#,
    );
    check_problems(
        r#"SPEC executors:
    slots: 2
    resources: {requests: {memory: 1, cpu: lots}, limits: {memory: 63Mi}}
    template:
      metadata: {name: x, labels: {a: b, gleamflow.io/run: c}, annotations: {d: e, container.apparmor.security.beta.kubernetes.io/executor: unconfined}}
  storage:
    objectStores:
    - {prefix: s3://b/, endpoint: "not a url"}
    - {prefix: s3://b/, endpoint: "http://store:9000", secretRef: {name: mine}}
    - {prefix: x, endpoint: "s3.example.org", secretRef: {name: a-1-output.gleamflow}}
"#,
        r#"
7:44: "lots" is not an amount of "cpu"; write one such as 2, 500m or 1Gi
7:68: an executor of 2 slots cannot start with 63Mi of memory; give it 64Mi or more
9:24: an executor's template cannot set "name"; leave it out
9:35: an executor's template cannot set "gleamflow.io/run"; leave it out
9:77: an executor's template cannot set "container.apparmor.security.beta.kubernetes.io/executor"; leave it out
12:35: "not a url" is not the address of a store; write http://host:port or https://host
13:16: "s3://b/" is in the list already
14:16: "x" is in no object store; write s3://bucket/
14:29: "s3.example.org" is not the address of a store; write http://host:port or https://host
14:65: "a-1-output.gleamflow" is the name of a Secret of the operator's own, which no flow may see; name one of yours
"#,
    );
    check_problems(
        r#"SPEC storage: {volume: {secret: {secretName: a-1.gleamflow}}}
  executors:
    template:
      spec:
        imagePullSecrets: [{name: mine}]
        volumes:
        - {name: a.gleamflow, secret: {secretName: gleamflow-authority}}
        - {name: b, projected: {sources: [{secret: {name: b-1.gleamflow}}, {configMap: {name: c.gleamflow}}]}}
        containers:
        - name: executor
          envFrom: [{secretRef: {name: d-1.gleamflow}}]
          env: [{name: KEY, valueFrom: {secretKeyRef: {name: e-1.gleamflow, key: name}}}, {name: name, value: f.gleamflow}]
"#,
        r#"
5:43: "a-1.gleamflow" is the name of a Secret of the operator's own, which no flow may see; name one of yours
11:52: "gleamflow-authority" is the name of a Secret of the operator's own, which no flow may see; name one of yours
12:59: "b-1.gleamflow" is the name of a Secret of the operator's own, which no flow may see; name one of yours
15:40: "d-1.gleamflow" is the name of a Secret of the operator's own, which no flow may see; name one of yours
16:62: "e-1.gleamflow" is the name of a Secret of the operator's own, which no flow may see; name one of yours
"#,
    );
    check_problems(
        r#"SPEC luaFrom: {configMapKeyRef: {name: functions, key: f.lua}}
"#,
        r#"
5:12: "luaFrom" names key "f.lua" of ConfigMap "functions", which is on a cluster; for a local run, put the functions into "lua"
"#,
    );
}

#[test]
fn parameters() {
    check_problems(
        r#"SPEC params: [{name: word}, {name: max, value: '1'}, {name: max, value: '2'}]
  steps:
  - name: lines
    read: {inline: {lines: ['$(params.word)']}}
  - name: m
    filter:
      lua: |
        function(x)
          return x == '$(params.wrd)' or '$(params.zzzzz)' or $(params.oops
        end
  - name: out
    write: {stdout: {}}
"#,
        r#"
5:12: parameter "word" has no value; give "value" here, or --param word=... on the command line
5:58: there are two parameters named "max"
13:9: step "m": there is no parameter "wrd"; did you mean "word"?
13:9: step "m": there is no parameter "zzzzz"; its parameters are max, word
13:9: step "m": "$(params." has no ")" behind it
"#,
    );
    // What is built from a parameter without a value is not told on top.
    check_problems(
        r#"SPEC params: [{name: f}, {name: col}]
  steps:
  - name: rows
    read: {inline: {rows: [[1, 2]]}}
  - name: m
    map: {lua: '$(params.f)'}
  - name: s
    sort: {by: [{field: '$(params.col)'}]}
  - name: out
    write: {stdout: {format: '$(params.col)%y'}}
"#,
        r#"
5:12: parameter "f" has no value; give "value" here, or --param f=... on the command line
5:23: parameter "col" has no value; give "value" here, or --param col=... on the command line
"#,
    );
    check_problems(
        r#"PARAMS x=1   - name: lines
    read: {inline: {lines: [a]}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
5:3: the flow has no parameter "x", which --param sets; declare it in "params"
"#,
    );
}

#[test]
fn warnings() {
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: a
    from: [lines]
    map: {lua: 'function(x) return x end'}
  - name: b
    sort: {}
  - name: out
    from: [lines]
    write: {stdout: {}}
"#,
        r#"
8:5: step "a": the step is dropped: what it makes reaches no write; read it in a step that does, or leave it out
11:5: step "b": the step is dropped: what it makes reaches no write; read it in a step that does, or leave it out
"#,
    );
    check_problems(
        r#"  - name: lines
    read: {inline: {lines: [a]}}
  - name: a
    map: {lua: 'function(x) return x end'}
  - name: b
    pipe: {command: cat}
  - name: c
    operate: {lua: 'function() end'}
    sideInputs: [{name: s, from: lines, as: list}]
  - name: d
    from: [lines]
    persist: true
    map: {lua: 'function(x) return x end'}
  - name: u
    from: [lines, lines]
    deterministic: false
    union: {}
  - name: out
    from: [lines]
    write: {stdout: {}}
"#,
        r#"
10:5: step "b": what the step makes reaches no write; it runs all the same: it is not deterministic and may be there for its effects; read it in a step that does, or leave it out
12:5: step "c": what the step makes reaches no write; it runs all the same, as an operate may be there for its effects; read it in a step that does, or leave it out
19:5: step "u": the step is dropped: what it makes reaches no write; read it in a step that does, or leave it out
"#,
    );
}

#[test]
fn addresses_that_can_never_work_are_problems_with_their_parameters_replaced() {
    check_problems(
        r#"  - name: a
    read: {text: {paths: ["x.txt", "ftp://x/y", "s3://"]}}
  - name: out
    write: {csv: {path: "https://x.org/y"}}
"#,
        r#"
7:36: step "a": "ftp://x/y" is not in a store that is known here; known are local paths, file:///, s3://, gs://, az://, http:// and https://
7:49: step "a": "s3://" names no bucket; write s3://bucket/path
9:25: step "out": "https://x.org/y" cannot be written to: what is behind http is only read; write to a path or to s3://, gs:// or az://
"#,
    );
    check_problems(
        r#"SPEC params: [{name: in, value: 'hdfs://n/x'}]
  steps:
  - name: a
    read: {files: {paths: ["$(params.in)"]}}
  - name: out
    write: {stdout: {}}
"#,
        r#"
8:28: step "a": "hdfs://n/x" is not in a store that is known here; known are local paths, file:///, s3://, gs://, az://, http:// and https://
"#,
    );
}

#[test]
fn a_function_that_never_emits_is_warned_of_where_its_rows_are_read() {
    let steps = |step: &str| {
        format!(
            "  - name: lines\n    read: {{inline: {{lines: [a]}}}}\n  - name: f\n    {step}\n  - name: out\n    from: [f]\n    write: {{stdout: {{}}}}\n"
        )
    };
    let message = "step \"f\": no row leaves the step: its function never calls emit; call emit(...) for each row, or use \"map\", which takes what is returned\n";
    check_problems(&steps("forEach: {lua: 'function(x) return x end'}"), &format!("\n9:20: {message}"));
    for step in ["forEach: {lua: 'function(x) emit(x) end'}", "forEach: {lua: 'function(x) _G[x](x) end'}"] {
        check_problems(&steps(step), "\n");
    }
}

#[test]
fn a_sink_into_what_is_read_is_warned_of() {
    let check = |read: &str, sink: &str, expected: &str| {
        let steps = format!("  - name: r\n    read: {{text: {{paths: [{read:?}]}}}}\n  - name: w\n    write: {sink}\n");
        check_problems(&steps, expected);
    };
    let warning = |column: u32, sink: &str, read: &str, happens: &str| {
        format!(
            "\n9:{column}: step \"w\": the step writes into {sink:?}, where step \"r\" reads ({read:?}): {happens}; choose another path\n"
        )
    };
    let next = "the next run reads what this one writes";
    check("in", "{text: {path: ./in/}}", &warning(26, "./in/", "in", next));
    check("in/*.txt", "{text: {path: in, mode: append}}", &warning(26, "in", "in/*.txt", next));
    check("in/**", "{json: {path: in/sub}}", &warning(26, "in/sub", "in/**", next));
    let gone = "what is read there is gone when the flow is done";
    check("in/a.txt", "{csv: {path: in, mode: replace}}", &warning(25, "in", "in/a.txt", gone));
    check("in/a*.txt", "{csv: {path: in, mode: replace}}", &warning(25, "in", "in/a*.txt", gone));
    for (read, sink) in [("in/a*.txt", "{text: {path: in}}"), ("in/*", "{text: {path: in/out}}"), ("in", "{text: {path: in2}}")] {
        check(read, sink, "\n");
    }
}
