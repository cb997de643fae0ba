//! Parquet to [`RowChunk`]s.
//!
//! The reader trusts nothing in the file: not the footer's row counts, not the sizes that pages declare, not
//! that a library survives what it decodes. Rows are decoded a few at a time, with strings as views into the
//! decoded pages, so that a dictionary of one large value repeated a million times stays one value; only a
//! chunk, whose bytes are bounded, gets its columns back in their own types. What a library would believe and
//! fall for, `guard` looks at first.

mod chunker;
mod columns;
mod dress;
mod duplicates;
mod guard;
mod guess;
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
pub use columns::TextColumns;
use duplicates::DuplicateIds;
pub use guess::ColumnGuess;

/// Rows are decoded this many at a time, or fewer where a row group's rows are large.
const ROWS_AT_A_TIME: u64 = 1024;

/// What the rows that are decoded at a time may hold by the footer's word, in bytes.
const BYTES_AT_A_TIME: u64 = 16 << 20;

/// Values (list elements, nulls) of one column that are decoded at a time: run-length encoding can promise a
/// billion of them in a few bytes, and their levels alone take 4 bytes each.
const VALUES_AT_A_TIME: u64 = 1 << 20;

/// Values of a column, such as the components of vectors, that a scan decodes at a time: so few that the decoder's buffers
/// stay in the cache, and too small for the allocator to ask the system for memory that has to be touched anew. Chunks are
/// not made of such small pieces: each has a dictionary of its own.
const SCANNED_AT_A_TIME: u64 = 16 << 10;

/// The key under which Arrow writers keep their own schema.
const ARROW_SCHEMA_KEY: &str = "ARROW:schema";

/// Ids that came more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedIds {
    /// Rows whose id had been seen before.
    pub count: u64,
    /// The first such id.
    pub first: Option<String>,
}

/// An input file whose footer and schema have been checked.
pub struct Reader {
    path: PathBuf,
    file: File,
    /// What the file looked like when it was opened.
    stamp: FileId,
    /// Bytes of the file, and how many it may decode to.
    length: u64,
    decode_limit: u64,
    metadata: ArrowReaderMetadata,
    /// The schema of the carried columns.
    schema: SchemaRef,
    columns: TextColumns,
    chunk: (usize, usize),
}

impl Reader {
    /// Opens a file and finds the columns that the text is built from.
    ///
    /// # Errors
    /// `Input`, naming the file and the column.
    pub fn open(config: &InputConfig) -> Result<Reader> {
        let path = config.path.clone();
        let (file, stamp) = open_file(&path)?;
        let length = stamp.bytes();
        guard::check_footer(&file, length).map_err(|error| error.in_file(&path))?;
        let open = |options| load_metadata(&file, &path, options);
        let schema = open(ArrowReaderOptions::new())?.schema().clone();
        let columns = TextColumns::find(&schema, &config.columns, &path)?;
        let metadata = open(ArrowReaderOptions::new().with_schema(dress::as_views(&schema)))?;
        let decode_limit = config.decode_limit.unwrap_or_else(|| guard::expected(length));
        guard::check_metadata(metadata.metadata(), &schema, length, decode_limit)
            .map_err(|error| error.in_file(&path))?;
        let chunk = (config.chunk_rows.get(), config.chunk_bytes.get());
        Ok(Reader { path, file, stamp, length, decode_limit, metadata, schema, columns, chunk })
    }

    /// The schema of the carried columns, its metadata included.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that the text is built from.
    pub fn columns(&self) -> &TextColumns {
        &self.columns
    }

    /// Rows by the footer's word; reading fails if that is not so.
    pub fn rows(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|group| group.num_rows().unsigned_abs()).sum()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// The footer's entries, without Arrow's own schema.
    pub fn key_values(&self) -> Vec<KeyValue> {
        let entries = self.metadata.metadata().file_metadata().key_value_metadata();
        let entries = entries.into_iter().flatten();
        entries.filter(|entry| entry.key != ARROW_SCHEMA_KEY).cloned().collect()
    }

