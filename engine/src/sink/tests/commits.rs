//! Commits that are killed between any two of their steps, done twice, done at once: the rows are there exactly once, the marker
//! never beside half of them, and nothing else stays.

use plan::task::StagedSink;

use super::super::manifest::{self, Attempts};
use super::super::{interrupted_after, killed_after, without_exchange};
use super::*;

const RUN: &str = "0-run-1";

/// What is there before, and how the new output gets there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    /// There is no directory.
    Fresh,
    /// An empty directory with a marker of old.
    Empty,
    /// The whole directory is exchanged, in one step or in several.
    Swap,
    SwapInSteps,
    /// The directory holds more than a sink's files.
    InPlace,
    Append,
}

const CASES: [Case; 6] = [Case::Fresh, Case::Empty, Case::Swap, Case::SwapInSteps, Case::InPlace, Case::Append];

impl Case {
    fn sink(self) -> plan::Sink {
        let mode = match self {
            Case::Fresh | Case::Empty => Mode::Fail,
            Case::Swap | Case::SwapInSteps | Case::InPlace => Mode::Replace,
            Case::Append => Mode::Append,
        };
        sink(SinkFormat::Text, "out", mode)
    }

    fn bench(self) -> Bench {
        let bench = Bench::new();
        match self {
            Case::Fresh => {}
            Case::Empty => {
                std::fs::create_dir(bench.path("out")).unwrap();
                std::fs::write(bench.path("out/_SUCCESS"), "").unwrap();
            }
            Case::Swap | Case::SwapInSteps | Case::InPlace | Case::Append => {
                bench.run(&sink(SinkFormat::Text, "out", Mode::Fail), false, &[(0, ONE), (1, ONE), (2, ONE)]).unwrap();
            }
        }
        if self == Case::InPlace {
            std::fs::write(bench.path("out/.keep"), "mine").unwrap();
        }
        bench
    }

    fn old(self) -> usize {
        match self {
            Case::Fresh | Case::Empty => 0,
            Case::Swap | Case::SwapInSteps | Case::InPlace | Case::Append => 3,
        }
    }

    /// Rows of the old and of the new output that are there in the end.
    fn new(self) -> (usize, usize) {
        (if self == Case::Append { 3 } else { 0 }, 4)
    }

    fn within<T>(self, act: impl FnOnce() -> T) -> T {
        if self == Case::SwapInSteps { without_exchange(act) } else { act() }
    }

    /// Whether the directory is the one or the other at any moment, with its marker.
    fn is_atomic(self) -> bool {
        self == Case::Swap
    }
}

fn stage(bench: &Bench, case: Case, attempt: u32) -> Result<StagedSink> {
    let staging = Staging::open_as("step", &case.sink(), &bench.run, false, &format!("{RUN}-{attempt}"))?;
    for task in 0..2 {
        bench.write(&staging, task, TWO)?;
    }
    staging.hand_over()
}

/// As the task of a cluster's run does it.
fn commit(bench: &Bench, staged: &StagedSink) -> Result<()> {
    manifest::commit("step", staged, &bench.run.stores)?;
    manifest::sweep_beside("step", staged, &bench.run.stores, Attempts { run: RUN, below: None })
}

/// A run in one process, from its beginning to its end.
fn local(bench: &Bench, case: Case) -> Result<()> {
    bench.run(&case.sink(), false, &[(0, TWO), (1, TWO)])
}

/// Rows of the old and of the new output that readers see, and whether the marker is there.
fn seen(bench: &Bench) -> ((usize, usize), bool) {
    let files = bench.files();
    let data = files.iter().filter(|(name, _)| name.starts_with("out/part-"));
    let text: String = data.map(|(_, text)| text.as_str()).collect();
    let count = |what: &str| text.lines().filter(|line| *line == what).count();
    let (old, new) = (count("1\ta"), count("2\tb") + count("3\t"));
    assert_eq!(text.lines().count(), old + new, "{text}");
    ((old, new), files.contains_key("out/_SUCCESS"))
}

#[track_caller]
fn check_truth(bench: &Bench, case: Case, at: &str) {
    let (rows, marked) = seen(bench);
    let whole = rows == (case.old(), 0) || rows == case.new();
    assert!(whole || !marked, "{at}: the marker stands beside {rows:?}");
    assert!(whole && marked || !case.is_atomic(), "{at}: {rows:?}, marker {marked}");
}

