//! Reads Parquet files as [`RowChunk`]s.
//!
//! The reader does not trust the file: not its row counts, not its page sizes, not that the Parquet
//! library survives the decoding. It decodes a few rows at a time, with strings as views into the
//! decoded pages, so that a large value that a dictionary repeats is in memory once. Only a chunk,
//! whose bytes are bounded, has its columns in their own types.
//!
//! ```text
//!   guard, thrift   check footer and page headers    string_views  strings as views, and back
//!   columns         ids and texts of a chunk         chunker       batches to chunks
//!   duplicates      repeated ids                     column_guess  columns of an unknown table
//! ```
//!
//! docs/decisions/0009-string-views-and-re-encoding.md and 0015-decode-limit.md have the reasons.

mod chunker;
mod column_guess;
mod columns;
mod duplicates;
mod guard;
mod string_views;
mod thrift;

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::task::TextTemplate;

use crate::chunk::RowChunk;
use crate::config::InputConfig;
use crate::file_id::FileId;
use crate::footer::FOOTER_KEY;
use chunker::Chunker;
pub use column_guess::ColumnGuess;
pub use columns::TextColumns;
use duplicates::DuplicateIds;

/// Most rows of a record batch.
const BATCH_ROWS: u64 = 1024;

/// Most bytes of a record batch, as declared in the footer.
const BATCH_BYTES: u64 = 16 << 20;

/// Most values (list elements, nulls) of a column in a record batch: run-length encoding can declare a
/// billion values in a few bytes, and their levels alone take 4 bytes each.
const BATCH_VALUES: u64 = 1 << 20;

/// The same for a scan. The decoder's buffers then stay in the CPU cache, and the allocator reuses
/// them. Chunks do not use such small batches, each of which has its own dictionaries.
const SCAN_BATCH_VALUES: u64 = 16 << 10;

/// The key of the footer entry with the Arrow schema.
const ARROW_SCHEMA_KEY: &str = "ARROW:schema";

/// The name of the Parquet library in errors.
const DECODER: &str = "the Parquet decoder";

/// The ids that several rows have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedIds {
    /// Rows whose id an earlier row has.
    pub count: u64,
    /// The first such id.
    pub first: Option<String>,
}

/// An open file whose footer and schema are checked.
pub struct Reader {
    path: PathBuf,
    file: File,
    /// The identity of the file when it was opened.
    id: FileId,
    /// Bytes that the file may decode to.
    decode_limit: u64,
    metadata: ArrowReaderMetadata,
    /// The schema of the file, with its own types.
    schema: SchemaRef,
    columns: TextColumns,
    /// Most rows and bytes of a chunk.
    chunk_size: (usize, usize),
}

impl Reader {
    /// Opens a file and finds its id and text columns.
    ///
    /// # Errors
    /// `Input`, naming the file and the column.
    pub fn open(config: &InputConfig) -> Result<Reader> {
        let path = config.path.clone();
        let (file, id) = open_file(&path)?;
        let load = |options| load_metadata(&file, &path, options);
        let schema = load(ArrowReaderOptions::new())?.schema().clone();
        let columns = TextColumns::find(&schema, &config.columns, &path)?;
        let views = string_views::to_views(&schema);
        let metadata = load(ArrowReaderOptions::new().with_schema(views))?;
        let length = id.size();
        let decode_limit =
            config.decode_limit.unwrap_or_else(|| guard::default_decode_limit(length));
        guard::check_metadata(metadata.metadata(), &schema, length, decode_limit)
            .map_err(|error| error.in_file(&path))?;
        let chunk_size = (config.chunk_rows.get(), config.chunk_bytes.get());
        Ok(Reader { path, file, id, decode_limit, metadata, schema, columns, chunk_size })
    }

    /// The schema of the file, with its metadata.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The id and text columns.
    pub fn columns(&self) -> &TextColumns {
        &self.columns
    }

