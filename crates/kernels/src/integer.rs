//! Integer products: the definition of the precisions `int16` and `int8`.
//!
//! ```text
//!  f32 rows                     a row, block by block            weights, packed once
//!  (tokens, inputs)             ┌── block 0 ──┬── block 1 ─┐     the same blocks, a scale
//!     │ quantize.rs             │ integers    │ …          │     for each output
//!     ▼                         │ × a scale   │            │
//!  integers and scales          └─────────────┴────────────┘
//!     │ micro_kernel.rs                 │
//!     ▼                                 ▼
//!  exact sums of a block  ──►  output = bias, then for each block in order
//!                              output = fma(f32(sum) · weight's scale, row's scale, output)
//! ```
//!
//! # The numerics versions
//!
//! A block is a run of inputs of one row, or of one output's weights. Its scale is its largest magnitude over the
//! largest integer; each value becomes `round(x · (largest integer / largest magnitude))`, ties to even:
//!
//! | | largest integer | inputs of a block |
//! |---|---:|---:|
//! | `int16` | 2,047 | 384 |
//! | `int8` | 127 | 64 |
//!
//! The last block of a row may be shorter. Activations are rounded anew in front of each layer; between layers, and in
//! attention, everything is f32.
//!
//! **A sum of a block cannot overflow.** Its magnitude is at most 2,047² · 384 = 1,609,044,096 < 2³¹ in `int16` and
//! 127² · 64 in `int8`, and so is each partial sum. With unsigned bytes on the left, as `VPDPBUSD` wants them,
//! a partial sum has at most 255 · 127 · 64 beside a correction of at most 128 · 127 · 64.
//!
//! **Every instruction set gives the same bits**: sums of integers are exact in any order, and the few operations of
//! f32 are written in one order. So no unit is emulated and no self-test is needed.
//!
//! NaN and infinities make the scale of their block NaN, and so every output of their row. A block without a magnitude
//! of 2⁻¹⁰⁰ counts as zeros, since the inverse of its scale could be infinite.
//!
//! How large the integers and blocks should be: docs/engine.md.

pub(crate) mod lanes;
pub(crate) mod linear;
mod micro_kernel;
pub(crate) mod quantize;
pub(crate) mod unit;

use self::lanes::Packing;

/// The integers of a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegerFormat {
    /// 12 bits, in 16.
    Int16,
    /// 8 bits.
    Int8,
}

impl IntegerFormat {
    /// The magnitude of the largest integer.
    #[inline(always)]
    pub const fn largest(self) -> f32 {
        match self {
            IntegerFormat::Int16 => 2047.0,
            IntegerFormat::Int8 => 127.0,
        }
    }

    /// Inputs of a block: a multiple of 16, and a divisor of [`micro_kernel::BLOCK_DEPTH`].
    #[inline(always)]
    pub const fn block(self) -> usize {
        match self {
            IntegerFormat::Int16 => 384,
            IntegerFormat::Int8 => 64,
        }
    }

    /// How instructions that multiply integers of 8 bits as `bytes` multiply it fastest.
    #[inline(always)]
    pub const fn packing(self, bytes: Packing) -> Packing {
        match self {
            IntegerFormat::Int8 => bytes,
            IntegerFormat::Int16 => Packing::Pairs,
        }
    }

    /// Words of a whole block.
    #[inline(always)]
    pub const fn words(self, packing: Packing) -> usize {
        self.block() / packing.per_word()
    }
}
