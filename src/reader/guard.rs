//! What is looked at before the Parquet decoder is let near it.
//!
//! The decoder is safe, but it believes: it follows a schema down as deep as it goes, reserves what a page header
//! asks for, and panics at a negative offset. Nothing here decodes a value: headers are read, and of delta-encoded
//! strings how many lengths there are.

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

/// Groups inside one another. Schemas of people have five; the decoder's own recursion ends somewhere beyond
/// a thousand.
const MOST_DEPTH: usize = 100;

/// The largest footers, of files with thousands of columns and row groups, have some 100 MB.
const MOST_FOOTER_BYTES: u64 = 256 << 20;

/// A page is decoded as a whole; writers aim at 1 MB, and only a single huge value makes one larger.
const MOST_PAGE_BYTES: u64 = 256 << 20;

/// Entries of a dictionary take 16 bytes each in memory, however short they are.
const MOST_DICTIONARY_VALUES: u64 = 1 << 24;

/// A value of fixed width takes its width even where it is null.
const MOST_FIXED_BYTES: u64 = 16 << 20;

/// Values (list elements, nulls) of one row that are decoded together, beyond which they have to be worth a bit
/// each in the file: run-length encoding can promise a billion of them in a few bytes.
const MOST_VALUES: u64 = 1 << 24;

/// What a file may decode to, beside a multiple of its size: small files are read whatever they promise.
const FREE_BYTES: u64 = 1 << 30;

/// Tables of people are rarely compressed to less than a hundredth; what is repeated row after row may be.
const MOST_INFLATION: u64 = 1000;

/// A row takes so many bytes per column at the least.
const LEAST_VALUE_BYTES: u64 = 16;

/// The bytes that a file of `length` bytes can be expected to decode to; beyond them it is taken for a bomb unless
/// the configuration says otherwise.
pub fn expected(length: u64) -> u64 {
    length.saturating_mul(MOST_INFLATION).saturating_add(FREE_BYTES)
}

/// Looks at the depth of the schema in the footer. What is not a footer at all is left for the decoder to say.
///
/// # Errors
/// `Input`, without a place.
pub fn check_footer(file: &File, length: u64) -> Result<()> {
    let refuse = |message: String| {
        Err(Error::new(ErrorKind::Input, message)
            .advice("check where the file comes from: no writer of tables makes such a footer"))
    };
    let mut tail = [0; 8];
    let Some(end) = length.checked_sub(8) else { return Ok(()) };
    if file.read_exact_at(&mut tail, end).is_err() || &tail[4..] != b"PAR1" {
        return Ok(());
    }
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(start) = end.checked_sub(size) else { return Ok(()) };
    if size > MOST_FOOTER_BYTES {
        return refuse(format!("a footer of {size} bytes is more than can be read"));
    }
    let mut footer = vec![0; size as usize];
    if file.read_exact_at(&mut footer, start).is_err() {
        return Ok(());
    }
    match depth(&footer) {
        Some(depth) if depth > MOST_DEPTH => {
            refuse(format!("its schema is {depth} groups deep; up to {MOST_DEPTH} are read"))
        }
        Some(_) => Ok(()),
        None => refuse("the schema in its footer makes no sense".to_owned()),
    }
}

/// How deep the groups of the footer's schema lie inside one another; nothing where the schema makes no sense. The
/// decoder takes a number for what its field says that it is, whatever its kind: here a field is of its kind, or
/// nothing.
fn depth(footer: &[u8]) -> Option<usize> {
    const SCHEMA: i64 = 2;
    const NUM_CHILDREN: i64 = 5;
    let mut deepest = 0;
    // Children that are still to come, of each group around the current place.
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
    // What comes after the schema does not matter here.
    whole.then_some(deepest)
}

