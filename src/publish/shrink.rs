//! How much smaller a new output may be than the old one.

use crate::config::Percent;

/// The percent of `old` rows that are not among `new` ones, rounded up, where they are more than `most`.
pub fn excess(old: u64, new: u64, most: Percent) -> Option<u64> {
    let lost = u128::from(old.saturating_sub(new)) * 100;
    let allowed = u128::from(old) * u128::from(most.get());
    (lost > allowed).then(|| lost.div_ceil(u128::from(old.max(1))) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_may_lose_so_many_percent_of_its_rows_and_no_more() {
        for (old, new, most, expected) in [
            (10, 10, 50, None),
            (10, 20, 0, None),
            (10, 5, 50, None),
            (10, 4, 50, Some(60)),
            (1_000, 499, 50, Some(51)),
            (10, 9, 0, Some(10)),
            (1_000_000, 999_999, 0, Some(1)),
            (1, 0, 50, Some(100)),
            (1, 0, 99, Some(100)),
            (10, 0, 100, None),
            (0, 0, 0, None),
            (0, 7, 0, None),
            (u64::MAX, 0, 50, Some(100)),
            (u64::MAX, u64::MAX / 2 + 1, 50, None),
        ] {
            let most = Percent::new(most).expect("a percentage");
            assert_eq!(excess(old, new, most), expected, "{old} to {new}, {most:?}");
        }
    }
}
