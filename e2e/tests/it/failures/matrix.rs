//! Who dies, while five flows stand at five moments of theirs.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;

use super::fleet::{ALL, Again, Fleet, Member, Moment, Stood};
use super::hard::TASKS;
use super::kill::{self, Target};
use crate::ClusterTest;
use crate::crd::small_flow;
use crate::pods::SaidWatch;
use crate::product::{self, until};

/// What each flow reads; `GLEAMFLOW_KILL_MEBIBYTES` asks for more, or less.
const MEBIBYTES: u64 = 50;
/// How long a link is cut.
const CUT: Duration = Duration::from_secs(30);

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("failures::killed_executors_cost_the_tasks_they_ran", executors),
        ("failures::executors_without_memory_cost_the_tasks_they_ran", starved),
        ("failures::killed_slots_cost_the_tasks_they_ran", slots),
        ("failures::a_killed_agent_costs_what_it_held", agent),
        ("failures::a_killed_leader_costs_nothing", leader),
        ("failures::a_killed_standby_costs_nothing", standby),
        ("failures::both_operators_killed_cost_nothing", both_operators),
        ("failures::flows_go_on_where_all_is_installed_anew", installed_anew),
        ("failures::evicted_executors_finish_what_they_do", evicted),
        ("failures::a_killed_node_costs_what_was_on_it_and_comes_back_empty", node),
        ("failures::a_link_cut_for_30_s_costs_what_was_behind_it", link),
        ("failures::a_flow_deleted_while_it_commits_is_committed", deleted),
        ("failures::several_at_once_cost_what_they_had", several),
        ("failures::a_leader_that_loses_its_lease_stands_by_without_a_restart", lease),
    ]
}

fn bytes() -> Result<u64> {
    let asked = std::env::var("GLEAMFLOW_KILL_MEBIBYTES").ok().map(|text| text.parse::<u64>()).transpose();
    Ok(asked.context("GLEAMFLOW_KILL_MEBIBYTES")?.unwrap_or(MEBIBYTES) << 20)
}

type Stands = BTreeMap<&'static str, Stood>;

/// The executor of each flow that is to be killed: one whose task waits, where there is one.
fn victims(stands: &Stands) -> BTreeMap<&'static str, Target> {
    let victim = |stood: &Stood| {
        let waits = |target: &&Target| stood.waiting.iter().flatten().any(|pod| *pod == target.pod);
        stood.executors.iter().find(waits).or(stood.executors.first()).cloned()
    };
    stands.iter().filter_map(|(name, stood)| Some((*name, victim(stood)?))).collect()
}

/// Of each gate, the attempts of these pods.
fn of(pods: &[Vec<String>; 3], whose: impl Fn(&str) -> bool) -> [usize; 3] {
    [0, 1, 2].map(|gate| pods[gate].iter().filter(|pod| whose(pod)).count())
}

/// What an agent that is lost with all that it holds, and maybe the executors beside it, may cost a flow.
fn lost_with(stood: &Stood, node: &str) -> Again {
    let was_there = |pod: &str| stood.executors.iter().any(|target| target.pod == pod && target.node == node);
    let lost = of(&stood.came, was_there);
    // Attempts elsewhere that were reading from there go along; and one per slot that began before the loss was known.
    let elsewhere = of(&stood.waiting, |pod| !was_there(pod));
    let unaware = stood.executors.len();
    // The stamping pipe's rows come out otherwise: all its tasks run again, with who read them; and with what they read, if that was
    // let go of, as it is once all of them are done: before the loss, or between the loss and the moment when it is noticed.
    let [map, reduce, last] = match lost[1] {
        0 => lost,
        _ => [lost[0] + TASKS[0], TASKS[1], TASKS[2]],
    };
    Again::AtMost([map + unaware, reduce + elsewhere[1] + unaware, last + elsewhere[2] + unaware])
}

fn nothing(_: &Member) -> Again {
    Again::Exactly([0; 3])
}

fn executors(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "executors", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let (victims, since) = (victims(&stands), Instant::now());
    victims.values().try_for_each(|victim| victim.kill(cluster))?;
    fleet.open()?;
    fleet.finish("executor killed", since, |member| {
        let victim = victims.get(member.name).map(|victim| victim.pod.as_str());
        Again::Exactly(of(&stands[member.name].waiting, |pod| Some(pod) == victim))
    })
}

