//! An output whose carried columns are decoded and encoded again, for those who want other row groups
//! or codecs than the input has. What Arrow cannot keep is refused by name.

use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use reembed_encoder::error::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use super::sink::unwritable;
use super::vector_chunk::ENCODING;
use crate::footer::FOOTER_KEY;
use crate::format::entries::ARROW_SCHEMA;
use crate::format::metadata::Metadata;
use crate::format::output::Columns;
use crate::format::schema::{Annotation, element, physical};
use crate::publish::write_error;
use crate::reader::{Reader, all_of};
use crate::row_parts::{self, RowParts};
use crate::vectors::CHILD;

/// Bytes at which a row group ends before it has its rows, because carried columns can be large.
const MAX_ROW_GROUP_BYTES: usize = 128 << 20;

/// Bytes of a page and of a dictionary before compression. The usual 1 MiB compresses text a few
/// percent better but makes memory grow with the rows: `cargo bench --bench memory`.
const PAGE_BYTES: usize = 256 << 10;

/// Bytes of a vector page before compression.
const VECTOR_PAGE_BYTES: usize = 64 << 10;

/// Components per call of the Parquet writer, which needs 12 bytes for each.
const COMPONENTS_PER_WRITE: usize = 8 << 10;

/// Bytes of the longest minimum and maximum in the statistics. Longer ones break other readers.
const MAX_STATISTIC_BYTES: usize = 64;

/// An output that is being written.
pub struct ReencodedTable {
    target: PathBuf,
    arrow: ArrowWriter<BufWriter<NamedTempFile>>,
    schema: SchemaRef,
    columns: Columns,
    rows_per_write: usize,
}

impl ReencodedTable {
    /// Starts an output in an empty temporary file. The reader decodes all columns.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub fn new(
        file: NamedTempFile,
        target: &Path,
        reader: &Reader,
        columns: Columns,
        vectors: &[(FieldRef, usize)],
        row_group_rows: NonZeroUsize,
    ) -> Result<Self> {
        let schema = reader.schema();
        let of_vectors: Vec<FieldRef> = vectors.iter().map(|(field, _)| field.clone()).collect();
        let mut fields = columns.arrange(schema.fields(), &of_vectors);
        if columns.has_parts {
            let at = columns.parts_position();
            fields.splice(at..at, row_parts::fields());
        }
        // The entry of an earlier run must not stand beside the new one.
        let mut metadata = schema.metadata().clone();
        metadata.remove(FOOTER_KEY);
        let schema = Arc::new(Schema::new_with_metadata(Fields::from(fields), metadata));

        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("reembed version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(row_group_rows.get()))
            .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
            .set_statistics_truncate_length(Some(MAX_STATISTIC_BYTES))
            .set_column_index_truncate_length(Some(MAX_STATISTIC_BYTES))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_key_value_metadata(Some(key_values(reader)?));
        for field in &of_vectors {
            let leaf = [field.name().as_str(), "list", CHILD];
            let column = ColumnPath::new(leaf.map(str::to_owned).to_vec());
            properties = properties
                .set_column_data_page_size_limit(column.clone(), VECTOR_PAGE_BYTES)
                // Components hardly repeat, so a dictionary costs time and space.
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, ENCODING);
        }
        let properties = properties.build();
        let buffered = BufWriter::with_capacity(1 << 20, file);
        let arrow = ArrowWriter::try_new(buffered, schema.clone(), Some(properties))
            .map_err(|cause| unwritable(target, cause))?;
        let width = vectors.iter().map(|(_, width)| *width).max().unwrap_or(1);
        let rows_per_write = (COMPONENTS_PER_WRITE / width.max(1)).max(1);
        let target = target.to_owned();
        Ok(ReencodedTable { target, arrow, schema, columns, rows_per_write })
    }

    /// Writes rows: the columns of the input, or parts of its rows, and one array for each vector column.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn write(
        &mut self,
        columns: &RecordBatch,
        parts: Option<&RowParts>,
        vectors: &[ArrayRef],
    ) -> Result<()> {
        let rows = parts.map_or(columns.num_rows(), RowParts::len);
        for start in (0..rows).step_by(self.rows_per_write) {
            let length = self.rows_per_write.min(rows - start);
            let vectors: Vec<ArrayRef> =
                vectors.iter().map(|vectors| vectors.slice(start, length)).collect();
            let arrays = match parts {
                None => self.columns.arrange(columns.slice(start, length).columns(), &vectors),
                // A long row is repeated for each of its parts: few at a time.
                Some(parts) => {
                    let repeated = parts.columns(columns, start..start + length)?;
                    let (of_input, of_parts) = repeated.columns().split_at(columns.num_columns());
                    let mut arrays = self.columns.arrange(of_input, &vectors);
                    let at = self.columns.parts_position();
                    arrays.splice(at..at, of_parts.iter().cloned());
                    arrays
                }
            };
            let options = RecordBatchOptions::new().with_row_count(Some(length));
            RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
                .map_err(ParquetError::from)
                .and_then(|batch| self.arrow.write(&batch))
                .map_err(|cause| unwritable(&self.target, cause))?;
        }
        Ok(())
    }

    /// Writes the footer. `entry` is the value of our own footer entry.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn finish(mut self, entry: String) -> Result<NamedTempFile> {
        self.arrow.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), entry));
        let target = self.target;
        let buffered = self.arrow.into_inner().map_err(|cause| unwritable(&target, cause))?;
        buffered
            .into_inner()
            .map_err(|cause| write_error(&target, "it cannot be written", cause.into_error()))
    }
}

