//! Somebody dies at random, again and again, while hard flows come one after the other. The seed is printed; `GLEAMFLOW_KILL_SEED` and
//! `GLEAMFLOW_KILL_SECONDS` choose another one, and a longer time.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Namespace};

use super::hard::{self, CLAIM, Gates, Input};
use super::kill::{self, Target};
use super::leftovers;
use crate::ClusterTest;
use crate::product::{self, HOME, Shared, await_complete, condition, status, text};

const SECONDS: u64 = 600;
/// On a slow machine less, so that all tests of a cluster end within an hour or so; but never less than this.
const LEAST: u64 = 120;
const ALL_TESTS: u64 = 3000;
const BYTES: u64 = 1 << 20;
/// Flows that run at the same time.
const FLOWS: usize = 3;
/// Between two deaths, at most.
const PAUSE: u64 = 8_000;
/// How long a node or a link stays away, at most.
const OUTAGE: u64 = 35_000;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("failures::random_deaths_cost_no_row", random)]
}

/// Numbers by xorshift: the same seed draws the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit.max(1) as u64).unwrap_or(0)
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }

    fn time(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(usize::try_from(most).unwrap_or(usize::MAX)) as u64)
    }
}

fn asked(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable} is {text:?}"))).transpose()
}

fn random(cluster: &Cluster) -> Result<()> {
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_secs());
    let seed = asked("GLEAMFLOW_KILL_SEED")?.unwrap_or_else(clock);
    let seconds = asked("GLEAMFLOW_KILL_SECONDS")?
        .unwrap_or_else(|| ALL_TESTS.saturating_sub(crate::age().as_secs()).clamp(LEAST, SECONDS));
    eprintln!("figure: random deaths: GLEAMFLOW_KILL_SEED={seed} GLEAMFLOW_KILL_SECONDS={seconds}");
    product::install(cluster)?;
    kill::await_fresh(cluster)?;
    let namespace = cluster.namespace("failures-random")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let input = Input::write(shared.path(), BYTES)?;
    let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut storm =
        Storm { cluster, namespace, shared, input, dice, outage: None, running: Vec::new(), done: 0, deaths: BTreeMap::new() };
    let end = Instant::now() + Duration::from_secs(seconds);
    let raged = storm.rage(end);
    // Whatever happened: those that come after find a whole cluster.
    let mended = storm.end_outage(Instant::now() + Duration::from_secs(3600));
    raged.and(mended).with_context(|| format!("GLEAMFLOW_KILL_SEED={seed}; {:?}", storm.deaths))?;
    storm.calm().with_context(|| format!("GLEAMFLOW_KILL_SEED={seed}; {:?}", storm.deaths))
}

/// Kills what Kubernetes starts again; once it would wait with that for long, takes the whole pod away.
fn end(cluster: &Cluster, target: &Target) -> Result<()> {
    if target.is_worn() {
        return cluster.kubectl(&["delete", "pod", &target.pod, "-n", HOME, "--grace-period=0", "--force"]).map(drop);
    }
    target.kill(cluster)
}

/// What is away, and until when.
#[derive(Debug)]
enum Outage {
    Node { node: String, until: Instant },
    Link { node: String, until: Instant },
}

struct Storm<'c> {
    cluster: &'c Cluster,
    shared: Shared<'c>,
    namespace: Namespace,
    input: Input,
    dice: Dice,
    outage: Option<Outage>,
    running: Vec<String>,
    done: usize,
    deaths: BTreeMap<&'static str, usize>,
}

