//! `--param name=value`: the values, and what they mean for paths.
//!
//! A parameter is text put into text, so a path can only be told to come from the command line where it begins with one:
//! `$(params.out)/words`. Such a path is relative to the working directory, any other to the flow file.

use std::collections::BTreeMap;
use std::path::Path;

use crds::GleamFlow;
use crds::read::Read;
use crds::write::Write;

/// One `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    name: String,
    value: String,
}

/// As clap wants it.
pub(crate) fn parse(text: &str) -> Result<Param, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name before the \"=\" is missing".to_owned()),
        Some((name, value)) => Ok(Param { name: name.to_owned(), value: value.to_owned() }),
        None => Err(format!("it has no value: write {text}=VALUE")),
    }
}

/// All of them by name.
///
/// # Errors
/// A name that is given twice.
pub(crate) fn by_name(given: Vec<Param>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for Param { name, value } in given {
        anyhow::ensure!(!values.contains_key(&name), "the parameter {name:?} is given twice");
        values.insert(name, value);
    }
    Ok(values)
}

/// Puts the working directory before each path of the flow that begins with a parameter of the command line and is relative.
pub(crate) fn anchor(flow: &mut GleamFlow, given: &BTreeMap<String, String>, directory: &Path) {
    let directory = directory.to_string_lossy();
    for step in &mut flow.spec.steps {
        for path in step.read.as_mut().into_iter().flat_map(sources).flatten() {
            anchor_path(path, given, &escaped(&directory));
        }
        for path in step.write.as_mut().into_iter().flat_map(sinks) {
            anchor_path(path, given, &directory);
        }
    }
}

fn anchor_path(path: &mut String, given: &BTreeMap<String, String>, directory: &str) {
    let Some((name, rest)) = path.strip_prefix("$(params.").and_then(|inner| inner.split_once(')')) else { return };
    let Some(value) = given.get(name) else { return };
    let replaced = format!("{value}{rest}");
    if !replaced.is_empty() && !replaced.starts_with('/') && !replaced.contains("://") {
        path.insert_str(0, &format!("{}/", directory.trim_end_matches('/')));
    }
}

/// A directory whose name holds wildcards is meant as it is.
fn escaped(directory: &str) -> String {
    let escape = |c: char| if matches!(c, '*' | '?' | '[' | ']' | '{' | '}') { format!("[{c}]") } else { c.to_string() };
    directory.chars().map(escape).collect()
}

/// The lists of paths of a source.
fn sources(read: &mut Read) -> Vec<&mut Vec<String>> {
    let Read { text, csv, tsv, json, parquet, orc, files, inline: _, range: _ } = read;
    let plain = [text, files].into_iter().flatten().map(|files| &mut files.paths);
    let columnar = [parquet, orc].into_iter().flatten().map(|files| &mut files.paths);
    let csv = csv.iter_mut().map(|files| &mut files.paths);
    let tsv = tsv.iter_mut().map(|files| &mut files.paths);
    let json = json.iter_mut().map(|files| &mut files.paths);
    plain.chain(columnar).chain(csv).chain(tsv).chain(json).filter_map(Option::as_mut).collect()
}

/// The paths of a sink.
fn sinks(write: &mut Write) -> Vec<&mut String> {
    let Write { stdout: _, text, csv, tsv, json, parquet } = write;
    let plain = [text, json, parquet].into_iter().flatten().map(|sink| &mut sink.path);
    plain.chain(csv.iter_mut().map(|sink| &mut sink.path)).chain(tsv.iter_mut().map(|sink| &mut sink.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, value: &str, expected: &str) {
        let mut path = path.to_owned();
        anchor_path(&mut path, &BTreeMap::from([("x".to_owned(), value.to_owned())]), "/here");
        assert_eq!(path, expected);
    }

    #[test]
    fn a_path_that_begins_with_a_given_parameter_is_the_working_directory_s() {
        check("$(params.x)", "out", "/here/$(params.x)");
        check("$(params.x)/words", "out", "/here/$(params.x)/words");
        check("$(params.x)words", "", "/here/$(params.x)words");
    }

    #[test]
    fn other_paths_stay_the_flow_file_s() {
        check("data/$(params.x)", "out", "data/$(params.x)");
        check("$(params.y)/data", "out", "$(params.y)/data");
        check("data", "out", "data");
        check("$(params.x", "out", "$(params.x");
    }

    #[test]
    fn absolute_paths_and_urls_stay_as_they_are() {
        check("$(params.x)/a", "/tmp", "$(params.x)/a");
        check("$(params.x)/a", "s3://bucket", "$(params.x)/a");
        check("$(params.x)://bucket/a", "s3", "$(params.x)://bucket/a");
        check("$(params.x)/a", "", "$(params.x)/a");
    }

    #[test]
    fn a_parameter_needs_a_name_and_a_value() {
        assert_eq!(parse("a=b=c").unwrap(), Param { name: "a".to_owned(), value: "b=c".to_owned() });
        assert_eq!(parse("a=").unwrap(), Param { name: "a".to_owned(), value: String::new() });
        assert!(parse("a").is_err());
        assert!(parse("=b").is_err());
    }

    #[test]
    fn a_parameter_is_given_once() {
        let twice = vec![parse("a=1").unwrap(), parse("a=2").unwrap()];
        assert_eq!(by_name(twice).unwrap_err().to_string(), "the parameter \"a\" is given twice");
    }
}
