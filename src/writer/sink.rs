//! A file that grows at its end, shared by the copied columns and the Parquet library's page writer: the
//! temporary file of an output, or one with the vectors of a row group that stand further back.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::file::writer::TrackedWrite;
use reembed_encoder::error::Error;
use tempfile::NamedTempFile;

use crate::publish::write_error;

/// A file that grows at its end. Clones write to the same file.
pub struct Sink<W: Write + Send = NamedTempFile> {
    out: Arc<Mutex<TrackedWrite<W>>>,
}

impl<W: Write + Send> Clone for Sink<W> {
    fn clone(&self) -> Self {
        Sink { out: self.out.clone() }
    }
}

impl<W: Write + Send> Sink<W> {
    /// A sink to an empty file.
    pub fn new(file: W) -> Sink<W> {
        Sink { out: Arc::new(Mutex::new(TrackedWrite::new(file))) }
    }

    /// Calls `write` with the file. The lock is never contended: one thread writes an output.
    pub fn with<T>(&self, write: impl FnOnce(&mut TrackedWrite<W>) -> T) -> T {
        write(&mut self.out.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends bytes.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|out| out.write_all(bytes))
    }

    /// The number of bytes written so far: the offset of the next one.
    pub fn position(&self) -> u64 {
        self.with(|out| out.bytes_written() as u64)
    }

    /// Ends the writing; `None` if a clone is still there.
    pub fn into_file(self) -> Option<io::Result<W>> {
        let out = Arc::into_inner(self.out)?.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(out.into_inner().map_err(io::Error::other))
    }
}

/// The error of an output that cannot be written.
pub fn unwritable(
    target: &Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    write_error(target, "it cannot be written", cause)
}
