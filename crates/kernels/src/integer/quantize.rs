//! Rounding of a block to integers with a scale.

use crate::integer::lanes::{IntegerLanes, Packing};
use crate::simd::LANES;

/// The factor between a block and its integers, in both directions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// An integer times this is a value.
    pub scale: f32,
    /// A value times this is an integer before rounding.
    pub inverse: f32,
}

/// 2⁻¹⁰⁰. A block whose values are all smaller counts as zeros.
const SMALLEST: f32 = 1.0 / (1_u128 << 100) as f32;

impl Scale {
    /// The scale of a block whose largest magnitude is `magnitude`. A value that is not finite makes it NaN.
    #[inline(always)]
    pub fn new(largest: f32, magnitude: f32) -> Self {
        if !magnitude.is_finite() {
            return Scale { scale: f32::NAN, inverse: 0.0 };
        }
        if magnitude < SMALLEST {
            return Scale { scale: 0.0, inverse: 0.0 };
        }
        Scale { scale: magnitude / largest, inverse: largest / magnitude }
    }

    /// The scale of a block.
    pub fn of(largest: f32, block: &[f32]) -> Self {
        let magnitude = block.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        // A maximum loses a NaN.
        let is_finite = block.iter().all(|value| value.is_finite());
        Scale::new(largest, if is_finite { magnitude } else { f32::NAN })
    }

    /// The integer of a value of the block.
    pub fn integer(self, value: f32) -> i32 {
        // A call of the C library for each weight would take half of the time of packing.
        if self.inverse == 0.0 { 0 } else { nearest(value * self.inverse) }
    }
}

/// The nearest integer, ties to even, of a value below 2²² in magnitude: what a sum with 3·2²² has in its lowest bits.
fn nearest(value: f32) -> i32 {
    const SHIFT: f32 = (3 << 22) as f32;
    (value + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

/// Rounds a block to integers and returns its scale. `to` has whole lines of 16 integers; those past the
/// block are zeros.
#[inline(always)]
pub(crate) fn quantize<S: IntegerLanes>(
    simd: S,
    packing: Packing,
    largest: f32,
    block: &[f32],
    to: &mut [i32],
) -> f32 {
    let scale = Scale::new(largest, magnitude(simd, block));
    if scale.scale.is_nan() {
        // What an instruction makes of NaN is no integer of any format.
        to.fill(0);
        return scale.scale;
    }
    let inverse = simd.splat(scale.inverse);
    let (lines, rest) = block.as_chunks::<LANES>();
    let words = LANES / packing.per_word();
    for (line, to) in lines.iter().zip(to.chunks_exact_mut(words)) {
        store(simd, packing, simd.mul(simd.load(line), inverse), to);
    }
    if !rest.is_empty() {
        let to = &mut to[lines.len() * words..][..words];
        store(simd, packing, simd.mul(simd.load_partial(rest), inverse), to);
    }
    scale.scale
}

/// Stores 16 values as the integers of whole words.
#[inline(always)]
fn store<S: IntegerLanes>(simd: S, packing: Packing, lanes: S::Lanes, to: &mut [i32]) {
    match packing {
        Packing::Pairs => {
            let Some(to) = to.first_chunk_mut() else { unreachable!("8 words") };
            simd.store_pairs(lanes, to);
        }
        Packing::OffsetQuads | Packing::SignedQuads => {
            let Some(to) = to.first_chunk_mut() else { unreachable!("4 words") };
            simd.store_quads(lanes, to);
        }
    }
}

/// The largest magnitude of a block; not finite if a value is not.
#[inline(always)]
fn magnitude<S: IntegerLanes>(simd: S, block: &[f32]) -> f32 {
    // Two chains: one alone waits for its own last step.
    let mut most = [simd.splat_word(0); 2];
    let (pairs, rest) = block.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        let lines = pair.as_chunks::<LANES>().0;
        most[0] = simd.max_magnitude(most[0], simd.load(&lines[0]));
        most[1] = simd.max_magnitude(most[1], simd.load(&lines[1]));
    }
    for line in rest.chunks(LANES) {
        most[0] = simd.max_magnitude(most[0], simd.load_partial(line));
    }
    let most = simd.reduce_max_integers(most[0]).max(simd.reduce_max_integers(most[1]));
    f32::from_bits(most as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_follows_the_table() {
        let limit = SMALLEST;
        for (magnitude, scale, integer) in [
            (0.0, 0.0, 0),
            (limit / 2.0, 0.0, 0),
            (limit, limit / 127.0, 127),
            (1.0, 1.0 / 127.0, 127),
            (f32::MAX, f32::MAX / 127.0, 127),
        ] {
            let found = Scale::new(127.0, magnitude);
            assert_eq!(found.scale, scale, "{magnitude:e}");
            assert_eq!(found.integer(magnitude), integer, "{magnitude:e}");
            assert_eq!(found.integer(-magnitude), -integer, "{magnitude:e}");
            assert!(found.inverse.is_finite(), "{magnitude:e}");
        }
        for magnitude in [f32::INFINITY, f32::NAN] {
            let found = Scale::new(2047.0, magnitude);
            assert!(found.scale.is_nan());
            assert_eq!(found.integer(f32::NEG_INFINITY), 0);
        }
    }

    #[test]
    fn nearest_is_what_rounding_gives() {
        let steps = (-2_100_000..2_100_000).map(|step| step as f32 / 1024.0);
        let far = [4_194_303.0, -4_194_303.0, 4_194_302.5, -0.0, f32::MIN_POSITIVE];
        for value in steps.chain(far) {
            assert_eq!(nearest(value), value.round_ties_even() as i32, "{value}");
        }
    }

    #[test]
    fn integers_are_rounded_to_even() {
        let scale = Scale::new(127.0, 127.0);
        for (value, integer) in [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (3.4, 3)] {
            assert_eq!(scale.integer(value), integer, "{value}");
        }
    }
}
