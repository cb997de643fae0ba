//! The interface of an encoder: token ids in, vectors out.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::ops::Range;

use reembed_kernels::Precision;

use crate::batch::TokenBatch;
use crate::limit::BatchShape;
use crate::stop::{Stop, StopReason};

/// Computes vectors from token ids.
pub trait Encoder: Send + Sync {
    /// Components of a vector.
    fn dim(&self) -> usize;

    /// Whether a vector has the same bits in any batch and at any position in it.
    fn is_batch_invariant(&self) -> bool;

    /// Whether texts are padded to the longest of their batch. Padding costs time like text.
    fn pads(&self) -> bool;

    /// Texts that it computes at the same time: a batch of fewer leaves threads idle.
    fn texts_at_once(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    /// Whether vectors are scaled to Euclidean length 1. The mean of vectors is scaled too then.
    fn normalizes(&self) -> bool;

    /// The name of the numerics version. Vectors of two versions may differ in their last bits.
    fn numerics(&self) -> &'static str;

    /// The precision of the factors of matrix products.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Bytes that a batch of this shape needs beside the weights; `None` if the device's allocator
    /// decides.
    fn bytes_for(&self, shape: BatchShape) -> Option<u64>;

    /// Writes the vector of each text of `batch` into `vectors`, row-major, `batch.len() × dim`.
    /// Vectors are pooled and normalised as the model's directory says.
    ///
    /// # Errors
    /// [`EncodeError::OutOfMemory`] if the batch does not fit in memory: split it and try again.
    /// Other errors are final. `vectors` is unspecified after an error.
    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError>;

    /// As [`Encoder::encode`], and returns early when a stop is requested. It calls
    /// [`Watch::part_done`] once for each part of the batch. An encoder whose batches take less
    /// than a second may ignore `watch`.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and [`EncodeError::Stopped`].
    fn encode_until(
        &self,
        batch: &TokenBatch,
        watch: Watch<'_>,
        vectors: &mut [f32],
    ) -> Result<(), EncodeError> {
        let _ = watch;
        self.encode(batch, vectors)
    }
}

/// Observes a batch while it runs: requests a stop, and receives the finished parts.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    stop: &'a Stop,
    on_part: &'a (dyn Fn(Range<usize>) + Sync),
}

impl<'a> Watch<'a> {
    /// A watch that calls `on_part` with the positions of a part's texts in the batch. The threads
    /// of the encoder call it, several at once and in any order; they wait for it.
    pub fn new(stop: &'a Stop, on_part: &'a (dyn Fn(Range<usize>) + Sync)) -> Self {
        Watch { stop, on_part }
    }

    /// The reason to stop; `None` while there is none.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop.reason()
    }

    /// Reports that the vectors of these texts are written. The batch may still fail.
    pub fn part_done(&self, texts: Range<usize>) {
        (self.on_part)(texts);
    }
}

/// Why a batch has no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The batch does not fit in memory.
    #[error("{} texts of up to {} tokens do not fit in memory", shape.rows, shape.longest)]
    OutOfMemory {
        /// The shape of the batch.
        shape: BatchShape,
        /// The error of the allocator.
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// A stop was requested.
    #[error("the batch was stopped")]
    Stopped(StopReason),
    /// The model cannot run this batch at any size.
    #[error("the model failed")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}
