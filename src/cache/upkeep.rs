//! What people do with a cache between runs: `reembed cache stats`, `prune` and `verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redb::ReadableTable;
use reembed_encoder::error::Result;

use super::database::{self, FORMAT, Fact, Found, Trouble, failed, guarded};
use super::entries::{AT_A_TIME, evict, last_used_of};
use super::{file_size, foreign, give_up, record, room};

/// What `reembed cache stats` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// [`FORMAT`].
    pub format: u64,
    /// Entries in it.
    pub entries: u64,
    /// Runs that wrote to it.
    pub runs: u64,
    /// Entries by how many finished runs ago they were used last: 0 is the last one, or one after it that did not
    /// finish. The last hundred finished runs are told apart.
    pub last_used: BTreeMap<u64, u64>,
}

/// What the cache of an output holds.
///
/// # Errors
/// `Cache` when there is none, or it cannot be read.
pub fn stats(path: &Path) -> Result<Stats> {
    must_be_there(path)?;
    let stats = || {
        let base = database::open_to_read(path)?;
        let snapshot = base.snapshot()?;
        let finished = base.finished_runs()?;
        let mut last_used = BTreeMap::new();
        guarded(path, || {
            for page in snapshot.last_used.iter()? {
                for run in last_used_of(page?.1.value()).filter(|run| *run > 0) {
                    *last_used.entry(room::runs_ago(&finished, run)).or_insert(0) += 1;
                }
            }
            Ok(())
        })?;
        Ok((base.fact(Fact::Entries)?, base.fact(Fact::Run)?, last_used))
    };
    let (entries, runs, last_used) = stats().map_err(|trouble| give_up(path, trouble))?;
    let file_bytes = file_size(path)?;
    Ok(Stats { path: path.to_owned(), file_bytes, format: FORMAT, entries, runs, last_used })
}

/// What `reembed cache prune` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Entries that went.
    pub removed: u64,
    /// Entries that stayed.
    pub kept: u64,
    /// The file's size in bytes before.
    pub bytes_before: u64,
    /// And now.
    pub bytes_after: u64,
}

/// Takes away every entry that neither the last `keep_runs` finished runs nor one after the first of them used, and gives
/// the room back to the file system. Where fewer runs have finished nothing goes; nor where `keep_runs` is more than the
/// hundred that a cache remembers.
///
/// # Errors
/// `Cache` when there is none, another process has it, or it cannot be written.
pub fn prune(path: &Path, keep_runs: u32) -> Result<Pruned> {
    must_be_there(path)?;
    let bytes_before = file_size(path)?;
    let prune = || {
        let mut base = database::open(path)?;
        let mut removed = 0;
        loop {
            let gone = base.write(|tables| {
                let keep_from = room::keep_from(&tables.finished_runs()?, keep_runs);
                evict(tables, AT_A_TIME, keep_from)
            })?;
            removed += gone;
            if gone == 0 {
                break;
            }
        }
        base.compact()?;
        let kept = base.fact(Fact::Entries)?;
        base.close()?;
        Ok((removed, kept))
    };
    let (removed, kept) = prune().map_err(|trouble| give_up(path, trouble))?;
    Ok(Pruned { removed, kept, bytes_before, bytes_after: file_size(path)? })
}

/// What `reembed cache verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCheck {
    /// Entries that were read.
    pub entries: u64,
    /// Those that cannot be believed. A run embeds their texts again.
    pub damaged: u64,
    /// Texts whose entry is not where the index says, and entries that the index does not know.
    pub lost: u64,
    /// Whether every page of the file has its check sum.
    pub pages_hold: bool,
}

/// Reads every entry of a cache, and every page of its file.
///
/// # Errors
/// `Cache` when there is none, another process has it, or it is damaged where it cannot even be read.
pub fn verify(path: &Path) -> Result<CacheCheck> {
    must_be_there(path)?;
    let verify = || {
        let mut base = database::open(path)?;
        let snapshot = base.snapshot()?;
        let mut found = CacheCheck { entries: 0, damaged: 0, lost: 0, pages_hold: true };
        guarded(path, || {
            for entry in snapshot.places.iter()? {
                let (place, bytes) = entry?;
                found.entries += 1;
                match record::inspect(bytes.value()) {
                    None => found.damaged += 1,
                    Some((key, _)) => {
                        let of_key = snapshot.index.get(&key)?.map(|place| place.value());
                        found.lost += u64::from(of_key != Some(place.value()));
                    }
                }
            }
            for entry in snapshot.index.iter()? {
                found.lost += u64::from(snapshot.places.get(entry?.1.value())?.is_none());
            }
            Ok(())
        })?;
        drop(snapshot);
        // Last, for what it finds it mends or gives up on.
        found.pages_hold = match base.check() {
            Ok(holds) => holds,
            Err(Trouble::Damaged(_)) => false,
            Err(failed) => return Err(failed),
        };
        Ok(found)
    };
    verify().map_err(|trouble| give_up(path, trouble))
}

impl CacheCheck {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.damaged == 0 && self.lost == 0 && self.pages_hold
    }
}

fn must_be_there(path: &Path) -> Result<()> {
    match database::look(path)? {
        Found::Database => Ok(()),
        Found::Nothing => Err(failed(path, "there is no cache")
            .advice("name it with --cache, or name its output; `reembed run` makes one")),
        Found::Zeros => Err(database::damaged(path, "it begins with zeros")),
        Found::Foreign => Err(foreign(path)),
    }
}