impl Storm<'_> {
    fn rage(&mut self, end: Instant) -> Result<()> {
        while Instant::now() < end {
            while self.running.len() < FLOWS {
                self.launch()?;
            }
            let pause = self.dice.time(PAUSE);
            sleep(pause);
            self.end_outage(Instant::now())?;
            self.strike()?;
            self.look()?;
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let name = format!("flow-{}", self.done + self.running.len());
        let gates = Gates::new(self.shared.path(), &name, [usize::MAX; 3])?;
        let executors = 1 + self.dice.below(3);
        let delay = self.dice.below(20) as f64 / 10.0;
        self.cluster.apply(self.namespace.name(), &hard::flow(&name, &gates, executors, delay))?;
        self.running.push(name);
        Ok(())
    }

    /// Checks those that are over.
    fn look(&mut self) -> Result<()> {
        for name in self.running.clone() {
            let status = status(self.cluster, self.namespace.name(), &name)?;
            if !status["currentRun"]["completionTime"].is_null() {
                self.over(&name)?;
            }
        }
        Ok(())
    }

    fn over(&mut self, name: &str) -> Result<()> {
        let status = await_complete(self.cluster, self.namespace.name(), name)?;
        ensure!(text(&status["currentRun"]["id"]).ends_with("-1"), "{name} ran twice: {status:#}");
        ensure!(condition(&status, "Failed").is_null(), "{name} is Failed too: {status:#}");
        hard::check(self.shared.path(), name, self.input).with_context(|| format!("{name}: {status:#}"))?;
        self.running.retain(|running| running != name);
        self.done += 1;
        Ok(())
    }

    /// Somebody dies.
    fn strike(&mut self) -> Result<()> {
        let (cluster, namespace) = (self.cluster, self.namespace.name().to_owned());
        let deed = ["executor", "executor", "executor", "slot", "agent", "agent", "leader", "standby", "evict", "node", "link"];
        let deed = deed[self.dice.below(deed.len())];
        // One node or link at a time.
        if matches!(deed, "node" | "link") && self.outage.is_some() {
            return Ok(());
        }
        let struck = match deed {
            "executor" | "slot" | "evict" => {
                let executors = kill::running(cluster, &namespace, "gleamflow.io/role=executor")?;
                match (self.dice.one(&executors), deed) {
                    (None, _) => Ok(()),
                    (Some(target), "executor") => target.kill(cluster),
                    (Some(target), "slot") => target.kill_slots(cluster),
                    (Some(target), _) => kill::evict(cluster, &namespace, &target.pod),
                }
            }
            "agent" => {
                let agents = kill::running(cluster, HOME, "gleamflow.io/role=agent")?;
                self.dice.one(&agents).map_or(Ok(()), |target| end(cluster, target))
            }
            "leader" | "standby" => {
                let leader = product::leader(cluster)?;
                let operators = kill::running(cluster, HOME, "gleamflow.io/role=operator")?;
                let victim = operators.iter().find(|operator| (operator.pod == leader) == (deed == "leader"));
                victim.map_or(Ok(()), |target| end(cluster, target))
            }
            _ => self.take_away(deed == "node"),
        };
        // Who was chosen may have died by itself in between.
        match struck {
            Ok(()) => *self.deaths.entry(deed).or_default() += 1,
            Err(error) => eprintln!("e2e: a {deed} was gone before it could be struck: {error:#}"),
        }
        Ok(())
    }

    fn take_away(&mut self, whole: bool) -> Result<()> {
        let nodes = self.cluster.nodes().to_vec();
        let node = self.dice.one(&nodes).cloned().unwrap_or_default();
        let until = Instant::now() + self.dice.time(OUTAGE);
        if whole {
            self.cluster.kill_node(&node)?;
            self.outage = Some(Outage::Node { node, until });
        } else {
            self.cluster.cut_link(&node)?;
            self.outage = Some(Outage::Link { node, until });
        }
        Ok(())
    }

    fn end_outage(&mut self, now: Instant) -> Result<()> {
        match self.outage.take() {
            Some(Outage::Node { node, until }) if until <= now => self.cluster.start_node(&node),
            Some(Outage::Link { node, until }) if until <= now => self.cluster.mend_link(&node),
            other => {
                self.outage = other;
                Ok(())
            }
        }
    }

    /// All that still runs gets to its end, and nothing is left.
    fn calm(&mut self) -> Result<()> {
        let since = Instant::now();
        for name in self.running.clone() {
            self.over(&name)?;
        }
        eprintln!(
            "figure: random deaths: {:?}; {} flows exact, the last {:.0} s after the last death",
            self.deaths,
            self.done,
            since.elapsed().as_secs_f64()
        );
        kill::await_whole(self.cluster)?;
        let flows: Vec<String> = (0..self.done).map(|number| format!("flow-{number}")).collect();
        let flows: Vec<&str> = flows.iter().map(String::as_str).collect();
        leftovers::none(self.cluster, self.namespace.name(), &[], self.shared.path(), &flows)
    }
}
