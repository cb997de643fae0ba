//! The configuration of a command: file, environment, flags.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::{Environment, Error, ErrorKind};

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

/// Reads the configuration file, the environment and what `flags` sets.
///
/// # Errors
/// `Config`, naming file and line, the variable or the flag of all that is wrong.
pub fn load_file(
    file: &ConfigFile,
    flags: impl FnOnce(&mut RawConfig) -> reembed::Result<()>,
) -> Result<FileAndEnvironment> {
    let default = Path::new(DEFAULT_CONFIG);
    let path = match &file.config {
        Some(path) => Some(path.as_path()),
        // One that cannot be read is an error, not a missing file.
        None => default.symlink_metadata().is_ok().then_some(default),
    };
    let mut faults = Vec::new();
    let mut raw =
        path.map_or_else(|| Ok(RawConfig::default()), RawConfig::read).unwrap_or_else(|error| {
            faults.push(error);
            RawConfig::default()
        });
    faults.extend(variables_that_are_not_text());
    faults.extend(raw.apply_environment(&environment()).err());
    faults.extend(flags(&mut raw).err());
    match Error::all(faults) {
        Some(fault) => Err(fault.into()),
        None => Ok(FileAndEnvironment { raw, has_file: path.is_some() }),
    }
}

/// Reads file, environment and flags of a command that writes no output and thus needs no file.
///
/// # Errors
/// As [`load_file`].
pub fn load(args: &ConfigArgs) -> Result<RawConfig> {
    Ok(load_file(&args.file, |raw| args.flags.apply_to(raw))?.raw)
}

/// The environment, without variables that are not UTF-8. A setting among those is [refused](load_file).
pub fn environment() -> Environment {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}

/// An error for each variable of this program that is not UTF-8.
fn variables_that_are_not_text() -> Vec<Error> {
    let is_ours = |(name, value): &(OsString, OsString)| {
        let is_text = name.to_str().is_some() && value.to_str().is_some();
        name.as_encoded_bytes().starts_with(b"REEMBED_") && !is_text
    };
    let error = |(name, _): (OsString, OsString)| {
        let message = format!("the variable {} is not UTF-8", name.to_string_lossy());
        Error::new(ErrorKind::Config, message)
            .advice("set it to text in UTF-8; a path with other bytes can be given with a flag")
    };
    std::env::vars_os().filter(is_ours).map(error).collect()
}
