//! Random graphs: every invariant after every pass, passes idempotent, plans independent of run and order; fire and decline counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use planner::{
    Draft, Options, PASSES, PassName,
    passes::{self, Context},
};

use crate::form::{graph, lua, planned};

/// How many graphs an ordinary test run plans; `GLEAMFLOW_PLANNED_GRAPHS` says another number.
const GRAPHS: u64 = 2_000;
const SEED: u64 = 20_100_605;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A flow being made up: statements, and what can be read.
struct Flow {
    random: Random,
    statements: Vec<String>,
    collections: Vec<String>,
    /// Collections to be read once only, by what comes next.
    unread: BTreeSet<String>,
    steps: usize,
}

/// Statements of a random graph of 5 to 60 steps.
pub(crate) fn flow(seed: u64) -> Vec<String> {
    let mut flow =
        Flow { random: Random(seed), statements: Vec::new(), collections: Vec::new(), unread: BTreeSet::new(), steps: 0 };
    let steps = 5 + flow.random.below(56);
    flow.read();
    while flow.steps < steps {
        flow.step();
    }
    for name in flow.unread.clone() {
        if flow.random.chance(80) {
            flow.steps += 1;
            let step = flow.steps;
            flow.statements.push(format!("write w{step} {name}"));
        }
    }
    flow.statements
}

impl Flow {
    fn read(&mut self) {
        let path = self.random.pick(&["p1", "p2", "p3", "p4"]).to_owned();
        let format = self.random.pick(&[
            "",
            "format:csv fields:a,b,c,d",
            "format:csv typed:1 fields:a,b,c,d",
            "format:json columns:a,b,c",
        ]);
        let size = self.random.pick(&["", "@1000", "@20000000", "@80000000"]);
        let words = format!("read path:{path} {format} {size}");
        self.make(&words, &[]);
    }

    /// Mostly what was made lately or is not read yet, so that chains grow.
    fn input(&mut self) -> String {
        let recent = self.collections.len().saturating_sub(6);
        match self.random.below(10) {
            0..=3 if !self.unread.is_empty() => {
                let index = self.random.below(self.unread.len());
                self.unread.iter().nth(index).cloned().unwrap()
            }
            4..=7 => self.collections[recent + self.random.below(self.collections.len() - recent)].clone(),
            _ => self.random.pick(&self.collections).clone(),
        }
    }

    fn make(&mut self, words: &str, inputs: &[String]) -> String {
        self.steps += 1;
        let (step, operator) = (self.steps, words.split(' ').next().unwrap());
        let flags = words.strip_prefix(operator).unwrap();
        let mut name = format!("c{step}");
        let mut result = name.clone();
        if operator == "pd" && self.random.chance(15) {
            name = format!("c{step}b");
            result = format!("(c{step}a, {name})");
        }
        let mut statement = format!("{result} = {operator} s{step} {} {flags}", inputs.join(" "));
        if matches!(operator, "pd" | "fi" | "fm" | "gbk" | "sort" | "join" | "read" | "fl" | "distinct") && self.random.chance(4)
        {
            statement.push_str(" !persist");
        }
        if matches!(operator, "pd" | "fm" | "args" | "pipe") && self.random.chance(24) {
            statement.push_str(" !nd");
        }
        if matches!(operator, "pd" | "fi" | "fm" | "select" | "args") && self.random.chance(6) {
            statement.push_str(" !skip");
        }
        if matches!(operator, "pd" | "fm" | "reduceby" | "gbk") && self.random.chance(20) {
            write!(statement, " ~{}", self.random.pick(&["0.1", "0.5", "2"])).unwrap();
        }
        if operator == "op" || (matches!(operator, "pd" | "fi" | "fm" | "cv") && self.random.chance(12)) {
            statement.push_str(" |");
            for _ in 0..=self.random.below(2) {
                let side = self.input();
                self.unread.remove(&side);
                write!(statement, " {side}").unwrap();
            }
        }
        let twin = !matches!(operator, "read" | "op") && result == name && self.random.chance(8);
        self.statements.push(statement.clone());
        if twin {
            self.steps += 1;
            let (old, new) = (step, self.steps);
            let statement = statement.replacen(&format!("c{old} ="), &format!("c{new} ="), 1);
            self.statements.push(statement.replacen(&format!(" s{old} "), &format!(" s{new} "), 1));
            self.collections.push(format!("c{new}"));
            self.unread.insert(format!("c{new}"));
        }
        for input in inputs {
            self.unread.remove(input);
        }
        if name.ends_with('b') {
            self.collections.push(format!("c{step}a"));
        }
        self.collections.push(name.clone());
        self.unread.insert(name.clone());
        name
    }