/// The new output, and nothing else.
#[track_caller]
fn check_done(bench: &Bench, case: Case, at: &str) {
    assert_eq!(seen(bench), (case.new(), true), "{at}");
    check_clean(bench, case, at);
}

#[track_caller]
fn check_clean(bench: &Bench, case: Case, at: &str) {
    let known = |name: &str| {
        let inner = name.strip_prefix("out/").unwrap_or_default();
        inner.is_empty() && name == "out/" || inner == "_SUCCESS" || inner.starts_with("part-") || inner == ".keep"
    };
    let files = bench.files();
    let names: Vec<&String> = files.keys().filter(|name| !known(name)).collect();
    assert!(names.is_empty(), "{at}: left over: {names:?}");
    assert_eq!(files.contains_key("out/.keep"), case == Case::InPlace, "{at}");
}

/// Tries every number of changes after which something happens, until it comes to the end before that.
fn every(case: Case, what: &str, check: impl Fn(usize, &str) -> bool) {
    for changes in 0..200 {
        let at = format!("{case:?}, {what}, after {changes} changes");
        if case.within(|| check(changes, &at)) {
            assert!(changes > 2, "{at}: it makes hardly any changes");
            return;
        }
    }
    panic!("{case:?}, {what}: it never ends");
}

#[test]
fn a_run_in_one_process_that_is_killed_leaves_the_old_or_the_new() {
    for case in CASES {
        every(case, "run", |changes, at| {
            let bench = case.bench();
            let ended = killed_after(changes, || local(&bench, case));
            check_truth(&bench, case, at);
            // The next run that writes there takes back what is half done; this one does nothing else.
            drop(bench.open(&sink(SinkFormat::Text, "out", Mode::Append), false).unwrap());
            let (rows, marked) = seen(&bench);
            assert!(rows == (case.old(), 0) || rows == case.new(), "{at}: {rows:?}");
            assert_eq!(marked, rows == case.new() || case != Case::Fresh, "{at}: {rows:?}");
            check_clean(&bench, case, at);
            assert!(ended.is_none() || rows == case.new(), "{at}");
            if rows == (case.old(), 0) {
                local(&bench, case).unwrap();
                check_done(&bench, case, at);
            }
            ended.is_some()
        });
    }
}

#[test]
fn what_a_living_run_has_staged_is_not_taken_for_left_over() {
    for case in CASES {
        let bench = case.bench();
        let one = bench.open(&case.sink(), false).unwrap();
        bench.write(&one, 0, TWO).unwrap();
        bench.write(&one, 1, TWO).unwrap();
        // Another run looks for what was left; where it wants an empty place it gives way.
        let other = bench.open(&case.sink(), false);
        assert_eq!(other.is_err(), matches!(case, Case::Fresh | Case::Empty), "{case:?}");
        drop(other);
        one.commit().unwrap();
        check_done(&bench, case, &format!("{case:?}"));
    }
}

#[test]
fn a_stage_attempt_that_is_killed_leaves_nothing_once_another_one_is_committed() {
    for case in CASES {
        every(case, "stage", |changes, at| {
            let bench = case.bench();
            let ended = killed_after(changes, || stage(&bench, case, 1).unwrap());
            assert_eq!(seen(&bench).0, (case.old(), 0), "{at}");
            let staged = stage(&bench, case, 2).unwrap();
            commit(&bench, &staged).unwrap();
            check_done(&bench, case, at);
            ended.is_some()
        });
    }
}

#[test]
fn a_commit_that_is_killed_is_rolled_forward_by_the_next_one() {
    for case in CASES {
        every(case, "commit", |changes, at| {
            let bench = case.bench();
            let staged = stage(&bench, case, 1).unwrap();
            let ended = killed_after(changes, || commit(&bench, &staged).unwrap());
            check_truth(&bench, case, at);
            commit(&bench, &staged).unwrap();
            check_done(&bench, case, at);
            commit(&bench, &staged).unwrap();
            check_done(&bench, case, at);
            ended.is_some()
        });
    }
}

