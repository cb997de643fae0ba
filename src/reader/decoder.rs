//! Decodes some columns of a file, a few rows at a time.
//!
//! The Parquet library gets a footer that has these columns alone. It decodes strings as views into
//! the decoded pages, so that a large value that a dictionary repeats is in memory once.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::page_index::PageIndexBuilder;
use parquet::file::metadata::{ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};

use super::guard;
use super::string_views;
use super::table_file::{TableFile, read_error};
use crate::format::metadata::Metadata;
use crate::format::pages::PageWalk;
use crate::format::projection::{self, Selection, Types};

/// Most rows of a record batch.
const BATCH_ROWS: u64 = 1024;

/// Most bytes of a record batch, as declared in the footer.
const BATCH_BYTES: u64 = 16 << 20;

/// Most values (list elements, nulls) of a column in a record batch: run-length encoding can declare
/// a billion values in a few bytes, and their levels alone take 4 bytes each.
pub const BATCH_VALUES: u64 = 1 << 20;

/// The same for a scan. The decoder's buffers then stay in the CPU cache, and the allocator reuses
/// them. Chunks do not use such small batches, each of which has its own dictionaries.
pub const SCAN_BATCH_VALUES: u64 = 16 << 10;

/// The name of the Parquet library in errors.
const DECODER: &str = "the Parquet decoder";

/// Limits on what a file may decode to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all decoded columns.
    pub decoded: u64,
    /// Bytes of a page.
    pub page: u64,
}

impl Limits {
    /// No limits: for files that this program wrote.
    pub const NONE: Limits = Limits { decoded: u64::MAX, page: u64::MAX };
}

/// A decoder of some root columns of a file.
pub struct Decoder {
    path: PathBuf,
    file: File,
    /// The size of the file in bytes.
    length: u64,
    limits: Limits,
    metadata: ArrowReaderMetadata,
    /// The decoded columns, with the types that they have without views.
    schema: SchemaRef,
}

impl Decoder {
    /// A decoder of the root columns `roots`, in the order of the file.
    ///
    /// # Errors
    /// `Input`, naming the file and, where it is known, the column.
    pub fn new(table: &TableFile, roots: &[usize], types: Types, limits: Limits) -> Result<Self> {
        let selection = Selection::of_roots(&table.metadata()?.schema, roots);
        Decoder::with_schema(table, &selection, types, limits, None)
    }

