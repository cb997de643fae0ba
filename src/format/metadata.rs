//! The footer of a Parquet file, read field by field.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::chunk::Chunk;
use super::schema::Schema;
use super::thrift::{Fields, List, Thrift, kind};

/// Maximum size of a footer. Files with thousands of columns and row groups have about 100 MB.
pub const MAX_FOOTER_BYTES: u64 = 256 << 20;

/// The magic number at both ends of a file.
pub const MAGIC: &[u8; 4] = b"PAR1";

/// The magic number of a file whose footer is encrypted.
pub const ENCRYPTED_MAGIC: &[u8; 4] = b"PARE";

/// Field numbers of `FileMetaData`.
pub mod file_metadata {
    /// Version of the format.
    pub const VERSION: i16 = 1;
    /// Schema elements.
    pub const SCHEMA: i16 = 2;
    /// Number of rows.
    pub const NUM_ROWS: i16 = 3;
    /// Row groups.
    pub const ROW_GROUPS: i16 = 4;
    /// Key-value entries.
    pub const KEY_VALUES: i16 = 5;
    /// The program that wrote the file.
    pub const CREATED_BY: i16 = 6;
    /// How the values of each leaf are ordered in its statistics.
    pub const COLUMN_ORDERS: i16 = 7;
    /// How columns are encrypted.
    pub const ENCRYPTION_ALGORITHM: i16 = 8;
    /// Which key signs the footer.
    pub const SIGNING_KEY: i16 = 9;
}

/// Field numbers of `RowGroup`.
pub mod row_group {
    /// Column chunks.
    pub const COLUMNS: i16 = 1;
    /// Bytes of all chunks before compression.
    pub const TOTAL_BYTE_SIZE: i16 = 2;
    /// Number of rows.
    pub const NUM_ROWS: i16 = 3;
    /// The columns that its rows are sorted by.
    pub const SORTING_COLUMNS: i16 = 4;
    /// Offset of its first page.
    pub const FILE_OFFSET: i16 = 5;
    /// Bytes of all chunks.
    pub const TOTAL_COMPRESSED_SIZE: i16 = 6;
}

/// The bytes of a footer.
#[derive(Debug, Clone)]
pub struct FooterBytes {
    bytes: Vec<u8>,
    /// Its offset in the file: pages lie before it.
    start: u64,
    /// Where its row groups are, which take nearly all of it; known after the first parse.
    groups: OnceLock<GroupPlaces>,
}

/// The list of row groups in a footer.
#[derive(Debug, Clone)]
struct GroupPlaces {
    kind: u8,
    /// The first row group.
    start: usize,
    /// The bytes of each.
    lengths: Vec<u32>,
}

/// Why a file has no footer that can be read.
#[derive(Debug)]
pub enum FooterFault {
    /// The system could not read the file.
    Io(io::Error),
    /// It is not a Parquet file, or was not written completely.
    NotParquet,
    /// Its footer is encrypted.
    Encrypted,
    /// Its footer is too large, in bytes.
    TooLarge(u64),
    /// Its footer is longer than the file, in bytes.
    Truncated(u64),
}

impl FooterBytes {
    /// Reads the footer of a file of `length` bytes.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read(file: &File, length: u64) -> std::result::Result<FooterBytes, FooterFault> {
        let mut tail = [0; 8];
        let end = length.checked_sub(8).filter(|end| *end >= 4).ok_or(FooterFault::NotParquet)?;
        file.read_exact_at(&mut tail, end).map_err(FooterFault::Io)?;
        match &tail[4..] {
            magic if magic == MAGIC => {}
            magic if magic == ENCRYPTED_MAGIC => return Err(FooterFault::Encrypted),
            _ => return Err(FooterFault::NotParquet),
        }
        let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let start = end.checked_sub(size).filter(|start| *start >= 4);
        let start = start.ok_or(FooterFault::Truncated(size))?;
        if size > MAX_FOOTER_BYTES {
            return Err(FooterFault::TooLarge(size));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact_at(&mut bytes, start).map_err(FooterFault::Io)?;
        Ok(FooterBytes::new(bytes, start))
    }

    /// A footer of these bytes at `start`.
    pub fn new(bytes: Vec<u8>, start: u64) -> FooterBytes {
        FooterBytes { bytes, start, groups: OnceLock::new() }
    }

    /// The encoded `FileMetaData`, and a signature after it if there is one.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses the footer.
    ///
    /// # Errors
    /// `Input`, without the file, when it is malformed.
    pub fn parse(&self) -> Result<Metadata<'_>> {
        let (metadata, places) = Metadata::parse(&self.bytes, self.start, self.groups.get())?;
        if let Some(places) = places {
            self.groups.get_or_init(|| places);
        }
        Ok(metadata)
    }
}

