//! A sorted file of the index: the short keys of many rows, and where their vectors are.
//!
//! ```text
//!   entries × (short key: 14 bytes, source: u32, row: u48)   fences × u64   trailer: JSON   u32: its bytes   "RINDEX1\n"
//! ```
//!
//! All numbers are little-endian. A fence is the first 64 bits of the key of every 128th entry; fences are held in
//! memory, so that a lookup reads the file once. The trailer names the sources: a column of a table.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::short_key::ShortKey;
use super::trailer::{self, Magic};

const MAGIC: &Magic = b"RINDEX1\n";

/// Bytes of an entry.
pub const ENTRY: usize = ShortKey::BYTES + 4 + 6;

/// Entries between two fences.
const STEP: u64 = 128;

/// Most bytes of a trailer: those of some ten million tables.
const LONGEST_TRAILER: u32 = 1 << 30;

/// Where the vector of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The key of the text.
    pub key: ShortKey,
    /// The number of a source.
    pub source: u32,
    /// The row in the table, from 0.
    pub row: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Trailer<S> {
    entries: u64,
    sources: Vec<S>,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..ShortKey::BYTES].copy_from_slice(self.key.as_bytes());
        bytes[ShortKey::BYTES..][..4].copy_from_slice(&self.source.to_le_bytes());
        bytes[ShortKey::BYTES + 4..].copy_from_slice(&self.row.to_le_bytes()[..6]);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Entry> {
        let (key, rest) = bytes.split_first_chunk::<{ ShortKey::BYTES }>()?;
        let (source, row) = rest.split_first_chunk::<4>()?;
        let mut wide = [0; 8];
        wide[..6].copy_from_slice(row.first_chunk::<6>()?);
        let key = ShortKey::from_bytes(*key)?;
        Some(Entry { key, source: u32::from_le_bytes(*source), row: u64::from_le_bytes(wide) })
    }
}

/// Writes a segment. Entries come in the order of their keys.
pub struct SegmentWriter<F: Write> {
    file: BufWriter<F>,
    fences: Vec<u64>,
    entries: u64,
}

impl<F: Write> SegmentWriter<F> {
    /// A writer at the start of an empty file.
    pub fn new(file: F) -> Self {
        let file = BufWriter::with_capacity(256 << 10, file);
        SegmentWriter { file, fences: Vec::new(), entries: 0 }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, entry: &Entry) -> io::Result<()> {
        if self.entries.is_multiple_of(STEP) {
            self.fences.push(entry.key.prefix());
        }
        self.entries += 1;
        self.file.write_all(&entry.encode())
    }

    /// Completes the file. `sources` has the sources by number.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish<S: Serialize>(mut self, sources: Vec<S>) -> io::Result<F> {
        for fence in &self.fences {
            self.file.write_all(&fence.to_le_bytes())?;
        }
        let trailer = Trailer { entries: self.entries, sources };
        trailer::write(&mut self.file, &trailer, MAGIC)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    file: File,
    fences: Vec<u64>,
    entries: u64,
}

impl Segment {
    /// The segment in a file, and its sources. `None` if it is damaged: an index is made again.
    pub fn in_file<S: for<'de> Deserialize<'de>>(mut file: File) -> Option<(Segment, Vec<S>)> {
        let (at, trailer) = trailer::read(&mut file, MAGIC, LONGEST_TRAILER)?;
        let Trailer { entries, sources } = trailer;
        let start = entries.checked_mul(ENTRY as u64)?;
        let fences = entries.div_ceil(STEP);
        if start.checked_add(fences.checked_mul(8)?)? != at {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(fences * 8).ok()?];
        file.read_exact_at(&mut bytes, start).ok()?;
        let fence = |bytes: &[u8]| {
            bytes.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default()
        };
        let fences: Vec<u64> = bytes.chunks_exact(8).map(fence).collect();
        // A damaged order would hide entries for ever.
        fences.is_sorted().then_some((Segment { file, fences, entries }, sources))
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Calls `each` with the entries of a key, until it returns false.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(&self, key: &ShortKey, mut each: impl FnMut(Entry) -> bool) -> io::Result<()> {
        let prefix = key.prefix();
        // Equal keys may begin before the first fence that is as great.
        let first = self.fences.partition_point(|fence| *fence < prefix).saturating_sub(1) as u64;
        let mut at = first * STEP;
        let mut block = [0; ENTRY * STEP as usize];
        while at < self.entries {
            let entries = STEP.min(self.entries - at);
            let bytes = &mut block[..entries as usize * ENTRY];
            self.file.read_exact_at(bytes, at * ENTRY as u64)?;
            let in_block = bytes.chunks_exact(ENTRY).filter_map(Entry::decode);
            for entry in in_block.skip_while(|entry| entry.key < *key) {
                if entry.key > *key || !each(entry) {
                    return Ok(());
                }
            }
            at += entries;
        }
        Ok(())
    }

    /// All entries in order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self) -> io::Result<Entries> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let file = BufReader::with_capacity(256 << 10, file);
        Ok(Entries { file, left: self.entries })
    }
}

