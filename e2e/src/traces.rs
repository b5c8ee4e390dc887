//! What a private cluster could leave on the machine outside of its namespaces, looked for behind every run: it is to be nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{cgroup, command};

/// Of network interfaces and network namespaces, these would be ours.
const OURS: [&str; 3] = ["cluster", "node", "to-node"];
/// What Kubernetes' proxy writes into a packet filter first.
const CHAIN: &str = ":KUBE-SERVICES";

/// Everything of our sort that is on the machine now. `run` is the name of a run, `variable` what its processes carry in their environment.
pub(crate) fn look(run: &str, variable: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    found.extend(processes(&format!("{variable}={run}")));
    found.extend(mounts(run));
    found.extend(names(Path::new("/sys/class/net")).map(|name| format!("network interface {name}")));
    found.extend(names(Path::new("/run/netns")).map(|name| format!("network namespace {name}")));
    found.extend(cgroup::of(run).into_iter().map(|group| format!("control group {}", group.display())));
    found.extend(rules());
    found
}

fn processes(carried: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_run = |path: &Path| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == carried.as_bytes())
    };
    let paths = entries.map(|entry| entry.path()).filter(|path| of_run(path));
    paths
        .map(|path| format!("process {}: {}", path.display(), fs::read_to_string(path.join("comm")).unwrap_or_default()))
        .collect()
}

fn mounts(run: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter(|line| line.contains(run)).map(|line| format!("mount {line}")).collect()
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| OURS.iter().any(|ours| name.starts_with(ours)))
}

/// Where the machine has no packet filter, or nobody may read it, nobody can have written to it either.
fn rules() -> Vec<String> {
    let table = command::run(&mut Command::new("iptables-save")).unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name == CHAIN).map(|name| format!("chain {name}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_of_a_run_is_found_while_it_lives() {
        let run = format!("traces-{}", std::process::id());
        let look = || look(&run, "E2E_TRACES");
        let before = look();
        let piped = || Stdio::piped();
        let mut child = Command::new("cat").env("E2E_TRACES", &run).stdin(piped()).stdout(piped()).spawn().unwrap();
        // A process shows its environment only some moments after its parent goes on: what answers has begun.
        child.stdin.as_mut().unwrap().write_all(b"?").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let found: Vec<String> = look().difference(&before).cloned().collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.len() == 1 && found[0].contains(&format!("/proc/{}:", child.id())), "{found:?}");
        assert!(look().difference(&before).next().is_none());
    }
}
