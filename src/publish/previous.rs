//! What stands at the output path, and whether the new output may take its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_kernels::Precision;

use super::refuse;
use super::shrink;
use crate::config::Percent;
use crate::file_id::FileId;
use crate::footer::{Footer, FooterFlaw, Lineage};
use crate::reader;

/// What the file at the output path is.
#[derive(Debug)]
pub enum Previous {
    /// There is none.
    Nothing,
    /// No Parquet file.
    NotParquet,
    /// A Parquet file that reembed did not write.
    Foreign,
    /// A Parquet file whose footer entry is ours and does not say what it should.
    Unreadable(FooterFlaw),
    /// An output of an earlier run.
    Output(Box<Footer>),
}

/// The file at the output path, from inside and from outside.
#[derive(Debug)]
pub struct Standing {
    previous: Previous,
    from_outside: Option<Outside>,
}

#[derive(Debug, Clone, Copy)]
struct Outside {
    stamp: FileId,
    kept: Kept,
}

/// What a new file takes over from the one that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Permission bits.
    pub mode: u32,
    /// Number of the user who owns it.
    pub user: u32,
    /// Number of the group.
    pub group: u32,
}

impl Standing {
    /// Looks at a path that is a regular file or nothing.
    ///
    /// # Errors
    /// `Target` when it cannot be read.
    pub fn of(path: &Path) -> Result<Standing> {
        let found = match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(Standing { previous: Previous::Nothing, from_outside: None });
            }
            found => found.and_then(|found| File::open(path).map(|_| found)),
        };
        let found = found
            .map_err(|cause| refuse(path, "the file there cannot be read").caused_by(cause))?;
        let kept = Kept { mode: found.mode() & 0o7777, user: found.uid(), group: found.gid() };
        let from_outside = Some(Outside { stamp: FileId::of(&found), kept });
        Ok(Standing { previous: Previous::of(path), from_outside })
    }

    /// What it is.
    pub fn previous(&self) -> &Previous {
        &self.previous
    }

    /// What it looks like from outside; `None` where there is no file.
    pub fn stamp(&self) -> Option<FileId> {
        self.from_outside.map(|outside| outside.stamp)
    }

    /// What its successor takes over.
    pub fn kept(&self) -> Option<Kept> {
        self.from_outside.map(|outside| outside.kept)
    }
}

impl Previous {
    fn of(path: &Path) -> Previous {
        // Why it is no Parquet file does not matter to whoever is asked whether it may go.
        match reader::footer_entry(path) {
            Err(_) => Previous::NotParquet,
            Ok(None) => Previous::Foreign,
            Ok(Some(entry)) => match Footer::parse(&entry) {
                Ok(footer) => Previous::Output(Box::new(footer)),
                Err(flaw) => Previous::Unreadable(flaw),
            },
        }
    }

    /// Whether an output of `rows` rows may take its place: an earlier output's if it is not much smaller, anything
    /// else's only where `replace` says so.
    ///
    /// # Errors
    /// `Target`, without the path.
    pub fn check(&self, rows: u64, max_shrink: Percent, replace: bool) -> Result<()> {
        let foreign = |message: String| match replace {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Target, message)
                .advice("name another output, or replace it with --replace")),
        };
        match self {
            Previous::Nothing => Ok(()),
            Previous::NotParquet => {
                foreign("reembed did not write the file there: it is no Parquet file".to_owned())
            }
            Previous::Foreign => foreign(
                "reembed did not write the file there: its footer has no `reembed` entry"
                    .to_owned(),
            ),
            Previous::Unreadable(flaw) => foreign(format!("of the file there, {flaw}")),
            Previous::Output(footer) => match shrink::excess(footer.rows, rows, max_shrink) {
                None => Ok(()),
                Some(percent) => {
                    let message = format!(
                        "it has {} rows and would have {rows}, {percent} % fewer; at most {} % are \
                         allowed",
                        footer.rows,
                        max_shrink.get()
                    );
                    Err(Error::new(ErrorKind::Target, message).advice(
                        "look at the input; if it is right, run once with --allow-shrink, or raise \
                         `publish.max_shrink`",
                    ))
                }
            },
        }
    }

    /// Whether vectors of `lineage` may stand in its place: not in that of another model's, unless `rebuild` says so.
    ///
    /// # Errors
    /// `OtherModel`, naming the differences field by field, without the path.
    pub fn check_lineage(&self, lineage: &Lineage, rebuild: bool) -> Result<()> {
        let Previous::Output(footer) = self else { return Ok(()) };
        let differences = lineage.differences(&footer.lineage);
        if rebuild || differences.is_empty() {
            return Ok(());
        }
        let message = format!("the file there is of another model: {}", differences.join("; "));
        // What `auto` is depends on the CPU and on the version of this program.
        let pin = match is_other_precision_alone(&lineage.model, &footer.lineage) {
            true => format!("pin `compute.precision` to \"{}\", ", footer.lineage.model.precision),
            false => String::new(),
        };
        Err(Error::new(ErrorKind::OtherModel, message)
            .advice(format!("{pin}name another output, or embed every row again with --rebuild")))
    }
}

