//! Commits to an object store that are killed between any two of their steps, done twice, done at once.

use std::rc::Rc;
use std::sync::Arc;

use engine::sink::manifest::{self, Attempts};
use engine::sink::{Staging, interrupted_after, killed_after};
use engine::{Result, RunContext, Stores, TaskContext, Val};
use plan::task::StagedSink;
use plan::{Mode, Sink, SinkFormat};

use super::moto::{make_bucket, stores, uploads};
use super::run;

const RUN: &str = "0-run-1";
const MODES: [Mode; 3] = [Mode::Fail, Mode::Replace, Mode::Append];

/// A prefix of a bucket of its own.
struct Place {
    stores: Arc<Stores>,
    run: Arc<RunContext>,
    bucket: String,
    mode: Mode,
}

impl Place {
    /// With rows of an earlier run, where the mode suffers any.
    fn new(bucket: &str, mode: Mode) -> Rc<Place> {
        make_bucket(bucket);
        let stores = stores();
        let place = Place { run: run(&stores), stores, bucket: bucket.to_owned(), mode };
        if mode != Mode::Fail {
            let staging = Staging::open("step", &place.sink(Mode::Fail), &place.run, false).unwrap();
            (0..3).for_each(|task| place.write(&staging, task, "old").unwrap());
            staging.commit().unwrap();
        }
        Rc::new(place)
    }

    fn sink(&self, mode: Mode) -> Sink {
        Sink::Files { format: SinkFormat::Text, path: format!("s3://{}/out", self.bucket), mode, fields: None }
    }

    fn write(&self, staging: &Staging, task: usize, text: &str) -> Result<()> {
        let mut writer = staging.writer(task, &Rc::new(TaskContext::new(Arc::clone(&self.run), task)))?;
        writer.push(&[Val::Str(text.as_bytes())])?;
        writer.finish()
    }

    fn stage(&self, attempt: u32) -> Result<StagedSink> {
        let staging = Staging::open_as("step", &self.sink(self.mode), &self.run, false, &format!("{RUN}-{attempt}"))?;
        (0..2).try_for_each(|task| self.write(&staging, task, "new"))?;
        staging.hand_over()
    }

    /// As the task of a cluster's run does it.
    fn commit(&self, staged: &StagedSink) -> Result<()> {
        manifest::commit("step", staged, &self.stores)?;
        manifest::sweep_beside("step", staged, &self.stores, Attempts { run: RUN, below: None })
    }

    fn old(&self) -> usize {
        if self.mode == Mode::Fail { 0 } else { 3 }
    }

    fn done(&self) -> (usize, usize) {
        (if self.mode == Mode::Append { 3 } else { 0 }, 2)
    }

    /// Rows of the old and of the new output that readers see, and whether the marker is there.
    fn seen(&self) -> ((usize, usize), bool) {
        let found = self.stores.locate(&format!("s3://{}/out", self.bucket)).unwrap().list().unwrap();
        let (mut rows, mut marked) = ((0, 0), false);
        for object in found {
            let text = object.location.get().unwrap();
            match &text[..] {
                b"old\n" => rows.0 += 1,
                b"new\n" => rows.1 += 1,
                b"" if object.location.key() == "out/_SUCCESS" => marked = true,
                other => panic!("{:?} holds {other:?}", object.location.key()),
            }
        }
        (rows, marked)
    }

    #[track_caller]
    fn check_truth(&self, at: &str) {
        let (rows, marked) = self.seen();
        assert!(!marked || rows == (self.old(), 0) || rows == self.done(), "{at}: the marker stands beside {rows:?}");
    }

    #[track_caller]
    fn check_done(&self, at: &str) {
        assert_eq!(self.seen(), (self.done(), true), "{at}");
        assert_eq!(uploads(&self.bucket), 0, "{at}: unfinished uploads");
    }
}

/// Tries every number of changes after which something happens, until it comes to the end before that.
fn every(name: &str, check: impl Fn(&Rc<Place>, usize, &str) -> bool) {
    for mode in MODES {
        let ends = (0..100).find(|changes| {
            let at = format!("{mode:?}, after {changes} changes");
            let bucket = format!("{name}-{}-{changes}", format!("{mode:?}").to_lowercase());
            check(&Place::new(&bucket, mode), *changes, &at)
        });
        assert!(ends.is_some_and(|changes| changes > 2), "{mode:?}: it ends after {ends:?} changes");
    }
}

#[test]
fn a_stage_attempt_that_is_killed_leaves_no_upload_once_another_one_is_committed() {
    every("staged", |place, changes, at| {
        let ended = killed_after(changes, || place.stage(1).unwrap());
        assert_eq!(place.seen().0, (place.old(), 0), "{at}");
        let staged = place.stage(2).unwrap();
        place.commit(&staged).unwrap();
        place.check_done(at);
        ended.is_some()
    });
}

#[test]
fn a_commit_that_is_killed_is_rolled_forward_by_the_next_one() {
    every("commit", |place, changes, at| {
        let staged = place.stage(1).unwrap();
        let ended = killed_after(changes, || place.commit(&staged).unwrap());
        place.check_truth(at);
        place.commit(&staged).unwrap();
        place.check_done(at);
        // One that comes late takes the marker from nobody.
        assert!(killed_after(0, || place.commit(&staged).unwrap()).is_some(), "{at}: a commit that was done changes something");
        ended.is_some()
    });
}

#[test]
fn two_commits_at_once_come_to_one_result() {
    every("both", |place, changes, at| {
        let mut came = false;
        for of_other in [2, usize::MAX] {
            let place = Place::new(&format!("{}-{}", place.bucket, of_other % 10), place.mode);
            let staged = Rc::new(place.stage(1).unwrap());
            let (there, what) = (Rc::clone(&place), Rc::clone(&staged));
            let meanwhile = move || {
                let _was_killed = killed_after(of_other, || there.commit(&what).unwrap());
            };
            let (result, met) = interrupted_after(changes, meanwhile, || place.commit(&staged));
            result.unwrap_or_else(|error| panic!("{at}: {}", plan::in_full(&error)));
            place.check_done(at);
            came |= met;
        }
        !came
    });
}

#[test]
fn a_discard_leaves_the_uploads_of_later_attempts_and_of_other_runs() {
    let place = Place::new("discarded", Mode::Replace);
    let other = Staging::open_as("step", &place.sink(Mode::Append), &place.run, false, "0-run-2-1").unwrap();
    place.write(&other, 0, "other").unwrap();
    let [_, two] = [1, 2].map(|attempt| place.stage(attempt).unwrap());
    assert_eq!(uploads("discarded"), 5);
    manifest::sweep("step", &place.sink(Mode::Replace), &place.run, Attempts { run: RUN, below: Some(2) }).unwrap();
    assert_eq!(uploads("discarded"), 3);
    manifest::discard("step", &two, &place.stores).unwrap();
    assert_eq!(uploads("discarded"), 1);
    drop(other);
    assert_eq!(uploads("discarded"), 0);
    assert_eq!(place.seen(), ((3, 0), true));
}
