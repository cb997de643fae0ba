//! The vector store: what a text's vector was, so that no run embeds it again.
//!
//! One file beside each output keeps, by [content key](ContentKey), the vector of every text that was embedded.
//! A run looks each text up, commits what it makes as it goes, and so resumes after a crash, pays for changed
//! rows only, and embeds equal texts once.
//!
//! Nothing in it is believed without its check sum. What cannot be believed is not there: its text goes through
//! the model again. What recent runs did not use goes when `store.max_size` is reached.

mod database;
mod record;
mod room;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Error as Cause, ReadableTable};
use sha2::{Digest, Sha256};

use crate::batch::StoredText;
use crate::config::{StoreConfig, StoreMode};
use crate::error::{Error, Result};
use crate::report::{Event, Warning};
use crate::task::ContentKey;
pub use database::FORMAT;
use database::{Base, Fact, Found, PLACES_PER_PAGE, Snapshot, Tables, Trouble, failed, guarded};
use record::Record;

/// What the name of a store ends with, when it is made from its output's.
const SUFFIX: &str = ".reembed-store";

/// A file name may have 255 bytes, and the store's, also when it is moved aside, is longer than its output's.
const LONGEST_NAME: usize = 255 - 1 - SUFFIX.len() - ".damaged".len();

/// An open store.
pub struct Store<'a> {
    path: PathBuf,
    /// Replaced when the file turns out to be damaged while it is written to.
    base: RwLock<Base>,
    mode: Access,
    max_size: u64,
    /// The number of this run.
    run: u32,
    /// Entries of earlier runs are not looked at.
    rebuild: bool,
    /// Places that this run used.
    used: Mutex<Places>,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// What a run may do with its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// What a run did to its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUse {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub file_bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// Entries that made place for new ones.
    pub evicted: u64,
    /// Vectors that found no place.
    pub not_kept: u64,
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookUp {
    /// Nothing.
    Absent,
    /// Something that cannot be believed.
    Damaged,
    /// The vector, and what goes with it.
    Found(StoredText),
}

/// The store as it was at one moment.
pub struct View<'s> {
    store: &'s Store<'s>,
    snapshot: Option<Snapshot>,
    used: Vec<u64>,
}

/// What new vectors go through on their way into the store: they wait here until there are enough to commit.
pub struct StoreWriter<'s> {
    store: &'s Store<'s>,
    commit_rows: usize,
    waiting: Vec<(ContentKey, Vec<u8>)>,
    by_key: HashMap<ContentKey, usize>,
    evicted: u64,
    not_kept: u64,
}

/// The store's file for an output: what the configuration names, or a hidden file beside the output.
pub fn path_for(config: &StoreConfig, output: &Path) -> PathBuf {
    if let Some(path) = &config.path {
        return path.clone();
    }
    let of = output.file_name().unwrap_or_default();
    let mut name = OsString::from(".");
    if of.len() <= LONGEST_NAME {
        name.push(of);
    } else {
        // Two long names that begin alike are two outputs.
        let hash = Sha256::digest(of.as_encoded_bytes());
        name.extend(of.to_string_lossy().chars().take(40).map(String::from).map(OsString::from));
        name.push(".");
        name.extend(hash[..8].iter().map(|byte| OsString::from(format!("{byte:02x}"))));
    }
    // The output's own suffix is not the last, so that nobody takes the store for a table.
    name.push(SUFFIX);
    output.with_file_name(name)
}

