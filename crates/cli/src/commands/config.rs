//! The configuration of a command: file, environment, flags.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use reembed::Environment;
use reembed::config::RawConfig;

use crate::cli::{ConfigArgs, ConfigFile};

/// The configuration file without `--config`. It may be missing.
const DEFAULT_CONFIG: &str = "pipeline.toml";

/// A configuration from file and environment.
pub struct FileAndEnvironment {
    /// The settings.
    pub raw: RawConfig,
    /// Whether there was a file.
    pub has_file: bool,
}

/// Reads the configuration file and the environment.
///
/// # Errors
/// `Config`, naming file and line, or the variable.
pub fn load_file(file: &ConfigFile) -> Result<FileAndEnvironment> {
    let default = Path::new(DEFAULT_CONFIG);
    let path = match &file.config {
        Some(path) => Some(path.as_path()),
        // One that cannot be read is an error, not a missing file.
        None => default.symlink_metadata().is_ok().then_some(default),
    };
    let mut raw = match path {
        Some(path) => RawConfig::read(path)?,
        None => RawConfig::default(),
    };
    raw.apply_environment(&environment())?;
    Ok(FileAndEnvironment { raw, has_file: path.is_some() })
}

/// Reads file, environment and flags of a command that writes no output and thus needs no file.
///
/// # Errors
/// `Config`, naming file and line, the variable or the flag.
pub fn load(args: &ConfigArgs) -> Result<RawConfig> {
    let mut raw = load_file(&args.file)?.raw;
    args.flags.apply_to(&mut raw)?;
    Ok(raw)
}

/// The environment. Variables that are not UTF-8 cannot be settings.
pub fn environment() -> Environment {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}