impl GroupPlaces {
    /// Reads the list; the cursor is at its start.
    fn read<'a>(cursor: &mut Thrift<'a>) -> Option<(List<'a>, GroupPlaces)> {
        let list = List::read(cursor)?;
        let lengths: Option<Vec<u32>> =
            list.items.iter().map(|item| u32::try_from(item.len()).ok()).collect();
        let bytes: usize = list.items.iter().map(|item| item.len()).sum();
        let start = cursor.position().checked_sub(bytes)?;
        let places = GroupPlaces { kind: list.kind, start, lengths: lengths? };
        Some((list, places))
    }

    /// The list in the same footer, without a look at its row groups.
    fn list<'a>(&self, cursor: &mut Thrift<'a>) -> Option<List<'a>> {
        cursor.take(self.start.checked_sub(cursor.position())? as u64)?;
        let items =
            self.lengths.iter().map(|length| cursor.take((*length).into()).map(Cow::Borrowed));
        Some(List { kind: self.kind, items: items.collect::<Option<_>>()? })
    }
}

/// A parsed footer. Row groups and chunks are parsed when they are asked for.
#[derive(Debug, Clone)]
pub struct Metadata<'a> {
    /// `FileMetaData` without schema and row groups, which would be there twice.
    pub fields: Fields<'a>,
    /// The schema.
    pub schema: Schema<'a>,
    groups: List<'a>,
    /// Pages lie before this offset.
    pages_end: u64,
}

/// A row group of a footer.
#[derive(Debug, Clone)]
pub struct RowGroup<'a> {
    /// Its number in the file, from 0.
    pub number: usize,
    /// `RowGroup` without its chunks.
    pub fields: Fields<'a>,
    chunks: List<'a>,
}

impl<'a> Metadata<'a> {
    /// Parses a footer in one pass. Returns the places of its row groups, unless they are `known`.
    fn parse(
        bytes: &'a [u8],
        pages_end: u64,
        known: Option<&GroupPlaces>,
    ) -> Result<(Metadata<'a>, Option<GroupPlaces>)> {
        let (mut elements, mut groups, mut places) = (None, None, None);
        // Bytes after the struct are the signature of a file with encrypted columns.
        let mut cursor = Thrift::new(bytes);
        let fields = Fields::read_with(&mut cursor, |cursor, id, kind| {
            match (id, kind, known) {
                (file_metadata::SCHEMA, kind::LIST, _) => elements = Some(List::read(cursor)?),
                (file_metadata::ROW_GROUPS, kind::LIST, Some(known)) => {
                    groups = Some(known.list(cursor)?);
                }
                (file_metadata::ROW_GROUPS, kind::LIST, None) => {
                    let (list, found) = GroupPlaces::read(cursor)?;
                    (groups, places) = (Some(list), Some(found));
                }
                _ => cursor.skip(kind)?,
            }
            Some(())
        });
        let mut fields = fields.ok_or_else(|| malformed("its footer is malformed".to_owned()))?;
        let elements = elements.ok_or_else(|| malformed("its footer has no schema".to_owned()))?;
        let schema = Schema::read(elements)
            .map_err(|fault| malformed(format!("the schema in its footer {fault}")))?;
        if groups.is_none() && fields.has(file_metadata::ROW_GROUPS) {
            return Err(malformed("the row groups in its footer are malformed".to_owned()));
        }
        fields.remove(file_metadata::SCHEMA);
        fields.remove(file_metadata::ROW_GROUPS);
        let groups = groups.unwrap_or_else(List::of_structs);
        Ok((Metadata { fields, schema, groups, pages_end }, places))
    }

    /// Number of row groups.
    pub fn group_count(&self) -> usize {
        self.groups.items.len()
    }

    /// Number of rows that the footer declares for the whole file; the sum of its row groups if it
    /// declares 0, as one old writer did for every file.
    pub fn rows(&self) -> i64 {
        match self.fields.int(file_metadata::NUM_ROWS) {
            Some(0) => {
                let rows = |number: usize| self.group(number).map_or(0, |group| group.rows());
                (0..self.group_count()).map(rows).fold(0, i64::saturating_add)
            }
            rows => rows.unwrap_or(-1),
        }
    }

    /// Pages lie before this offset.
    pub fn pages_end(&self) -> u64 {
        self.pages_end
    }

