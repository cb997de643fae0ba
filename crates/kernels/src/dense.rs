//! Linear layers and attention in any precision: the operations of a forward pass.
//!
//! A layer and its activations have one precision. Mixing two is a bug of the caller, and panics.

use std::ops::Range;

use crate::activation::Activation;
use crate::arithmetic::Arithmetic;
use crate::bf16::attention::{Bf16Attention, attend_bf16_scratch_size};
use crate::bf16::linear::{
    ActivationEpilogue, Bf16Linear, LinearProduct, ResidualEpilogue, RowsEpilogue,
};
use crate::buffer::{AllocationError, Arena, BufferSize};
use crate::buffers::{Activations, Input, InputValues, Residual, Values};
use crate::f32::attention::{attend_f32, attend_f32_scratch_len};
use crate::f32::linear::F32Linear;
use crate::heads::{AttentionHeads, Heads};
use crate::integer::linear::IntegerLinear;
use crate::norm::LayerNorm;
use crate::precision::{NumberFormat, Precision};
use crate::score_bias::ScoreBias;

/// A linear layer in any precision, its weights packed for it.
#[derive(Debug)]
pub struct Dense(Packed);

#[derive(Debug)]
enum Packed {
    F32(F32Linear),
    Bf16(Bf16Linear),
    Integer(IntegerLinear),
}

impl Dense {
    /// Packs layers of the same input side by side, so that their outputs follow each other. Each layer is a
    /// weight `(outputs, inputs)`, row-major, and a bias `(outputs)`. `inputs` and `outputs` are the heads of
    /// the vectors that go in and come out; [`Heads::single`] if they have none.
    ///
    /// # Errors
    /// If the memory for the packed weights cannot be allocated.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias, or if the outputs are not whole heads.
    pub fn pack(
        arithmetic: Arithmetic,
        inputs: Heads,
        outputs: Heads,
        layers: &[(&[f32], &[f32])],
    ) -> Result<Self, AllocationError> {
        Ok(Dense(match arithmetic.precision().format() {
            NumberFormat::F32 => Packed::F32(F32Linear::pack(inputs.width(), layers)?),
            NumberFormat::Bf16 { split } => {
                Packed::Bf16(Bf16Linear::pack(arithmetic.isa(), split, inputs, outputs, layers)?)
            }
            NumberFormat::Integer(format) => {
                let packing = arithmetic.integers().packing(format);
                Packed::Integer(IntegerLinear::pack(format, packing, inputs.width(), layers)?)
            }
        }))
    }

    /// `output = input · weightᵀ + bias`, for an `input` of `(rows, inputs)` and an `output` of `(rows, outputs)`.
    ///
    /// # Panics
    /// If input and output differ in rows, or if a width or a precision is not that of the layer.
    pub fn project(&self, arithmetic: Arithmetic, input: Input, output: &mut Activations) {
        self.activate(arithmetic, input, None, output);
    }

    /// `output = activation(input · weightᵀ + bias)`, with the shapes of [`Dense::project`].
    ///
    /// # Panics
    /// As [`Dense::project`].
    pub fn activate(
        &self,
        arithmetic: Arithmetic,
        input: Input,
        activation: Option<Activation>,
        output: &mut Activations,
    ) {
        match (&self.0, input.0, &mut output.0) {
            (Packed::F32(layer), InputValues::Rows(input), Values::Rows { values, .. }) => {
                layer.forward(arithmetic.isa(), input, activation, values);
            }
            (Packed::Integer(layer), InputValues::Rows(input), Values::Rows { values, .. }) => {
                layer.forward(arithmetic.integers(), input, activation, values);
            }
            (Packed::Bf16(layer), InputValues::Blocks(input), Values::Blocks(output)) => {
                assert_eq!(input.rows(), output.rows(), "input and output have the same rows");
                let epilogue = ActivationEpilogue::new(layer, activation, output.reborrow());
                arithmetic.run(LinearProduct { layer, input, epilogue });
            }
            _ => mixed_precisions(),
        }
    }

