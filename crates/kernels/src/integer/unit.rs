//! The instructions that multiply integers.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use crate::arch::avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
use crate::arch::avx512::{Avx512, Bw, Vnni};
#[cfg(target_arch = "aarch64")]
use crate::arch::neon::{Neon, NeonDot};
use crate::arch::portable::Portable;
use crate::integer::IntegerFormat;
use crate::integer::lanes::{IntegerKernel, IntegerLanes, Packing};
use crate::isa::{Isa, IsaName};
use crate::simd::{Kernel, Simd};

/// Instructions that multiply integers, of an instruction set that this CPU has. All give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IntegerUnit(Unit);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512<Vnni>),
    #[cfg(target_arch = "x86_64")]
    Avx512Bw(Avx512<Bw>),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    Portable(Portable),
}

impl IntegerUnit {
    /// The fastest within an instruction set.
    pub fn of(isa: Isa) -> Self {
        Self::within(isa).next().unwrap_or(IntegerUnit(Unit::Portable(Portable)))
    }

    /// Every unit of an instruction set and of those below it, fastest first.
    #[cfg(target_arch = "x86_64")]
    pub fn within(isa: Isa) -> impl Iterator<Item = Self> {
        let (wide, narrow) = match isa.name() {
            IsaName::Amx | IsaName::Avx512 => (true, true),
            IsaName::Avx2 => (false, true),
            IsaName::Neon | IsaName::Portable => (false, false),
        };
        let wide = wide.then(|| {
            let vnni = Avx512::<Vnni>::detect().map(Unit::Avx512Vnni);
            [vnni, Avx512::<Bw>::detect().map(Unit::Avx512Bw)]
        });
        let narrow = narrow.then(|| {
            let vnni = AvxVnni::detect_vnni().map(Unit::AvxVnni);
            [vnni, Avx2::detect().map(Unit::Avx2)]
        });
        let units = wide.into_iter().chain(narrow).flatten().flatten();
        units.chain([Unit::Portable(Portable)]).map(IntegerUnit)
    }

    /// Every unit of an instruction set and of those below it, fastest first.
    #[cfg(target_arch = "aarch64")]
    pub fn within(isa: Isa) -> impl Iterator<Item = Self> {
        let has_neon = isa.name() == IsaName::Neon;
        let neon = has_neon.then(|| {
            let dot = NeonDot::detect_dot().map(Unit::NeonDot);
            [dot, Neon::detect().map(Unit::Neon)]
        });
        let units = neon.into_iter().flatten().flatten();
        units.chain([Unit::Portable(Portable)]).map(IntegerUnit)
    }

    /// Every unit of an instruction set and of those below it, fastest first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn within(_: Isa) -> impl Iterator<Item = Self> {
        [IntegerUnit(Unit::Portable(Portable))].into_iter()
    }

    /// How it multiplies the integers of a format fastest.
    pub fn packing(self, format: IntegerFormat) -> Packing {
        format.packing(self.bytes())
    }

    /// See [`IntegerLanes::BYTES`].
    fn bytes(self) -> Packing {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni(_) => Avx512::<Vnni>::BYTES,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bw(_) => Avx512::<Bw>::BYTES,
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni(_) => AvxVnni::BYTES,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2(_) => <Avx2 as IntegerLanes>::BYTES,
            #[cfg(target_arch = "aarch64")]
            Unit::NeonDot(_) => NeonDot::BYTES,
            #[cfg(target_arch = "aarch64")]
            Unit::Neon(_) => <Neon as IntegerLanes>::BYTES,
            Unit::Portable(_) => Portable::BYTES,
        }
    }

    /// Whether an instruction adds products of four bytes, as those of VNNI do.
    pub fn has_dot_products_of_bytes(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni(_) | Unit::AvxVnni(_) => true,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bw(_) | Unit::Avx2(_) => false,
            #[cfg(target_arch = "aarch64")]
            Unit::NeonDot(_) => true,
            #[cfg(target_arch = "aarch64")]
            Unit::Neon(_) => false,
            Unit::Portable(_) => false,
        }
    }

    /// Runs a kernel with these instructions.
    pub fn run<K: IntegerKernel>(self, kernel: K) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni(lanes) => lanes.run(OnLanes(kernel, lanes)),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bw(lanes) => lanes.run(OnLanes(kernel, lanes)),
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni(lanes) => lanes.run(OnLanes(kernel, lanes)),
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2(lanes) => lanes.run(OnLanes(kernel, lanes)),
            #[cfg(target_arch = "aarch64")]
            Unit::NeonDot(lanes) => lanes.run(OnLanes(kernel, lanes)),
            #[cfg(target_arch = "aarch64")]
            Unit::Neon(lanes) => lanes.run(OnLanes(kernel, lanes)),
            Unit::Portable(lanes) => lanes.run(OnLanes(kernel, lanes)),
        }
    }
}

impl fmt::Display for IntegerUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Vnni(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bw(_) => "avx512-bw",
            #[cfg(target_arch = "x86_64")]
            Unit::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx2(_) => IsaName::Avx2.as_str(),
            #[cfg(target_arch = "aarch64")]
            Unit::NeonDot(_) => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Unit::Neon(_) => IsaName::Neon.as_str(),
            Unit::Portable(_) => IsaName::Portable.as_str(),
        })
    }
}

/// Gives a kernel the integers of an instruction set whose code was entered.
pub(crate) struct OnLanes<K, L>(pub K, pub L);

impl<K: IntegerKernel, L: IntegerLanes> Kernel for OnLanes<K, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.run(self.1);
    }
}