    /// A decoder of some leaves, with the groups around them.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn of_selection(
        table: &TableFile,
        selection: &Selection,
        types: Types,
        limits: Limits,
    ) -> Result<Self> {
        Decoder::with_schema(table, selection, types, limits, None)
    }

    /// A decoder of the root column `root` as a column of vectors, without limits. A footer alone
    /// does not tell a fixed-size list from a list; `field` does.
    ///
    /// # Errors
    /// `Input`, naming the file, also when the column has another type.
    pub fn of_vectors(table: &TableFile, root: usize, field: Field) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![field]));
        let selection = Selection::of_roots(&table.metadata()?.schema, &[root]);
        Decoder::with_schema(table, &selection, Types::Annotated, Limits::NONE, Some(schema))
    }

    fn with_schema(
        table: &TableFile,
        selection: &Selection,
        types: Types,
        limits: Limits,
        schema: Option<SchemaRef>,
    ) -> Result<Self> {
        let parsed = table.metadata()?;
        let sizes = real_sizes(table, &parsed, selection)?;
        let size = |group: usize, leaf: usize| sizes.get(&(group, leaf)).copied();
        let footer = projection::project(&parsed, selection, types, &size)
            .ok_or_else(|| unreadable("its footer is malformed").in_file(table.path()))?;
        let named = |error: Error| error.in_file(table.path());
        let decoded = decode_footer(&footer).map_err(named)?;
        let schema = match schema {
            Some(schema) => schema,
            None => load(&decoded, ArrowReaderOptions::new()).map_err(named)?.schema().clone(),
        };
        let views = string_views::to_views(&schema);
        let metadata =
            load(&decoded, ArrowReaderOptions::new().with_schema(views)).map_err(named)?;
        let file = table
            .file()
            .try_clone()
            .map_err(|cause| read_error(ErrorKind::Input, cause).in_file(table.path()))?;
        guard::check_metadata(metadata.metadata(), &schema, table.bytes(), limits.decoded)
            .map_err(named)?;
        let (path, length) = (table.path().to_owned(), table.bytes());
        Ok(Decoder { path, file, length, limits, metadata, schema })
    }

    /// The decoded columns, with the types that they have without views.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The decoded columns as [`Decoder::batches`] returns them: strings and bytes as views.
    pub fn view_schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// The limits that it keeps.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Number of row groups.
    pub fn group_count(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Calls `each` with every row in order: the columns only, with strings as views.
    ///
    /// # Errors
    /// `Data`, naming file, row group and column, and those of `each`.
    pub fn scan(&self, mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        self.scan_groups(|_, batch| each(batch))
    }

    /// As [`Decoder::scan`]; `each` gets the row group as well.
    ///
    /// # Errors
    /// As [`Decoder::scan`].
    pub fn scan_groups(
        &self,
        mut each: impl FnMut(usize, &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        for group in 0..self.group_count() {
            let mut rows = 0;
            for batch in self.batches(group, SCAN_BATCH_VALUES)? {
                let batch = batch.map_err(|error| self.locate(group, error))?;
                rows += batch.num_rows() as u64;
                each(group, &batch)?;
            }
            self.check_rows(group, rows)?;
        }
        Ok(())
    }

    /// The record batches of a row group. A panic of the library is an error.
    ///
    /// # Errors
    /// `Data`, naming file, row group and column.
    pub fn batches(&self, group: usize, values: u64) -> Result<Batches> {
        let rows = catch_panic(ErrorKind::Data, DECODER, || {
            self.batch_rows(group, values).map_err(|(column, fault)| {
                Error::new(ErrorKind::Data, fault.message)
                    .in_file(&self.path)
                    .at(format!("row group {group}"))
                    .at(format!("column `{column}`"))
                    .advice(fault.advice)
            })
        })?;
        let file = self
            .file
            .try_clone()
            .map_err(|cause| read_error(ErrorKind::Data, cause).in_file(&self.path))?;
        self.decode(file, group, ProjectionMask::all(), rows)
            .map_err(|error| self.locate(group, error))
    }

    /// Some rows of a row group, which ascend, of a decoder of one leaf. `pages` are the places of its pages; without
    /// them every page before the last row is read.
    ///
    /// # Errors
    /// As [`Decoder::batches`].
    pub fn rows_at(
        &self,
        group: usize,
        rows: &[u64],
        pages: Option<&[PageLocation]>,
    ) -> Result<Batches> {
        let file = self
            .file
            .try_clone()
            .map_err(|cause| read_error(ErrorKind::Data, cause).in_file(&self.path))?;
        let position = |row: &u64| usize::try_from(*row).unwrap_or(usize::MAX);
        let ranges = rows.iter().map(position).map(|row| row..row.saturating_add(1));
        let count = position(&self.declared_rows(group));
        let batch_rows = rows.len().clamp(1, BATCH_ROWS as usize);
        let reader = catch_panic(ErrorKind::Data, DECODER, || {
            let selection = RowSelection::from_consecutive_ranges(ranges, count);
            let metadata = match pages {
                Some(pages) => self.with_pages(group, pages)?,
                None => self.metadata.clone(),
            };
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_row_groups(vec![group])
                .with_row_selection(selection)
                .with_batch_size(batch_rows)
                .build()
                .map_err(|cause| decode_error(cause.into()))
        });
        let reader = reader.map_err(|error| error.in_file(&self.path))?;
        Ok(Batches { reader: Some(reader) })
    }

    /// The metadata with the places of the pages of a row group.
    fn with_pages(&self, group: usize, pages: &[PageLocation]) -> Result<ArrowReaderMetadata> {
        let metadata = self.metadata.metadata().as_ref().clone();
        let mut index = PageIndexBuilder::new(self.group_count(), 1);
        let page_locations = pages.to_vec();
        let places = OffsetIndexMetaData { page_locations, unencoded_byte_array_data_bytes: None };
        index.put_offset_index(places, group, 0);
        let metadata =
            metadata.into_builder().set_page_index(Some(Arc::new(index.build()))).build();
        let options = ArrowReaderOptions::new().with_schema(self.metadata.schema().clone());
        ArrowReaderMetadata::try_new(Arc::new(metadata), options)
            .map_err(|cause| decode_error(cause.into()))
    }

    /// As [`Decoder::batches`], with the batches of a scan.
    ///
    /// # Errors
    /// As [`Decoder::batches`].
    pub fn scan_batches(&self, group: usize) -> Result<Batches> {
        self.batches(group, SCAN_BATCH_VALUES)
    }

    /// Adds the unreadable column to an error. It reads each column alone, because the library does
    /// not name it.
    pub fn locate(&self, group: usize, error: Error) -> Error {
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

    /// The number of rows that a row group declares.
    pub fn declared_rows(&self, group: usize) -> u64 {
        self.group(group).num_rows().unsigned_abs()
    }

    /// Checks the number of rows that a row group was decoded to.
    ///
    /// # Errors
    /// `Data`, naming file and row group.
    pub fn check_rows(&self, group: usize, rows: u64) -> Result<()> {
        let declared = self.group(group).num_rows().unsigned_abs();
        if rows == declared {
            return Ok(());
        }
        let message = format!("the footer declares {declared} rows, the pages have {rows}");
        Err(Error::new(ErrorKind::Data, message)
            .in_file(&self.path)
            .at(format!("row group {group}"))
            .advice("write the file again from its source"))
    }

    /// Checks the bytes decoded so far against the decode limit.
    ///
    /// # Errors
    /// `Data`, naming file and row group.
    pub fn check_decoded(&self, group: usize, bytes: u64) -> Result<()> {
        if bytes <= self.limits.decoded {
            return Ok(());
        }
        let message = format!("the file decodes to more than {} bytes", self.limits.decoded);
        let error = guard::decode_limit_error(ErrorKind::Data, &message, self.length);
        Err(error.in_file(&self.path).at(format!("row group {group}")))
    }

    fn group(&self, group: usize) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(group)
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
                .map_err(|cause| decode_error(cause.into()))
        })?;
        Ok(Batches { reader: Some(reader) })
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
    ) -> std::result::Result<usize, (String, guard::Fault)> {
        let group = self.group(group);
        let rows = group.num_rows().unsigned_abs().max(1);
        let mut bytes: u64 = 0;
        let fields = self.schema.fields().iter();
        let fixed = fields.map(|field| guard::fixed_values(field.data_type())).max().unwrap_or(1);
        let mut batch_rows = BATCH_ROWS.min((max_values / fixed.max(1)).max(1));
        for column in group.columns() {
            let cost = guard::decode_cost(&self.file, column, rows, self.limits.page)
                .map_err(|fault| (column.column_path().string(), fault))?;
            bytes = bytes.saturating_add(cost.bytes_per_row);
            batch_rows = batch_rows.min((max_values / cost.values_per_row).max(1));
        }
        batch_rows = batch_rows.min((BATCH_BYTES / bytes.max(1)).max(1));
        Ok(usize::try_from(batch_rows).unwrap_or(1))
    }
}

