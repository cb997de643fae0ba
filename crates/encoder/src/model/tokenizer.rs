//! The tokenizer of a model: texts to token ids, and the texts of a chunk to planned batches.

mod settings;
mod shorten;
mod split;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use super::chunk_size::ChunkSize;
use super::config::Truncation;
use super::description::ModelDescription;
use super::resources::start_threads;
use super::source::ModelFiles;
use super::tensor_names::TensorNames;
use crate::batch::{PlannedTexts, RowNames, TextChunk, TokenBatch};
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::limit::BatchLimit;
use crate::plan::plan_batches;
use shorten::{Shortened, Shortener};

const FILE: &str = "tokenizer.json";

/// Bytes for each token of the maximum length. A longer text is shortened, first to this size; most
/// texts have 3 to 5 bytes a token.
const BYTES_PER_TOKEN: usize = 16;

/// Bytes of a refused text that are encoded to count its tokens.
const MAX_COUNTED_BYTES: usize = 64 << 10;

/// The tokenizer of a model, with its prompt and its maximum length. A clone shares what is large.
#[derive(Clone)]
pub struct TextTokenizer {
    tokenizer: Arc<Tokenizer>,
    shortener: Option<Arc<Shortener>>,
    prompt: String,
    /// Whether the model pools the tokens of a prompt.
    pools_prompt: bool,
    /// Tokens of each text that are not pooled.
    unpooled: usize,
    max_length: NonZeroUsize,
    truncation: Truncation,
    /// Whether special tokens are put around a text.
    adds_special: bool,
    /// The vector of a text is the mean of its chunks of this size.
    pool: Option<ChunkSize>,
    /// The threads that tokenize a chunk; `None` for one thread.
    threads: Option<Arc<ThreadPool>>,
}

/// With fewer texts, waking other threads costs more time than they save.
const MIN_PARALLEL_TEXTS: usize = 16;

/// The token ids of a text or of a chunk of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizedText {
    /// Token ids, special tokens included; at most the maximum length of the model.
    pub ids: Vec<u32>,
    /// Whether the text has more tokens.
    pub truncated: bool,
}

