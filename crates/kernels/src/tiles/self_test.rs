//! Whether a tile unit multiplies and rounds as its numerics version says: asked of every CPU before it is believed.

use super::{Operand, SQUARE, multiply, round};
use crate::simd::{LANES, LEAST_BF16};
use crate::{Arithmetic, Bf16Unit, Isa, Precision, UnitError};

/// Products of squares with every kind of factor, and values of every kind to be rounded, in each precision that is the unit's, against the emulation.
///
/// # Errors
/// `SelfTestFailed`.
pub(crate) fn check(unit: Bf16Unit) -> Result<(), UnitError> {
    let factors = factors();
    let [first, second, third, fourth] = &factors;
    let multiplies = |precision: &Precision| {
        let is_split = precision.split() == Some(true);
        let left = Operand { high: first, low: is_split.then_some(third) };
        let right = Operand { high: second, low: is_split.then_some(fourth) };
        let [found, expected] = [unit, Bf16Unit::EMULATED].map(|unit| {
            let mut sums = [0.0; SQUARE];
            let with = Arithmetic::new(Isa::portable(), *precision, unit);
            multiply(with, left, right, &mut sums);
            let mut rounded = [0; LANES];
            round(with, &ROUNDED, &mut rounded);
            (sums.map(f32::to_bits), rounded)
        });
        found == expected
    };
    let mut precisions = Precision::ALL.into_iter().filter(|precision| unit.makes(*precision));
    let wrong = precisions.find(|precision| !multiplies(precision));
    wrong.map_or(Ok(()), |precision| Err(UnitError::SelfTestFailed(precision)))
}

/// Zeros, what becomes one and what just does not, ties to either side and their neighbours, the greatest, what is none.
const ROUNDED: [f32; LANES] = [
    0.0,
    -0.0,
    1.0e-40,
    LEAST_BF16,
    -LEAST_BF16,
    f32::from_bits(LEAST_BF16.to_bits() - 1),
    f32::from_bits(0x3f80_8000),
    f32::from_bits(0x3f81_8000),
    f32::from_bits(0x3f80_8001),
    f32::from_bits(0xbf81_7fff),
    f32::from_bits(0x3fff_ffff),
    f32::MAX,
    f32::NEG_INFINITY,
    f32::from_bits(0x7f80_0001),
    f32::from_bits(0xffff_ffff),
    f32::from_bits(0x7fc0_8000),
];

/// Four squares of bf16, of magnitudes from 2^-50 to 2^13, both signs and some zeros.
fn factors() -> [[u16; SQUARE]; 4] {
    let mut state = 0x9e37_79b9_u32;
    [(); 4].map(|()| {
        [(); SQUARE].map(|()| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (sign, exponent, mantissa) = (state >> 31, state >> 24 & 63, state >> 16 & 0x7f);
            if exponent == 63 { 0 } else { (sign << 15 | (exponent + 77) << 7 | mantissa) as u16 }
        })
    })
}
