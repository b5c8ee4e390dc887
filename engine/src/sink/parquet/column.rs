//! A column under construction: values in, an Arrow array out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListArray, MapArray, NullBufferBuilder, StringBuilder,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use super::shape::{Type, pair_fields};
use crate::text::{self, JsonError};
use crate::{Val, codec};

/// Values of one type.
#[derive(Debug)]
pub(super) enum Column {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Json { texts: StringBuilder, scratch: Vec<u8> },
    List { field: Arc<Field>, spans: Spans, items: Box<Column> },
    Map { fields: Fields, spans: Spans, pair: Box<(Column, Column)> },
}

/// Where each list or map ends among the items of all.
#[derive(Debug)]
pub(super) struct Spans {
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl Column {
    pub(super) fn new(kind: &Type) -> Column {
        match kind {
            Type::Bool => Column::Bool(BooleanBuilder::new()),
            Type::Int => Column::Int(Int64Builder::new()),
            Type::Float => Column::Float(Float64Builder::new()),
            Type::Utf8 => Column::Utf8(StringBuilder::new()),
            Type::Binary => Column::Binary(BinaryBuilder::new()),
            Type::Json => Column::Json { texts: StringBuilder::new(), scratch: Vec::new() },
            Type::List(items) => {
                Column::List { field: items.items_field(), spans: Spans::new(), items: Box::new(Column::new(items)) }
            }
            Type::Map(pair) => Column::Map {
                fields: pair_fields(pair),
                spans: Spans::new(),
                pair: Box::new((Column::new(&pair.0), Column::new(&pair.1))),
            },
        }
    }

    /// Adds a value, which the type was made to hold.
    pub(super) fn push(&mut self, value: Val<'_>) -> Result<(), JsonError> {
        match (self, value) {
            (column, Val::Nil) => column.push_null(),
            (Column::Bool(values), Val::Bool(b)) => values.append_value(b),
            (Column::Int(values), Val::Int(i)) => values.append_value(i),
            (Column::Float(values), Val::Float(f)) => values.append_value(f),
            (Column::Float(values), Val::Int(i)) => values.append_value(i as f64),
            (Column::Utf8(values), Val::Str(s)) => values.append_value(std::str::from_utf8(s).map_err(|_| JsonError::NotUtf8)?),
            (Column::Binary(values), Val::Str(s)) => values.append_value(s),
            (Column::Json { texts, scratch }, value) => {
                scratch.clear();
                text::write_json(scratch, value)?;
                texts.append_value(std::str::from_utf8(scratch).map_err(|_| JsonError::NotUtf8)?);
            }
            (Column::List { spans, items, .. }, Val::List(mut encoded)) => {
                let len = codec::read_array_header(&mut encoded).map_err(|_| JsonError::Damaged)?;
                spans.push(Some(len));
                for _ in 0..len {
                    items.push(next(&mut encoded)?)?;
                }
            }
            (Column::Map { spans, pair, .. }, Val::Map(mut encoded)) => {
                let len = codec::read_map_header(&mut encoded).map_err(|_| JsonError::Damaged)?;
                spans.push(Some(len));
                for _ in 0..len {
                    pair.0.push(next(&mut encoded)?)?;
                    pair.1.push(next(&mut encoded)?)?;
                }
            }
            (_, _) => unreachable!("a column's type was made of its values"),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Column::Bool(values) => values.append_null(),
            Column::Int(values) => values.append_null(),
            Column::Float(values) => values.append_null(),
            Column::Utf8(values) | Column::Json { texts: values, .. } => values.append_null(),
            Column::Binary(values) => values.append_null(),
            Column::List { spans, .. } | Column::Map { spans, .. } => spans.push(None),
        }
    }

    /// The values so far, as an array; the column is empty then.
    pub(super) fn take(&mut self) -> ArrayRef {
        match self {
            Column::Bool(values) => Arc::new(values.finish()),
            Column::Int(values) => Arc::new(values.finish()),
            Column::Float(values) => Arc::new(values.finish()),
            Column::Utf8(values) | Column::Json { texts: values, .. } => Arc::new(values.finish()),
            Column::Binary(values) => Arc::new(values.finish()),
            Column::List { field, spans, items } => {
                let (offsets, nulls) = spans.take();
                Arc::new(ListArray::new(Arc::clone(field), offsets, items.take(), nulls))
            }
            Column::Map { fields, spans, pair } => {
                let (offsets, nulls) = spans.take();
                let entries = StructArray::new(fields.clone(), vec![pair.0.take(), pair.1.take()], None);
                let field = Arc::new(Field::new("entries", DataType::Struct(fields.clone()), false));
                Arc::new(MapArray::new(field, offsets, entries, nulls, false))
            }
        }
    }
}

impl Spans {
    fn new() -> Spans {
        Spans { lengths: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    fn push(&mut self, len: Option<usize>) {
        self.lengths.push(len.unwrap_or(0));
        self.nulls.append(len.is_some());
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Option<arrow::buffer::NullBuffer>) {
        (OffsetBuffer::from_lengths(self.lengths.drain(..)), self.nulls.finish())
    }
}

fn next<'a>(encoded: &mut &'a [u8]) -> Result<Val<'a>, JsonError> {
    codec::read_val(encoded).map_err(|_| JsonError::Damaged)
}
