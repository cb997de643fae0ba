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

/// The columns of the ids and of the texts among the decoded columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumns {
    id: Option<IdPosition>,
    texts: Vec<RecipeColumns>,
    on_invalid_utf8: InvalidUtf8,
}

/// The columns of the texts of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeColumns {
    recipe: TextRecipe,
    /// The fields of the recipe; `None` where an optional one is absent.
    fields: Vec<Option<FieldPosition>>,
    /// The root columns of the fields.
    roots: Vec<String>,
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
    /// order; `None` if one of them is not. `roots` has the fields of each of the `recipes`.
    pub fn new(
        roots: &TextRoots,
        recipes: &[&TextRecipe],
        decoded: &[usize],
        name_of: impl Fn(usize) -> String,
        on_invalid_utf8: InvalidUtf8,
    ) -> Option<Self> {
        let position = |root: usize| decoded.iter().position(|decoded| *decoded == root);
        let id = match &roots.id {
            Some(id) => Some(IdPosition { position: position(id.root)?, is_text: id.is_text }),
            None => None,
        };
        let mut texts = Vec::with_capacity(recipes.len());
        for (recipe, found) in recipes.iter().zip(&roots.texts) {
            let mut fields = Vec::new();
            for field in found {
                fields.push(match field {
                    Some(field) => {
                        let names = field.names.clone();
                        Some(FieldPosition { position: position(field.root)?, names })
                    }
                    None => None,
                });
            }
            let roots = found.iter().flatten().map(|field| name_of(field.root)).collect();
            texts.push(RecipeColumns { recipe: (*recipe).clone(), fields, roots });
        }
        Some(TextColumns { id, texts, on_invalid_utf8 })
    }

    /// The columns of each recipe.
    pub fn texts(&self) -> &[RecipeColumns] {
        &self.texts
    }

    /// Whether rows have ids.
    pub fn has_ids(&self) -> bool {
        self.id.is_some()
    }

    /// Builds the texts of a chunk whose first row is at `first_row` of the input.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when an id is null or a text is not UTF-8.
    pub fn build_chunk(&self, first_row: u64, columns: RecordBatch) -> Result<RowChunk> {
        let ids = self.id.map(|id| self.ids(id, first_row, &columns)).transpose()?;
        let mut texts: Vec<LargeStringArray> = Vec::with_capacity(self.texts.len());
        for (number, text) in self.texts.iter().enumerate() {
            // Two models may embed the same texts.
            let same = self.texts[..number].iter().position(|earlier| earlier == text);
            texts.push(match same {
                Some(same) => texts[same].clone(),
                None => text.build(first_row, &columns, self.on_invalid_utf8)?,
            });
        }
        let rows = RowNames { first_row, ids, parts: None };
        Ok(RowChunk { columns, rows, texts, parts: None })
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

impl RecipeColumns {
    /// The columns of record batches: for each field of the recipe the position and the name of its
    /// column, and the fields of structs that lead to it.
    pub(super) fn in_batches(
        recipe: TextRecipe,
        fields: Vec<Option<(usize, String, Vec<String>)>>,
    ) -> Self {
        let roots = fields.iter().flatten().map(|(_, root, _)| root.clone()).collect();
        let position = |(position, _, names)| FieldPosition { position, names };
        let fields = fields.into_iter().map(|field| field.map(position)).collect();
        RecipeColumns { recipe, fields, roots }
    }

    /// The recipe.
    pub fn recipe(&self) -> &TextRecipe {
        &self.recipe
    }

    /// The names of the fields that the file has, in the order of the text.
    pub fn names(&self) -> Vec<String> {
        self.names_where(|found| found.is_some())
    }

    /// The names of the optional fields that the file does not have.
    pub fn absent(&self) -> Vec<String> {
        self.names_where(|found| found.is_none())
    }

    /// The names of the columns that hold the fields.
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    fn names_where(&self, is_meant: impl Fn(&Option<FieldPosition>) -> bool) -> Vec<String> {
        let fields = self.recipe.fields().iter().zip(&self.fields);
        fields.filter(|(_, found)| is_meant(found)).map(|(field, _)| field.name.clone()).collect()
    }

    /// Builds the texts of rows, the first of which is at `first_row` of the input.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when a text is not UTF-8.
    pub(super) fn build(
        &self,
        first_row: u64,
        columns: &RecordBatch,
        on_invalid_utf8: InvalidUtf8,
    ) -> Result<LargeStringArray> {
        let values = self.recipe.fields().iter().zip(&self.fields).map(|(field, found)| {
            let Some(FieldPosition { position, names }) = found else { return Ok(None) };
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
        Ok(texts.finish())
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
