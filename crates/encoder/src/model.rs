//! A sentence model: where it comes from, what its directory says, and the encoder that runs it.
//!
//! `source` (bytes, verified) → `description` (what the directory says) → `weights` (checked tensors) → an
//! [`Encoder`].

#[cfg(feature = "candle")]
pub mod candle;
pub mod config;
pub mod description;
pub mod fake;
pub mod identity;
pub mod packed;
pub mod precision;
pub mod source;
pub mod weights;

use std::error::Error as StdError;
use std::num::NonZeroUsize;

use rayon::{ThreadPool, ThreadPoolBuilder};
use reembed_kernels::Precision;

use crate::batch::TokenBatch;
use crate::budget::{MemoryReadings, max_tokens_for_budget, memory_budget};
use crate::error::{Error, ErrorKind, Result, StopReason};
use crate::limit::{AdaptiveLimit, BatchShape, LimitBounds, RequestedLimits, TokenCount};
use crate::stop::Stop;
use crate::tokenizer::TextTokenizer;
use config::{Engine, ModelConfig};
use identity::ModelIdentity;
use precision::PrecisionWarning;
use source::FetchProgress;

/// Turns token ids into vectors.
pub trait Encoder: Send + Sync {
    /// Components of a vector.
    fn dim(&self) -> usize;

    /// Whether a text's vector has the same bits in any company: whatever batch it is in, at whatever position.
    fn is_batch_invariant(&self) -> bool;

    /// Whether texts of a batch are padded to the longest of it, so that the padding costs time too.
    fn pads(&self) -> bool;

    /// What it runs on, for people: instruction set and threads, or a device. Vectors do not depend on it.
    fn runs_on(&self) -> String;

    /// What produces the vectors, for lineage: two numerics versions may differ in the last bits.
    fn numerics(&self) -> &'static str;

    /// What the factors of its matrix products are.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// What the user should know about how it computes.
    fn warning(&self) -> Option<PrecisionWarning> {
        None
    }

    /// Bytes that a batch of that shape takes beside the weights, or `None` where the device's own allocator
    /// answers instead.
    fn bytes_for(&self, shape: BatchShape) -> Option<u64>;

    /// Writes one vector of [`Encoder::dim`] components per text of `batch` into `vectors` (row-major,
    /// `batch.len() × dim`), pooled and normalised as the model says.
    ///
    /// # Errors
    /// [`EncodeError::OutOfMemory`] when the batch is too large for the memory there is; the caller may split
    /// it and try again. Anything else is final.
    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError>;

    /// As [`Encoder::encode`], and gives up where `stop` asks for it meanwhile. An encoder whose batches take no
    /// longer than a second need not look.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`]; [`EncodeError::Stopped`], and no vector is of any use then.
    fn encode_until(
        &self,
        stop: &Stop,
        batch: &TokenBatch,
        vectors: &mut [f32],
    ) -> Result<(), EncodeError> {
        let _ = stop;
        self.encode(batch, vectors)
    }
}

/// Why a batch has no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The batch does not fit in memory.
    #[error("{} texts of up to {} tokens do not fit in memory", shape.rows, shape.longest)]
    OutOfMemory {
        /// What was tried.
        shape: BatchShape,
        /// Who said so.
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// Someone asked to stop.
    #[error("the batch was given up")]
    Stopped(StopReason),
    /// The model cannot run this batch at any size.
    #[error("the model failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}

/// A model that is ready to embed texts.
pub struct Model {
    /// Text to token ids, cut at the model's maximum length.
    pub tokenizer: TextTokenizer,
    /// Token ids to vectors.
    pub encoder: Box<dyn Encoder>,
    /// Which model this is; it travels in the output's footer.
    pub identity: ModelIdentity,
}

impl Model {
    /// Bytes that a single text of the full length takes beside the weights, where they are counted.
    pub fn bytes_of_one_text(&self) -> Option<u64> {
        let longest = self.tokenizer.max_length().get();
        self.encoder.bytes_for(BatchShape { rows: 1, longest, tokens: longest })
    }

    /// How batches of this model begin: under the bounds that were `requested`, within `memory_limit` bytes or, where
    /// that is `None`, a share of what `readings` leave.
    pub fn batching(
        &self,
        requested: RequestedLimits,
        memory_limit: Option<u64>,
        readings: MemoryReadings,
    ) -> Batching {
        let least = self.bytes_of_one_text();
        let budget = memory_budget(memory_limit, readings, least);
        let counting = TokenCount::padded(self.encoder.pads());
        let price = |shape| self.encoder.bytes_for(shape);
        let affordable =
            max_tokens_for_budget(budget, self.tokenizer.max_length(), counting, price);
        let limit = AdaptiveLimit::new(LimitBounds::new(requested, affordable, counting));
        Batching { limit, budget, least }
    }
}

/// How batches of a run begin.
#[derive(Debug, Clone)]
pub struct Batching {
    /// The limit that the first batch is planned under.
    pub limit: AdaptiveLimit,
    /// Bytes that a batch may take, where they are counted before it runs.
    pub budget: Option<u64>,
    /// Bytes that a single text of the model's full length takes, where they are counted.
    pub least: Option<u64>,
}

/// Finds, checks and loads the model.
///
/// # Errors
/// `Model` when its files cannot be had or are not a model that this program runs, naming the file or tensor;
/// `Config` when the device does not exist in this build.
pub fn load(model: &ModelConfig, progress: &dyn Fn(FetchProgress)) -> Result<Model> {
    load_until(model, &Stop::new(), progress)
}

/// [`load`], looking for a request to stop while files arrive and between the steps.
///
/// # Errors
/// As [`load`], and `Stopped`.
pub fn load_until(
    model: &ModelConfig,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<Model> {
    let files = source::resolve_until(&model.source, stop, progress)?;
    let description = description::read(&files, model.prompt.as_deref())?;
    let threads = model.threads();
    let (tokenizer, encoder) = pool(threads)?.install(|| {
        rayon::join(
            || TextTokenizer::new(&files, &description)?.with_threads(threads),
            || {
                let weights = weights::read(&files, &description.bert)?;
                stop.check()?;
                encoder(model, weights, &description, source::is_default_model(&files))
            },
        )
    });
    // Whichever came to its end first, what is heard of is the same.
    let (tokenizer, encoder) = (tokenizer?, encoder?);
    let identity = ModelIdentity::new(
        &model.source.id,
        &files,
        &description,
        encoder.precision(),
        encoder.numerics(),
    );
    Ok(Model { tokenizer, encoder, identity })
}

/// Threads that keep to `compute.threads`.
fn pool(threads: NonZeroUsize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
        Error::new(ErrorKind::Internal, "no threads for the model").caused_by(cause)
    })
}

/// The model needs more memory than there is.
fn no_memory(bytes: usize) -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        format!("the model does not fit: {bytes} bytes of memory could not be had"),
    )
    .advice("free memory, or raise the limit of the container or `ulimit -v`")
}

fn encoder(
    model: &ModelConfig,
    weights: weights::BertWeights<'_>,
    description: &description::ModelDescription,
    is_default_model: bool,
) -> Result<Box<dyn Encoder>> {
    let threads = model.threads();
    Ok(match model.engine {
        Engine::Packed => {
            let (arithmetic, warning) =
                precision::choose(model.isa()?, model.precision, is_default_model);
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
