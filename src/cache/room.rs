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

/// The run from which on entries stay, where those stay that the last `keep_runs` of the `finished` runs used (their
/// numbers, ascending). 0, so all of them, where fewer are known.
pub fn keep_from(finished: &[u32], keep_runs: u32) -> u32 {
    match finished.len().checked_sub(keep_runs as usize) {
        Some(at) => finished.get(at).copied().unwrap_or(u32::MAX),
        None => 0,
    }
}

/// How many runs have finished since an entry was last used by `run`: 0 where that was the last finished one, or one
/// after it.
pub fn runs_ago(finished: &[u32], run: u32) -> u64 {
    (finished.len() - finished.partition_point(|finished| *finished <= run)) as u64
}

/// Bytes of the file that entries of so many bytes, by [`cost`], come to in a run that nothing disturbs.
pub fn file_bytes(entries: u64) -> u64 {
    /// The pages that a commit writes before it frees those in whose place they are.
    const SPARE: u64 = 1 << 20;
    SPARE.saturating_add(entries).saturating_add(entries / 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_were_killed_are_not_counted_among_those_that_are_kept() {
        // 1 was killed, 2 finished, 3 and 4 were killed, 5 and 6 finished, 7 was killed.
        let finished = [2, 5, 6];
        for (run, ago) in [(1, 3), (2, 2), (3, 2), (4, 2), (5, 1), (6, 0), (7, 0)] {
            assert_eq!(runs_ago(&finished, run), ago, "run {run}");
        }
        for (keep_runs, from) in [(0, u32::MAX), (1, 6), (2, 5), (3, 2), (4, 0), (u32::MAX, 0)] {
            assert_eq!(keep_from(&finished, keep_runs), from, "{keep_runs} runs");
            for run in 1..8 {
                let stays = run >= from;
                assert_eq!(
                    stays,
                    runs_ago(&finished, run) < keep_runs.into(),
                    "{run}, {keep_runs}"
                );
            }
        }
        assert_eq!((keep_from(&[], 1), runs_ago(&[], 3)), (0, 0));
    }

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
