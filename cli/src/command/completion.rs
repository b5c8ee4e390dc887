//! `gleamflow completion`: the script that teaches a shell our commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::Request;
use crate::failure::Failure;
use crate::output;

/// Print the completion script of a shell
///
/// For bash: `source <(gleamflow completion bash)`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        // Into memory first: the generator panics where it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Request::command(), "gleamflow", &mut script);
        output::print(&script)
    }
}
