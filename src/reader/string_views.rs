//! Decodes strings as views, and converts the columns of a chunk back to their own types.
//!
//! docs/decisions/0009-string-views-and-re-encoding.md says why.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use reembed_encoder::error::{Error, ErrorKind, Result};

/// The schema with every string and binary type as a view type, also inside lists and structs. A
/// view points into the decoded page, so a value that a dictionary repeats is in memory once.
pub fn to_views(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(field_to_views).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn field_to_views(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(item) => DataType::List(field_to_views(item)),
        DataType::LargeList(item) => DataType::LargeList(field_to_views(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field_to_views(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(field_to_views(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field_to_views).collect()),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The type without views: an array of it owns its bytes.
fn without_views(data_type: &DataType) -> DataType {
    let child = |field: &FieldRef| {
        Arc::new(Field::clone(field).with_data_type(without_views(field.data_type())))
    };
    match data_type {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::List(item) => DataType::List(child(item)),
        DataType::LargeList(item) => DataType::LargeList(child(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(child(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        other => other.clone(),
    }
}

/// Converts the columns of a batch to the types of `schema`.
///
/// # Errors
/// `Data`, naming the column.
pub fn from_views(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let wanted = field.data_type();
            if column.data_type() == wanted {
                return Ok(column.clone());
            }
            cast(column, &without_views(wanted)).and_then(|column| cast(&column, wanted)).map_err(
                |cause| {
                    Error::new(ErrorKind::Data, "its values do not fit the column's type")
                        .at(format!("column `{}`", field.name()))
                        .advice("write the file again from its source")
                        .caused_by(cause)
                },
            )
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|cause| {
        Error::new(ErrorKind::Data, "its columns do not match the schema")
            .advice("write the file again from its source")
            .caused_by(cause)
    })
}
