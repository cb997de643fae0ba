//! Encodes the vectors of a row group as one column chunk, page by page.
//!
//! A page has a fixed number of rows, counted from the start of the row group. The bytes of a chunk
//! thus depend on its vectors alone, not on how rows came in chunks.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Schema};
use half::f16;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::{
    ColumnCloseResult, ColumnWriter, ColumnWriterImpl, get_column_writer,
};
use parquet::data_type::{
    ByteArray, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use twox_hash::xxhash3_128::Hasher;

use super::sink::Sink;
use super::vector_pages::rows_per_page;
use crate::format::output::VectorChunk;
use crate::vectors::{Element, Vector};

/// How the vectors of a row group are encoded.
#[derive(Debug, Clone)]
pub struct ChunkFormat {
    column: ColumnDescPtr,
    properties: Arc<WriterProperties>,
    rows_per_page: usize,
    element: Element,
    /// The definition level of an element; a row without a vector has 0.
    present_level: i16,
}

impl ChunkFormat {
    /// The format of a column of vectors with `width` elements. `field` has the type of
    /// [`crate::vectors::data_type`].
    ///
    /// # Errors
    /// When the field is no column of vectors.
    pub fn new(field: &Field, width: usize) -> Result<ChunkFormat> {
        let unknown = || ParquetError::General(format!("vectors of type {}", field.data_type()));
        let (DataType::FixedSizeList(child, _) | DataType::List(child)) = field.data_type() else {
            return Err(unknown());
        };
        let element = Element::from_data_type(child.data_type()).ok_or_else(unknown)?;
        let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field.clone()]))?;
        let column = match schema.columns() {
            [column] => column.clone(),
            columns => {
                return Err(ParquetError::General(format!("{} leaves of vectors", columns.len())));
            }
        };
        let rows_per_page = rows_per_page(width, element);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // Components hardly repeat, so a dictionary costs time and space; the least and the
            // greatest component say nothing about a vector.
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_encoding(ENCODING)
            // The number of rows alone ends a page: it is checked after each batch of values.
            .set_data_page_size_limit(usize::MAX)
            .set_data_page_row_count_limit(rows_per_page)
            .set_write_batch_size(rows_per_page * width.max(1))
            .build();
        let properties = Arc::new(properties);
        let present_level = column.max_def_level();
        Ok(ChunkFormat { column, properties, rows_per_page, element, present_level })
    }

    /// Rows of a page; the last page of a row group may have fewer.
    pub fn rows_per_page(&self) -> usize {
        self.rows_per_page
    }
}

/// The encoding of elements. Bytes would be smaller as differences (`DELTA_BINARY_PACKED`), by 15 % after
/// compression, but Polars 2.1 cannot read a fixed-size list of them with a null; and some readers have no
/// other encoding than this one for 16-bit floats.
pub const ENCODING: Encoding = Encoding::PLAIN;

/// Writes the vectors of a row group.
pub struct VectorChunkWriter {
    values: Values,
    rows: PageRows,
    format: ChunkFormat,
    /// Of the bytes written so far.
    digest: Arc<Mutex<Hasher>>,
}

