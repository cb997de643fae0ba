//! The vector cache: what a text's vector was, so that no run embeds it again.
//!
//! One file beside each output keeps, by [content key](reembed_encoder::task::ContentKey), the vector of every text that was embedded.
//! A run looks each text up, commits what it makes as it goes, and so resumes after a crash, pays for changed
//! rows only, and embeds equal texts once.
//!
//! Nothing in it is believed without its check sum. What cannot be believed is not there: its text goes through
//! the model again. What recent runs did not use goes when `cache.max_size` is reached.
//!
//! A rebuild does not look at what was there before it. It may take several runs: the first to commit something notes
//! its number, and the others believe what was written from that run on, until the output is in place.

mod database;
mod entries;
mod record;
mod room;
mod upkeep;
mod view;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::Error as Cause;
use reembed_encoder::error::{Error, Result};

use crate::config::{CacheConfig, CacheMode};
use crate::events::{CacheUse, Event, Warning};
use crate::hidden_names;
pub use database::FORMAT;
use database::{Base, Fact, Found, Tables, Trouble, failed};
use entries::{AT_A_TIME, Room, SlotSet};
pub use upkeep::{CacheCheck, Pruned, Stats, prune, stats, verify};
pub use view::{LookUp, View};
pub use writer::CacheWriter;

/// An open cache.
pub struct VectorCache<'a> {
    path: PathBuf,
    /// Replaced when the file turns out to be damaged while it is written to.
    base: RwLock<Base>,
    mode: Access,
    max_size: u64,
    /// The number of this run.
    run: u32,
    /// In a rebuild, the run that began it: entries of earlier ones are not looked at.
    rebuilding_since: Option<u32>,
    /// SlotSet that this run used.
    used: Mutex<SlotSet>,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// What a run may do with its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// The cache's file for an output: what the configuration names, or a hidden file beside the output.
pub fn path_for(config: &CacheConfig, output: &Path) -> PathBuf {
    config.path.clone().unwrap_or_else(|| hidden_names::cache(output))
}

impl<'a> VectorCache<'a> {
    /// Opens the cache of an output, or nothing where the mode is off or there is nothing to read. A file that is
    /// damaged or of another version is moved aside and a new one made, with a warning.
    ///
    /// # Errors
    /// `Cache`, naming the file: it is no cache, another process has it, it cannot be read or written, or it is
    /// damaged and may only be read.
    pub fn open(
        config: &CacheConfig,
        output: &Path,
        rebuild: bool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Option<VectorCache<'a>>> {
        let mode = match config.mode {
            CacheMode::Off => return Ok(None),
            CacheMode::ReadOnly => Access::ReadOnly,
            CacheMode::ReadWrite => Access::ReadWrite,
        };
        let path = path_for(config, output);
        let base = match (database::look(&path)?, mode) {
            (Found::Foreign, _) => return Err(foreign(&path)),
            (Found::Nothing, Access::ReadOnly) => {
                on_event(Event::Warning(Warning::NoCache { path }));
                return Ok(None);
            }
            (_, Access::ReadOnly) => {
                database::open_to_read(&path).map_err(|trouble| give_up(&path, trouble))?
            }
            (Found::Zeros, Access::ReadWrite) => renew(&path, "it begins with zeros", on_event)?,
            (Found::Nothing | Found::Database, Access::ReadWrite) => match database::open(&path) {
                Ok(base) => base,
                Err(Trouble::Damaged(reason)) => renew(&path, &reason, on_event)?,
                Err(Trouble::Failed(error)) => return Err(error),
            },
        };
        let fact = |fact: Fact| {
            let number = base.fact(fact).map_err(|trouble| give_up(&path, trouble))?;
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        };
        let run = fact(Fact::Run)?.saturating_add(1);
        let rebuilding_since = match (rebuild, mode) {
            (false, _) => None,
            // It keeps nothing, so there is nothing to go on from.
            (true, Access::ReadOnly) => Some(run),
            (true, Access::ReadWrite) => Some(match fact(Fact::RebuildingSince)? {
                0 => run,
                since => since,
            }),
        };
        Ok(Some(VectorCache {
            base: RwLock::new(base),
            mode,
            max_size: config.max_size,
            run,
            rebuilding_since,
            used: Mutex::default(),
            on_event,
            path,
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cache as it is now. Where it is damaged the view is empty.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn view(&self) -> Result<View<'_>> {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = match base.snapshot() {
            Ok(snapshot) => Some(snapshot),
            // The next commit meets the same damage and deals with it.
            Err(Trouble::Damaged(_)) => None,
            Err(Trouble::Failed(error)) => return Err(error),
        };
        Ok(View::new(self, snapshot))
    }

    /// What new vectors are handed to; nothing where the cache is only read.
    pub fn writer(&self, commit_rows: usize) -> Option<CacheWriter<'_>> {
        (self.mode == Access::ReadWrite).then(|| CacheWriter::new(self, commit_rows))
    }

    /// Takes note that a vector in the cache is not what the model gives: what an interrupted rebuild has left is then
    /// believed by no later one, so that it does not find the same vector again.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn distrust(&self) -> Result<()> {
        if self.mode == Access::ReadOnly {
            return Ok(());
        }
        let since = if self.rebuilding_since.is_some() { self.run } else { 0 };
        self.write(|tables| match tables.get(Fact::RebuildingSince)? {
            0 => Ok(()),
            _ => tables.set(Fact::RebuildingSince, since.into()),
        })
    }

