//! Linear layers, the residual connection and attention, in every precision.

use super::{
    MaxError, Memory, Random, all_rounded, in_every_arithmetic, read, rounded, rounding_error,
    widen, write,
};
use crate::buffers::Values;
use crate::testing::reference;
use crate::{
    Activation, Activations, Arithmetic, AttentionHeads, BufferLayout, Dense, Heads, Input,
    LayerNorm, Precision, Residual, ScoreBias, attend, attend_scratch_size,
};

/// Heads of inputs and outputs, of odd sizes and of those that models have.
const WIDTHS: [(Heads, Heads); 6] = [
    (Heads { count: 1, size: 5 }, Heads { count: 1, size: 17 }),
    (Heads { count: 3, size: 24 }, Heads { count: 1, size: 72 }),
    (Heads { count: 1, size: 72 }, Heads { count: 9, size: 24 }),
    (Heads { count: 2, size: 64 }, Heads { count: 1, size: 128 }),
    (Heads { count: 1, size: 149 }, Heads { count: 1, size: 40 }),
    (Heads { count: 12, size: 32 }, Heads { count: 1, size: 96 }),
];

/// Integers have tests of their own.
const FLOATS: [Precision; 4] =
    [Precision::F32, Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512];

const ROWS: [usize; 8] = [1, 2, 15, 16, 17, 31, 33, 65];

/// Calls `body` with `values` as the input of a layer.
pub(super) fn with_input<T>(
    arithmetic: Arithmetic,
    values: &[f32],
    heads: Heads,
    body: impl FnOnce(Input) -> T,
) -> T {
    let rows = values.len() / heads.width();
    let layout = BufferLayout::for_linear(arithmetic.precision(), rows, heads);
    let mut memory = Memory::new(layout.size());
    let mut input = layout.take(&mut memory.arena());
    write(arithmetic, values, heads, &mut input);
    body(input.as_input())
}

#[test]
fn layers_match_reference_with_equal_bits_everywhere() {
    let mut random = Random(12);
    for precision in FLOATS {
        let mut errors = MaxError::default();
        for (inputs, outputs) in WIDTHS {
            let (weight, bias) =
                (random.values(inputs.width() * outputs.width()), random.values(outputs.width()));
            for rows in ROWS {
                let input = random.values(rows * inputs.width());
                let activation = (rows % 2 == 1).then_some(Activation::Gelu);
                let output = in_every_arithmetic(precision, "a layer", |arithmetic| {
                    let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
                    let layer = layer.expect("a small allocation");
                    let layout = BufferLayout::for_linear(precision, rows, outputs);
                    let mut memory = Memory::new(layout.size());
                    let mut output = layout.take(&mut memory.arena());
                    with_input(arithmetic, &input, inputs, |input| {
                        layer.activate(arithmetic, input, activation, &mut output);
                    });
                    read(&output, outputs)
                });
                let input = all_rounded(precision, &input);
                let expected =
                    reference::linear(&input, &all_rounded(precision, &weight), &widen(&bias));
                for (at, (x, y)) in output.iter().zip(expected).enumerate() {
                    let y = activation.map_or(y, |activation| reference::activation(activation, y));
                    let scale = y.abs() + (inputs.width() as f64).sqrt() * 0.01;
                    errors.compare(f64::from(*x) / scale, y / scale, || {
                        format!("output {at} of {rows} rows of {inputs:?} to {outputs:?}")
                    });
                }
            }
        }
        // The output is rounded. The order of the sums, and the product low · low that bf16x3 leaves out, add less.
        errors.assert_at_most(
            &format!("a layer in {precision}"),
            1.01 * rounding_error(precision) + 3e-4,
        );
    }
}

