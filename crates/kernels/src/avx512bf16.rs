//! AVX512-BF16: `VDPBF16PS`, which AMD's CPUs have since Zen 4, and Intel's server CPUs since Cooper Lake.
//!
//! ```text
//!  8 rows of the left factor          a line of the right factor: pair k of 32 columns
//!  ┌─ k ─────────────┐                ┌──────────────┬──────────────┐
//!  │ a pair, to all  │ ── times ──►   │ 16 pairs     │ 16 pairs     │
//!  │ lanes           │                └──────────────┴──────────────┘
//!  └─────────────────┘                  8 × 2 registers of sums, for 16 pairs of k
//! ```
//!
//! One instruction adds two products to each of 16 sums: twice what a fused multiply-add does. What it computes is the
//! numerics version of [`super::Precision::Bf16Avx512`] in [`super::tiles`]; a CPU is asked before it is believed, as with AMX.

use std::arch::x86_64::*;

use super::Bf16Unit;
use super::avx512::Avx512;
use super::precision::UnitError;
use super::simd::{LANES, LEAST_BF16, Simd};
use super::tiles::products::{Extent, Products};
use super::tiles::{Operand, SIDE, SQUARE, self_test};

/// Squares of the right factor that stay in L1 while the groups of rows pass by: 16 KiB.
const DEPTH: usize = 8;

/// Bytes from the lines that are multiplied to those that are fetched meanwhile: the squares of the next turn. The hardware
/// is slower at that where they come from L3.
const AHEAD: usize = DEPTH * size_of::<[u16; SQUARE]>();

/// Proof that the CPU has AVX-512F and AVX512-BF16, and that its products are right. [`Avx512Bf16::ready`] alone makes
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// Whether the CPU has it.
    pub(crate) fn is_there() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }

    /// Tests the products of a CPU that has it.
    pub(crate) fn ready() -> Option<Result<Self, UnitError>> {
        Self::is_there().then(|| {
            let unit = Avx512Bf16(());
            self_test::check(Bf16Unit::dot(unit)).map(|()| unit)
        })
    }

    /// Lanes that round with it.
    #[inline(always)]
    pub(crate) fn lanes(self) -> Avx512<true> {
        Avx512::rounding(self)
    }

    /// What makes products.
    #[inline(always)]
    pub(crate) fn products(self) -> Dots {
        Dots(self)
    }
}

/// Products of a CPU that has it.
pub(crate) struct Dots(Avx512Bf16);

impl Products for Dots {
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
        let squares = wanted.squares();
        debug_assert!(squares > 0, "a product has a depth");
        for first in (0..squares).step_by(DEPTH) {
            let [left, right] = factors(first);
            let mut chunk = Chunk {
                factors: [(left.high, right.high); DEPTH],
                count: DEPTH.min(squares - first),
                pairs: (wanted.depth - first * SIDE).div_ceil(2),
                follows: first > 0,
            };
            for (k, pair) in chunk.factors.iter_mut().enumerate().take(chunk.count) {
                let [left, right] = factors(first + k);
                assert!(left.low.is_none() && right.low.is_none(), "a factor is one bf16");
                *pair = (left.high, right.high);
            }
            // SAFETY: the token in `self` proves that the CPU has AVX-512F and AVX512-BF16.
            unsafe { multiply(&chunk, wanted, to, stride) }
        }
        between(simd, squares);
    }
}

/// Squares of both factors, along k.
struct Chunk<'a> {
    factors: [(&'a [u16; SQUARE], &'a [u16; SQUARE]); DEPTH],
    /// Squares that there are.
    count: usize,
    /// Pairs of k that are wanted, of these squares and of those that come after them.
    pairs: usize,
    /// Whether the sums go on from what is stored.
    follows: bool,
}

