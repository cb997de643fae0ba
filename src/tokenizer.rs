//! Text to token ids, and a chunk's texts to planned batches.

mod prefix;

use std::num::NonZeroUsize;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::batch::{
    KeyedChunk, KnownVectors, Origin, RowChunk, RowNames, TokenBatch, TokenChunk, TokenTexts,
};
use crate::config::OnEmpty;
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::limit::BatchLimit;
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;
use crate::plan::plan;
use prefix::Boundaries;

const FILE: &str = "tokenizer.json";

/// An embedding matrix is padded to a round number of rows, never by more than this.
const MOST_UNUSED_ROWS: usize = 1024;

/// A model's own tokenizer, with its prompt and its maximum length.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    boundaries: Option<Boundaries>,
    prompt: String,
    lower_case: bool,
    max_length: NonZeroUsize,
}

/// A text as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedText {
    /// Token ids, special tokens included; at most the model's maximum length.
    pub ids: Vec<u32>,
    /// Whether the text had more tokens than that.
    pub truncated: bool,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`. Truncation and padding baked into it are replaced by the model's maximum length
    /// and none: all-MiniLM-L6-v2's says 128 where the model takes 256.
    ///
    /// # Errors
    /// `Model` when the file is not a tokenizer, or has ids that the word embedding has no row for.
    pub fn new(files: &ModelFiles, description: &ModelDescription) -> Result<Self> {
        let refuse = |message: String| {
            Error::new(ErrorKind::Model, message)
                .in_file(files.path_of(FILE))
                .advice("fetch the whole model again: its files must belong together")
        };
        let bytes = files.bytes(FILE).ok_or_else(|| refuse("is missing".to_owned()))?;
        let max_length = description.max_seq_length;
        let tokenizer = catch_panic(ErrorKind::Model, FILE, || {
            let mut tokenizer = Tokenizer::from_bytes(bytes)
                .map_err(|cause| refuse("is not a tokenizer".to_owned()).caused_by(cause))?;
            tokenizer
                .with_padding(None)
                .with_truncation(Some(TruncationParams {
                    max_length: max_length.get(),
                    strategy: TruncationStrategy::LongestFirst,
                    stride: 0,
                    direction: TruncationDirection::Right,
                }))
                .map_err(|cause| refuse("cannot be cut".to_owned()).caused_by(cause))?;
            Ok(tokenizer)
        })?;

        let rows = description.bert.vocab_size;
        let tokens =
            tokenizer.get_vocab(true).values().max().map_or(0, |largest| *largest as usize + 1);
        if tokens > rows {
            return Err(refuse(format!(
                "has token ids up to {}, but tensor `embeddings.word_embeddings.weight` has {rows} rows",
                tokens - 1
            )));
        }
        if tokens + MOST_UNUSED_ROWS < rows {
            return Err(refuse(format!(
                "knows {tokens} tokens, but tensor `embeddings.word_embeddings.weight` has {rows} rows"
            )));
        }
        Ok(TextTokenizer {
            boundaries: Boundaries::of(&tokenizer, description.lower_case),
            tokenizer,
            prompt: description.prompt.clone(),
            lower_case: description.lower_case,
            max_length,
        })
    }

    /// The model's maximum length in tokens, special tokens included.
    pub fn max_length(&self) -> NonZeroUsize {
        self.max_length
    }

    /// The token ids of a text, after the prompt is put before it and everything past the maximum length is cut.
    ///
    /// A text that is far too long is not read to its end: see `tokenizer/prefix.rs`.
    ///
    /// # Errors
    /// `Encode` when the tokenizer fails or panics.
    pub fn tokenize(&self, text: &str) -> Result<TokenizedText> {
        let mut length = match &self.boundaries {
            Some(_) => self.max_length.get() * prefix::BYTES_PER_TOKEN,
            None => usize::MAX,
        };
        loop {
            let end = match &self.boundaries {
                Some(boundaries) => boundaries.cut(text, length),
                None => text.len(),
            };
            let tokenized = self.tokenize_whole(&text[..end])?;
            if tokenized.truncated || end == text.len() {
                return Ok(tokenized);
            }
            // More than was asked for before: the cut may lie far in front of it, where it would be found again.
            length = length.max(end).saturating_mul(2);
        }
    }

    fn tokenize_whole(&self, text: &str) -> Result<TokenizedText> {
        let mut input = format!("{}{text}", self.prompt);
        if self.lower_case {
            input = input.to_lowercase();
        }
        catch_panic(ErrorKind::Encode, "the tokenizer", || {
            let encoding = self.tokenizer.encode_fast(input, true).map_err(|cause| {
                Error::new(ErrorKind::Encode, "the tokenizer failed").caused_by(cause)
            })?;
            let truncated = !encoding.get_overflowing().is_empty();
            Ok(TokenizedText { ids: encoding.get_ids().to_vec(), truncated })
        })
    }
}

/// Tokenizes the texts of some rows, each given with its position in the chunk, ascending, and plans their
/// batches under `limit`. What happens to an empty text is `on_empty`.
///
/// # Errors
/// `Data` for an empty text under [`OnEmpty::Error`], `Encode` when the tokenizer fails; both name the row.
pub fn tokenize_texts<'a>(
    tokenizer: &TextTokenizer,
    rows: &RowNames,
    texts: impl IntoIterator<Item = (usize, &'a str)>,
    on_empty: OnEmpty,
    limit: BatchLimit,
) -> Result<TokenTexts> {
    let mut truncated = Vec::new();
    // A row that is not asked for has nothing to embed, like one without text.
    let mut ids = vec![Vec::new(); rows.ids.len()];
    for (row, text) in texts {
        ids[row] = match (text.is_empty(), on_empty) {
            (true, OnEmpty::Null) => Ok(Vec::new()),
            (true, OnEmpty::Error) => {
                Err(Error::new(ErrorKind::Data, "the row has no text to embed")
                    .at(rows.name(row))
                    .advice("fill it in, or set `output.on_empty` to \"null\" or \"embed\""))
            }
            _ => {
                let tokenized =
                    tokenizer.tokenize(text).map_err(|error| error.at(rows.name(row)))?;
                if tokenized.truncated {
                    truncated.push(row);
                }
                Ok(tokenized.ids)
            }
        }?;
    }
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    let batches = plan(&lengths, limit)
        .into_iter()
        .map(|rows| {
            let mut batch = TokenBatch::default();
            rows.into_iter().for_each(|row| batch.push(row, &ids[row]));
            batch
        })
        .collect();
    Ok(TokenTexts { batches, truncated })
}

/// The tokenizer stage: those texts of a chunk that have to go through the model become its planned batches.
///
/// # Errors
/// As [`tokenize_texts`].
pub fn tokenize_chunk(
    tokenizer: &TextTokenizer,
    chunk: KeyedChunk,
    known: KnownVectors,
    on_empty: OnEmpty,
    limit: BatchLimit,
) -> Result<TokenChunk> {
    let KeyedChunk { chunk: RowChunk { columns, rows, texts }, keys } = chunk;
    let wanted =
        texts.iter().zip(&known.origins).enumerate().filter_map(|(row, (text, origin))| {
            let wanted = match origin {
                Origin::Model => true,
                Origin::Store(stored) => stored.sampled,
                Origin::Empty | Origin::Row(_) => false,
            };
            wanted.then_some((row, text.as_str()))
        });
    let texts = tokenize_texts(tokenizer, &rows, wanted, on_empty, limit)?;
    Ok(TokenChunk { columns, rows, keys, known, texts })
}
