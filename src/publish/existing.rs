//! The existing file at the output path, and whether the new output may replace it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::identity::ModelIdentity;

use super::shrink;
use crate::config::Percent;
use crate::file_id::FileId;
use crate::footer::{EmbeddingFooter, Footer, FooterError, Lineage};
use crate::reader;
use crate::text::TextRecipe;

/// What the file at the output path holds.
#[derive(Debug)]
pub enum ExistingFile {
    /// There is no file.
    Missing,
    /// It is not a Parquet file.
    NotParquet,
    /// It is a Parquet file that reembed did not write.
    Foreign,
    /// It is a Parquet file whose `reembed` footer entry cannot be used.
    UnknownFooter(FooterError),
    /// It is the output of an earlier run.
    Output(Box<Footer>),
}

/// The file at the output path: what it holds, and its metadata.
#[derive(Debug)]
pub struct ExistingTarget {
    file: ExistingFile,
    /// `None` if there is no file.
    meta: Option<FileMeta>,
}

#[derive(Debug, Clone, Copy)]
struct FileMeta {
    id: FileId,
    ownership: Ownership,
}

/// Mode and owner of a file, which its replacement gets too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

impl From<&fs::Metadata> for Ownership {
    fn from(metadata: &fs::Metadata) -> Ownership {
        let (mode, user, group) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        Ownership { mode, user, group }
    }
}

impl ExistingTarget {
    /// Reads the footer and the metadata of a regular file, if the path leads to one.
    ///
    /// # Errors
    /// `Target` when it cannot be read.
    pub fn read(path: &Path) -> Result<ExistingTarget> {
        let metadata = match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(ExistingTarget { file: ExistingFile::Missing, meta: None });
            }
            metadata => metadata.and_then(|metadata| File::open(path).map(|_| metadata)),
        };
        let metadata = metadata.map_err(|cause| {
            Error::new(ErrorKind::Target, "the existing file cannot be read")
                .in_file(path)
                .advice(
                    "check its permissions, or name another output with --output or `output.path`",
                )
                .caused_by(cause)
        })?;
        let ownership = Ownership::from(&metadata);
        let meta = Some(FileMeta { id: FileId::from(&metadata), ownership });
        Ok(ExistingTarget { file: ExistingFile::read(path), meta })
    }

    /// What the file holds.
    pub fn file(&self) -> &ExistingFile {
        &self.file
    }

    /// The identity of the file; `None` if there is no file.
    pub fn id(&self) -> Option<FileId> {
        self.meta.map(|meta| meta.id)
    }

    /// Mode and owner of the file; `None` if there is no file.
    pub fn ownership(&self) -> Option<Ownership> {
        self.meta.map(|meta| meta.ownership)
    }
}

impl ExistingFile {
    fn read(path: &Path) -> ExistingFile {
        // Why it is not a Parquet file does not matter for replacing it.
        match reader::read_footer_entry(path) {
            Err(_) => ExistingFile::NotParquet,
            Ok(None) => ExistingFile::Foreign,
            Ok(Some(entry)) => match Footer::parse(&entry) {
                Ok(footer) => ExistingFile::Output(Box::new(footer)),
                Err(error) => ExistingFile::UnknownFooter(error),
            },
        }
    }

