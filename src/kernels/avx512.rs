//! AVX-512: 16 lanes are one register. Nothing here but the mapping and the entry point.

use std::arch::x86_64::*;

use super::simd::{Kernel, LANES, Simd};

/// Proof that the CPU has AVX-512F: [`Avx512::detect`] alone makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    /// Asks the CPU.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")).then_some(Avx512(()))
    }
}

/// Compiles a kernel, with all that is inlined into it, for these instructions.
///
/// # Safety
/// The CPU must have AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn enter<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
    kernel.run(simd)
}

impl Simd for Avx512 {
    type Lanes = __m512;
    // 8 rows x 3 registers of sums, 3 registers of weights and 1 broadcast: 28 of 32 registers.
    const TILE_ROWS: usize = 8;
    const TILE_PANELS: usize = 3;

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { enter(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the load asks for no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the store asks for no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), lanes) }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { add_exponent(a, exponent) }
    }
}

/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_exponent(a: __m512, exponent: __m512) -> __m512 {
    let shifted = _mm512_slli_epi32::<23>(_mm512_castps_si512(exponent));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), shifted))
}
