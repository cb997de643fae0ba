//! bf16 products in blocks of 32 × 32: their layout in memory, and the definition of their sums.
//!
//! ```text
//!  a block of the left factor              a block of the right factor
//!  32 rows × 32 k, 2 KiB                   32 k × 32 columns, 2 KiB
//!
//!        k = 0 … 31                              n = 0 … 15        n = 16 … 31
//!  row 0 ┌──────────────┐ AMX tile 0       k 0,1 ┌──────────┐ k 0,1 ┌──────────┐
//!    …   │ 64 B a row   │                  k 2,3 │ pairs:   │       │          │
//!     15 ├──────────────┤ AMX tile 1         …   │ k,k+1 of │       │          │
//!    …   │              │                 k 30,31│ column n │       │          │
//!     31 └──────────────┘                        └─ tile 0 ─┘       └─ tile 1 ─┘
//! ```
//!
//! # The numerics versions
//!
//! *bf16* has the sums that Intel documents for `TDPBF16PS` (Intel 64 and IA-32 Architectures Software
//! Developer's Manual, volume 2). A product of two tiles adds to 16 × 16 sums of f32; for each sum, two
//! chains start at zero:
//!
//! ```text
//! even = fma(a[2k],     b[2k],     even)        k = 0 … 15, in this order
//! odd  = fma(a[2k + 1], b[2k + 1], odd)
//! sum  = sum + (even + odd)
//! ```
//!
//! Each step is rounded to nearest even, and denormals count as zeros. A longer product adds 32 k at a
//! time, in order. Sums start at zero; a bias is added after the product, in f32.
//!
//! *bf16-avx512* has the sums that Intel documents for `VDPBF16PS`: one chain, which continues the sum:
//!
//! ```text
//! sum = fma(a[2k + 1], b[2k + 1], sum)
//! sum = fma(a[2k],     b[2k],     sum)          k = 0 … 15, in this order
//! ```
//!
//! *bf16x3* splits each factor into two bf16 values, `high = bf16(x)` and `low = bf16(x − high)`. Every
//! 32 k add three products to the same sums, in this order: high · high, high · low, low · high.
//!
//! **No denormal can arise**, so plain fused multiply-adds, which do not flush, give the same bits.
//! [`Simd::round_to_bf16`] flushes magnitudes below 2^-50 to zero. A factor is therefore zero or at least
//! 2^-50, and with 8 significant bits a multiple of 2^-57; a product is a multiple of 2^-114. Sums of such
//! multiples are such multiples, and rounding to f32 only moves them to a coarser grid. So no product, no
//! intermediate and no sum has a magnitude between 0 and 2^-114, and the smallest normal f32 is 2^-126.
//!
//! Each version has two implementations of [`products::Products`]: the CPU's unit in `arch` and the
//! emulation in [`products`]. Packing and epilogues run over the lanes of [`Simd`] and are shared.

pub(crate) mod attention;
pub(crate) mod linear;
pub(crate) mod products;

use std::ops::Range;

use crate::heads::Heads;
use crate::simd::{LANES, Simd};

/// Rows and columns of a block: two AMX tiles.
pub(crate) const BLOCK_SIDE: usize = 2 * LANES;
/// Values of a block.
pub(crate) const BLOCK_LEN: usize = BLOCK_SIDE * BLOCK_SIDE;

/// 32 × 32 bf16 values of a factor.
pub(crate) type Block = [u16; BLOCK_LEN];

/// The next multiple of the side of a block.
pub(crate) const fn pad_to_block(count: usize) -> usize {
    count.saturating_add(BLOCK_SIDE - 1) / BLOCK_SIDE * BLOCK_SIDE
}

impl Heads {
    /// Columns of a vector each of whose heads starts with a block.
    pub(crate) fn padded_width(self) -> usize {
        self.count.saturating_mul(pad_to_block(self.size))
    }

    /// The column of such a vector that holds `column`.
    pub(crate) fn padded_column(self, column: usize) -> usize {
        column / self.size * pad_to_block(self.size) + column % self.size
    }
}

