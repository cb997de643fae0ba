//! The inference stage: a chunk's batches through the encoder, its vectors back in row order.
//!
//! A batch that does not fit in memory is halved and both halves are tried again, in order, until they fit; a
//! single text that does not fit is an error that names it. No row is ever dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::batch::{RowNames, TokenBatch};
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::events::{EncodeEvent, InFlight};
use crate::limit::{AdaptiveLimit, BatchLimit, LimitChange, TokenCount};
use crate::model::{EncodeError, Encoder};
use crate::stop::{Stop, stopped};

/// What the inference stage works with. It can be shared: the tokenizer stage reads the limit that this stage
/// moves.
pub struct Inference<'a> {
    encoder: &'a dyn Encoder,
    limit: Mutex<AdaptiveLimit>,
    /// Bytes that a batch may cost, where they are counted before it runs.
    budget: Option<u64>,
    on_event: &'a (dyn Fn(EncodeEvent) + Sync),
    stop: Stop,
}

/// An encoder that is not batch-invariant may move a component by this much from one batch to another.
pub const TOLERANCE: f32 = 1e-6;

/// A text as it comes out of the model.
pub struct EncodedText<'v> {
    /// Its row in the chunk.
    pub row: usize,
    /// Its tokens.
    pub tokens: usize,
    /// Its vector; every component is finite.
    pub vector: &'v [f32],
}

/// The vectors of a chunk, in row order.
#[derive(Debug, PartialEq)]
pub struct ChunkVectors {
    /// Row-major, `rows × dim`; zeros where a row has no text.
    pub values: Vec<f32>,
    /// Whether each row has a vector.
    pub present: Vec<bool>,
    /// What it took.
    pub work: Work,
}

/// What embedding took: sums that can be added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Vectors made.
    pub rows: u64,
    /// Real tokens.
    pub tokens: u64,
    /// Tokens that the encoder computed: those of the padded rectangles, if it pads.
    pub padded_tokens: u64,
    /// How many batches of each number of rows ran.
    pub batch_sizes: BTreeMap<usize, u64>,
}

impl Work {
    /// Adds `other` to this.
    pub fn add(&mut self, other: &Work) {
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.padded_tokens += other.padded_tokens;
        for (rows, batches) in &other.batch_sizes {
            *self.batch_sizes.entry(*rows).or_default() += batches;
        }
    }

    /// Real tokens as a part of the computed ones; 1 when nothing ran.
    pub fn padding_efficiency(&self) -> f64 {
        if self.padded_tokens == 0 { 1.0 } else { self.tokens as f64 / self.padded_tokens as f64 }
    }

    /// Adds a batch.
    pub fn count(&mut self, batch: &TokenBatch, pads: bool) {
        let (rows, tokens) = (batch.len(), batch.tokens());
        self.rows += rows as u64;
        self.tokens += tokens as u64;
        self.padded_tokens += TokenCount::padded(pads).tokens(batch.shape()) as u64;
        *self.batch_sizes.entry(rows).or_default() += 1;
    }
}

impl<'a> Inference<'a> {
    /// Inference that starts from `limit` and tells `on_event` of every batch and every move of the limit.
    pub fn new(
        encoder: &'a dyn Encoder,
        limit: AdaptiveLimit,
        budget: Option<u64>,
        on_event: &'a (dyn Fn(EncodeEvent) + Sync),
    ) -> Self {
        Inference { encoder, limit: Mutex::new(limit), budget, on_event, stop: Stop::new() }
    }

    /// The same, but it looks for a request to stop before each batch.
    #[must_use]
    pub fn until(self, stop: &Stop) -> Self {
        Inference { stop: stop.clone(), ..self }
    }

    /// The request to stop that it follows.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The limit in force.
    pub fn limit(&self) -> BatchLimit {
        self.with_limit(|limit| limit.current())
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.encoder.dim()
    }

    /// How far the model may move a component of a text's vector from one batch to another.
    pub fn tolerance(&self) -> f32 {
        if self.encoder.is_batch_invariant() { 0.0 } else { TOLERANCE }
    }

    /// Embeds the planned batches of a chunk of `count` rows.
    ///
    /// # Errors
    /// `OutOfMemory` when a single text does not fit, `Encode` when the model fails or gives a component that is
    /// not finite; both name the row. `Stopped` when that was asked for: the batch in flight is finished first.
    pub fn embed(
        &self,
        rows: &RowNames,
        count: usize,
        batches: Vec<TokenBatch>,
    ) -> Result<ChunkVectors> {
        let dim = self.dim();
        let mut values = zeros(count.saturating_mul(dim))?;
        let mut present = vec![false; count];
        let work = self.embed_each(rows, batches, &mut |text| {
            values[text.row * dim..][..dim].copy_from_slice(text.vector);
            present[text.row] = true;
            Ok(())
        })?;
        Ok(ChunkVectors { values, present, work })
    }

