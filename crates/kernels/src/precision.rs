//! The precisions of matrix products, and the words that name them.

use std::fmt;

use crate::integer::IntegerFormat;

/// The number format of the factors of a matrix product. Sums, and every operation that is not a
/// product, are f32 in each precision.
///
/// Each precision is a numerics version of its own, with the same bits on every instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    F32,
    /// bf16: 8 significant bits.
    Bf16,
    /// Each factor is the sum of two bf16 values, and three of the four products are made: 16 significant bits.
    Bf16x3,
    /// bf16 like [`Precision::Bf16`], summed in the order of the AVX512-BF16 instructions instead of AMX.
    Bf16Avx512,
    /// Integers of 12 bits, with a scale for at most 384 inputs of a row: as near to f32 as bf16.
    Int16,
    /// Integers of 8 bits, with a scale for at most 64 inputs of a row.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 6] = [
        Precision::F32,
        Precision::Bf16,
        Precision::Bf16x3,
        Precision::Bf16Avx512,
        Precision::Int16,
        Precision::Int8,
    ];

    /// The word in the configuration and in the footer of an output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Bf16x3 => "bf16x3",
            Precision::Bf16Avx512 => "bf16-avx512",
            Precision::Int16 => "int16",
            Precision::Int8 => "int8",
        }
    }

    /// The precision that [`Precision::as_str`] writes as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.as_str() == word)
    }

    /// The name of the CPU unit that makes its products; `None` where every CPU can.
    pub const fn unit_name(self) -> Option<&'static str> {
        match self {
            Precision::F32 | Precision::Int16 | Precision::Int8 => None,
            Precision::Bf16 | Precision::Bf16x3 => Some("AMX"),
            Precision::Bf16Avx512 => Some("AVX512-BF16"),
        }
    }

    /// Whether the activations between layers are f32, and are rounded, if at all, within a layer.
    pub const fn has_f32_activations(self) -> bool {
        !matches!(self.format(), NumberFormat::Bf16 { .. })
    }

    /// The numerics version. Two builds that name the same version give the same bits.
    pub const fn numerics(self) -> &'static str {
        match self {
            Precision::F32 => "packed-1-f32",
            Precision::Bf16 => "packed-1-bf16",
            Precision::Bf16x3 => "packed-1-bf16x3",
            Precision::Bf16Avx512 => "packed-1-bf16-avx512",
            Precision::Int16 => "packed-1-int16",
            Precision::Int8 => "packed-1-int8",
        }
    }

    /// How it stores the factors of a product.
    pub(crate) const fn format(self) -> NumberFormat {
        match self {
            Precision::F32 => NumberFormat::F32,
            Precision::Bf16 | Precision::Bf16Avx512 => NumberFormat::Bf16 { split: false },
            Precision::Bf16x3 => NumberFormat::Bf16 { split: true },
            Precision::Int16 => NumberFormat::Integer(IntegerFormat::Int16),
            Precision::Int8 => NumberFormat::Integer(IntegerFormat::Int8),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the factors of a product are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    F32,
    /// As one bf16, or split into two: the high part and what rounding it left.
    Bf16 {
        split: bool,
    },
    /// As integers with scales, which a layer makes of rows of f32.
    Integer(IntegerFormat),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_complete_and_parse_back() {
        // A precision that is missing here does not compile.
        let next = |precision| match precision {
            Precision::F32 => Some(Precision::Bf16),
            Precision::Bf16 => Some(Precision::Bf16x3),
            Precision::Bf16x3 => Some(Precision::Bf16Avx512),
            Precision::Bf16Avx512 => Some(Precision::Int16),
            Precision::Int16 => Some(Precision::Int8),
            Precision::Int8 => None,
        };
        let all: Vec<_> = std::iter::successors(Some(Precision::F32), |p| next(*p)).collect();
        assert_eq!(all, Precision::ALL);
        for precision in Precision::ALL {
            assert_eq!(Precision::parse(precision.as_str()), Some(precision));
        }
        assert_eq!(Precision::parse("fp8"), None);
    }
}
