//! One function per command: load, do, print.

mod bench;
mod cache;
mod init;
mod model;
mod run;
mod sample;
mod shell;
mod verify;

use std::path::Path;

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::events::Warning;
use reembed::{Environment, Event};

use crate::cli::{CacheCommand, Command, ConfigArgs, ConfigFile, Logging, ModelCommand};
use crate::exit::Exit;
use crate::progress::Progress;

/// Does what a command says.
///
/// # Errors
/// What went wrong, for one line on standard error.
pub fn execute(command: &Command, logging: &Logging) -> Result<Exit> {
    match command {
        Command::Run(args) => run::run(args, logging),
        Command::Bench(args) => bench::bench(args, logging),
        Command::Verify(args) => verify::verify(args, logging),
        Command::Model(ModelCommand::Fetch(args)) => model::fetch(args, logging),
        Command::Model(ModelCommand::Show(args)) => model::show(args, logging),
        Command::Cache(CacheCommand::Stats(args)) => cache::stats(args),
        Command::Cache(CacheCommand::Prune(args)) => cache::prune(args),
        Command::Cache(CacheCommand::Verify(args)) => cache::verify(args, logging),
        Command::Init(args) => init::init(args),
        Command::Sample(args) => sample::sample(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man => shell::man(),
    }
}

/// The configuration file that is read where none is named.
const DEFAULT_CONFIG: &str = "pipeline.toml";

/// Reads the configuration file. Where none is named, the default one may be missing: whether it is comes second.
fn read_config(file: &ConfigFile) -> Result<(RawConfig, bool)> {
    let default = Path::new(DEFAULT_CONFIG);
    match &file.config {
        Some(path) => Ok((RawConfig::read(path)?, false)),
        None if default.exists() => Ok((RawConfig::read(default)?, false)),
        None => Ok((RawConfig::default(), true)),
    }
}

fn lay_environment(raw: &mut RawConfig) -> Result<()> {
    Ok(raw.lay_environment(&environment())?)
}

/// The configuration of a command that embeds no file: without a `pipeline.toml` the defaults do.
fn load_raw(args: &ConfigArgs) -> Result<RawConfig> {
    let (mut raw, _) = read_config(&args.file)?;
    lay_environment(&mut raw)?;
    args.flags.lay_over(&mut raw)?;
    Ok(raw)
}

/// Says what a run says at its start.
fn warn(model: &reembed_encoder::model::Model, progress: &Progress) {
    if let Some(warning) = model.encoder.warning() {
        progress.event(Event::Warning(Warning::Precision(warning)));
    }
}

/// Turns on the faults that `REEMBED_FAILPOINTS` names, with commas between them; gives the error of a name that no
/// fault has.
#[cfg(feature = "failpoints")]
pub fn turn_failpoints_on() -> Option<anyhow::Error> {
    let names = std::env::var("REEMBED_FAILPOINTS").unwrap_or_default();
    let unknown = names
        .split(',')
        .filter(|name| !name.is_empty())
        .find(|name| !reembed::failpoints::turn_on(name))?;
    Some(anyhow::anyhow!("REEMBED_FAILPOINTS: there is no fault {unknown:?}"))
}

/// The one place where the environment is read; what is not text cannot be a setting.
fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}