    /// A row group.
    ///
    /// # Errors
    /// `Input`, naming the row group, when it is malformed or has another number of columns than the
    /// schema.
    pub fn group(&self, number: usize) -> Result<RowGroup<'_>> {
        let place = || format!("row group {number}");
        let group = self.groups.items.get(number).and_then(|item| RowGroup::parse(number, item));
        let group = group.ok_or_else(|| {
            malformed("its entry in the footer is malformed".to_owned()).at(place())
        })?;
        let (chunks, leaves) = (group.chunks.items.len(), self.schema.leaves.len());
        if chunks != leaves {
            let message = format!("it has {chunks} columns, the schema has {leaves}");
            return Err(malformed(message).at(place()));
        }
        Ok(group)
    }

    /// The key-value entries: key and value as bytes.
    pub fn key_values(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let entries = self.fields.list(file_metadata::KEY_VALUES);
        let entries = entries.as_ref().and_then(List::structures).unwrap_or_default();
        let pair = |entry: &Fields<'_>| {
            Some((entry.bytes(1)?.to_owned(), entry.bytes(2).map(<[u8]>::to_owned)))
        };
        entries.iter().filter_map(pair).collect()
    }

    /// The text of a key-value entry.
    pub fn key_value(&self, key: &str) -> Option<String> {
        let (_, value) =
            self.key_values().into_iter().find(|(found, _)| found == key.as_bytes())?;
        String::from_utf8(value?).ok()
    }

    /// Whether the file has encrypted columns or a signed footer.
    pub fn is_encrypted(&self) -> bool {
        self.fields.has(file_metadata::ENCRYPTION_ALGORITHM)
    }

    /// The program that wrote the file.
    pub fn created_by(&self) -> Option<&str> {
        std::str::from_utf8(self.fields.bytes(file_metadata::CREATED_BY)?).ok()
    }

    /// Bytes that a chunk may be longer than it declares: parquet-mr before 1.2.9 left the header of
    /// the dictionary page out (PARQUET-816).
    pub fn slack(&self) -> u64 {
        const SLACK: u64 = 100;
        match self.created_by().is_some_and(forgets_dictionary_headers) {
            true => SLACK,
            false => 0,
        }
    }

    /// Checks row counts and the places of chunks: inside the file, in this file, and each for itself.
    ///
    /// # Errors
    /// `Input`, naming row group and column.
    pub fn check(&self) -> Result<()> {
        let slack = self.slack();
        let mut sum: i64 = 0;
        let mut ranges: Vec<(Range<u64>, usize, usize)> = Vec::new();
        for number in 0..self.group_count() {
            let group = self.group(number)?;
            let rows = group.rows();
            let place = || format!("row group {number}");
            sum = (rows >= 0)
                .then(|| sum.checked_add(rows))
                .flatten()
                .ok_or_else(|| malformed(format!("it declares {rows} rows")).at(place()))?;
            for leaf in 0..self.schema.leaves.len() {
                let column = || format!("column `{}`", self.schema.leaves[leaf].path);
                let refuse = |message: String| malformed(message).at(place()).at(column());
                let chunk = group
                    .chunk(leaf)
                    .ok_or_else(|| refuse("its entry in the footer is malformed".to_owned()))?;
                if let Some(other) = chunk.file_path() {
                    let other: String = String::from_utf8_lossy(other).chars().take(80).collect();
                    return Err(refuse(format!("its data is in another file, {other:?}")));
                }
                // Its metadata may be encrypted, and then says nothing.
                if chunk.is_encrypted() {
                    continue;
                }
                let range = chunk.range(self.pages_end).ok_or_else(|| {
                    let (start, size) = chunk.declared_range();
                    refuse(format!(
                        "its {size} bytes at offset {start} are not inside of the {} bytes before \
                         the footer",
                        self.pages_end
                    ))
                })?;
                if range.is_empty() {
                    continue;
                }
                if let Some(data) = chunk.misplaced_data_page(slack) {
                    return Err(refuse(format!(
                        "its first data page at offset {data} is not inside of its {} bytes at \
                         offset {}",
                        range.end - range.start,
                        range.start
                    )));
                }
                ranges.push((range, number, leaf));
            }
        }
        let declared = self.rows();
        if sum != declared {
            let message = format!("the footer declares {declared} rows, its row groups {sum}");
            return Err(malformed(message));
        }
        ranges.sort_unstable_by_key(|(range, ..)| range.start);
        for pair in ranges.windows(2) {
            let ((one, ..), (other, group, leaf)) = (&pair[0], &pair[1]);
            if other.start < one.end {
                let path = &self.schema.leaves[*leaf].path;
                return Err(malformed("its bytes are those of another column too".to_owned())
                    .at(format!("row group {group}"))
                    .at(format!("column `{path}`")));
            }
        }
        Ok(())
    }
}

