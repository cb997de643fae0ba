//! The cost of entries, and which entries are evicted. Pure functions.

use std::collections::BTreeMap;

/// Bytes of a database page.
const PAGE: u64 = 4096;

/// Bytes of an entry in the index and in `ages`: key and slot, in pages that are two thirds full,
/// and the run that last used it.
const INDEX: u64 = 72;

/// Bytes of overhead of a page, and of each entry in it.
const PAGE_HEADER: u64 = 8;
const ENTRY_HEADER: u64 = 12;

/// The size limit of a cache, and which entries may be evicted to keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes that all entries together may cost.
    pub max_size: u64,
    /// The first run whose entries stay.
    pub keep_from: u32,
    /// Most entries that one commit evicts.
    pub evictions_per_commit: u64,
}

/// Bytes of the file that an entry of `length` bytes takes. An entry is never split across the end
/// of a shared page, so two entries of 384 components fill a page.
pub fn entry_cost(length: usize) -> u64 {
    let length = length as u64 + ENTRY_HEADER;
    let pages = match (PAGE - PAGE_HEADER) / length {
        // A longer entry takes a power of two of pages.
        0 => (length + PAGE_HEADER).div_ceil(PAGE).next_power_of_two() * PAGE,
        shared => PAGE / shared,
    };
    pages + INDEX
}

/// The entries to evict: all that were last used before the run `before`, and `more` that were last
/// used in that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictionCutoff {
    /// A run.
    pub before: u32,
    /// Number of entries that were last used in the run `before`.
    pub more: u64,
}

impl EvictionCutoff {
    /// The cutoff that evicts `wanted` entries, the least recently used first.
    ///
    /// `last_used` has the number of entries by the run that last used them. Only entries of runs
    /// before `keep_from` are evicted.
    pub fn choose(last_used: &BTreeMap<u32, u64>, wanted: u64, keep_from: u32) -> Self {
        let mut left = wanted;
        for (&run, &entries) in last_used.range(..keep_from) {
            if entries >= left {
                return EvictionCutoff { before: run, more: left };
            }
            left -= entries;
        }
        EvictionCutoff { before: keep_from, more: 0 }
    }

    /// Whether to evict an entry that `run` last used. Call it once per entry.
    pub fn takes(&mut self, run: u32) -> bool {
        if run == self.before && self.more > 0 {
            self.more -= 1;
            return true;
        }
        run < self.before
    }
}

/// The first run whose entries stay if those of the last `keep_runs` finished runs stay.
///
/// `finished` has the numbers of the finished runs, ascending. The result is 0, which keeps every
/// entry, if fewer runs are known.
pub fn keep_from(finished: &[u32], keep_runs: u32) -> u32 {
    match finished.len().checked_sub(keep_runs as usize) {
        Some(at) => finished.get(at).copied().unwrap_or(u32::MAX),
        None => 0,
    }
}

/// How many runs have finished after `run`; 0 for the last finished run or a later one.
pub fn runs_ago(finished: &[u32], run: u32) -> u64 {
    (finished.len() - finished.partition_point(|finished| *finished <= run)) as u64
}

/// The first run to keep, if `keep_runs` finished runs of each output are kept. `finished` has the finished
/// runs of the cache, and `outputs` those of each output that is known.
///
/// Runs of before outputs were recorded count as runs of another output, unless there is one output at most.
pub fn keep_from_all<'r>(
    finished: &[u32],
    outputs: impl Iterator<Item = &'r [u32]>,
    keep_runs: u32,
) -> u32 {
    let outputs: Vec<&[u32]> = outputs.filter(|runs| !runs.is_empty()).collect();
    if outputs.len() <= 1 {
        return keep_from(finished, keep_runs);
    }
    let first_recorded = outputs.iter().filter_map(|runs| runs.first()).min();
    let before: Vec<u32> =
        finished.iter().copied().filter(|run| Some(run) < first_recorded).collect();
    let of_others = (!before.is_empty()).then_some(&before[..]);
    // An output with fewer runs keeps what its first one used.
    let first_kept = |runs: &[u32]| match keep_from(runs, keep_runs) {
        0 => runs.first().copied().unwrap_or(0),
        from => from,
    };
    outputs.into_iter().chain(of_others).map(first_kept).min().unwrap_or(0)
}

/// The size in bytes of a file whose entries cost `entries` bytes, if no run was interrupted.
pub fn file_bytes(entries: u64) -> u64 {
    /// Pages that a commit writes before it frees the ones that they replace.
    const SPARE: u64 = 1 << 20;
    SPARE.saturating_add(entries).saturating_add(entries / 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_runs_do_not_count_as_kept_runs() {
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
    fn no_output_loses_what_its_last_runs_used() {
        let finished = [1, 2, 3, 4, 5, 6, 7, 8];
        for (outputs, keep_runs, expected) in [
            // One output, or none that is known: its last runs.
            (&[][..], 1, 8),
            (&[&[7, 8][..]], 2, 7),
            (&[&[8][..]], 2, 7),
            // Two that take turns.
            (&[&[1, 3, 5, 7], &[2, 4, 6, 8]], 1, 7),
            (&[&[1, 3, 5, 7], &[2, 4, 6, 8]], 2, 5),
            // One that did not run for long keeps what it used.
            (&[&[1], &[2, 3, 4, 5, 6, 7, 8]], 1, 1),
            (&[&[1], &[2, 3, 4, 5, 6, 7, 8]], 3, 1),
            // Runs of before outputs were recorded may be another output's.
            (&[&[5, 7], &[6, 8]], 1, 4),
            (&[&[5, 7], &[6, 8]], 2, 3),
        ] {
            let runs = outputs.iter().copied();
            assert_eq!(keep_from_all(&finished, runs, keep_runs), expected, "{outputs:?}");
        }
    }

    #[test]
    fn least_recently_used_entries_go_first_and_recent_ones_stay() {
        let last_used = BTreeMap::from([(2, 10), (5, 20), (6, 30)]);
        for (wanted, keep_from, (before, more)) in [
            (0, 7, (2, 0)),
            (4, 7, (2, 4)),
            (10, 7, (2, 10)),
            (11, 7, (5, 1)),
            (55, 7, (6, 25)),
            (1000, 7, (7, 0)),
            (1000, 6, (6, 0)),
            (15, 5, (5, 0)),
            (15, 0, (0, 0)),
        ] {
            let mut cutoff = EvictionCutoff::choose(&last_used, wanted, keep_from);
            let expected = EvictionCutoff { before, more };
            assert_eq!(cutoff, expected, "{wanted} from before {keep_from}");
            let evicted = last_used
                .iter()
                .map(|(run, entries)| (0..*entries).filter(|_| cutoff.takes(*run)).count());
            let evictable: u64 = last_used.range(..keep_from).map(|(_, entries)| entries).sum();
            assert_eq!(evicted.sum::<usize>() as u64, wanted.min(evictable));
        }
    }

    #[test]
    fn entry_costs_its_share_of_a_page() {
        for (length, expected) in [
            (1588, PAGE / 2 + INDEX),
            (52 + 32 * 4, PAGE / 21 + INDEX),
            (52 + 1024 * 4, 2 * PAGE + INDEX),
            (52 + 4096 * 4, 8 * PAGE + INDEX),
        ] {
            assert_eq!(entry_cost(length), expected, "{length}");
        }
    }
}
