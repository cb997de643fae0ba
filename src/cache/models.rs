//! Which models wrote to a cache: the table `models`.
//!
//! Entries have no name of their model, only keys that depend on its fingerprint. A run asks this
//! table in which precision a model's vectors are. Versions before 0.2 ignore the table.

use std::path::Path;

use redb::Error as Cause;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::identity::ModelIdentity;
use serde::{Deserialize, Serialize};

use super::database::{Db, DbError, FileKind, Tables, file_kind};
use super::patience::Patience;
use super::vector_cache::{Access, VectorCache, path_for};
use crate::config::{CacheConfig, CacheMode};
use crate::hidden_names::OutputPlace;

/// Most models that a cache remembers.
const MODELS_KEPT: usize = 64;

/// A value of the table, as JSON; its key is the fingerprint of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ModelRecord {
    /// The run in which it last followed another model: the largest is that of the last model.
    run: u32,
    model: ModelIdentity,
}

/// The models that wrote to the cache of an output, the last one first. A cache that is off, missing
/// or unusable has none: the run opens it later and tells what is wrong.
///
/// `writes` says whether the file may be repaired.
///
/// # Errors
/// `CacheBusy` when another process has it open for longer than the `patience`, `Stopped` when a stop is
/// requested.
pub fn models(
    config: &CacheConfig,
    output: &OutputPlace,
    writes: bool,
    patience: Patience<'_>,
) -> Result<Vec<ModelIdentity>> {
    let path = path_for(config, output);
    let open: fn(&Path) -> Result<Db, DbError> = match config.mode {
        CacheMode::Off | CacheMode::Output => return Ok(Vec::new()),
        CacheMode::ReadWrite if writes => Db::open_unchecked,
        CacheMode::ReadWrite | CacheMode::ReadOnly => Db::open_read_only_unchecked,
    };
    if !file_kind(&path).is_ok_and(|kind| kind == FileKind::Database) {
        return Ok(Vec::new());
    }
    let values = patience.open(&path, || open(&path)).and_then(|db| {
        let values = db.models()?;
        db.close()?;
        Ok(values)
    });
    let values = match values {
        Err(DbError::Failed(error))
            if matches!(error.kind(), ErrorKind::CacheBusy | ErrorKind::Stopped(_)) =>
        {
            return Err(error);
        }
        values => values,
    };
    let mut records: Vec<ModelRecord> =
        values.unwrap_or_default().iter().filter_map(parse).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.run));
    Ok(records.into_iter().map(|record| record.model).collect())
}

/// A record; `None` if another version wrote it.
fn parse((_, json): &(String, String)) -> Option<ModelRecord> {
    serde_json::from_str(json).ok()
}

impl VectorCache<'_> {
    /// Records that this run writes vectors of `model`.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn record_model(&self, model: &ModelIdentity) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let fingerprint = model.fingerprint();
        // The write below finds the same damage and replaces the file.
        let known = self.with_db(|db| db.models()).unwrap_or_default();
        let last = known.iter().filter_map(|entry| Some((parse(entry)?.run, &entry.0))).max();
        if last.is_some_and(|(_, last)| *last == fingerprint) {
            return Ok(());
        }
        let record = ModelRecord { run: self.run, model: model.clone() };
        let json = serde_json::to_string(&record).map_err(|cause| {
            Error::new(ErrorKind::Internal, "a model has no JSON form (bug)").caused_by(cause)
        })?;
        self.write(|tables| {
            tables.set_model(&fingerprint, &json)?;
            forget_oldest(tables)
        })
    }
}

/// Removes the models beyond [`MODELS_KEPT`], the oldest first.
fn forget_oldest(tables: &mut Tables<'_>) -> Result<(), Cause> {
    let entries = tables.models()?;
    let age = |entry: &(String, String)| parse(entry).map_or(0, |record| record.run);
    let mut by_age: Vec<(u32, &String)> =
        entries.iter().map(|entry| (age(entry), &entry.0)).collect();
    by_age.sort();
    for (_, fingerprint) in by_age.iter().rev().skip(MODELS_KEPT) {
        tables.remove_model(fingerprint)?;
    }
    Ok(())
}
