//! Flow files as texts, and the problems that are found in them.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

const HEAD: &str = "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: test}\nspec:\n  steps:\n";

/// The problems of a flow with these steps; the steps begin on line 6.
fn steps(steps: &str) -> String {
    problems(&format!("{HEAD}{steps}"))
}

fn problems(text: &str) -> String {
    match Document::parse(text, "f") {
        Ok(_) => "no problem".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn flow(text: &str) -> GleamFlow {
    Document::parse(text, "f").unwrap_or_else(|problems| panic!("{problems:#?}")).flow
}

#[test]
fn dump() {
    println!("{}", crate::crd_yaml());
    println!("{}", crate::crd_yaml().len());
    println!("{}", serde_json::to_string_pretty(&crate::json_schema()).unwrap());
    let f = flow(&format!(
        "{HEAD}  - name: x\n    map: {{lua: 'function(x) return x end'}}\n  - name: b\n    map:\n      lua: |\n\n        a\n         b\n"
    ));
    println!("{f:#?}");
    let d = Document::parse(&format!("{HEAD}  - name: x\n    map: {{lua: 'function(x) return x end'}}\n  - name: b\n    map:\n      lua: |\n\n        a\n         b\n"), "f").unwrap();
    println!(
        "{} {} {} {}",
        d.places.place("steps[1].map.lua"),
        d.places.line_place("steps[1].map.lua", 1),
        d.places.key_place("steps[1].map.lua"),
        d.places.place("steps[1].from[2]")
    );
}
