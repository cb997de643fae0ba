//! AVX2 with FMA: 16 lanes are two registers. This file only maps operations to instructions.

use std::arch::x86_64::*;

use crate::integer::lanes::{IntegerLanes, Packing, QUAD_OFFSET};
use crate::simd::{Kernel, LANES, MIN_BF16, Simd, UPPER_HALF};

/// Proof that the CPU has AVX2 and FMA, and with `VNNI` AVX-VNNI, which then multiplies integers. Only detection
/// makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2<const VNNI: bool = false>(());

/// AVX2 with AVX-VNNI.
pub(crate) type AvxVnni = Avx2<true>;

impl Avx2 {
    /// The proof, if the CPU has both.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

impl AvxVnni {
    /// The proof, if the CPU has all three.
    pub(crate) fn detect_vnni() -> Option<Self> {
        Avx2::detect().filter(|_| is_x86_feature_detected!("avxvnni")).map(|_| Avx2(()))
    }
}

/// Compiles a kernel, and the functions that are inlined into it, for AVX2 and FMA.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn enter<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Compiles a kernel, and the functions that are inlined into it, for AVX2, FMA and AVX-VNNI.
///
/// # Safety
/// The CPU must have AVX2, FMA and AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn enter_vnni<K: Kernel>(simd: AvxVnni, kernel: K) -> K::Output {
    kernel.run(simd)
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type Lanes = (__m256, __m256);
    // 6 rows × 2 registers of sums, 2 registers of weights and 1 broadcast: 15 of 16 registers.
    const MICRO_TILE_ROWS: usize = 6;
    const MICRO_TILE_PANELS: usize = 1;
    const EMULATED_ROWS: usize = 2;

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        if VNNI {
            // SAFETY: `self` proves that the CPU has AVX2 and FMA, and with `VNNI` AVX-VNNI.
            unsafe { enter_vnni(Avx2::<true>(()), kernel) }
        } else {
            // SAFETY: `self` proves that the CPU has AVX2 and FMA.
            unsafe { enter(Avx2::<false>(()), kernel) }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and both halves
        // of the array are read in bounds; the load needs no alignment.
        unsafe { (_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and both halves
        // of the array are written in bounds; the store needs no alignment.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), lanes.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), lanes.1);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_fnmadd_ps(a.0, b.0, c.0), _mm256_fnmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (add_exponent(a.0, exponent.0), add_exponent(a.1, exponent.1)) }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], columns: &mut [[f32; LANES]; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { transpose(rows, columns) }
    }

    #[inline(always)]
    fn reduce_sum(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { reduce_sum_8(_mm256_add_ps(lanes.0, lanes.1)) }
    }

    #[inline(always)]
    fn reduce_max(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { reduce_max_8(_mm256_max_ps(lanes.0, lanes.1)) }
    }

    #[inline(always)]
    fn prefetch(self, line: &[f32]) {
        // SAFETY: every x86-64 CPU has SSE, and a prefetch has no effect that a program can observe.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn round_to_bf16(self, a: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (round_to_bf16(a.0), round_to_bf16(a.1)) }
    }

    #[inline(always)]
    fn store_upper_halves(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and the array is
        // as long as the register; the store needs no alignment.
        unsafe {
            let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(a.0));
            let high = _mm256_srli_epi32::<16>(_mm256_castps_si256(a.1));
            // Packing works on 128-bit halves, so the quarters come out in the order 0, 2, 1, 3.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Self::Lanes, Self::Lanes) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and both halves
        // of the array are read in bounds; the load needs no alignment.
        unsafe {
            let low = _mm256_loadu_si256(from.as_ptr().cast());
            let high = _mm256_loadu_si256(from.as_ptr().add(LANES).cast());
            let upper = _mm256_set1_epi32(UPPER_HALF as i32);
            let first = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
            let second = (_mm256_and_si256(low, upper), _mm256_and_si256(high, upper));
            (
                (_mm256_castsi256_ps(first.0), _mm256_castsi256_ps(first.1)),
                (_mm256_castsi256_ps(second.0), _mm256_castsi256_ps(second.1)),
            )
        }
    }
}

impl<const VNNI: bool> IntegerLanes for Avx2<VNNI> {
    type Integers = (__m256i, __m256i);
    const HAS_QUADS: bool = VNNI;
    const QUADS: Packing = Packing::OffsetQuads;
    const INTEGER_PANELS: usize = 1;
    // 3 rows × 2 registers of sums, twice, 2 registers of weights, 1 broadcast and 1 product: 16 registers.
    const SCALED_ROWS: usize = 3;

    #[inline(always)]
    fn splat_word(self, word: i32) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_set1_epi32(word), _mm256_set1_epi32(word)) }
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; LANES]) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and both halves
        // of the array are read in bounds; the load needs no alignment.
        unsafe {
            let from = from.as_ptr();
            (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast()))
        }
    }

    #[inline(always)]
    fn add_pairs(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers {
        if VNNI {
            // SAFETY: `self` proves that the CPU has AVX2 and, with `VNNI`, AVX-VNNI.
            unsafe {
                (
                    _mm256_dpwssd_avx_epi32(sums.0, left.0, right.0),
                    _mm256_dpwssd_avx_epi32(sums.1, left.1, right.1),
                )
            }
        } else {
            // SAFETY: `self` proves that the CPU has AVX2 and FMA.
            unsafe {
                (
                    _mm256_add_epi32(sums.0, _mm256_madd_epi16(left.0, right.0)),
                    _mm256_add_epi32(sums.1, _mm256_madd_epi16(left.1, right.1)),
                )
            }
        }
    }

    #[inline(always)]
    fn add_quads(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers {
        if VNNI {
            // SAFETY: `self` proves that the CPU has AVX2 and, with `VNNI`, AVX-VNNI.
            unsafe {
                (
                    _mm256_dpbusd_avx_epi32(sums.0, left.0, right.0),
                    _mm256_dpbusd_avx_epi32(sums.1, left.1, right.1),
                )
            }
        } else {
            // SAFETY: `self` proves that the CPU has AVX2 and FMA.
            unsafe { (add_quads(sums.0, left.0, right.0), add_quads(sums.1, left.1, right.1)) }
        }
    }

    #[inline(always)]
    fn max_magnitude(self, most: Self::Integers, lanes: Self::Lanes) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe {
            let magnitude = _mm256_set1_epi32(i32::MAX);
            let (low, high) = (_mm256_castps_si256(lanes.0), _mm256_castps_si256(lanes.1));
            (
                _mm256_max_epi32(most.0, _mm256_and_si256(low, magnitude)),
                _mm256_max_epi32(most.1, _mm256_and_si256(high, magnitude)),
            )
        }
    }

    #[inline(always)]
    fn reduce_max_integers(self, integers: Self::Integers) -> i32 {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { reduce_max_integers_8(_mm256_max_epi32(integers.0, integers.1)) }
    }

    #[inline(always)]
    fn to_f32(self, integers: Self::Integers) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA.
        unsafe { (_mm256_cvtepi32_ps(integers.0), _mm256_cvtepi32_ps(integers.1)) }
    }

    #[inline(always)]
    fn store_pairs(self, lanes: Self::Lanes, to: &mut [i32; LANES / 2]) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and the array is
        // as long as the register; the store needs no alignment.
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(lanes.0), _mm256_cvtps_epi32(lanes.1));
            // Packing works on 128-bit halves, so the quarters come out in the order 0, 2, 1, 3.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), packed);
        }
    }

    #[inline(always)]
    fn store_quads(self, lanes: Self::Lanes, to: &mut [i32; LANES / 4]) {
        // SAFETY: `self` proves that the CPU has AVX2 and FMA, and the array has
        // the 16 bytes that the store writes; it needs no alignment.
        unsafe {
            let offset = _mm256_set1_epi32(QUAD_OFFSET);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(lanes.0), offset);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(lanes.1), offset);
            // Packing works on 128-bit halves, so the quarters come out in the order 0, 2, 1, 3.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let (low, high) =
                (_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        }
    }
}

