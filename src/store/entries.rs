//! Entries in the tables: how they come in, who makes place for them, and which run used each last.

use std::collections::BTreeMap;

use redb::{Error as Cause, ReadableTable};

use super::database::{Fact, PLACES_PER_PAGE, Tables};
use super::room;
use crate::task::ContentKey;

/// Puts entries in as far as there is room; gives how many, and how many others made place.
pub fn put(
    tables: &mut Tables<'_>,
    entries: &[(ContentKey, Vec<u8>)],
    run: u32,
    max_size: u64,
) -> Result<(usize, u64), Cause> {
    let needed = entries.iter().map(|(_, bytes)| room::cost(bytes.len())).sum();
    let evicted = make_room(tables, needed, max_size)?;
    let (mut added, mut gone) = (Places::default(), Places::default());
    let mut new = Vec::with_capacity(entries.len());
    let mut place = tables.get(Fact::NextPlace)?;
    let mut bytes = tables.get(Fact::Bytes)?;
    let mut count = tables.get(Fact::Entries)?;
    for (key, entry) in entries {
        let cost = room::cost(entry.len());
        if bytes + cost > max_size {
            break;
        }
        tables.places.insert(place, &entry[..])?;
        added.add(place);
        new.push((key, place));
        (place, bytes, count) = (place + 1, bytes + cost, count + 1);
    }
    let kept = new.len();
    // In the order of the tree, neighbours change together.
    new.sort_unstable();
    for (key, place) in new {
        let replaced = tables.index.insert(key.as_bytes(), place)?.map(|old| old.value());
        let Some(old) = replaced else { continue };
        // A damaged index may have named the place of another text.
        let of_key = |entry: &[u8]| entry.starts_with(key.as_bytes()).then_some(entry.len());
        let length = tables.places.get(old)?.and_then(|entry| of_key(entry.value()));
        if let Some(length) = length {
            tables.places.remove(old)?;
            gone.add(old);
            (bytes, count) = (bytes.saturating_sub(room::cost(length)), count.saturating_sub(1));
        }
    }
    added.note(tables, |_| run)?;
    gone.note(tables, |_| 0)?;
    tables.set(Fact::NextPlace, place)?;
    tables.set(Fact::Bytes, bytes)?;
    tables.set(Fact::Entries, count)?;
    tables.set(Fact::Run, run.into())?;
    Ok((kept, evicted))
}

/// Takes entries away that the last finished run and later ones did not use, until `needed` bytes are free; gives
/// how many.
fn make_room(tables: &mut Tables<'_>, needed: u64, max_size: u64) -> Result<u64, Cause> {
    /// A hundredth of the store more than is needed, so that not every commit has to look for room.
    const SPARE: u64 = 100;
    let (bytes, entries) = (tables.get(Fact::Bytes)?, tables.get(Fact::Entries)?);
    let missing = (bytes + needed).saturating_sub(max_size);
    if missing == 0 || entries == 0 {
        return Ok(0);
    }
    let wanted = (missing + max_size / SPARE).div_ceil((bytes / entries).max(1));
    let keep_from = u32::try_from(tables.get(Fact::FinishedRun)?).unwrap_or(u32::MAX);
    evict(tables, wanted, keep_from)
}

/// Takes up to `wanted` entries away, those used longest ago first, and none that a run from `keep_from` on used.
pub fn evict(tables: &mut Tables<'_>, wanted: u64, keep_from: u32) -> Result<u64, Cause> {
    let mut last_used = BTreeMap::new();
    each_age(tables, |_, run| *last_used.entry(run).or_insert(0) += 1)?;
    let mut cut = room::cut(&last_used, wanted, keep_from);
    let mut victims = Vec::new();
    each_age(tables, |place, run| {
        if cut.takes(run) {
            victims.push(place);
        }
    })?;
    let (mut bytes, mut count) = (tables.get(Fact::Bytes)?, tables.get(Fact::Entries)?);
    let mut gone = Places::default();
    for &place in &victims {
        gone.add(place);
        let Some(entry) = tables.places.remove(place)?.map(|entry| entry.value().to_vec()) else {
            continue;
        };
        (bytes, count) = (bytes.saturating_sub(room::cost(entry.len())), count.saturating_sub(1));
        // A damaged entry may name another's key.
        if let Some(key) = entry.first_chunk::<32>()
            && tables.index.get(key)?.is_some_and(|of_key| of_key.value() == place)
        {
            tables.index.remove(key)?;
        }
    }
    gone.note(tables, |_| 0)?;
    tables.set(Fact::Bytes, bytes)?;
    tables.set(Fact::Entries, count)?;
    Ok(victims.len() as u64)
}

/// Every place that holds something, with the run that used it last.
fn each_age(tables: &Tables<'_>, mut visit: impl FnMut(u64, u32)) -> Result<(), Cause> {
    for page in tables.ages.iter()? {
        let (page, ages) = page?;
        let first = page.value() * PLACES_PER_PAGE;
        for (place, run) in (first..).zip(ages_of(ages.value())) {
            if run > 0 {
                visit(place, run);
            }
        }
    }
    Ok(())
}

/// The ages of one page.
pub fn ages_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let ages = bytes.chunks_exact(4);
    ages.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A set of places: a bit for each, page by page.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<u64, [u64; PLACES_PER_PAGE as usize / 64]>);

impl Places {
    pub fn add(&mut self, place: u64) {
        let bit = (place % PLACES_PER_PAGE) as usize;
        let page = self.0.entry(place / PLACES_PER_PAGE).or_default();
        page[bit / 64] |= 1 << (bit % 64);
    }

    /// Gives each of these places a new age: the run that used it last, by what was noted before; 0 where nothing is.
    pub fn note(&self, tables: &mut Tables<'_>, new_age: impl Fn(u32) -> u32) -> Result<(), Cause> {
        for (page, bits) in &self.0 {
            let mut ages = match tables.ages.get(page)? {
                Some(ages) => ages.value().to_vec(),
                None => Vec::new(),
            };
            ages.resize(PLACES_PER_PAGE as usize * 4, 0);
            for (bit, age) in ages.chunks_exact_mut(4).enumerate() {
                if bits[bit / 64] >> (bit % 64) & 1 == 1 {
                    let old = u32::from_le_bytes([age[0], age[1], age[2], age[3]]);
                    age.copy_from_slice(&new_age(old).to_le_bytes());
                }
            }
            if ages.iter().all(|byte| *byte == 0) {
                tables.ages.remove(page)?;
            } else {
                tables.ages.insert(page, &ages[..])?;
            }
        }
        Ok(())
    }
}
