//! Vectors and carried columns to Parquet, and a new file in the place of the old one.
//!
//! The file grows under a hidden name beside the target. Only when it is complete and on the disk is it renamed
//! over the target, so that whoever opens the target finds the old complete file or the new complete file.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
use tempfile::{Builder, NamedTempFile};

use crate::config::{OnEmpty, OutputConfig, VectorType};
use crate::error::{Error, ErrorKind, Result};
use crate::inference::ChunkVectors;
use crate::lineage::{FOOTER_KEY, Footer};

/// A row group is closed at this size even before it has its rows: carried columns can be large.
const MOST_ROW_GROUP_BYTES: usize = 128 << 20;

/// Longest minimum and maximum that is kept as statistics: long ones break other readers.
const LONGEST_STATISTIC: usize = 64;

/// The child field of the column of vectors, as the Parquet specification names a list's elements.
const CHILD: &str = "element";

/// Looks at the target before anything is loaded or read: it must be, or become, a regular file in a folder,
/// and not be the input.
///
/// The folder is made if only its last part is missing.
///
/// # Errors
/// `Target`, naming the path.
pub fn check_target(target: &Path, input: &Path) -> Result<()> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Target, message)
            .in_file(target)
            .advice("name another file with --output or `output.path`")
    };
    if target.file_name().is_none() {
        return Err(refuse("the output is not the name of a file"));
    }
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_symlink() => {
            return Err(refuse("the output is a symbolic link; what it points to is not replaced"));
        }
        Ok(found) if found.is_dir() => return Err(refuse("the output is a folder")),
        Ok(found) if !found.is_file() => return Err(refuse("the output is not a regular file")),
        Ok(found) => {
            if fs::metadata(input).is_ok_and(|input| same_file(&input, &found)) {
                return Err(refuse("the output is the input"));
            }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(refuse("the output cannot be looked at").caused_by(cause)),
    }
    let folder = folder_of(target);
    match fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            if folder.is_dir() { Ok(()) } else { Err(refuse("its folder is not a folder")) }
        }
        Err(cause) => Err(refuse("its folder is not there and cannot be made").caused_by(cause)),
    }
}

fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An output under way. Dropped before [`Writer::publish`], it leaves nothing behind.
pub struct Writer {
    target: PathBuf,
    arrow: ArrowWriter<BufWriter<NamedTempFile>>,
    layout: Layout,
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
}

impl Writer {
    /// Starts an output beside its target: the carried columns of `schema`, and vectors of `dim` components.
    /// `key_values` are the input's footer entries, which are carried too.
    ///
    /// # Errors
    /// `Input` when the column of vectors is there twice; `Output` when the file cannot be made.
    pub fn create(
        config: &OutputConfig,
        schema: &SchemaRef,
        key_values: Vec<KeyValue>,
        dim: usize,
    ) -> Result<Writer> {
        let target = config.path.clone();
        let layout = Layout::new(config, schema, dim)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let file = Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".tmp")
            .permissions(ordinary_permissions())
            .tempfile_in(folder_of(&target))
            .map_err(|cause| failed(&target, "a temporary file beside it cannot be made", cause))?;
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
            // Components of vectors hardly repeat: a dictionary costs time and space.
            .set_column_dictionary_enabled(column, false)
            .set_key_value_metadata(Some(carried))
            .build();
        let buffered = BufWriter::with_capacity(1 << 20, file);
        let arrow = ArrowWriter::try_new(buffered, layout.schema.clone(), Some(properties))
            .map_err(|cause| refused(&target, cause))?;
        Ok(Writer { target, arrow, layout, rows: 0, null_rows: 0 })
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
        self.layout
            .batch(columns, vectors)
            .and_then(|batch| self.arrow.write(&batch))
            .map_err(|cause| refused(&self.target, cause))
    }

    /// Finishes the file and puts it in the target's place: footer, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// `Output`, naming the file. The target is then as it was, unless the last step failed: the folder's
    /// fsync, after which the new file is there but may not outlast a power cut.
    pub fn publish(mut self, footer: impl FnOnce(u64, u64) -> Footer) -> Result<Published> {
        let (rows, null_rows, target) = (self.rows, self.null_rows, self.target);
        let footer = serde_json::to_string(&footer(rows, null_rows))
            .map_err(|cause| failed(&target, "its metadata cannot be written", cause))?;
        self.arrow.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), footer));
        let buffered = self.arrow.into_inner().map_err(|cause| refused(&target, cause))?;
        let file = buffered
            .into_inner()
            .map_err(|cause| failed(&target, "it cannot be written", cause.into_error()))?;
        let synced = file.as_file().sync_all().and_then(|()| file.as_file().metadata());
        let bytes =
            synced.map_err(|cause| failed(&target, "it cannot be brought to the disk", cause))?.len();
        file.persist(&target)
            .map_err(|cause| failed(&target, "it cannot be put in place", cause.error))?;
        sync_folder(folder_of(&target)).map_err(|cause| {
            failed(&target, "it is in place, but its folder cannot be brought to the disk", cause)
        })?;
        Ok(Published { path: target, rows, null_rows, bytes })
    }
}

impl Layout {
    fn new(config: &OutputConfig, schema: &SchemaRef, dim: usize) -> Result<Layout> {
        let child = Arc::new(Field::new(CHILD, DataType::Float32, false));
        let data_type = match config.vector_type {
            VectorType::FixedSizeList => {
                let size = i32::try_from(dim).map_err(|cause| {
                    Error::new(ErrorKind::Model, format!("vectors of {dim} components are too wide"))
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

    fn batch(
        &self,
        columns: &RecordBatch,
        vectors: ChunkVectors,
    ) -> Result<RecordBatch, ParquetError> {
        let rows = columns.num_rows();
        let vectors = self.array(vectors)?;
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

/// What a file made by hand would get: everything that the process's umask allows.
fn ordinary_permissions() -> Permissions {
    Permissions::from_mode(0o666)
}

/// A renamed file's name outlasts a power cut only when its folder is on the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn refused(target: &Path, cause: ParquetError) -> Error {
    failed(target, "it cannot be written", cause)
}

fn failed(
    target: &Path,
    message: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Output, message)
        .in_file(target)
        .advice("check that its folder can be written to and its disk has room")
        .caused_by(cause)
}
