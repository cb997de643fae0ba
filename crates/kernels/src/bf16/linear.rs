//! bf16 linear layers: weights packed in blocks, and epilogues for the finished sums.
//!
//! ```text
//!  panels of 32 outputs             for each 32 rows                       activations come from L1
//!  ┌────┐ ┌────┐                      for each panel                       the panels pass by, from L2
//!  │k=0 │ │    │ a block                for each 32 k: four products of tiles
//!  ├────┤ ├────┤ (or two: high,          and, between them, the epilogue of some rows of the previous sums:
//!  │k=32│ │    │  low), contiguous         bias, activation, rounding; or bias, residual
//!  ├────┤ ├────┤                      residual: layer norm and rounding of the 32 rows
//!  │ …  │ │    │
//!  └────┘ └────┘
//! ```
//!
//! AMX works in parallel to the lanes: while it multiplies a block, the lanes run the epilogue of the
//! previous sums. The interleaving does not affect any value.

use std::ops::Range;

use crate::activation::Activation;
use crate::bf16::products::{BlockKernel, Extent, Interleaved, Products};
use crate::bf16::{BLOCK_LEN, BLOCK_SIDE, BlockMatrix, BlockMatrixRef, Panel, pad_to_block, parts};
use crate::buffer::{AlignedBuffer, AllocationError};
use crate::heads::Heads;
use crate::isa::Isa;
use crate::norm::{LayerNorm, normalize_row};
use crate::simd::{Kernel, LANES, Simd};

/// A bf16 linear layer: its weights in blocks, and its bias.
#[derive(Debug)]
pub(crate) struct Bf16Linear {
    /// Blocks along k.
    depth: usize,
    /// Panels of 32 outputs.
    panels: usize,
    split: bool,
    /// `(panels, depth, parts)` blocks.
    blocks: AlignedBuffer<u16>,
    /// One value for each column of the panels.
    bias: AlignedBuffer,
}

impl Bf16Linear {
    /// Packs layers of the same input side by side, as `F32Linear::pack` does. Each head of the inputs and of
    /// the outputs starts with a block; weights and biases that pad a head are zeros.
    ///
    /// # Errors
    /// If the memory for the packed weights cannot be allocated.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias, or if the outputs are not whole heads.
    pub fn pack(
        isa: Isa,
        split: bool,
        inputs: Heads,
        outputs: Heads,
        layers: &[(&[f32], &[f32])],
    ) -> Result<Self, AllocationError> {
        let columns: usize = layers.iter().map(|(_, bias)| bias.len()).sum();
        let heads = columns / outputs.size;
        assert_eq!(columns, heads * outputs.size, "the outputs are whole heads");
        let depth = inputs.padded_width() / BLOCK_SIDE;
        let panels = heads * pad_to_block(outputs.size) / BLOCK_SIDE;
        let blocks = panels.saturating_mul(depth).saturating_mul(parts(split));
        let mut layer = Bf16Linear {
            depth,
            panels,
            split,
            blocks: AlignedBuffer::zeroed(blocks.saturating_mul(BLOCK_LEN))?,
            bias: AlignedBuffer::zeroed(panels * BLOCK_SIDE)?,
        };
        let mut output = 0;
        for (weight, bias) in layers {
            assert_eq!(weight.len(), inputs.width() * bias.len(), "a weight is (outputs, inputs)");
            let rows = weight.chunks_exact(inputs.width().max(1));
            for (row, bias) in rows.zip(*bias) {
                let column = outputs.padded_column(output);
                layer.bias[column] = *bias;
                isa.run(PackRow { layer: &mut layer, inputs, row, column });
                output += 1;
            }
        }
        Ok(layer)
    }

    #[inline(always)]
    fn panel(&self, panel: usize) -> Panel<'_> {
        Panel::new(&self.blocks, panel, self.depth, self.split)
    }
}

/// Rounds the weights of one output and stores them in their blocks.
struct PackRow<'a> {
    layer: &'a mut Bf16Linear,
    inputs: Heads,
    row: &'a [f32],
    column: usize,
}

