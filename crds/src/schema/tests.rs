//! The CRD and the editors' schema.

use super::*;

/// The schema of the object in the CRD.
fn open_api() -> Value {
    serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every schema below one, with its path.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            walk(&schema[below], &format!("{path}[]"), visit);
        }
    }
}

fn rules(schema: &Value) -> Vec<&str> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().filter_map(|rule| rule["rule"].as_str()).collect()
}

#[test]
fn the_crd_fits_client_side_apply() {
    let yaml = crd_yaml();
    assert!(yaml.len() < 128 * 1024, "{} bytes", yaml.len());
    assert!(serde_json::to_string(&crd()).unwrap().len() < 262_144);
}

#[test]
fn the_crd_names_the_object_as_the_contract_does() {
    let crd = serde_json::to_value(crd()).unwrap();
    let names = json!({
        "categories": ["gleamflow"], "kind": "GleamFlow", "plural": "gleamflows", "shortNames": ["gf"], "singular": "gleamflow"
    });
    assert_eq!(crd["metadata"]["name"], "gleamflows.gleamflow.io");
    assert_eq!(crd["spec"]["names"], names);
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    let version = &crd["spec"]["versions"][0];
    assert_eq!(version["name"], "v1alpha1");
    assert_eq!(version["subresources"], json!({"status": {}}));
    assert_eq!(version["selectableFields"], json!([{"jsonPath": ".status.phase"}]));
    let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
    let columns: Vec<&str> = columns.map(|column| column["name"].as_str().unwrap()).collect();
    let expected =
        ["Phase", "Progress", "Executors", "Reason", "Started", "Age", "Run", "Attempt", "Finished", "Shuffled", "Queue"];
    assert_eq!(columns, expected);
}

/// CEL knows no field that may hold anything: an API server refuses a rule that names one.
#[test]
fn fields_that_rules_cannot_see_are_counted_by_the_schema() {
    let inline = &open_api()["properties"]["spec"]["properties"]["steps"]["items"]["properties"]["read"]["properties"]["inline"];
    assert_eq!(rules(inline), [""; 0]);
    assert_eq!(inline["oneOf"], json!([{"required": ["lines"]}, {"required": ["rows"]}]));
}

#[test]
fn an_unseen_flow_has_no_observed_generation() {
    assert_eq!(open_api()["properties"]["status"]["default"], json!({"observedGeneration": -1}));
    assert_eq!(open_api()["properties"]["status"]["properties"]["observedGeneration"]["default"], json!(-1));
}

