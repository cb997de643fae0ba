//! The description of a model, read from its sentence-transformers directory.
//!
//! Layout: <https://sbert.net/docs/sentence_transformer/usage/custom_models.html>.
//!
//! | File | What is read |
//! |---|---|
//! | `modules.json` | the modules |
//! | `config.json` | the encoder |
//! | `1_Pooling/config.json` | the pooling |
//! | `2_Dense/config.json` … | the linear layers after it |
//! | `sentence_bert_config.json` | `max_seq_length`, `do_lower_case` |
//! | `config_sentence_transformers.json` | the prompts, `truncate_dim` |
//! | `tokenizer_config.json` | the settings with which transformers overrides `tokenizer.json` |
//!
//! A setting that is not supported is an error that names it: ignoring it would give wrong vectors.

mod pooling;
mod steps;

use std::num::NonZeroUsize;

use serde::Deserialize;

use super::chunk_size::ChunkSize;
use super::config::{TextOptions, Truncation};
use super::encoder_config;
use super::json::{json, refuse, required_json};
use super::prompt::{self, Prompt};
use super::source::ModelFiles;
use super::spec::{EncoderSpec, PoolingSpec, Step, TokenPooling};
use crate::error::{Error, ErrorKind, Result};

/// Everything about a model except its weights and its vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDescription {
    /// What computes token vectors.
    pub encoder: EncoderSpec,
    /// How token vectors become the vector of a text.
    pub pooling: PoolingSpec,
    /// What happens to that vector afterwards, in this order.
    pub steps: Vec<Step>,
    /// Tokens to which a text is truncated, special tokens included.
    pub max_seq_length: NonZeroUsize,
    /// What happens to a longer text.
    pub truncation: Truncation,
    /// The vector of a text is the mean of its chunks of this size.
    pub pool: Option<ChunkSize>,
    /// Whether a text is converted to lower case before it is tokenized.
    pub lower_case: bool,
    /// The text before every input text.
    pub prompt: Prompt,
    /// The first components that sentence-transformers keeps of a vector, after all modules and
    /// without scaling it again; `None`: all.
    pub truncate_dim: Option<NonZeroUsize>,
}

impl ModelDescription {
    /// Components of a vector.
    pub fn dim(&self) -> usize {
        let pooled = self.encoder.hidden * self.pooling.modes.len();
        self.steps.iter().fold(pooled, |width, step| match step {
            Step::Dense(dense) => dense.outputs,
            Step::Normalize => width,
        })
    }

    /// Whether vectors are scaled to Euclidean length 1.
    pub fn normalizes(&self) -> bool {
        self.steps.last() == Some(&Step::Normalize)
    }

    /// Whether the tokens of the prompt are left out of the pooling.
    pub fn excludes_prompt(&self) -> bool {
        !self.pooling.include_prompt && !self.prompt.text.is_empty()
    }
}

/// Reads the description of a model, with the texts as `options` has them.
///
/// # Errors
/// `Model`, naming the file and the key, if a file is malformed or has a setting that is not
/// supported; `Config` if an option does not fit the model.
pub fn read(files: &ModelFiles, options: &TextOptions) -> Result<ModelDescription> {
    let encoder = encoder_config::read(files)?;
    let modules = steps::modules(files)?;
    let sentence: SentenceBertConfig =
        json(files, "sentence_bert_config.json")?.unwrap_or_default();
    let tokenizer: TokenizerConfig = json(files, TOKENIZER_CONFIG)?.unwrap_or_default();
    check_normalizer(files, &tokenizer)?;
    let max_seq_length =
        max_seq_length(files, sentence.max_seq_length, &tokenizer, encoder.max_tokens)?;
    let max_seq_length = shorter(max_seq_length, options.max_length)?;
    options.pool.map_or(Ok(()), |size| size.check_length(max_seq_length))?;
    let prompt = prompt::choose(files, &options.prompt)?;
    let pooling = match &modules.pooling {
        Some(directory) => pooling::read(files, directory, encoder.hidden)?,
        None => PoolingSpec::one(TokenPooling::Mean),
    };
    let steps = steps::read(files, &modules.after, encoder.hidden * pooling.modes.len())?;
    let description = ModelDescription {
        encoder,
        pooling,
        steps,
        max_seq_length,
        truncation: options.truncation,
        pool: options.pool,
        lower_case: sentence.do_lower_case.unwrap_or(false),
        prompt,
        truncate_dim: truncate_dim(files)?,
    };
    if description.excludes_prompt() && description.truncation == Truncation::Start {
        let message = "`text.truncate` is \"start\", which may cut the prompt, and the model leaves the \
                       prompt out of its pooling";
        return Err(Error::new(ErrorKind::Config, message)
            .advice("set `text.truncate` to \"end\", or `model.prompt` to \"\""));
    }
    Ok(description)
}

