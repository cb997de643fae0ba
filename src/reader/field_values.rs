//! The values of one field of a text, row by row, as strings.

use std::fmt::{self, Write};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, OffsetSizeTrait, StringViewArray, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use reembed_encoder::batch::row_number;
use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::InvalidUtf8;
use crate::text::LIST_SEPARATOR;

/// A column for messages, and what becomes of its bytes that are not UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The name of the field.
    pub name: &'a str,
    /// The position in the input of the chunk's first row.
    pub first_row: u64,
    /// What becomes of bytes that are not UTF-8.
    pub on_invalid_utf8: InvalidUtf8,
}

/// The values of a field: none, one or several strings for each row.
#[derive(Debug)]
pub struct FieldValues {
    strings: StringViewArray,
    rows: Rows,
    /// What separates the items of a list that is written as one string.
    separator: Option<String>,
}

/// Which strings a row has.
#[derive(Debug)]
enum Rows {
    /// The one at the row's position.
    One,
    /// Those at some positions: the end of each row's in `ends`.
    Many { ends: Vec<usize>, positions: Vec<usize> },
}

impl FieldValues {
    /// Takes the values out of a column: `names` are the fields of structs that lead to them. Lists
    /// on the way and at the end are flattened.
    ///
    /// # Errors
    /// `Data`, naming the row and the field, when a value is not UTF-8.
    pub fn new(
        column: &ArrayRef,
        names: &[String],
        separator: Option<&str>,
        place: Place<'_>,
    ) -> Result<Self> {
        let (values, rows) = flatten(column, names, place)?;
        let strings = strings(&values, &rows, place)?;
        Ok(FieldValues { strings, rows, separator: separator.map(str::to_owned) })
    }

    /// The value of a row that is no list; `None` for a null.
    pub fn single(&self, row: usize) -> Option<&str> {
        self.of_row(row).next()
    }

    /// Whether a row has no value, or an empty string where it has one string.
    pub fn is_empty(&self, row: usize) -> bool {
        match (&self.separator, &self.rows) {
            (Some(separator), _) => self.items(row, separator).next().is_none(),
            (None, Rows::One) => self.single(row).is_none_or(str::is_empty),
            (None, Rows::Many { .. }) => self.of_row(row).next().is_none(),
        }
    }

    /// Appends the values of a row.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn write(&self, row: usize, text: &mut dyn Write) -> fmt::Result {
        match &self.separator {
            Some(separator) => write_joined(self.items(row, separator), text),
            None => write_joined(self.of_row(row), text),
        }
    }

    /// The items of a list that is written as one string: without white space around them, and
    /// without empty ones.
    fn items<'a>(&'a self, row: usize, separator: &'a str) -> impl Iterator<Item = &'a str> {
        let items = self.of_row(row).flat_map(move |text| text.split(separator));
        items.map(str::trim).filter(|item| !item.is_empty())
    }

    /// The strings of a row, without nulls.
    fn of_row(&self, row: usize) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.rows {
            Rows::One => (Some(row), &[][..]),
            Rows::Many { ends, positions } => {
                let start = row.checked_sub(1).map_or(0, |before| ends[before]);
                (None, &positions[start..ends[row]])
            }
        };
        let positions = one.into_iter().chain(many.iter().copied());
        positions.filter(|at| self.strings.is_valid(*at)).map(|at| self.strings.value(at))
    }
}

fn write_joined<'a>(items: impl Iterator<Item = &'a str>, text: &mut dyn Write) -> fmt::Result {
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.write_str(LIST_SEPARATOR)?;
        }
        text.write_str(item)?;
    }
    Ok(())
}

/// The innermost values of a field, and which of them a row has.
fn flatten(column: &ArrayRef, names: &[String], place: Place<'_>) -> Result<(ArrayRef, Rows)> {
    let (mut values, mut names, mut rows) = (column.clone(), names, Rows::One);
    loop {
        let (inner, next) = match (values.data_type(), names) {
            (DataType::Struct(_), [name, rest @ ..]) => {
                names = rest;
                (field_of(&values, name, place)?, None)
            }
            (DataType::List(_), _) => {
                let list = values.as_list::<i32>();
                (list.values().clone(), Some(ranges(list.value_offsets(), list.nulls())))
            }
            (DataType::LargeList(_), _) => {
                let list = values.as_list::<i64>();
                (list.values().clone(), Some(ranges(list.value_offsets(), list.nulls())))
            }
            (DataType::FixedSizeList(_, width), _) => {
                let list = values.as_fixed_size_list();
                let (width, first) = (*width as usize, list.value_offset_at(0));
                let range = |row: usize| match list.is_null(row) {
                    true => 0..0,
                    false => first + row * width..first + (row + 1) * width,
                };
                (list.values().clone(), Some((0..list.len()).map(range).collect()))
            }
            _ => return Ok((values, rows)),
        };
        if let Some(items) = next {
            rows = rows.into_items(&items);
        }
        values = inner;
    }
}