    /// Embeds the planned batches of some rows and hands each vector on as it comes, in the order of the batches.
    ///
    /// # Errors
    /// As [`Inference::embed`], and whatever `take` gives.
    pub fn embed_each(
        &self,
        rows: &RowNames,
        mut batches: Vec<TokenBatch>,
        take: &mut dyn FnMut(EncodedText<'_>) -> Result<()>,
    ) -> Result<Work> {
        let dim = self.dim();
        let mut work = Work::default();
        let mut encoded = Vec::new();
        // A stack with the next batch on top: halves go back on it in order.
        batches.reverse();
        let mut waiting = batches;
        while let Some(batch) = waiting.pop() {
            self.stop.check()?;
            let shape = batch.shape();
            if !self.limit().allows(shape) {
                // Planned before the limit shrank.
                let (left, right) = batch.split_at(batch.len() / 2);
                waiting.extend([right, left]);
                continue;
            }
            encoded.clear();
            encoded.resize(batch.len() * dim, 0.0);
            (self.on_event)(EncodeEvent::Trying(self.in_flight(rows, &batch)));
            match self.encode(&batch, &mut encoded) {
                Ok(()) => {
                    self.tell(|limit| limit.fitted());
                    work.count(&batch, self.encoder.pads());
                    self.hand_on(rows, &batch, &encoded, take)?;
                    (self.on_event)(EncodeEvent::Batch {
                        rows: batch.len(),
                        tokens: batch.tokens(),
                    });
                }
                Err(EncodeError::OutOfMemory { cause, .. }) if batch.len() == 1 => {
                    return Err(too_large(rows, &batch).caused_by(cause));
                }
                Err(EncodeError::OutOfMemory { .. }) => {
                    self.tell(|limit| limit.out_of_memory(shape));
                    let (left, right) = batch.split_at(batch.len() / 2);
                    waiting.extend([right, left]);
                }
                Err(EncodeError::Stopped(reason)) => return Err(stopped(reason)),
                Err(EncodeError::Failed(cause)) => {
                    return Err(Error::new(ErrorKind::Encode, "the model failed")
                        .at(rows_of(rows, &batch))
                        .caused_by(cause));
                }
            }
        }
        Ok(work)
    }

    fn in_flight(&self, rows: &RowNames, batch: &TokenBatch) -> InFlight {
        let name = |row: Option<&usize>| row.map_or(String::new(), |row| rows.name(*row));
        InFlight {
            rows: batch.len(),
            first: name(batch.rows().iter().min()),
            last: name(batch.rows().iter().max()),
            bytes: self.encoder.bytes_for(batch.shape()),
        }
    }

    /// Prices the batch, then runs it.
    fn encode(&self, batch: &TokenBatch, encoded: &mut [f32]) -> Result<(), EncodeError> {
        let shape = batch.shape();
        if let (Some(price), Some(budget)) = (self.encoder.bytes_for(shape), self.budget)
            && price > budget
        {
            let cause = format!("it needs {price} bytes, {budget} may be used");
            return Err(EncodeError::OutOfMemory { shape, cause: cause.into() });
        }
        let encode = || Ok(self.encoder.encode_until(&self.stop, batch, encoded));
        catch_panic(ErrorKind::Encode, "the model", encode)
            .unwrap_or_else(|panic| Err(EncodeError::Failed(Box::new(panic))))
    }

    fn hand_on(
        &self,
        rows: &RowNames,
        batch: &TokenBatch,
        encoded: &[f32],
        take: &mut dyn FnMut(EncodedText<'_>) -> Result<()>,
    ) -> Result<()> {
        let vectors = encoded.chunks_exact(self.dim());
        for (position, (&row, vector)) in batch.rows().iter().zip(vectors).enumerate() {
            if let Some(component) = vector.iter().position(|value| !value.is_finite()) {
                return Err(Error::new(
                    ErrorKind::Encode,
                    format!("component {component} of its vector is {}", vector[component]),
                )
                .at(rows.name(row))
                .advice("the model's weights may be damaged; nothing was written"));
            }
            take(EncodedText { row, tokens: batch.text(position).len(), vector })?;
        }
        Ok(())
    }

    fn tell(&self, what: impl FnOnce(&mut AdaptiveLimit) -> Option<LimitChange>) {
        if let Some(change) = self.with_limit(what) {
            (self.on_event)(EncodeEvent::Limit(change));
        }
    }

    fn with_limit<T>(&self, what: impl FnOnce(&mut AdaptiveLimit) -> T) -> T {
        // The limit is a value that is replaced whole, so a panic elsewhere cannot leave it half-changed.
        what(&mut self.limit.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A buffer of zeros whose failure is an error: `vec![0.0; n]` would end the process.
pub fn zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|cause| {
        let bytes = count.saturating_mul(4);
        Error::new(ErrorKind::OutOfMemory, format!("no memory for the vectors, {bytes} bytes"))
            .advice("set a smaller `input.chunk_rows`")
            .caused_by(cause)
    })?;
    values.resize(count, 0.0);
    Ok(values)
}

fn too_large(rows: &RowNames, batch: &TokenBatch) -> Error {
    let message = format!("its {} tokens do not fit in memory, even alone", batch.tokens());
    Error::new(ErrorKind::OutOfMemory, message)
        .at(rows_of(rows, batch))
        .advice("raise `batch.memory_limit`, or free memory on the machine")
}

/// The rows of a batch for a message: the first by name.
fn rows_of(rows: &RowNames, batch: &TokenBatch) -> String {
    match *batch.rows() {
        [] => "no row".to_owned(),
        [row] => rows.name(row),
        [row, ..] => format!("{} and {} others", rows.name(row), batch.len() - 1),
    }
}