    /// `output = input · weightᵀ + bias` in f32, `(rows, outputs)`, row-major, whatever the precision: for
    /// what follows in f32. The outputs of the layer are a single head.
    ///
    /// # Panics
    /// As [`Dense::project`], or if the layer has several output heads that are not whole blocks.
    pub fn project_rows(&self, arithmetic: Arithmetic, input: Input, output: &mut [f32]) {
        match (&self.0, input.0) {
            (Packed::F32(layer), InputValues::Rows(input)) => {
                layer.forward(arithmetic.isa(), input, None, output);
            }
            (Packed::Integer(layer), InputValues::Rows(input)) => {
                layer.forward(arithmetic.integers(), input, None, output);
            }
            (Packed::Bf16(layer), InputValues::Blocks(input)) => {
                let epilogue = RowsEpilogue::new(layer, input.rows(), output);
                arithmetic.run(LinearProduct { layer, input, epilogue });
            }
            _ => mixed_precisions(),
        }
    }

    /// `hidden = normalize(hidden + input · weightᵀ + bias)`: a layer with the residual connection after it.
    /// `projected` is scratch: at least as long as `hidden` where activations are f32, and not used in bf16.
    ///
    /// # Panics
    /// If input and hidden differ in rows, or if a width or a precision is not that of the layer.
    pub fn add_and_normalize(
        &self,
        arithmetic: Arithmetic,
        input: Input,
        norm: &LayerNorm,
        projected: &mut [f32],
        hidden: &mut Residual,
    ) {
        match (&self.0, input.0, &mut hidden.rounded) {
            (Packed::F32(layer), InputValues::Rows(input), None) => {
                let projected = &mut projected[..hidden.values.len()];
                layer.forward(arithmetic.isa(), input, None, projected);
                norm.add_and_normalize(arithmetic.isa(), projected, hidden.values);
            }
            (Packed::Integer(layer), InputValues::Rows(input), None) => {
                let projected = &mut projected[..hidden.values.len()];
                layer.forward(arithmetic.integers(), input, None, projected);
                norm.add_and_normalize(arithmetic.isa(), projected, hidden.values);
            }
            (Packed::Bf16(layer), InputValues::Blocks(input), Some(rounded)) => {
                assert_eq!(input.rows(), rounded.rows(), "input and hidden have the same rows");
                let rounded = rounded.reborrow();
                let epilogue = ResidualEpilogue::new(layer, norm, hidden.values, rounded);
                arithmetic.run(LinearProduct { layer, input, epilogue });
            }
            _ => mixed_precisions(),
        }
    }
}

/// The scratch that [`attend`] needs for a sequence of `length` tokens.
pub fn attend_scratch_size(precision: Precision, length: usize, heads: Heads) -> BufferSize {
    match precision.format() {
        NumberFormat::F32 | NumberFormat::Integer(_) => {
            BufferSize { floats: attend_f32_scratch_len(length, heads), halves: 0 }
        }
        NumberFormat::Bf16 { split } => attend_bf16_scratch_size(length, heads, split),
    }
}

/// Multi-head attention of one sequence, the rows `tokens` of `qkv` and of `context`:
/// `softmax(Q Kᵀ / √divisor + bias) V`. `qkv`, `(rows, heads.qkv().width())`, holds the query, key and value of
/// each token; `context` is `(rows, heads.queries.width())`. `scratch` has at least [`attend_scratch_size`] for
/// the query heads, and what it holds before does not matter.
///
/// # Panics
/// If the rows do not exist, if `scratch` is too small, or if the precisions differ.
pub fn attend(
    arithmetic: Arithmetic,
    qkv: &Activations,
    heads: AttentionHeads,
    bias: Option<&ScoreBias>,
    tokens: Range<usize>,
    scratch: &mut Arena,
    context: &mut Activations,
) {
    match (&qkv.0, &mut context.0) {
        (
            Values::Rows { values: qkv, width: qkv_width },
            Values::Rows { values: context, width },
        ) => {
            let qkv = &qkv[tokens.start * *qkv_width..tokens.end * *qkv_width];
            let context = &mut context[tokens.start * *width..tokens.end * *width];
            attend_f32(arithmetic.isa(), qkv, heads, bias, scratch.floats, context);
        }
        (Values::Blocks(qkv), Values::Blocks(context)) => {
            let scratch = Arena { floats: &mut *scratch.floats, halves: &mut *scratch.halves };
            let (qkv, context) = (qkv.as_ref(), context.reborrow());
            arithmetic.run(Bf16Attention::new(qkv, heads, bias, tokens, scratch, context));
        }
        _ => mixed_precisions(),
    }
}

fn mixed_precisions() -> ! {
    unreachable!("a layer and its activations have one precision")
}
