//! Errors of the encoder as exceptions of `reembed.errors`.

use pyo3::prelude::*;
use reembed_encoder::error::StopReason;
use reembed_encoder::{Error, ErrorKind};

/// The exception of an error. `reembed.errors` chooses its class by the code.
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let build = || {
        let place = error.place().to_string();
        let place = (!place.is_empty()).then_some(place);
        let (kind, code) = named(error.kind());
        let arguments = (error.to_string(), kind, code, error.advice_text(), place);
        let exception = py.import("reembed.errors")?.getattr("from_native")?.call1(arguments)?;
        Ok(PyErr::from_value(exception))
    };
    build().unwrap_or_else(|failed: PyErr| failed)
}

/// An error as an exception, for `map_err`.
pub fn raise(error: Error) -> PyErr {
    Python::attach(|py| to_python(py, &error))
}

/// The place of a text in messages, from 0 as Python counts.
pub fn sentence(position: usize) -> String {
    format!("sentences[{position}]")
}

/// The place of a row of a table in messages, from 0 as Python counts.
pub fn row(position: usize) -> String {
    format!("rows[{position}]")
}

/// An error that counts rows from 1, with the place of the text as Python counts.
pub fn in_sentences(error: Error) -> Error {
    recounted(error, sentence)
}

/// The same for a row of a table.
pub fn in_rows(error: Error) -> Error {
    recounted(error, row)
}

fn recounted(error: Error, name: fn(usize) -> String) -> Error {
    let position = |part: &str| -> Option<usize> {
        part.strip_prefix("row ")?.parse::<usize>().ok()?.checked_sub(1)
    };
    if !error.place().parts().iter().any(|part| position(part).is_some()) {
        return error;
    }
    let mut told = Error::new(error.kind(), error.message());
    if let Some(file) = error.place().file() {
        told = told.in_file(file);
    }
    for part in error.place().parts() {
        told = told.at(position(part).map_or_else(|| part.clone(), name));
    }
    match error.advice_text().map(str::to_owned) {
        Some(advice) => told.advice(advice).caused_by(error),
        None => told.caused_by(error),
    }
}

/// The kind and the code of every error, for the test that each has an exception.
pub fn kinds() -> Vec<(&'static str, &'static str)> {
    ErrorKind::ALL.into_iter().map(named).collect()
}

fn named(kind: ErrorKind) -> (&'static str, &'static str) {
    let name = match kind {
        ErrorKind::Config => "Config",
        ErrorKind::Input => "Input",
        ErrorKind::Target => "Target",
        ErrorKind::Locked => "Locked",
        ErrorKind::Model => "Model",
        ErrorKind::Fetch => "Fetch",
        ErrorKind::Data => "Data",
        ErrorKind::OutOfMemory => "OutOfMemory",
        ErrorKind::OtherModel => "OtherModel",
        ErrorKind::Encode => "Encode",
        ErrorKind::Output => "Output",
        ErrorKind::Tables => "Tables",
        ErrorKind::Cache => "Cache",
        ErrorKind::CacheBusy => "CacheBusy",
        ErrorKind::Stopped(
            StopReason::Interrupted | StopReason::Terminated | StopReason::Deadline,
        ) => "Stopped",
        ErrorKind::Internal => "Internal",
    };
    (name, kind.code())
}
