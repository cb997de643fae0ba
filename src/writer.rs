//! Writes the output: the carried columns and the vector columns, to a temporary file.
//!
//! The file is in the directory `_reembed` beside the output. [`StagedFile::publish`] renames it to the output
//! path once it is complete, durable and read back, so that readers find the old complete file or
//! the new complete file. docs/decisions/0014-publishing.md lists the steps.
//!
//! ```text
//!   copied      carried columns as bytes     vector_chunk  the vectors of a row group
//!   reencoded   carried columns by value     sink          the temporary file
//!   arrow_schema  for an input without one   vector_pages  where its rows are
//! ```

mod arrow_schema;
mod copied;
mod reencoded;
mod sink;
mod vector_chunk;
mod vector_pages;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::FieldRef;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::DirectorySync;
use reembed_encoder::inference::ChunkVectors;
use reembed_encoder::stop::Stop;
use tempfile::NamedTempFile;

use crate::chunk::{ResolvedChunk, UnchangedGroup};
use crate::config::{Carry, OnEmpty, OutputConfig};
use crate::digest::ColumnHasher;
use crate::footer::{ColumnDigest, Footer};
use crate::format::output::{Columns, VectorColumn};
use crate::group_digest::{GroupDigest, vectors_digest};
use crate::publish::{self, OutputLock, write_error};
use crate::reader::{Reader, TableFile};
use crate::vectors::{BuildError, VectorForm};
use copied::CopiedTable;
use reencoded::ReencodedTable;
pub use reencoded::check_types;
pub use vector_pages::{locate_pages, rows_per_page};

/// An output that is being written. Dropping it deletes the temporary file.
pub struct Writer<'a> {
    target: PathBuf,
    table: Table<'a>,
    vectors: Vec<VectorWriter>,
    /// Whether rows without a vector are left out.
    drops_rows: bool,
    rows: u64,
    dropped_rows: u64,
}

enum Table<'a> {
    Copied(Box<CopiedTable<'a>>),
    Reencoded(Box<(ReencodedTable, Vec<ColumnHasher>)>),
}

/// Makes the rows of a vector column.
struct VectorWriter {
    field: FieldRef,
    form: VectorForm,
    null_rows: u64,
}

/// What the writer knows of the finished file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Number of rows.
    pub rows: u64,
    /// Number of rows that were left out because they have no vector.
    pub dropped_rows: u64,
    /// The digests of the columns that were copied; `None` if they were encoded anew.
    pub copied: Option<Vec<ColumnDigest>>,
    /// The vector columns.
    pub columns: Vec<ColumnContents>,
}

/// What the writer knows of a vector column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnContents {
    /// Number of rows without a vector.
    pub null_rows: u64,
    /// The row groups, if columns were copied.
    pub groups: Vec<GroupDigest>,
    /// The digest of the vectors, in hexadecimal.
    pub vectors: String,
}

/// A complete output under its temporary name. Dropping it deletes the file.
pub struct StagedFile {
    file: NamedTempFile,
}

/// A published output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Whether its name is durable.
    pub sync: DirectorySync,
    /// The path of the output.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Whether the existing file had the same bytes and was left untouched.
    pub unchanged: bool,
}

impl<'a> Writer<'a> {
    /// Creates the temporary file of an output with the carried `columns` of an input and, for each vector
    /// column, vectors of a form.
    ///
    /// The footer entries of the input are carried as well. The file gets mode and owner of the
    /// existing output. `existing` has the files whose vectors may be copied, each with the leaf of every vector column.
    ///
    /// # Errors
    /// `Target` when the file cannot be created.
    pub fn create(
        config: &OutputConfig,
        lock: &OutputLock,
        reader: &'a Reader,
        columns: Columns,
        forms: &[VectorForm],
        existing: Vec<(&'a TableFile, Vec<usize>)>,
        stop: &'a Stop,
    ) -> Result<Writer<'a>> {
        let target = lock.path().to_owned();
        let vector_writer = |(column, form): (&VectorColumn, &VectorForm)| {
            Ok(VectorWriter {
                field: Arc::new(form.field(&column.name, column.is_nullable)?),
                form: form.clone(),
                null_rows: 0,
            })
        };
        let vectors: Result<Vec<_>> =
            columns.vectors.iter().zip(forms).map(vector_writer).collect();
        let vectors = vectors?;
        let file = publish::create_temporary(lock.place(), lock.existing().ownership())?;
        let fields: Vec<(FieldRef, usize)> =
            vectors.iter().map(|vectors| (vectors.field.clone(), vectors.form.width())).collect();
        let table = match reader.carry() {
            Carry::Copy => {
                let copied =
                    CopiedTable::new(file, &target, reader, columns, &fields, existing, stop)?;
                Table::Copied(Box::new(copied))
            }
            Carry::Reencode => {
                let hasher = |(field, _): &(FieldRef, usize)| {
                    ColumnHasher::new(field.name(), field.data_type()).ok_or_else(|| {
                        let message = "no digest is defined for the type of the vector column";
                        Error::new(ErrorKind::Internal, message)
                    })
                };
                let hashers = fields.iter().map(hasher).collect::<Result<Vec<_>>>()?;
                let rows = config.row_group_rows;
                let table = ReencodedTable::new(file, &target, reader, columns, &fields, rows)?;
                Table::Reencoded(Box::new((table, hashers)))
            }
        };
        let drops_rows = config.on_empty == OnEmpty::Drop;
        Ok(Writer { target, table, vectors, drops_rows, rows: 0, dropped_rows: 0 })
    }

