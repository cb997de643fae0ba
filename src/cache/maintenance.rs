//! Maintenance between runs: `reembed cache stats`, `prune` and `verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use redb::ReadableTable;
use reembed_encoder::error::Result;

use super::database::{
    self, Db, DbError, FORMAT, FileKind, MetaKey, catch_damage, file_size, not_a_cache,
};
use super::entries::{evict, last_used_of};
use super::outputs::{self, CacheOutput};
use super::vector_cache::EVICTIONS_PER_COMMIT;
use super::{eviction, record};

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStats {
    /// The path of the file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// [`FORMAT`].
    pub format: u64,
    /// Number of entries.
    pub entries: u64,
    /// Number of runs that wrote to the cache.
    pub runs: u64,
    /// Number of entries by how many finished runs ago they were last used.
    ///
    /// 0 is the last finished run or an unfinished one after it. The cache remembers 100 finished
    /// runs; older ones count as one.
    pub last_used: BTreeMap<u64, u64>,
    /// The outputs that use the cache, as far as they are known.
    pub outputs: Vec<CacheOutput>,
}

/// Counts the entries of a cache.
///
/// # Errors
/// `Cache` when the file does not exist or cannot be read.
pub fn stats(path: &Path) -> Result<CacheStats> {
    check_exists(path)?;
    let stats = || {
        let db = Db::open_read_only(path)?;
        let snapshot = db.snapshot()?;
        let finished = db.finished_runs()?;
        let mut last_used = BTreeMap::new();
        catch_damage(path, || {
            for page in snapshot.last_used.iter()? {
                for run in last_used_of(page?.1.value()).filter(|run| *run > 0) {
                    *last_used.entry(eviction::runs_ago(&finished, run)).or_insert(0) += 1;
                }
            }
            Ok(())
        })?;
        let outputs = outputs::parse(&db.outputs()?);
        Ok((db.meta(MetaKey::Entries)?, db.meta(MetaKey::Run)?, last_used, outputs))
    };
    let (entries, runs, last_used, outputs) =
        stats().map_err(|error: DbError| error.into_error(path))?;
    let file_bytes = file_size(path)?;
    let (path, format) = (path.to_owned(), FORMAT);
    Ok(CacheStats { path, file_bytes, format, entries, runs, last_used, outputs })
}

/// What [`prune`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneResult {
    /// Number of removed entries.
    pub removed: u64,
    /// Number of entries that are left.
    pub kept: u64,
    /// The size of the file in bytes before.
    pub bytes_before: u64,
    /// The size of the file in bytes after.
    pub bytes_after: u64,
}

/// What [`prune`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// What this many of the last finished runs of each output used.
    pub runs: u32,
    /// Outputs whose last run finished longer ago do not count; `None`: all count.
    pub outputs_since: Option<SystemTime>,
}

/// Removes every entry that none of the runs to keep used, and shrinks the file. What an output that
/// counts uses is never removed. Outputs that do not count are forgotten.
///
/// Unfinished runs after the first of them count as well. Nothing is removed if fewer runs have
/// finished, or if `keep.runs` is more than the 100 runs that a cache remembers.
///
/// # Errors
/// `Cache` when the file does not exist, another process has it open, or it cannot be written.
pub fn prune(path: &Path, keep: Keep) -> Result<PruneResult> {
    check_exists(path)?;
    let bytes_before = file_size(path)?;
    let prune = || {
        let mut db = Db::open(path)?;
        let mut removed = 0;
        db.write(|tables| {
            let outputs = outputs::parse(&tables.outputs()?);
            let forgotten = outputs.iter().filter(|output| !counts(output, keep));
            forgotten.into_iter().try_for_each(|output| tables.remove_output(&output.path))
        })?;
        loop {
            let evicted = db.write(|tables| {
                let outputs = outputs::parse(&tables.outputs()?);
                let runs = outputs.iter().map(|output| &output.runs[..]);
                let keep_from = eviction::keep_from_all(&tables.finished_runs()?, runs, keep.runs);
                evict(tables, EVICTIONS_PER_COMMIT, keep_from)
            })?;
            removed += evicted;
            if evicted == 0 {
                break;
            }
        }
        db.compact()?;
        let kept = db.meta(MetaKey::Entries)?;
        db.close()?;
        Ok((removed, kept))
    };
    let (removed, kept) = prune().map_err(|error: DbError| error.into_error(path))?;
    Ok(PruneResult { removed, kept, bytes_before, bytes_after: file_size(path)? })
}

/// Whether what an output uses is kept.
fn counts(output: &CacheOutput, keep: Keep) -> bool {
    keep.outputs_since.is_none_or(|since| output.finished >= since)
}

/// The result of [`verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCheck {
    /// Number of entries.
    pub entries: u64,
    /// Entries with a wrong checksum. A run embeds their texts again.
    pub damaged: u64,
    /// Keys of the index without an entry, and entries that the index does not have.
    pub lost: u64,
    /// Whether every page of the file has the right checksum.
    pub pages_ok: bool,
}

/// Reads every entry of a cache and every page of its file.
///
/// # Errors
/// `Cache` when the file does not exist, another process has it open, or it is too damaged to read.
pub fn verify(path: &Path) -> Result<CacheCheck> {
    check_exists(path)?;
    let verify = || {
        let mut db = Db::open(path)?;
        let snapshot = db.snapshot()?;
        let mut check = CacheCheck { entries: 0, damaged: 0, lost: 0, pages_ok: true };
        catch_damage(path, || {
            for entry in snapshot.slots.iter()? {
                let (slot, bytes) = entry?;
                check.entries += 1;
                match record::inspect(bytes.value()) {
                    None => check.damaged += 1,
                    Some((key, _)) => {
                        let indexed = snapshot.index.get(&key)?.map(|slot| slot.value());
                        check.lost += u64::from(indexed != Some(slot.value()));
                    }
                }
            }
            for entry in snapshot.index.iter()? {
                check.lost += u64::from(snapshot.slots.get(entry?.1.value())?.is_none());
            }
            Ok(())
        })?;
        drop(snapshot);
        // Last, because it repairs what it finds.
        check.pages_ok = match db.check_pages() {
            Ok(ok) => ok,
            Err(DbError::Damaged(_)) => false,
            Err(failed) => return Err(failed),
        };
        Ok(check)
    };
    verify().map_err(|error| error.into_error(path))
}

impl CacheCheck {
    /// Whether the check found no damage.
    pub fn is_ok(&self) -> bool {
        self.damaged == 0 && self.lost == 0 && self.pages_ok
    }
}

fn check_exists(path: &Path) -> Result<()> {
    match database::file_kind(path)? {
        FileKind::Database => Ok(()),
        FileKind::Missing => Err(database::failed(path, "there is no vector cache").advice(
            "name an existing cache with --cache, or its output; `reembed run` creates the cache",
        )),
        FileKind::Zeros => Err(database::damaged(path, database::ZEROS)),
        FileKind::Other => Err(not_a_cache(path)),
    }
}
