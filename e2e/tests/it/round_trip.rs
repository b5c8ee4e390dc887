//! Every example goes through the API server and means the same when it comes back.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use crds::{Document, GleamFlow};
use e2e::{Cluster, root};

use crate::ClusterTest;
use crate::crd;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("round_trip::every_example_comes_back_with_the_same_meaning", every_example_comes_back_with_the_same_meaning)]
}

fn every_example_comes_back_with_the_same_meaning(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let namespace = cluster.namespace("examples")?;
    let mut examples = 0;
    let folder = root().join("examples");
    for entry in fs::read_dir(&folder).context("failed to list examples")? {
        let path = entry.context("failed to list examples")?.path();
        if path.join("flow.yaml").exists() {
            round_trip(cluster, namespace.name(), &path).with_context(|| format!("{}", path.display()))?;
            examples += 1;
        }
    }
    ensure!(examples >= 17, "only {examples} examples were found");
    Ok(())
}

fn round_trip(cluster: &Cluster, namespace: &str, example: &Path) -> Result<()> {
    let file = example.join("flow.yaml");
    let original = parse(&fs::read_to_string(&file).context("failed to read the flow")?)?;
    let name = original.metadata.name.clone().context("the flow has no name")?;
    cluster.kubectl(&["apply", "--namespace", namespace, "-f", &file.to_string_lossy()])?;
    let text = cluster.kubectl(&["get", "gleamflow", &name, "--namespace", namespace, "-o", "yaml"])?;
    let returned = parse(&text)?;
    ensure!(returned.spec == original.spec, "the spec changed:\n{:#?}\n{:#?}", original.spec, returned.spec);
    // What a user does with it next: check it, and see the same plan, beside the same data.
    let copy = tempfile::tempdir().context("failed to make a temporary folder")?;
    let beside = copy.path().join("example");
    copy_folder(example, &beside)?;
    let before = gleamflow(cluster, &beside, "plan")?;
    fs::write(beside.join("flow.yaml"), &text).context("failed to write the flow")?;
    gleamflow(cluster, &beside, "validate")?;
    ensure!(gleamflow(cluster, &beside, "plan")? == before, "the plan changed");
    Ok(())
}

fn parse(text: &str) -> Result<GleamFlow> {
    let parsed = Document::parse(text, "flow.yaml").map_err(|problems| anyhow!("{problems:?}"))?;
    Ok(parsed.flow)
}

/// What `gleamflow COMMAND flow.yaml` prints.
fn gleamflow(cluster: &Cluster, folder: &Path, command: &str) -> Result<String> {
    let mut gleamflow = Command::new(&cluster.prepared().gleamflow);
    let output = gleamflow.current_dir(folder).args([command, "flow.yaml"]).output().context("failed to start gleamflow")?;
    ensure!(output.status.success(), "gleamflow {command} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-R").arg(from).arg(to).status().context("failed to start cp")?;
    ensure!(status.success(), "failed to copy {}", from.display());
    Ok(())
}
