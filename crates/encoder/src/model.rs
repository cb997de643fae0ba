//! A sentence model: its files, its tokenizer and the encoder that runs it.
//!
//! `source` (verified bytes) → `description` (what the directory says) → `weights` (checked
//! tensors) → an [`Encoder`].

#[cfg(feature = "candle")]
pub mod candle;
pub mod chunk_size;
pub mod config;
pub mod description;
pub mod encoder;
pub mod fake;
mod from_identity;
pub mod identity;
mod json;
pub mod matryoshka;
pub mod packed;
pub mod precedent;
pub mod precision;
pub mod prompt;
mod resources;
pub mod source;
pub mod tokenizer;
pub mod weights;

use std::num::NonZeroUsize;

use crate::budget::{MemoryReadings, max_tokens_for_budget, memory_budget};
use crate::error::Result;
#[cfg(not(feature = "candle"))]
use crate::error::{Error, ErrorKind};
use crate::limit::{AdaptiveLimit, BatchShape, LimitBounds, RequestedLimits, TokenCount};
use crate::stop::Stop;
use config::{Engine, ModelConfig};
pub use encoder::{EncodeError, Encoder};
use identity::ModelIdentity;
use precedent::{FollowedPrecision, Precedents};
use prompt::PromptWarning;
use reembed_kernels::Precision;
use source::FetchProgress;
use tokenizer::TextTokenizer;

/// A model that is ready to embed texts.
pub struct Model {
    /// Text to token ids, truncated to the model's maximum length.
    pub tokenizer: TextTokenizer,
    /// Token ids to vectors.
    pub encoder: Box<dyn Encoder>,
    /// What the vectors depend on. The footer of an output holds it.
    pub identity: ModelIdentity,
    /// The first components that sentence-transformers keeps of a vector; `None`: all. The encoder
    /// returns all.
    pub truncate_dim: Option<NonZeroUsize>,
    /// What the user should know about how it was loaded.
    pub notes: ModelNotes,
}

/// What the user should know about how a model was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelNotes {
    /// The model may need a prompt that it does not get.
    pub prompt: Option<PromptWarning>,
    /// Its precision was chosen for vectors that exist, and might have been another one without.
    pub precision: Option<FollowedPrecision>,
}

impl Model {
    /// Bytes that the longest text or chunk needs beside the weights; `None` if the
    /// device's allocator decides.
    pub fn single_text_bytes(&self) -> Option<u64> {
        let longest = self.tokenizer.longest_text().get();
        self.encoder.bytes_for(BatchShape { rows: 1, longest, tokens: longest })
    }

    /// The batch limit and memory budget of a run that starts now.
    ///
    /// The budget is `memory_limit` bytes or, if that is `None`, a share of the free memory of
    /// `readings`.
    pub fn batch_settings(
        &self,
        requested: RequestedLimits,
        memory_limit: Option<u64>,
        readings: MemoryReadings,
    ) -> BatchSettings {
        let single_text_bytes = self.single_text_bytes();
        let budget = memory_budget(memory_limit, readings, single_text_bytes);
        let counting = TokenCount::from_padding(self.encoder.pads());
        let bytes_for = |shape| self.encoder.bytes_for(shape);
        let affordable =
            max_tokens_for_budget(budget, self.tokenizer.longest_text(), counting, bytes_for);
        let limit = AdaptiveLimit::new(LimitBounds::new(requested, affordable, counting));
        BatchSettings { limit, budget, single_text_bytes }
    }
}

/// The batch limit and memory budget at the start of a run.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// The limit of the first batch.
    pub limit: AdaptiveLimit,
    /// Bytes that a batch may need; `None` if the device's allocator decides.
    pub budget: Option<u64>,
    /// As [`Model::single_text_bytes`].
    pub single_text_bytes: Option<u64>,
}

/// Finds, verifies and loads the model. `progress` gets the progress of the search for its files.
///
/// # Errors
/// `Model`, naming the file or tensor, if files are missing, damaged or not supported; `Config` if
/// this build or this machine lacks the device or instruction set; `OutOfMemory` if the model does
/// not fit.
pub fn load(config: &ModelConfig, progress: &dyn Fn(FetchProgress)) -> Result<Model> {
    load_until(config, &Precedents::default(), &Stop::new(), progress)
}

/// As [`load`], and returns early when `stop` is requested. Unless the precision is configured, the
/// packed engine runs in that of the `precedents`.
///
/// # Errors
/// As [`load`], and `Stopped`.
pub fn load_until(
    config: &ModelConfig,
    precedents: &Precedents,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<Model> {
    let files = source::resolve_until(&config.source, stop, progress)?;
    let description = description::read(&files, &config.text)?;
    let followed = match (config.engine, config.precision) {
        (Engine::Packed, None) => precedents.precision_of(&files, &description),
        _ => None,
    };
    let validated = source::is_default_model(&files);
    let threads = config.threads();
    let (tokenizer, encoder) = resources::start_threads(threads, "the model")?.install(|| {
        rayon::join(
            || TextTokenizer::new(&files, &description)?.with_threads(threads),
            || {
                let weights = weights::read(&files, &description.bert)?;
                stop.check()?;
                load_encoder(config, weights, &description, validated, followed)
            },
        )
    });
    // In a fixed order, so that of two errors the same one is reported.
    let (tokenizer, encoder) = (tokenizer?, encoder?);
    let identity =
        ModelIdentity::new(&files, &description, encoder.precision(), encoder.numerics());
    let prompt = prompt::warning(&files.label, &config.text.prompt, &description.prompt);
    // For any other model, f32 is the choice on every machine.
    let precision = followed.filter(|followed| validated || followed.precision != Precision::F32);
    let truncate_dim = description.truncate_dim;
    let notes = ModelNotes { prompt, precision };
    Ok(Model { tokenizer, encoder, identity, truncate_dim, notes })
}

fn load_encoder(
    config: &ModelConfig,
    weights: weights::BertWeights<'_>,
    description: &description::ModelDescription,
    validated: bool,
    followed: Option<FollowedPrecision>,
) -> Result<Box<dyn Encoder>> {
    let threads = config.threads();
    Ok(match config.engine {
        Engine::Packed => {
            let (arithmetic, warning) =
                precision::choose_arithmetic(config.isa()?, config.precision, followed, validated);
            Box::new(packed::PackedEncoder::new(
                &weights,
                description,
                arithmetic,
                threads,
                warning,
            )?)
        }
        #[cfg(feature = "candle")]
        Engine::Candle(device) => {
            Box::new(candle::CandleEncoder::new(weights, description, device, threads)?)
        }
        #[cfg(not(feature = "candle"))]
        Engine::Candle(_) => {
            return Err(Error::new(ErrorKind::Config, "this build has no candle engine")
                .advice("set `compute.engine` to \"packed\", or build with the feature `candle`"));
        }
    })
}
