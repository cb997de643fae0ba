//! Integer products against exact sums, in every unit of this machine, with odd sizes and extremes.

use super::dense::with_input;
use super::{MaxError, Memory, Random, in_every_arithmetic, read, widen};
use crate::integer::IntegerFormat;
use crate::integer::lanes::{IntegerKernel, IntegerLanes, Packing, QUAD_OFFSET, quad_word};
use crate::integer::unit::IntegerUnit;
use crate::simd::LANES;
use crate::testing::reference;
use crate::{Activation, BufferLayout, Dense, Heads, Isa, Precision};

const FORMATS: [(Precision, IntegerFormat); 2] =
    [(Precision::Int16, IntegerFormat::Int16), (Precision::Int8, IntegerFormat::Int8)];

/// Inputs and outputs: of models, of parts of a block, and around the ends of blocks and panels.
const WIDTHS: [(usize, usize); 12] = [
    (1, 1),
    (5, 17),
    (63, 16),
    (64, 50),
    (65, 33),
    (149, 40),
    (384, 96),
    (385, 47),
    (400, 31),
    (768, 48),
    (1000, 20),
    (1536, 64),
];

const ROWS: [usize; 9] = [1, 2, 7, 8, 9, 47, 48, 49, 97];

/// The largest magnitude of each block, its scale and its integers, without a line of the kernel.
fn rounded(format: IntegerFormat, row: &[f32]) -> Vec<(f32, Vec<i64>)> {
    let (largest, size) = match format {
        IntegerFormat::Int16 => (2047.0, 384),
        IntegerFormat::Int8 => (127.0, 64),
    };
    let of_block = |block: &[f32]| {
        let magnitude = block.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        if block.iter().any(|x| !x.is_finite()) {
            return (f32::NAN, vec![0; block.len()]);
        }
        if magnitude < 2f32.powi(-100) {
            return (0.0, vec![0; block.len()]);
        }
        let inverse = largest / magnitude;
        let integer = |x: &f32| (x * inverse).round_ties_even() as i64;
        (magnitude / largest, block.iter().map(integer).collect())
    };
    row.chunks(size).map(of_block).collect()
}

/// A layer with exact sums of each block.
fn naive(
    format: IntegerFormat,
    inputs: usize,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let weights: Vec<_> = weight.chunks(inputs).map(|row| rounded(format, row)).collect();
    let mut output = Vec::new();
    for row in input.chunks(inputs).map(|row| rounded(format, row)) {
        for (weights, bias) in weights.iter().zip(bias) {
            let blocks = row.iter().zip(weights);
            output.push(blocks.fold(*bias, |sum, ((left_scale, left), (right_scale, right))| {
                let exact: i64 = left.iter().zip(right).map(|(x, w)| x * w).sum();
                let exact = i32::try_from(exact).expect("the sum of a block fits 32 bits");
                (exact as f32 * right_scale).mul_add(*left_scale, sum)
            }));
        }
    }
    output
}

/// A layer in every arithmetic of this machine.
fn layer(
    precision: Precision,
    inputs: usize,
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Option<Activation>,
) -> Vec<f32> {
    let (rows, outputs) = (input.len() / inputs, Heads::single(bias.len()));
    let inputs = Heads::single(inputs);
    in_every_arithmetic(precision, "an integer layer", |arithmetic| {
        let layer = Dense::pack(arithmetic, inputs, outputs, &[(weight, bias)]);
        let layer = layer.expect("a small allocation");
        let layout = BufferLayout::for_linear(precision, rows, outputs);
        let mut memory = Memory::new(layout.size());
        let mut output = layout.take(&mut memory.arena());
        with_input(arithmetic, input, inputs, |input| {
            layer.activate(arithmetic, input, activation, &mut output);
        });
        read(&output, outputs)
    })
}

