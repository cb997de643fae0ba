//! Integer linear layers: `output = activation(input · weightᵀ + bias)`, with weights that are rounded and packed once.
//!
//! ```text
//!  a panel of 16 outputs            for each block of BLOCK_ROWS rows
//!  word 0  | w0 w1 ... w15 |          for each BLOCK_DEPTH of the inputs
//!  word 1  | w0 w1 ... w15 |            round the rows to integers              in L1 or L2
//!  ...                                  for each panel (or three)
//!  a word: 2 or 4 k of an output          for each micro-tile of rows
//!  a line: 64 bytes                         for each block: exact sums, then scales; output += them
//!                                     activation, while the rows are in L2
//! ```
//!
//! The loops are those of [`crate::f32::linear`]; [`crate::integer`] defines the values.

use std::marker::PhantomData;
use std::ops::Range;

use crate::activation::Activation;
use crate::buffer::{AlignedBuffer, AllocationError};
use crate::integer::IntegerFormat;
use crate::integer::lanes::{
    IntegerKernel, IntegerLanes, Packing, QUAD_OFFSET, pair_word, quad_word,
};
use crate::integer::micro_kernel::{
    BLOCK_DEPTH, Format, Int8, Int16, PanelDepth, RoundedRow, Shape, Sums, multiply_blocks,
};
use crate::integer::quantize::{Scale, quantize};
use crate::integer::unit::{IntegerUnit, OnLanes};
use crate::micro_tiles::{micro_tiles, with_constant};
use crate::simd::LANES;

/// Rows that are rounded together; a multiple of every micro-tile.
const BLOCK_ROWS: usize = 48;

/// An integer linear layer: its weights in panels, their scales, and its bias.
#[derive(Debug)]
pub(crate) struct IntegerLinear {
    inputs: usize,
    outputs: usize,
    format: IntegerFormat,
    packing: Packing,
    /// `(panels, words of an output, 16)`; the columns past `outputs` are zeros.
    words: AlignedBuffer<i32>,
    /// `(panels, blocks, 16)`.
    scales: AlignedBuffer,
    /// What the sums of a block start with, `(panels, blocks, 16)`: it takes off what quads with an offset have too
    /// much. Empty for all others.
    starts: AlignedBuffer<i32>,
    /// One value for each column of the panels.
    bias: AlignedBuffer,
}

impl IntegerLinear {
    /// Rounds and packs layers of the same input side by side, as `F32Linear::pack` does.
    ///
    /// # Errors
    /// If the memory for the packed weights cannot be allocated.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias.
    pub fn pack(
        format: IntegerFormat,
        packing: Packing,
        inputs: usize,
        parts: &[(&[f32], &[f32])],
    ) -> Result<Self, AllocationError> {
        let outputs: usize = parts.iter().map(|(_, bias)| bias.len()).sum();
        let columns = outputs.next_multiple_of(LANES);
        let blocks = inputs.div_ceil(format.block());
        let starts = if packing == Packing::OffsetQuads { blocks } else { 0 };
        let mut layer = IntegerLinear {
            inputs,
            outputs,
            format,
            packing,
            words: AlignedBuffer::default(),
            scales: AlignedBuffer::zeroed(columns.saturating_mul(blocks))?,
            starts: AlignedBuffer::zeroed(columns.saturating_mul(starts))?,
            bias: AlignedBuffer::zeroed(columns)?,
        };
        layer.words = AlignedBuffer::zeroed(columns.saturating_mul(layer.words_of_output()))?;
        let mut column = 0;
        for (weight, bias) in parts {
            assert_eq!(weight.len(), inputs * bias.len(), "a weight is (outputs, inputs)");
            layer.bias[column..column + bias.len()].copy_from_slice(bias);
            for row in weight.chunks_exact(inputs.max(1)) {
                layer.pack_output(column, row);
                column += 1;
            }
        }
        Ok(layer)
    }

