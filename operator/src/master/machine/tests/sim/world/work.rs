//! What tasks do: fetch, make rows, put them, stage, commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::task::{
    Answer, Attempt, Done, Facts, Failed, Fault, Held, Manifest, MapInput, ReduceInput, Size, Split, StagedSink, Task, TaskId,
    Work,
};
use plan::{InputFile, NodeId, Op, Recipe, schedule};

use super::super::content::{self, Filled, Token, Worker};
use super::slots::Work as Busy;
use super::{Item, World};
use crate::master::machine::event::{Event, SlotId};

type Range = (Option<plan::task::Place>, Option<plan::task::Place>);

impl World {
    pub(super) fn finish(&mut self, slot: usize, incarnation: u64, task: Box<Task>, output: String) {
        let state = &self.slots[slot];
        let current = matches!(&state.work, Busy::Busy(attempt) if *attempt == task.attempt);
        if !state.alive || state.incarnation != incarnation || !current {
            return;
        }
        if let Some(until) = self.no_room(&task, &output) {
            self.slots[slot].blocked = true;
            return self.at(until, Item::Finish { slot, incarnation, task, output });
        }
        let attempt = task.attempt;
        let event = match self.execute(slot, &task, &output) {
            Ok(done) => Event::Done { slot: SlotId(0), attempt, agent: output, done: Box::new(done) },
            Err(fault) => {
                self.volume.gives_up(attempt);
                let failed = Failed { step: Some("a-step".to_owned()), message: format!("{fault:?} of row 7"), fault };
                Event::Failed { slot: SlotId(0), attempt, failed: Box::new(failed) }
            }
        };
        self.finished(slot, attempt, event);
    }

