//! Persisted results across runs: what they are made of ([`recipes`]), and plans that read them instead of making them.
//!
//! ```text
//! graph + versions of inputs --recipes--> fingerprints --look-up (not here)--> Known --reuse--> graph without what is not needed
//! ```
//!
//! A fingerprint covers operations, functions, prelude, parameters (they are in the text), side inputs, inputs' versions and
//! the engine's version, recursively; not names of steps, hints, partitions that nobody asked for, or threads. What is not
//! deterministic has none: it is neither kept nor reused, unless the step says `deterministic: true`.

mod reuse;

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Do, Fold, Function, Graph, Ingredient, InputFile, Node, NodeId, Op, Paths, Recipe, Source};
use plan::{Fingerprint, cache::Part};
use sha2::{Digest as _, Sha256};

use crate::prepared;

pub(crate) use reuse::{kept, reuse};

/// Names decisions about the cache. It has no switch but the cache itself.
pub const REUSE: &str = "reuse";

/// Raised whenever an operator comes to make other rows of the same input: results of before are not reused.
const MEANING: u32 = 1;

/// What is known of a persisted collection when a flow is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has no fingerprint: it is neither kept nor reused.
    Never { why: String },
    /// It is in the cache; bytes of its encoded rows.
    There { recipe: Recipe, rows: u64, bytes: u64 },
    /// It is not, and will be kept.
    Missing { recipe: Recipe, why: String },
}

/// What fingerprints depend on beside the graph.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The files of each read step that lists paths, with their versions, or why those cannot be told.
    pub inputs: BTreeMap<String, Result<Vec<InputFile>, String>>,
    /// `--seed`.
    pub seed: u64,
    /// What steps say of `deterministic`.
    pub deterministic: BTreeMap<String, bool>,
}

/// The recipe of each persisted collection, by its name, or why it has none.
#[must_use]
pub fn recipes(graph: &Graph, prelude: &str, world: &World) -> BTreeMap<String, Result<Recipe, String>> {
    let graph = prepared(graph.clone());
    let order = graph.topological().unwrap_or_default();
    let mut made: BTreeMap<CollectionId, Result<Digest, String>> = BTreeMap::new();
    let mut parts: BTreeMap<NodeId, Vec<Ingredient>> = BTreeMap::new();
    for node in order.iter().map(|id| graph.node(*id)) {
        let own = of_node(&graph, node, prelude, world);
        let whole = own.and_then(|ingredients| {
            let digest = whole(node, &ingredients, &made)?;
            parts.insert(node.id, ingredients);
            Ok(digest)
        });
        for (at, output) in node.outputs.iter().enumerate() {
            let digest = whole.clone().map(|digest| hash([&digest[..], &at.to_be_bytes()]));
            made.insert(*output, digest);
        }
    }
    let persisted = graph.collections.values().filter(|collection| collection.persist);
    let recipe = |id: CollectionId, digest: Digest| {
        let needed = ancestors(&graph, graph.collection(id).producer);
        let used = order.iter().filter(|node| needed.contains(node)).filter_map(|node| parts.get(node));
        let engine = Ingredient { step: String::new(), part: Part::Engine, digest: engine() };
        Recipe {
            collection: graph.collection(id).name.clone(),
            fingerprint: Fingerprint::new(digest),
            ingredients: [engine].into_iter().chain(used.flatten().cloned()).collect(),
        }
    };
    persisted.map(|one| (one.name.clone(), made[&one.id].clone().map(|digest| recipe(one.id, digest)))).collect()
}

/// The read steps whose files' versions must be known, with their sources: those that a persisted collection depends on.
#[must_use]
pub fn sources(graph: &Graph) -> Vec<(String, Source)> {
    let persisted = graph.collections.values().filter(|collection| collection.persist);
    let needed: BTreeSet<NodeId> = persisted.flat_map(|collection| ancestors(graph, collection.producer)).collect();
    let nodes = needed.iter().map(|id| graph.node(*id));
    let listed = nodes.filter_map(|node| match &node.op {
        Op::Read(source @ Source::Files { paths: Paths::Listed(_), .. }) => Some((node.step.clone(), source.clone())),
        _ => None,
    });
    listed.collect()
}

/// What to say of a persisted collection that is not in the cache, given what was last kept under its name.
#[must_use]
pub fn why_missing(recipe: &Recipe, former: Option<&Recipe>) -> String {
    match former {
        None => "the cache has no result of it yet".into(),
        Some(former) if former.fingerprint == recipe.fingerprint => "its result is gone from the cache".into(),
        Some(former) => recipe.changes(former),
    }
}

type Digest = [u8; 32];

fn engine() -> String {
    format!("{} {MEANING}", env!("CARGO_PKG_VERSION"))
}

/// A digest of some fields, none of which can run into the next.
fn hash<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update(field.len().to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

fn shown(digest: Digest) -> String {
    Fingerprint::new(digest).to_string()
}

fn ancestors(graph: &Graph, node: NodeId) -> BTreeSet<NodeId> {
    let (mut found, mut open) = (BTreeSet::new(), vec![node]);
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(graph.node(id).reads().map(|read| graph.collection(read).producer));
        }
    }
    found
}

