//! `gleamflow validate`: reports every problem of flow files.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::flow::{self, Planning};
use crate::output;

/// Report every problem of flow files, with file, line and column
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The flow files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Warnings are problems too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    params: flow::Params,
}
