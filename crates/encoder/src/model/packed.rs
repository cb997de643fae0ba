//! The default encoder on a CPU: packed tokens, with one single-threaded worker per core.
//!
//! A batch is split into parts of 96 to 1,024 tokens. Each worker runs the whole model on one part
//! after the other. Parts become smaller towards the end of the batch, so that the workers finish
//! together. The split does not change a vector: the bits are the same in any batch. Figures:
//! docs/decisions/0016-token-budget.md.

mod embeddings;
mod forward;
mod head;
mod layer;
mod shape;
mod tensors;
mod workspace;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::ThreadPool;
use reembed_kernels::{Arithmetic, Precision};

use super::description::ModelDescription;
use super::encoder::{EncodeError, Encoder, Watch};
use super::resources::{out_of_memory, start_threads};
use super::weights::ModelWeights;
use crate::batch::TokenBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::BatchShape;
use crate::stop::{Stop, StopReason};
pub use forward::PackedModel;
pub use shape::{PackedError, PackedShape};
pub use workspace::Workspace;

/// Maximum tokens of a part of several texts. It bounds the memory of a worker.
const MAX_PART_TOKENS: usize = 1024;

/// Minimum tokens of a part, unless the batch has fewer: two blocks of the forward pass.
const MIN_PART_TOKENS: usize = 96;

/// An encoder on the kernels of reembed.
pub struct PackedEncoder {
    model: PackedModel,
    pool: ThreadPool,
    workers: NonZeroUsize,
    /// Workspaces that no worker uses; at most one for each worker.
    idle: Mutex<Vec<Workspace>>,
}

/// The hardware that an encoder of these threads uses, for people.
pub fn runs_on(arithmetic: Arithmetic, threads: NonZeroUsize) -> String {
    format!("{arithmetic}, {threads} threads")
}

impl PackedEncoder {
    /// Packs the weights for `arithmetic`.
    ///
    /// # Errors
    /// `Model` if the weights do not match the description; `OutOfMemory` if they do not fit in
    /// memory.
    pub fn new(
        weights: &ModelWeights<'_>,
        description: &ModelDescription,
        arithmetic: Arithmetic,
        threads: NonZeroUsize,
    ) -> Result<Self> {
        let pool = start_threads(threads, "the model")?;
        let shape = PackedShape::new(description);
        let model = pool
            .install(|| {
                let tensor = |name: &str| weights.get(name).map(Cow::from);
                PackedModel::new(arithmetic, shape, &weights.names, tensor)
            })
            .map_err(|cause| match cause {
                PackedError::WeightMemory(allocation) => out_of_memory(allocation.bytes),
                _ => Error::new(ErrorKind::Model, "the weights cannot be packed").caused_by(cause),
            })?;
        Ok(PackedEncoder { model, pool, workers: threads, idle: Mutex::default() })
    }

    /// Runs one part. Its workspace has the size of the largest part of the batch: one that grows
    /// from part to part would fragment the memory.
    fn forward(&self, largest: usize, part: Part<'_>) -> Result<(), PackedError> {
        let Part { texts, unpooled, vectors, .. } = part;
        let mut workspace = self.idle().pop().unwrap_or_default();
        let reserved = workspace.reserve(self.model.shape(), self.precision(), largest);
        let result =
            reserved.and_then(|()| self.model.forward(&mut workspace, texts, unpooled, vectors));
        self.idle().push(workspace);
        result
    }

    /// Runs parts until none is left. After an error or a stop no worker takes another part.
    fn run_parts<'p>(
        &self,
        watch: Watch<'_>,
        largest: usize,
        parts: &Mutex<impl Iterator<Item = Part<'p>>>,
    ) -> Result<(), WorkerError> {
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(part) = next() {
            let positions = part.positions.clone();
            let result = match watch.stop_reason() {
                Some(reason) => Err(WorkerError::Stopped(reason)),
                None => self.forward(largest, part).map_err(WorkerError::Failed),
            };
            if result.is_err() {
                while next().is_some() {}
                return result;
            }
            watch.part_done(positions);
        }
        Ok(())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        // Workspaces are moved in and out, so a poisoned lock holds no broken one.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Encoder for PackedEncoder {
    fn dim(&self) -> usize {
        self.model.shape().dim
    }

    fn is_batch_invariant(&self) -> bool {
        true
    }

    fn pads(&self) -> bool {
        false
    }

    fn texts_at_once(&self) -> NonZeroUsize {
        self.workers
    }

    fn normalizes(&self) -> bool {
        self.model.shape().normalizes()
    }

    fn precision(&self) -> Precision {
        self.model.arithmetic().precision()
    }

    fn numerics(&self) -> &'static str {
        // One for each precision: docs/decisions/0006-one-numerics-version-per-precision.md.
        self.precision().numerics()
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        let model = self.model.shape();
        // The first part is the largest.
        let part =
            part_tokens(shape.tokens, self.workers.get()).min(shape.tokens).max(shape.longest);
        let worker = workspace::bytes_for(model, self.precision(), 0, part);
        let workers = worker.saturating_mul(self.workers.get().min(shape.rows));
        let vectors = shape.rows.saturating_mul(model.dim).saturating_mul(size_of::<f32>());
        Some(workers.saturating_add(vectors) as u64)
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        self.encode_until(batch, Watch::new(&Stop::new(), &|_| ()), vectors)
    }

    fn encode_until(
        &self,
        batch: &TokenBatch,
        watch: Watch<'_>,
        vectors: &mut [f32],
    ) -> Result<(), EncodeError> {
        let texts: Vec<&[u32]> = batch.texts().collect();
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let mut parts = Vec::new();
        let mut rest = vectors;
        let mut largest = 0;
        for positions in split_into_parts(&lengths, self.workers.get()) {
            largest = largest.max(lengths[positions.clone()].iter().sum());
            let (vectors, others) = rest.split_at_mut(positions.len() * self.dim());
            rest = others;
            let texts = &texts[positions.clone()];
            parts.push(Part { positions, texts, unpooled: batch.unpooled(), vectors });
        }
        let parts = Mutex::new(parts.into_iter());
        let results = self.pool.broadcast(|_| self.run_parts(watch, largest, &parts));
        results.into_iter().collect::<Result<(), _>>().map_err(|error| match error {
            WorkerError::Stopped(reason) => EncodeError::Stopped(reason),
            WorkerError::Failed(cause @ PackedError::OutOfMemory { .. }) => {
                EncodeError::OutOfMemory { shape: batch.shape(), cause: Box::new(cause) }
            }
            WorkerError::Failed(other) => EncodeError::Failed(Box::new(other)),
        })
    }
}

