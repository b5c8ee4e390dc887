//! Wrong variants of the machine's rules, for tests alone: the simulation must find every one of them.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// An attempt counts when it is done, named or not.
    CountsUnnamed,
    /// A new leader takes what a slot tells before it has heard the agents.
    ProposesEarly,
    /// Attempts that lost are not refused at their agents.
    FencesNothing,
    /// A lost output is waited for, not made anew.
    WaitsForLost,
    /// Rows that came out otherwise are done over, what was made of them is not.
    ForgetsReaders,
    /// What sinks had of rows that are done over counts.
    KeepsVoidSinks,
    /// A new leader takes any attempt of rows that may come out otherwise.
    TrustsUnknown,
    /// A new leader makes anew what was read and let go of.
    RemakesRead,
    /// Void attempts count.
    ForgetsVoids,
    /// Rows that may come out otherwise are read before all of them are there.
    ReadsTooSoon,
    /// Outputs go when their task is done, read or not.
    ReleasesUnread,
    /// Every leader counts attempts from one.
    RepeatsNumbers,
    /// A connection that broke is waited for, for ever.
    WaitsForSlots,
    /// The loss of an executor counts like an error of a function.
    BlamesFlow,
    /// Errors of functions are forgiven without end.
    ForgivesFlow,
    /// A run that commits can fail.
    FailsLate,
    /// A run that may have recorded that it commits can fail.
    FailsBeside,
    /// Pieces of sinks are taken twice.
    WritesTwice,
    /// What other attempts staged is not removed where one is heard of late.
    LeavesStaged,
    /// A run that is stopped is over at once, whatever it has staged.
    LeavesWithoutDiscard,
    /// Its discard spares what its own attempts staged.
    DiscardsOthersOnly,
    /// A new leader does not see that the run commits.
    ForgetsCommit,
    /// A full disk is no reason to say anything.
    StallsSilently,
    /// A shuffle is cut anew by every leader.
    ForgetsCuts,
}

#[cfg(test)]
pub(super) const ALL: [Bug; 24] = [
    Bug::CountsUnnamed,
    Bug::ProposesEarly,
    Bug::FencesNothing,
    Bug::WaitsForLost,
    Bug::ForgetsReaders,
    Bug::KeepsVoidSinks,
    Bug::TrustsUnknown,
    Bug::RemakesRead,
    Bug::ForgetsVoids,
    Bug::ReadsTooSoon,
    Bug::ReleasesUnread,
    Bug::RepeatsNumbers,
    Bug::WaitsForSlots,
    Bug::BlamesFlow,
    Bug::ForgivesFlow,
    Bug::FailsLate,
    Bug::FailsBeside,
    Bug::WritesTwice,
    Bug::LeavesStaged,
    Bug::LeavesWithoutDiscard,
    Bug::DiscardsOthersOnly,
    Bug::ForgetsCommit,
    Bug::StallsSilently,
    Bug::ForgetsCuts,
];

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Breaks a rule in this thread while `act` runs.
#[cfg(test)]
pub(super) fn with<T>(bug: Bug, act: impl FnOnce() -> T) -> T {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(bug));
    let _restore = Restore;
    act()
}

#[cfg(test)]
pub(super) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
#[inline]
pub(super) const fn has(_: Bug) -> bool {
    false
}