    fn function(&mut self) -> String {
        self.random
            .pick(&["as:reads:0", "as:reads:0,1", "as:reads:2", "as:any", "as:other", "as:random", "as:keeps:0,1", "", ""])
            .to_string()
    }

    fn inputs(&mut self, least: usize) -> Vec<String> {
        let count = least + self.random.below(3);
        (0..count).map(|_| self.input()).collect()
    }

    fn step(&mut self) {
        let input = self.input();
        let function = self.function();
        let key = self.random.pick(&["key:0", "key:0", "key:0,1", "key:1"]).to_owned();
        let parts = if self.random.chance(10) { "parts:4" } else { "" };
        match self.random.below(100) {
            0..=7 => self.read(),
            8..=10 => self.pattern(),
            11..=25 => drop(self.make(&format!("pd {function}"), &[input])),
            26..=33 => drop(self.make(&format!("fi {function}"), &[input])),
            34..=38 => drop(self.make(&format!("fm {function}"), &[input])),
            39..=43 => {
                let columns = self.random.pick(&["cols:0,2", "cols:1,0", "cols:0,0,1"]).to_string();
                drop(self.make(&format!("select {columns}"), &[input]));
            }
            44..=53 => {
                let inputs = self.inputs(1);
                drop(self.make("fl", &inputs));
            }
            54..=55 => {
                let inputs = self.inputs(1);
                drop(self.make("flo", &inputs));
            }
            56..=60 => self.grouped(&input, key),
            61..=65 => drop(self.make(&format!("reduceby {key} {parts} {function}"), &[input])),
            66..=69 => drop(self.make(&format!("count {key} {parts}"), &[input])),
            70..=73 => drop(self.make(&format!("distinct {key} {parts}"), &[input])),
            74..=80 => self.join(key, parts),
            81..=82 => {
                let inputs = self.inputs(2);
                drop(self.make(&format!("cogroup {key}"), &inputs));
            }
            83..=84 => drop(self.make("sort by:0", &[input])),
            85 => drop(self.make("limit n:5", &[input])),
            86..=87 => drop(self.make(&format!("hash {key} {parts}"), &[input])),
            88 => drop(self.make("deal", &[input])),
            89 => drop(self.make("pipe", &[input])),
            90 => drop(self.make("args", &[input])),
            91..=92 => drop(self.make("op", &[])),
            93 => drop(self.make("read", &[input])),
            _ => {
                self.steps += 1;
                self.unread.remove(&input);
                let step = self.steps;
                self.statements.push(format!("write w{step} {input}"));
            }
        }
    }

