//! Checks footers and page headers before the Parquet library decodes the file.
//!
//! The library is memory-safe but trusts the file: it recurses as deep as the schema, reserves what
//! a page header declares, and panics at a negative offset. This module reads headers only, and of
//! delta-encoded strings the number of lengths. docs/decisions/0015-decode-limit.md has the limits.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::thrift::{Thrift, kind};

/// Maximum nesting of groups in a schema. Real-world schemas have about five levels; the library
/// overflows its stack beyond a thousand.
const MAX_DEPTH: usize = 100;

/// Maximum size of a footer. Files with thousands of columns and row groups have about 100 MB.
const MAX_FOOTER_BYTES: u64 = 256 << 20;

/// Maximum size of a page, which is decoded as a whole. Writers aim at 1 MB; a huge value takes more.
const MAX_PAGE_BYTES: u64 = 256 << 20;

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

/// Checks the size of the footer and the depth of its schema. The library reports what is not a
/// footer at all.
///
/// # Errors
/// `Input`, without a place.
pub fn check_footer(file: &File, length: u64) -> Result<()> {
    let refuse = |message: String| {
        Err(Error::new(ErrorKind::Input, message)
            .advice("check where the file comes from; Parquet writers do not write such footers"))
    };
    let mut tail = [0; 8];
    let Some(end) = length.checked_sub(8) else { return Ok(()) };
    if file.read_exact_at(&mut tail, end).is_err() || &tail[4..] != b"PAR1" {
        return Ok(());
    }
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(start) = end.checked_sub(size) else { return Ok(()) };
    if size > MAX_FOOTER_BYTES {
        return refuse(format!("its footer has {size} bytes; the limit is {MAX_FOOTER_BYTES}"));
    }
    let mut footer = vec![0; size as usize];
    if file.read_exact_at(&mut footer, start).is_err() {
        return Ok(());
    }
    match schema_depth(&footer) {
        Some(depth) if depth > MAX_DEPTH => {
            refuse(format!("its schema is nested {depth} groups deep; the limit is {MAX_DEPTH}"))
        }
        Some(_) => Ok(()),
        None => refuse("the schema in its footer is malformed".to_owned()),
    }
}

/// The nesting depth of the schema in the footer; `None` if the schema is malformed.
///
/// The library ignores the wire kind of a field. Here a field of another kind is malformed.
fn schema_depth(footer: &[u8]) -> Option<usize> {
    const SCHEMA: i64 = 2;
    const NUM_CHILDREN: i64 = 5;
    let mut deepest = 0;
    // The number of children left in each enclosing group.
    let mut open: Vec<i64> = Vec::new();
    let mut whole = true;
    let mut thrift = Thrift::new(footer);
    thrift.fields(|thrift, field, kind| {
        if field != SCHEMA {
            return thrift.skip(kind);
        }
        whole = false;
        let (elements, _) = (kind == kind::LIST).then(|| thrift.list())??;
        for _ in 0..elements {
            let mut children = 0;
            thrift.fields(|thrift, field, kind| match (field, kind) {
                (NUM_CHILDREN, kind::I32) => thrift.int().map(|number| children = number),
                (NUM_CHILDREN, _) => None,
                _ => thrift.skip(kind),
            })?;
            if children > 0 {
                open.push(children);
                deepest = deepest.max(open.len() - 1);
                continue;
            }
            while let Some(left) = open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                open.pop();
            }
        }
        whole = true;
        Some(())
    });
    // Fields after the schema do not matter.
    whole.then_some(deepest)
}

