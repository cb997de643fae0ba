//! Page headers, and a walk over the pages of a column chunk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::thrift::{Thrift, kind};

/// Most headers fit; statistics can make them longer.
const USUAL_HEADER: usize = 512;

/// Maximum size of a page header.
const LONGEST_HEADER: usize = 64 << 20;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes that are read at once where small chunks follow one another.
const NEIGHBOUR_BYTES: usize = 64 << 10;

/// Bytes that the system is asked to read ahead in a large chunk.
#[cfg(target_os = "linux")]
const AHEAD_BYTES: u64 = 8 << 20;

/// A page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the page holds.
    pub part: Part,
    /// Bytes of the page after decompression.
    pub uncompressed: i64,
    /// Bytes of the page in the file.
    pub compressed: i64,
    /// Number of values.
    pub values: i64,
    /// How they are encoded.
    pub encoding: i64,
    /// Bytes of repetition and definition levels; 0 in version 1.
    pub levels: (i64, i64),
    /// The checksum of the bytes in the file.
    pub crc: Option<u32>,
}

/// The part of a page header that belongs to a kind of page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Values, version 1.
    Data,
    /// An index; no writer makes them.
    Index,
    /// The values of a dictionary.
    Dictionary,
    /// Values, version 2.
    Data2,
}

impl Header {
    /// A value reuses a prefix of the value before it.
    pub const DELTA_BYTE_ARRAY: i64 = 7;
    /// The string encodings with separate lengths.
    pub const DELTA_STRINGS: [i64; 2] = [6, Self::DELTA_BYTE_ARRAY];

    /// Whether the page is a dictionary.
    pub fn is_dictionary(&self) -> bool {
        self.part == Part::Dictionary
    }

    /// Parses a header; returns it with its length. `None` if readers could disagree about it: a
    /// field has another kind than specified, or a number has too many bits.
    pub fn read(bytes: &[u8]) -> Option<(Header, usize)> {
        let (mut page, mut uncompressed, mut compressed, mut crc) = (None, None, None, None);
        let mut parts = [None; 4];
        let mut thrift = Thrift::new(bytes);
        thrift.fields(|thrift, field, kind| match (field, kind) {
            (1, kind::I32) => thrift.int().map(|number| page = Some(number)),
            (2, kind::I32) => thrift.int().map(|number| uncompressed = Some(number)),
            (3, kind::I32) => thrift.int().map(|number| compressed = Some(number)),
            (4, kind::I32) => thrift.int().map(|number| crc = Some(number as u32)),
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
            part,
            uncompressed: uncompressed?,
            compressed: compressed?,
            values: numbers[0],
            encoding: if part == Part::Data2 { numbers[3] } else { numbers[1] },
            levels: if part == Part::Data2 { (numbers[5], numbers[4]) } else { (0, 0) },
            crc,
        };
        Some((header, thrift.position()))
    }
}

/// The numbers of a part of a page header, in field order.
type Numbers = [i64; 6];

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

/// Why a chunk does not fit its footer.
#[derive(Debug)]
pub enum Fault {
    /// The system could not read the file.
    Io(io::Error),
    /// What is wrong, as a sentence without its subject's place.
    Malformed(String),
}

/// What a footer declares about a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its bytes.
    pub range: Range<u64>,
    /// Bytes that may follow although they are not declared.
    pub slack: u64,
    /// Number of values.
    pub values: i64,
    /// The end of all chunks: bytes before it may be read with the chunk.
    pub pages_end: u64,
}

/// Reads the chunks of a file page by page. It keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub struct PageWalk {
    buffer: Vec<u8>,
    /// The bytes of the buffer that are read and not passed on.
    ready: Range<usize>,
    /// The end of what is read. All behind `ready` lies behind the chunk.
    read: usize,
    /// The offset in the file of the end of `ready`.
    at: u64,
    end: u64,
    /// Whether the chunk follows the one before it.
    is_next: bool,
    pages_end: u64,
}

