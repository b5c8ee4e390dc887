//! A column of a batch, made ready to give a value per row without allocating.

use std::sync::Arc;

use ::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    LargeBinaryArray, UInt64Array,
};
use ::arrow::buffer::NullBuffer;
use ::arrow::compute::{cast, max};
use ::arrow::datatypes::DataType;

use super::super::SourceError;
use super::super::file::SourceFile;
use super::iso;
use super::nested::Nested;
use crate::Val;

/// Values by row.
pub(super) enum Column {
    Nil,
    Bool(BooleanArray),
    Int(Int64Array),
    Float(Float64Array),
    Bytes(BinaryArray),
    LargeBytes(LargeBinaryArray),
    BytesView(BinaryViewArray),
    FixedBytes(FixedSizeBinaryArray),
    /// Values that were put into the form of rows when the column was made.
    Made(Made),
}

/// Bytes of each row, one after the other.
pub(super) struct Made {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) nulls: Option<NullBuffer>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    List,
    Map,
}

/// Why a column has no values for rows.
#[derive(Debug)]
pub(super) enum ColumnProblem {
    Type(DataType),
    /// An unsigned integer beyond 63 bits.
    TooLarge(u64),
}

impl ColumnProblem {
    pub(super) fn in_column(self, file: &SourceFile, column: &str) -> SourceError {
        match self {
            ColumnProblem::Type(kind) => {
                SourceError::ColumnType { file: Arc::clone(&file.name), column: column.to_owned(), kind: kind.to_string() }
            }
            ColumnProblem::TooLarge(number) => SourceError::Malformed {
                place: file.name.to_string(),
                problem: format!("column {column:?} holds {number}, which is more than an integer can be ({})", i64::MAX),
            },
        }
    }
}

impl Column {
    pub(super) fn new(array: &ArrayRef) -> Result<Column, ColumnProblem> {
        let as_type = |kind: DataType| cast(array, &kind).map_err(|_| ColumnProblem::Type(array.data_type().clone()));
        Ok(match array.data_type() {
            DataType::Null => Column::Nil,
            DataType::Boolean => Column::Bool(array.as_boolean().clone()),
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Column::Int(as_type(DataType::Int64)?.as_primitive().clone()),
            DataType::UInt64 => Column::Int(signed(array.as_primitive())?),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Column::Float(as_type(DataType::Float64)?.as_primitive().clone())
            }
            // Text is bytes with a promise that rows do not need; these casts share the buffers.
            DataType::Utf8 | DataType::Binary => Column::Bytes(as_type(DataType::Binary)?.as_binary().clone()),
            DataType::LargeUtf8 | DataType::LargeBinary => {
                Column::LargeBytes(as_type(DataType::LargeBinary)?.as_binary().clone())
            }
            DataType::Utf8View | DataType::BinaryView => {
                Column::BytesView(as_type(DataType::BinaryView)?.as_binary_view().clone())
            }
            DataType::FixedSizeBinary(_) => Column::FixedBytes(array.as_fixed_size_binary().clone()),
            DataType::Dictionary(_, values) => Column::new(&as_type((**values).clone())?)?,
            DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Column::Made(iso::column(array)?),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Column::Made(Nested::new(array)?.encoded(array)),
            DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Union(..)
            | DataType::RunEndEncoded(..) => return Err(ColumnProblem::Type(array.data_type().clone())),
        })
    }

    /// The value of a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Val<'_> {
        match self {
            Column::Nil => Val::Nil,
            Column::Bool(array) => or_nil(array, row, |row| Val::Bool(array.value(row))),
            Column::Int(array) => or_nil(array, row, |row| Val::Int(array.value(row))),
            Column::Float(array) => or_nil(array, row, |row| Val::Float(array.value(row))),
            Column::Bytes(array) => or_nil(array, row, |row| Val::Str(array.value(row))),
            Column::LargeBytes(array) => or_nil(array, row, |row| Val::Str(array.value(row))),
            Column::BytesView(array) => or_nil(array, row, |row| Val::Str(array.value(row))),
            Column::FixedBytes(array) => or_nil(array, row, |row| Val::Str(array.value(row))),
            Column::Made(made) => made.get(row),
        }
    }
}

#[inline]
fn or_nil<'a>(array: &'a dyn Array, row: usize, value: impl FnOnce(usize) -> Val<'a>) -> Val<'a> {
    if array.is_null(row) { Val::Nil } else { value(row) }
}

fn signed(array: &UInt64Array) -> Result<Int64Array, ColumnProblem> {
    match max(array) {
        Some(largest) if i64::try_from(largest).is_err() => Err(ColumnProblem::TooLarge(largest)),
        _ => Ok(array.unary(|number| number as i64)),
    }
}

impl Made {
    fn get(&self, row: usize) -> Val<'_> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Val::Nil;
        }
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let bytes = &self.bytes[start..self.ends[row]];
        match self.kind {
            Kind::Text => Val::Str(bytes),
            Kind::List => Val::List(bytes),
            Kind::Map => Val::Map(bytes),
        }
    }
}
