//! The data that the stages of a run exchange: chunks of rows, with keys, with planned batches.

use arrow::array::{Array, LargeStringArray, RecordBatch};
use reembed_encoder::batch::{PlannedTexts, RowNames};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::ChunkVectors;
use reembed_encoder::task::ContentKey;

use crate::config::{OnEmpty, TextUse};
use crate::group_digest::GroupDigest;
use crate::row_parts::RowParts;

/// A fixed range of input rows: the unit of order and of memory. The reader makes it.
#[derive(Debug)]
pub struct RowChunk {
    /// The columns of the input.
    pub columns: RecordBatch,
    /// The rows' positions and ids, for messages.
    pub rows: RowNames,
    /// The input texts of the rows by each recipe; empty where a row has no text.
    pub texts: Vec<LargeStringArray>,
    /// If each text is a part of the text of a row of `columns`: which. The other fields are by part.
    pub parts: Option<RowParts>,
}

impl RowChunk {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.first_texts().len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts by the first recipe.
    pub fn first_texts(&self) -> &LargeStringArray {
        &self.texts[0]
    }
}

/// A chunk with the content keys of its texts.
#[derive(Debug)]
pub struct KeyedChunk {
    /// The rows.
    pub chunk: RowChunk,
    /// For each vector column, the content key of each row's text.
    pub keys: Vec<Vec<ContentKey>>,
}

/// A chunk after tokenization: the same rows, and the planned batches of their texts.
#[derive(Debug)]
pub struct TokenChunk {
    /// The columns of the input.
    pub columns: RecordBatch,
    /// The rows' positions and ids, for messages.
    pub rows: RowNames,
    /// As [`RowChunk::parts`].
    pub parts: Option<RowParts>,
    /// What each vector column needs.
    pub tokens: Vec<TokenPart>,
}

/// What a vector column needs of a chunk.
#[derive(Debug)]
pub struct TokenPart {
    /// The content key of each row's text.
    pub keys: Vec<ContentKey>,
    /// The origin of each row's vector, and the vectors that the cache had.
    pub known: KnownVectors,
    /// The texts that go through the model.
    pub texts: PlannedTexts,
}

/// A chunk whose vectors are known: what the writer gets.
#[derive(Debug)]
pub struct ResolvedChunk {
    /// The columns of the input, if they are encoded anew.
    pub columns: RecordBatch,
    /// The rows' positions and ids, for messages.
    pub rows: RowNames,
    /// As [`RowChunk::parts`].
    pub parts: Option<RowParts>,
    /// The vectors of each vector column, and what is known of its rows.
    pub vectors: Vec<(ChunkVectors, RowFacts)>,
}

/// What is known of the rows of a chunk beside their vectors in a column, by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowFacts {
    /// The content key of each text.
    pub keys: Vec<ContentKey>,
    /// The tokens of each text, and whether it was cut at the model's maximum length.
    pub measures: Vec<(u64, bool)>,
}

/// A row group whose texts are those of a row group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnchangedGroup {
    /// The number of the file that has it.
    pub file: usize,
    /// The number of the row group in that file.
    pub group: usize,
    /// What that file says about it, for each vector column.
    pub digests: Vec<GroupDigest>,
}

impl UnchangedGroup {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.digests.first().map_or(0, |digest| digest.rows)
    }
}

/// What the stages exchange: chunks, and row groups that need none.
#[derive(Debug)]
pub enum Rows<T> {
    /// Rows that need vectors.
    Chunk(T),
    /// Rows whose vectors the existing output has.
    Unchanged(Box<UnchangedGroup>),
}

/// What a chunk's vectors are known to be before the model runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownVectors {
    /// The origin of each row's vector.
    pub origins: Vec<Origin>,
    /// Row-major, `rows × dim`: the cached vectors, and zeros in the other rows.
    pub values: Vec<f32>,
    /// Number of damaged cache entries. Their texts go through the model.
    pub damaged: u64,
}

/// The origin of a row's vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The row has no text and gets no vector.
    Empty,
    /// The model.
    Model,
    /// The given earlier row of the chunk, which has the same text.
    Row(usize),
    /// The vector cache.
    Cache(CachedText),
}

/// What the cache knows about a text beside its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedText {
    /// Number of tokens.
    pub tokens: u32,
    /// Whether the text was cut at the model's maximum length.
    pub truncated: bool,
    /// Whether this run stored it: an earlier row has the same text.
    pub of_this_run: bool,
    /// Whether the text goes through the model all the same, to compare the two vectors.
    pub sampled: bool,
    /// Whether tokens and truncation are known; if not, the tokenizer tells them.
    pub is_measured: bool,
}

impl CachedText {
    /// A text whose tokens are known, of an earlier run.
    pub fn measured(tokens: u32, truncated: bool) -> CachedText {
        CachedText { tokens, truncated, of_this_run: false, sampled: false, is_measured: true }
    }
}

/// Whether a row gets a vector, decided by its text.
///
/// # Errors
/// `Data`, naming the row, when it has no text and `output.on_empty` is `error`.
pub fn needs_vector(on_empty: OnEmpty, text: &str, rows: &RowNames, row: usize) -> Result<bool> {
    match on_empty.use_of(text) {
        TextUse::Embed => Ok(true),
        TextUse::Skip => Ok(false),
        TextUse::Refuse => Err(Error::new(ErrorKind::Data, "the row has no text to embed")
            .at(rows.name(row))
            .advice("give the row a text, or set `output.on_empty` to \"null\" or \"embed\"")),
    }
}