/// A node with all that it reads.
fn whole(node: &Node, own: &[Ingredient], made: &BTreeMap<CollectionId, Result<Digest, String>>) -> Result<Digest, String> {
    let engine = engine();
    let mut fields: Vec<Vec<u8>> = vec![engine.into_bytes()];
    for one in own.iter().filter(|one| one.part != Part::Wiring) {
        let part = match &one.part {
            Part::Input(name) => format!("input {name}"),
            part => format!("{part:?}"),
        };
        fields.extend([part.into_bytes(), one.digest.clone().into_bytes()]);
    }
    for input in &node.inputs {
        fields.extend([b"from".to_vec(), made[input].clone()?.to_vec()]);
    }
    for side in &node.side_inputs {
        fields.push(format!("beside {} {:?}", side.name, side.shape).into_bytes());
        fields.push(made[&side.from].clone()?.to_vec());
    }
    Ok(hash(fields.iter().map(Vec::as_slice)))
}

/// What the rows of a node depend on, other than what it reads from other nodes.
fn of_node(graph: &Graph, node: &Node, prelude: &str, world: &World) -> Result<Vec<Ingredient>, String> {
    repeatable(node, prelude, world)?;
    let ingredient = |part, digest| Ingredient { step: node.step.clone(), part, digest };
    let mut op = node.op.clone();
    let function = function_mut(&mut op).map(std::mem::take);
    let operator = serde_json::to_string(&op).expect("an operator is strings and numbers");
    // Partitions that a step asks for are exact, and pipes see them.
    let operator = format!("{operator} {:?} {:?}", node.partitions, node.on_error);
    let mut found = vec![ingredient(Part::Operator, shown(hash([operator.as_bytes()])))];
    found.push(ingredient(Part::Wiring, wiring(graph, node)));
    if let Some(Function { source, .. }) = function {
        found.push(ingredient(Part::Function, shown(hash([source.as_bytes()]))));
        found.push(ingredient(Part::Prelude, shown(hash([prelude.as_bytes()]))));
        if lua::looks(prelude, &source).random {
            // Random numbers are seeded by run and step, so here the step's name counts.
            found.push(ingredient(Part::Seed, format!("{} {}", world.seed, node.step)));
        }
    }
    for file in files(node, world)? {
        found.push(ingredient(Part::Input(file.name.clone()), file.version.clone()));
    }
    Ok(found)
}

/// For the explanation alone: the names of what a node reads.
fn wiring(graph: &Graph, node: &Node) -> String {
    let names: Vec<&str> = node.reads().map(|id| graph.collection(id).name.as_str()).collect();
    let sides: Vec<String> = node.side_inputs.iter().map(|side| format!("{} {:?}", side.name, side.shape)).collect();
    shown(hash([names.join("\n").as_bytes(), sides.join("\n").as_bytes()]))
}

/// Whether a node makes the same rows of the same rows.
fn repeatable(node: &Node, prelude: &str, world: &World) -> Result<(), String> {
    let said = world.deterministic.get(&node.step).copied();
    let vouch = "say `deterministic: true` there if it always makes the same rows";
    if !node.deterministic || said == Some(false) {
        let kind = match node.op {
            Op::ParallelDo(Do::Pipe { .. } | Do::PipeAsArgs { .. }) => "it is a pipe",
            Op::ParallelDo(Do::ForEach(_)) => "it is a forEach",
            _ => "the step says so",
        };
        return Err(match said {
            Some(false) => format!("`{}` is not deterministic: the step says so", node.step),
            Some(true) | None => format!("`{}` is not deterministic: {kind}; {vouch}", node.step),
        });
    }
    let mut op = node.op.clone();
    if let (Some(function), None | Some(false)) = (function_mut(&mut op), said)
        && let Some(name) = lua::looks(prelude, &function.source).outside
    {
        return Err(format!(
            "`{}` may not be deterministic: its function, or the flow's `lua`, uses `{name}`; {vouch}",
            node.step
        ));
    }
    Ok(())
}

fn files<'w>(node: &Node, world: &'w World) -> Result<&'w [InputFile], String> {
    match &node.op {
        Op::Read(Source::Files { paths: Paths::Rows, .. }) => {
            Err(format!("which files `{}` reads is known only when it runs", node.step))
        }
        Op::Read(Source::Files { paths: Paths::Listed(_), .. }) => match world.inputs.get(&node.step) {
            Some(Ok(files)) => Ok(files),
            Some(Err(why)) => Err(why.clone()),
            None => Err(format!("nobody looked at the files of `{}`", node.step)),
        },
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => Ok(&[]),
    }
}

fn function_mut(op: &mut Op) -> Option<&mut Function> {
    match op {
        Op::ParallelDo(
            Do::Map(function) | Do::FlatMap(function) | Do::Filter(function) | Do::ForEach(function) | Do::Split { function, .. },
        )
        | Op::Combine(Fold::Lua(function))
        | Op::Operate(function) => Some(function),
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) => None,
    }
}
