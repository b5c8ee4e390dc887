//! Where things are in this tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;

/// The root of the tree.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the workspace").to_owned()
}

/// Where everything that this crate makes is kept.
pub(crate) fn kept() -> PathBuf {
    root().join("target/e2e")
}

/// What nodes share: theirs is the host's file system, or it is mounted into them at the same place.
pub(crate) fn shared() -> PathBuf {
    kept().join("shared")
}

/// Builds a program, as part of the workspace so that dependencies are those of all other builds, and says where it is; none if no package has one of that name.
pub(crate) fn program(name: &str) -> Result<Option<PathBuf>> {
    if package_of(name)?.is_none() {
        return Ok(None);
    }
    let mut cargo = Command::new(cargo());
    cargo.args(["build", "--release", "--workspace", "--bin", name, "--message-format", "json-render-diagnostics"]);
    let messages = run_cargo(cargo.stderr(std::process::Stdio::inherit()))?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executable = built.filter(|message| message["target"]["name"] == name).find_map(|message| {
        let path = message["executable"].as_str()?;
        Some(PathBuf::from(path))
    });
    Ok(Some(executable.with_context(|| format!("cargo did not say where it put {name}"))?))
}

/// Like [`command::run`], with cargo's own messages shown.
fn run_cargo(cargo: &mut Command) -> Result<String> {
    let output = cargo.current_dir(root()).output().context("failed to start cargo")?;
    if !output.status.success() {
        bail!("cargo build failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("cargo's messages are not text")
}

/// The package that makes a program.
fn package_of(name: &str) -> Result<Option<String>> {
    let mut cargo = Command::new(cargo());
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let metadata: Value = serde_json::from_str(&command::run(&mut cargo)?).context("cargo's metadata is not JSON")?;
    let is_it = |target: &&Value| target["name"] == name && target["kind"][0] == "bin";
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut makers = packages.filter(|package| package["targets"].as_array().into_iter().flatten().any(|target| is_it(&target)));
    Ok(makers.next().and_then(|package| package["name"].as_str()).map(str::to_owned))
}

/// The cargo that runs us, else the one to be found.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
