//! The model that the arguments of a command name.

use anyhow::Result;
use reembed::{Event, ModelConfig};
use reembed_encoder::model::source::{self, ModelFiles};

use crate::cli::{Logging, ModelArgs};
use crate::commands::config::{environment, load};
use crate::flags::set_model;
use crate::progress::Progress;

/// The configuration of the model that the arguments name, and its files, fetched if need be.
pub fn resolve_named(args: &ModelArgs, logging: &Logging) -> Result<(ModelConfig, ModelFiles)> {
    let mut raw = load(&args.config)?;
    if let Some(name) = &args.name {
        set_model(&mut raw, name, "ID|DIR")?;
    }
    let config = raw.check_model(&environment())?;
    let progress = Progress::new(logging);
    let files = source::resolve(&config.source, &|event| progress.event(Event::Model(event)))?;
    Ok((config, files))
}
