//! The JSON files of a model, and errors about their keys.

use serde::Deserialize;

use super::source::ModelFiles;
use crate::error::{Error, ErrorKind, Result};

/// Parses a file that the model must have.
pub(super) fn required_json<T: for<'a> Deserialize<'a>>(
    files: &ModelFiles,
    file: &str,
) -> Result<T> {
    json(files, file)?.ok_or_else(|| {
        Error::new(ErrorKind::Model, "is missing")
            .in_file(files.path_of(file))
            .advice("fetch the whole model directory, or remove it so that it is fetched again")
    })
}

/// Parses a file; `None` if the model does not have it.
pub(super) fn json<T: for<'a> Deserialize<'a>>(
    files: &ModelFiles,
    file: &str,
) -> Result<Option<T>> {
    let Some(bytes) = files.bytes(file) else {
        return Ok(None);
    };
    serde_json::from_slice(bytes).map(Some).map_err(|cause| not_as_expected(files, file, cause))
}

/// Reads the keys of a file.
pub(super) fn from_json<T: for<'a> Deserialize<'a>>(
    files: &ModelFiles,
    file: &str,
    value: serde_json::Value,
) -> Result<T> {
    serde_json::from_value(value).map_err(|cause| not_as_expected(files, file, cause))
}

fn not_as_expected(files: &ModelFiles, file: &str, cause: serde_json::Error) -> Error {
    Error::new(ErrorKind::Model, "does not have the expected JSON structure")
        .in_file(files.path_of(file))
        .advice("fetch the model again")
        .caused_by(cause)
}

/// The advice about a value that no valid model has.
pub(super) const DAMAGED: &str =
    "this file is damaged or belongs to another model: fetch the model again";

/// An error about a key of a file, still without its message.
pub(super) struct Refusal(std::path::PathBuf, String);

pub(super) fn refuse(files: &ModelFiles, file: &str, key: &str) -> Refusal {
    Refusal(files.path_of(file), key.to_owned())
}

impl Refusal {
    pub(super) fn with(self, message: String) -> Error {
        Error::new(ErrorKind::Model, message)
            .in_file(self.0)
            .at(format!("`{}`", self.1))
            .advice("choose a model that docs/models.md lists")
    }
}

/// Truncates and quotes a name from a file of the model for a message.
pub(super) fn quote(name: &str) -> String {
    format!("{:?}", name.chars().take(80).collect::<String>())
}