impl Kernel for PackRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (panel, column) = (self.column / BLOCK_SIDE, self.column % BLOCK_SIDE);
        let parts = parts(self.layer.split);
        // The offset in a block: its tile, and the first pair of the column in that tile.
        let offset = column / LANES * (BLOCK_LEN / 2) + column % LANES * 2;
        for (number, head) in self.row.chunks(self.inputs.size).enumerate() {
            for (block, values) in head.chunks(BLOCK_SIDE).enumerate() {
                let k = number * pad_to_block(self.inputs.size) / BLOCK_SIDE + block;
                let first = (panel * self.layer.depth + k) * parts * BLOCK_LEN + offset;
                for (sixteen, values) in values.chunks(LANES).enumerate() {
                    let values = simd.load_partial(values);
                    let high = simd.round_to_bf16(values);
                    let mut rounded = [[0; LANES]; 2];
                    simd.store_upper_halves(high, &mut rounded[0]);
                    simd.store_upper_halves(
                        simd.round_to_bf16(simd.sub(values, high)),
                        &mut rounded[1],
                    );
                    for (part, rounded) in rounded.iter().enumerate().take(parts) {
                        let first = first + part * BLOCK_LEN + sixteen * LANES / 2 * BLOCK_SIDE;
                        for (pair, values) in rounded.as_chunks::<2>().0.iter().enumerate() {
                            let to = first + pair * BLOCK_SIDE;
                            self.layer.blocks[to..to + 2].copy_from_slice(values);
                        }
                    }
                }
            }
        }
    }
}

/// What a linear layer does with its finished sums.
pub(crate) trait Epilogue {
    /// Prepares for these rows and this panel, whose products start now.
    fn prepare<S: Simd>(&mut self, simd: S, rows: Range<usize>, panel: usize);

    /// Consumes the sums of a row in a panel: 32 columns.
    fn finish_row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; BLOCK_SIDE]);

    /// Completes these rows, of which every panel is finished.
    fn complete_rows<S: Simd>(&mut self, simd: S, rows: Range<usize>);
}

/// `epilogue(input · weightᵀ)`.
pub(crate) struct LinearProduct<'a, E> {
    pub layer: &'a Bf16Linear,
    pub input: BlockMatrixRef<'a>,
    pub epilogue: E,
}

/// The rows and the panel of sums that wait for their epilogue.
struct Pending {
    rows: Range<usize>,
    panel: usize,
    /// Rows whose epilogue is done.
    done: usize,
}

#[repr(align(64))]
struct Sums([f32; BLOCK_LEN]);

impl<E: Epilogue> BlockKernel for LinearProduct<'_, E> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(mut self, simd: S, products: &mut P) {
        let (layer, input) = (self.layer, self.input);
        let Bf16Linear { depth, panels, split, .. } = *layer;
        assert_eq!(input.column_blocks(), depth, "the input has the width of the layer");
        assert_eq!(input.is_split(), split, "the input has the precision of the layer");
        let total = input.rows();
        let (mut one, mut other) = (Sums([0.0; BLOCK_LEN]), Sums([0.0; BLOCK_LEN]));
        let (mut current, mut previous) = (&mut one, &mut other);
        let mut pending = Pending { rows: 0..0, panel: 0, done: 0 };
        for first in (0..total).step_by(BLOCK_SIDE) {
            let rows = first..total.min(first + BLOCK_SIDE);
            for panel in 0..panels {
                self.epilogue.prepare(simd, rows.clone(), panel);
                let (left, right) = (input.panel(first), layer.panel(panel));
                let extent =
                    Extent { rows: rows.len(), columns: BLOCK_SIDE, depth: depth * BLOCK_SIDE };
                let factors = |k| [left.block(k), right.block(k)];
                let rows_per_block = pending.rows.len().div_ceil(depth);
                let product = &mut self;
                let mut waiting =
                    Waiting { product, pending: &mut pending, sums: previous, rows_per_block };
                products.multiply(simd, extent, factors, &mut waiting, &mut current.0, BLOCK_SIDE);
                std::mem::swap(&mut current, &mut previous);
                pending = Pending { rows: rows.clone(), panel, done: 0 };
            }
        }
        self.finish(simd, &mut pending, previous, BLOCK_SIDE);
    }
}

