//! Encodes the vectors of a row group as one column chunk, page by page.
//!
//! A page has a fixed number of rows, counted from the start of the row group. The bytes of a chunk
//! thus depend on its vectors alone, not on how rows came in chunks.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::{ColumnWriterImpl, get_column_writer, get_typed_column_writer};
use parquet::data_type::FloatType;
use parquet::errors::{ParquetError, Result};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use twox_hash::xxhash3_128::Hasher;

use super::sink::Sink;
use crate::format::output::VectorChunk;

/// Bytes of a page before compression. Buffers of this size are reused by the allocator; larger ones
/// come from the system as untouched memory, which takes most of the writing time.
const PAGE_BYTES: usize = 64 << 10;

/// The form of the vector column.
#[derive(Debug, Clone)]
pub struct VectorForm {
    column: ColumnDescPtr,
    properties: Arc<WriterProperties>,
    rows_per_page: usize,
    /// The definition level of a component; a row without a vector has 0.
    present_level: i16,
}

impl VectorForm {
    /// The form of a column of vectors with `dim` components. `field` has the type of
    /// [`crate::vectors::data_type`].
    ///
    /// # Errors
    /// When the library has no form for the type.
    pub fn new(field: &Field, dim: usize) -> Result<VectorForm> {
        let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field.clone()]))?;
        let column = match schema.columns() {
            [column] => column.clone(),
            columns => {
                return Err(ParquetError::General(format!("{} leaves of vectors", columns.len())));
            }
        };
        let rows_per_page = (PAGE_BYTES / (dim.max(1) * size_of::<f32>())).max(1);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // Components hardly repeat, so a dictionary costs time and space; the least and the
            // greatest component say nothing about a vector.
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            // The number of rows alone ends a page: it is checked after each batch of values.
            .set_data_page_size_limit(usize::MAX)
            .set_data_page_row_count_limit(rows_per_page)
            .set_write_batch_size(rows_per_page * dim.max(1))
            .build();
        let present_level = column.max_def_level();
        Ok(VectorForm { column, properties: Arc::new(properties), rows_per_page, present_level })
    }

    /// Rows of a page; the last page of a row group may have fewer.
    pub fn rows_per_page(&self) -> usize {
        self.rows_per_page
    }
}

/// Writes the vectors of a row group.
pub struct VectorChunkWriter {
    writer: ColumnWriterImpl<'static, FloatType>,
    form: VectorForm,
    /// The rows of the page that is not full yet.
    page: PageRows,
    /// Of the bytes written so far.
    digest: Arc<Mutex<Hasher>>,
}

#[derive(Default)]
struct PageRows {
    rows: usize,
    values: Vec<f32>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl VectorChunkWriter {
    /// A writer of the next chunk of `sink`.
    pub fn new(form: &VectorForm, sink: Sink) -> VectorChunkWriter {
        let digest = Arc::new(Mutex::new(Hasher::new()));
        let pages = Box::new(SinkPages { sink, digest: digest.clone() });
        let writer = get_column_writer(form.column.clone(), form.properties.clone(), pages);
        let writer = get_typed_column_writer::<FloatType>(writer);
        VectorChunkWriter { writer, form: form.clone(), page: PageRows::default(), digest }
    }

    /// Adds the next row; `None` if it has no vector.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, vector: Option<&[f32]>) -> Result<()> {
        let page = &mut self.page;
        page.rows += 1;
        match vector {
            None => {
                page.definitions.push(0);
                page.repetitions.push(0);
            }
            Some(vector) => {
                page.values.extend_from_slice(vector);
                let levels = page.definitions.len() + vector.len();
                page.definitions.resize(levels, self.form.present_level);
                page.repetitions.push(0);
                page.repetitions.resize(levels, 1);
            }
        }
        if page.rows == self.form.rows_per_page { self.flush() } else { Ok(()) }
    }

    /// Completes the chunk. Returns what its footer says, the places of its pages, and the digest of
    /// its bytes: XXH3 of 128 bits.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(VectorChunk, Vec<PageLocation>, u128)> {
        self.flush()?;
        let closed = self.writer.close()?;
        let metadata = closed.metadata;
        let chunk = VectorChunk {
            encodings: metadata.encodings().map(|encoding| encoding as i32).collect(),
            values: metadata.num_values(),
            uncompressed_size: metadata.uncompressed_size(),
            compressed_size: metadata.compressed_size(),
        };
        let pages = closed.offset_index.map(|index| index.page_locations().clone());
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).finish_128();
        Ok((chunk, pages.unwrap_or_default(), digest))
    }

    fn flush(&mut self) -> Result<()> {
        let PageRows { rows, values, definitions, repetitions } = &mut self.page;
        if *rows > 0 {
            self.writer.write_batch(values, Some(definitions), Some(repetitions))?;
            *rows = 0;
            values.clear();
            definitions.clear();
            repetitions.clear();
        }
        Ok(())
    }
}

/// Writes pages at the end of the output.
struct SinkPages {
    sink: Sink,
    digest: Arc<Mutex<Hasher>>,
}

impl PageWriter for SinkPages {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec> {
        // The library writes header and page to a buffer first, so that their bytes are known.
        let mut buffer = TrackedWrite::new(Vec::with_capacity(page.data().len() + 64));
        let mut spec = SerializedPageWriter::new(&mut buffer).write_page(page)?;
        let bytes = buffer.into_inner()?;
        spec.offset += self.sink.position();
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes);
        self.sink.write_all(&bytes)?;
        Ok(spec)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