/// The share of a batch that a worker takes at once.
struct Part<'p> {
    /// The positions of its texts in the batch.
    positions: Range<usize>,
    texts: &'p [&'p [u32]],
    /// The first tokens of each text that are not pooled.
    unpooled: usize,
    /// Where the vectors of its texts go.
    vectors: &'p mut [f32],
}

/// Why a worker left parts unfinished.
enum WorkerError {
    Stopped(StopReason),
    Failed(PackedError),
}

/// Splits texts of these lengths into ranges of [`part_tokens`] of the tokens that are left, or of
/// one text.
fn split_into_parts(lengths: &[usize], workers: usize) -> Vec<Range<usize>> {
    let mut left: usize = lengths.iter().sum();
    let mut parts = Vec::new();
    let mut start = 0;
    while start < lengths.len() {
        let max_tokens = part_tokens(left, workers);
        let mut end = start + 1;
        let mut tokens = lengths[start];
        while end < lengths.len() && tokens + lengths[end] <= max_tokens {
            tokens += lengths[end];
            end += 1;
        }
        parts.push(start..end);
        left -= tokens;
        start = end;
    }
    parts
}

/// Tokens of the next part: half of the share of each worker, so that a slow worker can finish its
/// part while the others compute the rest.
fn part_tokens(left: usize, workers: usize) -> usize {
    left.div_ceil(2 * workers).clamp(MIN_PART_TOKENS, MAX_PART_TOKENS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reembed_testing::model_directory::ModelDirectory;

    use super::*;
    use crate::model::config::ModelConfig;

    #[test]
    fn parts_reported_add_up_to_the_batch_and_change_no_bits() {
        let written = ModelDirectory::tiny().write();
        let mut batch = TokenBatch::default();
        (0..200).for_each(|row| batch.push(row, &vec![7; 60 - row / 5]));
        let mut bits = Vec::new();
        for threads in [1, 3] {
            let threads = NonZeroUsize::new(threads);
            let config = ModelConfig { threads, ..ModelConfig::from_directory(written.path()) };
            let encoder = crate::model::load(&config, &|_| ()).expect("a model").encoder;
            let parts = Mutex::new(Vec::new());
            let record = |texts: Range<usize>| parts.lock().expect("no panic").push(texts);
            let mut vectors = vec![0.0; batch.len() * encoder.dim()];
            encoder
                .encode_until(&batch, Watch::new(&Stop::new(), &record), &mut vectors)
                .expect("vectors");
            let mut parts = parts.into_inner().expect("no panic");
            parts.sort_by_key(|texts| texts.start);
            assert!(parts.len() > 5, "{parts:?}");
            let texts: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(texts, (0..batch.len()).collect::<Vec<_>>(), "{threads:?} threads");

            encoder.encode(&batch, &mut vectors[..]).expect("vectors");
            bits.push(vectors.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }
        assert_eq!(bits[0], bits[1]);
    }

    #[test]
    fn parts_follow_the_number_of_workers() {
        let tokens = |lengths: &[usize], workers| -> Vec<usize> {
            let parts = split_into_parts(lengths, workers);
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
            let parts = split_into_parts(&lengths, workers);
            let texts: Vec<usize> = parts.iter().cloned().flatten().collect();
            prop_assert_eq!(texts, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(parts.iter().all(|part| !part.is_empty()));
            // `bytes_for` assumes this maximum.
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let max = part_tokens(lengths.iter().sum(), workers).max(longest);
            prop_assert!(parts.into_iter().all(|part| lengths[part].iter().sum::<usize>() <= max));
        }
    }
}
