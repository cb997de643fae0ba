//! Reads Parquet files as [`RowChunk`]s.
//!
//! The reader does not trust the file: not its row counts, not its page sizes, not that the Parquet
//! library survives the decoding. Only the columns that make ids and texts are decoded, unless the
//! carried ones are encoded anew.
//!
//! ```text
//!   table_file    an open file, its footer     guard         page headers before they are decoded
//!   decoder       some columns of it           string_views  strings as views, and back
//!   text_roots    which columns make texts     columns       ids and texts of a chunk
//!   field_path    names of nested fields       field_values  their values, row by row
//!   named_column  columns by name              duplicates    repeated ids
//!   chunker       batches to chunks            column_guess  columns of an unknown table
//!   batch_columns the texts of record batches in memory
//! ```
//!
//! docs/decisions/0009-string-views-and-re-encoding.md and 0015-decode-limit.md have the reasons.

mod batch_columns;
mod chunker;
mod column_guess;
mod columns;
mod decoder;
mod duplicates;
mod field_path;
mod field_values;
mod guard;
mod named_column;
mod string_views;
mod table_file;
mod text_roots;

use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, LargeStringArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};

use crate::chunk::RowChunk;
use crate::config::{Carry, InputConfig, InvalidUtf8};
use crate::format::projection::Selection;
use crate::format::projection::Types;
use crate::text::TextRecipe;
pub use batch_columns::BatchColumns;
use chunker::Chunker;
pub use column_guess::ColumnGuess;
pub use columns::{RecipeColumns, TextColumns};
use decoder::BATCH_VALUES;
pub use decoder::{Batches, Decoder, Limits, types_of};
use duplicates::DuplicateIds;
pub use named_column::{all_of, find_root};
pub use parquet::file::page_index::offset_index::PageLocation;
pub use table_file::{TableFile, read_error};
use text_roots::TextRoots;
pub use text_roots::{check_not_encrypted, check_text_columns};

/// The ids that several rows have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedIds {
    /// Rows whose id an earlier row has.
    pub count: u64,
    /// The first such id.
    pub first: Option<String>,
}

/// Which columns a reader decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// Those that make ids and texts.
    Text,
    /// All of them, with the types that their writer gave them.
    All,
}

impl From<Carry> for Decoded {
    fn from(carry: Carry) -> Self {
        match carry {
            Carry::Copy => Decoded::Text,
            Carry::Reencode => Decoded::All,
        }
    }
}

/// An open table whose id and text columns are found.
pub struct Reader {
    table: TableFile,
    decoder: Decoder,
    columns: TextColumns,
    /// Whether chunks have columns in their own types, to be written again.
    owns_types: bool,
    /// Most rows and bytes of a chunk.
    chunk_size: (usize, usize),
    /// Most rows that are read, fewer than the table has; `None`: all.
    limit: Option<u64>,
    /// The row groups that are read.
    groups: Range<usize>,
}

impl Reader {
    /// Opens a file and finds the columns of its ids and of its texts, which one recipe makes.
    ///
    /// # Errors
    /// `Input`, naming the file and the column.
    pub fn open(config: &InputConfig, recipe: &TextRecipe, decoded: Decoded) -> Result<Reader> {
        Reader::with_table(TableFile::open(&config.path)?, config, &[recipe], decoded)
    }

