//! One model of the object, made from the types; from it the CRD, the editors' JSON schema and the check of flow files.
//!
//! The types say what JSON schema cannot with extensions of ours, which the outputs below turn into what their readers know:
//! `x-gleamflow-one-of` (`{noun, of}`: exactly one of these fields), `x-gleamflow-at-most-one` (a list of fields) and
//! `x-gleamflow-text` (a [`TextKind`]).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::GleamFlow;
use crate::yaml;

pub const API_VERSION: &str = "gleamflow.io/v1alpha1";
pub const KIND: &str = "GleamFlow";

pub(crate) const ONE_OF: &str = "x-gleamflow-one-of";
pub(crate) const AT_MOST_ONE: &str = "x-gleamflow-at-most-one";
pub(crate) const TEXT: &str = "x-gleamflow-text";
pub(crate) const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
pub(crate) const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// What kubectl makes of an unquoted key `n`, a boolean to YAML 1.1. The field `n` of `top` and `limit` has that name too, so
/// that a flow file means the same to all readers.
pub(crate) const KUBECTL_N: &str = "false";

/// What a constrained string looks like.
#[derive(Debug)]
pub(crate) struct TextKind {
    name: &'static str,
    pattern: &'static str,
    pub(crate) says: &'static str,
    pub(crate) fits: fn(&str) -> bool,
}

const TEXT_KINDS: [TextKind; 2] = [
    TextKind {
        name: "label",
        pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        says: "lower-case letters, digits and \"-\", with a letter or digit at both ends",
        fits: is_label,
    },
    TextKind {
        name: "identifier",
        pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
        says: "letters, digits and \"_\", not beginning with a digit",
        fits: is_identifier,
    },
];

pub(crate) fn text_kind(name: &str) -> Option<&'static TextKind> {
    TEXT_KINDS.iter().find(|kind| kind.name == name)
}

/// Whether it can be a Kubernetes name without dots.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inner) && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_identifier(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(inner) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// The schema of a [`crate::FieldRef`] or [`crate::Quantity`].
pub(crate) fn int_or_string() -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// The schema of any JSON value.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true, "nullable": true})
}

/// The object's schema: structural, inlined, with our extensions.
pub(crate) fn model() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .into_generator();
    let mut model = generator.into_root_schema_for::<GleamFlow>().to_value();
    tidy(&mut model);
    model["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    model
}

/// Drops what readers of the schema do not need, and what Kubernetes would trip over.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("title");
    // A null where a value may be left out is a mistake in a file, and the API server should drop it, not keep it.
    if object.get(PRESERVE).is_none() {
        object.remove("nullable");
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(description) = object.get("description").and_then(Value::as_str) {
        let description = description.replace('\n', " ");
        object.insert("description".into(), description.into());
    }
    tidy_number(object);
    for child in children(object) {
        tidy(child);
    }
}

/// Kubernetes knows no unsigned formats.
fn tidy_number(object: &mut Map<String, Value>) {
    match object.get("format").and_then(Value::as_str) {
        Some("uint32") => {
            object.insert("format".into(), "int32".into());
            object.entry("minimum").or_insert(json!(0));
            object.entry("maximum").or_insert(json!(i32::MAX));
        }
        Some("double") if object.get("type") == Some(&json!("number")) => {}
        Some(_) | None => {}
    }
}

/// The schemas directly below one.
fn children(object: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut found = Vec::new();
    for (key, value) in object.iter_mut() {
        match key.as_str() {
            "properties" => found.extend(value.as_object_mut().into_iter().flat_map(|properties| properties.values_mut())),
            "items" | "additionalProperties" => found.push(value),
            _ => {}
        }
    }
    found
}

/// The CustomResourceDefinition. ([`CustomResourceExt::crd`] alone knows neither the rules nor the default of the status.)
///
/// # Panics
/// Never: the types are fixed, and a test calls it.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut schema = model();
    to_kubernetes(&mut schema);
    let schema: JSONSchemaProps = serde_json::from_value(schema).expect("the model is a structural schema");
    let mut crd = GleamFlow::crd();
    for version in &mut crd.spec.versions {
        version.schema.get_or_insert_default().open_api_v3_schema = Some(schema.clone());
    }
    crd
}

/// The CustomResourceDefinition as YAML.
///
/// # Panics
/// Never: the types are fixed, and a test calls it.
#[must_use]
pub fn crd_yaml() -> String {
    yaml::to_string(&serde_json::to_value(crd()).expect("a CRD is JSON"))
}

