//! F32Linear layers over tiles: weights in squares, and what becomes of a finished block of sums.
//!
//! ```text
//!  panels of 32 outputs             for each 32 rows                       activations from L1
//!  ┌────┐ ┌────┐                      for each panel                       the panels pass by, out of L2
//!  │k=0 │ │    │ a square               for each 32 k: four products of tiles
//!  ├────┤ ├────┤ (or two: high,          and, between them, some rows of the block before:
//!  │k=32│ │    │  low), contiguous         bias, activation, rounding — or bias, residual
//!  ├────┤ ├────┤                      residual: layer norm and rounding of the 32 rows
//!  │ …  │ │    │
//!  └────┘ └────┘
//! ```
//!
//! The tile unit works for itself: while it multiplies a square, the lanes finish rows of the block before. What
//! is interleaved with what decides nothing about a value.

use std::ops::Range;

use super::products::{Extent, Products};
use super::{SIDE, SQUARE, Squares, TileKernel, Tiles, TilesRef, padded};
use crate::norm::normalize_row;
use crate::simd::{Kernel, LANES, Simd};
use crate::{Activation, AlignedBuffer, AllocationError, Heads, Isa, LayerNorm};

/// The weights of a linear layer in squares, with its bias.
#[derive(Debug)]
pub(crate) struct TileLinear {
    /// Squares of k.
    depth: usize,
    /// Squares of outputs.
    panels: usize,
    split: bool,
    /// `(panels, depth, parts)` squares.
    squares: AlignedBuffer<u16>,
    /// One for each column of the panels.
    bias: AlignedBuffer,
}

impl TileLinear {
    /// Packs layers of the same input side by side, as [`crate::F32Linear::pack`]. Each head of the inputs,
    /// and each of the outputs, begins with a square; weights and bias between them are zeros.
    ///
    /// # Panics
    /// If a weight is not `inputs` times as long as its bias, or a part is not whole heads.
    pub fn pack(
        isa: Isa,
        split: bool,
        inputs: Heads,
        outputs: Heads,
        parts: &[(&[f32], &[f32])],
    ) -> Result<Self, AllocationError> {
        let columns: usize = parts.iter().map(|(_, bias)| bias.len()).sum();
        let heads = columns / outputs.size;
        assert_eq!(columns, heads * outputs.size, "the outputs are whole heads");
        let depth = inputs.padded_width() / SIDE;
        let panels = heads * padded(outputs.size) / SIDE;
        let squares = panels.saturating_mul(depth).saturating_mul(if split { 2 } else { 1 });
        let mut layer = TileLinear {
            depth,
            panels,
            split,
            squares: AlignedBuffer::zeroed(squares.saturating_mul(SQUARE))?,
            bias: AlignedBuffer::zeroed(panels * SIDE)?,
        };
        let mut output = 0;
        for (weight, bias) in parts {
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

    /// The weights of a panel.
    #[inline(always)]
    fn squares(&self, panel: usize) -> Squares<'_> {
        Squares::of(&self.squares, panel, self.depth, self.split)
    }
}

/// Rounds the weights of one output and puts them where tiles want them.
struct PackRow<'a> {
    layer: &'a mut TileLinear,
    inputs: Heads,
    row: &'a [f32],
    column: usize,
}

impl Kernel for PackRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (panel, column) = (self.column / SIDE, self.column % SIDE);
        let parts = if self.layer.split { 2 } else { 1 };
        // Of the square: its tile, and within the tile the first value of the column's first pair.
        let place = column / LANES * (SQUARE / 2) + column % LANES * 2;
        for (number, head) in self.row.chunks(self.inputs.size).enumerate() {
            for (square, values) in head.chunks(SIDE).enumerate() {
                let k = number * padded(self.inputs.size) / SIDE + square;
                let first = (panel * self.layer.depth + k) * parts * SQUARE + place;
                for (sixteen, values) in values.chunks(LANES).enumerate() {
                    let values = simd.load_partial(values);
                    let high = simd.nearest_bf16(values);
                    let mut rounded = [[0; LANES]; 2];
                    simd.store_upper(high, &mut rounded[0]);
                    simd.store_upper(simd.nearest_bf16(simd.sub(values, high)), &mut rounded[1]);
                    for (part, rounded) in rounded.iter().enumerate().take(parts) {
                        let first = first + part * SQUARE + sixteen * LANES / 2 * SIDE;
                        for (pair, values) in rounded.as_chunks::<2>().0.iter().enumerate() {
                            let to = first + pair * SIDE;
                            self.layer.squares[to..to + 2].copy_from_slice(values);
                        }
                    }
                }
            }
        }
    }
}

