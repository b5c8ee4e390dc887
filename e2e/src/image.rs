//! Images without docker: what Debian packages hold, then our programs, as an archive that `docker load`, `ctr images import` and
//! `kind load image-archive` take. The Dockerfiles make the same from the same package lists.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::prepare::IMAGE_TAG;
use crate::{command, tools, workspace};

pub(crate) const PAUSE: &str = "localhost/pause:1";
/// The operator's program.
pub(crate) const OPERATOR: &str = "gleamflow-operator";
/// The executor's program, which its image starts with.
pub(crate) const EXECUTOR: &str = "gleamflow-executor";
/// The agent's program, in the same image.
pub(crate) const AGENT: &str = "gleamflow-agent";

/// Makes a root file system from a list of packages; the Dockerfiles call it too.
const ROOT_SCRIPT: &str = "executor-image/debian-root.sh";
/// Nobody's user, in all of our images.
const USER: &str = "65532:65532";

/// What an image is made of.
#[derive(Debug)]
pub(crate) struct Image {
    name: String,
    /// The list of its Debian packages, in this tree.
    packages: Option<&'static str>,
    /// Programs, and where they go; it starts with the first one.
    programs: Vec<(PathBuf, String)>,
    user: &'static str,
}

impl Image {
    pub(crate) fn pause(program: PathBuf) -> Self {
        Self { name: PAUSE.to_owned(), packages: None, programs: vec![(program, "/pause".to_owned())], user: "65535:65535" }
    }

    /// The executor's image before our program is in it: a shell and the usual tools, for tests.
    pub(crate) fn shell() -> Self {
        Self {
            name: format!("gleamflow/shell:{IMAGE_TAG}"),
            packages: Some("executor-image/packages"),
            programs: Vec::new(),
            user: USER,
        }
    }

    pub(crate) fn operator(program: PathBuf) -> Self {
        let name = format!("gleamflow/operator:{IMAGE_TAG}");
        Self { name, packages: Some("operator/packages"), programs: vec![(program, format!("/usr/bin/{OPERATOR}"))], user: USER }
    }

    pub(crate) fn executor(executor: PathBuf, agent: PathBuf) -> Self {
        let name = format!("gleamflow/executor:{IMAGE_TAG}");
        Self {
            name,
            packages: Some("executor-image/packages"),
            programs: vec![(executor, format!("/usr/bin/{EXECUTOR}")), (agent, format!("/usr/bin/{AGENT}"))],
            user: USER,
        }
    }

    /// Writes its archive, unless the same is there, and says where it is.
    pub(crate) fn assemble(&self) -> Result<PathBuf> {
        let mut layers = Vec::new();
        if let Some(list) = self.packages {
            layers.push(debian_layer(&workspace::root().join(list))?);
        }
        for (program, place) in &self.programs {
            layers.push(program_layer(program, place)?);
        }
        let command = self.programs.first().map(|(_, place)| place.clone());
        archive::write(&self.name, &layers, &archive::config(command, self.user))
    }
}

fn layers() -> Result<PathBuf> {
    let folder = workspace::kept().join("layers");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}

/// The layer of a list of packages; made again when the list, the script or the Debian release changes.
fn debian_layer(list: &Path) -> Result<PathBuf> {
    let script = workspace::root().join(ROOT_SCRIPT);
    let mut digest = Sha256::new();
    for file in [list, &script, Path::new("/etc/debian_version")] {
        digest.update(fs::read(file).with_context(|| format!("failed to read {}", file.display()))?);
    }
    let layer = layers()?.join(format!("debian-{}.tar", &tools::hex(&digest.finalize())[..16]));
    if layer.exists() {
        return Ok(layer);
    }
    let root = tempfile::tempdir().context("failed to make a temporary folder")?;
    let make = || command::run(Command::new("sh").arg(&script).arg(list).arg(root.path().join("root")));
    if make().is_err() {
        // The package lists may be missing or old.
        command::run(Command::new("apt-get").args(["update", "-qq"]))?;
        make()?;
    }
    archive::pack(&root.path().join("root"), &layer)?;
    Ok(layer)
}

/// The layer of one program.
fn program_layer(program: &Path, place: &str) -> Result<PathBuf> {
    let root = tempfile::tempdir().context("failed to make a temporary folder")?;
    let (target, name) = (root.path().join(place.trim_start_matches('/')), place.replace('/', "-"));
    let folder = target.parent().expect("the program is in the root folder");
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    fs::copy(program, &target).with_context(|| format!("failed to copy {}", program.display()))?;
    let layer = layers()?.join(format!("program{name}.tar"));
    archive::pack(root.path(), &layer)?;
    Ok(layer)
}
