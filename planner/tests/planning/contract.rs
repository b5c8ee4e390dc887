//! `plan -o json` of flow files, with what the contract makes of each, derived by hand: the paper's figures, graphs from the
//! tests of Crunch, Scoobi and Beam, and one flow per rule.
//!
//! Steps are written in short: `LUA` is a function that only this step has, `FOLD` one of two values, `OPERATE` one of nothing, `TEXT` a text source.
//! A plan is written in short, too: `m2 after m1: READS > DOES (SIDE INPUTS) | GROUP[COMBINE] > REDUCE <FROM | pass WHAT`.

use std::fmt::Write;

use planner::{Facts, Options, ParamValues};
use serde_json::Value;

/// A flow file's plan as JSON, every invariant checked after every pass.
fn planned(steps: &str) -> Value {
    let mut yaml = String::from("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: flow}\nspec:\n  steps:\n");
    for line in steps.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(": ").unwrap();
        let global = format!("f_{}", name.replace('-', "_"));
        let rest = rest
            .replace("LUA", &format!("{{lua: 'function(a) return {global}(a) end'}}"))
            .replace("OPERATE", &format!("{{lua: 'function() emit({global}()) end'}}"))
            .replace("FOLD", &format!("lua: 'function(x, y) return {global}(x, y) end'"))
            .replace("TEXT", &format!("{{text: {{paths: [{name}.txt]}}}}"))
            .replace("SINK", &format!("{{text: {{path: out/{name}}}}}"));
        writeln!(yaml, "    - {{name: {name}, {rest}}}").unwrap();
    }
    let document = crds::Document::parse(&yaml, "flow.yaml").unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}"));
    let checked = planner::check(&document.flow, &Facts::new(), &ParamValues::new())
        .unwrap_or_else(|problems| panic!("{problems:?}\n{yaml}"));
    let plan = planner::plan_checked(checked.graph, checked.prelude, &Options::default(), planner::passes::Lua::default());
    plan::json::render(&plan.unwrap_or_else(|faults| panic!("{faults:#?}\n{yaml}")))
}

fn words(value: &Value, separator: &str) -> String {
    match value {
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().map(|word| words(word, separator)).collect::<Vec<_>>().join(separator),
        other => other.to_string(),
    }
}

fn behind(sign: &str, list: &Value) -> String {
    let text = words(list, "+");
    if text.is_empty() { text } else { format!(" {sign} {text}") }
}

fn beside(sides: &Value) -> String {
    let sides = if sides.is_null() { String::new() } else { words(sides, ",") };
    if sides.is_empty() { sides } else { format!(" ({sides})") }
}

fn after(value: &Value) -> String {
    let text = words(&value["after"], ",");
    if text.is_empty() { text } else { format!(" after {text}") }
}

/// The JSON, nothing left out but the decisions.
fn short(json: &Value) -> Vec<String> {
    let counts = &json["operations"];
    let stages = json["mscrs"].as_array().unwrap();
    let mut lines = vec![format!("{} {} {} {}", counts["initial"], counts["sunk"], counts["fused"], stages.len())];
    for stage in stages {
        let mut parts = Vec::new();
        for input in stage["inputs"].as_array().unwrap() {
            parts.push(words(&input["reads"], ",") + &behind(">", &input["does"]) + &beside(&input["sideInputs"]));
        }
        for output in stage["outputs"].as_array().unwrap() {
            parts.push(match &output["group"] {
                Value::Null => format!("pass {}", words(&output["pass"], ",")),
                group => {
                    let combine = &output["combine"];
                    let combine = if combine.is_null() { String::new() } else { format!("[{}]", words(combine, "+")) };
                    let reduce = behind(">", &output["reduce"]) + &beside(&output["sideInputs"]);
                    format!("{}{combine}{reduce} <{}", words(group, ""), words(&output["from"], ","))
                }
            });
        }
        lines.push(format!("{}{}: {}", words(&stage["id"], ""), after(stage), parts.join(" | ")));
    }
    for load in json["loads"].as_array().unwrap() {
        lines.push(format!("{} loads {}{}", words(&load["id"], ""), words(&load["reads"], ","), after(load)));
    }
    for operate in json["operates"].as_array().unwrap() {
        let reads = words(&operate["reads"], ",");
        let reads = if reads.is_empty() { reads } else { format!(" {reads}") };
        lines.push(format!("{} reads{reads}{}", words(&operate["step"], ""), after(operate)));
    }
    lines
}