    /// As [`Reader::open`], for an open file and one or more recipes.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn with_table(
        table: TableFile,
        config: &InputConfig,
        recipes: &[&TextRecipe],
        decoded: Decoded,
    ) -> Result<Reader> {
        let metadata = table.metadata()?;
        let text = TextRoots::find(&metadata, &config.id, recipes)
            .map_err(|error| error.in_file(table.path()))?;
        let (selection, types, on_invalid_utf8) = match decoded {
            Decoded::All => {
                let all: Vec<usize> = (0..metadata.schema.roots.len()).collect();
                let all = Selection::of_roots(&metadata.schema, &all);
                (all, Types::AsWritten, InvalidUtf8::Error)
            }
            Decoded::Text => {
                (text.selection(&metadata.schema), Types::TextAsBytes, config.on_invalid_utf8)
            }
        };
        let limits = Limits {
            decoded: config
                .decode_limit
                .unwrap_or_else(|| guard::default_decode_limit(table.bytes())),
            page: config.page_limit,
        };
        let name_of = |root: usize| metadata.schema.roots[root].name.clone();
        let columns = TextColumns::new(&text, recipes, selection.roots(), name_of, on_invalid_utf8);
        let decoder = Decoder::of_selection(&table, &selection, types, limits)?;
        let columns = columns.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a text column is not decoded (bug)")
                .in_file(table.path())
        })?;
        let chunk_size = (config.chunk_rows.get(), config.chunk_bytes.get());
        let owns_types = decoded == Decoded::All;
        drop(metadata);
        let groups = 0..decoder.group_count();
        Ok(Reader { table, decoder, columns, owns_types, chunk_size, limit: None, groups })
    }

    /// The same, of the first `limit` rows alone, if the table has more.
    #[must_use]
    pub fn with_limit(self, limit: Option<u64>) -> Reader {
        let limit = limit.filter(|limit| *limit < self.table.rows());
        Reader { limit, ..self }
    }

    /// The same, of the rows of some row groups alone. Rows keep their positions in the table.
    #[must_use]
    pub fn with_groups(self, groups: Range<usize>) -> Reader {
        let end = groups.end.min(self.groups.end);
        Reader { groups: groups.start.min(end)..end, ..self }
    }

    /// The row groups that are read: all, if not said otherwise.
    pub fn groups(&self) -> Range<usize> {
        self.groups.clone()
    }

    /// How carried columns get from this reader into an output.
    pub fn carry(&self) -> Carry {
        match self.owns_types {
            true => Carry::Reencode,
            false => Carry::Copy,
        }
    }

    /// Most rows that are read; `None` if all are.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The open file.
    pub fn table(&self) -> &TableFile {
        &self.table
    }

    /// The decoder of the file.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The decoded columns, with the types that they have without views.
    pub fn schema(&self) -> &SchemaRef {
        self.decoder.schema()
    }

    /// The id and text columns.
    pub fn columns(&self) -> &TextColumns {
        &self.columns
    }

    /// Number of rows that are read, as declared in the footer. Reading fails if the pages have another
    /// number.
    pub fn rows(&self) -> u64 {
        self.limit.unwrap_or_else(|| self.declared_rows(self.groups.clone()))
    }

    fn declared_rows(&self, groups: Range<usize>) -> u64 {
        groups.map(|group| self.decoder.declared_rows(group)).sum()
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// Checks that the path still leads to the opened file, and that the file did not change.
    ///
    /// # Errors
    /// `Data`, naming the file and the change.
    pub fn check_unchanged(&self) -> Result<()> {
        self.table.check_unchanged()
    }

    /// The rows in order, chunk by chunk, with their texts.
    pub fn chunks(&self) -> Chunks<'_> {
        let (rows, bytes) = self.chunk_size;
        Chunks {
            reader: self,
            chunker: Chunker::new(self.chunk_schema().clone(), rows, bytes),
            group: self.groups.start,
            current: None,
            first_row: self.declared_rows(0..self.groups.start),
            ids: DuplicateIds::default(),
            repeated: RepeatedIds::default(),
            found: None,
            is_filtered: false,
            rows_read: 0,
            filtered_bytes: 0,
        }
    }

    /// The types of a chunk's columns. Views would keep whole pages in memory, but a chunk that only
    /// makes texts drops them at once.
    fn chunk_schema(&self) -> &SchemaRef {
        match self.owns_types {
            true => self.decoder.schema(),
            false => self.decoder.view_schema(),
        }
    }
}

/// The `reembed` footer entry of any Parquet file; `None` if reembed did not write it. No page is read.
///
/// # Errors
/// `Input`, naming the file, when it is not a readable Parquet file.
pub fn read_footer_entry(path: &Path) -> Result<Option<String>> {
    TableFile::open(path)?.footer_entry()
}