/// The epilogue of the previous panel, row by row while the next one is multiplied.
struct Waiting<'w, 'a, E> {
    product: &'w mut LinearProduct<'a, E>,
    pending: &'w mut Pending,
    sums: &'w Sums,
    rows_per_block: usize,
}

impl<E: Epilogue> Interleaved for Waiting<'_, '_, E> {
    #[inline(always)]
    fn advance<S: Simd>(&mut self, simd: S, blocks: usize) {
        let count = self.rows_per_block * blocks;
        self.product.finish(simd, self.pending, self.sums, count);
    }
}

impl<E: Epilogue> LinearProduct<'_, E> {
    /// The epilogue of the next `count` rows of the pending sums.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, pending: &mut Pending, sums: &Sums, count: usize) {
        if pending.done == pending.rows.len() {
            return;
        }
        let next = pending.done..pending.rows.len().min(pending.done + count);
        pending.done = next.end;
        for row in next {
            let sums = &sums.0.as_chunks::<BLOCK_SIDE>().0[row];
            self.epilogue.finish_row(simd, pending.rows.start + row, pending.panel, sums);
        }
        if pending.done == pending.rows.len() && pending.panel + 1 == self.layer.panels {
            self.epilogue.complete_rows(simd, pending.rows.clone());
        }
    }
}

/// `output = activation(sums + bias)`, rounded.
pub(crate) struct ActivationEpilogue<'a> {
    bias: &'a [f32],
    activation: Option<Activation>,
    output: BlockMatrix<'a>,
}

impl<'a> ActivationEpilogue<'a> {
    pub fn new(
        layer: &'a Bf16Linear,
        activation: Option<Activation>,
        output: BlockMatrix<'a>,
    ) -> Self {
        assert_eq!(
            output.as_ref().column_blocks(),
            layer.panels,
            "the output has the width of the layer"
        );
        ActivationEpilogue { bias: &layer.bias, activation, output }
    }
}

impl Epilogue for ActivationEpilogue<'_> {
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, _: S, _: Range<usize>, _: usize) {}

    #[inline(always)]
    fn finish_row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; BLOCK_SIDE]) {
        let bias = self.bias[panel * BLOCK_SIDE..][..BLOCK_SIDE].as_chunks::<LANES>().0;
        let sums = sums.as_chunks::<LANES>().0;
        let mut values = [
            simd.add(simd.load(&sums[0]), simd.load(&bias[0])),
            simd.add(simd.load(&sums[1]), simd.load(&bias[1])),
        ];
        if let Some(activation) = self.activation {
            values = activation.apply_to_lanes(simd, values);
        }
        self.output.store(simd, row, panel, values);
    }

    #[inline(always)]
    fn complete_rows<S: Simd>(&mut self, _: S, _: Range<usize>) {}
}

/// `output = sums + bias`, in f32, row-major.
pub(crate) struct RowsEpilogue<'a> {
    bias: &'a [f32],
    output: &'a mut [f32],
    width: usize,
}

impl<'a> RowsEpilogue<'a> {
    pub fn new(layer: &'a Bf16Linear, rows: usize, output: &'a mut [f32]) -> Self {
        let width = output.len() / rows.max(1);
        assert_eq!(output.len(), rows * width, "the rows of the output are complete");
        assert_eq!(
            pad_to_block(width),
            layer.panels * BLOCK_SIDE,
            "the output has the width of the layer"
        );
        RowsEpilogue { bias: &layer.bias, output, width }
    }
}

impl Epilogue for RowsEpilogue<'_> {
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, _: S, _: Range<usize>, _: usize) {}

    #[inline(always)]
    fn finish_row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; BLOCK_SIDE]) {
        let bias = self.bias[panel * BLOCK_SIDE..][..BLOCK_SIDE].as_chunks::<LANES>().0;
        let columns = panel * BLOCK_SIDE..self.width.min((panel + 1) * BLOCK_SIDE);
        let output = &mut self.output[row * self.width..][columns];
        let sums = sums.as_chunks::<LANES>().0.iter().zip(bias);
        for (output, (sum, bias)) in output.chunks_mut(LANES).zip(sums) {
            simd.store_partial(simd.add(simd.load(sum), simd.load(bias)), output);
        }
    }

    #[inline(always)]
    fn complete_rows<S: Simd>(&mut self, _: S, _: Range<usize>) {}
}