#[track_caller]
pub(crate) fn check(steps: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = short(&planned(steps));
    assert_eq!(found, expected, "found\n{}", found.join("\n"));
}

#[test]
fn the_words_of_the_contract() {
    check(
        "lines: read: TEXT
         words: flatMap: LUA
         pairs: map: LUA
         counts: reduceBy: {key: [1], FOLD}
         show: write: {stdout: {}}",
        "5 5 3 1
         m1: lines > words+pairs | counts[counts] > counts+show <0",
    );
}

#[test]
fn figure_2() {
    check(
        "in: read: TEXT
         a: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         b: from: [a.p0], map: LUA
         wb: write: SINK
         c: from: [a.p0], parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         d: from: [a.p1], map: LUA
         op: operate: OPERATE, sideInputs: [{name: s, from: a.p1, as: list}]
         wo: write: SINK
         z: operate: OPERATE, sideInputs: [{name: s, from: c.p0, as: list}, {name: t, from: c.p1, as: list}, {name: u, from: d, as: list}]
         wz: write: SINK",
        "7 7 3 3
         m1: in > a+b+c+d+wb | pass a.p1 | pass c.p0 | pass c.p1 | pass d | pass wb
         m2 after m1: op > wo | pass wo
         m3 after m1: z > wz | pass wz
         op reads a.p1 after m1
         z reads c.p0,c.p1,d after m1",
    );
}

#[test]
fn figure_2_with_an_operate_that_nobody_reads() {
    check(
        "in: read: TEXT
         a: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         b: from: [a.p0], map: LUA
         wb: write: SINK
         c: from: [a.p0], parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         wc: from: [c.p0], write: SINK
         wd: from: [c.p1], write: SINK
         d: from: [a.p1], persist: true, map: LUA
         op: operate: OPERATE, sideInputs: [{name: s, from: a.p1, as: list}]",
        "7 7 1 1
         m1: in > a+b+c+d+wb+wc+wd | pass a.p1 | pass d | pass wb | pass wc | pass wd
         op reads a.p1 after m1",
    );
}

#[test]
fn what_reaches_no_write_is_no_more_after_dead_code() {
    check(
        "r: read: TEXT
         x: map: LUA
         v: from: [r], map: LUA
         z: sort: {}
         w: from: [x], write: SINK",
        "4 2 1 1
         m1: r > x+w | pass w",
    );
}

#[test]
fn what_is_not_deterministic_is_not_removed() {
    check(
        "r: read: TEXT
         x: map: LUA
         v: from: [r], deterministic: false, map: LUA
         p: from: [x], pipe: {command: cat}
         e: from: [r], forEach: LUA
         w: from: [x], write: SINK",
        "5 5 1 1
         m1: r > e+v+x+p+w | pass w",
    );
    check(
        "r: read: TEXT
         w: write: SINK
         q: read: TEXT
         p: pipe: {command: cat}",
        "2 2 2 2
         m1: q > p
         m2: r > w | pass w",
    );
}

#[test]
fn a_join_of_groups_is_one_shuffle() {
    check(
        "a: read: TEXT
         g: groupBy: {key: [1]}
         b: read: TEXT
         h: groupBy: {key: [1]}
         j: from: [g, h], join: {key: [1], broadcast: never}
         w: write: SINK",
        "7 6 4 1
         m1: a > g | b > h | j > j+w <0,1",
    );
    check(
        "a: read: TEXT
         b: read: TEXT
         g: from: [a, b], coGroup: {key: [1]}
         c: read: TEXT
         j: from: [g, c], coGroup: {key: [1]}
         w: write: SINK",
        "9 7 5 1
         m1: a > g | b > g | c > j | j > j+w <0,1,2",
    );
}

