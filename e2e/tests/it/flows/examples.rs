//! Every example gives on the cluster what it gives here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use crds::Document;
use e2e::{Cluster, root};

use crate::ClusterTest;
use crate::product::{self, Shared, User, await_complete, open_to_all};
use crate::round_trip::copy_folder;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::every_example_gives_the_same_rows_on_the_cluster", every_example_gives_the_same_rows_on_the_cluster)]
}

/// An example that runs.
pub(crate) struct Running<'cluster> {
    name: String,
    folder: PathBuf,
    shared: Shared<'cluster>,
}

fn every_example_gives_the_same_rows_on_the_cluster(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-examples")?;
    let user = User::new(cluster, namespace.name())?;
    let mut running = Vec::new();
    for entry in fs::read_dir(root().join("examples")).context("failed to list examples")? {
        let folder = entry.context("failed to list examples")?.path();
        if folder.join("flow.yaml").exists() {
            running.push(start(cluster, namespace.name(), folder)?);
        }
    }
    ensure!(running.len() >= 17, "only {} examples were found", running.len());
    let output = |name: &str| user.gleamflow(cluster, &["output", name]);
    let checks = running.iter().map(|example| check(cluster, namespace.name(), &output, example));
    let wrong: Vec<String> = checks.filter_map(Result::err).map(|error| format!("{error:?}")).collect();
    ensure!(wrong.is_empty(), "{} of {} examples:\n{}", wrong.len(), running.len(), wrong.join("\n"));
    Ok(())
}

/// Puts the example's files on a volume, and applies the flow with it.
pub(crate) fn start<'c>(cluster: &'c Cluster, namespace: &str, folder: PathBuf) -> Result<Running<'c>> {
    let file = fs::read_to_string(folder.join("flow.yaml")).context("failed to read the flow")?;
    let parsed = Document::parse(&file, "flow.yaml").map_err(|problems| anyhow!("{problems:?}"))?;
    let mut flow = serde_json::to_value(&parsed.flow).context("failed to write the flow as JSON")?;
    let name = product::text(&flow["metadata"]["name"]);
    let shared = Shared::new(cluster, namespace, &name)?;
    copy_folder(&folder.join("."), shared.path())?;
    open_to_all(shared.path())?;
    flow["spec"]["storage"] = Shared::storage(&name);
    cluster.apply(namespace, &flow)?;
    Ok(Running { name, folder, shared })
}

/// Waits for it and compares what it gives; `output` gives its standard output.
pub(crate) fn check(
    cluster: &Cluster,
    namespace: &str,
    output: &dyn Fn(&str) -> Result<String>,
    example: &Running<'_>,
) -> Result<()> {
    await_complete(cluster, namespace, &example.name)?;
    let results = expected(&example.folder.join("expected"), Path::new(""))?;
    ensure!(!results.is_empty(), "{} says nothing of what it gives", example.name);
    for (path, wanted) in results {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = match file.starts_with("stdout.") {
            true => output(&example.name)?,
            false => data_of(&example.shared.path().join(path.parent().unwrap_or(Path::new(""))))?,
        };
        let lines = |text: &str| match file.contains(".sorted.") {
            true => product::sorted(text),
            false => text.lines().map(str::to_owned).collect(),
        };
        let (found, wanted) = (lines(&found), lines(&wanted));
        ensure!(found == wanted, "{}: {}: {found:?} is not {wanted:?}", example.name, path.display());
    }
    Ok(())
}

/// Results (files of lines): where, and what they must say.
fn expected(folder: &Path, below: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(below)).context("failed to list what is expected")? {
        let path = below.join(entry.context("failed to list what is expected")?.file_name());
        if folder.join(&path).is_dir() {
            found.extend(expected(folder, &path)?);
        } else {
            let text = fs::read_to_string(folder.join(&path)).context("failed to read what is expected")?;
            found.push((path, text));
        }
    }
    Ok(found)
}

/// The data files of a directory of results, one after the other.
fn data_of(folder: &Path) -> Result<String> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let is_data = |path: &&PathBuf| !path.file_name().unwrap_or_default().to_string_lossy().starts_with(['.', '_']);
    let texts = names.iter().filter(is_data).map(fs::read_to_string);
    texts.collect::<Result<String, _>>().with_context(|| format!("failed to read {}", folder.display()))
}
