//! Objects against their schemas, by kubeconform: what the chart makes in all of its modes, and the examples. Kubernetes' schemas are made
//! of its own OpenAPI document, that of flows of our definition; both are strict: a field that they do not know is a mistake.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use e2e::{kubeconform, openapi, outcome, root};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::PlainTest;
use crate::chart;

pub(crate) fn plain() -> Vec<(&'static str, PlainTest)> {
    vec![
        ("schemas::what_the_chart_makes_is_of_its_schemas", what_the_chart_makes_is_of_its_schemas),
        ("schemas::every_example_is_of_its_schema", every_example_is_of_its_schema),
        ("schemas::objects_that_are_wrong_are_refused", objects_that_are_wrong_are_refused),
    ]
}

/// The kinds of Kubernetes that the chart makes.
const KINDS: [&str; 11] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CustomResourceDefinition",
    "Deployment",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
];

/// The schemas, made once for all tests.
static SCHEMAS: LazyLock<Result<TempDir, String>> = LazyLock::new(|| schemas().map_err(|error| format!("{error:#}")));

fn what_the_chart_makes_is_of_its_schemas() -> Result<()> {
    let mut kinds = BTreeSet::new();
    for values in chart::MODES {
        let text = chart::rendered(values)?;
        let objects = text.lines().filter(|line| line.starts_with("kind: ")).count();
        let found = checked(&text)?;
        ensure!(found.wrong.is_empty(), "{values:?}: {:?}", found.wrong);
        ensure!(found.right.len() == objects, "{values:?}: {objects} objects were made, {:?} checked", found.right);
        kinds.extend(found.right);
    }
    ensure!(kinds.iter().eq(KINDS), "all modes together make {kinds:?}");
    Ok(())
}

fn every_example_is_of_its_schema() -> Result<()> {
    let mut examples = 0;
    for entry in fs::read_dir(root().join("examples")).context("failed to list examples")? {
        let file = entry.context("failed to list examples")?.path().join("flow.yaml");
        if file.exists() {
            let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
            let found = checked(&text)?;
            ensure!(found.wrong.is_empty() && found.right == ["GleamFlow"], "{}: {found:?}", file.display());
            examples += 1;
        }
    }
    ensure!(examples >= 17, "only {examples} examples were found");
    Ok(())
}

/// What is right but for one place.
fn objects_that_are_wrong_are_refused() -> Result<()> {
    let chart = chart::rendered(&[])?;
    let example = root().join("examples/wordcount/flow.yaml");
    let flow = fs::read_to_string(&example).with_context(|| format!("failed to read {}", example.display()))?;
    let wrong = [
        (&chart, "  replicas: 1", "  replicas: one", "/spec/replicas"),
        (&chart, "maxSurge: 1", "maxSurges: 1", "maxSurges"),
        (&chart, "port: 7401, protocol: TCP", "port: 7401, protocoll: TCP", "protocoll"),
        (&chart, "    verbs: [get, list, watch]", "    verb: [get, list, watch]", "verb"),
        (&chart, "  policyTypes: [Ingress]", "  policyTypes: [Ingress]\n  policyTypes: [Ingress]", "already set"),
        (&chart, "apiVersion: apps/v1", "apiVersion: apps/v1beta1", "could not find schema"),
        (&flow, "kind: GleamFlow", "kind: GleamFlo", "could not find schema"),
        (&flow, "  steps:", "  stepps: []\n  steps:", "stepps"),
        (&flow, "  steps:", "  suspend: maybe\n  steps:", "/spec/suspend"),
    ];
    for (text, right, planted, expected) in wrong {
        ensure!(text.contains(right), "{right:?} is no more in what is changed: plant another mistake");
        let found = checked(&text.replacen(right, planted, 1))?;
        ensure!(found.wrong.len() == 1, "{planted:?}: refused is {:?}", found.wrong);
        ensure!(found.wrong[0].contains(expected), "{planted:?}: expected {expected:?}, got {:?}", found.wrong);
    }
    Ok(())
}

/// What kubeconform says: the kinds of what is right, and what is wrong.
#[derive(Debug)]
struct Found {
    right: Vec<String>,
    wrong: Vec<String>,
}

