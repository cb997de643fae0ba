//! Builds the texts and ids of a chunk from its decoded columns.

use std::fmt::{self, Write};

use arrow::array::{Array, LargeStringArray, LargeStringBuilder, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use reembed_encoder::batch::{RowNames, row_number};
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::field_values::{FieldValues, Place};
use super::text_roots::TextRoots;
use crate::chunk::RowChunk;
use crate::config::InvalidUtf8;
use crate::text::{RowValues, TextRecipe};

/// The columns of the ids and of one text among the decoded columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumns {
    id: Option<IdPosition>,
    recipe: TextRecipe,
    /// The fields of the recipe; `None` where an optional one is absent.
    fields: Vec<Option<FieldPosition>>,
    /// The root columns of the fields.
    roots: Vec<String>,
    on_invalid_utf8: InvalidUtf8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdPosition {
    position: usize,
    /// Bytes without an annotation are shown in hexadecimal.
    is_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldPosition {
    position: usize,
    /// The fields of structs that lead to it.
    names: Vec<String>,
}

impl TextColumns {
    /// The columns of `roots` in a file of which the root columns `decoded` are decoded, in this
    /// order; `None` if one of them is not. The text is the one at `text` in `roots`.
    pub fn new(
        roots: &TextRoots,
        (text, recipe): (usize, &TextRecipe),
        decoded: &[usize],
        name_of: impl Fn(usize) -> String,
        on_invalid_utf8: InvalidUtf8,
    ) -> Option<Self> {
        let position = |root: usize| decoded.iter().position(|decoded| *decoded == root);
        let id = match &roots.id {
            Some(id) => Some(IdPosition { position: position(id.root)?, is_text: id.is_text }),
            None => None,
        };
        let mut fields = Vec::new();
        for field in roots.texts.get(text)? {
            fields.push(match field {
                Some(field) => {
                    let names = field.names.clone();
                    Some(FieldPosition { position: position(field.root)?, names })
                }
                None => None,
            });
        }
        let roots = roots.texts.get(text)?.iter().flatten().map(|field| name_of(field.root));
        let (recipe, roots) = (recipe.clone(), roots.collect());
        Some(TextColumns { id, recipe, fields, roots, on_invalid_utf8 })
    }

    /// The names of the fields that the file has, in the order of the text.
    pub fn names(&self) -> Vec<String> {
        let fields = self.recipe.fields().iter().zip(&self.fields);
        fields.filter(|(_, found)| found.is_some()).map(|(field, _)| field.name.clone()).collect()
    }

    /// The names of the columns that hold the fields.
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// Whether rows have ids.
    pub fn has_ids(&self) -> bool {
        self.id.is_some()
    }

    /// The names of the optional fields that the file does not have.
    pub fn absent(&self) -> Vec<String> {
        let fields = self.recipe.fields().iter().zip(&self.fields);
        fields.filter(|(_, found)| found.is_none()).map(|(field, _)| field.name.clone()).collect()
    }

    /// Builds the texts of a chunk whose first row is at `first_row` of the input.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when an id is null or a text is not UTF-8.
    pub fn build_chunk(&self, first_row: u64, columns: RecordBatch) -> Result<RowChunk> {
        let ids = self.id.map(|id| self.ids(id, first_row, &columns)).transpose()?;
        let values = self.recipe.fields().iter().zip(&self.fields).map(|(field, found)| {
            let Some(FieldPosition { position, names }) = found else { return Ok(None) };
            let on_invalid_utf8 = self.on_invalid_utf8;
            let place = Place { name: &field.name, first_row, on_invalid_utf8 };
            let separator = field.separator.as_deref();
            FieldValues::new(columns.column(*position), names, separator, place).map(Some)
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let mut texts = LargeStringBuilder::with_capacity(columns.num_rows(), 0);
        for row in 0..columns.num_rows() {
            self.recipe.write(&mut texts, &Row { values: &values, row }).map_err(|cause| {
                Error::new(ErrorKind::Internal, "the text of the row cannot be built")
                    .at(row_number(first_row + row as u64))
                    .caused_by(cause)
            })?;
            texts.append_value("");
        }
        let texts = texts.finish();
        Ok(RowChunk { columns, rows: RowNames { first_row, ids }, texts })
    }

    fn ids(
        &self,
        id: IdPosition,
        first_row: u64,
        columns: &RecordBatch,
    ) -> Result<LargeStringArray> {
        const ADVICE: &str = "give every row an id, name another column in `input.id`, or set it to \
                              \"\" to name rows by their numbers";
        let column = columns.column(id.position);
        let name = columns.schema_ref().field(id.position).name();
        let place = || format!("column `{name}`");
        // A dictionary key may point to a null value, so the validity of the keys is not enough.
        if let Some(nulls) = column.logical_nulls()
            && let Some(row) = (0..column.len()).find(|row| nulls.is_null(*row))
        {
            return Err(Error::new(ErrorKind::Data, "the id is null")
                .at(row_number(first_row + row as u64))
                .at(place())
                .advice(ADVICE));
        }
        // A time in a zone has the form that it has in a text.
        if id.is_text || matches!(column.data_type(), DataType::Timestamp(_, Some(_))) {
            let on_invalid_utf8 = self.on_invalid_utf8;
            let ids =
                FieldValues::new(column, &[], None, Place { name, first_row, on_invalid_utf8 })?;
            return Ok((0..column.len()).map(|row| ids.single(row)).collect());
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|cause| {
            Error::new(ErrorKind::Data, "the ids cannot be converted to text")
                .at(place())
                .advice(ADVICE)
                .caused_by(cause)
        })?;
        let mut ids = LargeStringBuilder::with_capacity(column.len(), 0);
        for row in 0..column.len() {
            formatter.value(row).write(&mut ids).map_err(|cause| {
                Error::new(ErrorKind::Data, "the id cannot be converted to text")
                    .at(row_number(first_row + row as u64))
                    .at(place())
                    .advice(ADVICE)
                    .caused_by(cause)
            })?;
            ids.append_value("");
        }
        Ok(ids.finish())
    }
}

/// The values of one row of a chunk.
struct Row<'a> {
    values: &'a [Option<FieldValues>],
    row: usize,
}

impl RowValues for Row<'_> {
    fn is_empty(&self, field: usize) -> bool {
        self.values[field].as_ref().is_none_or(|values| values.is_empty(self.row))
    }

    fn write(&self, field: usize, text: &mut dyn Write) -> fmt::Result {
        self.values[field].as_ref().map_or(Ok(()), |values| values.write(self.row, text))
    }
}