/// The Arrow schema of any Parquet file: the columns that Arrow has a type for.
///
/// # Errors
/// `Input`, naming the file, when it is not a readable Parquet file.
pub fn read_schema(path: &Path) -> Result<SchemaRef> {
    let table = TableFile::open(path)?;
    let metadata = table.metadata()?;
    let types = (0..metadata.schema.roots.len()).filter_map(|root| {
        let schema = types_of(&metadata, &[root]).ok()?;
        schema.fields().first().cloned()
    });
    Ok(Schema::new(types.collect::<Vec<_>>()).into())
}

/// Iterates over the chunks of a file. It ends after the first error, which names the file and the row
/// group, column or row.
pub struct Chunks<'a> {
    reader: &'a Reader,
    chunker: Chunker,
    /// The next row group.
    group: usize,
    /// The current row group, and its rows so far.
    current: Option<(Batches, u64)>,
    first_row: u64,
    ids: DuplicateIds,
    repeated: RepeatedIds,
    /// A row group that the filter has found, after the rows before it.
    found: Option<usize>,
    /// Whether the filter has seen the next row group.
    is_filtered: bool,
    /// Rows before the next row group or record batch, those in the chunker included.
    rows_read: u64,
    /// Bytes of the texts that the filter has seen.
    filtered_bytes: u64,
}

/// Finds row groups whose rows need not be read. It sees the texts of a whole row group, which is
/// read again if it is none of them.
pub trait GroupFilter {
    /// Begins with a row group of so many rows; returns whether to go on with it.
    fn begin(&mut self, rows: u64) -> bool;

    /// Adds the next texts, by each recipe; returns whether to go on.
    ///
    /// # Errors
    /// Those of the filter.
    fn add(&mut self, texts: &[LargeStringArray]) -> Result<bool>;

    /// Whether the row group is one of those; the number is the filter's own.
    ///
    /// # Errors
    /// Those of the filter.
    fn end(&mut self) -> Result<Option<usize>>;
}

