//! Programs that are run to their end; a failure carries what they said.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a program left.
#[derive(Clone, Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program; its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = outcome(command, None)?;
    require(command, output)
}

/// What an API server that is overloaded or restarts says, and a connection that broke. None of it is an answer.
const PASSING: [&str; 20] = [
    "(re)initializing",
    "Unable to connect to the server",
    "context deadline exceeded",
    "failed to download openapi",
    "http2:",
    "net/http:",
    "request did not complete within",
    "connection refused",
    "connection reset",
    "client connection lost",
    "etcdserver:",
    "error trying to reach service",
    "i/o timeout",
    "ServiceUnavailable",
    "TLS handshake timeout",
    "TooManyRequests",
    "the server is currently unable",
    "the server was unable to return a response in the time allotted",
    "unexpected EOF",
    ": EOF",
];
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Runs a program that asks the API server, with text on its standard input; its standard output. Again, while the server has a bad
/// moment: that is no test's matter.
pub(crate) fn run_patiently(command: impl Fn() -> Command, input: Option<&str>) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = command();
        let output = outcome(&mut command, input)?;
        let passes = PASSING.iter().any(|words| output.stderr.contains(words));
        if output.success || !passes || Instant::now() > deadline {
            return require(&command, output);
        }
        eprintln!("e2e: again: {} failed: {}", shown(&command), output.stderr.trim());
        std::thread::sleep(PAUSE);
    }
}

/// The same, with text on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let output = outcome(command, Some(input))?;
    require(command, output)
}

/// Runs a program that may take its time: what it says is shown as it says it.
pub(crate) fn run_aloud(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("failed to start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a program, whatever comes of it.
pub fn outcome(command: &mut Command, input: Option<&str>) -> Result<Output> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {}", shown(command)))?;
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        if let (Some(mut pipe), Some(input)) = (pipe, input) {
            // A program that ends without reading all of its input says itself why.
            scope.spawn(move || drop(pipe.write_all(input.as_bytes())));
        }
        child.wait_with_output()
    });
    let output = output.with_context(|| format!("failed to wait for {}", shown(command)))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

fn require(command: &Command, output: Output) -> Result<String> {
    if output.success {
        return Ok(output.stdout);
    }
    bail!("{} failed: {}{}", shown(command), output.stderr, output.stdout)
}

/// Whether a program can be started and succeeds.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    outcome(Command::new(program).args(arguments), None).is_ok_and(|output| output.success)
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text
}
