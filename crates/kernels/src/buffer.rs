//! Memory that is asked for, never assumed.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A cache line, and the widest register.
const ALIGNMENT: usize = 64;

/// Zeroed numbers that begin at a cache line: f32, or the bits of bf16. Taking them can fail, and then says so.
#[derive(Debug, Default)]
pub struct AlignedBuffer<T = f32> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

/// That much memory could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationError {
    /// Bytes that were asked for; `usize::MAX` where the number does not fit.
    pub bytes: usize,
}

impl<T: Copy + Default> AlignedBuffer<T> {
    const SLACK: usize = ALIGNMENT / size_of::<T>();

    /// `len` zeros.
    pub fn zeroed(len: usize) -> Result<Self, AllocationError> {
        let bytes = Self::bytes_for(len);
        let mut storage: Vec<T> = Vec::new();
        storage
            .try_reserve_exact(len.saturating_add(Self::SLACK))
            .map_err(|_| AllocationError { bytes })?;
        let start = storage.as_ptr().align_offset(ALIGNMENT).min(Self::SLACK);
        storage.resize(start + len, T::default());
        Ok(AlignedBuffer { storage, start, len })
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Result<Self, AllocationError> {
        let mut buffer = Self::zeroed(values.len())?;
        buffer.copy_from_slice(values);
        Ok(buffer)
    }

    /// What a buffer of `len` numbers costs.
    pub const fn bytes_for(len: usize) -> usize {
        len.saturating_add(Self::SLACK).saturating_mul(size_of::<T>())
    }
}

impl<T> Deref for AlignedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
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
            let buffer = AlignedBuffer::<f32>::zeroed(len).expect("it is small");
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(buffer.len(), len);
            let halves = AlignedBuffer::<u16>::zeroed(len).expect("it is small");
            assert_eq!(halves.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(halves.len(), len);
        }
    }

    #[test]
    fn too_much_is_an_error_and_no_abort() {
        for len in [usize::MAX, usize::MAX / 8] {
            assert!(AlignedBuffer::<f32>::zeroed(len).is_err());
        }
    }
}
