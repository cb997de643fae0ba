//! The content keys of a published table, row by row.
//!
//! ```text
//!   "RKEYS1\n\0"   rows × columns × (short key: 14 bytes, measure: u16)   trailer: JSON   u32: its bytes   "RKEYS1\n\0"
//! ```
//!
//! All numbers are little-endian. A row has a record for each vector column. A short key of zeros is a row without
//! a vector. The measure is twice the number of tokens, plus one if the text was cut, or 65,535 if it is not known. The
//! trailer says which table the keys belong to.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::short_key::ShortKey;
use super::trailer::{self, Magic};

/// The first and the last bytes of a file.
const MAGIC: &Magic = b"RKEYS1\n\0";

/// Bytes of a record.
const RECORD: usize = ShortKey::BYTES + 2;

/// The measure of a text whose tokens are not known, or too many.
const UNKNOWN: u16 = u16::MAX;

/// Most bytes of a trailer.
const LONGEST_TRAILER: u32 = 16 << 20;

/// Rows that are read or copied at once.
const ROWS_AT_ONCE: u64 = 4096;

/// What is kept of a row of a vector column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// The key of its text; `None` without a vector.
    pub key: Option<ShortKey>,
    /// The tokens of its text, and whether it was cut; `None` if they are not known.
    pub measure: Option<(u32, bool)>,
}

/// A vector column of a table with keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedColumn {
    /// Its name.
    pub column: String,
    /// Whether its vectors are those of the model, bit for bit.
    pub is_lossless: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    /// The digest of the table's footer.
    footer: String,
    rows: u64,
    columns: Vec<KeyedColumn>,
}

impl RowKey {
    fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        if let Some(key) = &self.key {
            record[..ShortKey::BYTES].copy_from_slice(key.as_bytes());
        }
        let measure = self.measure.and_then(|(tokens, cut)| {
            let tokens = u16::try_from(tokens).ok().filter(|tokens| *tokens < UNKNOWN / 2)?;
            Some(tokens * 2 + u16::from(cut))
        });
        record[ShortKey::BYTES..].copy_from_slice(&measure.unwrap_or(UNKNOWN).to_le_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<RowKey> {
        let (key, measure) = record.split_first_chunk::<{ ShortKey::BYTES }>()?;
        let measure = u16::from_le_bytes(*measure.first_chunk()?);
        let known = (measure != UNKNOWN).then_some((u32::from(measure / 2), measure % 2 == 1));
        Some(RowKey { key: ShortKey::from_bytes(*key), measure: known })
    }
}

/// Writes the keys of a table while its rows are written.
#[derive(Debug)]
pub struct KeyFileWriter<F: Write> {
    file: BufWriter<F>,
    columns: Vec<KeyedColumn>,
    rows: u64,
}

impl<F: Write> KeyFileWriter<F> {
    /// A writer at the start of an empty file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(file: F, columns: Vec<KeyedColumn>) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(64 << 10, file);
        file.write_all(MAGIC)?;
        Ok(KeyFileWriter { file, columns, rows: 0 })
    }

