//! Persisted results of earlier runs: what a fingerprint depends on, and what is not run because of one.

use std::collections::BTreeMap;

use plan::{InputFile, Op, Recipe, Source};
use planner::Options;
use planner::cache::{self, Known, World, why_missing};

use crate::form::{check_with, graph, planned, told};

/// A world in which every `read` step of the flow reads a file of its name, in a version.
fn world(text: &str, version: &str) -> World {
    let file = |name: &str| vec![InputFile { name: format!("{name}.txt"), version: version.to_owned() }];
    let inputs = cache::sources(&graph(text)).into_iter().map(|(step, _)| (step.clone(), Ok(file(&step))));
    World { inputs: inputs.collect(), ..World::default() }
}

fn recipes(text: &str, prelude: &str, world: &World) -> BTreeMap<String, Result<Recipe, String>> {
    cache::recipes(&graph(text), prelude, world)
}

fn recipe(text: &str, name: &str) -> Recipe {
    recipes(text, "", &world(text, "1")).remove(name).unwrap().unwrap()
}

/// Options with which some collections are in the cache and the other persisted ones are not.
fn having(text: &str, names: &[&str]) -> Options {
    let known = recipes(text, "", &world(text, "1")).into_iter().map(|(name, recipe)| {
        let known = match recipe {
            Err(why) => Known::Never { why },
            Ok(recipe) if names.contains(&name.as_str()) => Known::There { recipe, rows: 3, bytes: 2048 },
            Ok(recipe) => Known::Missing { why: why_missing(&recipe, None), recipe },
        };
        (name, known)
    });
    Options { cache: known.collect(), ..Options::default() }
}

const FLOW: &str = "l = read lines; w = fm words l as:f; g = reduceby counts w as:add !persist; x = pd show g; write out x";

#[test]
fn a_fingerprint_depends_on_everything_that_rows_depend_on() {
    let base = recipe(FLOW, "g");
    let check = |text: &str, prelude: &str, world: &World, why: &str| {
        let changed = recipes(text, prelude, world).remove("g").unwrap().unwrap();
        assert_ne!(changed.fingerprint, base.fingerprint, "{why}");
        assert_eq!(why_missing(&changed, Some(&base)), why);
    };
    let one = world(FLOW, "1");
    check(FLOW, "", &world(FLOW, "2"), "input lines.txt changed");
    check(&FLOW.replace("as:f ", "as:h ").replace("as:f;", "as:h;"), "", &one, "the function of `words` changed");
    check(&FLOW.replace("as:add", "as:sub"), "", &one, "the function of `counts` changed");
    check(FLOW, "local x = 1", &one, "the flow's `lua` changed");
    check(&FLOW.replace("as:add", "as:add key:1"), "", &one, "the operator of `counts` changed");
    check(&FLOW.replace("as:add", "as:add parts:3"), "", &one, "the operator of `counts` changed");
    check(&FLOW.replace("read lines", "read lines path:other"), "", &one, "the operator of `lines` changed");
    check(&FLOW.replace("l as:f", "l as:f !skip"), "", &one, "the operator of `words` changed");
    let more = format!("s = read extra; {}", FLOW.replace("l as:f", "l as:f | s"));
    check(&more, "", &world(&more, "1"), "`extra` is new, what `words` reads changed");
}

#[test]
fn a_fingerprint_depends_on_nothing_else() {
    let base = recipe(FLOW, "g").fingerprint;
    let same = |text: &str| assert_eq!(recipe(text, "g").fingerprint, base, "{text}");
    // What comes behind, hints, names of steps that draw no random numbers, other branches.
    same(&FLOW.replace("pd show g", "fi other g"));
    same(&FLOW.replace("as:add", "as:add ~0.5"));
    same(&FLOW.replace("fm words", "fm renamed"));
    same(&format!("{FLOW}; y = pd more w !persist; write also y"));
    let seeded = recipes(FLOW, "", &World { seed: 9, ..world(FLOW, "1") });
    assert_eq!(seeded["g"].as_ref().unwrap().fingerprint, base);
}

#[test]
fn random_numbers_bring_the_seed_and_the_step_s_name_in() {
    let text = "l = read lines; r = pd draw l as:random() !persist; write out r";
    let with = |text: &str, seed| {
        let world = World { seed, ..world(text, "1") };
        recipes(text, "", &world).remove("r").unwrap().unwrap()
    };
    let base = with(text, 0);
    assert_eq!(with(text, 0), base);
    assert_eq!(why_missing(&with(text, 1), Some(&base)), "the seed changed");
    assert_ne!(with(&text.replace("pd draw", "pd pull"), 0).fingerprint, base.fingerprint);
}

