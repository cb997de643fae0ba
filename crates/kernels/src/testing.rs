//! Test support for this crate and for the crates above it. Requires the feature `testing`.

pub mod reference;

use crate::arithmetic::{Arithmetic, Bf16Unit};
use crate::integer::unit::IntegerUnit;
use crate::isa::Isa;
use crate::precision::Precision;

/// Every arithmetic of a precision that this machine can run: emulated on each instruction set, and on the
/// units of the CPU. On x86-64 Linux it includes AMX; if the CPU lacks it, an emulator executes its instructions.
///
/// # Panics
/// If a unit of this CPU fails its self-test.
#[expect(clippy::expect_used, reason = "for tests: a unit that fails its self-test ends them")]
pub fn all_arithmetics(precision: Precision) -> Vec<Arithmetic> {
    let emulated = Isa::available().map(|isa| (isa, Bf16Unit::EMULATED));
    let mut units: Vec<(Isa, Bf16Unit)> = emulated.collect();
    let best = Isa::detect();
    match precision {
        Precision::F32 | Precision::Int16 | Precision::Int8 => {}
        Precision::Bf16 | Precision::Bf16x3 =>
        {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            units.extend(Bf16Unit::amx_for_tests().map(|unit| (best, unit)))
        }
        Precision::Bf16Avx512 => {
            let unit = Bf16Unit::detect(best, precision);
            let unit = unit.map(|unit| unit.expect("AVX512-BF16 passes its self-test"));
            units.extend(unit.map(|unit| (best, unit)));
        }
    }
    let mut all: Vec<Arithmetic> =
        units.into_iter().map(|(isa, unit)| Arithmetic::new(isa, precision, unit)).collect();
    if matches!(precision, Precision::Int16 | Precision::Int8) {
        let beside = Arithmetic::new(best, precision, Bf16Unit::EMULATED);
        all.extend(IntegerUnit::within(best).map(|unit| beside.with_integers(unit)));
    }
    all
}
