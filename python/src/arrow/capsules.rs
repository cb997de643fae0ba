//! The Arrow PyCapsule interface: what other libraries hold is read where it lies, and what we hold is offered.
//!
//! <https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>
#![allow(unsafe_code, reason = "a capsule holds a pointer to a struct of C")]

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use reembed_encoder::error::catch_panic;
use reembed_encoder::{Error, ErrorKind};

use super::c_stream;
use crate::errors::{raise, to_python};

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// The arrays of a column, or of a table as structs.
#[derive(Debug, Clone)]
pub struct ArrowData {
    /// Their type and name; the metadata of a schema is that of the field.
    pub field: FieldRef,
    /// The chunks, in order.
    pub chunks: Vec<ArrayRef>,
}

/// Whether an object offers Arrow data.
pub fn offers_arrow(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("__arrow_c_stream__")? || object.hasattr("__arrow_c_array__")?)
}

/// Reads the Arrow data that an object offers. No value is copied: buffers stay those of the producer.
///
/// `InvalidInput` is raised if the producer fails, with its own exception as the cause.
pub fn read(object: &Bound<'_, PyAny>) -> PyResult<ArrowData> {
    let py = object.py();
    if object.hasattr("__arrow_c_stream__")? {
        let capsule = produced(object.call_method0("__arrow_c_stream__"))?;
        let stream = take::<FFI_ArrowArrayStream>(&capsule, STREAM)?;
        if stream.release().is_none() {
            return Err(raise(consumed("stream")));
        }
        return read_stream(py, stream);
    }
    let pair = produced(object.call_method0("__arrow_c_array__"))?.cast_into::<PyTuple>()?;
    let schema = take::<FFI_ArrowSchema>(&pair.get_item(0)?, SCHEMA)?;
    let array = take::<FFI_ArrowArray>(&pair.get_item(1)?, ARRAY)?;
    if array.is_released() {
        return Err(raise(consumed("array")));
    }
    let read = || {
        let field = Field::try_from(&schema).map_err(unreadable)?;
        // SAFETY: the producer promises that the two belong together; what we read of them is validated first.
        let data = unsafe { from_ffi(array, &schema) }.map_err(unreadable)?;
        Ok(ArrowData { field: Arc::new(field), chunks: vec![make_array(data)] })
    };
    catch_panic(ErrorKind::Input, "the Arrow data", read).map_err(raise)
}

/// The capsules of an array, its type first. `requested` is a capsule of a type that the consumer would like better;
/// it gets that if the values stay the same.
pub fn offer_array<'py>(
    py: Python<'py>,
    data: &ArrowData,
    requested: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let data = as_requested(data, requested)?;
    let chunks: Vec<&dyn Array> = data.chunks.iter().map(AsRef::as_ref).collect();
    let array = match &chunks[..] {
        [] => arrow::array::new_empty_array(data.field.data_type()),
        [_] => data.chunks[0].clone(),
        chunks => arrow::compute::concat(chunks).map_err(|cause| raise(unreadable(cause)))?,
    };
    let schema = FFI_ArrowSchema::try_from(data.field.as_ref());
    let schema = schema.map_err(|cause| raise(unreadable(cause)))?;
    let array = FFI_ArrowArray::new(&array.to_data());
    let schema = PyCapsule::new_with_value(py, schema, SCHEMA)?;
    Ok((schema, PyCapsule::new_with_value(py, array, ARRAY)?))
}

/// The capsule of a stream of all chunks; `requested` as in [`offer_array`].
pub fn offer_stream<'py>(
    py: Python<'py>,
    data: &ArrowData,
    requested: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let ArrowData { field, chunks } = as_requested(data, requested)?;
    let stream = c_stream::stream(field, Box::new(chunks.into_iter().map(Ok)));
    PyCapsule::new_with_value(py, stream, STREAM)
}

/// The capsule of a type.
pub fn offer_schema<'py>(py: Python<'py>, field: &Field) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(field).map_err(|cause| raise(unreadable(cause)))?;
    PyCapsule::new_with_value(py, schema, SCHEMA)
}

/// Reads a stream to its end, without the GIL: a producer may need that in another thread. Between two chunks
/// Python handles its signals.
fn read_stream(py: Python<'_>, stream: FFI_ArrowArrayStream) -> PyResult<ArrowData> {
    let mut raised = None;
    let read = py.detach(|| {
        catch_panic(ErrorKind::Input, "the Arrow stream", || {
            if stream.get_schema().is_none() || stream.get_next().is_none() {
                return Err(Error::new(ErrorKind::Input, "the Arrow stream has no callbacks"));
            }
            let mut reader = ArrayStreamReader::try_new(stream).map_err(unreadable)?;
            let field = arrow::array::ArrayReader::field(&reader).clone();
            let mut chunks = Vec::new();
            while let Some(chunk) = reader.next() {
                chunks.push(chunk.map_err(unreadable)?);
                if let Err(exception) = Python::attach(|py| py.check_signals()) {
                    raised = Some(exception);
                    break;
                }
            }
            Ok(ArrowData { field, chunks })
        })
    });
    match raised {
        Some(exception) => Err(exception),
        None => read.map_err(|error| to_python(py, &error)),
    }
}

