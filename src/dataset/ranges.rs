//! Into which ranges of row groups a table is divided: a pure policy, so that workers need not talk to each other.

use std::num::NonZeroU64;
use std::ops::Range;

/// The ranges of a table by the rows of its row groups: each has as many whole row groups as fit into `about` rows, and
/// at least one with rows.
pub fn ranges(rows: &[u64], about: NonZeroU64) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut in_range = 0u64;
    let fits = |one: u64, other: u64| one.checked_add(other).is_some_and(|sum| sum <= about.get());
    for (group, rows) in rows.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if in_range == 0 || fits(in_range, *rows) => {
                range.end = group + 1;
                in_range += *rows;
            }
            _ => {
                ranges.push(group..group + 1);
                in_range = *rows;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_row_groups_of_about_as_many_rows() {
        // Each range by its end.
        for (rows, about, expected) in [
            (&[][..], 10, &[][..]),
            (&[10], 10, &[1]),
            (&[5, 5, 5, 5], 10, &[2, 4]),
            (&[5, 5, 5], 10, &[2, 3]),
            (&[6, 6, 6], 10, &[1, 2, 3]),
            // A row group is never divided.
            (&[30, 1, 30], 10, &[1, 2, 3]),
            (&[1, 1, 30, 1], 10, &[2, 3, 4]),
            // Those without rows go with the ones before them, the first ones with those after.
            (&[0, 10, 0, 0, 10, 0], 10, &[4, 6]),
            (&[0, 0], 10, &[2]),
            (&[u64::MAX, u64::MAX], u64::MAX, &[1, 2]),
        ] {
            let about = NonZeroU64::new(about).expect("a positive number");
            let ends: Vec<usize> = ranges(rows, about).iter().map(|range| range.end).collect();
            assert_eq!(ends, expected, "{rows:?}, {about}");
        }
    }

    #[test]
    fn every_row_group_is_in_one_range() {
        let rows: Vec<u64> = (0..97).map(|group| group * 7919 % 41).collect();
        for about in [1, 40, 100, 10_000] {
            let ranges = ranges(&rows, NonZeroU64::new(about).expect("a positive number"));
            let all: Vec<usize> = ranges.into_iter().flatten().collect();
            assert_eq!(all, (0..97).collect::<Vec<_>>(), "{about}");
        }
    }
}