    /// What the rewrites look for, which chance alone makes too rarely.
    fn pattern(&mut self) {
        let read = |flow: &mut Self| flow.make("read path:p9 format:csv fields:a,b,c,d", &[]);
        match self.random.below(6) {
            4 => {
                let rows = read(self);
                let folded = self.make("reduceby key:0", &[rows]);
                let moved = self.make("select cols:1,0", &[folded]);
                let again = self.random.pick(&["gbk key:1", "reduceby key:1", "count key:1", "gbk key:0"]).to_string();
                self.make(&again, &[moved]);
            }
            5 => {
                let legs = [read(self), self.input()];
                let groups = legs.map(|rows| self.make("gbk key:0", &[rows]));
                let again = self.random.pick(&["cogroup key:0", "join key:0 bc:never", "join key:0 kind:full"]).to_string();
                self.make(&again, &groups);
            }
            0 => {
                let shuffle =
                    self.random.pick(&["sort by:1", "reduceby key:0", "count key:0", "distinct key:1", "hash key:0"]).to_string();
                let rows = read(self);
                let shuffled = self.make(&shuffle, &[rows]);
                self.make("fi as:reads:0", &[shuffled]);
            }
            2 => {
                let kind = self.random.pick(&["kind:inner", "kind:left", "kind:full"]).to_string();
                let legs = [read(self), self.input()];
                let inner = self.make(&format!("join key:0 {kind} bc:never"), &legs);
                let outer = [inner, self.input()];
                let joined = self.make(&format!("join key:0 {kind} bc:never"), &outer);
                self.make("fi as:reads:0", &[joined]);
            }
            1 => {
                let rows = [self.make("read path:p7", &[]), self.make("read path:p8", &[])];
                let views = rows.map(|rows| self.make("fm", &[rows]));
                let union = self.make("fl", &views);
                self.steps += 1;
                self.unread.remove(&union);
                let step = self.steps;
                self.statements.push(format!("write w{step} {union}"));
            }
            _ => {
                let rows = read(self);
                let folded = self.make("reduceby key:0", &[rows]);
                let kept = self.make("fi as:other", &[folded]);
                self.make("reduceby key:0", &[kept]);
            }
        }
    }

    fn grouped(&mut self, input: &str, key: &str) {
        let ordered = if self.random.chance(15) { "by:1" } else { "" };
        let group = self.make(&format!("gbk {key} {ordered}"), &[input.to_owned()]);
        for _ in 0..self.random.below(3) {
            self.make("cv", std::slice::from_ref(&group));
        }
    }

    fn join(&mut self, key: &str, parts: &str) {
        let kind = self.random.pick(&["kind:inner", "kind:inner", "kind:left", "kind:right", "kind:full"]).to_owned();
        let wish = self.random.pick(&["", "", "bc:always", "bc:never"]).to_owned();
        let inputs = self.inputs(2);
        self.make(&format!("join {key} {kind} {wish} {parts}"), &inputs);
    }
}

/// The statements in another order, every name before its use.
fn shuffled(statements: &[String], random: &mut Random) -> Vec<String> {
    let defines = |statement: &str| -> Vec<String> {
        let (left, _) = statement.split_once(" = ").unwrap_or(("", statement));
        left.split(['(', ')', ',']).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let mut left: Vec<&String> = statements.iter().collect();
    let mut known: BTreeSet<String> = BTreeSet::new();
    let all: BTreeSet<String> = statements.iter().flat_map(|statement| defines(statement)).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let ready: Vec<usize> = (0..left.len())
            .filter(|index| {
                let right = left[*index].split_once(" = ").map_or(left[*index].as_str(), |(_, right)| right);
                right.split_whitespace().skip(2).all(|word| !all.contains(word) || known.contains(word))
            })
            .collect();
        let statement = left.remove(*random.pick(&ready));
        known.extend(defines(statement));
        order.push(statement.clone());
    }
    order
}

fn idempotent(text: &str) {
    let options = Options::default();
    let context = Context { options: &options, prelude: "", lua: lua() };
    let mut draft = Draft::new(planner::prepared(graph(text)));
    for pass in PASSES {
        let (once, _) = passes::run(pass, draft, &context);
        let (twice, _) = passes::run(pass, once.clone(), &context);
        assert_eq!(plan::text::graph(&once.graph), plan::text::graph(&twice.graph), "{pass} changes its own result of\n{text}");
        assert_eq!(once, twice, "{pass} changes its own result of\n{text}");
        draft = once;
        if pass == PassName::SinkFlattens {
            draft.graph = planner::canonical(draft.graph);
        }
    }
}

