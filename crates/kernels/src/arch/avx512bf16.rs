//! AVX512-BF16: `VDPBF16PS`, on AMD CPUs since Zen 4 and Intel server CPUs since Cooper Lake.
//!
//! ```text
//!  8 rows of the left factor          a row of the right factor: pair k of 32 columns
//!  ┌─ k ─────────────┐                ┌──────────────┬──────────────┐
//!  │ a pair, broad-  │ ── times ──►   │ 16 pairs     │ 16 pairs     │
//!  │ cast to lanes   │                └──────────────┴──────────────┘
//!  └─────────────────┘                  8 × 2 registers of sums, for 16 pairs of k
//! ```
//!
//! One instruction adds two products to each of 16 sums, twice what a fused multiply-add does, with the
//! sums of the numerics version *bf16-avx512* in [`crate::bf16`].

use std::arch::x86_64::*;

use crate::arch::avx512::Avx512Bf16;
use crate::bf16::products::{Extent, Interleaved, Products};
use crate::bf16::{BLOCK_LEN, BLOCK_SIDE, Block, Operand};
use crate::simd::{LANES, Simd};

/// Blocks of the right factor that stay in L1 while the rows pass by: 16 KiB.
const DEPTH_BLOCKS: usize = 8;

/// Bytes from the line that is multiplied to the line that is prefetched, of the next [`DEPTH_BLOCKS`].
/// Without it, the hardware prefetcher is slower where the weights come from L3.
const PREFETCH_BYTES: usize = DEPTH_BLOCKS * size_of::<Block>();

/// Products by dot-product instructions.
pub(crate) struct DotProducts(pub Avx512Bf16);

impl Products for DotProducts {
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
        let blocks = extent.blocks();
        debug_assert!(blocks > 0, "a product has a depth");
        for first in (0..blocks).step_by(DEPTH_BLOCKS) {
            let [left, right] = factors(first);
            let mut chunk = DepthChunk {
                factors: [(left.high, right.high); DEPTH_BLOCKS],
                count: DEPTH_BLOCKS.min(blocks - first),
                pairs: (extent.depth - first * BLOCK_SIDE).div_ceil(2),
                continues: first > 0,
            };
            for (k, pair) in chunk.factors.iter_mut().enumerate().take(chunk.count) {
                let [left, right] = factors(first + k);
                assert!(
                    left.low.is_none() && right.low.is_none(),
                    "bf16-avx512 does not split factors"
                );
                *pair = (left.high, right.high);
            }
            // SAFETY: the token in `self` proves that the CPU has AVX-512F and AVX512-BF16.
            unsafe { multiply_chunk(&chunk, extent, to, stride) }
        }
        interleaved.advance(simd, blocks);
    }
}

/// Blocks of both factors, along k.
struct DepthChunk<'a> {
    factors: [(&'a Block, &'a Block); DEPTH_BLOCKS],
    /// Entries of `factors` that hold a block of this chunk.
    count: usize,
    /// Pairs of k in this chunk and in those after it.
    pairs: usize,
    /// Whether the sums continue those that are stored.
    continues: bool,
}

/// `to = left · right`, or `to += left · right` where the chunk continues another. The sums of a group of
/// rows stay in registers from the first block to the last.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_chunk(chunk: &DepthChunk, extent: Extent, to: &mut [f32], stride: usize) {
    let rows = extent.rows.min(BLOCK_SIDE);
    let mut row = 0;
    while row < rows {
        let few = rows - row <= 4;
        let narrow = extent.columns <= BLOCK_SIDE / 2;
        // SAFETY: the CPU has AVX-512F and AVX512-BF16.
        unsafe {
            match (few, narrow) {
                (false, false) => multiply_rows::<8, 2>(chunk, row, to, stride),
                (false, true) => multiply_rows::<8, 1>(chunk, row, to, stride),
                (true, false) => multiply_rows::<4, 2>(chunk, row, to, stride),
                (true, true) => multiply_rows::<4, 1>(chunk, row, to, stride),
            }
        }
        row += if few { 4 } else { 8 };
    }
}

