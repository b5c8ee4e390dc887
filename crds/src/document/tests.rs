//! Flow files in, flows, places and problems out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod problems;

const EVERYTHING: &str = include_str!("tests/everything.yaml");

fn parsed(text: &str) -> Document {
    Document::parse(text, "flow.yaml").unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn a_flow_survives_the_way_through_json() {
    let flow = parsed(EVERYTHING).flow;
    let json = serde_json::to_value(&flow).unwrap();
    assert_eq!(serde_json::from_value::<GleamFlow>(json.clone()).unwrap(), flow);
    assert_eq!(parsed(&crate::yaml::to_string(&json)).flow, flow);
}

#[test]
fn a_flow_may_be_json_as_programs_write_it() {
    let text = r#"{"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "a"},
      "spec": {"steps": [{"name": "a", "read": {"inline": {"lines": ["\ud83d\ude00 \u00e9", "\\ud83d\\ude00"]}}}]}}"#;
    let lines = json!(parsed(text).flow)["spec"]["steps"][0]["read"]["inline"]["lines"].clone();
    assert_eq!(lines, json!(["\u{1f600} é", "\\ud83d\\ude00"]));
}

#[test]
fn every_field_of_the_model_is_used_by_the_example() {
    let json = serde_json::to_value(&parsed(EVERYTHING).flow).unwrap();
    let mut missing = Vec::new();
    unused(&schema::model()["properties"]["spec"], &[&json["spec"]], "spec", &mut missing);
    // It cannot be given beside `lua`.
    missing.retain(|path| !path.starts_with("spec.luaFrom"));
    assert_eq!(missing, Vec::<String>::new());
}

/// Fields of the schema that none of the values has.
fn unused(schema: &Value, values: &[&Value], path: &str, missing: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let found: Vec<&Value> = values.iter().filter_map(|value| value.get(name)).collect();
        if found.is_empty() {
            missing.push(path.clone());
        }
        unused(field, &found, &path, missing);
    }
    if schema["items"].is_object() {
        let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        unused(&schema["items"], &items, path, missing);
    }
}

#[test]
fn numbers_are_what_the_api_server_keeps() {
    let text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: a}\nspec: {steps: [{name: a, read: {inline: \
                {rows: [[4.0, 1e3, 1.5, 0x10, -0.0, '4.0', null, ~, true, 2024-01-01, 1e20, {b: [1.0]}]]}}}]}\n";
    let flow = parsed(text).flow;
    let rows = flow.spec.steps[0].read.as_ref().unwrap().inline.as_ref().unwrap().rows.as_ref().unwrap();
    let expected = json!([[4, 1000, 1.5, 16, 0, "4.0", null, null, true, "2024-01-01", 1e20, {"b": [1]}]]);
    assert_eq!(json!(rows), expected);
}

#[test]
fn the_field_n_is_known_by_the_name_that_kubectl_gives_it() {
    let flow = |n: &str| {
        parsed(&format!(
            "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: a}}\nspec: {{steps: [{{name: a, limit: {{{n}: 3}}}}]}}\n"
        ))
    };
    let limit = |document: &Document| document.flow.spec.steps[0].limit.as_ref().unwrap().n;
    assert_eq!([limit(&flow("n")), limit(&flow("\"n\"")), limit(&flow("\"false\""))], [3, 3, 3]);
    let from_cluster: crate::operator::Limit = serde_json::from_value(json!({"false": 4})).unwrap();
    assert_eq!(from_cluster.n, 4);
}

#[test]
fn anchors_stand_for_what_they_name() {
    let text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: a}\nspec:\n  steps:\n  - &step\n    name: a\n    \
                map: &f {lua: &l 'function(x) end'}\n  - name: b\n    map: *f\n  - name: c\n    map: {lua: *l}\n";
    let document = parsed(text);
    assert_eq!(document.flow.spec.steps[0].map, document.flow.spec.steps[1].map);
    assert_eq!(document.flow.spec.steps[0].map, document.flow.spec.steps[2].map);
    assert_eq!(document.places.place("steps[1].map").to_string(), "flow.yaml:10:10");
    assert_eq!(document.places.place("steps[1].map.lua").to_string(), "flow.yaml:8:19");
}

#[test]
fn aliases_cannot_blow_up() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        text += &format!("a{level}: &a{level} [{items}]\n");
    }
    let problems = Document::parse(&text, "f").unwrap_err();
    assert!(problems[0].message.contains("aliases counted"), "{problems:?}");
}

