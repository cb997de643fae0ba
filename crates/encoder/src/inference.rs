//! The inference stage: runs planned batches through the encoder and returns vectors in row order.
//!
//! A batch that does not fit in memory is split in half, and both halves are tried in order until
//! they fit. A single text that does not fit is an error that names its row. No row is dropped.
//! The vector of a text that was split into chunks is their mean (`TextOptions::pool`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::batch::{RowNames, TextChunk, TokenBatch};
use crate::chunk_means::ChunkMeans;
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::events::{EncodeEvent, InFlight};
use crate::limit::{AdaptiveLimit, BatchLimit, LimitChange, TokenCount};
use crate::model::encoder::{EncodeError, Encoder, Watch};
use crate::stop::{Stop, stop_error};

/// The inference stage. It can be shared: the tokenizer stage reads the batch limit that this stage
/// changes.
pub struct Inference<'a> {
    encoder: &'a dyn Encoder,
    limit: Mutex<AdaptiveLimit>,
    /// Bytes that a batch may need; `None` if the device's allocator decides.
    budget: Option<u64>,
    on_event: &'a (dyn Fn(EncodeEvent) + Sync),
    stop: Stop,
}

/// The largest difference of a component between batches for an encoder that is not
/// batch-invariant.
pub const TOLERANCE: f32 = 1e-6;

/// The vector of the text of one row.
pub struct EncodedText<'v> {
    /// The row of the text in the chunk.
    pub row: usize,
    /// The number of tokens of the text, or of all its chunks together.
    pub tokens: usize,
    /// The vector, `dim` components, all finite.
    pub vector: &'v [f32],
}

/// The vectors of a chunk, in row order.
#[derive(Debug, PartialEq)]
pub struct ChunkVectors {
    /// Row-major, `rows × dim`; zeros for a row without a text.
    pub values: Vec<f32>,
    /// Whether each row has a vector.
    pub present: Vec<bool>,
    /// The work that it took.
    pub work: Work,
}

/// Counters of the work of an encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Number of rows that got a vector. Of a row with several chunks, the batch with the last of
    /// them counts.
    pub rows: u64,
    /// Tokens without padding.
    pub tokens: u64,
    /// Tokens that the encoder computed, padding included.
    pub padded_tokens: u64,
    /// Number of batches by their number of texts. Each chunk of a text is one.
    pub batch_sizes: BTreeMap<usize, u64>,
}

impl Work {
    /// Adds the counters of `other`.
    pub fn add(&mut self, other: &Work) {
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.padded_tokens += other.padded_tokens;
        for (rows, batches) in &other.batch_sizes {
            *self.batch_sizes.entry(*rows).or_default() += batches;
        }
    }

    /// `tokens / padded_tokens`; 1 if nothing ran.
    pub fn padding_efficiency(&self) -> f64 {
        if self.padded_tokens == 0 { 1.0 } else { self.tokens as f64 / self.padded_tokens as f64 }
    }

    /// Adds a batch. `pads` says whether the encoder pads it.
    pub fn count(&mut self, batch: &TokenBatch, pads: bool) {
        let tokens = batch.tokens();
        self.rows += batch.whole_rows() as u64;
        self.tokens += tokens as u64;
        self.padded_tokens += TokenCount::from_padding(pads).tokens(batch.shape()) as u64;
        *self.batch_sizes.entry(batch.len()).or_default() += 1;
    }
}

impl<'a> Inference<'a> {
    /// An inference stage that starts at `limit`. Batches that need more than `budget` bytes are
    /// split.
    pub fn new(
        encoder: &'a dyn Encoder,
        limit: AdaptiveLimit,
        budget: Option<u64>,
        on_event: &'a (dyn Fn(EncodeEvent) + Sync),
    ) -> Self {
        Inference { encoder, limit: Mutex::new(limit), budget, on_event, stop: Stop::new() }
    }

    /// The same stage, which stops when `stop` asks for it.
    #[must_use]
    pub fn with_stop(self, stop: &Stop) -> Self {
        Inference { stop: stop.clone(), ..self }
    }