/// Checks the row counts and offsets of the footer, and the sizes that the schema fixes. The file
/// has `length` bytes and may decode to `decode_limit` bytes.
///
/// # Errors
/// `Input`, naming row group and column, but not the file.
pub fn check_metadata(
    metadata: &ParquetMetaData,
    schema: &Schema,
    length: u64,
    decode_limit: u64,
) -> Result<()> {
    let refuse = |message: String| {
        Error::new(ErrorKind::Input, message)
            .advice("its footer is inconsistent; write the file again from its source")
    };
    let mut sum: i64 = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let place = format!("row group {number}");
        let rows = group.num_rows();
        sum = (rows >= 0)
            .then(|| sum.checked_add(rows))
            .flatten()
            .ok_or_else(|| refuse(format!("it declares {rows} rows")).at(&place))?;
        for column in group.columns() {
            check_range(column, length).map_err(|message| {
                refuse(message).at(&place).at(format!("column `{}`", column.column_path().string()))
            })?;
        }
    }
    let declared = metadata.file_metadata().num_rows();
    if sum != declared {
        return Err(refuse(format!("the footer declares {declared} rows, its row groups {sum}")));
    }
    let columns = schema.fields().len() as u64;
    let min_bytes = declared.unsigned_abs().saturating_mul(columns * MIN_VALUE_BYTES);
    if min_bytes > decode_limit {
        let message = format!("its {declared} rows decode to more than {decode_limit} bytes");
        return Err(decode_limit_error(ErrorKind::Input, &message, length));
    }
    for field in schema.fields() {
        let fixed = fixed_values(field.data_type());
        if fixed > MAX_VALUES {
            let message = format!("its lists have {fixed} values each; the limit is {MAX_VALUES}");
            return Err(refuse(message).at(format!("column `{}`", field.name())));
        }
    }
    Ok(())
}

/// The error of a file of `length` bytes that exceeds its decode limit.
pub fn decode_limit_error(kind: ErrorKind, message: &str, length: u64) -> Error {
    Error::new(kind, format!("{message}, too many for a file of {length} bytes"))
        .advice("if the file is valid, raise `input.decode_limit`")
}

