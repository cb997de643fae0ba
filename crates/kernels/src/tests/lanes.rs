//! The operations of [`Simd`] on bf16 values, on every instruction set and beside every unit.

use half::bf16;

use super::{BF16_PRECISIONS, on_every_isa, same_bits};
use crate::Isa;
use crate::bf16::BLOCK_SIDE;
use crate::simd::{Kernel, LANES, MIN_BF16, Simd, TILE_LEN, UPPER_HALF};
use crate::testing::all_arithmetics;

/// Rounds values to bf16, and checks the stores and loads of the rounded values.
struct RoundToBf16<'a>(&'a mut [f32]);

impl Kernel for RoundToBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.0.as_chunks_mut::<LANES>().0 {
            let rounded = simd.round_to_bf16(simd.load(values));
            let mut halves = [0; LANES];
            simd.store_upper_halves(rounded, &mut halves);
            // Each pair is a stored value and its complement.
            let mut pairs = [0; 2 * LANES];
            for (pair, half) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                *pair = [half, !half];
            }
            let (first, second) = simd.load_pairs(&pairs);
            let (mut lanes, mut complements) = ([0.0; LANES], [0.0; LANES]);
            simd.store(rounded, &mut lanes);
            simd.store(second, &mut complements);
            for (lane, complement) in lanes.iter().zip(complements) {
                assert_eq!(lane.to_bits() ^ UPPER_HALF, complement.to_bits());
            }
            simd.store(first, values);
        }
    }
}

/// Every upper half of an f32, with lower halves that round down, up, and to even.
fn values_to_round() -> Vec<f32> {
    let low = [0, 1, 0x7fff, 0x8000, 0x8001, 0xc000, 0xffff, 0x1234];
    (0..=u16::MAX)
        .flat_map(|high| low.map(|low| f32::from_bits(u32::from(high) << 16 | low)))
        .collect()
}

#[test]
fn rounding_matches_half_and_flushes_below_two_to_the_minus_50() {
    let inputs = values_to_round();
    let outputs = on_every_isa("rounding", |isa| {
        let mut values = inputs.clone();
        isa.run(RoundToBf16(&mut values));
        values
    });
    for (x, y) in inputs.iter().zip(outputs) {
        let expected = if x.abs() < MIN_BF16 { 0.0 } else { bf16::from_f32(*x).to_f32() };
        let bits = x.to_bits();
        assert!(same_bits(y, expected), "{x:e} ({bits:08x}) gives {y:e}, expected {expected:e}");
    }
}

#[test]
fn every_unit_rounds_as_its_lanes_do() {
    let inputs = values_to_round();
    let mut rounded = inputs.clone();
    Isa::portable().run(RoundToBf16(&mut rounded));
    let expected: Vec<u32> = rounded.iter().map(|value| value.to_bits() >> 16).collect();
    for arithmetic in BF16_PRECISIONS.into_iter().flat_map(all_arithmetics) {
        let actual = inputs.as_chunks().0.iter().flat_map(|values| arithmetic.round(values));
        for ((x, expected), actual) in inputs.iter().zip(&expected).zip(actual) {
            assert_eq!(u32::from(actual), *expected, "{x:e} on {arithmetic}");
        }
    }
}

#[test]
fn transpose_pairs_is_correct_on_every_isa() {
    struct Transpose<'a>(&'a [u16; TILE_LEN], &'a mut [u16; TILE_LEN]);
    impl Kernel for Transpose<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            simd.transpose_pairs(self.0, self.1);
        }
    }
    let mut from = [0; TILE_LEN];
    from.iter_mut().enumerate().for_each(|(at, value)| *value = at as u16);
    for isa in Isa::available() {
        let mut to = [0; TILE_LEN];
        isa.run(Transpose(&from, &mut to));
        for (at, value) in to.iter().enumerate() {
            let (row, pair, half) = (at / BLOCK_SIDE, at % BLOCK_SIDE / 2, at % 2);
            assert_eq!(usize::from(*value), pair * BLOCK_SIDE + 2 * row + half, "{}", isa.name());
        }
    }
}

#[test]
fn select_first_is_correct_on_every_isa() {
    struct SelectFirst<'a>(usize, &'a mut [f32; LANES]);
    impl Kernel for SelectFirst<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let rest = simd.splat(f32::NEG_INFINITY);
            simd.store(simd.select_first(self.0, simd.splat(1.0), rest), self.1);
        }
    }
    for isa in Isa::available() {
        for count in 0..=LANES + 1 {
            let mut lanes = [0.0; LANES];
            isa.run(SelectFirst(count, &mut lanes));
            for (at, lane) in lanes.iter().enumerate() {
                let expected = if at < count { 1.0 } else { f32::NEG_INFINITY };
                assert_eq!(*lane, expected, "lane {at} of {count}, {}", isa.name());
            }
        }
    }
}

#[test]
fn interleave_is_correct_on_every_isa() {
    struct Interleave<'a>(&'a [u16; LANES], &'a [u16; LANES], &'a mut [u16; 2 * LANES]);
    impl Kernel for Interleave<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            simd.interleave(self.0, self.1, self.2);
        }
    }
    let first: [u16; LANES] = std::array::from_fn(|at| 0x8000 + at as u16);
    let second = first.map(|value| value + LANES as u16);
    for isa in Isa::available() {
        let mut pairs = [0; 2 * LANES];
        isa.run(Interleave(&first, &second, &mut pairs));
        for (at, pair) in pairs.as_chunks().0.iter().enumerate() {
            assert_eq!(*pair, [first[at], second[at]], "{}", isa.name());
        }
    }
}
