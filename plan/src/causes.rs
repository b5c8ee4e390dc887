//! An error in words: its message, and those of what caused it.

use std::error::Error;

/// The messages of an error and its causes, without those that the message before has said already: not all crates keep to one
/// message per error.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        if !messages.last().is_some_and(|before| before.contains(&message)) {
            messages.push(message);
        }
        next = error.source();
    }
    messages
}

/// An error with its causes, for one line of a log or a report.
#[must_use]
pub fn in_full(error: &dyn Error) -> String {
    causes(error).join(": ")
}

/// So many fields, in words.
#[must_use]
pub fn fields(count: usize) -> String {
    if count == 1 { "one field".to_owned() } else { format!("{count} fields") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Told {
        message: &'static str,
        source: Option<Box<Told>>,
    }

    #[test]
    fn causes_are_told_in_order_and_none_twice_in_a_row() {
        let chain = |messages: &[&'static str]| {
            let mut told = None;
            for &message in messages.iter().rev() {
                told = Some(Box::new(Told { message, source: told }));
            }
            in_full(&*told.expect("there is a message"))
        };
        assert_eq!(chain(&["failed to read a"]), "failed to read a");
        assert_eq!(chain(&["failed to read a", "no disk: at all", "at all", "b"]), "failed to read a: no disk: at all: b");
    }
}