/// Turns our extensions into patterns and CEL rules.
fn to_kubernetes(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let mut rules = Vec::new();
    if let Some(one_of) = object.remove(ONE_OF) {
        let (noun, names) = one_of_parts(&one_of);
        if names.iter().all(|name| rules_can_see(&object["properties"][*name])) {
            let message = format!("exactly one {noun} is needed: {}", names.join(", "));
            rules.push(json!({"rule": format!("{} == 1", count_present(&names)), "message": message}));
        } else {
            object.insert("oneOf".into(), branches(&names));
        }
    }
    if let Some(names) = object.remove(AT_MOST_ONE) {
        let names = strings(&names);
        let message = format!("at most one of {} can be given", names.join(", "));
        rules.push(json!({"rule": format!("{} <= 1", count_present(&names)), "message": message}));
    }
    if !rules.is_empty() {
        let all = object.entry("x-kubernetes-validations").or_insert(json!([]));
        all.as_array_mut().expect("validations are a list").extend(rules);
    }
    apply_text(object);
    accept_kubectl_n(object);
    for child in children(object) {
        to_kubernetes(child);
    }
}

/// Whether CEL knows a field of that schema: one without a type, or a list of such, does not exist for it.
fn rules_can_see(schema: &Value) -> bool {
    match schema["type"].as_str() {
        Some("array") => rules_can_see(&schema["items"]),
        Some(_) => true,
        None => schema.get(INT_OR_STRING).is_some(),
    }
}

/// One schema per field, which asks for that field.
fn branches(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"required": [name]})).collect()
}

/// Lets the API server take the field `n` under the name that kubectl gives it.
fn accept_kubectl_n(object: &mut Map<String, Value>) {
    let Some(mut n) = object.get("properties").and_then(|properties| properties.get("n")).cloned() else { return };
    n["description"] = json!("What kubectl makes of an unquoted `n`.");
    object["properties"][KUBECTL_N] = n;
    if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "n");
    }
    if object.get("required").is_some_and(|required| strings(required).is_empty()) {
        object.remove("required");
    }
    let rule = json!({"rule": "has(self.n) != has(self.__false__)", "message": "n is needed"});
    let rules = object.entry("x-kubernetes-validations").or_insert(json!([]));
    rules.as_array_mut().expect("validations are a list").push(rule);
}

fn apply_text(object: &mut Map<String, Value>) {
    let kind = object.remove(TEXT);
    if let Some(kind) = kind.as_ref().and_then(Value::as_str).and_then(text_kind) {
        object.insert("pattern".into(), kind.pattern.into());
    }
}

/// The noun and the fields of a [`ONE_OF`].
pub(crate) fn one_of_parts(one_of: &Value) -> (&str, Vec<&str>) {
    (one_of["noun"].as_str().unwrap_or("field"), strings(&one_of["of"]))
}

pub(crate) fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn count_present(names: &[&str]) -> String {
    let present: Vec<String> = names.iter().map(|name| format!("(has(self.{name}) ? 1 : 0)")).collect();
    present.join(" + ")
}

/// The whole object, as a flow file holds it, for the check of files and for editors.
pub(crate) fn file_model() -> Value {
    let mut model = model();
    let metadata = json!({
        "type": "object",
        "description": "Kubernetes metadata: the flow's name, labels, annotations.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253},
            "generateName": {"type": "string", "minLength": 1, "maxLength": 253},
            "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}}
        }
    });
    model["properties"]["apiVersion"] = json!({"type": "string", "enum": [API_VERSION]});
    model["properties"]["kind"] = json!({"type": "string", "enum": [KIND]});
    model["properties"]["metadata"] = metadata;
    // A file got with `kubectl get -o yaml` has a status; the API server ignores it on apply, and so do we.
    model["properties"]["status"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    model["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    model
}

/// A JSON schema of flow files, for editors.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = file_model();
    to_json_schema(&mut schema);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(KIND);
    schema
}

/// Turns extensions into what draft 7 knows.
fn to_json_schema(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let preserve = object.remove(PRESERVE).is_some();
    object.remove("nullable");
    if object.remove(INT_OR_STRING).is_some() {
        object.insert("type".into(), json!(["integer", "string"]));
    }
    if let Some(one_of) = object.remove(ONE_OF) {
        let (_, names) = one_of_parts(&one_of);
        object.insert("oneOf".into(), branches(&names));
    }
    if let Some(names) = object.remove(AT_MOST_ONE) {
        object.insert("not".into(), json!({"required": names}));
    }
    apply_text(object);
    if object.contains_key("properties") && !preserve {
        object.insert("additionalProperties".into(), json!(false));
    }
    object.retain(|key, _| !key.starts_with("x-"));
    for child in children(object) {
        to_json_schema(child);
    }
}

#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
