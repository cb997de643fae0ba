//! Which texts of a chunk go through the model together.
//!
//! Texts are sorted by length and cut wherever the [`BatchLimit`] is reached. A padded batch costs its longest
//! text times its rows, so texts of like length belong together. Longest first: if memory is short, it shows on
//! the first batch and not on the last; and what is shared out last among workers is short.

use crate::limit::{BatchLimit, BatchShape};

/// Cuts texts of the given `lengths` (tokens; 0 = nothing to embed) into batches that `limit` allows. Every
/// position with a length appears in exactly one batch. Equal input gives equal batches.
pub fn plan(lengths: &[usize], limit: BatchLimit) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] > 0).collect();
    order.sort_by_key(|&row| (std::cmp::Reverse(lengths[row]), row));

    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut shape = BatchShape::default();
    for row in order {
        let grown = BatchShape {
            rows: shape.rows + 1,
            // The first row of a batch is its longest.
            longest: shape.longest.max(lengths[row]),
            tokens: shape.tokens + lengths[row],
        };
        match batches.last_mut() {
            Some(batch) if limit.allows(grown) => {
                batch.push(row);
                shape = grown;
            }
            _ => {
                batches.push(vec![row]);
                shape = BatchShape { rows: 1, longest: lengths[row], tokens: lengths[row] };
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::limit::TokenCount;

    fn limit(rows: usize, tokens: usize) -> BatchLimit {
        let size = |n| NonZeroUsize::new(n).expect("not zero");
        BatchLimit { rows: size(rows), tokens: size(tokens), counting: TokenCount::Padded }
    }

    fn real(rows: usize, tokens: usize) -> BatchLimit {
        BatchLimit { counting: TokenCount::Actual, ..limit(rows, tokens) }
    }

    #[test]
    fn batches_hold_texts_of_like_length_within_the_limit() {
        for (lengths, limit, expected) in [
            (&[][..], limit(4, 100), vec![]),
            (&[0, 0], limit(4, 100), vec![]),
            (&[3, 9, 1, 8], limit(2, 100), vec![vec![1, 3], vec![0, 2]]),
            (&[5, 5, 5], limit(8, 10), vec![vec![0, 1], vec![2]]),
            (&[500, 2], limit(8, 10), vec![vec![0], vec![1]]),
            (&[2, 0, 2], limit(8, 100), vec![vec![0, 2]]),
            (&[1, 9, 2, 8], limit(8, 20), vec![vec![1, 3], vec![2, 0]]),
            (&[1, 9, 2, 8], real(8, 20), vec![vec![1, 3, 2, 0]]),
            (&[1, 9, 2, 8], real(8, 19), vec![vec![1, 3, 2], vec![0]]),
        ] {
            assert_eq!(plan(lengths, limit), expected, "{lengths:?} under {limit:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_planned_once_and_every_batch_is_allowed(
            lengths in prop::collection::vec(0usize..300, 0..200),
            rows in 1usize..40,
            tokens in 1usize..4000,
            pads in any::<bool>(),
        ) {
            let limit = BatchLimit { counting: TokenCount::padded(pads), ..limit(rows, tokens) };
            let batches = plan(&lengths, limit);
            let mut planned: Vec<usize> = batches.concat();
            planned.sort_unstable();
            let wanted: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] > 0).collect();
            prop_assert_eq!(planned, wanted);
            for batch in batches {
                let longest = batch.iter().map(|&row| lengths[row]).max().unwrap_or(0);
                let tokens = batch.iter().map(|&row| lengths[row]).sum();
                let shape = BatchShape { rows: batch.len(), longest, tokens };
                prop_assert!(limit.allows(shape));
            }
        }
    }
}
