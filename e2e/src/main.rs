//! `e2e up`: the cluster of the tests, by hand. `e2e images`: the archives of our images.

#![allow(clippy::print_stdout, reason = "what was asked for goes to standard output")]

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::{Cluster, Place, Prepared, User, namespaces, prepare};

/// The test cluster of Gleamflow, by hand
#[derive(Debug, Parser)]
enum Arguments {
    /// Bring a cluster up and start a shell in it, with kubectl, helm and gleamflow; it ends with the shell
    Up {
        /// A command instead of the shell
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Assemble the images and print where their archives are
    Images,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse() {
        Arguments::Up { command } => up(&command),
        Arguments::Images => {
            for image in prepare(&Place::Nowhere(Vec::new()))?.images {
                println!("{}", image.display());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(command: &[String]) -> Result<ExitCode> {
    if namespaces::inside().is_some() {
        return shell(Prepared::carried()?, command);
    }
    match Place::choose() {
        Place::Nowhere(reasons) => bail!("no cluster can be brought up here:\n  {}", reasons.join("\n  ")),
        Place::Kind => shell(prepare(&Place::Kind)?, command),
        Place::Private => namespaces::enter(&prepare(&Place::Private)?),
    }
}

/// Brings the cluster up, and ends it when the shell ends.
fn shell(prepared: Prepared, command: &[String]) -> Result<ExitCode> {
    let cluster = Cluster::up(prepared)?;
    let default = [std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned())];
    let command = if command.is_empty() { &default } else { command };
    eprintln!(
        "e2e: the cluster is up: {} (kubectl, helm and gleamflow are at hand; it ends with this shell)",
        cluster.nodes().join(", ")
    );
    let user = User::new(&cluster)?;
    let status = user.command(&command[0]).args(&command[1..]).status();
    let status = status.with_context(|| format!("failed to start {}", command[0]))?;
    cluster.down()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