/// The writer of a chunk, and the elements of the page that is not full yet.
enum Values {
    F32(ColumnWriterImpl<'static, FloatType>, Vec<f32>),
    F16(ColumnWriterImpl<'static, FixedLenByteArrayType>, Vec<f16>),
    Bytes(ColumnWriterImpl<'static, Int32Type>, Vec<i32>),
}

/// The rows of the page that is not full yet.
#[derive(Default)]
struct PageRows {
    rows: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl VectorChunkWriter {
    /// A writer of the next chunk of `sink`.
    ///
    /// # Errors
    /// When the library has another physical type for the column.
    pub fn new<W: Write + Send + 'static>(
        format: &ChunkFormat,
        sink: Sink<W>,
    ) -> Result<VectorChunkWriter> {
        let digest = Arc::new(Mutex::new(Hasher::new()));
        let pages = Box::new(SinkPages { sink, digest: digest.clone() });
        let writer = get_column_writer(format.column.clone(), format.properties.clone(), pages);
        let values = match (format.element, writer) {
            (Element::F32, ColumnWriter::FloatColumnWriter(writer)) => {
                Values::F32(writer, Vec::new())
            }
            (Element::F16, ColumnWriter::FixedLenByteArrayColumnWriter(writer)) => {
                Values::F16(writer, Vec::new())
            }
            (Element::I8 | Element::U8, ColumnWriter::Int32ColumnWriter(writer)) => {
                Values::Bytes(writer, Vec::new())
            }
            (element, _) => {
                let message = format!("{element:?} has another physical type than expected");
                return Err(ParquetError::General(message));
            }
        };
        let (rows, format) = (PageRows::default(), format.clone());
        Ok(VectorChunkWriter { values, rows, format, digest })
    }

    /// Adds the next row; `None` if it has no vector.
    ///
    /// # Errors
    /// When the file cannot be written, or the vector has elements of another type.
    pub fn push(&mut self, vector: Option<Vector<'_>>) -> Result<()> {
        let rows = &mut self.rows;
        rows.rows += 1;
        match vector {
            None => {
                rows.definitions.push(0);
                rows.repetitions.push(0);
            }
            Some(vector) => {
                self.values.extend(vector)?;
                let levels = rows.definitions.len() + vector.width();
                rows.definitions.resize(levels, self.format.present_level);
                rows.repetitions.push(0);
                rows.repetitions.resize(levels, 1);
            }
        }
        if rows.rows == self.format.rows_per_page { self.flush() } else { Ok(()) }
    }

    /// Completes the chunk. Returns what its footer says, the places of its pages, and the digest of
    /// its bytes: XXH3 of 128 bits.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(VectorChunk, Vec<PageLocation>, u128)> {
        self.flush()?;
        let closed = self.values.close()?;
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
        let PageRows { rows, definitions, repetitions } = &mut self.rows;
        if *rows > 0 {
            self.values.write_page(definitions, repetitions)?;
            *rows = 0;
            definitions.clear();
            repetitions.clear();
        }
        Ok(())
    }
}

impl Values {
    fn extend(&mut self, vector: Vector<'_>) -> Result<()> {
        match (self, vector) {
            (Values::F32(_, page), Vector::F32(values)) => page.extend_from_slice(values),
            (Values::F16(_, page), Vector::F16(values)) => page.extend_from_slice(values),
            (Values::Bytes(_, page), Vector::I8(values)) => {
                page.extend(values.iter().map(|value| i32::from(*value)));
            }
            (Values::Bytes(_, page), Vector::U8(values)) => {
                page.extend(values.iter().map(|value| i32::from(*value)));
            }
            _ => return Err(ParquetError::General("a vector of another type".to_owned())),
        }
        Ok(())
    }

    /// Writes the elements so far as a page.
    fn write_page(&mut self, definitions: &[i16], repetitions: &[i16]) -> Result<()> {
        let levels = (Some(definitions), Some(repetitions));
        match self {
            Values::F32(writer, page) => {
                writer.write_batch(page, levels.0, levels.1)?;
                page.clear();
            }
            Values::F16(writer, page) => {
                // One buffer for all, of which each value is two bytes.
                let bytes: Vec<u8> = page.iter().flat_map(|value| value.to_le_bytes()).collect();
                let bytes = ByteArray::from(bytes);
                let values: Vec<FixedLenByteArray> =
                    (0..page.len()).map(|at| bytes.slice(2 * at, 2).into()).collect();
                writer.write_batch(&values, levels.0, levels.1)?;
                page.clear();
            }
            Values::Bytes(writer, page) => {
                writer.write_batch(page, levels.0, levels.1)?;
                page.clear();
            }
        }
        Ok(())
    }

    fn close(self) -> Result<ColumnCloseResult> {
        match self {
            Values::F32(writer, _) => writer.close(),
            Values::F16(writer, _) => writer.close(),
            Values::Bytes(writer, _) => writer.close(),
        }
    }
}

/// Writes pages at the end of a file.
struct SinkPages<W: Write + Send> {
    sink: Sink<W>,
    digest: Arc<Mutex<Hasher>>,
}

impl<W: Write + Send> PageWriter for SinkPages<W> {
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
