//! The end of a run: by the master's word, or because it is to stop. What is recorded here never changes again.

use crds::status::{Phase, Run};

use super::condition::{self, Say, time};
use super::report::Stand;
use super::running::Ending;
use super::{Action, Draft, id};
use crate::master::api::{Progress, RunPhase};

impl Draft<'_> {
    /// The master says that the run is over.
    pub(super) fn over(&mut self, run: &Run, progress: &Progress) {
        self.take_over_progress();
        match &progress.phase {
            RunPhase::Failed { reason, message } => match self.asked_to_end(run) {
                // It failed because we stopped it.
                Some(ending) => self.end(run, ending.reason, &ending.message, ending.fails),
                None => self.end(run, reason, message, true),
            },
            RunPhase::Planning | RunPhase::Running | RunPhase::Committing | RunPhase::Succeeded => self.succeeded(run),
        }
    }

    fn asked_to_end(&self, run: &Run) -> Option<Ending> {
        let stopped = self.world.memory.here == super::Here::Stopped(run.id.clone());
        stopped.then(|| self.ending(run).unwrap_or_else(Ending::paused))
    }

    /// The run is to stop: the master first, then its pods, then the record of it.
    pub(super) fn stopping(&mut self, run: &Run, ending: &Ending, taken_up: bool, stopped: bool) {
        let Some(run_id) = id(&run.id) else { return };
        // A new leader takes the run up before it stops it: only then does it know that nothing is being committed.
        if taken_up && !stopped {
            self.actions.push(Action::Stop { run: run_id, why: ending.message.clone() });
        }
        // As long as the master has the run it may need them, to remove what was staged; it says when it is done.
        let pods = if self.world.progress.is_some() { self.pods(&run.id).len() } else { self.remove_pods(run) };
        if stopped && self.world.progress.is_none() && (pods == 0 || ending.fails) {
            return self.end(run, ending.reason, &ending.message, ending.fails);
        }
        self.again(1);
        self.counts(0, 0, 0);
        // (That there is none may be why it is to end.)
        if condition::find(&self.status, "ExecutorsReady").is_some_and(|ready| ready.status == "True") {
            self.unsay("ExecutorsReady");
        }
        let phase = if ending.reason == "Suspended" { Phase::Suspending } else { self.status.phase.unwrap_or(Phase::Running) };
        self.stand(&Stand::Busy { phase, reason: ending.reason, message: &ending.message });
    }

    /// Deletes the run's pods; how many are still there, those on lost nodes aside.
    fn remove_pods(&mut self, run: &Run) -> usize {
        let mut there = 0;
        for pod in self.pods(&run.id) {
            if !pod.deleting && !pod.finished() {
                self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() });
            }
            there += usize::from(!pod.finished() && !self.is_lost(pod));
        }
        there
    }

    fn succeeded(&mut self, run: &Run) {
        let run = self.complete(run, "Succeeded");
        self.status.last_successful_run = Some(run.clone());
        self.terminal("Complete", &run, "Succeeded", "the run succeeded");
        self.stand_after(&run, &Stand::Succeeded);
    }

    /// Where the flow stands when a run is over: as that run ended, unless the newest generation wants another.
    fn stand_after(&mut self, run: &Run, ended: &Stand<'_>) {
        if self.world.acceptance.refusal.is_some() {
            self.stand(&Stand::Refused);
        } else if self.wanted(Some(run)) {
            let message = "the flow has changed or is to run again: its next run begins";
            self.stand(&Stand::Busy { phase: Phase::Pending, reason: "Queued", message });
        } else {
            self.stand(ended);
        }
    }

    /// The run ends otherwise.
    pub(super) fn end(&mut self, run: &Run, reason: &str, message: &str, fails: bool) {
        let run = self.complete(run, reason);
        if fails {
            self.terminal("Failed", &run, reason, message);
            self.stand_after(&run, &Stand::Failed { reason, message });
        } else {
            let (phase, reason) = if reason == "Suspended" { (Phase::Suspending, reason) } else { (Phase::Pending, reason) };
            self.stand(&Stand::Busy { phase, reason, message });
        }
        self.again(1);
    }

    fn complete(&mut self, run: &Run, result: &str) -> Run {
        let run = Run { completion_time: Some(time(self.world.now)), result: Some(result.to_owned()), ..run.clone() };
        self.status.current_run = Some(run.clone());
        self.unsay("ExecutorsReady");
        self.unsay("OutputShared");
        self.counts(0, 0, 0);
        self.again(1);
        run
    }

    /// `Complete` or `Failed`, with the newest generation whose hash is the run's: `kubectl wait` never sees an old success.
    pub(super) fn terminal(&mut self, kind: &'static str, run: &Run, reason: &str, message: &str) {
        let before = condition::find(&self.status, kind).and_then(|condition| condition.observed_generation);
        let same = run.spec_hash == self.world.acceptance.hash && !self.asked_again();
        let generation = if same { self.world.flow.generation } else { before.unwrap_or(run.generation).max(run.generation) };
        condition::set(&mut self.status, self.world.now, &Say { kind, status: true, reason, message, generation });
    }
}