    /// Until when an output finds no room.
    fn no_room(&mut self, task: &Task, output: &str) -> Option<Duration> {
        let puts = matches!(task.attempt.task, TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. });
        let at = self.agent(output).filter(|_| puts)?;
        let (now, agent) = (self.now, &mut self.agents[at]);
        agent.waiting = agent.full_until > now;
        agent.waiting.then_some(agent.full_until)
    }

    fn execute(&mut self, slot: usize, task: &Task, output: &str) -> Result<Done, Fault> {
        self.may_fail(task)?;
        let node = self.slots[slot].node;
        let (input, range) = inputs(&task.work);
        let tables: Vec<Held> = task.tables.values().flatten().cloned().collect();
        let all: Vec<&Held> = input.iter().chain(&tables).chain(task.sides.values().flatten()).collect();
        self.check_input(task, &input);
        self.check_input(task, &tables);
        let lost: BTreeSet<Attempt> =
            all.iter().filter(|held| !self.is_given(node, task, held)).map(|held| held.attempt).collect();
        if !lost.is_empty() {
            return Err(Fault::Lost(lost.into_iter().collect()));
        }
        self.read.insert(task.attempt, all.iter().map(|held| held.attempt).collect());
        let mut rows = self.rows(task, &input);
        if let Some((lower, upper)) = range {
            rows.retain(|token| {
                let place = content::place(*token);
                lower.as_ref().is_none_or(|lower| place >= *lower) && upper.as_ref().is_none_or(|upper| place < *upper)
            });
        }
        let worker = self.worker.clone();
        let plan = worker.as_deref().map(|worker| &worker.plan);
        for (collection, held) in &task.sides {
            let mut ids: Vec<u64> = self.rows(task, held).iter().map(|token| token.id).collect();
            ids.sort_unstable();
            assert_eq!(ids, content::expected(plan.unwrap(), *collection), "side input {collection} of {}", task.attempt);
        }
        if let Work::Reduce { input: ReduceInput::Part { part, of, .. }, .. } = &task.work {
            let ours = |token: &Token| schedule::part_of(content::mark(*token), *of as usize) == *part as usize;
            rows.retain(ours);
        }
        let mut tables: BTreeMap<NodeId, Vec<Token>> = BTreeMap::new();
        for (group, held) in &task.tables {
            let rows = self.rows(task, held);
            let mut ids: Vec<u64> = rows.iter().map(|token| token.id).collect();
            ids.sort_unstable();
            assert_eq!(ids, content::small(plan.unwrap(), *group), "the small sides of {group} for {}", task.attempt);
            tables.insert(*group, rows);
        }
        let (done, pieces) = self.make(task, (rows, &tables), worker.as_deref())?;
        self.put(node, task, output, (&done, pieces))?;
        Ok(done)
    }

    fn may_fail(&mut self, task: &Task) -> Result<(), Fault> {
        let id = task.attempt.task;
        let fails = self.flow_faults.entry(id).or_default();
        let poisoned = self.faults.poison && matches!(id, TaskId::Map { at: 0, .. });
        if poisoned || *fails < self.faults.flow.min(3) && self.now < super::TROUBLE && self.random.chance(5) {
            *fails += 1;
            return Err(Fault::Flow);
        }
        Ok(())
    }

    /// Nothing is to be read twice, and of a task one attempt alone.
    fn check_input(&self, task: &Task, input: &[Held]) {
        let mut seen = BTreeSet::new();
        let mut attempts: BTreeMap<TaskId, u32> = BTreeMap::new();
        // A collection may be read several times by a union with itself: whole pieces, in different places.
        let single = matches!(task.work, Work::Reduce { .. } | Work::Stage { .. });
        for held in input {
            let first = seen.insert((held.attempt, held.piece, held.first));
            assert!(first || !single, "{} reads {} twice", task.attempt, held.attempt);
            let number = *attempts.entry(held.attempt.task).or_insert(held.attempt.number);
            assert_eq!(number, held.attempt.number, "{} reads two attempts of {}", task.attempt, held.attempt.task);
        }
    }

    /// Whether a piece can be fetched from a node.
    fn is_given(&self, node: usize, task: &Task, held: &Held) -> bool {
        let Some(at) = self.agent(&task.agents[held.agent as usize]) else { return false };
        let cut = at != node && (self.is_cut(at) || self.is_cut(node));
        !cut && self.agents[at].held.get(&held.attempt).is_some_and(|(named, ..)| *named)
    }

    fn rows(&self, task: &Task, held: &[Held]) -> Vec<Token> {
        let of = |held: &Held| {
            let at = self.agent(&task.agents[held.agent as usize]).unwrap();
            let (_, _, pieces) = &self.agents[at].held[&held.attempt];
            pieces[held.piece as usize].frames[held.first as usize..held.end as usize].concat()
        };
        held.iter().flat_map(of).collect()
    }

    fn put(&mut self, node: usize, task: &Task, output: &str, (done, pieces): (&Done, Vec<Filled>)) -> Result<(), Fault> {
        let Some(at) = self.agent(output) else { return Err(Fault::Infrastructure) };
        let unreachable = at != node && (self.is_cut(at) || self.is_cut(node));
        let agent = &mut self.agents[at];
        // As the agent's store has it: attempts before the winner's are refused, and the winner's own once it is let go.
        let lost = agent
            .held
            .iter()
            .any(|(held, (named, ..))| *named && held.task == task.attempt.task && held.number >= task.attempt.number);
        if unreachable || agent.fenced.contains(&task.attempt) || lost {
            return Err(Fault::Infrastructure);
        }
        agent.held.insert(task.attempt, (false, done.clone(), pieces));
        Ok(())
    }

    fn make(
        &mut self,
        task: &Task,
        (rows, tables): (Vec<Token>, &BTreeMap<NodeId, Vec<Token>>),
        worker: Option<&Worker>,
    ) -> Result<(Done, Vec<Filled>), Fault> {
        let plan = worker.map(|worker| &worker.plan);
        let answer = |answer| Ok((Done { answer: Some(answer), ..Done::default() }, Vec::new()));
        match &task.work {
            Work::Inspect { sources, versions } => {
                let fields = |step: &String| self.headers.iter().find(|(name, _)| name == step).map(|(_, fields)| fields.clone());
                let facts = |step: &String| Facts { fields: fields(step), bytes: Some(1 << 30), ..Facts::default() };
                let mut found: BTreeMap<String, Facts> = sources.iter().map(|(step, _)| (step.clone(), facts(step))).collect();
                for (step, _) in versions {
                    let file = InputFile { name: step.clone(), version: "1".to_owned() };
                    found.entry(step.clone()).or_default().versions = Some(Ok(vec![file]));
                }
                answer(Answer::Facts(found))
            }
            Work::LookUp { recipes } => {
                // Some are there: the same ones whoever asks.
                let there = |recipe: &Recipe| recipe.collection.len().is_multiple_of(2).then_some(Size { rows: 1, bytes: 1 });
                let found =
                    |recipe: &Recipe| (recipe.collection.clone(), plan::task::Found { there: there(recipe), former: None });
                answer(Answer::Found(recipes.iter().map(found).collect()))
            }
            Work::Keep { .. } => {
                let TaskId::Keep { collection } = task.attempt.task else { panic!("{} keeps", task.attempt) };
                let mut ids: Vec<u64> = rows.iter().map(|token| token.id).collect();
                ids.sort_unstable();
                assert_eq!(ids, content::expected(plan.unwrap(), collection), "{} keeps {collection}", task.attempt);
                answer(Answer::Kept(Size::default()))
            }
            Work::Split { .. } => {
                let reads = plan.unwrap().graph.nodes.values().filter(|node| matches!(node.op, Op::Read(_)));
                let split = |at: u64| Split { encoded: at.to_be_bytes().to_vec(), bytes: 10 };
                answer(Answer::Splits(reads.map(|node| (node.id, (0..content::splits(node.id)).map(split).collect())).collect()))
            }
            Work::Stage { sinks } => {
                let staged = sinks.keys().map(|step| (step.clone(), self.staged(task, step, sinks)));
                let manifest = Manifest { sinks: staged.collect() };
                if !self.volume.hands_over(task.attempt, &manifest) {
                    return Err(Fault::Flow);
                }
                answer(Answer::Staged(manifest))
            }
            Work::Commit { manifest } => {
                self.volume.commit(manifest);
                Ok((Done::default(), Vec::new()))
            }
            Work::Discard { manifest } => {
                self.volume.discard(manifest.as_ref(), task.attempt.number);
                Ok((Done::default(), Vec::new()))
            }
            Work::Map { input: MapInput::Split { node, split, .. }, .. } => {
                let at = u64::from_be_bytes(split.encoded.clone().try_into().unwrap());
                Ok(made(task, (content::source(*node, at), tables), worker))
            }
            Work::Map { .. } | Work::Reduce { .. } | Work::Operate { .. } => Ok(made(task, (rows, tables), worker)),
        }
    }

    fn staged(&self, task: &Task, step: &str, sinks: &BTreeMap<String, Vec<Held>>) -> StagedSink {
        let encoded = self.rows(task, &sinks[step]).iter().flat_map(|token| token.id.to_be_bytes()).collect();
        // Manifests of two attempts are never the same.
        StagedSink { encoded, location: task.attempt.number.to_string(), ..StagedSink::default() }
    }
}

