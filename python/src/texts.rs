//! The texts of a call, read where Python or an Arrow library holds them.

use arrow::array::{Array, ArrayRef, AsArray, LargeStringBuilder};
use arrow::datatypes::DataType;
use numpy::{PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;
use reembed_encoder::{Error, ErrorKind, Result};

use crate::arrow::capsules::{self, ArrowData};
use crate::errors::{raise, sentence};

/// What becomes of a null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// It is refused, with its position.
    Refused,
    /// It has no vector.
    Kept,
}

/// Texts that stay where they are: each str keeps its Python object, and each Arrow array its buffers.
pub enum Texts {
    /// Python objects.
    Items(Vec<Option<PyBackedStr>>),
    /// Chunks of a column of strings.
    Arrow(Vec<ArrayRef>),
}

impl Texts {
    /// The text at each position; `None` for a null.
    pub fn by_position(&self) -> Result<Vec<Option<&str>>> {
        match self {
            Texts::Items(items) => Ok(items.iter().map(|item| item.as_deref()).collect()),
            Texts::Arrow(chunks) => {
                let mut texts = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len()).sum());
                for chunk in chunks {
                    append(chunk.as_ref(), &mut texts)?;
                }
                Ok(texts)
            }
        }
    }
}

/// The texts of an object that offers Arrow data, of the characters of a NumPy array (`uint32`, a row for each text), or
/// of an iterable of str.
///
/// The exception names the position of what is no text, from 0.
pub fn read(sentences: &Bound<'_, PyAny>, nulls: Nulls) -> PyResult<Texts> {
    if let Ok(characters) = sentences.cast::<PyArray2<u32>>() {
        return from_characters(characters).map_err(raise);
    }
    if capsules::offers_arrow(sentences)? {
        let data = capsules::read(sentences)?;
        return from_arrow(data, nulls).map_err(raise);
    }
    let mut texts = Vec::with_capacity(sentences.len().unwrap_or(0));
    for (position, item) in sentences.try_iter()?.enumerate() {
        let item = item?;
        if nulls == Nulls::Kept && is_missing(&item) {
            texts.push(None);
            continue;
        }
        let refuse = |message: String| Error::new(ErrorKind::Input, message).at(sentence(position));
        let Ok(text) = item.cast::<PyString>() else {
            let found = type_name(&item);
            let advice = match found.as_str() {
                "bytes" | "bytearray" => "decode it: `text.decode()`",
                "NoneType" | "float" | "NAType" => "leave the row out, or give it the text \"\"",
                _ => "convert it to a str",
            };
            return Err(raise(refuse(format!("it is of type {found}, not a str")).advice(advice)));
        };
        let text =
            PyBackedStr::try_from(text.clone()).map_err(|_| raise(refuse_surrogate(&refuse)))?;
        texts.push(Some(text));
    }
    Ok(Texts::Items(texts))
}

/// Whether an item is a null of Python or pandas: None, NaN, `pandas.NA` or `pandas.NaT`.
pub fn is_missing(item: &Bound<'_, PyAny>) -> bool {
    let is_nan = || item.extract::<f64>().is_ok_and(f64::is_nan);
    item.is_none()
        || match type_name(item).as_str() {
            "NAType" | "NaTType" => true,
            "float" | "float64" | "float32" | "float16" => is_nan(),
            _ => false,
        }
}

/// The name of a type, for messages.
pub fn type_name(item: &Bound<'_, PyAny>) -> String {
    item.get_type().name().map_or("?".to_owned(), |name| name.to_string())
}

/// The error of a str that is no text; `refuse` makes an error of the place.
pub fn refuse_surrogate(refuse: &dyn Fn(String) -> Error) -> Error {
    refuse("its text has a lone surrogate, which is no character".to_owned())
        .advice("replace it: `text.encode(errors=\"replace\").decode()`")
}

/// The texts of a NumPy array of str, which holds 4 bytes for each character and zeros behind a text. They become UTF-8,
/// a chunk of Arrow, because an encoder reads nothing else.
fn from_characters(characters: &Bound<'_, PyArray2<u32>>) -> Result<Texts> {
    let characters = characters.readonly();
    let mut texts = LargeStringBuilder::new();
    let mut text = String::new();
    for (position, row) in characters.as_array().rows().into_iter().enumerate() {
        text.clear();
        let length = row.iter().rposition(|code| *code != 0).map_or(0, |last| last + 1);
        for code in row.iter().take(length) {
            let refuse =
                |message: String| Error::new(ErrorKind::Input, message).at(sentence(position));
            text.push(char::from_u32(*code).ok_or_else(|| refuse_surrogate(&refuse))?);
        }
        texts.append_value(&text);
    }
    Ok(Texts::Arrow(vec![std::sync::Arc::new(texts.finish())]))
}

fn from_arrow(data: ArrowData, nulls: Nulls) -> Result<Texts> {
    let refuse =
        |message: String, advice: &str| Err(Error::new(ErrorKind::Input, message).advice(advice));
    match data.field.data_type() {
        DataType::Struct(fields) => {
            let names: Vec<&str> =
                fields.iter().take(20).map(|field| field.name().as_str()).collect();
            let message = format!(
                "`sentences` is a table or a column of structs, with `{}`",
                names.join("`, `")
            );
            return refuse(message, "give one column of it");
        }
        other if !is_text(other) => {
            let message = format!("`sentences` has the type {other}, not strings");
            return refuse(message, "cast it to strings");
        }
        _ => {}
    }
    let mut first = 0;
    for chunk in &data.chunks {
        // Its owner is another library: what is no UTF-8 must not become a str.
        chunk.to_data().validate_full().map_err(|cause| {
            Error::new(ErrorKind::Input, format!("the Arrow strings are damaged: {cause}"))
                .advice("make the column again with valid UTF-8")
                .caused_by(cause)
        })?;
        let null =
            |nulls: arrow::buffer::NullBuffer| (0..chunk.len()).find(|row| nulls.is_null(*row));
        if let (Nulls::Refused, Some(row)) = (nulls, chunk.logical_nulls().and_then(null)) {
            let error =
                Error::new(ErrorKind::Input, "it is null, not a str").at(sentence(first + row));
            return Err(error.advice("leave the row out, give it the text \"\", or use `encode_arrow`, which keeps nulls"));
        }
        first += chunk.len();
    }
    Ok(Texts::Arrow(data.chunks))
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn append<'a>(chunk: &'a dyn Array, texts: &mut Vec<Option<&'a str>>) -> Result<()> {
    match chunk.data_type() {
        DataType::Utf8 => texts.extend(chunk.as_string::<i32>()),
        DataType::LargeUtf8 => texts.extend(chunk.as_string::<i64>()),
        DataType::Utf8View => texts.extend(chunk.as_string_view()),
        DataType::Null => texts.extend(std::iter::repeat_n(None, chunk.len())),
        DataType::Dictionary(..) => {
            let dictionary = chunk.as_any_dictionary();
            let mut words = Vec::with_capacity(dictionary.values().len());
            append(dictionary.values().as_ref(), &mut words)?;
            if words.is_empty() {
                texts.extend(std::iter::repeat_n(None, chunk.len()));
                return Ok(());
            }
            let keys = dictionary.normalized_keys();
            let text =
                |(row, key): (usize, usize)| words[key].filter(|_| dictionary.keys().is_valid(row));
            texts.extend(keys.into_iter().enumerate().map(text));
        }
        other => {
            let message = format!("a chunk has the type {other}, not strings");
            return Err(Error::new(ErrorKind::Input, message).advice("cast it to strings"));
        }
    }
    Ok(())
}
