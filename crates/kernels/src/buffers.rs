//! Activations and the residual stream, in the number format that the products of a precision read. The
//! forward pass moves them from layer to layer and does not depend on the format.

use std::ops::Range;

use crate::arithmetic::Arithmetic;
use crate::bf16::linear::RoundRows;
use crate::bf16::{BLOCK_SIDE, BlockLayout, BlockMatrix, BlockMatrixRef};
use crate::buffer::{Arena, BufferSize};
use crate::heads::Heads;
use crate::norm::LayerNorm;
use crate::precision::{NumberFormat, Precision};

/// The shape and the layout of a matrix of activations: one row for each token.
#[derive(Debug, Clone, Copy)]
pub struct BufferLayout {
    precision: Precision,
    rows: usize,
    width: Heads,
    /// Whether attention reads it, whose sequences start at any row.
    for_attention: bool,
}

impl BufferLayout {
    /// A matrix `(rows, width.width())` that linear layers read.
    pub fn for_linear(precision: Precision, rows: usize, width: Heads) -> Self {
        BufferLayout { precision, rows, width, for_attention: false }
    }

    /// A matrix `(rows, width.width())` that attention reads, sequence by sequence.
    pub fn for_attention(precision: Precision, rows: usize, width: Heads) -> Self {
        BufferLayout { precision, rows, width, for_attention: true }
    }

    /// The memory that it needs.
    pub fn size(self) -> BufferSize {
        match self.blocks() {
            None => BufferSize { floats: self.rows.saturating_mul(self.width.width()), halves: 0 },
            Some(layout) => BufferSize { floats: 0, halves: layout.size(self.rows) },
        }
    }

    /// The matrix, in memory from the front of `arena`. Its values are undefined.
    ///
    /// # Panics
    /// If `arena` has less than [`BufferLayout::size`].
    pub fn take<'a>(self, arena: &mut Arena<'a>) -> Activations<'a> {
        let Arena { floats, halves } = arena.take(self.size());
        Activations(match self.blocks() {
            None => Values::Rows { values: floats, width: self.width.width() },
            Some(layout) => Values::Blocks(BlockMatrix::new(halves, layout, self.rows)),
        })
    }

    /// The layout of its blocks, if its values are bf16.
    fn blocks(self) -> Option<BlockLayout> {
        let NumberFormat::Bf16 { split } = self.precision.format() else { return None };
        let column_blocks = self.width.padded_width() / BLOCK_SIDE;
        Some(match self.for_attention {
            true => BlockLayout::for_attention(self.rows, column_blocks, split),
            false => BlockLayout::for_linear(column_blocks, split),
        })
    }
}

/// A matrix of activations, `(rows, width)`. Its width is the sum of its heads, wherever these lie in memory.
#[derive(Debug)]
pub struct Activations<'a>(pub(crate) Values<'a>);

#[derive(Debug)]
pub(crate) enum Values<'a> {
    /// f32, row-major.
    Rows { values: &'a mut [f32], width: usize },
    /// bf16.
    Blocks(BlockMatrix<'a>),
}

/// A matrix of activations as the input of a product.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub(crate) InputValues<'a>);

#[derive(Debug, Clone, Copy)]
pub(crate) enum InputValues<'a> {
    Rows(&'a [f32]),
    Blocks(BlockMatrixRef<'a>),
}

impl Activations<'_> {
    /// Number of its rows.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Values::Rows { values, width } => values.len() / (*width).max(1),
            Values::Blocks(blocks) => blocks.rows(),
        }
    }

    /// Writes rows of f32, `(rows, heads.width())`, from row `first` on. `heads` are the heads of the matrix.
    ///
    /// # Panics
    /// If the matrix has another width or fewer rows.
    pub fn write_rows(&mut self, arithmetic: Arithmetic, first: usize, rows: &[f32], heads: Heads) {
        match &mut self.0 {
            Values::Rows { values, width } => {
                assert_eq!(*width, heads.width(), "the rows have the width of the matrix");
                values[first * *width..][..rows.len()].copy_from_slice(rows);
            }
            Values::Blocks(blocks) => {
                let rounded = blocks.reborrow();
                arithmetic.isa().run(RoundRows { rows, heads, first, rounded });
            }
        }
    }

    /// A range of its rows that starts at a multiple of 32.
    ///
    /// # Panics
    /// If the range is outside of the matrix, or if it starts elsewhere and the values are bf16.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> Activations<'_> {
        Activations(match &mut self.0 {
            Values::Rows { values, width } => Values::Rows {
                values: &mut values[rows.start * *width..rows.end * *width],
                width: *width,
            },
            Values::Blocks(blocks) => Values::Blocks(blocks.rows_mut(rows)),
        })
    }

    /// The matrix as an input.
    pub fn as_input(&self) -> Input<'_> {
        Input(match &self.0 {
            Values::Rows { values, .. } => InputValues::Rows(values),
            Values::Blocks(blocks) => InputValues::Blocks(blocks.as_ref()),
        })
    }
}

