//! Docker archives: layers, a config that names them by digest, a manifest that names both. The same content gives the same bytes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{command, tools, workspace};

/// Packs a folder as a layer: sorted, everything root's, without times.
pub(super) fn pack(folder: &Path, layer: &Path) -> Result<()> {
    let unfinished = layer.with_extension(format!("{}.unfinished", std::process::id()));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--create", "--file"]).arg(&unfinished);
    command::run(tar.arg("--directory").arg(folder).arg("."))?;
    fs::rename(&unfinished, layer).with_context(|| format!("failed to write {}", layer.display()))
}

/// How a container of the image starts.
pub(super) fn config(program: Option<String>, user: &str) -> Value {
    json!({
        "User": user,
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "Entrypoint": program.map(|program| vec![program]),
        "WorkingDir": "/",
    })
}

/// Writes the archive of these layers, and says where.
pub(super) fn write(name: &str, layers: &[PathBuf], config: &Value) -> Result<PathBuf> {
    let digests = layers.iter().map(|layer| digest(layer)).collect::<Result<Vec<_>>>()?;
    let ids: Vec<String> = digests.iter().map(|digest| format!("sha256:{digest}")).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids}, "history": vec![json!({"created_by": "e2e"}); ids.len()],
    });
    let config = config.to_string();
    let id = tools::hex(&Sha256::digest(&config));
    let folder = workspace::kept().join("images");
    let file_name = name.replace(['/', ':'], "-");
    let archive = folder.join(format!("{file_name}-{}.tar", &id[..16]));
    if archive.exists() {
        return Ok(archive);
    }
    remove_earlier(&folder, &file_name)?;
    let parts = tempfile::tempdir_in(workspace::kept()).context("failed to make a temporary folder")?;
    let layer_files: Vec<String> = digests.iter().map(|digest| format!("{digest}.tar")).collect();
    for (layer, file) in layers.iter().zip(&layer_files) {
        fs::copy(layer, parts.path().join(file)).with_context(|| format!("failed to copy {}", layer.display()))?;
    }
    let manifest = json!([{"Config": format!("{id}.json"), "RepoTags": [name], "Layers": layer_files}]);
    for (file, text) in [(format!("{id}.json"), config), ("manifest.json".to_owned(), manifest.to_string())] {
        fs::write(parts.path().join(&file), text).with_context(|| format!("failed to write {file}"))?;
    }
    pack(parts.path(), &archive)?;
    Ok(archive)
}

/// Removes archives of what the image was.
fn remove_earlier(folder: &Path, file_name: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries.flatten() {
        let is_earlier = entry.file_name().to_string_lossy().strip_prefix(file_name).is_some_and(|rest| rest.len() == 21);
        if is_earlier {
            fs::remove_file(entry.path()).with_context(|| format!("failed to remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn digest(file: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut open = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    io::copy(&mut open, &mut digest).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(tools::hex(&digest.finalize()))
}

/// This machine's, in Go's words.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
