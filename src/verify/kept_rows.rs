//! The rows of a table that an output has: without those that were left out of it.

use std::collections::VecDeque;
use std::ops::Range;

use arrow::array::LargeStringArray;
use reembed_encoder::batch::strings;
use reembed_encoder::error::Result;

use crate::chunk::RowChunk;
use crate::config::{InputConfig, OnEmpty};
use crate::footer::Footer;
use crate::reader::{Chunks, Decoded, Reader, TableFile};
use crate::row_parts;
use crate::text::TextRecipe;

/// A reader of texts and ids, some of whose rows the output may lack.
pub struct RowSource {
    reader: Reader,
    /// Whether rows without text are left out of the output.
    drops_rows: bool,
    /// Whether rows are chunks of texts, and the reader has their places as further texts.
    has_chunks: bool,
}

impl RowSource {
    /// The rows of an output that are chunks of texts.
    ///
    /// # Errors
    /// `Input` when the output lacks the columns that say which.
    pub fn of_chunks(config: &InputConfig, recipe: &TextRecipe) -> Result<RowSource> {
        let [_, start, end] =
            row_parts::COLUMNS.map(|name| TextRecipe::columns(vec![name.to_owned()]));
        let table = TableFile::open(&config.path)?;
        let reader = Reader::with_table(table, config, &[recipe, &start, &end], Decoded::Text)?;
        Ok(RowSource { reader, drops_rows: false, has_chunks: true })
    }

    /// The rows of the output itself.
    pub fn of_output(reader: Reader) -> RowSource {
        RowSource { reader, drops_rows: false, has_chunks: false }
    }

    /// The rows of the input of an output with this footer.
    pub fn of_input(reader: Reader, footer: &Footer) -> RowSource {
        let drops_rows = footer.on_empty == Some(OnEmpty::Drop);
        RowSource { reader: reader.with_limit(footer.limit), drops_rows, has_chunks: false }
    }

    /// The rows that the output has, in order.
    pub fn rows(&self) -> KeptRows<'_> {
        let RowSource { reader, drops_rows, has_chunks } = self;
        let (rest, drops_rows, has_chunks) = (VecDeque::new(), *drops_rows, *has_chunks);
        KeptRows { chunks: reader.chunks(), drops_rows, has_chunks, rest, dropped: 0 }
    }
}

/// Iterates over the rows that an output has, in parts whose rows follow each other in the table.
pub struct KeptRows<'a> {
    chunks: Chunks<'a>,
    drops_rows: bool,
    has_chunks: bool,
    /// The next parts.
    rest: VecDeque<RowChunk>,
    dropped: u64,
}

impl KeptRows<'_> {
    /// Number of rows so far that the output lacks.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Iterator for KeptRows<'_> {
    type Item = Result<RowChunk>;

    fn next(&mut self) -> Option<Result<RowChunk>> {
        loop {
            if let Some(part) = self.rest.pop_front() {
                return Some(Ok(part));
            }
            let chunk = match self.chunks.next()? {
                Ok(chunk) if self.drops_rows => chunk,
                Ok(chunk) if self.has_chunks => return Some(Ok(texts_of_chunks(chunk))),
                other => return Some(other),
            };
            let parts = parts_with_text(chunk.first_texts());
            let kept: usize = parts.iter().map(Range::len).sum();
            self.dropped += (chunk.len() - kept) as u64;
            self.rest = parts.into_iter().map(|part| slice(&chunk, part)).collect();
        }
    }
}

/// A chunk of rows with the texts of their chunks: the texts of the rows, cut where the other two texts say.
/// A place that is none has the empty text.
fn texts_of_chunks(chunk: RowChunk) -> RowChunk {
    let [texts, starts, ends] = &chunk.texts[..] else { return chunk };
    let cut = |((text, start), end): ((&str, &str), &str)| {
        let (start, end): (usize, usize) = (start.parse().ok()?, end.parse().ok()?);
        let mut bytes = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(start);
        let from = bytes.next()?;
        let to = match end.checked_sub(start)? {
            0 => from,
            length => bytes.nth(length - 1)?,
        };
        text.get(from..to).map(str::to_owned)
    };
    let rows = strings(texts).zip(strings(starts)).zip(strings(ends));
    let cut = LargeStringArray::from_iter_values(rows.map(|row| cut(row).unwrap_or_default()));
    RowChunk { texts: vec![cut], ..chunk }
}

/// The ranges of rows that have a text.
fn parts_with_text(texts: &LargeStringArray) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (row, _) in strings(texts).enumerate().filter(|(_, text)| !text.is_empty()) {
        match parts.last_mut() {
            Some(part) if part.end == row => part.end = row + 1,
            _ => parts.push(row..row + 1),
        }
    }
    parts
}

fn slice(chunk: &RowChunk, part: Range<usize>) -> RowChunk {
    let (start, length) = (part.start, part.len());
    RowChunk {
        columns: chunk.columns.slice(start, length),
        rows: chunk.rows.slice(start, length),
        parts: None,
        texts: chunk.texts.iter().map(|texts| texts.slice(start, length)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_a_row_has_no_text() {
        for (texts, expected) in [
            (&["", "a", " ", "", "", "b"][..], vec![1..3, 5..6]),
            (&["a", "b", "", "c"], vec![0..2, 3..4]),
            (&["", ""], vec![]),
            (&[], vec![]),
        ] {
            let array = LargeStringArray::from_iter_values(texts);
            assert_eq!(parts_with_text(&array), expected, "{texts:?}");
        }
    }
}
