//! A column chunk as its footer describes it: where its bytes lie, and how it is moved.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::thrift::{Fields, Thrift, kind};

/// Field numbers of `ColumnChunk`.
mod column_chunk {
    pub const FILE_PATH: i16 = 1;
    pub const FILE_OFFSET: i16 = 2;
    pub const META_DATA: i16 = 3;
    pub const OFFSET_INDEX: (i16, i16) = (4, 5);
    pub const COLUMN_INDEX: (i16, i16) = (6, 7);
    pub const CRYPTO_METADATA: i16 = 8;
    pub const ENCRYPTED_METADATA: i16 = 9;
}

/// Field numbers of `ColumnMetaData`.
pub mod column_metadata {
    /// Physical type.
    pub const TYPE: i16 = 1;
    /// Encodings of its pages.
    pub const ENCODINGS: i16 = 2;
    /// The names from the root column down.
    pub const PATH: i16 = 3;
    /// Compression codec.
    pub const CODEC: i16 = 4;
    /// Number of values, nulls and empty lists included.
    pub const NUM_VALUES: i16 = 5;
    /// Bytes of all pages before compression, headers included.
    pub const UNCOMPRESSED_SIZE: i16 = 6;
    /// Bytes of all pages as they are in the file, headers included.
    pub const COMPRESSED_SIZE: i16 = 7;
    /// Offset of the first data page.
    pub const DATA_PAGE_OFFSET: i16 = 9;
    /// Offset of an index page.
    pub const INDEX_PAGE_OFFSET: i16 = 10;
    /// Offset of the dictionary page.
    pub const DICTIONARY_PAGE_OFFSET: i16 = 11;
    /// Offset of the bloom filter.
    pub const BLOOM_FILTER_OFFSET: i16 = 14;
    /// Bytes of the bloom filter, header included; old writers leave it out.
    pub const BLOOM_FILTER_LENGTH: i16 = 15;
}

/// A column chunk of a footer, not checked against the file.
#[derive(Debug, Clone)]
pub struct Chunk<'a> {
    fields: Fields<'a>,
    metadata: Fields<'a>,
}

/// Where a chunk is in the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Placed {
    /// Offset of its first page.
    pub start: u64,
    /// Offset and length of its offset index.
    pub offset_index: Option<(u64, u64)>,
    /// Offset and length of its column index.
    pub column_index: Option<(u64, u64)>,
    /// Offset and length of its bloom filter.
    pub bloom_filter: Option<(u64, u64)>,
}

