//! Each kernel against its naive twin, and against itself on every instruction set of this machine: one body
//! for all, odd sizes, and the worst input printed with its error (`cargo test -- --nocapture`).

use super::simd::{Kernel, Simd};
use super::testing::reference as naive;
use super::*;

/// A cheap generator, the same on every machine: uniform in −1..1.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Runs `kernel` on every instruction set of this machine, demands equal bits, and returns them.
pub(crate) fn on_all(what: &str, kernel: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
    let expected = kernel(Isa::portable());
    for isa in Isa::available() {
        for (at, (x, y)) in kernel(isa).iter().zip(&expected).enumerate() {
            // Which NaN it is may differ; that it is one may not.
            let equal = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            assert!(equal, "{what}: value {at} is {x:e} on {} and {y:e} on portable", isa.name());
        }
    }
    expected
}

/// The worst of many errors, and what it was met at.
#[derive(Default)]
pub(crate) struct Worst {
    error: f64,
    at: String,
}

impl Worst {
    pub fn see(&mut self, result: f64, twin: f64, at: impl FnOnce() -> String) {
        let error = (result - twin).abs();
        if error > self.error || error.is_nan() {
            self.error = error;
            self.at = format!("{}: {result:e} for {twin:e}", at());
        }
    }

    pub fn check(self, what: &str, most: f64) {
        println!("{what}: worst |error| {:.2e} at {}", self.error, self.at);
        assert!(self.error <= most, "{what}: {:e} at {}", self.error, self.at);
    }
}

#[test]
fn isas_are_found_by_the_names_they_have() {
    for isa in Isa::available() {
        println!("this machine has {}", isa.name());
        assert_eq!(Isa::from_name(isa.name()), Some(isa));
    }
    assert_eq!(Isa::available().next(), Some(Isa::detect()));
    assert_eq!(Isa::available().last().map(Isa::as_str), Some("portable"));
}

#[test]
fn linear_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(1);
    let mut worst = Worst::default();
    for (inputs, outputs) in [(1, 1), (5, 17), (72, 149), (384, 48), (400, 31), (1536, 33)] {
        let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
        let layer = F32Linear::pack(inputs, &[(&weight, &bias)]).expect("it is small");
        for rows in [1, 2, 5, 6, 7, 8, 9, 47, 49, 97] {
            let input = random.values(rows * inputs);
            let output = on_all("linear", |isa| {
                let mut output = vec![f32::NAN; rows * outputs];
                layer.forward(isa, &input, None, &mut output);
                output
            });
            let twin = naive::linear(&wide(&input), &wide(&weight), &wide(&bias));
            for (at, (x, y)) in output.iter().zip(twin).enumerate() {
                // The error of a chain grows with its length.
                let scale = (inputs as f64).sqrt();
                worst.see(f64::from(*x) / scale, y / scale, || {
                    format!("output {at} of {rows} rows of {inputs} to {outputs}")
                });
            }
        }
    }
    worst.check("linear, over the root of K", 3e-6);
}

#[test]
fn a_row_is_the_same_bits_in_any_number_of_rows() {
    let mut random = Random(2);
    let (inputs, outputs, rows) = (401, 53, 101);
    let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
    let layer = F32Linear::pack(inputs, &[(&weight, &bias)]).expect("it is small");
    let input = random.values(rows * inputs);
    for isa in Isa::available() {
        let mut all = vec![0.0; rows * outputs];
        layer.forward(isa, &input, Some(Activation::Gelu), &mut all);
        for size in [1, 2, 3, 4, 5, 7, 13, 50] {
            let mut parts = vec![0.0; rows * outputs];
            let outputs = parts.chunks_mut(size * outputs);
            for (input, output) in input.chunks(size * inputs).zip(outputs) {
                layer.forward(isa, input, Some(Activation::Gelu), output);
            }
            let same = all.iter().zip(&parts).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same, "{size} rows at a time on {}", isa.name());
        }
    }
}

#[test]
fn layers_packed_side_by_side_give_their_outputs_side_by_side() {
    let mut random = Random(3);
    let (inputs, rows) = (37, 11);
    let sizes = [5, 16, 30];
    let parts: Vec<_> =
        sizes.iter().map(|n| (random.values(n * inputs), random.values(*n))).collect();
    let slices: Vec<_> = parts.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
    let together = F32Linear::pack(inputs, &slices).expect("it is small");
    assert_eq!((together.inputs(), together.outputs()), (inputs, 51));
    let input = random.values(rows * inputs);
    let mut output = vec![0.0; rows * 51];
    together.forward(Isa::detect(), &input, None, &mut output);
    let mut column = 0;
    for (part, size) in slices.iter().zip(sizes) {
        let layer = F32Linear::pack(inputs, &[*part]).expect("it is small");
        let mut alone = vec![0.0; rows * size];
        layer.forward(Isa::detect(), &input, None, &mut alone);
        for (alone, together) in alone.chunks(size).zip(output.chunks(51)) {
            assert_eq!(alone, &together[column..column + size]);
        }
        column += size;
    }
}

#[test]
fn activations_are_their_twins_and_the_same_bits_everywhere() {
    // Every sign and size, dense where it bends, and not a multiple of 16 long.
    let mut inputs: Vec<f32> = (-120_001..=120_000).map(|i| i as f32 * 1e-4).collect();
    inputs.extend([0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 1e3, -1e3, 1e9, -1e9, 3e18, -3e18]);
    for (which, most) in
        [(Activation::Gelu, 1e-7), (Activation::GeluTanh, 2e-7), (Activation::Relu, 0.0)]
    {
        let outputs = on_all("activation", |isa| {
            let mut values = inputs.clone();
            which.apply(isa, &mut values);
            values
        });
        let mut worst = Worst::default();
        for (x, y) in inputs.iter().zip(outputs) {
            let twin = naive::activation(which, f64::from(*x));
            // Absolute up to 1, relative to the result above: there an f32 is no finer.
            let scale = twin.abs().max(1.0);
            worst.see(f64::from(y) / scale, twin / scale, || format!("x = {x}"));
        }
        worst.check(&format!("{which:?}"), most);
    }
}

