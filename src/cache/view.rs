//! Looking texts up in what is committed.

use std::sync::PoisonError;

use reembed_encoder::error::Result;
use reembed_encoder::task::ContentKey;

use super::VectorCache;
use super::database::{Snapshot, Trouble, guarded};
use super::record::{self, Record};
use crate::chunk::CachedText;

/// The cache as it was at one moment.
pub struct View<'s> {
    cache: &'s VectorCache<'s>,
    snapshot: Option<Snapshot>,
    used: Vec<u64>,
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookUp {
    /// Nothing.
    Absent,
    /// Something that cannot be believed.
    Damaged,
    /// The vector, and what goes with it.
    Found(CachedText),
}

impl<'s> View<'s> {
    pub(super) fn new(cache: &'s VectorCache<'s>, snapshot: Option<Snapshot>) -> Self {
        View { cache, snapshot, used: Vec::new() }
    }
}

impl View<'_> {
    /// Looks a text up; its vector goes into `vector`.
    ///
    /// # Errors
    /// `Cache` when the file cannot be read.
    pub fn find(&mut self, key: &ContentKey, vector: &mut [f32]) -> Result<LookUp> {
        let Some(snapshot) = &self.snapshot else { return Ok(LookUp::Absent) };
        let found = guarded(&self.cache.path, || {
            let Some(place) = snapshot.index.get(key.as_bytes())? else { return Ok(None) };
            let place = place.value();
            let entry = snapshot.places.get(place)?;
            Ok(Some((place, entry.and_then(|entry| record::read(entry.value(), key, vector)))))
        });
        let (place, record) = match found {
            Ok(None) => return Ok(LookUp::Absent),
            Ok(Some((_, None))) | Err(Trouble::Damaged(_)) => return Ok(LookUp::Damaged),
            Ok(Some((place, Some(record)))) => (place, record),
            Err(Trouble::Failed(error)) => return Err(error),
        };
        if record.run < self.cache.rebuilding_since.unwrap_or(0) {
            return Ok(LookUp::Absent);
        }
        let of_this_run = record.run == self.cache.run;
        self.used.push(place);
        let Record { tokens, truncated, .. } = record;
        Ok(LookUp::Found(CachedText { tokens, truncated, of_this_run, sampled: false }))
    }
}

/// What was found is in use.
impl Drop for View<'_> {
    fn drop(&mut self) {
        if !self.used.is_empty() {
            let mut used = self.cache.used.lock().unwrap_or_else(PoisonError::into_inner);
            self.used.iter().for_each(|place| used.add(*place));
        }
    }
}
