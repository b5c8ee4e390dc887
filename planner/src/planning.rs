//! `planner::plan`: runs the passes and builds the stages.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Decision, Graph, Operations, OutputChannel, Plan, schedule};

use crate::{
    Draft,
    build::{self, Built, Stages},
    cache::{self, Known},
    canonical::canonical,
    estimate, invariants,
    passes::{self, Context, Log, Lua, PASSES, PassName},
    tiers,
};

const MEBIBYTE: u64 = 1 << 20;

/// What a user may change about planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Passes that do not run (`--without-pass`).
    pub without: BTreeSet<PassName>,
    /// The largest side of a join, in bytes, that `broadcast: auto` gives to every task.
    pub broadcast_limit: u64,
    /// Stages that read fewer bytes than this run in one process.
    pub local_limit: u64,
    /// What is known of persisted results, by the name of their collection; empty without a cache.
    pub cache: BTreeMap<String, Known>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            without: BTreeSet::new(),
            broadcast_limit: schedule::BROADCAST_BYTES,
            local_limit: 64 * MEBIBYTE,
            cache: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Whether a pass is switched on.
    #[must_use]
    pub fn runs(&self, pass: PassName) -> bool {
        !self.without.contains(&pass)
    }
}

/// Plans a checked graph. The same graph gives the same plan, whatever the order of its independent steps.
///
/// # Panics
/// In debug builds, where an invariant does not hold behind a pass.
#[must_use]
pub fn plan(graph: Graph, prelude: String, options: &Options) -> Plan {
    let mut checks = Checks { on: cfg!(debug_assertions), watch: &mut |_, _| {} };
    let planned = plan_with(graph, prelude, options, Lua::default(), &mut checks);
    planned.unwrap_or_else(|faults| panic!("the planner broke its own plan: {faults:?}"))
}

/// Plans, and checks every invariant after every pass.
///
/// # Errors
/// What is broken, and after which pass.
pub fn plan_checked(graph: Graph, prelude: String, options: &Options, lua: Lua) -> Result<Plan, Vec<String>> {
    plan_watched(graph, prelude, options, lua, &mut |_, _| {})
}

/// What there is behind a pass: a draft, from `mscr-fusion` on a plan.
#[derive(Debug)]
pub enum InMaking<'a> {
    Draft(&'a mut Draft),
    Plan(&'a mut Plan),
}

/// Called behind every pass that is switched on, before its result is checked: tests plant their bugs there.
pub type Watch<'a> = dyn FnMut(PassName, InMaking<'_>) + 'a;

/// [`plan_checked`], watched.
///
/// # Errors
/// What is broken, and after which pass.
pub fn plan_watched(
    graph: Graph,
    prelude: String,
    options: &Options,
    lua: Lua,
    watch: &mut Watch<'_>,
) -> Result<Plan, Vec<String>> {
    plan_with(graph, prelude, options, lua, &mut Checks { on: true, watch })
}

/// What happens behind each pass.
struct Checks<'a, 'w> {
    on: bool,
    watch: &'a mut Watch<'w>,
}

impl Checks<'_, '_> {
    fn behind(
        &mut self,
        pass: PassName,
        before: Option<&Graph>,
        draft: &mut Draft,
        options: &Options,
    ) -> Result<(), Vec<String>> {
        (self.watch)(pass, InMaking::Draft(draft));
        before.map_or(Ok(()), |before| faultless(pass.as_str(), invariants::behind(pass, before, draft, options)))
    }

    fn done(&mut self, plan: &mut Plan, options: &Options) -> Result<(), Vec<String>> {
        for pass in PASSES.into_iter().filter(|pass| *pass >= PassName::MscrFusion && options.runs(*pass)) {
            (self.watch)(pass, InMaking::Plan(plan));
        }
        if self.on { faultless("building", invariants::of_plan(plan, options)) } else { Ok(()) }
    }
}

fn faultless(after: &str, faults: Vec<String>) -> Result<(), Vec<String>> {
    if faults.is_empty() { Ok(()) } else { Err(faults.iter().map(|fault| format!("after {after}: {fault}")).collect()) }
}

fn plan_with(
    graph: Graph,
    prelude: String,
    options: &Options,
    lua: Lua,
    checks: &mut Checks<'_, '_>,
) -> Result<Plan, Vec<String>> {
    let context = Context { options, prelude: &prelude, lua };
    let mut draft = Draft::new(prepared(graph));
    let mut operations = Operations { initial: draft.graph.operations(), ..Operations::default() };
    if checks.on {
        faultless("expansion", plan::check_graph(&draft.graph))?;
    }
    let mut decisions = reuse(&mut draft, options);
    if checks.on {
        faultless(cache::REUSE, plan::check_graph(&draft.graph))?;
    }
    for pass in PASSES.into_iter().filter(|pass| *pass < PassName::MscrFusion) {
        let before = checks.on.then(|| draft.graph.clone());
        if options.runs(pass) {
            decisions.extend(run(pass, &mut draft, &context));
            checks.behind(pass, before.as_ref(), &mut draft, options)?;
        }
        if pass == PassName::SinkFlattens {
            decisions.extend(settle(&mut draft, &context));
            operations.sunk = draft.graph.operations();
        }
    }
    let Built { draft, stages } = build::build(draft, options);
    let Stages { mscrs, operates, materialized, decisions: told } = stages;
    operations.fused = draft.operations();
    decisions.extend(told);
    let (keep, functions, switches) = (cache::kept(&draft.graph, &options.cache), Vec::new(), Vec::new());
    let graph = draft.graph;
    let mut plan = Plan { graph, prelude, mscrs, operates, materialized, keep, switches, operations, decisions, functions };
    plan.functions = tiers::of(&plan);
    let told = if options.runs(PassName::LocalChoice) { local_choice(&plan, options.local_limit) } else { Vec::new() };
    plan.decisions.extend(told);
    if options.runs(PassName::SwitchJoins) {
        let told = switch_joins(&mut plan, options.broadcast_limit);
        plan.decisions.extend(told);
    }
    checks.done(&mut plan, options)?;
    Ok(plan)
}

