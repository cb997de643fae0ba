//! A deterministic encoder without weights, so that tests of the stages run in microseconds, and one that
//! runs out of memory on demand.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{EncodeError, Encoder};
use crate::batch::TokenBatch;
use crate::limit::BatchShape;

/// Gives every text a unit vector that depends on its token ids alone.
#[derive(Debug)]
pub struct FakeEncoder {
    dim: usize,
    failure: Failure,
    calls: AtomicU64,
}

/// When the encoder says that it is out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Never.
    Never,
    /// At every `n`-th batch of more than one text.
    Every(u64),
    /// For batches of more than so many texts.
    AboveRows(usize),
    /// Whatever the batch.
    Always,
    /// Not out of memory: the vector of every text with this token has a component that is not a number.
    NotANumberFor(u32),
}

impl FakeEncoder {
    /// An encoder of `dim` components.
    pub fn new(dim: usize, failure: Failure) -> Self {
        FakeEncoder { dim, failure, calls: AtomicU64::new(0) }
    }

    /// How many batches it was asked for.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn fails(&self, call: u64, rows: usize) -> bool {
        match self.failure {
            Failure::Never | Failure::NotANumberFor(_) => false,
            Failure::Every(n) => rows > 1 && call.is_multiple_of(n),
            Failure::AboveRows(most) => rows > most,
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

    fn runs_on(&self) -> String {
        "nothing".to_owned()
    }

    fn numerics(&self) -> &'static str {
        "fake-1"
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        Some(shape.padded_tokens() as u64 * self.dim as u64 * 4)
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fails(call, batch.len()) {
            let shape = batch.shape();
            return Err(EncodeError::OutOfMemory { shape, cause: "injected".into() });
        }
        for (text, vector) in batch.texts().zip(vectors.chunks_exact_mut(self.dim)) {
            // FNV-1a over the ids, stepped on for each component.
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
        }
        Ok(())
    }
}