    /// Number of rows, as declared in the footer. Reading fails if the pages have another number.
    pub fn rows(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|group| group.num_rows().unsigned_abs()).sum()
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.id.size()
    }

    /// The key-value entries of the footer, without the Arrow schema.
    pub fn key_values(&self) -> Vec<KeyValue> {
        let entries = self.metadata.metadata().file_metadata().key_value_metadata();
        let entries = entries.into_iter().flatten();
        entries.filter(|entry| entry.key != ARROW_SCHEMA_KEY).cloned().collect()
    }

    /// The `reembed` footer entry; `None` if reembed did not write the file.
    pub fn footer_entry(&self) -> Option<String> {
        footer_entry(&self.metadata)
    }

    /// Checks that the path still leads to the opened file, and that the file did not change.
    ///
    /// # Errors
    /// `Data`, naming the file and the change.
    pub fn check_unchanged(&self) -> Result<()> {
        let changed = |how: String| {
            self.data_error(format!("the file changed while it was read: {how}")).advice(
                "run again when no process writes to the file; writers should rename a \
                     finished file into place",
            )
        };
        let compare = |metadata: std::io::Result<std::fs::Metadata>| {
            let metadata = metadata
                .map_err(|cause| changed("it was deleted or moved".to_owned()).caused_by(cause))?;
            let change = self.id.describe_change(&FileId::from(&metadata));
            change.map_or(Ok(()), |how| Err(changed(how)))
        };
        // Both, because the open file may have changed before another file took its path.
        compare(self.file.metadata())?;
        compare(std::fs::metadata(&self.path))
    }

    /// Calls `each` with every row in order: the columns only, with strings as views.
    ///
    /// # Errors
    /// `Data`, naming file, row group and column, and those of `each`.
    pub fn scan(&self, mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        for group in 0..self.metadata.metadata().num_row_groups() {
            let mut rows = 0;
            for batch in self.batches(group, ProjectionMask::all(), SCAN_BATCH_VALUES)? {
                let batch = batch.map_err(|error| self.locate(group, error))?;
                rows += batch.num_rows() as u64;
                each(&batch)?;
            }
            self.check_rows(group, rows)?;
        }
        Ok(())
    }

    /// The rows in order, chunk by chunk, with texts built by `template`.
    pub fn chunks<'a>(&'a self, template: &'a TextTemplate) -> Chunks<'a> {
        Chunks {
            reader: self,
            template,
            chunker: Chunker::new(self.schema.clone(), self.chunk_size.0, self.chunk_size.1),
            group: 0,
            current: None,
            first_row: 0,
            ids: DuplicateIds::default(),
            repeated: RepeatedIds::default(),
        }
    }

    fn group(&self, group: usize) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(group)
    }

    /// The record batches of a row group. A panic of the library is an error.
    fn batches(&self, group: usize, columns: ProjectionMask, values: u64) -> Result<Batches> {
        let rows = catch_panic(ErrorKind::Data, DECODER, || {
            self.batch_rows(group, values).map_err(|(column, message)| {
                self.data_error(message)
                    .at(format!("row group {group}"))
                    .at(format!("column `{column}`"))
                    .advice("write the file again from its source, with smaller pages and lists")
            })
        })?;
        let file = self.file.try_clone().map_err(|cause| {
            self.data_error("the file cannot be opened again".to_owned()).caused_by(cause)
        })?;
        self.decode(file, group, columns, rows).map_err(|error| self.locate(group, error))
    }

    /// Starts to decode columns of a row group, `rows` rows at a time.
    fn decode(
        &self,
        file: File,
        group: usize,
        columns: ProjectionMask,
        rows: usize,
    ) -> Result<Batches> {
        let reader = catch_panic(ErrorKind::Data, DECODER, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(columns)
                .with_row_groups(vec![group])
                .with_batch_size(rows)
                .build()
                .map_err(|cause| decode_error().caused_by(cause))
        })?;
        Ok(Batches { reader: Some(reader) })
    }

    /// Adds the unreadable column to an error. It reads each column alone, because the library does
    /// not name it.
    fn locate(&self, group: usize, error: Error) -> Error {
        let error = error.in_file(&self.path).at(format!("row group {group}"));
        let root = self.metadata.parquet_schema();
        let rows = self.batch_rows(group, BATCH_VALUES).unwrap_or(1);
        for (position, field) in self.schema.fields().iter().enumerate() {
            if self.fails_alone(group, ProjectionMask::roots(root, [position]), rows) {
                return error.at(format!("column `{}`", field.name()));
            }
        }
        error
    }

    fn fails_alone(&self, group: usize, column: ProjectionMask, batch_rows: usize) -> bool {
        let Ok(file) = self.file.try_clone() else { return false };
        let Ok(mut batches) = self.decode(file, group, column, batch_rows) else { return true };
        let rows =
            batches.try_fold(0, |rows, batch| batch.map(|batch| rows + batch.num_rows() as u64));
        !rows.is_ok_and(|rows| rows == self.group(group).num_rows().unsigned_abs())
    }

    /// The number of rows per record batch of a row group, with at most `max_values` values of a
    /// column; or the column that is too large, and why.
    fn batch_rows(
        &self,
        group: usize,
        max_values: u64,
    ) -> std::result::Result<usize, (String, String)> {
        let group = self.group(group);
        let rows = group.num_rows().unsigned_abs().max(1);
        let mut bytes: u64 = 0;
        let fields = self.schema.fields().iter();
        let fixed = fields.map(|field| guard::fixed_values(field.data_type())).max().unwrap_or(1);
        let mut batch_rows = BATCH_ROWS.min((max_values / fixed.max(1)).max(1));
        for column in group.columns() {
            let cost = guard::decode_cost(&self.file, column, rows)
                .map_err(|message| (column.column_path().string(), message))?;
            bytes = bytes.saturating_add(cost.bytes_per_row);
            batch_rows = batch_rows.min((max_values / cost.values_per_row).max(1));
        }
        batch_rows = batch_rows.min((BATCH_BYTES / bytes.max(1)).max(1));
        Ok(usize::try_from(batch_rows).unwrap_or(1))
    }

    fn check_rows(&self, group: usize, rows: u64) -> Result<()> {
        let declared = self.group(group).num_rows().unsigned_abs();
        if rows == declared {
            return Ok(());
        }
        let message = format!("the footer declares {declared} rows, the pages have {rows}");
        let error = self.data_error(message).at(format!("row group {group}"));
        Err(error.advice("write the file again from its source"))
    }

    /// Checks the bytes decoded so far against the decode limit.
    fn check_decode_limit(&self, group: usize, bytes: u64) -> Result<()> {
        if bytes <= self.decode_limit {
            return Ok(());
        }
        let message = format!("the file decodes to more than {} bytes", self.decode_limit);
        let error = guard::decode_limit_error(ErrorKind::Data, &message, self.id.size());
        Err(error.in_file(&self.path).at(format!("row group {group}")))
    }

    fn data_error(&self, message: String) -> Error {
        Error::new(ErrorKind::Data, message).in_file(&self.path)
    }
}

