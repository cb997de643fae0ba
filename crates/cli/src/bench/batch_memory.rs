//! The memory of a batch, measured and predicted.
//!
//! A process reuses memory that it had before, so each shape needs a process of its own that calls [`measure_growth`].

use reembed_encoder::batch::TokenBatch;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::limit::BatchShape;
use reembed_encoder::memory;
use reembed_encoder::model::Model;

/// The tolerance of a prediction, relative to the measured size.
pub const MAX_PREDICTION_ERROR: f64 = 0.15;

/// Tokens after which the process stops growing. A worker thread keeps the buffers of the largest part of a batch that
/// it computed, and each thread computes the largest part sooner or later.
const SETTLED_AFTER: usize = 1 << 15;

/// The first batch, which loads code and starts threads before the measurement.
const FIRST: BatchShape = uniform_shape(1, 8);

/// The shapes that are measured.
pub fn shapes(max_length: usize) -> Vec<BatchShape> {
    let lengths = [32, 64, 128, 256].into_iter().filter(|length| *length <= max_length);
    lengths.flat_map(|longest| [8, 32, 128].map(|rows| uniform_shape(rows, longest))).collect()
}

/// The shape of a batch whose texts have equal lengths.
pub const fn uniform_shape(rows: usize, longest: usize) -> BatchShape {
    BatchShape { rows, longest, tokens: rows * longest }
}

/// Runs batches of a shape and returns the growth of the process and the predicted size, in bytes beyond a batch of one
/// short text. Call it once in a process.
///
/// # Errors
/// `Encode` when the system reports no RSS or the encoder predicts no size, and the errors of encoding.
pub fn measure_growth(model: &Model, shape: BatchShape) -> Result<(u64, u64)> {
    let encoder = model.encoder.as_ref();
    let encode = |shape: BatchShape| {
        let mut batch = TokenBatch::default();
        // Memory depends on the number of tokens, not on the tokens.
        let text = vec![1u32; shape.longest];
        (0..shape.rows).for_each(|row| batch.push(row, &text));
        let mut vectors = vec![0f32; shape.rows * encoder.dim()];
        encoder.encode(&batch, &mut vectors).map_err(|cause| {
            Error::new(ErrorKind::Encode, "a batch of the memory bench failed").caused_by(cause)
        })
    };
    let unknown = || Error::new(ErrorKind::Encode, "the memory of a batch cannot be measured here");
    let predict = |shape| encoder.bytes_for(shape).ok_or_else(unknown);
    let predicted = predict(shape)?.saturating_sub(predict(FIRST)?);
    encode(FIRST)?;
    if !memory::reset_peak_rss() {
        return Err(unknown());
    }
    let before = memory::rss().ok_or_else(unknown)?;
    for _ in 0..(SETTLED_AFTER / shape.tokens.max(1)).clamp(1, 16) {
        encode(shape)?;
    }
    let after = memory::peak_rss().ok_or_else(unknown)?;
    Ok((after.saturating_sub(before), predicted))
}
