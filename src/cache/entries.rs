//! Inserts and evicts entries, and records which run last used each slot.

use std::collections::BTreeMap;

use redb::{Error as Cause, ReadableTable};

use super::database::{MetaKey, SLOTS_PER_PAGE, Tables};
use super::eviction::{EvictionCutoff, Quota, entry_cost};
use super::record::EntryBuffer;
use crate::published::ShortKey;

/// The result of one commit of [`insert_step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertStep {
    /// Number of stored entries; `None` if more entries have to be evicted first.
    pub stored: Option<usize>,
    /// Number of evicted entries.
    pub evicted: u64,
}

/// Evicts for new entries within one commit. Once the quota has space for them, or nothing more may
/// be evicted, it inserts as many as fit.
pub fn insert_step(
    tables: &mut Tables<'_>,
    entries: &EntryBuffer,
    run: u32,
    quota: Quota,
) -> Result<InsertStep, Cause> {
    let needed = entries.iter().map(|(_, entry)| entry_cost(entry.len())).sum();
    let evicted = evict_for(tables, needed, quota)?;
    let stored = match evicted < quota.evictions_per_commit {
        true => Some(insert(tables, entries, run, quota.max_size)?),
        false => None,
    };
    Ok(InsertStep { stored, evicted })
}

/// Inserts as many entries as fit into `max_size` bytes; returns their number.
fn insert(
    tables: &mut Tables<'_>,
    entries: &EntryBuffer,
    run: u32,
    max_size: u64,
) -> Result<usize, Cause> {
    let (mut added, mut removed) = (SlotSet::default(), SlotSet::default());
    let mut new = Vec::with_capacity(entries.len());
    let mut slot = tables.get(MetaKey::NextSlot)?;
    let mut bytes = tables.get(MetaKey::Bytes)?;
    let mut count = tables.get(MetaKey::Entries)?;
    for (key, entry) in entries.iter() {
        let cost = entry_cost(entry.len());
        if bytes + cost > max_size {
            break;
        }
        tables.slots.insert(slot, entry)?;
        added.insert(slot);
        new.push((key, slot));
        (slot, bytes, count) = (slot + 1, bytes + cost, count + 1);
    }
    let stored = new.len();
    // Sorted like the tree, so that neighbouring keys change the same page.
    new.sort_unstable();
    for (key, slot) in new {
        let replaced = tables.index.insert(key.as_bytes(), slot)?.map(|old| old.value());
        let Some(old) = replaced else { continue };
        // A damaged index may have named the slot of another text.
        let of_key = |entry: &[u8]| entry.starts_with(key.as_bytes()).then_some(entry.len());
        let length = tables.slots.get(old)?.and_then(|entry| of_key(entry.value()));
        if let Some(length) = length {
            tables.slots.remove(old)?;
            removed.insert(old);
            (bytes, count) = (bytes.saturating_sub(entry_cost(length)), count.saturating_sub(1));
        }
    }
    added.mark(tables, run)?;
    removed.clear(tables)?;
    tables.set(MetaKey::NextSlot, slot)?;
    tables.set(MetaKey::Bytes, bytes)?;
    tables.set(MetaKey::Entries, count)?;
    let last = tables.get(MetaKey::Run)?;
    tables.set(MetaKey::Run, last.max(run.into()))?;
    Ok(stored)
}

/// Evicts entries until the quota has `needed` free bytes, within the limit of one commit; returns
/// the number of evicted entries.
fn evict_for(tables: &mut Tables<'_>, needed: u64, quota: Quota) -> Result<u64, Cause> {
    /// One hundredth of the quota is evicted in advance, so that not every commit evicts.
    const SPARE: u64 = 100;
    let (bytes, entries) = (tables.get(MetaKey::Bytes)?, tables.get(MetaKey::Entries)?);
    let missing = (bytes + needed).saturating_sub(quota.max_size);
    if missing == 0 || entries == 0 {
        return Ok(0);
    }
    let wanted = (missing + quota.max_size / SPARE).div_ceil((bytes / entries).max(1));
    evict(tables, wanted.min(quota.evictions_per_commit), quota.keep_from)
}

