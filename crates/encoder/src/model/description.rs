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

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_json::Value;

use super::chunk_size::ChunkSize;
use super::config::{TextOptions, Truncation};
use super::encoder_config;
use super::json::{json, quote, refuse};
use super::prompt::{self, Prompt};
use super::source::{ModelFiles, SENTENCE_CONFIGS};
use super::spec::{EncoderSpec, PoolingSpec, Positions, Step, TokenPooling};
pub use super::token_settings::TOKENIZER_CONFIG;
use super::token_settings::{self, TokenSettings, TokenizerConfig};
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
    /// Whether a text is converted to lower case before the tokenizer normalizes it.
    pub lower_case: bool,
    /// What files beside `tokenizer.json` say about tokens.
    pub tokens: TokenSettings,
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
    let mut encoder = encoder_config::read(files)?;
    let modules = steps::modules(files)?;
    let sentence = sentence_config(files)?;
    let tokenizer: TokenizerConfig = json(files, TOKENIZER_CONFIG)?.unwrap_or_default();
    // A static embedding has the tokenizer of its file, as it is.
    let tokenizer = if files.is_static { TokenizerConfig::default() } else { tokenizer };
    let tokens = token_settings::read(files, &tokenizer, encoder.architecture)?;
    let max_seq_length = match files.is_static {
        true => tokens.file_length(encoder.max_tokens),
        false => max_seq_length(files, &sentence, &tokenizer, &encoder)?,
    };
    // A rotation has no end, whatever the configuration says.
    encoder.max_tokens = encoder.max_tokens.max(max_seq_length.get());
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
        truncation: tokens.truncation(options.truncation),
        tokens,
        pool: options.pool,
        lower_case: sentence.do_lower_case,
        prompt,
        truncate_dim: truncate_dim(files)?,
    };
    if description.excludes_prompt() {
        description.truncation.check_keeps_prompt()?;
    }
    Ok(description)
}

/// The configuration of the transformer module.
#[derive(Default)]
struct SentenceConfig {
    /// The name of its file.
    file: &'static str,
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

/// Reads the configuration of the transformer module. Every key that would change a vector is refused, and
/// every one that is not known.
fn sentence_config(files: &ModelFiles) -> Result<SentenceConfig> {
    let mut config = SentenceConfig { file: SENTENCE_CONFIGS[0], ..SentenceConfig::default() };
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for file in SENTENCE_CONFIGS {
        if let Some(found) = json(files, file)?.filter(|found: &BTreeMap<_, _>| !found.is_empty()) {
            (config.file, values) = (file, found);
            break;
        }
    }
    for (key, value) in &values {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str);
        let is_known = match key.as_str() {
            _ if *value == Value::Null => true,
            "max_seq_length" => {
                config.max_seq_length = value.as_u64().map(|length| length as usize);
                config.max_seq_length.is_some()
            }
            "do_lower_case" => {
                config.do_lower_case = *value == Value::Bool(true);
                value.is_boolean()
            }
            // They decide speed and types, and vectors here are f32 whatever they say.
            "model_args" | "model_kwargs" => has_only(value, &HARMLESS_MODEL_ARGS),
            "config_args" | "config_kwargs" => has_only(value, &["trust_remote_code"]),
            // Nothing is padded here.
            "tokenizer_args" | "tokenizer_kwargs" | "processor_kwargs" => {
                has_only(value, &["padding_side", "trust_remote_code"])
            }
            "unpad_inputs" | "backend" => true,
            "transformer_task" => text("") == Some("feature-extraction"),
            "module_output_name" => text("") == Some("token_embeddings"),
            "modality_config" => {
                value.as_object().is_some_and(|map| map.keys().eq(["text"]))
                    && text("/text/method") == Some("forward")
                    && text("/text/method_output_name") == Some("last_hidden_state")
            }
            _ => value.as_object().is_some_and(serde_json::Map::is_empty),
        };
        if !is_known {
            return Err(refuse(files, config.file, key)
                .with(format!("{} is not supported", quote(&value.to_string())))
                .advice("remove the key if it changes no vector, or choose another model"));
        }
    }
    Ok(config)
}

/// Whether a value is an object with no other keys.
fn has_only(value: &Value, keys: &[&str]) -> bool {
    value.as_object().is_some_and(|map| map.keys().all(|key| keys.contains(&key.as_str())))
}

/// Arguments of a model's constructor that change no f32 vector.
const HARMLESS_MODEL_ARGS: [&str; 7] = [
    "add_pooling_layer",
    "attn_implementation",
    "device_map",
    "dtype",
    "low_cpu_mem_usage",
    "torch_dtype",
    "trust_remote_code",
];

/// Most tokens of a text for which a model without a table of positions is made.
const MOST_ROTATED: usize = 1 << 17;

/// The maximum length. Without `max_seq_length`, sentence-transformers uses `model_max_length`, and
/// no more than the number of positions.
fn max_seq_length(
    files: &ModelFiles,
    sentence: &SentenceConfig,
    tokenizer: &TokenizerConfig,
    encoder: &EncoderSpec,
) -> Result<NonZeroUsize> {
    let positions = encoder.max_tokens;
    let most = match encoder.embeddings.positions {
        Positions::None => positions.max(MOST_ROTATED),
        _ => positions,
    };
    let (file, key, length) = match (sentence.max_seq_length, tokenizer.model_max_length) {
        (None, Some(length)) => {
            (TOKENIZER_CONFIG, "model_max_length", (length as usize).min(positions))
        }
        _ => (sentence.file, "max_seq_length", sentence.max_seq_length.unwrap_or(positions)),
    };
    NonZeroUsize::new(length).filter(|length| (3..=most).contains(&length.get())).ok_or_else(|| {
        refuse(files, file, key)
            .with(format!("is {length}, out of range 3 to {most}"))
            .advice("set it to at most `max_position_embeddings` of config.json")
    })
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

/// The first components that sentence-transformers keeps of a vector; `None`: all.
///
/// # Errors
/// `Model` when the file is not JSON of the expected structure, or describes another kind of model.
fn truncate_dim(files: &ModelFiles) -> Result<Option<NonZeroUsize>> {
    #[derive(Deserialize, Default)]
    struct DimConfig {
        truncate_dim: Option<NonZeroUsize>,
        model_type: Option<String>,
    }
    let config: DimConfig = json(files, prompt::FILE)?.unwrap_or_default();
    if let Some(kind) = config.model_type.filter(|kind| kind != "SentenceTransformer") {
        return Err(refuse(files, prompt::FILE, "model_type")
            .with(format!("{} is not supported; only \"SentenceTransformer\" is", quote(&kind))));
    }
    Ok(config.truncate_dim)
}
