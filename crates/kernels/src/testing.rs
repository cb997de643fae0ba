//! What tests of this crate and of those above it share; compiled for tests and with the feature `testing` alone.

pub mod reference;

use crate::{Arithmetic, Precision};

/// Every arithmetic of a precision that this machine can run: emulated on each instruction set, and on the unit. AMX is
/// among them on any x86-64 Linux, on a CPU that lacks it through an emulation of its instructions.
pub fn all_arithmetics(precision: Precision) -> Vec<Arithmetic> {
    Arithmetic::every_way(precision)
}
