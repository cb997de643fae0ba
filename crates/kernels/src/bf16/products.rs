//! Products of blocks: the interface of the units that make them, and the emulation over lanes.

use std::marker::PhantomData;

use crate::bf16::{BLOCK_SIDE, Block, Operand};
use crate::simd::{Kernel, LANES, Simd};

/// The part of a product of blocks that the caller needs. An implementation may compute more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rows, of 32.
    pub rows: usize,
    /// Columns, of 32.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only units read it"))]
    pub columns: usize,
    /// k over all blocks, at least one. After it, the last block holds zeros in both factors, or NaN in a
    /// row that already holds one.
    pub depth: usize,
}

impl Extent {
    /// Blocks of each factor.
    #[inline(always)]
    pub fn blocks(self) -> usize {
        self.depth.div_ceil(BLOCK_SIDE)
    }
}

/// Multiplies blocks with the sums of one numerics version.
pub(crate) trait Products {
    /// `to = left · right`: 32 × 32 sums that start at zero, a row every `stride` values.
    ///
    /// `factors(k)` returns block k of each factor. `stride` is at least 32, and `to` holds 32 rows of 32.
    /// A unit that works in parallel to the lanes calls `interleaved` after every block, so that the lanes have
    /// other work.
    fn multiply<'a, S: Simd>(
        &mut self,
        simd: S,
        extent: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        interleaved: &mut impl Interleaved,
        to: &mut [f32],
        stride: usize,
    );
}

/// Work over lanes between products of blocks.
///
/// It is no closure, which cannot be made to be inlined: out of line it is compiled without the instruction
/// set, and every operation over lanes becomes a call.
pub(crate) trait Interleaved {
    /// This many blocks were multiplied since the last call.
    fn advance<S: Simd>(&mut self, simd: S, blocks: usize);
}

/// No other work.
pub(crate) struct NoWork;

impl Interleaved for NoWork {
    #[inline(always)]
    fn advance<S: Simd>(&mut self, _: S, _: usize) {}
}

/// A kernel that multiplies blocks. The rules of [`crate::simd::Kernel`] for inlining apply.
pub(crate) trait BlockKernel {
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P);
}

const ROW_GROUPS: &str = "32 rows are a multiple of the rows that are computed together";

/// The order of a numerics version in which 32 k are added to the sums of `R` rows and 16 columns.
///
/// `left` holds the first and the second values of the pairs of each row; `right` holds 16 rows of pairs.
pub(crate) trait Accumulation {
    fn accumulate<S: Simd, const R: usize>(
        simd: S,
        sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        right: &[[u16; BLOCK_SIDE]],
    ) -> [S::Lanes; R];
}

/// The order of AMX: a chain of the first values of the pairs and one of the second, both from zero.
pub(crate) struct TwoChains;

/// The order of AVX512-BF16: a chain that continues the sum, the second value of a pair before the first.
pub(crate) struct OneChain;