/// The layout of a left factor: which rows are contiguous, and how many column blocks there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockLayout {
    /// Rows of one column block that are contiguous, before the next column block starts.
    contiguous_rows: usize,
    column_blocks: usize,
    /// Whether the low parts follow the contiguous rows.
    split: bool,
}

impl BlockLayout {
    /// Row blocks of 32 rows, for the input of a linear layer.
    pub fn for_linear(column_blocks: usize, split: bool) -> Self {
        BlockLayout { contiguous_rows: BLOCK_SIDE, column_blocks, split }
    }

    /// All rows of a column block contiguous, for attention: a block starts at any row.
    pub fn for_attention(rows: usize, column_blocks: usize, split: bool) -> Self {
        BlockLayout { contiguous_rows: rows.saturating_add(BLOCK_SIDE - 1), column_blocks, split }
    }

    /// bf16 values that `rows` rows occupy.
    pub fn size(self, rows: usize) -> usize {
        let rows = match self.contiguous_rows {
            BLOCK_SIDE => pad_to_block(rows),
            contiguous => contiguous,
        };
        rows.saturating_mul(self.column_blocks)
            .saturating_mul(BLOCK_SIDE)
            .saturating_mul(self.parts())
    }

    /// The offset of a row within a column block. Its low part is [`BlockLayout::low_offset`] further.
    #[inline(always)]
    fn row_offset(self, row: usize, column_block: usize) -> usize {
        // The match avoids a division by a variable, which every row would pay for.
        let (row_block, row) = match self.contiguous_rows {
            BLOCK_SIDE => (row / BLOCK_SIDE, row % BLOCK_SIDE),
            _ => (0, row),
        };
        let column_block = row_block * self.column_blocks + column_block;
        (column_block * self.contiguous_rows * self.parts() + row) * BLOCK_SIDE
    }

    fn low_offset(self) -> usize {
        self.contiguous_rows * BLOCK_SIDE
    }

    fn parts(self) -> usize {
        parts(self.split)
    }
}

/// bf16 values for each value of a factor.
const fn parts(split: bool) -> usize {
    if split { 2 } else { 1 }
}

/// A left factor in memory, `(rows, 32 · column blocks)`.
#[derive(Debug)]
pub(crate) struct BlockMatrix<'a> {
    data: &'a mut [u16],
    layout: BlockLayout,
    /// Rows that hold values. The rows that pad the last block are undefined.
    rows: usize,
}

/// A left factor to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockMatrixRef<'a> {
    data: &'a [u16],
    layout: BlockLayout,
    rows: usize,
}

impl<'a> BlockMatrix<'a> {
    pub fn new(data: &'a mut [u16], layout: BlockLayout, rows: usize) -> Self {
        assert!(data.len() >= layout.size(rows), "the buffer holds every row");
        BlockMatrix { data, layout, rows }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn reborrow(&mut self) -> BlockMatrix<'_> {
        BlockMatrix { data: self.data, layout: self.layout, rows: self.rows }
    }

    pub fn as_ref(&self) -> BlockMatrixRef<'_> {
        BlockMatrixRef { data: self.data, layout: self.layout, rows: self.rows }
    }

    /// A range of rows that starts at a block.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> BlockMatrix<'_> {
        let BlockLayout { contiguous_rows, column_blocks, .. } = self.layout;
        assert!(
            contiguous_rows == BLOCK_SIDE && rows.start.is_multiple_of(BLOCK_SIDE),
            "a range of rows starts at a block"
        );
        assert!(rows.end <= pad_to_block(self.rows), "the rows exist");
        let first = rows.start * column_blocks * BLOCK_SIDE * self.layout.parts();
        BlockMatrix { data: &mut self.data[first..], layout: self.layout, rows: rows.len() }
    }

    /// Rounds 32 values and stores them as a row of a column block.
    #[inline(always)]
    pub fn store<S: Simd>(
        &mut self,
        simd: S,
        row: usize,
        column_block: usize,
        values: [S::Lanes; 2],
    ) {
        let first = self.layout.row_offset(row, column_block);
        store_row(simd, values, &mut self.data[first..]);
        if self.layout.split {
            let low = [
                simd.sub(values[0], simd.round_to_bf16(values[0])),
                simd.sub(values[1], simd.round_to_bf16(values[1])),
            ];
            store_row(simd, low, &mut self.data[first + self.layout.low_offset()..]);
        }
    }
}

