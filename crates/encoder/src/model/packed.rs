//! The default encoder on a CPU: the packed forward pass, one single-threaded worker per core.
//!
//! A batch is cut into parts of about a hundred to a thousand tokens, and each part goes through the whole model
//! on one worker. A worker that is done takes the next part, and parts become smaller towards the end of the
//! batch, so that all workers end at about the same time. How it is cut does not matter to the result: a text's
//! vector has the same bits in any company.

mod bert;
mod shape;
mod workspace;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;
use reembed_kernels::{Arithmetic, Precision};

use super::description::ModelDescription;
use super::weights::BertWeights;
use super::{EncodeError, Encoder, PrecisionWarning, pool};
use crate::batch::TokenBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::BatchShape;
use crate::stop::{Stop, StopReason};
pub use bert::PackedModel;
pub use shape::{PackedError, PackedShape};
pub use workspace::Workspace;

/// A part of a batch has at most so many tokens, or one text: what a worker's memory is for.
const MOST_PART_TOKENS: usize = 1024;

/// A part is not made smaller than this, even if a core then has nothing to do: two blocks of the forward pass.
const LEAST_PART_TOKENS: usize = 96;

/// A BERT encoder on our own kernels.
pub struct PackedEncoder {
    model: PackedModel,
    pool: ThreadPool,
    workers: usize,
    /// Workspaces that no worker is using: never more than there are workers.
    idle: Mutex<Vec<Workspace>>,
    warning: Option<PrecisionWarning>,
}

impl PackedEncoder {
    /// Packs the weights for a precision. `warning` is what the user should know about how it is computed.
    ///
    /// # Errors
    /// `Model` when the weights cannot be packed.
    pub fn new(
        weights: &BertWeights<'_>,
        description: &ModelDescription,
        arithmetic: Arithmetic,
        threads: NonZeroUsize,
        warning: Option<PrecisionWarning>,
    ) -> Result<Self> {
        let pool = pool(threads)?;
        let model = pool
            .install(|| {
                PackedModel::new(arithmetic, description.into(), |name| {
                    weights.get(name).map(Cow::from)
                })
            })
            .map_err(|cause| match cause {
                PackedError::WeightMemory(asked) => super::no_memory(asked.bytes),
                _ => Error::new(ErrorKind::Model, "the weights cannot be packed").caused_by(cause),
            })?;
        Ok(PackedEncoder { model, pool, workers: threads.get(), idle: Mutex::default(), warning })
    }

    /// One part, in a workspace for the largest part of its batch: one that grew from part to part would leave the
    /// memory of its smaller selves in pieces.
    fn forward(
        &self,
        largest: usize,
        texts: &[&[u32]],
        vectors: &mut [f32],
    ) -> Result<(), PackedError> {
        let mut workspace = self.idle().pop().unwrap_or_default();
        let room = workspace.reserve(self.model.shape(), self.precision(), largest);
        let done = room.and_then(|()| self.model.forward(&mut workspace, texts, vectors));
        self.idle().push(workspace);
        done
    }