#[test]
fn activations_let_no_nan_pass_for_a_number() {
    for which in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        let outputs = on_all("activation of NaN", |isa| {
            let mut values = vec![f32::NAN; 21];
            which.apply(isa, &mut values);
            values
        });
        assert!(outputs.iter().all(|y| y.is_nan()), "{which:?}");
    }
}

struct Exp2<'a>(&'a mut [f32]);

impl Kernel for Exp2<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.0.chunks_mut(simd::LANES) {
            let power = activation::exp2(simd, simd.load_partial(values));
            simd.store_partial(power, values);
        }
    }
}

#[test]
fn exp2_is_its_twin_and_the_same_bits_everywhere() {
    let mut inputs: Vec<f32> = (-126_000..126_000).map(|i| i as f32 * 1e-3).collect();
    inputs.extend([-127.0, -1e5, f32::NEG_INFINITY, -0.0]);
    let outputs = on_all("exp2", |isa| {
        let mut values = inputs.clone();
        isa.run(Exp2(&mut values));
        values
    });
    let mut worst = Worst::default();
    for (x, y) in inputs.iter().zip(&outputs).filter(|(x, _)| **x > -126.0) {
        let twin = f64::from(*x).exp2();
        worst.see(f64::from(*y) / twin, 1.0, || format!("y = {x}"));
    }
    worst.check("exp2, relative", 1.3e-7);
    assert_eq!(&outputs[outputs.len() - 4..], [0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn attention_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(4);
    let mut worst = Worst::default();
    for (count, size) in [(12, 32), (2, 64), (3, 24), (5, 8), (1, 17)] {
        let heads = Heads { count, size };
        let width = heads.width();
        for length in [1, 2, 6, 7, 15, 16, 17, 41, 100] {
            // Large enough for some heads to look at one token alone.
            let qkv: Vec<f32> = random.values(length * 3 * width).iter().map(|x| x * 2.0).collect();
            let context = on_all("attention", |isa| {
                let mut scratch = vec![f32::NAN; attend_f32_scratch_len(length, heads)];
                let mut context = vec![f32::NAN; length * width];
                attend_f32(isa, &qkv, heads, &mut scratch, &mut context);
                context
            });
            let part = |which: usize| -> Vec<f64> {
                let rows = qkv.chunks(3 * width);
                rows.flat_map(|row| wide(&row[which * width..][..width])).collect()
            };
            let twin = naive::attention(&part(0), &part(1), &part(2), heads);
            for (at, (x, y)) in context.iter().zip(twin).enumerate() {
                worst.see(f64::from(*x), y, || format!("value {at} of {length} tokens, {heads:?}"));
            }
        }
    }
    worst.check("attention", 3e-6);
}

#[test]
fn layer_norm_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(5);
    let mut worst = Worst::default();
    for width in [1, 7, 16, 31, 72, 384, 1024] {
        let (weight, bias) = (random.values(width), random.values(width));
        let norm = LayerNorm::new(&weight, &bias, 1e-12).expect("it is small");
        for (rows, mean) in [(1, 0.0), (5, 3.0)] {
            let hidden: Vec<f32> = random.values(rows * width).iter().map(|x| x + mean).collect();
            let added = random.values(rows * width);
            for residual in [false, true] {
                let output = on_all("layer norm", |isa| {
                    let mut hidden = hidden.clone();
                    if residual {
                        norm.add_and_normalize(isa, &added, &mut hidden);
                    } else {
                        norm.normalize(isa, &mut hidden);
                    }
                    hidden
                });
                if width == 1 {
                    // All variance is rounding error.
                    continue;
                }
                let mut twin = wide(&hidden);
                if residual {
                    twin.iter_mut().zip(&added).for_each(|(x, added)| *x += f64::from(*added));
                }
                naive::layer_norm(&mut twin, &wide(&weight), &wide(&bias), 1e-12);
                for (at, (x, y)) in output.iter().zip(twin).enumerate() {
                    worst.see(f64::from(*x), y, || format!("value {at} of {rows} rows of {width}"));
                }
            }
        }
    }
    worst.check("layer norm", 2e-6);
}

#[test]
fn pooling_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(6);
    let mut worst = Worst::default();
    for (rows, width) in [(1, 1), (3, 17), (256, 384)] {
        let tokens = random.values(rows * width);
        let vector = on_all("l2 norm of the mean", |isa| {
            let mut mean = vec![f32::NAN; width];
            mean_of_rows(&tokens, &mut mean);
            l2_normalize(isa, &mut mean);
            mean
        });
        let mut twin = vec![0.0; width];
        for row in wide(&tokens).chunks(width) {
            twin.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / rows as f64);
        }
        let length = twin.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (at, (x, y)) in vector.iter().zip(twin).enumerate() {
            worst
                .see(f64::from(*x), y / length, || format!("value {at} of {rows} rows of {width}"));
        }
    }
    worst.check("pooling", 3e-7);
    let mut zeros = [0.0; 20];
    l2_normalize(Isa::detect(), &mut zeros);
    assert_eq!(zeros, [0.0; 20]);
}
