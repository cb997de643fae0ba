//! New vectors between the model and a commit.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reembed_encoder::error::Result;
use reembed_encoder::task::ContentKey;

use super::entries::{InsertStep, insert_step};
use super::record::{self, EntryBuffer, Record};
use super::vector_cache::{Access, VectorCache};
use crate::chunk::CachedText;
use crate::events::{Event, Warning};

/// The longest time between two commits while vectors come.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// Collects new vectors and commits them in groups.
pub struct CacheWriter<'s> {
    cache: &'s VectorCache<'s>,
    commit_rows: usize,
    /// Whether its commits are those of [`VectorCache::commits`].
    counts: bool,
    pending: EntryBuffer,
    by_key: HashMap<ContentKey, usize>,
    evicted: u64,
    not_stored: u64,
    /// When the last commit was.
    committed: Instant,
}

impl VectorCache<'_> {
    /// A writer of the vectors that the run computes, which commits `commit_rows` of them at a time; `None` if the cache is
    /// read-only.
    pub fn writer(&self, commit_rows: usize) -> Option<CacheWriter<'_>> {
        self.make_writer(commit_rows, true)
    }

    /// The same for vectors that a publication displaces: its commits do not count.
    pub fn writer_of_displaced(&self, commit_rows: usize) -> Option<CacheWriter<'_>> {
        self.make_writer(commit_rows, false)
    }

    fn make_writer(&self, commit_rows: usize, counts: bool) -> Option<CacheWriter<'_>> {
        (self.access == Access::ReadWrite).then(|| CacheWriter {
            cache: self,
            commit_rows,
            counts,
            pending: EntryBuffer::default(),
            by_key: HashMap::new(),
            evicted: 0,
            not_stored: 0,
            committed: Instant::now(),
        })
    }
}

impl CacheWriter<'_> {
    /// Looks up the vector of a text among those that are not committed yet.
    pub fn find(&self, key: &ContentKey, vector: &mut [f32]) -> Option<CachedText> {
        let bytes = self.pending.get(*self.by_key.get(key)?)?;
        let Record { tokens, truncated, .. } = record::read(bytes, key, vector)?;
        Some(CachedText { of_this_run: true, ..CachedText::measured(tokens, truncated) })
    }

    /// Adds the vector of a text. It replaces the cached one, if there is one.
    pub fn insert(&mut self, key: ContentKey, tokens: usize, truncated: bool, vector: &[f32]) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.by_key.insert(key, self.pending.len());
        // An earlier run computed what is displaced now: it is sampled, and a rebuild does not believe it.
        let run = if self.counts { self.cache.run } else { 0 };
        self.pending.push(key, Record { run, tokens, truncated }, vector);
    }

    /// The number of the commit that has all vectors so far.
    pub fn committed_with(&self) -> u64 {
        self.cache.commits() + u64::from(!self.pending.is_empty())
    }

    /// Commits if enough vectors are pending, or the last commit is some seconds ago: what a slow model
    /// has computed is not lost either.
    ///
    /// # Errors
    /// As [`CacheWriter::commit`].
    pub fn commit_if_due(&mut self) -> Result<()> {
        let is_due =
            self.pending.len() >= self.commit_rows || self.committed.elapsed() >= COMMIT_INTERVAL;
        if is_due { self.commit() } else { Ok(()) }
    }

    /// Commits all pending vectors. Vectors that do not fit into the quota are dropped, with one
    /// warning per run.
    ///
    /// # Errors
    /// `Cache` when the file cannot be written, also because the disk is full.
    pub fn commit(&mut self) -> Result<()> {
        self.committed = Instant::now();
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.by_key.clear();
        if self.not_stored > 0 {
            // The cache is full, and only the next run may evict more.
            self.not_stored += pending.len() as u64;
            self.count_commit();
            return Ok(());
        }
        let cache = self.cache;
        let used = cache.take_used();
        let stored = loop {
            let InsertStep { stored, evicted } = cache.write(|tables| {
                // First, so that no entry that this run used is evicted.
                used.touch(tables, cache.run)?;
                cache.record_rebuild(tables)?;
                let quota = cache.quota(tables)?;
                // What is displaced is the first to go where space is short.
                let used_in =
                    if self.counts { cache.run } else { quota.keep_from.saturating_sub(1).max(1) };
                insert_step(tables, &pending, used_in, quota)
            })?;
            self.evicted += evicted;
            if let Some(stored) = stored {
                break stored;
            }
        };
        self.count_commit();
        if stored > 0 {
            (cache.on_event)(Event::Committed { rows: stored });
        }
        self.not_stored += (pending.len() - stored) as u64;
        if self.not_stored > 0 {
            let (path, max_size) = (cache.path.clone(), cache.max_size);
            (cache.on_event)(Event::Warning(Warning::CacheFull { path, max_size }));
        }
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn count_commit(&self) {
        if self.counts {
            self.cache.commits.fetch_add(1, Ordering::Release);
        }
    }

    /// The numbers of evicted entries and of vectors that were not stored.
    pub fn totals(&self) -> (u64, u64) {
        (self.evicted, self.not_stored)
    }
}