/// Looks at what the footer says of rows and places, and at sizes that the schema fixes. The file has `length`
/// bytes and may decode to `decode_limit`.
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
            .advice("the footer contradicts itself; write the file again from its source")
    };
    let mut sum: i64 = 0;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let place = format!("row group {number}");
        let rows = group.num_rows();
        sum = (rows >= 0)
            .then(|| sum.checked_add(rows))
            .flatten()
            .ok_or_else(|| refuse(format!("it promises {rows} rows")).at(&place))?;
        for column in group.columns() {
            check_place(column, length).map_err(|message| {
                refuse(message).at(&place).at(format!("column `{}`", column.column_path().string()))
            })?;
        }
    }
    let promised = metadata.file_metadata().num_rows();
    if sum != promised {
        return Err(refuse(format!("the footer promises {promised} rows, its row groups {sum}")));
    }
    let columns = schema.fields().len() as u64;
    let least = promised.unsigned_abs().saturating_mul(columns * LEAST_VALUE_BYTES);
    if least > decode_limit {
        let message = format!("its {promised} rows decode to more than {decode_limit} bytes");
        return Err(bomb(ErrorKind::Input, &message, length));
    }
    for field in schema.fields() {
        let fixed = fixed_values(field.data_type());
        if fixed > MOST_VALUES {
            let message = format!("lists of {fixed} values each are more than can be read");
            return Err(refuse(message).at(format!("column `{}`", field.name())));
        }
    }
    Ok(())
}

/// A file of `length` bytes that takes little room on the disk, and endless time to read.
pub fn bomb(kind: ErrorKind, message: &str, length: u64) -> Error {
    Error::new(kind, format!("{message}, which is too much for its {length} bytes"))
        .advice("if the file is sound, set `input.decode_limit` to what it decodes to")
}

/// Whether a chunk lies inside this file.
fn check_place(column: &ColumnChunkMetaData, length: u64) -> std::result::Result<(), String> {
    if let Some(other) = column.file_path().filter(|path| !path.is_empty()) {
        let other: String = other.chars().take(80).collect();
        return Err(format!("it lies in another file, {other:?}"));
    }
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let size = column.compressed_size();
    let inside = u64::try_from(start).is_ok()
        && u64::try_from(size).is_ok()
        && start.checked_add(size).is_some_and(|end| end as u64 <= length);
    if !inside {
        return Err(format!(
            "its {size} bytes at {start} are not inside the file, of {length} bytes"
        ));
    }
    Ok(())
}

/// Values that a row of this type takes even where it is null: fixed-size lists are padded.
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

/// What a column's chunk costs to decode, by the headers of its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Values in a row, on average.
    pub values_per_row: u64,
    /// Bytes of a row, on average, and at the least where values have a fixed width or repeat what was before.
    pub bytes_per_row: u64,
}

