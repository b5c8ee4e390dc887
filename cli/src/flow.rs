//! From a flow file to its plan: reads it, looks at its sources, checks it as a whole, plans it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use crds::{Document, Problem};
use engine::Stores;
use engine::source::{self, SourceError};
use plan::{Paths, Plan, Source};
use planner::{CheckOptions, Checked, FlowProblem, Options, ParamValues, PassName, SourceFacts};

use crate::cached::{Cached, Purpose};
use crate::failure::Failure;
use crate::output;
use crate::params::{self, Param};

/// The values of parameters.
#[derive(Clone, Debug, Args)]
pub(crate) struct Params {
    /// Set a parameter of the flow (may be repeated)
    ///
    /// A path in the flow that begins with it, and is relative, is relative to the working directory.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = params::parse)]
    given: Vec<Param>,
}

/// What a plan depends on beside the flow.
#[derive(Clone, Debug, Args)]
pub(crate) struct Planning {
    #[command(flatten)]
    pub(crate) params: Params,
    /// Plan without this pass (may be repeated), to find out what it does
    #[arg(long = "without-pass", value_name = "NAME")]
    without: Vec<PassName>,
    /// Keep the results of steps with `persist: true` in this directory, and reuse those of earlier runs that are made of the same
    ///
    /// The same: operations, functions, prelude, parameters, side inputs and contents of inputs, of all steps that they come from.
    /// Results of steps that are not deterministic are made anew. Any file of the directory may be deleted at any time.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Seeds `math.random` of the functions
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Which sources are looked at for the names of their fields and their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Everywhere,
    /// Not at what is on a network.
    AtLocalFiles,
}

/// A flow without problems.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) name: String,
    pub(crate) warnings: Vec<Problem>,
    /// The folder of the file: its relative paths resolve there.
    pub(crate) base: PathBuf,
    /// What was not found where the names of fields are, so that those were taken on trust: not a flow to run.
    pub(crate) unseen: Vec<Unseen>,
    checked: Checked,
}

/// A source that could not be looked at.
#[derive(Debug)]
pub(crate) struct Unseen {
    pub(crate) step: String,
    /// `None`: nobody tried.
    pub(crate) why: Option<SourceError>,
}

impl Unseen {
    /// What that means for a flow that is only shown or checked.
    pub(crate) fn note(&self) -> String {
        let why = self.why.as_ref().map(|error| format!(": {}", plan::in_full(error))).unwrap_or_default();
        format!("note: step {:?} was not looked at, so the names of its fields are not checked{why}\n", self.step)
    }
}

impl Flow {
    /// Reads and checks a flow file.
    pub(crate) fn load(file: &Path, params: &Params, look: Look) -> Result<Flow, Failure> {
        let values = params::by_name(params.given.clone()).map_err(Failure::Request)?;
        let crds::Reading { document, mut problems } = read(file)?;
        let Some(document) = document else { return Err(Failure::Problems(problems)) };
        let directory = working_directory().map_err(Failure::System)?;
        let options =
            CheckOptions { places: Some(&document.places), working_directory: Some(&directory), ..CheckOptions::default() };
        let base = Path::new(&directory).join(file).parent().unwrap_or(Path::new("/")).to_owned();
        match check(&document, &values, options, &base, look) {
            Ok(flow) if problems.is_empty() => return Ok(flow),
            Ok(_) => {}
            Err(found) => problems.extend(planner::locate(&found, &document.places)),
        }
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        Err(Failure::Problems(problems))
    }

    /// Whether all was seen that a run needs.
    ///
    /// # Errors
    /// The first source that could not be looked at.
    pub(crate) fn seen(&mut self) -> Result<(), Failure> {
        let unseen = self.unseen.drain(..).find_map(|unseen| Some((unseen.step, unseen.why?)));
        unseen.map_or(Ok(()), |(step, why)| Err(Failure::Flow(engine::Error::in_step(&step, why))))
    }

    /// The results of earlier runs, where a cache is given.
    pub(crate) fn cached(&self, planning: &Planning, purpose: Purpose) -> Result<Option<Cached>, Failure> {
        let cached = planning.cache.as_ref().map(|dir| Cached::of(self, dir, planning.seed, purpose)).transpose();
        cached.map_err(|error| Failure::System(error.into()))
    }

    /// Plans it.
    pub(crate) fn plan(&self, planning: &Planning, cached: Option<&Cached>) -> Plan {
        let cache = cached.map(|cached| cached.known.clone()).unwrap_or_default();
        let options = Options { without: planning.without.iter().copied().collect(), cache, ..Options::default() };
        planner::plan(self.checked.graph.clone(), self.checked.prelude.clone(), &options)
    }

    /// The graph before the planner's passes.
    pub(crate) fn graph(&self) -> &plan::Graph {
        &self.checked.graph
    }

    /// `spec.lua`.
    pub(crate) fn prelude(&self) -> &str {
        &self.checked.prelude
    }

    /// What steps say of `deterministic`.
    pub(crate) fn deterministic(&self) -> &BTreeMap<String, bool> {
        &self.checked.deterministic
    }

    /// Tells what is no problem yet.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            output::tell(&format!("warning: {warning}\n"));
        }
    }
}

/// The file's flow, where everything stands in it, and what is wrong with it.
fn read(file: &Path) -> Result<crds::Reading, Failure> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(|error| {
        let message = format!("failed to read the flow file: {error}");
        Failure::Problems(vec![Problem::of_file(&name, message)])
    })?;
    Ok(Document::read_bytes(&bytes, &name))
}

fn working_directory() -> anyhow::Result<String> {
    let directory = env::current_dir().context("failed to find the working directory")?;
    directory.into_os_string().into_string().ok().context("the name of the working directory is not UTF-8")
}

/// Looks at the sources, as far as `look` goes, then checks with what was seen.
fn check(
    document: &Document,
    values: &ParamValues,
    options: CheckOptions<'_>,
    base: &Path,
    look: Look,
) -> Result<Flow, Vec<FlowProblem>> {
    let stores = Stores::from_environment();
    let (mut facts, mut unseen) = (planner::Facts::new(), Vec::new());
    let sources = planner::sources_with(&document.flow, values, &options);
    // What is wrong with parameters keeps us from looking; the check finds it again, with all other problems.
    let lenient = sources.is_err();
    for (step, source) in sources.unwrap_or_default() {
        if look == Look::AtLocalFiles && is_remote(&source) {
            unseen.push(Unseen { step, why: None });
            continue;
        }
        match source::inspect(&source, base, &stores) {
            Ok(seen) => {
                facts.insert(step, SourceFacts { fields: seen.fields, bytes: seen.bytes });
            }
            Err(error) => unseen.push(Unseen { step, why: Some(error) }),
        }
    }
    let options = CheckOptions { lenient: lenient || !unseen.is_empty(), ..options };
    let checked = planner::check_with(&document.flow, &facts, values, &options)?;
    if checked.certain {
        // Nothing hung on them. If they are needed at all, the run will say what is wrong with them.
        unseen.clear();
    }
    let warnings = planner::locate(&checked.warnings, &document.places);
    let name = document.flow.metadata.name.clone().unwrap_or_default();
    Ok(Flow { name, warnings, base: base.to_owned(), unseen, checked })
}

fn is_remote(source: &Source) -> bool {
    match source {
        Source::Files { paths: Paths::Listed(paths), .. } => {
            paths.iter().any(|path| !matches!(Stores::local_path(path.as_bytes()), Ok(Some(_))))
        }
        Source::Files { paths: Paths::Rows, .. } | Source::Inline { .. } | Source::Range { .. } | Source::Cached { .. } => false,
    }
}
