//! Why a command did not do what it was asked: told once, here, and turned into an exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crds::Problem;

use crate::{interrupt, output};

/// The end of a command that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for makes no sense: exit 2.
    Request(anyhow::Error),
    /// The flow file has problems: exit 2.
    Problems(Vec<Problem>),
    /// The flow failed: exit 1.
    Flow(engine::Error),
    /// Something that the command itself needs from the system: exit 1.
    System(anyhow::Error),
    /// Standard output does not take what the command prints: exit 1.
    Stdout(io::Error),
    /// A signal stopped the flow: exit 130.
    Interrupted,
    /// All has been said already.
    Told(u8),
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Failure {
        if matches!(error, engine::Error::Interrupted) { Failure::Interrupted } else { Failure::Flow(error) }
    }
}

impl Failure {
    /// Says it on standard error; gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        output::tell(&self.explanation());
        ExitCode::from(self.exit_code())
    }

    /// With what it was met at, where it does not say so yet.
    pub(crate) fn context(self, attempt: String) -> Failure {
        match self {
            Failure::Request(error) => Failure::Request(error.context(attempt)),
            Failure::System(error) => Failure::System(error.context(attempt)),
            other => other,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Request(_) | Failure::Problems(_) => 2,
            Failure::Flow(_) | Failure::System(_) | Failure::Stdout(_) => 1,
            Failure::Interrupted => interrupt::INTERRUPTED,
            Failure::Told(code) => *code,
        }
    }

    /// The lines that a person reads.
    pub(crate) fn explanation(&self) -> String {
        match self {
            Failure::Request(error) | Failure::System(error) => chain(error.as_ref()),
            Failure::Flow(error) => chain(error),
            Failure::Stdout(error) => format!("error: failed to write to standard output\n  {error}\n"),
            Failure::Problems(problems) => listed(problems),
            Failure::Interrupted => "interrupted: nothing was written\n".to_owned(),
            Failure::Told(_) => String::new(),
        }
    }
}

/// A line per problem, and how many they are.
fn listed(problems: &[Problem]) -> String {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text.push_str(&match problems.len() {
        1 => "1 problem\n".to_owned(),
        many => format!("{many} problems\n"),
    });
    text
}

/// The error, then its causes on lines of their own.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut lines = plan::causes(error).into_iter();
    let mut text = format!("error: {}\n", lines.next().unwrap_or_default());
    for cause in lines {
        // A Lua message or a command's own words may have several lines.
        text.push_str(&format!("  {}\n", cause.trim_end().replace('\n', "\n  ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_told_once_each_cause_on_its_line() {
        let cause = io::Error::other("attempt to index a nil value\nat line 2");
        let error = engine::Error::Step {
            step: "words".to_owned(),
            origin: Some("books/a.txt:3".to_owned()),
            row: Some("(nil)".to_owned()),
            source: Box::new(cause),
        };
        let expected =
            "error: step \"words\" failed at books/a.txt:3 on row (nil)\n  attempt to index a nil value\n  at line 2\n";
        assert_eq!(Failure::from(error).explanation(), expected);
    }

    #[test]
    fn an_interrupted_run_is_no_failed_flow() {
        assert_eq!(Failure::from(engine::Error::Interrupted).exit_code(), 130);
        assert_eq!(Failure::from(engine::Error::Corrupt("torn")).exit_code(), 1);
    }
}
