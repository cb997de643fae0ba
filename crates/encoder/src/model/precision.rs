//! The precision of a model, and the unit that computes its matrix products: one table.
//!
//! | `compute.precision` | units of the CPU that work and are permitted | precision |
//! |---|---|---|
//! | `auto`, all-MiniLM-L6-v2 | AMX | bf16 |
//! | | AVX512-BF16 only | bf16-avx512; a warning if AMX exists and was refused |
//! | | neither | int16, or f32 on ARM, which is no faster at int16; a warning if a unit was refused |
//! | `auto`, any other model | | f32 |
//! | `auto`, vectors of the model exist | the unit of their precision | theirs |
//! | | missing, refused or excluded by `compute.isa` | theirs, emulated; a warning |
//! | `f32`, `int16` | | as configured: every CPU multiplies them |
//! | `int8` | | as configured; a warning where it is slower, without dot products of bytes |
//! | `bf16`, `bf16x3`, `bf16-avx512` | the unit of that precision | as configured |
//! | | missing, refused or excluded by `compute.isa` | as configured, emulated; a warning |
//!
//! The emulation has the bits of the unit and is no faster than f32. A job that configures its
//! precision so gets the same vectors on every machine. Why:
//! docs/decisions/0006-one-numerics-version-per-precision.md.

use std::fmt;

use reembed_kernels::{Arithmetic, Bf16Unit, Isa, Precision, UnitError};

use super::precedent::{FollowedPrecision, VectorPlace};

/// What the user should know about the precision of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrecisionWarning {
    /// The precision is emulated: the bits of its unit, and no faster than f32.
    Emulated {
        /// The precision.
        precision: Precision,
        /// The vectors that it was chosen for; `None` if it is configured.
        place: Option<VectorPlace>,
        /// Why the unit is not used; `None` if the CPU has none or `compute.isa` excludes it.
        reason: Option<UnitError>,
    },
    /// The precision is slower here than one that is nearer to f32.
    Slower {
        /// The precision.
        precision: Precision,
        /// The one that is faster.
        faster: Precision,
    },
    /// The CPU has a unit for a faster precision that cannot be used.
    Fallback {
        /// The faster precision.
        preferred: Precision,
        /// The precision that is used.
        used: Precision,
        /// Why the unit is not used.
        reason: UnitError,
    },
}

/// One sentence.
impl fmt::Display for PrecisionWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrecisionWarning::Emulated { precision, place, reason } => {
                let unit = precision.unit_name().unwrap_or("the CPU");
                write!(
                    f,
                    "{precision} is emulated, with the bits of {unit} and no faster than f32: "
                )?;
                match reason {
                    Some(reason) => write!(f, "{reason}"),
                    None => write!(f, "{unit} is missing or excluded by `compute.isa`"),
                }?;
                let Some(place) = place else { return Ok(()) };
                write!(
                    f,
                    "; it is the precision of {place}; to change it, embed every row again, for \
                     example with `--precision f32 --rebuild`"
                )
            }
            PrecisionWarning::Slower { precision, faster } => write!(
                f,
                "{precision} is slower than {faster} on this CPU, which has no dot products of bytes (VNNI on \
                 x86-64) or is kept from them by `compute.isa`; its vectors are those of every machine"
            ),
            PrecisionWarning::Fallback { preferred, used, reason } => {
                write!(f, "{used} is used instead of {preferred}: {reason}")
            }
        }
    }
}

/// Chooses the arithmetic of a model, and a warning about it.
///
/// `configured` is the precision of the configuration, and `followed` that of vectors that exist,
/// which counts if none is configured; `validated` says whether the accuracy of
/// bf16 was validated for this model.
pub fn choose_arithmetic(
    isa: Isa,
    configured: Option<Precision>,
    followed: Option<FollowedPrecision>,
    validated: bool,
) -> (Arithmetic, Option<PrecisionWarning>) {
    let wanted = configured.or(followed.map(|followed| followed.precision));
    let without_unit =
        if isa.multiplies_int16_faster() { Precision::Int16 } else { Precision::F32 };
    let (precision, unit, mut warning) =
        choose_precision(wanted, validated, without_unit, |precision| {
            Bf16Unit::detect(isa, precision)
        });
    if let (Some(PrecisionWarning::Emulated { place, .. }), None) = (&mut warning, configured) {
        *place = followed.map(|followed| followed.place);
    }
    let arithmetic = Arithmetic::new(isa, precision, unit.unwrap_or(Bf16Unit::EMULATED));
    let is_slow = precision == Precision::Int8 && !arithmetic.multiplies_bytes_faster();
    let slower = PrecisionWarning::Slower { precision, faster: without_unit };
    (arithmetic, warning.or(is_slow.then_some(slower)))
}

/// The precisions that `auto` tries for a validated model, fastest first.
const FAST: [Precision; 2] = [Precision::Bf16, Precision::Bf16Avx512];