/// Reads the page headers of a chunk.
///
/// # Errors
/// Why it cannot be decoded in a bounded room.
pub fn cost(
    file: &File,
    column: &ColumnChunkMetaData,
    rows: u64,
) -> std::result::Result<Cost, String> {
    let descr = column.column_descr();
    let mut values = column.num_values().unsigned_abs();
    let mut bytes = column.uncompressed_size().unsigned_abs();
    let (mut page_values, mut page_bytes, mut largest_delta) = (0u64, 0u64, 0);
    let mut has_delta = false;
    for page in Pages::of(file, column) {
        let page = page.ok_or("the header of a page makes no sense")?;
        let (Ok(size), Ok(count)) = (u64::try_from(page.uncompressed), u64::try_from(page.values))
        else {
            let (size, count) = (page.uncompressed, page.values);
            return Err(format!("a page says that it has {count} values in {size} bytes"));
        };
        if size > MOST_PAGE_BYTES {
            return Err(format!("a page of {size} bytes is more than can be read"));
        }
        // The decoder adds the two in 32 bits.
        if page.levels.0 < 0
            || page.levels.1 < 0
            || page.levels.0 + page.levels.1 > page.uncompressed
        {
            return Err("the levels of a page are longer than the page".to_owned());
        }
        if page.is_dictionary {
            if count > size.max(1) || count > MOST_DICTIONARY_VALUES {
                return Err(format!(
                    "a dictionary of {count} values in {size} bytes is no dictionary"
                ));
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
    if values_per_row > MOST_VALUES
        || (descr.max_rep_level() > 0 && values > MOST_VALUES && is_cheap)
    {
        return Err(format!("{values} values in {rows} rows are more than can be read"));
    }
    let width = match descr.physical_type() {
        Type::FIXED_LEN_BYTE_ARRAY => u64::from(descr.type_length().unsigned_abs()),
        _ => 0,
    };
    if width > MOST_FIXED_BYTES {
        return Err(format!("values of {width} bytes each are more than can be read"));
    }
    let bytes_per_row =
        bytes.div_ceil(rows).max(width.saturating_mul(values_per_row)).max(largest_delta);
    Ok(Cost { values_per_row, bytes_per_row })
}

/// Reads the pages of delta-encoded strings for one number: how many lengths each says that it has. The decoder
/// reserves that many.
fn check_delta(file: &File, column: &ColumnChunkMetaData) -> std::result::Result<(), String> {
    // What cannot be read here cannot be read later either, and the decoder says why.
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
        let mut lengths = Thrift::new(behind_levels(&page, column.column_descr()));
        for _ in 0..sequences {
            let Some(sequence) = Sequence::read(&mut lengths) else { break };
            if sequence.count > values.min(MOST_VALUES) {
                let count = sequence.count;
                return Err(format!("a page of {values} values says that it has {count} lengths"));
            }
            if sequence.skip(&mut lengths).is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// The values of a data page, behind its levels; nothing where there are none.
fn behind_levels<'a>(page: &'a Page, descr: &ColumnDescriptor) -> &'a [u8] {
    let bytes: &[u8] = page.buffer();
    let length = match page {
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len)
        }
        Page::DataPage { num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut at = 0u64;
            for (most, encoding) in [
                (descr.max_rep_level(), rep_level_encoding),
                (descr.max_def_level(), def_level_encoding),
            ] {
                let bits = u64::from(i16::BITS - most.leading_zeros());
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

/// The head of DELTA_BINARY_PACKED numbers.
struct Sequence {
    /// Parts of a block, each with a bit width of its own.
    parts: u64,
    numbers_in_part: u64,
    /// How many numbers it says that it has.
    count: u64,
}

impl Sequence {
    fn read(bytes: &mut Thrift<'_>) -> Option<Self> {
        let (block, parts, count) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
        let numbers_in_part = block.checked_div(parts).filter(|numbers| *numbers > 0)?;
        Some(Sequence { parts, numbers_in_part, count })
    }

    /// Leaves the numbers out, of which the first stands in the head.
    fn skip(&self, bytes: &mut Thrift<'_>) -> Option<()> {
        bytes.number()?;
        let mut left = self.count.saturating_sub(1);
        while left > 0 {
            // The least difference of the block, then the widths of its parts.
            bytes.number()?;
            for width in bytes.take(self.parts)? {
                if left > 0 {
                    bytes.take(u64::from(*width).checked_mul(self.numbers_in_part)? / 8)?;
                    left = left.saturating_sub(self.numbers_in_part);
                }
            }
        }
        Some(())
    }
}

/// What a page's header says.
struct Header {
    is_dictionary: bool,
    uncompressed: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    /// Bytes of repetition and definition levels, in version 2.
    levels: (i64, i64),
}

impl Header {
    /// A value takes the beginning of the one before.
    const DELTA_BYTE_ARRAY: i64 = 7;
    /// The encodings of strings whose lengths stand apart.
    const DELTA_STRINGS: [i64; 2] = [6, Self::DELTA_BYTE_ARRAY];

    /// A header, and its length. Nothing where another reader could take it for something else: where a field has
    /// another kind than its own, or a number more bits.
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
        // The numbers of the parts: data, index, dictionary, data of version 2.
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

/// The numbers of a part of a page's header, in the order of their fields.
type Numbers = [i64; 6];

/// The part of a page's header that its kind of page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Data,
    Index,
    Dictionary,
    Data2,
}

impl Part {
    /// In the order of the kinds of page, which is that of the header's fields too, from 5 on.
    const ALL: [Part; 4] = [Part::Data, Part::Index, Part::Dictionary, Part::Data2];

    fn read(self, thrift: &mut Thrift<'_>) -> Option<Numbers> {
        // How many fields are numbers, from 1 on; then a boolean, then statistics.
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
            let is_own = if Some(field) == boolean {
                [kind::TRUE, kind::FALSE].contains(&kind)
            } else {
                Some(field) != statistics || kind == kind::STRUCT
            };
            is_own.then(|| thrift.skip(kind))?
        })?;
        Some(numbers)
    }
}

/// The headers of a chunk's pages. They end where the chunk does; nothing in the place of one that makes no sense.
struct Pages<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl<'a> Pages<'a> {
    /// Statistics make headers long; only their values have no bound.
    const USUAL_HEADER: usize = 512;
    const LONGEST_HEADER: usize = 64 << 20;

    fn of(file: &'a File, column: &ColumnChunkMetaData) -> Self {
        // Both are known to be inside the file.
        let (at, length) = column.byte_range();
        Pages { file, at, end: at.saturating_add(length), buffer: Vec::new() }
    }

    /// The header here, of which `left` bytes are left in the chunk, and where the next one is.
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
