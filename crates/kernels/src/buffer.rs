//! The memory of weights and of a batch: fallible allocation, and an arena to divide it.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest register.
const ALIGNMENT: usize = 64;

/// Zeroed values that start at a cache line: f32, or the bits of bf16. Its allocation can fail with an error.
#[derive(Debug, Default)]
pub struct AlignedBuffer<T = f32> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

/// The allocator refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationError {
    /// Bytes of the request; `usize::MAX` where the number overflows.
    pub bytes: usize,
}

impl<T: Copy + Default> AlignedBuffer<T> {
    const SLACK: usize = ALIGNMENT / size_of::<T>();

    /// Allocates `len` zeros.
    ///
    /// # Errors
    /// If the allocator refuses [`AlignedBuffer::bytes_for`] `len` values.
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

    /// Allocates a copy of `values`.
    ///
    /// # Errors
    /// As [`AlignedBuffer::zeroed`].
    pub fn from_slice(values: &[T]) -> Result<Self, AllocationError> {
        let mut buffer = Self::zeroed(values.len())?;
        buffer.copy_from_slice(values);
        Ok(buffer)
    }

    /// Bytes that a buffer of `len` values allocates.
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
        write!(f, "allocation of {} bytes failed", self.bytes)
    }
}

impl std::error::Error for AllocationError {}

/// How much of an [`Arena`] something needs, in values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferSize {
    /// f32 values.
    pub floats: usize,
    /// bf16 values.
    pub halves: usize,
}

impl BufferSize {
    /// The size of both together; `usize::MAX` where a sum overflows.
    pub fn saturating_add(self, other: BufferSize) -> BufferSize {
        BufferSize {
            floats: self.floats.saturating_add(other.floats),
            halves: self.halves.saturating_add(other.halves),
        }
    }
}

/// The memory of a batch, divided from the front.
#[derive(Debug)]
pub struct Arena<'a> {
    /// f32 values that are still free.
    pub floats: &'a mut [f32],
    /// bf16 values that are still free.
    pub halves: &'a mut [u16],
}

impl<'a> Arena<'a> {
    /// Takes `size` from the front.
    ///
    /// # Panics
    /// If less than `size` is free.
    pub fn take(&mut self, size: BufferSize) -> Arena<'a> {
        let (floats, rest) = std::mem::take(&mut self.floats).split_at_mut(size.floats);
        self.floats = rest;
        let (halves, rest) = std::mem::take(&mut self.halves).split_at_mut(size.halves);
        self.halves = rest;
        Arena { floats, halves }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line() {
        for len in [0, 1, 15, 16, 1000] {
            let floats = AlignedBuffer::<f32>::zeroed(len).expect("a small allocation");
            assert_eq!(floats.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(floats.len(), len);
            let halves = AlignedBuffer::<u16>::zeroed(len).expect("a small allocation");
            assert_eq!(halves.as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(halves.len(), len);
        }
    }

    #[test]
    fn oversized_allocation_returns_an_error() {
        for len in [usize::MAX, usize::MAX / 8] {
            assert!(AlignedBuffer::<f32>::zeroed(len).is_err());
        }
    }

    #[test]
    fn arena_takes_from_the_front() {
        let (mut floats, mut halves) = ([1.0, 2.0, 3.0], [4, 5]);
        let mut arena = Arena { floats: &mut floats, halves: &mut halves };
        let first = arena.take(BufferSize { floats: 1, halves: 2 });
        assert_eq!((&*first.floats, &*first.halves), (&[1.0][..], &[4, 5][..]));
        assert_eq!((&*arena.floats, arena.halves.len()), (&[2.0, 3.0][..], 0));
    }
}