#[test]
fn a_reduction_of_reduced_rows_by_the_same_key_is_no_shuffle() {
    check(
        "r: read: TEXT
         a: reduceBy: {key: [1], FOLD}
         x: map: {lua: 'function(k, v) return k, v * 2 end'}
         s: select: {columns: [1, 2]}
         b: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "7 6 2 1
         m1: r | a[a] > a+x+s+b+w <0",
    );
    check(
        "r: read: TEXT
         a: reduceBy: {key: [1], FOLD}
         x: map: {lua: 'function(k, v) return k + 1, v end'}
         b: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "6 6 5 2
         m1: r | a[a] > a <0
         m2 after m1: a > x | b[b] > b+w <0",
    );
}

#[test]
fn figure_4() {
    check(
        "a1: operate: OPERATE
         i2: read: TEXT
         m2: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         i3: read: TEXT
         m3: map: LUA
         i4: read: TEXT
         m4: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         f1: from: [a1, m2.p0], union: {}
         g1: groupBy: {key: [1]}
         f2: from: [m2.p1, m3, m4.p0], union: {}
         g2: groupBy: {key: [1]}
         cv2: combine: {FOLD}
         r2: map: LUA
         f3: from: [m4.p0], union: {}
         g3: groupBy: {key: [1]}
         r3: map: LUA
         z: operate: OPERATE, sideInputs: [{name: s, from: g1, as: list}, {name: t, from: r2, as: list}, {name: u, from: r3, as: list}, {name: v, from: m2.p0, as: list}, {name: w, from: m4.p1, as: list}]
         wz: write: SINK",
        "10 10 9 2
         m1: a1 | i2 > m2 | i3 > m3 | i4 > m4 | g1 <0,1 | g2[cv2] > cv2+r2 <1,2,3 | g3 > r3 <3 | pass m2.p0 | pass m4.p1
         m2 after m1: z > wz | pass wz
         a1 reads
         z reads g1,r2,r3,m2.p0,m4.p1 after m1",
    );
}

#[test]
fn figure_5_site_data() {
    check(
        "input1: read: TEXT
         a: map: LUA
         write1: write: SINK
         input2: read: TEXT
         b: map: LUA
         input3: read: TEXT
         c: map: LUA
         fltn: from: [b, c], union: {}
         d: map: LUA
         input4: read: TEXT
         cn: count: {key: [1]}
         e: map: LUA
         j: from: [a, d, e], coGroup: {key: [1]}
         f: map: LUA
         write2: write: SINK",
        "16 18 9 2
         m1: input4 > cn | cn[cn] > cn <0
         m2 after m1: input1 > a+j+write1 | input2 > b+d+j | input3 > c+d+j | cn > e+j | j > j+f+write2 <0,1,2,3 | pass write1",
    );
}

#[test]
fn scoobi_the_most_frequent_words() {
    check(
        "lines: read: TEXT
         words: flatMap: LUA
         cn: count: {key: [1]}
         t: top: {n: 5, by: [{field: 2, order: desc}]}
         w: write: SINK",
        "8 8 6 2
         m1: lines > words+cn | cn[cn] > cn <0
         m2 after m1: cn > t | t[t] > t+w <0",
    );
}

#[test]
fn an_n_way_join_is_one_stage() {
    check(
        "a: read: TEXT
         b: read: TEXT
         c: read: TEXT
         j: from: [a, b, c], join: {key: [1], broadcast: never}
         w: write: SINK",
        "6 6 5 1
         m1: a > j | b > j | c > j | j > j+w <0,1,2",
    );
}

#[test]
fn a_join_with_itself_reads_its_input_once() {
    check(
        "a: read: TEXT
         j: from: [a, a], join: {key: [1], broadcast: never}
         w: write: SINK",
        "5 5 3 1
         m1: a > j | j > j+w <0",
    );
}

#[test]
fn unions_sink_through_several_levels() {
    check(
        "a: read: TEXT
         b: read: TEXT
         c: read: TEXT
         u: from: [a, b], union: {}
         x: map: LUA
         v: from: [x, c], union: {}
         x2: map: LUA
         g: groupBy: {key: [1]}
         w: write: SINK",
        "4 7 5 1
         m1: a > x+x2 | b > x+x2 | c > x2 | g > w <0,1,2",
    );
}