#[inline(always)]
fn store_row<S: Simd>(simd: S, row: [S::Lanes; 2], to: &mut [u16]) {
    let (to, _) = to.as_chunks_mut();
    simd.store_bf16(row[0], &mut to[0]);
    simd.store_bf16(row[1], &mut to[1]);
}

impl<'a> BlockMatrixRef<'a> {
    pub fn rows(self) -> usize {
        self.rows
    }

    pub fn column_blocks(self) -> usize {
        self.layout.column_blocks
    }

    pub fn is_split(self) -> bool {
        self.layout.split
    }

    /// A value, the sum of its parts.
    #[cfg(test)]
    pub fn value(self, row: usize, column: usize) -> f32 {
        let first = self.layout.row_offset(row, column / BLOCK_SIDE) + column % BLOCK_SIDE;
        let part = |at: usize| f32::from_bits(u32::from(self.data[at]) << 16);
        part(first) + if self.is_split() { part(first + self.layout.low_offset()) } else { 0.0 }
    }

    /// The panel of the 32 rows that start at `row`.
    #[inline(always)]
    pub fn panel(self, row: usize) -> Panel<'a> {
        let BlockLayout { contiguous_rows, column_blocks, split } = self.layout;
        assert!(contiguous_rows == BLOCK_SIDE, "the blocks of a panel are contiguous");
        Panel::new(&self.data[self.layout.row_offset(row, 0)..], 0, column_blocks, split)
    }

    /// The block of a column block whose first row is `row`.
    #[inline(always)]
    pub fn block(self, row: usize, column_block: usize) -> Operand<'a> {
        let first = self.layout.row_offset(row, column_block);
        let low = self.layout.split.then_some(first + self.layout.low_offset());
        Operand::at(self.data, first, low)
    }
}

/// Contiguous blocks of a factor along k: of 32 rows of a left factor, or of 32 columns of a right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel<'a> {
    data: &'a [u16],
    split: bool,
}

impl<'a> Panel<'a> {
    /// Panel `index` of contiguous panels of `depth` blocks each.
    #[inline(always)]
    pub fn new(panels: &'a [u16], index: usize, depth: usize, split: bool) -> Self {
        let length = depth * BLOCK_LEN * parts(split);
        Panel { data: &panels[index * length..][..length], split }
    }

    /// Block `k`.
    #[inline(always)]
    pub fn block(self, k: usize) -> Operand<'a> {
        Operand::from_blocks(self.data, k, self.split)
    }
}

/// A block of a factor, with its low part where the precision splits factors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub high: &'a Block,
    /// What rounding to `high` left.
    pub low: Option<&'a Block>,
}

impl<'a> Operand<'a> {
    /// Block `index` of contiguous blocks, each followed by its low part.
    #[inline(always)]
    pub fn from_blocks(blocks: &'a [u16], index: usize, split: bool) -> Self {
        if split {
            Operand::at(blocks, 2 * index * BLOCK_LEN, Some((2 * index + 1) * BLOCK_LEN))
        } else {
            Operand::at(blocks, index * BLOCK_LEN, None)
        }
    }

    /// The high part, and the low part if there is one.
    #[inline(always)]
    pub fn parts(self) -> impl Iterator<Item = &'a Block> {
        [Some(self.high), self.low].into_iter().flatten()
    }

    #[inline(always)]
    fn at(data: &'a [u16], high: usize, low: Option<usize>) -> Self {
        Operand { high: block(data, high), low: low.map(|low| block(data, low)) }
    }
}

#[inline(always)]
fn block(data: &[u16], first: usize) -> &Block {
    match data[first..].first_chunk() {
        Some(block) => block,
        None => unreachable!("a layout holds whole blocks"),
    }
}