impl Rows {
    /// The items of the lists that a row has.
    fn into_items(self, items: &[std::ops::Range<usize>]) -> Rows {
        let mut positions = Vec::with_capacity(items.len());
        let mut next_ends = Vec::new();
        match self {
            Rows::One => {
                for items in items {
                    positions.extend(items.clone());
                    next_ends.push(positions.len());
                }
            }
            Rows::Many { ends, positions: lists } => {
                let mut start = 0;
                for end in ends {
                    for list in &lists[start..end] {
                        positions.extend(items[*list].clone());
                    }
                    next_ends.push(positions.len());
                    start = end;
                }
            }
        }
        Rows::Many { ends: next_ends, positions }
    }

    /// The first row that has a string of which `is_bad` is true.
    fn first_row(&self, strings: usize, is_bad: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Rows::One => (0..strings).find(|position| is_bad(*position)),
            Rows::Many { ends, positions } => {
                let at = positions.iter().position(|position| is_bad(*position))?;
                Some(ends.partition_point(|end| *end <= at))
            }
        }
    }
}

/// The items of each list; none for a null.
fn ranges<O: OffsetSizeTrait>(
    offsets: &[O],
    nulls: Option<&NullBuffer>,
) -> Vec<std::ops::Range<usize>> {
    let range = |(row, ends): (usize, &[O])| match nulls.is_some_and(|nulls| nulls.is_null(row)) {
        true => 0..0,
        false => ends[0].as_usize()..ends[1].as_usize(),
    };
    offsets.windows(2).enumerate().map(range).collect()
}

/// A field of a struct. It is null where the struct is.
fn field_of(structure: &ArrayRef, name: &str, place: Place<'_>) -> Result<ArrayRef> {
    let structure = structure.as_struct();
    let lost = || {
        Error::new(ErrorKind::Internal, "the field was not decoded (bug)")
            .at(format!("column `{}`", place.name))
    };
    let field = structure.column_by_name(name).ok_or_else(lost)?;
    let Some(outer) = structure.nulls() else { return Ok(field.clone()) };
    if *field.data_type() == DataType::Null {
        return Ok(field.clone());
    }
    let nulls = NullBuffer::union(Some(outer), field.nulls());
    let data = field.to_data().into_builder().nulls(nulls).build();
    data.map(make_array).map_err(|cause| lost().caused_by(cause))
}

/// Values as strings: text as it is, other types in their plain form.
fn strings(values: &ArrayRef, rows: &Rows, place: Place<'_>) -> Result<StringViewArray> {
    match values.data_type() {
        // A column without a single value.
        DataType::Null => Ok(StringViewArray::new_null(values.len())),
        DataType::BinaryView => decode(values.as_binary_view(), rows, place),
        // Parquet keeps times in zones as UTC, whatever the zone was called.
        DataType::Timestamp(unit, Some(_)) => {
            let utc = plain(values, &DataType::Timestamp(*unit, None), rows, place)?;
            let utc = plain(&utc, &DataType::Utf8View, rows, place)?;
            Ok(utc
                .as_string_view()
                .iter()
                .map(|time| time.map(|time| format!("{time}Z")))
                .collect())
        }
        // Durations are numbers of their unit, which Parquet does not keep.
        DataType::Duration(_) => {
            let counts = plain(values, &DataType::Int64, rows, place)?;
            Ok(plain(&counts, &DataType::Utf8View, rows, place)?.as_string_view().clone())
        }
        _ => Ok(plain(values, &DataType::Utf8View, rows, place)?.as_string_view().clone()),
    }
}

/// Converts values. An error names the first row whose value cannot be converted.
fn plain(values: &ArrayRef, to: &DataType, rows: &Rows, place: Place<'_>) -> Result<ArrayRef> {
    cast(values, to).map_err(|cause| {
        let is_bad = |position: usize| cast(&values.slice(position, 1), to).is_err();
        let error = Error::new(ErrorKind::Data, "its value has no plain form as text");
        let error = match rows.first_row(values.len(), is_bad) {
            Some(row) => error.at(row_number(place.first_row + row as u64)),
            None => error,
        };
        error
            .at(format!("column `{}`", place.name))
            .advice("mend the value, or write the column as UTF-8 strings")
            .caused_by(cause)
    })
}

fn decode(bytes: &BinaryViewArray, rows: &Rows, place: Place<'_>) -> Result<StringViewArray> {
    if let Ok(strings) = bytes.clone().to_string_view() {
        return Ok(strings);
    }
    if place.on_invalid_utf8 == InvalidUtf8::Error {
        // Bytes that no row has do no harm.
        let is_bad = |position: usize| {
            bytes.is_valid(position) && std::str::from_utf8(bytes.value(position)).is_err()
        };
        if let Some(row) = rows.first_row(bytes.len(), is_bad) {
            return Err(Error::new(ErrorKind::Data, "its text is not UTF-8")
                .at(row_number(place.first_row + row as u64))
                .at(format!("column `{}`", place.name))
                .advice(
                    "mend the text, or set `input.on_invalid_utf8 = \"replace\"` to read U+FFFD in \
                     the place of its bad bytes",
                ));
        }
    }
    Ok(bytes.iter().map(|value| value.map(String::from_utf8_lossy)).collect())
}

#[cfg(test)]
mod tests;
