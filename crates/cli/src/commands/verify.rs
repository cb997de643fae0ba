//! `reembed verify`: checks an output against its footer, its input and its model.

mod dataset;
mod models;

use std::fmt::Write as _;

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::verify::{self as checking, Check, Sample, Verdict};

use super::config::{environment, load};
use crate::answer::CheckAnswer;
use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::printable;
use models::load_models;

/// `reembed verify`.
pub fn verify(args: &VerifyArgs, session: &Session) -> Result<Exit> {
    session.answer.record(|record| {
        record.paths.output = Some(args.output.clone());
        record.paths.input.clone_from(&args.input);
    });
    let raw = load(&args.config)?;
    raw.check_model(&environment())?;
    let progress = Progress::new(&session.logging);
    let checks = match args.output.is_dir() {
        true => dataset::checks(&raw, args, session, &progress),
        false => checks(&raw, args, session, &progress),
    };
    progress.finish();
    let checks = checks?;
    session.answer.record(|record| record.checks = checks.iter().map(CheckAnswer::from).collect());
    if session.answer.is_text() {
        print::result(&checks_text(&checks))?;
    }
    let broken = checks.iter().any(|check| check.verdict == Verdict::Failed);
    Ok(if broken { Exit::Failed } else { Exit::Done })
}

/// Checks one output.
fn checks(
    raw: &RawConfig,
    args: &VerifyArgs,
    session: &Session,
    progress: &Progress,
) -> Result<Vec<Check>> {
    let reading = raw.check_input(&args.output)?;
    let (output, footer) = checking::open(&args.output)?;
    session.answer.record(|record| record.fingerprint = Some(footer.lineage.fingerprint.clone()));
    let models = match args.sample {
        0 => Vec::new(),
        _ => load_models(raw, &footer, args, progress)?,
    };
    progress.step("checking every row");
    let samples: Vec<Sample<'_>> = models
        .iter()
        .map(|(model, ranges)| Sample { model, rows: args.sample, ranges: ranges.as_ref() })
        .collect();
    let checks = checking::verify(&reading, &output, &footer, args.input.as_deref(), &samples);
    Ok(checks.map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(&args.output),
    })?)
}

fn checks_text(checks: &[Check]) -> String {
    let name = |check: &Check| match &check.column {
        Some(column) => format!("{} ({})", check.what, printable(column)),
        None => check.what.to_owned(),
    };
    let width = checks.iter().map(|check| name(check).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "WRONG",
            Verdict::Skipped => "-",
        };
        let found = printable(&check.found);
        let _ = writeln!(text, "{verdict:<5}  {:<width$}  {found}", name(check));
    }
    text
}
