//! Writes the output: the carried columns and the vector column, to a temporary file.
//!
//! The file has a hidden name beside the output. [`StagedFile::publish`] renames it to the output
//! path once it is complete, durable and read back, so that readers find the old complete file or
//! the new complete file. docs/decisions/0014-publishing.md lists the steps.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::ChunkVectors;
use tempfile::NamedTempFile;

use crate::config::{OnEmpty, OutputConfig};
use crate::digest::ColumnHasher;
use crate::footer::{FOOTER_KEY, Footer};
use crate::publish::{self, OutputLock, write_error};
use crate::vectors::{CHILD, build_column, data_type, find_column};

/// Bytes at which a row group ends before it has its rows, because carried columns can be large.
const MAX_ROW_GROUP_BYTES: usize = 128 << 20;

/// Bytes of a page and of a dictionary before compression. The usual 1 MiB compresses text a few
/// percent better but makes memory grow with the rows: `cargo bench --bench memory`.
const PAGE_BYTES: usize = 256 << 10;

/// Bytes of a vector page before compression. Buffers of this size are reused by the allocator;
/// larger ones come from the system as untouched memory, which takes most of the writing time.
const VECTOR_PAGE_BYTES: usize = 64 << 10;

/// Components per call of the Parquet writer, for the same reason: it needs 12 bytes for each.
const COMPONENTS_PER_WRITE: usize = 8 << 10;

/// Bytes of the longest minimum and maximum in the statistics. Longer ones break other readers.
const MAX_STATISTIC_BYTES: usize = 64;

/// An output that is being written. Dropping it deletes the temporary file.
pub struct Writer {
    target: PathBuf,
    arrow: ArrowWriter<BufWriter<NamedTempFile>>,
    layout: Layout,
    hasher: ColumnHasher,
    rows: u64,
    null_rows: u64,
}

/// What the writer knows of the finished file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Number of rows.
    pub rows: u64,
    /// Number of rows without a vector.
    pub null_rows: u64,
    /// The digest of the vector column, in hexadecimal.
    pub vectors: String,
}

/// A complete output under its temporary name. Dropping it deletes the file.
pub struct StagedFile {
    file: NamedTempFile,
    rows: u64,
    null_rows: u64,
}

/// The schema of the output, and the position of the vector column in it.
struct Layout {
    schema: SchemaRef,
    position: usize,
    replaces_column: bool,
    vectors: FieldRef,
    dim: usize,
}

/// A published output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The path of the output.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Number of rows without a vector.
    pub null_rows: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Whether the existing file had the same bytes and was left untouched.
    pub unchanged: bool,
}

impl Writer {
    /// Creates the temporary file of an output with the carried columns of `schema` and vectors of
    /// `dim` components.
    ///
    /// `key_values` are the footer entries of the input, which are carried as well. The file gets
    /// mode and owner of the existing output.
    ///
    /// # Errors
    /// `Input` when the input has two columns with the name of the vector column; `Target` when the
    /// file cannot be created.
    pub fn create(
        config: &OutputConfig,
        lock: &OutputLock,
        schema: &SchemaRef,
        key_values: Vec<KeyValue>,
        dim: usize,
    ) -> Result<Writer> {
        let target = lock.path().to_owned();
        let layout = Layout::new(config, schema, dim)?;
        let hasher = ColumnHasher::new(&config.column, layout.vectors.data_type());
        let hasher = hasher.ok_or_else(|| {
            let message = "no digest is defined for the type of the vector column";
            Error::new(ErrorKind::Internal, message)
        })?;
        let file = publish::create_temporary(&target, lock.existing().ownership())?;
        let leaf = [config.column.as_str(), "list", CHILD];
        let column = ColumnPath::new(leaf.map(str::to_owned).to_vec());
        let carried = key_values.into_iter().filter(|entry| entry.key != FOOTER_KEY).collect();
        let properties = WriterProperties::builder()
            .set_created_by(concat!("reembed version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(config.row_group_rows.get()))
            .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
            .set_statistics_truncate_length(Some(MAX_STATISTIC_BYTES))
            .set_column_index_truncate_length(Some(MAX_STATISTIC_BYTES))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_column_data_page_size_limit(column.clone(), VECTOR_PAGE_BYTES)
            // Components hardly repeat, so a dictionary costs time and space.
            .set_column_dictionary_enabled(column, false)
            .set_key_value_metadata(Some(carried))
            .build();
        let buffered = BufWriter::with_capacity(1 << 20, file);
        let arrow = ArrowWriter::try_new(buffered, layout.schema.clone(), Some(properties))
            .map_err(|cause| parquet_error(&target, cause))?;
        Ok(Writer { target, arrow, layout, hasher, rows: 0, null_rows: 0 })
    }

    /// Whether the vector column replaces a column of the input.
    pub fn replaces_column(&self) -> bool {
        self.layout.replaces_column
    }

    /// Writes a chunk.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn write(&mut self, columns: &RecordBatch, vectors: ChunkVectors) -> Result<()> {
        self.rows += vectors.present.len() as u64;
        self.null_rows += vectors.present.iter().filter(|present| !**present).count() as u64;
        let parquet_error = |cause| parquet_error(&self.target, cause);
        let vectors = build_column(&self.layout.vectors, vectors, self.layout.dim)
            .map_err(|cause| parquet_error(cause.into()))?;
        self.hasher.update(vectors.as_ref())?;
        let batch = self.layout.batch(columns, vectors).map_err(parquet_error)?;
        let rows_per_write = (COMPONENTS_PER_WRITE / self.layout.dim.max(1)).max(1);
        for start in (0..batch.num_rows()).step_by(rows_per_write) {
            let rows = rows_per_write.min(batch.num_rows() - start);
            self.arrow.write(&batch.slice(start, rows)).map_err(parquet_error)?;
        }
        Ok(())
    }

    /// Completes the file with its footer. The file keeps its temporary name.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn finish(
        mut self,
        footer: impl FnOnce(Contents) -> Footer,
    ) -> Result<(StagedFile, Footer)> {
        let (rows, null_rows, target) = (self.rows, self.null_rows, self.target);
        let footer = footer(Contents { rows, null_rows, vectors: self.hasher.finish() });
        let entry = serde_json::to_string(&footer)
            .map_err(|cause| write_error(&target, "its footer cannot be written", cause))?;
        self.arrow.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), entry));
        let buffered = self.arrow.into_inner().map_err(|cause| parquet_error(&target, cause))?;
        let file = buffered
            .into_inner()
            .map_err(|cause| write_error(&target, "it cannot be written", cause.into_error()))?;
        Ok((StagedFile { file, rows, null_rows }, footer))
    }
}