#[test]
fn residual_layers_match_reference_with_equal_bits_everywhere() {
    let mut random = Random(13);
    for precision in FLOATS {
        let mut errors = MaxError::default();
        for (inputs, outputs) in WIDTHS {
            let width = outputs.width();
            let outputs = Heads::single(width);
            let (weight, bias) = (random.values(inputs.width() * width), random.values(width));
            let (norm_weight, norm_bias) = (random.values(width), random.values(width));
            let norm = LayerNorm::new(&norm_weight, &norm_bias, 1e-12).expect("a small allocation");
            for rows in ROWS {
                let (input, before) =
                    (random.values(rows * inputs.width()), random.values(rows * width));
                let hidden = in_every_arithmetic(precision, "a residual layer", |arithmetic| {
                    let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
                    let layer = layer.expect("a small allocation");
                    let mut memory = Memory::new(Residual::size(precision, rows, width));
                    let mut hidden = Residual::take(precision, rows, width, &mut memory.arena());
                    hidden.values.copy_from_slice(&before);
                    let mut projected = vec![f32::NAN; rows * width];
                    with_input(arithmetic, &input, inputs, |input| {
                        layer.add_and_normalize(
                            arithmetic,
                            input,
                            &norm,
                            &mut projected,
                            &mut hidden,
                        );
                    });
                    if let Some(blocks) = &mut hidden.rounded {
                        let blocks = Activations(Values::Blocks(blocks.reborrow()));
                        for (value, in_block) in hidden.values.iter().zip(read(&blocks, outputs)) {
                            assert_eq!(rounded(precision, *value) as f32, in_block, "{precision}");
                        }
                    }
                    hidden.values.to_vec()
                });
                let input = all_rounded(precision, &input);
                let mut expected =
                    reference::linear(&input, &all_rounded(precision, &weight), &widen(&bias));
                expected.iter_mut().zip(&before).for_each(|(x, before)| *x += f64::from(*before));
                reference::layer_norm(
                    &mut expected,
                    &widen(&norm_weight),
                    &widen(&norm_bias),
                    1e-12,
                );
                for (at, (x, y)) in hidden.iter().zip(expected).enumerate() {
                    errors.compare(f64::from(*x), y, || {
                        format!("value {at} of {rows} rows of {inputs:?} to {width}")
                    });
                }
            }
        }
        errors.assert_at_most(&format!("a residual layer in {precision}"), 2e-5);
    }
}

/// An attention on the rows `before..before + length` of `qkv`. Asserts that other rows stay.
fn attend_between(
    arithmetic: Arithmetic,
    qkv: &[f32],
    heads: AttentionHeads,
    bias: Option<&ScoreBias>,
    tokens: std::ops::Range<usize>,
) -> Vec<f32> {
    let (precision, total) = (arithmetic.precision(), qkv.len() / heads.qkv().width());
    let width = heads.queries.width();
    let layout = BufferLayout::for_attention(precision, total, heads.qkv());
    let mut memory = Memory::new(layout.size());
    let mut activations = layout.take(&mut memory.arena());
    write(arithmetic, qkv, heads.qkv(), &mut activations);
    let mut scratch = Memory::new(attend_scratch_size(precision, tokens.len(), heads.queries));
    let layout = BufferLayout::for_linear(precision, total, heads.queries);
    let mut memory = Memory::new(layout.size());
    let mut context = layout.take(&mut memory.arena());
    write(arithmetic, &vec![0.0; total * width], heads.queries, &mut context);
    let mut scratch = scratch.arena();
    attend(arithmetic, &activations, heads, bias, tokens.clone(), &mut scratch, &mut context);
    let context = read(&context, heads.queries);
    let mut others = context[..tokens.start * width].iter().chain(&context[tokens.end * width..]);
    assert!(others.all(|x| *x == 0.0), "attention wrote to another sequence");
    context[tokens.start * width..tokens.end * width].to_vec()
}

