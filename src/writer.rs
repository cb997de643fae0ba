//! Vectors and carried columns to Parquet, and a new file in the place of the old one.
//!
//! The file grows under a hidden name beside the target. Only when it is complete, on the disk and found to hold
//! what was written is it renamed over the target, so that whoever opens the target finds the old complete file or the
//! new complete file.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, ListArray, RecordBatch, RecordBatchOptions,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::ChunkVectors;
use tempfile::NamedTempFile;

use crate::config::{OnEmpty, OutputConfig, VectorType};
use crate::digest::ColumnHasher;
use crate::footer::{FOOTER_KEY, Footer};
use crate::publish::{self, Claim, failed};

/// A row group is closed at this size even before it has its rows: carried columns can be large.
const MOST_ROW_GROUP_BYTES: usize = 128 << 20;

/// Bytes of a page and of a dictionary, before compression. The usual 1 MiB compresses text by some hundredths better, and a
/// column with more than 256 KiB of distinct values in a row group, which is written plain then; but it lets memory grow by
/// more than a tenth from 50,000 rows to a million, which `cargo bench --bench memory` forbids.
const PAGE_BYTES: usize = 256 << 10;

/// Bytes of a page of vectors, before compression. What becomes of a page on its way is then, like the rest that the
/// Parquet writer allocates for vectors, too small for the allocator to ask the system for: memory from there has to be
/// touched anew each time, which is what takes most of the time that writing takes.
const VECTOR_PAGE_BYTES: usize = 64 << 10;

/// Components that are handed to the Parquet writer at a time, for the same reason: it needs 12 bytes for the levels and
/// the position of each.
const COMPONENTS_AT_A_TIME: usize = 8 << 10;

/// Longest minimum and maximum that is kept as statistics: long ones break other readers.
const LONGEST_STATISTIC: usize = 64;

/// The child field of the column of vectors, as the Parquet specification names a list's elements.
const CHILD: &str = "element";

/// An output under way. Dropped before [`Finished::publish`], it leaves nothing behind.
pub struct Writer {
    target: PathBuf,
    arrow: ArrowWriter<BufWriter<NamedTempFile>>,
    layout: Layout,
    hasher: ColumnHasher,
    rows: u64,
    null_rows: u64,
}

/// What was written, as the writer knows it without looking at the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Rows.
    pub rows: u64,
    /// Rows without a vector.
    pub null_rows: u64,
    /// The digest of the column of vectors.
    pub vectors: String,
}

/// An output that is complete under its hidden name. Dropped before [`Finished::publish`], it leaves nothing behind.
pub struct Finished {
    file: NamedTempFile,
    rows: u64,
    null_rows: u64,
}

/// Where the vectors stand among the carried columns, and in what type.
struct Layout {
    schema: SchemaRef,
    position: usize,
    replaces: bool,
    vectors: FieldRef,
    dim: usize,
}

/// A published output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Rows without a vector.
    pub null_rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether the file that was there held the very same bytes and was left untouched.
    pub unchanged: bool,
}

impl Writer {
    /// Starts an output beside its target: the carried columns of `schema`, and vectors of `dim` components.
    /// `key_values` are the input's footer entries, which are carried too. The file gets mode and owner of the one that
    /// it is to replace.
    ///
    /// # Errors
    /// `Input` when the column of vectors is there twice; `Target` when the file cannot be made.
    pub fn create(
        config: &OutputConfig,
        claim: &Claim,
        schema: &SchemaRef,
        key_values: Vec<KeyValue>,
        dim: usize,
    ) -> Result<Writer> {
        let target = claim.path().to_owned();
        let layout = Layout::new(config, schema, dim)?;
        let hasher = ColumnHasher::new(&config.column, layout.vectors.data_type());
        let hasher = hasher.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the vectors have a type without a digest")
        })?;
        let file = publish::temporary_beside(&target, claim.standing().kept())?;
        let leaf = [config.column.as_str(), "list", CHILD];
        let column = ColumnPath::new(leaf.map(str::to_owned).to_vec());
        let carried = key_values.into_iter().filter(|entry| entry.key != FOOTER_KEY).collect();
        let properties = WriterProperties::builder()
            .set_created_by(concat!("reembed version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(config.row_group_rows.get()))
            .set_max_row_group_bytes(Some(MOST_ROW_GROUP_BYTES))
            .set_statistics_truncate_length(Some(LONGEST_STATISTIC))
            .set_column_index_truncate_length(Some(LONGEST_STATISTIC))
            .set_data_page_size_limit(PAGE_BYTES)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_column_data_page_size_limit(column.clone(), VECTOR_PAGE_BYTES)
            // Components of vectors hardly repeat: a dictionary costs time and space.
            .set_column_dictionary_enabled(column, false)
            .set_key_value_metadata(Some(carried))
            .build();
        let buffered = BufWriter::with_capacity(1 << 20, file);
        let arrow = ArrowWriter::try_new(buffered, layout.schema.clone(), Some(properties))
            .map_err(|cause| refused(&target, cause))?;
        Ok(Writer { target, arrow, layout, hasher, rows: 0, null_rows: 0 })
    }

    /// Whether the input has a column in whose place the vectors are put.
    pub fn replaces_column(&self) -> bool {
        self.layout.replaces
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn write(&mut self, columns: &RecordBatch, vectors: ChunkVectors) -> Result<()> {
        self.rows += vectors.present.len() as u64;
        self.null_rows += vectors.present.iter().filter(|present| !**present).count() as u64;
        let refused = |cause| refused(&self.target, cause);
        let vectors = self.layout.array(vectors).map_err(refused)?;
        self.hasher.update(vectors.as_ref())?;
        let batch = self.layout.batch(columns, vectors).map_err(refused)?;
        let at_a_time = (COMPONENTS_AT_A_TIME / self.layout.dim.max(1)).max(1);
        for start in (0..batch.num_rows()).step_by(at_a_time) {
            let rows = at_a_time.min(batch.num_rows() - start);
            self.arrow.write(&batch.slice(start, rows)).map_err(refused)?;
        }
        Ok(())
    }

    /// Completes the file with its footer, still under its hidden name.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn finish(mut self, footer: impl FnOnce(Contents) -> Footer) -> Result<(Finished, Footer)> {
        let (rows, null_rows, target) = (self.rows, self.null_rows, self.target);
        let footer = footer(Contents { rows, null_rows, vectors: self.hasher.finish() });
        let entry = serde_json::to_string(&footer)
            .map_err(|cause| failed(&target, "its metadata cannot be written", cause))?;
        self.arrow.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), entry));
        let buffered = self.arrow.into_inner().map_err(|cause| refused(&target, cause))?;
        let file = buffered
            .into_inner()
            .map_err(|cause| failed(&target, "it cannot be written", cause.into_error()))?;
        Ok((Finished { file, rows, null_rows }, footer))
    }
}

