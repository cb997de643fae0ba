//! `reembed cache`: inspects and prunes the vector cache.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use reembed::cache::{self, CacheCheck, CacheOutput, CacheStats, Keep, PruneResult};
use reembed::config::OutputPlace;
use reembed::figures::{bytes, count};

use super::config::load_file;
use crate::cli::{CacheArgs, Logging, PruneArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::text::{printable, printable_path, table};
use crate::timestamp;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// `reembed cache stats`.
pub fn stats(args: &CacheArgs) -> Result<Exit> {
    let stats = cache::stats(&path(args)?)?;
    print::result(&stats_text(&stats))?;
    Ok(Exit::Done)
}

/// `reembed cache prune`.
pub fn prune(args: &PruneArgs) -> Result<Exit> {
    let age = args.forget_after_days.map(|days| Duration::from_secs(u64::from(days.get()) * DAY));
    let keep = Keep {
        runs: args.keep_runs.get(),
        outputs_since: age.and_then(|age| SystemTime::now().checked_sub(age)),
    };
    let pruned = cache::prune(&path(&args.cache)?, keep)?;
    print::result(&pruned_text(&pruned))?;
    Ok(Exit::Done)
}

/// `reembed cache verify`.
pub fn verify(args: &CacheArgs, logging: &Logging) -> Result<Exit> {
    let path = path(args)?;
    let progress = Progress::new(logging);
    progress.step("reading every vector");
    let check = cache::verify(&path);
    progress.finish();
    let check = check?;
    print::result(&check_text(&check))?;
    Ok(if check.is_ok() { Exit::Done } else { Exit::Failed })
}

/// The file of the cache: `--cache`, or the cache of the output.
fn path(args: &CacheArgs) -> Result<PathBuf> {
    if let Some(path) = &args.cache {
        return Ok(path.clone());
    }
    let raw = load_file(&args.file, |_| Ok(()))?.raw;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => raw.output_path()?,
    };
    Ok(cache::path_for(&raw.check_cache()?, &OutputPlace::alone(output)))
}

fn stats_text(stats: &CacheStats) -> String {
    let mut text = table(&[
        ("cache", printable_path(&stats.path)),
        ("size", bytes(stats.file_bytes)),
        ("format", stats.format.to_string()),
        ("vectors", count(stats.entries)),
        ("runs", count(stats.runs)),
    ]);
    text.push_str("\nlast used       vectors\n");
    for (runs_ago, entries) in &stats.last_used {
        let when = match runs_ago {
            0 => "last run".to_owned(),
            1 => "1 run before".to_owned(),
            runs => format!("{runs} runs before"),
        };
        let _ = writeln!(text, "{when:<15} {}", count(*entries));
    }
    if !stats.outputs.is_empty() {
        text.push_str("\nlast finished run     output\n");
    }
    for CacheOutput { path, finished, .. } in &stats.outputs {
        let _ = writeln!(text, "{}  {}", timestamp::format(*finished), printable(path));
    }
    text
}

fn pruned_text(pruned: &PruneResult) -> String {
    table(&[
        ("removed", count(pruned.removed)),
        ("kept", count(pruned.kept)),
        ("size", format!("{}, before {}", bytes(pruned.bytes_after), bytes(pruned.bytes_before))),
    ])
}

fn check_text(check: &CacheCheck) -> String {
    let advice = match check.is_ok() {
        true => "",
        false => {
            "\nA run embeds damaged and lost texts again. To repair the cache, delete its file; the next run creates a \
             new one.\n"
        }
    };
    table(&[
        ("vectors", count(check.entries)),
        ("damaged", count(check.damaged)),
        ("lost", count(check.lost)),
        ("pages", if check.pages_ok { "ok" } else { "WRONG" }.to_owned()),
    ]) + advice
}
