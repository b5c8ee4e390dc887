//! A marked tree against the model: every problem at once, the value as the API server would keep it, and all places.

mod help;
mod mend;
mod required;

use serde_json::{Map, Number, Value};

use super::SourceMap;
use super::problem::{Place, Problem};
use super::scalar::{Doubt, Reading, read};
use super::tree::{Content, Entry, Node, Position, Style};
use crate::nearest::did_you_mean;
use crate::schema::{INT_OR_STRING, KUBECTL_N, PRESERVE, TEXT, strings, text_kind};

/// The outcome of a check.
pub(super) struct Checked {
    /// The object; what had problems is left out, or made up where it must be there. `null`: there is none.
    pub(super) value: Value,
    pub(super) places: SourceMap,
    pub(super) problems: Vec<Problem>,
}

/// Checks a whole file.
pub(super) fn check(root: &Node, model: &Value, file: &str) -> Checked {
    let step = &model["properties"]["spec"]["properties"]["steps"]["items"];
    let mut checker = Checker { file, step, places: SourceMap::new(file), problems: Vec::new() };
    let mut value = if help::is_other_kind(root) {
        checker.other_kind(root);
        Value::Null
    } else {
        checker.value(root, model, &At::root()).unwrap_or_default()
    };
    checker.name(root);
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    Checked { value, places: checker.places, problems: checker.problems }
}

/// Where in the object the check is.
#[derive(Clone, Debug)]
struct At {
    path: String,
    step: Option<String>,
}

impl At {
    fn root() -> Self {
        Self { path: String::new(), step: None }
    }

    fn field(&self, name: &str) -> Self {
        let path = if self.path.is_empty() || self.path == "spec" { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { path, step: self.step.clone() }
    }

    fn item(&self, index: usize, item: &Node) -> Self {
        let step = if self.path == "steps" { step_name(item) } else { self.step.clone() };
        Self { path: format!("{}[{index}]", self.path), step }
    }

    /// The last part of the path, for messages.
    fn name(&self) -> &str {
        let name = self.path.rsplit('.').next().unwrap_or_default();
        if name.is_empty() { "the flow" } else { name }
    }
}

fn step_name(item: &Node) -> Option<String> {
    let Content::Map(entries) = &item.content else { return None };
    let name = entries.iter().find(|entry| entry.key == "name")?;
    match &name.value.content {
        Content::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        Content::Scalar { .. } | Content::List(_) | Content::Map(_) => None,
    }
}

struct Checker<'a> {
    file: &'a str,
    /// The model of a step.
    step: &'a Value,
    places: SourceMap,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn value(&mut self, node: &Node, schema: &Value, at: &At) -> Option<Value> {
        if at.path.is_empty() {
            self.places.insert("", None, node);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(node, schema, at),
            Some("array") => self.list(node, schema, at),
            Some("string") => self.string(node, schema, at),
            Some("boolean") => self.boolean(node, at),
            Some("integer") => self.number(node, schema, at, true),
            Some("number") => self.number(node, schema, at, false),
            Some(_) | None if schema[INT_OR_STRING] == true => self.int_or_string(node, at),
            Some(_) | None => Some(self.any(node, at)),
        }
    }

