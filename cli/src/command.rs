//! The commands and what they have in common; one file each.

mod change;
mod completion;
mod crd;
mod list;
mod logs;
mod output;
mod plan;
mod run;
mod schema;
mod status;
mod validate;
mod why;

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
    List(list::List),
    Status(status::Status),
    Output(output::Output),
    Logs(logs::Logs),
    Rerun(change::Rerun),
    Suspend(change::Suspend),
    Resume(change::Resume),
    Cancel(change::Cancel),
    Why(why::Why),
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
            Command::List(list) => list.execute(),
            Command::Status(status) => status.execute(),
            Command::Output(output) => output.execute(),
            Command::Logs(logs) => logs.execute(),
            Command::Rerun(rerun) => rerun.execute(),
            Command::Suspend(suspend) => suspend.execute(),
            Command::Resume(resume) => resume.execute(),
            Command::Cancel(cancel) => cancel.execute(),
            Command::Why(why) => why.execute(),
        }
    }
}