/// The kernel kills them, and Kubernetes knows why.
fn starved(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "starved", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let mut victims = victims(&stands);
    // Of what is over, an executor may be about to go.
    victims.remove(Moment::Over.name());
    // Where its attempts were given up for the broken connection before Kubernetes told why, only the condition has it, until another
    // executor is there.
    let said = SaidWatch::start(cluster, fleet.namespace())?;
    let since = Instant::now();
    victims.values().try_for_each(|victim| victim.starve(cluster))?;
    for (flow, victim) in &victims {
        // Its pod stays until the run is over.
        until(product::PATIENCE, &format!("{} of {flow} is out of memory", victim.pod), || {
            let pod = cluster.get(fleet.namespace(), &["pod", &victim.pod])?;
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            ensure!(ended.is_null() || ended["reason"] == "OOMKilled", "it ended otherwise: {ended}");
            Ok((!ended.is_null()).then_some(()))
        })?;
        if !stands[flow].waiting.iter().flatten().any(|pod| *pod == victim.pod) {
            continue;
        }
        let mut last = Vec::new();
        let told = until(product::PATIENCE, &format!("{flow} tells that {} was out of memory", victim.pod), || {
            last = said.seen()?;
            last.retain(|(of, _)| of == flow);
            Ok(last.iter().any(|(_, said)| said.contains("OutOfMemory")).then_some(()))
        });
        told.with_context(|| format!("{last:?}"))?;
    }
    fleet.open()?;
    fleet.finish("executor without memory", since, |member| {
        let victim = victims.get(member.name).map(|victim| victim.pod.as_str());
        Again::Exactly(of(&stands[member.name].waiting, |pod| Some(pod) == victim))
    })
}

fn slots(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "slots", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let (victims, since) = (victims(&stands), Instant::now());
    victims.values().try_for_each(|victim| victim.kill_slots(cluster))?;
    fleet.open()?;
    fleet.finish("slot killed", since, |member| {
        let victim = victims.get(member.name).map(|victim| victim.pod.as_str());
        Again::Exactly(of(&stands[member.name].waiting, |pod| Some(pod) == victim))
    })
}

fn agent(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "agent", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let node = busiest(&stands)?;
    let since = Instant::now();
    kill::agent(cluster, &node)?.kill(cluster)?;
    fleet.open()?;
    fleet.finish("agent killed", since, |member| lost_with(&stands[member.name], &node))
}

/// The node on which most was done.
fn busiest(stands: &Stands) -> Result<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for stood in stands.values() {
        for target in &stood.executors {
            *counts.entry(&target.node).or_default() += of(&stood.came, |pod| pod == target.pod).iter().sum::<usize>();
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).context("nothing was done anywhere")?;
    Ok(most.0.to_owned())
}

fn leader(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "leader", bytes()?, &ALL)?;
    fleet.stand()?;
    let operators = kill::operators(cluster)?;
    let since = Instant::now();
    operators.leader.kill(cluster)?;
    fleet.open()?;
    fleet.finish("leader killed", since, nothing)
}

fn standby(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "standby", bytes()?, &ALL)?;
    fleet.stand()?;
    let operators = kill::operators(cluster)?;
    let since = Instant::now();
    operators.standby.kill(cluster)?;
    fleet.open()?;
    fleet.finish("standby killed", since, nothing)
}

fn both_operators(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "operators", bytes()?, &ALL)?;
    fleet.stand()?;
    let operators = kill::operators(cluster)?;
    let since = Instant::now();
    operators.leader.kill(cluster)?;
    operators.standby.kill(cluster)?;
    fleet.open()?;
    fleet.finish("both operators killed", since, nothing)
}

/// Authority, lease and agents go with the release, and all that agents held: executors know nobody any more.
fn installed_anew(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "anew", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    // It is said until the first of the new executors is there, which may be before helm says that it is done.
    let said = SaidWatch::start(cluster, fleet.namespace())?;
    let since = Instant::now();
    product::install_anew(cluster)?;
    for moment in [Moment::Early, Moment::Shuffling, Moment::Late] {
        let (flow, mut now, before) = (moment.name(), Vec::new(), &stands[moment.name()].executors);
        let replaced = until(product::PATIENCE, &format!("other executors of {flow}"), || {
            now = kill::executors(cluster, fleet.namespace(), flow)?;
            let others = now.iter().all(|executor| !before.iter().any(|old| executor.is_same_life(old)));
            Ok((others && now.len() == moment.executors()).then_some(()))
        });
        replaced.with_context(|| format!("{before:?}, now {now:?}"))?;
        let mut last = Vec::new();
        let told = until(product::PATIENCE, &format!("{flow} tells that all was installed anew"), || {
            last = said.seen()?;
            last.retain(|(of, _)| of == flow);
            Ok(last.iter().any(|(_, said)| said.starts_with("OperatorReplaced")).then_some(()))
        });
        told.with_context(|| format!("{last:?}"))?;
    }
    eprintln!("figure: installed anew: other executors after {:.0} s", since.elapsed().as_secs_f64());
    fleet.open()?;
    fleet.finish("installed anew", since, |member| {
        let stood = &stands[member.name];
        Again::AtMost([0, 1, 2].map(|gate| stood.came[gate].len()))
    })
}