/// The table: a precision, its unit unless it is emulated, and a warning.
///
/// `without_unit` is the fastest precision for a validated model that needs no unit. `detect` is called only if the
/// result matters: detecting AMX makes the kernel reserve memory.
fn choose_precision<U>(
    configured: Option<Precision>,
    validated: bool,
    without_unit: Precision,
    detect: impl Fn(Precision) -> Option<Result<U, UnitError>>,
) -> (Precision, Option<U>, Option<PrecisionWarning>) {
    let candidates = match (&configured, validated) {
        (None, true) => &FAST[..],
        (Some(precision), _) if precision.unit_name().is_some() => std::slice::from_ref(precision),
        (None, false) | (Some(_), _) => &[],
    };
    let mut refused = None;
    for &precision in candidates {
        match detect(precision) {
            Some(Ok(unit)) => {
                let warning = refused.map(|(preferred, reason)| PrecisionWarning::Fallback {
                    preferred,
                    used: precision,
                    reason,
                });
                return (precision, Some(unit), warning);
            }
            Some(Err(error)) => refused = refused.or(Some((precision, error))),
            None => {}
        }
    }
    let (precision, warning) = match configured {
        Some(precision) if precision.unit_name().is_none() => (precision, None),
        Some(precision) => {
            let reason = refused.map(|(_, reason)| reason);
            (precision, Some(PrecisionWarning::Emulated { precision, place: None, reason }))
        }
        None => {
            let used = if validated { without_unit } else { Precision::F32 };
            let warning =
                |(preferred, reason)| PrecisionWarning::Fallback { preferred, used, reason };
            (used, refused.map(warning))
        }
    };
    (precision, None, warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: UnitError = UnitError::NotPermitted(1);

    #[test]
    fn choose_precision_follows_the_table() {
        use Precision::{Bf16, Bf16Avx512, Bf16x3, F32, Int8, Int16};
        let (works, refused) = (Some(Ok(())), Some(Err(REFUSED)));
        let emulated =
            |precision, reason| Some(PrecisionWarning::Emulated { precision, place: None, reason });
        let fallback =
            |preferred, used| Some(PrecisionWarning::Fallback { preferred, used, reason: REFUSED });
        // `amx` and `dot` are the results of detecting AMX and AVX512-BF16.
        for (configured, validated, amx, dot, precision, warning) in [
            (None, true, works, works, Bf16, None),
            (None, true, works, None, Bf16, None),
            (None, true, None, works, Bf16Avx512, None),
            (None, true, refused, works, Bf16Avx512, fallback(Bf16, Bf16Avx512)),
            (None, true, refused, None, Int16, fallback(Bf16, Int16)),
            (None, true, refused, refused, Int16, fallback(Bf16, Int16)),
            (None, true, None, refused, Int16, fallback(Bf16Avx512, Int16)),
            (None, true, None, None, Int16, None),
            (None, false, works, works, F32, None),
            (Some(F32), true, works, works, F32, None),
            (Some(Int16), false, works, works, Int16, None),
            (Some(Int8), true, None, None, Int8, None),
            (Some(Bf16), false, works, None, Bf16, None),
            (Some(Bf16x3), true, works, None, Bf16x3, None),
            (Some(Bf16Avx512), true, works, works, Bf16Avx512, None),
            (Some(Bf16), true, refused, works, Bf16, emulated(Bf16, Some(REFUSED))),
            (Some(Bf16x3), true, None, works, Bf16x3, emulated(Bf16x3, None)),
            (Some(Bf16Avx512), true, works, None, Bf16Avx512, emulated(Bf16Avx512, None)),
        ] {
            // A unit is represented by its name.
            let detect = |precision| match precision {
                Bf16Avx512 => dot.map(|unit| unit.map(|()| "AVX512-BF16")),
                _ => amx.map(|unit| unit.map(|()| "AMX")),
            };
            let is_emulated = matches!(warning, Some(PrecisionWarning::Emulated { .. }));
            let unit = if is_emulated { None } else { precision.unit_name() };
            let found = choose_precision(configured, validated, Int16, detect);
            assert_eq!(found, (precision, unit, warning), "{configured:?}, {amx:?}, {dot:?}");
        }
    }

    #[test]
    fn no_unit_is_detected_for_what_every_cpu_computes() {
        use Precision::{F32, Int8, Int16};
        for (configured, validated, expected) in [
            (Some(F32), true, F32),
            (Some(Int16), true, Int16),
            (Some(Int8), true, Int8),
            (None, false, F32),
        ] {
            let (precision, ..) = choose_precision::<()>(configured, validated, Int16, |_| {
                panic!("it is not needed")
            });
            assert_eq!(precision, expected);
        }
    }

    #[test]
    fn auto_is_f32_where_int16_is_no_faster_and_there_is_no_unit() {
        use Precision::{Bf16Avx512, F32};
        let chosen = |validated, unit: Option<Result<(), UnitError>>| {
            let detect = |precision| if precision == Bf16Avx512 { unit } else { None };
            choose_precision(None, validated, F32, detect).0
        };
        for (validated, unit, precision) in [
            (true, None, F32),
            (true, Some(Err(REFUSED)), F32),
            (true, Some(Ok(())), Bf16Avx512),
            (false, None, F32),
        ] {
            assert_eq!(chosen(validated, unit), precision, "{validated}, {unit:?}");
        }
    }

    #[test]
    fn int8_without_dot_products_of_bytes_is_said_to_be_slow() {
        let chosen = |precision| choose_arithmetic(Isa::portable(), Some(precision), None, true).1;
        let faster = if cfg!(target_arch = "aarch64") { Precision::F32 } else { Precision::Int16 };
        let slower = PrecisionWarning::Slower { precision: Precision::Int8, faster };
        assert_eq!(chosen(Precision::Int8), Some(slower));
        assert_eq!(chosen(Precision::Int16), None);
    }
}
