//! Random flows with `--cache DIR`: what comes out of the cache is what would have been made, again and again, also when a step or an
//! input has changed since. The naive interpreter, which has no cache, says what that is.
//!
//! `GLEAMFLOW_CACHED_FLOWS=500` tries more flows, `GLEAMFLOW_CACHED_SEED=17` only that one.

use std::sync::atomic::{AtomicUsize, Ordering};

use crds::{Document, Step};
use oracle::{GeneratedFlow, Random, Seeds};

use crate::flow::{Flow, finish};
use crate::random_flows::compare;

const SEEDS: Seeds = Seeds { name: "CACHED", flows: 60, workers: 2, stack: 2 << 20 };

/// How often a step's rows were read from a cache, at least, over all flows of an ordinary test run.
const REUSED: usize = 100;

#[test]
fn random_flows_give_the_same_with_a_cache_as_without_one_though_steps_and_inputs_change() {
    let (same, changed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    SEEDS.check(|flow| check(flow, &same, &changed));
    let (same, changed) = (same.into_inner(), changed.into_inner());
    println!("reused: {same} results of the same flow, {changed} of a changed one");
    if std::env::var_os("GLEAMFLOW_CACHED_SEED").is_none() {
        assert!(same >= REUSED && changed >= REUSED / 10, "{same} and {changed} results reused: the test tests little");
    }
}

fn check(flow: &GeneratedFlow, same: &AtomicUsize, changed: &AtomicUsize) -> Result<(), String> {
    let mut random = Random::new(flow.seed ^ 0xcac4e);
    let first = with_persisted(flow, &mut random)?;
    let second = with_a_change(&first, &mut random)?;
    let folder = Flow::text(&first.yaml);
    run(&folder, &first, &mut random)?;
    same.fetch_add(run(&folder, &first, &mut random)?, Ordering::Relaxed);
    let folder = folder.file("flow.yaml", &second.yaml);
    changed.fetch_add(run(&folder, &second, &mut random)?, Ordering::Relaxed);
    same.fetch_add(run(&folder, &second, &mut random)?, Ordering::Relaxed);
    // Back again: what the first flow kept may be there still.
    let folder = folder.file("flow.yaml", &first.yaml);
    changed.fetch_add(run(&folder, &first, &mut random)?, Ordering::Relaxed);
    Ok(())
}

/// One run; how many steps came from the cache.
fn run(folder: &Flow, flow: &GeneratedFlow, random: &mut Random) -> Result<usize, String> {
    let base = folder.path("");
    flow.write_files(&base).map_err(|error| error.to_string())?;
    let checked = flow.checked()?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, &base)?;
    let cache = folder.path("cache");
    let mut arguments = vec!["--report", "json", "--cache", cache.to_str().ok_or("a path of text")?];
    arguments.extend(random.pick(&[&["--partitions", "3"][..], &["--threads", "1"], &["--memory", "1Mi"], &[]]).iter());
    let ran = finish(folder.command("run", &arguments));
    if ran.code != 0 {
        return Err(ran.stderr);
    }
    compare(&expected, &base).map_err(|message| format!("{arguments:?}: {message}\n{}", ran.stderr))?;
    std::fs::remove_dir_all(base.join("out")).map_err(|error| error.to_string())?;
    let report = ran.report();
    Ok(report["steps"].as_array().into_iter().flatten().filter(|step| step["cached"] == true).count())
}

/// The flow with more steps that are kept.
fn with_persisted(flow: &GeneratedFlow, random: &mut Random) -> Result<GeneratedFlow, String> {
    edited(flow, |steps| {
        for step in steps.iter_mut().filter(|step| step.write.is_none()) {
            step.persist |= random.chance(25);
        }
    })
}

/// The flow with one step or one input changed.
fn with_a_change(flow: &GeneratedFlow, random: &mut Random) -> Result<GeneratedFlow, String> {
    let mut changed = flow.clone();
    if !changed.files.is_empty() && random.chance(30) {
        let at = random.below(changed.files.len());
        let content = &mut changed.files[at].1;
        // The last line once more.
        if let Some(last) = content.lines().last().map(str::to_owned) {
            if !content.ends_with('\n') {
                content.push('\n');
            }
            content.push_str(&last);
            content.push('\n');
        }
        return Ok(changed);
    }
    let chosen = random.next();
    edited(&changed, |steps| {
        let functions: Vec<usize> =
            (0..steps.len()).filter(|at| steps[*at].filter.is_some() || steps[*at].map.is_some()).collect();
        if functions.is_empty() {
            return;
        }
        let step = &mut steps[functions[usize::try_from(chosen).unwrap_or(usize::MAX) % functions.len()]];
        if let Some(filter) = &mut step.filter {
            filter.lua = format!("function(...) local keeps = {} return not keeps(...) end", filter.lua.trim());
        } else if let Some(map) = &mut step.map {
            map.lua = format!("function(...) local made = {} return made(...) end", map.lua.trim());
        }
    })
}

fn edited(flow: &GeneratedFlow, edit: impl FnOnce(&mut Vec<Step>)) -> Result<GeneratedFlow, String> {
    let mut document = Document::parse(&flow.yaml, "flow.yaml").map_err(|problems| format!("{problems:?}"))?;
    edit(&mut document.flow.spec.steps);
    // JSON is YAML, too.
    let yaml = serde_json::to_string_pretty(&document.flow).map_err(|error| error.to_string())?;
    Ok(GeneratedFlow { yaml, ..flow.clone() })
}