impl StagedFile {
    /// Publishes the file: fsync, `read_back`, rename to the output path, fsync of the directory.
    ///
    /// If the existing output has the same bytes, it is read back instead and stays untouched.
    ///
    /// # Errors
    /// `Output`, naming the file, `Locked` when the lock is lost, and those of `read_back`. The
    /// existing output is then unchanged, unless the fsync of the directory failed: the new file is
    /// then in place and may be lost in a power failure.
    pub fn publish(
        self,
        lock: &OutputLock,
        read_back: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Published> {
        let StagedFile { file, rows, null_rows } = self;
        let path = lock.path().to_owned();
        let check = |finished: &Path| {
            read_back(finished)?;
            lock.check()
        };
        let compared = file.as_file().metadata().and_then(|metadata| {
            let unchanged = publish::has_same_bytes(file.as_file(), &path)?;
            Ok((metadata.len(), unchanged))
        });
        let (bytes, unchanged) = compared
            .map_err(|cause| write_error(&path, "the finished file cannot be read", cause))?;
        if unchanged {
            check(&path)?;
            publish::sync_existing(&path)?;
        } else {
            publish::replace(file, &path, check)?;
        }
        Ok(Published { path, rows, null_rows, bytes, unchanged })
    }
}

impl Layout {
    fn new(config: &OutputConfig, schema: &SchemaRef, dim: usize) -> Result<Layout> {
        let nullable = config.on_empty == OnEmpty::Null;
        let data_type = data_type(config.vector_type, dim)?;
        let vectors: FieldRef = Arc::new(Field::new(&config.column, data_type, nullable));
        let mut fields: Vec<FieldRef> = schema.fields().to_vec();
        let position = find_column(schema, &config.column)?;
        match position {
            Some(position) => fields[position] = vectors.clone(),
            None => fields.push(vectors.clone()),
        }
        // The entry of an earlier run must not stand beside the new one.
        let mut metadata = schema.metadata().clone();
        metadata.remove(FOOTER_KEY);
        Ok(Layout {
            position: position.unwrap_or(schema.fields().len()),
            replaces_column: position.is_some(),
            schema: Arc::new(Schema::new_with_metadata(Fields::from(fields), metadata)),
            vectors,
            dim,
        })
    }

    fn batch(&self, columns: &RecordBatch, vectors: ArrayRef) -> Result<RecordBatch, ParquetError> {
        let rows = columns.num_rows();
        let mut columns = columns.columns().to_vec();
        if self.replaces_column {
            columns[self.position] = vectors;
        } else {
            columns.push(vectors);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

fn parquet_error(target: &Path, cause: ParquetError) -> Error {
    write_error(target, "it cannot be written", cause)
}
