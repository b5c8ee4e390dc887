//! `read`: options checked and resolved to a source of the plan.

use std::collections::BTreeMap;

use crds::read::{ColumnFiles, ColumnType, CsvFiles, Inline, JsonFiles, PlainFiles, Range, Read, TsvFiles};
use crds::{FieldRef, Step};
use plan::{CsvOptions, Format, Paths, Source, ValueType};
use serde_json::Value;

use super::{CheckOptions, FlowProblem, address};
use crate::names::{Missing, Names, Rest};
use crate::{Facts, SourceFacts};

/// The source and field of a read whose paths are rows of a step.
pub(crate) fn paths_from(read: &Read) -> Option<(&'static str, &str)> {
    let found = [
        ("text", read.text.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("csv", read.csv.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("tsv", read.tsv.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("json", read.json.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("parquet", read.parquet.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("orc", read.orc.as_ref().and_then(|files| files.paths_from.as_deref())),
        ("files", read.files.as_ref().and_then(|files| files.paths_from.as_deref())),
    ];
    found.into_iter().find_map(|(source, name)| Some((source, name?)))
}

/// The source and the listed paths of a read of files.
pub(super) fn paths(read: &Read) -> Option<(&'static str, &[String])> {
    let found = [
        ("text", read.text.as_ref().and_then(|files| files.paths.as_deref())),
        ("csv", read.csv.as_ref().and_then(|files| files.paths.as_deref())),
        ("tsv", read.tsv.as_ref().and_then(|files| files.paths.as_deref())),
        ("json", read.json.as_ref().and_then(|files| files.paths.as_deref())),
        ("parquet", read.parquet.as_ref().and_then(|files| files.paths.as_deref())),
        ("orc", read.orc.as_ref().and_then(|files| files.paths.as_deref())),
        ("files", read.files.as_ref().and_then(|files| files.paths.as_deref())),
    ];
    found.into_iter().find_map(|(source, paths)| Some((source, paths?)))
}

/// The source of a read before its files were looked at: no columns, no types. `None` for what is in no listed file.
pub(crate) fn unseen(read: &Read) -> Option<Source> {
    let csv = |header, delimiter, quote| CsvOptions { header, delimiter, quote, columns: None, types: Vec::new() };
    let (format, paths, allow_empty) = if let Some(files) = &read.text {
        (Format::Text, &files.paths, files.allow_empty)
    } else if let Some(files) = &read.csv {
        let byte = |text: &Option<String>, default| text.as_ref().and_then(|text| text.bytes().next()).unwrap_or(default);
        let options = csv(files.header, byte(&files.delimiter, b','), Some(byte(&files.quote, b'"')));
        (Format::Csv(options), &files.paths, files.allow_empty)
    } else if let Some(files) = &read.tsv {
        (Format::Tsv(csv(files.header, b'\t', None)), &files.paths, files.allow_empty)
    } else if let Some(files) = &read.json {
        (Format::Json { columns: files.columns.clone() }, &files.paths, files.allow_empty)
    } else if let Some(files) = &read.parquet {
        (Format::Parquet { columns: None, known: None }, &files.paths, files.allow_empty)
    } else if let Some(files) = &read.orc {
        (Format::Orc { columns: None, known: None }, &files.paths, files.allow_empty)
    } else {
        (Format::Whole, &read.files.as_ref()?.paths, read.files.as_ref()?.allow_empty)
    };
    Some(Source::Files { format, paths: Paths::Listed(paths.clone()?), allow_empty })
}

/// A read, resolved: its source, and the fields of its rows.
pub(crate) struct Resolved {
    pub(crate) source: Source,
    pub(crate) names: Names,
    /// False where a name was taken on trust.
    pub(crate) certain: bool,
    pub(crate) problems: Vec<FlowProblem>,
}

/// Resolves the read of a step.
pub(crate) fn resolve(step: &Step, read: &Read, facts: &Facts, options: &CheckOptions<'_>, index: usize) -> Resolved {
    let path = format!("steps[{index}]");
    let (lenient, unclear) = (options.lenient, options.is_unclear(index));
    let facts = facts.get(&step.name);
    let mut resolver = Resolver { step, path, facts, lenient, unclear, certain: true, problems: Vec::new() };
    let (source, names) = resolver.read(read);
    Resolved { source, names, certain: resolver.certain, problems: resolver.problems }
}

struct Resolver<'a> {
    step: &'a Step,
    /// Of the source, such as `steps[0].read.csv`.
    path: String,
    facts: Option<&'a SourceFacts>,
    lenient: bool,
    /// Whether options of the step are wrong, so that its columns are not known.
    unclear: bool,
    certain: bool,
    problems: Vec<FlowProblem>,
}

impl Resolver<'_> {
    fn read(&mut self, read: &Read) -> (Source, Names) {
        let base = format!("{}.read", self.path);
        if let Some((source, paths)) = paths(read) {
            for (index, path) in paths.iter().enumerate() {
                if let Some((message, help)) = address::problem(path, address::Use::Read) {
                    self.report(&format!(".read.{source}.paths[{index}]"), message, help);
                }
            }
        }
        let mut at = |source: &str| self.path = format!("{base}.{source}");
        if let Some(files) = &read.text {
            at("text");
            plain(Format::Text, files, Names::unnamed(1))
        } else if let Some(files) = &read.files {
            at("files");
            plain(Format::Whole, files, Names::unnamed(2))
        } else if let Some(files) = &read.csv {
            at("csv");
            self.csv(files)
        } else if let Some(files) = &read.tsv {
            at("tsv");
            self.tsv(files)
        } else if let Some(files) = &read.json {
            at("json");
            self.json(files)
        } else if let Some(files) = &read.parquet {
            at("parquet");
            self.columnar(files, |columns, known| Format::Parquet { columns, known })
        } else if let Some(files) = &read.orc {
            at("orc");
            self.columnar(files, |columns, known| Format::Orc { columns, known })
        } else if let Some(inline) = &read.inline {
            inline_rows(inline)
        } else {
            at("range");
            self.range(read.range.as_ref())
        }
    }

    fn csv(&mut self, files: &CsvFiles) -> (Source, Names) {
        let delimiter = self.byte(files.delimiter.as_deref(), b',', "delimiter");
        let quote = self.byte(files.quote.as_deref(), b'"', "quote");
        if delimiter == quote {
            self.report(".delimiter", "delimiter and quote are the same".to_owned(), None);
        }
        let file = self.file_names(files.header, files.allow_empty);
        let columns = self.columns(files.columns.as_deref(), &file);
        let types = self.types(&files.types, &file, columns.as_deref());
        let names = self.row_names(files.columns.as_deref(), columns.as_deref(), file);
        let options = CsvOptions { header: files.header, delimiter, quote: Some(quote), columns, types };
        let paths = listed(files.paths.as_ref());
        (Source::Files { format: Format::Csv(options), paths, allow_empty: files.allow_empty }, names)
    }

    fn tsv(&mut self, files: &TsvFiles) -> (Source, Names) {
        let file = self.file_names(files.header, files.allow_empty);
        let columns = self.columns(files.columns.as_deref(), &file);
        let types = self.types(&files.types, &file, columns.as_deref());
        let names = self.row_names(files.columns.as_deref(), columns.as_deref(), file);
        let options = CsvOptions { header: files.header, delimiter: b'\t', quote: None, columns, types };
        let paths = listed(files.paths.as_ref());
        (Source::Files { format: Format::Tsv(options), paths, allow_empty: files.allow_empty }, names)
    }

    fn json(&mut self, files: &JsonFiles) -> (Source, Names) {
        let names = match &files.columns {
            Some(columns) => {
                self.refuse_repeats(columns);
                Names::named(columns.iter().cloned())
            }
            None => Names::unnamed(1),
        };
        let format = Format::Json { columns: files.columns.clone() };
        (Source::Files { format, paths: listed(files.paths.as_ref()), allow_empty: files.allow_empty }, names)
    }

    fn refuse_repeats(&mut self, columns: &[String]) {
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].contains(column) {
                self.report(&format!(".columns[{index}]"), format!("column {column:?} is named twice"), None);
            }
        }
    }

    /// Parquet and ORC know their columns by name.
    fn columnar(
        &mut self,
        files: &ColumnFiles,
        format: fn(Option<Vec<String>>, Option<Vec<String>>) -> Format,
    ) -> (Source, Names) {
        let file = self.file_names(true, files.allow_empty);
        let columns = self.columns(files.columns.as_deref(), &file);
        let names = self.row_names(files.columns.as_deref(), columns.as_deref(), file.clone());
        let chosen = files.columns.as_ref().zip(columns).map(|(fields, columns)| {
            let known = |column: &u32| file.fields.get(*column as usize).cloned().flatten();
            let name = |(field, column): (&FieldRef, &u32)| match field {
                FieldRef::Name(name) if file.rest != Rest::Nothing => name.clone(),
                FieldRef::Name(_) | FieldRef::Position(_) => known(column).unwrap_or_default(),
            };
            fields.iter().zip(&columns).map(name).collect()
        });
        let known = if chosen.is_none() && file.rest == Rest::Nothing { file.fields.into_iter().collect() } else { None };
        let format = format(chosen, known);
        (Source::Files { format, paths: listed(files.paths.as_ref()), allow_empty: files.allow_empty }, names)
    }

    fn range(&mut self, range: Option<&Range>) -> (Source, Names) {
        let Range { from, to, step } = range.cloned().unwrap_or(Range { from: 0, to: 0, step: 1 });
        if step == 0 {
            let help = "leave it out to count up by 1, or write -1 to count down".to_owned();
            self.report(".step", "a range with step 0 never ends".to_owned(), Some(help));
        }
        (Source::Range { from, to, step }, Names::unnamed(1))
    }

    /// The columns of the file.
    fn file_names(&self, named: bool, allow_empty: bool) -> Names {
        if self.unclear {
            return Names::with_rest(Rest::Broken);
        }
        match self.facts {
            Some(SourceFacts { fields: Some(fields), .. }) if named => Names::named(fields.iter().cloned()),
            Some(SourceFacts { bytes: Some(0), .. }) if named && allow_empty => Names::with_rest(Rest::NoRows),
            Some(_) | None if named => Names::with_rest(Rest::Unread),
            Some(_) | None => Names::unknown(),
        }
    }

    fn columns(&mut self, columns: Option<&[FieldRef]>, file: &Names) -> Option<Vec<u32>> {
        let chosen = columns?.iter().enumerate().map(|(index, field)| self.column(field, file, &format!(".columns[{index}]")));
        Some(chosen.collect())
    }

    /// A column of the file.
    fn column(&mut self, field: &FieldRef, file: &Names, at: &str) -> u32 {
        match file.column(field) {
            Ok(column) => column,
            Err(Missing::Unread(_)) if self.lenient => {
                self.certain = false;
                0
            }
            Err(Missing::Unnamed(name)) => {
                let message = format!("the columns of a file without a header have no names, so there is no {name:?}");
                let help = "use positions here and name the fields in \"fields\", or set header: true".to_owned();
                self.report(at, message, Some(help));
                0
            }
            Err(Missing::Unread(name)) => {
                let message = format!("whether there is a column {name:?} is not known: the files were not looked at");
                self.report(at, message, Some("use a position".to_owned()));
                0
            }
            Err(missing) => {
                if let Some((message, help)) = missing.describe(&self.step.name) {
                    self.report(at, message, help);
                }
                0
            }
        }
    }

    /// Types of the file's columns, which may be named by the step's `fields` as well.
    fn types(&mut self, types: &BTreeMap<String, ColumnType>, file: &Names, columns: Option<&[u32]>) -> Vec<(u32, ValueType)> {
        let mut found: Vec<(u32, ValueType)> = Vec::new();
        for (name, kind) in types {
            let at = format!(".types.{name}");
            let renamed = self.step.fields.as_ref().and_then(|fields| fields.iter().position(|field| field == name));
            let column = match renamed {
                Some(index) => {
                    columns.map_or(u32::try_from(index).ok(), |columns| columns.get(index).copied()).unwrap_or_default()
                }
                None => self.column(&FieldRef::Name(name.clone()), file, &at),
            };
            if found.iter().any(|(other, _)| *other == column) && self.certain {
                self.report(&at, format!("the type of column {} is given twice", column + 1), None);
            }
            let kind = match kind {
                ColumnType::Integer => ValueType::Integer,
                ColumnType::Float => ValueType::Float,
                ColumnType::Bool => ValueType::Bool,
                ColumnType::String => continue,
            };
            found.push((column, kind));
        }
        found.sort_by_key(|(column, _)| *column);
        found
    }

    /// The fields of the rows.
    fn row_names(&self, fields: Option<&[FieldRef]>, columns: Option<&[u32]>, file: Names) -> Names {
        let (Some(fields), Some(columns)) = (fields, columns) else { return file };
        if file.rest == Rest::Nothing {
            return file.select(columns);
        }
        let name = |field: &FieldRef| match field {
            FieldRef::Name(name) => Some(name.clone()),
            FieldRef::Position(_) => None,
        };
        let names: Vec<Option<String>> = fields.iter().map(name).collect();
        // A position of a named column has a name that nobody has looked up.
        if names.contains(&None) && file.rest == Rest::Unread {
            return Names::with_rest(Rest::Unread);
        }
        Names { fields: names, rest: Rest::Nothing }
    }

    fn byte(&mut self, text: Option<&str>, default: u8, field: &str) -> u8 {
        let Some(text) = text else { return default };
        match text.as_bytes() {
            [b'\n' | b'\r'] => self.report(&format!(".{field}"), format!("{field} cannot be a line end"), None),
            [byte] => return *byte,
            _ => {
                let help = if text == "\\t" { Some("write \"\\t\" in double quotes, or read tsv".to_owned()) } else { None };
                self.report(&format!(".{field}"), format!("{field} must be one byte, not {text:?}"), help);
            }
        }
        default
    }

    fn report(&mut self, at: &str, message: String, help: Option<String>) {
        self.problems.push(FlowProblem::new(format!("{}{at}", self.path), message).step(&self.step.name).help(help));
    }
}

fn plain(format: Format, files: &PlainFiles, names: Names) -> (Source, Names) {
    (Source::Files { format, paths: listed(files.paths.as_ref()), allow_empty: files.allow_empty }, names)
}

fn listed(paths: Option<&Vec<String>>) -> Paths {
    paths.map_or(Paths::Rows, |paths| Paths::Listed(paths.clone()))
}

fn inline_rows(inline: &Inline) -> (Source, Names) {
    let rows: Vec<Vec<Value>> = match (&inline.lines, &inline.rows) {
        (Some(lines), _) => lines.iter().map(|line| vec![Value::from(line.as_str())]).collect(),
        (None, rows) => rows.clone().unwrap_or_default(),
    };
    let width = rows.first().map(Vec::len).filter(|width| rows.iter().all(|row| row.len() == *width));
    let names = match width {
        Some(width) => Names::unnamed(width),
        None if inline.lines.is_some() => Names::unnamed(1),
        None => Names::unknown(),
    };
    (Source::Inline { rows }, names)
}