    /// Takes part after part until none is left. After an error, or where `stop` asks for it, nobody takes another.
    fn work<'p>(
        &self,
        stop: &Stop,
        largest: usize,
        parts: &Mutex<impl Iterator<Item = (&'p [&'p [u32]], &'p mut [f32])>>,
    ) -> Result<(), Unfinished> {
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((texts, vectors)) = next() {
            let done = match stop.reason() {
                Some(reason) => Err(Unfinished::Stopped(reason)),
                None => self.forward(largest, texts, vectors).map_err(Unfinished::Failed),
            };
            if done.is_err() {
                while next().is_some() {}
                return done;
            }
        }
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        // Only whole workspaces go in and out, so a panic elsewhere leaves nothing half-done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoder for PackedEncoder {
    fn dim(&self) -> usize {
        self.model.shape().hidden
    }

    fn is_batch_invariant(&self) -> bool {
        true
    }

    fn pads(&self) -> bool {
        false
    }

    fn precision(&self) -> Precision {
        self.model.arithmetic().precision()
    }

    fn numerics(&self) -> &'static str {
        // One version of each precision on every instruction set.
        self.precision().numerics()
    }

    fn runs_on(&self) -> String {
        format!("{}, {} threads", self.model.arithmetic(), self.workers)
    }

    fn warning(&self) -> Option<PrecisionWarning> {
        self.warning.clone()
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        let bert = self.model.shape();
        // The first part is the largest.
        let part = share(shape.tokens, self.workers).min(shape.tokens).max(shape.longest);
        let worker = workspace::bytes_for(bert, self.precision(), 0, part);
        let workers = worker.saturating_mul(self.workers.min(shape.rows));
        let vectors = shape.rows.saturating_mul(bert.hidden).saturating_mul(size_of::<f32>());
        Some(workers.saturating_add(vectors) as u64)
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        self.encode_until(&Stop::new(), batch, vectors)
    }

    fn encode_until(
        &self,
        stop: &Stop,
        batch: &TokenBatch,
        vectors: &mut [f32],
    ) -> Result<(), EncodeError> {
        let texts: Vec<&[u32]> = batch.texts().collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let mut jobs = Vec::new();
        let mut rest = vectors;
        let mut largest = 0;
        for part in parts(&lengths, self.workers) {
            largest = largest.max(lengths[part.clone()].iter().sum());
            let (mine, others) = rest.split_at_mut(part.len() * self.dim());
            rest = others;
            jobs.push((&texts[part], mine));
        }
        let jobs = Mutex::new(jobs.into_iter());
        let ends = self.pool.broadcast(|_| self.work(stop, largest, &jobs));
        ends.into_iter().collect::<Result<(), _>>().map_err(|end| match end {
            Unfinished::Stopped(reason) => EncodeError::Stopped(reason),
            Unfinished::Failed(cause @ PackedError::OutOfMemory { .. }) => {
                EncodeError::OutOfMemory { shape: batch.shape(), cause: Box::new(cause) }
            }
            Unfinished::Failed(other) => EncodeError::Failed(Box::new(other)),
        })
    }
}

/// Why a worker took no other part.
enum Unfinished {
    Stopped(StopReason),
    Failed(PackedError),
}

/// Cuts texts of these lengths into runs: each has its [`share`] of the tokens that are left, or one text.
fn parts(lengths: &[usize], workers: usize) -> Vec<Range<usize>> {
    let mut left: usize = lengths.iter().sum();
    let mut parts = Vec::new();
    let mut start = 0;
    while start < lengths.len() {
        let wanted = share(left, workers);
        let mut end = start + 1;
        let mut tokens = lengths[start];
        while end < lengths.len() && tokens + lengths[end] <= wanted {
            tokens += lengths[end];
            end += 1;
        }
        parts.push(start..end);
        left -= tokens;
        start = end;
    }
    parts
}

/// Half of what each worker would get of the tokens that are left: who is late with a part then has the time
/// that the others need for the rest.
fn share(left: usize, workers: usize) -> usize {
    left.div_ceil(2 * workers).clamp(LEAST_PART_TOKENS, MOST_PART_TOKENS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_is_cut_for_the_workers_that_there_are() {
        let tokens = |lengths: &[usize], workers| -> Vec<usize> {
            let parts = parts(lengths, workers);
            parts.into_iter().map(|part| lengths[part].iter().sum()).collect()
        };
        for (lengths, workers, expected) in [
            (&[][..], 2, &[][..]),
            (&[10], 2, &[10]),
            (&[40, 40, 40, 40], 2, &[80, 80]),
            (&[30; 4], 1, &[90, 30]),
            (&[256, 256], 2, &[256, 256]),
            (&[64; 32], 2, &[512, 384, 256, 192, 128, 128, 64, 64, 64, 64, 64, 64, 64]),
            (&[128; 64], 1, &[1024, 1024, 1024, 1024, 1024, 1024, 1024, 512, 256, 128, 128]),
        ] {
            assert_eq!(tokens(lengths, workers), expected, "{lengths:?}, {workers} workers");
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
            // What `bytes_for` prices.
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let most = share(lengths.iter().sum(), workers).max(longest);
            prop_assert!(parts.into_iter().all(|part| lengths[part].iter().sum::<usize>() <= most));
        }
    }
}
