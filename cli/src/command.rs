//! The commands and what they have in common; one file each.

mod completion;
mod crd;
mod plan;
mod run;
mod schema;
mod validate;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Runs data flows: steps of small Lua functions and shell pipes between sources and sinks, described in one YAML file.
#[derive(Debug, Parser)]
#[command(name = "gleamflow", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Request {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Run),
    Plan(plan::Plan),
    Validate(validate::Validate),
    Crd(crd::Crd),
    Schema(schema::Schema),
    Completion(completion::Completion),
}

impl Command {
    /// Carries the request out.
    pub(crate) fn execute(self) -> Result<(), Failure> {
        match self {
            Command::Run(run) => run.execute(),
            Command::Plan(plan) => plan.execute(),
            Command::Validate(validate) => validate.execute(),
            Command::Crd(crd) => crd.execute(),
            Command::Schema(schema) => schema.execute(),
            Command::Completion(completion) => completion.execute(),
        }
    }
}
