//! Control groups of a private cluster: one below the hierarchy's root for the cluster, below it one per node. They are outside of the
//! namespaces, so they are the one thing that has to be removed in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::until::until;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes a node's group in every hierarchy.
pub(crate) fn make(cluster: &str, node: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let groups = [hierarchy.join(cluster), hierarchy.join(cluster).join(node)];
        for group in groups {
            match fs::create_dir(&group) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("failed to make {}", group.display()));
                }
                Ok(()) | Err(_) => {}
            }
            let above = group.parent().expect("a group is below a hierarchy");
            inherit(above, &group)?;
        }
    }
    Ok(())
}

/// Gives a group what it does not get by itself: processors and memory nodes in version 1, controllers in version 2.
fn inherit(above: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_version_1 = above.join(file).exists() && !above.join("cgroup.controllers").exists();
        if is_version_1 {
            let value =
                fs::read_to_string(above.join(file)).with_context(|| format!("failed to read {file} of {}", above.display()))?;
            write(&group.join(file), value.trim())?;
        }
    }
    let Ok(controllers) = fs::read_to_string(above.join("cgroup.controllers")) else { return Ok(()) };
    for controller in controllers.split_whitespace() {
        write(&above.join("cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

fn write(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("failed to write {value:?} to {}", file.display()))
}

/// A cluster's groups that are there.
pub(crate) fn of(cluster: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(cluster)).filter(|group| group.exists()).collect()
}

/// Removes a cluster's groups; what was in them is dead, or dies now.
pub(crate) fn remove(cluster: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(cluster);
        until(Duration::from_secs(60), "removing control groups", || remove_tree(&group))?;
    }
    Ok(())
}

fn remove_tree(group: &Path) -> Result<()> {
    for below in folders(group) {
        remove_tree(&below)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", group.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The processes of a node's pods, by their ids in our namespace.
pub(crate) fn processes(cluster: &str, node: &str) -> Vec<String> {
    let groups = hierarchies().into_iter().map(|hierarchy| hierarchy.join(cluster).join(node));
    let mut found: Vec<String> = groups.flat_map(|group| processes_below(&group)).collect();
    found.sort();
    found.dedup();
    found
}

/// The processes of one of a node's containers, by its id.
pub(crate) fn container_processes(cluster: &str, node: &str, container: &str) -> Vec<String> {
    let nodes = hierarchies().into_iter().map(|hierarchy| hierarchy.join(cluster).join(node));
    let mut found: Vec<String> =
        nodes.filter_map(|group| named(&group, container)).flat_map(|group| processes_below(&group)).collect();
    found.sort();
    found.dedup();
    found
}

/// The group of that name, somewhere below another.
fn named(group: &Path, name: &str) -> Option<PathBuf> {
    folders(group).into_iter().find_map(|below| {
        let is_it = below.file_name().is_some_and(|its| its == name);
        if is_it { Some(below) } else { named(&below, name) }
    })
}

fn processes_below(group: &Path) -> Vec<String> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<String> = own.lines().map(str::to_owned).collect();
    found.extend(folders(group).iter().flat_map(|below| processes_below(below)));
    found
}

/// The hierarchies that are mounted: one in version 2, one per controller in version 1.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(ROOT)];
    }
    let mut found = folders(Path::new(ROOT));
    // `cpu` and `cpuacct` may be two names of one hierarchy.
    found.retain(|hierarchy| !hierarchy.is_symlink());
    found
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
