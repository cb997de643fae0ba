//! The mean of the vectors of a text's chunks, which come from several batches.

use std::collections::HashMap;
use std::ops::Range;

use crate::batch::{TextChunk, TokenBatch};
use crate::error::{Error, ErrorKind, Result};

/// Smaller lengths count as this one when a vector is scaled, as in PyTorch's `normalize`.
const MIN_LENGTH: f64 = 1e-12;

/// Collects the vectors of chunks until all chunks of a row are there, in any order.
pub struct ChunkMeans {
    dim: usize,
    normalize: bool,
    rows: HashMap<usize, ChunkVectors>,
}

/// The vector of a row, and the tokens of its chunks together.
#[derive(Debug, PartialEq)]
pub struct RowMean {
    /// The vector, `dim` components.
    pub vector: Vec<f32>,
    /// The sum of the tokens of all chunks, special tokens included.
    pub tokens: usize,
}

/// The vectors of the chunks of a row, row-major, `chunks × dim`, and the tokens of each.
struct ChunkVectors {
    values: Vec<f32>,
    /// 0 for a chunk that is missing.
    tokens: Vec<usize>,
    missing: usize,
}

impl ChunkMeans {
    /// Means of vectors of `dim` components. `normalize`: they are scaled to Euclidean length 1.
    pub fn new(dim: usize, normalize: bool) -> Self {
        ChunkMeans { dim, normalize, rows: HashMap::new() }
    }

    /// Adds the vector of a chunk of `tokens` tokens, at least 1. Returns the mean when it was the
    /// last one of its row that was missing.
    ///
    /// # Errors
    /// `OutOfMemory` if the vectors of the row's chunks do not fit in memory.
    pub fn add(
        &mut self,
        row: usize,
        chunk: TextChunk,
        tokens: usize,
        vector: &[f32],
    ) -> Result<Option<RowMean>> {
        let mut chunks = match self.rows.remove(&row) {
            Some(chunks) => chunks,
            None => ChunkVectors::new(chunk.count, self.dim)?,
        };
        chunks.values[chunk.number * self.dim..][..self.dim].copy_from_slice(vector);
        chunks.tokens[chunk.number] = tokens;
        chunks.missing -= 1;
        if chunks.missing > 0 {
            self.rows.insert(row, chunks);
            return Ok(None);
        }
        let vector = weighted_mean(&chunks.values, &chunks.tokens, self.normalize);
        Ok(Some(RowMean { vector, tokens: chunks.tokens.iter().sum() }))
    }

    /// A counter of the rows that `batch` completes, for a batch whose vectors are not added yet.
    pub fn rows_in_flight<'b>(&self, batch: &'b TokenBatch) -> RowsInFlight<'b> {
        let mut missing = HashMap::new();
        for (row, chunk) in batch.rows().iter().zip(batch.chunks()) {
            if chunk.count > 1 {
                let added = self.rows.get(row).map(|chunks| chunks.missing);
                missing.insert(*row, added.unwrap_or(chunk.count));
            }
        }
        RowsInFlight { batch, missing }
    }
}

/// Counts the rows that the parts of a batch complete, while the batch runs.
pub struct RowsInFlight<'b> {
    batch: &'b TokenBatch,
    /// The number of missing chunks of each row that has several.
    missing: HashMap<usize, usize>,
}

impl RowsInFlight<'_> {
    /// Adds a finished part, the texts at these positions, and returns the number of rows that it
    /// completes. Each text is added once.
    pub fn add_part(&mut self, texts: Range<usize>) -> usize {
        let mut is_complete = |row: &usize| match self.missing.get_mut(row) {
            None => true,
            Some(missing) => {
                *missing -= 1;
                *missing == 0
            }
        };
        self.batch.rows()[texts].iter().filter(|row| is_complete(row)).count()
    }
}

impl ChunkVectors {
    fn new(count: usize, dim: usize) -> Result<Self> {
        let values = zeros(count.saturating_mul(dim))?;
        Ok(ChunkVectors { values, tokens: zeros(count)?, missing: count })
    }
}

fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|cause| {
        let bytes = count.saturating_mul(size_of::<T>());
        let message = format!(
            "not enough memory for the vectors of a text's chunks: allocating {bytes} bytes failed"
        );
        Error::new(ErrorKind::OutOfMemory, message)
            .advice("set a smaller `input.chunk_rows`, or a larger `text.chunk.tokens`")
            .caused_by(cause)
    })?;
    values.resize(count, T::default());
    Ok(values)
}

