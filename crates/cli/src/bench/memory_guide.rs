//! What a batch really takes, against its predicted price.
//!
//! Memory that a process has had it may have again without growing, so each shape is measured in a process of its
//! own: the caller starts one that calls [`grown`] and says what it gave.

use reembed_encoder::batch::TokenBatch;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::limit::BatchShape;
use reembed_encoder::memory;
use reembed_encoder::model::Model;

/// A price may be off by this part of itself.
pub const TOLERANCE: f64 = 0.15;

/// The shapes that are measured: texts of a batch and tokens of each.
pub fn shapes(max_length: usize) -> Vec<BatchShape> {
    let lengths = [32, 64, 128, 256].into_iter().filter(|length| *length <= max_length);
    lengths.flat_map(|longest| [8, 32, 128].map(|rows| even(rows, longest))).collect()
}

/// Tokens after which memory no longer grows. A worker keeps the room for the largest part that it has had; in a run
/// each has in time had the first part of a batch, which is the largest.
const SETTLED_AFTER: usize = 1 << 15;

/// The batch that comes first, so that code and threads are there before anything is measured.
const FIRST: BatchShape = even(1, 8);

/// A batch of texts of one length.
pub const fn even(rows: usize, longest: usize) -> BatchShape {
    BatchShape { rows, longest, tokens: rows * longest }
}

/// What the process grew by with batches of that shape, one after the other, and the predicted price of one, both in bytes and beyond a batch of
/// a single short text. Call it once in a process.
///
/// # Errors
/// `Encode` when the system does not say how large the process is, or the encoder has no price; and what encoding gives.
pub fn grown(model: &Model, shape: BatchShape) -> Result<(u64, u64)> {
    let encoder = model.encoder.as_ref();
    let encode = |shape: BatchShape| {
        let mut batch = TokenBatch::default();
        // Any token does: memory goes with their number.
        let text = vec![1u32; shape.longest];
        (0..shape.rows).for_each(|row| batch.push(row, &text));
        let mut vectors = vec![0f32; shape.rows * encoder.dim()];
        encoder.encode(&batch, &mut vectors).map_err(|cause| {
            Error::new(ErrorKind::Encode, "a batch of a known shape failed").caused_by(cause)
        })
    };
    let unknown = || Error::new(ErrorKind::Encode, "the memory of a batch cannot be measured here");
    let price = |shape| encoder.bytes_for(shape).ok_or_else(unknown);
    let predicted = price(shape)?.saturating_sub(price(FIRST)?);
    encode(FIRST)?;
    if !memory::forget_peak() {
        return Err(unknown());
    }
    let before = memory::resident().ok_or_else(unknown)?;
    for _ in 0..(SETTLED_AFTER / shape.tokens.max(1)).clamp(1, 16) {
        encode(shape)?;
    }
    let after = memory::peak_resident().ok_or_else(unknown)?;
    Ok((after.saturating_sub(before), predicted))
}
