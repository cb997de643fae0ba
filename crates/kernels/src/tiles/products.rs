//! Products of squares, and their emulation over the lanes of any instruction set.

use std::marker::PhantomData;

use super::{Operand, SIDE, SQUARE};
use crate::simd::{LANES, Simd};

/// What is wanted of a product of squares. What lies beyond may be made as well, or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Of 32 rows.
    pub rows: usize,
    /// Of 32 columns.
    pub columns: usize,
    /// Of the k of all squares, at least one. The values that follow in the last one are zeros, in both factors; what is
    /// not a number may follow in a row that has one already.
    pub depth: usize,
}

impl Extent {
    /// Squares of each factor.
    #[inline(always)]
    pub fn squares(self) -> usize {
        self.depth.div_ceil(SIDE)
    }
}

/// What makes products of squares, as a numerics version has them.
pub(crate) trait Products {
    /// `to = left · right`, 32 × 32 sums that begin at zero; `factors` gives the squares of each, along k. A row is stored
    /// every `stride` values, 32 or more, and there has to be room for 32 of 32.
    ///
    /// `between` is told how many squares were multiplied since it was told last. What works beside the lanes tells after
    /// every square: the lanes have time then.
    fn product<'a, S: Simd>(
        &mut self,
        simd: S,
        wanted: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        between: impl FnMut(S, usize),
        to: &mut [f32],
        stride: usize,
    );
}

const GROUPS: &str = "32 rows are whole groups of the rows that are computed together";

/// The chains of a numerics version: how the products of 32 k are added to the sums of `R` rows and 16 columns. `left`
/// is rows of first and second values of the pairs, `lines` are 16 lines of pairs of the right factor.
pub(crate) trait Chains {
    fn add<S: Simd, const R: usize>(
        simd: S,
        sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        lines: &[[u16; SIDE]],
    ) -> [S::Lanes; R];
}

/// Those of AMX: one for the first values of the pairs and one for the second, both begun at zero.
pub(crate) struct TwoChains;

/// Those of AVX512-BF16: one that goes on from the sum, the second value of a pair before the first.
pub(crate) struct OneChain;

impl Chains for TwoChains {
    #[inline(always)]
    fn add<S: Simd, const R: usize>(
        simd: S,
        mut sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        lines: &[[u16; SIDE]],
    ) -> [S::Lanes; R] {
        let (mut even, mut odd) = ([simd.splat(0.0); R], [simd.splat(0.0); R]);
        for (pair, line) in lines.iter().enumerate().take(LANES) {
            let (first, second) = simd.load_pairs(line);
            for r in 0..R {
                even[r] = simd.mul_add(simd.splat(left[r][0][pair]), first, even[r]);
                odd[r] = simd.mul_add(simd.splat(left[r][1][pair]), second, odd[r]);
            }
        }
        for r in 0..R {
            sums[r] = simd.add(sums[r], simd.add(even[r], odd[r]));
        }
        sums
    }
}

impl Chains for OneChain {
    #[inline(always)]
    fn add<S: Simd, const R: usize>(
        simd: S,
        mut sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        lines: &[[u16; SIDE]],
    ) -> [S::Lanes; R] {
        for (pair, line) in lines.iter().enumerate().take(LANES) {
            let (first, second) = simd.load_pairs(line);
            for r in 0..R {
                sums[r] = simd.mul_add(simd.splat(left[r][1][pair]), second, sums[r]);
            }
            for r in 0..R {
                sums[r] = simd.mul_add(simd.splat(left[r][0][pair]), first, sums[r]);
            }
        }
        sums
    }
}

/// What a tile unit does, over the lanes of any instruction set.
#[repr(align(64))]
pub(crate) struct Emulated<C> {
    chains: PhantomData<C>,
    /// Rows that are wanted.
    rows: usize,
    sums: [[[f32; LANES]; 2]; SIDE],
    /// The left factor as f32, high and low parts: of each row the first values of its pairs, then the second.
    left: [[[[f32; LANES]; 2]; SIDE]; 2],
}

impl<C: Chains> Emulated<C> {
    #[inline(always)]
    pub fn new() -> Self {
        Emulated {
            chains: PhantomData,
            rows: 0,
            sums: [[[0.0; LANES]; 2]; SIDE],
            left: [[[[0.0; LANES]; 2]; SIDE]; 2],
        }
    }

    /// `sums += left · right` for one part of the left factor.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, part: usize, right: &[u16; SQUARE]) {
        let (lines, _) = right.as_chunks();
        for (half, lines) in lines.chunks_exact(LANES).enumerate() {
            for first in (0..self.rows).step_by(S::EMULATED_ROWS) {
                match S::EMULATED_ROWS {
                    8 => self.chains::<S, 8>(simd, part, first, half, lines),
                    _ => self.chains::<S, 2>(simd, part, first, half, lines),
                }
            }
        }
    }

    /// The chains of `R` rows over a tile of the right factor.
    #[inline(always)]
    fn chains<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        part: usize,
        first: usize,
        half: usize,
        lines: &[[u16; SIDE]],
    ) {
        let Some(left) = self.left[part][first..].first_chunk::<R>() else {
            unreachable!("{GROUPS}")
        };
        let Some(sums) = self.sums[first..].first_chunk_mut::<R>() else {
            unreachable!("{GROUPS}")
        };
        let mut lanes = [simd.splat(0.0); R];
        for r in 0..R {
            lanes[r] = simd.load(&sums[r][half]);
        }
        let lanes = C::add(simd, lanes, left, lines);
        for r in 0..R {
            simd.store(lanes[r], &mut sums[r][half]);
        }
    }

    #[inline(always)]
    fn unpack<S: Simd>(&mut self, simd: S, part: usize, square: &[u16; SQUARE]) {
        let rows = self.rows.next_multiple_of(S::EMULATED_ROWS);
        for (to, row) in self.left[part].iter_mut().zip(square.as_chunks().0).take(rows) {
            let (first, second) = simd.load_pairs(row);
            simd.store(first, &mut to[0]);
            simd.store(second, &mut to[1]);
        }
    }

    /// Adds the product of two squares.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, left: Operand, right: Operand) {
        self.unpack(simd, 0, left.high);
        self.multiply(simd, 0, right.high);
        if let Some(low) = right.low {
            self.multiply(simd, 0, low);
        }
        if let Some(low) = left.low {
            self.unpack(simd, 1, low);
            self.multiply(simd, 1, right.high);
        }
    }
}

impl<C: Chains> Products for Emulated<C> {
    #[inline(always)]
    fn product<'a, S: Simd>(
        &mut self,
        simd: S,
        wanted: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        mut between: impl FnMut(S, usize),
        to: &mut [f32],
        stride: usize,
    ) {
        self.rows = wanted.rows.min(SIDE);
        self.sums = [[[0.0; LANES]; 2]; SIDE];
        for k in 0..wanted.squares() {
            let [left, right] = factors(k);
            self.add(simd, left, right);
        }
        for (row, sums) in self.sums.iter().enumerate().take(self.rows) {
            to[row * stride..][..SIDE].copy_from_slice(sums.as_flattened());
        }
        between(simd, wanted.squares());
    }
}
