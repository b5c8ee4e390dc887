//! Lists, maps and structs of a batch as encoded values.

use ::arrow::array::{Array, ArrayRef, AsArray};
use ::arrow::datatypes::DataType;

use super::column::{Column, ColumnProblem, Kind, Made};
use crate::{Val, codec};

/// A column whose values hold values.
pub(super) enum Nested {
    Plain(Column),
    List {
        ends: Vec<usize>,
        items: Box<Nested>,
    },
    /// Entries of a map, keys and values.
    Map {
        ends: Vec<usize>,
        keys: Box<Nested>,
        values: Box<Nested>,
    },
    /// Names, ascending, each with its values.
    Struct(Vec<(String, Nested, ArrayRef)>),
}

impl Nested {
    pub(super) fn new(array: &ArrayRef) -> Result<Nested, ColumnProblem> {
        let boxed = |array: &ArrayRef| Nested::new(array).map(Box::new);
        Ok(match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Nested::List { ends: bounds(list.offsets()), items: boxed(list.values())? }
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Nested::List { ends: bounds(list.offsets()), items: boxed(list.values())? }
            }
            DataType::FixedSizeList(_, len) => {
                let list = array.as_fixed_size_list();
                let len = usize::try_from(*len).unwrap_or(0);
                Nested::List { ends: (0..=list.len()).map(|row| row * len).collect(), items: boxed(list.values())? }
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Nested::Map { ends: bounds(map.offsets()), keys: boxed(map.keys())?, values: boxed(map.values())? }
            }
            DataType::Struct(fields) => {
                let members = fields.iter().zip(array.as_struct().columns());
                let member = |(field, column): (_, &ArrayRef)| {
                    let field: &::arrow::datatypes::FieldRef = field;
                    Ok((field.name().clone(), Nested::new(column)?, column.clone()))
                };
                let mut members = members.map(member).collect::<Result<Vec<_>, _>>()?;
                members.sort_by(|(a, ..), (b, ..)| a.cmp(b));
                members.dedup_by(|(a, ..), (b, ..)| a == b);
                Nested::Struct(members)
            }
            _ => Nested::Plain(Column::new(array)?),
        })
    }

    /// All rows of the column, encoded.
    pub(super) fn encoded(&self, array: &ArrayRef) -> Made {
        let kind = if matches!(self, Nested::List { .. }) { Kind::List } else { Kind::Map };
        let mut made = Made { kind, bytes: Vec::new(), ends: Vec::with_capacity(array.len()), nulls: array.nulls().cloned() };
        for row in 0..array.len() {
            if !array.is_null(row) {
                self.write(row, &mut made.bytes);
            }
            made.ends.push(made.bytes.len());
        }
        made
    }

    /// Appends the value of a row, which is not null.
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Nested::Plain(column) => codec::write_val(out, column.get(row)),
            Nested::List { ends, items } => {
                let range = ends[row]..ends[row + 1];
                codec::write_array_header(out, range.len());
                range.for_each(|item| items.write(item, out));
            }
            Nested::Map { ends, keys, values } => write_entries(ends[row]..ends[row + 1], keys, values, out),
            Nested::Struct(members) => {
                codec::write_map_header(out, members.len());
                for (name, values, array) in members {
                    codec::write_val(out, Val::Str(name.as_bytes()));
                    if array.is_null(row) { codec::write_val(out, Val::Nil) } else { values.write(row, out) }
                }
            }
        }
    }
}

fn bounds<O: ::arrow::array::OffsetSizeTrait>(offsets: &::arrow::buffer::OffsetBuffer<O>) -> Vec<usize> {
    offsets.iter().map(|offset| offset.as_usize()).collect()
}

/// Appends a map sorted by its keys; of equal keys the last counts.
fn write_entries(range: std::ops::Range<usize>, keys: &Nested, values: &Nested, out: &mut Vec<u8>) {
    let encode = |entry: usize| {
        let mut bytes = Vec::new();
        keys.write(entry, &mut bytes);
        (bytes, entry)
    };
    let mut entries: Vec<(Vec<u8>, usize)> = range.map(encode).collect();
    entries.sort_by(|(a, _), (b, _)| compare(a, b));
    let last = |at: usize| entries.get(at + 1).is_none_or(|(next, _)| compare(&entries[at].0, next).is_ne());
    let kept: Vec<usize> = (0..entries.len()).filter(|&at| last(at)).collect();
    codec::write_map_header(out, kept.len());
    for at in kept {
        let (key, entry) = &entries[at];
        out.extend_from_slice(key);
        values.write(*entry, out);
    }
}

/// The order of two encoded keys; text, which most keys are, without a detour.
fn compare(mut a: &[u8], mut b: &[u8]) -> std::cmp::Ordering {
    match (codec::read_val(&mut a), codec::read_val(&mut b)) {
        (Ok(Val::Str(a)), Ok(Val::Str(b))) => a.cmp(b),
        (Ok(a), Ok(b)) => crate::key::compare(a, b),
        _ => unreachable!("keys written here are well-formed"),
    }
}
