//! Texts on their way to an encoder: what their rows are called, and their token ids in planned batches.

use arrow_array::{Array, LargeStringArray};

use crate::limit::BatchShape;

/// The texts of several rows as planned batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTexts {
    /// Batches in the order in which they are to run. Together they hold each text once.
    pub batches: Vec<TokenBatch>,
    /// The rows whose text was cut at the model's maximum length, ascending.
    pub truncated: Vec<usize>,
}

/// What the rows of a chunk are called in messages.
#[derive(Debug, Clone, PartialEq)]
pub struct RowNames {
    /// Position of the first row in the input.
    pub first_row: u64,
    /// Every row's id; empty where rows have none.
    pub ids: LargeStringArray,
}

impl RowNames {
    /// Rows without ids: they are called by their position.
    pub fn unnamed(first_row: u64) -> Self {
        RowNames { first_row, ids: LargeStringArray::from_iter_values(std::iter::empty::<&str>()) }
    }

    /// Rows with these ids, in order.
    pub fn new<S: AsRef<str>>(first_row: u64, ids: impl IntoIterator<Item = S>) -> Self {
        RowNames { first_row, ids: LargeStringArray::from_iter_values(ids) }
    }

    /// A row by its position in the chunk: its position in the input, and its id in a form that is safe to
    /// print.
    pub fn name(&self, row: usize) -> String {
        let position = self.first_row + row as u64;
        if row < self.ids.len() {
            format!("row {position} (id {})", shown_id(self.ids.value(row)))
        } else {
            format!("row {position}")
        }
    }
}

/// The strings of an array without nulls, in order.
pub fn strings(array: &LargeStringArray) -> impl ExactSizeIterator<Item = &str> {
    (0..array.len()).map(|row| array.value(row))
}

/// An id is shown up to this many characters.
const LONGEST_ID: usize = 80;

/// An id as it stands in a message: cut, and without characters that move a terminal's cursor.
pub fn shown_id(id: &str) -> String {
    let mut shown: String = id.chars().take(LONGEST_ID).flat_map(char::escape_debug).collect();
    if id.chars().nth(LONGEST_ID).is_some() {
        shown.push('…');
    }
    shown
}

/// The token ids of several texts, ragged: one run of ids and where each text begins in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    starts: Vec<usize>,
    rows: Vec<usize>,
}

impl TokenBatch {
    /// Adds a text: its token ids, and the row of the chunk that its vector belongs to.
    pub fn push(&mut self, row: usize, ids: &[u32]) {
        self.starts.push(self.ids.len());
        self.ids.extend_from_slice(ids);
        self.rows.push(row);
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds no text.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of the chunk that each text belongs to.
    pub fn rows(&self) -> &[usize] {
        &self.rows
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

    /// Real tokens, without padding.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The length in tokens of its longest text; 0 when empty.
    pub fn longest(&self) -> usize {
        self.texts().map(<[u32]>::len).max().unwrap_or(0)
    }

    /// What it measures.
    pub fn shape(&self) -> BatchShape {
        BatchShape { rows: self.len(), longest: self.longest(), tokens: self.tokens() }
    }

    /// The first `count` texts and the others, both in order.
    pub fn split_at(&self, count: usize) -> (TokenBatch, TokenBatch) {
        (self.part(0..count), self.part(count..self.len()))
    }

    /// The texts of the rows that `keep` names, in order.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> TokenBatch {
        self.part((0..self.len()).filter(|position| keep(self.rows[*position])))
    }

    fn part(&self, positions: impl Iterator<Item = usize>) -> TokenBatch {
        let mut part = TokenBatch::default();
        positions.for_each(|position| part.push(self.rows[position], self.text(position)));
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_without_control_characters_or_endless_ids() {
        let rows = RowNames::new(10, ["a\u{1b}[2J", &"x".repeat(500)]);
        assert_eq!(rows.name(0), "row 10 (id a\\u{1b}[2J)");
        assert_eq!(rows.name(1).chars().count(), "row 11 (id )".len() + 81);
        assert_eq!(rows.name(2), "row 12");
    }

    #[test]
    fn a_split_batch_keeps_every_text_with_its_row() {
        let mut batch = TokenBatch::default();
        batch.push(7, &[1, 2, 3]);
        batch.push(2, &[4]);
        batch.push(5, &[5, 6]);
        let (left, right) = batch.split_at(1);
        assert_eq!((left.rows(), left.text(0)), (&[7][..], &[1, 2, 3][..]));
        assert_eq!(right.rows(), &[2, 5]);
        assert_eq!(right.texts().collect::<Vec<_>>(), [&[4][..], &[5, 6]]);
        assert_eq!(left.tokens() + right.tokens(), batch.tokens());
        assert_eq!(batch.shape(), BatchShape { rows: 3, longest: 3, tokens: 6 });
        assert_eq!(batch.only(|row| row != 2), {
            let mut kept = TokenBatch::default();
            kept.push(7, &[1, 2, 3]);
            kept.push(5, &[5, 6]);
            kept
        });
    }
}