/// The residual stream, `(rows, width)`: f32 in every precision, and in a bf16 precision also the rounded
/// values that products read.
#[derive(Debug)]
pub struct Residual<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) width: usize,
    pub(crate) rounded: Option<BlockMatrix<'a>>,
}

impl<'a> Residual<'a> {
    /// The memory that a stream of `rows` tokens needs.
    pub fn size(precision: Precision, rows: usize, width: usize) -> BufferSize {
        let floats = Residual::values_size(rows, width);
        floats.saturating_add(Residual::rounded_size(precision, rows, width))
    }

    /// The stream, in memory from the front of `arena`. Its values are undefined.
    ///
    /// # Panics
    /// If `arena` has less than [`Residual::size`].
    pub fn take(precision: Precision, rows: usize, width: usize, arena: &mut Arena<'a>) -> Self {
        let values = arena.take(Residual::values_size(rows, width)).floats;
        let layout = BufferLayout::for_linear(precision, rows, Heads::single(width));
        let rounded = layout.blocks().map(|layout| {
            let size = Residual::rounded_size(precision, rows, width);
            BlockMatrix::new(arena.take(size).halves, layout, rows)
        });
        Residual { values, width, rounded }
    }

    fn values_size(rows: usize, width: usize) -> BufferSize {
        BufferSize { floats: rows.saturating_mul(width), halves: 0 }
    }

    fn rounded_size(precision: Precision, rows: usize, width: usize) -> BufferSize {
        let layout = BufferLayout::for_linear(precision, rows, Heads::single(width));
        let halves = layout.blocks().map_or(0, |layout| layout.size(rows));
        BufferSize { floats: 0, halves }
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its values, `(rows, width)`, row-major.
    pub fn values(&self) -> &[f32] {
        self.values
    }

    /// A range of its rows that starts at a multiple of 32.
    ///
    /// # Panics
    /// As [`Activations::rows_mut`].
    pub fn rows_mut(&mut self, rows: Range<usize>) -> Residual<'_> {
        Residual {
            values: &mut self.values[rows.start * self.width..rows.end * self.width],
            width: self.width,
            rounded: self.rounded.as_mut().map(|blocks| blocks.rows_mut(rows)),
        }
    }

    /// The stream as an input.
    pub fn as_input(&self) -> Input<'_> {
        Input(match &self.rounded {
            None => InputValues::Rows(self.values),
            Some(blocks) => InputValues::Blocks(blocks.as_ref()),
        })
    }

    /// Lets `fill` write the rows, `(rows, width)`, and normalises them.
    pub fn fill_and_normalize(
        &mut self,
        arithmetic: Arithmetic,
        norm: &LayerNorm,
        fill: impl FnOnce(&mut [f32]),
    ) {
        self.fill(arithmetic, |rows| {
            fill(rows);
            norm.normalize(arithmetic.isa(), rows);
        });
    }

    /// Lets `fill` write the rows, `(rows, width)`.
    pub fn fill(&mut self, arithmetic: Arithmetic, fill: impl FnOnce(&mut [f32])) {
        fill(self.values);
        self.round(arithmetic);
    }

    /// Rounds the values to what products read. Not generic, so that this crate's profile compiles it.
    fn round(&mut self, arithmetic: Arithmetic) {
        if let Some(blocks) = &mut self.rounded {
            let (rounded, heads) = (blocks.reborrow(), Heads::single(self.width));
            arithmetic.isa().run(RoundRows { rows: self.values, heads, first: 0, rounded });
        }
    }

    /// Lets `change` change the f32 values. What products read keeps its old values.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        change(self.values);
    }

    /// Adds `rows`, `(rows, width)`, to its f32 values. What products read keeps its old values: for layers
    /// that normalise before they multiply.
    ///
    /// # Panics
    /// If `rows` has another length.
    pub fn add(&mut self, rows: &[f32]) {
        assert_eq!(rows.len(), self.values.len(), "both have the same shape");
        for (value, added) in self.values.iter_mut().zip(rows) {
            *value += added;
        }
    }
}