/// Canonical ids and sizes. A union that is persisted is kept as what it is made of: it has no rows of its own.
#[must_use]
pub fn prepared(graph: Graph) -> Graph {
    let mut graph = canonical(graph);
    let views: Vec<_> =
        graph.collections.keys().copied().filter(|id| graph.collection(*id).persist && graph.is_view(*id)).collect();
    for view in views {
        for id in graph.leaves(view).into_iter().chain([view]) {
            if let Some(collection) = graph.collections.get_mut(&id) {
                collection.persist = id != view;
            }
        }
    }
    estimate::fill(&mut graph);
    graph
}

/// Before the first pass: what the cache has is read from there.
fn reuse(draft: &mut Draft, options: &Options) -> Vec<Decision> {
    let mut log = Log::new(cache::REUSE);
    if !options.cache.is_empty() {
        cache::reuse(&mut draft.graph, &options.cache, &mut log);
        draft.graph = prepared(std::mem::take(&mut draft.graph));
    }
    log.into_decisions()
}

fn run(pass: PassName, draft: &mut Draft, context: &Context<'_>) -> Vec<Decision> {
    let (after, told) = passes::run(pass, std::mem::take(draft), context);
    *draft = after;
    told
}

/// Behind the last pass that changes the graph: unions of copies merge, ids are canonical again.
fn settle(draft: &mut Draft, context: &Context<'_>) -> Vec<Decision> {
    let merges = context.options.runs(PassName::MergeFlattens);
    let told = if merges { run(PassName::MergeFlattens, draft, context) } else { Vec::new() };
    draft.graph = canonical(std::mem::take(&mut draft.graph));
    estimate::fill(&mut draft.graph);
    told
}

/// Whether each stage is small enough to run in one process.
fn local_choice(plan: &Plan, limit: u64) -> Vec<Decision> {
    let mut log = Log::new(PassName::LocalChoice.as_str());
    for mscr in &plan.mscrs {
        let reads = mscr.inputs.iter().flat_map(|channel| &channel.reads);
        let bytes =
            reads.map(|id| plan.graph.collection(*id).bytes).try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)));
        let group = mscr.outputs.iter().find_map(|output| match output {
            OutputChannel::Group { group, .. } => Some(*group),
            OutputChannel::Pass { .. } => None,
        });
        let node = group.or_else(|| mscr.inputs.iter().flat_map(|channel| &channel.does).next().copied());
        let first = mscr.inputs[0].reads[0];
        let step = &plan.graph.node(node.unwrap_or(plan.graph.collection(first).producer)).step;
        let id = mscr.id;
        match bytes {
            Some(bytes) if bytes < limit => {
                log.did(step, format!("stage {id} reads {} in all: one process will do", estimate::shown(bytes)));
            }
            Some(bytes) => log
                .declined(step, format!("stage {id} reads {}, not less than {}", estimate::shown(bytes), estimate::shown(limit))),
            None => log.declined(step, format!("stage {id} reads inputs of unknown size")),
        }
    }
    log.into_decisions()
}

/// Which shuffled joins wait for the sizes of their sides.
fn switch_joins(plan: &mut Plan, limit: u64) -> Vec<Decision> {
    let mut log = Log::new(PassName::SwitchJoins.as_str());
    for (group, switch) in schedule::switches(plan, limit) {
        let step = plan.graph.node(group).step.clone();
        match switch {
            Ok(switch) => {
                let mut names = schedule::leg_names(plan, group);
                let big = names.remove(switch.big as usize);
                let small = match switch.limit {
                    u64::MAX => "if they fit into its memory".to_owned(),
                    limit => format!("with {} or less each", estimate::shown(limit)),
                };
                log.did(
                    &step,
                    format!(
                        "may switch to broadcast at run time: `{big}` waits until {} measured; {small} they are held whole by every \
                         task, and `{big}` is not shuffled",
                        listed(&names)
                    ),
                );
                plan.switches.push(switch);
            }
            Err(why) => log.declined(&step, format!("shuffled, whatever its sides are measured to have: {why}")),
        }
    }
    log.into_decisions()
}

/// Names in a sentence, with their verb.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last} are", others.join(", ")),
        _ => format!("{} is", quoted.join("")),
    }
}
