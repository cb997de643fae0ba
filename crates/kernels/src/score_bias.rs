//! What is added to the scores of attention by the distance of key and query: relative positions,
//! windows and causality.

use std::ops::Range;

use crate::buffer::{AlignedBuffer, AllocationError};
use crate::simd::LANES;

/// A value for each distance of key and query, position of the key minus position of the query, that is
/// added to their score: −∞ if the query does not see the key.
///
/// All distances beyond the farthest one have its value, so the table does not grow with the texts.
#[derive(Debug)]
pub struct ScoreBias {
    /// `(heads, 2 · farthest + 33)`, for distances from `−farthest − 16` on, in units of `exp2`. With one
    /// head it holds for every head.
    values: AlignedBuffer,
    heads: usize,
    farthest: usize,
    /// Keys that a query sees before and after itself; `None`: all.
    seen: [Option<usize>; 2],
}

impl ScoreBias {
    /// A table that shows a query this many keys before and after itself, `None` for all: `[None, Some(0)]`
    /// is causal, `[Some(64), Some(64)]` a window.
    ///
    /// # Errors
    /// If the memory for the table cannot be allocated.
    pub fn window(seen: [Option<usize>; 2]) -> Result<Self, AllocationError> {
        let farthest = seen.into_iter().flatten().max().unwrap_or(0).saturating_add(1);
        let is_seen = |distance: isize| match distance {
            before @ ..0 => seen[0].is_none_or(|most| before.unsigned_abs() <= most),
            after => seen[1].is_none_or(|most| after.unsigned_abs() <= most),
        };
        let value = |_, distance| if is_seen(distance) { 0.0 } else { f32::NEG_INFINITY };
        Self::new(1, farthest, seen, value)
    }

    /// A table with a value for each head and distance. `value` gets the head and a distance from
    /// `−farthest` to `farthest`.
    ///
    /// # Errors
    /// If the memory for the table cannot be allocated.
    pub fn relative(
        heads: usize,
        farthest: usize,
        value: impl Fn(usize, isize) -> f32,
    ) -> Result<Self, AllocationError> {
        Self::new(heads, farthest, [None; 2], value)
    }

    fn new(
        heads: usize,
        farthest: usize,
        seen: [Option<usize>; 2],
        value: impl Fn(usize, isize) -> f32,
    ) -> Result<Self, AllocationError> {
        let width = Self::width_for(farthest);
        let mut values = AlignedBuffer::zeroed(heads.saturating_mul(width))?;
        let far = farthest as isize;
        for (head, row) in values.chunks_exact_mut(width).enumerate() {
            for (distance, to) in (-far - LANES as isize..).zip(row) {
                *to = value(head, distance.clamp(-far, far)) * std::f32::consts::LOG2_E;
            }
        }
        Ok(ScoreBias { values, heads, farthest, seen })
    }

    const fn width_for(farthest: usize) -> usize {
        farthest.saturating_mul(2).saturating_add(2 * LANES + 1)
    }

    /// Whether a query may not see every key.
    pub(crate) fn is_window(&self) -> bool {
        self.seen != [None; 2]
    }

    /// The keys of a sequence of `length` tokens that some of these queries see.
    pub(crate) fn keys_seen_by(&self, queries: Range<usize>, length: usize) -> Range<usize> {
        let first = self.seen[0].map_or(0, |most| queries.start.saturating_sub(most));
        let end = self.seen[1].map_or(length, |most| length.min(queries.end.saturating_add(most)));
        first..end
    }

    /// The values of a query for the 16 keys from `first_key` on.
    #[inline(always)]
    pub(crate) fn line(&self, head: usize, query: usize, first_key: usize) -> &[f32; LANES] {
        let (far, lanes) = (self.farthest as isize, LANES as isize);
        // Past either end all distances have one value, so 16 lanes there stand for any others.
        let distance = (first_key as isize - query as isize).clamp(-far - lanes, far + 1);
        let row = if self.heads == 1 { 0 } else { head * Self::width_for(self.farthest) };
        match self.values[row + (distance + far + lanes) as usize..].first_chunk() {
            Some(line) => line,
            None => unreachable!("the table has 16 values past the farthest distance"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_value_of_each_distance() {
        let log2e = std::f32::consts::LOG2_E;
        let bias =
            ScoreBias::relative(2, 5, |head, distance| (head * 100) as f32 + distance as f32)
                .expect("a small allocation");
        for (head, query, first) in [(0, 0, 0), (1, 40, 0), (1, 3, 16), (0, 90, 16), (1, 20, 96)] {
            for (lane, value) in bias.line(head, query, first).iter().enumerate() {
                let distance = (first + lane) as isize - query as isize;
                let expected = (head * 100) as f32 + distance.clamp(-5, 5) as f32;
                assert_eq!(*value, expected * log2e, "head {head}, distance {distance}");
            }
        }
    }

    #[test]
    fn window_hides_what_a_query_does_not_see() {
        for (seen, queries, keys) in [
            ([None, Some(0)], 20..24, 0..24),
            ([Some(8), Some(8)], 20..24, 12..32),
            ([Some(8), Some(8)], 96..100, 88..100),
            ([Some(3), None], 50..51, 47..100),
        ] {
            let bias = ScoreBias::window(seen).expect("a small allocation");
            assert!(bias.is_window());
            assert_eq!(bias.keys_seen_by(queries.clone(), 100), keys, "{seen:?}");
            for query in queries {
                for first in (0..96).step_by(LANES) {
                    for (lane, value) in bias.line(0, query, first).iter().enumerate() {
                        let distance = (first + lane) as isize - query as isize;
                        let most = seen[usize::from(distance >= 0)];
                        let is_seen = most.is_none_or(|most| distance.unsigned_abs() <= most);
                        let expected = if is_seen { 0.0 } else { f32::NEG_INFINITY };
                        assert_eq!(*value, expected, "{seen:?}, query {query}, {distance}");
                    }
                }
            }
        }
    }
}
