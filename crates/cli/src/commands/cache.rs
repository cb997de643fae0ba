//! `reembed cache`: inspect and prune the vector cache.

use std::path::PathBuf;

use anyhow::{Context, Result};
use reembed::cache;

use super::{lay_environment, read_config};
use crate::cli::{CacheArgs, Logging, PruneArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;

/// `reembed cache stats`.
pub fn stats(args: &CacheArgs) -> Result<Exit> {
    let stats = cache::stats(&path(args)?)?;
    print::result(&print::cache_stats(&stats)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed cache prune`.
pub fn prune(args: &PruneArgs) -> Result<Exit> {
    let pruned = cache::prune(&path(&args.cache)?, args.keep_runs.get())?;
    print::result(&print::pruned(&pruned)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed cache verify`.
pub fn verify(args: &CacheArgs, logging: &Logging) -> Result<Exit> {
    let path = path(args)?;
    let progress = Progress::new(logging);
    progress.say("reading every vector");
    let check = cache::verify(&path);
    progress.finish();
    let check = check?;
    print::result(&print::cache_check(&check)).context("the result cannot be printed")?;
    Ok(if check.holds() { Exit::Done } else { Exit::Failed })
}

/// The cache that the arguments mean: its own path, or that of the output which it belongs to.
fn path(args: &CacheArgs) -> Result<PathBuf> {
    if let Some(path) = &args.cache {
        return Ok(path.clone());
    }
    let (mut raw, _) = read_config(&args.file)?;
    lay_environment(&mut raw)?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => raw.output_path()?,
    };
    Ok(cache::path_for(&raw.check_cache()?, &output))
}
