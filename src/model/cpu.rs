//! The default encoder on a CPU: the packed forward pass, one single-threaded worker per core.
//!
//! A batch is cut into parts of a few hundred to a thousand tokens, small enough for a core's cache and large
//! enough for its matrix products; each part goes through the whole model on one worker. How it is cut does
//! not matter to the result: a text's vector has the same bits in any company.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::description::ModelDescription;
use super::packed::{PackedError, PackedModel};
use super::weights::BertWeights;
use super::workspace::{self, Workspace};
use super::{EncodeError, Encoder};
use crate::batch::TokenBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Isa;
use crate::limit::BatchShape;

/// A part of a batch has about this many tokens: activations of more fall out of a core's cache.
const PART_TOKENS: usize = 1024;

/// A part is not made smaller than this, even if a core then has nothing to do.
const LEAST_PART_TOKENS: usize = 64;

/// A BERT encoder on our own kernels.
pub struct CpuEncoder {
    model: PackedModel,
    pool: ThreadPool,
    workers: usize,
    /// Workspaces that no worker is using: never more than there are workers.
    idle: Mutex<Vec<Workspace>>,
}

impl CpuEncoder {
    /// Packs the weights for the instruction set `isa`.
    ///
    /// # Errors
    /// `Model` when the weights cannot be packed.
    pub fn new(
        weights: BertWeights,
        description: &ModelDescription,
        isa: Isa,
        threads: NonZeroUsize,
    ) -> Result<Self> {
        let mut tensors = weights.into_tensors();
        let model = PackedModel::new(isa, description.into(), |name| {
            tensors.remove(name).map(|tensor| Cow::Owned(tensor.data))
        })
        .map_err(|cause| match cause {
            PackedError::WeightMemory(asked) => super::no_memory(asked.bytes),
            _ => Error::new(ErrorKind::Model, "the weights cannot be packed").caused_by(cause),
        })?;
        let pool =
            ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
                Error::new(ErrorKind::Internal, "no threads for the model").caused_by(cause)
            })?;
        Ok(CpuEncoder { model, pool, workers: threads.get(), idle: Mutex::default() })
    }

    fn forward(&self, texts: &[&[u32]], vectors: &mut [f32]) -> Result<(), PackedError> {
        let mut workspace = self.idle().pop().unwrap_or_default();
        let done = self.model.forward(&mut workspace, texts, vectors);
        self.idle().push(workspace);
        done
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        // Only whole workspaces go in and out, so a panic elsewhere leaves nothing half-done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoder for CpuEncoder {
    fn dim(&self) -> usize {
        self.model.shape().hidden
    }

    fn is_batch_invariant(&self) -> bool {
        true
    }

    fn pads(&self) -> bool {
        false
    }

    fn numerics(&self) -> &'static str {
        // One version on every instruction set.
        "packed-1-f32"
    }

    fn runs_on(&self) -> String {
        format!("{}, {} threads", self.model.isa().name(), self.workers)
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        let bert = self.model.shape();
        let batch = workspace::bytes_for(bert, shape.rows, shape.padded_tokens());
        // Every other worker has scratch of its own, and its part is one text longer at most.
        let worker = workspace::bytes_for(bert, 0, shape.longest);
        let others = self.workers.min(shape.rows).saturating_sub(1);
        Some(batch.saturating_add(worker.saturating_mul(others)) as u64)
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        let texts: Vec<&[u32]> = batch.texts().collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let mut jobs = Vec::new();
        let mut rest = vectors;
        for part in parts(&lengths, self.workers) {
            let (mine, others) = rest.split_at_mut(part.len() * self.dim());
            rest = others;
            jobs.push((&texts[part], mine));
        }
        self.pool
            .install(|| {
                jobs.into_par_iter().try_for_each(|(texts, vectors)| self.forward(texts, vectors))
            })
            .map_err(|cause| match cause {
                PackedError::OutOfMemory { .. } => {
                    EncodeError::OutOfMemory { shape: batch.shape(), cause: Box::new(cause) }
                }
                other => EncodeError::Failed(Box::new(other)),
            })
    }
}

/// Cuts texts of these lengths into runs of about equal tokens: as many as there are workers, or a multiple
/// of that where the runs would be too long for the cache.
fn parts(lengths: &[usize], workers: usize) -> Vec<Range<usize>> {
    let tokens: usize = lengths.iter().sum();
    let rounds = tokens.div_ceil(PART_TOKENS * workers).max(1);
    let wanted = (workers * rounds).min(tokens.div_ceil(LEAST_PART_TOKENS)).max(1);

    let mut parts = Vec::with_capacity(wanted);
    let (mut start, mut seen) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        seen += length;
        // The k-th part ends where k of `wanted` shares of the tokens are reached.
        if seen * wanted >= tokens * (parts.len() + 1) {
            parts.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < lengths.len() {
        parts.push(start..lengths.len());
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_cut_for_the_workers_that_there_are() {
        for (lengths, workers, expected) in [
            (&[][..], 2, 0),
            (&[10], 2, 1),
            (&[40, 40, 40, 40], 2, 2),
            (&[256; 32], 2, 8),
            (&[30; 4], 1, 1),
        ] {
            assert_eq!(parts(lengths, workers).len(), expected, "{} texts", lengths.len());
        }
    }

    proptest! {
        #[test]
        fn parts_hold_every_text_once_in_order(
            lengths in prop::collection::vec(1usize..256, 0..100),
            workers in 1usize..9,
        ) {
            let parts = parts(&lengths, workers);
            let texts: Vec<usize> = parts.iter().cloned().flatten().collect();
            prop_assert_eq!(texts, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
        }
    }
}