/// The `reembed` footer entry of any Parquet file; `None` if reembed did not write it. No page is read.
///
/// # Errors
/// `Input`, naming the file, when it is not a readable Parquet file.
pub fn read_footer_entry(path: &Path) -> Result<Option<String>> {
    let (file, _) = open_file(path)?;
    load_metadata(&file, path, ArrowReaderOptions::new()).map(|metadata| footer_entry(&metadata))
}

/// The Arrow schema of any Parquet file.
///
/// # Errors
/// `Input`, naming the file, when it is not a readable Parquet file.
pub fn read_schema(path: &Path) -> Result<SchemaRef> {
    let (file, _) = open_file(path)?;
    let metadata = load_metadata(&file, path, ArrowReaderOptions::new())?;
    Ok(metadata.schema().clone())
}

fn footer_entry(metadata: &ArrowReaderMetadata) -> Option<String> {
    let entries = metadata.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == FOOTER_KEY)?.value.clone()
}

fn load_metadata(
    file: &File,
    path: &Path,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata> {
    catch_panic(ErrorKind::Input, DECODER, || {
        ArrowReaderMetadata::load(file, options).map_err(|cause| unreadable(path, cause))
    })
    .map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(path),
    })
}

/// Iterates over the chunks of a file. It ends after the first error, which names the file and the row
/// group, column or row.
pub struct Chunks<'a> {
    reader: &'a Reader,
    template: &'a TextTemplate,
    chunker: Chunker,
    /// The next row group.
    group: usize,
    /// The current row group, and its rows so far.
    current: Option<(Batches, u64)>,
    first_row: u64,
    ids: DuplicateIds,
    repeated: RepeatedIds,
}