    /// Writes a chunk. If rows without a vector are left out, its columns have the other rows alone,
    /// unless they are those of parts.
    ///
    /// # Errors
    /// `Output`, naming the file; `Data` when a carried column does not fit the input's footer;
    /// `Encode`, naming the row and the column, when a component is too large for the type of the
    /// column.
    pub fn write(&mut self, chunk: ResolvedChunk) -> Result<()> {
        let ResolvedChunk { columns, rows, mut parts, vectors } = chunk;
        let (mut arrays, mut facts) = (Vec::new(), Vec::new());
        let mut dropped = 0;
        for (writer, (mut vectors, of_rows)) in self.vectors.iter_mut().zip(vectors) {
            // The place of each row in the chunk.
            let mut places: Vec<usize> = (0..vectors.present.len()).collect();
            if self.drops_rows {
                places.retain(|row| vectors.present[*row]);
                dropped = (vectors.present.len() - places.len()) as u64;
                vectors = present_vectors(vectors, &places);
                parts = parts.map(|parts| parts.select(&places));
            }
            let name = |row: usize| rows.name(places.get(row).copied().unwrap_or(row));
            arrays.push(writer.build(vectors, &self.target, name)?);
            facts.push(of_rows);
        }
        self.rows += arrays.first().map_or(0, |array| array.len() as u64);
        self.dropped_rows += dropped;
        match &mut self.table {
            Table::Copied(table) => table.write(&arrays, &facts),
            Table::Reencoded(reencoded) => {
                let (table, hashers) = reencoded.as_mut();
                for (hasher, array) in hashers.iter_mut().zip(&arrays) {
                    hasher.update(array.as_ref())?;
                }
                table.write(&columns, parts.as_ref(), &arrays)
            }
        }
    }

    /// Writes the next row group with the vectors of the existing output.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn copy_group(&mut self, unchanged: &UnchangedGroup) -> Result<()> {
        self.rows += unchanged.rows();
        for (writer, digest) in self.vectors.iter_mut().zip(&unchanged.digests) {
            writer.null_rows += digest.null_rows;
        }
        match &mut self.table {
            Table::Copied(table) => table.copy_group(unchanged),
            Table::Reencoded(_) => {
                Err(Error::new(ErrorKind::Internal, "no row group can be copied (bug)"))
            }
        }
    }

    /// Completes the file with its footer. The file keeps its temporary name.
    ///
    /// # Errors
    /// `Output`, naming the file, and those of `footer`.
    pub fn finish(
        self,
        footer: impl FnOnce(Contents) -> Result<Footer>,
    ) -> Result<(StagedFile, Footer)> {
        let Writer { target, table, vectors, rows, dropped_rows, .. } = self;
        let entry = |footer: &Footer| {
            serde_json::to_string(footer)
                .map_err(|cause| write_error(&target, "its footer cannot be written", cause))
        };
        let column = |writer: VectorWriter, groups: Vec<GroupDigest>, vectors: String| {
            ColumnContents { null_rows: writer.null_rows, groups, vectors }
        };
        let (file, footer) = match table {
            Table::Copied(mut table) => {
                let (copied, groups) = table.digests()?;
                let columns = vectors.into_iter().zip(groups).map(|(writer, groups)| {
                    let digest = vectors_digest(&groups);
                    column(writer, groups, digest)
                });
                let columns = columns.collect();
                let footer =
                    footer(Contents { rows, dropped_rows, copied: Some(copied), columns })?;
                (table.finish(&entry(&footer)?)?, footer)
            }
            Table::Reencoded(reencoded) => {
                let (table, hashers) = *reencoded;
                let columns = vectors.into_iter().zip(hashers);
                let columns = columns
                    .map(|(writer, hasher)| column(writer, Vec::new(), hasher.finish()))
                    .collect();
                let footer = footer(Contents { rows, dropped_rows, copied: None, columns })?;
                (table.finish(entry(&footer)?)?, footer)
            }
        };
        Ok((StagedFile { file }, footer))
    }
}

impl VectorWriter {
    /// The array of the next rows. `name` is the name of one of them.
    fn build(
        &mut self,
        vectors: ChunkVectors,
        target: &Path,
        name: impl Fn(usize) -> String,
    ) -> Result<ArrayRef> {
        self.null_rows += vectors.present.iter().filter(|present| !**present).count() as u64;
        self.form.build_column(&self.field, vectors).map_err(|error| match error {
            BuildError::Arrow(cause) => {
                write_error(target, "its vectors cannot be written", cause)
            }
            BuildError::TooLarge { row, component, value } => {
                let message = format!(
                    "component {component} of its vector is {value:e}, too large for 16 bits (`vector.type`)"
                );
                Error::new(ErrorKind::Encode, message)
                    .at(name(row))
                    .at(format!("column `{}`", self.field.name()))
                    .advice("set `vector.type` to \"f32\", or `vector.normalize` to true")
            }
        })
    }
}

impl StagedFile {
    /// Its path for now.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

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
        let StagedFile { file } = self;
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
        let sync = if unchanged {
            check(&path)?;
            publish::sync_existing(&path)?
        } else {
            publish::replace(file, &path, check)?
        };
        Ok(Published { path, bytes, unchanged, sync })
    }
}

/// The vectors of the rows at `places`, which have one.
fn present_vectors(vectors: ChunkVectors, places: &[usize]) -> ChunkVectors {
    let ChunkVectors { mut values, present, work } = vectors;
    let dim = values.len() / present.len().max(1);
    for (to, from) in places.iter().enumerate() {
        values.copy_within(from * dim..(from + 1) * dim, to * dim);
    }
    values.truncate(places.len() * dim);
    ChunkVectors { values, present: vec![true; places.len()], work }
}
