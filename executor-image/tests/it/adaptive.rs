//! What is decided on a cluster when sizes are known: joins that switch to a broadcast, buckets that are split. Each flow is run
//! calmly, then through losses and changes of leaders by many seeds; the rows are always those of a shuffle that nobody touched.

use std::path::Path;

use operator::master::api::RunPhase;

use crate::spread::Cluster;

/// The lines below a directory, sorted.
fn lines(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let data = files.filter(|file| !file.file_name().unwrap().to_string_lossy().starts_with(['_', '.']));
    let mut lines: Vec<String> =
        data.flat_map(|file| std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

/// The rows of `out`, and the decisions.
fn ran(steps: &str, seed: u64, trouble: bool) -> (Vec<String>, Vec<(String, String, bool, String)>) {
    let base = tempfile::tempdir().unwrap();
    let yaml = format!("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: flow}}\nspec:\n{steps}");
    let mut cluster = Cluster::new(&yaml, base.path(), seed, trouble).unwrap();
    let outcome = cluster.run().unwrap();
    assert_eq!(outcome, RunPhase::Succeeded, "seed {seed}");
    let told = cluster.machine.progress().decisions.into_iter();
    (lines(&base.path().join("out")), told.map(|told| (told.step, told.pass, told.did, told.reason)).collect())
}

#[track_caller]
fn decided(told: &[(String, String, bool, String)], step: &str, pass: &str, did: bool, reason: &str) {
    let is = |one: &(String, String, bool, String)| one.0 == step && one.1 == pass && one.2 == did && one.3.contains(reason);
    assert!(told.iter().any(is), "{pass} should say {did} of {step}, {reason:?}; it says {told:?}");
}

/// A join whose second side a filter makes small, which nobody knows before; a write, a fold and another join stand behind it.
fn joined(kind: &str, more: &str, small: &str) -> String {
    format!(
        "  steps:
    - {{name: numbers, read: {{range: {{from: 0, to: 3000}}}}}}
    - {{name: large, map: {{lua: 'function(n) return n % 100, n end'}}, hints: {{sizeRatio: 9000000}}}}
    - {{name: others, read: {{range: {{from: 0, to: 500}}}}}}
    - {{name: pairs, map: {{lua: 'function(n) return n, n * 10 end'}}, hints: {{sizeRatio: 1000000}}}}
    - {{name: small, filter: {{lua: '{small}'}}}}
    - {{name: joined, join: {{key: [1], kind: {kind}{more}}}, from: [large, small]}}
    - {{name: keyed, map: {{lua: 'function(k, n, v) return k, n, v end'}}}}
    - {{name: sums, reduceBy: {{key: [1, 3], lua: 'function(a, b) return a + b end'}}}}
    - {{name: again, join: {{key: [1], broadcast: never}}, from: [keyed, sums]}}
    - {{name: out, write: {{text: {{path: out}}}}}}
"
    )
}

const SOME: &str = "function(k, v) return k % 40 == 0 end";

#[test]
fn a_join_switches_to_a_broadcast_and_has_the_same_rows_whatever_is_lost() {
    for kind in ["inner", "left"] {
        let (shuffled, told) = ran(&joined(kind, ", broadcast: never", SOME), 1, false);
        assert!(told.iter().all(|told| told.1 != "switch-joins"), "{told:?}");
        assert!(shuffled.len() > 80, "{}", shuffled.len());
        let (rows, told) = ran(&joined(kind, "", SOME), 1, false);
        decided(&told, "joined", "switch-joins", true, "every task holds `small` whole");
        assert_eq!(rows, shuffled, "{kind}");
        for seed in 0..25 {
            let (rows, told) = ran(&joined(kind, "", SOME), seed, true);
            decided(&told, "joined", "switch-joins", true, "every task holds `small` whole");
            assert_eq!(rows, shuffled, "{kind}, seed {seed}");
        }
    }
}

#[test]
fn a_join_stays_a_shuffle_where_the_side_is_no_table_for_a_task_and_says_so() {
    // 500 rows of 10 KB are more than the 2 MiB that a task of these slots may hold.
    let wide = "  steps:
    - {name: numbers, read: {range: {from: 0, to: 1000}}}
    - {name: large, map: {lua: 'function(n) return n % 100, n end'}, hints: {sizeRatio: 9000000}}
    - {name: others, read: {range: {from: 0, to: 500}}}
    - {name: wide, map: {lua: 'function(n) return n, string.rep(\"x\", 10000) end'}, hints: {sizeRatio: 1000000}}
    - {name: joined, join: {key: [1]}, from: [large, wide]}
    - {name: short, map: {lua: 'function(k, n, x) return k, n, #x end'}}
    - {name: out, write: {text: {path: out}}}
";
    for seed in 0..6 {
        let (rows, told) = ran(wide, seed, seed > 0);
        decided(&told, "joined", "switch-joins", false, "do not fit into the memory of a task");
        assert_eq!(rows.len(), 1000);
        assert!(rows.iter().all(|row| row.ends_with("\t10000")));
    }
}

#[test]
fn a_hot_key_of_a_join_is_dealt_out_by_who_made_its_rows() {
    let steps = "  executors: {slots: 4}
  steps:
    - {name: numbers, read: {range: {from: 0, to: 100000}}}
    - {name: large, map: {lua: 'function(n) local k = 7 if n % 10 == 0 then k = n % 77 end return k, n, string.rep(\"x\", 100) end'}}
    - {name: small, read: {range: {from: 0, to: 50}}}
    - {name: joined, join: {key: [1], kind: left, broadcast: never}, from: [large, small]}
    - {name: keyed, map: {lua: 'function(k, n, x) return k, n % 13, 1 end'}}
    - {name: counted, reduceBy: {key: [1, 2], lua: 'function(a, b) return a + b end'}}
    - {name: out, write: {text: {path: out}}}
";
    let once = steps.replace("kind: left, broadcast: never}", "kind: left, broadcast: never}, partitions: 1");
    let (expected, _) = ran(&once, 1, false);
    assert!(expected.len() > 500, "{}", expected.len());
    for seed in 0..4 {
        let (rows, told) = ran(steps, seed, seed > 0);
        decided(&told, "joined", "share-buckets", true, "the rows of `large` are dealt out, each task has all others");
        assert_eq!(rows, expected, "seed {seed}");
    }
}

/// Some keys that share one of so many buckets.
fn of_one_bucket(count: usize, buckets: usize) -> Vec<i64> {
    let bucket = |key: &i64| {
        let mut encoded = Vec::new();
        engine::key::encode(engine::Val::Int(*key), &mut encoded);
        engine::op::limit::partition(engine::key::hash(&encoded), buckets)
    };
    (0..).filter(|key| bucket(key) == 3).take(count).collect()
}

#[test]
fn a_bucket_of_several_hot_keys_is_split_between_them() {
    let keys: Vec<String> = of_one_bucket(6, 32).iter().map(i64::to_string).collect();
    let keys = keys.join(",");
    let steps = format!(
        "  executors: {{slots: 4}}
  steps:
    - {{name: numbers, read: {{range: {{from: 0, to: 100000}}}}}}
    - {{name: keyed, map: {{lua: 'function(n) local k = {{{keys}}} return k[n % 6 + 1], string.rep(\"x\", 100) end'}}}}
    - {{name: groups, groupBy: {{key: [1]}}}}
    - {{name: sizes, map: {{lua: 'function(k, items) return k, #items end'}}}}
    - {{name: out, write: {{text: {{path: out}}}}}}
"
    );
    for seed in 0..4 {
        let (rows, told) = ran(&steps, seed, seed > 0);
        decided(&told, "groups", "share-buckets", true, "each has some of its keys");
        assert_eq!(rows.len(), 6, "{rows:?}");
        assert!(rows.iter().all(|row| row.ends_with("\t16667") || row.ends_with("\t16666")), "{rows:?}");
    }
}
