//! The numeric kernels of a sentence encoder on the CPU, as a safe API over slices.
//!
//! ```text
//!   Dense, attend         dense.rs          a linear layer and attention, in any precision
//!   BufferLayout, Residual  buffers.rs      the activations between them
//!       │
//!       ├─ f32:  F32Linear, attend_f32      f32/      panels and micro-tiles
//!       ├─ bf16: Bf16Linear, Bf16Attention  bf16/     blocks of 32 × 32, epilogues
//!       └─ both: LayerNorm, RmsNorm         norm.rs
//!                Activation, exp2           activation.rs
//!                TokenPooling               pooling.rs
//!                Rotary, ScoreBias          rotary.rs, score_bias.rs
//!       │
//!       │  each kernel is written once, over two interfaces:
//!       │
//!   trait Simd  simd.rs                     trait Products  bf16/products.rs
//!   16 virtual lanes of f32                 products of bf16 blocks
//!       │  run by Isa  isa.rs                   │  run by Arithmetic  arithmetic.rs
//!       │                                       │
//!       ├─ arch/avx512.rs    one register       ├─ arch/amx.rs          tile registers
//!       ├─ arch/avx2.rs      two registers      ├─ arch/avx512bf16.rs   dot products of pairs
//!       ├─ arch/neon.rs      four registers     └─ EmulatedProducts     over the lanes
//!       └─ arch/portable.rs  an array
//! ```
//!
//! **Each precision is one numerics version.** All instruction sets give the same bits. In f32, every output is one
//! chain of fused multiply-adds in K order; `bf16.rs` defines the sums of bf16 products, which units and emulation
//! share. Every reduction runs over 16 virtual lanes that one fixed tree folds, and `exp2` and the activations are
//! polynomials with one order of evaluation.
//!
//! **Results are batch-invariant.** No bit depends on the number of rows that are computed together: smaller
//! micro-tiles run the same chains, and blocks only decide in which order finished chains are written.
//!
//! **No public function that runs a kernel is generic**: the crate that called it would compile the kernel, with its own
//! optimisation.
//!
//! **Only detection makes an [`Isa`]**, and each holds the proof that the CPU has its instructions. `arch` contains all
//! `unsafe` code.

#![deny(unsafe_code)]

mod activation;
#[allow(unsafe_code, reason = "instruction sets need intrinsics and assembly")]
mod arch;
mod arithmetic;
mod bf16;
mod buffer;
mod buffers;
mod dense;
mod f32;
mod heads;
mod integer;
mod isa;
mod micro_tiles;
mod norm;
mod peak;
mod pooling;
mod precision;
mod rotary;
mod score_bias;
mod simd;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use activation::{Activation, gate_rows};
pub use arithmetic::{Arithmetic, Bf16Unit, UnitError};
pub use buffer::{AlignedBuffer, AllocationError, Arena, BufferSize};
pub use buffers::{Activations, BufferLayout, Input, Residual};
pub use dense::{Dense, attend, attend_scratch_size};
pub use f32::attention::{attend_f32, attend_f32_scratch_len};
pub use f32::linear::F32Linear;
pub use heads::{AttentionHeads, Heads};
pub use isa::{Isa, IsaName};
pub use norm::{LayerNorm, RmsNorm, l2_normalize};
pub use peak::run_fma_chains;
pub use pooling::{TokenPooling, mean_of_rows};
pub use precision::Precision;
pub use rotary::Rotary;
pub use score_bias::ScoreBias;