impl Chunks<'_> {
    /// The repeated ids so far.
    pub fn repeated_ids(&self) -> &RepeatedIds {
        &self.repeated
    }

    fn advance(&mut self) -> Result<Option<RowChunk>> {
        let path = &self.reader.path;
        loop {
            if let Some(full) = self.chunker.next_full().map_err(|error| error.in_file(path))? {
                return self.chunk(full).map(Some);
            }
            match &mut self.current {
                None if self.group == self.reader.metadata.metadata().num_row_groups() => {
                    let rest = self.chunker.finish().map_err(|error| error.in_file(path))?;
                    return rest.map(|rest| self.chunk(rest)).transpose();
                }
                None => {
                    let all = ProjectionMask::all();
                    let batches = self.reader.batches(self.group, all, BATCH_VALUES)?;
                    self.current = Some((batches, 0));
                }
                Some((batches, rows)) => match batches.next() {
                    Some(batch) => {
                        let batch = batch.map_err(|error| self.reader.locate(self.group, error))?;
                        *rows += batch.num_rows() as u64;
                        self.chunker.push(batch);
                        self.reader.check_decode_limit(self.group, self.chunker.total_bytes())?;
                    }
                    None => {
                        self.reader.check_rows(self.group, *rows)?;
                        self.current = None;
                        self.group += 1;
                    }
                },
            }
        }
    }

    fn chunk(&mut self, batch: RecordBatch) -> Result<RowChunk> {
        let reader = self.reader;
        let chunk = catch_panic(ErrorKind::Data, "the Arrow library", || {
            reader.columns.build_chunk(self.first_row, batch, self.template)
        })
        .map_err(|error| error.in_file(&reader.path))?;
        self.first_row += chunk.texts.len() as u64;
        for id in strings(&chunk.rows.ids) {
            if self.ids.insert(id) {
                self.repeated.count += 1;
                self.repeated.first.get_or_insert_with(|| id.to_owned());
            }
        }
        Ok(chunk)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<RowChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            // The iterator stays at its end, also after an error.
            self.group = self.reader.metadata.metadata().num_row_groups();
            self.current = None;
            self.chunker = Chunker::new(self.reader.schema.clone(), 1, 1);
        }
        next
    }
}

/// Record batches up to the first error. A decoder is not used after it has failed.
struct Batches {
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let next = catch_panic(ErrorKind::Data, DECODER, || {
            reader.next().transpose().map_err(|cause| decode_error().caused_by(cause))
        });
        match next {
            Ok(Some(batch)) => {
                self.reader = Some(reader);
                Some(Ok(batch))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

fn decode_error() -> Error {
    Error::new(ErrorKind::Data, "the data cannot be decoded")
        .advice("write the file again from its source")
}

/// Opens a regular file and checks its footer. A pipe is refused, because Parquet is read from its end.
fn open_file(path: &Path) -> Result<(File, FileId)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Input, message)
            .in_file(path)
            .advice("name a Parquet file with --input or `input.path`")
    };
    let metadata = std::fs::metadata(path)
        .map_err(|cause| refuse("the file cannot be opened").caused_by(cause))?;
    if metadata.is_dir() {
        return Err(refuse("this is a directory"));
    }
    if !metadata.is_file() {
        return Err(refuse("this is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(refuse("the file is empty (0 bytes)"));
    }
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, FileId::from(&metadata)))
    });
    let (file, id) =
        opened.map_err(|cause| refuse("the file cannot be opened").caused_by(cause))?;
    guard::check_footer(&file, id.size()).map_err(|error| error.in_file(path))?;
    Ok((file, id))
}

fn unreadable(path: &Path, cause: ParquetError) -> Error {
    let (message, advice) = match cause {
        ParquetError::ArrowError(_) => (
            "its Arrow schema cannot be read or does not match its columns",
            "write the file again from its source, if necessary without `ARROW:schema` in its footer",
        ),
        _ => (
            "this is not a readable Parquet file",
            "check that it was written and copied completely, and is not encrypted",
        ),
    };
    Error::new(ErrorKind::Input, message).in_file(path).advice(advice).caused_by(cause)
}
