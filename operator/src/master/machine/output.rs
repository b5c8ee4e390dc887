//! Standard output: fetched from the agents and kept where it survives any node or, where it is too much for that, left with them
//! and its place recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::Sink;

use super::event::{Command, Unfetched};
use super::planted::{self, Bug};
use super::retry::backoff;
use super::{Machine, Stage};
use crate::master::api::{Entry, KeepError, OUTPUT_LIMIT, TaskSet};

/// Of standard output so much shows in status, per step.
const PREVIEW: usize = 1024;

/// How far standard output is.
#[derive(Debug, Default)]
pub(super) struct Output {
    state: State,
    /// Whether what is on its way is of rows that are done over: once it has come, all is fetched anew.
    void: bool,
    pub(super) previews: BTreeMap<String, String>,
    /// Whether it is too much to be kept.
    pub(super) node_local: bool,
    retries: u32,
    not_before: Duration,
    /// Why it is tried again only later.
    pub(super) trouble: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Fetching,
    Fetched(BTreeMap<String, Vec<u8>>),
    Keeping(BTreeMap<String, Vec<u8>>),
    /// It stays on the agents; where is being recorded.
    Locating,
    Kept,
}

impl Output {
    pub(super) fn is_kept(&self) -> bool {
        self.state == State::Kept
    }
}

impl Machine {
    /// The next step towards standard output that is kept.
    pub(super) fn keep_output(&mut self) {
        if self.output.not_before > self.now {
            return;
        }
        match &self.output.state {
            State::Open => {
                let pieces = self.written_pieces(is_stdout);
                let bytes: u64 = pieces.values().flatten().map(|(_, _, piece)| piece.bytes).sum();
                let node_local = bytes > OUTPUT_LIMIT;
                if let Some(request) = self.output_request(node_local) {
                    (self.output.node_local, self.output.state) = (node_local, State::Fetching);
                    self.out.push(Command::FetchOutput(request));
                }
            }
            State::Fetched(output) => {
                let output = output.clone();
                self.out.push(Command::KeepOutput { output: output.clone() });
                self.output.state = State::Keeping(output);
            }
            State::Fetching | State::Keeping(_) | State::Locating | State::Kept => {}
        }
    }

    pub(super) fn output_fetched(&mut self, result: Result<BTreeMap<String, Vec<u8>>, Unfetched>) {
        if self.output.state != State::Fetching {
            return;
        }
        self.stale = true;
        self.output.state = State::Open;
        match result {
            Ok(_) if self.is_output_void() => {}
            Ok(output) => self.output_there(output),
            Err(Unfetched::Lost(lost)) => {
                self.output.void = false;
                self.outputs_lost(&lost.into_iter().collect::<BTreeSet<_>>());
            }
            Err(Unfetched::Unavailable(why)) => {
                self.output.void = false;
                self.put_output_off(format!("standard output could not be fetched: {why}"));
            }
        }
    }

    fn output_there(&mut self, output: BTreeMap<String, Vec<u8>>) {
        (self.output.retries, self.output.trouble) = (0, None);
        self.output.previews = output.iter().map(|(step, text)| (step.clone(), preview(text))).collect();
        if !self.output.node_local {
            self.output.state = State::Fetched(output);
        } else if let Some(at) = self.output_request(false) {
            self.output.state = State::Locating;
            self.record(Entry::Output { at });
        }
    }

    /// Where it stays is recorded: another leader finds it, too.
    pub(super) fn output_located(&mut self) {
        if self.output.state == State::Locating {
            // What was lost meanwhile is made again, elsewhere.
            let still = self.recorded.output.is_some() && self.recorded.output == self.output_request(false);
            self.output.state = if still && !self.is_output_void() { State::Kept } else { State::Open };
        }
    }

    pub(super) fn output_kept(&mut self, result: Result<(), KeepError>) {
        let State::Keeping(output) = std::mem::take(&mut self.output.state) else { return };
        self.stale = true;
        let void = self.is_output_void();
        match result {
            Err(KeepError::Superseded) => {
                self.stage = Stage::Abandoned;
                self.out.push(Command::Abandon);
            }
            Err(KeepError::Impossible(why)) => self.fail("OutputRefused", format!("standard output cannot be kept: {why}")),
            Ok(()) if void => {}
            Ok(()) => (self.output.trouble, self.output.state) = (None, State::Kept),
            Err(KeepError::Unavailable(why)) => {
                if !void {
                    self.output.state = State::Fetched(output);
                }
                self.put_output_off(format!("standard output could not be kept: {why}"));
            }
        }
    }

    /// Whether what has come now is of rows that are done over. Asked once.
    fn is_output_void(&mut self) -> bool {
        std::mem::take(&mut self.output.void)
    }

    /// Some sets of tasks are done over: if they wrote to standard output, what was had of it does not count.
    pub(super) fn unkeep_output(&mut self, void: &BTreeSet<TaskSet>) {
        let written = self.flow.as_ref().is_some_and(|flow| flow.write(void, is_stdout));
        if !written || planted::has(Bug::KeepsVoidSinks) {
            return;
        }
        self.recorded.output = None;
        match self.output.state {
            // Two of a kind under way could come in any order: the next one waits for its end.
            State::Fetching | State::Keeping(_) | State::Locating => self.output.void = true,
            State::Open | State::Fetched(_) | State::Kept => self.output.state = State::Open,
        }
    }

    fn put_output_off(&mut self, why: String) {
        let output = &mut self.output;
        output.retries += 1;
        output.not_before = self.now + backoff(&self.spec.spec.retry, output.retries).max(Duration::from_secs(1));
        output.trouble = Some(why);
    }
}

pub(super) fn is_stdout(sink: &Sink) -> bool {
    matches!(sink, Sink::Stdout { .. })
}

/// The first lines, as text.
fn preview(text: &[u8]) -> String {
    let cut = &text[..text.len().min(PREVIEW)];
    let end = if cut.len() < text.len() {
        cut.iter().rposition(|byte| *byte == b'\n').map_or(cut.len(), |at| at + 1)
    } else {
        cut.len()
    };
    String::from_utf8_lossy(&cut[..end]).into_owned()
}
