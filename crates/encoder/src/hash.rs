//! SHA-256: shown in hexadecimal, and computed over several parts.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Formats bytes in lower-case hexadecimal, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 over parts. The length of each, a little-endian u64, precedes it: ("ab", "c") and
/// ("a", "bc") differ.
#[derive(Debug, Clone, Default)]
pub struct FramedHasher(Sha256);

impl FramedHasher {
    /// Adds the next part.
    pub fn update(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
    }

    /// Returns the hash of all parts.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_two_lower_case_digits_a_byte() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn framed_hash_is_sha_256_of_lengths_and_parts() {
        let mut bytes = Vec::new();
        for part in ["0123", "", "Fix it"] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        let mut hasher = FramedHasher::default();
        ["0123", "", "Fix it"].into_iter().for_each(|part| hasher.update(part));
        assert_eq!(hasher.finish(), <[u8; 32]>::from(Sha256::digest(&bytes)));
    }
}
