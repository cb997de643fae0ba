//! Deliberate faults, which prove that the checks against them work.
//!
//! They exist only in a build with the feature `failpoints`, which the tests turn on. In any other
//! build `is_on` is a constant `false`, and the compiler removes the fault.

/// A deliberate fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The fsync of the output's directory is skipped.
    SkipDirectoryFsync,
    /// The read-back of the finished file is skipped.
    SkipReadBack,
    /// The first chunk of rows is lost between reader and tokenizer.
    DropOneBatch,
}

/// Whether the fault is turned on.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn is_on(_: Failpoint) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub(crate) use switches::is_on;
#[cfg(feature = "failpoints")]
pub use switches::turn_on;

#[cfg(feature = "failpoints")]
mod switches {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Failpoint;

    /// One bit per fault.
    static ON: AtomicU32 = AtomicU32::new(0);

    /// Turns a fault on for the rest of the process; returns false if the name is unknown.
    pub fn turn_on(name: &str) -> bool {
        let point = match name {
            "skip-directory-fsync" => Failpoint::SkipDirectoryFsync,
            "skip-read-back" => Failpoint::SkipReadBack,
            "drop-one-batch" => Failpoint::DropOneBatch,
            _ => return false,
        };
        ON.fetch_or(bit(point), Ordering::Relaxed);
        true
    }

    /// Whether the fault is turned on.
    pub(crate) fn is_on(point: Failpoint) -> bool {
        ON.load(Ordering::Relaxed) & bit(point) != 0
    }

    fn bit(point: Failpoint) -> u32 {
        1 << point as u32
    }
}