/// The sums of `R` rows and 16 × `T` columns.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_rows<const R: usize, const T: usize>(
    chunk: &DepthChunk,
    row: usize,
    to: &mut [f32],
    stride: usize,
) {
    let mut sums = [[_mm512_setzero_ps(); T]; R];
    if chunk.continues {
        for (r, sums) in sums.iter_mut().enumerate() {
            let from = row_of(to, row + r, stride);
            for (sum, from) in sums.iter_mut().zip(from.as_chunks::<LANES>().0) {
                // SAFETY: the array is as long as the register; the load needs no alignment.
                *sum = unsafe { _mm512_loadu_ps(from.as_ptr()) };
            }
        }
    }
    let mut pairs = chunk.pairs;
    for (left, right) in &chunk.factors[..chunk.count] {
        let Some(left) = left.as_chunks::<BLOCK_SIDE>().0[row..].first_chunk::<R>() else {
            unreachable!("32 rows are a multiple of a group")
        };
        // The block of the right factor is two tiles of 16 columns; their lines are 16 pairs each.
        let (first, second) = right.split_at(BLOCK_LEN / 2);
        let lines =
            first.as_chunks::<BLOCK_SIDE>().0.iter().zip(second.as_chunks::<BLOCK_SIDE>().0);
        for (pair, (first, second)) in lines.enumerate().take(pairs) {
            let mut lines = [_mm512_setzero_si512(); T];
            for (line, from) in lines.iter_mut().zip([first, second]) {
                // SAFETY: the array is as long as the register; the load needs no alignment.
                *line = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
            }
            if row == 0 {
                prefetch(first);
                prefetch(second);
            }
            for (sums, left) in sums.iter_mut().zip(left) {
                let [low, high] = left.as_chunks::<2>().0[pair];
                let left = _mm512_set1_epi32((u32::from(high) << 16 | u32::from(low)) as i32);
                for (sum, line) in sums.iter_mut().zip(lines) {
                    // SAFETY: the CPU has AVX-512F.
                    let (left, right) = unsafe { (bf16(left), bf16(line)) };
                    *sum = _mm512_dpbf16_ps(*sum, left, right);
                }
            }
        }
        pairs = pairs.saturating_sub(LANES);
    }
    for (r, sums) in sums.iter().enumerate() {
        for (sum, to) in sums.iter().zip(row_of_mut(to, row + r, stride).as_chunks_mut::<LANES>().0)
        {
            // SAFETY: the array is as long as the register; the store needs no alignment.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), *sum) };
        }
    }
}

/// Prefetches the line that is [`PREFETCH_BYTES`] further: weights, unless `line` is among the last.
#[inline(always)]
fn prefetch(line: &[u16; BLOCK_SIDE]) {
    let ahead = line.as_ptr().cast::<i8>().wrapping_add(PREFETCH_BYTES);
    // SAFETY: every x86-64 CPU has SSE, and a prefetch of any address has no effect that a program can observe.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) }
}

fn row_of(sums: &[f32], row: usize, stride: usize) -> &[f32; BLOCK_SIDE] {
    match sums[row * stride..].first_chunk() {
        Some(line) => line,
        None => unreachable!("{SUM_ROWS}"),
    }
}

fn row_of_mut(sums: &mut [f32], row: usize, stride: usize) -> &mut [f32; BLOCK_SIDE] {
    match sums[row * stride..].first_chunk_mut() {
        Some(line) => line,
        None => unreachable!("{SUM_ROWS}"),
    }
}

const SUM_ROWS: &str = "the sums hold 32 columns of every row";

/// A register as pairs of bf16.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bf16(register: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and every bit pattern is a valid value.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(register) }
}
