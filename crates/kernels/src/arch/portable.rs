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
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Array, b: Array) -> Array {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn mul_add(self, a: Array, b: Array, mut c: Array) -> Array {
        for ((c, a), b) in c.0.iter_mut().zip(a.0).zip(b.0) {
            *c = a.mul_add(b, *c);
        }
        c
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Array, b: Array, mut c: Array) -> Array {
        for ((c, a), b) in c.0.iter_mut().zip(a.0).zip(b.0) {
            *c = (-a).mul_add(b, *c);
        }
        c
    }

    #[inline(always)]
    fn add_exponent(self, a: Array, exponent: Array) -> Array {
        zip(a, exponent, |a, exponent| {
            f32::from_bits(a.to_bits().wrapping_add(exponent.to_bits() << 23))
        })
    }

    #[inline(always)]
    fn round_to_bf16(self, mut a: Array) -> Array {
        for a in &mut a.0 {
            let bits = a.to_bits();
            let nearest = match *a {
                x if x.is_nan() => bits | 0x0040_0000,
                x if x.abs() < MIN_BF16 => 0,
                _ => bits + 0x7fff + (bits >> 16 & 1),
            };
            *a = f32::from_bits(nearest & UPPER_HALF);
        }
        a
    }

    #[inline(always)]
    fn store_upper_halves(self, a: Array, to: &mut [u16; LANES]) {
        for (to, a) in to.iter_mut().zip(a.0) {
            *to = (a.to_bits() >> 16) as u16;
        }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Array, Array) {
        let (mut first, mut second) = (Array([0.0; LANES]), Array([0.0; LANES]));
        for (lane, pair) in from.as_chunks::<2>().0.iter().enumerate() {
            first.0[lane] = f32::from_bits(u32::from(pair[0]) << 16);
            second.0[lane] = f32::from_bits(u32::from(pair[1]) << 16);
        }
        (first, second)
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
    fn add_pairs(self, mut sums: Integers, left: Integers, right: Integers) -> Integers {
        for (sum, (left, right)) in sums.0.iter_mut().zip(left.0.into_iter().zip(right.0)) {
            let ([a, b], [c, d]) = (pair_of(left), pair_of(right));
            *sum += a * c + b * d;
        }
        sums
    }

    #[inline(always)]
    fn add_quads(self, mut sums: Integers, left: Integers, right: Integers) -> Integers {
        for (sum, (left, right)) in sums.0.iter_mut().zip(left.0.into_iter().zip(right.0)) {
            let ([a, b, c, d], [e, f, g, h]) = (quad_of(left), quad_of(right));
            *sum += a * e + b * f + c * g + d * h;
        }
        sums
    }

    #[inline(always)]
    fn max_magnitude(self, mut most: Integers, lanes: Array) -> Integers {
        for (most, lane) in most.0.iter_mut().zip(lanes.0) {
            *most = (*most).max(lane.abs().to_bits() as i32);
        }
        most
    }

    #[inline(always)]
    fn reduce_max_integers(self, integers: Integers) -> i32 {
        integers.0.into_iter().fold(i32::MIN, i32::max)
    }

    #[inline(always)]
    fn to_f32(self, integers: Integers) -> Array {
        Array(integers.0.map(|integer| integer as f32))
    }

    #[inline(always)]
    fn store_pairs(self, lanes: Array, to: &mut [i32; LANES / 2]) {
        for (to, pair) in to.iter_mut().zip(lanes.0.as_chunks::<2>().0) {
            *to = pair_word(pair.map(|value| value.round_ties_even() as i32));
        }
    }

    #[inline(always)]
    fn store_quads(self, lanes: Array, to: &mut [i32; LANES / 4]) {
        for (to, quad) in to.iter_mut().zip(lanes.0.as_chunks::<4>().0) {
            *to = quad_word(quad.map(|value| value.round_ties_even() as i32));
        }
    }
}

#[inline(always)]
fn zip(mut a: Array, b: Array, operation: impl Fn(f32, f32) -> f32) -> Array {
    for (a, b) in a.0.iter_mut().zip(b.0) {
        *a = operation(*a, b);
    }
    a
}
