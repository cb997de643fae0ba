//! Batch planning: which texts of a chunk go through the model together.
//!
//! Texts are sorted by length, because a padded batch costs its longest text times its rows. The
//! longest come first: a lack of memory shows in the first batch, and the last parts of a batch,
//! which decide how long workers wait for each other, are short.

use crate::limit::{BatchLimit, BatchShape};

/// Groups texts into batches that `limit` allows.
///
/// `lengths` has the tokens of each text; a text of 0 tokens is left out. The result has the
/// positions of the texts of each batch; each position is in exactly one batch.
pub fn plan_batches(lengths: &[usize], limit: BatchLimit) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] > 0).collect();
    order.sort_by_key(|&row| (std::cmp::Reverse(lengths[row]), row));

    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut shape = BatchShape::default();
    for row in order {
        let grown = BatchShape {
            rows: shape.rows + 1,
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
    use crate::limit::{Pace, TokenCount};

    fn limit(rows: usize, tokens: usize) -> BatchLimit {
        let size = |n| NonZeroUsize::new(n).expect("not zero");
        BatchLimit {
            rows: size(rows),
            tokens: size(tokens),
            counting: TokenCount::Padded,
            pace: Pace::NONE,
        }
    }

    fn actual(rows: usize, tokens: usize) -> BatchLimit {
        BatchLimit { counting: TokenCount::Actual, ..limit(rows, tokens) }
    }

    #[test]
    fn batches_hold_texts_of_similar_length_within_the_limit() {
        for (lengths, limit, expected) in [
            (&[][..], limit(4, 100), vec![]),
            (&[0, 0], limit(4, 100), vec![]),
            (&[3, 9, 1, 8], limit(2, 100), vec![vec![1, 3], vec![0, 2]]),
            (&[5, 5, 5], limit(8, 10), vec![vec![0, 1], vec![2]]),
            (&[500, 2], limit(8, 10), vec![vec![0], vec![1]]),
            (&[2, 0, 2], limit(8, 100), vec![vec![0, 2]]),
            (&[1, 9, 2, 8], limit(8, 20), vec![vec![1, 3], vec![2, 0]]),
            (&[1, 9, 2, 8], actual(8, 20), vec![vec![1, 3, 2, 0]]),
            (&[1, 9, 2, 8], actual(8, 19), vec![vec![1, 3, 2], vec![0]]),
        ] {
            assert_eq!(plan_batches(lengths, limit), expected, "{lengths:?} under {limit:?}");
        }
    }

    proptest! {
        #[test]
        fn each_text_is_in_one_batch_that_the_limit_allows(
            lengths in prop::collection::vec(0usize..300, 0..200),
            rows in 1usize..40,
            tokens in 1usize..4000,
            pads in any::<bool>(),
        ) {
            let limit = BatchLimit { counting: TokenCount::from_padding(pads), ..limit(rows, tokens) };
            let batches = plan_batches(&lengths, limit);
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
