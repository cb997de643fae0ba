//! Which outputs use a cache, and the runs of each: the table `outputs`.
//!
//! Several outputs may share a cache. An entry knows the last run that used it, and this table knows whose run
//! that was, so that pruning for one output spares what the others use. Versions before 0.2 ignore the table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::Error as Cause;
use serde::{Deserialize, Serialize};

use super::database::Tables;

/// Most runs of an output that are remembered.
const RUNS_KEPT: usize = 100;

/// An output and its finished runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOutput {
    /// Its absolute path.
    pub path: String,
    /// Its finished runs, ascending.
    pub runs: Vec<u32>,
    /// When the last of them finished.
    pub finished: SystemTime,
}

/// A value of the table, as JSON; its key is the path.
#[derive(Debug, Serialize, Deserialize)]
struct OutputRecord {
    runs: Vec<u32>,
    /// Seconds since 1970.
    finished: u64,
}

/// The outputs in the values of the table. What another version wrote is left out.
pub fn parse(entries: &[(String, String)]) -> Vec<CacheOutput> {
    let output = |(path, json): &(String, String)| {
        let OutputRecord { runs, finished } = serde_json::from_str(json).ok()?;
        let finished = UNIX_EPOCH.checked_add(Duration::from_secs(finished))?;
        Some(CacheOutput { path: path.clone(), runs, finished })
    };
    entries.iter().filter_map(output).collect()
}

/// Records that a run over an output has finished.
pub fn record(
    tables: &mut Tables<'_>,
    path: &str,
    run: u32,
    finished: SystemTime,
) -> Result<(), Cause> {
    let known = parse(&tables.outputs()?);
    let mut runs = known
        .into_iter()
        .find(|output| output.path == path)
        .map_or_else(Vec::new, |output| output.runs);
    runs.push(run);
    let runs = runs.split_off(runs.len().saturating_sub(RUNS_KEPT));
    let finished = finished.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let json = serde_json::to_string(&OutputRecord { runs, finished });
    match json {
        Ok(json) => tables.set_output(path, &json),
        // Numbers always have a JSON form.
        Err(_) => Ok(()),
    }
}
