//! YAML that is not a flow (a configuration file): its value, without a model. What readers do not agree on is refused all the same.

use serde_json::{Map, Number, Value};

use super::problem::{Place, Problem};
use super::scalar::{Reading, read};
use super::tree::{Content, Node, Style, parse};

/// Reads a YAML document; `file` is for messages.
///
/// # Errors
/// Every problem of its syntax, and values that YAML readers do not agree on.
pub fn read_yaml(text: &str, file: &str) -> Result<Value, Vec<Problem>> {
    let parsed = parse(text, file);
    let mut problems = parsed.problems;
    let value = parsed.root.as_ref().map_or(Value::Null, |root| value(root, file, &mut problems));
    if problems.is_empty() { Ok(value) } else { Err(problems) }
}

fn value(node: &Node, file: &str, problems: &mut Vec<Problem>) -> Value {
    match &node.content {
        Content::List(items) => items.iter().map(|item| value(item, file, problems)).collect(),
        Content::Map(entries) => {
            let map: Map<String, Value> =
                entries.iter().map(|entry| (entry.key.clone(), value(&entry.value, file, problems))).collect();
            Value::Object(map)
        }
        Content::Scalar { text, style: Style::Plain } => match read(text) {
            Reading::Null => Value::Null,
            Reading::Bool(value) => value.into(),
            Reading::Integer(value) => value.into(),
            Reading::Float(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
            Reading::Text => text.clone().into(),
            Reading::Doubtful(_) => {
                let place = Place::new(file, node.position.line, node.position.column);
                let problem = Problem::new(place, format!("YAML readers do not agree on what {text:?} is"));
                problems.push(problem.help("put it in quotes, or write true, false or a plain number".to_owned()));
                Value::Null
            }
        },
        Content::Scalar { text, .. } => text.clone().into(),
    }
}
