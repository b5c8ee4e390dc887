//! `gleamflow run`: runs a flow in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use engine::pipe::descendants;
use engine::report::Report;
use engine::run::RunOptions;

use crate::cached::{Cached, Purpose};
use crate::failure::Failure;
use crate::flow::{Flow, Look, Planning};
use crate::interrupt::Watch;
use crate::progress::Progress;
use crate::{heap, machine, output, report, summary};

/// Less is not enough for one task to hold a block of rows.
const LEAST_MEMORY: u64 = 1 << 20;

/// Run a flow here
///
/// Rows of `write.stdout` go to standard output and nothing else does. Exit code: 0 done, 1 the flow failed, 2 the request or the
/// flow file was wrong, 130 interrupted. A failed or interrupted flow leaves no files.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The flow file
    file: PathBuf,
    #[command(flatten)]
    planning: Planning,
    /// Partitions of the steps that do not say themselves [default: as many as the data asks for]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    partitions: Option<u32>,
    /// Worker threads [default: the cores that we may use]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// What sorts, groups, joins and stores may hold before they spill to disk, such as 512Mi
    /// [default: half of the memory of the machine or control group, at most 16Gi]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<usize>,
    /// What is told at the end
    #[arg(long, value_enum, default_value_t = Form::Table)]
    report: Form,
    /// Where spilled rows go while the flow runs [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table for people
    Table,
    /// One JSON object, the last line on standard error, also when the flow fails
    Json,
}

impl Run {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let form = self.report;
        let watch = Watch::begin(move || told(&Failure::Interrupted, None, form));
        let watch = watch.context("failed to watch for signals").map_err(Failure::System)?;
        descendants::adopt_orphans().context("failed to become the parent of orphans").map_err(Failure::System)?;
        let mut reached = None;
        let outcome = self.load_and_run(&watch, &mut reached);
        watch.is_over();
        // Pipes have ended theirs; functions may have started others.
        descendants::end_descendants();
        let failure = match outcome {
            Ok((flow, report)) => {
                output::tell(&match form {
                    Form::Table => summary::table(&report),
                    Form::Json => report::done(&flow.name, &flow.warnings, &report),
                });
                return Ok(());
            }
            // Tasks that end because of it may say so in other words.
            Err(Failure::Flow(_)) if watch.is_signalled() => Failure::Interrupted,
            Err(failure) => failure,
        };
        output::tell(&told(&failure, reached, form));
        Err(Failure::Told(failure.exit_code()))
    }

    /// `reached` is what a run that fails had done.
    fn load_and_run(&self, watch: &Watch, reached: &mut Option<Report>) -> Result<(Flow, Report), Failure> {
        let mut flow = Flow::load(&self.file, &self.planning.params, Look::Everywhere)?;
        flow.warn();
        flow.seen()?;
        let report = self.run(&flow, watch, reached)?;
        Ok((flow, report))
    }

    fn run(&self, flow: &Flow, watch: &Watch, reached: &mut Option<Report>) -> Result<Report, Failure> {
        let cached = flow.cached(&self.planning, Purpose::Run)?;
        let plan = flow.plan(&self.planning, cached.as_ref());
        if watch.is_signalled() {
            return Err(Failure::Interrupted);
        }
        let progress = Progress::new(&plan);
        let options = self.options(&flow.base, cached, watch);
        heap::fit(options.memory);
        let result = engine::run::run(&plan, &options, &progress);
        progress.finish();
        *reached = progress.reached();
        Ok(result?)
    }

    fn options(&self, base: &Path, cached: Option<Cached>, watch: &Watch) -> RunOptions {
        RunOptions {
            base: base.to_owned(),
            scratch: self.scratch.clone(),
            threads: self.threads.map_or_else(machine::default_threads, usize::from),
            memory: self.memory.unwrap_or_else(machine::default_memory),
            partitions: self.partitions,
            task_bytes: plan::schedule::TASK_BYTES,
            seed: self.planning.seed,
            persistence: cached.map(|cached| cached.persistence),
            stop: Arc::clone(&watch.stop),
            cleanup: Arc::clone(&watch.cleanup),
        }
    }
}

/// What is said of a run that did not come to its end.
fn told(failure: &Failure, reached: Option<Report>, form: Form) -> String {
    match form {
        Form::Table => failure.explanation(),
        Form::Json => failure.explanation() + &report::failed(failure, reached),
    }
}

fn memory(text: &str) -> anyhow::Result<usize> {
    let bytes = crds::Quantity::Text(text.to_owned()).bytes()?;
    anyhow::ensure!(bytes >= LEAST_MEMORY, "it must be 1Mi at least");
    Ok(usize::try_from(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_an_amount_of_a_megabyte_or_more() {
        assert_eq!(memory("512Mi").unwrap(), 512 << 20);
        assert_eq!(memory("1Mi").unwrap(), 1 << 20);
        for text in ["0", "1000", "x", "-1Mi", ""] {
            assert!(memory(text).is_err(), "{text}");
        }
    }
}
