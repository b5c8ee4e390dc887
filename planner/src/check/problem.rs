//! What is wrong with a flow: which field, and once its file is known, where.

use std::fmt;

use crds::{Problem, SourceMap};

/// One thing that is wrong with a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowProblem {
    /// The field, such as `steps[3].map.lua`.
    pub path: String,
    /// The line of the field's text, counted from 1, where the problem is inside it.
    pub line: Option<u32>,
    /// The step that it is about.
    pub step: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do, or what was probably meant.
    pub help: Option<String>,
    /// Whether it is about how parts of the flow go together, not about what stands in the field.
    pub of_flow: bool,
}

impl FlowProblem {
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), ..Self::default() }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// About how parts of the flow go together.
    #[must_use]
    pub fn of_flow(mut self) -> Self {
        self.of_flow = true;
        self
    }

    #[must_use]
    pub fn step(mut self, name: &str) -> Self {
        self.step = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn line(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }

    /// The same, with its place in the flow's file.
    #[must_use]
    pub fn located(&self, places: &SourceMap) -> Problem {
        let place = match self.line {
            Some(line) => places.line_place(&self.path, line as usize),
            None => places.place(&self.path),
        };
        Problem::new(place, self.message.clone()).help(self.help.clone()).step(self.step.as_deref())
    }
}

/// Problems with their places in the flow's file, in the order of the file.
#[must_use]
pub fn locate(problems: &[FlowProblem], places: &SourceMap) -> Vec<Problem> {
    let mut located: Vec<Problem> = problems.iter().map(|problem| problem.located(places)).collect();
    located.sort_by_key(|problem| (problem.place.line, problem.place.column));
    located
}

impl fmt::Display for FlowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.step, self.path.as_str()) {
            (Some(step), _) => write!(f, "step {step:?}: ")?,
            (None, "") => {}
            (None, path) => write!(f, "{path}: ")?,
        }
        write!(f, "{}", self.message)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FlowProblem {}
