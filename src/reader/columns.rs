//! Builds the texts and ids of a chunk from its decoded columns.

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, LargeStringBuilder, RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use reembed_encoder::batch::RowNames;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::task::TextTemplate;

use super::text_roots::TextRoots;
use crate::chunk::RowChunk;
use crate::config::InvalidUtf8;

/// The positions of the id and text columns among the decoded columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumns {
    id: usize,
    title: usize,
    description: Option<usize>,
    files: Option<usize>,
    names: Vec<String>,
    /// Whether the ids are text; bytes without an annotation are shown in hexadecimal.
    ids_are_text: bool,
    on_invalid_utf8: InvalidUtf8,
}

impl TextColumns {
    /// The columns `roots` of a file of which `decoded` are decoded, in this order. `names` are
    /// those of the text columns.
    pub fn new(
        roots: &TextRoots,
        decoded: &[usize],
        names: Vec<String>,
        on_invalid_utf8: InvalidUtf8,
    ) -> Option<Self> {
        let position = |root: usize| decoded.iter().position(|decoded| *decoded == root);
        let optional = |root: Option<usize>| match root {
            Some(root) => position(root).map(Some),
            None => Some(None),
        };
        Some(TextColumns {
            id: position(roots.id)?,
            title: position(roots.title)?,
            description: optional(roots.description)?,
            files: optional(roots.files)?,
            names,
            ids_are_text: roots.id_is_text,
            on_invalid_utf8,
        })
    }

    /// The names of the text columns, in the order of the text.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the input has a files column.
    pub fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Builds the texts of a chunk whose first row is `first_row` of the input.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when an id is null or a text is not UTF-8.
    pub fn build_chunk(
        &self,
        first_row: u64,
        columns: RecordBatch,
        template: &TextTemplate,
    ) -> Result<RowChunk> {
        let ids = self.ids(first_row, &columns)?;
        let strings = |position: usize| {
            let text = self.text_of(&columns, position, first_row);
            text.strings(columns.column(position), &|row| row)
        };
        let title = strings(self.title)?;
        let description = self.description.map(strings).transpose()?;
        let files = self
            .files
            .map(|at| Files::new(columns.column(at), &self.text_of(&columns, at, first_row)))
            .transpose()?;
        let mut texts = LargeStringBuilder::with_capacity(columns.num_rows(), 0);
        for row in 0..columns.num_rows() {
            let files = files.iter().flat_map(|files| files.of_row(row));
            let description = description.as_ref().and_then(|texts| get(texts, row));
            template
                .write(&mut texts, get(&title, row), description, files)
                .map_err(|cause| text_error(first_row + row as u64, cause))?;
            texts.append_value("");
        }
        let texts = texts.finish();
        Ok(RowChunk { columns, rows: RowNames { first_row, ids }, texts })
    }

    fn ids(&self, first_row: u64, columns: &RecordBatch) -> Result<LargeStringArray> {
        let column = columns.column(self.id);
        let place = || format!("column `{}`", self.name(columns, self.id));
        // A dictionary key may point to a null value, so the validity of the keys is not enough.
        if let Some(nulls) = column.logical_nulls()
            && let Some(row) = (0..column.len()).find(|row| nulls.is_null(*row))
        {
            return Err(Error::new(ErrorKind::Data, "the id is null")
                .at(format!("row {}", first_row + row as u64))
                .at(place())
                .advice("give every row an id, or name another column in `input.id`"));
        }
        if self.ids_are_text {
            let text = self.text_of(columns, self.id, first_row);
            return Ok(LargeStringArray::from_iter(text.strings(column, &|row| row)?.iter()));
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|cause| {
            Error::new(ErrorKind::Data, "the ids cannot be converted to text")
                .at(place())
                .advice("name another column in `input.id`")
                .caused_by(cause)
        })?;
        let mut ids = LargeStringBuilder::with_capacity(column.len(), 0);
        for row in 0..column.len() {
            formatter.value(row).write(&mut ids).map_err(|cause| {
                Error::new(ErrorKind::Data, "the id cannot be converted to text")
                    .at(format!("row {}", first_row + row as u64))
                    .at(place())
                    .advice("fix the value, or name another column in `input.id`")
                    .caused_by(cause)
            })?;
            ids.append_value("");
        }
        Ok(ids.finish())
    }

    fn text_of<'a>(&self, columns: &'a RecordBatch, position: usize, first_row: u64) -> Text<'a> {
        let name = columns.schema_ref().field(position).name();
        Text { name, first_row, on_invalid_utf8: self.on_invalid_utf8 }
    }

    fn name<'a>(&self, columns: &'a RecordBatch, position: usize) -> &'a str {
        columns.schema_ref().field(position).name()
    }
}

