//! The memory budget of batches, and the number of tokens that fits in it. Pure functions: the
//! readings come from [`crate::memory`].

use std::num::NonZeroUsize;

use crate::limit::{BatchShape, TokenCount};

/// The share of the free memory that batches may take when a run starts. The rest is for the
/// weights, the chunks in flight, Parquet pages and other processes.
pub const SHARE_FOR_BATCHES: f64 = 0.5;

/// Readings of the memory of the machine, in bytes; `None` where there is no limit or no reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReadings {
    /// What the cgroup may still allocate.
    pub cgroup_left: Option<u64>,
    /// `MemAvailable` of `/proc/meminfo`.
    pub available: Option<u64>,
    /// What the process may still map under `RLIMIT_AS`.
    pub address_space_left: Option<u64>,
}

/// The bytes that batches may take: `configured`, or [`SHARE_FOR_BATCHES`] of the smallest reading.
/// `None` without either.
///
/// A share of a reading is an estimate, so it is at least `minimum`, the bytes of one text: one
/// text is always tried.
pub fn memory_budget(
    configured: Option<u64>,
    readings: MemoryReadings,
    minimum: Option<u64>,
) -> Option<u64> {
    configured.or_else(|| {
        [readings.cgroup_left, readings.available, readings.address_space_left]
            .into_iter()
            .flatten()
            .min()
            .map(|left| ((left as f64 * SHARE_FOR_BATCHES) as u64).max(minimum.unwrap_or(0)))
    })
}

/// Tokens of the shortest text: the special tokens before and after it.
const SHORTEST_TEXT: usize = 2;

/// The largest number of tokens for which every batch fits in `budget` bytes, whether its texts
/// have `full_length` tokens or few; at least 1.
///
/// `bytes_for` gives the bytes of a batch, or `None` for a device with its own allocator. It must
/// not decrease with rows, longest text or tokens.
pub fn max_tokens_for_budget(
    budget: Option<u64>,
    full_length: NonZeroUsize,
    counting: TokenCount,
    bytes_for: impl Fn(BatchShape) -> Option<u64>,
) -> NonZeroUsize {
    let full = full_length.get();
    let fits = |budget: u64, tokens: usize| {
        let mut worst_case_shapes = worst_case_shapes(tokens, full, counting).into_iter();
        worst_case_shapes.all(|shape| bytes_for(shape).is_none_or(|bytes| bytes <= budget))
    };
    let rows = match (budget, bytes_for(BatchShape { rows: 1, longest: full, tokens: full })) {
        (Some(budget), Some(bytes)) => (budget / bytes.max(1)).clamp(1, u64::from(u32::MAX)),
        _ => u64::from(u32::MAX),
    };
    let mut tokens = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(full);
    if let Some(budget) = budget.filter(|budget| !fits(*budget, tokens)) {
        // Binary search: `fitting` fits, `too_many` does not.
        let (mut fitting, mut too_many) = (1, tokens);
        while too_many - fitting > 1 {
            let middle = fitting + (too_many - fitting) / 2;
            if fits(budget, middle) { fitting = middle } else { too_many = middle }
        }
        tokens = fitting;
    }
    NonZeroUsize::new(tokens).unwrap_or(NonZeroUsize::MIN)
}

/// The shapes of `tokens` tokens that need the most memory.
fn worst_case_shapes(tokens: usize, full: usize, counting: TokenCount) -> [BatchShape; 2] {
    let even = |longest: usize| {
        let rows = tokens.div_ceil(longest);
        BatchShape { rows, longest, tokens: rows.saturating_mul(longest) }
    };
    match counting {
        // Lengths in between need less per token: attention grows with the length, and the
        // fixed cost of a text is shared by more tokens.
        TokenCount::Padded => [even(full.min(tokens)), even(SHORTEST_TEXT.min(tokens))],
        // One long text beside many short ones.
        TokenCount::Actual => {
            let rows = even(SHORTEST_TEXT.min(tokens)).rows;
            [BatchShape { rows, longest: full.min(tokens), tokens }; 2]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("not zero")
    }

    #[test]
    fn budget_is_configured_or_a_share_of_the_smallest_reading() {
        let readings = |cgroup_left, available, address_space_left| MemoryReadings {
            cgroup_left,
            available,
            address_space_left,
        };
        for (configured, readings, minimum, expected) in [
            (Some(7), readings(Some(100), Some(100), None), Some(20), Some(7)),
            (None, readings(Some(100), Some(300), None), Some(20), Some(50)),
            (None, readings(None, Some(300), Some(80)), None, Some(40)),
            (None, readings(None, Some(300), Some(30)), Some(20), Some(20)),
            (None, readings(Some(0), None, None), Some(20), Some(20)),
            (None, readings(None, None, None), Some(20), None),
        ] {
            assert_eq!(memory_budget(configured, readings, minimum), expected);
        }
    }

    #[test]
    fn token_budget_covers_long_texts_and_many_short_ones() {
        type Price = fn(BatchShape) -> u64;
        // Attention; a padding encoder with many vectors; an encoder without padding; two workers.
        let square: Price = |shape| (shape.rows * shape.longest * shape.longest) as u64;
        let vectors: Price = |shape| (shape.padded_tokens() + 30 * shape.rows) as u64;
        let ragged: Price = |shape| (10 * shape.tokens + 8 * shape.rows + shape.longest) as u64;
        let workers: Price = |shape| {
            let part = shape.tokens.div_ceil(2).max(shape.longest);
            (shape.rows.min(2) * part + 4 * shape.rows) as u64
        };
        for (price, counting, budget, expected) in [
            (square, TokenCount::Padded, 1000, 100),
            (square, TokenCount::Padded, 99, 9),
            (square, TokenCount::Padded, 1, 1),
            // 31 rows of two tokens; texts of ten tokens could have 250.
            (vectors, TokenCount::Padded, 1000, 62),
            (ragged, TokenCount::Actual, 1000, 70),
            (ragged, TokenCount::Actual, 1, 1),
            (workers, TokenCount::Actual, 300, 100),
            (workers, TokenCount::Actual, 40, 10),
        ] {
            let within =
                max_tokens_for_budget(Some(budget), size(10), counting, |shape| Some(price(shape)))
                    .get();
            assert_eq!(within, expected, "{counting:?}, {budget}");
            // Every batch of that many tokens fits.
            for longest in 1..=within.min(10) {
                for rows in 1..=(within / longest) {
                    let padded = BatchShape { rows, longest, tokens: rows * longest };
                    let ragged = (0..=(within - padded.tokens) / SHORTEST_TEXT).map(|more| {
                        let tokens = padded.tokens + more * SHORTEST_TEXT;
                        BatchShape { rows: rows + more, longest, tokens }
                    });
                    let shapes = [padded]
                        .into_iter()
                        .chain(ragged.filter(|_| counting == TokenCount::Actual));
                    for shape in shapes.filter(|_| longest >= SHORTEST_TEXT && budget > 10) {
                        assert!(price(shape) <= budget, "{shape:?} of {within} for {budget}");
                    }
                }
            }
        }
        let full = size(10);
        for counting in [TokenCount::Padded, TokenCount::Actual] {
            assert!(
                max_tokens_for_budget(None, full, counting, |s| Some(square(s))).get() > 1_000_000
            );
            assert!(max_tokens_for_budget(Some(1), full, counting, |_| None).get() > 1_000_000);
        }
    }
}
