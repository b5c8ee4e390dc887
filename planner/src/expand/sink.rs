//! `write`: options checked and resolved to a sink of the plan.

use crds::write::{CsvSink, Stdout, Write, WriteMode};
use plan::{Do, Mode, Op, Sink, SinkFormat};

use super::{Current, Expansion};
use crate::check::address;
use crate::check::format::verbs;
use crate::names::{Names, Rest, called};

impl Expansion<'_> {
    /// Adds the node of a write step.
    pub(super) fn write(&mut self, current: &Current<'_>, write: &Write) {
        let mut names = current.input().names;
        if let Some(fields) = &current.step.fields {
            self.check_fields(current, fields, &names);
            names = Names::named(fields.iter().cloned());
        }
        let sink = if let Some(stdout) = &write.stdout {
            self.stdout(current, stdout, &names)
        } else {
            self.files(current, write, &names)
        };
        let inputs = self.fit_lines(current, &sink);
        self.node(current, Op::ParallelDo(Do::Write(sink)), inputs, &[]);
    }

    fn stdout(&mut self, current: &Current<'_>, stdout: &Stdout, names: &Names) -> Sink {
        let path = current.option("stdout.format");
        match stdout.format.as_deref().map(verbs) {
            Some(Err((message, help))) => self.report(current, path, message, help),
            Some(Ok(count)) => {
                if let Some(width) = names.width().filter(|width| *width != count) {
                    let label = called(&current.input().label);
                    let message = format!("the format takes {}, and rows of {label} have {width}", plan::fields(count));
                    self.report(current, path, message, None);
                }
            }
            None => {}
        }
        Sink::Stdout { format: stdout.format.clone() }
    }

    fn files(&mut self, current: &Current<'_>, write: &Write, names: &Names) -> Sink {
        let mut header = false;
        let (kind, path, mode, format) = if let Some(sink) = &write.text {
            ("text", &sink.path, sink.mode, SinkFormat::Text)
        } else if let Some(sink) = &write.csv {
            header = sink.header;
            ("csv", &sink.path, sink.mode, self.csv(current, sink))
        } else if let Some(sink) = &write.tsv {
            header = sink.header;
            ("tsv", &sink.path, sink.mode, SinkFormat::Tsv { header })
        } else if let Some(sink) = &write.json {
            ("json", &sink.path, sink.mode, SinkFormat::Json)
        } else {
            let sink = write.parquet.clone().unwrap_or_default();
            return self.parquet(current, &sink.path, sink.mode, names);
        };
        if header {
            self.check_header(current, kind, names);
        }
        if matches!(format, SinkFormat::Json) {
            self.check_members(current, names);
        }
        self.check_path(current, kind, path);
        Sink::Files { format, path: path.clone(), mode: plan_mode(mode), fields: names.complete() }
    }

    /// Parquet names every column; one without a name gets its position.
    fn parquet(&mut self, current: &Current<'_>, path: &str, mode: WriteMode, names: &Names) -> Sink {
        self.check_path(current, "parquet", path);
        let name = |(index, name): (usize, &Option<String>)| name.clone().unwrap_or_else(|| format!("_{}", index + 1));
        let fields = names.width().map(|_| names.fields.iter().enumerate().map(name).collect());
        Sink::Files { format: SinkFormat::Parquet, path: path.to_owned(), mode: plan_mode(mode), fields }
    }

    fn csv(&mut self, current: &Current<'_>, sink: &CsvSink) -> SinkFormat {
        let delimiter = self.byte(current, sink.delimiter.as_deref(), b',', "delimiter");
        let quote = self.byte(current, sink.quote.as_deref(), b'"', "quote");
        if delimiter == quote {
            self.report(current, current.option("csv.delimiter"), "delimiter and quote are the same".to_owned(), None);
        }
        SinkFormat::Csv { header: sink.header, delimiter, quote }
    }

    fn byte(&mut self, current: &Current<'_>, text: Option<&str>, default: u8, field: &str) -> u8 {
        match text.map(str::as_bytes) {
            None => default,
            Some([byte]) if !matches!(byte, b'\n' | b'\r') => *byte,
            Some(_) => {
                let message = format!("{field} must be one byte other than a line end, not {:?}", text.unwrap_or_default());
                self.report(current, current.option(&format!("csv.{field}")), message, None);
                default
            }
        }
    }

    fn check_header(&mut self, current: &Current<'_>, kind: &str, names: &Names) {
        let path = current.option(&format!("{kind}.header"));
        match names.rest {
            Rest::Nothing | Rest::Unnamed if names.complete().is_none() => {
                let message = "the header needs names, and not all fields have one".to_owned();
                self.report(current, path, message, Some("give \"fields\" to this step or the one before".to_owned()));
            }
            Rest::Unread if self.options.lenient => self.certain = false,
            Rest::Unread => {
                let message = "the header needs names, and the files that have them were not looked at".to_owned();
                self.report(current, path, message, Some("give \"fields\" to this step or the one before".to_owned()));
            }
            Rest::Nothing | Rest::Unnamed | Rest::NoRows | Rest::Broken => {}
        }
    }

    /// An object has one member of a name.
    fn check_members(&mut self, current: &Current<'_>, names: &Names) {
        let Some(names) = names.complete() else { return };
        let repeated = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
        if let Some((_, name)) = repeated {
            let message = format!("two fields are named {name:?}, and a json object can hold one of them only");
            let help = "give \"fields\" to this step or the one before, with a name of its own for each";
            self.report(current, current.option("json"), message, Some(help.to_owned()));
        }
    }

    /// Two sinks on one path would overwrite each other; one inside another's directory would be moved with it.
    fn check_path(&mut self, current: &Current<'_>, kind: &str, path: &str) {
        if path.is_empty() {
            // It may be anything: the file's own problem.
            return;
        }
        if let Some((message, help)) = address::problem(path, address::Use::Write) {
            self.report(current, current.option(&format!("{kind}.path")), message, help);
            return;
        }
        let plain = address::normal(path, self.options);
        let message = self.sinks.iter().find_map(|(other, step)| {
            if *other == plain {
                Some(format!("step {step:?} writes to {path:?} already"))
            } else if address::is_within(&plain, other) {
                Some(format!("{path:?} is inside of what step {step:?} writes"))
            } else {
                address::is_within(other, &plain).then(|| format!("what step {step:?} writes is inside of {path:?}"))
            }
        });
        if let Some(message) = message {
            self.report(current, current.option(&format!("{kind}.path")), message, Some("choose another path".to_owned()));
        }
        self.sinks.push((plain, current.step.name.clone()));
    }
}

fn plan_mode(mode: WriteMode) -> Mode {
    match mode {
        WriteMode::Fail => Mode::Fail,
        WriteMode::Replace => Mode::Replace,
        WriteMode::Append => Mode::Append,
    }
}
