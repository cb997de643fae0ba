//! A deterministic encoder without weights, for tests of the stages. It fails on demand.
//!
//! Each text is a part of its own. A batch that does not fit fails as late as it can: when every
//! part but the last is done.

use std::sync::atomic::{AtomicU64, Ordering};

use super::encoder::{EncodeError, Encoder, Watch};
use crate::batch::TokenBatch;
use crate::limit::BatchShape;
use crate::stop::Stop;

/// An encoder whose vectors have length 1 and depend on the token ids alone.
#[derive(Debug)]
pub struct FakeEncoder {
    dim: usize,
    failure: Failure,
    calls: AtomicU64,
}

/// How a [`FakeEncoder`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It never fails.
    Never,
    /// Out of memory at every `n`-th batch of more than one text.
    Every(u64),
    /// Out of memory for batches of more than this many texts.
    AboveRows(usize),
    /// Out of memory for every batch.
    Always,
    /// The vector of every text with this token id has a NaN component.
    NotANumberFor(u32),
}

impl FakeEncoder {
    /// An encoder with vectors of `dim` components.
    pub fn new(dim: usize, failure: Failure) -> Self {
        FakeEncoder { dim, failure, calls: AtomicU64::new(0) }
    }

    /// Number of batches that it was called with.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn fails(&self, call: u64, rows: usize) -> bool {
        match self.failure {
            Failure::Never | Failure::NotANumberFor(_) => false,
            Failure::Every(n) => rows > 1 && call.is_multiple_of(n),
            Failure::AboveRows(max) => rows > max,
            Failure::Always => true,
        }
    }
}

impl Encoder for FakeEncoder {
    fn dim(&self) -> usize {
        self.dim
    }

    fn is_batch_invariant(&self) -> bool {
        true
    }

    fn pads(&self) -> bool {
        true
    }

    fn normalizes(&self) -> bool {
        true
    }

    fn numerics(&self) -> &'static str {
        "fake-1"
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        Some(shape.padded_tokens() as u64 * self.dim as u64 * 4)
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        self.encode_until(batch, Watch::new(&Stop::new(), &|_| ()), vectors)
    }

    /// Ignores a request to stop.
    fn encode_until(
        &self,
        batch: &TokenBatch,
        watch: Watch<'_>,
        vectors: &mut [f32],
    ) -> Result<(), EncodeError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fails(call, batch.len()) {
            let shape = batch.shape();
            (1..batch.len()).for_each(|end| watch.part_done(end - 1..end));
            return Err(EncodeError::OutOfMemory { shape, cause: "injected".into() });
        }
        let vectors = vectors.chunks_exact_mut(self.dim);
        for (position, (text, vector)) in batch.texts().zip(vectors).enumerate() {
            // FNV-1a over the ids, continued for each component.
            let mut hash = text.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, id| {
                (hash ^ u64::from(*id)).wrapping_mul(0x0100_0000_01b3)
            });
            for component in vector.iter_mut() {
                hash = (hash ^ 0x9e37).wrapping_mul(0x0100_0000_01b3);
                *component = ((hash >> 40) as f32 / (1 << 23) as f32) - 1.0;
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            vector.iter_mut().for_each(|component| *component /= length);
            if let Failure::NotANumberFor(token) = self.failure
                && text.contains(&token)
            {
                vector[0] = f32::NAN;
            }
            watch.part_done(position..position + 1);
        }
        Ok(())
    }
}
