//! Writes a file of a report, of a run or of a bench.

use std::fs;
use std::io;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::atomic_file;

/// Writes a file atomically into an existing directory.
///
/// # Errors
/// `Output`, naming the file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    atomic_file::write(path, text).map_err(|cause| error(path, cause))
}

/// The same; creates missing directories.
///
/// # Errors
/// `Output`, naming the file or its directory.
pub fn write_with_directories(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(|cause| error(directory, cause))?;
    }
    write(path, text)
}

/// The error of a report that cannot be written at this path.
pub fn error(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::Output, "the report cannot be written")
        .in_file(path)
        .advice(
            "make the directory writable, set another one in `report.dir`, or set `report.keep` to 0",
        )
        .caused_by(cause)
}
