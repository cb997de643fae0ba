//! One entry as bytes: what a vector looks like in the cache, and when it is believed.
//!
//! ```text
//!   content key   run   tokens   flags   vector              check sum
//!   32 bytes      u32   u32      u32     dim × f32           u64        all little-endian
//! ```
//!
//! The check sum (XXH64) covers everything before it, the key included: an entry that a damaged tree gives for
//! another key is not believed either. Against bit rot 64 bits are plenty; the content key itself is
//! cryptographic, and whoever can write the cache could write the output as well.

use std::ops::Range;

use reembed_encoder::task::ContentKey;
use twox_hash::XxHash64;

const KEY: usize = 32;
const HEAD: usize = KEY + 3 * 4;
const CHECK_SUM: usize = 8;
const TRUNCATED: u32 = 1;

/// What an entry holds beside its key and its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The run that wrote it.
    pub run: u32,
    /// Tokens of the text.
    pub tokens: u32,
    /// Whether the text was cut at the model's maximum length.
    pub truncated: bool,
}

/// Bytes of an entry with a vector of `dim` components.
pub fn length(dim: usize) -> usize {
    HEAD + 4 * dim + CHECK_SUM
}

/// Entries on their way to the disk, end to end in one block.
#[derive(Debug, Default)]
pub struct Entries {
    keys: Vec<ContentKey>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Entries {
    /// Adds an entry.
    pub fn push(&mut self, key: ContentKey, record: Record, vector: &[f32]) {
        self.keys.push(key);
        write(&mut self.bytes, &key, record, vector);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes all of them away; their room stays.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// The bytes of the entry at a position, if there are so many.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        (position < self.len()).then(|| &self.bytes[self.range(position)])
    }

    fn range(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[position]
    }

    /// All of them with their keys, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ContentKey, &[u8])> {
        self.keys.iter().enumerate().map(|(at, key)| (key, &self.bytes[self.range(at)]))
    }
}

/// Appends the entry as bytes.
fn write(bytes: &mut Vec<u8>, key: &ContentKey, record: Record, vector: &[f32]) {
    let start = bytes.len();
    bytes.reserve(length(vector.len()));
    bytes.extend_from_slice(key.as_bytes());
    let flags = if record.truncated { TRUNCATED } else { 0 };
    for field in [record.run, record.tokens, flags] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for component in vector {
        bytes.extend_from_slice(&component.to_le_bytes());
    }
    let sum = XxHash64::oneshot(0, &bytes[start..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// Reads an entry, and its vector into `vector`; `None` unless it is whole, of this key and of that width.
pub fn read(bytes: &[u8], key: &ContentKey, vector: &mut [f32]) -> Option<Record> {
    if bytes.len() != length(vector.len()) || bytes[..KEY] != key.as_bytes()[..] {
        return None;
    }
    let record = checked(bytes)?;
    let components = bytes[HEAD..bytes.len() - CHECK_SUM].chunks_exact(4);
    for (component, bytes) in vector.iter_mut().zip(components) {
        *component = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Some(record)
}

/// The key and the record of an entry of any width; `None` unless its check sum holds.
pub fn inspect(bytes: &[u8]) -> Option<([u8; KEY], Record)> {
    let record = checked(bytes)?;
    Some((*bytes.first_chunk::<KEY>()?, record))
}

fn checked(bytes: &[u8]) -> Option<Record> {
    let (content, sum) = bytes.split_last_chunk::<CHECK_SUM>()?;
    if content.len() < HEAD || XxHash64::oneshot(0, content) != u64::from_le_bytes(*sum) {
        return None;
    }
    let field = |at: usize| {
        let at = KEY + 4 * at;
        u32::from_le_bytes([content[at], content[at + 1], content[at + 2], content[at + 3]])
    };
    let truncated = match field(2) {
        0 => false,
        TRUNCATED => true,
        _ => return None,
    };
    Some(Record { run: field(0), tokens: field(1), truncated })
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::*;

    const RECORD: Record = Record { run: 7, tokens: 12, truncated: true };

    fn two(first: &ContentKey, second: &ContentKey, vector: &[f32]) -> Entries {
        let mut entries = Entries::default();
        entries.push(*first, RECORD, vector);
        entries.push(*second, RECORD, vector);
        entries
    }

    #[test]
    fn an_entry_comes_back_bit_for_bit() {
        let key = ContentKeys::new("f").of("text");
        let vector = [0.5, -0.0, f32::MIN_POSITIVE, 1.0 / 3.0];
        let entries = two(&ContentKeys::new("f").of("another"), &key, &vector);
        let bytes = entries.get(1).expect("the second");
        assert_eq!((entries.len(), bytes.len()), (2, length(4)));
        assert_eq!(entries.iter().last(), Some((&key, bytes)));
        assert_eq!(entries.get(2), None);
        let mut found = [9.0; 4];
        assert_eq!(read(bytes, &key, &mut found), Some(RECORD));
        assert_eq!(found.map(f32::to_bits), vector.map(f32::to_bits));
        assert_eq!(inspect(bytes), Some((*key.as_bytes(), RECORD)));
    }

    #[test]
    fn an_entry_of_another_key_or_width_or_with_any_bit_flipped_is_not_believed() {
        let keys = ContentKeys::new("f");
        let key = keys.of("text");
        let entries = two(&key, &key, &[0.25; 8]);
        let bytes = entries.get(1).expect("the second");
        let mut vector = [0.0; 8];
        assert_eq!(read(bytes, &keys.of("other"), &mut vector), None);
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
