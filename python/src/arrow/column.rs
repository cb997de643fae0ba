//! A column of vectors for Python.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use reembed_encoder::{Error, ErrorKind, Result};

use super::capsules::{self, ArrowData};

/// Vectors as an Arrow array of type ``FixedSizeList<float32, dim>``, in which a row without text is null.
///
/// Any library that follows the Arrow PyCapsule interface reads it without a copy, such as ``pyarrow.array(column)`` or
/// ``polars.Series(column)``.
#[pyclass(frozen, module = "reembed._reembed")]
pub struct VectorColumn {
    data: ArrowData,
}

impl VectorColumn {
    /// The vectors of `present.len()` rows, row-major, of which those that are not present are null.
    pub fn new(values: Vec<f32>, dim: usize, present: Option<Vec<bool>>) -> Result<VectorColumn> {
        let too_wide = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Encode, format!("{dim} components do not fit in an Arrow list"))
                .caused_by(cause)
        };
        let size = i32::try_from(dim).map_err(|cause| too_wide(cause.into()))?;
        // The type of `pyarrow.list_(pyarrow.float32(), dim)`.
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let nulls = present.map(NullBuffer::from).filter(|nulls| nulls.null_count() > 0);
        let values = Arc::new(Float32Array::from(values));
        let array = FixedSizeListArray::try_new(item, size, values, nulls)
            .map_err(|cause| too_wide(cause.into()))?;
        let field = Arc::new(Field::new("", array.data_type().clone(), true));
        Ok(VectorColumn { data: ArrowData { field, chunks: vec![Arc::new(array)] } })
    }

    /// The vectors as one array.
    pub fn array(&self) -> &ArrayRef {
        &self.data.chunks[0]
    }

    fn list(&self) -> &FixedSizeListArray {
        self.array().as_fixed_size_list()
    }
}

#[pymethods]
impl VectorColumn {
    fn __len__(&self) -> usize {
        self.array().len()
    }

    /// The number of rows without a vector.
    #[getter]
    fn null_count(&self) -> usize {
        self.array().null_count()
    }

    /// Components of a vector.
    #[getter]
    fn dimension(&self) -> i32 {
        self.list().value_length()
    }

    fn __repr__(&self) -> String {
        format!(
            "<reembed.VectorColumn: {} rows of {} float32, {} null>",
            self.array().len(),
            self.list().value_length(),
            self.array().null_count()
        )
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        capsules::offer_array(py, &self.data, requested_schema)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::offer_stream(py, &self.data, requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::offer_schema(py, &self.data.field)
    }

    /// The vectors as a float32 array of shape ``(N, dim)``: a view that cannot be written to, or, where a row is null, a
    /// copy in which that row is NaN.
    fn to_numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, list) = (slf.py(), slf.get().list());
        let (rows, dim) = (list.len(), list.value_length() as usize);
        if list.null_count() == 0 {
            let memory = Bound::new(py, Memory { column: slf.clone().unbind() })?;
            return py.import("numpy")?.call_method1("asarray", (memory,));
        }
        let mut values = list.values().as_primitive::<Float32Type>().values().to_vec();
        for row in (0..rows).filter(|row| list.is_null(*row)) {
            values[row * dim..][..dim].fill(f32::NAN);
        }
        Ok(values.into_pyarray(py).reshape([rows, dim])?.into_any())
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = VectorColumn::to_numpy(slf)?;
        let arguments = PyDict::new(slf.py());
        arguments.set_item("copy", copy.unwrap_or(false))?;
        let dtype = dtype.map_or_else(|| array.getattr("dtype"), Ok)?;
        array.call_method("astype", (dtype,), Some(&arguments))
    }

    /// The vectors as a ``pyarrow.FixedSizeListArray``, without a copy. pyarrow must be installed.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("array", (slf,))
    }
}

/// The memory of a column without nulls, for NumPy, which keeps it alive.
#[pyclass(frozen, module = "reembed._reembed")]
struct Memory {
    column: Py<VectorColumn>,
}

#[pymethods]
impl Memory {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let list = self.column.get().list();
        let values = list.values().as_primitive::<Float32Type>().values();
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", (list.len(), list.value_length()))?;
        interface
            .set_item("typestr", if cfg!(target_endian = "little") { "<f4" } else { ">f4" })?;
        let is_read_only = true;
        interface.set_item("data", (values.as_ptr() as usize, is_read_only))?;
        Ok(interface)
    }
}
