//! Every target over mutated examples: a bounded number of them, the same in each run.
//!
//! `GLEAMFLOW_HOSTILE_RUNS=1000000 cargo test --release -p hostile` looks longer; a failure names the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::{Batch, Val, codec};
use hostile::mutate::{Random, mutated};

fn runs(default: u64) -> u64 {
    std::env::var("GLEAMFLOW_HOSTILE_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(default)
}

/// Runs a target over the examples themselves, then over mutations of them.
#[track_caller]
fn survives(name: &str, examples: &[&[u8]], default_runs: u64) {
    examples.iter().for_each(|example| hostile::run(name, example));
    hostile::run(name, b"");
    for seed in 0..runs(default_runs) {
        let bytes = mutated(examples, &mut Random::new(seed));
        if catch_unwind(AssertUnwindSafe(|| hostile::run(name, &bytes))).is_err() {
            panic!("target {name}, seed {seed}, over {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

const FLOWS: [&str; 3] = [
    include_str!("../../examples/wordcount/flow.yaml"),
    r#"apiVersion: gleamflow.io/v1alpha1
kind: GleamFlow
metadata: {name: everything}
spec:
  params: [{name: dir, value: in}, {name: n}]
  lua: |
    local function half(x) return x / 2 end
  steps:
    - {name: read, read: {csv: {paths: ["$(params.dir)/*.csv"], header: true, types: {a: integer}}}, fields: [a, b]}
    - {name: split, parallelDo: {outputs: [low, high], lua: "function(a, b) if a < 3 then emit.low(a) else emit.high(a, b) end end"}}
    - {name: group, from: [split.high], groupBy: {key: [1], orderBy: [{field: 2, order: desc}]}}
    - {name: folded, combine: {lua: "function(x, y) return x + y end"}}
    - {name: joined, from: [folded, read], join: {key: [1], kind: left}}
    - name: mapped
      map: {lua: 'function(a, b) return half(a), side[b] end'}
      sideInputs: [{name: side, from: folded, as: map}]
      onError: {policy: DeadLetter, to: letters}
    - {name: sorted, sort: {by: [{field: 2}, {field: 1, order: desc}]}, partitions: 3}
    - {name: out, write: {csv: {path: "./out/../out", header: true, mode: replace}}, fields: [x, y]}
    - {name: letters, write: {json: {path: letters}}}
"#,
    "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: &a x}\nspec:\n  steps:\n    - name: r\n      read: &r {inline: {rows: [[1, yes, 012, *a], [2.5, null, ~, 'q']]}}\n    - {name: p, pipe: {command: \"tr a b\"}, deterministic: true, hints: {memory: 1Gi, sizeRatio: 0.5}}\n    - {name: u, from: [r, p, r], union: {ordered: true}}\n    - {name: t, top: {n: 3, by: [{field: 1}]}}\n    - {name: w, write: {stdout: {format: \"%s %5.2f %%\"}}}\n",
];

const FUNCTIONS: [&str; 12] = [
    "function(line) return line:gmatch(\"%w+\") end",
    "function(word) return word, 1 end",
    "function(x, y) return x + y end",
    "function(s) return s:lower():sub(2, -1) .. 'x', #s, not s end",
    "function(a, b) local t = {a, b, n = a; [b] = 1}; t[a] = t[b]; return t end",
    "function(...) local a <const> = select('#', ...) for i = 1, a do if i == 2 then break end end return a end",
    "function(x) while true do x = x * 2 if x > 1e3 then return x end end end",
    "function(x) return tonumber(x) or 0x1p4, [[long]] .. [==[ longer ]==], '\\x41\\u{48}\\z  \\065' end",
    "function(x) if x < 1 then return x elseif x == 2 then return 2, 3 else return end end",
    "local f = function(x) return x end return f",
    "function(s) for k, v in pairs(s) do emit(k, v) end goto done ::done:: end",
    "function(x) return x and -x ^ 2 // 3 or (x % 5 ~= 0), 1LL, 2ULL, 3i -- done\nend",
];

const PRELUDES: [&str; 4] = [
    "local function half(x) return x / 2 end\nfunction twice(x) return x * 2 end",
    "string.lower = nil; local s = string; s['upper'] = function() end",
    "setmetatable(_G, {__index = function(t, k) return k end}); const = 1",
    "local t <const> = {1, 2}; local getfenv = debug.getinfo; t[1] = t[2]",
];

#[test]
fn flow_files() {
    survives("document", &FLOWS.map(str::as_bytes), 6000);
}

#[test]
fn functions() {
    survives("function", &FUNCTIONS.map(str::as_bytes), 20_000);
}

#[test]
fn preludes() {
    survives("prelude", &PRELUDES.map(str::as_bytes), 10_000);
}

fn encoded() -> Vec<u8> {
    let (mut list, mut map, mut batch) = (Vec::new(), Vec::new(), Batch::default());
    codec::write_row(&mut list, &[Val::Int(-300), Val::Str(&[b'x'; 300]), Val::Nil]);
    codec::write_map_header(&mut map, 1);
    codec::write_val(&mut map, Val::Str(b"key"));
    codec::write_val(&mut map, Val::List(&list));
    batch.push(&[Val::Nil, Val::Bool(true), Val::Int(i64::MIN), Val::Int(7), Val::Float(-0.5), Val::Str(b"text")]);
    batch.push(&[Val::List(&list), Val::Map(&map)]);
    batch.push(&[]);
    batch.push(&[Val::Int(70_000); 20]);
    batch.bytes
}

#[test]
fn encoded_rows() {
    survives("rows", &[&encoded()], 60_000);
}

#[test]
fn spilled_batches() {
    survives("spilled", &[&engine::spill::compress(&encoded()), &engine::spill::compress(&[0; 5000])], 40_000);
}

#[test]
fn csv_files() {
    survives(
        "csv",
        &[
            b"\xef\xbb\xbf\r",
            b"a,b\r\n1,\"x, \"\"y\"\"\nz\"\n2,\n",
            b"\xef\xbb\xbfname\tother\n\"q\"\tr\n\n\"\"\n",
            b"1,2,3\n\"4\",5,6\r\n,,\n7,8,9",
        ],
        500,
    );
}

#[test]
fn json_files() {
    survives(
        "json",
        &[
            b"{\"a\": 1, \"b\": [true, null, -1.5e3]}\n\n{\"b\": \"\\u00e4\\ud83d\\ude00\\n\", \"a\": {\"c\": {}}}\r\n[1, 2]\n",
            b"\"text\"\n9223372036854775808\n-0\n1e400\n  {\"a\":\"\"}",
        ],
        700,
    );
}

#[test]
fn text_files() {
    survives("text", &[b"one\r\ntwo\n\nthree\rfour\n", b"\xff\xfe\0no end"], 1000);
}

#[test]
fn every_target_has_its_fuzz_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    for (name, _) in hostile::TARGETS {
        let text = std::fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap_or_default();
        assert!(text.contains(&format!("hostile::run({name:?}, bytes)")), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), hostile::TARGETS.len());
}