/// The mean of row-major vectors, one for each weight, summed in their order in f64; scaled to
/// Euclidean length 1 if `normalize`.
fn weighted_mean(vectors: &[f32], weights: &[usize], normalize: bool) -> Vec<f32> {
    let dim = vectors.len() / weights.len().max(1);
    let mut sums = vec![0.0_f64; dim];
    for (vector, weight) in vectors.chunks_exact(dim.max(1)).zip(weights) {
        for (sum, component) in sums.iter_mut().zip(vector) {
            *sum += f64::from(*component) * *weight as f64;
        }
    }
    let weight = weights.iter().sum::<usize>() as f64;
    sums.iter_mut().for_each(|sum| *sum /= weight);
    if normalize {
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt().max(MIN_LENGTH);
        sums.iter_mut().for_each(|sum| *sum /= length);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_count_as_much_as_their_tokens() {
        for (vectors, weights, normalize, expected) in [
            (&[1.0, 0.0, 0.0, 1.0][..], &[1, 1][..], false, [0.5, 0.5]),
            (&[1.0, 0.0, 0.0, 1.0], &[3, 1], false, [0.75, 0.25]),
            (&[0.6, 0.0, 0.0, 0.2], &[1, 4], true, [0.6, 0.8]),
            (&[1.0, 0.0, -1.0, 0.0], &[2, 2], true, [0.0, 0.0]),
        ] {
            let mean = weighted_mean(vectors, weights, normalize);
            let near = mean.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(near, "{vectors:?}, {weights:?}: {mean:?}");
        }
    }

    #[test]
    fn mean_has_the_same_bits_in_any_order_of_the_chunks() {
        let vectors = [[1e8_f32, 3.0], [0.1, 1e-7], [-1e8, 7.0]];
        let mean_of = |order: [usize; 3]| {
            let mut means = ChunkMeans::new(2, false);
            let mut found = Vec::new();
            for number in order {
                let chunk = TextChunk { number, count: 3 };
                // Another row in between has its own chunks.
                let other = means.add(8, TextChunk { number, count: 4 }, 1, &[9.0, 9.0]);
                assert_eq!(other.expect("memory"), None);
                found.extend(means.add(7, chunk, number + 1, &vectors[number]).expect("memory"));
            }
            assert_eq!(found.len(), 1, "{order:?}");
            found.remove(0)
        };
        let expected = mean_of([0, 1, 2]);
        assert_eq!(expected.tokens, 6);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(mean_of(order), expected, "{order:?}");
        }
    }

    #[test]
    fn part_completes_the_rows_whose_last_missing_chunk_it_has() {
        let chunk = |number, count| TextChunk { number, count };
        let mut means = ChunkMeans::new(1, false);
        means.add(7, chunk(1, 3), 1, &[1.0]).expect("memory");
        let mut batch = TokenBatch::default();
        batch.push(1, &[1]);
        batch.push_chunk(7, chunk(2, 3), &[1]);
        // The others of its chunks are not in the batch.
        batch.push_chunk(8, chunk(1, 2), &[1]);
        batch.push_chunk(9, chunk(1, 2), &[1]);
        batch.push_chunk(7, chunk(0, 3), &[1]);
        batch.push_chunk(9, chunk(0, 2), &[1]);
        for (parts, expected) in [
            (&[0..6, 6..6][..], &[3, 0][..]),
            (&[0..1, 1..2, 2..3, 3..4, 4..5, 5..6], &[1, 0, 0, 0, 1, 1]),
            // Workers finish parts in any order.
            (&[4..6, 2..4, 0..2], &[0, 1, 2]),
        ] {
            let mut rows = means.rows_in_flight(&batch);
            let found: Vec<usize> = parts.iter().map(|part| rows.add_part(part.clone())).collect();
            assert_eq!(found, expected, "{parts:?}");
        }
    }

    #[test]
    fn text_with_too_many_chunks_is_out_of_memory() {
        let chunk = TextChunk { number: 0, count: usize::MAX / 8 };
        let error = ChunkMeans::new(2, true).add(0, chunk, 1, &[0.0; 2]).expect_err("no memory");
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