/// Evicts up to `wanted` entries, the least recently used first, and none that the run `keep_from`
/// or a later one used; returns their number.
pub fn evict(tables: &mut Tables<'_>, wanted: u64, keep_from: u32) -> Result<u64, Cause> {
    let mut last_used = BTreeMap::new();
    for_each_slot(tables, |_, run| *last_used.entry(run).or_insert(0) += 1)?;
    let mut cutoff = EvictionCutoff::choose(&last_used, wanted, keep_from);
    let mut victims = Vec::new();
    for_each_slot(tables, |slot, run| {
        if cutoff.takes(run) {
            victims.push(slot);
        }
    })?;
    let (mut bytes, mut count) = (tables.get(MetaKey::Bytes)?, tables.get(MetaKey::Entries)?);
    let mut removed = SlotSet::default();
    for &slot in &victims {
        removed.insert(slot);
        let Some(entry) = tables.slots.remove(slot)?.map(|entry| entry.value().to_vec()) else {
            continue;
        };
        (bytes, count) = (bytes.saturating_sub(entry_cost(entry.len())), count.saturating_sub(1));
        // A damaged entry may hold the key of another text.
        if let Some(key) = entry.first_chunk::<32>()
            && tables.index.get(key)?.is_some_and(|indexed| indexed.value() == slot)
        {
            tables.index.remove(key)?;
        }
    }
    removed.clear(tables)?;
    tables.set(MetaKey::Bytes, bytes)?;
    tables.set(MetaKey::Entries, count)?;
    Ok(victims.len() as u64)
}

/// Removes the entries of texts, of which only the short keys are known; returns their number.
pub fn remove(tables: &mut Tables<'_>, keys: &[ShortKey]) -> Result<u64, Cause> {
    let (mut bytes, mut count) = (tables.get(MetaKey::Bytes)?, tables.get(MetaKey::Entries)?);
    let mut removed = SlotSet::default();
    let mut number = 0;
    for key in keys {
        let (first, last) = key.range();
        let mut found = Vec::new();
        for entry in tables.index.range::<&[u8; 32]>(first.as_bytes()..=last.as_bytes())? {
            let (key, slot) = entry?;
            found.push((*key.value(), slot.value()));
        }
        for (key, slot) in found {
            tables.index.remove(&key)?;
            // A damaged index may have named the slot of another text.
            let of_key = |entry: &[u8]| entry.starts_with(&key).then_some(entry.len());
            let length = tables.slots.get(slot)?.and_then(|entry| of_key(entry.value()));
            if let Some(length) = length {
                tables.slots.remove(slot)?;
                removed.insert(slot);
                number += 1;
                bytes = bytes.saturating_sub(entry_cost(length));
                count = count.saturating_sub(1);
            }
        }
    }
    removed.clear(tables)?;
    tables.set(MetaKey::Bytes, bytes)?;
    tables.set(MetaKey::Entries, count)?;
    Ok(number)
}

/// Visits every slot that holds an entry, with the run that last used it.
fn for_each_slot(tables: &Tables<'_>, mut visit: impl FnMut(u64, u32)) -> Result<(), Cause> {
    for page in tables.last_used.iter()? {
        let (page, last_used) = page?;
        let first = page.value() * SLOTS_PER_PAGE;
        for (slot, run) in (first..).zip(last_used_of(last_used.value())) {
            if run > 0 {
                visit(slot, run);
            }
        }
    }
    Ok(())
}

/// Decodes one page of the table `ages`: the run that last used each slot, 0 for an empty slot.
pub fn last_used_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let runs = bytes.chunks_exact(4);
    runs.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A set of slots: one bit for each slot of a page.
