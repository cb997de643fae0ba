//! `reembed verify` of the output directory of a dataset.

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::dataset::Published;
use reembed::verify::{self as checking, Check, Sample};

use super::models::load_models;
use crate::cli::VerifyArgs;
use crate::progress::Progress;
use crate::session::Session;

/// Checks every table of a dataset.
pub fn checks(
    raw: &RawConfig,
    args: &VerifyArgs,
    session: &Session,
    progress: &Progress,
) -> Result<Vec<Check>> {
    let published = Published::open(&args.output)?;
    session.answer.record(|record| {
        record.fingerprint =
            published.manifest.columns.first().map(|column| column.fingerprint.clone());
    });
    let reading = raw.check_input(&args.output)?;
    let first = published.first_output().filter(|_| args.sample > 0);
    let models = match first.map(|first| checking::open(&first)).transpose()? {
        Some((_, footer)) => load_models(raw, &footer, args, progress)?,
        None => Vec::new(),
    };
    let sample = |rows: u64| -> Vec<Sample<'_>> {
        let models = models.iter();
        models.map(|(model, ranges)| Sample { model, rows, ranges: ranges.as_ref() }).collect()
    };
    let on_table = |number: u64, all: u64| {
        // Twenty lines in all.
        if number.is_multiple_of(all.div_ceil(20)) {
            progress.step(&format!("checking table {} of {all}", number + 1));
        }
    };
    let samples = if models.is_empty() { 0 } else { args.sample };
    let inputs = args.input.as_deref();
    Ok(published.verify(&reading, inputs, samples, &sample, &on_table)?)
}
