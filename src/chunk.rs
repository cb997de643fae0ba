//! What travels between the stages of a run: plain data, no behaviour beyond access.

use arrow::array::{LargeStringArray, RecordBatch};
use reembed_encoder::batch::{PlannedTexts, RowNames};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::task::ContentKey;

use crate::config::{OnEmpty, TextUse};

/// A fixed range of input rows, as the reader sends it: the unit of order and of memory.
#[derive(Debug)]
pub struct RowChunk {
    /// The carried columns, as they came.
    pub columns: RecordBatch,
    /// What the rows are called.
    pub rows: RowNames,
    /// The input text of each row; an empty one has nothing to embed.
    pub texts: LargeStringArray,
}

/// A chunk whose texts have their keys.
#[derive(Debug)]
pub struct KeyedChunk {
    /// The rows.
    pub chunk: RowChunk,
    /// The content key of each row's text.
    pub keys: Vec<ContentKey>,
}

/// A chunk after tokenization: the same rows, with the batches that were planned for them.
#[derive(Debug)]
pub struct TokenChunk {
    /// The carried columns, as they came.
    pub columns: RecordBatch,
    /// What the rows are called.
    pub rows: RowNames,
    /// The content key of each row's text.
    pub keys: Vec<ContentKey>,
    /// Where each row's vector comes from, and the vectors that are there already.
    pub known: KnownVectors,
    /// What goes through the model.
    pub texts: PlannedTexts,
}

/// What is known of a chunk's vectors before the model has seen a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownVectors {
    /// Where each row's vector comes from.
    pub origins: Vec<Origin>,
    /// Row-major, `rows × dim`; filled in where the origin is the cache, zeros elsewhere.
    pub values: Vec<f32>,
    /// Entries of the cache that could not be believed; their texts go through the model.
    pub damaged: u64,
}

/// Where a row's vector comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From nowhere: the row has no text, and no vector.
    Empty,
    /// The model.
    Model,
    /// An earlier row of the chunk, which has the same text.
    Row(usize),
    /// The cache.
    Cache(CachedText),
}

/// What the cache says about a text beside its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedText {
    /// Its tokens.
    pub tokens: u32,
    /// Whether it was cut at the model's maximum length.
    pub truncated: bool,
    /// Whether this run put it there: an earlier row has the same text.
    pub of_this_run: bool,
    /// Whether the text goes through the model all the same, and the two vectors are compared.
    pub sampled: bool,
}

/// Whether a row gets a vector, by its text.
///
/// # Errors
/// `Data`, naming the row, where it has no text and must have one.
pub fn needs_vector(on_empty: OnEmpty, text: &str, rows: &RowNames, row: usize) -> Result<bool> {
    match on_empty.use_of(text) {
        TextUse::Embed => Ok(true),
        TextUse::Skip => Ok(false),
        TextUse::Refuse => Err(Error::new(ErrorKind::Data, "the row has no text to embed")
            .at(rows.name(row))
            .advice("fill it in, or set `output.on_empty` to \"null\" or \"embed\"")),
    }
}
