//! Checks the page headers of a column before the Parquet library decodes it.
//!
//! The library is memory-safe but trusts the file: it reserves what a page header declares. This
//! module reads headers only, and of delta-encoded strings the number of lengths. docs/decisions/0015-decode-limit.md has the limits.

use std::fs::File;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::format::pages::{Header, Headers};
use crate::format::thrift::Thrift;

/// Maximum number of dictionary values. Each takes at least 16 bytes of memory.
const MAX_DICTIONARY_VALUES: u64 = 1 << 24;

/// Maximum width of a fixed-width value, which takes its width even if it is null.
const MAX_FIXED_BYTES: u64 = 16 << 20;

/// Maximum number of values (list elements, nulls) of a row, and of a repeated column chunk with less
/// than a bit per value: run-length encoding can declare a billion values in a few bytes.
const MAX_VALUES: u64 = 1 << 24;

/// Bytes that a file of any size may decode to.
const FREE_BYTES: u64 = 1 << 30;

/// Maximum decoded size as a multiple of the file size. Real-world tables rarely exceed 100.
const MAX_INFLATION: u64 = 1000;

/// Minimum bytes of a decoded value.
const MIN_VALUE_BYTES: u64 = 16;

/// The default of `input.decode_limit` in bytes, for a file of `length` bytes.
pub fn default_decode_limit(length: u64) -> u64 {
    length.saturating_mul(MAX_INFLATION).saturating_add(FREE_BYTES)
}

/// Checks the sizes that the schema of the decoded columns fixes. The file has `length` bytes and may
/// decode to `decode_limit` bytes.
///
/// # Errors
/// `Input`, naming the column, but not the file.
pub fn check_metadata(
    metadata: &ParquetMetaData,
    schema: &Schema,
    length: u64,
    decode_limit: u64,
) -> Result<()> {
    let rows = metadata.file_metadata().num_rows();
    let columns = schema.fields().len() as u64;
    let min_bytes = rows.unsigned_abs().saturating_mul(columns * MIN_VALUE_BYTES);
    if min_bytes > decode_limit {
        let message = format!("its {rows} rows decode to more than {decode_limit} bytes");
        return Err(decode_limit_error(ErrorKind::Input, &message, length));
    }
    for field in schema.fields() {
        let fixed = fixed_values(field.data_type());
        if fixed > MAX_VALUES {
            let message = format!("its lists have {fixed} values each; the limit is {MAX_VALUES}");
            return Err(Error::new(ErrorKind::Input, message)
                .at(format!("column `{}`", field.name()))
                .advice("its footer is inconsistent; write the file again from its source"));
        }
    }
    Ok(())
}

/// The error of a file of `length` bytes that exceeds its decode limit.
pub fn decode_limit_error(kind: ErrorKind, message: &str, length: u64) -> Error {
    Error::new(kind, format!("{message}, too many for a file of {length} bytes"))
        .advice("if the file is valid, raise `input.decode_limit`")
}

/// Number of values of a row of this type, null or not: fixed-size lists are padded.
pub fn fixed_values(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, size) => {
            u64::from(size.unsigned_abs()).saturating_mul(fixed_values(item.data_type()))
        }
        DataType::Struct(fields) => {
            fields.iter().map(|field| fixed_values(field.data_type())).max().unwrap_or(1)
        }
        _ => 1,
    }
}

/// What a column chunk costs to decode, according to its page headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Average number of values per row.
    pub values_per_row: u64,
    /// Average number of bytes per row; more for fixed-width and delta-encoded values.
    pub bytes_per_row: u64,
}

/// Why a column chunk cannot be decoded in bounded memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        let advice = "write the file again from its source, with smaller pages and lists";
        Fault { message, advice }
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Fault {
        Fault::from(message.to_owned())
    }
}

