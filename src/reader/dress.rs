//! Strings as views while they are decoded, and back in their own types afterwards.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use reembed_encoder::error::{Error, ErrorKind, Result};

/// The schema with every string and binary column as a view, also inside lists and structs. A view points into
/// the decoded page, so a value that a dictionary repeats is held once.
pub fn as_views(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(viewed).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn viewed(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(item) => DataType::List(viewed(item)),
        DataType::LargeList(item) => DataType::LargeList(viewed(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(viewed(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(viewed(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed).collect()),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The type with strings and bytes in the place of views: what is cast to it has its bytes for itself.
fn compact(data_type: &DataType) -> DataType {
    let within =
        |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(compact(field.data_type())));
    match data_type {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView => DataType::LargeBinary,
        DataType::List(item) => DataType::List(within(item)),
        DataType::LargeList(item) => DataType::LargeList(within(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(within(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(within(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        other => other.clone(),
    }
}

/// The batch with its columns in the types of `schema`.
///
/// # Errors
/// `Data`, naming the column.
pub fn undressed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let wanted = field.data_type();
            cast(column, &compact(wanted)).and_then(|column| cast(&column, wanted)).map_err(
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
        Error::new(ErrorKind::Data, "its columns contradict the schema")
            .advice("write the file again from its source")
            .caused_by(cause)
    })
}
