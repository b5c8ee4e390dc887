//! What stands in a flow where the file is wrong, so that the rest of it can still be checked.

use serde_json::{Map, Value, json};

use super::{At, Checker};
use crate::schema::{INT_OR_STRING, ONE_OF, one_of_parts, strings};

impl Checker<'_> {
    /// An object whose missing fields are made up; `None` where nobody can tell what it was to be.
    pub(super) fn mended(&mut self, mut object: Map<String, Value>, schema: &Value, at: &At) -> Option<Value> {
        for name in strings(&schema["required"]) {
            if !object.contains_key(name) {
                let field = at.field(name);
                self.places.doubt(&field.path);
                object.insert(name.to_owned(), self.stand_in(&schema["properties"][name], &field)?);
            }
        }
        // A step without an operator is still a step, which others may read; a read of nothing is not a read.
        let is_step = std::ptr::eq(schema, self.step);
        let is_one = |one_of: &Value| one_of_parts(one_of).1.iter().filter(|name| object.contains_key(**name)).count() == 1;
        let is_clear = is_step || schema.get(ONE_OF).is_none_or(is_one);
        is_clear.then_some(Value::Object(object))
    }

    /// The least that fits a model.
    pub(super) fn stand_in(&mut self, schema: &Value, at: &At) -> Option<Value> {
        self.places.doubt(&at.path);
        if let Some(choice) = schema.get("enum").map(strings).and_then(|choices| choices.first().copied()) {
            return Some(Value::from(choice));
        }
        match schema["type"].as_str() {
            Some("object") if std::ptr::eq(schema, self.step) => {
                // No label, so that no step can have the same name by chance.
                Some(json!({"name": at.path}))
            }
            Some("object") => self.mended(Map::new(), schema, at),
            Some("array") => Some(json!([])),
            Some("string")
                if at.path.ends_with("].name") && at.path.starts_with("steps[") && !at.path.contains("].sideInputs[") =>
            {
                Some(Value::from(at.path.trim_end_matches(".name")))
            }
            Some("string") => Some(json!("")),
            Some("boolean") => Some(json!(false)),
            Some("integer" | "number") => Some(schema.get("minimum").cloned().unwrap_or_else(|| json!(1))),
            Some(_) | None if schema[INT_OR_STRING] == true => Some(json!(1)),
            Some(_) | None => None,
        }
    }
}
