//! Pieces of a pod in a flow: whether they are what Kubernetes knows, every field of them.
//!
//! The API server drops fields that it does not know and says so only to whoever asks; here a misspelt field is a problem with a place.

use k8s_openapi::api::core::v1::{PodTemplateSpec, Volume};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Something that Kubernetes would not take, or would drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where in the piece, such as `spec.containers[0].resourses`.
    pub path: String,
    pub what: String,
}

/// What is no `PodTemplateSpec` in it.
#[must_use]
pub fn template(template: &Map<String, Value>) -> Vec<Misfit> {
    misfits::<PodTemplateSpec>(template, "a PodTemplateSpec")
}

/// What is no volume source in it.
#[must_use]
pub fn volume(volume: &Map<String, Value>) -> Vec<Misfit> {
    misfits::<Volume>(volume, "a volume")
}

fn misfits<T: DeserializeOwned>(given: &Map<String, Value>, of: &str) -> Vec<Misfit> {
    let mut given = Value::Object(given.clone());
    amounts_as_text(&mut given);
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(given, &mut track);
    let read: Result<T, serde_json::Error> = serde_ignored::deserialize(reader, |path| unknown.push(written(&path)));
    let mut misfits: Vec<Misfit> = unknown
        .into_iter()
        .map(|path| {
            let field = path.rsplit('.').next().unwrap_or_default();
            Misfit { what: format!("{of} has no field {field:?} there"), path }
        })
        .collect();
    if let Err(error) = read {
        misfits.push(Misfit { path: track.path().to_string(), what: format!("this is not {of}: {error}") });
    }
    misfits
}

/// Amounts may be numbers in YAML; Kubernetes' types have them as text.
fn amounts_as_text(value: &mut Value) {
    const AMOUNTS: [&str; 3] = ["limits", "requests", "overhead"];
    const AMOUNT: [&str; 2] = ["sizeLimit", "divisor"];
    let as_text = |value: &mut Value| {
        if let Value::Number(number) = value {
            *value = Value::String(number.to_string());
        }
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(amounts_as_text),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::Object(amounts) if AMOUNTS.contains(&name.as_str()) => amounts.values_mut().for_each(as_text),
                    value if AMOUNT.contains(&name.as_str()) => as_text(value),
                    value => amounts_as_text(value),
                }
            }
        }
        _ => {}
    }
}

fn written(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Path::Map { parent, key } => match written(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => written(parent),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(of: fn(&Map<String, Value>) -> Vec<Misfit>, given: &Value, expected: &[&str]) {
        let found: Vec<String> =
            of(given.as_object().unwrap()).into_iter().map(|misfit| format!("{}: {}", misfit.path, misfit.what)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_kubernetes_knows_is_no_misfit() {
        let container = json!({
            "name": "executor", "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": 1}}}],
            "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        });
        check(
            template,
            &json!({
                "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                "spec": {
                    "nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
                    "containers": [container], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1_000_000}}],
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
                    ]}}},
                },
            }),
            &[],
        );
        check(volume, &json!({"persistentVolumeClaim": {"claimName": "c"}}), &[]);
        check(volume, &json!({"nfs": {"server": "s", "path": "/p", "readOnly": true}}), &[]);
    }

    #[test]
    fn misspelt_fields_are_named_with_their_place() {
        check(
            template,
            &json!({"spec": {"nodeSelectr": {"a": "b"}, "containers": [{"name": "a"}, {"name": "executor", "resourses": {}}]}, "kind": "Pod"}),
            &[
                "spec.nodeSelectr: a PodTemplateSpec has no field \"nodeSelectr\" there",
                "spec.containers[1].resourses: a PodTemplateSpec has no field \"resourses\" there",
                "kind: a PodTemplateSpec has no field \"kind\" there",
            ],
        );
        check(
            volume,
            &json!({"persistentVolumeClain": {}}),
            &["persistentVolumeClain: a volume has no field \"persistentVolumeClain\" there"],
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_found_where_it_is() {
        check(
            template,
            &json!({"spec": {"tolerations": {"operator": "Exists"}}}),
            &["spec.tolerations: this is not a PodTemplateSpec: invalid type: map, expected a sequence"],
        );
    }
}