#[test]
fn a_union_that_is_written_has_a_writer_per_input() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {}
         w: write: SINK",
        "1 2 2 1
         m1: a > w | b > w | pass w",
    );
}

#[test]
fn a_union_with_itself_is_read_in_one_pass() {
    check(
        "r: read: TEXT
         u: from: [r, r], union: {}
         x: map: LUA
         g: groupBy: {key: [1]}
         w: write: SINK",
        "3 4 3 1
         m1: r > x | g > w <0",
    );
}

#[test]
fn beam_a_side_input_is_a_stage_before() {
    check(
        "r: read: TEXT
         q: read: TEXT
         s: map: LUA
         x: from: [r], map: LUA, sideInputs: [{name: s, from: s, as: list}]
         w: write: SINK",
        "3 3 2 2
         m1: q > s | pass s
         m2 after m1: r > x+w (s) | pass w",
    );
}

#[test]
fn a_source_as_a_side_input_needs_no_stage() {
    check(
        "q: read: TEXT
         r: read: TEXT
         x: map: LUA, sideInputs: [{name: s, from: q, as: list}]
         w: write: SINK",
        "2 2 1 1
         m1: r > x+w (q) | pass w
         l1 loads q",
    );
}

#[test]
fn stages_wait_through_operates() {
    check(
        "a: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         o: operate: OPERATE, sideInputs: [{name: s, from: g, as: list}]
         x: map: LUA
         wx: write: SINK
         b: read: TEXT
         x2: map: LUA, sideInputs: [{name: s, from: o, as: list}]
         wy: write: SINK",
        "6 6 4 3
         m1: a | g[g] > g <0
         m2 after m1: o > x+wx | pass wx
         m3 after m1: b > x2+wy (o) | pass wy
         o reads g after m1",
    );
}

#[test]
fn an_intermediate_collection_is_written_on_the_way() {
    check(
        "r: read: TEXT
         x: map: LUA
         wx: write: SINK
         g: from: [x], groupBy: {key: [1]}
         wg: write: SINK",
        "4 4 3 1
         m1: r > x+wx | g > wg <0 | pass wx",
    );
}

#[test]
fn crunch_a_group_with_two_readers_has_one_reducer() {
    check(
        "r: read: TEXT
         g: groupBy: {key: [1]}
         x: map: LUA
         wx: write: SINK
         x2: from: [g], map: LUA
         wy: write: SINK",
        "5 5 2 1
         m1: r | g > x+wx+x2+wy <0",
    );
}

#[test]
fn a_combine_beside_another_reader_stays_behind_the_shuffle() {
    check(
        "r: read: TEXT
         g: groupBy: {key: [1]}
         c: combine: {FOLD}
         wc: write: SINK
         x: from: [g], map: LUA
         wx: write: SINK",
        "5 5 2 1
         m1: r | g > c+wc+x+wx <0",
    );
}

#[test]
fn combines_of_one_group_are_packed() {
    check(
        "r: read: TEXT
         g: groupBy: {key: [1]}
         c1: combine: {FOLD}
         w1: write: SINK
         c2: from: [g], combine: {FOLD}
         w2: write: SINK",
        "5 5 2 1
         m1: r | g[c1+c2] > c1+c2+w1+w2 <0",
    );
}

#[test]
fn reductions_by_different_keys_are_a_stage_each() {
    check(
        "r: read: TEXT
         a: reduceBy: {key: [1], FOLD}
         b: reduceBy: {key: [2], FOLD}
         w: write: SINK",
        "5 5 4 2
         m1: r | a[a] > a <0
         m2 after m1: a | b[b] > b+w <0",
    );
}

#[test]
fn sort_and_limit_are_a_group_each() {
    check(
        "r: read: TEXT
         s: sort: {by: [{field: 1}]}
         l: limit: {n: 3}
         w: write: SINK",
        "3 3 3 2
         m1: r | s <0
         m2 after m1: s | l > w <0",
    );
}

