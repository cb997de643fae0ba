//! F32Linear layers: `output = activation(input · weightᵀ + bias)` with weights that were packed once.
//!
//! ```text
//!  weight (outputs, inputs)              panels: 16 outputs wide, one after the other
//!  row-major, as torch stores it         k = 0  | w0 w1 ... w15 |   one cache line,
//!                                        k = 1  | w0 w1 ... w15 |   one vector
//!                                        ...      (K lines)
//!
//!            panel (L1)                  for each block of ROWS rows             input stays in L2
//!          ┌────────┐                      for each DEPTH of K                   a panel's part fits L1
//!          │ 16 wide│                        for each panel (or three)
//!  tile ►┌─┼────────┤                          for each tile of rows             sums live in registers
//!  rows  │ │  sums  │                            for each k: sums += input × panel
//!        └─┴────────┘                        activation, while the block is in L2
//! ```
//!
//! Every output is one chain `bias + x₀w₀ + x₁w₁ + …` of fused multiply-adds in K order. A chain that is
//! interrupted between two depths waits in the output as an f32, which is what it is in a register too.

use std::ops::Range;

use super::simd::{Kernel, LANES, MAX_TILE_PANELS, MAX_TILE_ROWS, Simd};
use super::{Activation, AlignedBuffer, AllocationError, Isa};

/// Rows of a block: its input and output stay in L2 while every panel passes by. A multiple of all tiles.
const ROWS: usize = 48;
/// K steps before the next panel: 24 KiB of each panel, next to the rows of one tile in L1.
const DEPTH: usize = 384;

/// The weights of a linear layer in panels, with its bias.
#[derive(Debug)]
pub struct F32Linear {
    inputs: usize,
    outputs: usize,
    /// `(panels, inputs, 16)`; the columns past `outputs` are zeros.
    panels: AlignedBuffer,
    /// One for each column of the panels.
    bias: AlignedBuffer,
}

impl F32Linear {
    /// Packs layers of the same input side by side: their outputs follow each other. Each part is a weight of
    /// `(outputs, inputs)`, row-major, and a bias of `outputs`.
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

    /// Width of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `output = activation(input · weightᵀ + bias)`, with `input` of `(rows, inputs)` and `output` of
    /// `(rows, outputs)`.
    ///
    /// # Panics
    /// If the two do not have the same number of rows.
    pub fn forward(
        &self,
        isa: Isa,
        input: &[f32],
        activation: Option<Activation>,
        output: &mut [f32],
    ) {
        let rows = output.len() / self.outputs.max(1);
        assert_eq!(output.len(), rows * self.outputs, "the output holds whole rows");
        assert_eq!(input.len(), rows * self.inputs, "input and output have as many rows");
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
        for first_row in (0..rows).step_by(ROWS) {
            let block = first_row..rows.min(first_row + ROWS);
            for first_k in (0..self.layer.inputs).step_by(DEPTH) {
                let depth = first_k..self.layer.inputs.min(first_k + DEPTH);
                let mut panel = 0;
                while panel < panels {
                    let together = (panels - panel).min(S::TILE_PANELS);
                    let (block, depth) = (block.clone(), depth.clone());
                    match together {
                        MAX_TILE_PANELS => self.stripe::<S, 3>(simd, panel, block, depth),
                        2 => self.stripe::<S, 2>(simd, panel, block, depth),
                        _ => self.stripe::<S, 1>(simd, panel, block, depth),
                    }
                    panel += together;
                }
            }
            if let Some(activation) = self.activation {
                let outputs = self.layer.outputs;
                let finished = &mut self.output[block.start * outputs..block.end * outputs];
                activation.run(simd, finished);
            }
        }
    }
}