    /// The footer entry of an output; `None` where reembed did not write the file.
    pub fn footer_entry(&self) -> Option<String> {
        footer_entry_of(&self.metadata)
    }

    /// Whether the file is still the one that was opened, in place and in content.
    ///
    /// # Errors
    /// `Data`, naming the file and what changed.
    pub fn check_unchanged(&self) -> Result<()> {
        let changed = |how: String| {
            self.data_error(format!("the file changed while it was read: {how}"))
                .advice("run again when nobody writes to it; let its writer rename a finished file")
        };
        let look = |found: std::io::Result<std::fs::Metadata>| {
            let found = found.map_err(|cause| changed("it is gone".to_owned()).caused_by(cause))?;
            self.stamp.change(&FileId::of(&found)).map_or(Ok(()), |how| Err(changed(how)))
        };
        // The open file as well: it may have been written to and then replaced by one that looks the same.
        look(self.file.metadata())?;
        look(std::fs::metadata(&self.path))
    }

    /// Every row in order, with strings as views and without texts: for whoever looks at columns only.
    ///
    /// # Errors
    /// What reading gives, naming file, row group and column, and whatever `each` gives.
    pub fn scan(&self, mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        for group in 0..self.metadata.metadata().num_row_groups() {
            let mut rows = 0;
            for batch in self.batches(group, ProjectionMask::all(), SCANNED_AT_A_TIME)? {
                let batch = batch.map_err(|error| self.blame(group, error))?;
                rows += batch.num_rows() as u64;
                each(&batch)?;
            }
            self.check_rows(group, rows)?;
        }
        Ok(())
    }

    /// The rows of the file in order, chunk by chunk.
    pub fn chunks<'a>(&'a self, template: &'a TextTemplate) -> Chunks<'a> {
        Chunks {
            reader: self,
            template,
            chunker: Chunker::new(self.schema.clone(), self.chunk.0, self.chunk.1),
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

    /// The batches of a row group; a panic inside is an error.
    fn batches(&self, group: usize, columns: ProjectionMask, values: u64) -> Result<Batches> {
        let rows = catch_panic(ErrorKind::Data, "the Parquet decoder", || {
            self.rows_at_a_time(group, values).map_err(|(column, message)| {
                self.data_error(message)
                    .at(format!("row group {group}"))
                    .at(format!("column `{column}`"))
                    .advice("write the file again from its source, with smaller pages and lists")
            })
        })?;
        let file = self.file.try_clone().map_err(|cause| {
            self.data_error("the file cannot be opened again".to_owned()).caused_by(cause)
        })?;
        let reader = catch_panic(ErrorKind::Data, "the Parquet decoder", || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(columns)
                .with_row_groups(vec![group])
                .with_batch_size(rows)
                .build()
                .map_err(|cause| damaged().caused_by(cause))
        })
        .map_err(|error| self.blame(group, error))?;
        Ok(Batches { reader: Some(reader) })
    }

    /// Finds the column that makes a row group unreadable, by reading each alone: the decoder does not say.
    fn blame(&self, group: usize, error: Error) -> Error {
        let error = error.in_file(&self.path).at(format!("row group {group}"));
        let root = self.metadata.parquet_schema();
        let rows = self.rows_at_a_time(group, VALUES_AT_A_TIME).unwrap_or(1);
        for (position, field) in self.schema.fields().iter().enumerate() {
            if self.fails_alone(group, ProjectionMask::roots(root, [position]), rows) {
                return error.at(format!("column `{}`", field.name()));
            }
        }
        error
    }

    fn fails_alone(&self, group: usize, column: ProjectionMask, at_a_time: usize) -> bool {
        let Ok(file) = self.file.try_clone() else { return false };
        let built = catch_panic(ErrorKind::Data, "the Parquet decoder", || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(column)
                .with_row_groups(vec![group])
                .with_batch_size(at_a_time)
                .build()
                .map_err(|cause| damaged().caused_by(cause))
        });
        let Ok(reader) = built else { return true };
        let rows = Batches { reader: Some(reader) }
            .try_fold(0, |rows, batch| batch.map(|batch| rows + batch.num_rows() as u64));
        !rows.is_ok_and(|rows| rows == self.group(group).num_rows().unsigned_abs())
    }

