//! The user's PodTemplateSpec under our fields: lists are merged by name, and what is ours wins.

use serde_json::{Map, Value, json};

use crate::manifest::container_security;

/// The template's pod spec; its labels and annotations go to the pod, but for ours.
pub(super) fn merge(template: Option<&Map<String, Value>>, pod: &mut Value) -> Value {
    let Some(template) = template else { return json!({}) };
    for what in ["labels", "annotations"] {
        let given = template.get("metadata").and_then(|metadata| metadata.get(what)).and_then(Value::as_object);
        for (name, value) in given.into_iter().flatten() {
            let place = &mut pod["metadata"][what];
            if place.get(name).is_none() {
                place[name] = value.clone();
            }
        }
    }
    let mut spec = template.get("spec").cloned().filter(Value::is_object).unwrap_or_else(|| json!({}));
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["securityContext"] = container_security();
        }
    }
    spec
}

/// Puts items into a list of named things; those of the same name are replaced.
pub(super) fn put(object: &mut Value, list: &str, key: &str, items: Vec<Value>) {
    let place = &mut object[list];
    if !place.is_array() {
        *place = json!([]);
    }
    let Some(place) = place.as_array_mut() else { return };
    place.retain(|old| items.iter().all(|item| item.get(key) != old.get(key)));
    place.extend(items);
}

/// Our container, with what the template says about one of its name: more variables and mounts, and fields that we leave alone.
pub(super) fn container(spec: &mut Value, name: &str, mut ours: Value) {
    let containers = spec.get("containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let (theirs, others): (Vec<Value>, Vec<Value>) =
        containers.into_iter().partition(|container| container.get("name").and_then(Value::as_str) == Some(name));
    let mut merged = theirs.into_iter().next().unwrap_or_else(|| json!({}));
    put(&mut merged, "env", "name", taken(&mut ours, "env"));
    put(&mut merged, "volumeMounts", "mountPath", taken(&mut ours, "volumeMounts"));
    for (field, value) in ours.as_object().into_iter().flatten() {
        merged[field] = value.clone();
    }
    merged["name"] = name.into();
    spec["containers"] = std::iter::once(merged).chain(others).collect();
}

fn taken(object: &mut Value, field: &str) -> Vec<Value> {
    match object.as_object_mut().and_then(|object| object.remove(field)) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
