//! Pipes: real shells, fed and drained whole.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Output, Stdio};

use crate::{Row, Value, text};

/// One shell over all rows.
pub(super) fn fed(command: &str, rows: &[Row]) -> Result<Vec<Row>, String> {
    let mut input = Vec::new();
    for row in rows {
        if row.iter().any(|value| text::field(value).contains(&b'\n')) {
            return Err(format!("a line end inside a field: {row:?}"));
        }
        input.extend(text::line(row));
        input.push(b'\n');
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().map_err(|error| format!("failed to start a shell: {error}"))?;
    let mut stdin = child.stdin.take().ok_or("the shell has no input")?;
    // A command that stops reading early is fine; its exit status decides.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().map_err(|error| format!("failed to wait for {command:?}: {error}"))?;
    drop(feeder.join());
    rows_of(command, output)
}

/// One shell for one row, its fields as arguments.
pub(super) fn with_arguments(command: &str, row: &[Value]) -> Result<Vec<Row>, String> {
    let arguments = row.iter().map(|value| std::ffi::OsString::from_vec(text::field(value)));
    let mut shell = Command::new("sh");
    shell.args(["-c", command, "sh"]).args(arguments).stdin(Stdio::null());
    let output = shell.output().map_err(|error| format!("failed to run {command:?}: {error}"))?;
    rows_of(command, output)
}

fn rows_of(command: &str, output: Output) -> Result<Vec<Row>, String> {
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(text::rows_of_lines(&output.stdout))
}
