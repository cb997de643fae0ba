//! AVX-512: 16 lanes are one register. This file only maps operations to instructions.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::arch::avx2;
use crate::integer::lanes::{IntegerLanes, Packing, QUAD_OFFSET};
use crate::simd::{Kernel, LANES, MIN_BF16, Simd, TILE_LEN, UPPER_HALF};

/// Proof that the CPU has AVX-512F and the extension `E`. Only detection makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512<E = Foundation>(PhantomData<E>);

/// What a CPU may have beside AVX-512F.
pub(crate) trait Extension: Copy {
    /// Whether an instruction rounds to bf16.
    const ROUNDS_TO_BF16: bool;

    /// Whether the CPU has AVX-512F and the extension.
    fn is_detected() -> bool;

    /// Compiles a kernel, and the functions that are inlined into it, for AVX-512F and the extension.
    ///
    /// # Safety
    /// The CPU must have both.
    unsafe fn enter<K: Kernel>(simd: Avx512<Self>, kernel: K) -> K::Output;
}

/// Nothing beside AVX-512F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foundation;

/// AVX512-BF16: rounding to bf16, and dot products of pairs of bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bf16;

/// AVX512-BW: instructions over integers of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bw;

/// AVX512-VNNI: dot products of pairs of 16 bits and of quads of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vnni;

/// AVX-512 with AVX512-BF16.
pub(crate) type Avx512Bf16 = Avx512<Bf16>;

impl<E: Extension> Avx512<E> {
    /// The proof, if the CPU has AVX-512F and the extension.
    pub(crate) fn detect() -> Option<Self> {
        E::is_detected().then_some(Avx512(PhantomData))
    }
}

macro_rules! extension {
    ($name:ty, $features:literal, detected by [$($feature:tt)+], rounds to bf16: $rounds:literal) => {
        impl Extension for $name {
            const ROUNDS_TO_BF16: bool = $rounds;

            fn is_detected() -> bool {
                $(is_x86_feature_detected!($feature))&&+
            }

            #[target_feature(enable = $features)]
            unsafe fn enter<K: Kernel>(simd: Avx512<Self>, kernel: K) -> K::Output {
                kernel.run(simd)
            }
        }
    };
}

extension!(Foundation, "avx512f", detected by ["avx512f"], rounds to bf16: false);
extension!(Bf16, "avx512f,avx512bf16", detected by ["avx512f" "avx512bf16"], rounds to bf16: true);
extension!(Bw, "avx512f,avx512bw", detected by ["avx512f" "avx512bw"], rounds to bf16: false);
extension!(Vnni, "avx512f,avx512vnni", detected by ["avx512f" "avx512vnni"], rounds to bf16: false);

impl<E: Extension> Simd for Avx512<E> {
    type Lanes = __m512;
    // 8 rows × 3 registers of sums, 3 registers of weights and 1 broadcast: 28 of 32 registers.
    const MICRO_TILE_ROWS: usize = 8;
    const MICRO_TILE_PANELS: usize = 3;
    const EMULATED_ROWS: usize = 8;

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves that the CPU has AVX-512F and the extension.
        unsafe { E::enter(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the store needs no alignment.
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
    fn select_first(self, count: usize, a: Self::Lanes, rest: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_mask_mov_ps(rest, (1_u32 << count.min(LANES)).wrapping_sub(1) as u16, a) }
    }

    #[inline(always)]
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { add_exponent(a, exponent) }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], columns: &mut [[f32; LANES]; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { transpose(self, rows, columns) }
    }

    #[inline(always)]
    fn reduce_sum(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { reduce_sum(lanes) }
    }

    #[inline(always)]
    fn reduce_max(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { reduce_max(lanes) }
    }

    #[inline(always)]
    fn prefetch(self, line: &[f32]) {
        // SAFETY: every x86-64 CPU has SSE, and a prefetch has no effect that a program can observe.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn round_to_bf16(self, a: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { round_to_bf16(a) }
    }

    #[inline(always)]
    fn store_upper_halves(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array has the 32 bytes that the store
        // writes; it needs no alignment.
        unsafe {
            let upper = _mm512_srli_epi32::<16>(_mm512_castps_si512(a));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(upper));
        }
    }

    #[inline(always)]
    fn store_bf16(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        if E::ROUNDS_TO_BF16 {
            // SAFETY: only the extension AVX512-BF16 says so, and `self` proves that the CPU has it.
            unsafe { store_rounded_bf16(a, to) }
        } else {
            self.store_upper_halves(self.round_to_bf16(a), to);
        }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Self::Lanes, Self::Lanes) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the load needs no alignment.
        unsafe {
            let pairs = _mm512_loadu_si512(from.as_ptr().cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(UPPER_HALF as i32));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second))
        }
    }

    #[inline(always)]
    fn interleave(self, first: &[u16; LANES], second: &[u16; LANES], to: &mut [u16; 2 * LANES]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the arrays have the 32 bytes that each load
        // reads and the 64 that the store writes; neither needs alignment.
        unsafe {
            let first = _mm512_cvtepu16_epi32(_mm256_loadu_si256(first.as_ptr().cast()));
            let second = _mm512_cvtepu16_epi32(_mm256_loadu_si256(second.as_ptr().cast()));
            let pairs = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
            _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
        }
    }

    #[inline(always)]
    fn transpose_pairs(self, from: &[u16; TILE_LEN], to: &mut [u16; TILE_LEN]) {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { transpose_pairs(from, to) }
    }
}

