//! What a cluster needs, made before it is there: inside of private namespaces there is no network to fetch anything from.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::image::{self, Image};
use crate::{Place, command, packages, tools, workspace};

/// The tag of our images in tests.
pub const IMAGE_TAG: &str = "e2e";

/// Carries [`Prepared`] inside.
const CARRIER: &str = "E2E_PREPARED";

/// What is ready to be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The command line.
    pub gleamflow: PathBuf,
    pub helm: PathBuf,
    pub kubeconform: PathBuf,
    /// The OpenAPI document of Kubernetes.
    pub openapi: PathBuf,
    /// The program that says what NetworkPolicies let through.
    pub policies: PathBuf,
    /// Image archives, for all nodes.
    pub images: Vec<PathBuf>,
}

impl Prepared {
    /// What was prepared outside, where this program is inside.
    pub fn carried() -> Result<Self> {
        let text = std::env::var(CARRIER).with_context(|| format!("{CARRIER} is not set"))?;
        serde_json::from_str(&text).with_context(|| format!("{CARRIER} is not understood"))
    }

    pub(crate) fn carry(&self) -> Result<(&'static str, String)> {
        Ok((CARRIER, serde_json::to_string(self).context("failed to write down what is prepared")?))
    }
}

/// Makes everything that a cluster at `place` needs.
pub fn prepare(place: &Place) -> Result<Prepared> {
    std::fs::create_dir_all(workspace::kept()).context("failed to make target/e2e")?;
    let (gleamflow, helm, policies) = (gleamflow()?, helm()?, tools::POLICIES.build()?);
    let (kubeconform, openapi) = (kubeconform()?, openapi()?);
    let mut images = match place {
        Place::Kind => {
            prepare_kind()?;
            Vec::new()
        }
        Place::Private => {
            packages::install()?;
            tools::KUBE.build()?;
            vec![Image::pause(tools::PAUSE.build()?).assemble()?]
        }
        Place::Nowhere(_) => Vec::new(),
    };
    images.push(Image::shell().assemble()?);
    let (operator, executor, agent) = (program(image::OPERATOR)?, program(image::EXECUTOR)?, program(image::AGENT)?);
    images.push(Image::operator(operator).assemble()?);
    images.push(Image::executor(executor, agent).assemble()?);
    Ok(Prepared { gleamflow, helm, kubeconform, openapi, policies, images })
}

/// The command line, built unless that was done outside.
pub fn gleamflow() -> Result<PathBuf> {
    if let Ok(prepared) = Prepared::carried() {
        return Ok(prepared.gleamflow);
    }
    program("gleamflow")
}

/// A program of ours, built.
fn program(name: &str) -> Result<PathBuf> {
    workspace::program(name)?.with_context(|| format!("no package of the workspace makes {name}"))
}

/// helm, built unless that was done outside.
pub fn helm() -> Result<PathBuf> {
    if let Ok(prepared) = Prepared::carried() {
        return Ok(prepared.helm);
    }
    tools::HELM.build()
}

/// kubeconform, built unless that was done outside.
pub fn kubeconform() -> Result<PathBuf> {
    if let Ok(prepared) = Prepared::carried() {
        return Ok(prepared.kubeconform);
    }
    tools::KUBECONFORM.build()
}

/// The OpenAPI document of Kubernetes, fetched with its sources unless that was done outside.
pub fn openapi() -> Result<PathBuf> {
    if let Ok(prepared) = Prepared::carried() {
        return Ok(prepared.openapi);
    }
    tools::openapi()
}

/// kind itself, where it is not installed.
fn prepare_kind() -> Result<()> {
    if !command::succeeds("kind", &["version"]) {
        tools::KIND.build()?;
    }
    command::run(Command::new("docker").arg("info")).map(drop)
}
