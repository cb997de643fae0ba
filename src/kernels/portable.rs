//! Any CPU: an array of 16 f32 and the standard library. Slow where the target has no fused multiply-add,
//! but the same bits.

use super::simd::{Kernel, LANES, Simd};

/// Needs nothing of the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portable(());

pub(super) const TOKEN: Portable = Portable(());

#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Array([f32; LANES]);

impl Simd for Portable {
    type Lanes = Array;
    const TILE_ROWS: usize = 4;
    const TILE_PANELS: usize = 1;

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
}

#[inline(always)]
fn zip(mut a: Array, b: Array, operation: impl Fn(f32, f32) -> f32) -> Array {
    for (a, b) in a.0.iter_mut().zip(b.0) {
        *a = operation(*a, b);
    }
    a
}
