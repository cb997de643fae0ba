//! The texts of a call, read where Python holds them.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;
use reembed_encoder::{Error, ErrorKind};

use crate::errors::{sentence, to_python};

/// The texts of an iterable. Each keeps its Python object, so that no text is copied.
///
/// The exception names the position of what is no text, from 0.
pub fn read(sentences: &Bound<'_, PyAny>) -> PyResult<Vec<PyBackedStr>> {
    let mut texts = Vec::with_capacity(sentences.len().unwrap_or(0));
    for (row, item) in sentences.try_iter()?.enumerate() {
        let item = item?;
        let refuse = |message: String, advice: &str| {
            let error = Error::new(ErrorKind::Input, message).at(sentence(row));
            to_python(sentences.py(), &error.advice(advice))
        };
        let Ok(text) = item.cast::<PyString>() else {
            let found = item.get_type().name().map_or("?".to_owned(), |name| name.to_string());
            let advice = match found.as_str() {
                "bytes" | "bytearray" => "decode it: `text.decode()`",
                "NoneType" | "float" | "NAType" => "leave the row out, or give it the text \"\"",
                _ => "convert it to a str",
            };
            return Err(refuse(format!("it is of type {found}, not a str"), advice));
        };
        let text = PyBackedStr::try_from(text.clone()).map_err(|_| {
            refuse(
                "its text has a lone surrogate, which is no character".to_owned(),
                "replace it: `text.encode(errors=\"replace\").decode()`",
            )
        })?;
        texts.push(text);
    }
    Ok(texts)
}
