//! Record batches for Python.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};
use reembed_encoder::{Error, ErrorKind, Result};

use super::capsules::{self, ArrowData};
use super::column::VectorColumn;
use super::items;
use crate::errors::raise;

/// A table as Arrow record batches.
///
/// Any library that follows the Arrow PyCapsule interface reads it without a copy, such as ``pyarrow.table(table)``,
/// ``polars.DataFrame(table)`` or DuckDB in a query.
#[pyclass(frozen, module = "reembed._reembed")]
pub struct ArrowTable {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl ArrowTable {
    /// Its schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Its rows, in order.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Its number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn from_data(data: ArrowData) -> Result<ArrowTable> {
        let DataType::Struct(fields) = data.field.data_type() else {
            let message = format!("it is a column of type {}, not a table", data.field.data_type());
            return Err(Error::new(ErrorKind::Input, message)
                .advice("give a table, or use `encode` for a column"));
        };
        let schema =
            Arc::new(Schema::new_with_metadata(fields.clone(), data.field.metadata().clone()));
        let batch = |chunk: &ArrayRef| {
            let rows = chunk.as_struct();
            if rows.null_count() > 0 {
                let message = "it is a column of structs with nulls, not a table";
                return Err(Error::new(ErrorKind::Input, message).advice("give a table"));
            }
            record_batch(schema.clone(), rows.columns().to_vec(), rows.len())
        };
        let batches = data.chunks.iter().map(batch).collect::<Result<_>>()?;
        Ok(ArrowTable { schema, batches })
    }

    fn data(&self) -> ArrowData {
        let structs = DataType::Struct(self.schema.fields().clone());
        let field = Field::new("", structs, false).with_metadata(self.schema.metadata().clone());
        let chunk = |batch: &RecordBatch| -> ArrayRef {
            match batch.num_columns() {
                0 => Arc::new(StructArray::new_empty_fields(batch.num_rows(), None)),
                _ => Arc::new(StructArray::from(batch.clone())),
            }
        };
        ArrowData { field: Arc::new(field), chunks: self.batches.iter().map(chunk).collect() }
    }

    /// A column, as one array.
    fn column(&self, name: &str) -> Result<ArrayRef> {
        let position = self.schema.index_of(name).map_err(|cause| {
            Error::new(ErrorKind::Input, format!("there is no column `{name}`"))
                .advice("name one of the table's columns")
                .caused_by(cause)
        })?;
        let field = Arc::new(self.schema.field(position).clone());
        let chunks = self.batches.iter().map(|batch| batch.column(position).clone()).collect();
        joined(ArrowData { field, chunks })
    }

    fn with_vectors(&self, name: &str, vectors: &ArrayRef) -> Result<ArrowTable> {
        let field: FieldRef = Arc::new(Field::new(name, vectors.data_type().clone(), true));
        let existing = self.schema.index_of(name).ok();
        let mut fields = self.schema.fields().to_vec();
        match existing {
            Some(position) => fields[position] = field,
            None => fields.push(field),
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone()));
        let mut batches = Vec::with_capacity(self.batches.len());
        let mut first = 0;
        for batch in &self.batches {
            let rows = batch.num_rows();
            let part = vectors.slice(first, rows);
            first += rows;
            let mut columns = batch.columns().to_vec();
            match existing {
                Some(position) => columns[position] = part,
                None => columns.push(part),
            }
            batches.push(record_batch(schema.clone(), columns, rows)?);
        }
        Ok(ArrowTable { schema, batches })
    }
}

#[pymethods]
impl ArrowTable {
    /// The table that an object offers as Arrow data.
    #[staticmethod]
    fn read(object: &Bound<'_, PyAny>) -> PyResult<ArrowTable> {
        ArrowTable::from_data(capsules::read(object)?).map_err(raise)
    }

    /// A table of columns by name: each offers Arrow data, is an iterable of Python objects, or is another table that has
    /// a column of that name.
    #[staticmethod]
    fn from_columns(columns: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<ArrowTable> {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for (name, column) in columns {
            let array = match column.cast::<ArrowTable>() {
                Ok(table) => table.get().column(&name).map_err(raise)?,
                Err(_) if capsules::offers_arrow(&column)? => {
                    joined(capsules::read(&column)?).map_err(raise)?
                }
                Err(_) => items::read(&column, &name)?,
            };
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let rows = arrays.first().map_or(0, |array| array.len());
        let schema = Arc::new(Schema::new(fields));
        let batch = record_batch(schema.clone(), arrays, rows).map_err(raise)?;
        Ok(ArrowTable { schema, batches: vec![batch] })
    }

    /// The names of its columns.
    #[getter]
    fn column_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.schema.fields().iter().map(|field| field.name().as_str()))
    }

    /// Its number of rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.rows()
    }

    fn __len__(&self) -> usize {
        self.rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<reembed.ArrowTable: {} rows, {} columns>",
            self.rows(),
            self.schema.fields().len()
        )
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::offer_stream(py, &self.data(), requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsules::offer_schema(py, &self.data().field)
    }

    /// The table as a ``pyarrow.Table``, without a copy. pyarrow must be installed.
    fn to_pyarrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    /// The same table with a column of vectors at its end, or in the place of the column with that name.
    fn with_column(&self, name: &str, vectors: &VectorColumn) -> PyResult<ArrowTable> {
        self.with_vectors(name, vectors.array()).map_err(raise)
    }
}

fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|cause| {
        Error::new(ErrorKind::Input, format!("its columns do not fit together: {cause}"))
            .advice("give columns of one length")
            .caused_by(cause)
    })
}

/// The chunks of a column as one array.
fn joined(data: ArrowData) -> Result<ArrayRef> {
    let chunks: Vec<&dyn Array> = data.chunks.iter().map(AsRef::as_ref).collect();
    match &chunks[..] {
        [] => Ok(arrow::array::new_empty_array(data.field.data_type())),
        [_] => Ok(data.chunks[0].clone()),
        chunks => arrow::compute::concat(chunks).map_err(|cause| {
            Error::new(
                ErrorKind::Input,
                format!("the chunks of a column cannot be joined: {cause}"),
            )
            .advice("convert the column to strings")
            .caused_by(cause)
        }),
    }
}
