//! What to tell somebody who wrote something else than the model wants.

use serde_json::Value;

use super::super::scalar::{Doubt, Reading, read};
use super::super::tree::{Content, Entry, Node, Style};
use super::Wanted;
use crate::nearest::did_you_mean;
use crate::schema::{API_VERSION, KIND, ONE_OF, one_of_parts, strings};

pub(super) fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
        Content::Scalar { .. } | Content::List(_) => None,
    }
}

/// Whether a file is about something else altogether: no mapping, another kind, or neither kind nor spec.
pub(super) fn is_other_kind(root: &Node) -> bool {
    let text = |key: &str| match entry(root, key).map(|entry| &entry.value.content) {
        Some(Content::Scalar { text, .. }) => Some(text.as_str()),
        Some(Content::List(_) | Content::Map(_)) | None => None,
    };
    match &root.content {
        Content::Scalar { .. } | Content::List(_) => true,
        Content::Map(_) => match (text("kind"), text("apiVersion")) {
            (Some(KIND), _) | (_, Some(API_VERSION)) => false,
            (Some(kind), _) => did_you_mean(kind, [KIND]).is_none(),
            (None, _) => entry(root, "spec").is_none(),
        },
    }
}

/// A value as a reader would call it.
pub(super) fn described(node: &Node) -> String {
    match &node.content {
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "a mapping".to_owned(),
        Content::Scalar { text, style: Style::Plain } => match read(text) {
            Reading::Null => "nothing".to_owned(),
            Reading::Bool(_) => text.clone(),
            Reading::Integer(_) | Reading::Float(_) => format!("the number {text}"),
            Reading::Text | Reading::Doubtful(_) => quoted(text),
        },
        Content::Scalar { text, .. } => quoted(text),
    }
}

/// Text in quotes, shortened to what fits a message.
fn quoted(text: &str) -> String {
    const MOST: usize = 40;
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() > MOST || first.len() < text.trim_end().len() {
        let short: String = first.chars().take(MOST).collect();
        format!("{:?}", short + "...")
    } else {
        format!("{first:?}")
    }
}

/// For a text or nothing where fields are wanted: the usual way to write them.
pub(super) fn instead_of_mapping(node: &Node, schema: &Value, name: &str) -> Option<String> {
    let required = strings(&schema["required"]);
    let before = if name.ends_with(']') { String::new() } else { format!("{name}: ") };
    match (&node.content, required.as_slice()) {
        (Content::Scalar { .. }, [only]) => Some(format!("write {before}{{{only}: ...}}")),
        (Content::Scalar { text, .. }, []) if text.is_empty() && schema.get(ONE_OF).is_none() => {
            Some(format!("write {before}{{}}"))
        }
        (Content::Scalar { .. }, []) => schema.get(ONE_OF).map(|one_of| {
            let (_, names) = one_of_parts(one_of);
            format!("write {before}{{{}: ...}}", names[0])
        }),
        (Content::Scalar { .. } | Content::List(_) | Content::Map(_), _) => None,
    }
}

/// For a parameter where something else than any text is wanted.
pub(super) fn not_of_a_parameter(node: &Node) -> Option<String> {
    let Content::Scalar { text, .. } = &node.content else { return None };
    let help = "write the value itself: parameters are replaced in free text only (paths, Lua, commands), \
                not in numbers, true or false, or choices";
    text.contains("$(params.").then(|| help.to_owned())
}

/// For something else where a list is wanted.
pub(super) fn instead_of_list(node: &Node, name: &str) -> Option<String> {
    match &node.content {
        Content::Map(_) if name == "steps" => Some("begin each step with \"- name: ...\"".to_owned()),
        Content::Scalar { text, .. } if !text.is_empty() && text.len() < 40 && !text.contains('\n') => {
            Some(format!("write {name}: [{text}]"))
        }
        Content::Map(_) => Some("begin each item with \"- \"".to_owned()),
        Content::Scalar { .. } | Content::List(_) => None,
    }
}

/// The field whose unquoted text a comma has cut: this one, without a value, is what stood behind the comma.
pub(super) fn cut_at_comma<'a>(entry: &Entry, siblings: &'a [Entry]) -> Option<&'a Entry> {
    let plain = |entry: &&Entry| match &entry.value.content {
        Content::Scalar { text, style: Style::Plain } => Some(!text.is_empty()),
        Content::Scalar { .. } | Content::List(_) | Content::Map(_) => None,
    };
    if !entry.plain || plain(&entry) != Some(false) {
        return None;
    }
    let before = siblings.iter().take_while(|other| other.position != entry.position);
    before.filter(|other| plain(other) != Some(false)).last().filter(|other| plain(other).is_some() && read_text(other))
}

fn read_text(entry: &Entry) -> bool {
    matches!(&entry.value.content, Content::Scalar { text, .. } if read(text) == Reading::Text)
}

/// "write a, b or c".
pub(super) fn choose(choices: &[&str]) -> String {
    match choices {
        [most @ .., last] if !most.is_empty() => format!("write {} or {last}", most.join(", ")),
        _ => format!("write {}", choices.join(", ")),
    }
}

/// What was probably meant by an unknown field.
pub(super) fn for_unknown_field(key: &str, siblings: &[Entry], schema: &Value, step: &Value) -> String {
    let known: Vec<&str> = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if let Some(question) = did_you_mean(key, known.iter().copied()) {
        return question;
    }
    let is_step = std::ptr::eq(schema, step);
    if !is_step && step["properties"].get(key).is_some() {
        return format!("{key:?} belongs to the step itself, beside its operator");
    }
    if is_step {
        let inside = |entry: &&Entry| step["properties"][&entry.key]["properties"].get(key).is_some();
        if let Some(operator) = siblings.iter().find(inside) {
            return format!("{key:?} belongs inside {:?}", operator.key);
        }
    }
    match known.as_slice() {
        [] => "no fields are known here".to_owned(),
        _ => format!("known here are {}", known.join(", ")),
    }
}

/// Message and help for a value that readers do not agree on.
pub(super) fn for_doubt(text: &str, doubt: Doubt, wanted: Wanted) -> (String, String) {
    let quotes = format!("{text:?}");
    match doubt {
        Doubt::Word(value) => {
            let message = format!("{text} is {value} to some YAML readers (kubectl) and text to others");
            let help = match wanted {
                Wanted::Text => format!("put it in quotes: {quotes}"),
                Wanted::Bool => format!("write {value}"),
                Wanted::Number | Wanted::Any => format!("write {value} or {quotes}"),
            };
            (message, help)
        }
        Doubt::LeadingZero | Doubt::Number => {
            let message = if doubt == Doubt::LeadingZero {
                format!("{text} has a leading zero: it is octal to some YAML readers (kubectl) and decimal to others")
            } else {
                format!("{text} is a number to some YAML readers and text to others")
            };
            let help = match wanted {
                Wanted::Text => format!("put it in quotes: {quotes}"),
                Wanted::Number => "write it in plain decimal digits".to_owned(),
                Wanted::Bool | Wanted::Any => format!("write it in plain decimal digits, or in quotes: {quotes}"),
            };
            (message, help)
        }
        Doubt::TooBig => {
            let message = format!("{text} does not fit into 64 bits, and Kubernetes would round it");
            (message, format!("put it in quotes: {quotes}, or write a float"))
        }
        Doubt::NotFinite => {
            (format!("{text} is a number that Kubernetes cannot keep"), format!("put it in quotes, {quotes}, or make it in Lua"))
        }
    }
}
