//! An open cache: from opening the file to the published output.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf, absolute};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use redb::Error as Cause;
use reembed_encoder::error::Result;
use reembed_encoder::files;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKey;

use super::database::{
    self, Db, DbError, FileKind, MetaKey, Snapshot, Tables, failed, file_size, not_a_cache,
    set_aside,
};
use super::entries::{self, SlotSet};
use super::eviction::{self, Quota};
use super::outputs;
use super::patience::Patience;
use super::record;
use crate::config::{CacheConfig, CacheMode};
use crate::events::{CacheUse, Event, Warning};
use crate::hidden_names::{self, OutputPlace};
use crate::published::ShortKey;

/// Most entries that are evicted in one commit, so that a commit writes few pages.
pub const EVICTIONS_PER_COMMIT: u64 = 10_000;

/// An open cache.
pub struct VectorCache<'a> {
    pub(super) path: PathBuf,
    /// The output of the run: its absolute path.
    output: String,
    /// Replaced when a commit finds the file damaged.
    db: RwLock<Db>,
    /// A cache that is only read, behind this one.
    base: Option<Db>,
    pub(super) access: Access,
    pub(super) max_size: u64,
    /// The number of this run.
    pub(super) run: u32,
    /// In a rebuild, the run that began it. Entries of earlier runs count as absent.
    pub(super) rebuilding_since: Option<u32>,
    /// The slots that this run used since the last commit.
    pub(super) used: Mutex<SlotSet>,
    /// How many commits of computed vectors this run has made.
    pub(super) commits: AtomicU64,
    pub(super) on_event: &'a (dyn Fn(Event) + Sync),
}

/// What a run has seen of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every row.
    EveryRow,
    /// The tables of a dataset that changed.
    ChangedTables,
}

/// How a run may use its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
}

/// The cache file of an output: `cache.path`, or a file below `_reembed` beside the output, or the file of
/// version 0.1 as long as it is the only one.
pub fn path_for(config: &CacheConfig, output: &OutputPlace) -> PathBuf {
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    let beside = || {
        let (now, old) = (output.cache(), output.old_cache());
        if !exists(&now) && exists(&old) { old } else { now }
    };
    config.path.clone().unwrap_or_else(beside)
}

/// The cache file that a run opens. A run that writes moves the file of version 0.1 to its place of today. A file
/// that cannot be moved is used where it is; so is a link, which would lead elsewhere.
fn path_to_open(config: &CacheConfig, output: &OutputPlace, access: Access) -> Result<PathBuf> {
    let (path, now) = (path_for(config, output), output.cache());
    let is_old = config.path.is_none() && path != now;
    let is_file = || path.symlink_metadata().is_ok_and(|found| found.is_file());
    if access == Access::ReadOnly || !is_old || !is_file() || fs::rename(&path, &now).is_err() {
        return Ok(path);
    }
    make_durable(&now)?;
    Ok(now)
}

/// Makes the entry of a new cache file durable, so that a power failure does not lose its vectors.
fn make_durable(path: &Path) -> Result<()> {
    // What the file system does not offer is told when the output is published.
    files::sync_directory(hidden_names::directory_of(path))
        .map(drop)
        .map_err(|cause| failed(path, "fsync of its directory failed").caused_by(cause))
}

/// The most bytes by which a run over `rows` rows of `dim` components may grow the cache file.
///
/// Space that the file already takes is reused. The result is 0 if the cache is not written.
pub fn max_growth(config: &CacheConfig, output: &OutputPlace, rows: u64, dim: usize) -> u64 {
    if config.mode != CacheMode::ReadWrite {
        return 0;
    }
    let cost = eviction::entry_cost(record::entry_length(dim));
    let entries = rows.saturating_mul(cost).min(config.max_size);
    let existing = file_size(&path_for(config, output)).unwrap_or(0);
    eviction::file_bytes(entries).saturating_sub(existing)
}