impl PageWalk {
    /// Passes every byte of a chunk to `each`, and checks page headers, sizes, checksums and the
    /// number of values against what is declared. Returns the number of bytes.
    ///
    /// # Errors
    /// [`Fault`] by `From`, and the errors of `each`.
    pub fn walk<E: From<Fault>>(
        &mut self,
        file: &File,
        declared: &Declared,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let malformed = |what: &str| Fault::Malformed(what.to_owned());
        let Declared { range, slack, values: declared_values, pages_end } = declared;
        self.begin(range.start, range.end.saturating_add(*slack), *pages_end);
        let (mut values, mut pages) = (0i64, 0u64);
        let mut passed = 0u64;
        let size = range.end - range.start;
        while passed < size {
            let (header, length) = match self.header(file) {
                // Some bytes after the last page, which no reader looks at.
                Err(Fault::Malformed(_)) if pages > 0 && values == *declared_values => {
                    self.pass(file, size - passed, &mut each)?;
                    passed = size;
                    break;
                }
                header => header?,
            };
            let (Ok(bytes), true) = (u64::try_from(header.compressed), header.values >= 0) else {
                return Err(malformed("a page declares a negative number").into());
            };
            if header.part == Part::Dictionary && pages > 0 {
                return Err(malformed("a dictionary page follows a data page").into());
            }
            if matches!(header.part, Part::Data | Part::Data2) {
                values = values.saturating_add(header.values);
            }
            let end = passed + length as u64 + bytes;
            if end > size + slack {
                return Err(malformed("a page is longer than the rest of its column chunk").into());
            }
            self.pass(file, length as u64, &mut each)?;
            let mut checksum = header.crc.map(|expected| (expected, crc32fast::Hasher::new()));
            self.pass(file, bytes, &mut |bytes: &[u8]| {
                if let Some((_, hasher)) = &mut checksum {
                    hasher.update(bytes);
                }
                each(bytes)
            })?;
            if let Some((expected, hasher)) = checksum
                && hasher.finalize() != expected
            {
                return Err(malformed("a page does not have its checksum").into());
            }
            passed = end;
            pages += 1;
        }
        if values != *declared_values {
            let message =
                format!("its pages have {values} values, the footer declares {declared_values}");
            return Err(Fault::Malformed(message).into());
        }
        Ok(passed)
    }

    /// Begins with a chunk. Its bytes are ready that were read with the one before it.
    fn begin(&mut self, start: u64, end: u64, pages_end: u64) {
        (self.is_next, self.pages_end) = (start == self.end, pages_end);
        let passed = self.at - self.ready.len() as u64;
        let skipped = start.checked_sub(passed).and_then(|bytes| usize::try_from(bytes).ok());
        let first = skipped
            .and_then(|bytes| self.ready.start.checked_add(bytes))
            .filter(|first| *first < self.read);
        self.ready = match first {
            Some(first) => {
                let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
                first..self.read.min(first.saturating_add(bytes))
            }
            None => {
                self.read = 0;
                0..0
            }
        };
        (self.at, self.end) = (start + self.ready.len() as u64, end);
    }

    /// The next page header and its length. Its bytes stay ready.
    fn header(&mut self, file: &File) -> Result<(Header, usize), Fault> {
        let mut wanted = USUAL_HEADER;
        loop {
            self.fill(file, wanted)?;
            let ready = &self.buffer[self.ready.clone()];
            if let Some(header) = Header::read(ready) {
                return Ok(header);
            }
            let is_whole = self.at == self.end;
            if is_whole || ready.len() >= LONGEST_HEADER {
                return Err(Fault::Malformed("a page header is malformed".to_owned()));
            }
            wanted = (ready.len().max(wanted) * 16).min(LONGEST_HEADER);
        }
    }

    /// Passes the next `count` bytes to `each`.
    fn pass<E: From<Fault>>(
        &mut self,
        file: &File,
        mut count: u64,
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while count > 0 {
            if self.ready.is_empty() {
                self.fill(file, 1)?;
            }
            let now = self.ready.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            if now == 0 {
                return Err(Fault::Malformed("its pages end early".to_owned()).into());
            }
            each(&self.buffer[self.ready.start..][..now])?;
            self.ready.start += now;
            count -= now as u64;
        }
        Ok(())
    }