#[test]
fn steps_by_row_and_pipes_fuse_to_one() {
    check(
        "r: read: TEXT
         f: filter: LUA
         s: select: {columns: [1]}
         p: pipe: {command: cat}
         a: pipeAsArgs: {command: cat}
         w: write: SINK",
        "5 5 1 1
         m1: r > f+s+p+a+w | pass w",
    );
}

#[test]
fn distinct_count_and_reduce_are_three_operations_each() {
    check(
        "r: read: TEXT
         d: distinct: {}
         cn: count: {}
         k: reduce: {FOLD}
         w: write: SINK",
        "10 10 9 3
         m1: r > d | d[d] > d <0
         m2 after m1: d > cn | cn[cn] > cn <0
         m3 after m2: cn > k | k[k] > k+w <0",
    );
}

#[test]
fn placements_are_a_group_each() {
    check(
        "r: read: TEXT
         pt: partition: {key: [1]}
         p1: pipe: {command: cat}
         rr: roundRobin: {}
         p2: pipe: {command: cat}
         mg: merge: {by: [{field: 1}]}
         p3: pipe: {command: cat}
         l: limit: {n: 3}
         w: write: SINK",
        "8 8 8 4
         m1: r | pt > p1 <0
         m2 after m1: p1 | rr > p2 <0
         m3 after m2: p2 | mg > p3 <0
         m4 after m3: p3 | l > w <0",
    );
}

#[test]
fn what_is_persisted_ends_a_stage() {
    check(
        "r: read: TEXT
         x: persist: true, map: LUA
         x2: map: LUA
         w: write: SINK",
        "3 3 2 2
         m1: r > x | pass x
         m2 after m1: x > x2+w | pass w",
    );
}

#[test]
fn a_source_that_is_written_and_grouped_is_read_once() {
    check(
        "r: read: TEXT
         w: write: SINK
         g: from: [r], groupBy: {key: [1]}
         wg: write: SINK",
        "3 3 3 1
         m1: r > w | g > wg <0 | pass w",
    );
}

#[test]
fn left_over_par_dos_are_trivial_stages() {
    check(
        "a: read: TEXT
         x: map: LUA
         wx: write: SINK
         b: read: TEXT
         wb: write: SINK",
        "3 3 2 2
         m1: b > wb | pass wb
         m2: a > x+wx | pass wx",
    );
}

#[test]
fn an_aggregate_joined_with_its_source_is_two_stages() {
    check(
        "r: read: TEXT
         m: map: LUA
         g: reduceBy: {key: [1], FOLD}
         j: from: [m, g], join: {key: [1], broadcast: never}
         w: write: SINK",
        "8 8 6 2
         m1: r > m+j | g[g] > g <0 | pass j
         m2 after m1: g > j | j | j > j+w <0,1",
    );
}

#[test]
fn paths_that_are_rows_are_a_stage_before() {
    check(
        "p: read: TEXT
         f: map: LUA
         r: read: {text: {pathsFrom: f}}
         x: map: LUA
         w: write: SINK",
        "3 3 2 2
         m1: p > f | pass f
         m2 after m1: r > x+w | pass w",
    );
}

#[test]
fn dead_letters_are_a_collection_of_their_step() {
    check(
        "r: read: TEXT
         x: map: LUA, onError: {policy: DeadLetter, to: x2}
         w: write: SINK
         x2: map: LUA
         g: groupBy: {key: [1]}
         v: write: SINK",
        "5 5 3 1
         m1: r > x+w+x2 | g > v <0 | pass w",
    );
}

#[test]
fn beam_a_pipe_reads_the_whole_union_while_others_sink() {
    check(
        "a: read: TEXT
         x: map: LUA
         b: read: TEXT
         x2: map: LUA
         u: from: [x, x2], union: {}
         p: pipe: {command: cat}
         wp: write: SINK
         z: from: [u], map: LUA
         wz: write: SINK",
        "6 8 3 2
         m1: a > x+z+wz | b > x2+z+wz | pass x | pass x2 | pass wz
         m2 after m1: u > p+wp | pass wp",
    );
}
