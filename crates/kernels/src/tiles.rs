//! Products of bf16 in tiles: how the factors lie in memory, and what a product of two tiles is.
//!
//! ```text
//!  a square of the left factor             a square of the right factor
//!  32 rows × 32 columns, 2 KiB             32 k × 32 columns, 2 KiB
//!
//!        k = 0 … 31                              n = 0 … 15        n = 16 … 31
//!  row 0 ┌──────────────┐ tile 0           k 0,1 ┌──────────┐ k 0,1 ┌──────────┐
//!    …   │ 64 B a row   │                  k 2,3 │ pairs:   │       │          │
//!     15 ├──────────────┤ tile 1             …   │ k,k+1 of │       │          │
//!    …   │              │                 k 30,31│ column n │       │          │
//!     31 └──────────────┘                        └─tile 0───┘       └─tile 1───┘
//! ```
//!
//! # The numerics version
//!
//! A product of two tiles adds to a 16 × 16 block of f32 what Intel documents for `TDPBF16PS` (Intel 64 and IA-32
//! Architectures Software Developer's Manual, volume 2): for each sum two chains that begin at zero,
//!
//! ```text
//! even = fma(a[2k],     b[2k],     even)        k = 0 … 15, in this order
//! odd  = fma(a[2k + 1], b[2k + 1], odd)
//! sum  = sum + (even + odd)
//! ```
//!
//! each step rounded to nearest even, and denormals treated as zeros. A longer product adds 32 k at a time, in
//! order. Sums begin at zero; a bias is added behind the product, in f32.
//!
//! *bf16-avx512* has what Intel documents for `VDPBF16PS` instead: one chain, which goes on from the sum,
//!
//! ```text
//! sum = fma(a[2k + 1], b[2k + 1], sum)
//! sum = fma(a[2k],     b[2k],     sum)          k = 0 … 15, in this order
//! ```
//!
//! A factor of *bf16x3* is two bf16, `high = bf16(x)` and `low = bf16(x − high)`. Every 32 k add three products to
//! the same sums, in this order: high · high, high · low, low · high.
//!
//! **No denormal can arise**, so that plain fused multiply-adds, which know nothing of flushing, give the same
//! bits. [`Simd::nearest_bf16`] makes zero of whatever is smaller than 2^-50. So a factor is zero or at least
//! 2^-50, and with 8 significant bits a multiple of 2^-57; a product is a multiple of 2^-114. What is a multiple of
//! 2^-114 stays one under addition, and rounding to f32 only ever moves it to a coarser grid; so no product, no
//! sum on the way and no accumulator has a magnitude between 0 and 2^-114, and the smallest normal f32 is 2^-126.
//!
//! Each has two implementations, [`super::amx`] or `avx512bf16` and [`products::Emulated`]. They share everything but the product:
//! what goes in and what is made of the sums runs over the lanes of [`Simd`].

mod attention;
mod linear;
pub(crate) mod products;
pub(crate) mod self_test;

#[cfg(test)]
mod tests;

pub(crate) use attention::{TileAttention, attention_room};
pub(crate) use linear::{IntoTiles, OntoResidual, Product, Round, TileLinear};

use std::marker::PhantomData;
use std::ops::Range;

use super::precision::{Precision, Unit};
use super::simd::{Kernel, LANES, Simd};
use super::{Arithmetic, Heads};
use products::{Chains, Emulated, Extent, OneChain, Products, TwoChains};

/// Rows and columns of a square: four tiles of sums.
pub(crate) const SIDE: usize = 2 * LANES;
/// bf16 of a square.
pub(crate) const SQUARE: usize = SIDE * SIDE;

/// As many as hold `count`, in whole squares.
pub(crate) const fn padded(count: usize) -> usize {
    count.saturating_add(SIDE - 1) / SIDE * SIDE
}

impl Heads {
    /// A vector that is not divided.
    pub fn single(width: usize) -> Self {
        Heads { count: 1, size: width }
    }

    /// Width of a vector whose heads each begin with a square.
    pub(crate) fn padded_width(self) -> usize {
        self.count.saturating_mul(padded(self.size))
    }

    /// Where a value of the vector is then.
    fn padded_column(self, column: usize) -> usize {
        column / self.size * padded(self.size) + column % self.size
    }
}

/// How a factor's rows lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Rows that lie one below the other, column block by column block.
    together: usize,
    /// Blocks of 32 columns.
    blocks: usize,
    /// Whether each block of `together` rows is followed by the low parts of the same values.
    split: bool,
}