impl<'a> VectorCache<'a> {
    /// Opens the cache of an output; `None` if the mode is `off` or `output`, or `read-only` without a file.
    ///
    /// A file that is damaged or of another version is renamed and replaced by a new one, with a
    /// warning.
    ///
    /// # Errors
    /// `Cache`, naming the file, when it is not a cache, it cannot be read or written, or it is damaged
    /// and the mode is `read-only`; `CacheBusy` when another process has it open for longer than
    /// `cache.wait`.
    pub fn open(
        config: &CacheConfig,
        output: &OutputPlace,
        rebuild: bool,
        stop: &Stop,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Option<VectorCache<'a>>> {
        let patience = Patience { time: config.wait, stop, on_event };
        let access = match config.mode {
            CacheMode::Off | CacheMode::Output => return Ok(None),
            CacheMode::ReadOnly => Access::ReadOnly,
            CacheMode::ReadWrite => Access::ReadWrite,
        };
        let path = path_to_open(config, output, access)?;
        let db = match (database::file_kind(&path)?, access) {
            (FileKind::Other, _) => return Err(not_a_cache(&path)),
            (FileKind::Missing, Access::ReadOnly) => {
                on_event(Event::Warning(Warning::NoCache { path }));
                return Ok(None);
            }
            (_, Access::ReadOnly) => {
                let open = || Db::open_read_only(&path);
                patience.open(&path, open).map_err(|error| error.into_error(&path))?
            }
            (FileKind::Zeros, Access::ReadWrite) => {
                replace_damaged(&path, database::ZEROS, on_event)?
            }
            (kind @ (FileKind::Missing | FileKind::Database), Access::ReadWrite) => {
                match patience.open(&path, || Db::open(&path)) {
                    Ok(db) => {
                        if kind == FileKind::Missing {
                            make_durable(&path)?;
                        }
                        db
                    }
                    Err(DbError::Damaged(reason)) => replace_damaged(&path, &reason, on_event)?,
                    Err(DbError::Failed(error)) => return Err(error),
                }
            }
        };
        let run_number = |key: MetaKey| {
            let number = db.meta(key).map_err(|error| error.into_error(&path))?;
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        };
        let run = run_number(MetaKey::Run)?.saturating_add(1);
        let rebuilding_since = match (rebuild, access) {
            (false, _) => None,
            // Without writing there is no interrupted rebuild to continue.
            (true, Access::ReadOnly) => Some(run),
            (true, Access::ReadWrite) => Some(match run_number(MetaKey::RebuildingSince)? {
                0 => run,
                since => since,
            }),
        };
        let base = match &config.base {
            Some(base) if database::file_kind(base)? == FileKind::Database => {
                let open = || Db::open_read_only(base);
                Some(patience.open(base, open).map_err(|error| error.into_error(base))?)
            }
            _ => None,
        };
        Ok(Some(VectorCache {
            db: RwLock::new(db),
            base,
            output: absolute(output.path())
                .unwrap_or_else(|_| output.path().to_owned())
                .to_string_lossy()
                .into_owned(),
            access,
            max_size: config.max_size,
            run,
            rebuilding_since,
            used: Mutex::default(),
            commits: AtomicU64::new(0),
            on_event,
            path,
        }))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tables of the cache behind this one, as they are; `None` without one.
    pub(super) fn base(&self) -> Option<Result<Snapshot, DbError>> {
        self.base.as_ref().map(Db::snapshot)
    }

    /// Runs `read` on the open database.
    pub(super) fn with_db<T>(&self, read: impl FnOnce(&Db) -> T) -> T {
        read(&self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops trusting what an interrupted rebuild wrote, because a cached vector was wrong. The next
    /// rebuild then starts over.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn forget_rebuild(&self) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let since = if self.rebuilding_since.is_some() { self.run } else { 0 };
        self.write(|tables| match tables.get(MetaKey::RebuildingSince)? {
            0 => Ok(()),
            _ => tables.set(MetaKey::RebuildingSince, since.into()),
        })
    }

    /// Records the slots that this run used. `coverage` tells whether the run has seen every row of its
    /// input: only then may what it did not use be old.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn finish(
        self,
        coverage: Coverage,
        (evicted, not_stored): (u64, u64),
    ) -> Result<CacheReadyToPublish> {
        if self.access == Access::ReadWrite {
            let (used, now) = (self.take_used(), SystemTime::now());
            self.write(|tables| {
                if coverage == Coverage::EveryRow {
                    tables.finish_run(self.run)?;
                    outputs::record(tables, &self.output, self.run, now)?;
                }
                used.touch(tables, self.run)
            })?;
        }
        let VectorCache { path, db, access, .. } = self;
        let db = db.into_inner().unwrap_or_else(PoisonError::into_inner);
        let entries = db.meta(MetaKey::Entries).map_err(|error| error.into_error(&path))?;
        let usage = CacheUse { path, file_bytes: None, entries, evicted, not_stored };
        Ok(CacheReadyToPublish { db, access, usage })
    }

    /// Records that this run began a rebuild, unless an earlier one did.
    pub(super) fn record_rebuild(&self, tables: &mut Tables<'_>) -> Result<(), Cause> {
        if self.rebuilding_since.is_none() || tables.get(MetaKey::RebuildingSince)? > 0 {
            return Ok(());
        }
        tables.set(MetaKey::RebuildingSince, self.run.into())
    }

    /// The size limit, and the entries that may be evicted for it.
    pub(super) fn quota(&self, tables: &Tables<'_>) -> Result<Quota, Cause> {
        let keep_from = match self.rebuilding_since {
            // A later row of this run may need what the last finished run used.
            None => u32::try_from(tables.get(MetaKey::FinishedRun)?).unwrap_or(u32::MAX),
            // No row of a rebuild uses older entries.
            Some(since) => since,
        };
        Ok(Quota { max_size: self.max_size, keep_from, evictions_per_commit: EVICTIONS_PER_COMMIT })
    }

    /// How many commits of new vectors this run has made.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// Removes the vectors of texts that stand in a published table now, and returns their number. Nothing is
    /// removed from a cache that is not written.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn release(&self, keys: &[ShortKey]) -> Result<u64> {
        if self.access == Access::ReadOnly {
            return Ok(0);
        }
        // Most texts of a table that is published again are not in the cache, and a commit waits for the disk.
        let view = self.view()?;
        let mut present = Vec::new();
        for key in keys {
            if view.has(key)? {
                present.push(*key);
            }
        }
        drop(view);
        if present.is_empty() {
            return Ok(0);
        }
        self.write(|tables| entries::remove(tables, &present))
    }

