//! The instruction sets: their names, and the ones that this CPU has.

use std::fmt;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::arch::amx::Amx;
#[cfg(target_arch = "x86_64")]
use crate::arch::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::arch::avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use crate::arch::neon::Neon as NeonLanes;
use crate::arch::portable::Portable;
use crate::simd::{Kernel, Simd};

/// The name of an instruction set, whether or not this CPU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsaName {
    /// AVX-512F for the lanes, and AMX tiles for bf16 products. Linux on x86-64 only.
    Amx,
    /// AVX-512F.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// NEON, of ARM's 64-bit CPUs.
    Neon,
    /// Any CPU.
    Portable,
}

impl IsaName {
    /// Every name, best first.
    pub const ALL: [IsaName; 5] =
        [IsaName::Amx, IsaName::Avx512, IsaName::Avx2, IsaName::Neon, IsaName::Portable];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            IsaName::Amx => "amx",
            IsaName::Avx512 => "avx512",
            IsaName::Avx2 => "avx2",
            IsaName::Neon => "neon",
            IsaName::Portable => "portable",
        }
    }

    /// The name that [`IsaName::as_str`] writes as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

impl fmt::Display for IsaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instruction set that this CPU has. Only detection makes one, and it holds the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(NeonLanes),
    Portable(Portable),
}

impl Isa {
    /// The best instruction set of this CPU.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::portable())
    }

    /// The instruction set of every CPU.
    pub fn portable() -> Self {
        Isa(Kind::Portable(Portable))
    }

    /// Every instruction set of this CPU, best first; the last is always `portable`.
    pub fn available() -> impl Iterator<Item = Self> {
        IsaName::ALL.into_iter().filter_map(Self::from_name)
    }

    /// The instruction set of that name; `None` if this CPU lacks it.
    pub fn from_name(name: IsaName) -> Option<Self> {
        let kind = match name {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            IsaName::Amx if Amx::is_available() => Avx512::detect().map(Kind::Amx),
            IsaName::Amx => None,
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx512 => Avx512::detect().map(Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx2 => Avx2::detect().map(Kind::Avx2),
            #[cfg(not(target_arch = "x86_64"))]
            IsaName::Avx512 | IsaName::Avx2 => None,
            #[cfg(target_arch = "aarch64")]
            IsaName::Neon => NeonLanes::detect().map(Kind::Neon),
            #[cfg(not(target_arch = "aarch64"))]
            IsaName::Neon => None,
            IsaName::Portable => Some(Kind::Portable(Portable)),
        };
        kind.map(Isa)
    }

    /// Its name.
    pub fn name(self) -> IsaName {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(_) => IsaName::Amx,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => IsaName::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => IsaName::Avx2,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => IsaName::Neon,
            Kind::Portable(_) => IsaName::Portable,
        }
    }

    /// The word of its name.
    pub fn as_str(self) -> &'static str {
        self.name().as_str()
    }

    /// The instruction set of its lanes, which compute everything except the bf16 products of AMX.
    pub fn lanes(self) -> IsaName {
        match self.name() {
            IsaName::Amx | IsaName::Avx512 => IsaName::Avx512,
            IsaName::Avx2 => IsaName::Avx2,
            IsaName::Neon => IsaName::Neon,
            IsaName::Portable => IsaName::Portable,
        }
    }

    /// Whether it multiplies integers of 16 bits faster than f32. ARM's instructions multiply four of either at once.
    pub fn multiplies_int16_faster(self) -> bool {
        self.name() != IsaName::Neon && !cfg!(target_arch = "aarch64")
    }

    /// Runs a kernel with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Kind::Amx(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(simd) => simd.run(kernel),
            Kind::Portable(simd) => simd.run(kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_complete_and_parse_back() {
        // A name that is missing here does not compile.
        let next = |name| match name {
            IsaName::Amx => Some(IsaName::Avx512),
            IsaName::Avx512 => Some(IsaName::Avx2),
            IsaName::Avx2 => Some(IsaName::Neon),
            IsaName::Neon => Some(IsaName::Portable),
            IsaName::Portable => None,
        };
        let names: Vec<_> = std::iter::successors(Some(IsaName::Amx), |name| next(*name)).collect();
        assert_eq!(names, IsaName::ALL);
        for name in IsaName::ALL {
            assert_eq!(IsaName::parse(name.as_str()), Some(name));
        }
        assert_eq!(IsaName::parse("mmx"), None);
    }

    #[test]
    fn available_isas_are_found_by_name() {
        for isa in Isa::available() {
            println!("this machine has {}", isa.name());
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::available().next(), Some(Isa::detect()));
        assert_eq!(Isa::available().last(), Some(Isa::portable()));
    }
}