/// Reads the page headers of a column chunk, whose pages may have `page_limit` bytes.
///
/// # Errors
/// Why it cannot be decoded in bounded memory.
pub fn decode_cost(
    file: &File,
    column: &ColumnChunkMetaData,
    rows: u64,
    page_limit: u64,
) -> std::result::Result<Cost, Fault> {
    let descr = column.column_descr();
    let mut values = column.num_values().unsigned_abs();
    let mut bytes = column.uncompressed_size().unsigned_abs();
    let (mut page_values, mut page_bytes, mut largest_delta) = (0u64, 0u64, 0);
    let mut has_delta = false;
    // The footer's check has found both inside of the file.
    let (start, length) = column.byte_range();
    for page in Headers::new(file, start..start.saturating_add(length)) {
        let page = page.ok_or("a page header is malformed")?;
        let (Ok(size), Ok(count)) = (u64::try_from(page.uncompressed), u64::try_from(page.values))
        else {
            let (size, count) = (page.uncompressed, page.values);
            return Err(format!("a page declares {count} values in {size} bytes").into());
        };
        if size > page_limit {
            let message = format!("a page has {size} bytes; `input.page_limit` is {page_limit}");
            let advice = "raise `input.page_limit`, if the machine has the memory to decode such \
                          pages, or write the file again with smaller ones";
            return Err(Fault { message, advice });
        }
        // The library adds the two in 32 bits.
        if page.levels.0 < 0
            || page.levels.1 < 0
            || page.levels.0 + page.levels.1 > page.uncompressed
        {
            return Err("the levels of a page are longer than the page".into());
        }
        if page.is_dictionary() {
            if count > size.max(1) || count > MAX_DICTIONARY_VALUES {
                let message = format!("a dictionary page declares {count} values in {size} bytes");
                return Err(message.into());
            }
        } else {
            page_values = page_values.saturating_add(count);
            has_delta |= Header::DELTA_STRINGS.contains(&page.encoding);
            if page.encoding == Header::DELTA_BYTE_ARRAY {
                largest_delta = largest_delta.max(size);
            }
        }
        page_bytes = page_bytes.saturating_add(size);
    }
    if has_delta {
        check_delta(file, column)?;
    }
    values = values.max(page_values);
    bytes = bytes.max(page_bytes);
    let values_per_row = values.div_ceil(rows).max(1);
    let is_cheap = column.compressed_size().unsigned_abs().saturating_mul(8) < values;
    if values_per_row > MAX_VALUES || (descr.max_rep_level() > 0 && values > MAX_VALUES && is_cheap)
    {
        let message = format!("its {rows} rows declare {values} values; the limit is {MAX_VALUES}");
        return Err(message.into());
    }
    let width = match descr.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::from(descr.type_length().unsigned_abs()),
        _ => 0,
    };
    if width > MAX_FIXED_BYTES {
        let message = format!("its values have {width} bytes each; the limit is {MAX_FIXED_BYTES}");
        return Err(message.into());
    }
    let bytes_per_row =
        bytes.div_ceil(rows).max(width.saturating_mul(values_per_row)).max(largest_delta);
    Ok(Cost { values_per_row, bytes_per_row })
}

/// Checks the number of lengths that each page of delta-encoded strings declares. The library
/// reserves memory for that many.
fn check_delta(file: &File, column: &ColumnChunkMetaData) -> std::result::Result<(), String> {
    // The library reports what cannot be read.
    let Ok(file) = file.try_clone() else { return Ok(()) };
    let Ok(mut pages) = SerializedPageReader::new(Arc::new(file), column, 0, None) else {
        return Ok(());
    };
    while let Ok(Some(page)) = pages.get_next_page() {
        let sequences = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
            Encoding::DELTA_BYTE_ARRAY => 2,
            _ => continue,
        };
        let values = u64::from(page.num_values());
        let mut lengths = Thrift::new(values_of_page(&page, column.column_descr()));
        for _ in 0..sequences {
            let Some(sequence) = Sequence::read(&mut lengths) else { break };
            if sequence.count > values.min(MAX_VALUES) {
                let count = sequence.count;
                return Err(format!("a page of {values} values declares {count} string lengths"));
            }
            if sequence.skip(&mut lengths).is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// The bytes of a data page after its repetition and definition levels; empty if there are none.
fn values_of_page<'a>(page: &'a Page, descr: &ColumnDescriptor) -> &'a [u8] {
    let bytes: &[u8] = page.buffer();
    let length = match page {
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len)
        }
        Page::DataPage { num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut at = 0u64;
            for (max_level, encoding) in [
                (descr.max_rep_level(), rep_level_encoding),
                (descr.max_def_level(), def_level_encoding),
            ] {
                let bits = u64::from(i16::BITS - max_level.leading_zeros());
                at += match (bits, encoding) {
                    (0, _) => 0,
                    (_, Encoding::RLE) => {
                        let prefix = bytes.get(at as usize..).and_then(<[u8]>::first_chunk::<4>);
                        4 + prefix.map_or(0, |prefix| u64::from(u32::from_le_bytes(*prefix)))
                    }
                    _ => (u64::from(*num_values) * bits).div_ceil(8),
                };
            }
            at
        }
        Page::DictionaryPage { .. } => 0,
    };
    bytes.get(length as usize..).unwrap_or_default()
}

/// The header of a DELTA_BINARY_PACKED sequence.
struct Sequence {
    /// Miniblocks of a block, each with its own bit width.
    miniblocks: u64,
    miniblock_values: u64,
    /// The declared number of values.
    count: u64,
}

impl Sequence {
    fn read(bytes: &mut Thrift<'_>) -> Option<Self> {
        let (block, miniblocks, count) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
        let miniblock_values = block.checked_div(miniblocks).filter(|values| *values > 0)?;
        Some(Sequence { miniblocks, miniblock_values, count })
    }

    /// Skips the values, the first of which is in the header.
    fn skip(&self, bytes: &mut Thrift<'_>) -> Option<()> {
        bytes.number()?;
        let mut left = self.count.saturating_sub(1);
        while left > 0 {
            // The minimum delta of the block, then the widths of its miniblocks.
            bytes.number()?;
            for width in bytes.take(self.miniblocks)? {
                if left > 0 {
                    bytes.take(u64::from(*width).checked_mul(self.miniblock_values)? / 8)?;
                    left = left.saturating_sub(self.miniblock_values);
                }
            }
        }
        Some(())
    }
}
