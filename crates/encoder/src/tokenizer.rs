//! Text to token ids, and a chunk's texts to planned batches.

mod shorten;

use std::borrow::Cow;
use std::num::NonZeroUsize;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::batch::{RowNames, TokenBatch, TokenTexts};
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::limit::BatchLimit;
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;
use crate::plan::plan;
use shorten::{Shortened, Shortener};

const FILE: &str = "tokenizer.json";

/// An embedding matrix is padded to a round number of rows, never by more than this.
const MOST_UNUSED_ROWS: usize = 1024;

/// A text of no more bytes than this for each token that the model takes is tokenized as it is, and a longer one is
/// shortened to so many at first: most texts need 3 to 5.
const BYTES_PER_TOKEN: usize = 16;

/// A model's own tokenizer, with its prompt and its maximum length.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    shortener: Option<Shortener>,
    prompt: String,
    lower_case: bool,
    max_length: NonZeroUsize,
    /// Threads that share the texts of a chunk, if there is more than one.
    pool: Option<ThreadPool>,
}

/// With fewer texts than this, waking the other threads takes longer than they save.
const LEAST_SHARED_TEXTS: usize = 16;

/// A text as the model sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
            shortener: Shortener::of(&tokenizer, bytes),
            tokenizer,
            prompt: description.prompt.clone(),
            lower_case: description.lower_case,
            max_length,
            pool: None,
        })
    }

    /// The same tokenizer, with so many threads for the texts of a chunk. The ids do not depend on it.
    ///
    /// # Errors
    /// `Internal` when the threads cannot be had.
    pub fn with_threads(self, threads: NonZeroUsize) -> Result<Self> {
        let start = || ThreadPoolBuilder::new().num_threads(threads.get()).build();
        let pool = (threads.get() > 1).then(start).transpose().map_err(|cause| {
            Error::new(ErrorKind::Internal, "no threads for the tokenizer").caused_by(cause)
        })?;
        Ok(TextTokenizer { pool, ..self })
    }

    /// The model's maximum length in tokens, special tokens included.
    pub fn max_length(&self) -> NonZeroUsize {
        self.max_length
    }

    /// The token ids of a text, after the prompt is put before it and everything past the maximum length is cut.
    ///
    /// A text that is far too long is shortened first, which changes no id: see `tokenizer/shorten.rs`.
    ///
    /// # Errors
    /// `Encode` when the tokenizer fails or panics.
    pub fn tokenize(&self, text: &str) -> Result<TokenizedText> {
        let text = match self.prompt.as_str() {
            "" => Cow::Borrowed(text),
            prompt => Cow::Owned(format!("{prompt}{text}")),
        };
        catch_panic(ErrorKind::Encode, "the tokenizer", || {
            let mut enough = self.max_length.get().saturating_mul(BYTES_PER_TOKEN);
            let shortener = match &self.shortener {
                Some(shortener) if text.len() > enough => shortener,
                _ if self.lower_case => return self.encode(&text.to_lowercase()),
                _ => return self.encode(&text),
            };
            loop {
                let Shortened { text: short, is_whole } = if self.lower_case {
                    shortener.shorten(lower_cased(&text), enough)
                } else {
                    shortener.shorten(std::iter::once(Cow::Borrowed(&*text)), enough)
                };
                let tokenized = self.encode(&short)?;
                if tokenized.truncated || is_whole {
                    return Ok(tokenized);
                }
                enough = short.len().saturating_mul(2);
            }
        })
    }

    fn encode(&self, text: &str) -> Result<TokenizedText> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|cause| {
            Error::new(ErrorKind::Encode, "the tokenizer failed").caused_by(cause)
        })?;
        let truncated = !encoding.get_overflowing().is_empty();
        Ok(TokenizedText { ids: encoding.get_ids().to_vec(), truncated })
    }
}

/// The lower case of a text, piece by piece. Pieces end in blanks: what the lower case of a letter is may depend on
/// its neighbours in the word (a capital sigma's does), but never on those beyond a blank.
fn lower_cased(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.split_inclusive(char::is_whitespace).map(|piece| Cow::Owned(piece.to_lowercase()))
}

/// Tokenizes the texts of some rows and plans their batches under `limit`. Each text comes with its position among the
/// `count` rows of the chunk, ascending; the other rows need no vector.
///
/// # Errors
/// `Encode` when the tokenizer fails or makes no token of a text; it names the row.
pub fn tokenize_texts<'a>(
    tokenizer: &TextTokenizer,
    rows: &RowNames,
    count: usize,
    texts: impl IntoIterator<Item = (usize, &'a str)>,
    limit: BatchLimit,
) -> Result<TokenTexts> {
    let texts: Vec<(usize, &str)> = texts.into_iter().collect();
    let tokenized = each(tokenizer.pool.as_ref(), &texts, |row, text| {
        tokenizer
            .tokenize(text)
            .and_then(|text| if text.ids.is_empty() { Err(no_token()) } else { Ok(text) })
            .map_err(|error| error.at(rows.name(row)))
    })?;
    let mut truncated = Vec::new();
    // A row that is not asked for has no ids, and the plan leaves it out.
    let mut ids = vec![Vec::new(); count];
    for ((row, _), text) in texts.into_iter().zip(tokenized) {
        if text.truncated {
            truncated.push(row);
        }
        ids[row] = text.ids;
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

/// A text can be without any where the tokenizer adds none of its own, such as `[CLS]`.
fn no_token() -> Error {
    let message = "the tokenizer makes no token of its text, so there is nothing to embed";
    Error::new(ErrorKind::Encode, message).advice(
        "give the row a text with a word in it, or none and set `output.on_empty` to \"null\"",
    )
}

/// What `work` makes of each text and its row, in order. Of several errors the first in that order.
fn each<T: Send>(
    pool: Option<&ThreadPool>,
    texts: &[(usize, &str)],
    work: impl Fn(usize, &str) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    match pool {
        Some(pool) if texts.len() >= LEAST_SHARED_TEXTS => {
            let shared = texts.par_iter().map(|(row, text)| work(*row, text));
            let done: Vec<Result<T>> = pool.install(|| shared.collect());
            done.into_iter().collect()
        }
        _ => texts.iter().map(|(row, text)| work(*row, text)).collect(),
    }
}