    /// Reads until `wanted` bytes are ready or the chunk ends.
    fn fill(&mut self, file: &File, wanted: usize) -> Result<(), Fault> {
        if self.ready.len() >= wanted || self.at == self.end {
            return Ok(());
        }
        self.buffer.copy_within(self.ready.clone(), 0);
        self.ready = 0..self.ready.len();
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let space = wanted.max(BUFFER_BYTES).saturating_sub(self.ready.len()).min(left);
        // A call of the system for each of many small chunks would take longer than their bytes.
        let further = match self.is_next && space == left {
            true => NEIGHBOUR_BYTES
                .saturating_sub(space)
                .min(usize::try_from(self.pages_end.saturating_sub(self.end)).unwrap_or(0)),
            false => 0,
        };
        let start = self.ready.end;
        let (own, all) = (start + space, start + space + further);
        self.buffer.resize(self.buffer.len().max(all), 0);
        self.read = all;
        let mut read = file.read_exact_at(&mut self.buffer[start..all], self.at);
        if read.is_err() && further > 0 {
            // It may be the bytes of another chunk that cannot be read.
            self.read = own;
            read = file.read_exact_at(&mut self.buffer[start..own], self.at);
        }
        if let Err(cause) = read {
            self.read = start;
            return Err(Fault::Io(cause));
        }
        self.ready.end += space;
        self.at += space as u64;
        if space == BUFFER_BYTES {
            read_ahead(file, self.at, self.end);
        }
        Ok(())
    }
}

/// Asks the system to read the next bytes while these are worked on: its own guess is far smaller, and
/// a large chunk would be read at a third of the disk's speed.
fn read_ahead(file: &File, at: u64, end: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(end.saturating_sub(at).min(AHEAD_BYTES)) {
        let _ = rustix::fs::fadvise(file, at, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, at, end);
}

/// Iterates over the page headers of a column chunk, without its pages. A malformed header is `None`
/// and the last item.
pub struct Headers<'a> {
    file: &'a File,
    range: Range<u64>,
    buffer: Vec<u8>,
}

impl<'a> Headers<'a> {
    /// The headers of the pages in a range of the file.
    pub fn new(file: &'a File, range: Range<u64>) -> Self {
        Headers { file, range, buffer: Vec::new() }
    }

    /// The offset of the next header.
    pub fn offset(&self) -> u64 {
        self.range.start
    }

    /// The header at the start of the range, and the offset of the next one.
    fn read(&mut self) -> Option<(Header, u64)> {
        let left = usize::try_from(self.range.end - self.range.start).ok()?;
        let mut size = USUAL_HEADER;
        loop {
            self.buffer.resize(size.min(left), 0);
            self.file.read_exact_at(&mut self.buffer, self.range.start).ok()?;
            if let Some((header, length)) = Header::read(&self.buffer) {
                let page = u64::try_from(header.compressed).ok()?;
                return Some((header, self.range.start + length as u64 + page));
            }
            if size >= left || size >= LONGEST_HEADER {
                return None;
            }
            size = (size * 16).min(LONGEST_HEADER);
        }
    }
}

