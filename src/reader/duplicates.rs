//! Notices ids that come twice, in a fixed amount of memory.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Buckets of the table; with 8 slots of 8 bytes each it takes 8 MiB, whatever the number of rows.
const BUCKETS: usize = 1 << 17;
const SLOTS: usize = 8;

/// The ids seen lately, as 64-bit hashes.
///
/// Among the first hundreds of thousands of rows every repetition is noticed. Beyond that old ids make room
/// for new ones, and a repetition far apart can be missed: a warning is not worth memory that grows with the
/// file. An id that is new is taken for a repetition with probability below 1 in 10¹².
pub struct DuplicateIds {
    hashes: Vec<[u64; SLOTS]>,
    /// The next slot to be overwritten, per bucket.
    next: Vec<u8>,
}

impl Default for DuplicateIds {
    fn default() -> Self {
        DuplicateIds { hashes: vec![[0; SLOTS]; BUCKETS], next: vec![0; BUCKETS] }
    }
}

impl DuplicateIds {
    /// Remembers `id` and says whether it was seen before.
    pub fn seen(&mut self, id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // Zero marks a free slot.
        let hash = hasher.finish().max(1);
        let bucket = (hash % BUCKETS as u64) as usize;
        if self.hashes[bucket].contains(&hash) {
            return true;
        }
        let slot = usize::from(self.next[bucket]) % SLOTS;
        self.hashes[bucket][slot] = hash;
        self.next[bucket] = ((slot + 1) % SLOTS) as u8;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_id_is_seen_and_a_new_one_is_not() {
        let mut ids = DuplicateIds::default();
        assert!((0..100_000).all(|n| !ids.seen(&format!("task-{n}"))));
        assert!((0..100_000).all(|n| ids.seen(&format!("task-{n}"))));
    }
}
