//! Linear layers and attention in any precision: what the forward pass is made of.
//!
//! A layer is packed for one precision, and its activations have to be of the same one: a mixture is a mistake in
//! the program.

use std::ops::Range;

use super::activations::{InputValues, Values};
use super::tiles::{self, IntoTiles, OntoResidual, Product, TileAttention, TileLinear};
use super::{
    Activation, Activations, AllocationError, Arena, Arithmetic, BufferSize, F32Linear, Heads,
    Input, LayerNorm, Precision, Residual, attend_f32, attend_f32_scratch_len,
};

/// A linear layer, its weights packed for a precision.
#[derive(Debug)]
pub struct Dense(Packed);

#[derive(Debug)]
enum Packed {
    Rows(F32Linear),
    Tiles(TileLinear),
}

impl Dense {
    /// Packs layers of the same input side by side: their outputs follow each other. Each part is a weight of
    /// `(outputs, inputs)`, row-major, and a bias of `outputs`. `inputs` and `outputs` say how the vectors that go in
    /// and come out are divided into heads, if they are.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias, or a part's outputs are not whole heads.
    pub fn pack(
        with: Arithmetic,
        inputs: Heads,
        outputs: Heads,
        parts: &[(&[f32], &[f32])],
    ) -> Result<Self, AllocationError> {
        Ok(Dense(match with.precision().split() {
            None => Packed::Rows(F32Linear::pack(inputs.width(), parts)?),
            Some(split) => {
                Packed::Tiles(TileLinear::pack(with.isa(), split, inputs, outputs, parts)?)
            }
        }))
    }

    /// `output = input · weightᵀ + bias`, with a row of output for each row of input.
    ///
    /// # Panics
    /// If input and output are not of as many rows, or of the layer's widths or precision.
    pub fn project(&self, with: Arithmetic, input: Input, output: &mut Activations) {
        self.activate(with, input, None, output);
    }

    /// `output = activation(input · weightᵀ + bias)`.
    ///
    /// # Panics
    /// As [`Dense::project`].
    pub fn activate(
        &self,
        with: Arithmetic,
        input: Input,
        activation: Option<Activation>,
        output: &mut Activations,
    ) {
        match (&self.0, input.0, &mut output.0) {
            (Packed::Rows(layer), InputValues::Rows(input), Values::Rows { values, .. }) => {
                layer.forward(with.isa(), input, activation, values);
            }
            (Packed::Tiles(layer), InputValues::Tiles(input), Values::Tiles(output)) => {
                assert_eq!(input.rows(), output.rows(), "input and output have as many rows");
                let epilogue = IntoTiles::new(layer, activation, output.reborrow());
                tiles::run(with, Product { layer, input, epilogue });
            }
            _ => mixed(),
        }
    }

    /// `hidden = normalize(hidden + input · weightᵀ + bias)`: a layer that ends in the residual connection.
    /// `projected` is scratch: as long as `hidden` in f32, of no use otherwise.
    ///
    /// # Panics
    /// If input and hidden are not of as many rows, or of the layer's widths or precision.
    pub fn add_and_normalize(
        &self,
        with: Arithmetic,
        input: Input,
        norm: &LayerNorm,
        projected: &mut [f32],
        hidden: &mut Residual,
    ) {
        match (&self.0, input.0, &mut hidden.rounded) {
            (Packed::Rows(layer), InputValues::Rows(input), None) => {
                let projected = &mut projected[..hidden.values.len()];
                layer.forward(with.isa(), input, None, projected);
                norm.add_and_normalize(with.isa(), projected, hidden.values);
            }
            (Packed::Tiles(layer), InputValues::Tiles(input), Some(rounded)) => {
                assert_eq!(input.rows(), rounded.rows(), "input and hidden have as many rows");
                let epilogue = OntoResidual::new(layer, norm, hidden.values, rounded.reborrow());
                tiles::run(with, Product { layer, input, epilogue });
            }
            _ => mixed(),
        }
    }
}

/// What [`attend`] needs for a sequence of `length` tokens.
pub fn attend_scratch_size(precision: Precision, length: usize, heads: Heads) -> BufferSize {
    match precision.split() {
        None => BufferSize { floats: attend_f32_scratch_len(length, heads), halves: 0 },
        Some(split) => tiles::attention_room(length, heads, split),
    }
}

/// Multi-head attention of one sequence, the rows `tokens` of `qkv` and of `context`. `qkv` holds, for each token,
/// its query, key and value. At least [`attend_scratch_size`] of scratch is needed; what it holds before does not matter.
///
/// # Panics
/// If the rows are not there, or the scratch is too small, or the precisions are not one.
pub fn attend(
    with: Arithmetic,
    qkv: &Activations,
    heads: Heads,
    tokens: Range<usize>,
    scratch: &mut Arena,
    context: &mut Activations,
) {
    match (&qkv.0, &mut context.0) {
        (Values::Rows { values: qkv, width: three }, Values::Rows { values: context, width }) => {
            let qkv = &qkv[tokens.start * *three..tokens.end * *three];
            let context = &mut context[tokens.start * *width..tokens.end * *width];
            attend_f32(with.isa(), qkv, heads, scratch.floats, context);
        }
        (Values::Tiles(qkv), Values::Tiles(context)) => {
            let scratch = (&mut *scratch.floats, &mut *scratch.halves);
            let context = context.reborrow();
            tiles::run(with, TileAttention::new(qkv.as_ref(), heads, tokens, scratch, context));
        }
        _ => mixed(),
    }
}

fn mixed() -> ! {
    unreachable!("a layer and its activations are of one precision")
}
