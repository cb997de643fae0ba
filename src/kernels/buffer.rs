//! Memory that is asked for, never assumed.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A cache line, and the widest register.
const ALIGNMENT: usize = 64;
const SLACK: usize = ALIGNMENT / size_of::<f32>();

/// Zeroed f32 that begin at a cache line. Taking them can fail, and then says so.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    storage: Vec<f32>,
    start: usize,
    len: usize,
}

/// That much memory could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationError {
    /// Bytes that were asked for; `usize::MAX` where the number does not fit.
    pub bytes: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Result<Self, AllocationError> {
        let bytes = Self::bytes_for(len);
        let mut storage: Vec<f32> = Vec::new();
        storage
            .try_reserve_exact(len.saturating_add(SLACK))
            .map_err(|_| AllocationError { bytes })?;
        let start = storage.as_ptr().align_offset(ALIGNMENT).min(SLACK);
        storage.resize(start + len, 0.0);
        Ok(AlignedBuffer { storage, start, len })
    }

    /// A copy of `values`.
    pub fn copied(values: &[f32]) -> Result<Self, AllocationError> {
        let mut buffer = Self::zeroed(values.len())?;
        buffer.copy_from_slice(values);
        Ok(buffer)
    }

    /// What a buffer of `len` f32 costs.
    pub const fn bytes_for(len: usize) -> usize {
        len.saturating_add(SLACK).saturating_mul(size_of::<f32>())
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl fmt::Display for AllocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of memory could not be had", self.bytes)
    }
}

impl std::error::Error for AllocationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_at_a_cache_line() {
        for len in [0, 1, 15, 16, 1000] {
            let buffer = AlignedBuffer::zeroed(len).expect("it is small");
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(buffer.len(), len);
        }
    }

    #[test]
    fn too_much_is_an_error_and_no_abort() {
        for len in [usize::MAX, usize::MAX / 8] {
            assert!(AlignedBuffer::zeroed(len).is_err());
        }
    }
}