/// The tokens of a text that is too long.
struct Counted {
    tokens: usize,
    /// Whether these are all tokens of the text.
    is_complete: bool,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` (format of the crate `tokenizers`).
    ///
    /// Its truncation and padding are replaced by the maximum length of the model and by none: the
    /// file of all-MiniLM-L6-v2 truncates to 128 tokens, the model to 256.
    ///
    /// # Errors
    /// `Model` if the file is not a tokenizer, or its ids do not match the rows of the word
    /// embedding; `Config` if chunks are too small or too large for the model; as [`TextTokenizer::with_prompt`].
    pub fn new(files: &ModelFiles, description: &ModelDescription) -> Result<Self> {
        let refuse = |message: String| {
            Error::new(ErrorKind::Model, message)
                .in_file(files.path_of(FILE))
                .advice("fetch the whole model again: its files must belong together")
        };
        let bytes = files.bytes(FILE).ok_or_else(|| refuse("is missing".to_owned()))?;
        let max_length = description.max_seq_length;
        let truncate_at = |direction| {
            Some(TruncationParams {
                max_length: max_length.get(),
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
                direction,
            })
        };
        let truncation = match description.truncation {
            Truncation::End => truncate_at(TruncationDirection::Right),
            Truncation::Start => truncate_at(TruncationDirection::Left),
            // The message of the error has the number of tokens.
            Truncation::Error => None,
        };
        let (tokenizer, tokens) = catch_panic(ErrorKind::Model, FILE, || {
            let mut tokenizer = Tokenizer::from_bytes(bytes)
                .map_err(|cause| refuse("is not a tokenizer".to_owned()).caused_by(cause))?;
            tokenizer.with_padding(None).with_truncation(truncation).map_err(|cause| {
                refuse("does not support truncation".to_owned()).caused_by(cause)
            })?;
            let tokens = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
            settings::apply(&mut tokenizer, description)
                .map_err(|cause| refuse("cannot be changed".to_owned()).caused_by(cause))?;
            Ok((tokenizer, tokens))
        })?;

        // There may be more rows: some models round their number up. A token that another file adds may
        // have none; then a text with it is an error.
        let rows = description.encoder.vocab_size;
        if tokens > rows {
            let word = TensorNames::word_embedding(description.encoder.architecture);
            return Err(refuse(format!(
                "has token ids up to {}, but tensor `{word}` has {rows} rows",
                tokens - 1
            )));
        }
        let tokenizer = TextTokenizer {
            // Which added tokens a text may contain, it does not ask.
            shortener: match description.tokens.splits_special_tokens {
                false => Shortener::from_tokenizer(&tokenizer, bytes).map(Arc::new),
                true => None,
            },
            tokenizer: Arc::new(tokenizer),
            prompt: String::new(),
            pools_prompt: description.pooling.include_prompt,
            unpooled: 0,
            max_length,
            truncation: description.truncation,
            adds_special: !files.is_static,
            pool: description.pool,
            threads: None,
        };
        catch_panic(ErrorKind::Model, FILE, || {
            settings::check_frame(&tokenizer.tokenizer, files, &description.tokens)
        })?;
        tokenizer.with_prompt(&description.prompt.text)
    }

    /// The same tokenizer with this text before every text, in place of its own.
    ///
    /// # Errors
    /// `Config` if the prompt leaves no room for a text, or if the model leaves it out of its pooling and texts that
    /// are too long lose their start; `Encode` if the tokenizer fails.
    pub fn with_prompt(&self, prompt: &str) -> Result<Self> {
        let mut other = TextTokenizer { prompt: prompt.to_owned(), unpooled: 0, ..self.clone() };
        other.pool.map_or(Ok(()), |size| other.check_chunk_size(size))?;
        if !self.pools_prompt && !prompt.is_empty() {
            self.truncation.check_keeps_prompt()?;
            other.unpooled = other.prompt_tokens()?;
        }
        Ok(other)
    }

    /// The same tokenizer, with this many threads for the texts of a chunk. Ids do not depend on
    /// it.
    ///
    /// # Errors
    /// `Internal` if the threads cannot be started.
    pub fn with_threads(self, threads: NonZeroUsize) -> Result<Self> {
        let start = || start_threads(threads, "the tokenizer");
        let threads = (threads.get() > 1).then(start).transpose()?.map(Arc::new);
        Ok(TextTokenizer { threads, ..self })
    }

    /// The maximum length of the model in tokens, special tokens included.
    pub fn max_length(&self) -> NonZeroUsize {
        self.max_length
    }

    /// Tokens that every text begins with because of the prompt, the special tokens before it included:
    /// those of the prompt alone without the special token at its end, as sentence-transformers counts them.
    fn prompt_tokens(&self) -> Result<usize> {
        let alone = catch_panic(ErrorKind::Encode, "the tokenizer", || self.encode(&self.prompt))?;
        let ends_special = self.tokenizer.encode_fast("", true).map_err(failed)?;
        let last = ends_special.get_ids().last();
        let is_special = last.is_some() && last == alone.ids.last();
        let count = alone.ids.len() - usize::from(is_special);
        match alone.truncated || count >= self.max_length.get() {
            false => Ok(count),
            true => Err(Error::new(ErrorKind::Config, "the prompt leaves no token for a text")
                .advice("set a shorter `model.prompt`, or a larger `text.max_length`")),
        }
    }

    /// The first tokens of each text that are not pooled: those of a prompt that the model leaves out.
    pub fn unpooled(&self) -> usize {
        self.unpooled
    }

    /// Most tokens that go through the model as one text: those of a chunk, or the maximum length.
    pub fn longest_text(&self) -> NonZeroUsize {
        self.pool.map_or(self.max_length, ChunkSize::tokens)
    }

    /// Tokenizes the prompt and the text, truncated to the maximum length.
    ///
    /// A long text is shortened first, which changes no id: docs/decisions/0018-long-texts.md.
    ///
    /// # Errors
    /// `Encode` if the tokenizer fails or panics; `Data` if the text is too long and must not be
    /// truncated.
    pub fn tokenize(&self, text: &str) -> Result<TokenizedText> {
        let text = self.prompted(text);
        catch_panic(ErrorKind::Encode, "the tokenizer", || {
            let tokenized = self.encode_truncated(&text)?;
            match tokenized.truncated && self.truncation == Truncation::Error {
                true => Err(self.too_long(&text, tokenized.ids.len())),
                false => Ok(tokenized),
            }
        })
    }

    /// Tokenizes a text as it goes through the model: as a whole, or its chunks if its vector is the
    /// mean of them. Of these none is truncated.
    ///
    /// # Errors
    /// As [`TextTokenizer::tokenize`] or [`TextTokenizer::split`].
    pub fn tokenize_chunks(&self, text: &str) -> Result<Vec<TokenizedText>> {
        let Some(size) = self.pool else { return Ok(vec![self.tokenize(text)?]) };
        let mut chunks = Vec::new();
        let each = &mut |_, ids| chunks.push(TokenizedText { ids, truncated: false });
        self.split_each(text, size, each)?;
        Ok(chunks)
    }

    /// Counts the tokens of the prompt and the text as if nothing were cut, special tokens included.
    ///
    /// # Errors
    /// `Encode` if the tokenizer fails or panics.
    pub fn count_uncut(&self, text: &str) -> Result<usize> {
        let text = self.prompted(text);
        catch_panic(ErrorKind::Encode, "the tokenizer", || {
            let mut tokens = self.special_tokens();
            for piece in self.pieces_to_count(&text) {
                tokens += self.encode_slice(piece)?.len();
            }
            Ok(tokens)
        })
    }

    /// The text in pieces of some size whose tokens are those of the text: encoding needs a hundred
    /// times the bytes of what it gets.
    fn pieces_to_count<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let Some(shortener) = &self.shortener else { return vec![text] };
        let mut pieces = Vec::new();
        let mut rest = text;
        while rest.len() > MAX_COUNTED_BYTES {
            let may_end = |(at, c): &(usize, char)| {
                *at >= MAX_COUNTED_BYTES && c.is_whitespace() && shortener.is_white_space(*c)
            };
            let Some((at, _)) = rest.char_indices().find(may_end) else { break };
            let (piece, behind) = rest.split_at(at);
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        pieces
    }

    /// Encodes a text that has its prompt. If texts that are too long are an error, it may have all
    /// tokens although it is marked as truncated.
    fn encode_truncated(&self, text: &str) -> Result<TokenizedText> {
        match (&self.shortener, self.truncation) {
            (None, _) => self.encode(text),
            (Some(_), _) if text.len() <= self.min_bytes() => self.encode(text),
            (Some(shortener), Truncation::Start) => self.encode_last(text, shortener),
            (Some(shortener), _) => self.encode_first(text, shortener),
        }
    }

    /// The ids of the prompt and the text if there are at most `max`, which is not more than the
    /// maximum length.
    fn encode_within(&self, text: &str, max: usize) -> Result<Option<Vec<u32>>> {
        let TokenizedText { ids, truncated } = self.encode_truncated(&self.prompted(text))?;
        Ok(Some(ids).filter(|ids| !truncated && ids.len() <= max))
    }

    fn prompted<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.prompt.as_str() {
            "" => Cow::Borrowed(text),
            prompt => Cow::Owned(format!("{prompt}{text}")),
        }
    }

    /// Bytes that a longer text is first shortened to.
    fn min_bytes(&self) -> usize {
        self.max_length.get().saturating_mul(BYTES_PER_TOKEN)
    }

    /// Encodes the first tokens of a long text.
    fn encode_first(&self, text: &str, shortener: &Shortener) -> Result<TokenizedText> {
        let mut min_bytes = self.min_bytes();
        loop {
            let Shortened { text: short, is_complete } = shortener.shorten(text, min_bytes);
            let tokenized = self.encode(&short)?;
            if tokenized.truncated || is_complete {
                return Ok(tokenized);
            }
            min_bytes = short.len().saturating_mul(2);
        }
    }

    /// Encodes the last tokens of a long text.
    fn encode_last(&self, text: &str, shortener: &Shortener) -> Result<TokenizedText> {
        let mut min_bytes = self.min_bytes();
        loop {
            let tail = shortener.tail(text, min_bytes);
            let tokenized = self.encode(&shortener.shorten(tail, usize::MAX).text)?;
            if tokenized.truncated || tail.len() == text.len() {
                return Ok(tokenized);
            }
            min_bytes = tail.len().saturating_mul(2);
        }
    }

    /// The error of a text that is too long, whose first `found` tokens are known.
    fn too_long(&self, text: &str, found: usize) -> Error {
        let max = self.max_length;
        let tokens = match self.count_tokens(text, found) {
            Ok(Counted { tokens, is_complete: true }) => format!("{tokens} tokens"),
            Ok(Counted { tokens, .. }) => format!("at least {tokens} tokens"),
            Err(error) => return error,
        };
        let message = format!("its text has {tokens}, and the maximum is {max}");
        Error::new(ErrorKind::Data, message).advice(
            "shorten the text, or set `text.truncate` to \"end\" or \"start\"; a larger \
             `text.max_length` helps if the model allows it",
        )
    }

    /// Counts the tokens of a text whose first `found` tokens are known, special tokens included. It
    /// stops after [`MAX_COUNTED_BYTES`], because encoding needs a hundred times the bytes of the text.
    fn count_tokens(&self, text: &str, found: usize) -> Result<Counted> {
        let Some(shortener) = &self.shortener else {
            // It was encoded as a whole.
            return Ok(Counted { tokens: found, is_complete: true });
        };
        let Shortened { text, is_complete } = shortener.shorten(text, MAX_COUNTED_BYTES);
        let tokens = self.encode(&text)?.ids.len();
        Ok(Counted { tokens: tokens.max(found), is_complete })
    }

    fn encode(&self, text: &str) -> Result<TokenizedText> {
        let encoding = self.tokenizer.encode_fast(text, self.adds_special).map_err(failed)?;
        let ids = encoding.get_ids().to_vec();
        let truncated = match self.truncation {
            Truncation::End | Truncation::Start => !encoding.get_overflowing().is_empty(),
            Truncation::Error => ids.len() > self.max_length.get(),
        };
        Ok(TokenizedText { ids, truncated })
    }
}

fn failed(cause: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Encode, "the tokenizer failed")
        .advice("fetch the model again: its tokenizer.json may be damaged")
        .caused_by(cause)
}

/// Tokenizes the texts of a chunk of `count` rows and plans their batches under `limit`. If vectors
/// are means of chunks, each chunk of a text is planned like a text.
///
/// `texts` has the row in the chunk and the text, with ascending rows. Other rows get no vector.
///
/// # Errors
/// `Encode`, naming the row, if the tokenizer fails or a text has no token.
pub fn tokenize_texts<'a>(
    tokenizer: &TextTokenizer,
    rows: &RowNames,
    count: usize,
    texts: impl IntoIterator<Item = (usize, &'a str)>,
    limit: BatchLimit,
) -> Result<PlannedTexts> {
    let texts: Vec<(usize, &str)> = texts.into_iter().collect();
    let tokenized = map_texts(tokenizer.threads.as_deref(), &texts, |row, text| {
        tokenizer
            .tokenize_chunks(text)
            .and_then(|chunks| match chunks.iter().any(|chunk| chunk.ids.is_empty()) {
                true => Err(no_token()),
                false => Ok(chunks),
            })
            .map_err(|error| error.at(rows.name(row)))
    })?;
    let mut truncated = Vec::new();
    let mut sequences = Vec::with_capacity(count);
    for ((row, _), chunks) in texts.into_iter().zip(tokenized) {
        let count = chunks.len();
        for (number, TokenizedText { ids, truncated: is_cut }) in chunks.into_iter().enumerate() {
            if is_cut {
                truncated.push(row);
            }
            sequences.push((row, TextChunk { number, count }, ids));
        }
    }
    let lengths: Vec<usize> = sequences.iter().map(|(_, _, ids)| ids.len()).collect();
    let batches = plan_batches(&lengths, limit)
        .into_iter()
        .map(|positions| {
            let mut batch = TokenBatch::with_unpooled(tokenizer.unpooled);
            for (row, chunk, ids) in positions.into_iter().map(|at| &sequences[at]) {
                batch.push_chunk(*row, *chunk, ids);
            }
            batch
        })
        .collect();
    Ok(PlannedTexts { batches, truncated })
}

/// Counts the tokens of each text of a chunk as if nothing were cut ([`TextTokenizer::count_uncut`]).
/// `texts` has the row in the chunk and the text.
///
/// # Errors
/// `Encode`, naming the row, if the tokenizer fails.
pub fn count_tokens_uncut(
    tokenizer: &TextTokenizer,
    rows: &RowNames,
    texts: &[(usize, &str)],
) -> Result<Vec<usize>> {
    map_texts(tokenizer.threads.as_deref(), texts, |row, text| {
        tokenizer.count_uncut(text).map_err(|error| error.at(rows.name(row)))
    })
}

/// The error of a text without tokens. It occurs if the tokenizer adds no special tokens.
fn no_token() -> Error {
    let message = "the tokenizer returns no token for its text, so there is nothing to embed";
    Error::new(ErrorKind::Encode, message)
        .advice("give the row a text with a word, or no text and set `output.on_empty` to \"null\"")
}

/// Calls `work` with each row and text and returns the results in order, or the first error in that
/// order.
fn map_texts<T: Send>(
    pool: Option<&ThreadPool>,
    texts: &[(usize, &str)],
    work: impl Fn(usize, &str) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    match pool {
        Some(pool) if texts.len() >= MIN_PARALLEL_TEXTS => {
            let results = texts.par_iter().map(|(row, text)| work(*row, text));
            let results: Vec<Result<T>> = pool.install(|| results.collect());
            results.into_iter().collect()
        }
        _ => texts.iter().map(|(row, text)| work(*row, text)).collect(),
    }
}
