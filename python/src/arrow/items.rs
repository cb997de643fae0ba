//! A column of Python objects as an Arrow array, for tables that offer no Arrow data.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Array, Float64Builder, Int64Builder, LargeStringBuilder,
    ListBuilder, NullArray,
};
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString, PyTuple};
use reembed_encoder::{Error, ErrorKind};

use crate::errors::{raise, row};
use crate::texts::{is_missing, refuse_surrogate, type_name};

/// The array of a column: its items are strings, integers, floats, booleans or lists of strings, all of one kind, and
/// None, NaN or `pandas.NA` for a null. A NumPy array of float32 keeps its type.
///
/// `InvalidInput` names the row and the column of what is none of these.
pub fn read(column: &Bound<'_, PyAny>, name: &str) -> PyResult<ArrayRef> {
    if let Ok(floats) = column.cast::<PyArray1<f32>>() {
        let floats = floats.readonly();
        let floats = floats.as_array();
        let values = floats.iter().map(|value| Some(*value).filter(|value| !value.is_nan()));
        return Ok(Arc::new(values.collect::<Float32Array>()));
    }
    let mut builder = Builder::Nulls(0);
    for (position, item) in column.try_iter()?.enumerate() {
        builder.push(&item?, &|message: String| {
            let error = Error::new(ErrorKind::Input, message)
                .at(row(position))
                .at(format!("column `{name}`"));
            error.advice("convert the column to strings")
        })?;
    }
    Ok(builder.finish())
}

/// An array that gets its type from the first item that is no null.
enum Builder {
    Nulls(usize),
    Strings(LargeStringBuilder),
    Integers(Int64Builder),
    Floats(Float64Builder),
    Booleans(BooleanBuilder),
    Lists(ListBuilder<LargeStringBuilder>),
}

/// An item by its kind.
enum Item<'py> {
    Null,
    Text(Bound<'py, PyString>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Bound<'py, PyAny>),
}

impl Builder {
    fn push(&mut self, item: &Bound<'_, PyAny>, refuse: &dyn Fn(String) -> Error) -> PyResult<()> {
        let kind = classify(item, refuse)?;
        if let Builder::Nulls(nulls) = *self {
            *self = match &kind {
                Item::Null => Builder::Nulls(nulls),
                Item::Text(_) => Builder::Strings(LargeStringBuilder::new()),
                Item::Integer(_) => Builder::Integers(Int64Builder::new()),
                Item::Float(_) => Builder::Floats(Float64Builder::new()),
                Item::Boolean(_) => Builder::Booleans(BooleanBuilder::new()),
                Item::List(_) => Builder::Lists(ListBuilder::new(LargeStringBuilder::new())),
            };
            (0..nulls).for_each(|_| self.push_null());
        }
        match (self, kind) {
            (builder, Item::Null) => builder.push_null(),
            (Builder::Strings(builder), Item::Text(text)) => {
                builder.append_value(text.to_str().map_err(|_| raise(refuse_surrogate(refuse)))?);
            }
            (Builder::Integers(builder), Item::Integer(number)) => builder.append_value(number),
            (Builder::Floats(builder), Item::Float(number)) => builder.append_value(number),
            (Builder::Booleans(builder), Item::Boolean(value)) => builder.append_value(value),
            (Builder::Lists(builder), Item::List(list)) => {
                for item in list.try_iter()? {
                    match classify(&item?, refuse)? {
                        Item::Null => builder.values().append_null(),
                        Item::Text(text) => {
                            let text =
                                text.to_str().map_err(|_| raise(refuse_surrogate(refuse)))?;
                            builder.values().append_value(text);
                        }
                        _ => {
                            return Err(raise(refuse(
                                "an item of its list is not a str".to_owned(),
                            )));
                        }
                    }
                }
                builder.append(true);
            }
            _ => {
                let found = type_name(item);
                return Err(raise(refuse(format!(
                    "it is of type {found}, and rows before it of another one"
                ))));
            }
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Builder::Nulls(nulls) => *nulls += 1,
            Builder::Strings(builder) => builder.append_null(),
            Builder::Integers(builder) => builder.append_null(),
            Builder::Floats(builder) => builder.append_null(),
            Builder::Booleans(builder) => builder.append_null(),
            Builder::Lists(builder) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Builder::Nulls(nulls) => Arc::new(NullArray::new(nulls)),
            Builder::Strings(mut builder) => Arc::new(builder.finish()),
            Builder::Integers(mut builder) => Arc::new(builder.finish()),
            Builder::Floats(mut builder) => Arc::new(builder.finish()),
            Builder::Booleans(mut builder) => Arc::new(builder.finish()),
            Builder::Lists(mut builder) => Arc::new(builder.finish()),
        }
    }
}

fn classify<'py>(
    item: &Bound<'py, PyAny>,
    refuse: &dyn Fn(String) -> Error,
) -> PyResult<Item<'py>> {
    if is_missing(item) {
        return Ok(Item::Null);
    }
    if let Ok(text) = item.cast::<PyString>() {
        return Ok(Item::Text(text.clone()));
    }
    // A bool is an int, so it comes first.
    if item.is_instance_of::<PyBool>() {
        return Ok(Item::Boolean(item.extract()?));
    }
    if item.is_instance_of::<PyInt>() {
        let too_large = |_| raise(refuse("the number does not fit in 64 bits".to_owned()));
        return Ok(Item::Integer(item.extract().map_err(too_large)?));
    }
    if item.is_instance_of::<PyFloat>() {
        return Ok(Item::Float(item.extract()?));
    }
    let is_list = item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>();
    // NumPy arrays are what Parquet readers make of lists.
    if is_list || type_name(item) == "ndarray" {
        return Ok(Item::List(item.clone()));
    }
    let found = type_name(item);
    Err(raise(refuse(format!("it is of type {found}, which has no plain form as text"))))
}