    /// Notes what this run used, which has seen every row of its input.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written.
    pub fn finish(self, evicted: u64, not_kept: u64) -> Result<Finished> {
        if self.mode == Access::ReadWrite {
            let used = self.take_used();
            self.write(|tables| {
                tables.finish_run(self.run)?;
                used.note(tables, |age| if age > 0 { self.run } else { 0 })
            })?;
        }
        let VectorCache { path, base, mode, .. } = self;
        let base = base.into_inner().unwrap_or_else(PoisonError::into_inner);
        let entries = base.fact(Fact::Entries).map_err(|trouble| give_up(&path, trouble))?;
        let used = CacheUse { path, file_bytes: None, entries, evicted, not_kept };
        Ok(Finished { base, mode, used })
    }

    /// Notes which run began a rebuild, if none is under way.
    fn note_rebuild(&self, tables: &mut Tables<'_>) -> Result<(), Cause> {
        if self.rebuilding_since.is_none() || tables.get(Fact::RebuildingSince)? > 0 {
            return Ok(());
        }
        tables.set(Fact::RebuildingSince, self.run.into())
    }

    /// What may make place for new entries.
    fn room(&self, tables: &Tables<'_>) -> Result<Room, Cause> {
        let keep_from = match self.rebuilding_since {
            // Tonight's last row may ask for what the last finished run used.
            None => u32::try_from(tables.get(Fact::FinishedRun)?).unwrap_or(u32::MAX),
            // No row of a rebuild asks for what was there before it.
            Some(since) => since,
        };
        Ok(Room { max_size: self.max_size, keep_from, at_a_time: AT_A_TIME })
    }

    fn take_used(&self) -> SlotSet {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Commits some work. A file that turns out to be damaged is moved aside, and the work goes into a new one.
    fn write<T>(&self, work: impl Fn(&mut Tables<'_>) -> Result<T, Cause>) -> Result<T> {
        let tried = {
            let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
            base.write(&work)
        };
        match tried {
            Ok(done) => Ok(done),
            Err(Trouble::Failed(error)) => Err(error),
            Err(Trouble::Damaged(reason)) => {
                let mut base = self.base.write().unwrap_or_else(PoisonError::into_inner);
                *base = renew(&self.path, &reason, self.on_event)?;
                base.write(work).map_err(|trouble| give_up(&self.path, trouble))
            }
        }
    }
}

/// The cache of a run that has seen every row, and whose output is still to be put in place. Dropped, a rebuild is not
/// over: the next one goes on with all that this one made.
pub struct Finished {
    base: Base,
    mode: Access,
    used: CacheUse,
}

impl Finished {
    /// Closes the file. The output is in place, and with it every rebuild is over that was interrupted before, whether
    /// this run was one or not: the next one embeds every row again.
    ///
    /// Nothing may fail any more. Where this cannot be written, the next rebuild takes over what this one made, and the
    /// next open repairs what was not closed.
    pub fn published(self) -> CacheUse {
        let Finished { base, mode, mut used } = self;
        let is_rebuilding = || base.fact(Fact::RebuildingSince).is_ok_and(|since| since > 0);
        if mode == Access::ReadWrite && is_rebuilding() {
            let _ = base.write(|tables| tables.set(Fact::RebuildingSince, 0));
        }
        let _ = base.close();
        used.file_bytes = file_size(&used.path).ok();
        used
    }
}

/// Bytes by which the file of an output's cache may grow in a run over so many rows of `dim` components, at most: 0 where
/// nothing is written. What the file takes already is taken for these rows' vectors, as it is night after night.
pub fn growth(config: &CacheConfig, output: &Path, rows: u64, dim: usize) -> u64 {
    if config.mode != CacheMode::ReadWrite {
        return 0;
    }
    let entries = rows.saturating_mul(room::cost(record::length(dim))).min(config.max_size);
    let there = file_size(&path_for(config, output)).unwrap_or(0);
    room::file_bytes(entries).saturating_sub(there)
}

/// Moves a damaged file aside and makes a new one.
fn renew(path: &Path, reason: &str, on_event: &(dyn Fn(Event) + Sync)) -> Result<Base> {
    let moved_to = database::set_aside(path)?;
    let (path_was, reason) = (path.to_owned(), reason.to_owned());
    on_event(Event::Warning(Warning::CacheSetAside { path: path_was, moved_to, reason }));
    database::open(path).map_err(|trouble| give_up(path, trouble))
}

fn give_up(path: &Path, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Failed(error) => error,
        Trouble::Damaged(reason) => database::damaged(path, &reason),
    }
}

fn foreign(path: &Path) -> Error {
    failed(path, "this is no vector cache")
        .advice("name another file in `cache.path`; this one is left alone")
}

fn file_size(path: &Path) -> Result<u64> {
    let size = std::fs::metadata(path).map(|file| file.len());
    size.map_err(|cause| failed(path, "the cache's size cannot be read").caused_by(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_lies_hidden_beside_its_output_unless_it_is_named() {
        let config = |path: Option<&str>| CacheConfig {
            path: path.map(PathBuf::from),
            mode: CacheMode::ReadWrite,
            max_size: 1,
            commit_rows: std::num::NonZeroUsize::MIN,
            verify_sample: 0,
        };
        let beside = |output: &str| path_for(&config(None), Path::new(output));
        assert_eq!(beside("out/tasks.parquet"), Path::new("out/.tasks.parquet.reembed-store"));
        assert_eq!(beside("tasks"), Path::new(".tasks.reembed-store"));
        assert_eq!(path_for(&config(Some("a/b")), Path::new("out/t")), Path::new("a/b"));
        for long in ["n".repeat(255), "\u{1f4c4}".repeat(63)] {
            let cache = beside(&format!("out/{long}"));
            let name = cache.file_name().map(|name| name.len());
            assert!(name.is_some_and(|length| length <= 255 - ".damaged".len()), "{cache:?}");
        }
        assert_ne!(beside(&"n".repeat(255)), beside(&"n".repeat(254)));
    }
}
