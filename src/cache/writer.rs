//! New vectors on their way into the cache.

use std::collections::HashMap;

use reembed_encoder::error::Result;
use reembed_encoder::task::ContentKey;

use super::VectorCache;
use super::entries::{Step, put_step};
use super::record::{self, Entries, Record};
use crate::chunk::CachedText;
use crate::events::{Event, Warning};

/// What new vectors go through on their way into the cache: they wait here until there are enough to commit.
pub struct CacheWriter<'s> {
    cache: &'s VectorCache<'s>,
    commit_rows: usize,
    waiting: Entries,
    by_key: HashMap<ContentKey, usize>,
    evicted: u64,
    not_kept: u64,
}

impl<'s> CacheWriter<'s> {
    pub(super) fn new(cache: &'s VectorCache<'s>, commit_rows: usize) -> Self {
        CacheWriter {
            cache,
            commit_rows,
            waiting: Entries::default(),
            by_key: HashMap::new(),
            evicted: 0,
            not_kept: 0,
        }
    }
}

impl CacheWriter<'_> {
    /// Looks a text up that waits to be committed.
    pub fn find(&self, key: &ContentKey, vector: &mut [f32]) -> Option<CachedText> {
        let bytes = self.waiting.get(*self.by_key.get(key)?)?;
        let Record { tokens, truncated, .. } = record::read(bytes, key, vector)?;
        Some(CachedText { tokens, truncated, of_this_run: true, sampled: false })
    }

    /// Takes a vector in, in the place of what the cache may have for its text.
    pub fn insert(&mut self, key: ContentKey, tokens: usize, truncated: bool, vector: &[f32]) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.by_key.insert(key, self.waiting.len());
        self.waiting.push(key, Record { run: self.cache.run, tokens, truncated }, vector);
    }

    /// Commits if enough vectors wait.
    ///
    /// # Errors
    /// As [`CacheWriter::commit`].
    pub fn commit_if_due(&mut self) -> Result<()> {
        if self.waiting.len() >= self.commit_rows { self.commit() } else { Ok(()) }
    }

    /// Brings the vectors that wait to the disk. Where there is no room, and nothing that may go, they are not
    /// kept; that is warned of once.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written: full disks are no reason to go on without.
    pub fn commit(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        self.by_key.clear();
        if self.not_kept > 0 {
            // There was no room, and only the next run can make some.
            self.not_kept += waiting.len() as u64;
            return Ok(());
        }
        let cache = self.cache;
        let used = cache.take_used();
        let kept = loop {
            let Step { kept, evicted } = cache.write(|tables| {
                // What this run used must not make place for what it adds.
                used.note(tables, |age| if age > 0 { cache.run } else { 0 })?;
                cache.note_rebuild(tables)?;
                put_step(tables, &waiting, cache.run, cache.room(tables)?)
            })?;
            self.evicted += evicted;
            if let Some(kept) = kept {
                break kept;
            }
        };
        if kept > 0 {
            (cache.on_event)(Event::Kept { rows: kept });
        }
        self.not_kept += (waiting.len() - kept) as u64;
        if self.not_kept > 0 {
            let (path, max_size) = (cache.path.clone(), cache.max_size);
            (cache.on_event)(Event::Warning(Warning::CacheFull { path, max_size }));
        }
        waiting.clear();
        self.waiting = waiting;
        Ok(())
    }

    /// Entries that made place for new ones, and vectors that found none.
    pub fn totals(&self) -> (u64, u64) {
        (self.evicted, self.not_kept)
    }
}
