//! `reembed verify`: checks an output against its footer, its input and its model.

mod dataset;

use std::fmt::Write as _;

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::footer::{EmbeddingFooter, Footer, Lineage};
use reembed::vectors::Ranges;
use reembed::verify::{self as checking, Check, Sample, Verdict};
use reembed::{Error, ErrorKind, Event};
use reembed_encoder::model::{self, Model};

use super::config::{environment, load};
use crate::answer::CheckAnswer;
use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::printable;

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

/// Loads the model of each vector column, and the ranges of its components if it needs them.
fn load_models(
    raw: &RawConfig,
    footer: &Footer,
    args: &VerifyArgs,
    progress: &Progress,
) -> reembed::Result<Vec<(Model, Option<Ranges>)>> {
    let load = |embedding: EmbeddingFooter<'_>| {
        let raw = raw.of_column(embedding.column);
        let model = load_model(&raw, &embedding, args, progress)?;
        progress.model_notes(&model.facts.notes);
        check_model(&model, &embedding, args)?;
        // Other vectors have no ranges, and need no file of them.
        let needs_ranges = embedding.form.is_some_and(|form| form.ranges.is_some());
        let ranges = raw.ranges_path().filter(|_| needs_ranges);
        Ok((model, ranges.as_deref().map(Ranges::read).transpose()?))
    };
    footer.embeddings().into_iter().map(load).collect()
}

/// Loads the model of a vector column: as the footer says, unless the configuration says otherwise.
fn load_model(
    raw: &RawConfig,
    footer: &EmbeddingFooter<'_>,
    args: &VerifyArgs,
    progress: &Progress,
) -> reembed::Result<Model> {
    let by_footer = ["model.id", "model.path"].iter().all(|key| !raw.is_set(key));
    let on_progress = |event| progress.event(Event::Model(event));
    raw.check_model_of(&footer.lineage.model, &environment())
        .and_then(|config| model::load(&config, &on_progress))
        .map_err(|error| match error.kind() {
            ErrorKind::Model | ErrorKind::Fetch if by_footer => error.in_file(&args.output).advice(format!(
                "the footer calls the model \"{}\": name its directory with --model-path, or check \
                 the rest with --sample 0",
                printable(&footer.lineage.model.id)
            )),
            _ => error,
        })
}

/// Refuses a model that did not make the vectors of a column.
fn check_model(
    model: &Model,
    footer: &EmbeddingFooter<'_>,
    args: &VerifyArgs,
) -> reembed::Result<()> {
    let differences = Lineage::new(&model.facts.identity).differences(footer.lineage);
    if differences.is_empty() {
        return Ok(());
    }
    let column = footer.column;
    let message = format!("its vectors come from another model: {}", differences.join("; "));
    Err(Error::new(ErrorKind::OtherModel, message)
        .in_file(&args.output)
        .at(format!("column `{}`", printable(column)))
        .advice("verify it with its own model, or with --sample 0")
        .details(model.facts.identity.file_differences(&footer.lineage.model)))
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
