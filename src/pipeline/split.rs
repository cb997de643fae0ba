//! Splits the texts of a chunk of rows into parts, each of which is a row of the output.

use std::num::NonZeroUsize;

use arrow::array::LargeStringBuilder;
use reembed_encoder::batch::{RowNames, RowPart};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::chunk_size::ChunkSize;
use reembed_encoder::model::tokenizer::TextTokenizer;
use reembed_encoder::stop::Stop;

use super::models::Models;
use crate::chunk::RowChunk;
use crate::config::Config;
use crate::row_parts::{Place, RowParts};
use crate::text::TextRecipe;

/// Splits texts as `text.chunk` says.
#[derive(Clone, Copy)]
pub struct Splitter<'a> {
    tokenizer: &'a TextTokenizer,
    size: ChunkSize,
    /// Most parts of a chunk.
    max_rows: usize,
}

impl<'a> Splitter<'a> {
    /// A splitter for the texts of a recipe; `None` if each text is a row. The parts come in chunks of at
    /// most `max_rows`.
    pub fn new(
        recipe: &TextRecipe,
        tokenizer: &'a TextTokenizer,
        max_rows: NonZeroUsize,
    ) -> Option<Splitter<'a>> {
        Some(Splitter { tokenizer, size: recipe.chunk()?, max_rows: max_rows.get() })
    }

    /// A splitter for the texts of a configuration, which has one vector column if it splits them.
    ///
    /// # Errors
    /// Those of the model, which is loaded if texts are split.
    pub fn of_config(
        config: &Config,
        models: &'a Models<'_>,
        stop: &Stop,
    ) -> Result<Option<Splitter<'a>>> {
        let recipe = &config.embeddings.first.text;
        let Some(model) = models.by_column().next().filter(|_| recipe.chunk().is_some()) else {
            return Ok(None);
        };
        Ok(Splitter::new(recipe, &model.get(stop)?.tokenizer, config.input.chunk_rows))
    }

    /// The parts of a chunk of rows in chunks of as many rows as the configuration allows, so that their
    /// vectors take no more memory than those of other chunks.
    ///
    /// # Errors
    /// Those of [`TextTokenizer::split`], naming the row.
    pub fn split(&self, chunk: &RowChunk) -> Result<Vec<RowChunk>> {
        let mut chunks = Vec::new();
        let mut builder = PartBuilder::new(chunk);
        for row in 0..chunk.len() {
            let text = chunk.first_texts().value(row);
            let ranges = self
                .tokenizer
                .split(text, self.size)
                .map_err(|error| error.at(chunk.rows.name(row)))?;
            // Characters and bytes of the text so far, up to the start of a part.
            let (mut characters, mut bytes) = (0, 0);
            for (index, range) in (0u32..).zip(ranges) {
                let part = text.get(range.clone()).ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "a text is split inside a character (bug)")
                        .at(chunk.rows.name(row))
                })?;
                characters += count(text, bytes..range.start);
                bytes = range.start;
                let end = characters + part.chars().count() as u64;
                let place = Place { index, start: characters, end };
                builder.push(row, part, (!text.is_empty()).then_some(place));
                if builder.parts.len() == self.max_rows {
                    chunks.push(builder.finish());
                }
            }
        }
        if !builder.parts.is_empty() {
            chunks.push(builder.finish());
        }
        Ok(chunks)
    }
}

/// The number of characters in a range of bytes.
fn count(text: &str, range: std::ops::Range<usize>) -> u64 {
    text.get(range).map_or(0, |text| text.chars().count() as u64)
}

/// Collects the parts of a chunk.
struct PartBuilder<'a> {
    chunk: &'a RowChunk,
    parts: RowParts,
    texts: LargeStringBuilder,
    /// The row of `chunk` of the first part.
    first: usize,
    rows: Vec<usize>,
    names: Vec<RowPart>,
}

impl<'a> PartBuilder<'a> {
    fn new(chunk: &'a RowChunk) -> PartBuilder<'a> {
        PartBuilder {
            chunk,
            parts: RowParts::default(),
            texts: LargeStringBuilder::new(),
            first: 0,
            rows: Vec::new(),
            names: Vec::new(),
        }
    }

    fn push(&mut self, row: usize, text: &str, place: Option<Place>) {
        if self.parts.is_empty() {
            self.first = row;
        }
        self.rows.push(row);
        self.parts.push(u32::try_from(row - self.first).unwrap_or(u32::MAX), place);
        self.texts.append_value(text);
        let chunk = place.map_or(0, |place| place.index);
        self.names.push(RowPart { row: self.chunk.rows.position(row), chunk });
    }

    /// The parts so far.
    fn finish(&mut self) -> RowChunk {
        let rows = std::mem::take(&mut self.rows);
        let last = rows.last().copied().unwrap_or(self.first);
        let ids = self.chunk.rows.ids.as_ref();
        let ids = ids.map(|ids| rows.iter().map(|row| Some(ids.value(*row))).collect());
        let names = RowNames {
            first_row: self.chunk.rows.position(self.first),
            ids,
            parts: Some(std::mem::take(&mut self.names)),
        };
        RowChunk {
            columns: self.chunk.columns.slice(self.first, last + 1 - self.first),
            rows: names,
            texts: vec![std::mem::take(&mut self.texts).finish()],
            parts: Some(std::mem::take(&mut self.parts)),
        }
    }
}
