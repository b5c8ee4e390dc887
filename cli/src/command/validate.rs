//! `gleamflow validate`: reports every problem of flow files.

use std::path::{Path, PathBuf};

use clap::Args;
use crds::Problem;

use crate::failure::Failure;
use crate::flow::{Flow, Look, Params};
use crate::output;

/// Report every problem of flow files, with file, line and column
///
/// Local files that a flow reads are looked at for the names of their fields; nothing is asked for over a network. Exit code: 0
/// without problems, 2 with some.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The flow files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Warnings are problems too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    params: Params,
}

impl Validate {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let mut found = Vec::new();
        for file in &self.files {
            match self.check(file)? {
                problems if problems.is_empty() => output::print(format!("{}: no problems\n", file.display()))?,
                problems => found.extend(problems),
            }
        }
        if found.is_empty() { Ok(()) } else { Err(Failure::Problems(found)) }
    }

    /// The problems of one file.
    fn check(&self, file: &Path) -> Result<Vec<Problem>, Failure> {
        let flow = match Flow::load(file, &self.params, Look::AtLocalFiles) {
            Ok(flow) => flow,
            Err(Failure::Problems(problems)) => return Ok(problems),
            Err(failure) => return Err(failure),
        };
        for unseen in &flow.unseen {
            output::tell(&unseen.note());
        }
        if self.strict {
            return Ok(flow.warnings);
        }
        flow.warn();
        Ok(Vec::new())
    }
}