/// Checks that a column chunk is inside this file.
fn check_range(column: &ColumnChunkMetaData, length: u64) -> std::result::Result<(), String> {
    if let Some(other) = column.file_path().filter(|path| !path.is_empty()) {
        let other: String = other.chars().take(80).collect();
        return Err(format!("its data is in another file, {other:?}"));
    }
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let size = column.compressed_size();
    let inside = u64::try_from(start).is_ok()
        && u64::try_from(size).is_ok()
        && start.checked_add(size).is_some_and(|end| end as u64 <= length);
    if !inside {
        return Err(format!(
            "its {size} bytes at offset {start} are outside of the file of {length} bytes"
        ));
    }
    Ok(())
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

/// Reads the page headers of a column chunk.
///
/// # Errors
/// Why it cannot be decoded in bounded memory.
pub fn decode_cost(
    file: &File,
    column: &ColumnChunkMetaData,
    rows: u64,
) -> std::result::Result<Cost, String> {
    let descr = column.column_descr();
    let mut values = column.num_values().unsigned_abs();
    let mut bytes = column.uncompressed_size().unsigned_abs();
    let (mut page_values, mut page_bytes, mut largest_delta) = (0u64, 0u64, 0);
    let mut has_delta = false;
    for page in Pages::new(file, column) {
        let page = page.ok_or("a page header is malformed")?;
        let (Ok(size), Ok(count)) = (u64::try_from(page.uncompressed), u64::try_from(page.values))
        else {
            let (size, count) = (page.uncompressed, page.values);
            return Err(format!("a page declares {count} values in {size} bytes"));
        };
        if size > MAX_PAGE_BYTES {
            return Err(format!("a page has {size} bytes; the limit is {MAX_PAGE_BYTES}"));
        }
        // The library adds the two in 32 bits.
        if page.levels.0 < 0
            || page.levels.1 < 0
            || page.levels.0 + page.levels.1 > page.uncompressed
        {
            return Err("the levels of a page are longer than the page".to_owned());
        }
        if page.is_dictionary {
            if count > size.max(1) || count > MAX_DICTIONARY_VALUES {
                return Err(format!("a dictionary page declares {count} values in {size} bytes"));
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
        return Err(format!("its {rows} rows declare {values} values; the limit is {MAX_VALUES}"));
    }
    let width = match descr.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::from(descr.type_length().unsigned_abs()),
        _ => 0,
    };
    if width > MAX_FIXED_BYTES {
        return Err(format!("its values have {width} bytes each; the limit is {MAX_FIXED_BYTES}"));
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

/// A page header.
struct Header {
    is_dictionary: bool,
    uncompressed: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    /// Bytes of repetition and definition levels; 0 in version 1.
    levels: (i64, i64),
}

impl Header {
    /// A value reuses a prefix of the value before it.
    const DELTA_BYTE_ARRAY: i64 = 7;
    /// The string encodings with separate lengths.
    const DELTA_STRINGS: [i64; 2] = [6, Self::DELTA_BYTE_ARRAY];

    /// Parses a header; returns it with its length. `None` if readers could disagree about it: a
    /// field has another kind than specified, or a number has too many bits.
    fn read(bytes: &[u8]) -> Option<(Header, usize)> {
        let (mut page, mut uncompressed, mut compressed) = (None, None, None);
        let mut parts = [None; 4];
        let mut thrift = Thrift::new(bytes);
        thrift.fields(|thrift, field, kind| match (field, kind) {
            (1, kind::I32) => thrift.int().map(|number| page = Some(number)),
            (2, kind::I32) => thrift.int().map(|number| uncompressed = Some(number)),
            (3, kind::I32) => thrift.int().map(|number| compressed = Some(number)),
            (4, kind::I32) => thrift.int().map(drop),
            (5..=8, kind::STRUCT) => {
                let part = Part::ALL[field as usize - 5];
                part.read(thrift).map(|numbers| parts[part as usize] = Some(numbers))
            }
            (1..=8, _) => None,
            _ => thrift.skip(kind),
        })?;
        let part = *Part::ALL.get(usize::try_from(page?).ok()?)?;
        let numbers: Numbers = parts[part as usize]?;
        let header = Header {
            is_dictionary: part == Part::Dictionary,
            uncompressed: uncompressed?,
            compressed: compressed?,
            values: numbers[0],
            encoding: if part == Part::Data2 { numbers[3] } else { numbers[1] },
            levels: if part == Part::Data2 { (numbers[5], numbers[4]) } else { (0, 0) },
        };
        Some((header, thrift.position()))
    }
}

/// The numbers of a part of a page header, in field order.
type Numbers = [i64; 6];

/// The part of a page header that belongs to a kind of page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Data,
    Index,
    Dictionary,
    Data2,
}

impl Part {
    /// In the order of the page types, which is also the order of the header fields from 5 on.
    const ALL: [Part; 4] = [Part::Data, Part::Index, Part::Dictionary, Part::Data2];

    fn read(self, thrift: &mut Thrift<'_>) -> Option<Numbers> {
        // The number of numeric fields from 1 on, the boolean field, the statistics field.
        let (count, boolean, statistics) = match self {
            Part::Data => (4, None, Some(5)),
            Part::Index => (0, None, None),
            Part::Dictionary => (2, Some(3), None),
            Part::Data2 => (6, Some(7), Some(8)),
        };
        let mut numbers = Numbers::default();
        thrift.fields(|thrift, field, kind| {
            if (1..=count).contains(&field) {
                let number = (kind == kind::I32).then(|| thrift.int())??;
                numbers[field as usize - 1] = number;
                return Some(());
            }
            let is_as_specified = if Some(field) == boolean {
                [kind::TRUE, kind::FALSE].contains(&kind)
            } else {
                Some(field) != statistics || kind == kind::STRUCT
            };
            is_as_specified.then(|| thrift.skip(kind))?
        })?;
        Some(numbers)
    }
}

/// Iterates over the page headers of a column chunk. A malformed header is `None` and the last item.
struct Pages<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl<'a> Pages<'a> {
    /// Most headers fit; statistics can make them longer.
    const USUAL_HEADER: usize = 512;
    const LONGEST_HEADER: usize = 64 << 20;

    fn new(file: &'a File, column: &ColumnChunkMetaData) -> Self {
        // `check_range` has checked both.
        let (at, length) = column.byte_range();
        Pages { file, at, end: at.saturating_add(length), buffer: Vec::new() }
    }

    /// The header at the current offset, and the offset of the next one. The chunk has `left` bytes left.
    fn header(&mut self, left: u64) -> Option<(Header, u64)> {
        let left = usize::try_from(left).ok()?;
        let mut size = Self::USUAL_HEADER;
        loop {
            self.buffer.resize(size.min(left), 0);
            self.file.read_exact_at(&mut self.buffer, self.at).ok()?;
            if let Some((header, length)) = Header::read(&self.buffer) {
                let next = self.at + length as u64 + u64::try_from(header.compressed).ok()?;
                return Some((header, next));
            }
            if size >= left || size >= Self::LONGEST_HEADER {
                return None;
            }
            size *= 16;
        }
    }
}

impl Iterator for Pages<'_> {
    type Item = Option<Header>;

    fn next(&mut self) -> Option<Option<Header>> {
        let left = self.end.checked_sub(self.at).filter(|left| *left > 0)?;
        let header = self.header(left);
        self.at = header.as_ref().map_or(self.end, |(_, next)| *next);
        Some(header.map(|(header, _)| header))
    }
}