/// An extension that multiplies integers.
pub(crate) trait IntegerExtension: Extension {
    /// Whether an instruction multiplies quads.
    const HAS_QUADS: bool;

    /// # Safety
    /// The CPU must have AVX-512F and the extension.
    unsafe fn add_pairs(sums: __m512i, left: __m512i, right: __m512i) -> __m512i;

    /// # Safety
    /// The CPU must have AVX-512F and the extension.
    unsafe fn add_quads(sums: __m512i, left: __m512i, right: __m512i) -> __m512i;
}

impl IntegerExtension for Bw {
    const HAS_QUADS: bool = false;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn add_pairs(sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        _mm512_add_epi32(sums, _mm512_madd_epi16(left, right))
    }

    /// `VPDPBUSD` without an instruction of its own: the even and the odd bytes as pairs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn add_quads(sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        let left_even = _mm512_and_si512(left, _mm512_set1_epi16(0xff));
        let left_odd = _mm512_srli_epi16::<8>(left);
        let right_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(right));
        let right_odd = _mm512_srai_epi16::<8>(right);
        let even = _mm512_madd_epi16(left_even, right_even);
        let odd = _mm512_madd_epi16(left_odd, right_odd);
        _mm512_add_epi32(sums, _mm512_add_epi32(even, odd))
    }
}

impl IntegerExtension for Vnni {
    const HAS_QUADS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn add_pairs(sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        _mm512_dpwssd_epi32(sums, left, right)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn add_quads(sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sums, left, right)
    }
}

impl<E: IntegerExtension> IntegerLanes for Avx512<E> {
    type Integers = __m512i;
    const HAS_QUADS: bool = E::HAS_QUADS;
    const QUADS: Packing = Packing::OffsetQuads;
    // 8 rows × 2 registers of sums, 2 registers of weights and 1 broadcast. 24 KiB of weights stay in L1.
    const INTEGER_PANELS: usize = 2;
    // 6 rows × 2 registers of sums, twice, 2 registers of weights and 1 broadcast: 27 of 32 registers.
    const SCALED_ROWS: usize = 6;

    #[inline(always)]
    fn splat_word(self, word: i32) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_set1_epi32(word) }
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; LANES]) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array is
        // as long as the register; the load needs no alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add_pairs(self, sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F and the extension.
        unsafe { E::add_pairs(sums, left, right) }
    }

    #[inline(always)]
    fn add_quads(self, sums: __m512i, left: __m512i, right: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F and the extension.
        unsafe { E::add_quads(sums, left, right) }
    }

    #[inline(always)]
    fn max_magnitude(self, most: __m512i, lanes: Self::Lanes) -> __m512i {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe {
            let bits = _mm512_and_si512(_mm512_castps_si512(lanes), _mm512_set1_epi32(i32::MAX));
            _mm512_max_epi32(most, bits)
        }
    }

    #[inline(always)]
    fn reduce_max_integers(self, integers: __m512i) -> i32 {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_reduce_max_epi32(integers) }
    }

    #[inline(always)]
    fn to_f32(self, integers: __m512i) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has AVX-512F.
        unsafe { _mm512_cvtepi32_ps(integers) }
    }

    #[inline(always)]
    fn store_pairs(self, lanes: Self::Lanes, to: &mut [i32; LANES / 2]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array has the 32 bytes that the store
        // writes; it needs no alignment.
        unsafe {
            let pairs = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(lanes));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), pairs);
        }
    }

    #[inline(always)]
    fn store_quads(self, lanes: Self::Lanes, to: &mut [i32; LANES / 4]) {
        // SAFETY: `self` proves that the CPU has AVX-512F, and the array has the 16 bytes that the store
        // writes; it needs no alignment.
        unsafe {
            let offset = _mm512_set1_epi32(QUAD_OFFSET);
            let integers = _mm512_add_epi32(_mm512_cvtps_epi32(lanes), offset);
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(integers));
        }
    }
}

