//! The description of a model, read from its sentence-transformers directory.
//!
//! Layout: <https://sbert.net/docs/sentence_transformer/usage/custom_models.html>.
//!
//! | File | What is read |
//! |---|---|
//! | `modules.json` | the modules |
//! | `config.json` | the transformer (Hugging Face `BertConfig`) |
//! | `1_Pooling/config.json` | the pooling |
//! | `sentence_bert_config.json` | `max_seq_length`, `do_lower_case` |
//! | `config_sentence_transformers.json` | the prompts, `truncate_dim` |
//! | `tokenizer_config.json` | the settings with which transformers overrides `tokenizer.json` |
//!
//! A setting that is not supported is an error that names it: ignoring it would give wrong vectors.

use std::num::NonZeroUsize;

pub use reembed_kernels::Activation;
use serde::Deserialize;

use super::chunk_size::ChunkSize;
use super::config::{TextOptions, Truncation};
use super::json::{DAMAGED, json, quote, refuse, required_json};
use super::prompt::{self, Prompt};
use super::source::ModelFiles;
use crate::error::{Error, ErrorKind, Result};

/// Everything about a model except its weights and its vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDescription {
    /// The shape of the transformer.
    pub bert: BertShape,
    /// How token vectors become the vector of a text.
    pub pooling: Pooling,
    /// Whether the vector is scaled to Euclidean length 1.
    pub normalize: bool,
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

/// Sizes of a BERT encoder (Devlin et al., 2018, <https://arxiv.org/abs/1810.04805>).
#[derive(Debug, Clone, PartialEq)]
pub struct BertShape {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Components of a token vector.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads; it divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// Rows of the position embedding.
    pub max_positions: usize,
    /// Rows of the token-type embedding.
    pub token_types: usize,
    /// Added to the variance in each layer norm.
    pub layer_norm_eps: f64,
    /// The id of the padding token.
    pub pad_token: u32,
}

/// How the token vectors of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all token vectors, special tokens included and padding excluded.
    Mean,
    /// The vector of the first token, `[CLS]`.
    Cls,
}

impl Pooling {
    /// The name in the configuration of the pooling module and in the footer of an output.
    pub fn as_str(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::Cls => "cls",
        }
    }
}

/// Reads the description of a model, with the texts as `options` has them.
///
/// # Errors
/// `Model`, naming the file and the key, if a file is malformed or has a setting that is not
/// supported; `Config` if an option does not fit the model.
pub fn read(files: &ModelFiles, options: &TextOptions) -> Result<ModelDescription> {
    let bert = bert_shape(files)?;
    let modules = modules(files)?;
    let sentence: SentenceBertConfig =
        json(files, "sentence_bert_config.json")?.unwrap_or_default();
    let tokenizer: TokenizerConfig = json(files, TOKENIZER_CONFIG)?.unwrap_or_default();
    check_normalizer(files, &tokenizer)?;
    let max_seq_length =
        max_seq_length(files, sentence.max_seq_length, &tokenizer, bert.max_positions)?;
    let max_seq_length = shorter(max_seq_length, options.max_length)?;
    options.pool.map_or(Ok(()), |size| size.check_length(max_seq_length))?;
    let prompt = prompt::choose(files, &options.prompt)?;
    let pooling = match &modules.pooling {
        Some(directory) => {
            pooling(files, &format!("{directory}/config.json"), &bert, &prompt.text)?
        }
        None => Pooling::Mean,
    };
    Ok(ModelDescription {
        bert,
        pooling,
        normalize: modules.normalize,
        max_seq_length,
        truncation: options.truncation,
        pool: options.pool,
        lower_case: sentence.do_lower_case,
        prompt,
        truncate_dim: truncate_dim(files)?,
    })
}

#[derive(Deserialize)]
struct BertConfig {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "default_activation")]
    hidden_act: String,
    max_position_embeddings: usize,
    #[serde(default = "default_token_types")]
    type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f64,
    #[serde(default)]
    pad_token_id: u32,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
}

// The defaults of `transformers.BertConfig`.
fn default_activation() -> String {
    "gelu".to_owned()
}
fn default_token_types() -> usize {
    2
}
fn default_layer_norm_eps() -> f64 {
    1e-12
}

/// A larger size means a damaged or hostile file.
const MAX_SIZE: usize = 1 << 24;

