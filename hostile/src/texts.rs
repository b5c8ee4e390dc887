//! Flow files and the Lua in them.

use crds::Document;
use planner::{CheckOptions, Facts, ParamValues};

const ROLES: [lua::Role; 7] = [
    lua::Role::Map,
    lua::Role::FlatMap,
    lua::Role::Filter,
    lua::Role::ForEach,
    lua::Role::Split,
    lua::Role::Fold,
    lua::Role::Operate,
];

/// A flow file: read, checked, planned.
pub(crate) fn document(bytes: &[u8]) {
    let crds::Reading { document, problems } = Document::read_bytes(bytes, "f");
    for problem in &problems {
        assert!(problem.place.line <= bytes.len() + 2, "{problem}");
    }
    let Some(document) = document else {
        assert!(!problems.is_empty(), "a file without a flow has a problem");
        return;
    };
    if document.places.is_mended() {
        assert!(!problems.is_empty(), "something was mended that nobody was told of");
    }
    let options = CheckOptions { places: Some(&document.places), lenient: true, ..CheckOptions::default() };
    match planner::check_with(&document.flow, &Facts::new(), &ParamValues::new(), &options) {
        Ok(checked) => {
            assert!(!document.places.is_mended(), "a flow with problems is not to be planned");
            let plan = planner::plan(checked.graph, checked.prelude, &planner::Options::default());
            let faults = plan::check_plan(&plan);
            assert!(faults.is_empty(), "{faults:?}");
        }
        Err(found) => {
            let _ = planner::locate(&found, &document.places);
        }
    }
}

/// A function: parsed, lifted in each role.
pub(crate) fn function(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let parsed = lua::parse(source);
    for role in ROLES {
        let lifted = lua::lift(source, role, "");
        assert!(parsed.is_ok() || lifted.is_err(), "what does not compile cannot be lifted");
        let tier = lua::tier(source, role, "");
        assert_eq!(lifted.is_ok(), tier == lua::Tier::Native);
    }
    let (_, checked) = lua::check_keys("", source, "check");
    match parsed {
        Ok(_) => assert!(lua::parse(&checked).is_ok(), "it no longer compiles with its keys checked: {checked}"),
        Err(error) => assert!(error.line <= lua::lines(source), "line {} of {}", error.line, lua::lines(source)),
    }
}

/// A prelude, and a function behind it.
pub(crate) fn prelude(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let parsed = lua::parse_prelude(source);
    let function = "function(s, t) t[s] = 1; return s:lower(), t end";
    assert!(lua::parse_behind(source, function).is_ok() || parsed.is_ok(), "a broken prelude counts as an empty one");
    for role in ROLES {
        let _ = lua::tier(function, role, source);
    }
    let (checked, _) = lua::check_keys(source, function, "check");
    assert!(parsed.is_err() || lua::parse_prelude(&checked).is_ok(), "it no longer compiles with its keys checked: {checked}");
}
