//! The modes of embedding that are compared.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// The batch sizes that are compared, unless others are asked for.
pub const BATCH_SIZES: [usize; 6] = [1, 8, 16, 32, 64, 128];

/// A mode of embedding the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One call of `compute_embedding` per row.
    Single,
    /// Batches of this many rows.
    Rows(NonZeroUsize),
    /// Batches as a run plans them: what suits the encoder.
    Auto,
}

impl Mode {
    /// One at a time, the [`BATCH_SIZES`], and a run's own plan.
    pub fn standard() -> Vec<Mode> {
        let sizes = BATCH_SIZES.into_iter().filter_map(NonZeroUsize::new).map(Mode::Rows);
        [Mode::Single].into_iter().chain(sizes).chain([Mode::Auto]).collect()
    }

    /// Rows of a batch; `None` where they vary.
    pub fn rows(self) -> Option<u64> {
        match self {
            Mode::Single => Some(1),
            Mode::Rows(rows) => Some(rows.get() as u64),
            Mode::Auto => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Single => f.pad("one at a time"),
            Mode::Rows(rows) => f.pad(&format!("batch {rows}")),
            Mode::Auto => f.pad("as a run plans"),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    /// `single`, `auto`, or a number of rows.
    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "single" => Ok(Mode::Single),
            "auto" => Ok(Mode::Auto),
            "alone" => Err("it is now called `single`".to_owned()),
            "plan" => Err("it is now called `auto`".to_owned()),
            rows => rows
                .parse()
                .map(Mode::Rows)
                .map_err(|_| "it is neither `single`, `auto`, nor a number of rows".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_a_word_or_a_number_of_rows() {
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