    /// Adds the next row: `keys` has one for each column.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, keys: impl IntoIterator<Item = RowKey>) -> io::Result<()> {
        let mut written = 0;
        for key in keys.into_iter().take(self.columns.len()) {
            self.file.write_all(&key.encode())?;
            written += 1;
        }
        // A column without a key has none that is known.
        for _ in written..self.columns.len() {
            self.file.write_all(&RowKey { key: None, measure: None }.encode())?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds rows of another table. Of columns and rows that it does not have, no key is known.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy(&mut self, from: Option<&KeyFile>, rows: Range<u64>) -> io::Result<()> {
        let Some(from) = from.filter(|from| rows.end <= from.rows) else {
            return rows.into_iter().try_for_each(|_| self.add([]));
        };
        if from.columns != self.columns {
            let place = |column: &KeyedColumn| from.columns.iter().position(|own| own == column);
            let places: Vec<Option<usize>> = self.columns.iter().map(place).collect();
            let none = RowKey { key: None, measure: None };
            return from.scan(rows, |_, found| {
                let of_column = |place: &Option<usize>| {
                    place.and_then(|place| found.get(place)).copied().unwrap_or(none)
                };
                self.add(places.iter().map(of_column))
            });
        }
        let mut buffer = Vec::new();
        let mut start = rows.start;
        while start < rows.end {
            let end = rows.end.min(start + ROWS_AT_ONCE);
            from.read(start..end, &mut buffer)?;
            self.file.write_all(&buffer)?;
            start = end;
        }
        self.rows += rows.end - rows.start;
        Ok(())
    }

    /// Completes the file of the table with this footer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self, footer: &str) -> io::Result<F> {
        let KeyFileWriter { columns, rows, .. } = &self;
        let trailer = Trailer { footer: footer.to_owned(), rows: *rows, columns: columns.clone() };
        trailer::write(&mut self.file, &trailer, MAGIC)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The keys of a table.
#[derive(Debug)]
pub struct KeyFile {
    file: File,
    footer: String,
    rows: u64,
    columns: Vec<KeyedColumn>,
}

impl KeyFile {
    /// Opens the keys of the table with the footer digest `footer`. `None` if there are none, or they are another table's
    /// or damaged: then they are made again.
    pub fn open(path: &Path, footer: &str) -> Option<KeyFile> {
        KeyFile::in_file(File::open(path).ok()?).filter(|keys| keys.footer == footer)
    }

    /// The keys in a file; `None` if it is damaged.
    pub fn in_file(mut file: File) -> Option<KeyFile> {
        let (at, trailer) = trailer::read(&mut file, MAGIC, LONGEST_TRAILER)?;
        let Trailer { footer, rows, columns } = trailer;
        let records = rows.checked_mul((columns.len() * RECORD) as u64)?;
        let is_complete = at == records.checked_add(MAGIC.len() as u64)?;
        (is_complete && !columns.is_empty()).then_some(KeyFile { file, footer, rows, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The vector columns.
    pub fn columns(&self) -> &[KeyedColumn] {
        &self.columns
    }

    /// The key of a row in a column; `None` if it cannot be read.
    pub fn get(&self, row: u64, column: usize) -> Option<RowKey> {
        if row >= self.rows || column >= self.columns.len() {
            return None;
        }
        let mut record = [0; RECORD];
        self.file.read_exact_at(&mut record, self.offset(row) + (column * RECORD) as u64).ok()?;
        RowKey::decode(&record)
    }

    /// Calls `each` with the rows in a range: the number of a row and its keys by column.
    ///
    /// # Errors
    /// When the file cannot be read, and those of `each`.
    pub fn scan<E: From<io::Error>>(
        &self,
        rows: Range<u64>,
        mut each: impl FnMut(u64, &[RowKey]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut buffer, mut keys) = (Vec::new(), Vec::new());
        let end = rows.end.min(self.rows);
        let mut start = rows.start;
        while start < end {
            let next = end.min(start + ROWS_AT_ONCE);
            self.read(start..next, &mut buffer)?;
            for (row, records) in (start..).zip(buffer.chunks_exact(self.row_bytes().max(1))) {
                keys.clear();
                keys.extend(records.chunks_exact(RECORD).filter_map(RowKey::decode));
                each(row, &keys)?;
            }
            start = next;
        }
        Ok(())
    }

    fn read(&self, rows: Range<u64>, buffer: &mut Vec<u8>) -> io::Result<()> {
        let bytes = (rows.end - rows.start) * self.row_bytes() as u64;
        buffer.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
        self.file.read_exact_at(buffer, self.offset(rows.start))
    }

    fn row_bytes(&self) -> usize {
        self.columns.len() * RECORD
    }

    fn offset(&self, row: u64) -> u64 {
        MAGIC.len() as u64 + row * self.row_bytes() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use reembed_encoder::task::ContentKeys;

    use super::*;

    fn key(text: u64) -> RowKey {
        let key = ContentKeys::new("f").key(&text.to_string());
        RowKey { key: Some((&key).into()), measure: Some((text as u32, text % 2 == 1)) }
    }

    fn columns(names: &[&str]) -> Vec<KeyedColumn> {
        let column = |name: &&str| KeyedColumn { column: (*name).to_owned(), is_lossless: true };
        names.iter().map(column).collect()
    }

    fn written(rows: u64, names: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.keys");
        let file = File::create(&path).expect("a file");
        let mut writer = KeyFileWriter::new(file, columns(names)).expect("a writer");
        for row in 0..rows {
            let keys = (0..names.len() as u64).map(|column| key(row + 10 * column));
            writer.add(keys).expect("a row");
        }
        writer.finish("digest").expect("a file");
        (directory, path)
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let (_directory, path) = written(10_000, &["a", "b"]);
        let keys = KeyFile::open(&path, "digest").expect("keys");
        assert_eq!((keys.rows(), keys.columns()), (10_000, &columns(&["a", "b"])[..]));
        assert_eq!(keys.get(4097, 1), Some(key(4107)));
        assert_eq!((keys.get(10_000, 0), keys.get(0, 2)), (None, None));
        let mut seen = 0;
        let scanned = keys.scan::<io::Error>(4000..9000, |row, found| {
            assert_eq!(found, [key(row), key(row + 10)], "{row}");
            seen += 1;
            Ok(())
        });
        scanned.expect("all are read");
        assert_eq!(seen, 5000);
        assert!(KeyFile::open(&path, "another").is_none());
        // At most 16 bytes a row and column, and the trailer.
        assert!(fs::metadata(&path).expect("a file").len() < 10_000 * 32 + 200);
    }

    #[test]
    fn measures_that_do_not_fit_are_unknown() {
        for (measure, expected) in [
            (Some((0, false)), Some((0, false))),
            (Some((512, true)), Some((512, true))),
            (Some((32_766, true)), Some((32_766, true))),
            (Some((32_767, false)), None),
            (Some((u32::MAX, false)), None),
            (None, None),
        ] {
            for key in [None, key(3).key] {
                let decoded = RowKey::decode(&RowKey { key, measure }.encode());
                assert_eq!(decoded, Some(RowKey { key, measure: expected }), "{measure:?}");
            }
        }
    }

    #[test]
    fn rows_are_copied_where_the_columns_are_the_same() {
        let (_directory, path) = written(9000, &["a"]);
        let from = KeyFile::open(&path, "digest").expect("keys");
        let none = RowKey { key: None, measure: None };
        for (names, from, expected) in [
            (&["a"][..], Some(&from), key(5000)),
            (&["b"][..], Some(&from), none),
            (&["b", "a"][..], Some(&from), none),
            (&["a"][..], None, none),
        ] {
            let copy = path.with_extension("copy");
            let file = File::create(&copy).expect("a file");
            let mut writer = KeyFileWriter::new(file, columns(names)).expect("a writer");
            writer.copy(from, 5000..9000).expect("rows");
            writer.add([key(1)]).expect("a row");
            writer.finish("copy").expect("a file");
            let copy = KeyFile::open(&copy, "copy").expect("keys");
            assert_eq!((copy.rows(), copy.get(0, 0)), (4001, Some(expected)));
            assert_eq!(copy.get(4000, 0), Some(key(1)));
            let second = (names.len() == 2).then(|| key(5000));
            assert_eq!(copy.get(0, 1), second, "the column has another place");
        }
    }

    #[test]
    fn a_damaged_file_has_no_keys() {
        let (_directory, path) = written(3, &["a"]);
        let bytes = fs::read(&path).expect("a file");
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).expect("a file");
            assert!(KeyFile::open(&path, "digest").is_none(), "cut at {length}");
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).expect("a file");
        assert!(KeyFile::open(&path, "digest").is_none());
        assert!(KeyFile::open(&path.with_extension("none"), "digest").is_none());
    }
}
