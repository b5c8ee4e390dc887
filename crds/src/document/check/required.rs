//! Fields that must be there, of which exactly one must be, or at most one may be.

use serde_json::Value;

use super::super::tree::{Content, Entry, Node};
use super::{At, Checker, meant_key};
use crate::schema::{AT_MOST_ONE, ONE_OF, one_of_parts, strings};

impl Checker<'_> {
    /// Fields that must be there, of which exactly one must be, or at most one may be.
    pub(super) fn required(&mut self, node: &Node, schema: &Value, at: &At, unknown: bool) {
        let Content::Map(entries) = &node.content else { return };
        let has = |name: &&str| entries.iter().any(|entry| meant_key(entry, entries, schema) == *name);
        for name in strings(&schema["required"]).into_iter().filter(|name| !has(name)) {
            let message =
                if at.path.is_empty() { format!("{name:?} is missing") } else { format!("{:?} needs {name:?}", at.name()) };
            let message = if at.path.ends_with(']') { format!("{name:?} is missing") } else { message };
            // A mistyped field is reported as such; its name would then be missed too.
            if !unknown {
                self.report(node.position, at, message, None);
            }
        }
        if let Some(one_of) = schema.get(ONE_OF) {
            let (noun, names) = one_of_parts(one_of);
            let given: Vec<&str> = names.iter().copied().filter(|name| has(name)).collect();
            if given.is_empty() && !unknown {
                let owner = if at.path.ends_with(']') { "the step".to_owned() } else { format!("{:?}", at.name()) };
                let help = format!("give one of {}", names.join(", "));
                self.report(node.position, at, format!("{owner} has no {noun}"), Some(help));
            }
            self.at_most_one(entries, &given, at, noun);
        }
        if let Some(names) = schema.get(AT_MOST_ONE) {
            let given: Vec<&str> = strings(names).into_iter().filter(|name| has(name)).collect();
            self.at_most_one(entries, &given, at, "prelude");
        }
    }

    fn at_most_one(&mut self, entries: &[Entry], given: &[&str], at: &At, noun: &str) {
        let [first, second, ..] = given else { return };
        let position = entries.iter().filter(|entry| given.contains(&entry.key.as_str())).nth(1).map(|entry| entry.position);
        given.iter().for_each(|name| self.places.doubt(&at.field(name).path));
        let more = if given.len() > 2 { ", ..." } else { "" };
        let message = format!("only one {noun} is allowed here, and there are {}: {first:?}, {second:?}{more}", given.len());
        let help = if noun == "operator" { Some("make a step of each".to_owned()) } else { None };
        self.report(position.unwrap_or_default(), at, message, help);
    }
}