    /// Checks that an output of `rows` rows, or of chunks of the texts of that many rows, may replace
    /// it. An earlier output must not shrink by more than `max_shrink`; any other file needs `replace`.
    ///
    /// # Errors
    /// `Target`, without the path.
    pub fn check_replaceable(&self, rows: u64, max_shrink: Percent, replace: bool) -> Result<()> {
        let refuse_unless_replace = |message: String| match replace {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Target, message)
                .advice("name another output, or replace the file with --replace")),
        };
        let not_ours = |reason: &str| {
            refuse_unless_replace(format!("reembed did not write the existing file: {reason}"))
        };
        match self {
            ExistingFile::Missing => Ok(()),
            ExistingFile::NotParquet => not_ours("it is not a Parquet file"),
            ExistingFile::Foreign => not_ours("its footer has no `reembed` entry"),
            ExistingFile::UnknownFooter(error) => {
                refuse_unless_replace(format!("the existing file cannot be checked: {error}"))
            }
            ExistingFile::Output(footer) => {
                // Chunks depend on the texts: rows of the input say whether some are missing.
                let existing = footer.input_rows.unwrap_or(footer.rows);
                match shrink::excess_percent(existing, rows, max_shrink) {
                    None => Ok(()),
                    Some(percent) => {
                        let message = format!(
                            "the existing file has {existing} rows{} and the new one would have \
                             {rows}, {percent} % fewer; at most {} % fewer are allowed",
                            if footer.input_rows.is_some() { " of its input" } else { "" },
                            max_shrink.get()
                        );
                        Err(Error::new(ErrorKind::Target, message).advice(
                            "check the input; if it is right, run once with --allow-shrink, or \
                             raise `publish.max_shrink`",
                        ))
                    }
                }
            }
        }
    }

    /// What it says of a vector column with this name; `None` if it has none.
    pub fn embedding(&self, column: &str) -> Option<EmbeddingFooter<'_>> {
        match self {
            ExistingFile::Output(footer) => footer.embedding(column),
            _ => None,
        }
    }

    /// Checks that an output with the vector columns `columns` may replace it: all of its own must be
    /// among them, unless the run `switches`.
    ///
    /// # Errors
    /// `OtherModel`, naming the columns that would be lost, without the path.
    pub fn check_columns(&self, columns: &[&str], switches: bool) -> Result<()> {
        let ExistingFile::Output(footer) = self else { return Ok(()) };
        let lost: Vec<String> = footer
            .embeddings()
            .iter()
            .filter(|embedding| !columns.contains(&embedding.column))
            .map(|embedding| format!("`{}`", embedding.column))
            .collect();
        if switches || lost.is_empty() {
            return Ok(());
        }
        let (noun, them) = match lost.len() {
            1 => ("column", "it"),
            _ => ("columns", "them"),
        };
        let message = format!(
            "the existing file has vectors in {noun} {}, which this run would not write",
            lost.join(", ")
        );
        Err(Error::new(ErrorKind::OtherModel, message).advice(format!(
            "name {them} as well (`output.column`, or an [[embedding]] block each), name another \
             output, or replace the file without {them} with --switch-model"
        )))
    }

    /// Checks that vectors of `lineage` may replace those of a column: vectors of another fingerprint
    /// only if the run `switches`.
    ///
    /// # Errors
    /// `OtherModel`, naming every difference, without the path.
    pub fn check_lineage(&self, column: &str, lineage: &Lineage, switches: bool) -> Result<()> {
        let Some(existing) = self.embedding(column) else { return Ok(()) };
        let differences = lineage.differences(existing.lineage);
        if switches || differences.is_empty() {
            return Ok(());
        }
        let (here, there) = (&lineage.model, &existing.lineage.model);
        let of_column = self.of_column(column);
        if differs_in_precision_only(here, existing.lineage) {
            let message = format!(
                "set `compute.precision` to \"{}\": the existing file has vectors in that \
                 precision{of_column}, and this run would make {}",
                there.precision, here.precision
            );
            return Err(Error::new(ErrorKind::OtherModel, message).advice(
                "or name another output, replace the file with --switch-model, or embed every row \
                 again with --rebuild",
            ));
        }
        let message = format!(
            "the existing file has vectors of another model{of_column}: {}",
            differences.join("; ")
        );
        Err(Error::new(ErrorKind::OtherModel, message)
            .advice(
                "name the model of the existing file, name another output, replace the file and \
                 reuse what the vector cache has of this model with --switch-model, or embed \
                 every row again with --rebuild",
            )
            .details(here.file_differences(there)))
    }

    /// Checks that vectors of the texts of `recipe` may replace those of a column: those of another
    /// recipe only if the run `switches`.
    ///
    /// # Errors
    /// `OtherModel`, naming the difference, without the path.
    pub fn check_text(
        &self,
        column: &str,
        recipe: &TextRecipe,
        present: &[String],
        switches: bool,
    ) -> Result<()> {
        let existing = self.embedding(column);
        match existing.and_then(|existing| existing.text.difference(recipe, present)) {
            Some(difference) if !switches => {
                let of_column = self.of_column(column);
                let message = format!(
                    "the existing file has vectors of other texts{of_column}: {difference}"
                );
                Err(Error::new(ErrorKind::OtherModel, message).advice(
                    "write the text as it was, name another output, or replace the vectors with \
                     --switch-model",
                ))
            }
            _ => Ok(()),
        }
    }

    /// ` in column …`, if it has several vector columns.
    fn of_column(&self, column: &str) -> String {
        match self {
            ExistingFile::Output(footer) if !footer.more.is_empty() => {
                format!(" in column `{column}`")
            }
            _ => String::new(),
        }
    }
}

