//! A flow that is hard to do over: shuffles after a join, a roundRobin, an unordered limit, random numbers, pipes, three sinks.
//!
//! ```text
//! left ─► [gate map] ─┐                                     ┌─► sums per n % 7 ─► totals
//!                     ├─ join ─► random ─► [gate reduce] ─► │
//! right ──────────────┘                    stamp            └─► roundRobin ─► [gate last] ─┬─► rows
//!                                                                                         └─► limit ─► sample
//! ```
//!
//! Each attempt of the stamping pipe has a stamp of its own, so rows of two attempts of one task can be told from each other; and the
//! three sinks show the same stamps and random numbers, or something was read of two attempts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::gate::Gate;
use crate::product::{self, Shared};

pub(crate) const CLAIM: &str = "data";
/// Tasks that pass each gate: one per file of the left side, one per partition of the join, one per partition of the roundRobin.
pub(crate) const TASKS: [usize; 3] = [4, 6, 4];
pub(crate) const SINKS: [&str; 3] = ["rows", "sample", "totals"];
const SAMPLE: usize = 100;
const KEYS: u64 = 500;
/// Of so many keys one has no partner on the right side.
const LONELY: u64 = 10;
const GROUPS: u64 = 7;

/// What the flows of a test read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    rows: u64,
}

impl Input {
    /// Writes about so many bytes into a shared folder.
    pub(crate) fn write(folder: &Path, bytes: u64) -> Result<Input> {
        let input = Input { rows: bytes / 64 };
        for side in ["left", "right"] {
            fs::create_dir(folder.join(side)).with_context(|| format!("failed to make folder {side}"))?;
        }
        let mut files = Vec::new();
        for file in 0..TASKS[0] {
            let path = folder.join(format!("left/{file}.tsv"));
            files.push(BufWriter::new(File::create(&path).with_context(|| format!("failed to make {}", path.display()))?));
        }
        let count = files.len() as u64;
        for n in 0..input.rows {
            let file = &mut files[usize::try_from(n % count)?];
            writeln!(file, "k{}\t{n}\t{}", n % KEYS, padding(n)).context("failed to write the left side")?;
        }
        files.iter_mut().try_for_each(|file| file.flush()).context("failed to write the left side")?;
        let right = (0..KEYS).filter(|key| has_partner(*key)).map(|key| format!("k{key}\t{}\n", weight(key)));
        fs::write(folder.join("right/0.tsv"), right.collect::<String>()).context("failed to write the right side")?;
        product::open_to_all(folder)?;
        Ok(input)
    }

    fn joined(self) -> u64 {
        (0..self.rows).filter(|n| has_partner(n % KEYS)).count() as u64
    }
}

fn has_partner(key: u64) -> bool {
    key % LONELY != 0
}

fn weight(key: u64) -> u64 {
    key * 7 + 3
}

