//! What goes into an encoder: batches of token ids, and the names of their rows for messages.

use std::ops::Range;

use arrow_array::{Array, LargeStringArray};

use crate::limit::BatchShape;

/// The tokenized texts of a chunk of rows, planned as batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedTexts {
    /// Batches in the order in which they run. Together they hold each text once, or each chunk of
    /// it if its vector is the mean of them.
    pub batches: Vec<TokenBatch>,
    /// The rows whose text was truncated to the model's maximum length, ascending.
    pub truncated: Vec<usize>,
}

/// The names of the rows of a chunk, for messages. People count rows from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct RowNames {
    /// Position of the first row in the input, counted from 0.
    pub first_row: u64,
    /// The id of each row; `None` if rows have no ids.
    pub ids: Option<LargeStringArray>,
    /// If each row is a part of a row of the input: which. They are in order.
    pub parts: Option<Vec<RowPart>>,
}

/// A part of a row of the input: a chunk of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPart {
    /// Position of the row in the input, counted from 0.
    pub row: u64,
    /// The number of the chunk, from 0.
    pub chunk: u32,
}

impl RowNames {
    /// Rows without ids, named by their numbers.
    pub fn unnamed(first_row: u64) -> Self {
        RowNames { first_row, ids: None, parts: None }
    }

    /// Rows with these ids, in order.
    pub fn new<S: AsRef<str>>(first_row: u64, ids: impl IntoIterator<Item = S>) -> Self {
        let ids = Some(LargeStringArray::from_iter_values(ids));
        RowNames { first_row, ids, parts: None }
    }

    /// The position in the input of a row, given that in the chunk.
    pub fn position(&self, row: usize) -> u64 {
        let part = self.parts.as_ref().and_then(|parts| parts.get(row));
        part.map_or(self.first_row + row as u64, |part| part.row)
    }

    /// The name of a row, given its position in the chunk: its number in the input and its id, as in
    /// `row 10 (id T-10)`. A part of a row has the number of its chunk as well, as in
    /// `row 10 (id T-10), chunk_index 2`.
    pub fn name(&self, row: usize) -> String {
        let number = row_number(self.position(row));
        let name = match self.id(row) {
            Some(id) => format!("{number} (id {})", escape_id(id)),
            None => number,
        };
        match self.parts.as_ref().and_then(|parts| parts.get(row)) {
            Some(part) => format!("{name}, chunk_index {}", part.chunk),
            None => name,
        }
    }

    /// The id of a row, or its number if rows have no ids: safe to print.
    pub fn label(&self, row: usize) -> String {
        self.id(row).map_or_else(|| row_number(self.position(row)), escape_id)
    }

    /// The names of `length` rows from the row at `start` on.
    #[must_use]
    pub fn slice(&self, start: usize, length: usize) -> RowNames {
        let part = |parts: &Vec<RowPart>| parts[start..start + length].to_vec();
        RowNames {
            first_row: self.position(start),
            ids: self.ids.as_ref().map(|ids| ids.slice(start, length)),
            parts: self.parts.as_ref().map(part),
        }
    }

    fn id(&self, row: usize) -> Option<&str> {
        self.ids.as_ref().filter(|ids| row < ids.len()).map(|ids| ids.value(row))
    }
}

/// The name of the row at a position in the input: `row 1` for position 0.
pub fn row_number(position: u64) -> String {
    format!("row {}", position.saturating_add(1))
}

/// The strings of an array without nulls, in order.
pub fn strings(array: &LargeStringArray) -> impl ExactSizeIterator<Item = &str> {
    (0..array.len()).map(|row| array.value(row))
}

/// Characters of an id in a message.
const MAX_ID_CHARS: usize = 80;

/// Truncates an id to 80 characters and escapes control characters, so that it is safe to print.
pub fn escape_id(id: &str) -> String {
    let mut escaped: String = id.chars().take(MAX_ID_CHARS).flat_map(char::escape_debug).collect();
    if id.chars().nth(MAX_ID_CHARS).is_some() {
        escaped.push('…');
    }
    escaped
}

/// Which chunk of its row's text a text is. The vector of a row is the mean of its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextChunk {
    /// Its position among the chunks of the row, from 0.
    pub number: usize,
    /// The number of chunks of the row.
    pub count: usize,
}

impl TextChunk {
    /// The only chunk: the whole text.
    pub const WHOLE: TextChunk = TextChunk { number: 0, count: 1 };

    /// Whether it is the last chunk of the row.
    pub fn is_last(self) -> bool {
        self.number + 1 == self.count
    }
}

/// The token ids of several texts, ragged: all ids in one vector, and the start of each text in it.
/// A text may be a chunk of the text of a row, which then has several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    starts: Vec<usize>,
    rows: Vec<usize>,
    chunks: Vec<TextChunk>,
    unpooled: usize,
}

impl TokenBatch {
    /// A batch without texts, of which the first `unpooled` tokens will not be pooled: those of a prompt that the model
    /// leaves out.
    pub fn with_unpooled(unpooled: usize) -> Self {
        TokenBatch { unpooled, ..TokenBatch::default() }
    }

    /// The first tokens of each text that are not pooled.
    pub fn unpooled(&self) -> usize {
        self.unpooled
    }

