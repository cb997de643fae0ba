//! The bytes of an entry.
//!
//! ```text
//!   content key   run   tokens   flags   vector              checksum
//!   32 bytes      u32   u32      u32     dim × f32           u64        all little-endian
//! ```
//!
//! The checksum (XXH64) covers everything before it. It includes the key, so that an entry under
//! the wrong key does not match. docs/decisions/0019-trust-in-the-cache.md has the
//! reasons.

use std::ops::Range;

use reembed_encoder::task::ContentKey;
use twox_hash::XxHash64;

const KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = KEY_BYTES + 3 * 4;
const CHECKSUM_BYTES: usize = 8;
const TRUNCATED_FLAG: u32 = 1;

/// The fields of an entry beside key and vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The run that wrote it.
    pub run: u32,
    /// Number of tokens of the text.
    pub tokens: u32,
    /// Whether the text was cut at the model's maximum length.
    pub truncated: bool,
}

/// Bytes of an entry whose vector has `dim` components.
pub fn entry_length(dim: usize) -> usize {
    HEADER_BYTES + 4 * dim + CHECKSUM_BYTES
}

/// Encoded entries in one block of memory.
#[derive(Debug, Default)]
pub struct EntryBuffer {
    keys: Vec<ContentKey>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl EntryBuffer {
    /// Adds an entry.
    pub fn push(&mut self, key: ContentKey, record: Record, vector: &[f32]) {
        self.keys.push(key);
        encode(&mut self.bytes, &key, record, vector);
        self.ends.push(self.bytes.len());
    }

    /// Adds an entry of another cache with this run as its writer; returns whether it is one.
    pub fn push_copy(&mut self, entry: &[u8], run: u32) -> bool {
        let Some((key, _)) = inspect(entry) else { return false };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&entry[..entry.len() - CHECKSUM_BYTES]);
        self.bytes[start + KEY_BYTES..][..4].copy_from_slice(&run.to_le_bytes());
        let checksum = XxHash64::oneshot(0, &self.bytes[start..]);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.keys.push(ContentKey::from_bytes(key));
        self.ends.push(self.bytes.len());
        true
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// The bytes of the entry at `position`; `None` beyond the end.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        (position < self.len()).then(|| &self.bytes[self.range(position)])
    }

    fn range(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[position]
    }

    /// The entries with their keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ContentKey, &[u8])> {
        self.keys.iter().enumerate().map(|(at, key)| (key, &self.bytes[self.range(at)]))
    }
}

/// Appends an encoded entry.
fn encode(bytes: &mut Vec<u8>, key: &ContentKey, record: Record, vector: &[f32]) {
    let start = bytes.len();
    bytes.reserve(entry_length(vector.len()));
    bytes.extend_from_slice(key.as_bytes());
    let flags = if record.truncated { TRUNCATED_FLAG } else { 0 };
    for field in [record.run, record.tokens, flags] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for component in vector {
        bytes.extend_from_slice(&component.to_le_bytes());
    }
    let checksum = XxHash64::oneshot(0, &bytes[start..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

/// Decodes an entry and copies its vector to `vector`.
///
/// `None` if the checksum, the key or the number of components does not match.
pub fn read(bytes: &[u8], key: &ContentKey, vector: &mut [f32]) -> Option<Record> {
    if bytes.len() != entry_length(vector.len()) || bytes[..KEY_BYTES] != key.as_bytes()[..] {
        return None;
    }
    let record = check(bytes)?;
    let components = bytes[HEADER_BYTES..bytes.len() - CHECKSUM_BYTES].chunks_exact(4);
    for (component, bytes) in vector.iter_mut().zip(components) {
        *component = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Some(record)
}

/// The key and the record of an entry of any width; `None` if the checksum does not match.
pub fn inspect(bytes: &[u8]) -> Option<([u8; KEY_BYTES], Record)> {
    let record = check(bytes)?;
    Some((*bytes.first_chunk::<KEY_BYTES>()?, record))
}

/// Checks the checksum and decodes the record.
fn check(bytes: &[u8]) -> Option<Record> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if content.len() < HEADER_BYTES
        || XxHash64::oneshot(0, content) != u64::from_le_bytes(*checksum)
    {
        return None;
    }
    let field = |at: usize| {
        let at = KEY_BYTES + 4 * at;
        u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]])
    };
    let truncated = match field(2) {
        0 => false,
        TRUNCATED_FLAG => true,
        _ => return None,
    };
    Some(Record { run: field(0), tokens: field(1), truncated })
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::*;

    const RECORD: Record = Record { run: 7, tokens: 12, truncated: true };

    fn two(first: &ContentKey, second: &ContentKey, vector: &[f32]) -> EntryBuffer {
        let mut entries = EntryBuffer::default();
        entries.push(*first, RECORD, vector);
        entries.push(*second, RECORD, vector);
        entries
    }

    #[test]
    fn decoded_entry_equals_the_encoded_one_bit_for_bit() {
        let key = ContentKeys::new("f").key("text");
        let vector = [0.5, -0.0, f32::MIN_POSITIVE, 1.0 / 3.0];
        let entries = two(&ContentKeys::new("f").key("another"), &key, &vector);
        let bytes = entries.get(1).expect("the second entry");
        assert_eq!((entries.len(), bytes.len()), (2, entry_length(4)));
        assert_eq!(entries.iter().last(), Some((&key, bytes)));
        assert_eq!(entries.get(2), None);
        let mut found = [9.0; 4];
        assert_eq!(read(bytes, &key, &mut found), Some(RECORD));
        assert_eq!(found.map(f32::to_bits), vector.map(f32::to_bits));
        assert_eq!(inspect(bytes), Some((*key.as_bytes(), RECORD)));
    }

    #[test]
    fn entry_with_another_key_width_or_bit_is_rejected() {
        let keys = ContentKeys::new("f");
        let key = keys.key("text");
        let entries = two(&key, &key, &[0.25; 8]);
        let bytes = entries.get(1).expect("the second entry");
        let mut vector = [0.0; 8];
        assert_eq!(read(bytes, &keys.key("other"), &mut vector), None);
        assert_eq!(read(bytes, &key, &mut vector[..7]), None);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], &key, &mut vector), None, "cut at {length}");
            assert_eq!(inspect(&bytes[..length]), None, "cut at {length}");
        }
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, &key, &mut vector), None, "bit {bit}");
            assert_eq!(inspect(&flipped), None, "bit {bit}");
        }
        assert_eq!(inspect(&vec![0; bytes.len()]), None, "zeros");
    }
}
