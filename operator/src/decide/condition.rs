//! Conditions: set and removed by type; a time moves only when the status does.

use crds::status::GleamFlowStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition says.
#[derive(Clone, Debug)]
pub(super) struct Say<'a> {
    pub(super) kind: &'static str,
    pub(super) status: bool,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    pub(super) generation: i64,
}

/// A condition's message is at most 32 KiB; ours are for people.
const MESSAGE: usize = 4096;

/// Seconds since 1970 as the API server writes them.
pub(super) fn time(now: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(now).unwrap_or_default())
}

/// Sets a condition.
pub(super) fn set(status: &mut GleamFlowStatus, now: i64, say: &Say<'_>) {
    let word = if say.status { "True" } else { "False" };
    let before = status.conditions.iter().find(|condition| condition.type_ == say.kind);
    let since = before.filter(|before| before.status == word).map(|before| before.last_transition_time.clone());
    let condition = Condition {
        type_: say.kind.to_owned(),
        status: word.to_owned(),
        reason: say.reason.to_owned(),
        message: cut(say.message),
        observed_generation: Some(say.generation),
        last_transition_time: since.unwrap_or_else(|| time(now)),
    };
    match status.conditions.iter_mut().find(|condition| condition.type_ == say.kind) {
        Some(place) => *place = condition,
        None => status.conditions.push(condition),
    }
}

/// Removes a condition.
pub(super) fn remove(status: &mut GleamFlowStatus, kind: &str) {
    status.conditions.retain(|condition| condition.type_ != kind);
}

/// A condition by its type.
pub(super) fn find<'a>(status: &'a GleamFlowStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((at, _)) => format!("{}...", &message[..at]),
        None => message.to_owned(),
    }
}
