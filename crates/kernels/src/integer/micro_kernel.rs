//! The micro-kernel of every integer product: exact sums of blocks, then their scales.

use std::marker::PhantomData;
use std::ops::Range;

use crate::integer::IntegerFormat;
use crate::integer::lanes::{IntegerLanes, Packing};
use crate::simd::{LANES, Simd};

/// Inputs that are rounded together: whole blocks of each format.
pub(crate) const BLOCK_DEPTH: usize = 384;
/// Blocks of the smallest size in [`BLOCK_DEPTH`] inputs.
const MAX_BLOCKS: usize = BLOCK_DEPTH / IntegerFormat::Int8.block();
/// Words of that many inputs, as pairs.
const MAX_WORDS: usize = BLOCK_DEPTH / Packing::Pairs.per_word();

/// The integers of a product, as a type.
pub(crate) trait Format {
    const FORMAT: IntegerFormat;
}

/// `int16`.
pub(crate) struct Int16;

/// `int8`.
pub(crate) struct Int8;

impl Format for Int16 {
    const FORMAT: IntegerFormat = IntegerFormat::Int16;
}

impl Format for Int8 {
    const FORMAT: IntegerFormat = IntegerFormat::Int8;
}

/// How an instruction set multiplies a format: what a product is compiled for.
pub(crate) struct Shape<S, F>(PhantomData<(S, F)>);

impl<S: IntegerLanes, F: Format> Shape<S, F> {
    pub const PACKING: Packing = F::FORMAT.packing(S::BYTES);
    /// Inputs of a block.
    pub const BLOCK: usize = F::FORMAT.block();
    /// Words of a whole block.
    pub const WORDS: usize = F::FORMAT.words(Self::PACKING);
    /// Rows of the largest micro-tile.
    pub const ROWS: usize = match F::FORMAT {
        IntegerFormat::Int16 => S::MICRO_TILE_ROWS,
        IntegerFormat::Int8 => S::SCALED_ROWS,
    };
}

/// At most [`BLOCK_DEPTH`] inputs of a row, rounded.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct RoundedRow {
    pub words: [i32; MAX_WORDS],
    /// One for each block.
    pub scales: [f32; MAX_BLOCKS],
}

impl RoundedRow {
    pub const ZERO: RoundedRow = RoundedRow { words: [0; MAX_WORDS], scales: [0.0; MAX_BLOCKS] };
}

/// The same inputs of a panel of 16 outputs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PanelDepth<'a> {
    /// A line for each word of k.
    pub words: &'a [[i32; LANES]],
    /// A line for each block.
    pub scales: &'a [[f32; LANES]],
    /// What the sums of each block start with, for quads with an offset.
    pub starts: &'a [[i32; LANES]],
}

/// Where the sums of a micro-tile are.
pub(crate) struct Sums<'a> {
    /// What they start with, for whole panels; without it, with what `output` holds.
    pub bias: Option<&'a [f32]>,
    /// Whole rows.
    pub output: &'a mut [f32],
    /// Of each row.
    pub columns: Range<usize>,
}

impl Sums<'_> {
    /// The sums of row `r` of `R`.
    #[inline(always)]
    fn load<S: Simd, const R: usize, const P: usize>(&self, simd: S, r: usize) -> [S::Lanes; P] {
        let from = match self.bias {
            Some(bias) => bias,
            None => &self.output[r * (self.output.len() / R)..][self.columns.clone()],
        };
        let mut padded = [[0.0; LANES]; P];
        let lines = match from.as_chunks().0.first_chunk::<P>() {
            Some(lines) => lines,
            None => {
                padded.as_flattened_mut()[..from.len()].copy_from_slice(from);
                &padded
            }
        };
        let mut lanes = [simd.splat(0.0); P];
        for p in 0..P {
            lanes[p] = simd.load(&lines[p]);
        }
        lanes
    }

    /// Stores the sums of row `r` of `R`.
    #[inline(always)]
    fn store<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        r: usize,
        lanes: [S::Lanes; P],
    ) {
        let width = self.output.len() / R;
        let to = &mut self.output[r * width..][self.columns.clone()];
        if let Some(lines) = to.as_chunks_mut().0.first_chunk_mut::<P>() {
            for p in 0..P {
                simd.store(lanes[p], &mut lines[p]);
            }
            return;
        }
        let mut padded = [[0.0; LANES]; P];
        for p in 0..P {
            simd.store(lanes[p], &mut padded[p]);
        }
        to.copy_from_slice(&padded.as_flattened()[..to.len()]);
    }
}

