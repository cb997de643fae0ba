//! Any CPU: an array of 16 f32 and the standard library, with the same bits as the other instruction
//! sets. It is slow on a target without fused multiply-add, where std calls a function for each.

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

#[inline(always)]
fn zip(mut a: Array, b: Array, operation: impl Fn(f32, f32) -> f32) -> Array {
    for (a, b) in a.0.iter_mut().zip(b.0) {
        *a = operation(*a, b);
    }
    a
}
