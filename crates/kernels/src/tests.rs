//! Each kernel against its reference in f64, and against itself in every arithmetic of this machine, with odd
//! sizes. `cargo test -- --nocapture` prints the largest errors.

mod dense;
mod elementwise;
mod f32_kernels;
mod integers;
mod lanes;
mod products;
mod properties;

use half::bf16;

use crate::bf16::{BLOCK_SIDE, BlockMatrix, pad_to_block};
use crate::buffers::{Activations, Values};
use crate::simd::{Kernel, LANES, Simd};
use crate::testing::all_arithmetics;
use crate::{AlignedBuffer, Arena, Arithmetic, Bf16Unit, BufferSize, Heads, Isa, Precision};

const BF16_PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512];

/// A linear congruential generator: uniform in −1..1, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Whether two values have the same bits. All NaN are equal: their payloads may differ.
fn same_bits(x: f32, y: f32) -> bool {
    x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan())
}

/// Runs a kernel on every instruction set, asserts equal bits, and returns them.
fn on_every_isa(what: &str, kernel: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
    let expected = kernel(Isa::portable());
    for isa in Isa::available() {
        for (at, (x, y)) in kernel(isa).iter().zip(&expected).enumerate() {
            let isa = isa.name();
            assert!(same_bits(*x, *y), "{what}: value {at} is {x:e} on {isa}, {y:e} on portable");
        }
    }
    expected
}

/// Runs a kernel in every arithmetic of a precision, asserts equal bits, and returns them.
fn in_every_arithmetic(
    precision: Precision,
    what: &str,
    kernel: impl Fn(Arithmetic) -> Vec<f32>,
) -> Vec<f32> {
    let expected = kernel(Arithmetic::new(Isa::portable(), precision, Bf16Unit::EMULATED));
    for arithmetic in all_arithmetics(precision) {
        for (at, (x, y)) in kernel(arithmetic).iter().zip(&expected).enumerate() {
            assert!(
                same_bits(*x, *y),
                "{what}: value {at} is {x:e} on {arithmetic}, {y:e} on portable"
            );
        }
    }
    expected
}

/// The largest error, and where it occurred.
#[derive(Default)]
struct MaxError {
    error: f64,
    at: String,
}

impl MaxError {
    fn compare(&mut self, result: f64, reference: f64, at: impl FnOnce() -> String) {
        let error = (result - reference).abs();
        if error > self.error || error.is_nan() {
            self.error = error;
            self.at = format!("{}: {result:e} for {reference:e}", at());
        }
    }

    fn assert_at_most(self, what: &str, limit: f64) {
        println!("{what}: largest error {:.2e} at {}", self.error, self.at);
        assert!(self.error <= limit, "{what}: {:e} at {}", self.error, self.at);
    }
}

/// The memory of one matrix, filled with NaN.
struct Memory(AlignedBuffer, AlignedBuffer<u16>);

impl Memory {
    fn new(size: BufferSize) -> Self {
        let mut floats = AlignedBuffer::zeroed(size.floats).expect("a small allocation");
        let mut halves = AlignedBuffer::zeroed(size.halves).expect("a small allocation");
        floats.fill(f32::NAN);
        halves.fill(bf16::NAN.to_bits());
        Memory(floats, halves)
    }

    fn arena(&mut self) -> Arena<'_> {
        Arena { floats: &mut self.0, halves: &mut self.1 }
    }
}

/// Stores rows of f32 in blocks.
struct StoreRows<'a> {
    values: &'a [f32],
    heads: Heads,
    to: BlockMatrix<'a>,
}

impl Kernel for StoreRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for (row, values) in self.values.chunks(self.heads.width()).enumerate() {
            let mut padded = vec![0.0; self.heads.padded_width()];
            for (column, value) in values.iter().enumerate() {
                padded[self.heads.padded_column(column)] = *value;
            }
            for (block, values) in padded.chunks(BLOCK_SIDE).enumerate() {
                let (first, second) = values.split_at(LANES);
                let values = [simd.load_partial(first), simd.load_partial(second)];
                self.to.store(simd, row, block, values);
            }
        }
    }
}

/// Writes row-major values to a matrix.
fn write(arithmetic: Arithmetic, values: &[f32], heads: Heads, to: &mut Activations) {
    match &mut to.0 {
        Values::Rows { values: rows, .. } => rows.copy_from_slice(values),
        Values::Blocks(blocks) => {
            arithmetic.isa().run(StoreRows { values, heads, to: blocks.reborrow() });
        }
    }
}

/// The values of a matrix, row-major. Asserts that the columns that pad a head are zeros.
fn read(from: &Activations, heads: Heads) -> Vec<f32> {
    let blocks = match &from.0 {
        Values::Rows { values, .. } => return values.to_vec(),
        Values::Blocks(blocks) => blocks.as_ref(),
    };
    let mut values = Vec::new();
    for row in 0..blocks.rows() {
        let columns = (0..heads.width()).map(|column| heads.padded_column(column));
        values.extend(columns.map(|column| blocks.value(row, column)));
        let mut padding =
            (0..heads.padded_width()).filter(|at| at % pad_to_block(heads.size) >= heads.size);
        assert!(padding.all(|column| blocks.value(row, column) == 0.0), "row {row}");
    }
    values
}

/// The largest relative error of rounding a value to the number format: half of the last place.
fn rounding_error(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2f64.powi(-24),
        Precision::Bf16 | Precision::Bf16Avx512 => 2f64.powi(-8),
        Precision::Bf16x3 => 2f64.powi(-16),
        Precision::Int16 | Precision::Int8 => unreachable!("it depends on the block"),
    }
}

/// A value after rounding to the number format.
fn rounded(precision: Precision, x: f32) -> f64 {
    let high = bf16::from_f32(x).to_f32();
    match precision {
        // Integers are rounded within a layer.
        Precision::F32 | Precision::Int16 | Precision::Int8 => f64::from(x),
        Precision::Bf16 | Precision::Bf16Avx512 => f64::from(high),
        Precision::Bf16x3 => f64::from(high) + f64::from(bf16::from_f32(x - high).to_f32()),
    }
}

fn all_rounded(precision: Precision, values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| rounded(precision, *x)).collect()
}