/// The Arrow types of root columns as the decoder would see them.
///
/// # Errors
/// `Input`, without the file, when the library knows no type for one of them.
pub fn types_of(metadata: &Metadata<'_>, roots: &[usize]) -> Result<Schema> {
    types_of_selection(metadata, &Selection::of_roots(&metadata.schema, roots))
}

/// As [`types_of`], for some leaves of root columns.
///
/// # Errors
/// As [`types_of`].
pub fn types_of_selection(metadata: &Metadata<'_>, selection: &Selection) -> Result<Schema> {
    let footer = projection::project_schema(metadata, selection, Types::Annotated)
        .ok_or_else(|| unreadable("its footer is malformed"))?;
    let decoded = decode_footer(&footer)?;
    load(&decoded, ArrowReaderOptions::new()).map(|loaded| loaded.schema().as_ref().clone())
}

/// Record batches up to the first error. A decoder is not used after it has failed.
pub struct Batches {
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let next = catch_panic(ErrorKind::Data, DECODER, || {
            reader.next().transpose().map_err(|cause| decode_error(cause.into()))
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

/// The bytes of the chunks that are longer than they declare. Only files of a few old writers have
/// such, and only their pages are walked over.
fn real_sizes(
    table: &TableFile,
    metadata: &Metadata<'_>,
    selection: &Selection,
) -> Result<std::collections::HashMap<(usize, usize), u64>> {
    let mut sizes = std::collections::HashMap::new();
    if metadata.slack() == 0 {
        return Ok(sizes);
    }
    let mut walk = PageWalk::default();
    for number in 0..metadata.group_count() {
        let group = metadata.group(number)?;
        for &leaf in selection.leaves() {
            let size = table.walk(metadata, &mut walk, (&group, leaf), |_| Ok(()))?;
            sizes.insert((number, leaf), size);
        }
    }
    Ok(sizes)
}

fn decode_footer(footer: &[u8]) -> Result<Arc<parquet::file::metadata::ParquetMetaData>> {
    catch_panic(ErrorKind::Input, DECODER, || {
        ParquetMetaDataReader::decode_metadata(footer)
            .map(Arc::new)
            .map_err(|cause| unreadable("its footer cannot be read").caused_by(cause))
    })
}

fn load(
    metadata: &Arc<parquet::file::metadata::ParquetMetaData>,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata> {
    catch_panic(ErrorKind::Input, DECODER, || {
        ArrowReaderMetadata::try_new(metadata.clone(), options).map_err(|cause| match cause {
            ParquetError::ArrowError(_) => Error::new(
                ErrorKind::Input,
                "its Arrow schema cannot be read or does not match its columns",
            )
            .advice(
                "write the file again from its source, if necessary without `ARROW:schema` in its \
                 footer",
            )
            .caused_by(cause),
            cause => unreadable("its schema cannot be read").caused_by(cause),
        })
    })
}

fn unreadable(message: &str) -> Error {
    Error::new(ErrorKind::Input, message)
        .advice("its footer is inconsistent; write the file again from its source")
}

/// The error of data that cannot be decoded, or of a file that cannot be read.
fn decode_error(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match find_io_error(cause.as_ref()) {
        Some(found) => {
            let number = found.raw_os_error();
            let cause = number.map_or_else(
                || io::Error::new(found.kind(), found.to_string()),
                io::Error::from_raw_os_error,
            );
            read_error(ErrorKind::Data, cause)
        }
        None => Error::new(ErrorKind::Data, "the data cannot be decoded")
            .advice("write the file again from its source")
            .caused_by(cause),
    }
}

/// The error of the operating system that an error comes from.
fn find_io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>()
            && found.raw_os_error().is_some()
        {
            return Some(found);
        }
        next = match error.downcast_ref::<ParquetError>() {
            Some(ParquetError::External(inner)) => Some(inner.as_ref()),
            _ => error.source(),
        };
    }
    None
}