/// Transposes blocks of 4 × 4 within the quarters of the registers, then the quarters.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose(
    simd: impl Simd<Lanes = __m512>,
    rows: [&[f32; LANES]; LANES],
    columns: &mut [[f32; LANES]; LANES],
) {
    // `quarters[g][c]`: in quarter q, component 4q + c of the rows 4g to 4g + 3.
    let mut quarters = [[simd.splat(0.0); 4]; 4];
    for (g, quarters) in quarters.iter_mut().enumerate() {
        let row = |r: usize| simd.load(rows[4 * g + r]);
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let low = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let high = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        for (half, (x, y)) in [low, high].into_iter().enumerate() {
            let (x, y) = (_mm512_castps_pd(x), _mm512_castps_pd(y));
            quarters[2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            quarters[2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    }
    let [q0, q1, q2, q3] = quarters;
    for c in 0..4 {
        let even = (
            _mm512_shuffle_f32x4::<0x88>(q0[c], q1[c]),
            _mm512_shuffle_f32x4::<0x88>(q2[c], q3[c]),
        );
        let odd = (
            _mm512_shuffle_f32x4::<0xdd>(q0[c], q1[c]),
            _mm512_shuffle_f32x4::<0xdd>(q2[c], q3[c]),
        );
        simd.store(_mm512_shuffle_f32x4::<0x88>(even.0, even.1), &mut columns[c]);
        simd.store(_mm512_shuffle_f32x4::<0x88>(odd.0, odd.1), &mut columns[4 + c]);
        simd.store(_mm512_shuffle_f32x4::<0xdd>(even.0, even.1), &mut columns[8 + c]);
        simd.store(_mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1), &mut columns[12 + c]);
    }
}

/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn reduce_sum(lanes: __m512) -> f32 {
    let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), upper);
    // SAFETY: AVX-512F includes AVX2 and FMA.
    unsafe { avx2::reduce_sum_8(eight) }
}

/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn reduce_max(lanes: __m512) -> f32 {
    let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    let eight = _mm256_max_ps(_mm512_castps512_ps256(lanes), upper);
    // SAFETY: AVX-512F includes AVX2 and FMA.
    unsafe { avx2::reduce_max_8(eight) }
}

/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn round_to_bf16(a: __m512) -> __m512 {
    let bits = _mm512_castps_si512(a);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
    let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
    let rounded = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
    // "Not less than" keeps a NaN.
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(a), _mm512_set1_ps(MIN_BF16));
    _mm512_castsi512_ps(_mm512_maskz_and_epi32(kept, rounded, _mm512_set1_epi32(UPPER_HALF as i32)))
}

/// Four steps of 16 shuffles; each step doubles the side of the blocks that are transposed.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_pairs(from: &[u16; TILE_LEN], to: &mut [u16; TILE_LEN]) {
    let (from, to) = (from.as_chunks::<{ 2 * LANES }>().0, to.as_chunks_mut::<{ 2 * LANES }>().0);
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, from) in rows.iter_mut().zip(from) {
        // SAFETY: the array is as long as the register; the load needs no alignment.
        *row = unsafe { _mm512_loadu_si512(from.as_ptr().cast()) };
    }
    let mut twos = rows;
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = rows;
    for i in 0..4 {
        for j in 0..2 {
            let (a, b) = (twos[4 * i + j], twos[4 * i + j + 2]);
            fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(a, b);
            fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
        }
    }
    // 128-bit part l of `fours[4 i + j]` holds column 4 l + j of the rows 4 i to 4 i + 3.
    for j in 0..4 {
        let even_top = _mm512_shuffle_i32x4::<0x88>(fours[j], fours[4 + j]);
        let even_bottom = _mm512_shuffle_i32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let odd_top = _mm512_shuffle_i32x4::<0xdd>(fours[j], fours[4 + j]);
        let odd_bottom = _mm512_shuffle_i32x4::<0xdd>(fours[8 + j], fours[12 + j]);
        for (column, lanes) in [
            (j, _mm512_shuffle_i32x4::<0x88>(even_top, even_bottom)),
            (4 + j, _mm512_shuffle_i32x4::<0x88>(odd_top, odd_bottom)),
            (8 + j, _mm512_shuffle_i32x4::<0xdd>(even_top, even_bottom)),
            (12 + j, _mm512_shuffle_i32x4::<0xdd>(odd_top, odd_bottom)),
        ] {
            // SAFETY: the array is as long as the register; the store needs no alignment.
            unsafe { _mm512_storeu_si512(to[column].as_mut_ptr().cast(), lanes) };
        }
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

/// Rounds as [`Simd::round_to_bf16`] does, and stores. `VCVTNEPS2BF16` differs only below [`MIN_BF16`].
///
/// # Safety
/// The CPU must have AVX-512F and AVX512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn store_rounded_bf16(a: __m512, to: &mut [u16; LANES]) {
    // "Not less than" keeps a NaN.
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(a), _mm512_set1_ps(MIN_BF16));
    let rounded = _mm512_maskz_cvtneps_pbh(kept, a);
    // SAFETY: the array has the 32 bytes that the store writes, every bit pattern of which is a valid
    // value; it needs no alignment.
    unsafe { to.as_mut_ptr().cast::<__m256bh>().write_unaligned(rounded) }
}