fn evicted(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "evicted", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let since = Instant::now();
    for victim in victims(&stands).values() {
        kill::evict(cluster, fleet.namespace(), &victim.pod)?;
    }
    fleet.open()?;
    // They have time to end what they do.
    fleet.finish("executor evicted", since, nothing)
}

fn node(cluster: &Cluster) -> Result<()> {
    let mut fleet = Fleet::begin(cluster, "node", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    // The worst of all nodes: that of the leader.
    let node = kill::operators(cluster)?.leader.node;
    let since = Instant::now();
    cluster.kill_node(&node)?;
    fleet.without(&node);
    fleet.open()?;
    let finished = fleet.finish("node killed, with the leader", since, |member| lost_with(&stands[member.name], &node));
    cluster.start_node(&node)?;
    kill::await_whole(cluster)?;
    finished?;
    fleet.stays_over()
}

fn link(cluster: &Cluster) -> Result<()> {
    let mut fleet = Fleet::begin(cluster, "link", bytes()?, &ALL)?;
    let stands = fleet.stand()?;
    let leader = kill::operators(cluster)?.leader.node;
    let node = busiest_but(&stands, &leader)?;
    let since = Instant::now();
    cluster.cut_link(&node)?;
    fleet.without(&node);
    fleet.open()?;
    sleep(CUT.saturating_sub(since.elapsed()));
    cluster.mend_link(&node)?;
    let finished = fleet.finish("link cut for 30 s", since, |member| lost_with(&stands[member.name], &node));
    kill::await_whole(cluster)?;
    finished?;
    fleet.stays_over()
}

fn busiest_but(stands: &Stands, not: &str) -> Result<String> {
    let mut others: Stands = BTreeMap::new();
    for (name, stood) in stands {
        let executors = stood.executors.iter().filter(|target| target.node != not).cloned().collect();
        others.insert(name, Stood { came: stood.came.clone(), waiting: stood.waiting.clone(), executors });
    }
    busiest(&others)
}

/// Its executor has its grace period to end what has begun.
fn deleted(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "deleted", bytes()?, &[Moment::Committing, Moment::Over])?;
    fleet.stand()?;
    let since = Instant::now();
    fleet.delete()?;
    fleet.open()?;
    fleet.end_whole("deleted", since)
}

/// Who would be started again by Kubernetes for that would be, each time later: where the API server is slow nobody would lead.
fn lease(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    kill::await_fresh(cluster)?;
    let before = kill::operators(cluster)?.leader;
    cluster.cut_link(&before.node)?;
    let next = until(product::PATIENCE, "another leader", || {
        let leads = product::leader(cluster)?;
        Ok((!leads.is_empty() && leads != before.pod).then_some(leads))
    });
    cluster.mend_link(&before.node)?;
    kill::await_whole(cluster)?;
    eprintln!("figure: lease lost: {} led after {}", next?, before.pod);
    let now = kill::running(cluster, product::HOME, "gleamflow.io/role=operator")?;
    let same = now.iter().find(|operator| operator.pod == before.pod).context("its pod is gone")?;
    ensure!(same.is_same_life(&before), "it was started again: {same:?}, before {before:?}");
    let namespace = cluster.namespace("failures-lease")?;
    cluster.apply(namespace.name(), &small_flow("after"))?;
    product::await_complete(cluster, namespace.name(), "after").map(drop)
}

fn several(cluster: &Cluster) -> Result<()> {
    let fleet = Fleet::begin(cluster, "several", bytes()?, &[Moment::Shuffling, Moment::Committing])?;
    let stands = fleet.stand()?;
    let (operators, victims) = (kill::operators(cluster)?, victims(&stands));
    let node = busiest(&stands)?;
    let since = Instant::now();
    operators.leader.kill(cluster)?;
    kill::agent(cluster, &node)?.kill(cluster)?;
    victims.values().try_for_each(|victim| victim.kill(cluster))?;
    fleet.open()?;
    fleet.finish("leader, agent and an executor killed at once", since, |member| {
        let (stood, victim) = (&stands[member.name], victims.get(member.name).map(|victim| victim.pod.as_str()));
        let ran = of(&stood.waiting, |pod| Some(pod) == victim);
        match lost_with(stood, &node) {
            Again::AtMost(lost) | Again::Exactly(lost) => Again::AtMost([0, 1, 2].map(|gate| lost[gate] + ran[gate])),
        }
    })
}
