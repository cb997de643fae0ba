//! Faults on purpose, to prove that what should notice them does.
//!
//! Only a build with the feature `failpoints` has them, which the tests turn on and nothing else does; in any
//! other, `is_on` is `false` and the compiler takes the fault out.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The directory of the output is not brought to the disk.
    SkipDirectoryFsync,
    /// The finished file is not read back.
    SkipReadBack,
    /// The first chunk of rows is lost between reader and tokenizer.
    DropOneBatch,
}

/// Whether the fault is to happen.
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

    /// One bit for each fault.
    static ON: AtomicU32 = AtomicU32::new(0);

    /// Makes a fault happen, from here on and in the whole process; false where no fault is called that.
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

    /// Whether the fault is to happen.
    pub(crate) fn is_on(point: Failpoint) -> bool {
        ON.load(Ordering::Relaxed) & bit(point) != 0
    }

    fn bit(point: Failpoint) -> u32 {
        1 << point as u32
    }
}
