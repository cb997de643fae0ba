//! The model that the arguments of a command name.

use anyhow::Result;
use reembed::{Event, ModelConfig};
use reembed_encoder::SourceConfig;
use reembed_encoder::model::source::{self, ModelFiles};

use crate::cli::{Logging, ModelArgs};
use crate::commands::config::{environment, load};
use crate::flags::set_model;
use crate::progress::Progress;

/// The configuration of the model that the arguments name, and its files, fetched if need be.
pub fn resolve_named(args: &ModelArgs, logging: &Logging) -> Result<(ModelConfig, ModelFiles)> {
    let config = named_config(args)?;
    let files = resolve(&config.source, logging)?;
    Ok((config, files))
}

/// The configuration of the model that the arguments name.
pub fn named_config(args: &ModelArgs) -> Result<ModelConfig> {
    let mut raw = load(&args.config)?;
    if let Some(name) = &args.name {
        set_model(&mut raw, name, "ID|DIR")?;
    }
    Ok(raw.check_model(&environment())?)
}

/// The files of a model, fetched if need be.
pub fn resolve(source: &SourceConfig, logging: &Logging) -> Result<ModelFiles> {
    let progress = Progress::new(logging);
    Ok(source::resolve(source, &|event| progress.event(Event::Model(event)))?)
}
