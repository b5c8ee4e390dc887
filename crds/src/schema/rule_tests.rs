//! What the CRD's CEL rules say of good and bad objects, when they are made and when they change: evaluated here as an API server
//! does, from the generated schema.

use std::collections::{BTreeSet, HashMap};

use cel::{Context, Program};
use serde_json::{Value, json};

use super::crd;

/// Words that a field cannot be called by in CEL; Kubernetes writes them with underscores around.
const RESERVED: [&str; 22] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "__namespace__",
];

fn schema() -> Value {
    serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A value as rules see it.
fn seen(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(is) => cel::Value::Bool(*is),
        Value::Number(number) => number.as_i64().map_or_else(|| cel::Value::Float(number.as_f64().unwrap()), cel::Value::Int),
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(seen).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            let escaped = |name: &String| if RESERVED.contains(&name.as_str()) { format!("__{name}__") } else { name.clone() };
            fields.iter().map(|(name, value)| (escaped(name), seen(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

fn holds(rule: &str, new: &Value, old: Option<&Value>) -> bool {
    let program = Program::compile(rule).unwrap_or_else(|error| panic!("{rule}: {error:?}"));
    let mut context = Context::default();
    context.add_variable_from_value("self", seen(new));
    if let Some(old) = old {
        context.add_variable_from_value("oldSelf", seen(old));
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(holds)) => holds,
        other => panic!("{rule} of {new}: {other:?}"),
    }
}

/// The messages of rules that an object breaks, and the texts of all rules that were asked.
fn judge(schema: &Value, new: &Value, old: Option<&Value>, asked: &mut BTreeSet<String>) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap();
        // Rules about changes are asked only where there was something before.
        if text.contains("oldSelf") && old.is_none() {
            continue;
        }
        asked.insert(text.to_owned());
        if !holds(text, new, old) {
            broken.push(rule["message"].as_str().unwrap_or(text).to_owned());
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = new.get(name) {
            broken.extend(judge(property, value, old.and_then(|old| old.get(name)), asked));
        }
    }
    // What is in a list that is replaced as a whole has nothing before it.
    for item in new.as_array().into_iter().flatten() {
        broken.extend(judge(&schema["items"], item, None, asked));
    }
    broken
}

/// As an API server does before it asks rules.
fn fill(schema: &Value, value: &mut Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(fields) = value.as_object_mut() {
            if let Some(default) = property.get("default").filter(|_| !fields.contains_key(name)) {
                fields.insert(name.clone(), default.clone());
            }
            if let Some(value) = fields.get_mut(name) {
                fill(property, value);
            }
        }
    }
    value.as_array_mut().into_iter().flatten().for_each(|item| fill(&schema["items"], item));
}

fn broken_by(new: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema();
    let filled = |object: &Value| {
        let mut object = object.clone();
        fill(&schema, &mut object);
        object
    };
    judge(&schema, &filled(new), old.map(filled).as_ref(), &mut BTreeSet::new())
}

fn object(spec: Value) -> Value {
    let mut all = json!({"steps": [step(json!({"map": {"lua": "x -> x"}}))]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "a"}, "spec": all})
}

fn step(part: Value) -> Value {
    let mut step = json!({"name": "a"});
    step.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    step
}

/// Made with that, and changed from something else to that, it breaks these.
fn made(spec: Value, expected: &[&str]) {
    let new = object(spec);
    assert_eq!(broken_by(&new, None), expected, "{new}");
    assert_eq!(broken_by(&new, Some(&object(json!({})))), expected, "{new}");
}

fn of_step(part: Value, expected: &[&str]) {
    made(json!({"steps": [step(part)]}), expected);
}

#[test]
fn a_step_does_exactly_one_thing() {
    let schema = schema();
    let rules = &schema["properties"]["spec"]["properties"]["steps"]["items"]["x-kubernetes-validations"];
    let message = rules[0]["message"].as_str().unwrap();
    assert!(message.starts_with("exactly one operator is needed: read, map, "), "{message}");
    of_step(json!({}), &[message]);
    of_step(json!({"map": {"lua": "f"}, "filter": {"lua": "f"}}), &[message]);
    of_step(json!({"map": {"lua": "f"}, "filter": {"lua": "f"}, "count": {}}), &[message]);
    of_step(json!({"filter": {"lua": "f"}, "persist": true, "partitions": 3}), &[]);
    // Each by itself is enough, and with another is too much.
    let operators = message.split_once(": ").unwrap().1.split(", ");
    for operator in operators {
        let alone = step(json!({operator: {}}));
        assert!(holds(rules[0]["rule"].as_str().unwrap(), &alone, None), "{operator}");
        let other = if operator == "map" { "filter" } else { "map" };
        let two = step(json!({operator: {}, other: {}}));
        assert!(!holds(rules[0]["rule"].as_str().unwrap(), &two, None), "{operator}");
    }
}

#[test]
fn files_are_named_in_one_way() {
    let message = "exactly one field is needed: paths, pathsFrom";
    let found = |part: Value| {
        let broken = broken_by(&object(json!({"steps": [step(part)]})), None);
        assert!(broken.iter().all(|broken| broken.contains("paths, pathsFrom")), "{broken:?}, not {message}");
        broken.len()
    };
    assert_eq!(found(json!({"read": {"text": {}}})), 1);
    assert_eq!(found(json!({"read": {"text": {"paths": ["a"]}}})), 0);
    assert_eq!(found(json!({"read": {"text": {"pathsFrom": {"lua": "f"}}}})), 0);
    assert_eq!(found(json!({"read": {"text": {"paths": ["a"], "pathsFrom": {"lua": "f"}}}})), 1);
}

#[test]
fn what_is_read_and_written_has_one_format() {
    let broken = |part: Value| broken_by(&object(json!({"steps": [step(part)]})), None).len();
    assert_eq!(broken(json!({"read": {}})), 1);
    assert_eq!(broken(json!({"read": {"range": {"to": 3}}})), 0);
    assert_eq!(broken(json!({"read": {"range": {"to": 3}, "inline": {"rows": [["a"]]}}})), 1);
    assert_eq!(broken(json!({"write": {}})), 1);
    assert_eq!(broken(json!({"write": {"stdout": {}}})), 0);
    assert_eq!(broken(json!({"write": {"stdout": {}, "text": {"path": "a"}}})), 1);
}

#[test]
fn n_is_taken_as_it_is_written_and_as_kubectl_reads_it() {
    of_step(json!({"limit": {"n": 1}}), &[]);
    of_step(json!({"limit": {"false": 1}}), &[]);
    of_step(json!({"limit": {}}), &["n is needed"]);
    of_step(json!({"limit": {"n": 1, "false": 1}}), &["n is needed"]);
}

#[test]
fn rows_that_go_elsewhere_have_somewhere_to_go() {
    let broken =
        |policy: Value| broken_by(&object(json!({"steps": [step(json!({"map": {"lua": "f"}, "onError": policy}))]})), None);
    assert_eq!(broken(json!({"policy": "DeadLetter", "to": "b"})), [""; 0]);
    assert_eq!(broken(json!({"policy": "Skip"})), [""; 0]);
    assert_eq!(broken(json!({"policy": "DeadLetter"})).len(), 1);
    assert_eq!(broken(json!({"policy": "Skip", "to": "b"})).len(), 1);
}

#[test]
fn lua_comes_from_one_place() {
    let from = json!({"configMapKeyRef": {"name": "c", "key": "k"}});
    made(json!({"lua": "x = 1"}), &[]);
    made(json!({"luaFrom": from}), &[]);
    made(json!({"lua": "x = 1", "luaFrom": from}), &["at most one of lua, luaFrom can be given"]);
}

#[test]
fn the_bounds_of_executors_are_in_order() {
    let message = "minReplicas must not be above maxReplicas";
    made(json!({"executors": {"minReplicas": 3, "maxReplicas": 3}}), &[]);
    made(json!({"executors": {"minReplicas": 3, "maxReplicas": 2}}), &[message]);
    made(json!({"executors": {"minReplicas": 11}}), &[message]);
    made(json!({"executors": {"maxReplicas": 1}}), &[]);
}

#[test]
fn who_manages_a_flow_never_changes() {
    let by = |who: Option<&str>| who.map_or_else(|| object(json!({})), |who| object(json!({"managedBy": who})));
    let check = |old: Option<&str>, new: Option<&str>, good: bool| {
        let broken = broken_by(&by(new), Some(&by(old)));
        assert_eq!(broken.is_empty(), good, "{old:?} became {new:?}: {broken:?}");
    };
    check(None, None, true);
    check(Some("kueue"), Some("kueue"), true);
    check(Some("kueue"), Some("other"), false);
    check(None, Some("kueue"), false);
    check(Some("kueue"), None, false);
    assert_eq!(broken_by(&by(Some("kueue")), None), [""; 0], "it may be made with one");
}

#[test]
fn other_fields_may_change() {
    let old = object(json!({"suspend": true, "executors": {"minReplicas": 1}}));
    let new = object(json!({"suspend": false, "lua": "y = 1", "steps": [step(json!({"count": {}}))]}));
    assert_eq!(broken_by(&new, Some(&old)), [""; 0]);
}

/// A rule that nobody tests is noticed here: all that there are have been asked of some object above or of the one with everything.
#[test]
fn every_rule_of_the_schema_is_known_here() {
    fn collect(schema: &Value, found: &mut BTreeSet<String>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            found.insert(rule["rule"].as_str().unwrap().to_owned());
        }
        schema["properties"].as_object().into_iter().flatten().for_each(|(_, property)| collect(property, found));
        ["items", "additionalProperties"]
            .iter()
            .filter(|below| schema[**below].is_object())
            .for_each(|below| collect(&schema[*below], found));
    }
    let mut found = BTreeSet::new();
    collect(&schema(), &mut found);
    let known = [
        "has(self.read) ? 1 : 0",
        "has(self.paths) ?",
        "(has(self.stdout) ?",
        "(has(self.orc) ?",
        "has(self.n) !=",
        "self.policy ==",
        "has(self.lua) ?",
        "self.minReplicas <=",
        "has(self.managedBy) ==",
    ];
    let unknown: Vec<&String> = found.iter().filter(|rule| !known.iter().any(|known| rule.contains(known))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert_eq!(found.len(), known.len(), "{found:#?}");
}
