//! Tables of text, as kubectl prints them.

/// Rows with their columns aligned, three spaces between; the first row is the heading.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An age as kubectl says it: `45s`, `12m`, `3h`, `5d`.
pub(crate) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7_200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let text = aligned(&[row(&["NAME", "PHASE"]), row(&["wordcount", "Running"]), row(&["a", ""])]);
        assert_eq!(text, "NAME        PHASE\nwordcount   Running\na\n");
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!([5, 119, 120, 7_200, 172_800].map(age), ["5s", "119s", "2m", "2h", "2d"]);
    }
}