impl<'a> Chunk<'a> {
    /// Reads a `ColumnChunk`; `None` if it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<Chunk<'a>> {
        let mut metadata = Fields::default();
        let mut cursor = Thrift::new(bytes);
        let fields = Fields::read_with(&mut cursor, |cursor, id, kind| match (id, kind) {
            (column_chunk::META_DATA, kind::STRUCT) => {
                Fields::read(cursor).map(|read| metadata = read)
            }
            (column_chunk::META_DATA, _) => None,
            _ => cursor.skip(kind),
        })?;
        (cursor.position() == bytes.len()).then_some(Chunk { fields, metadata })
    }

    /// A chunk of this metadata.
    pub fn new(metadata: Fields<'a>) -> Chunk<'a> {
        Chunk { fields: Fields::default(), metadata }
    }

    /// Its `ColumnMetaData`.
    pub fn metadata(&self) -> &Fields<'a> {
        &self.metadata
    }

    /// Whether its pages or its metadata are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.fields.has(column_chunk::CRYPTO_METADATA)
            || self.fields.has(column_chunk::ENCRYPTED_METADATA)
    }

    /// The other file that has its pages.
    pub fn file_path(&self) -> Option<&[u8]> {
        self.fields.bytes(column_chunk::FILE_PATH).filter(|path| !path.is_empty())
    }

    /// Number of values that it declares.
    pub fn values(&self) -> i64 {
        self.metadata.int(column_metadata::NUM_VALUES).unwrap_or(-1)
    }

    /// Bytes before compression that it declares.
    pub fn uncompressed_size(&self) -> i64 {
        self.metadata.int(column_metadata::UNCOMPRESSED_SIZE).unwrap_or(-1)
    }

    /// The offset of its first page and its bytes, as declared.
    ///
    /// A dictionary page comes before the data pages. Writers without one leave its offset out, or
    /// write 0; some old ones count the dictionary page as the first data page. A chunk without rows
    /// may have a dictionary alone, and 0 for its data pages.
    pub fn declared_range(&self) -> (i64, i64) {
        let data = self.metadata.int(column_metadata::DATA_PAGE_OFFSET).unwrap_or(-1);
        let start = match self.metadata.int(column_metadata::DICTIONARY_PAGE_OFFSET) {
            Some(dictionary) if dictionary > 0 && (data <= 0 || dictionary < data) => dictionary,
            _ => data,
        };
        (start, self.metadata.int(column_metadata::COMPRESSED_SIZE).unwrap_or(-1))
    }

    /// The range of its bytes, which ends at or before `end`; `None` if it is not inside.
    pub fn range(&self, end: u64) -> Option<Range<u64>> {
        let (start, size) = self.declared_range();
        if size == 0 && self.values() == 0 {
            // A chunk without pages is nowhere.
            return Some(4..4);
        }
        let (start, size) = (u64::try_from(start).ok()?, u64::try_from(size).ok()?);
        inside(start, size, end)
    }

    /// The declared offset of its first data page if that is not inside of the chunk, which may be
    /// `slack` bytes longer than it declares. Readers that look for the page there would fail.
    pub fn misplaced_data_page(&self, slack: u64) -> Option<i64> {
        let data = self.metadata.int(column_metadata::DATA_PAGE_OFFSET).unwrap_or(-1);
        let (start, size) = self.declared_range();
        // Without a dictionary the chunk begins with it; 0 stands for none.
        if data == start || data == 0 {
            return None;
        }
        let end = start.saturating_add(size).saturating_add_unsigned(slack);
        // Where no data page follows the dictionary, the place for one is behind it.
        let is_inside = data > start && (data < end || (data == end && self.values() == 0));
        (!is_inside).then_some(data)
    }

    /// The range of its offset index, if it has one that ends at or before `end`.
    pub fn offset_index(&self, end: u64) -> Option<Range<u64>> {
        self.index(column_chunk::OFFSET_INDEX, end)
    }

    /// The range of its column index, if it has one that ends at or before `end`.
    pub fn column_index(&self, end: u64) -> Option<Range<u64>> {
        self.index(column_chunk::COLUMN_INDEX, end)
    }

    /// The range of its bloom filter, if it has one that ends at or before `end`. Old writers do not
    /// declare its length; its header in the file has it.
    ///
    /// # Errors
    /// When that header cannot be read.
    pub fn bloom_filter(&self, file: &File, end: u64) -> io::Result<Option<Range<u64>>> {
        let Some(offset) = self.metadata.int(column_metadata::BLOOM_FILTER_OFFSET) else {
            return Ok(None);
        };
        let Some(offset) = u64::try_from(offset).ok().filter(|at| *at >= 4 && *at < end) else {
            return Ok(None);
        };
        let length = match self.metadata.int(column_metadata::BLOOM_FILTER_LENGTH) {
            Some(length) => u64::try_from(length).ok(),
            None => bloom_filter_length(file, offset, end)?,
        };
        Ok(length.and_then(|length| inside(offset, length, end)).filter(|range| !range.is_empty()))
    }

    /// The encoded chunk at another place. Every field that is no offset stays.
    pub fn encode_at(&self, placed: &Placed) -> Vec<u8> {
        let (old_start, size) = self.declared_range();
        let start = placed.start as i64;
        let shift = |offset: i64| start.saturating_add(offset.saturating_sub(old_start));
        let mut metadata = self.metadata.clone();
        for id in [
            column_metadata::DATA_PAGE_OFFSET,
            column_metadata::INDEX_PAGE_OFFSET,
            column_metadata::DICTIONARY_PAGE_OFFSET,
        ] {
            // 0 stands for none.
            if let Some(offset) = metadata.int(id).filter(|offset| *offset > 0) {
                metadata.change_int(id, shift(offset));
            }
        }
        metadata.remove(column_metadata::BLOOM_FILTER_OFFSET);
        if let Some((offset, length)) = placed.bloom_filter {
            metadata.set_i64(column_metadata::BLOOM_FILTER_OFFSET, offset as i64);
            // Where the writer left the length out, readers of its files do without.
            metadata.change_int(column_metadata::BLOOM_FILTER_LENGTH, length as i64);
        } else {
            metadata.remove(column_metadata::BLOOM_FILTER_LENGTH);
        }
        let mut fields = self.fields.clone();
        // Deprecated: some writers put the first page's offset there, some the end's, some 0.
        let offset = fields.int(column_chunk::FILE_OFFSET).unwrap_or(0);
        let is_of_chunk = offset >= old_start && offset <= old_start.saturating_add(size);
        fields.set_i64(column_chunk::FILE_OFFSET, if is_of_chunk { shift(offset) } else { 0 });
        fields.set_structure(column_chunk::META_DATA, &metadata);
        for ((offset, length), place) in [
            (column_chunk::OFFSET_INDEX, placed.offset_index),
            (column_chunk::COLUMN_INDEX, placed.column_index),
        ] {
            match place {
                Some((at, bytes)) => {
                    fields.set_i64(offset, at as i64);
                    fields.set_i32(length, i32::try_from(bytes).unwrap_or(i32::MAX));
                }
                None => {
                    fields.remove(offset);
                    fields.remove(length);
                }
            }
        }
        fields.encode()
    }

    fn index(&self, (offset, length): (i16, i16), end: u64) -> Option<Range<u64>> {
        let offset = u64::try_from(self.fields.int(offset)?).ok()?;
        let length = u64::try_from(self.fields.int(length)?).ok()?;
        inside(offset, length, end).filter(|range| !range.is_empty())
    }
}

