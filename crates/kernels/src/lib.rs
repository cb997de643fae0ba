//! The numeric kernels of the CPU encoder, as a safe API over slices.
//!
//! ```text
//!   model/packed.rs ──► Dense, attend     dense.rs       in any precision
//!                        │ f32: F32Linear    gemm.rs        panels, tiles of registers
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

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use activations::{Activations, Arena, BufferLayout, BufferSize, Input, Residual};
pub use attention::{Heads, attend_f32, attend_f32_scratch_len};
pub use buffer::{AlignedBuffer, AllocationError};
pub use dense::{Dense, attend, attend_scratch_size};
pub use gemm::F32Linear;
pub use norm::{LayerNorm, l2_normalize, mean_of_rows};
pub use peak::run_fma_chains;
pub use precision::{Arithmetic, Bf16Unit, Precision, UnitError};

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

/// The name of an instruction set, whether or not this CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsaName {
    /// AVX-512 for the lanes, and AMX tiles for products of bf16.
    Amx,
    /// AVX-512F.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// Any CPU.
    Portable,
}

impl IsaName {
    /// Every name, best first.
    pub const ALL: [IsaName; 4] = [IsaName::Amx, IsaName::Avx512, IsaName::Avx2, IsaName::Portable];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            IsaName::Amx => "amx",
            IsaName::Avx512 => "avx512",
            IsaName::Avx2 => "avx2",
            IsaName::Portable => "portable",
        }
    }

    /// The name that [`IsaName::as_str`] writes as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

impl std::fmt::Display for IsaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Isa {
    /// The best instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::portable())
    }

    /// The one that every machine has.
    pub fn portable() -> Self {
        Isa(Kind::Portable(portable::TOKEN))
    }

    /// Every instruction set of this CPU, best first; the last is always `portable`.
    pub fn available() -> impl Iterator<Item = Self> {
        IsaName::ALL.into_iter().filter_map(Self::from_name)
    }

    /// The instruction set of that name; `None` where this CPU lacks it.
    pub fn from_name(name: IsaName) -> Option<Self> {
        match name {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            IsaName::Amx if amx::Amx::is_there() => {
                avx512::Avx512::detect().map(|token| Isa(Kind::Amx(token)))
            }
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx512 => avx512::Avx512::detect().map(|token| Isa(Kind::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx2 => avx2::Avx2::detect().map(|token| Isa(Kind::Avx2(token))),
            IsaName::Portable => Some(Self::portable()),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// Its unit for the products of a precision, where it has one: permitted by the kernel and tested, or the reason why
    /// it is not to be used. Permission is for the whole process, threads that are running already included.
    pub(crate) fn unit(self, precision: Precision) -> Option<Result<Bf16Unit, UnitError>> {
        match (precision, self.0) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Precision::Bf16 | Precision::Bf16x3, Kind::Amx(_)) => {
                Some(amx::Amx::ready().map(Bf16Unit::amx))
            }
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16Avx512, Kind::Avx512(_)) => Self::dot(),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Precision::Bf16Avx512, Kind::Amx(_)) => Self::dot(),
            _ => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn dot() -> Option<Result<Bf16Unit, UnitError>> {
        avx512bf16::Avx512Bf16::ready().map(|unit| unit.map(Bf16Unit::dot))
    }

    /// Its name.
    pub fn name(self) -> IsaName {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(_) => IsaName::Amx,
            _ => self.lanes(),
        }
    }

    /// Its name as a word.
    pub fn as_str(self) -> &'static str {
        self.name().as_str()
    }

    /// The name of what all but the products of bf16 run on.
    pub fn lanes(self) -> IsaName {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(_) => IsaName::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => IsaName::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => IsaName::Avx2,
            Kind::Portable(_) => IsaName::Portable,
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