fn made(
    task: &Task,
    (rows, tables): (Vec<Token>, &BTreeMap<NodeId, Vec<Token>>),
    worker: Option<&Worker>,
) -> (Done, Vec<Filled>) {
    let (pieces, legs) = worker.unwrap().run(task, rows, tables);
    let marked = |filled: &Filled| filled.frames.iter().filter_map(|frame| frame.first().copied()).map(content::mark).collect();
    let marks = pieces.iter().enumerate().map(|(at, filled)| (at as u32, marked(filled))).collect();
    (Done { pieces: pieces.iter().map(|filled| filled.piece.clone()).collect(), legs, marks, ..Done::default() }, pieces)
}

fn inputs(work: &Work) -> (Vec<Held>, Option<Range>) {
    match work {
        Work::Map { input: MapInput::Stored { pieces }, .. } => (pieces.clone(), None),
        Work::Reduce { input: ReduceInput::Buckets { pieces } | ReduceInput::Part { pieces, .. }, .. } => (pieces.clone(), None),
        Work::Reduce { input: ReduceInput::Range { runs, lower, upper }, .. } => {
            (runs.clone(), Some((lower.clone(), upper.clone())))
        }
        Work::Stage { sinks } => (sinks.values().flatten().cloned().collect(), None),
        Work::Keep { parts, .. } => (parts.concat(), None),
        Work::Split { paths, .. } => (paths.values().flatten().cloned().collect(), None),
        _ => (Vec::new(), None),
    }
}