impl Iterator for Headers<'_> {
    type Item = Option<Header>;

    fn next(&mut self) -> Option<Option<Header>> {
        if self.range.is_empty() {
            return None;
        }
        let header = self.read();
        self.range.start = header.as_ref().map_or(self.range.end, |(_, next)| *next);
        Some(header.map(|(header, _)| header))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::super::metadata::FooterBytes;
    use super::*;

    /// A file with one column of 500 numbers in pages of 50, and where its chunk is.
    fn file() -> (Vec<u8>, Range<u64>) {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(50)
            .set_write_batch_size(50)
            .build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("a batch");
        let bytes = writer.into_inner().expect("a file");
        let opened = on_disk(&bytes);
        let footer = FooterBytes::read(&opened, bytes.len() as u64).expect("a footer");
        let metadata = footer.parse().expect("a footer");
        let group = metadata.group(0).expect("a row group");
        let range = group.chunk(0).expect("a chunk").range(metadata.pages_end());
        (bytes, range.expect("a range"))
    }

    fn on_disk(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    /// The bytes that a walk passes on, or what it finds.
    fn walk(bytes: &[u8], range: Range<u64>, slack: u64, values: i64) -> Result<Vec<u8>, String> {
        let mut passed = Vec::new();
        let pages_end = range.end.max(4);
        let declared = Declared { range, slack, values, pages_end };
        let walked = PageWalk::default().walk(&on_disk(bytes), &declared, |more| {
            passed.extend_from_slice(more);
            Ok::<_, Fault>(())
        });
        match walked {
            Ok(bytes) => {
                assert_eq!(bytes, passed.len() as u64);
                Ok(passed)
            }
            Err(Fault::Malformed(message)) => Err(message),
            Err(Fault::Io(cause)) => Err(cause.to_string()),
        }
    }

    #[test]
    fn every_byte_of_a_chunk_is_passed_on() {
        let (bytes, range) = file();
        let expected = &bytes[range.start as usize..range.end as usize];
        assert_eq!(walk(&bytes, range, 0, 500).as_deref(), Ok(expected));
        assert_eq!(walk(&bytes, 4..4, 0, 0).as_deref(), Ok(&[][..]));
    }

    #[test]
    fn small_chunks_are_walked_in_any_order_and_read_together() {
        // Copies of one chunk, one after the other.
        let (bytes, range) = file();
        let chunk = &bytes[range.start as usize..range.end as usize];
        let (copies, size) = (100, chunk.len() as u64);
        let file = on_disk(&[b"PAR1", &chunk.repeat(copies)[..]].concat());
        let pages_end = 4 + size * copies as u64;
        let mut walk = PageWalk::default();
        let read = |copy: u64, walk: &mut PageWalk| {
            let start = 4 + size * copy;
            let range = start..start + size;
            let declared = Declared { range, slack: 0, values: 500, pages_end };
            let mut passed = Vec::new();
            let walked = walk.walk(&file, &declared, |more| {
                passed.extend_from_slice(more);
                Ok::<_, Fault>(())
            });
            assert_eq!(walked.ok(), Some(size), "{copy}");
            assert_eq!(passed, chunk, "{copy}");
        };
        for copy in (0..100).chain([5, 7, 8, 8, 10, 9, 99, 0, 1, 98, 99]) {
            read(copy, &mut walk);
        }
        // After two in a row the next ones are read with them.
        read(20, &mut walk);
        read(21, &mut walk);
        file.set_len(4 + 22 * size).expect("it is cut");
        read(22, &mut walk);
        // What cannot be read is no fault of the chunk before it.
        let mut walk = PageWalk::default();
        read(20, &mut walk);
        read(21, &mut walk);
    }

    #[test]
    fn chunk_that_declares_too_little_is_whole_with_slack_alone() {
        // PARQUET-816: the header of the dictionary page is not counted.
        let (bytes, range) = file();
        let expected = &bytes[range.start as usize..range.end as usize];
        let short = range.start..range.end - 17;
        assert_eq!(walk(&bytes, short.clone(), 100, 500).as_deref(), Ok(expected));
        let fault = walk(&bytes, short, 0, 500).expect_err("it is short");
        assert!(fault.contains("longer than the rest"), "{fault}");
    }

    #[test]
    fn bytes_after_the_last_page_are_passed_on_too() {
        let (mut bytes, range) = file();
        let end = range.end as usize;
        bytes.splice(end..end, [0; 16]);
        let expected = &bytes[range.start as usize..end + 16];
        assert_eq!(walk(&bytes, range.start..range.end + 16, 0, 500).as_deref(), Ok(expected));
    }

    #[test]
    fn chunk_that_does_not_fit_its_footer_is_refused() {
        let (bytes, range) = file();
        let fault = walk(&bytes, range.clone(), 0, 499).expect_err("another number");
        assert_eq!(fault, "its pages have 500 values, the footer declares 499");
        let fault = walk(&bytes, range.start + 1..range.end, 0, 500).expect_err("a wrong start");
        assert!(fault.contains("page"), "{fault}");
        // Of the last page's own bytes none may be missing.
        let fault = walk(&bytes, range.start..range.end - 1, 0, 500).expect_err("a wrong end");
        assert!(fault.contains("page"), "{fault}");
    }
}
