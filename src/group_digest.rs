//! What an output says about each of its row groups, so that the next run recognises those whose
//! texts are unchanged.

use reembed_encoder::hash::hex;
use reembed_encoder::task::ContentKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twox_hash::xxhash3_128::Hasher;

/// Rows of a block of texts. A run that looks for unchanged row groups stops at the first block that
/// differs.
const BLOCK_ROWS: u64 = 4096;

/// A row group of an output with copied columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDigest {
    /// Number of rows.
    pub rows: u64,
    /// Number of rows without a vector.
    pub null_rows: u64,
    /// Tokens of all texts, special tokens included, after truncation.
    pub tokens: u64,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated: u64,
    /// XXH3 of 128 bits over the content keys of each block of 4,096 rows, in hexadecimal.
    pub texts: Vec<String>,
    /// XXH3 of 128 bits over the bytes of the vector chunk's pages, in hexadecimal.
    pub pages: String,
    /// SHA-256 over the values of the vectors, as [`crate::digest`] defines it, in hexadecimal.
    pub values: String,
}

/// The digest of a vector column from those of its row groups: SHA-256 over their values' digests in
/// hexadecimal, one after the other.
pub fn vectors_digest(groups: &[GroupDigest]) -> String {
    let mut hasher = Sha256::new();
    groups.iter().for_each(|group| hasher.update(&group.values));
    hex(&hasher.finalize())
}

/// Hashes the content keys of a row group, block by block.
#[derive(Default)]
pub struct TextHasher {
    rows: u64,
    block: Option<Hasher>,
    blocks: Vec<String>,
}

impl TextHasher {
    /// Adds the text of the next row; returns the number of whole blocks so far.
    pub fn push(&mut self, key: &ContentKey) -> usize {
        let block = self.block.get_or_insert_with(Hasher::new);
        block.write(key.as_bytes());
        self.rows += 1;
        if self.rows.is_multiple_of(BLOCK_ROWS) {
            self.close_block();
        }
        self.blocks.len()
    }

    /// The whole blocks so far.
    pub fn blocks(&self) -> &[String] {
        &self.blocks
    }

    /// All blocks.
    pub fn finish(mut self) -> Vec<String> {
        self.close_block();
        self.blocks
    }

    fn close_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.blocks.push(format!("{:032x}", block.finish_128()));
        }
    }
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::*;

    #[test]
    fn blocks_are_whole_but_for_the_last() {
        let keys = ContentKeys::new("model");
        let digests = |rows: u64, other: Option<u64>| {
            let mut hasher = TextHasher::default();
            for row in 0..rows {
                let text = if Some(row) == other { "other".to_owned() } else { row.to_string() };
                hasher.push(&keys.key(&text));
            }
            hasher.finish()
        };
        for (rows, blocks) in [(0, 0), (1, 1), (4096, 1), (4097, 2), (10_000, 3)] {
            assert_eq!(digests(rows, None).len(), blocks, "{rows}");
        }
        let (same, changed) = (digests(10_000, None), digests(10_000, Some(5000)));
        assert_eq!((&same[0], &same[2]), (&changed[0], &changed[2]));
        assert_ne!(same[1], changed[1]);
    }
}
