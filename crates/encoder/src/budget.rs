//! How much memory batches may take, and how many tokens that pays for. Pure functions of what they are told;
//! readings come from [`crate::memory`].

use std::num::NonZeroUsize;

use crate::limit::{BatchShape, TokenCount};

/// Batches may take this share of the memory that is left when the run starts. The other half is for the
/// weights, the chunks in flight, Parquet pages and whoever else lives on the machine.
pub const SHARE_FOR_BATCHES: f64 = 0.5;

/// What the machine says about memory, in bytes; `None` where it sets no limit or says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReadings {
    /// What the control group may still take.
    pub cgroup_left: Option<u64>,
    /// What the kernel thinks that programs may still take.
    pub available: Option<u64>,
    /// What is left of the address space that the process may map (`RLIMIT_AS`).
    pub address_space_left: Option<u64>,
}

/// Bytes that batches may take: the configured figure, or the named share of the least reading. `None` when
/// nothing is configured and nothing could be read.
///
/// A configured figure is meant as it is. A share of what was read is a guess, and never less than `least`, what
/// one text takes: that may be tried before it is given up.
pub fn memory_budget(
    configured: Option<u64>,
    readings: MemoryReadings,
    least: Option<u64>,
) -> Option<u64> {
    configured.or_else(|| {
        [readings.cgroup_left, readings.available, readings.address_space_left]
            .into_iter()
            .flatten()
            .min()
            .map(|left| ((left as f64 * SHARE_FOR_BATCHES) as u64).max(least.unwrap_or(0)))
    })
}

/// The shortest text has so many tokens: those that stand before and behind whatever it says.
const SHORTEST_TEXT: usize = 2;

/// The largest number of tokens of which every batch stays within `budget`, whether of texts of the model's full length
/// or of many short ones. Where not even the price of one token does, it is one.
///
/// `price` gives the bytes of a batch, or `None` where memory has no price (a device with its own allocator). It grows
/// with rows, longest text and tokens.
pub fn max_tokens_for_budget(
    budget: Option<u64>,
    full_length: NonZeroUsize,
    counting: TokenCount,
    price: impl Fn(BatchShape) -> Option<u64>,
) -> NonZeroUsize {
    let full = full_length.get();
    let fits = |budget: u64, tokens: usize| {
        let mut worst_case_shapes = worst_case_shapes(tokens, full, counting).into_iter();
        worst_case_shapes.all(|shape| price(shape).is_none_or(|bytes| bytes <= budget))
    };
    let rows = match (budget, price(BatchShape { rows: 1, longest: full, tokens: full })) {
        (Some(budget), Some(bytes)) => (budget / bytes.max(1)).clamp(1, u64::from(u32::MAX)),
        _ => u64::from(u32::MAX),
    };
    let mut tokens = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(full);
    if let Some(budget) = budget.filter(|budget| !fits(*budget, tokens)) {
        // Halved until they meet: the most that is known to fit, and the least that is known not to.
        let (mut fitting, mut too_many) = (1, tokens);
        while too_many - fitting > 1 {
            let middle = fitting + (too_many - fitting) / 2;
            if fits(budget, middle) { fitting = middle } else { too_many = middle }
        }
        tokens = fitting;
    }
    NonZeroUsize::new(tokens).unwrap_or(NonZeroUsize::MIN)
}

/// Shapes of so many tokens that no batch of as many costs more than.
fn worst_case_shapes(tokens: usize, full: usize, counting: TokenCount) -> [BatchShape; 2] {
    let even = |longest: usize| {
        let rows = tokens.div_ceil(longest);
        BatchShape { rows, longest, tokens: rows.saturating_mul(longest) }
    };
    match counting {
        // A rectangle of lengths in between costs less per token than one of the two: what grows with the length
        // grows with it, and what a text costs by itself is shared by more tokens.
        TokenCount::Padded => [even(full.min(tokens)), even(SHORTEST_TEXT.min(tokens))],
        // A batch may have one long text beside many short ones.
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
    fn the_budget_is_the_configured_one_or_a_share_of_the_least_reading() {
        let readings = |cgroup_left, available, address_space_left| MemoryReadings {
            cgroup_left,
            available,
            address_space_left,
        };
        for (configured, readings, least, expected) in [
            (Some(7), readings(Some(100), Some(100), None), Some(20), Some(7)),
            (None, readings(Some(100), Some(300), None), Some(20), Some(50)),
            (None, readings(None, Some(300), Some(80)), None, Some(40)),
            (None, readings(None, Some(300), Some(30)), Some(20), Some(20)),
            (None, readings(Some(0), None, None), Some(20), Some(20)),
            (None, readings(None, None, None), Some(20), None),
        ] {
            assert_eq!(memory_budget(configured, readings, least), expected);
        }
    }

    #[test]
    fn the_token_budget_pays_for_full_length_and_for_many_short_texts() {
        type Price = fn(BatchShape) -> u64;
        // As attention does, as an encoder does that pads and has only vectors to give, as one that does not.
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
            // 31 rows of two tokens, and not the 250 tokens that texts of ten could have.
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
            // Whatever a batch of as many tokens is made of, it fits.
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