/// Adds the product of some inputs to the sums of `R` rows × `P` panels.
#[inline(always)]
pub(crate) fn multiply_blocks<S: IntegerLanes, F: Format, const R: usize, const P: usize>(
    simd: S,
    rows: &[RoundedRow; R],
    panels: &[PanelDepth; P],
    mut sums: Sums,
) {
    if Shape::<S, F>::BLOCK == BLOCK_DEPTH {
        // The registers are full of integers until the only block is complete.
        let exact = multiply_block::<S, F, R, P>(simd, 0, rows, panels);
        for r in 0..R {
            let before = sums.load::<S, R, P>(simd, r);
            let after = scale(simd, exact[r], rows[r].scales[0], 0, panels, before);
            sums.store::<S, R, P>(simd, r, after);
        }
        return;
    }
    let mut lanes = [[simd.splat(0.0); P]; R];
    for (r, lanes) in lanes.iter_mut().enumerate() {
        *lanes = sums.load::<S, R, P>(simd, r);
    }
    for block in 0..panels[0].scales.len().min(MAX_BLOCKS) {
        let exact = multiply_block::<S, F, R, P>(simd, block, rows, panels);
        for r in 0..R {
            lanes[r] = scale(simd, exact[r], rows[r].scales[block], block, panels, lanes[r]);
        }
    }
    for (r, lanes) in lanes.into_iter().enumerate() {
        sums.store::<S, R, P>(simd, r, lanes);
    }
}

/// `sums + exact · the panels' scales · the row's scale`.
#[inline(always)]
fn scale<S: IntegerLanes, const P: usize>(
    simd: S,
    exact: [S::Integers; P],
    row_scale: f32,
    block: usize,
    panels: &[PanelDepth; P],
    mut sums: [S::Lanes; P],
) -> [S::Lanes; P] {
    let row_scale = simd.splat(row_scale);
    for p in 0..P {
        let scaled = simd.mul(simd.to_f32(exact[p]), simd.load(&panels[p].scales[block]));
        sums[p] = simd.mul_add(scaled, row_scale, sums[p]);
    }
    sums
}

/// The exact product of a block, from which the sums of quads have taken off what is too much.
#[inline(always)]
fn multiply_block<S: IntegerLanes, F: Format, const R: usize, const P: usize>(
    simd: S,
    block: usize,
    rows: &[RoundedRow; R],
    panels: &[PanelDepth; P],
) -> [[S::Integers; P]; R] {
    let first = block * Shape::<S, F>::WORDS;
    let count = panels[0].words.len() - first;
    // A length that is known when this is compiled spares the loop its checks.
    if count >= Shape::<S, F>::WORDS {
        accumulate::<S, F, R, P>(simd, block, first..first + Shape::<S, F>::WORDS, rows, panels)
    } else {
        accumulate::<S, F, R, P>(simd, block, first..first + count, rows, panels)
    }
}

/// The sums of some words of a block, exactly.
#[inline(always)]
fn accumulate<S: IntegerLanes, F: Format, const R: usize, const P: usize>(
    simd: S,
    block: usize,
    words: Range<usize>,
    rows: &[RoundedRow; R],
    panels: &[PanelDepth; P],
) -> [[S::Integers; P]; R] {
    let mut left: [&[i32]; R] = [&[]; R];
    for r in 0..R {
        left[r] = &rows[r].words[words.clone()];
    }
    let mut right: [&[[i32; LANES]]; P] = [&[]; P];
    let mut sums = [[simd.splat_word(0); P]; R];
    for p in 0..P {
        right[p] = &panels[p].words[words.clone()];
        if let Packing::OffsetQuads = Shape::<S, F>::PACKING {
            let start = simd.load_integers(&panels[p].starts[block]);
            for sums in &mut sums {
                sums[p] = start;
            }
        }
    }
    for k in 0..words.len() {
        let mut weights = [simd.splat_word(0); P];
        for p in 0..P {
            weights[p] = simd.load_integers(&right[p][k]);
        }
        for r in 0..R {
            let left = simd.splat_word(left[r][k]);
            for p in 0..P {
                sums[r][p] = match const { Shape::<S, F>::PACKING } {
                    Packing::Pairs => simd.add_pairs(sums[r][p], left, weights[p]),
                    Packing::OffsetQuads | Packing::SignedQuads => {
                        simd.add_quads(sums[r][p], left, weights[p])
                    }
                };
            }
        }
    }
    sums
}
