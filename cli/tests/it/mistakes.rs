//! What newcomers write wrong, and what they are told: always exit code 2, a place, and what to do.

use crate::flow::Flow;

const READ: &str = "read: {range: {to: 3}}";
const SHOW: &str = "write: {stdout: {}}";
const MAP: &str = "map: {lua: 'function(x) return x end'}";

#[test]
fn misspelt_names_get_a_suggestion() {
    for (step, says) in [
        ("mapp: {lua: 'function(x) return x end'}", ["mapp", "map"]),
        ("flatmap: {lua: 'function(x) return x end'}", ["flatmap", "flatMap"]),
        ("reduceby: {key: [1], lua: 'function(x, y) return x end'}", ["reduceby", "reduceBy"]),
        ("map: {lau: 'function(x) return x end'}", ["lau", "lua"]),
        ("sort: {by: [{field: 1, oder: desc}]}", ["oder", "order"]),
        ("sort: {by: [{field: 1, order: descending}]}", ["descending", "desc"]),
        ("join: {key: [1], kind: outer}\nfrom: [s1, s1]", ["outer", "full"]),
        ("map: {lua: 'function(x) return x end'}\npartition: 3", ["partition", "s2"]),
        ("map: {lua: 'function(x) return x end'}\nfrom: [s11]", ["s11", "s1"]),
        ("map: {lua: 'function(x) return x end'}\nonError: {policy: skip}", ["skip", "Skip"]),
    ] {
        Flow::of(&[READ, step, SHOW]).is_refused(&says);
    }
}

#[test]
fn a_step_has_exactly_one_operator() {
    Flow::of(&[READ, &format!("{MAP}\nfilter: {{lua: 'function(x) return x end'}}"), SHOW]).is_refused(&["s2", "map", "filter"]);
    Flow::of(&[READ, "from: [s1]", SHOW]).is_refused(&["s2", "operator"]);
    Flow::of(&["read: {text: {paths: [a]}, csv: {paths: [b]}}", SHOW]).is_refused(&["s1", "text", "csv"]);
    Flow::of(&["read: {}", SHOW]).is_refused(&["s1"]);
}

#[test]
fn names_are_labels_and_unique() {
    let flow = |names: [&str; 2]| {
        Flow::text(&format!(
            "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: t}}\nspec:\n  steps:\n    - name: {}\n      {READ}\n    - name: {}\n      {SHOW}\n",
            names[0], names[1]
        ))
    };
    flow(["a", "a"]).is_refused(&["\"a\"", "flow.yaml:8"]);
    flow(["Upper", "b"]).is_refused(&["Upper"]);
    flow(["under_score", "b"]).is_refused(&["under_score"]);
    flow(["a.b", "b"]).is_refused(&["a.b"]);
    flow(["-a", "b"]).is_refused(&["-a"]);
    flow([&"x".repeat(41), "b"]).is_refused(&["40"]);
    Flow::text(&format!("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: t}}\nspec:\n  steps:\n    - {READ}\n    - name: b\n      {SHOW}\n")).is_refused(&["name"]);
}

#[test]
fn inputs_must_fit_the_operator() {
    Flow::of(&[MAP, SHOW]).is_refused(&["s1"]);
    Flow::of(&[READ, "map: {lua: 'function(x) return x end'}\nfrom: [s1, s1]", SHOW]).is_refused(&["s2"]);
    Flow::of(&[READ, "join: {key: [1]}", SHOW]).is_refused(&["s2"]);
    Flow::of(&[READ, "coGroup: {key: [1]}\nfrom: [s1]", SHOW]).is_refused(&["s2"]);
    Flow::of(&[READ, "read: {range: {to: 3}}\nfrom: [s1]", SHOW]).is_refused(&["s2"]);
    Flow::of(&[READ, SHOW, MAP, "write: {text: {path: out}}"]).is_refused(&["s3", "s2"]);
    Flow::of(&[
        READ,
        "map: {lua: 'function(x) return x end'}\nfrom: [s3]",
        "map: {lua: 'function(x) return x end'}\nfrom: [s2]",
        SHOW,
    ])
    .is_refused(&["circle", "s2", "s3"]);
    Flow::of(&[READ, "map: {lua: 'function(x) return x end'}\nfrom: [s2]", SHOW]).is_refused(&["s2"]);
    Flow::of(&[READ, "parallelDo: {outputs: [a], lua: 'function(x) emit.a(x) end'}", SHOW]).is_refused(&["s2", "s2.a"]);
    Flow::of(&[READ, "parallelDo: {outputs: [a], lua: 'function(x) emit.a(x) end'}", "write: {stdout: {}}\nfrom: [s2.b]"])
        .is_refused(&["\"b\"", "s2.a"]);
}

