//! The modes of embedding that a bench compares.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// The batch sizes of [`Mode::standard`].
const BATCH_SIZES: [usize; 6] = [1, 8, 16, 32, 64, 128];

/// A mode of embedding the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One call of `compute_embedding` per row.
    Single,
    /// Batches of this many rows.
    Rows(NonZeroUsize),
    /// Batches as a run plans them.
    Auto,
}

impl Mode {
    /// The modes without `--modes`.
    pub fn standard() -> Vec<Mode> {
        let sizes = BATCH_SIZES.into_iter().filter_map(NonZeroUsize::new).map(Mode::Rows);
        [Mode::Single].into_iter().chain(sizes).chain([Mode::Auto]).collect()
    }

    /// Rows of a batch; `None` if they vary.
    pub fn rows(self) -> Option<u64> {
        match self {
            Mode::Single => Some(1),
            Mode::Rows(rows) => Some(rows.get() as u64),
            Mode::Auto => None,
        }
    }
}

/// The name in tables and in `bench.json`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Single => f.pad("one at a time"),
            Mode::Rows(rows) => f.pad(&format!("batch {rows}")),
            Mode::Auto => f.pad("as a run plans"),
        }
    }
}

/// The word of `--modes`.
impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "single" => Ok(Mode::Single),
            "auto" => Ok(Mode::Auto),
            "alone" => Err("it is now called `single`".to_owned()),
            "plan" => Err("it is now called `auto`".to_owned()),
            rows => rows
                .parse()
                .map(Mode::Rows)
                .map_err(|_| "it must be `single`, `auto` or a number of rows".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_a_word_or_a_number_of_rows() {
        let rows = |n| Mode::Rows(NonZeroUsize::new(n).expect("not zero"));
        for (text, mode) in
            [("single", Some(Mode::Single)), ("auto", Some(Mode::Auto)), ("32", Some(rows(32)))]
        {
            assert_eq!(text.parse().ok(), mode, "{text}");
        }
        for text in ["0", "-1", "", "all", "32 ", "alone", "plan"] {
            assert!(text.parse::<Mode>().is_err(), "{text:?}");
        }
        assert_eq!(Mode::standard().len(), 8);
    }
}
