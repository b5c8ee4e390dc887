//! What slots say, before anything is done with it: the functions of a flow may have their say in it, so that nothing is as long
//! as they like. A status that the API server does not take would leave a flow without an end.

use proto::master::FromSlot;

/// Names of pods and nodes, addresses of agents.
const NAME: usize = 253;
/// A failure's words: some of them are in status ten times, beside all else.
const MESSAGE: usize = 8 << 10;

/// The word, shortened where that does no harm; `None`: no slot says such a thing.
pub(super) fn checked(word: FromSlot) -> Option<FromSlot> {
    match word {
        FromSlot::Hello { ref pod, ref node, .. } => (pod.len() <= NAME && node.len() <= NAME).then_some(word),
        FromSlot::Done { ref agent, .. } => (agent.len() <= NAME).then_some(word),
        FromSlot::Failed { attempt, mut failed } => {
            failed.message = shortened(failed.message);
            failed.step = failed.step.filter(|step| step.len() <= NAME);
            Some(FromSlot::Failed { attempt, failed })
        }
        FromSlot::Progress { .. } | FromSlot::Draining => Some(word),
    }
}

/// Its beginning and its end, which are what tells most.
fn shortened(text: String) -> String {
    if text.len() <= MESSAGE {
        return text;
    }
    let (begin, end) = (text.floor_char_boundary(MESSAGE / 4 * 3), text.ceil_char_boundary(text.len() - MESSAGE / 4));
    format!("{} [... {} bytes ...] {}", &text[..begin], end - begin, &text[end..])
}

#[cfg(test)]
mod tests {
    use plan::task::{Attempt, Failed, Fault, TaskId};
    use proto::RunId;

    use super::*;

    #[test]
    fn a_failure_of_megabytes_fits_a_status_and_still_says_what_it_is_about() {
        let attempt = Attempt { task: TaskId::Stage, number: 1 };
        let message = format!("step \"a\" failed: {} at line 3", "\u{e9}".repeat(3 << 20));
        let failed = Box::new(Failed { step: Some("a".to_owned()), message, fault: Fault::Flow });
        let Some(FromSlot::Failed { failed, .. }) = checked(FromSlot::Failed { attempt, failed }) else { panic!("no failure") };
        assert!(failed.message.len() < 2 * MESSAGE, "{}", failed.message.len());
        assert!(failed.message.starts_with("step \"a\" failed: ") && failed.message.ends_with(" at line 3"));
        assert_eq!(failed.step.as_deref(), Some("a"));
    }

    #[test]
    fn names_that_are_none_are_no_slots() {
        let hello = |pod: String| FromSlot::Hello {
            run: RunId::try_from("a".to_owned()).unwrap(),
            pod,
            node: "n".to_owned(),
            slot: 0,
            incarnation: 1,
            busy: None,
        };
        assert!(checked(hello("p".to_owned())).is_some());
        assert!(checked(hello("p".repeat(1 << 20))).is_none());
        let attempt = Attempt { task: TaskId::Stage, number: 1 };
        assert!(checked(FromSlot::Done { attempt, agent: "a".repeat(1000), done: Box::default() }).is_none());
    }
}