impl Product<'_> {
    /// `P` panels of the output for a block of rows and a range of K.
    #[inline(always)]
    fn stripe<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        panel: usize,
        block: Range<usize>,
        depth: Range<usize>,
    ) {
        for tile in tiles(block, S::TILE_ROWS) {
            match tile.len() {
                MAX_TILE_ROWS => self.tile::<S, 8, P>(simd, panel, tile.start, &depth),
                7 => self.tile::<S, 7, P>(simd, panel, tile.start, &depth),
                6 => self.tile::<S, 6, P>(simd, panel, tile.start, &depth),
                5 => self.tile::<S, 5, P>(simd, panel, tile.start, &depth),
                4 => self.tile::<S, 4, P>(simd, panel, tile.start, &depth),
                3 => self.tile::<S, 3, P>(simd, panel, tile.start, &depth),
                2 => self.tile::<S, 2, P>(simd, panel, tile.start, &depth),
                _ => self.tile::<S, 1, P>(simd, panel, tile.start, &depth),
            }
        }
    }

    /// `R` rows of `P` panels.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        panel: usize,
        row: usize,
        depth: &Range<usize>,
    ) {
        let F32Linear { inputs, outputs, panels, bias } = self.layer;
        let mut rows: [&[f32]; R] = [&[]; R];
        for (r, values) in rows.iter_mut().enumerate() {
            let start = (row + r) * inputs;
            *values = &self.input[start + depth.start..start + depth.end];
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
                    simd.load_partial(&self.output[start + column..][..width])
                };
            }
        }
        let sums = multiply_accumulate(simd, rows, weights, sums);
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let column = (panel + p) * LANES;
                let start = (row + r) * outputs;
                let width = (outputs - column).min(LANES);
                simd.store_partial(*sum, &mut self.output[start + column..][..width]);
            }
        }
    }
}

/// Cuts rows into tiles of at most `most`, of like size: a tile of one row has too few chains to keep the
/// multiply-add units busy.
#[inline(always)]
pub(crate) fn tiles(rows: Range<usize>, most: usize) -> Tiles {
    Tiles { left: rows.len().div_ceil(most), rows }
}

pub(crate) struct Tiles {
    rows: Range<usize>,
    left: usize,
}

impl Iterator for Tiles {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        if self.left == 0 {
            return None;
        }
        let start = self.rows.start;
        let end = start + self.rows.len().div_ceil(self.left);
        self.left -= 1;
        self.rows.start = end;
        Some(start..end)
    }
}

/// `sums[r][p] += rows[r][k] · panels[p][k]` for each k in order: the inner loop of every matrix product.
/// Rows and panels have the same number of k.
#[inline(always)]
pub(crate) fn multiply_accumulate<S: Simd, const R: usize, const P: usize>(
    simd: S,
    rows: [&[f32]; R],
    panels: [&[[f32; LANES]]; P],
    mut sums: [[S::Lanes; P]; R],
) -> [[S::Lanes; P]; R] {
    let depth = panels[0].len();
    let whole = depth - depth % STEPS;
    for first in (0..whole).step_by(STEPS) {
        // Arrays of a fixed length: bounds are checked here, once, and not at each step.
        let mut values = [&[0.0; STEPS]; R];
        for r in 0..R {
            values[r] = part(rows[r], first);
        }
        let mut weights = [&[[0.0; LANES]; STEPS]; P];
        for p in 0..P {
            weights[p] = part(panels[p], first);
        }
        for step in 0..STEPS {
            let mut of_step = [simd.splat(0.0); P];
            for p in 0..P {
                of_step[p] = simd.load(&weights[p][step]);
            }
            for r in 0..R {
                let value = simd.splat(values[r][step]);
                for p in 0..P {
                    sums[r][p] = simd.mul_add(value, of_step[p], sums[r][p]);
                }
            }
        }
    }
    for k in whole..depth {
        for r in 0..R {
            let value = simd.splat(rows[r][k]);
            for p in 0..P {
                sums[r][p] = simd.mul_add(value, simd.load(&panels[p][k]), sums[r][p]);
            }
        }
    }
    sums
}

/// K steps between two checks of bounds.
const STEPS: usize = 4;

/// The `STEPS` elements from `first` on.
#[inline(always)]
fn part<T>(of: &[T], first: usize) -> &[T; STEPS] {
    match of[first..].first_chunk() {
        Some(part) => part,
        None => unreachable!("a row and a panel are as deep as the first panel"),
    }
}
