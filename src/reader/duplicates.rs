//! Finds repeated ids in a fixed amount of memory.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Number of buckets. With 8 slots of 8 bytes each the table takes 8 MiB for any number of rows.
const BUCKETS: usize = 1 << 17;
const SLOTS: usize = 8;

/// Maximum number of insertions that are remembered one by one, in 2 MiB. A copy of the table takes
/// more than that, and is made once for as many rows or more.
const MAX_LOG: usize = 1 << 17;

/// The ids seen most recently, as 64-bit hashes.
///
/// It finds every repetition among the first hundreds of thousands of rows. Later it forgets old ids
/// and can miss a repetition far apart. A new id counts as repeated with probability below 10⁻¹².
#[derive(Default)]
pub struct DuplicateIds {
    table: Table,
    undo: Option<Undo>,
}

#[derive(Clone, PartialEq, Eq)]
struct Table {
    hashes: Vec<[u64; SLOTS]>,
    /// The slot of each bucket that is overwritten next.
    next: Vec<u8>,
}

/// How the table becomes again what it was.
enum Undo {
    /// The bucket of each insertion and the hash that it replaced, in order.
    Log(Vec<(u32, u64)>),
    /// The table as it was.
    Copy(Table),
}

impl DuplicateIds {
    /// Adds `id`; returns whether it was there.
    pub fn insert(&mut self, id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        // Zero marks an empty slot.
        let hash = hasher.finish().max(1);
        let Some(insertion) = self.table.insert(hash) else { return true };
        if let Some(Undo::Log(log)) = &mut self.undo {
            log.push(insertion);
            if log.len() == MAX_LOG {
                let mut copy = self.table.clone();
                copy.undo(log);
                self.undo = Some(Undo::Copy(copy));
            }
        }
        false
    }

    /// Remembers what the next insertions replace, until they are kept or rolled back.
    pub fn begin(&mut self) {
        self.undo = Some(Undo::Log(Vec::new()));
    }

    /// Keeps the insertions since [`DuplicateIds::begin`].
    pub fn keep(&mut self) {
        self.undo = None;
    }

    /// Undoes the insertions since [`DuplicateIds::begin`]: what they replaced is there again.
    pub fn roll_back(&mut self) {
        match self.undo.take() {
            Some(Undo::Log(log)) => self.table.undo(&log),
            Some(Undo::Copy(copy)) => self.table = copy,
            None => {}
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Table { hashes: vec![[0; SLOTS]; BUCKETS], next: vec![0; BUCKETS] }
    }
}

impl Table {
    /// Adds a hash; returns its bucket and the hash that it replaced, or `None` if it was there.
    fn insert(&mut self, hash: u64) -> Option<(u32, u64)> {
        let bucket = (hash % BUCKETS as u64) as usize;
        if self.hashes[bucket].contains(&hash) {
            return None;
        }
        let slot = usize::from(self.next[bucket]) % SLOTS;
        let replaced = std::mem::replace(&mut self.hashes[bucket][slot], hash);
        self.next[bucket] = ((slot + 1) % SLOTS) as u8;
        Some((bucket as u32, replaced))
    }

    /// Undoes the latest insertions.
    fn undo(&mut self, log: &[(u32, u64)]) {
        for (bucket, replaced) in log.iter().rev() {
            let bucket = *bucket as usize;
            let slot = (usize::from(self.next[bucket]) + SLOTS - 1) % SLOTS;
            self.hashes[bucket][slot] = *replaced;
            self.next[bucket] = slot as u8;
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

    #[test]
    fn roll_back_restores_every_id_that_was_replaced() {
        let slots = BUCKETS * SLOTS;
        let mut ids = DuplicateIds::default();
        (0..2 * slots).for_each(|n| _ = ids.insert(&format!("old-{n}")));
        let before = ids.table.clone();
        // None, fewer than the log holds, just as many, more than the table holds.
        for count in [0, 1000, MAX_LOG, 2 * slots] {
            ids.begin();
            (0..count).for_each(|n| _ = ids.insert(&format!("new-{n}")));
            assert!((count == 0) == (ids.table == before), "{count}");
            let remembered = match &ids.undo {
                Some(Undo::Log(log)) => log.len(),
                Some(Undo::Copy(_)) => 0,
                None => usize::MAX,
            };
            assert!(remembered < MAX_LOG, "{count}");
            ids.roll_back();
            assert!(ids.table == before, "{count}");
        }
        ids.begin();
        ids.insert("kept");
        ids.keep();
        ids.roll_back();
        assert!(ids.insert("kept"));
    }
}
