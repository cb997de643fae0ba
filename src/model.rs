//! A sentence model: where it comes from, what its folder says, and the encoder that runs it.
//!
//! `source` (bytes, verified) → `description` (what the folder says) → `weights` (checked tensors) → an
//! [`Encoder`].

pub mod candle;
pub mod ceiling;
pub mod cpu;
pub mod description;
pub mod fake;
pub mod packed;
pub mod source;
pub mod weights;
pub mod workspace;

use std::error::Error as StdError;

use crate::batch::TokenBatch;
use crate::config::{Engine, ModelConfig};
use crate::error::Result;
use crate::limit::BatchShape;
use crate::lineage::{Lineage, ModelIdentity};
use crate::tokenizer::TextTokenizer;
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
    /// What a file of this model's vectors says about itself.
    pub fn lineage(&self) -> Lineage {
        Lineage::new(&self.identity)
    }
}

/// Finds, checks and loads the model.
///
/// # Errors
/// `Model` when its files cannot be had or are not a model that this program runs, naming the file or tensor;
/// `Config` when the device does not exist in this build.
pub fn load(model: &ModelConfig, progress: &dyn Fn(FetchProgress)) -> Result<Model> {
    let files = source::resolve(&model.source, progress)?;
    let description = description::read(&files, model.prompt.as_deref())?;
    let tokenizer = TextTokenizer::new(&files, &description)?;
    let weights = weights::read(&files, &description.bert)?;
    let encoder = encoder(model, weights, &description)?;
    let identity = ModelIdentity::new(&model.source.id, &files, &description, encoder.numerics());
    Ok(Model { tokenizer, encoder, identity })
}

fn encoder(
    model: &ModelConfig,
    weights: weights::BertWeights,
    description: &description::ModelDescription,
) -> Result<Box<dyn Encoder>> {
    Ok(match model.engine {
        Engine::Packed(isa) => {
            Box::new(cpu::CpuEncoder::new(weights, description, isa, model.threads)?)
        }
        Engine::Candle(device) => {
            Box::new(candle::CandleEncoder::new(weights, description, device, model.threads)?)
        }
    })
}
