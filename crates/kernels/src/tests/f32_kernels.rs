//! f32 linear layers and attention.

use super::{MaxError, Random, on_every_isa, widen};
use crate::testing::reference;
use crate::{Activation, F32Linear, Heads, Isa, attend_f32, attend_f32_scratch_len};

#[test]
fn linear_matches_reference_with_equal_bits_on_every_isa() {
    let mut random = Random(1);
    let mut errors = MaxError::default();
    for (inputs, outputs) in [(1, 1), (5, 17), (72, 149), (384, 48), (400, 31), (1536, 33)] {
        let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
        let layer = F32Linear::pack(inputs, &[(&weight, &bias)]).expect("a small allocation");
        for rows in [1, 2, 5, 6, 7, 8, 9, 47, 49, 97] {
            let input = random.values(rows * inputs);
            let output = on_every_isa("linear", |isa| {
                let mut output = vec![f32::NAN; rows * outputs];
                layer.forward(isa, &input, None, &mut output);
                output
            });
            let expected = reference::linear(&widen(&input), &widen(&weight), &widen(&bias));
            for (at, (x, y)) in output.iter().zip(expected).enumerate() {
                // The error of a chain grows with the root of its length.
                let scale = (inputs as f64).sqrt();
                errors.compare(f64::from(*x) / scale, y / scale, || {
                    format!("output {at} of {rows} rows of {inputs} to {outputs}")
                });
            }
        }
    }
    errors.assert_at_most("linear, divided by the root of K", 3e-6);
}

#[test]
fn linear_rows_have_equal_bits_in_any_batch() {
    let mut random = Random(2);
    let (inputs, outputs, rows) = (401, 53, 101);
    let (weight, bias) = (random.values(inputs * outputs), random.values(outputs));
    let layer = F32Linear::pack(inputs, &[(&weight, &bias)]).expect("a small allocation");
    let input = random.values(rows * inputs);
    for isa in Isa::available() {
        let mut whole = vec![0.0; rows * outputs];
        layer.forward(isa, &input, Some(Activation::Gelu), &mut whole);
        for size in [1, 2, 3, 4, 5, 7, 13, 50] {
            let mut batches = vec![0.0; rows * outputs];
            let outputs = batches.chunks_mut(size * outputs);
            for (input, output) in input.chunks(size * inputs).zip(outputs) {
                layer.forward(isa, input, Some(Activation::Gelu), output);
            }
            let equal = whole.iter().zip(&batches).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(equal, "{size} rows a batch on {}", isa.name());
        }
    }
}

#[test]
fn layers_packed_together_equal_separate_layers() {
    let mut random = Random(3);
    let (inputs, rows) = (37, 11);
    let sizes = [5, 16, 30];
    let layers: Vec<_> =
        sizes.iter().map(|n| (random.values(n * inputs), random.values(*n))).collect();
    let layers: Vec<_> = layers.iter().map(|(weight, bias)| (&weight[..], &bias[..])).collect();
    let together = F32Linear::pack(inputs, &layers).expect("a small allocation");
    assert_eq!((together.inputs(), together.outputs()), (inputs, 51));
    let input = random.values(rows * inputs);
    let mut output = vec![0.0; rows * 51];
    together.forward(Isa::detect(), &input, None, &mut output);
    let mut column = 0;
    for (layer, size) in layers.iter().zip(sizes) {
        let layer = F32Linear::pack(inputs, &[*layer]).expect("a small allocation");
        let mut separate = vec![0.0; rows * size];
        layer.forward(Isa::detect(), &input, None, &mut separate);
        for (separate, together) in separate.chunks(size).zip(output.chunks(51)) {
            assert_eq!(separate, &together[column..column + size]);
        }
        column += size;
    }
}

#[test]
fn attention_matches_reference_with_equal_bits_on_every_isa() {
    let mut random = Random(4);
    let mut errors = MaxError::default();
    for (count, size) in [(12, 32), (2, 64), (3, 24), (5, 8), (1, 17)] {
        let heads = Heads { count, size };
        let width = heads.width();
        for length in [1, 2, 6, 7, 15, 16, 17, 41, 100] {
            // Large enough that some heads attend to a single token.
            let qkv: Vec<f32> = random.values(length * 3 * width).iter().map(|x| x * 2.0).collect();
            let context = on_every_isa("attention", |isa| {
                let mut scratch = vec![f32::NAN; attend_f32_scratch_len(length, heads)];
                let mut context = vec![f32::NAN; length * width];
                attend_f32(isa, &qkv, heads.into(), None, &mut scratch, &mut context);
                context
            });
            let projection = |which: usize| -> Vec<f64> {
                let rows = qkv.chunks(3 * width);
                rows.flat_map(|row| widen(&row[which * width..][..width])).collect()
            };
            let expected =
                reference::attention(&projection(0), &projection(1), &projection(2), heads.into());
            for (at, (x, y)) in context.iter().zip(expected).enumerate() {
                errors.compare(f64::from(*x), y, || {
                    format!("value {at} of {length} tokens, {heads:?}")
                });
            }
        }
    }
    errors.assert_at_most("attention", 3e-6);
}