#[derive(Debug, Default)]
pub struct SlotSet(BTreeMap<u64, [u64; SLOTS_PER_PAGE as usize / 64]>);

impl SlotSet {
    /// Adds a slot.
    pub fn insert(&mut self, slot: u64) {
        let bit = (slot % SLOTS_PER_PAGE) as usize;
        let page = self.0.entry(slot / SLOTS_PER_PAGE).or_default();
        page[bit / 64] |= 1 << (bit % 64);
    }

    /// Records `run` as the last user of each slot that holds an entry.
    pub fn touch(&self, tables: &mut Tables<'_>, run: u32) -> Result<(), Cause> {
        self.update(tables, |old| if old > 0 { run } else { 0 })
    }

    /// Records `run` as the last user of each slot.
    fn mark(&self, tables: &mut Tables<'_>, run: u32) -> Result<(), Cause> {
        self.update(tables, |_| run)
    }

    /// Records each slot as empty.
    fn clear(&self, tables: &mut Tables<'_>) -> Result<(), Cause> {
        self.update(tables, |_| 0)
    }

    /// Replaces the last user of each slot by `new` of the old one.
    fn update(&self, tables: &mut Tables<'_>, new: impl Fn(u32) -> u32) -> Result<(), Cause> {
        for (page, bits) in &self.0 {
            let mut last_used = match tables.last_used.get(page)? {
                Some(last_used) => last_used.value().to_vec(),
                None => Vec::new(),
            };
            last_used.resize(SLOTS_PER_PAGE as usize * 4, 0);
            for (bit, run) in last_used.chunks_exact_mut(4).enumerate() {
                if bits[bit / 64] >> (bit % 64) & 1 == 1 {
                    let old = u32::from_le_bytes([run[0], run[1], run[2], run[3]]);
                    run.copy_from_slice(&new(old).to_le_bytes());
                }
            }
            if last_used.iter().all(|byte| *byte == 0) {
                tables.last_used.remove(page)?;
            } else {
                tables.last_used.insert(page, &last_used[..])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::super::database::Db;
    use super::super::record::{self, Record};
    use super::*;

    fn entries(texts: std::ops::Range<u32>, run: u32) -> EntryBuffer {
        let keys = ContentKeys::new("f");
        let mut entries = EntryBuffer::default();
        for text in texts {
            let record = Record { run, tokens: 1, truncated: false };
            entries.push(keys.key(&text.to_string()), record, &[0.5; 8]);
        }
        entries
    }

    #[test]
    fn many_evictions_are_split_into_commits_of_bounded_size() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open(&directory.path().join("cache")).expect("a cache");
        let cost = entry_cost(record::entry_length(8));
        let step = |entries: &EntryBuffer, run, quota| {
            db.write(|tables| insert_step(tables, entries, run, quota)).expect("a commit")
        };
        let wide = Quota { max_size: 1000 * cost, keep_from: 1, evictions_per_commit: 100 };
        let first = step(&entries(0..450, 1), 1, wide);
        assert_eq!(first, InsertStep { stored: Some(450), evicted: 0 });

        // The quota shrinks from 1,000 to 200 entries, of which 50 are new.
        let narrow = Quota { max_size: 200 * cost, keep_from: 2, ..wide };
        let new = entries(1000..1050, 2);
        let steps: Vec<InsertStep> = (0..4).map(|_| step(&new, 2, narrow)).collect();
        let evicted = |evicted| InsertStep { stored: None, evicted };
        assert_eq!(steps[..3], [evicted(100), evicted(100), evicted(100)]);
        assert_eq!(steps[3], InsertStep { stored: Some(50), evicted: 0 });
        assert_eq!(db.meta(MetaKey::Entries).expect("a number"), 200);
        // If nothing may be evicted, nothing is stored, and the step still ends.
        let full = step(&entries(2000..2300, 2), 2, Quota { keep_from: 1, ..narrow });
        assert_eq!(full, InsertStep { stored: Some(0), evicted: 0 });
    }
}