/// What becomes of the sums.
pub(crate) trait Epilogue {
    /// The sums of these rows and this panel come next.
    fn prepare<S: Simd>(&mut self, simd: S, rows: Range<usize>, panel: usize);

    /// Finishes 32 columns of a row.
    fn row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; SIDE]);

    /// Every column of these rows is finished.
    fn rows_done<S: Simd>(&mut self, simd: S, rows: Range<usize>);
}

/// `epilogue(input · weightᵀ)`.
pub(crate) struct Product<'a, E> {
    pub layer: &'a TileLinear,
    pub input: TilesRef<'a>,
    pub epilogue: E,
}

/// Sums that wait for their epilogue.
struct Finished {
    rows: Range<usize>,
    panel: usize,
    /// Rows that are through.
    done: usize,
}

#[repr(align(64))]
struct Block([f32; SQUARE]);

impl<E: Epilogue> TileKernel for Product<'_, E> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(mut self, simd: S, products: &mut P) {
        let (layer, input) = (self.layer, self.input);
        let TileLinear { depth, panels, split, .. } = *layer;
        assert_eq!(input.blocks(), depth, "the input is as wide as the layer wants it");
        assert_eq!(input.is_split(), split, "the input has the precision of the layer");
        let total = input.rows();
        let (mut one, mut other) = (Block([0.0; SQUARE]), Block([0.0; SQUARE]));
        let (mut present, mut before) = (&mut one, &mut other);
        let mut finished = Finished { rows: 0..0, panel: 0, done: 0 };
        for first in (0..total).step_by(SIDE) {
            let rows = first..total.min(first + SIDE);
            for panel in 0..panels {
                self.epilogue.prepare(simd, rows.clone(), panel);
                let (left, right) = (input.squares(first), layer.squares(panel));
                let wanted = Extent { rows: rows.len(), columns: SIDE, depth: depth * SIDE };
                let factors = |k| [left.get(k), right.get(k)];
                let share = finished.rows.len().div_ceil(depth);
                let between = |simd, squares: usize| {
                    self.finish(simd, &mut finished, before, share * squares);
                };
                products.product(simd, wanted, factors, between, &mut present.0, SIDE);
                std::mem::swap(&mut present, &mut before);
                finished = Finished { rows: rows.clone(), panel, done: 0 };
            }
        }
        self.finish(simd, &mut finished, before, SIDE);
    }
}

impl<E: Epilogue> Product<'_, E> {
    /// The epilogue of the next `count` rows of a finished block.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, block: &mut Finished, sums: &Block, count: usize) {
        if block.done == block.rows.len() {
            return;
        }
        let next = block.done..block.rows.len().min(block.done + count);
        block.done = next.end;
        for row in next {
            let sums = &sums.0.as_chunks::<SIDE>().0[row];
            self.epilogue.row(simd, block.rows.start + row, block.panel, sums);
        }
        if block.done == block.rows.len() && block.panel + 1 == self.layer.panels {
            self.epilogue.rows_done(simd, block.rows.clone());
        }
    }
}

/// `output = activation(sums + bias)`, rounded.
pub(crate) struct IntoTiles<'a> {
    bias: &'a [f32],
    activation: Option<Activation>,
    output: Tiles<'a>,
}

impl<'a> IntoTiles<'a> {
    pub fn new(layer: &'a TileLinear, activation: Option<Activation>, output: Tiles<'a>) -> Self {
        assert_eq!(output.as_ref().blocks(), layer.panels, "the output is as wide as the layer");
        IntoTiles { bias: &layer.bias, activation, output }
    }
}

