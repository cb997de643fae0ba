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

/// An error of the encoder, which counts rows from 1, with the place of the text as Python counts.
pub fn in_sentences(error: Error) -> Error {
    let number = match error.place().parts() {
        [row] => row.strip_prefix("row ").and_then(|number| number.parse::<usize>().ok()),
        _ => None,
    };
    let Some(position) = number.and_then(|number| number.checked_sub(1)) else { return error };
    let told = Error::new(error.kind(), error.message()).at(sentence(position));
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
