//! Groups of one row each: what a group by key makes of rows no two of which have the same key, row by row.

use plan::{Alone, Key};

use crate::{Error, Result, RowScratch, RowSink, Val, codec};

/// What it is: [`plan::Do::Alone`].
pub(crate) struct Singles {
    key: Key,
    made: Alone,
    scratch: RowScratch,
    list: Vec<u8>,
    out: Box<dyn RowSink>,
}

impl Singles {
    pub(crate) fn new(key: Key, made: Alone, out: Box<dyn RowSink>) -> Singles {
        Singles { key, made, scratch: RowScratch::default(), list: Vec::new(), out }
    }
}

/// The list of a row's one item: its value where it has one outside the key, else the list of them.
fn write_list<'a>(list: &mut Vec<u8>, values: impl Iterator<Item = &'a Val<'a>> + Clone) {
    list.clear();
    codec::write_array_header(list, 1);
    let count = values.clone().count();
    if count != 1 {
        codec::write_array_header(list, count);
    }
    values.for_each(|value| codec::write_val(list, *value));
}

impl RowSink for Singles {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let Singles { key, made, scratch, list, out } = self;
        let mut grouped = scratch.take();
        let is_key = |place: usize| match &*key {
            Key::Row => true,
            Key::Columns(columns) => columns.iter().any(|column| *column as usize == place),
        };
        let rest = row.iter().enumerate().filter(|(place, _)| !is_key(*place)).map(|(_, value)| value);
        match &*key {
            Key::Row => grouped.extend_from_slice(row),
            Key::Columns(columns) => {
                for column in columns {
                    let field = row.get(*column as usize);
                    grouped.push(*field.ok_or(Error::Corrupt("a row that was known to have a key field has none"))?);
                }
            }
        }
        match made {
            Alone::List => {
                write_list(list, rest);
                grouped.push(Val::List(list));
            }
            Alone::Values => grouped.extend(rest.copied()),
        }
        let pushed = out.push(&grouped);
        scratch.give(grouped);
        pushed
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::op::trial::{decode, encode_vals};

    /// The last row, encoded, for a test that has given the sink away.
    #[derive(Clone, Default)]
    struct Last(Rc<RefCell<Vec<u8>>>);

    impl RowSink for Last {
        fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
            *self.0.borrow_mut() = encode_vals(row);
            Ok(())
        }

        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn check(key: &[u32], made: Alone, row: &[Val<'_>], expected: &[Val<'_>]) {
        let last = Last::default();
        let mut singles = Singles::new(Key::Columns(key.to_vec()), made, Box::new(last.clone()));
        singles.push(row).unwrap();
        singles.finish().unwrap();
        assert_eq!(*last.0.borrow(), encode_vals(expected), "{:?}", decode(&last.0.borrow()));
    }

    #[test]
    fn a_row_that_is_alone_becomes_its_group() {
        let nested = encode_vals(&[Val::Int(7), Val::Nil]);
        let (text, float, list) = (Val::Str(b"a"), Val::Float(4.0), Val::List(&nested));
        let row = [text, float, list];
        let pair = encode_vals(&[text, float]);
        let item = encode_vals(&[Val::List(&pair)]);
        check(&[2], Alone::List, &row, &[list, Val::List(&item)]);
        // The item of a row with one value is the value, be it a list.
        let item = encode_vals(&[list]);
        check(&[1, 0], Alone::List, &row, &[float, text, Val::List(&item)]);
        let nothing = encode_vals(&[]);
        let item = encode_vals(&[Val::List(&nothing)]);
        check(&[0, 1, 2], Alone::List, &row, &[text, float, list, Val::List(&item)]);
        check(&[1], Alone::Values, &row, &[float, text, list]);
    }

    #[test]
    fn a_row_without_the_key_is_an_error() {
        let mut singles = Singles::new(Key::Columns(vec![1]), Alone::Values, Box::new(Last::default()));
        assert!(singles.push(&[Val::Nil]).is_err());
    }
}
