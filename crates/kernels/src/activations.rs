//! Activations in the form that the products of a precision read: rows of f32, or tiles of bf16. Whoever moves
//! them from layer to layer need not know which.

use std::ops::Range;

use super::tiles::{Layout, Round, Tiles, TilesRef, padded};
use super::{Arithmetic, Heads, LayerNorm, Precision};

/// What something takes of the memory of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferSize {
    /// f32.
    pub floats: usize,
    /// bf16.
    pub halves: usize,
}

impl BufferSize {
    /// BufferSize for both.
    pub fn saturating_add(self, other: BufferSize) -> BufferSize {
        BufferSize {
            floats: self.floats.saturating_add(other.floats),
            halves: self.halves.saturating_add(other.halves),
        }
    }
}

/// The memory of a batch, handed out from the front.
#[derive(Debug)]
pub struct Arena<'a> {
    /// f32.
    pub floats: &'a mut [f32],
    /// bf16.
    pub halves: &'a mut [u16],
}

impl<'a> Arena<'a> {
    /// Takes what is asked for off the front.
    ///
    /// # Panics
    /// If there is not as much.
    pub fn take(&mut self, room: BufferSize) -> Arena<'a> {
        let (floats, rest) = std::mem::take(&mut self.floats).split_at_mut(room.floats);
        self.floats = rest;
        let (halves, rest) = std::mem::take(&mut self.halves).split_at_mut(room.halves);
        self.halves = rest;
        Arena { floats, halves }
    }
}

/// What a matrix of activations looks like: a row for each token.
#[derive(Debug, Clone, Copy)]
pub struct BufferLayout {
    precision: Precision,
    rows: usize,
    width: Heads,
    /// Whether sequences are taken out of it, which begin at any row.
    sequences: bool,
}

impl BufferLayout {
    /// A matrix that linear layers read.
    pub fn for_linear(precision: Precision, rows: usize, width: Heads) -> Self {
        BufferLayout { precision, rows, width, sequences: false }
    }

    /// A matrix that attention reads, sequence by sequence.
    pub fn for_attention(precision: Precision, rows: usize, width: Heads) -> Self {
        BufferLayout { precision, rows, width, sequences: true }
    }

    /// What it takes.
    pub fn size(self) -> BufferSize {
        match self.layout() {
            None => BufferSize { floats: self.rows.saturating_mul(self.width.width()), halves: 0 },
            Some(layout) => BufferSize { floats: 0, halves: layout.size(self.rows) },
        }
    }

    /// The matrix, in memory off the front of `arena`. What it holds does not matter.
    ///
    /// # Panics
    /// If there is less than [`BufferLayout::size`].
    pub fn take<'a>(self, arena: &mut Arena<'a>) -> Activations<'a> {
        let Arena { floats, halves } = arena.take(self.size());
        Activations(match self.layout() {
            None => Values::Rows { values: floats, width: self.width.width() },
            Some(layout) => Values::Tiles(Tiles::new(halves, layout, self.rows)),
        })
    }

    fn layout(self) -> Option<Layout> {
        let split = self.precision.split()?;
        let blocks = self.width.padded_width() / padded(1);
        Some(match self.sequences {
            true => Layout::columns(self.rows, blocks, split),
            false => Layout::squares(blocks, split),
        })
    }
}

/// A matrix of activations. Its width is the sum of its heads, wherever these lie.
#[derive(Debug)]
pub struct Activations<'a>(pub(crate) Values<'a>);

#[derive(Debug)]
pub(crate) enum Values<'a> {
    /// Row-major.
    Rows {
        values: &'a mut [f32],
        width: usize,
    },
    Tiles(Tiles<'a>),
}

/// A matrix of activations as the input of a product.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub(crate) InputValues<'a>);

#[derive(Debug, Clone, Copy)]
pub(crate) enum InputValues<'a> {
    Rows(&'a [f32]),
    Tiles(TilesRef<'a>),
}

impl Activations<'_> {
    /// Some of its rows, beginning at a multiple of 32.
    ///
    /// # Panics
    /// If they are not there.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> Activations<'_> {
        Activations(match &mut self.0 {
            Values::Rows { values, width } => Values::Rows {
                values: &mut values[rows.start * *width..rows.end * *width],
                width: *width,
            },
            Values::Tiles(tiles) => Values::Tiles(tiles.part(rows)),
        })
    }

    /// The matrix as an input.
    pub fn as_input(&self) -> Input<'_> {
        Input(match &self.0 {
            Values::Rows { values, .. } => InputValues::Rows(values),
            Values::Tiles(tiles) => InputValues::Tiles(tiles.as_ref()),
        })
    }
}

/// The residual stream: f32 in every precision, and beside it the same as products read it.
#[derive(Debug)]
pub struct Residual<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) width: usize,
    pub(crate) rounded: Option<Tiles<'a>>,
}

impl<'a> Residual<'a> {
    /// What the stream of so many tokens takes.
    pub fn size(precision: Precision, rows: usize, width: usize) -> BufferSize {
        Residual::floats(rows, width).saturating_add(Residual::rounded(precision, rows, width))
    }

    /// The stream, in memory off the front of `arena`. What it holds does not matter.
    ///
    /// # Panics
    /// If there is less than [`Residual::size`].
    pub fn take(precision: Precision, rows: usize, width: usize, arena: &mut Arena<'a>) -> Self {
        let values = arena.take(Residual::floats(rows, width)).floats;
        let form = BufferLayout::for_linear(precision, rows, Heads::single(width));
        let rounded = form.layout().map(|layout| {
            let room = Residual::rounded(precision, rows, width);
            Tiles::new(arena.take(room).halves, layout, rows)
        });
        Residual { values, width, rounded }
    }

    fn floats(rows: usize, width: usize) -> BufferSize {
        BufferSize { floats: rows.saturating_mul(width), halves: 0 }
    }

    fn rounded(precision: Precision, rows: usize, width: usize) -> BufferSize {
        let form = BufferLayout::for_linear(precision, rows, Heads::single(width));
        form.layout().map_or(BufferSize::default(), |layout| BufferSize {
            floats: 0,
            halves: layout.size(rows),
        })
    }

    /// Its rows, `(rows, width)`.
    pub fn values(&self) -> &[f32] {
        self.values
    }

    /// Some of its rows, beginning at a multiple of 32.
    ///
    /// # Panics
    /// If they are not there.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> Residual<'_> {
        Residual {
            values: &mut self.values[rows.start * self.width..rows.end * self.width],
            width: self.width,
            rounded: self.rounded.as_mut().map(|tiles| tiles.part(rows)),
        }
    }

    /// The stream as an input.
    pub fn as_input(&self) -> Input<'_> {
        Input(match &self.rounded {
            None => InputValues::Rows(self.values),
            Some(tiles) => InputValues::Tiles(tiles.as_ref()),
        })
    }

    /// Lets `fill` write its rows, and normalises them.
    pub fn fill_and_normalize(
        &mut self,
        with: Arithmetic,
        norm: &LayerNorm,
        fill: impl FnOnce(&mut [f32]),
    ) {
        fill(self.values);
        norm.normalize(with.isa(), self.values);
        if let Some(tiles) = &mut self.rounded {
            let rounded = tiles.reborrow();
            with.isa().run(Round { hidden: self.values, width: self.width, rounded });
        }
    }
}