impl<'a> RowGroup<'a> {
    fn parse(number: usize, bytes: &'a [u8]) -> Option<RowGroup<'a>> {
        let mut chunks = None;
        let mut cursor = Thrift::new(bytes);
        let mut fields = Fields::read_with(&mut cursor, |cursor, id, kind| match (id, kind) {
            (row_group::COLUMNS, kind::LIST) => List::read(cursor).map(|read| chunks = Some(read)),
            _ => cursor.skip(kind),
        })?;
        fields.remove(row_group::COLUMNS);
        (cursor.position() == bytes.len()).then_some(RowGroup { number, fields, chunks: chunks? })
    }

    /// Number of rows that it declares.
    pub fn rows(&self) -> i64 {
        self.fields.int(row_group::NUM_ROWS).unwrap_or(-1)
    }

    /// The chunk of a leaf; `None` if it is malformed.
    pub fn chunk(&self, leaf: usize) -> Option<Chunk<'_>> {
        Chunk::parse(self.chunks.items.get(leaf)?)
    }
}

/// Whether a writer is parquet-mr before 1.2.9.
fn forgets_dictionary_headers(created_by: &str) -> bool {
    let Some(rest) = created_by.strip_prefix("parquet-mr") else { return false };
    let version = rest.trim_start().strip_prefix("version").unwrap_or("").trim_start();
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(std::result::Result::ok);
    match (next(), next(), next()) {
        (Some(major), Some(minor), Some(patch)) => (major, minor, patch) < (1, 2, 9),
        // The first versions wrote none.
        _ => true,
    }
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Input, message)
        .advice("its footer is inconsistent; write the file again from its source")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footer_that_declares_no_rows_has_those_of_its_row_groups() {
        let footer = |declared: i64| {
            let mut root = Fields::default();
            root.set_bytes(4, b"schema");
            root.set_i32(5, 0);
            let mut elements = List::of_structs();
            elements.push(root.encode());
            let mut groups = List::of_structs();
            for rows in [4, 2] {
                let mut group = Fields::default();
                group.set_list(row_group::COLUMNS, &List::of_structs());
                group.set_i64(row_group::NUM_ROWS, rows);
                groups.push(group.encode());
            }
            let mut fields = Fields::default();
            fields.set_list(file_metadata::SCHEMA, &elements);
            fields.set_i64(file_metadata::NUM_ROWS, declared);
            fields.set_list(file_metadata::ROW_GROUPS, &groups);
            let footer = FooterBytes::new(fields.encode(), 100);
            let metadata = footer.parse().expect("a footer");
            metadata.check().map(|()| metadata.rows()).ok()
        };
        assert_eq!((footer(6), footer(0), footer(5)), (Some(6), Some(6), None));
    }

    #[test]
    fn footer_that_is_parsed_again_has_the_same_row_groups() {
        let mut root = Fields::default();
        root.set_bytes(4, b"schema");
        root.set_i32(5, 0);
        let mut elements = List::of_structs();
        elements.push(root.encode());
        for count in [0, 1, 20] {
            let mut groups = List::of_structs();
            for rows in 0..count {
                let mut group = Fields::default();
                group.set_list(row_group::COLUMNS, &List::of_structs());
                group.set_i64(row_group::NUM_ROWS, 1 << rows);
                groups.push(group.encode());
            }
            let mut fields = Fields::default();
            fields.set_list(file_metadata::SCHEMA, &elements);
            fields.set_list(file_metadata::ROW_GROUPS, &groups);
            fields.set_bytes(file_metadata::CREATED_BY, b"a writer");
            let footer = FooterBytes::new(fields.encode(), 100);
            let parse = || {
                let metadata = footer.parse().expect("a footer");
                assert_eq!(metadata.created_by(), Some("a writer"), "{count}");
                let rows = |group: usize| metadata.group(group).expect("a row group").rows();
                (0..metadata.group_count()).map(rows).collect::<Vec<_>>()
            };
            let (first, second) = (parse(), parse());
            assert_eq!(first, (0..count).map(|rows| 1 << rows).collect::<Vec<_>>());
            assert_eq!(second, first);
        }
    }

    #[test]
    fn old_versions_of_parquet_mr_forget_dictionary_headers() {
        for (created_by, forgets) in [
            ("parquet-mr version 1.2.8 (build abc)", true),
            ("parquet-mr version 1.2.9 (build abc)", false),
            ("parquet-mr version 1.13.1", false),
            ("parquet-mr", true),
            ("parquet-cpp-arrow version 1.2.0", false),
            ("", false),
        ] {
            assert_eq!(forgets_dictionary_headers(created_by), forgets, "{created_by:?}");
        }
    }
}