/// `to = left · right`, or `to += left · right` where the chunk follows another: a few rows at a time, whose sums stay in registers from the first square to the last.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply(chunk: &Chunk, wanted: Extent, to: &mut [f32], stride: usize) {
    let rows = wanted.rows.min(SIDE);
    let mut row = 0;
    while row < rows {
        let few = rows - row <= 4;
        let narrow = wanted.columns <= SIDE / 2;
        // SAFETY: the CPU has AVX-512F and AVX512-BF16.
        unsafe {
            match (few, narrow) {
                (false, false) => group::<8, 2>(chunk, row, to, stride),
                (false, true) => group::<8, 1>(chunk, row, to, stride),
                (true, false) => group::<4, 2>(chunk, row, to, stride),
                (true, true) => group::<4, 1>(chunk, row, to, stride),
            }
        }
        row += if few { 4 } else { 8 };
    }
}

/// The sums of `R` rows and 16 `T` columns.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn group<const R: usize, const T: usize>(
    chunk: &Chunk,
    row: usize,
    to: &mut [f32],
    stride: usize,
) {
    let mut sums = [[_mm512_setzero_ps(); T]; R];
    if chunk.follows {
        for (r, sums) in sums.iter_mut().enumerate() {
            let from = line(to, row + r, stride);
            for (sum, from) in sums.iter_mut().zip(from.as_chunks::<LANES>().0) {
                // SAFETY: the array is as long as the register; the load asks for no alignment.
                *sum = unsafe { _mm512_loadu_ps(from.as_ptr()) };
            }
        }
    }
    let mut pairs = chunk.pairs;
    for (left, right) in &chunk.factors[..chunk.count] {
        let Some(left) = left.as_chunks::<SIDE>().0[row..].first_chunk::<R>() else {
            unreachable!("32 rows are whole groups")
        };
        // Of a tile, the lines of 16 pairs; of the right factor, two tiles.
        let (first, second) = right.split_at(SQUARE / 2);
        let lines = first.as_chunks::<SIDE>().0.iter().zip(second.as_chunks::<SIDE>().0);
        for (pair, (first, second)) in lines.enumerate().take(pairs) {
            let mut lines = [_mm512_setzero_si512(); T];
            for (line, from) in lines.iter_mut().zip([first, second]) {
                // SAFETY: the array is as long as the register; the load asks for no alignment.
                *line = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
            }
            if row == 0 {
                fetch(first);
                fetch(second);
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
        for (sum, to) in sums.iter().zip(line_mut(to, row + r, stride).as_chunks_mut::<LANES>().0) {
            // SAFETY: the array is as long as the register; the store asks for no alignment.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), *sum) };
        }
    }
}

/// Brings what lies [`AHEAD`] into the cache: of a layer's weights, where more of them follow.
#[inline(always)]
fn fetch(line: &[u16; SIDE]) {
    let ahead = line.as_ptr().cast::<i8>().wrapping_add(AHEAD);
    // SAFETY: every x86-64 CPU has SSE; a prefetch reads nothing that a program could see, wherever it points.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) }
}

fn line(sums: &[f32], row: usize, stride: usize) -> &[f32; SIDE] {
    match sums[row * stride..].first_chunk() {
        Some(line) => line,
        None => unreachable!("{ROOM}"),
    }
}

fn line_mut(sums: &mut [f32], row: usize, stride: usize) -> &mut [f32; SIDE] {
    match sums[row * stride..].first_chunk_mut() {
        Some(line) => line,
        None => unreachable!("{ROOM}"),
    }
}

const ROOM: &str = "there is room for 32 columns of every row";

/// Rounds as [`Simd::nearest_bf16`], and stores: `VCVTNEPS2BF16` does that but for what is small.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn store_nearest(a: __m512, to: &mut [u16; LANES]) {
    // Not less than: a NaN is kept.
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(a), _mm512_set1_ps(LEAST_BF16));
    let rounded = _mm512_maskz_cvtneps_pbh(kept, a);
    // SAFETY: the array is as long as what is stored, 32 bytes, of which every value is valid; the store asks for no
    // alignment.
    unsafe { to.as_mut_ptr().cast::<__m256bh>().write_unaligned(rounded) }
}

/// A register as pairs of bf16.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bf16(register: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, of which every value is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(register) }
}