    /// The short keys of all entries, `most` of them from the first after `after` on.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn keys_after(&self, after: Option<ContentKey>, most: usize) -> Result<Vec<ContentKey>> {
        let read = self.with_db(|db| {
            let snapshot = db.snapshot()?;
            database::catch_damage(&self.path, || {
                let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(*key.as_bytes()));
                let range = (first.as_ref(), Bound::Unbounded);
                let mut keys = Vec::new();
                for entry in snapshot.index.range::<&[u8; 32]>(range)?.take(most) {
                    keys.push(ContentKey::from_bytes(*entry?.0.value()));
                }
                Ok(keys)
            })
        });
        match read {
            Ok(keys) => Ok(keys),
            // The next commit replaces it.
            Err(DbError::Damaged(_)) => Ok(Vec::new()),
            Err(DbError::Failed(error)) => Err(error),
        }
    }

    pub(super) fn take_used(&self) -> SlotSet {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Commits `work`. If the file is damaged, it is set aside and `work` is committed to a new one.
    pub(super) fn write<T>(&self, work: impl Fn(&mut Tables<'_>) -> Result<T, Cause>) -> Result<T> {
        match self.with_db(|db| db.write(&work)) {
            Ok(done) => Ok(done),
            Err(DbError::Failed(error)) => Err(error),
            Err(DbError::Damaged(reason)) => {
                let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
                *db = replace_damaged(&self.path, &reason, self.on_event)?;
                db.write(work).map_err(|error| error.into_error(&self.path))
            }
        }
    }
}

/// The cache of a run that has seen every row and has not published its output yet.
///
/// If it is dropped, an unfinished rebuild stays unfinished, and the next rebuild continues it.
pub struct CacheReadyToPublish {
    db: Db,
    access: Access,
    usage: CacheUse,
}

impl CacheReadyToPublish {
    /// Records that the output is published, which ends every unfinished rebuild, and closes the file.
    ///
    /// It returns no error, because the output is in place. If it fails, the next rebuild continues
    /// this one, and the next open repairs the file.
    pub fn mark_published(self) -> CacheUse {
        let CacheReadyToPublish { db, access, .. } = &self;
        let is_rebuilding = || db.meta(MetaKey::RebuildingSince).is_ok_and(|since| since > 0);
        if *access == Access::ReadWrite && is_rebuilding() {
            let _ = db.write(|tables| tables.set(MetaKey::RebuildingSince, 0));
        }
        self.close()
    }

    /// Closes the file, since not every output is in place: the next rebuild continues this one.
    pub fn close(self) -> CacheUse {
        let CacheReadyToPublish { db, mut usage, .. } = self;
        let _ = db.close();
        usage.file_bytes = file_size(&usage.path).ok();
        usage
    }
}

/// Renames a damaged file and creates a new one, with a warning.
pub(super) fn replace_damaged(
    path: &Path,
    reason: &str,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Db> {
    let moved_to = set_aside(path)?;
    on_event(Event::Warning(Warning::CacheSetAside {
        path: path.to_owned(),
        moved_to,
        reason: reason.to_owned(),
    }));
    Db::open(path).map_err(|error| error.into_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_is_below_the_work_directory_unless_named() {
        let config = |path: Option<&str>| CacheConfig {
            path: path.map(PathBuf::from),
            base: None,
            wait: std::time::Duration::ZERO,
            mode: CacheMode::ReadWrite,
            max_size: 1,
            commit_rows: std::num::NonZeroUsize::MIN,
            verify_sample: 0,
        };
        let beside = |output: &str| path_for(&config(None), &OutputPlace::alone(output.into()));
        assert_eq!(beside("out/tasks.parquet"), Path::new("out/_reembed/tasks.parquet.cache"));
        assert_eq!(beside("tasks"), Path::new("_reembed/tasks.cache"));
        assert_eq!(
            path_for(&config(Some("a/b")), &OutputPlace::alone("out/t".into())),
            Path::new("a/b")
        );
        for long in ["n".repeat(255), "\u{1f4c4}".repeat(63)] {
            let damaged = hidden_names::damaged_cache(&beside(&format!("out/{long}")));
            let name = damaged.file_name().map(|name| name.len());
            assert!(name.is_some_and(|length| length <= 255), "{damaged:?}");
        }
        assert_ne!(beside(&"n".repeat(255)), beside(&"n".repeat(254)));
    }
}