/// Checks that Arrow can keep the type of every carried column. `fields` are the Arrow types of all
/// columns of the input.
///
/// # Errors
/// `Input`, without the file, naming every column that it cannot keep and its type.
pub fn check_types(metadata: &Metadata<'_>, fields: &Fields, columns: &Columns) -> Result<()> {
    let schema = &metadata.schema;
    let mut faults = Vec::new();
    for (number, root) in schema.roots.iter().enumerate().filter(|(n, _)| columns.carried[*n]) {
        let lost = root.elements.clone().find_map(|at| lost_type(metadata, at));
        let lost = lost.or_else(|| fields.get(number).and_then(|field| lost_in_arrow(field)));
        if let Some(lost) = lost {
            let message = format!("its type is {lost}, which is lost when it is encoded again");
            faults
                .push(Error::new(ErrorKind::Input, message).at(format!("column `{}`", root.name)));
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(all_of(faults).advice(
            "set `output.carry` to \"copy\", which keeps every type, or leave the columns out with \
             `output.drop`",
        )),
    }
}

/// The type of a schema element that Arrow has no equal of.
fn lost_type(metadata: &Metadata<'_>, position: usize) -> Option<&'static str> {
    const LOST: [&str; 6] = ["INTERVAL", "UUID", "BSON", "VARIANT", "GEOMETRY", "GEOGRAPHY"];
    const TIME: i16 = 7;
    const IS_ADJUSTED_TO_UTC: i16 = 1;
    let fields = metadata.schema.element(position);
    if fields.int(element::TYPE) == Some(physical::INT96) {
        return Some("INT96");
    }
    match Annotation::read(&fields) {
        Annotation::Text(crate::format::schema::Text::Enum) => Some("ENUM"),
        Annotation::Text(crate::format::schema::Text::Json) => Some("JSON"),
        Annotation::Other("TIME") => {
            let logical = fields.structure(element::LOGICAL_TYPE)?;
            let is_utc = logical.structure(TIME)?.is_true(IS_ADJUSTED_TO_UTC);
            is_utc.then_some("TIME in UTC")
        }
        Annotation::Other(name) => {
            let is_unknown = name.contains(' ');
            LOST.iter().find(|lost| **lost == name).copied().or(is_unknown.then_some(name))
        }
        Annotation::Text(_) | Annotation::Null | Annotation::None => None,
    }
}

/// The Arrow type of a column that the Parquet library writes as another one.
fn lost_in_arrow(field: &Field) -> Option<&'static str> {
    match field.data_type() {
        DataType::Date64 => Some("DATE in milliseconds"),
        DataType::Dictionary(..) if field.dict_is_ordered() == Some(true) => {
            Some("ordered categories")
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            lost_in_arrow(item)
        }
        DataType::FixedSizeList(_, 0) => Some("a list of width 0"),
        DataType::FixedSizeList(item, _) => lost_in_arrow(item),
        DataType::Struct(fields) => fields.iter().find_map(|field| lost_in_arrow(field)),
        _ => None,
    }
}

/// The footer entries of the input that are carried.
fn key_values(reader: &Reader) -> Result<Vec<KeyValue>> {
    let metadata = reader.table().metadata()?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let entries = metadata
        .key_values()
        .into_iter()
        .filter_map(|(key, value)| Some(KeyValue { key: text(key)?, value: value.and_then(text) }));
    Ok(entries.filter(|entry| ![FOOTER_KEY, ARROW_SCHEMA].contains(&&*entry.key)).collect())
}
