//! Programs in Go, built from the pinned modules `e2e/cluster` and `e2e/tools`; Go's own cache keeps what they are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{command, workspace};

/// How programs are linked: without tables for debuggers, and with the version that Kubernetes' own builds write into theirs, which
/// charts and clients ask a server for. It goes with `e2e/cluster/go.mod`.
const LINK: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=34";

/// A program and the Go package that it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    name: &'static str,
    /// The module's folder in this tree.
    module: &'static str,
    package: &'static str,
}

/// All of Kubernetes, and kubectl.
pub(crate) const KUBE: Tool = Tool { name: "kube", module: "e2e/cluster", package: "./kube" };
/// What holds a pod's namespaces.
pub(crate) const PAUSE: Tool = Tool { name: "pause", module: "e2e/cluster", package: "./pause" };
pub(crate) const HELM: Tool = Tool { name: "helm", module: "e2e/tools", package: "helm.sh/helm/v3/cmd/helm" };
pub(crate) const KUBECONFORM: Tool =
    Tool { name: "kubeconform", module: "e2e/tools", package: "github.com/yannh/kubeconform/cmd/kubeconform" };
/// Says what NetworkPolicies let through.
pub(crate) const POLICIES: Tool = Tool { name: "policies", module: "e2e/tools", package: "./policies" };
pub(crate) const KIND: Tool = Tool { name: "kind", module: "e2e/tools", package: "sigs.k8s.io/kind" };

impl Tool {
    pub(crate) fn path(self) -> PathBuf {
        workspace::kept().join(self.name)
    }

    /// Builds it, unless it is there from the same sources.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let (path, stamp) = (self.path(), workspace::kept().join(format!("{}.stamp", self.name)));
        let wanted = self.sources()?;
        if path.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(path);
        }
        eprintln!("e2e: building {} from Go modules; the first time takes some minutes", self.name);
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-ldflags", LINK, "-o"]).arg(&path).arg(self.package);
        command::run_aloud(go.current_dir(self.module()).env("CGO_ENABLED", "0"))?;
        fs::write(&stamp, wanted).with_context(|| format!("failed to write {}", stamp.display()))?;
        Ok(path)
    }

    fn module(self) -> PathBuf {
        workspace::root().join(self.module)
    }

    /// A digest of all that decides what is built: the module's files and Go's version.
    fn sources(self) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(LINK);
        digest.update(command::run(Command::new("go").arg("version").current_dir(self.module()))?);
        let own = self.package.starts_with('.').then(|| self.module().join(self.package));
        for folder in [Some(self.module()), own].into_iter().flatten() {
            for file in files(&folder)? {
                digest.update(fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
            }
        }
        Ok(hex(&digest.finalize()))
    }
}

/// The OpenAPI document of the Kubernetes that the cluster is made of; it comes with the sources.
pub(crate) fn openapi() -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", "k8s.io/kubernetes"]).current_dir(KUBE.module());
    let module: serde_json::Value = serde_json::from_str(&command::run(&mut go)?).context("go's answer is not JSON")?;
    let folder = module["Dir"].as_str().context("go did not say where k8s.io/kubernetes is")?;
    Ok(Path::new(folder).join("api/openapi-spec/swagger.json"))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
