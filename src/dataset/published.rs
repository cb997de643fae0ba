//! The published vectors of a dataset, which a run need not compute, and the cache must not keep.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reembed_encoder::error::Result;
use reembed_encoder::stop::Stop;

use super::inputs::Dataset;
use super::known::Known;
use super::manifest::TableRecord;
use super::places::Places;
use crate::cache::VectorCache;
use crate::config::{CacheMode, Config};
use crate::hidden_names::OutputPlace;
use crate::pipeline::release;
use crate::published::{KeyFile, PublishedTable, PublishedVectors};

/// Keys of the cache that are looked at at once.
const SWEPT_AT_ONCE: usize = 4096;

/// The vectors of the tables that are in place; `None` if the run uses no cache.
///
/// # Errors
/// `Cache` when the index cannot be read.
pub fn open(dataset: &Dataset, known: &Known, stop: &Stop) -> Result<Option<PublishedVectors>> {
    let Dataset { config, places, .. } = dataset;
    if config.cache.mode == CacheMode::Off {
        return Ok(None);
    }
    let base: Vec<PathBuf> =
        config.dataset.shard.map(|_| places.whole_index()).into_iter().collect();
    let (root, index) = (places.root(), places.index());
    let published = PublishedVectors::of_dataset(root, &index, &base, tables_of(known), stop)?;
    Ok(Some(if config.run.rebuild { published.of_this_run_alone() } else { published }))
}

/// As [`open`], for a look that writes nothing.
pub fn look(dataset: &Dataset, known: &Known, stop: &Stop) -> Option<PublishedVectors> {
    let Dataset { config, places, .. } = dataset;
    if config.cache.mode == CacheMode::Off {
        return None;
    }
    let mut indexes = vec![places.index()];
    indexes.extend(config.dataset.shard.map(|_| places.whole_index()));
    Some(PublishedVectors::to_look(places.root(), &indexes, tables_of(known), stop))
}

/// The tables that are in place, as far as it is known, and those of other shards.
fn tables_of(known: &Known) -> (Vec<PublishedTable>, Vec<PublishedTable>) {
    let table = |record: &TableRecord| PublishedTable {
        below: record.path.clone(),
        footer: record.footer.clone(),
    };
    (known.tables.values().map(table).collect(), known.others.values().map(table).collect())
}

/// Whether vectors leave the cache once they stand in a published table. A cache with a path of its own is for sharing
/// with other outputs, and keeps them.
///
/// In a rebuild they stay until it is done: the next run with `--rebuild` goes on from them.
pub fn releases(config: &Config, places: &Places) -> bool {
    config.cache.mode == CacheMode::ReadWrite && config.cache.path == Some(places.cache())
}

/// The vectors of published tables that are still in the cache.
///
/// Those of the last texts of a table are committed with texts of the next ones, so that small tables need no commit of
/// their own. Only then can they leave the cache.
pub struct Releases<'a> {
    cache: &'a VectorCache<'a>,
    waiting: Mutex<VecDeque<Waiting>>,
}

/// A published table whose vectors are in the cache.
struct Waiting {
    /// The commit that has all of its vectors.
    committed_with: u64,
    place: OutputPlace,
    footer: String,
}

impl<'a> Releases<'a> {
    /// None so far.
    pub fn new(cache: &'a VectorCache<'a>) -> Releases<'a> {
        Releases { cache, waiting: Mutex::default() }
    }

    /// Adds a published table with this footer digest, whose vectors are in the cache once it has made so many commits.
    pub fn add(&self, committed_with: u64, place: OutputPlace, footer: String) {
        self.lock().push_back(Waiting { committed_with, place, footer });
    }

    /// Removes the vectors that are committed.
    ///
    /// # Errors
    /// `Cache` when it cannot be written.
    pub fn take_due(&self) -> Result<()> {
        let due: Vec<Waiting> = {
            let mut waiting = self.lock();
            let commits = self.cache.commits();
            let all = std::mem::take(&mut *waiting);
            let (due, later): (VecDeque<_>, VecDeque<_>) =
                all.into_iter().partition(|table| table.committed_with <= commits);
            *waiting = later;
            due.into()
        };
        for Waiting { place, footer, .. } in due {
            // One that was replaced since has told its keys again.
            if let Some(keys) = KeyFile::open(&place.keys(), &footer) {
                release(self.cache, &keys)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the cache may hold vectors of published tables: after a run that was killed, after shards were joined, and while
/// shards embed tables together, which one of them publishes.
pub fn may_hold_published(dataset: &Dataset, known: &Known) -> bool {
    let joined = known.manifest.as_ref().is_some_and(|manifest| !manifest.joined.is_empty());
    let shares =
        dataset.config.dataset.shard.is_some() && dataset.config.dataset.split_rows.is_some();
    !known.journal.is_empty() || joined || shares
}

/// Removes the vectors from the cache that stand in published tables: a run that was killed had not come to it.
///
/// # Errors
/// `Cache` when the cache or the index cannot be read or written.
pub fn sweep(cache: &VectorCache<'_>, published: &PublishedVectors, stop: &Stop) -> Result<()> {
    let (mut after, mut checked) = (None, HashMap::new());
    loop {
        stop.check()?;
        let keys = cache.keys_after(after, SWEPT_AT_ONCE)?;
        let Some(last) = keys.last().copied() else { return Ok(()) };
        cache.release(&published.standing(&keys, &mut checked)?)?;
        after = Some(last);
    }
}
