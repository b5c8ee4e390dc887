//! Random reads: inline rows of all types, ranges, and files of text, csv, tsv and json.

use super::builder::Builder;
use super::shape::{Kind, Shape};
use crate::Random;

const WORDS: [&str; 12] = ["a", "b", "ab", "bee", "cat", "Dog", "eel", "fox", "gnu", "Zebra", "x1", ""];

/// Adds one source.
pub(super) fn add(builder: &mut Builder) {
    let rows = match builder.random.below(20) {
        0 | 1 => 0,
        2 => 1,
        19 => 400,
        _ => builder.random.between(2, 40).unsigned_abs(),
    };
    match builder.random.below(8) {
        0 => range(builder),
        1 => lines(builder, rows),
        2 => text_file(builder, rows),
        3 => separated(builder, rows, "csv", ','),
        4 => separated(builder, rows, "tsv", '\t'),
        5 => json(builder, rows),
        _ => inline_rows(builder, rows),
    }
}

fn range(builder: &mut Builder) {
    let (from, to, step): (i64, i64, i64) = match builder.random.below(5) {
        0 => (0, 0, 1),
        1 => (10, -20, -3),
        2 => (0, 4000, 1),
        3 => (5, 1, 1),
        _ => (-7, 60, 2),
    };
    let count = if (to - from) * step > 0 { (to - from).unsigned_abs().div_ceil(step.unsigned_abs()) } else { 0 };
    let shape = Shape::of(vec![Kind::Int(4000)], count);
    let step_text = if step == 1 { String::new() } else { format!(", step: {step}") };
    builder.add(&[], &format!("read: {{range: {{from: {from}, to: {to}{step_text}}}}}"), &Vec::new(), shape);
}

fn sentence(random: &mut Random) -> String {
    let words: Vec<&str> = (0..random.below(6)).map(|_| *random.pick(&WORDS)).collect();
    words.join(" ")
}

fn lines(builder: &mut Builder, rows: u64) {
    let rows = rows.min(30);
    let all: Vec<String> = (0..rows).map(|_| format!("{:?}", sentence(&mut builder.random))).collect();
    let shape = Shape::of(vec![Kind::Text], rows);
    builder.add(&[], &format!("read: {{inline: {{lines: [{}]}}}}", all.join(", ")), &Vec::new(), shape);
}

fn text_file(builder: &mut Builder, rows: u64) {
    let mut content = String::new();
    for _ in 0..rows {
        content.push_str(&sentence(&mut builder.random));
        content.push_str(if builder.random.chance(5) { "\r\n" } else { "\n" });
    }
    if rows > 0 && builder.random.chance(30) {
        content.push_str("no line end");
    }
    let path = builder.file("txt", content);
    let shape = Shape::of(vec![Kind::Text], rows + 1);
    builder.add(&[], &format!("read: {{text: {{paths: [{path}]}}}}"), &Vec::new(), shape);
}

fn small(random: &mut Random) -> i64 {
    random.between(-9, 20)
}

/// A float with quarters, always written as a float.
fn quarters(random: &mut Random) -> String {
    format!("{:?}", random.between(-20, 40) as f64 / 4.0)
}

/// Four columns: text, integer, float with quarters, text.
fn separated(builder: &mut Builder, rows: u64, format: &str, delimiter: char) {
    let header = builder.random.chance(60);
    let mut content = String::new();
    if header {
        content.push_str(&["word", "number", "part", "other"].join(&delimiter.to_string()));
        content.push('\n');
    }
    for _ in 0..rows {
        let random = &mut builder.random;
        let other = if format == "csv" && random.chance(30) { "\"a, \"\"b\"\"\"".to_owned() } else { sentence(random) };
        let record = [(*random.pick(&WORDS)).to_owned(), small(random).to_string(), quarters(random), other];
        content.push_str(&record.join(&delimiter.to_string()));
        content.push('\n');
    }
    let path = builder.file(format, content);
    let mut shape = Shape::of(vec![Kind::Text, Kind::Int(20), Kind::Number(10), Kind::Text], rows);
    let (types, head) = if header {
        shape.names = Some(["word", "number", "part", "other"].map(str::to_owned).to_vec());
        ("{number: integer, part: float}", ", header: true")
    } else {
        ("{\"2\": integer, \"3\": float}", "")
    };
    let names = shape.names.clone();
    let step = builder.add(&[], &format!("read: {{{format}: {{paths: [{path}]{head}, types: {types}}}}}"), &Vec::new(), shape);
    if let Some(names) = names {
        builder.header(&step, &names);
    }
}

fn json(builder: &mut Builder, rows: u64) {
    let mut content = String::new();
    for _ in 0..rows {
        let random = &mut builder.random;
        let object = match random.below(4) {
            0 => format!("{{\"k\": {}}}", small(random)),
            1 => format!("{{\"v\": \"{}\", \"k\": {}}}", random.pick(&WORDS), quarters(random)),
            2 => format!("{{\"k\": \"{}\", \"v\": null}}", random.pick(&WORDS)),
            _ => format!("{{\"k\": {}, \"v\": {}}}\n", small(random), random.chance(50)),
        };
        content.push_str(&object);
        content.push('\n');
    }
    let path = builder.file("json", content);
    let mut shape = Shape::of(vec![Kind::Scalar, Kind::Scalar], rows);
    shape.names = Some(vec!["k".to_owned(), "v".to_owned()]);
    builder.add(&[], &format!("read: {{json: {{paths: [{path}], columns: [k, v]}}}}"), &Vec::new(), shape);
}

fn value(random: &mut Random, kind: Kind) -> String {
    match kind {
        Kind::Int(_) => small(random).to_string(),
        Kind::Number(_) => format!("{}", random.between(-20, 40) as f64 / 4.0),
        Kind::Text => format!("{:?}", random.pick(&WORDS)),
        Kind::Scalar => {
            let kinds = [Kind::Int(20), Kind::Number(10), Kind::Text];
            match random.below(6) {
                0 => "null".to_owned(),
                1 => random.pick(&["true", "false"]).to_string(),
                2 => random.pick(&["9007199254740993", "-9223372036854775807", "0.5"]).to_string(),
                other => value(random, kinds[other % 3]),
            }
        }
        Kind::Any => {
            let length = random.below(3);
            let items: Vec<String> = (0..length).map(|_| value(random, Kind::Int(20))).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn inline_rows(builder: &mut Builder, rows: u64) {
    let rows = rows.min(40);
    let kinds = [Kind::Int(20), Kind::Int(20), Kind::Text, Kind::Number(10), Kind::Scalar, Kind::Any];
    let width = builder.random.between(1, 4);
    let columns: Vec<Kind> = (0..width).map(|_| *builder.random.pick(&kinds)).collect();
    let mut shape = Shape::of(columns.clone(), rows);
    shape.exact = builder.random.chance(80);
    let mut all = Vec::new();
    for _ in 0..rows {
        let mut row: Vec<String> = columns.iter().map(|kind| value(&mut builder.random, *kind)).collect();
        if !shape.exact && builder.random.chance(40) {
            row.push(value(&mut builder.random, Kind::Scalar));
        }
        all.push(format!("[{}]", row.join(", ")));
    }
    builder.add(&[], &format!("read: {{inline: {{rows: [{}]}}}}", all.join(", ")), &Vec::new(), shape);
}
