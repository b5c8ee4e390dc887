//! The table at the end of a run: what each step did, for people.

use engine::report::{Report, StepReport};

use crate::size::ByteSize;

const HEADINGS: [&str; 7] = ["step", "rows in", "rows out", "bytes", "seconds", "spilled", "set aside"];

/// The table and a closing line.
pub(crate) fn table(report: &Report) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(report.steps.iter().map(cells));
    let widths: [usize; 7] = std::array::from_fn(|column| widest(&rows, column));
    let mut text = String::new();
    for row in &rows {
        text.push_str(&line(row, &widths));
    }
    for told in report.decisions.iter().filter(|told| told.did && told.pass == "switch-joins") {
        text.push_str(&format!("{}: {}\n", told.step, told.reason));
    }
    if !report.kept.is_empty() {
        text.push_str(&format!("kept in the cache: {}\n", report.kept.join(", ")));
    }
    text.push_str(&format!("done in {} s\n", seconds(report.seconds)));
    text
}

fn widest(rows: &[[String; 7]], column: usize) -> usize {
    rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
}

/// Names to the left, numbers to the right.
fn line(row: &[String; 7], widths: &[usize; 7]) -> String {
    let mut text = format!("{:<width$}", row[0], width = widths[0]);
    for (cell, &width) in row.iter().zip(widths).skip(1) {
        text.push_str(&format!("  {cell:>width$}"));
    }
    text.push('\n');
    text
}

fn cells(step: &StepReport) -> [String; 7] {
    [
        if step.cached { format!("{} (cached)", step.step) } else { step.step.clone() },
        count(step.rows_in),
        count(step.rows_out),
        ByteSize(step.bytes).to_string(),
        seconds(step.seconds),
        ByteSize(step.spilled_bytes).to_string(),
        count(step.set_aside),
    ]
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2}")
}

/// Digits in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_table_aligns_names_left_and_numbers_right() {
        let words = StepReport {
            step: "words".to_owned(),
            rows_in: 1200,
            rows_out: 65_000,
            bytes: 2048,
            seconds: 0.5,
            spilled_bytes: 0,
            set_aside: 3,
            cached: false,
        };
        let counts = StepReport { step: "counts".to_owned(), rows_out: 7, cached: true, ..StepReport::default() };
        let report = Report { seconds: 1.0, steps: vec![words, counts], kept: vec!["totals".to_owned()], ..Report::default() };
        let expected = "step             rows in  rows out    bytes  seconds  spilled  set aside\n\
                        words              1,200    65,000  2.0 KiB     0.50      0 B          3\n\
                        counts (cached)        0         7      0 B     0.00      0 B          0\n\
                        kept in the cache: totals\n\
                        done in 1.00 s\n";
        assert_eq!(table(&report), expected);
    }
}
