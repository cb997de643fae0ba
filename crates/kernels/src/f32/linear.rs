//! f32 linear layers: `output = activation(input · weightᵀ + bias)`, with weights that are packed once.
//!
//! ```text
//!  weight (outputs, inputs)              panels of 16 outputs
//!  row-major, as torch stores it         k = 0  | w0 w1 ... w15 |   one cache line,
//!                                        k = 1  | w0 w1 ... w15 |   one vector
//!                                        ...      (K lines)
//!
//!            panel (L1)                  for each block of BLOCK_ROWS rows       input stays in L2
//!          ┌────────┐                      for each BLOCK_DEPTH of K             part of a panel fits L1
//!          │ 16 wide│                        for each panel (or three)
//!  micro-┌─┼────────┤                          for each micro-tile of rows       sums stay in registers
//!  tile  │ │  sums  │                            for each k: sums += input × panel
//!        └─┴────────┘                        activation, while the block is in L2
//! ```
//!
//! Loops and packing are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication" (2008): BLOCK_ROWS is their MC, BLOCK_DEPTH their KC, a micro-tile MR × NR.
//!
//! Every output is one chain `bias + x₀w₀ + x₁w₁ + …` of fused multiply-adds in K order. Between two
//! depths the chain waits in the output as an f32, with the bits that it has in a register.

use std::ops::Range;

use crate::activation::Activation;
use crate::buffer::{AlignedBuffer, AllocationError};
use crate::f32::micro_kernel::multiply_accumulate;
use crate::isa::Isa;
use crate::micro_tiles::{micro_tiles, with_constant};
use crate::simd::{Kernel, LANES, Simd};

/// MC: a block's input and output stay in L2 while every panel passes by. A multiple of every MR.
const BLOCK_ROWS: usize = 48;
/// KC: 24 KiB of each panel are in L1 together with the rows of one micro-tile.
const BLOCK_DEPTH: usize = 384;

/// An f32 linear layer: its weights in panels, and its bias.
#[derive(Debug)]
pub struct F32Linear {
    inputs: usize,
    outputs: usize,
    /// `(panels, inputs, 16)`; the columns past `outputs` are zeros.
    panels: AlignedBuffer,
    /// One value for each column of the panels.
    bias: AlignedBuffer,
}

impl F32Linear {
    /// Packs layers of the same input side by side, so that their outputs follow each other. Each part is a
    /// weight `(outputs, inputs)`, row-major, and a bias `(outputs)`.
    ///
    /// # Errors
    /// If the memory for the packed weights cannot be allocated.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias.
    pub fn pack(inputs: usize, parts: &[(&[f32], &[f32])]) -> Result<Self, AllocationError> {
        let outputs: usize = parts.iter().map(|(_, bias)| bias.len()).sum();
        let columns = outputs.next_multiple_of(LANES);
        let mut panels = AlignedBuffer::zeroed(columns.saturating_mul(inputs))?;
        let mut biases = AlignedBuffer::zeroed(columns)?;
        let mut column = 0;
        for (weight, bias) in parts {
            assert_eq!(weight.len(), inputs * bias.len(), "a weight is (outputs, inputs)");
            biases[column..column + bias.len()].copy_from_slice(bias);
            for row in weight.chunks_exact(inputs.max(1)) {
                let first = column / LANES * inputs * LANES + column % LANES;
                let into = panels[first..].iter_mut().step_by(LANES);
                into.zip(row).for_each(|(into, value)| *into = *value);
                column += 1;
            }
        }
        Ok(F32Linear { inputs, outputs, panels, bias: biases })
    }

    /// Values of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Values of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `output = activation(input · weightᵀ + bias)`, for an `input` of `(rows, inputs)` and an `output` of
    /// `(rows, outputs)`. What `output` holds before does not matter.
    ///
    /// # Panics
    /// If the two do not have the same number of whole rows.
    pub fn forward(
        &self,
        isa: Isa,
        input: &[f32],
        activation: Option<Activation>,
        output: &mut [f32],
    ) {
        let rows = output.len() / self.outputs.max(1);
        assert_eq!(output.len(), rows * self.outputs, "the rows of the output are complete");
        assert_eq!(
            input.len(),
            rows * self.inputs,
            "input and output have the same number of rows"
        );
        isa.run(Product { layer: self, input, activation, output });
    }
}

struct Product<'a> {
    layer: &'a F32Linear,
    input: &'a [f32],
    activation: Option<Activation>,
    output: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let rows = self.output.len() / self.layer.outputs.max(1);
        let panels = self.layer.outputs.div_ceil(LANES);
        for first_row in (0..rows).step_by(BLOCK_ROWS) {
            let block = first_row..rows.min(first_row + BLOCK_ROWS);
            for first_k in (0..self.layer.inputs).step_by(BLOCK_DEPTH) {
                let depth = first_k..self.layer.inputs.min(first_k + BLOCK_DEPTH);
                let mut panel = 0;
                while panel < panels {
                    let together = (panels - panel).min(S::MICRO_TILE_PANELS);
                    let (block, depth) = (block.clone(), depth.clone());
                    with_constant!(together, S::MICRO_TILE_PANELS, P => {
                        self.multiply_panels::<S, P>(simd, panel, block, depth)
                    });
                    panel += together;
                }
            }
            if let Some(activation) = self.activation {
                let outputs = self.layer.outputs;
                let finished = &mut self.output[block.start * outputs..block.end * outputs];
                activation.apply_to_slice(simd, finished);
            }
        }
    }
}

impl Product<'_> {
    /// A block of rows × `P` panels, over a range of K.
    #[inline(always)]
    fn multiply_panels<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        panel: usize,
        block: Range<usize>,
        depth: Range<usize>,
    ) {
        for micro_tile in micro_tiles(block, S::MICRO_TILE_ROWS) {
            let row = micro_tile.start;
            with_constant!(micro_tile.len(), S::MICRO_TILE_ROWS, R => {
                simd.run(MicroTile::<R, P> { product: self, panel, row, depth: &depth })
            });
        }
    }
}

/// A micro-tile of `R` rows × `P` panels, over a range of K.
struct MicroTile<'p, 'a, const R: usize, const P: usize> {
    product: &'p mut Product<'a>,
    panel: usize,
    row: usize,
    depth: &'p Range<usize>,
}

impl<const R: usize, const P: usize> Kernel for MicroTile<'_, '_, R, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let MicroTile { product, panel, row, depth } = self;
        let F32Linear { inputs, outputs, panels, bias } = product.layer;
        let mut rows: [&[f32]; R] = [&[]; R];
        for (r, values) in rows.iter_mut().enumerate() {
            let start = (row + r) * inputs;
            *values = &product.input[start + depth.start..start + depth.end];
        }
        let mut weights: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in weights.iter_mut().enumerate() {
            let start = (panel + p) * inputs;
            *lines = &panels.as_chunks().0[start + depth.start..start + depth.end];
        }
        let mut sums = [[simd.splat(0.0); P]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                let column = (panel + p) * LANES;
                *sum = if depth.start == 0 {
                    simd.load_partial(&bias[column..column + LANES])
                } else {
                    let start = (row + r) * outputs;
                    let width = (outputs - column).min(LANES);
                    simd.load_partial(&product.output[start + column..][..width])
                };
            }
        }
        let sums = multiply_accumulate(simd, rows, weights, sums);
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let column = (panel + p) * LANES;
                let start = (row + r) * outputs;
                let width = (outputs - column).min(LANES);
                simd.store_partial(*sum, &mut product.output[start + column..][..width]);
            }
        }
    }
}