/// Transposes four blocks of 8 × 8: blocks of 4 × 4 within the halves of the registers, then the halves.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose(rows: [&[f32; LANES]; LANES], columns: &mut [[f32; LANES]; LANES]) {
    for (top, left) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        // `halves[g][c]`: in half h, component 4h + c of the rows 4g to 4g + 3.
        let mut halves = [[_mm256_setzero_ps(); 4]; 2];
        for (g, halves) in halves.iter_mut().enumerate() {
            // SAFETY: `left` is at most 8, so the 8 values from there are among the 16 of a row.
            let row =
                |r: usize| unsafe { _mm256_loadu_ps(rows[top + 4 * g + r].as_ptr().add(left)) };
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let low = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
            let high = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
            for (half, (x, y)) in [low, high].into_iter().enumerate() {
                let (x, y) = (_mm256_castps_pd(x), _mm256_castps_pd(y));
                halves[2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y));
                halves[2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
            }
        }
        let [h0, h1] = halves;
        for c in 0..4 {
            let near = _mm256_permute2f128_ps::<0x20>(h0[c], h1[c]);
            let far = _mm256_permute2f128_ps::<0x31>(h0[c], h1[c]);
            // SAFETY: `top` is at most 8, so the 8 values from there are among the 16 of a column.
            unsafe {
                _mm256_storeu_ps(columns[left + c].as_mut_ptr().add(top), near);
                _mm256_storeu_ps(columns[left + 4 + c].as_mut_ptr().add(top), far);
            }
        }
    }
}

/// The tree of [`Simd::reduce_sum`] from 8 lanes on, which AVX-512 shares.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn reduce_sum_8(eight: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The tree of [`Simd::reduce_max`] from 8 lanes on, which AVX-512 shares.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn reduce_max_8(eight: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// The greatest of 8 integers.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn reduce_max_integers_8(eight: __m256i) -> i32 {
    let four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
    let two = _mm_max_epi32(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
    _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32::<0b01>(two)))
}

/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn round_to_bf16(a: __m256) -> __m256 {
    let bits = _mm256_castps_si256(a);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
    let rounded = _mm256_castsi256_ps(rounded);
    let rounded = _mm256_blendv_ps(rounded, _mm256_castsi256_ps(quiet), is_nan);
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
    // "Not less than" keeps a NaN.
    let kept = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(MIN_BF16));
    let upper = _mm256_castsi256_ps(_mm256_set1_epi32(UPPER_HALF as i32));
    _mm256_and_ps(_mm256_and_ps(rounded, upper), kept)
}

/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_exponent(a: __m256, exponent: __m256) -> __m256 {
    let shifted = _mm256_slli_epi32::<23>(_mm256_castps_si256(exponent));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shifted))
}

/// `VPDPBUSD` without an instruction of its own: the even and the odd bytes as pairs.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_quads(sums: __m256i, left: __m256i, right: __m256i) -> __m256i {
    let left_even = _mm256_and_si256(left, _mm256_set1_epi16(0xff));
    let left_odd = _mm256_srli_epi16::<8>(left);
    let right_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(right));
    let right_odd = _mm256_srai_epi16::<8>(right);
    let even = _mm256_madd_epi16(left_even, right_even);
    let odd = _mm256_madd_epi16(left_odd, right_odd);
    _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
}