fn bert_shape(files: &ModelFiles) -> Result<BertShape> {
    const FILE: &str = "config.json";
    let config: BertConfig = required_json(files, FILE)?;
    let damaged =
        |key: &str, message: String| Err(refuse(files, FILE, key).with(message).advice(DAMAGED));
    let refuse = |key: &str, message: String| Err(refuse(files, FILE, key).with(message));

    match config.model_type.as_deref() {
        Some("bert") => {}
        Some(other) => {
            let other = quote(other);
            return refuse("model_type", format!("{other} is not supported; only \"bert\" is"));
        }
        None => {
            return refuse("model_type", "is missing; only \"bert\" is supported".to_owned());
        }
    }
    if let Some(kind) = config.position_embedding_type.filter(|kind| kind != "absolute") {
        return refuse(
            "position_embedding_type",
            format!("{} is not supported; only \"absolute\" is", quote(&kind)),
        );
    }
    if config.is_decoder {
        return refuse(
            "is_decoder",
            "is true: decoders are not supported; only encoders are".to_owned(),
        );
    }
    let activation = match config.hidden_act.as_str() {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => {
            return refuse(
                "hidden_act",
                format!(
                    "{} is not supported; gelu, gelu_new, gelu_pytorch_tanh and relu are",
                    quote(other)
                ),
            );
        }
    };
    for (key, size) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("num_hidden_layers", config.num_hidden_layers),
        ("num_attention_heads", config.num_attention_heads),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
        ("type_vocab_size", config.type_vocab_size),
    ] {
        if !(1..=MAX_SIZE).contains(&size) {
            return damaged(key, format!("is {size}, out of range 1 to {MAX_SIZE}"));
        }
    }
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        return damaged(
            "num_attention_heads",
            format!(
                "is {}, which does not divide `hidden_size` {}",
                config.num_attention_heads, config.hidden_size
            ),
        );
    }
    if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
        return damaged(
            "layer_norm_eps",
            format!("is {}, not between 0 and 1", config.layer_norm_eps),
        );
    }
    Ok(BertShape {
        vocab_size: config.vocab_size,
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        intermediate: config.intermediate_size,
        activation,
        max_positions: config.max_position_embeddings,
        token_types: config.type_vocab_size,
        layer_norm_eps: config.layer_norm_eps,
        pad_token: config.pad_token_id,
    })
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// The modules after the transformer.
struct Modules {
    /// The directory of the pooling module; `None` means the mean, as in sentence-transformers.
    pooling: Option<String>,
    normalize: bool,
}

fn modules(files: &ModelFiles) -> Result<Modules> {
    const FILE: &str = "modules.json";
    let Some(list) = json::<Vec<Module>>(files, FILE)? else {
        return Ok(Modules { pooling: None, normalize: false });
    };
    // The path of a class depends on the version of sentence-transformers; its name does not.
    let kinds: Vec<&str> =
        list.iter().map(|module| module.kind.rsplit('.').next().unwrap_or("")).collect();
    for (kind, module) in kinds.iter().zip(&list) {
        match *kind {
            "Transformer" if !module.path.is_empty() => {
                return Err(refuse(files, FILE, "Transformer").with(format!(
                    "is in the directory {}; only a Transformer at the top level is supported",
                    quote(&module.path)
                )));
            }
            "Transformer" | "Pooling" | "Normalize" => {}
            _ => {
                return Err(refuse(files, FILE, "type").with(format!(
                    "{} is not supported; Transformer, Pooling and Normalize are",
                    quote(&module.kind)
                )));
            }
        }
    }
    let normalize = match kinds[..] {
        ["Transformer", "Pooling"] => false,
        ["Transformer", "Pooling", "Normalize"] => true,
        _ => {
            return Err(refuse(files, FILE, "type").with(format!(
                "the modules are {kinds:?}; they must be Transformer, Pooling and perhaps Normalize, in this order"
            )));
        }
    };
    Ok(Modules { pooling: Some(list[1].path.clone()), normalize })
}

#[derive(Deserialize)]
struct PoolingConfig {
    word_embedding_dimension: Option<usize>,
    pooling_mode: Option<String>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "default_true")]
    include_prompt: bool,
}

fn default_true() -> bool {
    true
}

fn pooling(files: &ModelFiles, file: &str, bert: &BertShape, prompt: &str) -> Result<Pooling> {
    let config: PoolingConfig = required_json(files, file)?;
    if let Some(width) = config.word_embedding_dimension.filter(|width| *width != bert.hidden) {
        return Err(refuse(files, file, "word_embedding_dimension")
            .with(format!("is {width}, but `hidden_size` of config.json is {}", bert.hidden))
            .advice(DAMAGED));
    }
    if !config.include_prompt && !prompt.is_empty() {
        return Err(refuse(files, file, "include_prompt")
            .with("is false: excluding the prompt from the pooling is not supported".to_owned())
            .advice("set `model.prompt` to \"\", or choose another model"));
    }
    let named: Vec<&str> = match &config.pooling_mode {
        Some(mode) => vec![mode.as_str()],
        None => [
            ("cls", config.pooling_mode_cls_token),
            ("mean", config.pooling_mode_mean_tokens),
            ("max", config.pooling_mode_max_tokens),
            ("mean_sqrt_len_tokens", config.pooling_mode_mean_sqrt_len_tokens),
            ("weightedmean", config.pooling_mode_weightedmean_tokens),
            ("lasttoken", config.pooling_mode_lasttoken),
        ]
        .into_iter()
        .filter_map(|(name, on)| on.then_some(name))
        .collect(),
    };
    match named[..] {
        ["mean"] => Ok(Pooling::Mean),
        ["cls"] => Ok(Pooling::Cls),
        _ => Err(refuse(files, file, "pooling_mode")
            .with(format!("{named:?} is not supported; one of \"mean\" and \"cls\" is"))),
    }
}

#[derive(Deserialize, Default)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
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