impl Layout {
    /// Blocks of 32 rows that lie together, for the left factor of a linear layer.
    pub fn squares(blocks: usize, split: bool) -> Self {
        Layout { together: SIDE, blocks, split }
    }

    /// All `rows` together, so that a square may begin at any of them.
    pub fn columns(rows: usize, blocks: usize, split: bool) -> Self {
        Layout { together: rows.saturating_add(SIDE - 1), blocks, split }
    }

    /// bf16 that `rows` rows take.
    pub fn size(self, rows: usize) -> usize {
        let rows = match self.together {
            SIDE => padded(rows),
            together => together,
        };
        rows.saturating_mul(self.blocks).saturating_mul(SIDE).saturating_mul(self.parts())
    }

    /// Where a row of a column block begins; its low part is `low` further.
    #[inline(always)]
    fn row(self, row: usize, block: usize) -> usize {
        // No division by a number that the compiler does not know: this is asked for every row.
        let (above, row) = match self.together {
            SIDE => (row / SIDE, row % SIDE),
            _ => (0, row),
        };
        ((above * self.blocks + block) * self.together * self.parts() + row) * SIDE
    }

    fn low(self) -> usize {
        self.together * SIDE
    }

    fn parts(self) -> usize {
        if self.split { 2 } else { 1 }
    }
}

/// A left factor in memory.
#[derive(Debug)]
pub(crate) struct Tiles<'a> {
    data: &'a mut [u16],
    layout: Layout,
    /// Rows that hold something; those that fill up the last square hold whatever was there.
    rows: usize,
}

/// A left factor to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TilesRef<'a> {
    data: &'a [u16],
    layout: Layout,
    rows: usize,
}

impl<'a> Tiles<'a> {
    pub fn new(data: &'a mut [u16], layout: Layout, rows: usize) -> Self {
        assert!(data.len() >= layout.size(rows), "there is room for every row");
        Tiles { data, layout, rows }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn reborrow(&mut self) -> Tiles<'_> {
        Tiles { data: self.data, layout: self.layout, rows: self.rows }
    }

    pub fn as_ref(&self) -> TilesRef<'_> {
        TilesRef { data: self.data, layout: self.layout, rows: self.rows }
    }

    /// A range of rows that begins with a square.
    pub fn part(&mut self, rows: Range<usize>) -> Tiles<'_> {
        let Layout { together, blocks, .. } = self.layout;
        assert!(together == SIDE && rows.start.is_multiple_of(SIDE), "a part is whole squares");
        assert!(rows.end <= padded(self.rows), "the rows are there");
        let first = rows.start * blocks * SIDE * self.layout.parts();
        Tiles { data: &mut self.data[first..], layout: self.layout, rows: rows.len() }
    }

    /// Rounds 32 values and stores them as a row of a column block.
    #[inline(always)]
    pub fn store<S: Simd>(&mut self, simd: S, row: usize, block: usize, values: [S::Lanes; 2]) {
        let first = self.layout.row(row, block);
        store_row(simd, values, &mut self.data[first..]);
        if self.layout.split {
            let rest = [
                simd.sub(values[0], simd.nearest_bf16(values[0])),
                simd.sub(values[1], simd.nearest_bf16(values[1])),
            ];
            store_row(simd, rest, &mut self.data[first + self.layout.low()..]);
        }
    }
}

#[inline(always)]
fn store_row<S: Simd>(simd: S, row: [S::Lanes; 2], to: &mut [u16]) {
    let (to, _) = to.as_chunks_mut();
    simd.store_bf16(row[0], &mut to[0]);
    simd.store_bf16(row[1], &mut to[1]);
}

impl<'a> TilesRef<'a> {
    pub fn rows(self) -> usize {
        self.rows
    }

    pub fn blocks(self) -> usize {
        self.layout.blocks
    }

    pub fn is_split(self) -> bool {
        self.layout.split
    }

    /// The squares of 32 rows, of which `row` is the first.
    #[inline(always)]
    pub fn squares(self, row: usize) -> Squares<'a> {
        let Layout { together, blocks, split } = self.layout;
        assert!(together == SIDE, "squares lie one behind the other");
        Squares::of(&self.data[self.layout.row(row, 0)..], 0, blocks, split)
    }

    /// The square whose first row is `row`.
    #[inline(always)]
    pub fn square(self, row: usize, block: usize) -> Operand<'a> {
        let first = self.layout.row(row, block);
        Operand::at(self.data, first, self.layout.split.then_some(first + self.layout.low()))
    }
}

/// Squares of a factor that lie one behind the other, along k.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Squares<'a> {
    data: &'a [u16],
    split: bool,
}