#[derive(Deserialize, Default)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The settings with which transformers overrides `tokenizer.json`.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    /// transformers writes 1e30 for no limit.
    model_max_length: Option<f64>,
    do_lower_case: Option<bool>,
    /// Absent or `null`: the same as `do_lower_case`.
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

/// The maximum length. Without `max_seq_length`, sentence-transformers uses `model_max_length`, and
/// no more than the number of positions.
fn max_seq_length(
    files: &ModelFiles,
    configured: Option<usize>,
    tokenizer: &TokenizerConfig,
    positions: usize,
) -> Result<NonZeroUsize> {
    let (file, key, length) = match (configured, tokenizer.model_max_length) {
        (None, Some(length)) => {
            (TOKENIZER_CONFIG, "model_max_length", (length as usize).min(positions))
        }
        _ => ("sentence_bert_config.json", "max_seq_length", configured.unwrap_or(positions)),
    };
    NonZeroUsize::new(length).filter(|length| (3..=positions).contains(&length.get())).ok_or_else(
        || {
            refuse(files, file, key)
                .with(format!("is {length}, out of range 3 to {positions}"))
                .advice("set it to at most `max_position_embeddings` of config.json")
        },
    )
}

/// The length that the user wants, which the model must allow.
fn shorter(maximum: NonZeroUsize, wanted: Option<NonZeroUsize>) -> Result<NonZeroUsize> {
    let Some(wanted) = wanted else { return Ok(maximum) };
    if wanted <= maximum {
        return Ok(wanted);
    }
    let message = format!(
        "`text.max_length` is {wanted}, more than the maximum of the model, {maximum} tokens"
    );
    Err(Error::new(ErrorKind::Config, message)
        .advice(format!("set it to at most {maximum}, or remove it")))
}

/// The part of `tokenizer.json` that transformers overrides with `tokenizer_config.json`, if the
/// normalizer is a `BertNormalizer`.
#[derive(Deserialize)]
struct TokenizerFile {
    normalizer: Option<Normalizer>,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    handle_chinese_chars: Option<bool>,
}

/// Refuses a directory whose `tokenizer_config.json` and `tokenizer.json` contradict each other:
/// transformers follows the first, reembed the second.
fn check_normalizer(files: &ModelFiles, config: &TokenizerConfig) -> Result<()> {
    const FILE: &str = "tokenizer.json";
    let TokenizerConfig { do_lower_case, strip_accents, tokenize_chinese_chars, .. } = *config;
    if (do_lower_case, strip_accents, tokenize_chinese_chars) == (None, None, None) {
        return Ok(());
    }
    let file: TokenizerFile = required_json(files, FILE)?;
    let Some(normalizer) = file.normalizer.filter(|normalizer| normalizer.kind == "BertNormalizer")
    else {
        return Ok(());
    };
    let lower_case = normalizer.lowercase.unwrap_or(true);
    for (key, expected, name, found) in [
        ("do_lower_case", do_lower_case, "lowercase", lower_case),
        (
            "strip_accents",
            strip_accents,
            "strip_accents",
            normalizer.strip_accents.unwrap_or(lower_case),
        ),
        (
            "tokenize_chinese_chars",
            tokenize_chinese_chars,
            "handle_chinese_chars",
            normalizer.handle_chinese_chars.unwrap_or(true),
        ),
    ] {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(refuse(files, TOKENIZER_CONFIG, key)
                .with(format!("is {expected}, but `{name}` of the normalizer in {FILE} is {found}"))
                .advice("save the tokenizer again with transformers, which makes them agree"));
        }
    }
    Ok(())
}

/// The first components that sentence-transformers keeps of a vector; `None`: all.
///
/// # Errors
/// `Model` when the file is not JSON of the expected structure.
fn truncate_dim(files: &ModelFiles) -> Result<Option<NonZeroUsize>> {
    #[derive(Deserialize, Default)]
    struct DimConfig {
        truncate_dim: Option<NonZeroUsize>,
    }
    let config: DimConfig = json(files, prompt::FILE)?.unwrap_or_default();
    Ok(config.truncate_dim)
}
