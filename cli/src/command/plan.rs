//! `gleamflow plan`: shows how a flow would run, without running it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cached::Purpose;
use crate::failure::Failure;
use crate::flow::{Flow, Look, Planning};
use crate::output;

/// Show how a flow would run: its operations, what the planner decided and why, and the stages
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The flow file
    file: PathBuf,
    /// The form of the plan
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    planning: Planning,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

impl Plan {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let flow = Flow::load(&self.file, &self.planning.params, Look::Everywhere)?;
        flow.warn();
        for unseen in &flow.unseen {
            output::tell(&unseen.note());
        }
        let cached = flow.cached(&self.planning, Purpose::Look)?;
        let plan = flow.plan(&self.planning, cached.as_ref());
        output::print(match self.output {
            Form::Text => plan::text::render(flow.graph(), &plan),
            Form::Json => format!("{:#}\n", plan::json::render(&plan)),
            Form::Dot => plan::dot::render(&plan),
            Form::Mermaid => plan::mermaid::render(&plan),
        })
    }
}
