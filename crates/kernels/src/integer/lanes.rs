//! Integers of an instruction set, beside its lanes of f32, and the words that they are packed in.

use crate::simd::{LANES, Simd};

/// How factors are packed in words of 32 bits, and how many k a word has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Two signed integers of 16 bits.
    Pairs,
    /// Four integers of 8 bits: on the left 128 + x, unsigned, as VNNI wants them; on the right signed.
    OffsetQuads,
    /// Four signed integers of 8 bits.
    SignedQuads,
}

impl Packing {
    /// Integers of a word.
    #[inline(always)]
    pub const fn per_word(self) -> usize {
        match self {
            Packing::Pairs => 2,
            Packing::OffsetQuads | Packing::SignedQuads => 4,
        }
    }
}

/// What each integer of [`Packing::OffsetQuads`] on the left has too much.
pub(crate) const QUAD_OFFSET: i32 = 128;

/// An instruction set that multiplies integers. The rules of [`crate::simd::Kernel`] for inlining apply.
pub(crate) trait IntegerLanes: Simd {
    /// 16 i32.
    type Integers: Copy;

    /// Whether [`IntegerLanes::add_quads`] is an instruction, which makes four products where
    /// [`IntegerLanes::add_pairs`] makes two.
    const HAS_QUADS: bool;
    /// The quads that it multiplies.
    const QUADS: Packing;
    /// How it multiplies integers of 8 bits fastest.
    const BYTES: Packing = if Self::HAS_QUADS { Self::QUADS } else { Packing::Pairs };

    /// Panels of the largest micro-tile.
    const INTEGER_PANELS: usize;
    /// Rows of a micro-tile whose sums are scaled block by block: the registers hold each sum twice, as an
    /// integer and as f32.
    const SCALED_ROWS: usize;

    /// The same word in each lane.
    fn splat_word(self, word: i32) -> Self::Integers;
    fn load_integers(self, from: &[i32; LANES]) -> Self::Integers;
    /// Adds to each lane the two products of its pair on either side. On the left is the same word in each lane.
    fn add_pairs(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers;
    /// Adds to each lane the four products of its quad on either side, in [`IntegerLanes::QUADS`]. On the left is the
    /// same word in each lane.
    fn add_quads(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers;
    /// The maximum of each integer and the bits of a lane's magnitude. These are ordered as the magnitudes are, then
    /// infinity, then NaN.
    fn max_magnitude(self, most: Self::Integers, lanes: Self::Lanes) -> Self::Integers;
    /// The greatest of the integers.
    fn reduce_max_integers(self, integers: Self::Integers) -> i32;
    /// Each integer as the nearest f32, ties to even.
    fn to_f32(self, integers: Self::Integers) -> Self::Lanes;
    /// Rounds each lane to the nearest integer, ties to even, and stores them as pairs. Magnitudes are below 2¹⁵.
    fn store_pairs(self, lanes: Self::Lanes, to: &mut [i32; LANES / 2]);
    /// Rounds each lane to the nearest integer, ties to even, and stores them as [`IntegerLanes::QUADS`] of the
    /// left. Magnitudes are below 128.
    fn store_quads(self, lanes: Self::Lanes, to: &mut [i32; LANES / 4]);
}

/// A kernel over integers and f32.
pub(crate) trait IntegerKernel {
    fn run<S: IntegerLanes>(self, simd: S);
}

/// The word of a pair.
#[inline(always)]
pub(crate) fn pair_word([first, second]: [i32; 2]) -> i32 {
    first & 0xffff | second << 16
}

/// The word of a quad: the low 8 bits of each.
#[inline(always)]
pub(crate) fn quad_word(quad: [i32; 4]) -> i32 {
    quad.into_iter().rev().fold(0, |word, value| word << 8 | value & 0xff)
}

/// The integers of a word of pairs.
#[inline(always)]
pub(crate) fn pair_of(word: i32) -> [i32; 2] {
    [word << 16 >> 16, word >> 16]
}

/// The integers of a word of signed quads.
#[inline(always)]
pub(crate) fn quad_of(word: i32) -> [i32; 4] {
    [24, 16, 8, 0].map(|shift| word << shift >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_their_integers() {
        for pair in [[0, 0], [2047, -2047], [-1, 1], [-32768, 32767]] {
            assert_eq!(pair_of(pair_word(pair)), pair);
        }
        for quad in [[0, 0, 0, 0], [1, -2, 3, -4], [-127, 127, -128, 0]] {
            assert_eq!(quad_of(quad_word(quad)), quad);
        }
    }
}
