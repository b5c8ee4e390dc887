//! Operators that do something wrong: the judge must see it, or its word is worth nothing.

use serde_json::{Value, json};

use super::fake_server::Store;
use crate::naming;
use crate::server::{Kind, Ref};
use crate::view::text;

/// What an operator does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// Each pod is made twice, under another name.
    TwinPods,
    /// Each pod is deleted as soon as it is made.
    RestlessPods,
    /// A pod is made for a run that is over.
    LatePods,
    /// Counters fall.
    ProgressFalls,
    StagesFall,
    SetAsideFalls,
    BytesFall,
    HistoryIsLost,
    RunsAreSkipped,
    /// What is said is not so.
    CompleteEarly,
    FailedThoughCommitting,
    ReadyEarly,
    ReadyWithoutExecutors,
    OldGeneration,
    /// Each event is told twice.
    EventsTwice,
    /// A list that comes after an interruption is added to what was known before.
    GoneIsKept,
    /// Denied requests are taken for done.
    SwallowedDenials,
}

impl Planted {
    /// After an object was made.
    pub(super) fn made(self, store: &mut Store, kind: Kind, made: &Value) {
        if kind != Kind::Pod {
            return;
        }
        let name = text(made, "/metadata/name").unwrap();
        match self {
            Planted::TwinPods => {
                let mut twin = made.clone();
                twin["metadata"]["name"] = format!("{name}-twin").into();
                let _ = store.create(Kind::Pod, "n", &twin, true);
            }
            Planted::RestlessPods => {
                let mut leaving = made.clone();
                leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                store.put(Ref::new(Kind::Pod, "n", name), leaving);
            }
            _ => {}
        }
    }

    /// Before a status is written.
    pub(super) fn written(self, store: &mut Store, object: &Ref, value: &mut Value) {
        let Some(old) = store.objects.get(object).map(|flow| flow["status"].clone()) else { return };
        let status = &mut value["status"];
        let run = text(status, "/currentRun/id").unwrap_or_default().to_owned();
        let same = old["currentRun"]["id"] == status["currentRun"]["id"];
        let committing = store.judge.truths.lock().unwrap().get(&run).is_some_and(|truth| truth.committing);
        match self {
            Planted::ProgressFalls if same && old["progress"].is_string() => status["progress"] = json!("0/6"),
            Planted::StagesFall if same && old["stages"][0]["retried"].as_u64() > Some(0) => {
                status["stages"].as_array_mut().into_iter().flatten().for_each(|stage| stage["retried"] = json!(0));
            }
            Planted::SetAsideFalls if same && old["setAside"].is_array() => status["setAside"] = json!([]),
            Planted::BytesFall if same && old["bytesShuffled"].as_i64() > Some(0) => status["bytesShuffled"] = json!(0),
            Planted::HistoryIsLost => status["history"] = json!([]),
            Planted::RunsAreSkipped if !same && !old["currentRun"].is_null() => {
                let skipped = naming::run_number(&run).unwrap() + 1;
                status["currentRun"]["id"] = format!("{}-{skipped}", naming::run_uid(&run)).into();
            }
            Planted::CompleteEarly => {
                let time = "2026-01-01T00:00:00Z";
                let complete = json!({"type": "Complete", "status": "True", "reason": "Succeeded", "message": "",
                    "observedGeneration": 1, "lastTransitionTime": time});
                status["conditions"].as_array_mut().unwrap().retain(|condition| condition["type"] != "Complete");
                status["conditions"].as_array_mut().unwrap().push(complete);
            }
            Planted::FailedThoughCommitting if committing && status["currentRun"]["result"].is_null() => {
                status["currentRun"]["result"] = json!("Cancelled");
                status["currentRun"]["completionTime"] = json!("2026-01-01T00:00:00Z");
            }
            Planted::ReadyEarly => {
                let conditions = status["conditions"].as_array_mut().into_iter().flatten();
                conditions.filter(|condition| condition["type"] == "Ready").for_each(|ready| ready["status"] = json!("True"));
            }
            Planted::ReadyWithoutExecutors if status["executors"].is_object() => status["executors"]["ready"] = json!(11),
            Planted::OldGeneration => status["observedGeneration"] = json!(-1),
            Planted::LatePods if status["currentRun"]["result"].is_string() => {
                let labels = json!({naming::RUN: run});
                let pod = json!({"metadata": {"name": format!("late-{}", store.version), "labels": labels}});
                let _ = store.create(Kind::Pod, "n", &pod, true);
            }
            _ => {}
        }
    }
}