/// Whether the same engine in another precision gives the vectors that are there.
fn is_other_precision_alone(here: &ModelIdentity, there: &Lineage) -> bool {
    let is_packed = |model: &ModelIdentity| {
        Precision::parse(&model.precision).is_some_and(|of| of.numerics() == model.numerics)
    };
    let (precision, numerics) = (there.model.precision.clone(), there.model.numerics.clone());
    let pinned = ModelIdentity { precision, numerics, ..here.clone() };
    is_packed(here) && is_packed(&there.model) && pinned.fingerprint() == there.fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footer::{FORMAT_VERSION, tests::footer};

    #[test]
    fn only_an_earlier_output_of_about_the_size_is_replaced_without_a_word() {
        let output = |rows| Previous::Output(Box::new(Footer { rows, ..footer() }));
        let newer = || Previous::Unreadable(FooterFlaw::Newer(FORMAT_VERSION + 1));
        let half = Percent::new(50).expect("a percentage");
        for (previous, rows, most, replace, refused_with) in [
            (Previous::Nothing, 0, half, false, None),
            (output(10), 10, half, false, None),
            (output(10), 5, half, false, None),
            (output(10), 4, half, false, Some("--allow-shrink")),
            (output(10), 0, half, false, Some("--allow-shrink")),
            (output(10), 0, half, true, Some("--allow-shrink")),
            (output(10), 0, Percent::ALL, false, None),
            (output(0), 0, half, false, None),
            (Previous::NotParquet, 10, half, false, Some("--replace")),
            (Previous::NotParquet, 10, half, true, None),
            (Previous::Foreign, 10, Percent::ALL, false, Some("--replace")),
            (Previous::Foreign, 0, half, true, None),
            (newer(), 10, half, false, Some("--replace")),
            (newer(), 10, half, true, None),
        ] {
            let checked = previous.check(rows, most, replace);
            let advice = checked.as_ref().err().and_then(Error::advice_text).unwrap_or("");
            let case = format!("{previous:?}, {rows} rows, {most:?}, replace: {replace}");
            assert_eq!(checked.is_err(), refused_with.is_some(), "{case}");
            assert!(advice.contains(refused_with.unwrap_or("")), "{case}: {advice}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::Target, "{case}");
            }
        }
    }

    #[test]
    fn vectors_of_another_precision_alone_are_answered_with_the_pin_that_keeps_them() {
        let model = |precision: &str, numerics: &str, prompt: &str| ModelIdentity {
            precision: precision.to_owned(),
            numerics: numerics.to_owned(),
            prompt: prompt.to_owned(),
            ..footer().lineage.model
        };
        let f32 = || model("f32", "packed-1-f32", "");
        let bf16 = |prompt| model("bf16", "packed-1-bf16", prompt);
        let candle = || model("f32", "candle-0.11-cpu-f32", "");
        for (there, here, is_cure) in [
            (f32(), bf16(""), true),
            (bf16(""), f32(), true),
            (f32(), bf16("query: "), false),
            (candle(), bf16(""), false),
            (bf16(""), candle(), false),
            (candle(), f32(), false),
        ] {
            let pin = format!("pin `compute.precision` to \"{}\"", there.precision);
            let case = format!("{} there, {} here", there.numerics, here.numerics);
            let footer = Footer { lineage: Lineage::new(&there), ..footer() };
            let (previous, here) = (Previous::Output(Box::new(footer)), Lineage::new(&here));
            assert!(previous.check_lineage(&here, true).is_ok(), "{case}");
            let error = previous.check_lineage(&here, false).expect_err("another model");
            let advice = error.advice_text().unwrap_or("");
            assert_eq!(error.kind(), ErrorKind::OtherModel, "{case}");
            assert!(advice.contains("--rebuild"), "{case}: {advice}");
            assert_eq!(advice.contains(&pin), is_cure, "{case}: {advice}");
        }
    }
}