    /// Rounds the weights of an output and stores them in their column.
    fn pack_output(&mut self, column: usize, weights: &[f32]) {
        let (panel, lane) = (column / LANES, column % LANES);
        let blocks = self.blocks();
        let first_word = panel * self.words_of_output();
        for (block, values) in weights.chunks(self.format.block()).enumerate() {
            let scale = Scale::of(self.format.largest(), values);
            let at = (panel * blocks + block) * LANES + lane;
            self.scales[at] = scale.scale;
            let integers: Vec<i32> = values.iter().map(|value| scale.integer(*value)).collect();
            if self.packing == Packing::OffsetQuads {
                self.starts[at] = -QUAD_OFFSET * integers.iter().sum::<i32>();
            }
            let first_word = first_word + block * self.format.words(self.packing);
            for (word, group) in integers.chunks(self.packing.per_word()).enumerate() {
                let integer = |at: usize| group.get(at).copied().unwrap_or(0);
                self.words[(first_word + word) * LANES + lane] = match self.packing {
                    Packing::Pairs => pair_word([integer(0), integer(1)]),
                    Packing::OffsetQuads | Packing::SignedQuads => {
                        quad_word([0, 1, 2, 3].map(integer))
                    }
                };
            }
        }
    }

    fn blocks(&self) -> usize {
        self.inputs.div_ceil(self.format.block())
    }

    /// Words of an output: blocks of 8 bits are whole.
    fn words_of_output(&self) -> usize {
        match self.format {
            IntegerFormat::Int16 => self.inputs.div_ceil(self.packing.per_word()),
            IntegerFormat::Int8 => self.blocks() * self.format.words(self.packing),
        }
    }

    /// Some inputs of a panel: whole blocks, or those at the end.
    #[inline(always)]
    fn panel_depth<S: IntegerLanes, F: Format>(
        &self,
        panel: usize,
        depth: &Range<usize>,
    ) -> PanelDepth<'_> {
        let (first, end) =
            (depth.start / Shape::<S, F>::BLOCK, depth.end.div_ceil(Shape::<S, F>::BLOCK));
        let (blocks, words) = (panel * self.blocks(), panel * self.words_of_output());
        let of_blocks = blocks + first..blocks + end;
        let last_word = (end * Shape::<S, F>::WORDS).min(self.words_of_output());
        let of_words = words + first * Shape::<S, F>::WORDS..words + last_word;
        PanelDepth {
            words: &self.words.as_chunks().0[of_words],
            scales: &self.scales.as_chunks().0[of_blocks.clone()],
            starts: match Shape::<S, F>::PACKING {
                Packing::Pairs | Packing::SignedQuads => &[],
                Packing::OffsetQuads => &self.starts.as_chunks().0[of_blocks],
            },
        }
    }

    /// `output = activation(input · weightᵀ + bias)`, for an `input` of `(rows, inputs)` and an `output` of
    /// `(rows, outputs)`. What `output` holds before does not matter.
    ///
    /// # Panics
    /// If the two do not have the same number of whole rows, or the layer was packed for other instructions.
    pub fn forward(
        &self,
        unit: IntegerUnit,
        input: &[f32],
        activation: Option<Activation>,
        output: &mut [f32],
    ) {
        assert_eq!(self.packing, unit.packing(self.format), "the layer is packed for the unit");
        let rows = output.len() / self.outputs.max(1);
        assert_eq!(output.len(), rows * self.outputs, "the rows of the output are complete");
        assert_eq!(
            input.len(),
            rows * self.inputs,
            "input and output have the same number of rows"
        );
        let product = Product { layer: self, input, activation, output };
        match self.format {
            IntegerFormat::Int16 => unit.run(In(product, Int16)),
            IntegerFormat::Int8 => unit.run(In(product, Int8)),
        }
    }
}

struct Product<'a> {
    layer: &'a IntegerLinear,
    input: &'a [f32],
    activation: Option<Activation>,
    output: &'a mut [f32],
}

/// A product in a format that the layer was packed in.
struct In<'a, F>(Product<'a>, F);

/// Where rounded rows and panels meet: the first of each, and the inputs that the rows have.
#[derive(Clone, Copy)]
struct Place<'a> {
    row: usize,
    panel: usize,
    depth: &'a Range<usize>,
}

