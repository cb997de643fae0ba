//! The limit on how many rows a new output may lack compared with the existing one.

use crate::config::Percent;

/// The decrease from `old` to `new` rows in percent, rounded up, if it is more than `max_shrink`.
pub fn excess_percent(old: u64, new: u64, max_shrink: Percent) -> Option<u64> {
    let lost = u128::from(old.saturating_sub(new)) * 100;
    let allowed = u128::from(old) * u128::from(max_shrink.get());
    (lost > allowed).then(|| lost.div_ceil(u128::from(old.max(1))) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decrease_is_reported_only_above_the_limit() {
        for (old, new, max_shrink, expected) in [
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
            let max_shrink = Percent::new(max_shrink).expect("a percentage");
            assert_eq!(
                excess_percent(old, new, max_shrink),
                expected,
                "{old} to {new}, {max_shrink:?}"
            );
        }
    }
}
