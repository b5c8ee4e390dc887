//! What the status says: phase, reason, and the conditions that follow from where the flow stands.
//!
//! kstatus reads `Reconciling` and `Stalled`, which are there only while they are true; Argo CD and `kubectl wait` read the others.

use crds::status::{ExecutorCounts, Phase};

use super::Draft;
use super::condition::{Say, remove, set};

/// Where a flow stands.
pub(super) enum Stand<'a> {
    /// Something is still to do; the phase says how far it is.
    Busy {
        phase: Phase,
        reason: &'a str,
        message: &'a str,
    },
    Suspended,
    Succeeded,
    Failed {
        reason: &'a str,
        message: &'a str,
    },
    /// The spec cannot be run.
    Refused,
}

impl Draft<'_> {
    /// Sets the condition `Accepted`.
    pub(super) fn accepted(&mut self) {
        let (status, reason, message) = match &self.world.acceptance.refusal {
            None => (true, "Planned", "the flow can be run"),
            Some(refusal) => (false, refusal.reason, refusal.message.as_str()),
        };
        self.say("Accepted", status, reason, message);
    }

    /// Sets a condition about the newest generation.
    pub(super) fn say(&mut self, kind: &'static str, status: bool, reason: &str, message: &str) {
        let say = Say { kind, status, reason, message, generation: self.world.flow.generation };
        set(&mut self.status, self.world.now, &say);
    }

    pub(super) fn unsay(&mut self, kind: &str) {
        remove(&mut self.status, kind);
    }

    /// Sets all that follows from where the flow stands.
    pub(super) fn stand(&mut self, stand: &Stand<'_>) {
        let refused = self.world.acceptance.refusal.as_ref();
        let (phase, reason, message) = match *stand {
            Stand::Busy { phase, reason, message } => (phase, reason, message),
            Stand::Suspended => (Phase::Suspended, "SuspendedByUser", "spec.suspend is true"),
            Stand::Succeeded => (Phase::Succeeded, "Succeeded", "the run succeeded"),
            Stand::Failed { reason, message } => (Phase::Failed, reason, message),
            Stand::Refused => {
                refused.map_or((Phase::Failed, "Invalid", ""), |it| (Phase::Failed, it.reason, it.message.as_str()))
            }
        };
        self.status.phase = Some(phase);
        self.status.reason = Some(reason.to_owned());
        self.status.message = (!message.is_empty()).then(|| message.to_owned());
        self.say("Ready", matches!(stand, Stand::Succeeded), reason, message);
        self.only_while(matches!(stand, Stand::Busy { .. }), "Reconciling", reason, message);
        self.only_while(matches!(stand, Stand::Failed { .. } | Stand::Refused), "Stalled", reason, message);
        self.only_while(matches!(stand, Stand::Suspended), "Suspended", reason, message);
    }

    fn only_while(&mut self, holds: bool, kind: &'static str, reason: &str, message: &str) {
        if holds {
            self.say(kind, true, reason, message);
        } else {
            self.unsay(kind);
        }
    }

    /// Sets how many executors there are.
    pub(super) fn counts(&mut self, desired: u32, ready: u32, pending: u32) {
        let summary = format!("{ready}/{desired}");
        self.status.executors = Some(ExecutorCounts { desired, ready, pending, summary });
    }
}
