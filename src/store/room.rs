//! How much room entries take, and which go when there is no more: pure policy.

use std::collections::BTreeMap;

/// A page of the database.
const PAGE: u64 = 4096;

/// What an entry costs beside its own bytes: its place in the index (a key and a number, in pages that are two
/// thirds full) and the run that used it last.
const INDEX: u64 = 72;

/// Bytes that a page keeps for itself, and for each of its entries.
const PAGE_HEAD: u64 = 8;
const ENTRY_HEAD: u64 = 12;

/// Bytes of the file that an entry of `length` bytes takes. Entries share a page only whole, so two entries of
/// 384 components fill one.
pub fn cost(length: usize) -> u64 {
    let length = length as u64 + ENTRY_HEAD;
    let pages = match (PAGE - PAGE_HEAD) / length {
        // Longer ones have a power of two of pages to themselves.
        0 => (length + PAGE_HEAD).div_ceil(PAGE).next_power_of_two() * PAGE,
        shared => PAGE / shared,
    };
    pages + INDEX
}

/// Which entries go: all that were last used before `before`, and `more` of those last used in that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// A run.
    pub before: u32,
    /// Entries that this run used last.
    pub more: u64,
}

/// Chooses `wanted` entries, those first that were used longest ago. `last_used` counts entries by the run that
/// used them last; only those of runs before `keep_from` may go.
pub fn cut(last_used: &BTreeMap<u32, u64>, wanted: u64, keep_from: u32) -> Cut {
    let mut left = wanted;
    for (&run, &entries) in last_used.range(..keep_from) {
        if entries >= left {
            return Cut { before: run, more: left };
        }
        left -= entries;
    }
    Cut { before: keep_from, more: 0 }
}

impl Cut {
    /// Whether an entry that `run` used last goes; to be asked once for each entry.
    pub fn takes(&mut self, run: u32) -> bool {
        if run == self.before && self.more > 0 {
            self.more -= 1;
            return true;
        }
        run < self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_that_were_used_longest_ago_go_first_and_recent_ones_never() {
        let last_used = BTreeMap::from([(2, 10), (5, 20), (6, 30)]);
        for (wanted, keep_from, expected) in [
            (0, 7, Cut { before: 2, more: 0 }),
            (4, 7, Cut { before: 2, more: 4 }),
            (10, 7, Cut { before: 2, more: 10 }),
            (11, 7, Cut { before: 5, more: 1 }),
            (55, 7, Cut { before: 6, more: 25 }),
            (1000, 7, Cut { before: 7, more: 0 }),
            (1000, 6, Cut { before: 6, more: 0 }),
            (15, 5, Cut { before: 5, more: 0 }),
            (15, 0, Cut { before: 0, more: 0 }),
        ] {
            let mut found = cut(&last_used, wanted, keep_from);
            assert_eq!(found, expected, "{wanted} from before {keep_from}");
            let gone = last_used
                .iter()
                .map(|(run, entries)| (0..*entries).filter(|_| found.takes(*run)).count());
            let may_go: u64 = last_used.range(..keep_from).map(|(_, entries)| entries).sum();
            assert_eq!(gone.sum::<usize>() as u64, wanted.min(may_go));
        }
    }

    #[test]
    fn an_entry_costs_its_share_of_a_page() {
        for (length, expected) in [
            (1588, PAGE / 2 + INDEX),
            (52 + 32 * 4, PAGE / 21 + INDEX),
            (52 + 1024 * 4, 2 * PAGE + INDEX),
            (52 + 4096 * 4, 8 * PAGE + INDEX),
        ] {
            assert_eq!(cost(length), expected, "{length}");
        }
    }
}
