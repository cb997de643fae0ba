//! Which tables of a dataset a worker takes: a pure rule, so that workers need not talk to each other.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use sha2::{Digest, Sha256};

/// One of several parts of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: NonZeroU32,
    count: NonZeroU32,
}

impl Shard {
    /// Parses `2/8`: the second of eight.
    pub fn parse(text: &str) -> Option<Shard> {
        let (index, count) = text.split_once('/')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<NonZeroU32>().ok())?
        };
        let (index, count) = (number(index)?, number(count)?);
        (index <= count).then_some(Shard { index, count })
    }

    /// The part with a number, from 1 to `count`.
    pub fn of(index: NonZeroU32, count: NonZeroU32) -> Option<Shard> {
        (index <= count).then_some(Shard { index, count })
    }

    /// Its number, from 1.
    pub fn index(self) -> NonZeroU32 {
        self.index
    }

    /// How many parts there are.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// Whether a table belongs to it, by its path below the root of the dataset.
    ///
    /// The first 64 bits of the SHA-256 of the path, big-endian, modulo the number of parts, plus one: a table
    /// that comes later or is tried again moves no other.
    pub fn has(self, below: &Path) -> bool {
        self.has_range(below, 0)
    }

    /// Whether a range of a table belongs to it, by its number from 0: that of the table, the next shard has the next one.
    /// Thus shards have as many ranges of a table as each other, or one more.
    pub fn has_range(self, below: &Path, number: u64) -> bool {
        let digest = Sha256::digest(below.as_os_str().as_encoded_bytes());
        let hash = digest.iter().take(8).fold(0u64, |hash, byte| hash << 8 | u64::from(*byte));
        let count = u64::from(self.count.get());
        (hash % count + number % count) % count + 1 == u64::from(self.index.get())
    }
}

/// `2/8`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_counted_from_one() {
        for (text, expected) in [
            ("1/1", true),
            ("2/8", true),
            ("8/8", true),
            ("0/8", false),
            ("9/8", false),
            ("1/0", false),
            ("+1/2", false),
            ("1/2/3", false),
            ("1", false),
            ("", false),
            ("a/b", false),
        ] {
            assert_eq!(
                Shard::parse(text).map(|shard| shard.to_string() == text),
                expected.then_some(true),
                "{text}"
            );
        }
    }

    #[test]
    fn every_table_is_in_one_shard_and_stays_there() {
        let shards = |count: u32| -> Vec<Shard> {
            (1..=count).filter_map(|index| Shard::parse(&format!("{index}/{count}"))).collect()
        };
        for count in [1, 2, 7] {
            let mut sizes = vec![0usize; count as usize];
            for table in 0..700 {
                let path = format!("dt=2026-11-01/part-{table}.parquet");
                let of: Vec<usize> = (0..count as usize)
                    .filter(|number| shards(count)[*number].has(Path::new(&path)))
                    .collect();
                assert_eq!(of.len(), 1, "{path}");
                sizes[of[0]] += 1;
            }
            let fair = 700 / count as usize;
            assert!(sizes.iter().all(|size| size.abs_diff(fair) < fair / 2 + 1), "{sizes:?}");
        }
        // The rule is part of what workers of different versions share.
        let first = Shard::parse("1/2").expect("a shard");
        let of_first = ["a.parquet", "b.parquet", "c.parquet", "x=1/a.parquet"]
            .map(|path| first.has(Path::new(path)));
        assert_eq!(of_first, RECORDED);
    }

    const RECORDED: [bool; 4] = [false, false, true, false];

    #[test]
    fn ranges_of_a_table_go_round_the_shards() {
        let shard_of = |path: &str, number: u64, count: u32| {
            let mut all = (1..=count).filter_map(|i| Shard::parse(&format!("{i}/{count}")));
            let owner = all.find(|shard| shard.has_range(Path::new(path), number));
            owner.map_or(0, |shard| shard.index().get())
        };
        // The rule is part of what workers of different versions share.
        for (path, count, expected) in RECORDED_RANGES {
            let found: Vec<u32> = (0..6).map(|number| shard_of(path, number, count)).collect();
            assert_eq!(found, expected, "{path}, {count}");
        }
        for (number, count) in [(u64::MAX, 7), (u64::MAX - 1, 4)] {
            assert_ne!(shard_of("a.parquet", number, count), 0, "{number}");
        }
        let whole = Shard::parse("3/4").expect("a shard");
        for path in ["a.parquet", "b.parquet", "x=1/a.parquet"].map(Path::new) {
            assert_eq!(whole.has(path), whole.has_range(path, 0), "{}", path.display());
        }
    }

    const RECORDED_RANGES: [(&str, u32, [u32; 6]); 3] = [
        ("a.parquet", 2, [2, 1, 2, 1, 2, 1]),
        ("a.parquet", 4, [2, 3, 4, 1, 2, 3]),
        ("dt=2026-11-01/b.parquet", 3, [1, 2, 3, 1, 2, 3]),
    ];
}
