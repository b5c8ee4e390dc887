//! Where the runs that go on write, so that two that write to one place are told of each other.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::accept::{Acceptance, Written};
use crate::decide::Shared;
use crate::view::{FlowKey, FlowView};

/// The places, by flow. A new leader learns of them as it takes the runs up.
#[derive(Debug, Default)]
pub struct Outputs(Mutex<HashMap<FlowKey, Vec<Written>>>);

impl Outputs {
    /// Notes where a flow writes now, and says who else writes there.
    pub(super) fn noted(&self, view: &FlowView, acceptance: &Acceptance) -> Option<Shared> {
        let run = view.status.current_run.as_ref().filter(|run| run.completion_time.is_none() && !view.deleting);
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = run else {
            places.remove(&view.key);
            return None;
        };
        // What is written does not change with a spec that waits for the next run.
        if run.spec_hash == acceptance.hash && !acceptance.writes.is_empty() {
            places.insert(view.key.clone(), acceptance.writes.clone());
        }
        let mine = places.get(&view.key)?;
        let others = places.iter().filter(|(key, _)| **key != view.key);
        let shared = others.flat_map(|(key, theirs)| {
            let same = key.namespace == view.key.namespace;
            let met = move |it: &&Written| theirs.iter().find(|other| it.meets(other, same));
            mine.iter().filter_map(move |it| met(&it).map(|other| (key, it, other)))
        });
        // The same one each time, of several.
        let (key, it, other) = shared.min_by_key(|(key, it, _)| (*key, it.step.clone()))?;
        Some(Shared { step: it.step.clone(), path: it.path.clone(), flow: key.clone(), its_step: other.step.clone() })
    }

    /// The flow is gone.
    pub(super) fn forget(&self, key: &FlowKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::accept::{Claim, Prelude, accept};

    fn flow(namespace: &str, name: &str, path: &str, volume: &Value) -> (FlowView, Acceptance) {
        let steps =
            json!([{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "out", "write": {"text": {"path": path}}}]);
        let spec = json!({"steps": steps, "storage": {"volume": volume}});
        let mut view = FlowView::read(&json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "generation": 1},
            "spec": spec,
        }))
        .unwrap();
        let acceptance = accept(&view.spec, &Prelude::NotAsked, &Claim::NotAsked);
        assert_eq!(acceptance.refusal, None);
        let run = json!({"id": "u-1", "specHash": acceptance.hash, "generation": 1, "attempt": 1});
        view.status.current_run = Some(serde_json::from_value(run).unwrap());
        (view, acceptance)
    }

    #[test]
    fn runs_that_write_to_one_place_are_told_of_each_other() {
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let nfs = json!({"nfs": {"server": "s", "path": "/p"}});
        let check = |a: (&str, &str, &Value), b: (&str, &str, &Value), meet: bool| {
            let outputs = Outputs::default();
            let (a, b) = (flow(a.0, "a", a.1, a.2), flow(b.0, "b", b.1, b.2));
            assert_eq!(outputs.noted(&a.0, &a.1), None);
            let found = outputs.noted(&b.0, &b.1);
            assert_eq!(found.as_ref().map(|shared| &shared.flow), meet.then_some(&a.0.key), "{found:?}");
            assert_eq!(outputs.noted(&a.0, &a.1).is_some(), meet);
        };
        check(("n", "out", &claim), ("n", "/data/out/", &claim), true);
        check(("n", "out", &claim), ("n", "out/more", &claim), true);
        check(("n", "out", &claim), ("n", "output", &claim), false);
        check(("n", "out", &claim), ("m", "out", &claim), false);
        check(("n", "out", &nfs), ("m", "./out", &nfs), true);
        check(("n", "out", &nfs), ("n", "out", &claim), false);
        check(("n", "s3://b/out", &claim), ("m", "s3://b/out/", &nfs), true);
        check(("n", "s3://b/out", &claim), ("m", "s3://c/out", &nfs), false);
    }

    #[test]
    fn a_run_that_is_over_writes_nowhere() {
        let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
        let outputs = Outputs::default();
        let ((mut a, accepted), b) = (flow("n", "a", "out", &claim), flow("n", "b", "out", &claim));
        assert_eq!(outputs.noted(&a, &accepted), None);
        assert!(outputs.noted(&b.0, &b.1).is_some());
        a.status.current_run.as_mut().unwrap().completion_time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(outputs.noted(&a, &accepted), None);
        assert_eq!(outputs.noted(&b.0, &b.1), None);
        let (c, accepted) = flow("n", "c", "out", &claim);
        assert!(outputs.noted(&c, &accepted).is_some());
        outputs.forget(&b.0.key);
        assert_eq!(outputs.noted(&c, &accepted), None);
    }
}
