//! The arithmetic of a model: a precision, on an instruction set, with the products made where they can be.

use std::fmt;

use super::Isa;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::Amx;
#[cfg(target_arch = "x86_64")]
use super::avx512bf16::Avx512Bf16;

/// What the factors of a matrix product are. Sums, and all that is not a product, are f32 in each of them.
///
/// Each is a numerics version of its own, with the same bits on every instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    F32,
    /// bf16: 8 significant bits.
    Bf16,
    /// Each factor is the sum of two bf16, of which three of the four products are made: 16 significant bits.
    Bf16x3,
    /// bf16 like [`Precision::Bf16`], with the sums of the AVX512-BF16 instructions in the place of those of AMX.
    Bf16Avx512,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 4] =
        [Precision::F32, Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512];

    /// Its name in the configuration and in the footer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16Avx512 => "bf16-avx512",
        }
    }

    /// The instructions whose products it is made of; `None` where every CPU has them.
    pub const fn unit_name(self) -> Option<&'static str> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 | Precision::Bf16x3 => Some("AMX"),
            Precision::Bf16Avx512 => Some("AVX512-BF16"),
        }
    }

    /// Its numerics version: equal ones give equal bits.
    pub const fn numerics(self) -> &'static str {
        match self {
            Precision::F32 => "packed-1-f32",
            Precision::Bf16 => "packed-1-bf16",
            Precision::Bf16x3 => "packed-1-bf16x3",
            Precision::Bf16Avx512 => "packed-1-bf16-avx512",
        }
    }

    /// The precision of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.as_str() == name)
    }

    /// Whether a factor is one bf16 (`false`) or two (`true`); `None` where it is an f32.
    pub(crate) fn split(self) -> Option<bool> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 | Precision::Bf16Avx512 => Some(false),
            Precision::Bf16x3 => Some(true),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What multiplies tiles of bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bf16Unit(Unit);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Emulated,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(Amx),
    #[cfg(target_arch = "x86_64")]
    Dot(Avx512Bf16),
}

impl Bf16Unit {
    /// The lanes of any instruction set: the bits of the unit of the precision, far slower.
    pub const EMULATED: Bf16Unit = Bf16Unit(Unit::Emulated);

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn amx(amx: Amx) -> Self {
        Bf16Unit(Unit::Amx(amx))
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn dot(unit: Avx512Bf16) -> Self {
        Bf16Unit(Unit::Dot(unit))
    }

    /// The unit of `isa` for the products of a precision, permitted and tested; `None` where it has none.
    pub fn detect(isa: Isa, precision: Precision) -> Option<Result<Self, UnitError>> {
        isa.unit(precision)
    }

    /// Whether the products of a precision are the unit's: another's would go by its name.
    pub(crate) fn makes(self, precision: Precision) -> bool {
        match self.0 {
            Unit::Emulated => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx(_) => matches!(precision, Precision::Bf16 | Precision::Bf16x3),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot(_) => precision == Precision::Bf16Avx512,
        }
    }
}

/// Why a tile unit that the CPU has is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitError {
    /// The kernel does not permit AMX; the number of its error.
    NotPermitted(i64),
    /// What the unit of a precision multiplies or rounds is not what is documented, which the self-test at load found
    /// out.
    SelfTestFailed(Precision),
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnitError::NotPermitted(number) => {
                write!(f, "the kernel does not permit AMX (error {number})")
            }
            UnitError::SelfTestFailed(precision) => {
                write!(f, "{} failed its self-test", precision.unit_name().unwrap_or("the CPU"))
            }
        }
    }
}

/// A precision on an instruction set: what every kernel of a model has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    isa: Isa,
    precision: Precision,
    unit: Bf16Unit,
}

impl Arithmetic {
    /// Products of f32.
    pub fn f32(isa: Isa) -> Self {
        Arithmetic { isa, precision: Precision::F32, unit: Bf16Unit::EMULATED }
    }

    /// Any precision. A unit that does not make its products, as none does those of [`Precision::F32`], is left out.
    pub fn new(isa: Isa, precision: Precision, unit: Bf16Unit) -> Self {
        let unit = if unit.makes(precision) { unit } else { Bf16Unit::EMULATED };
        Arithmetic { isa, precision, unit }
    }

    /// What all but the products run on. A unit brings lanes of its own, AVX-512 that rounds, where the CPU has them.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// What the factors of products are.
    pub fn precision(self) -> Precision {
        self.precision
    }

    #[cfg(test)]
    pub(crate) fn tile_unit(self) -> Bf16Unit {
        self.unit
    }

    pub(crate) fn unit(self) -> Unit {
        self.unit.0
    }

    /// Every way in which this machine can compute a precision, and AMX whether it has it or not.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn every_way(precision: Precision) -> Vec<Self> {
        let lanes = Isa::available().map(|isa| Arithmetic::new(isa, precision, Bf16Unit::EMULATED));
        let mut ways: Vec<Self> = lanes.collect();
        match precision {
            Precision::F32 => {}
            Precision::Bf16 | Precision::Bf16x3 =>
            {
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                for unit in super::amx::for_tests() {
                    ways.push(Arithmetic::new(Isa::detect(), precision, unit));
                }
            }
            Precision::Bf16Avx512 => {
                let unit = Bf16Unit::detect(Isa::detect(), precision)
                    .map(|unit| unit.expect("its self-test"));
                ways.extend(unit.map(|unit| Arithmetic::new(Isa::detect(), precision, unit)));
            }
        }
        ways
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (precision, lanes) = (self.precision, self.isa.lanes());
        match self.unit.0 {
            _ if precision == Precision::F32 => f.write_str(lanes.as_str()),
            Unit::Emulated => write!(f, "{lanes}, {precision} emulated"),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx(_) => f.write_str("amx"),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot(_) => f.write_str("avx512-bf16"),
        }
    }
}
