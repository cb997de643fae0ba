//! `reembed verify`: an output against its own footer, its input and its model.

use anyhow::{Context, Result};
use reembed::footer::Lineage;
use reembed::verify::{self as checking, Verdict};
use reembed::{Error, ErrorKind, Event};
use reembed_encoder::model;
use reembed_kernels::Precision;

use super::{load_raw, warn};
use crate::cli::{Logging, VerifyArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;

/// `reembed verify`.
pub fn verify(args: &VerifyArgs, logging: &Logging) -> Result<Exit> {
    let raw = load_raw(&args.config)?;
    let mut model_config = raw.check_model(&super::environment())?;
    let reading = raw.check_input(&args.output)?;
    let (output, footer) = checking::open(&reading, &args.output)?;
    // A file can be checked in its own precision on any machine.
    model_config.precision =
        model_config.precision.or_else(|| Precision::parse(&footer.lineage.model.precision));
    let progress = Progress::new(logging);
    let model = match args.sample {
        0 => None,
        _ => Some(model::load(&model_config, &|event| progress.event(Event::Model(event)))?),
    };
    if let Some(model) = &model {
        warn(model, &progress);
        let differences = Lineage::new(&model.identity).differences(&footer.lineage);
        if !differences.is_empty() {
            progress.finish();
            return Err(Error::new(
                ErrorKind::OtherModel,
                format!("the file is of another model: {}", differences.join("; ")),
            )
            .in_file(&args.output)
            .advice("verify it with its own model, or with --sample 0")
            .into());
        }
    }
    progress.say("checking every row");
    let model = model.as_ref().map(|model| (model, args.sample));
    let checks = checking::verify(&reading, &output, &footer, args.input.as_deref(), model);
    progress.finish();
    let checks = checks.map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(&args.output),
    })?;
    print::result(&print::checks(&checks)).context("the result cannot be printed")?;
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    Ok(if broken { Exit::Failed } else { Exit::Done })
}
