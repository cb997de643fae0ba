//! Arrays as a stream of Arrow's C stream interface.
//!
//! What the consumer calls comes from C: no panic may leave it, and what failed must never look like the end.
//! It touches no Python object, so it may be called with the GIL or without.
#![allow(unsafe_code, reason = "the callbacks of a C interface get pointers")]

use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow::ffi_stream::FFI_ArrowArrayStream;

/// What makes the arrays of a stream.
pub type Arrays = Box<dyn Iterator<Item = Result<ArrayRef, ArrowError>> + Send>;

/// `EIO`, the same number on Linux and macOS.
const FAILED: c_int = 5;

/// The stream of `arrays`, all of the type of `field`. After an error or a panic of theirs it has that error only.
pub fn stream(field: FieldRef, arrays: Arrays) -> FFI_ArrowArrayStream {
    let state = Box::new(State { field, arrays, error: None });
    let state = Box::into_raw(state).cast();
    // SAFETY: the callbacks are those of this file, which take `state` for what it is; `release` frees it.
    unsafe {
        FFI_ArrowArrayStream::new_unchecked(
            Some(get_schema),
            Some(get_next),
            Some(get_last_error),
            Some(release),
            state,
        )
    }
}

struct State {
    field: FieldRef,
    arrays: Arrays,
    error: Option<CString>,
}

impl State {
    /// Runs `work` unless an earlier call failed, and keeps its error.
    fn attempt(&mut self, work: impl FnOnce(&mut State) -> Result<(), ArrowError>) -> c_int {
        if self.error.is_some() {
            return FAILED;
        }
        let result = catch_unwind(AssertUnwindSafe(|| work(self)));
        let message = match result {
            Ok(Ok(())) => return 0,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => {
                // A panic's own value may panic when it is dropped.
                let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
                std::mem::forget(panic);
                format!("the stream failed: {}", message.unwrap_or_else(|| "a bug".to_owned()))
            }
        };
        self.error = Some(CString::new(message.replace('\0', " ")).unwrap_or_default());
        FAILED
    }
}

unsafe extern "C" fn get_schema(
    stream: *mut FFI_ArrowArrayStream,
    out: *mut FFI_ArrowSchema,
) -> c_int {
    // SAFETY: the consumer passes the stream that it has not released, so `stream` made its private data.
    let state = unsafe { &mut *(*stream).private_data().cast::<State>() };
    state.attempt(|state| {
        let schema = FFI_ArrowSchema::try_from(state.field.as_ref())?;
        // SAFETY: the consumer passes memory for a schema, whose content counts as uninitialised.
        unsafe { ptr::write(out, schema) };
        Ok(())
    })
}

unsafe extern "C" fn get_next(
    stream: *mut FFI_ArrowArrayStream,
    out: *mut FFI_ArrowArray,
) -> c_int {
    // SAFETY: as in `get_schema`.
    let state = unsafe { &mut *(*stream).private_data().cast::<State>() };
    state.attempt(|state| {
        let array = match state.arrays.next().transpose()? {
            Some(array) => FFI_ArrowArray::new(&array.to_data()),
            // A released array is the end.
            None => FFI_ArrowArray::empty(),
        };
        // SAFETY: the consumer passes memory for an array, whose content counts as uninitialised.
        unsafe { ptr::write(out, array) };
        Ok(())
    })
}

unsafe extern "C" fn get_last_error(stream: *mut FFI_ArrowArrayStream) -> *const c_char {
    // SAFETY: as in `get_schema`.
    let state = unsafe { &*(*stream).private_data().cast::<State>() };
    state.error.as_ref().map_or(ptr::null(), |error| error.as_ptr())
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the consumer releases a stream once; `stream` made its private data from a box.
    let state = unsafe {
        let state = (*stream).private_data().cast::<State>();
        ptr::write(stream, FFI_ArrowArrayStream::empty());
        Box::from_raw(state)
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(state))) {
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field};
    use arrow::ffi_stream::ArrayStreamReader;

    use super::*;

    fn read(arrays: Arrays) -> (Vec<usize>, Option<String>) {
        let field = Arc::new(Field::new("", DataType::Int32, true));
        let reader = ArrayStreamReader::try_new(stream(field, arrays)).expect("a schema");
        let mut lengths = Vec::new();
        for array in reader.take(4) {
            match array {
                Ok(array) => lengths.push(array.len()),
                Err(error) => return (lengths, Some(error.to_string())),
            }
        }
        (lengths, None)
    }

    fn numbers(count: i32) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(Int32Array::from_iter_values(0..count)))
    }

    #[test]
    fn arrays_come_in_order_until_the_end() {
        assert_eq!(read(Box::new([2, 0, 3].into_iter().map(numbers))), (vec![2, 0, 3], None));
    }

    #[test]
    fn failure_and_panic_are_errors_and_never_the_end() {
        let failing = |count: i32| match count {
            0 => Err(ArrowError::ComputeError("no\0thing".to_owned())),
            count => numbers(count),
        };
        let (lengths, error) = read(Box::new([2, 0].into_iter().map(failing)));
        assert_eq!(lengths, [2]);
        assert!(error.is_some_and(|error| error.contains("no thing")));
        let panicking = |count: i32| match count {
            0 => panic!("at {count}"),
            count => numbers(count),
        };
        let (lengths, error) = read(Box::new([2, 0].into_iter().map(panicking)));
        assert_eq!(lengths, [2]);
        assert!(error.is_some_and(|error| error.contains("the stream failed: at 0")));
    }

    #[test]
    fn stream_that_failed_stays_failed() {
        let mut fails = true;
        let arrays = std::iter::from_fn(move || {
            std::mem::replace(&mut fails, false).then(|| Err(ArrowError::ComputeError("x".into())))
        });
        let field = Arc::new(Field::new("", DataType::Int32, true));
        let reader = ArrayStreamReader::try_new(stream(field, Box::new(arrays)));
        let mut reader = reader.expect("a schema");
        assert!(reader.next().is_some_and(|array| array.is_err()));
        assert!(reader.next().is_some_and(|array| array.is_err()), "this is no end");
    }
}