impl Epilogue for IntoTiles<'_> {
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, _: S, _: Range<usize>, _: usize) {}

    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; SIDE]) {
        let bias = self.bias[panel * SIDE..][..SIDE].as_chunks::<LANES>().0;
        let sums = sums.as_chunks::<LANES>().0;
        let mut values = [
            simd.add(simd.load(&sums[0]), simd.load(&bias[0])),
            simd.add(simd.load(&sums[1]), simd.load(&bias[1])),
        ];
        if let Some(activation) = self.activation {
            values = activation.of(simd, values);
        }
        self.output.store(simd, row, panel, values);
    }

    #[inline(always)]
    fn rows_done<S: Simd>(&mut self, _: S, _: Range<usize>) {}
}

/// `hidden = normalize(hidden + (sums + bias))`, and the same rounded.
pub(crate) struct OntoResidual<'a> {
    bias: &'a [f32],
    norm: &'a LayerNorm,
    hidden: &'a mut [f32],
    rounded: Tiles<'a>,
}

impl<'a> OntoResidual<'a> {
    pub fn new(
        layer: &'a TileLinear,
        norm: &'a LayerNorm,
        hidden: &'a mut [f32],
        rounded: Tiles<'a>,
    ) -> Self {
        assert_eq!(padded(norm.width()), layer.panels * SIDE, "the rows are as wide as the layer");
        assert_eq!(hidden.len(), rounded.rows() * norm.width(), "as many rows of each");
        OntoResidual { bias: &layer.bias, norm, hidden, rounded }
    }
}

impl Epilogue for OntoResidual<'_> {
    /// The residual stream of many tokens is out of L2, and no hardware foresees a step from row to row.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, rows: Range<usize>, panel: usize) {
        let width = self.norm.width();
        let columns = panel * SIDE..width.min((panel + 1) * SIDE);
        for row in rows {
            for line in self.hidden[row * width..][columns.clone()].chunks(LANES) {
                simd.prefetch(line);
            }
        }
    }

    #[inline(always)]
    fn row<S: Simd>(&mut self, simd: S, row: usize, panel: usize, sums: &[f32; SIDE]) {
        let width = self.norm.width();
        let bias = self.bias[panel * SIDE..][..SIDE].as_chunks::<LANES>().0;
        let columns = panel * SIDE..width.min((panel + 1) * SIDE);
        let hidden = &mut self.hidden[row * width..][columns];
        let sums = sums.as_chunks::<LANES>().0.iter().zip(bias);
        for (hidden, (sum, bias)) in hidden.chunks_mut(LANES).zip(sums) {
            let added = simd.add(simd.load(sum), simd.load(bias));
            simd.store_partial(simd.add(simd.load_partial(hidden), added), hidden);
        }
    }

    #[inline(always)]
    fn rows_done<S: Simd>(&mut self, simd: S, rows: Range<usize>) {
        let width = self.norm.width();
        for row in rows {
            let hidden = &mut self.hidden[row * width..][..width];
            normalize_row(simd, self.norm, &[], hidden);
            round_row(simd, hidden, &mut self.rounded, row);
        }
    }
}

/// Rounds every row of `hidden`.
pub(crate) struct Round<'a> {
    pub hidden: &'a [f32],
    pub width: usize,
    pub rounded: Tiles<'a>,
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for (row, hidden) in self.hidden.chunks_exact(self.width.max(1)).enumerate() {
            round_row(simd, hidden, &mut self.rounded, row);
        }
    }
}

/// Columns past the row's width become zeros.
#[inline(always)]
fn round_row<S: Simd>(simd: S, values: &[f32], tiles: &mut Tiles, row: usize) {
    for (block, values) in values.chunks(SIDE).enumerate() {
        let (first, second) = values.split_at(values.len().min(LANES));
        let values = [simd.load_partial(first), simd.load_partial(second)];
        tiles.store(simd, row, block, values);
    }
}
