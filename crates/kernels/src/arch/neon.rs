//! NEON of ARM's 64-bit CPUs: 16 lanes are four registers. This file only maps operations to instructions.

#[cfg(target_endian = "big")]
compile_error!("integers are packed for little-endian words");

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use crate::integer::lanes::{IntegerLanes, Packing};
use crate::simd::{Kernel, LANES, MIN_BF16, Simd, UPPER_HALF};

/// Proof that the CPU has NEON, and with `DOT` its dot products of bytes (FEAT_DotProd). Only detection makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neon<const DOT: bool = false>(());

/// NEON with dot products of bytes.
pub(crate) type NeonDot = Neon<true>;

impl Neon {
    /// The proof, if the CPU has NEON.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl NeonDot {
    /// The proof, if the CPU has both.
    pub(crate) fn detect_dot() -> Option<Self> {
        Neon::detect().filter(|_| is_aarch64_feature_detected!("dotprod")).map(|_| Neon(()))
    }
}

/// Compiles a kernel, and the functions that are inlined into it, for NEON.
///
/// # Safety
/// The CPU must have NEON.
#[target_feature(enable = "neon")]
unsafe fn enter<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Compiles a kernel, and the functions that are inlined into it, for NEON and its dot products.
///
/// # Safety
/// The CPU must have both.
#[target_feature(enable = "neon,dotprod")]
unsafe fn enter_dot<K: Kernel>(simd: NeonDot, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// An instruction on each of the four registers of its operands.
macro_rules! each {
    ($instruction:ident $(::<$constant:literal>)? ($($operand:expr),+)) => {
        [
            $instruction$(::<$constant>)?($($operand[0]),+),
            $instruction$(::<$constant>)?($($operand[1]),+),
            $instruction$(::<$constant>)?($($operand[2]),+),
            $instruction$(::<$constant>)?($($operand[3]),+),
        ]
    };
}

/// Four registers from memory, each so many values after the one before.
macro_rules! load_each {
    ($load:ident($from:expr), $values:literal) => {
        [
            $load($from),
            $load($from.add($values)),
            $load($from.add(2 * $values)),
            $load($from.add(3 * $values)),
        ]
    };
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type Lanes = [float32x4_t; 4];
    // 6 rows × 4 registers of sums, 4 registers of weights and 1 broadcast: 29 of 32 registers.
    const MICRO_TILE_ROWS: usize = 6;
    const MICRO_TILE_PANELS: usize = 1;
    const EMULATED_ROWS: usize = 2;

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        if DOT {
            // SAFETY: `self` proves that the CPU has NEON, and with `DOT` its dot products.
            unsafe { enter_dot(Neon::<true>(()), kernel) }
        } else {
            // SAFETY: `self` proves that the CPU has NEON.
            unsafe { enter(Neon::<false>(()), kernel) }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Lanes {
        let from = from.as_ptr();
        // SAFETY: `self` proves that the CPU has NEON, and each quarter of the
        // array is read in bounds; the load needs no alignment beyond that of f32.
        unsafe { load_each!(vld1q_f32(from), 4) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, to: &mut [f32; LANES]) {
        for (lanes, to) in lanes.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: `self` proves that the CPU has NEON, and the four values
            // are as long as the register; the store needs no alignment beyond that of f32.
            unsafe { vst1q_f32(to.as_mut_ptr(), lanes) }
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vaddq_f32(a, b)) }
    }

    #[inline(always)]
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vsubq_f32(a, b)) }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vmulq_f32(a, b)) }
    }

    #[inline(always)]
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vdivq_f32(a, b)) }
    }

    #[inline(always)]
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // `FMAX` gives NaN if either value is NaN; the trait wants `b`, as `vmaxps` gives.
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vbslq_f32(each!(vcgtq_f32(a, b)), a, b)) }
    }

    #[inline(always)]
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // As in `max`.
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vbslq_f32(each!(vcltq_f32(a, b)), a, b)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vfmaq_f32(c, a, b)) }
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vfmsq_f32(c, a, b)) }
    }

    #[inline(always)]
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe {
            let exponent = each!(vshlq_n_s32::<23>(each!(vreinterpretq_s32_f32(exponent))));
            let sums = each!(vaddq_s32(each!(vreinterpretq_s32_f32(a)), exponent));
            each!(vreinterpretq_f32_s32(sums))
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], columns: &mut [[f32; LANES]; LANES]) {
        // Blocks of 4 × 4: pairs of values, then pairs of pairs.
        for top in (0..LANES).step_by(4) {
            // SAFETY: `self` proves that the CPU has NEON.
            let [a, b, c, d] = unsafe {
                [0, 1, 2, 3].map(|r| each!(vreinterpretq_f64_f32(self.load(rows[top + r]))))
            };
            for block in 0..4 {
                // SAFETY: `self` proves that the CPU has NEON.
                let transposed = unsafe {
                    let [a, b, c, d] =
                        [a[block], b[block], c[block], d[block]].map(|r| vreinterpretq_f32_f64(r));
                    let even =
                        [vtrn1q_f32(a, b), vtrn1q_f32(c, d)].map(|r| vreinterpretq_f64_f32(r));
                    let odd =
                        [vtrn2q_f32(a, b), vtrn2q_f32(c, d)].map(|r| vreinterpretq_f64_f32(r));
                    [
                        vtrn1q_f64(even[0], even[1]),
                        vtrn1q_f64(odd[0], odd[1]),
                        vtrn2q_f64(even[0], even[1]),
                        vtrn2q_f64(odd[0], odd[1]),
                    ]
                };
                for (column, values) in columns[4 * block..].iter_mut().zip(transposed) {
                    // SAFETY: `self` proves that the CPU has NEON, and `top` is
                    // at most 12, so the 4 values from there are among the 16 of a column.
                    unsafe {
                        vst1q_f32(column.as_mut_ptr().add(top), vreinterpretq_f32_f64(values))
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn reduce_sum(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe {
            let four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }

    #[inline(always)]
    fn reduce_max(self, lanes: Self::Lanes) -> f32 {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe {
            // Of a number and NaN these take the number.
            let four =
                vmaxnmq_f32(vmaxnmq_f32(lanes[0], lanes[2]), vmaxnmq_f32(lanes[1], lanes[3]));
            vmaxnmvq_f32(four)
        }
    }

    #[inline(always)]
    fn prefetch(self, line: &[f32]) {
        // SAFETY: every CPU of this architecture has the instruction, and a prefetch has no effect that a program can
        // observe.
        unsafe {
            asm!("prfm pldl1keep, [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    fn round_to_bf16(self, a: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(round_to_bf16(a)) }
    }

    #[inline(always)]
    fn store_upper_halves(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        for (lanes, to) in a.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: `self` proves that the CPU has NEON, and the four values
            // are as long as half a register; the store needs no alignment beyond that of u16.
            unsafe { vst1_u16(to.as_mut_ptr(), vshrn_n_u32::<16>(vreinterpretq_u32_f32(lanes))) }
        }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Self::Lanes, Self::Lanes) {
        let from = from.as_ptr();
        // SAFETY: `self` proves that the CPU has NEON, and each quarter of the
        // array is read in bounds; the load needs no alignment beyond that of u16.
        unsafe {
            let pairs = load_each!(vld1q_u16(from), 8);
            let pairs = each!(vreinterpretq_u32_u16(pairs));
            let upper = [vdupq_n_u32(UPPER_HALF); 4];
            let (first, second) = (each!(vshlq_n_u32::<16>(pairs)), each!(vandq_u32(pairs, upper)));
            (each!(vreinterpretq_f32_u32(first)), each!(vreinterpretq_f32_u32(second)))
        }
    }
}

impl<const DOT: bool> IntegerLanes for Neon<DOT> {
    type Integers = [int32x4_t; 4];
    const HAS_QUADS: bool = DOT;
    const QUADS: Packing = Packing::SignedQuads;
    const INTEGER_PANELS: usize = 1;
    // 3 rows × 4 registers of sums, twice, 4 registers of weights and 1 broadcast: 29 of 32 registers.
    const SCALED_ROWS: usize = 3;

    #[inline(always)]
    fn splat_word(self, word: i32) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { [vdupq_n_s32(word); 4] }
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; LANES]) -> Self::Integers {
        let from = from.as_ptr();
        // SAFETY: `self` proves that the CPU has NEON, and each quarter of the
        // array is read in bounds; the load needs no alignment beyond that of i32.
        unsafe { load_each!(vld1q_s32(from), 4) }
    }

    #[inline(always)]
    fn add_pairs(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe {
            let right = each!(vreinterpretq_s16_s32(right));
            let left = vreinterpretq_s16_s32(left[0]);
            // The first values of all pairs, then the second ones. Rows share them: the compiler makes them once.
            let first = [vuzp1q_s16(right[0], right[1]), vuzp1q_s16(right[2], right[3])];
            let second = [vuzp2q_s16(right[0], right[1]), vuzp2q_s16(right[2], right[3])];
            let [mut a, mut b, mut c, mut d] = sums;
            a = vmlal_laneq_s16::<0>(a, vget_low_s16(first[0]), left);
            b = vmlal_high_laneq_s16::<0>(b, first[0], left);
            c = vmlal_laneq_s16::<0>(c, vget_low_s16(first[1]), left);
            d = vmlal_high_laneq_s16::<0>(d, first[1], left);
            a = vmlal_laneq_s16::<1>(a, vget_low_s16(second[0]), left);
            b = vmlal_high_laneq_s16::<1>(b, second[0], left);
            c = vmlal_laneq_s16::<1>(c, vget_low_s16(second[1]), left);
            d = vmlal_high_laneq_s16::<1>(d, second[1], left);
            [a, b, c, d]
        }
    }

    #[inline(always)]
    fn add_quads(
        self,
        sums: Self::Integers,
        left: Self::Integers,
        right: Self::Integers,
    ) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has NEON, and with `DOT` its dot products.
        unsafe {
            if DOT {
                each!(dot_product(sums, left, right))
            } else {
                each!(widened_product(sums, left, right))
            }
        }
    }

    #[inline(always)]
    fn max_magnitude(self, most: Self::Integers, lanes: Self::Lanes) -> Self::Integers {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe {
            let magnitude = [vdupq_n_s32(i32::MAX); 4];
            let bits = each!(vandq_s32(each!(vreinterpretq_s32_f32(lanes)), magnitude));
            each!(vmaxq_s32(most, bits))
        }
    }

    #[inline(always)]
    fn reduce_max_integers(self, integers: Self::Integers) -> i32 {
        let [a, b, c, d] = integers;
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { vmaxvq_s32(vmaxq_s32(vmaxq_s32(a, b), vmaxq_s32(c, d))) }
    }

    #[inline(always)]
    fn to_f32(self, integers: Self::Integers) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has NEON.
        unsafe { each!(vcvtq_f32_s32(integers)) }
    }

    #[inline(always)]
    fn store_pairs(self, lanes: Self::Lanes, to: &mut [i32; LANES / 2]) {
        let to = to.as_mut_ptr().cast::<i16>();
        // SAFETY: `self` proves that the CPU has NEON, and both halves of the
        // array are written in bounds; the store needs no alignment beyond that of i16.
        unsafe {
            let [low, high] = narrow(each!(vcvtnq_s32_f32(lanes)));
            vst1q_s16(to, low);
            vst1q_s16(to.add(8), high);
        }
    }

    #[inline(always)]
    fn store_quads(self, lanes: Self::Lanes, to: &mut [i32; LANES / 4]) {
        // SAFETY: `self` proves that the CPU has NEON, and the array has the
        // 16 bytes that the store writes; it needs no alignment.
        unsafe {
            let [low, high] = narrow(each!(vcvtnq_s32_f32(lanes)));
            vst1q_s8(to.as_mut_ptr().cast(), vqmovn_high_s16(vqmovn_s16(low), high));
        }
    }
}

/// The 16 integers as 16 bits each. Their magnitudes are below 2¹⁵.
///
/// # Safety
/// The CPU must have NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn narrow([a, b, c, d]: [int32x4_t; 4]) -> [int16x8_t; 2] {
    [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)]
}