impl Chunks<'_> {
    /// The repeated ids so far.
    pub fn repeated_ids(&self) -> &RepeatedIds {
        &self.repeated
    }

    /// The next chunk, or the next row group that `filter` has found, by the filter's number.
    /// `None` at the end and after the first error.
    pub fn next_rows(
        &mut self,
        filter: &mut dyn GroupFilter,
    ) -> Option<Result<std::result::Result<RowChunk, usize>>> {
        let next = match self.found.take() {
            Some(found) => Ok(Some(self.skip_group(found))),
            None => self.advance(Some(filter)).map(|chunk| match chunk {
                Some(chunk) => Some(Ok(chunk)),
                // No rows stand before the row group that was found.
                None => self.found.take().map(|found| self.skip_group(found)),
            }),
        };
        if next.is_err() {
            self.end();
        }
        next.transpose()
    }

    /// Passes over a row group that the filter has found.
    fn skip_group(&mut self, found: usize) -> std::result::Result<RowChunk, usize> {
        let rows = self.reader.decoder.declared_rows(self.group);
        self.first_row += rows;
        self.rows_read += rows;
        self.group += 1;
        self.is_filtered = false;
        Err(found)
    }

    /// Lets the filter see the next row group.
    fn filter(&mut self, filter: &mut dyn GroupFilter) -> Result<Option<usize>> {
        let decoder = &self.reader.decoder;
        if !filter.begin(decoder.declared_rows(self.group)) {
            return Ok(None);
        }
        let before = self.repeated.clone();
        self.ids.begin();
        let mut rows = 0u64;
        let mut goes_on = true;
        for batch in decoder.batches(self.group, BATCH_VALUES)? {
            let batch = batch.map_err(|error| decoder.locate(self.group, error))?;
            let chunk = self.build(self.rows_read + rows, batch)?;
            rows += chunk.len() as u64;
            let bytes = |texts: &LargeStringArray| texts.value_data().len() + 16 * texts.len();
            self.filtered_bytes += chunk.texts.iter().map(bytes).sum::<usize>() as u64;
            let bytes = self.chunker.total_bytes().saturating_add(self.filtered_bytes);
            decoder.check_decoded(self.group, bytes)?;
            self.add_ids(&chunk);
            goes_on = filter.add(&chunk.texts)?;
            if !goes_on {
                break;
            }
        }
        let found = match goes_on {
            true => {
                decoder.check_rows(self.group, rows)?;
                filter.end()?
            }
            false => None,
        };
        match found {
            Some(_) => self.ids.keep(),
            None => {
                // Its rows are read again.
                self.repeated = before;
                self.ids.roll_back();
            }
        }
        Ok(found)
    }

    fn add_ids(&mut self, chunk: &RowChunk) {
        for id in chunk.rows.ids.iter().flat_map(strings) {
            if self.ids.insert(id) {
                self.repeated.count += 1;
                self.repeated.first.get_or_insert_with(|| id.to_owned());
            }
        }
    }

    fn advance(&mut self, mut filter: Option<&mut dyn GroupFilter>) -> Result<Option<RowChunk>> {
        let path = self.reader.table.path();
        let decoder = &self.reader.decoder;
        loop {
            if let Some(full) = self.chunker.next_full().map_err(|error| error.in_file(path))? {
                return self.chunk(full).map(Some);
            }
            match &mut self.current {
                None if self.group >= self.reader.groups.end => {
                    let rest = self.chunker.finish().map_err(|error| error.in_file(path))?;
                    return rest.map(|rest| self.chunk(rest)).transpose();
                }
                None => {
                    if let (Some(filter), false) = (&mut filter, self.is_filtered) {
                        self.found = self.filter(*filter)?;
                        self.is_filtered = true;
                        if self.found.is_some() {
                            let rest = self.chunker.finish();
                            let rest = rest.map_err(|error| error.in_file(path))?;
                            return rest.map(|rest| self.chunk(rest)).transpose();
                        }
                    }
                    let batches = decoder.batches(self.group, BATCH_VALUES)?;
                    self.current = Some((batches, 0));
                }
                Some((batches, rows)) => match batches.next() {
                    Some(batch) => {
                        let mut batch = batch.map_err(|error| decoder.locate(self.group, error))?;
                        let left = self.reader.limit.map(|limit| limit - self.rows_read);
                        let is_last = left.is_some_and(|left| batch.num_rows() as u64 >= left);
                        if let (true, Some(left)) = (is_last, left) {
                            batch = batch.slice(0, usize::try_from(left).unwrap_or(usize::MAX));
                        }
                        *rows += batch.num_rows() as u64;
                        self.rows_read += batch.num_rows() as u64;
                        self.chunker.push(batch);
                        decoder.check_decoded(self.group, self.chunker.total_bytes())?;
                        if is_last {
                            self.current = None;
                            self.group = self.reader.groups.end;
                        }
                    }
                    None => {
                        decoder.check_rows(self.group, *rows)?;
                        self.current = None;
                        self.group += 1;
                        self.is_filtered = false;
                    }
                },
            }
        }
    }

    fn chunk(&mut self, batch: RecordBatch) -> Result<RowChunk> {
        let chunk = self.build(self.first_row, batch)?;
        self.first_row += chunk.len() as u64;
        self.add_ids(&chunk);
        Ok(chunk)
    }
}

impl Chunks<'_> {
    fn build(&self, first_row: u64, batch: RecordBatch) -> Result<RowChunk> {
        let reader = self.reader;
        catch_panic(ErrorKind::Data, "the Arrow library", || {
            reader.columns.build_chunk(first_row, batch)
        })
        .map_err(|error| error.in_file(reader.table.path()))
    }

    /// The iterator stays at its end, also after an error.
    fn end(&mut self) {
        self.group = self.reader.groups.end;
        self.found = None;
        self.current = None;
        self.chunker = Chunker::new(self.reader.chunk_schema().clone(), 1, 1);
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<RowChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance(None).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.end();
        }
        next
    }
}
