//! Verifies the outputs of a dataset: against the manifest, their footers, and their inputs if they are given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::listing::Listing;
use super::manifest::{Manifest, TableRecord};
use super::places::Places;
use crate::config::InputConfig;
use crate::published::footer_digest;
use crate::reader::TableFile;
use crate::verify::{self, Check, Sample, Verdict};

/// Faults that are told one by one; others are counted.
const TOLD: usize = 5;

/// The published tables of an output directory.
#[derive(Debug)]
pub struct Published {
    root: PathBuf,
    /// The manifest of the whole dataset.
    pub manifest: Manifest,
}

impl Published {
    /// Reads the manifest of an output directory.
    ///
    /// # Errors
    /// `Input`, when there is none, `Target`, when it cannot be read.
    pub fn open(root: &Path) -> Result<Published> {
        let path = Places::new(root, None).whole_manifest();
        let manifest = Manifest::read(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::Input, "this directory has no manifest of a dataset")
                .in_file(root)
                .advice("name the output directory of `reembed run`; shards are joined with `reembed merge`")
        })?;
        Ok(Published { root: root.to_owned(), manifest })
    }

    /// The path of the first output that exists, which tells what made the vectors.
    pub fn first_output(&self) -> Option<PathBuf> {
        let outputs = self.manifest.tables.iter().map(|table| self.root.join(&table.path));
        outputs.into_iter().find(|output| output.is_file())
    }

    /// Checks every table. With `inputs`, each is compared with its input, and inputs without an output are
    /// told. `samples` rows of the dataset, spread over its tables, are embedded again by `sample`, which returns
    /// what embeds that many rows of each vector column.
    ///
    /// # Errors
    /// When the inputs cannot be listed, or a row cannot be embedded. A table that is wrong has a check that
    /// is [`Verdict::Failed`].
    pub fn verify<'m>(
        &self,
        reading: &InputConfig,
        inputs: Option<&Path>,
        samples: u64,
        sample: &dyn Fn(u64) -> Vec<Sample<'m>>,
        on_table: &dyn Fn(u64, u64),
    ) -> Result<Vec<Check>> {
        let listing = inputs.map(|inputs| Listing::of(&[inputs.to_owned()], None)).transpose()?;
        let all = self.manifest.tables.len() as u64;
        let mut faults = Vec::new();
        let mut rows = 0;
        for (number, record) in (0..).zip(&self.manifest.tables) {
            on_table(number, all);
            rows += record.rows;
            let of_table = samples * (number + 1) / all - samples * number / all;
            let original = listing.as_ref().filter(|_| !record.input_is_gone);
            let original = original.map(|listing| listing.root.join(&record.path));
            let samples = if of_table == 0 { Vec::new() } else { sample(of_table) };
            faults.extend(
                self.faults_of(record, reading, original.as_deref(), &samples)
                    .into_iter()
                    .map(|fault| format!("{}: {fault}", record.path.display())),
            );
        }
        let mut checks = vec![
            check("tables", &faults, format!("{all} with {rows} rows are as they were published")),
            failed_tables(&self.manifest),
        ];
        checks.extend(listing.map(|listing| self.inputs_without_output(&listing)));
        Ok(checks)
    }

    /// What is wrong with a table.
    fn faults_of(
        &self,
        record: &TableRecord,
        reading: &InputConfig,
        original: Option<&Path>,
        samples: &[Sample<'_>],
    ) -> Vec<String> {
        let output = self.root.join(&record.path);
        let (table, footer) = match verify::open(&output) {
            Ok(opened) => opened,
            Err(error) => return vec![error.message().to_owned()],
        };
        if !is_as_published(&table, record) {
            return vec!["it is not the file that was published".to_owned()];
        }
        match verify::verify(reading, &table, &footer, original, samples) {
            Err(error) => vec![error.to_string()],
            Ok(checks) => {
                let failed = checks.into_iter().filter(|check| check.verdict == Verdict::Failed);
                failed.map(|check| format!("{}: {}", check.what, check.found)).collect()
            }
        }
    }

    fn inputs_without_output(&self, listing: &Listing) -> Check {
        let published: BTreeSet<&Path> =
            self.manifest.tables.iter().map(|table| table.path.as_path()).collect();
        let without = listing.tables.iter().filter(|table| !published.contains(&*table.below));
        let faults: Vec<String> =
            without.map(|table| format!("{} has no output", table.below.display())).collect();
        check("inputs", &faults, format!("each of {} has an output", listing.tables.len()))
    }
}

/// Whether a file is the one of the manifest; a copy is.
fn is_as_published(table: &TableFile, record: &TableRecord) -> bool {
    table.bytes() == record.output.size && footer_digest(table) == record.footer
}

fn failed_tables(manifest: &Manifest) -> Check {
    let failed = manifest.failed.iter();
    let faults: Vec<String> =
        failed.map(|failed| format!("{}: {}", failed.path.display(), failed.message)).collect();
    check("failures", &faults, "none in the last run".to_owned())
}

/// A check that fails if there are faults.
fn check(what: &'static str, faults: &[String], found: String) -> Check {
    let (verdict, found) = match faults {
        [] => (Verdict::Passed, found),
        faults => {
            let told = faults.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ");
            let more = match faults.len().saturating_sub(TOLD) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            (Verdict::Failed, format!("{told}{more}"))
        }
    };
    Check { what, column: None, found, verdict }
}
