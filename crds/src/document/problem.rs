//! What is wrong with a flow file, and where.

use std::fmt;

/// A place in a flow file. Line 0: the file as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl Place {
    #[must_use]
    pub fn new(file: &str, line: usize, column: usize) -> Self {
        Self { file: file.to_owned(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (_, 0) => write!(f, "{}", self.file),
            (true, _) => write!(f, "{}:{}", self.line, self.column),
            (false, _) => write!(f, "{}:{}:{}", self.file, self.line, self.column),
        }
    }
}

/// One thing that is wrong: `flow.yaml:12:9: step "words": unknown field "flatmap"; did you mean "flatMap"?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// The step that it is about.
    pub step: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do, or what was probably meant.
    pub help: Option<String>,
}

impl Problem {
    #[must_use]
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, step: None, message: message.into(), help: None }
    }

    /// A problem of the file as a whole: it is absent, unreadable, empty.
    #[must_use]
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self::new(Place::new(file, 0, 0), message)
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    pub fn step(mut self, step: Option<&str>) -> Self {
        self.step = step.map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        if let Some(step) = &self.step {
            write!(f, "step {step:?}: ")?;
        }
        write!(f, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