/// The same values as another type, if the consumer asks for one that holds them unchanged: another kind of list of
/// f32, or other names of items. Any other wish is left to the consumer's own cast, as the interface allows.
fn as_requested(data: &ArrowData, requested: Option<&Bound<'_, PyAny>>) -> PyResult<ArrowData> {
    let Some(requested) = requested.filter(|requested| !requested.is_none()) else {
        return Ok(data.clone());
    };
    let pointer = pointer_of::<FFI_ArrowSchema>(requested, SCHEMA)?;
    // SAFETY: a capsule of this name holds a schema, and lives as long as `requested`; the consumer keeps it.
    let schema = unsafe { pointer.as_ref() };
    let wanted = Field::try_from(schema).map_err(|cause| raise(unreadable(cause)))?;
    let (from, to) = (data.field.data_type(), wanted.data_type());
    if from == to || !holds_unchanged(from, to) {
        return Ok(data.clone());
    }
    let chunks: Result<Vec<ArrayRef>, ArrowError> =
        data.chunks.iter().map(|chunk| cast(chunk, to)).collect();
    Ok(match chunks {
        Ok(chunks) => {
            let field = data.field.as_ref().clone().with_data_type(to.clone());
            ArrowData { field: Arc::new(field), chunks }
        }
        Err(_) => data.clone(),
    })
}

fn holds_unchanged(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::FixedSizeList(from, _), DataType::List(to) | DataType::LargeList(to)) => {
            from.data_type() == to.data_type()
        }
        (DataType::FixedSizeList(from, size), DataType::FixedSizeList(to, other)) => {
            from.data_type() == to.data_type() && size == other && to.is_nullable()
        }
        _ => false,
    }
}

/// Structs of C that are moved out of a capsule, which then holds a released one.
trait Movable {
    /// # Safety
    /// `pointer` points to such a struct, which nobody else uses meanwhile.
    unsafe fn take(pointer: *mut Self) -> Self;
}

impl Movable for FFI_ArrowArrayStream {
    unsafe fn take(pointer: *mut Self) -> Self {
        // SAFETY: that of this function.
        unsafe { FFI_ArrowArrayStream::from_raw(pointer) }
    }
}

impl Movable for FFI_ArrowArray {
    unsafe fn take(pointer: *mut Self) -> Self {
        // SAFETY: that of this function.
        unsafe { FFI_ArrowArray::from_raw(pointer) }
    }
}

impl Movable for FFI_ArrowSchema {
    unsafe fn take(pointer: *mut Self) -> Self {
        // SAFETY: that of this function.
        unsafe { FFI_ArrowSchema::from_raw(pointer) }
    }
}

fn take<T: Movable>(capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<T> {
    let pointer = pointer_of::<T>(capsule, name)?;
    // SAFETY: a capsule of this name holds such a struct; the producer has just made it for us.
    Ok(unsafe { T::take(pointer.as_ptr()) })
}

/// What a capsule of this name points to.
fn pointer_of<T>(capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<NonNull<T>> {
    let refuse = |what: String| {
        Error::new(ErrorKind::Input, format!("the Arrow data is {what}, not a capsule of its kind"))
            .advice("give data of a library that follows the Arrow PyCapsule interface")
    };
    let Ok(capsule) = capsule.cast::<PyCapsule>() else {
        return Err(raise(refuse(capsule.get_type().name()?.to_string())));
    };
    let pointer = capsule.pointer_checked(Some(name));
    pointer.map(NonNull::cast).map_err(|_| raise(refuse("another capsule".to_owned())))
}

/// What a producer returned; its exception becomes the cause of ours.
fn produced<'py>(result: PyResult<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    result.map_err(|cause| {
        Python::attach(|py| {
            // Ctrl-C and the end of the interpreter are no failures of the producer.
            if !cause.is_instance_of::<PyException>(py) {
                return cause;
            }
            let message = format!("its owner cannot give it as Arrow data: {}", cause.value(py));
            let error = Error::new(ErrorKind::Input, message).advice("give a list of str");
            let raised = to_python(py, &error);
            raised.set_cause(py, Some(cause));
            raised
        })
    })
}

fn consumed(what: &str) -> Error {
    let message = format!("the Arrow {what} was read before");
    Error::new(ErrorKind::Input, message).advice("make it again: it can be read once")
}

fn unreadable(cause: ArrowError) -> Error {
    Error::new(ErrorKind::Input, format!("the Arrow data cannot be read: {cause}"))
        .advice("look at what made it; its own error is in the message")
        .caused_by(cause)
}
