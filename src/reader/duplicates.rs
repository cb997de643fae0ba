//! Finds repeated ids in a fixed amount of memory.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Number of buckets. With 8 slots of 8 bytes each the table takes 8 MiB for any number of rows.
const BUCKETS: usize = 1 << 17;
const SLOTS: usize = 8;

/// The ids seen most recently, as 64-bit hashes.
///
/// It finds every repetition among the first hundreds of thousands of rows. Later it forgets old ids
/// and can miss a repetition far apart. A new id counts as repeated with probability below 10⁻¹².
pub struct DuplicateIds {
    hashes: Vec<[u64; SLOTS]>,
    /// The slot of each bucket that is overwritten next.
    next: Vec<u8>,
}

impl Default for DuplicateIds {
    fn default() -> Self {
        DuplicateIds { hashes: vec![[0; SLOTS]; BUCKETS], next: vec![0; BUCKETS] }
    }
}

impl DuplicateIds {
    /// Adds `id`; returns whether it was there.
    pub fn insert(&mut self, id: &str) -> bool {
        self.insert_hash(id).is_none()
    }

    /// As [`DuplicateIds::insert`]; returns the hash of a new id, by which it can be taken back.
    pub fn insert_hash(&mut self, id: &str) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // Zero marks an empty slot.
        let hash = hasher.finish().max(1);
        let bucket = (hash % BUCKETS as u64) as usize;
        if self.hashes[bucket].contains(&hash) {
            return None;
        }
        let slot = usize::from(self.next[bucket]) % SLOTS;
        self.hashes[bucket][slot] = hash;
        self.next[bucket] = ((slot + 1) % SLOTS) as u8;
        Some(hash)
    }

    /// Forgets an id by its hash.
    pub fn remove_hash(&mut self, hash: u64) {
        let bucket = (hash % BUCKETS as u64) as usize;
        for slot in &mut self.hashes[bucket] {
            if *slot == hash {
                *slot = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_id_is_found_and_a_new_one_is_not() {
        let mut ids = DuplicateIds::default();
        assert!((0..100_000).all(|n| !ids.insert(&format!("task-{n}"))));
        assert!((0..100_000).all(|n| ids.insert(&format!("task-{n}"))));
    }
}