    /// How many rows of a row group to decode at a time, with at most so many values of a column, or the column that is too
    /// large, and why.
    fn rows_at_a_time(
        &self,
        group: usize,
        most_values: u64,
    ) -> std::result::Result<usize, (String, String)> {
        let group = self.group(group);
        let rows = group.num_rows().unsigned_abs().max(1);
        let mut bytes: u64 = 0;
        let fields = self.schema.fields().iter();
        let fixed = fields.map(|field| guard::fixed_values(field.data_type())).max().unwrap_or(1);
        let mut at_a_time = ROWS_AT_A_TIME.min((most_values / fixed.max(1)).max(1));
        for column in group.columns() {
            let cost = guard::cost(&self.file, column, rows)
                .map_err(|message| (column.column_path().string(), message))?;
            bytes = bytes.saturating_add(cost.bytes_per_row);
            at_a_time = at_a_time.min((most_values / cost.values_per_row).max(1));
        }
        at_a_time = at_a_time.min((BYTES_AT_A_TIME / bytes.max(1)).max(1));
        Ok(usize::try_from(at_a_time).unwrap_or(1))
    }

    fn check_rows(&self, group: usize, rows: u64) -> Result<()> {
        let promised = self.group(group).num_rows().unsigned_abs();
        if rows == promised {
            return Ok(());
        }
        let message = format!("the footer promises {promised} rows, the pages hold {rows}");
        let error = self.data_error(message).at(format!("row group {group}"));
        Err(error.advice("write the file again from its source"))
    }

    /// Refuses to go on with a file that has decoded to more than it can mean.
    fn check_inflation(&self, group: usize, bytes: u64) -> Result<()> {
        if bytes <= self.decode_limit {
            return Ok(());
        }
        let message = format!("the file decodes to more than {} bytes", self.decode_limit);
        let error = guard::bomb(ErrorKind::Data, &message, self.length);
        Err(error.in_file(&self.path).at(format!("row group {group}")))
    }

    fn data_error(&self, message: String) -> Error {
        Error::new(ErrorKind::Data, message).in_file(&self.path)
    }
}

/// The footer entry of an output of any shape; `None` where it is a Parquet file that reembed did not write. No
/// page is read.
///
/// # Errors
/// `Input` where this is no Parquet file.
pub fn footer_entry(path: &Path) -> Result<Option<String>> {
    let (file, stamp) = open_file(path)?;
    guard::check_footer(&file, stamp.bytes()).map_err(|error| error.in_file(path))?;
    load_metadata(&file, path, ArrowReaderOptions::new()).map(|metadata| footer_entry_of(&metadata))
}

fn footer_entry_of(metadata: &ArrowReaderMetadata) -> Option<String> {
    let entries = metadata.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == FOOTER_KEY)?.value.clone()
}

fn load_metadata(
    file: &File,
    path: &Path,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata> {
    catch_panic(ErrorKind::Input, "the Parquet decoder", || {
        ArrowReaderMetadata::load(file, options).map_err(|cause| unreadable(path, cause))
    })
    .map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(path),
    })
}

/// An iterator over the chunks of a file; it ends at the first error, which names file, row group, column or
/// row.
pub struct Chunks<'a> {
    reader: &'a Reader,
    template: &'a TextTemplate,
    chunker: Chunker,
    /// The next row group.
    group: usize,
    /// The row group that is being read, and its rows so far.
    current: Option<(Batches, u64)>,
    first_row: u64,
    ids: DuplicateIds,
    repeated: RepeatedIds,
}