/// Reads the entries of a segment in order. One segment has one reader at a time: they share the place in the file.
pub struct Entries {
    file: BufReader<File>,
    left: u64,
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        self.left = self.left.checked_sub(1)?;
        let mut bytes = [0; ENTRY];
        let read = self.file.read_exact(&mut bytes);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "an entry without a key");
        Some(read.and_then(|()| Entry::decode(&bytes).ok_or_else(damaged)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use reembed_encoder::task::ContentKeys;

    use super::*;

    fn key(text: u64) -> ShortKey {
        ShortKey::from(&ContentKeys::new("f").key(&text.to_string()))
    }

    fn found(segment: &Segment, key: &ShortKey) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut add = |entry| {
            found.push(entry);
            true
        };
        segment.find(key, &mut add).expect("it is read");
        found
    }

    fn written(entries: &[Entry]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("1.index");
        let mut writer = SegmentWriter::new(File::create(&path).expect("a file"));
        let mut sorted = entries.to_vec();
        sorted.sort();
        sorted.iter().for_each(|entry| writer.add(entry).expect("an entry"));
        writer.finish(vec!["a", "b"]).expect("a file");
        (directory, path)
    }

    #[test]
    fn every_entry_is_found_and_no_other() {
        for count in [0, 1, 127, 128, 129, 5000] {
            let entry = |row| Entry { key: key(row), source: (row % 2) as u32, row: row << 20 };
            let entries: Vec<Entry> = (0..count).map(entry).collect();
            let (_directory, path) = written(&entries);
            let (segment, sources) =
                Segment::in_file::<String>(File::open(&path).expect("a file")).expect("a segment");
            assert_eq!((segment.len(), &sources[..]), (count, &["a".into(), "b".into()][..]));
            for entry in &entries {
                assert_eq!(found(&segment, &entry.key), [*entry]);
            }
            assert!((count..count + 100).all(|text| found(&segment, &key(text)).is_empty()));
            let mut sorted = entries;
            sorted.sort();
            let read: io::Result<Vec<Entry>> = segment.entries().expect("entries").collect();
            assert_eq!(read.expect("all"), sorted);
        }
    }

    #[test]
    fn equal_keys_are_found_across_fences() {
        let (few, many) = (key(1), key(2));
        let mut entries: Vec<Entry> =
            (0..1000).map(|row| Entry { key: many, source: 0, row }).collect();
        entries.extend([7, 9].map(|row| Entry { key: few, source: 1, row }));
        entries.extend((10..300).map(|row| Entry { key: key(row), source: 0, row }));
        let (_directory, path) = written(&entries);
        let (segment, _) =
            Segment::in_file::<String>(File::open(&path).expect("a file")).expect("a segment");
        for (wanted, expected) in [(few, 2), (many, 1000)] {
            let found = found(&segment, &wanted);
            assert_eq!(found.len(), expected);
            assert!(found.iter().all(|entry| entry.key == wanted));
        }
        let mut first = None;
        segment.find(&many, |entry| first.replace(entry).is_some()).expect("it is read");
        assert_eq!(first.map(|entry| entry.row), Some(0));
    }

    #[test]
    fn a_damaged_segment_is_none() {
        let entries: Vec<Entry> =
            (0..300).map(|row| Entry { key: key(row), source: 0, row }).collect();
        let (_directory, path) = written(&entries);
        let bytes = fs::read(&path).expect("a file");
        for length in (0..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..length]).expect("a file");
            assert!(
                Segment::in_file::<String>(File::open(&path).expect("a file")).is_none(),
                "cut at {length}"
            );
        }
        let mut swapped = bytes.clone();
        swapped[300 * ENTRY..300 * ENTRY + 8].fill(0xff);
        fs::write(&path, swapped).expect("a file");
        assert!(Segment::in_file::<String>(File::open(&path).expect("a file")).is_none());
    }
}