#[test]
fn what_is_not_deterministic_has_no_fingerprint_unless_the_step_says_that_it_is() {
    let check = |text: &str, name: &str, said: Option<bool>, why: Option<&str>| {
        let mut world = world(text, "1");
        world.deterministic.extend(said.map(|said| (name.to_owned(), said)));
        let found = recipes(text, "", &world).remove("r").unwrap().map(drop);
        match why {
            None => assert_eq!(found, Ok(()), "{text}"),
            Some(why) => assert!(found.clone().unwrap_err().contains(why), "{found:?}"),
        }
    };
    let piped = "l = read lines; p = pipe cmd l !nd; r = sort r p !persist; write out r";
    check(piped, "cmd", None, Some("`cmd` is not deterministic: it is a pipe; say `deterministic: true`"));
    check(piped, "cmd", Some(false), Some("`cmd` is not deterministic: the step says so"));
    check(&piped.replace(" !nd", ""), "cmd", Some(true), None);
    let clock = "l = read lines; r = pd now l as:os.time() !persist; write out r";
    check(clock, "now", None, Some("`now` may not be deterministic: its function, or the flow's `lua`, uses `os`"));
    check(clock, "now", Some(true), None);
    let paths = "l = read lines; r = read files l !persist; write out r";
    check(paths, "files", Some(true), Some("which files `files` reads is known only when it runs"));
}

#[test]
fn inputs_whose_versions_cannot_be_told_are_not_kept() {
    let world = World { inputs: BTreeMap::from([("lines".to_owned(), Err("no tag".to_owned()))]), ..World::default() };
    assert_eq!(recipes(FLOW, "", &world)["g"], Err("no tag".to_owned()));
}

#[test]
fn what_is_in_the_cache_is_read_and_what_it_is_made_of_is_not() {
    let plan = check_with(FLOW, &having(FLOW, &["g"]), [5, 2, 1, 1], "m1: in g > show+out; pass out");
    told(&plan, "reuse", "counts", true, "`g` is read from the cache: 3 rows, 2 KiB");
    told(&plan, "reuse", "words", true, "not run: what it makes is needed only for what is in the cache");
    told(&plan, "reuse", "lines", true, "not run");
    assert!(plan.keep.is_empty());
    assert!(plan.graph.nodes.values().any(|node| matches!(node.op, Op::Read(Source::Cached { bytes: 2048, .. }))));
}

#[test]
fn what_is_not_in_the_cache_is_kept() {
    let plan = planned(FLOW, &having(FLOW, &[]));
    told(&plan, "reuse", "counts", false, "made, and kept for later runs: the cache has no result of it yet");
    assert_eq!(plan.keep.values().map(|recipe| recipe.collection.as_str()).collect::<Vec<_>>(), ["g"]);
    assert!(plan.keep.keys().all(|id| plan.graph.collection(*id).persist && plan.materialized.contains(id)));
    let without = planned(FLOW, &Options::default());
    assert!(without.keep.is_empty() && without.decisions.iter().all(|told| told.pass != "reuse"));
}

#[test]
fn other_readers_keep_what_they_need() {
    let text = format!("{FLOW}; y = pd more w; write also y");
    check_with(
        &text,
        &having(&text, &["g"]),
        [7, 5, 2, 2],
        "m1: in g > show+out; pass out\nm2: in l > words+more+also; pass also",
    );
}

#[test]
fn one_result_stands_for_all_that_it_is_made_of_even_persisted() {
    let text = "l = read lines; a = pd A l !persist; b = pd B a !persist; write out b";
    let plan = check_with(text, &having(text, &["b"]), [3, 1, 1, 1], "m1: in b > out; pass out");
    assert!(plan.keep.is_empty(), "a is needed for b alone");
    let stages = "m1: in a > B; pass b\nm2 after m1: in b > out; pass out";
    let plan = check_with(text, &having(text, &["a"]), [3, 2, 2, 2], stages);
    assert_eq!(plan.keep.values().map(|recipe| recipe.collection.as_str()).collect::<Vec<_>>(), ["b"]);
    let unread = "l = read lines; a = pd A l !persist; b = pd B l !persist; write out b";
    let plan = planned(unread, &having(unread, &["b"]));
    assert_eq!(plan.keep.len(), 1, "a is persisted for its own sake");
}

#[test]
fn outputs_of_one_step_are_reused_one_by_one() {
    let text = "l = read lines; (a, b) = pd AB l !persist; write out a; write also b";
    let plan = planned(text, &having(text, &["a"]));
    assert_eq!(plan.keep.values().map(|recipe| recipe.collection.as_str()).collect::<Vec<_>>(), ["b"]);
    let plan = planned(text, &having(text, &["a", "b"]));
    assert!(plan.graph.nodes.values().all(|node| node.step != "lines"));
}

#[test]
fn side_inputs_groups_and_unions_can_be_reused() {
    for (text, name) in [
        ("l = read lines; s = pd S l !persist; x = pd X l | s; write out x", "s"),
        ("l = read lines; s = gbk S l !persist; x = cv X s; write out x", "s"),
        ("l = read lines; s = pd S l !persist; u = fl U s l s !persist; x = gbk X u; write out x", "s"),
        ("l = read lines; s = op S l !persist; x = pd X s; write out x", "s"),
        ("l = read lines !persist; x = pd X l; y = gbk Y l; write out x; write also y", "l"),
    ] {
        let plan = planned(text, &having(text, &[name]));
        let cached = plan.graph.nodes.values().filter(|node| matches!(node.op, Op::Read(Source::Cached { .. }))).count();
        assert_eq!(cached, 1, "{text}");
        let again = planned(text, &having(text, &[name]));
        assert_eq!(plan, again);
    }
}
