//! Rows of an output that are parts of rows of its input: one for each chunk of a long text.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use reembed_encoder::error::{Error, ErrorKind, Result};

/// The columns that an output has for its parts: the number of the chunk in its text, from 0, and where
/// the chunk starts and ends in it, in characters (Unicode code points). They are null in a row without
/// text.
pub const COLUMNS: [&str; 3] = ["chunk_index", "chunk_text_start", "chunk_text_end"];

/// The fields of [`COLUMNS`].
pub fn fields() -> [FieldRef; 3] {
    let [index, start, end] = COLUMNS;
    [
        Arc::new(Field::new(index, DataType::Int32, true)),
        Arc::new(Field::new(start, DataType::Int64, true)),
        Arc::new(Field::new(end, DataType::Int64, true)),
    ]
}

/// A schema of columns with those of the parts after them.
pub fn schema_with_parts(columns: &Schema) -> Schema {
    let fields: Vec<FieldRef> = columns.fields().iter().cloned().chain(fields()).collect();
    Schema::new(fields)
}

/// How the rows of a chunk become rows of the output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowParts {
    /// For each part, its row in the chunk's columns.
    rows: Vec<u32>,
    /// The number of the part in its text, and where it starts and ends; `None` for a row without text.
    places: Vec<Option<Place>>,
}

/// A part in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub index: u32,
    /// Its first character.
    pub start: u64,
    /// The character after its last.
    pub end: u64,
}

impl RowParts {
    /// Adds a part of a row.
    pub fn push(&mut self, row: u32, place: Option<Place>) {
        self.rows.push(row);
        self.places.push(place);
    }

    /// Number of parts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no part.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The parts of these numbers.
    #[must_use]
    pub fn select(&self, parts: &[usize]) -> RowParts {
        RowParts {
            rows: parts.iter().map(|part| self.rows[*part]).collect(),
            places: parts.iter().map(|part| self.places[*part]).collect(),
        }
    }

    /// The columns of some parts: those of the rows, and [`COLUMNS`].
    ///
    /// # Errors
    /// `Internal` when a part has no row.
    pub fn columns(&self, columns: &RecordBatch, parts: Range<usize>) -> Result<RecordBatch> {
        self.take(columns, parts).map_err(|cause| {
            Error::new(ErrorKind::Internal, "the columns of a chunk cannot be repeated")
                .caused_by(cause)
        })
    }

    fn take(
        &self,
        columns: &RecordBatch,
        parts: Range<usize>,
    ) -> std::result::Result<RecordBatch, ArrowError> {
        let rows = UInt32Array::from_iter_values(self.rows[parts.clone()].iter().copied());
        let repeat = |column: &ArrayRef| take(column.as_ref(), &rows, None);
        let mut arrays =
            columns.columns().iter().map(repeat).collect::<std::result::Result<Vec<_>, _>>()?;
        arrays.extend(self.place_columns(parts.clone()));
        let schema = Arc::new(schema_with_parts(columns.schema_ref()));
        let options = RecordBatchOptions::new().with_row_count(Some(parts.len()));
        RecordBatch::try_new_with_options(schema, arrays, &options)
    }

    /// The values of [`COLUMNS`] for some parts.
    fn place_columns(&self, parts: Range<usize>) -> [ArrayRef; 3] {
        let places = || self.places[parts.clone()].iter();
        let wide = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let index = |place: Place| i32::try_from(place.index).unwrap_or(i32::MAX);
        let indexes: Int32Array = places().map(|place| place.map(index)).collect();
        let starts: Int64Array = places().map(|place| place.map(|at| wide(at.start))).collect();
        let ends: Int64Array = places().map(|place| place.map(|at| wide(at.end))).collect();
        [Arc::new(indexes), Arc::new(starts), Arc::new(ends)]
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringArray};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    #[test]
    fn rows_are_repeated_with_the_places_of_their_parts() {
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let columns = RecordBatch::try_from_iter([("name", names)]).expect("a batch");
        let mut parts = RowParts::default();
        let place = |index, start, end| Some(Place { index, start, end });
        parts.push(0, place(0, 0, 10));
        parts.push(0, place(1, 8, 15));
        parts.push(1, None);
        parts.push(2, place(0, 0, 3));

        let found = parts.columns(&columns, 1..4).expect("columns");
        assert_eq!(found.schema_ref().as_ref(), &schema_with_parts(columns.schema_ref()));
        let name = |row: usize| found.column(0).as_string::<i32>().value(row).to_owned();
        assert_eq!((0..3).map(name).collect::<Vec<_>>(), ["a", "b", "c"]);
        let index: Vec<Option<i32>> = found.column(1).as_primitive::<Int32Type>().iter().collect();
        assert_eq!(index, [Some(1), None, Some(0)]);
        let end: Vec<Option<i64>> = found.column(3).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(end, [Some(15), None, Some(3)]);

        let selected = parts.select(&[0, 3]);
        assert_eq!(selected.len(), 2);
        let found = selected.columns(&columns, 0..2).expect("columns");
        assert_eq!(found.column(0).as_string::<i32>().value(1), "c");
    }
}
