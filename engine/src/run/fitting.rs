//! Finds the rows that the operator behind cannot take, before it does: a shuffle or a file has no way back for one row.

use plan::Fit;

use crate::aside::Aside;
use crate::sink::RowForm;
use crate::{Error, Result, RowSink, Val, key};

/// Passes on the rows that fit.
pub(crate) struct Fitting {
    wanted: Wanted,
    aside: Aside,
    out: Box<dyn RowSink>,
}

enum Wanted {
    /// This column, and all before it.
    Last(u32),
    /// A line of a sink; made into a buffer that is thrown away.
    Line(RowForm, Vec<u8>),
}

impl Fitting {
    pub(crate) fn new(step: &str, fit: &Fit, aside: Aside, out: Box<dyn RowSink>) -> Result<Fitting> {
        let wanted = match fit {
            Fit::Width(width) => Wanted::Last(width.saturating_sub(1)),
            Fit::Line(sink) => {
                let form = RowForm::of(sink).map_err(|error| Error::in_step(step, error))?;
                Wanted::Line(form, Vec::new())
            }
        };
        Ok(Fitting { wanted, aside, out })
    }
}

impl RowSink for Fitting {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        match &mut self.wanted {
            Wanted::Last(column) => match key::column(row, *column) {
                Ok(_) => self.out.push(row),
                Err(missing) => self.aside.row(row, missing),
            },
            Wanted::Line(form, line) => {
                line.clear();
                match form.write(line, row) {
                    Ok(()) => self.out.push(row),
                    Err(error) => self.aside.row(row, error),
                }
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()?;
        self.aside.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more() || self.aside.wants_more()
    }
}