/// The bytes of the bloom filter at `offset`, header included; `None` if it has no header.
fn bloom_filter_length(file: &File, offset: u64, end: u64) -> io::Result<Option<u64>> {
    const LONGEST_HEADER: u64 = 256;
    const NUM_BYTES: i16 = 1;
    let mut bytes = vec![0; (end - offset).min(LONGEST_HEADER) as usize];
    file.read_exact_at(&mut bytes, offset)?;
    let mut cursor = Thrift::new(&bytes);
    let header = Fields::read(&mut cursor);
    let filter = header.and_then(|header| u64::try_from(header.int(NUM_BYTES)?).ok());
    Ok(filter.map(|filter| filter.saturating_add(cursor.position() as u64)))
}

/// A range of the file between its magic number and `end`.
fn inside(start: u64, size: u64, end: u64) -> Option<Range<u64>> {
    let stop = start.checked_add(size)?;
    (start >= 4 && stop <= end).then_some(start..stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(dictionary: Option<i64>, data: i64, size: i64) -> Chunk<'static> {
        let mut metadata = Fields::default();
        metadata.set_i64(column_metadata::NUM_VALUES, 3);
        metadata.set_i64(column_metadata::COMPRESSED_SIZE, size);
        metadata.set_i64(column_metadata::DATA_PAGE_OFFSET, data);
        if let Some(dictionary) = dictionary {
            metadata.set_i64(column_metadata::DICTIONARY_PAGE_OFFSET, dictionary);
        }
        Chunk::new(metadata)
    }

    #[test]
    fn chunk_begins_with_its_dictionary_if_it_has_one() {
        for (dictionary, data, start) in [
            (None, 100, 100),
            (Some(0), 100, 100),
            (Some(40), 100, 40),
            // As some writers order them by mistake.
            (Some(200), 100, 100),
            // A dictionary without a data page.
            (Some(4), 0, 4),
        ] {
            assert_eq!(chunk(dictionary, data, 50).declared_range(), (start, 50), "{dictionary:?}");
        }
    }

    #[test]
    fn chunk_outside_of_the_pages_has_no_range() {
        for (start, size, range) in [
            (4, 96, Some(4..100)),
            (4, 97, None),
            (3, 10, None),
            (-1, 10, None),
            (50, -1, None),
            (i64::MAX, i64::MAX, None),
        ] {
            assert_eq!(chunk(None, start, size).range(100), range, "{start}, {size}");
        }
    }

    #[test]
    fn data_page_outside_of_its_chunk_is_misplaced() {
        for (dictionary, data, slack, misplaced) in [
            (None, 100, 0, false),
            // Writers that have no dictionary, or none but a dictionary.
            (Some(0), 100, 0, false),
            (Some(40), 0, 0, false),
            // As some writers order or count them by mistake.
            (Some(200), 100, 0, false),
            (Some(100), 100, 0, false),
            (Some(40), 41, 0, false),
            (Some(40), 89, 0, false),
            (Some(40), 90, 0, true),
            (Some(40), 90, 1, false),
            (Some(40), i64::MAX, 100, true),
            (Some(40), -1, 0, true),
        ] {
            let found = chunk(dictionary, data, 50).misplaced_data_page(slack);
            assert_eq!(found, misplaced.then_some(data), "{dictionary:?}, {data}, {slack}");
        }
    }

    #[test]
    fn chunk_without_values_may_have_its_data_page_at_its_end() {
        let mut empty = chunk(Some(40), 90, 50);
        empty.metadata.set_i64(column_metadata::NUM_VALUES, 0);
        assert_eq!(empty.misplaced_data_page(0), None);
        empty.metadata.set_i64(column_metadata::DATA_PAGE_OFFSET, 91);
        assert_eq!(empty.misplaced_data_page(0), Some(91));
    }

    #[test]
    fn moved_chunk_has_its_offsets_moved_and_all_else_as_it_was() {
        let encoded = chunk(Some(40), 100, 90).encode_at(&Placed {
            start: 1040,
            offset_index: Some((5000, 20)),
            ..Placed::default()
        });
        let moved = Chunk::parse(&encoded).expect("a chunk");
        assert_eq!(moved.declared_range(), (1040, 90));
        assert_eq!(moved.metadata().int(column_metadata::DATA_PAGE_OFFSET), Some(1100));
        assert_eq!(moved.offset_index(10_000), Some(5000..5020));
        assert_eq!((moved.column_index(10_000), moved.values()), (None, 3));
    }

    #[test]
    fn bloom_filter_without_a_length_has_that_of_its_header() {
        use std::io::Write as _;

        let mut header = Fields::default();
        header.set_i32(1, 32);
        header.set_structure(2, &Fields::default());
        let header = header.encode();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[&[0; 10][..], &header, &[7; 200]].concat()).expect("written");
        let range = |length: Option<i64>| {
            let mut metadata = Fields::default();
            metadata.set_i64(column_metadata::BLOOM_FILTER_OFFSET, 10);
            if let Some(length) = length {
                metadata.set_i64(column_metadata::BLOOM_FILTER_LENGTH, length);
            }
            Chunk::new(metadata).bloom_filter(&file, 200).expect("it is read")
        };
        assert_eq!(range(None), Some(10..10 + header.len() as u64 + 32));
        assert_eq!(range(Some(40)), Some(10..50));
        // Outside of the file, no reader could use it.
        assert_eq!(range(Some(400)), None);
    }
}