/// `hidden = normalize(hidden + (sums + bias))`, kept in f32 and rounded.
pub(crate) struct ResidualEpilogue<'a> {
    bias: &'a [f32],
    norm: &'a LayerNorm,
    hidden: &'a mut [f32],
    rounded: BlockMatrix<'a>,
}

impl<'a> ResidualEpilogue<'a> {
    pub fn new(
        layer: &'a Bf16Linear,
        norm: &'a LayerNorm,
        hidden: &'a mut [f32],
        rounded: BlockMatrix<'a>,
    ) -> Self {
        assert_eq!(
            pad_to_block(norm.width()),
            layer.panels * BLOCK_SIDE,
            "the rows have the width of the layer"
        );
        assert_eq!(
            hidden.len(),
            rounded.rows() * norm.width(),
            "both forms have the same number of rows"
        );
        ResidualEpilogue { bias: &layer.bias, norm, hidden, rounded }
    }
}

impl Epilogue for ResidualEpilogue<'_> {
    /// The residual stream of many tokens is not in L2, and the hardware does not prefetch from row to row.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, rows: Range<usize>, panel: usize) {
        let width = self.norm.width();
        let columns = panel * BLOCK_SIDE..width.min((panel + 1) * BLOCK_SIDE);
        for row in rows {
            for line in self.hidden[row * width..][columns.clone()].chunks(LANES) {
                simd.prefetch(line);
            }
        }
    }

    #[inline(always)]
    fn finish_row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; BLOCK_SIDE]) {
        let width = self.norm.width();
        let bias = self.bias[panel * BLOCK_SIDE..][..BLOCK_SIDE].as_chunks::<LANES>().0;
        let columns = panel * BLOCK_SIDE..width.min((panel + 1) * BLOCK_SIDE);
        let hidden = &mut self.hidden[row * width..][columns];
        let sums = sums.as_chunks::<LANES>().0.iter().zip(bias);
        for (hidden, (sum, bias)) in hidden.chunks_mut(LANES).zip(sums) {
            let added = simd.add(simd.load(sum), simd.load(bias));
            simd.store_partial(simd.add(simd.load_partial(hidden), added), hidden);
        }
    }

    #[inline(always)]
    fn complete_rows<S: Simd>(&mut self, simd: S, rows: Range<usize>) {
        let width = self.norm.width();
        for row in rows {
            let hidden = &mut self.hidden[row * width..][..width];
            normalize_row(simd, self.norm, &[], hidden);
            round_head(simd, hidden, &mut self.rounded, row, 0);
        }
    }
}

/// Rounds rows of f32, `(rows, heads.width())`, and stores them from row `first` on. Each head starts with
/// a block; the columns that pad it are zeros.
pub(crate) struct RoundRows<'a> {
    pub rows: &'a [f32],
    pub heads: Heads,
    pub first: usize,
    pub rounded: BlockMatrix<'a>,
}

impl Kernel for RoundRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let blocks = pad_to_block(self.heads.size) / BLOCK_SIDE;
        for (row, values) in self.rows.chunks_exact(self.heads.width().max(1)).enumerate() {
            for (head, values) in values.chunks_exact(self.heads.size).enumerate() {
                round_head(simd, values, &mut self.rounded, self.first + row, head * blocks);
            }
        }
    }
}

/// Rounds a head of a row and stores it from `first_block` on; the columns that pad it are zeros.
#[inline(always)]
fn round_head<S: Simd>(
    simd: S,
    values: &[f32],
    rounded: &mut BlockMatrix,
    row: usize,
    first_block: usize,
) {
    for (block, values) in values.chunks(BLOCK_SIDE).enumerate() {
        let (first, second) = values.split_at(values.len().min(LANES));
        let values = [simd.load_partial(first), simd.load_partial(second)];
        rounded.store(simd, row, first_block + block, values);
    }
}
