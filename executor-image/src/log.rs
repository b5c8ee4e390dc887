//! The log of the programs on the nodes: one JSON object per line on standard error, each with what the whole process is
//! about (run, pod, slot) and what it works on at the moment (task, attempt, step).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use plan::task::Attempt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The target of lines that user code wrote.
pub const USER: &str = "user";
/// Longer lines of user code are cut into several.
pub const LINE_BYTES: usize = 16 << 10;

static ABOUT: OnceLock<Vec<(&'static str, Value)>> = OnceLock::new();
static ATTEMPT: Mutex<Option<Attempt>> = Mutex::new(None);
/// By step: what was printed behind the last line end.
static OPEN_LINES: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Starts it, for a process that is about these. `GLEAMFLOW_LOG` chooses levels (`info` unless set).
pub fn start(about: Vec<(&'static str, Value)>) {
    // Set once: a second start of the same process keeps what it was about.
    let _ = ABOUT.set(about);
    let filter =
        EnvFilter::builder().with_env_var("GLEAMFLOW_LOG").with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // A test may have started one already.
    let _ = tracing_subscriber::registry().with(Json.with_filter(filter)).try_init();
}

/// What the process works on from now on.
pub fn set_attempt(attempt: Option<Attempt>) {
    flush();
    *ATTEMPT.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
}

/// Logs what a step's user code printed, line by line; an unfinished line waits for its end.
pub fn printed(step: &str, text: &[u8]) {
    let mut open = OPEN_LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let line = open.entry(step.to_owned()).or_default();
    line.extend_from_slice(text);
    take_lines(line, |text| tracing::info!(target: USER, step, "{text}"));
}

/// Logs the unfinished lines.
fn flush() {
    let open = std::mem::take(&mut *OPEN_LINES.lock().unwrap_or_else(PoisonError::into_inner));
    for (step, line) in open.iter().filter(|(_, line)| !line.is_empty()) {
        tracing::info!(target: USER, step, "{}", String::from_utf8_lossy(line));
    }
}

/// Takes whole lines off the front; a very long one in pieces.
pub(crate) fn take_lines(text: &mut Vec<u8>, mut each: impl FnMut(&str)) {
    let mut from = 0;
    loop {
        let rest = &text[from..];
        let window = &rest[..rest.len().min(LINE_BYTES)];
        let (end, next) = match window.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end, end + 1),
            None if rest.len() >= LINE_BYTES => (LINE_BYTES, LINE_BYTES),
            None => break,
        };
        each(&String::from_utf8_lossy(&rest[..end]));
        from += next;
    }
    text.drain(..from);
}

/// A line of the log from outside of `tracing`: what a slot's process wrote itself.
#[must_use]
pub fn line_of(text: &str, slot: u32, attempt: Option<Attempt>) -> String {
    let mut line = head("INFO", USER);
    line.insert("message".to_owned(), text.into());
    line.insert("slot".to_owned(), slot.into());
    add_attempt(&mut line, attempt);
    finish(line)
}

/// Whether a line is one of this log already.
#[must_use]
pub fn is_line(text: &str) -> bool {
    text.starts_with("{\"timestamp\":") && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Writes a whole line.
pub fn write(mut line: String) {
    line.push('\n');
    // A log that cannot be written is no reason to fail.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

struct Json;

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = head(metadata.level().as_str(), metadata.target());
        event.record(&mut Fields(&mut line));
        add_attempt(&mut line, *ATTEMPT.lock().unwrap_or_else(PoisonError::into_inner));
        write(finish(line));
    }
}

fn head(level: &str, target: &str) -> Map<String, Value> {
    let mut time = String::new();
    // Without a time the line is still worth having.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    [("timestamp", time.as_str()), ("level", level), ("target", target)]
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .into_iter()
        .collect()
}

fn add_attempt(line: &mut Map<String, Value>, attempt: Option<Attempt>) {
    if let Some(attempt) = attempt {
        line.entry("task").or_insert_with(|| attempt.task.to_string().into());
        line.entry("attempt").or_insert_with(|| attempt.number.into());
    }
}

fn finish(mut line: Map<String, Value>) -> String {
    for (name, value) in ABOUT.get().into_iter().flatten() {
        line.entry(*name).or_insert_with(|| value.clone());
    }
    Value::Object(line).to_string()
}

struct Fields<'l>(&'l mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, plan::in_full(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_whole_and_long_ones_in_pieces() {
        let mut text = b"one\ntwo\nth".to_vec();
        let mut lines = Vec::new();
        take_lines(&mut text, |line| lines.push(line.to_owned()));
        assert_eq!((lines, text.as_slice()), (vec!["one".to_owned(), "two".to_owned()], b"th".as_slice()));
        let mut text = vec![b'x'; 2 * LINE_BYTES + 1];
        let mut lengths = Vec::new();
        take_lines(&mut text, |line| lengths.push(line.len()));
        assert_eq!((lengths, text.len()), (vec![LINE_BYTES, LINE_BYTES], 1));
    }

    #[test]
    fn a_line_of_user_code_says_what_it_was_about() {
        let attempt = Attempt { task: plan::task::TaskId::Inspect, number: 3 };
        let line = line_of("hello \"you\"", 1, Some(attempt));
        assert!(is_line(&line), "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&value["message"], &value["task"], &value["attempt"]),
            (&"hello \"you\"".into(), &"inspect".into(), &3.into())
        );
        assert!(!is_line("{\"timestamp\": no") && !is_line("hello"));
    }
}
