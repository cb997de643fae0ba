//! The part of a content key that is kept for a published row.

use reembed_encoder::task::ContentKey;

/// Bytes that are kept.
const BYTES: usize = 14;

/// The first 112 bits of a content key.
///
/// Two texts of a hundred million share them with a probability of one in 10¹⁸. Nobody is kept out: who can write the
/// tables of a dataset can write the vectors as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortKey([u8; BYTES]);

impl ShortKey {
    /// Number of its bytes.
    pub const BYTES: usize = BYTES;

    /// The key with these bytes; `None` for zeros, which stand for a row without a key.
    pub fn from_bytes(bytes: [u8; BYTES]) -> Option<ShortKey> {
        (bytes != [0; BYTES]).then_some(ShortKey(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The first 64 bits, which sort as the keys do.
    pub fn prefix(&self) -> u64 {
        self.0.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
    }

    /// A content key that stands for it in the vector cache, where only the short key of a text is known.
    pub fn padded(&self) -> ContentKey {
        let mut bytes = [0; 32];
        bytes[..BYTES].copy_from_slice(&self.0);
        ContentKey::from_bytes(bytes)
    }

    /// The least and the greatest content key that begin with it.
    pub fn range(&self) -> (ContentKey, ContentKey) {
        let mut last = [u8::MAX; 32];
        last[..BYTES].copy_from_slice(&self.0);
        (self.padded(), ContentKey::from_bytes(last))
    }
}

impl From<&ContentKey> for ShortKey {
    fn from(key: &ContentKey) -> ShortKey {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&key.as_bytes()[..BYTES]);
        ShortKey(bytes)
    }
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::*;

    #[test]
    fn short_keys_sort_like_their_content_keys() {
        let keys = ContentKeys::new("f");
        let mut keys: Vec<ContentKey> = (0..100).map(|text| keys.key(&text.to_string())).collect();
        keys.sort();
        let short: Vec<ShortKey> = keys.iter().map(ShortKey::from).collect();
        assert!(short.is_sorted() && short.is_sorted_by_key(ShortKey::prefix));
        for (key, short) in keys.iter().zip(&short) {
            let (first, last) = short.range();
            assert!(first < *key && *key < last);
            assert_eq!(ShortKey::from(&short.padded()), *short);
            assert_eq!(ShortKey::from_bytes(*short.as_bytes()), Some(*short));
        }
        assert_eq!(ShortKey::from_bytes([0; 14]), None);
    }
}
