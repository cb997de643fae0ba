//! The sums of a block of a product: 32 × 32 f32, in four tiles or, emulated, in memory.

use std::marker::PhantomData;

use super::{Operand, SIDE, SQUARE, Squares};
use crate::kernels::simd::{LANES, Simd};

/// Sums that products of squares are added to.
pub(in crate::kernels) trait Sums {
    /// Whether the products are made beside the lanes, which then do something else between two squares.
    const BESIDE_LANES: bool;

    /// Begins at zero. Of the 32 rows the first `rows` are wanted.
    fn clear(&mut self, rows: usize);

    /// Adds the product of two squares, as the numerics version has it.
    fn add<S: Simd>(&mut self, simd: S, left: Operand, right: Operand);

    /// Adds the products of as many squares of each factor, in order.
    #[inline(always)]
    fn add_all<S: Simd>(&mut self, simd: S, left: Squares, right: Squares) {
        for k in 0..left.count() {
            self.add(simd, left.get(k), right.get(k));
        }
    }

    /// Stores the sums, a row every `stride` values. Rows that were not asked for may be stored too, or not: there
    /// has to be room for 32.
    fn store(&mut self, to: &mut [f32], stride: usize);
}

const GROUPS: &str = "32 rows are whole groups of the rows that are computed together";

/// The chains of a numerics version: how the products of 32 k are added to the sums of `R` rows and 16 columns. `left`
/// is rows of first and second values of the pairs, `lines` are 16 lines of pairs of the right factor.
pub(in crate::kernels) trait Chains {
    fn add<S: Simd, const R: usize>(
        simd: S,
        sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        lines: &[[u16; SIDE]],
    ) -> [S::Lanes; R];
}

/// Those of AMX: one for the first values of the pairs and one for the second, both begun at zero.
pub(in crate::kernels) struct TwoChains;

/// Those of AVX512-BF16: one that goes on from the sum, the second value of a pair before the first.
pub(in crate::kernels) struct OneChain;

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

/// The sums of a block where they are in memory between products.
#[repr(align(64))]
pub(in crate::kernels) struct InMemory {
    /// Rows that are wanted.
    pub rows: usize,
    pub sums: [[[f32; LANES]; 2]; SIDE],
}

impl InMemory {
    #[inline(always)]
    pub fn new() -> Self {
        InMemory { rows: 0, sums: [[[0.0; LANES]; 2]; SIDE] }
    }

    /// As [`Sums::clear`].
    #[inline(always)]
    pub fn clear(&mut self, rows: usize) {
        self.rows = rows.min(SIDE);
        self.sums = [[[0.0; LANES]; 2]; SIDE];
    }

    /// As [`Sums::store`].
    #[inline(always)]
    pub fn store(&self, to: &mut [f32], stride: usize) {
        assert!(to.len() >= (SIDE - 1) * stride + SIDE, "there is room for 32 rows");
        for (row, sums) in self.sums.iter().enumerate().take(self.rows) {
            to[row * stride..][..SIDE].copy_from_slice(sums.as_flattened());
        }
    }
}

/// What a tile unit does, over the lanes of any instruction set.
#[repr(align(64))]
pub(in crate::kernels) struct Emulated<C> {
    chains: PhantomData<C>,
    block: InMemory,
    /// The left factor as f32, high and low parts: of each row the first values of its pairs, then the second.
    left: [[[[f32; LANES]; 2]; SIDE]; 2],
}

impl<C: Chains> Emulated<C> {
    #[inline(always)]
    pub fn new() -> Self {
        let left = [[[[0.0; LANES]; 2]; SIDE]; 2];
        Emulated { chains: PhantomData, block: InMemory::new(), left }
    }

    /// `sums += left · right` for one part of the left factor.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, part: usize, right: &[u16; SQUARE]) {
        let (lines, _) = right.as_chunks();
        for (half, lines) in lines.chunks_exact(LANES).enumerate() {
            for first in (0..self.block.rows).step_by(S::EMULATED_ROWS) {
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
        let Some(sums) = self.block.sums[first..].first_chunk_mut::<R>() else {
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
        let rows = self.block.rows.next_multiple_of(S::EMULATED_ROWS);
        for (to, row) in self.left[part].iter_mut().zip(square.as_chunks().0).take(rows) {
            let (first, second) = simd.load_pairs(row);
            simd.store(first, &mut to[0]);
            simd.store(second, &mut to[1]);
        }
    }
}

impl<C: Chains> Sums for Emulated<C> {
    const BESIDE_LANES: bool = false;

    #[inline(always)]
    fn clear(&mut self, rows: usize) {
        self.block.clear(rows);
    }

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

    #[inline(always)]
    fn store(&mut self, to: &mut [f32], stride: usize) {
        self.block.store(to, stride);
    }
}
