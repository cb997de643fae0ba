//! Finds the id and text columns of the input, and builds the texts of a chunk from them.

use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, LargeStringArray, LargeStringBuilder, RecordBatch, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use reembed_encoder::batch::{RowNames, escape_id};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::task::TextTemplate;

use super::column_guess::{is_list_of_text, is_text};
use crate::chunk::RowChunk;
use crate::config::ColumnNames;

/// The positions of the id and text columns in the schema of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumns {
    id: usize,
    title: usize,
    description: Option<usize>,
    files: Option<usize>,
    names: Vec<String>,
}

impl TextColumns {
    /// Finds the columns by name and checks their types.
    ///
    /// # Errors
    /// `Input`, naming the file and the column, when it is missing, there twice, or of another type.
    pub fn find(schema: &Schema, names: &ColumnNames, file: &Path) -> Result<Self> {
        let find = |key: &str, name: &str| find(schema, key, name, file);
        let text = |key: &str, name: &str| {
            let position = find(key, name)?;
            check_text(schema, position, file)?;
            Ok(position)
        };
        let id = find("input.id", &names.id)?;
        check_id(schema, id, file)?;
        let title = text("input.title", &names.title)?;
        let description =
            names.description.as_deref().map(|name| text("input.description", name)).transpose()?;
        let files = match names.files.as_deref() {
            Some(name) if names.files_required || schema.index_of(name).is_ok() => {
                let position = find("input.files", name)?;
                check_files(schema, position, file)?;
                Some(position)
            }
            _ => None,
        };
        let text_names = [Some(title), description, files].into_iter().flatten();
        let names = text_names.map(|position| schema.field(position).name().clone()).collect();
        Ok(TextColumns { id, title, description, files, names })
    }

    /// The names of the text columns, in the order of the text.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The position of the id column in the schema.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Whether the input has a files column.
    pub fn has_files(&self) -> bool {
        self.files.is_some()
    }

    /// Builds the texts of a chunk whose first row is `first_row` of the input.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when an id is null or a value cannot be converted.
    pub fn build_chunk(
        &self,
        first_row: u64,
        columns: RecordBatch,
        template: &TextTemplate,
    ) -> Result<RowChunk> {
        let ids = self.ids(first_row, &columns)?;
        let strings =
            |position: usize| strings(columns.column(position), self.name(&columns, position));
        let title = strings(self.title)?;
        let description = self.description.map(strings).transpose()?;
        let files = self.files.map(|position| Files::new(&columns, position)).transpose()?;
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

    fn name<'a>(&self, columns: &'a RecordBatch, position: usize) -> &'a str {
        columns.schema_ref().field(position).name()
    }
}

/// The files column of a chunk.
struct Files {
    list: ArrayRef,
    elements: StringViewArray,
}

impl Files {
    fn new(columns: &RecordBatch, position: usize) -> Result<Self> {
        let name = columns.schema_ref().field(position).name();
        let list = columns.column(position).clone();
        let elements = match list.data_type() {
            DataType::LargeList(_) => strings(list.as_list::<i64>().values(), name)?,
            DataType::FixedSizeList(..) => strings(list.as_fixed_size_list().values(), name)?,
            _ => strings(list.as_list::<i32>().values(), name)?,
        };
        Ok(Files { list, elements })
    }

    /// The files of a row, without nulls.
    fn of_row(&self, row: usize) -> impl Iterator<Item = &str> {
        let range = if self.list.is_null(row) {
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

fn strings(column: &ArrayRef, name: &str) -> Result<StringViewArray> {
    let cast = cast(column, &DataType::Utf8View).map_err(|cause| {
        Error::new(ErrorKind::Data, "its values are not text")
            .at(format!("column `{name}`"))
            .advice("write the column as UTF-8 strings")
            .caused_by(cause)
    })?;
    Ok(cast.as_string_view().clone())
}

fn find(schema: &Schema, key: &str, name: &str, file: &Path) -> Result<usize> {
    let mut named = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == name);
    let refuse = |message: String| Error::new(ErrorKind::Input, message).in_file(file);
    match (named.next(), named.next()) {
        (Some((position, _)), None) => Ok(position),
        (Some(_), Some(_)) => Err(refuse(format!("there are two columns `{name}`"))
            .advice("rename one of them, so that reembed can tell which one to read")),
        (None, _) => {
            const MAX_NAMES: usize = 20;
            if schema.fields().is_empty() {
                return Err(refuse("the file has no columns".to_owned())
                    .advice("name another file with --input or `input.path`"));
            }
            let mut names: Vec<String> = schema
                .fields()
                .iter()
                .take(MAX_NAMES)
                .map(|field| format!("`{}`", escape_id(field.name())))
                .collect();
            if schema.fields().len() > MAX_NAMES {
                names.push("…".to_owned());
            }
            let optional = if key == "input.description" { " or to \"\"" } else { "" };
            Err(refuse(format!(
                "there is no column `{name}`; the columns are {}",
                names.join(", ")
            ))
            .advice(format!("set `{key}` to one of them{optional}")))
        }
    }
}

fn check_id(schema: &Schema, position: usize, file: &Path) -> Result<()> {
    let field = schema.field(position);
    let data_type = match field.data_type() {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    if data_type.is_nested() || matches!(data_type, DataType::Null) {
        return Err(wrong_type(schema, position, file, "a flat type such as strings or integers"));
    }
    Ok(())
}

fn check_text(schema: &Schema, position: usize, file: &Path) -> Result<()> {
    if is_text(schema.field(position).data_type()) {
        return Ok(());
    }
    Err(wrong_type(schema, position, file, "strings"))
}

fn check_files(schema: &Schema, position: usize, file: &Path) -> Result<()> {
    match schema.field(position).data_type() {
        found if is_list_of_text(found) => Ok(()),
        _ => Err(wrong_type(schema, position, file, "lists of strings")),
    }
}

fn wrong_type(schema: &Schema, position: usize, file: &Path, wanted: &str) -> Error {
    let field = schema.field(position);
    let found = field.data_type();
    let advice = match found {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            "write the column as UTF-8 strings; its bytes are not annotated as strings"
        }
        _ => "name another column in the configuration, or convert this column",
    };
    Error::new(ErrorKind::Input, format!("its type is {found}; the column must hold {wanted}"))
        .in_file(file)
        .at(format!("column `{}`", field.name()))
        .advice(advice)
}
