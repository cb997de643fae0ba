//! The ways of embedding that are compared.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// The batch sizes that are compared, unless others are asked for.
pub const BATCH_SIZES: [usize; 6] = [1, 8, 16, 32, 64, 128];

/// A way of embedding the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One call of `compute_embedding` per row.
    OneAtATime,
    /// Batches of so many rows.
    Rows(NonZeroUsize),
    /// Batches as a run plans them: what suits the encoder.
    Planned,
}

impl Way {
    /// One at a time, the [`BATCH_SIZES`], and a run's own plan.
    pub fn standard() -> Vec<Way> {
        let sizes = BATCH_SIZES.into_iter().filter_map(NonZeroUsize::new).map(Way::Rows);
        [Way::OneAtATime].into_iter().chain(sizes).chain([Way::Planned]).collect()
    }

    /// Rows of a batch; `None` where they vary.
    pub fn rows(self) -> Option<u64> {
        match self {
            Way::OneAtATime => Some(1),
            Way::Rows(rows) => Some(rows.get() as u64),
            Way::Planned => None,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::OneAtATime => f.pad("one at a time"),
            Way::Rows(rows) => f.pad(&format!("batch {rows}")),
            Way::Planned => f.pad("as a run plans"),
        }
    }
}

impl FromStr for Way {
    type Err = String;

    /// `alone`, `plan`, or a number of rows.
    fn from_str(text: &str) -> Result<Way, String> {
        match text {
            "alone" => Ok(Way::OneAtATime),
            "plan" => Ok(Way::Planned),
            rows => rows
                .parse()
                .map(Way::Rows)
                .map_err(|_| "it is neither `alone`, `plan`, nor a number of rows".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_named_by_a_word_or_a_number_of_rows() {
        let rows = |n| Way::Rows(NonZeroUsize::new(n).expect("not zero"));
        for (text, way) in
            [("alone", Some(Way::OneAtATime)), ("plan", Some(Way::Planned)), ("32", Some(rows(32)))]
        {
            assert_eq!(text.parse().ok(), way, "{text}");
        }
        for text in ["0", "-1", "", "all", "32 "] {
            assert!(text.parse::<Way>().is_err(), "{text:?}");
        }
        assert_eq!(Way::standard().len(), 8);
    }
}
