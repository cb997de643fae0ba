//! `bench.json`: a [`BenchRecord`] as it stands.

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::record::BenchRecord;

/// The file's content.
///
/// # Errors
/// `Internal`, when a record cannot be written as JSON; no record is known that cannot.
pub fn json(record: &BenchRecord) -> Result<String> {
    let text = serde_json::to_string_pretty(record).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the bench cannot be written as JSON").caused_by(cause)
    })?;
    Ok(text + "\n")
}
