//! Activations, `exp2`, layer normalisation and pooling.

use super::{MaxError, Random, on_every_isa, widen};
use crate::activation::exp2;
use crate::simd::{Kernel, LANES, Simd};
use crate::testing::reference;
use crate::{Activation, Isa, LayerNorm, RmsNorm, gate_rows, l2_normalize, mean_of_rows};

#[test]
fn activations_match_reference_with_equal_bits_on_every_isa() {
    // Every sign and magnitude, dense near zero, and not a multiple of 16 values.
    let mut inputs: Vec<f32> = (-120_001..=120_000).map(|i| i as f32 * 1e-4).collect();
    inputs.extend([0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 1e3, -1e3, 1e9, -1e9, 3e18, -3e18]);
    for (activation, limit) in [
        (Activation::Gelu, 1e-7),
        (Activation::GeluTanh, 2e-7),
        (Activation::Relu, 0.0),
        (Activation::Silu, 2e-7),
        (Activation::Tanh, 2e-7),
    ] {
        let outputs = on_every_isa("activation", |isa| {
            let mut values = inputs.clone();
            activation.apply(isa, &mut values);
            values
        });
        let mut errors = MaxError::default();
        for (x, y) in inputs.iter().zip(outputs) {
            let expected = reference::activation(activation, f64::from(*x));
            // Absolute up to 1, and relative above, where an f32 is no finer.
            let scale = expected.abs().max(1.0);
            errors.compare(f64::from(y) / scale, expected / scale, || format!("x = {x}"));
        }
        errors.assert_at_most(&format!("{activation:?}"), limit);
    }
}

#[test]
fn activations_of_nan_are_nan() {
    use Activation::{Gelu, GeluTanh, Relu, Silu, Tanh};
    for activation in [Gelu, GeluTanh, Relu, Silu, Tanh] {
        let outputs = on_every_isa("activation of NaN", |isa| {
            let mut values = vec![f32::NAN; 21];
            activation.apply(isa, &mut values);
            values
        });
        assert!(outputs.iter().all(|y| y.is_nan()), "{activation:?}");
    }
}

struct Exp2<'a>(&'a mut [f32]);

impl Kernel for Exp2<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.0.chunks_mut(LANES) {
            let power = exp2(simd, simd.load_partial(values));
            simd.store_partial(power, values);
        }
    }
}

#[test]
fn exp2_matches_reference_with_equal_bits_on_every_isa() {
    let mut inputs: Vec<f32> = (-126_000..126_000).map(|i| i as f32 * 1e-3).collect();
    inputs.extend([-127.0, -1e5, f32::NEG_INFINITY, -0.0]);
    let outputs = on_every_isa("exp2", |isa| {
        let mut values = inputs.clone();
        isa.run(Exp2(&mut values));
        values
    });
    let mut errors = MaxError::default();
    for (x, y) in inputs.iter().zip(&outputs).filter(|(x, _)| **x > -126.0) {
        let expected = f64::from(*x).exp2();
        errors.compare(f64::from(*y) / expected, 1.0, || format!("y = {x}"));
    }
    errors.assert_at_most("exp2, relative", 1.3e-7);
    assert_eq!(&outputs[outputs.len() - 4..], [0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn layer_norm_matches_reference_with_equal_bits_on_every_isa() {
    let mut random = Random(5);
    let mut errors = MaxError::default();
    for width in [1, 7, 16, 31, 72, 384, 1024] {
        let (weight, bias) = (random.values(width), random.values(width));
        let norm = LayerNorm::new(&weight, &bias, 1e-12).expect("a small allocation");
        for (rows, mean) in [(1, 0.0), (5, 3.0)] {
            let hidden: Vec<f32> = random.values(rows * width).iter().map(|x| x + mean).collect();
            let added = random.values(rows * width);
            for residual in [false, true] {
                let output = on_every_isa("layer norm", |isa| {
                    let mut hidden = hidden.clone();
                    if residual {
                        norm.add_and_normalize(isa, &added, &mut hidden);
                    } else {
                        norm.normalize(isa, &mut hidden);
                    }
                    hidden
                });
                if width == 1 {
                    // The variance of one value is rounding error.
                    continue;
                }
                let mut expected = widen(&hidden);
                if residual {
                    expected.iter_mut().zip(&added).for_each(|(x, added)| *x += f64::from(*added));
                }
                reference::layer_norm(&mut expected, &widen(&weight), &widen(&bias), 1e-12);
                for (at, (x, y)) in output.iter().zip(expected).enumerate() {
                    errors.compare(f64::from(*x), y, || {
                        format!("value {at} of {rows} rows of {width}")
                    });
                }
            }
        }
    }
    errors.assert_at_most("layer norm", 2e-6);
}

#[test]
fn rms_norm_matches_reference_with_equal_bits_on_every_isa() {
    let mut random = Random(7);
    let mut errors = MaxError::default();
    for width in [1, 7, 16, 31, 72, 384] {
        let (weight, rows) = (random.values(width), random.values(3 * width));
        let norm = RmsNorm::new(&weight, 1e-6).expect("a small allocation");
        let output = on_every_isa("RMS norm", |isa| {
            let mut rows = rows.clone();
            norm.normalize(isa, &mut rows);
            rows
        });
        for (row, output) in rows.chunks(width).zip(output.chunks(width)) {
            let squares: f64 = widen(row).iter().map(|x| x * x).sum();
            let root = (squares / width as f64 + 1e-6).sqrt();
            for ((x, weight), y) in row.iter().zip(&weight).zip(output) {
                let expected = f64::from(*x) / root * f64::from(*weight);
                errors.compare(f64::from(*y), expected, || format!("{x} of {width}"));
            }
        }
    }
    errors.assert_at_most("RMS norm", 1e-6);
}

#[test]
fn gate_multiplies_the_activated_half_with_the_other() {
    let mut random = Random(8);
    for width in [1, 17, 48] {
        let rows = random.values(2 * 3 * width);
        let output = on_every_isa("gate", |isa| {
            let mut rows = rows.clone();
            gate_rows(isa, Activation::Silu, width, &mut rows);
            rows[..3 * width].to_vec()
        });
        for (row, output) in rows.chunks(2 * width).zip(output.chunks(width)) {
            for (at, y) in output.iter().enumerate() {
                let gate = reference::activation(Activation::Silu, f64::from(row[at]));
                let expected = gate * f64::from(row[width + at]);
                assert!((f64::from(*y) - expected).abs() < 5e-7, "{width}, {at}");
            }
        }
    }
}

#[test]
fn pooling_matches_reference_with_equal_bits_on_every_isa() {
    let mut random = Random(6);
    let mut errors = MaxError::default();
    for (rows, width) in [(1, 1), (3, 17), (256, 384)] {
        let tokens = random.values(rows * width);
        let vector = on_every_isa("L2 norm of the mean", |isa| {
            let mut mean = vec![f32::NAN; width];
            mean_of_rows(&tokens, &mut mean);
            l2_normalize(isa, &mut mean);
            mean
        });
        let mut expected = vec![0.0; width];
        for row in widen(&tokens).chunks(width) {
            expected.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / rows as f64);
        }
        let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (at, (x, y)) in vector.iter().zip(expected).enumerate() {
            errors.compare(f64::from(*x), y / norm, || {
                format!("value {at} of {rows} rows of {width}")
            });
        }
    }
    errors.assert_at_most("pooling", 3e-7);
}

#[test]
fn l2_normalize_keeps_a_zero_vector() {
    let mut zeros = [0.0; 20];
    l2_normalize(Isa::detect(), &mut zeros);
    assert_eq!(zeros, [0.0; 20]);
}
