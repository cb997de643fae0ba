//! The numeric kernels of the CPU encoder, as a safe API over slices.
//!
//! ```text
//!   model/packed.rs ──► Dense, attend     dense.rs       in any precision
//!                        │ f32: Linear    gemm.rs        panels, tiles of registers
//!                        │      attention attention.rs   one sequence at a time
//!                        └ bf16           tiles.rs       squares; tiles/linear.rs, tiles/attention.rs
//!                       LayerNorm         norm.rs        with the residual; pooling, L2
//!                       Activation        activation.rs  gelu, gelu-tanh, relu; exp2
//!                            │                                  │
//!                            ▼  each kernel is written once     ▼  a product of tiles of bf16
//!                       trait Simd        simd.rs          trait Products     tiles/products.rs
//!                            │  16 virtual lanes                │
//!            ┌───────────────┼────────────────┐             ┌───┴─────────┐
//!         avx512.rs       avx2.rs        portable.rs     amx.rs        Emulated
//!         one register    two registers  an array        tile unit     over the lanes
//!                                                        avx512bf16.rs
//!                                                        pairs
//! ```
//!
//! **One numerics version for each precision.** All instruction sets give the same bits. In f32 every output is one
//! chain of fused multiply-adds in K order; products of bf16 are those that `tiles.rs` defines, by their own instructions
//! and without. Every reduction runs over 16 virtual lanes that are folded by one fixed tree, and `exp2` and the activations
//! are the same polynomials, evaluated in the same order.
//!
//! **Bit-identical in any company.** No result depends on how many rows are computed together: tiles of
//! fewer rows run the same chain, and blocks only decide in which order finished chains are written.
//!
//! The CPU is asked once, by [`Isa::detect`]; an [`Isa`] cannot be made in another way, and each holds the
//! token that its instructions need. `unsafe` is found in `avx512.rs`, `avx512bf16.rs`, `avx2.rs` and `amx.rs`
//! only, and in `amx/emulator.rs`, which tests alone compile.

mod activation;
mod activations;
mod attention;
mod buffer;
mod dense;
mod gemm;
mod norm;
mod peak;
mod portable;
mod precision;
mod simd;
mod tiles;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;

#[cfg(test)]
pub(crate) mod naive;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use activations::{Activations, Arena, Form, Input, Residual, Room};
pub use attention::{Heads, attention, attention_scratch};
pub use buffer::{AlignedBuffer, AllocationError};
pub use dense::{Dense, attend, attend_room};
pub use gemm::Linear;
pub use norm::{LayerNorm, l2_normalize, mean_of_rows};
pub use peak::fused_multiply_adds;
pub use precision::{Arithmetic, Precision, TileUnit, UnitRefused};

use simd::{Kernel, Simd};

/// An instruction set that this CPU has. Only detection makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// AVX-512 for the lanes, and tiles for products of bf16.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    Portable(portable::Portable),
}

impl Isa {
    /// The names that [`Isa::named`] knows, best first; not every machine has them all.
    pub const NAMES: [&str; 4] = ["amx", "avx512", "avx2", "portable"];

    /// The best instruction set of this CPU.
    pub fn detect() -> Self {
        Self::NAMES.into_iter().find_map(Self::named).unwrap_or(Self::portable())
    }

    /// The one that every machine has.
    pub fn portable() -> Self {
        Isa(Kind::Portable(portable::TOKEN))
    }

    /// Every instruction set of this CPU, best first; the last is always `portable`.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::NAMES.into_iter().filter_map(Self::named)
    }

    /// The instruction set of that name, if this CPU has it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            "amx" if amx::Amx::is_there() => {
                avx512::Avx512::detect().map(|token| Isa(Kind::Amx(token)))
            }
            #[cfg(target_arch = "x86_64")]
            "avx512" => avx512::Avx512::detect().map(|token| Isa(Kind::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            "avx2" => avx2::Avx2::detect().map(|token| Isa(Kind::Avx2(token))),
            "portable" => Some(Self::portable()),
            _ => None,
        }
    }

    /// Its unit for the products of a precision, where it has one: permitted by the kernel and tested, or the reason why
    /// it is not to be used. Permission is for the whole process, threads that are running already included.
    pub fn unit(self, precision: Precision) -> Option<Result<TileUnit, UnitRefused>> {
        match (precision, self.0) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Precision::Bf16 | Precision::Bf16x3, Kind::Amx(_)) => {
                Some(amx::Amx::ready().map(TileUnit::amx))
            }
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16Avx512, Kind::Avx512(_)) => Self::dot(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Precision::Bf16Avx512, Kind::Amx(_)) => Self::dot(),
            _ => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn dot() -> Option<Result<TileUnit, UnitRefused>> {
        avx512bf16::Avx512Bf16::ready().map(|unit| unit.map(TileUnit::dot))
    }

    /// Its name, as in [`Isa::NAMES`].
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(_) => "amx",
            _ => self.lanes(),
        }
    }

    /// The name of what all but the products of bf16 run on.
    pub fn lanes(self) -> &'static str {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            Kind::Portable(_) => "portable",
        }
    }

    /// Runs a kernel with these instructions.
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd) => simd.run(kernel),
            Kind::Portable(simd) => simd.run(kernel),
        }
    }
}
