//! Persisted results across runs of a flow on a cluster (`spec.cache`), without a cluster: reused while all that they are made of is
//! the same, made again otherwise, there for the next run when this one fails.

use std::fs;
use std::path::{Path, PathBuf};

use crds::status::{PersistState, Persisted};
use operator::master::api::RunPhase;

use crate::spread::Cluster;

/// A flow whose `upper` is kept, and a volume.
struct Kept {
    volume: tempfile::TempDir,
    map: &'static str,
    last: &'static str,
}

const SAME: &str = "function(line) return line end";

impl Kept {
    fn new() -> Kept {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("in")).unwrap();
        fs::write(volume.path().join("in/a.txt"), "x\ny\n").unwrap();
        Kept { volume, map: "function(line) return line:upper() end", last: SAME }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.volume.path().join(name)
    }

    /// Runs it once; what it wrote, and what became of the persisted collection.
    fn run(&self) -> (RunPhase, String, Persisted) {
        let Kept { map, last, .. } = self;
        let yaml = format!(
            "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: f}}\nspec:\n  retry: {{limit: 1}}\n  steps:\n    \
             - {{name: lines, read: {{text: {{paths: [\"in/*.txt\"]}}}}}}\n    \
             - {{name: upper, persist: true, map: {{lua: '{map}'}}}}\n    \
             - {{name: last, map: {{lua: '{last}'}}}}\n    \
             - {{name: out, write: {{text: {{path: out}}}}}}\n"
        );
        let base = self.volume.path().to_owned();
        let run = move || {
            let mut cluster = Cluster::new(&yaml, &base, 1, false).unwrap();
            let phase = cluster.run().unwrap();
            let persisted = cluster.machine.progress().persisted;
            let text = written(&base.join("out"));
            if base.join("out").exists() {
                fs::remove_dir_all(base.join("out")).unwrap();
            }
            let one = persisted.first().cloned();
            let none = || Persisted { step: String::new(), state: PersistState::NotKept, rows: None, bytes: None, message: None };
            (phase, text, one.unwrap_or_else(none))
        };
        std::thread::Builder::new().stack_size(engine::run::STACK).spawn(run).unwrap().join().unwrap()
    }

    /// Runs it to success.
    #[track_caller]
    fn check(&self, text: &str, state: PersistState, says: &str) {
        let (phase, found, persisted) = self.run();
        assert_eq!((phase, found.as_str()), (RunPhase::Succeeded, text), "{persisted:?}");
        let message = persisted.message.clone().unwrap_or_default();
        assert!(persisted.state == state && message.contains(says), "{persisted:?}");
        assert_eq!(persisted.step, "upper");
    }

    /// The only result that is there.
    fn entry(&self) -> PathBuf {
        let folder = self.path(".gleamflow-results/default/flow/v1");
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.file_name().unwrap().len() == 64).next().unwrap()
    }
}

/// All lines of a sink, sorted.
fn written(out: &Path) -> String {
    let files = fs::read_dir(out).into_iter().flatten().map(|entry| entry.unwrap().path());
    let shown = files.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with(['.', '_']));
    let text: String = shown.map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

#[test]
fn a_second_run_reads_what_the_first_one_kept_unless_a_file_or_a_function_changed() {
    let mut flow = Kept::new();
    flow.check("X Y", PersistState::Kept, "the cache has no result of it yet");
    flow.check("X Y", PersistState::Reused, "is read from the cache: 2 rows");
    fs::write(flow.path("in/b.txt"), "z\n").unwrap();
    flow.check("X Y Z", PersistState::Kept, "in/b.txt is new");
    flow.check("X Y Z", PersistState::Reused, "3 rows");
    fs::write(flow.path("in/a.txt"), "w\n").unwrap();
    flow.check("W Z", PersistState::Kept, "in/a.txt changed");
    flow.map = "function(line) return line:lower() end";
    flow.check("w z", PersistState::Kept, "the function of `upper` changed");
    // Which version is there counts, not which was there last.
    flow.map = "function(line) return line:upper() end";
    flow.check("W Z", PersistState::Reused, "2 rows");
    flow.last = "function(line) return line .. line end";
    flow.check("WW ZZ", PersistState::Reused, "2 rows");
}

#[test]
fn a_failed_run_leaves_what_was_whole_to_the_next() {
    let mut flow = Kept::new();
    flow.last = "function(line) error(\"no\") end";
    let (phase, text, persisted) = flow.run();
    assert!(matches!(&phase, RunPhase::Failed { reason, .. } if reason == "UdfError") && text.is_empty(), "{phase:?}");
    assert_eq!(persisted.state, PersistState::Kept, "{persisted:?}");
    flow.last = SAME;
    flow.check("X Y", PersistState::Reused, "2 rows");
}

#[test]
fn a_damaged_result_is_made_again() {
    let flow = Kept::new();
    flow.check("X Y", PersistState::Kept, "");
    let mut bytes = fs::read(flow.entry()).unwrap();
    bytes[0] ^= 1;
    fs::write(flow.entry(), bytes).unwrap();
    flow.check("X Y", PersistState::Kept, "gone from the cache");
    flow.check("X Y", PersistState::Reused, "");
}

#[test]
fn what_is_not_deterministic_is_neither_kept_nor_reused_and_the_status_says_why() {
    let mut flow = Kept::new();
    flow.map = "function(line) return line .. os.time() * 0 end";
    for _ in 0..2 {
        flow.check("x0 y0", PersistState::NotKept, "`upper` may not be deterministic");
    }
}

#[test]
fn a_volume_that_cannot_be_written_fails_the_run_before_anything_runs() {
    let flow = Kept::new();
    fs::write(flow.path(".gleamflow-results"), "").unwrap();
    let (phase, _, _) = flow.run();
    let RunPhase::Failed { reason, message } = phase else { panic!("{phase:?}") };
    assert!(reason == "CacheUnavailable" && message.contains("cannot be kept on the flow's volume"), "{reason}: {message}");
}
