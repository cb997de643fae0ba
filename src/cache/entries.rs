//! Entries in the tables: how they come in, who makes place for them, and which run used each last.

use std::collections::BTreeMap;

use redb::{Error as Cause, ReadableTable};

use super::database::{Fact, PLACES_PER_PAGE, Tables};
use super::record::Entries;
use super::room;

/// So many entries make place in one commit, so that its pages stay few.
pub const AT_A_TIME: u64 = 10_000;

/// Who makes place for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that all entries together may cost.
    pub max_size: u64,
    /// What this run and later ones used stays.
    pub keep_from: u32,
    /// So many entries go in one commit.
    pub at_a_time: u64,
}

/// What one commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Entries that were put in; `None` when others have to make place in commits before.
    pub kept: Option<usize>,
    /// Entries that made place.
    pub evicted: u64,
}

/// One commit's part of the way of new entries into the cache: others make place, and once there is enough of it, or
/// nothing more that may go, they are put in as far as there is room.
pub fn put_step(
    tables: &mut Tables<'_>,
    entries: &Entries,
    run: u32,
    room: Room,
) -> Result<Step, Cause> {
    let needed = entries.iter().map(|(_, entry)| room::cost(entry.len())).sum();
    let evicted = make_room(tables, needed, room)?;
    let kept = match evicted < room.at_a_time {
        true => Some(put(tables, entries, run, room.max_size)?),
        false => None,
    };
    Ok(Step { kept, evicted })
}

/// Puts entries in as far as there is room; gives how many.
fn put(
    tables: &mut Tables<'_>,
    entries: &Entries,
    run: u32,
    max_size: u64,
) -> Result<usize, Cause> {
    let (mut added, mut gone) = (SlotSet::default(), SlotSet::default());
    let mut new = Vec::with_capacity(entries.len());
    let mut place = tables.get(Fact::NextPlace)?;
    let mut bytes = tables.get(Fact::Bytes)?;
    let mut count = tables.get(Fact::Entries)?;
    for (key, entry) in entries.iter() {
        let cost = room::cost(entry.len());
        if bytes + cost > max_size {
            break;
        }
        tables.places.insert(place, entry)?;
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
    Ok(kept)
}

/// Takes entries away until `needed` bytes are free, at most so many as go in one commit; gives how many.
fn make_room(tables: &mut Tables<'_>, needed: u64, room: Room) -> Result<u64, Cause> {
    /// A hundredth of the cache more than is needed, so that not every commit has to look for room.
    const SPARE: u64 = 100;
    let (bytes, entries) = (tables.get(Fact::Bytes)?, tables.get(Fact::Entries)?);
    let missing = (bytes + needed).saturating_sub(room.max_size);
    if missing == 0 || entries == 0 {
        return Ok(0);
    }
    let wanted = (missing + room.max_size / SPARE).div_ceil((bytes / entries).max(1));
    evict(tables, wanted.min(room.at_a_time), room.keep_from)
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
    let mut gone = SlotSet::default();
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
    for page in tables.last_used.iter()? {
        let (page, last_used) = page?;
        let first = page.value() * PLACES_PER_PAGE;
        for (place, run) in (first..).zip(last_used_of(last_used.value())) {
            if run > 0 {
                visit(place, run);
            }
        }
    }
    Ok(())
}

/// The last_used of one page.
pub fn last_used_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let last_used = bytes.chunks_exact(4);
    last_used.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A set of places: a bit for each, page by page.
#[derive(Debug, Default)]
pub struct SlotSet(BTreeMap<u64, [u64; PLACES_PER_PAGE as usize / 64]>);

impl SlotSet {
    pub fn add(&mut self, place: u64) {
        let bit = (place % PLACES_PER_PAGE) as usize;
        let page = self.0.entry(place / PLACES_PER_PAGE).or_default();
        page[bit / 64] |= 1 << (bit % 64);
    }

    /// Gives each of these places a new age: the run that used it last, by what was noted before; 0 where nothing is.
    pub fn note(&self, tables: &mut Tables<'_>, new_age: impl Fn(u32) -> u32) -> Result<(), Cause> {
        for (page, bits) in &self.0 {
            let mut last_used = match tables.last_used.get(page)? {
                Some(last_used) => last_used.value().to_vec(),
                None => Vec::new(),
            };
            last_used.resize(PLACES_PER_PAGE as usize * 4, 0);
            for (bit, age) in last_used.chunks_exact_mut(4).enumerate() {
                if bits[bit / 64] >> (bit % 64) & 1 == 1 {
                    let old = u32::from_le_bytes([age[0], age[1], age[2], age[3]]);
                    age.copy_from_slice(&new_age(old).to_le_bytes());
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

    use super::super::database::{self, Base};
    use super::super::record::{self, Record};
    use super::*;

    fn entries(texts: std::ops::Range<u32>, run: u32) -> Entries {
        let keys = ContentKeys::new("f");
        let mut entries = Entries::default();
        for text in texts {
            let record = Record { run, tokens: 1, truncated: false };
            entries.push(keys.of(&text.to_string()), record, &[0.5; 8]);
        }
        entries
    }

    #[test]
    fn where_much_has_to_make_place_it_does_so_in_commits_of_bounded_size() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = database::open(&directory.path().join("cache")).expect("a cache");
        let cost = room::cost(record::length(8));
        let step = |entries: &Entries, run, room| {
            base.write(|tables| put_step(tables, entries, run, room)).expect("a commit")
        };
        let wide = Room { max_size: 1000 * cost, keep_from: 1, at_a_time: 100 };
        let first = step(&entries(0..450, 1), 1, wide);
        assert_eq!(first, Step { kept: Some(450), evicted: 0 });

        // From room for 1,000 to room for 200, of which 50 are new.
        let narrow = Room { max_size: 200 * cost, keep_from: 2, ..wide };
        let new = entries(1000..1050, 2);
        let steps: Vec<Step> = (0..4).map(|_| step(&new, 2, narrow)).collect();
        let evicted = |evicted| Step { kept: None, evicted };
        assert_eq!(steps[..3], [evicted(100), evicted(100), evicted(100)]);
        assert_eq!(steps[3], Step { kept: Some(50), evicted: 0 });
        assert_eq!(count(&base), 200);
        // Nothing may go: what there is no room for is not kept, and it comes to an end.
        let full = step(&entries(2000..2300, 2), 2, Room { keep_from: 1, ..narrow });
        assert_eq!(full, Step { kept: Some(0), evicted: 0 });
    }

    fn count(base: &Base) -> u64 {
        base.fact(Fact::Entries).expect("a number")
    }
}