impl Accumulation for TwoChains {
    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        simd: S,
        mut sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        right: &[[u16; BLOCK_SIDE]],
    ) -> [S::Lanes; R] {
        let (mut even, mut odd) = ([simd.splat(0.0); R], [simd.splat(0.0); R]);
        for (pair, line) in right.iter().enumerate().take(LANES) {
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

impl Accumulation for OneChain {
    #[inline(always)]
    fn accumulate<S: Simd, const R: usize>(
        simd: S,
        mut sums: [S::Lanes; R],
        left: &[[[f32; LANES]; 2]; R],
        right: &[[u16; BLOCK_SIDE]],
    ) -> [S::Lanes; R] {
        for (pair, line) in right.iter().enumerate().take(LANES) {
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

/// The products of a unit, computed over the lanes of any instruction set.
#[repr(align(64))]
pub(crate) struct EmulatedProducts<A> {
    order: PhantomData<A>,
    /// Rows that the caller needs.
    rows: usize,
    sums: [[[f32; LANES]; 2]; BLOCK_SIDE],
    /// The left factor as f32, high and low part: the first values of the pairs of each row, then the second.
    left: [[[[f32; LANES]; 2]; BLOCK_SIDE]; 2],
}

impl<A: Accumulation> EmulatedProducts<A> {
    #[inline(always)]
    pub fn new() -> Self {
        EmulatedProducts {
            order: PhantomData,
            rows: 0,
            sums: [[[0.0; LANES]; 2]; BLOCK_SIDE],
            left: [[[[0.0; LANES]; 2]; BLOCK_SIDE]; 2],
        }
    }

    /// `sums += left · right` for one part of the left factor.
    #[inline(always)]
    fn multiply_part<S: Simd>(&mut self, simd: S, part: usize, right: &Block) {
        let (lines, _) = right.as_chunks();
        for (half, lines) in lines.chunks_exact(LANES).enumerate() {
            for first in (0..self.rows).step_by(S::EMULATED_ROWS) {
                match S::EMULATED_ROWS {
                    8 => self.multiply_rows::<S, 8>(simd, part, first, half, lines),
                    _ => self.multiply_rows::<S, 2>(simd, part, first, half, lines),
                }
            }
        }
    }

    /// The sums of `R` rows with 16 columns of the right factor.
    #[inline(always)]
    fn multiply_rows<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        part: usize,
        first: usize,
        half: usize,
        lines: &[[u16; BLOCK_SIDE]],
    ) {
        let Some(left) = self.left[part][first..].first_chunk::<R>() else {
            unreachable!("{ROW_GROUPS}")
        };
        let Some(sums) = self.sums[first..].first_chunk_mut::<R>() else {
            unreachable!("{ROW_GROUPS}")
        };
        let mut lanes = [simd.splat(0.0); R];
        for r in 0..R {
            lanes[r] = simd.load(&sums[r][half]);
        }
        let lanes = A::accumulate(simd, lanes, left, lines);
        for r in 0..R {
            simd.store(lanes[r], &mut sums[r][half]);
        }
    }

    #[inline(always)]
    fn unpack<S: Simd>(&mut self, simd: S, part: usize, block: &Block) {
        let rows = self.rows.next_multiple_of(S::EMULATED_ROWS);
        for (to, row) in self.left[part].iter_mut().zip(block.as_chunks().0).take(rows) {
            let (first, second) = simd.load_pairs(row);
            simd.store(first, &mut to[0]);
            simd.store(second, &mut to[1]);
        }
    }

    /// Adds the product of two blocks.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, left: Operand, right: Operand) {
        self.unpack(simd, 0, left.high);
        self.multiply_part(simd, 0, right.high);
        if let Some(low) = right.low {
            self.multiply_part(simd, 0, low);
        }
        if let Some(low) = left.low {
            self.unpack(simd, 1, low);
            self.multiply_part(simd, 1, right.high);
        }
    }
}

/// Adds the product of two blocks to the sums.
struct AddProduct<'p, 'a, A> {
    products: &'p mut EmulatedProducts<A>,
    left: Operand<'a>,
    right: Operand<'a>,
}

impl<A: Accumulation> Kernel for AddProduct<'_, '_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.products.add(simd, self.left, self.right);
    }
}

impl<A: Accumulation> Products for EmulatedProducts<A> {
    #[inline(always)]
    fn multiply<'a, S: Simd>(
        &mut self,
        simd: S,
        extent: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        interleaved: &mut impl Interleaved,
        to: &mut [f32],
        stride: usize,
    ) {
        self.rows = extent.rows.min(BLOCK_SIDE);
        self.sums = [[[0.0; LANES]; 2]; BLOCK_SIDE];
        for k in 0..extent.blocks() {
            let [left, right] = factors(k);
            simd.run(AddProduct { products: self, left, right });
        }
        for (row, sums) in self.sums.iter().enumerate().take(self.rows) {
            to[row * stride..][..BLOCK_SIDE].copy_from_slice(sums.as_flattened());
        }
        interleaved.advance(simd, extent.blocks());
    }
}
