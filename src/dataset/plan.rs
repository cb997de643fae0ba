//! What a run has to do for each table: a pure policy.

use super::manifest::TableRecord;
use super::stamp::Stamp;
use crate::config::Percent;

/// What a run does for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Nothing: input, settings and output are as they were.
    Nothing,
    /// It is read and published.
    Publish(Reason),
}

/// Why a table is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was not published before.
    New,
    /// Its input is another one.
    InputChanged,
    /// Its output depends on other settings, or on another model.
    SettingsChanged,
    /// Its output is gone.
    OutputMissing,
    /// Its output is not as it was published.
    OutputChanged,
    /// Everything is embedded again.
    Rebuild,
}

impl Reason {
    /// The reason in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::InputChanged => "input changed",
            Reason::SettingsChanged => "other settings",
            Reason::OutputMissing => "output missing",
            Reason::OutputChanged => "output changed",
            Reason::Rebuild => "rebuild",
        }
    }
}

/// What to do for a table, from its record, its input, its output if it exists, and the settings.
pub fn todo(
    record: Option<&TableRecord>,
    input: &Stamp,
    output: Option<&Stamp>,
    settings: &str,
    rebuild: bool,
) -> Todo {
    Todo::Publish(match (record, output) {
        _ if rebuild => Reason::Rebuild,
        (None, _) => Reason::New,
        (Some(_), None) => Reason::OutputMissing,
        (Some(record), _) if record.input != *input => Reason::InputChanged,
        (Some(record), _) if record.settings != settings => Reason::SettingsChanged,
        (Some(record), Some(output)) if record.output != *output => Reason::OutputChanged,
        _ => return Todo::Nothing,
    })
}

/// Whether so many of all tables and rows may be deleted; the larger percentage if not.
pub fn excess_loss(lost: (u64, u64), all: (u64, u64), max_shrink: Percent) -> Option<u64> {
    let percent = |lost: u64, all: u64| match all {
        0 => 0,
        all => (u128::from(lost) * 100).div_ceil(u128::from(all)) as u64,
    };
    let largest = percent(lost.0, all.0).max(percent(lost.1, all.1));
    let is_more = |lost: u64, all: u64| {
        u128::from(lost) * 100 > u128::from(all) * u128::from(max_shrink.get())
    };
    (is_more(lost.0, all.0) || is_more(lost.1, all.1)).then_some(largest)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::record;
    use super::*;

    #[test]
    fn only_a_table_with_everything_as_it_was_is_left_alone() {
        let known = record("a", "s");
        let (input, output) = (known.input.clone(), known.output.clone());
        let other = Stamp { size: 11, ..input.clone() };
        let moved = Stamp { inode: 9, ..output.clone() };
        for (record, input, output, settings, rebuild, expected) in [
            (Some(&known), &input, Some(&output), "s", false, None),
            (Some(&known), &input, Some(&output), "s", true, Some(Reason::Rebuild)),
            (None, &input, Some(&output), "s", false, Some(Reason::New)),
            (None, &input, None, "s", false, Some(Reason::New)),
            (Some(&known), &other, Some(&output), "s", false, Some(Reason::InputChanged)),
            (Some(&known), &input, None, "s", false, Some(Reason::OutputMissing)),
            (Some(&known), &input, Some(&moved), "s", false, Some(Reason::OutputChanged)),
            (Some(&known), &input, Some(&output), "t", false, Some(Reason::SettingsChanged)),
        ] {
            let expected = expected.map_or(Todo::Nothing, Todo::Publish);
            assert_eq!(todo(record, input, output, settings, rebuild), expected);
        }
    }

    #[test]
    fn losing_too_many_tables_or_rows_is_noticed() {
        for (lost, all, max_shrink, expected) in [
            ((0, 0), (0, 0), 0, None),
            ((1, 10), (10, 100), 10, None),
            ((2, 10), (10, 100), 10, Some(20)),
            // One large table of many small ones.
            ((1, 60), (10, 100), 50, Some(60)),
            ((10, 100), (10, 100), 100, None),
            ((1, 0), (3, 0), 33, Some(34)),
        ] {
            let max_shrink = Percent::new(max_shrink).expect("a percentage");
            assert_eq!(excess_loss(lost, all, max_shrink), expected, "{lost:?} of {all:?}");
        }
    }
}