/// Different in every row, and hard to compress.
fn padding(n: u64) -> String {
    let mix = |n: u64| (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    format!("{:016x}{:016x}{:016x}", mix(n + 1), mix(mix(n + 1)), mix(n.wrapping_mul(3) + 7))
}

/// The gates of one flow.
pub(crate) struct Gates {
    pub(crate) map: Gate,
    pub(crate) reduce: Gate,
    pub(crate) last: Gate,
}

impl Gates {
    /// Gates that let so many tasks through; `usize::MAX`: it is open.
    pub(crate) fn new(shared: &Path, flow: &str, through: [usize; 3]) -> Result<Gates> {
        let gate = |at: usize, name: &str| {
            let gate = Gate::new(shared, &format!("{flow}-{name}"), through[at].min(TASKS[at]))?;
            if through[at] == usize::MAX {
                gate.open()?;
            }
            Ok::<Gate, anyhow::Error>(gate)
        };
        Ok(Gates { map: gate(0, "map")?, reduce: gate(1, "reduce")?, last: gate(2, "last")? })
    }

    pub(crate) fn all(&self) -> [&Gate; 3] {
        [&self.map, &self.reduce, &self.last]
    }
}

/// The flow. Its executors are so many, from the first to the last moment.
pub(crate) fn flow(name: &str, gates: &Gates, executors: usize, delay: f64) -> Value {
    flow_to(name, &format!("out-{name}"), gates, executors, delay)
}

/// The same with its sinks below another place.
pub(crate) fn flow_to(name: &str, place: &str, gates: &Gates, executors: usize, delay: f64) -> Value {
    let stamp = format!("sleep {delay}; stamp=$(od -An -N6 -tx1 /dev/urandom | tr -d ' \\n'); exec sed \"s/\\$/\\t$stamp/\"");
    let steps = json!([
        {"name": "left", "read": {"tsv": {"paths": ["left/*.tsv"]}}, "partitions": TASKS[0]},
        gates.map.step("mapped"),
        {"name": "right", "read": {"tsv": {"paths": ["right/*.tsv"]}}},
        {"name": "joined", "from": ["mapped", "right"], "join": {"key": [1], "broadcast": "never"}, "partitions": TASKS[1]},
        {"name": "drawn", "map": {"lua": "function(k, n, pad, w) return k, n, pad, w, math.random(1, 1000) end"},
         "deterministic": false},
        {"name": "stamped", "pipe": {"command": gates.reduce.command(&stamp)}},
        {"name": "dealt", "roundRobin": {}, "partitions": TASKS[2]},
        gates.last.step("last"),
        {"name": "rows", "write": {"tsv": {"path": format!("{place}/rows")}}},
        {"name": "some", "from": ["last"], "limit": {"n": SAMPLE}},
        {"name": "sample", "write": {"tsv": {"path": format!("{place}/sample")}}},
        {"name": "tagged", "from": ["stamped"],
         "map": {"lua": format!("function(k, n, pad, w, r, stamp) return tonumber(n) % {GROUPS}, tonumber(r), 1 end")}},
        {"name": "sums", "reduceBy": {"key": [1], "lua": "function(a, b, c, d) return a + c, b + d end"}},
        {"name": "totals", "write": {"tsv": {"path": format!("{place}/totals")}}}
    ]);
    let spec = json!({
        "storage": Shared::storage(CLAIM),
        "executors": {"minReplicas": executors, "maxReplicas": executors},
        "retry": {"backoff": {"initialSeconds": 1, "factor": 1, "maxSeconds": 2}},
        "retention": {"failedPodsSeconds": 0}
    });
    product::flow(name, steps, spec)
}

/// What a flow wrote is exact: all rows, once, of one attempt of each task, the same in all sinks; and nothing else is there.
pub(crate) fn check(folder: &Path, name: &str, input: Input) -> Result<()> {
    let out = folder.join(format!("out-{name}"));
    only_results(&out)?;
    check_rows(&out, input)
}

/// The rows of the three sinks below a folder.
pub(crate) fn check_rows(out: &Path, input: Input) -> Result<()> {
    let mut sample = HashSet::new();
    read(&out.join("sample"), |line| {
        ensure!(sample.insert(line.to_owned()), "{line:?} is twice in the sample");
        Ok(())
    })?;
    ensure!(sample.len() == SAMPLE.min(usize::try_from(input.joined())?), "the sample has {} rows", sample.len());
    let (mut seen, mut stamps, mut totals) = (vec![false; usize::try_from(input.rows)?], BTreeSet::new(), BTreeMap::new());
    read(&out.join("rows"), |line| {
        let row = Row::read(line)?;
        ensure!(row.n < input.rows && has_partner(row.n % KEYS), "{line:?} must not be there");
        ensure!(!std::mem::replace(&mut seen[usize::try_from(row.n)?], true), "row {} is there twice", row.n);
        ensure!((1..=1000).contains(&row.random), "{line:?} has no random number");
        if !stamps.contains(row.stamp) {
            stamps.insert(row.stamp.to_owned());
        }
        let total: &mut (u64, u64) = totals.entry(row.n % GROUPS).or_default();
        *total = (total.0 + row.random, total.1 + 1);
        sample.remove(line);
        Ok(())
    })?;
    let missing = (0..input.rows).filter(|n| has_partner(n % KEYS) && !seen[usize::try_from(*n).unwrap_or(0)]).count();
    ensure!(missing == 0, "{missing} rows are missing");
    ensure!(sample.is_empty(), "the sample has {} rows that the rows have not, such as {:?}", sample.len(), sample.iter().next());
    ensure!(stamps.len() == TASKS[1], "the rows are of {} attempts of {} tasks", stamps.len(), TASKS[1]);
    let mut found = BTreeMap::new();
    read(&out.join("totals"), |line| {
        let [group, sum, count] = line.split('\t').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?[..] else {
            bail!("a total is {line:?}")
        };
        ensure!(found.insert(group, (sum, count)).is_none(), "group {group} is there twice");
        Ok(())
    })?;
    ensure!(found == totals, "the totals are {found:?}, of the rows {totals:?}");
    Ok(())
}

struct Row<'l> {
    n: u64,
    random: u64,
    stamp: &'l str,
}

impl Row<'_> {
    fn read(line: &str) -> Result<Row<'_>> {
        let [key, n, pad, w, random, stamp] = line.split('\t').collect::<Vec<_>>()[..] else { bail!("a row is {line:?}") };
        let n: u64 = n.parse().with_context(|| format!("a row is {line:?}"))?;
        ensure!(key == format!("k{}", n % KEYS) && pad == padding(n) && w == weight(n % KEYS).to_string(), "a row is {line:?}");
        Ok(Row { n, random: random.parse().with_context(|| format!("a row is {line:?}"))?, stamp })
    }
}

/// All lines of a sink's files.
pub(crate) fn read(folder: &Path, mut line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for name in names(folder)?.into_iter().filter(|name| is_part(name)) {
        let file = File::open(folder.join(&name)).with_context(|| format!("failed to open {name}"))?;
        for text in BufReader::new(file).lines() {
            line(&text.with_context(|| format!("failed to read {name}"))?).with_context(|| format!("in {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Nothing hidden, nothing temporary, and `_SUCCESS` not before any other.
fn only_results(out: &Path) -> Result<()> {
    ensure!(names(out)? == SINKS, "{} has {:?}", out.display(), names(out)?);
    for sink in SINKS {
        let folder = out.join(sink);
        let names = names(&folder)?;
        ensure!(names.contains(&"_SUCCESS".to_owned()), "{} has no marker: {names:?}", folder.display());
        let others: Vec<&String> = names.iter().filter(|name| *name != "_SUCCESS" && !is_part(name)).collect();
        ensure!(others.is_empty(), "{} has {others:?}", folder.display());
        let changed = |name: &str| {
            let found = fs::metadata(folder.join(name)).with_context(|| format!("failed to look at {name}"))?;
            Ok::<_, anyhow::Error>((found.ctime(), found.ctime_nsec()))
        };
        let success = changed("_SUCCESS")?;
        for name in &names {
            ensure!(changed(name)? <= success, "{sink}: {name} came after _SUCCESS");
        }
    }
    Ok(())
}

/// The name of a file of results.
pub(crate) fn is_part(name: &str) -> bool {
    let number = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".tsv"));
    number.is_some_and(|number| number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What is in a folder, in order.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