    fn object(&mut self, node: &Node, schema: &Value, at: &At) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            let help = help::instead_of_mapping(node, schema, at.name());
            return self.wrong(node, at, "fields", help);
        };
        let mut object = Map::new();
        let mut unknown = false;
        for entry in entries {
            let key = meant_key(entry, entries, schema);
            let (around, at) = (at, at.field(key));
            self.places.insert(&at.path, Some(entry.position), &entry.value);
            if schema["properties"].get(key).is_none() {
                self.key(entry, &at);
            }
            match field_schema(schema, key) {
                Some(field) => match self.value(&entry.value, field, &at) {
                    Some(value) => {
                        object.insert(key.to_owned(), value);
                    }
                    None => self.places.doubt(&at.path),
                },
                None if schema[PRESERVE] == true => {
                    let value = self.any(&entry.value, &at);
                    object.insert(key.to_owned(), value);
                }
                None => {
                    unknown = true;
                    match help::cut_at_comma(entry, entries) {
                        Some(text) => self.cut_at_comma(entry, text, &at, around),
                        None => self.unknown_field(entry, entries, schema, &at),
                    }
                }
            }
        }
        self.required(node, schema, at, unknown);
        self.mended(object, schema, at)
    }

    /// A key that readers do not agree on.
    fn key(&mut self, entry: &Entry, at: &At) {
        let key = &entry.key;
        let reading = if entry.plain { read(key) } else { Reading::Text };
        match reading {
            Reading::Text => {}
            Reading::Integer(number) if number.to_string() == *key => {}
            Reading::Null => {
                self.report(entry.position, at, "a key is missing before \":\"", Some("write key: value".to_owned()));
            }
            Reading::Bool(_) | Reading::Integer(_) | Reading::Float(_) | Reading::Doubtful(_) => {
                let help = format!("put the key in quotes: {key:?}");
                self.report(entry.position, at, format!("YAML readers do not agree on the key {key}"), Some(help));
            }
        }
    }

    fn unknown_field(&mut self, entry: &Entry, siblings: &[Entry], schema: &Value, at: &At) {
        let help = help::for_unknown_field(&entry.key, siblings, schema, self.step);
        let message = format!("unknown field {:?}", entry.key);
        self.report(entry.position, at, message, Some(help));
    }

    /// What stands behind a comma in an unquoted text; told once for each text, which is not looked at any further.
    fn cut_at_comma(&mut self, entry: &Entry, text: &Entry, at: &At, around: &At) {
        let whole = around.field(&text.key);
        if self.places.is_doubtful(&whole.path) {
            self.places.doubt(&at.path);
            return;
        }
        self.places.doubt(&whole.path);
        let message = format!("a comma between {{ and }} ends an unquoted text, so {:?} is a field of its own", entry.key);
        self.report(entry.position, at, message, Some(format!("put all of {:?} in quotes", text.key)));
    }

    fn list(&mut self, node: &Node, schema: &Value, at: &At) -> Option<Value> {
        let Content::List(items) = &node.content else {
            return self.wrong(node, at, "a list", help::instead_of_list(node, at.name()));
        };
        let values = items.iter().enumerate().map(|(index, item)| {
            let at = at.item(index, item);
            self.places.insert(&at.path, None, item);
            // Something has to stand in its place: what comes behind it keeps its number.
            self.value(item, &schema["items"], &at).or_else(|| self.stand_in(&schema["items"], &at))
        });
        let values: Option<Vec<Value>> = values.collect();
        let count = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|least| count < least) {
            self.report(node.position, at, format!("{:?} is an empty list", at.name()), None);
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            self.report(node.position, at, format!("{:?} has {count} items, and at most {most} are allowed", at.name()), None);
        }
        values.map(Value::Array)
    }

    fn string(&mut self, node: &Node, schema: &Value, at: &At) -> Option<Value> {
        let Content::Scalar { text, style } = &node.content else {
            return self.wrong(node, at, "text", None);
        };
        if *style == Style::Plain {
            match read(text) {
                Reading::Text => {}
                reading if reading != Reading::Null && schema.get("enum").is_some() => {
                    return self.wrong(node, at, "text", Some(help::choose(&strings(&schema["enum"]))));
                }
                Reading::Null => return self.wrong(node, at, "text", None),
                Reading::Doubtful(doubt) => return self.doubtful(node, doubt, at, Wanted::Text),
                Reading::Bool(_) | Reading::Integer(_) | Reading::Float(_) => {
                    return self.wrong(node, at, "text", Some(format!("put it in quotes: {text:?}")));
                }
            }
        }
        self.text(node, text, schema, at).then(|| Value::String(text.clone()))
    }

    /// The length, form and choice of a text; false if it is none of the choices.
    fn text(&mut self, node: &Node, text: &str, schema: &Value, at: &At) -> bool {
        let length = text.chars().count() as u64;
        if let Some(choices) = schema.get("enum").map(strings).filter(|choices| !choices.contains(&text)) {
            let help = did_you_mean(text, choices.iter().copied()).unwrap_or_else(|| help::choose(&choices));
            let help = help::not_of_a_parameter(node).unwrap_or(help);
            self.report(node.position, at, format!("{:?} cannot be {text:?}", at.name()), Some(help));
            return false;
        }
        if schema["minLength"].as_u64().is_some_and(|least| length < least) {
            self.report(node.position, at, format!("{:?} is empty", at.name()), None);
        } else if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            let message = format!("{:?} has {length} characters, and at most {most} are allowed", at.name());
            self.report(node.position, at, message, None);
        } else if let Some(kind) = schema[TEXT].as_str().and_then(text_kind).filter(|kind| !(kind.fits)(text)) {
            let help = format!("allowed are {}", kind.says);
            self.report(node.position, at, format!("{:?} cannot be {text:?}", at.name()), Some(help));
        }
        true
    }

    fn boolean(&mut self, node: &Node, at: &At) -> Option<Value> {
        match reading(node) {
            Some((_, Reading::Bool(value))) => Some(Value::Bool(value)),
            Some((_, Reading::Doubtful(doubt @ Doubt::Word(_)))) => self.doubtful(node, doubt, at, Wanted::Bool),
            Some(_) | None => self.wrong(node, at, "true or false", None),
        }
    }

    fn number(&mut self, node: &Node, schema: &Value, at: &At, whole: bool) -> Option<Value> {
        let wanted = if whole { "a whole number" } else { "a number" };
        let (number, value) = match reading(node) {
            Some((_, Reading::Integer(integer))) => (Number::from(integer), integer as f64),
            Some((_, Reading::Float(float))) if !whole => match Number::from_f64(float) {
                Some(number) => (number, float),
                None => return self.wrong(node, at, wanted, None),
            },
            Some((_, Reading::Doubtful(doubt))) if !matches!(doubt, Doubt::Word(_)) => {
                return self.doubtful(node, doubt, at, Wanted::Number);
            }
            Some(_) | None => return self.wrong(node, at, wanted, None),
        };
        if let Some(least) = schema["minimum"].as_f64().filter(|least| value < *least) {
            self.report(node.position, at, format!("{:?} is {number}, and must be at least {least}", at.name()), None);
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| value > *most) {
            self.report(node.position, at, format!("{:?} is {number}, and must be at most {most}", at.name()), None);
        }
        Some(Value::Number(number))
    }

    fn int_or_string(&mut self, node: &Node, at: &At) -> Option<Value> {
        match reading(node) {
            Some((_, Reading::Integer(integer))) => Some(Value::from(integer)),
            Some((text, Reading::Text)) => Some(Value::from(text)),
            Some((_, Reading::Doubtful(doubt))) => {
                let wanted = if matches!(doubt, Doubt::Word(_)) { Wanted::Text } else { Wanted::Any };
                self.doubtful(node, doubt, at, wanted)
            }
            Some(_) | None => self.wrong(node, at, "text or a whole number", None),
        }
    }

    /// Any value: what the API server keeps of it.
    fn any(&mut self, node: &Node, at: &At) -> Value {
        match &node.content {
            Content::List(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let at = at.item(index, item);
                    self.places.insert(&at.path, None, item);
                    self.any(item, &at)
                });
                Value::Array(items.collect())
            }
            Content::Map(entries) => {
                let mut object = Map::new();
                for entry in entries {
                    let at = at.field(&entry.key);
                    self.places.insert(&at.path, Some(entry.position), &entry.value);
                    self.key(entry, &at);
                    object.insert(entry.key.clone(), self.any(&entry.value, &at));
                }
                Value::Object(object)
            }
            Content::Scalar { text, style: Style::Plain } => match read(text) {
                Reading::Null => Value::Null,
                Reading::Bool(value) => Value::Bool(value),
                Reading::Integer(value) => Value::from(value),
                Reading::Float(value) => Value::from(value),
                Reading::Text => Value::from(text.as_str()),
                Reading::Doubtful(doubt) => self.doubtful(node, doubt, at, Wanted::Any).unwrap_or_default(),
            },
            Content::Scalar { text, .. } => Value::from(text.as_str()),
        }
    }

    /// A value that YAML readers do not agree on, or that the API server cannot keep.
    fn doubtful(&mut self, node: &Node, doubt: Doubt, at: &At, wanted: Wanted) -> Option<Value> {
        let text = reading(node).map_or("", |(text, _)| text);
        let (message, help) = help::for_doubt(text, doubt, wanted);
        self.report(node.position, at, message, Some(help));
        None
    }

    fn wrong(&mut self, node: &Node, at: &At, wanted: &str, help: Option<String>) -> Option<Value> {
        let found = help::described(node);
        let message = if found == "nothing" {
            format!("{:?} is empty, and should be {wanted}", at.name())
        } else {
            format!("{:?} should be {wanted}, not {found}", at.name())
        };
        self.report(node.position, at, message, help::not_of_a_parameter(node).or(help));
        None
    }

    /// Kubernetes needs a name, and only takes certain ones.
    fn name(&mut self, root: &Node) {
        let Some(metadata) = help::entry(root, "metadata") else { return };
        let Content::Map(entries) = &metadata.value.content else { return };
        let at = At::root().field("metadata");
        match entries.iter().find(|entry| entry.key == "name") {
            None if entries.iter().any(|entry| entry.key == "generateName") => {}
            None => {
                self.report(metadata.value.position, &at, "the flow has no name", Some("give \"name\" in metadata".to_owned()))
            }
            Some(name) => {
                let Content::Scalar { text, .. } = &name.value.content else { return };
                let kind = text_kind("label").filter(|kind| !text.split('.').all(|label| (kind.fits)(label)));
                if let Some(kind) = kind.filter(|_| !text.is_empty()) {
                    let help = format!("allowed are {}", kind.says);
                    self.report(name.value.position, &at, format!("a flow cannot be named {text:?}"), Some(help));
                }
            }
        }
    }

    /// A file that is about something else: one problem, not one for each of its fields.
    fn other_kind(&mut self, root: &Node) {
        let (position, found) = match help::entry(root, "kind") {
            Some(kind) => (kind.value.position, format!("its kind is {}", help::described(&kind.value))),
            None => (root.position, "it has no kind".to_owned()),
        };
        let help = "a flow file begins with \"apiVersion: gleamflow.io/v1alpha1\" and \"kind: GleamFlow\"".to_owned();
        self.report(position, &At::root(), format!("this is no GleamFlow: {found}"), Some(help));
    }

    fn report(&mut self, position: Position, at: &At, message: impl Into<String>, help: Option<String>) {
        self.places.doubt(&at.path);
        let place = Place::new(self.file, position.line, position.column);
        self.problems.push(Problem::new(place, message).help(help).step(at.step.as_deref()));
    }
}

/// What a value is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Bool,
    Number,
    Any,
}

/// The text of a scalar and what it is.
fn reading(node: &Node) -> Option<(&str, Reading)> {
    match &node.content {
        Content::Scalar { text, style: Style::Plain } => Some((text, read(text))),
        Content::Scalar { text, .. } => Some((text, Reading::Text)),
        Content::List(_) | Content::Map(_) => None,
    }
}

/// The field that a key means: kubectl reads (and shows) an unquoted `n` as `false`, see [`crate::schema::KUBECTL_N`].
fn meant_key<'a>(entry: &'a Entry, siblings: &[Entry], schema: &Value) -> &'a str {
    let is_n = entry.key == KUBECTL_N && schema["properties"].get("n").is_some();
    if is_n && !siblings.iter().any(|sibling| sibling.key == "n") { "n" } else { &entry.key }
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let field = schema["properties"].get(name);
    field.or_else(|| schema.get("additionalProperties").filter(|other| other.is_object()))
}