impl<'a> Store<'a> {
    /// Opens the store of an output, or nothing where the mode is off or there is nothing to read. A file that is
    /// damaged or of another version is moved aside and a new one made, with a warning.
    ///
    /// # Errors
    /// `Store`, naming the file: it is no store, another process has it, it cannot be read or written, or it is
    /// damaged and may only be read.
    pub fn open(
        config: &StoreConfig,
        output: &Path,
        rebuild: bool,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Option<Store<'a>>> {
        let mode = match config.mode {
            StoreMode::Off => return Ok(None),
            StoreMode::ReadOnly => Access::ReadOnly,
            StoreMode::ReadWrite => Access::ReadWrite,
        };
        let path = path_for(config, output);
        let base = match (database::look(&path)?, mode) {
            (Found::Foreign, _) => return Err(foreign(&path)),
            (Found::Nothing, Access::ReadOnly) => {
                on_event(Event::Warning(Warning::NoStore { path }));
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
        let last_run = base.fact(Fact::Run).map_err(|trouble| give_up(&path, trouble))?;
        Ok(Some(Store {
            base: RwLock::new(base),
            mode,
            max_size: config.max_size,
            run: u32::try_from(last_run).unwrap_or(u32::MAX).saturating_add(1),
            rebuild,
            used: Mutex::default(),
            on_event,
            path,
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store as it is now. Where it is damaged the view is empty.
    ///
    /// # Errors
    /// `Store` when the file cannot be read.
    pub fn view(&self) -> Result<View<'_>> {
        let base = self.base.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = match base.snapshot() {
            Ok(snapshot) => Some(snapshot),
            // The next commit meets the same damage and deals with it.
            Err(Trouble::Damaged(_)) => None,
            Err(Trouble::Failed(error)) => return Err(error),
        };
        Ok(View { store: self, snapshot, used: Vec::new() })
    }

    /// What new vectors are handed to; nothing where the store is only read.
    pub fn writer(&self, commit_rows: usize) -> Option<StoreWriter<'_>> {
        (self.mode == Access::ReadWrite).then(|| StoreWriter {
            store: self,
            commit_rows,
            waiting: Vec::new(),
            by_key: HashMap::new(),
            evicted: 0,
            not_kept: 0,
        })
    }

    /// Notes what this finished run used, and closes the file.
    ///
    /// # Errors
    /// `Store` when the file cannot be written.
    pub fn finish(self, evicted: u64, not_kept: u64) -> Result<StoreUse> {
        if self.mode == Access::ReadWrite {
            let used = self.take_used();
            self.write(|tables| {
                tables.set(Fact::Run, self.run.into())?;
                tables.set(Fact::FinishedRun, self.run.into())?;
                used.note(tables, |age| if age > 0 { self.run } else { 0 })
            })?;
        }
        let base = self.base.into_inner().unwrap_or_else(PoisonError::into_inner);
        let entries = base.fact(Fact::Entries).map_err(|trouble| give_up(&self.path, trouble))?;
        base.close().map_err(|trouble| give_up(&self.path, trouble))?;
        let file_bytes = file_size(&self.path)?;
        Ok(StoreUse { path: self.path, file_bytes, entries, evicted, not_kept })
    }

    fn take_used(&self) -> Places {
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

impl View<'_> {
    /// Looks a text up; its vector goes into `vector`.
    ///
    /// # Errors
    /// `Store` when the file cannot be read.
    pub fn find(&mut self, key: &ContentKey, vector: &mut [f32]) -> Result<LookUp> {
        let Some(snapshot) = &self.snapshot else { return Ok(LookUp::Absent) };
        let found = guarded(&self.store.path, || {
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
        let of_this_run = record.run == self.store.run;
        if self.store.rebuild && !of_this_run {
            return Ok(LookUp::Absent);
        }
        self.used.push(place);
        let Record { tokens, truncated, .. } = record;
        Ok(LookUp::Found(StoredText { tokens, truncated, of_this_run, sampled: false }))
    }
}

/// What was found is in use.
impl Drop for View<'_> {
    fn drop(&mut self) {
        if !self.used.is_empty() {
            let mut used = self.store.used.lock().unwrap_or_else(PoisonError::into_inner);
            self.used.iter().for_each(|place| used.add(*place));
        }
    }
}

impl StoreWriter<'_> {
    /// Looks a text up that waits to be committed.
    pub fn find(&self, key: &ContentKey, vector: &mut [f32]) -> Option<StoredText> {
        let (_, bytes) = self.waiting.get(*self.by_key.get(key)?)?;
        let Record { tokens, truncated, .. } = record::read(bytes, key, vector)?;
        Some(StoredText { tokens, truncated, of_this_run: true, sampled: false })
    }

    /// Takes a vector in, in the place of what the store may have for its text.
    pub fn insert(&mut self, key: ContentKey, tokens: usize, truncated: bool, vector: &[f32]) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let bytes = record::write(&key, Record { run: self.store.run, tokens, truncated }, vector);
        self.by_key.insert(key, self.waiting.len());
        self.waiting.push((key, bytes));
    }

    /// Commits if enough vectors wait.
    ///
    /// # Errors
    /// As [`StoreWriter::commit`].
    pub fn commit_if_due(&mut self) -> Result<()> {
        if self.waiting.len() >= self.commit_rows { self.commit() } else { Ok(()) }
    }

    /// Brings the vectors that wait to the disk. Where there is no room, and nothing that may go, they are not
    /// kept; that is warned of once.
    ///
    /// # Errors
    /// `Store` when the file cannot be written: full disks are no reason to go on without.
    pub fn commit(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.by_key.clear();
        if self.not_kept > 0 {
            // There was no room, and only the next run can make some.
            self.not_kept += waiting.len() as u64;
            return Ok(());
        }
        let store = self.store;
        let used = store.take_used();
        let (kept, evicted) = store.write(|tables| {
            // What this run used must not make place for what it adds.
            used.note(tables, |age| if age > 0 { store.run } else { 0 })?;
            put(tables, &waiting, store.run, store.max_size)
        })?;
        if kept > 0 {
            (store.on_event)(Event::Kept { rows: kept });
        }
        self.evicted += evicted;
        self.not_kept += (waiting.len() - kept) as u64;
        if self.not_kept > 0 {
            let (path, max_size) = (store.path.clone(), store.max_size);
            (store.on_event)(Event::Warning(Warning::StoreFull { path, max_size }));
        }
        Ok(())
    }

    /// Entries that made place for new ones, and vectors that found none.
    pub fn totals(&self) -> (u64, u64) {
        (self.evicted, self.not_kept)
    }
}

/// Puts entries in as far as there is room; gives how many, and how many others made place.
fn put(
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
fn evict(tables: &mut Tables<'_>, wanted: u64, keep_from: u32) -> Result<u64, Cause> {
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

fn ages_of(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let ages = bytes.chunks_exact(4);
    ages.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A set of places: a bit for each, page by page.
#[derive(Debug, Default)]
struct Places(BTreeMap<u64, [u64; PLACES_PER_PAGE as usize / 64]>);

impl Places {
    fn add(&mut self, place: u64) {
        let bit = (place % PLACES_PER_PAGE) as usize;
        let page = self.0.entry(place / PLACES_PER_PAGE).or_default();
        page[bit / 64] |= 1 << (bit % 64);
    }

    /// Gives each of these places a new age: the run that used it last, by what was noted before; 0 where nothing is.
    fn note(&self, tables: &mut Tables<'_>, new_age: impl Fn(u32) -> u32) -> Result<(), Cause> {
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

/// What `reembed store stats` says.
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
    /// finish.
    pub ages: BTreeMap<u64, u64>,
}

/// What the store of an output holds.
///
/// # Errors
/// `Store` when there is none, or it cannot be read.
pub fn stats(path: &Path) -> Result<Stats> {
    must_be_there(path)?;
    let stats = || {
        let base = database::open_to_read(path)?;
        let snapshot = base.snapshot()?;
        let finished = base.fact(Fact::FinishedRun)?;
        let mut ages = BTreeMap::new();
        guarded(path, || {
            for page in snapshot.ages.iter()? {
                for run in ages_of(page?.1.value()).filter(|run| *run > 0) {
                    *ages.entry(finished.saturating_sub(run.into())).or_insert(0) += 1;
                }
            }
            Ok(())
        })?;
        Ok((base.fact(Fact::Entries)?, base.fact(Fact::Run)?, ages))
    };
    let (entries, runs, ages) = stats().map_err(|trouble| give_up(path, trouble))?;
    let file_bytes = file_size(path)?;
    Ok(Stats { path: path.to_owned(), file_bytes, format: FORMAT, entries, runs, ages })
}

/// What `reembed store prune` did.
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

/// Takes away every entry that the last `keep_runs` finished runs did not use, and gives the room back to the
/// file system.
///
/// # Errors
/// `Store` when there is none, another process has it, or it cannot be written.
pub fn prune(path: &Path, keep_runs: u32) -> Result<Pruned> {
    /// So many go in one commit, so that its pages stay few.
    const AT_A_TIME: u64 = 10_000;
    must_be_there(path)?;
    let bytes_before = file_size(path)?;
    let prune = || {
        let mut base = database::open(path)?;
        let mut removed = 0;
        loop {
            let gone = base.write(|tables| {
                let finished = u32::try_from(tables.get(Fact::FinishedRun)?).unwrap_or(u32::MAX);
                evict(tables, AT_A_TIME, (finished + 1).saturating_sub(keep_runs))
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

/// What `reembed store verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreCheck {
    /// Entries that were read.
    pub entries: u64,
    /// Those that cannot be believed. A run embeds their texts again.
    pub damaged: u64,
    /// Texts whose entry is not where the index says, and entries that the index does not know.
    pub lost: u64,
    /// Whether every page of the file has its check sum.
    pub pages_hold: bool,
}

/// Reads every entry of a store, and every page of its file.
///
/// # Errors
/// `Store` when there is none, another process has it, or it is damaged where it cannot even be read.
pub fn verify(path: &Path) -> Result<StoreCheck> {
    must_be_there(path)?;
    let verify = || {
        let mut base = database::open(path)?;
        let snapshot = base.snapshot()?;
        let mut found = StoreCheck { entries: 0, damaged: 0, lost: 0, pages_hold: true };
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

impl StoreCheck {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.damaged == 0 && self.lost == 0 && self.pages_hold
    }
}

fn must_be_there(path: &Path) -> Result<()> {
    match database::look(path)? {
        Found::Database => Ok(()),
        Found::Nothing => Err(failed(path, "there is no store")
            .advice("name it with --store, or name its output; `reembed run` makes one")),
        Found::Zeros => Err(database::damaged(path, "it begins with zeros")),
        Found::Foreign => Err(foreign(path)),
    }
}

/// Moves a damaged file aside and makes a new one.
fn renew(path: &Path, reason: &str, on_event: &(dyn Fn(Event) + Sync)) -> Result<Base> {
    let moved_to = database::set_aside(path)?;
    let (path_was, reason) = (path.to_owned(), reason.to_owned());
    on_event(Event::Warning(Warning::StoreSetAside { path: path_was, moved_to, reason }));
    database::open(path).map_err(|trouble| give_up(path, trouble))
}

fn give_up(path: &Path, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Failed(error) => error,
        Trouble::Damaged(reason) => database::damaged(path, &reason),
    }
}

fn foreign(path: &Path) -> Error {
    failed(path, "this is no vector store")
        .advice("name another file in `store.path`; this one is left alone")
}

fn file_size(path: &Path) -> Result<u64> {
    let size = std::fs::metadata(path).map(|file| file.len());
    size.map_err(|cause| failed(path, "the store's size cannot be read").caused_by(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_lies_hidden_beside_its_output_unless_it_is_named() {
        let config = |path: Option<&str>| StoreConfig {
            path: path.map(PathBuf::from),
            mode: StoreMode::ReadWrite,
            max_size: 1,
            commit_rows: std::num::NonZeroUsize::MIN,
            verify_sample: 0,
        };
        let beside = |output: &str| path_for(&config(None), Path::new(output));
        assert_eq!(beside("out/tasks.parquet"), Path::new("out/.tasks.parquet.reembed-store"));
        assert_eq!(beside("tasks"), Path::new(".tasks.reembed-store"));
        assert_eq!(path_for(&config(Some("a/b")), Path::new("out/t")), Path::new("a/b"));
        for long in ["n".repeat(255), "\u{1f4c4}".repeat(63)] {
            let store = beside(&format!("out/{long}"));
            let name = store.file_name().map(|name| name.len());
            assert!(name.is_some_and(|length| length <= 255 - ".damaged".len()), "{store:?}");
        }
        assert_ne!(beside(&"n".repeat(255)), beside(&"n".repeat(254)));
    }
}