/// Whether the packed engine in another precision gives the existing vectors.
fn differs_in_precision_only(new: &ModelIdentity, existing: &Lineage) -> bool {
    let (precision, numerics) = (existing.model.precision.clone(), existing.model.numerics.clone());
    let pinned = ModelIdentity { precision, numerics, ..new.clone() };
    new.packed_precision().is_some()
        && existing.model.packed_precision().is_some()
        && pinned.fingerprint() == existing.fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footer::FORMAT_VERSION;
    use crate::footer::tests::{footer, footer_of_two};

    #[test]
    fn only_an_earlier_output_of_similar_size_is_replaced_unasked() {
        let output = |rows| ExistingFile::Output(Box::new(Footer { rows, ..footer() }));
        let newer = || ExistingFile::UnknownFooter(FooterError::Newer(FORMAT_VERSION + 1));
        let half = Percent::new(50).expect("a percentage");
        for (existing, rows, max_shrink, replace, advised) in [
            (ExistingFile::Missing, 0, half, false, None),
            (output(10), 10, half, false, None),
            (output(10), 5, half, false, None),
            (output(10), 4, half, false, Some("--allow-shrink")),
            (output(10), 0, half, false, Some("--allow-shrink")),
            (output(10), 0, half, true, Some("--allow-shrink")),
            (output(10), 0, Percent::ALL, false, None),
            (output(0), 0, half, false, None),
            (ExistingFile::NotParquet, 10, half, false, Some("--replace")),
            (ExistingFile::NotParquet, 10, half, true, None),
            (ExistingFile::Foreign, 10, Percent::ALL, false, Some("--replace")),
            (ExistingFile::Foreign, 0, half, true, None),
            (newer(), 10, half, false, Some("--replace")),
            (newer(), 10, half, true, None),
        ] {
            let checked = existing.check_replaceable(rows, max_shrink, replace);
            let advice = checked.as_ref().err().and_then(Error::advice_text).unwrap_or("");
            let case = format!("{existing:?}, {rows} rows, {max_shrink:?}, replace: {replace}");
            assert_eq!(checked.is_err(), advised.is_some(), "{case}");
            assert!(advice.contains(advised.unwrap_or("")), "{case}: {advice}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::Target, "{case}");
            }
        }
    }

    #[test]
    fn vector_columns_are_not_lost_unasked() {
        let output = |footer| ExistingFile::Output(Box::new(footer));
        for (existing, columns, lost) in [
            (ExistingFile::Missing, &["a"][..], None),
            (output(footer()), &["embedding"], None),
            (output(footer()), &["a", "embedding"], None),
            (output(footer()), &["a"], Some("column `embedding`")),
            (output(footer_of_two()), &["second"], Some("column `embedding`")),
            (output(footer_of_two()), &["a"], Some("columns `embedding`, `second`")),
        ] {
            let checked = existing.check_columns(columns, false);
            assert!(existing.check_columns(columns, true).is_ok());
            assert_eq!(checked.is_err(), lost.is_some(), "{columns:?}");
            if let (Err(error), Some(lost)) = (checked, lost) {
                assert_eq!(error.kind(), ErrorKind::OtherModel);
                assert!(error.to_string().contains(lost), "{error}");
            }
        }
    }

    #[test]
    fn other_precision_alone_is_answered_with_advice_to_pin_it() {
        let model = |precision: &str, numerics: &str, prompt: &str| ModelIdentity {
            precision: precision.to_owned(),
            numerics: numerics.to_owned(),
            prompt: prompt.to_owned(),
            ..footer().lineage.model
        };
        let f32 = || model("f32", "packed-1-f32", "");
        let bf16 = |prompt| model("bf16", "packed-1-bf16", prompt);
        let candle = || model("f32", "candle-0.11-cpu-f32", "");
        for (existing, new, is_pinned) in [
            (f32(), bf16(""), true),
            (bf16(""), f32(), true),
            (f32(), bf16("query: "), false),
            (candle(), bf16(""), false),
            (bf16(""), candle(), false),
            (candle(), f32(), false),
        ] {
            let pin = format!("set `compute.precision` to \"{}\"", existing.precision);
            let case = format!("{} exists, {} is new", existing.numerics, new.numerics);
            let footer = Footer { lineage: Lineage::new(&existing), ..footer() };
            let (existing, new) = (ExistingFile::Output(Box::new(footer)), Lineage::new(&new));
            assert!(existing.check_lineage("embedding", &new, true).is_ok(), "{case}");
            let error =
                existing.check_lineage("embedding", &new, false).expect_err("another model");
            let advice = error.advice_text().unwrap_or("");
            assert_eq!(error.kind(), ErrorKind::OtherModel, "{case}");
            assert!(advice.contains("--rebuild"), "{case}: {advice}");
            assert_eq!(error.to_string().starts_with(&pin), is_pinned, "{case}: {error}");
        }
    }
}
