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

use super::TileUnit;
use super::precision::UnitRefused;
use super::simd::Simd;
use super::tiles::sums::{InMemory, Sums};
use super::tiles::{Operand, SIDE, SQUARE, Squares, self_test};

/// Rows whose sums are in registers together: 8 × 2 registers, 2 of the right factor and a pair.
const ROWS: usize = 8;

/// Squares of the right factor that stay in L1 while the groups of rows pass by: 16 KiB.
const DEPTH: usize = 8;

/// Proof that the CPU has AVX-512F and AVX512-BF16, and that its products are right. [`Avx512Bf16::ready`] alone makes
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512Bf16(());

impl Avx512Bf16 {
    /// Whether the CPU has it.
    pub(super) fn is_there() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }

    /// Tests the products of a CPU that has it.
    pub(super) fn ready() -> Option<Result<Self, UnitRefused>> {
        Self::is_there().then(|| {
            let unit = Avx512Bf16(());
            self_test::check(TileUnit::dot(unit)).map(|()| unit)
        })
    }

    /// Sums at zero.
    #[inline(always)]
    pub(super) fn sums(self) -> DotSums {
        DotSums { _unit: self, block: InMemory::new() }
    }
}

/// The sums of a block.
pub(super) struct DotSums {
    _unit: Avx512Bf16,
    block: InMemory,
}

impl Sums for DotSums {
    const BESIDE_LANES: bool = false;

    #[inline(always)]
    fn clear(&mut self, rows: usize) {
        self.block.clear(rows);
    }

    #[inline(always)]
    fn add<S: Simd>(&mut self, _: S, left: Operand, right: Operand) {
        let (left, right) = (std::slice::from_ref(left.high), std::slice::from_ref(right.high));
        // SAFETY: a token in `self` proves that the CPU has AVX-512F and AVX512-BF16.
        unsafe { multiply(&mut self.block, left, right) }
    }

    #[inline(always)]
    fn add_all<S: Simd>(&mut self, _: S, left: Squares, right: Squares) {
        let (left, right) = (left.whole().chunks(DEPTH), right.whole().chunks(DEPTH));
        for (left, right) in left.zip(right) {
            // SAFETY: a token in `self` proves that the CPU has AVX-512F and AVX512-BF16.
            unsafe { multiply(&mut self.block, left, right) }
        }
    }

    #[inline(always)]
    fn store(&mut self, to: &mut [f32], stride: usize) {
        self.block.store(to, stride);
    }
}

/// `sums += left · right` for the rows that are wanted, and those that fill up a group: the sums stay in registers from the
/// first square to the last.
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply(block: &mut InMemory, left: &[[u16; SQUARE]], right: &[[u16; SQUARE]]) {
    // SAFETY: the load reads 64 bytes of an array of as many, and asks for no alignment.
    let load = |line: &[u16; SIDE]| unsafe { pairs(_mm512_loadu_si512(line.as_ptr().cast())) };
    let groups = block.sums.as_chunks_mut::<ROWS>().0.iter_mut().enumerate();
    for (group, sums) in groups.take(block.rows.div_ceil(ROWS)) {
        let mut registers = [[_mm512_setzero_ps(); 2]; ROWS];
        for (registers, sums) in registers.iter_mut().zip(&*sums) {
            for (register, sums) in registers.iter_mut().zip(sums) {
                // SAFETY: the array is as long as the register; the load asks for no alignment.
                *register = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
            }
        }
        for (left, right) in left.iter().zip(right) {
            let left = &left.as_chunks::<SIDE>().0.as_chunks::<ROWS>().0[group];
            let (first, second) = right.split_at(SQUARE / 2);
            let lines = first.as_chunks::<SIDE>().0.iter().zip(second.as_chunks::<SIDE>().0);
            for (pair, lines) in lines.enumerate() {
                let lines = [load(lines.0), load(lines.1)];
                for (registers, left) in registers.iter_mut().zip(left) {
                    let [low, high] = left.as_chunks::<2>().0[pair];
                    let pair = (u32::from(high) << 16 | u32::from(low)) as i32;
                    // SAFETY: the CPU has AVX-512F.
                    let pair = unsafe { pairs(_mm512_set1_epi32(pair)) };
                    for (register, line) in registers.iter_mut().zip(lines) {
                        *register = _mm512_dpbf16_ps(*register, pair, line);
                    }
                }
            }
        }
        for (registers, sums) in registers.iter().zip(sums) {
            for (register, sums) in registers.iter().zip(sums) {
                // SAFETY: the array is as long as the register; the store asks for no alignment.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *register) };
            }
        }
    }
}

/// A register as pairs of bf16.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn pairs(register: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, of which every value is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(register) }
}