impl<F: Format> IntegerKernel for In<'_, F> {
    #[inline(always)]
    fn run<S: IntegerLanes>(self, simd: S) {
        let In(mut product, _) = self;
        let mut rounded = [RoundedRow::ZERO; BLOCK_ROWS];
        let rows = product.output.len() / product.layer.outputs.max(1);
        let panels = product.layer.outputs.div_ceil(LANES);
        for first_row in (0..rows).step_by(BLOCK_ROWS) {
            let rows = first_row..rows.min(first_row + BLOCK_ROWS);
            for first_k in (0..product.layer.inputs).step_by(BLOCK_DEPTH) {
                let depth = first_k..product.layer.inputs.min(first_k + BLOCK_DEPTH);
                let rounded = &mut rounded[..rows.len()];
                product.round::<S, F>(simd, rows.start, &depth, rounded);
                let mut panel = 0;
                while panel < panels {
                    let together = S::INTEGER_PANELS.min(panels - panel);
                    let place = Place { row: rows.start, panel, depth: &depth };
                    with_constant!(together, S::INTEGER_PANELS, P => {
                        product.multiply_panels::<S, F, P>(simd, place, rounded)
                    });
                    panel += together;
                }
            }
            if let Some(activation) = product.activation {
                let outputs = product.layer.outputs;
                let finished = &mut product.output[rows.start * outputs..rows.end * outputs];
                activation.apply_to_slice(simd, finished);
            }
        }
    }
}

impl Product<'_> {
    /// Rounds some inputs of the rows from `first` on.
    #[inline(always)]
    fn round<S: IntegerLanes, F: Format>(
        &self,
        simd: S,
        first: usize,
        depth: &Range<usize>,
        rounded: &mut [RoundedRow],
    ) {
        for (index, row) in rounded.iter_mut().enumerate() {
            let start = (first + index) * self.layer.inputs;
            let values = &self.input[start + depth.start..start + depth.end];
            let blocks = row.words.chunks_mut(Shape::<S, F>::WORDS).zip(&mut row.scales);
            for (block, (words, scale)) in values.chunks(Shape::<S, F>::BLOCK).zip(blocks) {
                *scale = quantize(simd, Shape::<S, F>::PACKING, F::FORMAT.largest(), block, words);
            }
        }
    }

    /// The rounded rows × `P` panels.
    #[inline(always)]
    fn multiply_panels<S: IntegerLanes, F: Format, const P: usize>(
        &mut self,
        simd: S,
        place: Place,
        rounded: &[RoundedRow],
    ) {
        let mut panels = [PanelDepth::default(); P];
        for (p, panel) in panels.iter_mut().enumerate() {
            *panel = self.layer.panel_depth::<S, F>(place.panel + p, place.depth);
        }
        let IntegerLinear { outputs, bias, .. } = self.layer;
        let columns = place.panel * LANES..(*outputs).min((place.panel + P) * LANES);
        let bias = &bias[place.panel * LANES..(place.panel + P) * LANES];
        for rows in micro_tiles(0..rounded.len(), Shape::<S, F>::ROWS) {
            let first = place.row + rows.start;
            let sums = Sums {
                bias: (place.depth.start == 0).then_some(bias),
                output: &mut self.output[first * outputs..][..rows.len() * outputs],
                columns: columns.clone(),
            };
            let rounded = &rounded[rows.clone()];
            with_constant!(rows.len(), Shape::<S, F>::ROWS, R => {
                let format = PhantomData::<F>;
                let micro_tile = MicroTile::<F, R, P> { rounded, panels: &panels, sums, format };
                simd.run(OnLanes(micro_tile, simd))
            });
        }
    }
}

/// A micro-tile of `R` rows × `P` panels.
struct MicroTile<'a, F, const R: usize, const P: usize> {
    /// Its rows.
    rounded: &'a [RoundedRow],
    panels: &'a [PanelDepth<'a>; P],
    sums: Sums<'a>,
    format: PhantomData<F>,
}

impl<F: Format, const R: usize, const P: usize> IntegerKernel for MicroTile<'_, F, R, P> {
    #[inline(always)]
    fn run<S: IntegerLanes>(self, simd: S) {
        let Some(rows) = self.rounded.first_chunk::<R>() else {
            unreachable!("a micro-tile has rounded rows")
        };
        multiply_blocks::<S, F, R, P>(simd, rows, self.panels, self.sums);
    }
}
