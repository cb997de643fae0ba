//! The precision that a model runs in, and what makes its products: one table.
//!
//! | `compute.precision` | AMX, permitted and tested | AMX, refused | none, or left out by `compute.isa` |
//! |---|---|---|---|
//! | `auto`, all-MiniLM-L6-v2 | bf16 on AMX | f32, with a warning | f32 |
//! | `auto`, any other model | f32 | f32 | f32 |
//! | `f32` | f32 | f32 | f32 |
//! | `bf16`, `bf16x3` | on AMX | emulated, with a warning | emulated, with a warning |
//!
//! The emulation gives the bits of AMX and is no faster than f32. So a job that pins its precision gets the same vectors
//! on every machine of a mixed fleet, and a warning where it would be faster without the pin.

use crate::kernels::{AmxRefused, Arithmetic, Isa, Precision, TileUnit};
use crate::report::Warning;

/// The arithmetic of a model, and what the user should know about it. `wanted` is the precision that was pinned;
/// `validated` says whether bf16 was found to be good enough for this very model.
pub fn choose(
    isa: Isa,
    wanted: Option<Precision>,
    validated: bool,
) -> (Arithmetic, Option<Warning>) {
    let (precision, unit, warning) = decide(wanted, validated, || isa.tiles());
    (Arithmetic::new(isa, precision, unit), warning)
}

/// The table. `tiles` is asked only where the answer matters: it makes the kernel reserve memory.
fn decide(
    wanted: Option<Precision>,
    validated: bool,
    tiles: impl FnOnce() -> Option<Result<TileUnit, AmxRefused>>,
) -> (Precision, TileUnit, Option<Warning>) {
    let precision = match wanted {
        None if validated => Precision::Bf16,
        None => Precision::F32,
        Some(precision) => precision,
    };
    if precision == Precision::F32 {
        return (precision, TileUnit::EMULATED, None);
    }
    match (tiles(), wanted) {
        (Some(Ok(unit)), _) => (precision, unit, None),
        (Some(Err(refused)), None) => {
            (Precision::F32, TileUnit::EMULATED, Some(Warning::AmxNotUsed { refused }))
        }
        (None, None) => (Precision::F32, TileUnit::EMULATED, None),
        (tiles, Some(_)) => {
            let refused = tiles.and_then(Result::err);
            (precision, TileUnit::EMULATED, Some(Warning::EmulatedPrecision { precision, refused }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for the tiles of AMX, which only a machine that has them can make: nothing here looks inside.
    const UNIT: TileUnit = TileUnit::EMULATED;
    const REFUSED: AmxRefused = AmxRefused::NotPermitted(1);

    #[test]
    fn each_row_of_the_table_holds() {
        use Precision::{Bf16, Bf16x3, F32};
        let (there, refused) = (Some(Ok(UNIT)), Some(Err(REFUSED)));
        let emulated = |precision, refused| Warning::EmulatedPrecision { precision, refused };
        for (wanted, validated, tiles, precision, warning) in [
            (None, true, there, Bf16, None),
            (None, true, refused, F32, Some(Warning::AmxNotUsed { refused: REFUSED })),
            (None, true, None, F32, None),
            (None, false, there, F32, None),
            (Some(F32), true, there, F32, None),
            (Some(Bf16), false, there, Bf16, None),
            (Some(Bf16x3), true, there, Bf16x3, None),
            (Some(Bf16), true, refused, Bf16, Some(emulated(Bf16, Some(REFUSED)))),
            (Some(Bf16x3), true, None, Bf16x3, Some(emulated(Bf16x3, None))),
        ] {
            let found = decide(wanted, validated, || tiles);
            assert_eq!((found.0, found.2), (precision, warning), "{wanted:?}, {tiles:?}");
        }
    }

    #[test]
    fn the_kernel_is_not_asked_where_f32_is_wanted() {
        for (wanted, validated) in [(Some(Precision::F32), true), (None, false)] {
            let (precision, ..) = decide(wanted, validated, || panic!("it was asked"));
            assert_eq!(precision, Precision::F32);
        }
    }
}