#[test]
fn appliers_replace_steps_and_merge_conditions() {
    let schema = open_api();
    let steps = &schema["properties"]["spec"]["properties"]["steps"];
    assert_eq!(steps["x-kubernetes-list-type"], "atomic");
    assert_eq!(steps["maxItems"], 256);
    assert_eq!(steps["items"]["properties"]["name"]["maxLength"], 40);
    assert_eq!(steps["items"]["properties"]["name"]["pattern"], "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
    let conditions = &schema["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
}

#[test]
fn the_schema_is_structural_and_keeps_no_nulls() {
    let mut wrong = Vec::new();
    walk(&open_api(), "", &mut |path, schema| {
        let any = schema[PRESERVE] == true || schema[INT_OR_STRING] == true;
        if schema["type"].is_null() && !any {
            wrong.push(format!("{path}: no type"));
        }
        if schema["nullable"] == true && !path.contains(".rows") {
            wrong.push(format!("{path}: nullable"));
        }
        let format = schema["format"].as_str().unwrap_or("int64");
        if !["int32", "int64", "double", "date-time"].contains(&format) {
            wrong.push(format!("{path}: format {format}"));
        }
        for combined in ["oneOf", "anyOf", "allOf", "$ref"] {
            // A choice may ask for fields, and say nothing else.
            let asks = |branch: &Value| branch.as_object().is_some_and(|branch| branch.keys().eq(["required"]));
            let only_asks = combined == "oneOf" && schema[combined].as_array().is_some_and(|branches| branches.iter().all(asks));
            if !schema[combined].is_null() && !only_asks {
                wrong.push(format!("{path}: {combined}"));
            }
        }
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn users_find_every_field_explained() {
    let mut bare = Vec::new();
    walk(&open_api()["properties"]["spec"], "spec", &mut |path, schema| {
        let in_reference = path.ends_with("Ref.name") || path.ends_with("Ref.key") || path.contains(".resources.");
        if schema["description"].as_str().is_none_or(str::is_empty) && !path.ends_with(']') && !in_reference {
            bare.push(path.to_owned());
        }
    });
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn one_of_is_a_rule_of_the_api_server() {
    let schema = open_api();
    let spec = &schema["properties"]["spec"];
    let step = &spec["properties"]["steps"]["items"];
    let operator = rules(step)[0];
    assert!(operator.starts_with("(has(self.read) ? 1 : 0) + (has(self.map) ? 1 : 0) + "), "{operator}");
    assert!(operator.ends_with(" + (has(self.write) ? 1 : 0) == 1"), "{operator}");
    assert_eq!(operator.matches("has(").count(), 26);
    assert_eq!(
        rules(&step["properties"]["read"]["properties"]["text"]),
        ["(has(self.paths) ? 1 : 0) + (has(self.pathsFrom) ? 1 : 0) == 1"]
    );
    assert_eq!(rules(&step["properties"]["onError"]), ["(self.policy == 'DeadLetter') == has(self.to)"]);
    assert_eq!(
        rules(spec),
        [
            "has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy)",
            "(has(self.lua) ? 1 : 0) + (has(self.luaFrom) ? 1 : 0) <= 1",
        ]
    );
}

#[test]
fn every_operator_of_a_step_is_one_of() {
    let model = model();
    let step = &model["properties"]["spec"]["properties"]["steps"]["items"];
    let (noun, operators) = one_of_parts(&step[ONE_OF]);
    assert_eq!(noun, "operator");
    let common =
        ["name", "from", "fields", "partitions", "sideInputs", "hints", "persist", "deterministic", "onError"].map(str::to_owned);
    let mut all: Vec<String> = operators.iter().map(|name| (*name).to_owned()).chain(common).collect();
    let mut known: Vec<String> = step["properties"].as_object().unwrap().keys().cloned().collect();
    all.sort();
    known.sort();
    assert_eq!(all, known);
}

#[test]
fn the_api_server_takes_n_as_kubectl_reads_it() {
    let schema = open_api();
    let limit = &schema["properties"]["spec"]["properties"]["steps"]["items"]["properties"]["limit"];
    assert_eq!(limit["properties"][KUBECTL_N]["type"], "integer");
    assert_eq!(limit["required"], Value::Null);
    assert_eq!(rules(limit), ["has(self.n) != has(self.__false__)"]);
}

#[test]
fn editors_refuse_unknown_fields() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["properties"]["kind"]["enum"], json!(["GleamFlow"]));
    let step = &schema["properties"]["spec"]["properties"]["steps"]["items"];
    assert_eq!(step["additionalProperties"], false);
    assert_eq!(step["oneOf"][0], json!({"required": ["read"]}));
    assert_eq!(step["properties"]["join"]["properties"]["key"]["items"]["type"], json!(["integer", "string"]));
    let mut ours = Vec::new();
    walk(&schema, "", &mut |path, schema| {
        ours.extend(schema.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")).map(|_| path.to_owned()));
    });
    assert_eq!(ours, Vec::<String>::new());
}

#[test]
fn the_crd_as_yaml_is_the_crd() {
    let mut quoted = 0;
    for line in crd_yaml().lines() {
        assert!(!line.contains('\t') && !line.ends_with(' '), "{line:?}");
        quoted += usize::from(line.ends_with('"'));
    }
    assert!(quoted > 100);
    assert_eq!(yaml::to_string(&json!({"a": [[1, [2]], {}, {"b": {"c": null, "y": "no"}}], "d e": "x: y"})), NESTED);
}

const NESTED: &str = "a:\n  - - 1\n    - - 2\n  - {}\n  - b:\n      c: null\n      \"y\": \"no\"\n\"d e\": \"x: y\"\n";