#[test]
fn attention_matches_reference_with_equal_bits_everywhere() {
    type Bias = (&'static str, Option<ScoreBias>, fn(usize, isize) -> f64);
    const HIDDEN: f64 = f64::NEG_INFINITY;
    let relative: fn(usize, isize) -> f64 =
        |head, distance| (head as f64 + 1.0) * (distance.clamp(-9, 9) as f64 * 0.7).sin();
    let window = |seen| Some(ScoreBias::window(seen).expect("a small allocation"));
    let table = |head, distance| relative(head, distance) as f32;
    let table = ScoreBias::relative(3, 9, table).expect("a small allocation");
    let biases: [Bias; 4] = [
        ("plain", None, |_, _| 0.0),
        ("causal", window([None, Some(0)]), |_, distance| if distance > 0 { HIDDEN } else { 0.0 }),
        (
            "a window",
            window([Some(8), Some(8)]),
            |_, distance| {
                if distance.abs() > 8 { HIDDEN } else { 0.0 }
            },
        ),
        ("relative", Some(table), relative),
    ];
    let mut random = Random(14);
    for (precision, limit) in [
        (Precision::F32, 3e-6),
        (Precision::Bf16, 2e-2),
        (Precision::Bf16x3, 5e-5),
        (Precision::Bf16Avx512, 2e-2),
        (Precision::Int16, 3e-6),
        (Precision::Int8, 3e-6),
    ] {
        let mut errors = MaxError::default();
        for (count, size, keys) in
            [(3, 32, 3), (2, 64, 2), (3, 24, 3), (2, 8, 2), (1, 17, 1), (4, 16, 2), (3, 24, 1)]
        {
            let queries = Heads { count, size };
            let heads = match keys == count {
                true => queries.into(),
                false => AttentionHeads { queries, keys, divisor: 11.0 },
            };
            let (width, key_width) = (heads.qkv().width(), keys * size);
            // The sequence starts within a block, between sequences of NaN.
            for (before, length, after) in
                [(0, 1, 0), (3, 2, 5), (0, 15, 0), (7, 16, 1), (40, 33, 0), (1, 70, 9), (5, 130, 0)]
            {
                let total = before + length + after;
                let mut qkv: Vec<f32> =
                    random.values(total * width).iter().map(|x| x * 2.0).collect();
                qkv[..before * width].fill(f32::NAN);
                qkv[(before + length) * width..].fill(f32::NAN);
                let part = |columns: std::ops::Range<usize>| -> Vec<f64> {
                    let rows = qkv.chunks(width).skip(before).take(length);
                    rows.flat_map(|row| all_rounded(precision, &row[columns.clone()])).collect()
                };
                let (first_key, first_value) = (queries.width(), queries.width() + key_width);
                let parts = [0..first_key, first_key..first_value, first_value..width].map(part);
                for (name, bias, value) in biases.iter().filter(|b| b.0 != "relative" || count <= 3)
                {
                    let context = in_every_arithmetic(precision, name, |arithmetic| {
                        let tokens = before..before + length;
                        attend_between(arithmetic, &qkv, heads, bias.as_ref(), tokens)
                    });
                    let [query, key, values] = &parts;
                    let expected = reference::biased_attention(query, key, values, heads, value);
                    for (at, (x, y)) in context.iter().zip(expected).enumerate() {
                        errors.compare(f64::from(*x), y, || {
                            format!("value {at} of {length} tokens, {heads:?}, {name}")
                        });
                    }
                }
            }
        }
        errors.assert_at_most(&format!("attention in {precision}"), limit);
    }
}

/// What a window costs: a weight of 0 times NaN would be NaN.
#[test]
fn keys_far_from_a_window_are_not_read() {
    const TOKENS: usize = 400;
    let heads = AttentionHeads::from(Heads { count: 2, size: 32 });
    let width = heads.qkv().width();
    let mut random = Random(23);
    let finite = random.values(TOKENS * width);
    for (name, seen, read) in [
        ("a window", [Some(8), Some(8)], 0..150),
        ("a window to the left", [Some(20), Some(0)], 0..150),
        ("causal", [None, Some(0)], 0..150),
        ("a window of late tokens", [Some(8), Some(8)], 256..TOKENS),
    ] {
        let bias = ScoreBias::window(seen).expect("a small allocation");
        let mut others = finite.clone();
        // The middle is farther from these queries than any block of theirs reaches.
        others[200 * width..220 * width].fill(f32::NAN);
        for precision in Precision::ALL {
            let attended = |qkv: &[f32]| {
                in_every_arithmetic(precision, name, |arithmetic| {
                    attend_between(arithmetic, qkv, heads, Some(&bias), 0..TOKENS)
                })
            };
            let (plain, found) = (attended(&finite), attended(&others));
            let values = read.start * heads.queries.width()..read.end * heads.queries.width();
            assert!(plain[values.clone()] == found[values], "{precision}, {name}");
        }
    }
}

#[test]
fn projected_rows_are_the_outputs_before_they_are_rounded() {
    let mut random = Random(17);
    for precision in Precision::ALL {
        for (inputs, outputs) in [(72, 50), (32, 96), (5, 17)] {
            let (inputs, outputs) = (Heads::single(inputs), Heads::single(outputs));
            let weight = random.values(inputs.width() * outputs.width());
            let bias = random.values(outputs.width());
            for rows in ROWS {
                let input = random.values(rows * inputs.width());
                in_every_arithmetic(precision, "projected rows", |arithmetic| {
                    let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
                    let layer = layer.expect("a small allocation");
                    let layout = BufferLayout::for_linear(precision, rows, outputs);
                    let mut memory = Memory::new(layout.size());
                    let mut output = layout.take(&mut memory.arena());
                    let mut projected = vec![f32::NAN; rows * outputs.width()];
                    with_input(arithmetic, &input, inputs, |input| {
                        layer.project(arithmetic, input, &mut output);
                        layer.project_rows(arithmetic, input, &mut projected);
                    });
                    let expected = read(&output, outputs);
                    output.write_rows(arithmetic, 0, &projected, outputs);
                    assert_eq!(read(&output, outputs), expected, "{precision}");
                    projected
                });
            }
        }
    }
}

#[test]
fn nan_and_infinity_stay_in_their_row() {
    let mut random = Random(15);
    let (inputs, outputs, rows) = (Heads::single(40), Heads::single(50), 20);
    let (weight, bias) = (random.values(40 * 50), random.values(50));
    let (norm_weight, norm_bias) = (random.values(50), random.values(50));
    let norm = LayerNorm::new(&norm_weight, &norm_bias, 1e-12).expect("a small allocation");
    for precision in Precision::ALL {
        for (poison, at) in [(f32::NAN, 7), (f32::INFINITY, 16)] {
            let mut input = random.values(rows * 40);
            input[at * 40 + 3] = poison;
            let hidden = in_every_arithmetic(precision, "a poisoned row", |arithmetic| {
                let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
                let layer = layer.expect("a small allocation");
                let mut memory = Memory::new(Residual::size(precision, rows, 50));
                let mut hidden = Residual::take(precision, rows, 50, &mut memory.arena());
                hidden.values.fill(0.5);
                with_input(arithmetic, &input, inputs, |input| {
                    let mut projected = vec![0.0; rows * 50];
                    layer.add_and_normalize(arithmetic, input, &norm, &mut projected, &mut hidden);
                });
                hidden.values.to_vec()
            });
            for (row, values) in hidden.chunks(50).enumerate() {
                let finite = values.iter().all(|x| x.is_finite());
                assert_eq!(finite, row != at, "row {row} in {precision}, {poison} in row {at}");
            }
        }
    }
}

#[test]
fn row_ranges_have_equal_bits() {
    let mut random = Random(16);
    let (inputs, outputs, rows) = (Heads { count: 3, size: 24 }, Heads::single(50), 70);
    let (weight, bias) = (random.values(72 * 50), random.values(50));
    let input = random.values(rows * 72);
    for precision in Precision::ALL {
        in_every_arithmetic(precision, "row ranges", |arithmetic| {
            let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
            let layer = layer.expect("a small allocation");
            let from = BufferLayout::for_linear(precision, rows, inputs);
            let to = BufferLayout::for_linear(precision, rows, outputs);
            let mut memory =
                Memory::new(from.size().saturating_add(to.size()).saturating_add(to.size()));
            let mut arena = memory.arena();
            let mut from = from.take(&mut arena);
            let (mut whole, mut ranges) = (to.take(&mut arena), to.take(&mut arena));
            write(arithmetic, &input, inputs, &mut from);
            layer.project(arithmetic, from.as_input(), &mut whole);
            for range in [0..32, 32..64, 64..rows] {
                let input = from.rows_mut(range.clone());
                layer.project(arithmetic, input.as_input(), &mut ranges.rows_mut(range));
            }
            let (whole, ranges) = (read(&whole, outputs), read(&ranges, outputs));
            assert!(whole.iter().zip(&ranges).all(|(x, y)| x.to_bits() == y.to_bits()));
            whole
        });
    }
}