/// A column of text, for messages, and what becomes of bytes that are not UTF-8.
struct Text<'a> {
    name: &'a str,
    first_row: u64,
    on_invalid_utf8: InvalidUtf8,
}

impl Text<'_> {
    /// The values as strings. `row_of` returns the row of the chunk that has a value.
    fn strings(
        &self,
        column: &ArrayRef,
        row_of: &dyn Fn(usize) -> usize,
    ) -> Result<StringViewArray> {
        match column.data_type() {
            // A column without a single value.
            DataType::Null => Ok(StringViewArray::new_null(column.len())),
            DataType::BinaryView => {
                let bytes = column.as_binary_view();
                match (bytes.clone().to_string_view(), self.on_invalid_utf8) {
                    (Ok(strings), _) => Ok(strings),
                    (Err(_), InvalidUtf8::Replace) => {
                        Ok(bytes.iter().map(|value| value.map(String::from_utf8_lossy)).collect())
                    }
                    (Err(_), InvalidUtf8::Error) => {
                        let is_text = |value: &[u8]| std::str::from_utf8(value).is_ok();
                        let bad = bytes.iter().position(|value| !value.is_none_or(is_text));
                        let error = Error::new(ErrorKind::Data, "its text is not UTF-8");
                        let row = self.first_row + row_of(bad.unwrap_or(0)) as u64;
                        Err(error
                            .at(format!("row {row}"))
                            .at(format!("column `{}`", self.name))
                            .advice(
                                "mend the text, or set `input.on_invalid_utf8 = \"replace\"` to \
                                 read U+FFFD in the place of its bad bytes",
                            ))
                    }
                }
            }
            _ => {
                let cast = cast(column, &DataType::Utf8View).map_err(|cause| {
                    Error::new(ErrorKind::Data, "its values are not text")
                        .at(format!("column `{}`", self.name))
                        .advice("write the column as UTF-8 strings")
                        .caused_by(cause)
                })?;
                Ok(cast.as_string_view().clone())
            }
        }
    }
}

/// The files column of a chunk.
struct Files {
    list: ArrayRef,
    elements: StringViewArray,
}

impl Files {
    fn new(list: &ArrayRef, text: &Text<'_>) -> Result<Self> {
        let row_of = |element: usize| -> usize {
            let starts_after = |row: &usize| match list.data_type() {
                DataType::LargeList(_) => {
                    list.as_list::<i64>().value_offsets()[row + 1] as usize > element
                }
                DataType::FixedSizeList(..) => {
                    list.as_fixed_size_list().value_offset_at(row + 1) > element
                }
                _ => list.as_list::<i32>().value_offsets()[row + 1] as usize > element,
            };
            (0..list.len().saturating_sub(1)).find(starts_after).unwrap_or(list.len().max(1) - 1)
        };
        let elements = match list.data_type() {
            // A column without a single list.
            DataType::Null => StringViewArray::new_null(0),
            DataType::LargeList(_) => text.strings(list.as_list::<i64>().values(), &row_of)?,
            DataType::FixedSizeList(..) => {
                text.strings(list.as_fixed_size_list().values(), &row_of)?
            }
            _ => text.strings(list.as_list::<i32>().values(), &row_of)?,
        };
        Ok(Files { list: list.clone(), elements })
    }

    /// The files of a row, without nulls.
    fn of_row(&self, row: usize) -> impl Iterator<Item = &str> {
        let range = if self.list.is_null(row) || *self.list.data_type() == DataType::Null {
            0..0
        } else {
            match self.list.data_type() {
                DataType::LargeList(_) => {
                    let ends = self.list.as_list::<i64>().value_offsets();
                    ends[row] as usize..ends[row + 1] as usize
                }
                DataType::FixedSizeList(..) => {
                    let list = self.list.as_fixed_size_list();
                    let start = list.value_offset_at(row);
                    start..start + list.value_length() as usize
                }
                _ => {
                    let ends = self.list.as_list::<i32>().value_offsets();
                    ends[row] as usize..ends[row + 1] as usize
                }
            }
        };
        range.filter_map(|element| get(&self.elements, element))
    }
}

fn text_error(row: u64, cause: std::fmt::Error) -> Error {
    Error::new(ErrorKind::Internal, "the text of the row cannot be built")
        .at(format!("row {row}"))
        .caused_by(cause)
}

fn get(texts: &StringViewArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}
