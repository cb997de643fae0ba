//! `reembed model`: bring a model into the cache, or show it.

use std::time::Instant;

use anyhow::{Context, Result};
use reembed::Event;
use reembed_encoder::model::{description, source};

use super::{environment, load_raw};
use crate::cli::{Logging, ModelArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;

/// `reembed model fetch`.
pub fn fetch(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let config = load_raw(&args.config)?.check_model(&environment())?;
    let started = Instant::now();
    let progress = Progress::new(logging);
    let files = source::resolve(&config.source, &|event| progress.event(Event::Model(event)));
    progress.finish();
    let files = files?;
    let lines = [
        ("model", config.source.id.clone()),
        ("from", files.origin.to_string()),
        ("directory", files.directory.display().to_string()),
        ("seconds", format!("{:.1}", started.elapsed().as_secs_f64())),
    ];
    print::result(&print::table(&lines)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed model show`.
pub fn show(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let config = load_raw(&args.config)?.check_model(&environment())?;
    let progress = Progress::new(logging);
    let files = source::resolve(&config.source, &|event| progress.event(Event::Model(event)));
    progress.finish();
    let files = files?;
    let description = description::read(&files, config.prompt.as_deref())?;
    let text = print::model(&config.source.id, &files, &description);
    print::result(&text).context("the result cannot be printed")?;
    Ok(Exit::Done)
}
