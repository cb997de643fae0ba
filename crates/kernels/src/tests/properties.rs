//! Equal bits in every arithmetic, for arbitrary shapes.

use proptest::prelude::*;

use super::dense::with_input;
use super::{Memory, Random, in_every_arithmetic, read, write};
use crate::{Activation, BufferLayout, Dense, Heads, Precision, attend, attend_scratch_size};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

fn heads() -> impl Strategy<Value = Heads> {
    (1..4_usize, 1..70_usize).prop_map(|(count, size)| Heads { count, size })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn layers_of_any_shape_have_equal_bits(
        inputs in heads(),
        outputs in heads(),
        rows in 1..70_usize,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let weight = random.values(inputs.width() * outputs.width());
        let (bias, input) = (random.values(outputs.width()), random.values(rows * inputs.width()));
        for precision in Precision::ALL {
            in_every_arithmetic(precision, "a layer", |arithmetic| {
                let layer = Dense::pack(arithmetic, inputs, outputs, &[(&weight, &bias)]);
                let layer = layer.expect("a small allocation");
                let layout = BufferLayout::for_linear(precision, rows, outputs);
                let mut memory = Memory::new(layout.size());
                let mut output = layout.take(&mut memory.arena());
                with_input(arithmetic, &input, inputs, |input| {
                    layer.activate(arithmetic, input, Some(Activation::GeluTanh), &mut output);
                });
                read(&output, outputs)
            });
        }
    }

    #[test]
    fn attention_of_any_shape_has_equal_bits(
        heads in heads(),
        before in 0..40_usize,
        length in 1..100_usize,
        seed: u64,
    ) {
        let width = heads.width();
        let qkv_heads = Heads { count: 3 * heads.count, ..heads };
        let total = before + length;
        let qkv = Random(seed).values(total * 3 * width);
        for precision in Precision::ALL {
            in_every_arithmetic(precision, "attention", |arithmetic| {
                let layout = BufferLayout::for_attention(precision, total, qkv_heads);
                let mut memory = Memory::new(layout.size());
                let mut activations = layout.take(&mut memory.arena());
                write(arithmetic, &qkv, qkv_heads, &mut activations);
                let mut scratch = Memory::new(attend_scratch_size(precision, length, heads));
                let layout = BufferLayout::for_linear(precision, total, heads);
                let mut memory = Memory::new(layout.size());
                let mut context = layout.take(&mut memory.arena());
                write(arithmetic, &vec![0.0; total * width], heads, &mut context);
                let mut scratch = scratch.arena();
                let tokens = before..total;
                attend(arithmetic, &activations, heads.into(), None, tokens, &mut scratch, &mut context);
                read(&context, heads)
            });
        }
    }
}
