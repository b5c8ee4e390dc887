//! Every target over mutated examples: a bounded number of them, the same in each run.
//!
//! `GLEAMFLOW_HOSTILE_RUNS=1000000 cargo test --release -p hostile` looks longer; a failure names the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use engine::{Batch, Val, codec};
use executor::slot::protocol::FromChild;
use hostile::mutate::{Random, mutated};
use operator::master::api::{Entry, TaskSet};
use plan::task::{Attempt, Done, Manifest, StagedSink, Task, TaskId, Work};
use proto::chunk::{Chunk, Message};
use proto::master::{Enroll, FromSlot, Orders, Settings, ToSlot};
use proto::token::{Claims, PublicKey, Role};
use proto::{RunId, Term, agent};

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
fn parquet_files() {
    survives("parquet", &[include_bytes!("../../examples/parquet-to-json/in/items.parquet")], 1000);
}

#[test]
fn orc_files() {
    let examples: [&[u8]; 2] =
        [include_bytes!("../../engine/tests/data/types.orc"), include_bytes!("../../engine/tests/data/early.orc")];
    survives("orc", &examples, 300);
}

/// `one\ntwo\n`, by gzip, bzip2 and zstd.
const PACKED: [&[u8]; 3] = [
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\xcfK\xe5*)\xcf\xe7\x02\x00\xe6\x0b\xba\x12\x08\x00\x00\x00",
    b"BZh91AY&SY\xa7\x14+w\x00\x00\x02\xc1\x80\x00\x10\x02\x01\x84\x80 \x00!\x80\x0c\x028\xf5\x1b\x8b\xb9\"\x9c(HS\x8a\x15\xbb\x80",
    b"(\xb5/\xfd\x04XA\x00\x00one\x0atwo\x0a\xe6\xa6\x0e@",
];

#[test]
fn compressed_files() {
    survives("packed", &PACKED, 500);
}