    /// Adds the text of a row: the row in the chunk, and its token ids.
    pub fn push(&mut self, row: usize, ids: &[u32]) {
        self.push_chunk(row, TextChunk::WHOLE, ids);
    }

    /// Adds a chunk of the text of a row.
    pub fn push_chunk(&mut self, row: usize, chunk: TextChunk, ids: &[u32]) {
        self.starts.push(self.ids.len());
        self.ids.extend_from_slice(ids);
        self.rows.push(row);
        self.chunks.push(chunk);
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row in the chunk of each text.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Which chunk of its row each text is.
    pub fn chunks(&self) -> &[TextChunk] {
        &self.chunks
    }

    /// Number of rows whose text or last chunk is here. Over all batches each row counts once.
    pub fn whole_rows(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.is_last()).count()
    }

    /// The token ids of the text at `position`, special tokens included.
    pub fn text(&self, position: usize) -> &[u32] {
        let end = self.starts.get(position + 1).copied().unwrap_or(self.ids.len());
        &self.ids[self.starts[position]..end]
    }

    /// The token ids of every text, in order.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.len()).map(|position| self.text(position))
    }

    /// Number of tokens of all texts, without padding.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of tokens of the texts at these positions, without padding.
    pub fn tokens_of(&self, positions: Range<usize>) -> usize {
        positions.map(|position| self.text(position).len()).sum()
    }

    /// Tokens of the longest text; 0 without texts.
    pub fn longest(&self) -> usize {
        self.texts().map(<[u32]>::len).max().unwrap_or(0)
    }

    /// Its number of texts, longest text and tokens.
    pub fn shape(&self) -> BatchShape {
        BatchShape { rows: self.len(), longest: self.longest(), tokens: self.tokens() }
    }

    /// Splits it into the first `count` texts and the others, in order.
    pub fn split_at(&self, count: usize) -> (TokenBatch, TokenBatch) {
        (self.part(0..count), self.part(count..self.len()))
    }

    /// The texts of the rows for which `keep` returns true, in order.
    pub fn filter_rows(&self, keep: impl Fn(usize) -> bool) -> TokenBatch {
        self.part((0..self.len()).filter(|position| keep(self.rows[*position])))
    }

    fn part(&self, positions: impl Iterator<Item = usize>) -> TokenBatch {
        let mut part = TokenBatch::with_unpooled(self.unpooled);
        positions.for_each(|position| {
            part.push_chunk(self.rows[position], self.chunks[position], self.text(position));
        });
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_name_escapes_and_truncates_the_id() {
        let rows = RowNames::new(10, ["a\u{1b}[2J", &"x".repeat(500)]);
        assert_eq!(rows.name(0), "row 11 (id a\\u{1b}[2J)");
        assert_eq!(rows.name(1).chars().count(), "row 12 (id )".len() + 81);
        assert_eq!(rows.name(2), "row 13");
    }

    #[test]
    fn split_and_filtered_batches_keep_texts_with_their_rows() {
        let mut batch = TokenBatch::with_unpooled(2);
        batch.push(7, &[1, 2, 3]);
        batch.push(2, &[4]);
        batch.push(5, &[5, 6]);
        let (left, right) = batch.split_at(1);
        assert_eq!((left.rows(), left.text(0)), (&[7][..], &[1, 2, 3][..]));
        assert_eq!((left.unpooled(), right.unpooled()), (2, 2));
        assert_eq!(right.rows(), &[2, 5]);
        assert_eq!(right.texts().collect::<Vec<_>>(), [&[4][..], &[5, 6]]);
        assert_eq!(left.tokens() + right.tokens(), batch.tokens());
        assert_eq!(batch.shape(), BatchShape { rows: 3, longest: 3, tokens: 6 });
        assert_eq!((batch.whole_rows(), left.whole_rows()), (3, 1));
        assert_eq!([0..0, 0..2, 1..3, 0..3].map(|texts| batch.tokens_of(texts)), [0, 4, 3, 6]);
        assert_eq!(batch.filter_rows(|row| row != 2), {
            let mut kept = TokenBatch::with_unpooled(2);
            kept.push(7, &[1, 2, 3]);
            kept.push(5, &[5, 6]);
            kept
        });
    }

    #[test]
    fn chunks_stay_with_their_row_which_counts_once() {
        let chunk = |number| TextChunk { number, count: 3 };
        let mut batch = TokenBatch::default();
        batch.push_chunk(1, chunk(2), &[1]);
        batch.push_chunk(1, chunk(0), &[2, 2]);
        batch.push(4, &[3]);
        batch.push_chunk(1, chunk(1), &[4]);
        assert_eq!((batch.len(), batch.whole_rows()), (4, 2));
        let (left, right) = batch.split_at(2);
        assert_eq!((left.chunks(), left.whole_rows()), (&[chunk(2), chunk(0)][..], 1));
        assert_eq!((right.chunks(), right.whole_rows()), (&[TextChunk::WHOLE, chunk(1)][..], 1));
        assert_eq!(batch.filter_rows(|row| row == 1).chunks(), [chunk(2), chunk(0), chunk(1)]);
    }
}
