//! Sinks into what the flow itself reads: the next run reads what this one wrote, or this one takes away what it read.

use crds::Step;
use crds::write::{Write, WriteMode};

use super::address::{is_within, normal};
use super::{CheckOptions, FlowProblem, source};

/// A warning for each sink that writes to where a step reads.
pub(super) fn check(steps: &[Step], options: &CheckOptions<'_>) -> Vec<FlowProblem> {
    let reads: Vec<(&Step, &str)> = steps
        .iter()
        .filter_map(|step| Some((step, source::paths(step.read.as_ref()?)?.1)))
        .flat_map(|(step, paths)| paths.iter().map(move |path| (step, path.as_str())))
        .collect();
    let writes = steps.iter().enumerate().filter_map(|(index, step)| Some((index, step, sink(step.write.as_ref()?)?)));
    let meet = |(index, step, (kind, path, mode)): (usize, &Step, (&str, &str, WriteMode))| {
        let sink = normal(path, options);
        let (reader, read) = reads.iter().find(|(_, read)| meets(read, &sink, mode, options))?;
        let happens = match mode {
            WriteMode::Replace => "what is read there is gone when the flow is done",
            WriteMode::Fail | WriteMode::Append => "the next run reads what this one writes",
        };
        let message = format!("the step writes into {path:?}, where step {:?} reads ({read:?}): {happens}", reader.name);
        let problem = FlowProblem::new(format!("steps[{index}].write.{kind}.path"), message);
        Some(problem.step(&step.name).help("choose another path".to_owned()))
    };
    writes.filter_map(meet).collect()
}

/// The kind, path and mode of a sink of files.
fn sink(write: &Write) -> Option<(&'static str, &str, WriteMode)> {
    let plain = [("text", &write.text), ("json", &write.json), ("parquet", &write.parquet)];
    let plain = plain.into_iter().find_map(|(kind, sink)| sink.as_ref().map(|sink| (kind, sink.path.as_str(), sink.mode)));
    let csv = write.csv.as_ref().map(|sink| ("csv", sink.path.as_str(), sink.mode));
    let tsv = write.tsv.as_ref().map(|sink| ("tsv", sink.path.as_str(), sink.mode));
    plain.or(csv).or(tsv)
}

/// Whether a path that is read may name files of a sink, or files that it takes away.
fn meets(read: &str, sink: &str, mode: WriteMode, options: &CheckOptions<'_>) -> bool {
    let pattern = read.find(['*', '?', '[']);
    let Some(at) = pattern else {
        let read = normal(read, options);
        // A directory; or one file in what is replaced.
        return read == sink || (mode == WriteMode::Replace && is_within(&read, sink));
    };
    let folder = read[..at].rfind('/').map_or(".", |slash| if slash == 0 { "/" } else { &read[..slash] });
    let folder = normal(folder, options);
    if mode == WriteMode::Replace && (folder == sink || is_within(&folder, sink)) {
        return true;
    }
    let is_reached = folder == sink || (read[at..].contains("**") && is_within(sink, &folder));
    // Files of a sink are named part-...
    let name = read.rsplit('/').next().unwrap_or_default();
    let literal = &name[..name.find(['*', '?', '[']).unwrap_or(name.len())];
    is_reached && ("part-".starts_with(literal) || literal.starts_with("part-"))
}