#[test]
fn two_commits_at_once_come_to_one_result() {
    for case in CASES {
        every(case, "commit", |changes, at| {
            let mut other_ends = false;
            // The other one ends, or is killed after any of its changes.
            for of_other in 0..200 {
                if other_ends {
                    break;
                }
                let bench = std::rc::Rc::new(case.bench());
                let staged = std::rc::Rc::new(stage(&bench, case, 1).unwrap());
                let ended = std::rc::Rc::new(std::cell::Cell::new(false));
                let (there, what, note) = (std::rc::Rc::clone(&bench), std::rc::Rc::clone(&staged), std::rc::Rc::clone(&ended));
                let meanwhile = move || note.set(killed_after(of_other, || commit(&there, &what).unwrap()).is_some());
                let (result, came) = interrupted_after(changes, meanwhile, || commit(&bench, &staged));
                result.unwrap_or_else(|error| panic!("{at}, {of_other} of the other: {}", plan::in_full(&error)));
                check_truth(&bench, case, at);
                assert_eq!(seen(&bench), (case.new(), true), "{at}, {of_other} of the other");
                commit(&bench, &staged).unwrap();
                check_done(&bench, case, &format!("{at}, {of_other} of the other"));
                other_ends = ended.get() || !came;
                if !came {
                    return true;
                }
            }
            false
        });
    }
}

#[test]
fn a_stage_attempt_that_comes_late_does_no_harm() {
    for case in CASES {
        every(case, "late stage", |changes, at| {
            let bench = std::rc::Rc::new(case.bench());
            let there = std::rc::Rc::clone(&bench);
            let meanwhile = move || {
                let staged = stage(&there, case, 2).unwrap();
                commit(&there, &staged).unwrap();
            };
            // It may find what it staged gone, or data where there was none.
            let (late, came) = interrupted_after(changes, meanwhile, || stage(&bench, case, 1));
            if !came {
                return true;
            }
            assert_eq!(seen(&bench), (case.new(), true), "{at}");
            // Once it was heard of, whoever leads has all of it removed.
            let first = stage_of_none(&bench, case);
            manifest::sweep_beside("step", &first, &bench.run.stores, Attempts { run: RUN, below: None }).unwrap();
            drop(late);
            check_done(&bench, case, at);
            false
        });
    }
}

/// The description of an attempt of another run, which is discarded at once.
fn stage_of_none(bench: &Bench, case: Case) -> StagedSink {
    let append = sink(SinkFormat::Text, "out", Mode::Append);
    let staged = Staging::open_as("step", &append, &bench.run, false, "other-1").unwrap().hand_over().unwrap();
    manifest::discard("step", &staged, &bench.run.stores).unwrap();
    let _ = case;
    staged
}

#[test]
fn a_discard_removes_earlier_attempts_and_leaves_later_ones() {
    for case in CASES {
        let bench = case.bench();
        let [one, two, three] = [1, 2, 3].map(|attempt| stage(&bench, case, attempt).unwrap());
        for _ in 0..2 {
            manifest::discard("step", &one, &bench.run.stores).unwrap();
            manifest::sweep("step", &case.sink(), &bench.run, Attempts { run: RUN, below: Some(3) }).unwrap();
        }
        let error = plan::in_full(&manifest::commit("step", &two, &bench.run.stores).unwrap_err());
        assert!(error.contains("is gone"), "{error}");
        assert_eq!(seen(&bench).0, (case.old(), 0));
        commit(&bench, &three).unwrap();
        check_done(&bench, case, &format!("{case:?}"));
    }
}

#[test]
fn names_of_attempts_are_told_from_those_of_others() {
    let all = Attempts { run: "u-1", below: None };
    for (tag, expected) in [("u-1-7", true), ("u-1-7.00ff", true), ("u-11-7", false), ("u-1-x", false), ("u-1", false)] {
        assert_eq!(all.have_tag(tag), expected, "{tag}");
    }
    let some = Attempts { run: "u-1", below: Some(7) };
    assert!(some.have_tag("u-1-6") && !some.have_tag("u-1-7"));
    let naming = super::super::place::Naming::of("u-1-6");
    let name = format!("part-00003-{}.csv", naming.id);
    let id = super::super::place::id_in(&name).unwrap();
    assert!(some.have_id(id) && !Attempts { run: "u-2", below: None }.have_id(id), "{name}");
}
