//! From a flow file to its plan: reads it, looks at its sources, checks it as a whole, plans it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use crds::{Document, Problem};
use planner::{Checked, Facts, PassName, SourceFacts};

use crate::failure::Failure;
use crate::params::{self, Param};
use crate::{output, params::parse};

/// The values of parameters.
#[derive(Clone, Debug, Args)]
pub(crate) struct Params {
    /// Set a parameter of the flow (may be repeated)
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse)]
    given: Vec<Param>,
}

/// What a plan depends on beside the flow.
#[derive(Clone, Debug, Args)]
pub(crate) struct Planning {
    #[command(flatten)]
    pub(crate) params: Params,
    /// Partitions of the steps that do not say themselves [default: as many as the data asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    partitions: Option<u32>,
    /// Plan without this pass (may be repeated), to find out what it does
    #[arg(long = "without-pass", value_name = "NAME")]
    without: Vec<PassName>,
}

impl Planning {
    pub(crate) fn partitions(&self) -> Option<u32> {
        self.partitions
    }
}

/// A flow that has no problems.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) name: String,
    pub(crate) warnings: Vec<Problem>,
    /// The folder of the file: its relative paths resolve there.
    pub(crate) base: PathBuf,
    checked: Checked,
}

impl Flow {
    /// Tells what is no problem yet.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            output::tell(&format!("warning: {warning}\n"));
        }
    }
}
