//! Lookups in what is committed.

use std::sync::PoisonError;

use redb::Error as Cause;
use reembed_encoder::error::Result;
use reembed_encoder::task::ContentKey;

use super::database::{DbError, Snapshot, catch_damage};
use super::record::{self, Record};
use super::vector_cache::VectorCache;
use crate::chunk::CachedText;
use crate::published::ShortKey;

/// The cache as it was at one moment.
pub struct CacheView<'s> {
    cache: &'s VectorCache<'s>,
    /// `None` if the file is damaged.
    snapshot: Option<Snapshot>,
    /// That of the cache behind it.
    base: Option<Snapshot>,
    used: Vec<u64>,
}

/// The result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The cache has no entry for the text.
    Absent,
    /// The entry is damaged.
    Damaged,
    /// The cache has the vector.
    Found(CachedText),
}

impl VectorCache<'_> {
    /// A view of what is committed now. The view of a damaged file is empty.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn view(&self) -> Result<CacheView<'_>> {
        let snapshot = match self.with_db(|db| db.snapshot()) {
            Ok(snapshot) => Some(snapshot),
            // The next commit finds the same damage and replaces the file.
            Err(DbError::Damaged(_)) => None,
            Err(DbError::Failed(error)) => return Err(error),
        };
        let base = match self.base() {
            // What the cache itself lacks is embedded again.
            None | Some(Err(DbError::Damaged(_))) => None,
            Some(base) => Some(base.map_err(|error| error.into_error(&self.path))?),
        };
        Ok(CacheView { cache: self, snapshot, base, used: Vec::new() })
    }
}

impl CacheView<'_> {
    /// Looks up the vector of a text and copies it to `vector`.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn find(&mut self, key: &ContentKey, vector: &mut [f32]) -> Result<Lookup> {
        let own = self.snapshot.as_ref();
        let find = |key: &ContentKey, vector: &mut [f32]| {
            own.map_or(Ok(None), |snapshot| self.read(snapshot, key, vector))
        };
        let found = match find(key, vector) {
            // A vector of a table that was replaced.
            Ok(None) => find(&ShortKey::from(key).padded(), vector),
            found => found,
        };
        let (slot, record) = match found {
            Ok(None) => return self.find_in_base(key, vector),
            Ok(Some((_, None))) | Err(DbError::Damaged(_)) => return Ok(Lookup::Damaged),
            Ok(Some((slot, Some(record)))) => (slot, record),
            Err(DbError::Failed(error)) => return Err(error),
        };
        if record.run < self.cache.rebuilding_since.unwrap_or(0) {
            return Ok(Lookup::Absent);
        }
        let of_this_run = record.run == self.cache.run;
        self.used.push(slot);
        let Record { tokens, truncated, .. } = record;
        Ok(Lookup::Found(CachedText { of_this_run, ..CachedText::measured(tokens, truncated) }))
    }
}

impl CacheView<'_> {
    /// The slot of the entry of a text, and what it says if it is whole.
    fn read(
        &self,
        snapshot: &Snapshot,
        key: &ContentKey,
        vector: &mut [f32],
    ) -> Result<Option<(u64, Option<Record>)>, DbError> {
        catch_damage(&self.cache.path, || {
            let Some(slot) = snapshot.index.get(key.as_bytes())? else { return Ok(None) };
            let slot = slot.value();
            let entry = snapshot.slots.get(slot)?;
            Ok(Some((slot, entry.and_then(|entry| record::read(entry.value(), key, vector)))))
        })
    }

    /// Looks a text up in the cache behind. In a rebuild, that counts as empty.
    fn find_in_base(&self, key: &ContentKey, vector: &mut [f32]) -> Result<Lookup> {
        let Some(base) = self.base.as_ref().filter(|_| self.cache.rebuilding_since.is_none())
        else {
            return Ok(Lookup::Absent);
        };
        let found = match self.read(base, key, vector) {
            Ok(None) => self.read(base, &ShortKey::from(key).padded(), vector),
            found => found,
        };
        match found {
            Ok(Some((_, Some(Record { tokens, truncated, .. })))) => {
                Ok(Lookup::Found(CachedText::measured(tokens, truncated)))
            }
            // The vector is made again and goes into the cache itself.
            Ok(_) | Err(DbError::Damaged(_)) => Ok(Lookup::Absent),
            Err(DbError::Failed(error)) => Err(error),
        }
    }

    /// Whether there is a vector of a text, of which only the short key is known.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn has(&self, key: &ShortKey) -> Result<bool> {
        let Some(snapshot) = &self.snapshot else { return Ok(false) };
        let (first, last) = key.range();
        let found = catch_damage(&self.cache.path, || {
            let mut range =
                snapshot.index.range::<&[u8; 32]>(first.as_bytes()..=last.as_bytes())?;
            Ok(range.next().transpose()?.is_some())
        });
        match found {
            Err(DbError::Damaged(_)) => Ok(false),
            Err(DbError::Failed(error)) => Err(error),
            Ok(found) => Ok(found),
        }
    }

    /// Marks the entry of a text as used, without reading its vector. Returns whether there is one.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn mark_used(&mut self, key: &ContentKey) -> Result<bool> {
        let slot_in = |snapshot: &Option<Snapshot>| {
            let Some(snapshot) = snapshot else { return Ok(None) };
            let found = catch_damage(&self.cache.path, || {
                let slot_of = |key: &ContentKey| {
                    Ok::<_, Cause>(snapshot.index.get(key.as_bytes())?.map(|slot| slot.value()))
                };
                match slot_of(key)? {
                    None => slot_of(&ShortKey::from(key).padded()),
                    found => Ok(found),
                }
            });
            match found {
                // A lookup will find the damage and mend it.
                Err(DbError::Damaged(_)) => Ok(None),
                Err(DbError::Failed(error)) => Err(error),
                Ok(slot) => Ok(slot),
            }
        };
        let own = slot_in(&self.snapshot)?;
        self.used.extend(own);
        Ok(own.is_some() || slot_in(&self.base)?.is_some())
    }
}

/// Reports the slots that were found as used.
impl Drop for CacheView<'_> {
    fn drop(&mut self) {
        if !self.used.is_empty() {
            let mut used = self.cache.used.lock().unwrap_or_else(PoisonError::into_inner);
            self.used.iter().for_each(|slot| used.insert(*slot));
        }
    }
}