impl Chunks<'_> {
    /// Ids that came more than once, so far.
    pub fn repeated_ids(&self) -> &RepeatedIds {
        &self.repeated
    }

    fn advance(&mut self) -> Result<Option<RowChunk>> {
        let path = &self.reader.path;
        loop {
            if let Some(full) = self.chunker.full().map_err(|error| error.in_file(path))? {
                return self.chunk(full).map(Some);
            }
            match &mut self.current {
                None if self.group == self.reader.metadata.metadata().num_row_groups() => {
                    let rest = self.chunker.finish().map_err(|error| error.in_file(path))?;
                    return rest.map(|rest| self.chunk(rest)).transpose();
                }
                None => {
                    let all = ProjectionMask::all();
                    let batches = self.reader.batches(self.group, all, VALUES_AT_A_TIME)?;
                    self.current = Some((batches, 0));
                }
                Some((batches, rows)) => match batches.next() {
                    Some(batch) => {
                        let batch = batch.map_err(|error| self.reader.blame(self.group, error))?;
                        *rows += batch.num_rows() as u64;
                        self.chunker.push(batch);
                        self.reader.check_inflation(self.group, self.chunker.total_bytes())?;
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
            reader.columns.chunk(self.first_row, batch, self.template)
        })
        .map_err(|error| error.in_file(&reader.path))?;
        self.first_row += chunk.texts.len() as u64;
        for id in strings(&chunk.rows.ids) {
            if self.ids.seen(id) {
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
            // Nothing comes after an error or the end.
            self.group = self.reader.metadata.metadata().num_row_groups();
            self.current = None;
            self.chunker = Chunker::new(self.reader.schema.clone(), 1, 1);
        }
        next
    }
}

/// Record batches until the first error; a decoder that failed once is not asked again.
struct Batches {
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let next = catch_panic(ErrorKind::Data, "the Parquet decoder", || {
            reader.next().transpose().map_err(|cause| damaged().caused_by(cause))
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

fn damaged() -> Error {
    Error::new(ErrorKind::Data, "the data cannot be decoded")
        .advice("write the file again from its source")
}

/// The schema of a Parquet file, whatever its columns are.
///
/// # Errors
/// `Input`, naming the file.
pub fn schema(path: &Path) -> Result<SchemaRef> {
    let (file, id) = open_file(path)?;
    guard::check_footer(&file, id.bytes()).map_err(|error| error.in_file(path))?;
    let metadata = load_metadata(&file, path, ArrowReaderOptions::new())?;
    Ok(metadata.schema().clone())
}

/// Opens a regular file. Others (a pipe, a directory) are refused: Parquet is read from its end.
fn open_file(path: &Path) -> Result<(File, FileId)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Input, message)
            .in_file(path)
            .advice("name a Parquet file with --input or `input.path`")
    };
    let kind = std::fs::metadata(path)
        .map_err(|cause| refuse("the file cannot be opened").caused_by(cause))?;
    if kind.is_dir() {
        return Err(refuse("this is a directory"));
    }
    if !kind.is_file() {
        return Err(refuse("this is not a regular file"));
    }
    if kind.len() == 0 {
        return Err(refuse("the file is empty (0 bytes)"));
    }
    let opened = File::open(path).and_then(|file| {
        let found = file.metadata()?;
        Ok((file, FileId::of(&found)))
    });
    opened.map_err(|cause| refuse("the file cannot be opened").caused_by(cause))
}

fn unreadable(path: &Path, cause: ParquetError) -> Error {
    let (message, advice) = match cause {
        ParquetError::ArrowError(_) => (
            "its Arrow schema cannot be read, or does not fit its columns",
            "write the file again from its source, if need be without `ARROW:schema` in its footer",
        ),
        _ => (
            "this is not a Parquet file that can be read",
            "check that it was written and copied completely, and is not encrypted",
        ),
    };
    Error::new(ErrorKind::Input, message).in_file(path).advice(advice).caused_by(cause)
}