#[test]
fn combine_stands_directly_on_a_group() {
    Flow::of(&[READ, "combine: {lua: 'function(x, y) return x end'}", SHOW]).is_refused(&["s2", "groupBy"]);
    Flow::of(&[
        READ,
        "groupBy: {key: [1]}",
        "filter: {lua: 'function(k, l) return true end'}",
        "combine: {lua: 'function(x, y) return x end'}",
        SHOW,
    ])
    .is_refused(&["s4", "groupBy"]);
}

#[test]
fn missing_and_wrong_values_are_named() {
    for (step, says) in [
        ("map: {}", "lua"),
        ("map: 'function(x) return x end'", "map"),
        ("map: {lua: 5}", "lua"),
        ("sort: {by: [1]}", "by"),
        ("reduceBy: {lua: 'function(x, y) return x end'}", "key"),
        ("reduceBy: {key: [], lua: 'function(x, y) return x end'}", "key"),
        ("reduceBy: {key: 1, lua: 'function(x, y) return x end'}", "key"),
        ("select: {columns: [0]}", "0"),
        ("select: {columns: [-1]}", "-1"),
        ("top: {by: [{field: 1}]}", "n"),
        ("limit: {n: -1}", "-1"),
        ("limit: {n: many}", "many"),
        ("limit: {n: 1}\npartitions: 0", "partitions"),
        ("pipe: {}", "command"),
        ("pipe: {command: \"\"}", "command"),
        ("parallelDo: {outputs: [], lua: 'function(x) end'}", "outputs"),
        ("parallelDo: {outputs: [a, a], lua: 'function(x) end'}\n", "outputs"),
        ("map: {lua: 'function(x) return x end'}\nhints: {sizeRatio: -1}", "sizeRatio"),
        ("map: {lua: 'function(x) return x end'}\nhints: {memory: much}", "memory"),
        ("map: {lua: 'function(x) return x end'}\nonError: {policy: DeadLetter}", "to"),
        ("map: {lua: 'function(x) return x end'}\npersist: \"true\"", "persist"),
    ] {
        Flow::of(&[READ, step, SHOW]).is_refused(&[says, "flow.yaml:"]);
    }
    for step in ["limit: {n: $(params.n)}\nfrom: [s1]", "write: {text: {path: out, mode: $(params.mode)}}"] {
        let flow = Flow::of(&["read: {range: {to: 3}}", step, "write: {stdout: {}}\nfrom: [s1]"]);
        flow.is_refused(&["\"s2\"", "parameters are replaced in free text only"]);
    }
}

#[test]
fn what_yaml_1_1_and_1_2_read_differently_is_a_problem() {
    for value in ["y", "n", "yes", "no", "on", "off", "007", "0o17", "1_000", "12:30:00"] {
        Flow::of(&[&format!("read: {{inline: {{lines: [{value}]}}}}"), SHOW]).is_refused(&["flow.yaml:7"]);
        Flow::of(&[&format!("read: {{inline: {{lines: [\"{value}\"]}}}}"), SHOW]).prints(&[value]);
    }
    Flow::of(&["read: {range: {to: 3}}\npersist: yes", SHOW]).is_refused(&["flow.yaml:8", "true"]);
}

#[test]
fn a_repeated_key_in_the_yaml_is_a_problem() {
    Flow::of(&["read: {range: {to: 3}}\nread: {range: {to: 4}}", SHOW]).is_refused(&["read", "flow.yaml:8"]);
}

#[test]
fn indentation_and_tabs_are_told_with_their_place() {
    Flow::text("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: t}\nspec:\n\tsteps: []\n")
        .is_refused(&["flow.yaml:5"]);
}

#[test]
fn cluster_fields_that_are_not_built_are_refused_by_name() {
    Flow::with_spec("managedBy: someone", &[READ, SHOW]).is_refused(&["managedBy"]);
    Flow::with_spec("scheduling: {queueName: q}", &[READ, SHOW]).is_refused(&["scheduling"]);
    Flow::with_spec("luaFrom: {configMapKeyRef: {name: a, key: b}}", &[READ, SHOW]).run(&[]).expect(2, &["luaFrom"]);
    Flow::with_spec("stepz: []", &[READ, SHOW]).is_refused(&["stepz"]);
}

#[test]
fn messages_do_not_speak_of_the_program_inside() {
    for flow in [Flow::of(&[READ, "map: {}", SHOW]), Flow::of(&["read: {inline: {rows: 5}}", SHOW]), Flow::text("a: b\n")] {
        let told = flow.validate().stderr;
        for inside in ["serde", "Option", "struct", "panicked", "unwrap", "::"] {
            assert!(!told.contains(inside), "{inside:?} in:\n{told}");
        }
    }
}