impl Finished {
    /// Puts the file in the target's place: fsync, `read_back` of what is on the disk, rename, fsync of the directory. Where
    /// the target already holds the very same bytes it is what is read back, and stays untouched.
    ///
    /// # Errors
    /// `Output`, naming the file, `Locked` when the claim is lost, and whatever `read_back` gives. The target is then as
    /// it was, unless the last step failed: the directory's fsync, after which the new file is there but may not outlast a
    /// power cut.
    pub fn publish(
        self,
        claim: &Claim,
        read_back: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Published> {
        let Finished { file, rows, null_rows } = self;
        let path = claim.path().to_owned();
        let look = |finished: &Path| {
            read_back(finished)?;
            claim.check()
        };
        let compared = file.as_file().metadata().and_then(|found| {
            let unchanged = publish::same_bytes(file.as_file(), &path)?;
            Ok((found.len(), unchanged))
        });
        let (bytes, unchanged) =
            compared.map_err(|cause| failed(&path, "what was written cannot be read", cause))?;
        if unchanged {
            look(&path)?;
            publish::keep_target(&path)?;
        } else {
            publish::publish(file, &path, look)?;
        }
        Ok(Published { path, rows, null_rows, bytes, unchanged })
    }
}

impl Layout {
    fn new(config: &OutputConfig, schema: &SchemaRef, dim: usize) -> Result<Layout> {
        let child = Arc::new(Field::new(CHILD, DataType::Float32, false));
        let data_type = match config.vector_type {
            VectorType::FixedSizeList => {
                let size = i32::try_from(dim).map_err(|cause| {
                    Error::new(
                        ErrorKind::Model,
                        format!("vectors of {dim} components are too wide"),
                    )
                    .caused_by(cause)
                })?;
                DataType::FixedSizeList(child, size)
            }
            VectorType::List => DataType::List(child),
        };
        let nullable = config.on_empty == OnEmpty::Null;
        let vectors: FieldRef = Arc::new(Field::new(&config.column, data_type, nullable));

        let mut fields: Vec<FieldRef> = schema.fields().to_vec();
        let mut same = (0..fields.len()).filter(|&at| fields[at].name() == &config.column);
        let position = same.next();
        if position.is_some() && same.next().is_some() {
            return Err(Error::new(
                ErrorKind::Input,
                format!("the input has two columns `{}`", config.column),
            )
            .advice("set `output.column` to another name"));
        }
        match position {
            Some(position) => fields[position] = vectors.clone(),
            None => fields.push(vectors.clone()),
        }
        // An earlier run's own entry must not stand beside the new one.
        let mut metadata = schema.metadata().clone();
        metadata.remove(FOOTER_KEY);
        Ok(Layout {
            position: position.unwrap_or(schema.fields().len()),
            replaces: position.is_some(),
            schema: Arc::new(Schema::new_with_metadata(Fields::from(fields), metadata)),
            vectors,
            dim,
        })
    }

    fn batch(&self, columns: &RecordBatch, vectors: ArrayRef) -> Result<RecordBatch, ParquetError> {
        let rows = columns.num_rows();
        let mut columns = columns.columns().to_vec();
        if self.replaces {
            columns[self.position] = vectors;
        } else {
            columns.push(vectors);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn array(&self, vectors: ChunkVectors) -> Result<ArrayRef, ParquetError> {
        let ChunkVectors { mut values, present, .. } = vectors;
        let nulls = self.vectors.is_nullable().then(|| NullBuffer::from(present.clone()));
        match self.vectors.data_type() {
            DataType::FixedSizeList(child, size) => {
                let values = Arc::new(Float32Array::from(values));
                Ok(Arc::new(FixedSizeListArray::try_new(child.clone(), *size, values, nulls)?))
            }
            DataType::List(child) => {
                // A null row has no elements in a list, unlike in a fixed-size one.
                let mut row = 0;
                let dim = self.dim;
                values.retain(|_| {
                    row += 1;
                    present[(row - 1) / dim]
                });
                let lengths = present.iter().map(|present| if *present { dim } else { 0 });
                let offsets = OffsetBuffer::from_lengths(lengths);
                let values = Arc::new(Float32Array::from(values));
                Ok(Arc::new(ListArray::try_new(child.clone(), offsets, values, nulls)?))
            }
            other => Err(ParquetError::General(format!("vectors of type {other}"))),
        }
    }
}

fn refused(target: &Path, cause: ParquetError) -> Error {
    failed(target, "it cannot be written", cause)
}