/// See [`Simd::round_to_bf16`]: the nearest by adding to the bits below the upper half.
///
/// # Safety
/// The CPU must have NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn round_to_bf16(a: float32x4_t) -> float32x4_t {
    let bits = vreinterpretq_u32_f32(a);
    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    let nearest = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    // A value is equal to itself unless it is NaN.
    let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
    let nearest = vbslq_u32(vceqq_f32(a, a), nearest, quiet);
    let is_tiny = vcltq_f32(vabsq_f32(a), vdupq_n_f32(MIN_BF16));
    let kept = vbicq_u32(vandq_u32(nearest, vdupq_n_u32(UPPER_HALF)), is_tiny);
    vreinterpretq_f32_u32(kept)
}

/// Adds to each sum the four products of its bytes.
///
/// # Safety
/// The CPU must have NEON and its dot products.
#[inline(always)]
unsafe fn dot_product(mut sums: int32x4_t, left: int32x4_t, right: int32x4_t) -> int32x4_t {
    // The standard library has no stable name for the instruction yet.
    // SAFETY: the caller's CPU has the instruction, which reads and writes registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {left:v}.16b, {right:v}.16b",
            sums = inout(vreg) sums,
            left = in(vreg) left,
            right = in(vreg) right,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to each sum the four products of its bytes, which 16 bits hold.
///
/// # Safety
/// The CPU must have NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn widened_product(sums: int32x4_t, left: int32x4_t, right: int32x4_t) -> int32x4_t {
    let (left, right) = (vreinterpretq_s8_s32(left), vreinterpretq_s8_s32(right));
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(left), vget_low_s8(right)));
    let high = vpaddlq_s16(vmull_high_s8(left, right));
    vaddq_s32(sums, vpaddq_s32(low, high))
}