#[test]
fn invariants_hold_and_plans_do_not_depend_on_order() {
    let graphs = std::env::var("GLEAMFLOW_PLANNED_GRAPHS").map_or(GRAPHS, |text| text.parse().unwrap());
    println!("{graphs} graphs from seed {SEED}");
    let options = Options::default();
    let mut told: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for number in 0..graphs {
        let statements = flow(SEED + number);
        let text = statements.join("\n");
        let plan = planned(&text, &options);
        for decision in &plan.decisions {
            *told.entry((decision.pass.clone(), decision.did)).or_default() += 1;
        }
        idempotent(&text);
        let again = shuffled(&statements, &mut Random(number)).join("\n");
        let other = planned(&again, &options);
        let (left, right) = (plan::json::render(&plan).to_string(), plan::json::render(&other).to_string());
        assert_eq!(left, right, "of\n{text}\nand of\n{again}");
        assert_eq!(plan, other, "of\n{text}\nand of\n{again}");
    }
    for pass in PASSES {
        let count = |did| told.get(&(pass.as_str().to_owned(), did)).copied().unwrap_or(0);
        println!("{pass}: fired {} times, declined {} times", count(true), count(false));
    }
    for pass in PASSES {
        for did in [true, false] {
            let count = told.get(&(pass.as_str().to_owned(), did)).copied().unwrap_or(0);
            assert!(count >= 100, "{pass} {} only {count} times", if did { "fired" } else { "declined" });
        }
    }
}

#[test]
fn each_pass_can_be_switched_off() {
    for number in 0..300 {
        let text = flow(SEED + 1_000_000 + number).join("\n");
        for pass in PASSES {
            let options = Options { without: BTreeSet::from([pass]), ..Options::default() };
            let plan = planned(&text, &options);
            assert!(plan.decisions.iter().all(|told| told.pass != pass.as_str()), "{pass} is off but told something");
        }
        let options = Options { without: PASSES.into_iter().collect(), ..Options::default() };
        planned(&text, &options);
    }
}

/// How many stages with an operation in them a graph has when some passes are off.
fn stages(graph: &plan::Graph, without: &[PassName]) -> usize {
    let options = Options { without: without.iter().copied().collect(), ..Options::default() };
    let plan = planner::plan(graph.clone(), String::new(), &options);
    plan.mscrs.iter().filter(|mscr| !mscr.is_load()).count()
}

#[test]
fn passes_make_stages_fewer_but_for_what_they_trade() {
    let options = Options::default();
    let context = Context { options: &options, prelude: "", lua: lua() };
    let (logical, physical): (Vec<PassName>, Vec<PassName>) =
        PASSES.into_iter().partition(|pass| *pass <= PassName::SinkFlattens);
    let mut grew: BTreeMap<PassName, Vec<u64>> = BTreeMap::new();
    for number in 0..100 {
        let text = flow(SEED + 2_000_000 + number).join("\n");
        let mut draft = Draft::new(planner::prepared(graph(&text)));
        let mut before = usize::MAX;
        let mut count = |pass: PassName, now: usize| {
            if now > before && pass != physical[0] {
                grew.entry(pass).or_default().push(number);
            }
            before = now;
        };
        for pass in &logical {
            count(*pass, stages(&draft.graph, &logical));
            draft = passes::run(*pass, draft, &context).0;
            count(*pass, stages(&draft.graph, &logical));
        }
        for (place, pass) in physical.iter().enumerate() {
            // With all others off, the count begins anew at the first.
            count(*pass, stages(&draft.graph, &[&logical[..], &physical[place + 1..]].concat()));
        }
    }
    println!("stages grew behind {grew:?}");
    let may = [
        // A union that is read as it stands is one pass over all its inputs; a copy may have to run where its input is made.
        PassName::MergeFlattens,
        PassName::SinkFlattens,
        // What is run once for two stages is stored for the later one.
        PassName::CommonSubexpressions,
        // A side that a shuffled join would have mapped on the way is made before the others are probed with it.
        PassName::BroadcastJoin,
        // Before anything is fused, what stands behind a boundary is a stage of its own.
        PassName::FusionBlocks,
    ];
    assert!(grew.keys().all(|pass| may.contains(pass)), "{grew:?}");
    // A trade that happens now and then; a pass that makes plans worse would show in many.
    assert!(grew.values().all(|graphs| graphs.len() <= 10), "{grew:?}");
}
