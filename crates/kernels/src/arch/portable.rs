//! Any CPU: an array of 16 f32 and the standard library, with the same bits as the other instruction
//! sets. It is slow on a target without fused multiply-add, where std calls a function for each.

use crate::integer::lanes::{IntegerLanes, Packing, pair_of, pair_word, quad_of, quad_word};
use crate::simd::{Kernel, LANES, MIN_BF16, Simd, UPPER_HALF};

/// The instruction set of every CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portable;

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Array([f32; LANES]);

impl Simd for Portable {
    type Lanes = Array;
    const MICRO_TILE_ROWS: usize = 4;
    const MICRO_TILE_PANELS: usize = 1;
    const EMULATED_ROWS: usize = 2;

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Array {
        Array([value; LANES])
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Array {
        Array(*from)
    }

    #[inline(always)]
    fn store(self, lanes: Array, to: &mut [f32; LANES]) {
        *to = lanes.0;
    }

    #[inline(always)]
    fn add(self, a: Array, b: Array) -> Array {
        Array(each(|lane| a.0[lane] + b.0[lane]))
    }

    #[inline(always)]
    fn sub(self, a: Array, b: Array) -> Array {
        Array(each(|lane| a.0[lane] - b.0[lane]))
    }

    #[inline(always)]
    fn mul(self, a: Array, b: Array) -> Array {
        Array(each(|lane| a.0[lane] * b.0[lane]))
    }

    #[inline(always)]
    fn div(self, a: Array, b: Array) -> Array {
        Array(each(|lane| a.0[lane] / b.0[lane]))
    }

    #[inline(always)]
    fn max(self, a: Array, b: Array) -> Array {
        Array(each(|lane| if a.0[lane] > b.0[lane] { a.0[lane] } else { b.0[lane] }))
    }

    #[inline(always)]
    fn min(self, a: Array, b: Array) -> Array {
        Array(each(|lane| if a.0[lane] < b.0[lane] { a.0[lane] } else { b.0[lane] }))
    }

    #[inline(always)]
    fn mul_add(self, a: Array, b: Array, c: Array) -> Array {
        Array(each(|lane| a.0[lane].mul_add(b.0[lane], c.0[lane])))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Array, b: Array, c: Array) -> Array {
        Array(each(|lane| (-a.0[lane]).mul_add(b.0[lane], c.0[lane])))
    }

    #[inline(always)]
    fn add_exponent(self, a: Array, exponent: Array) -> Array {
        Array(each(|lane| {
            let (bits, exponent) = (a.0[lane].to_bits(), exponent.0[lane].to_bits());
            f32::from_bits(bits.wrapping_add(exponent << 23))
        }))
    }

    #[inline(always)]
    fn round_to_bf16(self, a: Array) -> Array {
        Array(each(|lane| {
            let bits = a.0[lane].to_bits();
            let nearest = match a.0[lane] {
                x if x.is_nan() => bits | 0x0040_0000,
                x if x.abs() < MIN_BF16 => 0,
                _ => bits + 0x7fff + (bits >> 16 & 1),
            };
            f32::from_bits(nearest & UPPER_HALF)
        }))
    }

    #[inline(always)]
    fn store_upper_halves(self, a: Array, to: &mut [u16; LANES]) {
        *to = each(|lane| (a.0[lane].to_bits() >> 16) as u16);
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Array, Array) {
        let value = |position: usize| f32::from_bits(u32::from(from[position]) << 16);
        (Array(each(|lane| value(2 * lane))), Array(each(|lane| value(2 * lane + 1))))
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Integers([i32; LANES]);

impl IntegerLanes for Portable {
    type Integers = Integers;
    const HAS_QUADS: bool = true;
    const QUADS: Packing = Packing::SignedQuads;
    const INTEGER_PANELS: usize = 1;
    const SCALED_ROWS: usize = 4;

    #[inline(always)]
    fn splat_word(self, word: i32) -> Integers {
        Integers([word; LANES])
    }

    #[inline(always)]
    fn load_integers(self, from: &[i32; LANES]) -> Integers {
        Integers(*from)
    }

    #[inline(always)]
    fn add_pairs(self, sums: Integers, left: Integers, right: Integers) -> Integers {
        Integers(each(|lane| {
            let ([a, b], [c, d]) = (pair_of(left.0[lane]), pair_of(right.0[lane]));
            sums.0[lane] + a * c + b * d
        }))
    }

    #[inline(always)]
    fn add_quads(self, sums: Integers, left: Integers, right: Integers) -> Integers {
        Integers(each(|lane| {
            let ([a, b, c, d], [e, f, g, h]) = (quad_of(left.0[lane]), quad_of(right.0[lane]));
            sums.0[lane] + a * e + b * f + c * g + d * h
        }))
    }

    #[inline(always)]
    fn max_magnitude(self, most: Integers, lanes: Array) -> Integers {
        Integers(each(|lane| most.0[lane].max(lanes.0[lane].abs().to_bits() as i32)))
    }

    #[inline(always)]
    fn reduce_max_integers(self, integers: Integers) -> i32 {
        integers.0.into_iter().fold(i32::MIN, i32::max)
    }

    #[inline(always)]
    fn to_f32(self, integers: Integers) -> Array {
        Array(each(|lane| integers.0[lane] as f32))
    }

    #[inline(always)]
    fn store_pairs(self, lanes: Array, to: &mut [i32; LANES / 2]) {
        let integer = |lane: usize| lanes.0[lane].round_ties_even() as i32;
        *to = each(|word| pair_word([0, 1].map(|value| integer(2 * word + value))));
    }

    #[inline(always)]
    fn store_quads(self, lanes: Array, to: &mut [i32; LANES / 4]) {
        let integer = |lane: usize| lanes.0[lane].round_ties_even() as i32;
        *to = each(|word| quad_word([0, 1, 2, 3].map(|value| integer(4 * word + value))));
    }
}

/// The value of each lane or word.
///
/// It is a call where no kernel runs on these lanes in earnest: inlined into every kernel, it is half of what this crate
/// takes to compile. A multiply-add is a call for each lane there, so one more for sixteen changes little.
#[cfg_attr(any(target_arch = "x86_64", target_arch = "aarch64"), inline(never))]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), inline(always))]
fn each<T, const N: usize>(value: impl Fn(usize) -> T) -> [T; N] {
    std::array::from_fn(value)
}