#[test]
fn many_values_are_counted_once_and_read_in_one_pass() {
    // Looked for from the beginning each, these would take minutes.
    let rows = "[1, ä, true, -2.5], ".repeat(60_000);
    let head = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: a}\nspec:\n  steps:\n  - name: a\n";
    let document = parsed(&format!("{head}    read: {{inline: {{rows: [{rows}]}}}}\n  - name: b # the last\n    count: {{}}\n"));
    let rows = document.flow.spec.steps[0]
        .read
        .as_ref()
        .and_then(|read| read.inline.as_ref())
        .and_then(|inline| inline.rows.as_ref())
        .map(Vec::len);
    assert_eq!(rows, Some(60_000));
    assert!(document.places.is_cut("steps[1].name") && !document.places.is_cut("steps[0].name"));
    assert_eq!(document.places.place("steps[1].name").to_string(), "flow.yaml:8:11");
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "&a [".repeat(200)] {
        let problems = Document::parse(&text, "f").unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn places_are_those_of_the_file() {
    let text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata:\n  name: a\nspec:\n  steps:\n  - name: a\n    map: {lua: \
                'function(x) end'}\n  - name: b\n    map:\n      lua: |  # a > comment\n\n        function(x)\n          return x\n        \
                end\n  - name: c\n    fields: [é, word]\n    filter:\n      lua: >-\n        function(x)\n        end\n";
    let places = parsed(text).places;
    for (path, expected) in [
        ("metadata.name", "flow.yaml:4:9"),
        ("steps[0].map.lua", "flow.yaml:8:16"),
        ("spec.steps[0].map.lua", "flow.yaml:8:16"),
        ("steps[0]", "flow.yaml:7:5"),
        ("steps[0].from[3]", "flow.yaml:7:5"),
        ("steps[1].map.lua", "flow.yaml:11:12"),
        ("steps[2].fields[1]", "flow.yaml:17:17"),
        ("steps[2].filter.lua", "flow.yaml:19:12"),
        ("params[3].name", "flow.yaml:6:3"),
    ] {
        assert_eq!(places.place(path).to_string(), expected, "{path}");
    }
    assert_eq!(places.key_place("steps[1].map").to_string(), "flow.yaml:10:5");
    assert_eq!(places.line_place("steps[0].map.lua", 1).to_string(), "flow.yaml:8:17");
    assert_eq!(places.line_place("steps[1].map.lua", 1).to_string(), "flow.yaml:12:9");
    assert_eq!(places.line_place("steps[1].map.lua", 3).to_string(), "flow.yaml:14:9");
    assert_eq!(places.line_place("steps[2].filter.lua", 1).to_string(), "flow.yaml:20:9");
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let problems = Document::parse_bytes(b"a: b\nc: \xff\n", "f").unwrap_err();
    assert_eq!(problems[0].to_string(), "f:2:1: this is not YAML: the file is not UTF-8 text");
}

#[test]
fn what_kubectl_shows_is_a_flow_file() {
    let text = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata:\n  name: a\n  namespace: default\n  generation: 3\n  \
                creationTimestamp: \"2026-01-02T03:04:05Z\"\n  uid: 1b6a\n  managedFields: [{manager: kubectl}]\nspec: {steps: [{name: a, \
                read: {range: {to: 3}}}]}\nstatus: {phase: Running, progress: 3}\n";
    let flow = parsed(text).flow;
    assert_eq!(flow.metadata.generation, Some(3));
    assert_eq!(flow.status, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse_bytes(&bytes, "f");
    }

    #[test]
    fn no_text_makes_the_reader_panic(parts in proptest::collection::vec(proptest::sample::select(&[
        "a", "name", "steps", "spec", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "&x ", "*x", "!!str ", "!t ", "|",
        ">", "'", "\"", "#", " #", "? ", "---\n", "...\n", "%", "<<", "1", "012", "yes", "~", "\t", "é", "\u{2028}", "\r", "\\", "@", "`",
    ][..]), 0..60)) {
        let _ = Document::parse(&parts.concat(), "f");
    }

    #[test]
    fn a_damaged_flow_does_not_make_the_reader_panic(at in 0..EVERYTHING.len(), length in 0_usize..40, with in "[a-z:{}\\[\\] \n'\"|&*-]{0,8}") {
        let cut = |index: usize| (index..).find(|index| EVERYTHING.is_char_boundary(*index)).unwrap_or(EVERYTHING.len());
        let (start, end) = (cut(at), cut((at + length).min(EVERYTHING.len())));
        let text = format!("{}{with}{}", &EVERYTHING[..start], &EVERYTHING[end..]);
        let _ = Document::parse(&text, "f");
    }
}