#[test]
fn layers_have_the_bits_of_exact_sums() {
    let mut random = Random(21);
    for (precision, format) in FORMATS {
        for (inputs, outputs) in WIDTHS {
            let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
            for rows in ROWS {
                let input = random.values(rows * inputs);
                let found = layer(precision, inputs, &input, &weight, &bias, None);
                let expected = naive(format, inputs, &input, &weight, &bias);
                for (at, (x, y)) in found.iter().zip(expected).enumerate() {
                    assert_eq!(
                        x.to_bits(),
                        y.to_bits(),
                        "{precision}: output {at} of {rows} rows of {inputs} to {outputs} is {x:e}, not {y:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn layers_are_near_the_reference() {
    let mut random = Random(22);
    for (precision, limit) in [(Precision::Int16, 1.5e-3), (Precision::Int8, 2e-2)] {
        let mut errors = MaxError::default();
        for (inputs, outputs) in WIDTHS {
            let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
            let input = random.values(33 * inputs);
            let activation = Some(Activation::Gelu);
            let found = layer(precision, inputs, &input, &weight, &bias, activation);
            let expected = reference::linear(&widen(&input), &widen(&weight), &widen(&bias));
            for (at, (x, y)) in found.iter().zip(expected).enumerate() {
                let (y, scale) =
                    (reference::activation(Activation::Gelu, y), (inputs as f64).sqrt());
                errors.compare(f64::from(*x) / scale, y / scale, || {
                    format!("output {at} of {inputs} to {outputs}")
                });
            }
        }
        errors.assert_at_most(&format!("a layer in {precision}"), limit);
    }
}

/// Every factor at its largest magnitude, and then all of one sign: the sums nearest to an overflow.
#[test]
fn extremes_neither_overflow_nor_differ() {
    let inputs = 1536;
    for (precision, format) in FORMATS {
        for (row, weight) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
            for magnitude in [1.0, 3e18, 1e-30] {
                let (input, weight) =
                    (vec![row * magnitude; 3 * inputs], vec![weight; 20 * inputs]);
                let bias = vec![0.0; 20];
                let found = layer(precision, inputs, &input, &weight, &bias, None);
                assert_eq!(found, naive(format, inputs, &input, &weight, &bias), "{precision}");
                let exact = inputs as f32 * row * weight[0] * magnitude;
                assert!(found.iter().all(|x| ((x - exact) / exact).abs() < 1e-5), "{}", found[0]);
            }
        }
    }
}

#[test]
fn tiny_and_huge_values_have_the_bits_of_exact_sums() {
    let mut random = Random(23);
    for (precision, format) in FORMATS {
        for exponent in [-149, -126, -101, -100, -99, -60, 0, 60, 120, 127] {
            let scale = 2f64.powi(exponent) as f32;
            let input: Vec<f32> = random.values(5 * 130).iter().map(|x| x * scale).collect();
            let (weight, bias) = (random.values(18 * 130), random.values(18));
            let found = layer(precision, 130, &input, &weight, &bias, None);
            assert_eq!(
                found,
                naive(format, 130, &input, &weight, &bias),
                "{precision}, 2^{exponent}"
            );
        }
    }
}

#[test]
fn values_that_are_not_finite_make_their_row_nan_and_no_other() {
    let mut random = Random(24);
    for (precision, format) in FORMATS {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, 63, 64, 383, 384, 399] {
                let mut input = random.values(4 * 400);
                input[2 * 400 + at] = poison;
                let (weight, bias) = (random.values(20 * 400), random.values(20));
                let found = layer(precision, 400, &input, &weight, &bias, None);
                let expected = naive(format, 400, &input, &weight, &bias);
                for (row, (found, expected)) in
                    found.chunks(20).zip(expected.chunks(20)).enumerate()
                {
                    let is_nan = found.iter().all(|x| x.is_nan());
                    assert_eq!(is_nan, row == 2, "{precision}, {poison} at {at}, row {row}");
                    assert!(
                        is_nan || found == expected,
                        "{precision}, {poison} at {at}, row {row}"
                    );
                }
            }
        }
    }
}

/// Products of quads, also where no layer uses them because pairs are faster.
#[test]
fn quads_have_exact_sums_on_every_unit() {
    struct Quads<'a> {
        left: [i32; 4],
        right: &'a [[i32; 4]; LANES],
        to: &'a mut [f32; LANES],
    }
    impl IntegerKernel for Quads<'_> {
        #[inline(always)]
        fn run<S: IntegerLanes>(self, simd: S) {
            let mut repeated = [0.0; LANES];
            for (lane, value) in repeated.iter_mut().zip(self.left.iter().cycle()) {
                *lane = *value as f32;
            }
            let mut words = [0; LANES / 4];
            simd.store_quads(simd.load(&repeated), &mut words);
            assert_eq!(words, [words[0]; LANES / 4], "a quad does not depend on its place");
            let start = |right: &[i32; 4]| match S::QUADS {
                Packing::OffsetQuads => 7 - QUAD_OFFSET * right.iter().sum::<i32>(),
                Packing::SignedQuads | Packing::Pairs => 7,
            };
            let sums = simd.load_integers(&self.right.map(|right| start(&right)));
            let right = simd.load_integers(&self.right.map(quad_word));
            let sums = simd.add_quads(sums, simd.splat_word(words[0]), right);
            simd.store(simd.to_f32(sums), self.to);
        }
    }
    let mut random = Random(25);
    let mut integers = || [(); 4].map(|()| (random.next() * 127.0).round() as i32);
    for left in [[127; 4], [-127; 4], [127, -127, 0, 1], integers(), integers()] {
        let mut right = [(); LANES].map(|()| integers());
        right[0] = [127; 4];
        right[1] = [-127; 4];
        for unit in IntegerUnit::within(Isa::detect()) {
            let mut sums = [0.0; LANES];
            unit.run(Quads { left, right: &right, to: &mut sums });
            for (sum, right) in sums.iter().zip(right) {
                let exact: i32 = left.iter().zip(right).map(|(x, w)| x * w).sum();
                assert_eq!(*sum, (7 + exact) as f32, "{left:?} · {right:?} on {unit}");
            }
        }
    }
}