    /// The request to stop that this stage checks.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The current batch limit.
    pub fn limit(&self) -> BatchLimit {
        self.with_limit(|limit| limit.current())
    }

    /// The current batch limit of memory, whatever the time of a batch.
    pub fn memory_limit(&self) -> BatchLimit {
        self.with_limit(|limit| limit.of_memory())
    }

    /// Bytes that a batch may need; `None` if the device's allocator decides.
    pub fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.encoder.dim()
    }

    /// The largest difference of a component of a vector between batches.
    pub fn tolerance(&self) -> f32 {
        if self.encoder.is_batch_invariant() { 0.0 } else { TOLERANCE }
    }

    /// Embeds the planned batches of a chunk of `count` rows.
    ///
    /// # Errors
    /// `OutOfMemory` if a single text does not fit; `Encode` if the model fails or a component is
    /// not finite; both name the row. `Stopped` if a stop is requested.
    pub fn embed(
        &self,
        rows: &RowNames,
        count: usize,
        batches: Vec<TokenBatch>,
    ) -> Result<ChunkVectors> {
        let dim = self.dim();
        let mut values = allocate_zeros(count.saturating_mul(dim))?;
        let mut present = vec![false; count];
        let work = self.embed_each(rows, batches, &mut |text| {
            values[text.row * dim..][..dim].copy_from_slice(text.vector);
            present[text.row] = true;
            Ok(())
        })?;
        Ok(ChunkVectors { values, present, work })
    }

    /// Embeds planned batches and calls `consume` once with each row, when its vector is known.
    ///
    /// The vector of a row with several chunks is the mean of their vectors, each weighted by its
    /// tokens, special tokens included; then scaled to length 1 if the model does that. It is summed
    /// in the order of the chunks, so that its bits do not depend on the batches. The vectors of
    /// chunks wait in memory for the others of their row, 4 × `dim` bytes each. A row whose chunks
    /// are not all in `batches` gets no vector.
    ///
    /// # Errors
    /// As [`Inference::embed`], and the errors of `consume`.
    pub fn embed_each(
        &self,
        rows: &RowNames,
        mut batches: Vec<TokenBatch>,
        consume: &mut dyn FnMut(EncodedText<'_>) -> Result<()>,
    ) -> Result<Work> {
        let dim = self.dim();
        let mut work = Work::default();
        let mut encoded = Vec::new();
        let mut means = ChunkMeans::new(dim, self.encoder.normalizes());
        // A stack with the next batch on top.
        batches.reverse();
        let mut pending = batches;
        while let Some(batch) = pending.pop() {
            self.stop.check()?;
            let shape = batch.shape();
            if !self.limit().allows(shape) {
                // It was planned before the limit shrank.
                let (left, right) = batch.split_at(batch.len() / 2);
                pending.extend([right, left]);
                continue;
            }
            encoded.clear();
            encoded.resize(batch.len() * dim, 0.0);
            (self.on_event)(EncodeEvent::BatchStarted(self.in_flight(rows, &batch)));
            let started = Instant::now();
            match self.encode(&batch, &means, &mut encoded) {
                Ok(()) => {
                    let took = started.elapsed();
                    self.change_limit(|limit| limit.record_success(shape, took));
                    work.count(&batch, self.encoder.pads());
                    let done = self.emit_vectors(rows, &batch, &encoded, &mut means, consume)?;
                    let tokens = batch.tokens();
                    (self.on_event)(EncodeEvent::BatchDone { rows: done, tokens });
                }
                Err(EncodeError::OutOfMemory { cause, .. }) if batch.len() == 1 => {
                    return Err(text_too_large(rows, &batch).caused_by(cause));
                }
                Err(EncodeError::OutOfMemory { .. }) => {
                    self.change_limit(|limit| limit.record_out_of_memory(shape));
                    let (left, right) = batch.split_at(batch.len() / 2);
                    pending.extend([right, left]);
                }
                Err(EncodeError::Stopped(reason)) => return Err(stop_error(reason)),
                Err(EncodeError::Failed(cause)) => {
                    return Err(Error::new(ErrorKind::Encode, "the model failed")
                        .at(describe_rows(rows, &batch))
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

    /// Checks the bytes that the batch needs, then runs it. `means` has the chunks of the batches
    /// before it.
    fn encode(
        &self,
        batch: &TokenBatch,
        means: &ChunkMeans,
        encoded: &mut [f32],
    ) -> Result<(), EncodeError> {
        let shape = batch.shape();
        if let (Some(bytes), Some(budget)) = (self.encoder.bytes_for(shape), self.budget)
            && bytes > budget
        {
            let cause = format!("the batch needs {bytes} bytes; the memory budget is {budget}");
            return Err(EncodeError::OutOfMemory { shape, cause: cause.into() });
        }
        let rows = Mutex::new(means.rows_in_flight(batch));
        let on_part = |texts: Range<usize>| {
            let tokens = batch.tokens_of(texts.clone());
            let rows = rows.lock().unwrap_or_else(PoisonError::into_inner).add_part(texts);
            (self.on_event)(EncodeEvent::PartDone { rows, tokens });
        };
        let watch = Watch::new(&self.stop, &on_part);
        let encode = || Ok(self.encoder.encode_until(batch, watch, encoded));
        catch_panic(ErrorKind::Encode, "the model", encode)
            .unwrap_or_else(|panic| Err(EncodeError::Failed(Box::new(panic))))
    }

    /// Calls `consume` with each row whose vector is known now, and returns their number.
    fn emit_vectors(
        &self,
        rows: &RowNames,
        batch: &TokenBatch,
        encoded: &[f32],
        means: &mut ChunkMeans,
        consume: &mut dyn FnMut(EncodedText<'_>) -> Result<()>,
    ) -> Result<usize> {
        let mut done = 0;
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
            if self.encoder.normalizes() && vector.iter().all(|value| *value == 0.0) {
                return Err(Error::new(
                    ErrorKind::Encode,
                    "its vector has length 0, and the model scales vectors to length 1",
                )
                .at(rows.name(row))
                .advice("the model's weights may be damaged; nothing was written"));
            }
            let tokens = batch.text(position).len();
            match batch.chunks()[position] {
                TextChunk { count: 1, .. } => consume(EncodedText { row, tokens, vector })?,
                chunk => {
                    let mean = means.add(row, chunk, tokens, vector);
                    let mean = mean.map_err(|error| error.at(rows.name(row)))?;
                    let Some(mean) = mean else { continue };
                    consume(EncodedText { row, tokens: mean.tokens, vector: &mean.vector })?;
                }
            }
            done += 1;
        }
        Ok(done)
    }

    fn change_limit(&self, change: impl FnOnce(&mut AdaptiveLimit) -> Option<LimitChange>) {
        if let Some(change) = self.with_limit(change) {
            (self.on_event)(EncodeEvent::LimitChanged(change));
        }
    }

    fn with_limit<T>(&self, work: impl FnOnce(&mut AdaptiveLimit) -> T) -> T {
        // Writers replace the whole value, so a poisoned lock holds no half-written one.
        work(&mut self.limit.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Allocates `count` zeros. Unlike `vec![0.0; count]`, a failed allocation does not end the
/// process.
///
/// # Errors
/// `OutOfMemory`.
pub fn allocate_zeros(count: usize) -> Result<Vec<f32>> {
    let mut values = allocate(count)?;
    values.resize(count, 0.0);
    Ok(values)
}

/// An empty vector with the capacity for `count` values, which takes memory as they come.
///
/// # Errors
/// `OutOfMemory` if the allocator has not so much.
pub fn allocate(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|cause| {
        let bytes = count.saturating_mul(4);
        let message = format!("not enough memory for the vectors: allocating {bytes} bytes failed");
        Error::new(ErrorKind::OutOfMemory, message)
            .advice("set a smaller `input.chunk_rows`")
            .caused_by(cause)
    })?;
    Ok(values)
}

fn text_too_large(rows: &RowNames, batch: &TokenBatch) -> Error {
    let message = format!("its {} tokens do not fit in memory, even alone", batch.tokens());
    Error::new(ErrorKind::OutOfMemory, message)
        .at(describe_rows(rows, batch))
        .advice("raise `batch.memory_limit`, or free memory on the machine")
}

/// The rows of a batch for a message: the name of the first, and how many follow.
fn describe_rows(rows: &RowNames, batch: &TokenBatch) -> String {
    match *batch.rows() {
        [] => "no row".to_owned(),
        [row] => rows.name(row),
        [row, ..] => format!("{} and {} others", rows.name(row), batch.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::limit::LimitBounds;
    use crate::model::fake::{Failure, FakeEncoder};
    use crate::position::{Amount, Position};

    /// Ten rows in two batches. Row 3 has two chunks, row 5 has three: of each, one is in the second
    /// batch.
    fn batches() -> Vec<TokenBatch> {
        let chunk = |number, count| TextChunk { number, count };
        let mut first = TokenBatch::default();
        (0..3).for_each(|row| first.push(row, &[9; 4]));
        first.push_chunk(3, chunk(1, 2), &[9; 3]);
        first.push_chunk(5, chunk(2, 3), &[9; 3]);
        first.push_chunk(5, chunk(0, 3), &[9; 2]);
        first.push(4, &[9; 2]);
        let mut second = TokenBatch::default();
        second.push_chunk(5, chunk(1, 3), &[9; 2]);
        (6..10).for_each(|row| second.push(row, &[9; 2]));
        second.push_chunk(3, chunk(0, 2), &[9; 1]);
        vec![first, second]
    }

    #[test]
    fn parts_add_up_to_their_batch_and_texts_of_a_split_count_once() {
        let tokens: usize = batches().iter().map(TokenBatch::tokens).sum();
        let all = Amount { rows: 10, tokens: tokens as u64 };
        for failure in
            [Failure::Never, Failure::AboveRows(6), Failure::AboveRows(1), Failure::Every(2)]
        {
            let encoder = FakeEncoder::new(4, failure);
            let many = NonZeroUsize::new(1000).expect("not zero");
            let counting = TokenCount::Padded;
            let limit = AdaptiveLimit::new(LimitBounds {
                start: many,
                max: many,
                tokens: many,
                counting,
                texts_at_once: NonZeroUsize::MIN,
            });
            let events = Mutex::new(Vec::new());
            let record = |event| events.lock().expect("no panic").push(event);
            let inference = Inference::new(&encoder, limit, None, &record);
            let vectors = inference.embed(&RowNames::unnamed(0), 10, batches()).expect("vectors");
            assert_eq!(vectors.present, [true; 10], "{failure:?}");

            let mut position = Position::default();
            let mut in_flight = Amount::default();
            let mut is_repeated = false;
            for event in events.into_inner().expect("no panic") {
                match event {
                    EncodeEvent::BatchStarted(_) => {
                        is_repeated |= in_flight != Amount::default();
                        in_flight = Amount::default();
                        position.start_batch();
                    }
                    EncodeEvent::PartDone { rows, tokens } => {
                        in_flight.rows += rows as u64;
                        in_flight.tokens += tokens as u64;
                        position.add_part(rows, tokens);
                    }
                    EncodeEvent::BatchDone { rows, tokens } => {
                        let batch = Amount { rows: rows as u64, tokens: tokens as u64 };
                        assert_eq!(in_flight, batch, "{failure:?}");
                        in_flight = Amount::default();
                        position.finish_batch(rows, tokens);
                    }
                    EncodeEvent::LimitChanged(_) => {}
                }
                let shown = position.shown();
                assert!(shown.rows <= all.rows && shown.tokens <= all.tokens, "{shown:?}");
            }
            assert_eq!(position.shown(), all, "{failure:?}");
            assert_eq!(is_repeated, failure != Failure::Never, "{failure:?}");
        }
    }
}