impl<'a> Squares<'a> {
    /// A run out of many of `count` squares each, which lie one after the other.
    #[inline(always)]
    pub fn of(squares: &'a [u16], run: usize, count: usize, split: bool) -> Self {
        let length = count * SQUARE * if split { 2 } else { 1 };
        Squares { data: &squares[run * length..][..length], split }
    }

    #[inline(always)]
    pub fn get(self, k: usize) -> Operand<'a> {
        Operand::of(self.data, k, self.split)
    }
}

/// A square of a factor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    /// What the values round to.
    pub high: &'a [u16; SQUARE],
    /// What that left, where the precision has it.
    pub low: Option<&'a [u16; SQUARE]>,
}

impl<'a> Operand<'a> {
    /// A square out of many that lie one after the other, each followed by its low part.
    #[inline(always)]
    pub fn of(squares: &'a [u16], number: usize, split: bool) -> Self {
        if split {
            Operand::at(squares, 2 * number * SQUARE, Some((2 * number + 1) * SQUARE))
        } else {
            Operand::at(squares, number * SQUARE, None)
        }
    }

    /// What there is of it.
    #[inline(always)]
    pub fn parts(self) -> impl Iterator<Item = &'a [u16; SQUARE]> {
        [Some(self.high), self.low].into_iter().flatten()
    }

    #[inline(always)]
    fn at(data: &'a [u16], high: usize, low: Option<usize>) -> Self {
        Operand { high: square(data, high), low: low.map(|low| square(data, low)) }
    }
}

#[inline(always)]
fn square(data: &[u16], first: usize) -> &[u16; SQUARE] {
    match data[first..].first_chunk() {
        Some(square) => square,
        None => unreachable!("a layout has room for whole squares"),
    }
}

/// A kernel that multiplies tiles. As for [`Kernel`], all that it calls per element is inlined.
pub(crate) trait TileKernel {
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P);
}

/// Runs a kernel with the lanes and the tile unit of an arithmetic; a unit whose CPU can round to bf16 with lanes that do.
pub(crate) fn run<K: TileKernel>(with: Arithmetic, kernel: K) {
    match with.unit() {
        Unit::Emulated => match with.precision() {
            Precision::Bf16Avx512 => with.isa().run(Emulating::<_, OneChain>::new(kernel)),
            _ => with.isa().run(Emulating::<_, TwoChains>::new(kernel)),
        },
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Unit::Amx(amx) => match amx.lanes() {
            Some(lanes) => lanes.run(OnAmx(kernel, amx)),
            None => with.isa().run(OnAmx(kernel, amx)),
        },
        #[cfg(target_arch = "x86_64")]
        Unit::Dot(unit) => unit.lanes().run(OnDots(kernel, unit)),
    }
}

/// Runs a kernel with the emulation.
struct Emulating<K, C>(K, PhantomData<C>);

impl<K, C> Emulating<K, C> {
    fn new(kernel: K) -> Self {
        Emulating(kernel, PhantomData)
    }
}

impl<K: TileKernel, C: Chains> Kernel for Emulating<K, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut Emulated::<C>::new());
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
struct OnAmx<K>(K, super::amx::Amx);

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl<K: TileKernel> Kernel for OnAmx<K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut self.1.products());
    }
}

#[cfg(target_arch = "x86_64")]
struct OnDots<K>(K, super::avx512bf16::Avx512Bf16);

#[cfg(target_arch = "x86_64")]
impl<K: TileKernel> Kernel for OnDots<K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut self.1.products());
    }
}

/// A product of two squares, twice over, as the self-test of a tile unit wants it.
pub(crate) fn multiply(with: Arithmetic, left: Operand, right: Operand, sums: &mut [f32; SQUARE]) {
    run(with, Single { left, right, to: sums });
}

struct Single<'a> {
    left: Operand<'a>,
    right: Operand<'a>,
    to: &'a mut [f32; SQUARE],
}

impl TileKernel for Single<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P) {
        let wanted = Extent { rows: SIDE, columns: SIDE, depth: 2 * SIDE };
        let factors = |_| [self.left, self.right];
        products.product(simd, wanted, factors, |_, _| {}, self.to, SIDE);
    }
}

/// The bf16 of values, with the lanes that a tile unit goes with.
pub(crate) fn round(with: Arithmetic, values: &[f32; LANES], to: &mut [u16; LANES]) {
    run(with, Rounded { values, to });
}

struct Rounded<'a> {
    values: &'a [f32; LANES],
    to: &'a mut [u16; LANES],
}

impl TileKernel for Rounded<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, _: &mut P) {
        simd.store_bf16(simd.load(self.values), self.to);
    }
}