fn checked(text: &str) -> Result<Found> {
    let folder = SCHEMAS.as_ref().map_err(|error| anyhow::anyhow!("there are no schemas: {error}"))?;
    let location = format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", folder.path().display());
    let mut command = Command::new(kubeconform()?);
    command.args(["-strict", "-verbose", "-output", "json", "-n", "1", "-schema-location", &location, "-"]);
    let output = outcome(&mut command, Some(text))?;
    let said: Value = serde_json::from_str(&output.stdout).with_context(|| format!("kubeconform said {output:?}"))?;
    let mut found = Found { right: Vec::new(), wrong: Vec::new() };
    for object in said["resources"].as_array().into_iter().flatten() {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        match object["status"].as_str() {
            Some("statusValid") => found.right.push(kind),
            _ => found.wrong.push(object.to_string()),
        }
    }
    ensure!(output.success == found.wrong.is_empty(), "kubeconform said {output:?}");
    Ok(found)
}

/// Writes the schemas where kubeconform looks for them.
fn schemas() -> Result<TempDir> {
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let path = openapi()?;
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut document: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let Value::Object(mut definitions) = document["definitions"].take() else {
        anyhow::bail!("{} has no definitions", path.display());
    };
    definitions.iter_mut().for_each(|(name, schema)| mend(name, schema));
    let mut written = BTreeSet::new();
    for (name, schema) in &definitions {
        let Some([kind]) = schema["x-kubernetes-group-version-kind"].as_array().map(Vec::as_slice) else { continue };
        let words = |field: &str| kind[field].as_str().unwrap_or_default();
        if KINDS.contains(&words("kind")) {
            let schema = json!({"$ref": format!("#/definitions/{name}"), "definitions": used(name, &definitions)});
            write(folder.path(), words("group"), words("version"), words("kind"), &schema)?;
            written.insert(words("kind").to_owned());
        }
    }
    ensure!(written.iter().eq(KINDS), "{} has schemas of {written:?} alone", path.display());
    let definition = serde_json::to_value(crds::crd()).context("the definition is not JSON")?;
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        // What every object has is in no definition.
        schema["properties"]["apiVersion"] = json!({"type": "string"});
        schema["properties"]["kind"] = json!({"enum": ["GleamFlow"]});
        schema["properties"]["metadata"] = json!({"type": "object"});
        close(&mut schema);
        write(folder.path(), "gleamflow.io", version["name"].as_str().unwrap_or_default(), "GleamFlow", &schema)?;
    }
    Ok(folder)
}

/// One schema: kubeconform knows a group by the first word of its name.
fn write(folder: &Path, group: &str, version: &str, kind: &str, schema: &Value) -> Result<()> {
    let group = group.split('.').next().filter(|group| !group.is_empty()).map(|group| format!("-{group}"));
    let file = folder.join(format!("{}{}-{version}.json", kind.to_lowercase(), group.unwrap_or_default()));
    fs::write(&file, schema.to_string()).with_context(|| format!("failed to write {}", file.display()))
}

/// Makes a schema of the OpenAPI document say what the API server means.
fn mend(name: &str, schema: &mut Value) {
    match name.rsplit('.').next() {
        Some("IntOrString") => schema["type"] = json!(["integer", "string"]),
        Some("Quantity") => schema["type"] = json!(["number", "string"]),
        _ => close(schema),
    }
}

/// Has a schema refuse what it does not name.
fn close(schema: &mut Value) {
    if schema["nullable"] == true && schema["type"].is_string() {
        schema["type"] = json!([schema["type"], "null"]);
    }
    let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let Some(fields) = schema.as_object_mut() else { return };
    for field in ["items", "additionalProperties"] {
        fields.get_mut(field).into_iter().for_each(close);
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        if !keeps && !fields.contains_key("additionalProperties") {
            fields.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }
}

/// The definition of that name, and all that it refers to.
fn used(name: &str, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        if let (false, Some(definition)) = (found.contains_key(&name), definitions.get(&name)) {
            references(definition, &mut open);
            found.insert(name, definition.clone());
        }
    }
    found
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/definitions/"));
            found.extend(name.map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
