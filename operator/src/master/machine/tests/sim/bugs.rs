//! Looks for each planted bug where it can do harm: with the kinds of trouble that its rule is there for, or in the one course of
//! events that it is about.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::{
    a_stage_attempt_that_is_heard_of_late_has_its_files_removed_by_another_commit,
    what_a_slot_tells_a_new_leader_does_not_count_beside_what_was_named,
};
use super::*;
use crate::master::machine::planted::{self, Bug};

/// Where a bug is looked for.
enum Ground {
    /// From this seed on: a kind of trouble, and what must hold in it.
    Seeds(u64, Faults, fn(&Course)),
    /// The same with each of the flows of which single parts are read.
    InParts(Faults, fn(&Course)),
    /// A single course of events.
    Told(fn()),
}

/// How many seeds it may take.
const PATIENCE: u64 = 200;

const CALM: Ground = Ground::Seeds(9000, NONE, nothing_is_redone);
const ONE_LEADER_MORE: Ground = Ground::Seeds(9000, Faults { leaders: 1, ..NONE }, nothing_is_redone);

fn ground(bug: Bug) -> Ground {
    let stopped = Faults { cuts: 0, ..STOPPED_LATE };
    match bug {
        Bug::CountsUnnamed => Ground::Seeds(9020, NONE, nothing_is_redone),
        Bug::ReleasesUnread | Bug::WritesTwice => CALM,
        Bug::FencesNothing => Ground::Seeds(9030, CUTS, succeeds),
        Bug::WaitsForLost => Ground::Seeds(9000, AGENTS, succeeds),
        Bug::ForgetsReaders => Ground::Seeds(9020, AGENTS, succeeds),
        Bug::KeepsVoidSinks => Ground::Seeds(12_120, LOSSES, succeeds),
        Bug::TrustsUnknown => Ground::Seeds(12_300, LOSSES, succeeds),
        Bug::RemakesRead => Ground::Seeds(50, Faults { leaders: 1, ..NONE }, nothing_is_redone),
        Bug::ForgetsVoids => Ground::Seeds(9020, LOSSES, succeeds),
        Bug::ReadsTooSoon => Ground::InParts(KILLS, succeeds),
        Bug::RepeatsNumbers | Bug::ForgetsCuts => ONE_LEADER_MORE,
        Bug::WaitsForSlots | Bug::BlamesFlow => Ground::Seeds(9000, KILLS, succeeds),
        Bug::ForgivesFlow => Ground::Seeds(9000, POISONED, fails_after_its_retries),
        Bug::FailsLate => Ground::Seeds(9000, STOPPED_LATE, is_stopped_or_done),
        Bug::FailsBeside => Ground::Seeds(9030, STOPPED_LATE, is_stopped_or_done),
        Bug::LeavesWithoutDiscard | Bug::DiscardsOthersOnly => Ground::Seeds(9000, stopped, is_stopped_or_done),
        Bug::ForgetsCommit => Ground::Seeds(9000, ENDS, succeeds),
        Bug::StallsSilently => Ground::Seeds(9000, FULL_FOR_LONG, |_| {}),
        // The simulated volume forgets whoever is at work when it is swept.
        Bug::LeavesStaged => Ground::Told(a_stage_attempt_that_is_heard_of_late_has_its_files_removed_by_another_commit),
        // It takes a leader, a link and two attempts at the same second.
        Bug::ProposesEarly => Ground::Told(what_a_slot_tells_a_new_leader_does_not_count_beside_what_was_named),
    }
}

/// The first seed at which a bug shows (0 where there is no choice).
fn find(bug: Bug) -> Option<u64> {
    let shows = |act: &dyn Fn()| planted::with(bug, || catch_unwind(AssertUnwindSafe(act))).is_err();
    match ground(bug) {
        Ground::Seeds(from, faults, check) => (from..from + PATIENCE).find(|seed| shows(&|| check(&simulate(*seed, faults)))),
        Ground::InParts(faults, check) => {
            IN_PARTS.into_iter().find(|flow| shows(&|| check(&simulate_flow(*flow, *flow, faults))))
        }
        Ground::Told(course) => shows(&course).then_some(0),
    }
}

/// Every wrong variant of a rule shows within some seeds, where the right one passes all of them.
#[test]
fn planted_bugs_are_found() {
    let (some, others) = planted::ALL.split_at(planted::ALL.len() / 2);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let look = |bugs: &[Bug]| bugs.iter().map(|bug| (*bug, find(*bug))).collect::<Vec<_>>();
    let mut found = std::thread::scope(|scope| {
        let other = scope.spawn(|| look(others));
        let mut found = look(some);
        found.extend(other.join().unwrap());
        found
    });
    std::panic::set_hook(quiet);
    let seeds: Vec<String> = found.iter().map(|(bug, seed)| format!("{bug:?} {seed:?}")).collect();
    println!("{}", seeds.join(", "));
    found.retain(|(_, seed)| seed.is_none());
    assert!(found.is_empty(), "nobody finds {found:?}");
}