/// A member `a` with the text `one`, stored; then one `b`, deflated.
const ZIP: &[u8] = b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00!\x00\xf1\x86lz\x03\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00aonePK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00!\x00Z\x03\x93\x03\x09\x00\x00\x00(\x00\x00\x00\x01\x00\x00\x00b+)\xcfW(!\x02\x03\x00PK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00\x00\x00!\x00\xf1\x86lz\x03\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00aPK\x01\x02\x14\x03\x14\x00\x00\x00\x08\x00\x00\x00!\x00Z\x03\x93\x03\x09\x00\x00\x00(\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\"\x00\x00\x00bPK\x05\x06\x00\x00\x00\x00\x02\x00\x02\x00^\x00\x00\x00J\x00\x00\x00\x00\x00";

#[test]
fn whole_files() {
    survives("whole", &[ZIP, PACKED[0]], 500);
}

#[test]
fn splits() {
    let examples: [&[u8]; 4] = [
        br#"{"part":{"Files":{"files":[{"Local":{"path":[97],"written":[97],"size":9}}],"pieces":[[0,"Whole"],[0,{"Lines":{"start":0,"end":5}}]]}},"lead":["a",[[98]]]}"#,
        br#"{"part":{"Files":{"files":[{"Object":{"url":"s3://b/k","size":9,"tag":"t","ranges":true}}],"pieces":[[0,{"Groups":{"start":0,"end":5}}]]}},"lead":null}"#,
        br#"{"part":{"Files":{"files":[{"Unmeasured":{"url":"http://h/k"}}],"pieces":[[0,"Whole"]]}},"lead":null}"#,
        br#"{"part":{"Numbers":{"first":-1,"count":2}},"lead":null}"#,
    ];
    for example in examples {
        let split = plan::task::Split { encoded: example.to_vec(), bytes: 0 };
        engine::source::decode(&split, &engine::Stores::new([])).expect("an example is a split");
    }
    survives("split", &examples, 1000);
}

fn attempt() -> Attempt {
    Attempt { task: TaskId::Map { stage: plan::MscrId(3), at: 70_000 }, number: 2 }
}

fn run_id() -> RunId {
    RunId::try_from("a1b2-1".to_owned()).unwrap()
}

/// Messages of all kinds: whatever kind the first byte names, the rest may be of any.
fn messages() -> Vec<Vec<u8>> {
    let (run, term, keys) = (run_id(), Term(7), vec![PublicKey(vec![9; 32])]);
    let done = Done {
        rows: [(plan::CollectionId(2), 5)].into(),
        steps: [("s".to_owned(), Default::default())].into(),
        ..Done::default()
    };
    let hello =
        FromSlot::Hello { run: run.clone(), pod: "p".into(), node: "n".into(), slot: 1, incarnation: 2, busy: Some(attempt()) };
    let staged = StagedSink { encoded: b"{}".to_vec(), location: "/data/out".into(), files: 1, rows: 2, bytes: 3 };
    let manifest = Manifest { sinks: [("out".to_owned(), staged)].into() };
    let task = Task {
        attempt: attempt(),
        place: (1, 10),
        work: Work::Discard { manifest: Some(manifest.clone()) },
        agents: vec!["10.0.0.1:7401".into()],
        sides: Default::default(),
        buckets: [(plan::NodeId(4), 64)].into(),
        widths: [(plan::NodeId(4), vec![1, 2])].into(),
        tables: Default::default(),
    };
    let held = agent::HeldOutput { attempt: attempt(), named: true, done: vec![1, 2, 3] };
    let item = agent::FetchItem { attempt: attempt(), piece: 1, first: 0, end: 9 };
    let settings = Settings { seed: 1, memory: 2, task_deadline: Some(3), partitions: None, results: None };
    vec![
        packed(&hello),
        packed(&FromSlot::Done { attempt: attempt(), agent: "10.0.0.1:7401".into(), done: Box::new(done.clone()) }),
        packed(&FromSlot::Draining),
        packed(&ToSlot::Welcome { term, settings }),
        packed(&ToSlot::Plan { plan: vec![0x28, 0xb5, 0x2f, 0xfd] }),
        packed(&ToSlot::Run { task: Box::new(task.clone()), output: "10.0.0.1:7401".into() }),
        packed(&Enroll { csr: "-----BEGIN".into(), node: "n".into(), address: "10.0.0.1:7401".into() }),
        packed(&Orders::Leader { term, runs: Some(vec![run.clone()]), keys }),
        packed(&agent::PutHeader { run: run.clone(), attempt: attempt() }),
        packed(&agent::Stored { frames: vec![1, 2], bytes: 3 }),
        packed(&agent::Fetch { run: run.clone(), items: vec![item] }),
        packed(&agent::Name { run: run.clone(), term, winners: vec![attempt()], fenced: vec![attempt()] }),
        packed(&agent::Release { run: run.clone(), term, attempts: None }),
        packed(&agent::Inventory { outputs: vec![held] }),
        packed(&done),
        packed(&task),
        packed(&Claims { role: Role::Executor { run }, expires: 1 }),
        packed(&vec![attempt(); 2]),
        packed(&Entry::Committing { manifest }),
        packed(&Entry::Redo { sets: [TaskSet::Maps(plan::MscrId(1))].into(), above: 3, except: [attempt()].into() }),
    ]
}

fn packed(message: &impl serde::Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(message).unwrap()
}

#[test]
fn wire_messages() {
    let examples: Vec<Vec<u8>> = messages()
        .into_iter()
        .flat_map(|message| (0..hostile::wire::KINDS).map(move |kind| [&[kind as u8], message.as_slice()].concat()))
        .collect();
    survives("message", &examples.iter().map(Vec::as_slice).collect::<Vec<_>>(), 60_000);
}

#[test]
fn chunks_of_pieces() {
    let mut message = Message::default();
    message.push_frame(3, bytes::Bytes::from_static(b"a frame"));
    message.push_frame(u32::MAX, bytes::Bytes::from_static(b"done"));
    message.chunks.push(Chunk { piece: 1, ends: false, bytes: bytes::Bytes::from_static(b"goes on") });
    let mut encoded = bytes::BytesMut::new();
    message.encode(&mut encoded);
    survives("chunks", &[&encoded], 40_000);
}

#[test]
fn frames_of_rows() {
    let frame = |batch: &Batch| executor::slot::frame::encode(batch).unwrap();
    let (rows, zeros) = (frame(&Batch { rows: 4, bytes: encoded() }), frame(&Batch { rows: 9, bytes: vec![0; 5000] }));
    survives("frame", &[&rows, &zeros], 40_000);
}

#[test]
fn words_of_a_slots_process() {
    let mut said = Vec::new();
    for word in [
        FromChild::Ready,
        FromChild::Progress { attempt: attempt(), rows: 1, bytes: 2 },
        FromChild::Done { attempt: attempt(), done: Box::default() },
    ] {
        executor::slot::protocol::write(&mut said, &word).unwrap();
    }
    survives("child", &[&said, b"\xff\xff\xff\xffhello"], 20_000);
}

#[test]
fn tokens_and_names_in_certificates() {
    let token = hostile::wire::signed(&Claims { role: Role::Operator { term: Term(3) }, expires: u64::MAX });
    let issuer =
        operator::authority::Authority::new(operator::authority::Lives { certificate: 60, authority: 720 }, 1_800_000_000)
            .unwrap();
    let papers = issuer.executors(&run_id(), 1_800_000_000).unwrap();
    let certificate = papers.certificate.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let certificate = base64(&certificate);
    survives("token", &[token.as_bytes(), b"gleamflow:executor:a1-2", b"gleamflow:agent:node", &certificate], 40_000);
}

/// Decodes what is known to be base64.
fn base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    letters
        .chunks(4)
        .flat_map(|four| {
            let bits = (0..4).fold(0_u32, |bits, at| bits << 6 | u32::from(four.get(at).copied().unwrap_or(0)));
            bits.to_be_bytes()[1..four.len()].to_vec()
        })
        .collect()
}

#[test]
fn manifests_of_sinks() {
    let bytes = |text: &str| serde_json::to_string(text.as_bytes()).unwrap();
    let swap = format!(
        "{{\"Directory\":{{\"target\":{},\"staging\":{},\"how\":{{\"Swap\":{{\"inode\":5}}}}}}}}",
        bytes("/data/out"),
        bytes("/data/.out.staging-a-1")
    );
    let one_by_one = format!(
        "{{\"Directory\":{{\"target\":{},\"staging\":{},\"how\":{{\"OneByOne\":{{\"files\":[\"part-0\",\"..\"],\"old\":[{}]}}}}}}}}",
        bytes("/data/out"),
        bytes("/data/out/_staging-a-1"),
        bytes("old")
    );
    let objects = r#"{"Objects":{"marker":"s3://b/out/_SUCCESS","replace":true,"old":["s3://b/out/a"],"uploads":[{"url":"s3://b/out/p","id":"1","tags":["t"]}]}}"#;
    let good = |text: &str| {
        let staged = StagedSink { encoded: text.as_bytes().to_vec(), location: String::new(), files: 0, rows: 0, bytes: 0 };
        engine::sink::manifest::check(&staged).is_ok()
    };
    assert!(good(&swap) && good(objects) && good(&one_by_one.replace(",\"..\"", "")) && !good(&one_by_one));
    assert!(
        !good(&one_by_one.replace(",\"..\"", ",\"../other/part-0\"")) && !good(&one_by_one.replace("\"..\"", "\"/etc/passwd\""))
    );
    assert!(!good(&objects.replace("s3://b/out/a", "s3://b/other/a")) && !good(&objects.replace("out/p", "out/../p")));
    assert!(!good(&swap.replace(&bytes("/data/.out.staging-a-1"), &bytes("/data"))), "what is staged is removed");
    survives("manifest", &[swap.as_bytes(), one_by_one.as_bytes(), objects.as_bytes()], 40_000);
}

#[test]
fn what_is_kept_of_a_run() {
    let entry = packed(&Entry::Committing { manifest: Manifest::default() });
    let packed = zstd::bulk::compress(&entry, 3).unwrap();
    let file = zstd::bulk::compress(br#"{"spec":{"steps":[]},"seed":1,"slot_memory":2}"#, 3).unwrap();
    survives("kept", &[&packed, &file, &entry], 20_000);
    // What says little and means a lot.
    let bomb = zstd::bulk::compress(&vec![0; 300 << 20], 3).unwrap();
    assert!(bomb.len() < 100_000 && operator::record::unzipped(&bomb).is_err());
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
