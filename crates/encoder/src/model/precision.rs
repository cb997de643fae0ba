//! The precision that a model runs in, and what makes its products: one table.
//!
//! | `compute.precision` | the CPU's units, permitted and tested | the precision |
//! |---|---|---|
//! | `auto`, all-MiniLM-L6-v2 | AMX | bf16 |
//! | | AVX512-BF16 alone | bf16-avx512, with a warning if there is an AMX that is refused |
//! | | neither | f32, with a warning if one was refused |
//! | `auto`, any other model | | f32 |
//! | `f32` | | f32 |
//! | `bf16`, `bf16x3`, `bf16-avx512` | its own | as pinned |
//! | | none, refused, or left out by `compute.isa` | emulated, with a warning |
//!
//! The emulation gives the bits of the unit and is no faster than f32. So a job that pins its precision gets the same
//! vectors on every machine of a mixed fleet, and a warning where it would be faster without the pin.

use std::fmt;

use reembed_kernels::{Arithmetic, Bf16Unit, Isa, Precision, UnitError};

/// What the user should know about the precision that a model runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrecisionWarning {
    /// The precision was asked for and is emulated: the same bits as on its unit, and no faster than f32.
    Emulated {
        /// Which.
        precision: Precision,
        /// Why the CPU's unit is not used; `None` where it has none, or `compute.isa` leaves it out.
        refused: Option<UnitError>,
    },
    /// The CPU has a unit for a faster precision, which is not used.
    Fallback {
        /// The faster one.
        wanted: Precision,
        /// The one that is used.
        instead: Precision,
        /// Why.
        refused: UnitError,
    },
}

/// One sentence.
impl fmt::Display for PrecisionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrecisionWarning::Emulated { precision, refused } => {
                let unit = precision.unit_name().unwrap_or("the CPU");
                write!(
                    f,
                    "{precision} is emulated, with the bits of {unit} and no faster than f32: "
                )?;
                match refused {
                    Some(refused) => write!(f, "{refused}"),
                    None => write!(f, "{unit} is missing or left out"),
                }
            }
            PrecisionWarning::Fallback { wanted, instead, refused } => {
                write!(f, "{instead} is used instead of {wanted}: {refused}")
            }
        }
    }
}

/// The arithmetic of a model, and what the user should know about it. `wanted` is the precision that was pinned;
/// `validated` says whether bf16 was found to be good enough for this very model.
pub fn choose(
    isa: Isa,
    wanted: Option<Precision>,
    validated: bool,
) -> (Arithmetic, Option<PrecisionWarning>) {
    let (precision, unit, warning) =
        decide(wanted, validated, |precision| Bf16Unit::detect(isa, precision));
    (Arithmetic::new(isa, precision, unit.unwrap_or(Bf16Unit::EMULATED)), warning)
}

/// What `auto` tries for a validated model, best first.
const FAST: [Precision; 2] = [Precision::Bf16, Precision::Bf16Avx512];

/// The table: a precision, and the unit that makes its products, if one does. `unit` is asked only where the answer
/// matters: AMX makes the kernel reserve memory.
fn decide<U>(
    wanted: Option<Precision>,
    validated: bool,
    unit: impl Fn(Precision) -> Option<Result<U, UnitError>>,
) -> (Precision, Option<U>, Option<PrecisionWarning>) {
    let candidates = match (&wanted, validated) {
        (None, true) => &FAST[..],
        (None, false) | (Some(Precision::F32), _) => &[],
        (Some(precision), _) => std::slice::from_ref(precision),
    };
    let mut refused = None;
    for &precision in candidates {
        match unit(precision) {
            Some(Ok(unit)) => {
                let warning = refused.map(|(wanted, refused)| PrecisionWarning::Fallback {
                    wanted,
                    instead: precision,
                    refused,
                });
                return (precision, Some(unit), warning);
            }
            Some(Err(why)) => refused = refused.or(Some((precision, why))),
            None => {}
        }
    }
    let (precision, warning) = match wanted {
        Some(Precision::F32) => (Precision::F32, None),
        Some(precision) => {
            let refused = refused.map(|(_, refused)| refused);
            (precision, Some(PrecisionWarning::Emulated { precision, refused }))
        }
        None => {
            let instead = Precision::F32;
            let warning =
                |(wanted, refused)| PrecisionWarning::Fallback { wanted, instead, refused };
            (instead, refused.map(warning))
        }
    };
    (precision, None, warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: UnitError = UnitError::NotPermitted(1);

    #[test]
    fn each_row_of_the_table_holds() {
        use Precision::{Bf16, Bf16Avx512, Bf16x3, F32};
        let (there, refused) = (Some(Ok(())), Some(Err(REFUSED)));
        let emulated = |precision, refused| Some(PrecisionWarning::Emulated { precision, refused });
        let instead = |wanted, instead| {
            Some(PrecisionWarning::Fallback { wanted, instead, refused: REFUSED })
        };
        // The units are AMX and AVX512-BF16.
        for (wanted, validated, amx, dot, precision, warning) in [
            (None, true, there, there, Bf16, None),
            (None, true, there, None, Bf16, None),
            (None, true, None, there, Bf16Avx512, None),
            (None, true, refused, there, Bf16Avx512, instead(Bf16, Bf16Avx512)),
            (None, true, refused, None, F32, instead(Bf16, F32)),
            (None, true, refused, refused, F32, instead(Bf16, F32)),
            (None, true, None, refused, F32, instead(Bf16Avx512, F32)),
            (None, true, None, None, F32, None),
            (None, false, there, there, F32, None),
            (Some(F32), true, there, there, F32, None),
            (Some(Bf16), false, there, None, Bf16, None),
            (Some(Bf16x3), true, there, None, Bf16x3, None),
            (Some(Bf16Avx512), true, there, there, Bf16Avx512, None),
            (Some(Bf16), true, refused, there, Bf16, emulated(Bf16, Some(REFUSED))),
            (Some(Bf16x3), true, None, there, Bf16x3, emulated(Bf16x3, None)),
            (Some(Bf16Avx512), true, there, None, Bf16Avx512, emulated(Bf16Avx512, None)),
        ] {
            // The name of a unit stands for it.
            let unit = |precision| match precision {
                Bf16Avx512 => dot.map(|unit| unit.map(|()| "AVX512-BF16")),
                _ => amx.map(|unit| unit.map(|()| "AMX")),
            };
            let is_emulated = matches!(warning, Some(PrecisionWarning::Emulated { .. }));
            let of_unit = if is_emulated { None } else { precision.unit_name() };
            let found = decide(wanted, validated, unit);
            assert_eq!(found, (precision, of_unit, warning), "{wanted:?}, {amx:?}, {dot:?}");
        }
    }

    #[test]
    fn no_unit_is_asked_where_f32_is_wanted() {
        for (wanted, validated) in [(Some(Precision::F32), true), (None, false)] {
            let (precision, ..) = decide::<()>(wanted, validated, |_| panic!("it was asked"));
            assert_eq!(precision, Precision::F32);
        }
    }
}
