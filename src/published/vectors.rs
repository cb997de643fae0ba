//! Looks texts up among the published vectors.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKey;

use super::index::{KeyIndex, Place, Source};
use super::key_file::KeyFile;
use super::short_key::ShortKey;
use super::table::{Intact, KeyedTable};
use crate::hidden_names::OutputPlace;

/// Tables that stay open.
const OPEN_TABLES: usize = 16;

/// Places of a text that are tried.
const PLACES: usize = 4;

/// The tokens of a text, and whether it was cut; `None` if they are not known.
type Measure = Option<(u32, bool)>;

/// A table that was published.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedTable {
    /// Its path below the output directory.
    pub below: PathBuf,
    /// The digest of its footer.
    pub footer: String,
}

/// The vectors of published tables.
pub struct PublishedVectors {
    root: PathBuf,
    stop: Stop,
    /// The place of a table by its path below the root.
    place: fn(&Path, &Path) -> OutputPlace,
    state: RwLock<State>,
    /// Whether what was there before this run counts.
    believes_earlier: bool,
    /// Tables whose keys are not in the index yet.
    waiting: Mutex<Vec<PublishedTable>>,
    open: Mutex<OpenTables>,
}

struct State {
    index: KeyIndex,
    /// The footers of each table that is in place, and of one that replaces it.
    current: Current,
    /// The tables of this run, and whether there was none in their place before.
    of_this_run: HashMap<PublishedTable, bool>,
}

/// Footers by table.
type Current = HashMap<PathBuf, Vec<String>>;

/// Tables that are open, the last used one first, and what is known of others that were.
#[derive(Default)]
struct OpenTables {
    tables: VecDeque<(PublishedTable, KeyedTable)>,
    intact: HashMap<PublishedTable, Intact>,
}

/// A vector that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedVector {
    /// The position of the text among those that were looked up.
    pub at: usize,
    /// The tokens of the text, and whether it was cut; `None` if they are not known.
    pub measure: Option<(u32, bool)>,
    /// Whether this run computed it.
    pub of_this_run: bool,
}

impl PublishedVectors {
    /// The vectors of a dataset: `tables` are those that are in place, and `elsewhere` those that others index. The index is
    /// in `directory`; those of `base` are only read.
    ///
    /// # Errors
    /// `Cache`, naming the directory of the index, when it cannot be created or read.
    pub fn of_dataset(
        root: &Path,
        directory: &Path,
        base: &[PathBuf],
        (tables, elsewhere): (Vec<PublishedTable>, Vec<PublishedTable>),
        stop: &Stop,
    ) -> Result<PublishedVectors> {
        let index = KeyIndex::open(directory, base).map_err(|cause| unusable(directory, cause))?;
        Ok(PublishedVectors::new(root, OutputPlace::in_dataset, index, (tables, elsewhere), stop))
    }

    /// The vectors of a dataset for a look that writes nothing: the indexes in `directories` are only read.
    pub fn to_look(
        root: &Path,
        directories: &[PathBuf],
        tables: (Vec<PublishedTable>, Vec<PublishedTable>),
        stop: &Stop,
    ) -> PublishedVectors {
        let index = KeyIndex::nameless(root).with_base(directories);
        PublishedVectors::new(root, OutputPlace::in_dataset, index, tables, stop)
    }

    /// The vectors of an output alone, whose digest is `footer`.
    pub fn of_output(place: &OutputPlace, footer: String, stop: &Stop) -> PublishedVectors {
        let table = PublishedTable { below: place.below(), footer };
        let root = crate::hidden_names::directory_of(place.path());
        let index = KeyIndex::nameless(&place.work_directory());
        let place = |root: &Path, below: &Path| OutputPlace::alone(root.join(below));
        PublishedVectors::new(root, place, index, (vec![table], Vec::new()), stop)
    }

    fn new(
        root: &Path,
        place: fn(&Path, &Path) -> OutputPlace,
        index: KeyIndex,
        (waiting, elsewhere): (Vec<PublishedTable>, Vec<PublishedTable>),
        stop: &Stop,
    ) -> PublishedVectors {
        let mut current = Current::new();
        waiting.iter().chain(&elsewhere).for_each(|table| note(&mut current, table));
        PublishedVectors {
            root: root.to_owned(),
            stop: stop.clone(),
            place,
            state: RwLock::new(State { index, current, of_this_run: HashMap::new() }),
            believes_earlier: true,
            waiting: Mutex::new(waiting),
            open: Mutex::default(),
        }
    }

    /// The same, but nothing from before this run is found: for a rebuild.
    #[must_use]
    pub fn of_this_run_alone(self) -> PublishedVectors {
        PublishedVectors { believes_earlier: false, ..self }
    }

    /// Adds a table that is in place, unless it is known.
    pub fn offer(&self, table: PublishedTable) {
        // Locked before the state, as in a lookup.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.write_state();
        note(&mut state.current, &table);
        if !state.index.has(&first_column(&table)) {
            waiting.push(table);
        }
    }

    /// Whether what was there before this run is believed.
    pub fn believes_earlier(&self) -> bool {
        self.believes_earlier
    }

    /// Adds the keys of a table that this run publishes. `is_new` tells whether there was none in its
    /// place before this run.
    ///
    /// # Errors
    /// `Cache`, naming the key file or the index, when they cannot be read or written.
    pub fn add(&self, table: &PublishedTable, keys: &KeyFile, is_new: bool) -> Result<()> {
        let mut state = self.write_state();
        let State { index, current, of_this_run } = &mut *state;
        note(current, table);
        of_this_run.insert(table.clone(), is_new);
        if index.has(&first_column(table)) {
            return Ok(());
        }
        add_keys(index, current, (table, keys), (&self.root, &self.stop))
    }

    /// Notes that a table is in place, instead of any other one.
    pub fn settle(&self, table: &PublishedTable) {
        let mut state = self.write_state();
        state.current.insert(table.below.clone(), vec![table.footer.clone()]);
    }

    /// Looks texts up. `each` gets the vectors that were found, of `dim` components. With `of_this_run` only tables that this run
    /// published are looked at.
    ///
    /// # Errors
    /// `Cache` when the index cannot be read or written. A table that cannot be read has no vectors.
    pub fn find(
        &self,
        texts: &[ContentKey],
        dim: usize,
        of_this_run: bool,
        mut each: impl FnMut(PublishedVector, &[f32]),
    ) -> Result<()> {
        let of_this_run = of_this_run || !self.believes_earlier;
        if texts.is_empty() || (of_this_run && self.read_state().of_this_run.is_empty()) {
            return Ok(());
        }
        self.add_waiting()?;
        let mut places = self.places(texts, of_this_run)?;
        for _ in 0..PLACES {
            // By table, so that each is opened once, and in the order of rows.
            let mut by_source: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
            for (at, places) in places.iter_mut().enumerate() {
                if let Some(Place { source, row }) = places.pop_front() {
                    by_source.entry(source).or_default().push((row, at));
                }
            }
            if by_source.is_empty() {
                break;
            }
            for (number, mut rows) in by_source {
                rows.sort_unstable();
                let Some((source, is_of_this_run)) = self.source(number) else { continue };
                self.read(&source, dim, &rows, texts, |at, measure, vector| {
                    places[at].clear();
                    let found = PublishedVector { at, measure, of_this_run: is_of_this_run };
                    each(found, vector);
                });
            }
        }
        Ok(())
    }

    /// Whether a text has a place, as far as the keys tell.
    ///
    /// # Errors
    /// `Cache` when the index cannot be read or written.
    pub fn has(&self, text: &ContentKey) -> Result<bool> {
        self.add_waiting()?;
        let mut places = self.places(std::slice::from_ref(text), false)?;
        Ok(places.pop().is_some_and(|places| !places.is_empty()))
    }

    /// Which of these texts have a vector in a table that is there, with its keys. `checked` has the sources that were looked
    /// at before.
    ///
    /// # Errors
    /// `Cache` when the index cannot be read or written.
    pub fn standing(
        &self,
        texts: &[ContentKey],
        checked: &mut HashMap<u32, bool>,
    ) -> Result<Vec<ShortKey>> {
        self.add_waiting()?;
        let places = self.places(texts, !self.believes_earlier)?;
        let mut is_there = |number: u32| {
            *checked.entry(number).or_insert_with(|| {
                let Some((source, _)) = self.source(number) else { return false };
                let place = (self.place)(&self.root, &source.table);
                KeyedTable::open(place.path(), &place.keys(), &source.footer).is_some()
            })
        };
        let standing = texts
            .iter()
            .zip(places)
            .filter(|(_, places)| places.iter().any(|place| is_there(place.source)));
        Ok(standing.map(|(text, _)| ShortKey::from(text)).collect())
    }

    /// Reads the vectors of a table that this run replaces, of texts that the new table does not have. The new table is added
    /// already; `None` if it has no keys. Rows outside of `changed` are in columns of both tables the same. `each` gets the
    /// short key, the measure and the vector of a text.
    ///
    /// # Errors
    /// `Cache` when the keys cannot be read, and those of `each`. What cannot be read of the old table is left out.
    pub fn displaced(
        &self,
        old: (&PublishedTable, &KeyFile),
        new: Option<(&PublishedTable, &KeyFile)>,
        changed: &[Range<u64>],
        mut each: impl FnMut(ShortKey, (u32, bool), &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (old, old_keys) = old;
        let every_row = 0..old_keys.rows();
        let failed = |cause| unusable(&self.root, cause);
        for column in 0..old_keys.columns().len() {
            let Some(dim) = self.width(old, column) else { continue };
            // The column of the new table that keeps the vectors as they are.
            let own = &old_keys.columns()[column];
            let kept_in =
                new.and_then(|(_, keys)| keys.columns().iter().position(|new| new == own));
            let ranges = if kept_in.is_some() { changed } else { std::slice::from_ref(&every_row) };
            let mut seen: HashSet<ShortKey> = HashSet::new();
            let source = Source { table: old.below.clone(), footer: old.footer.clone(), column };
            let (mut rows, mut texts) = (Vec::new(), Vec::new());
            let mut read = |rows: &mut Vec<(u64, usize)>, texts: &mut Vec<ContentKey>| {
                let mut outcome = Ok(());
                self.read(&source, dim, rows, texts, |at, measure, vector| {
                    // Without its tokens a vector cannot be counted later.
                    if let (Some(measure), true) = (measure, outcome.is_ok()) {
                        outcome = each(ShortKey::from(&texts[at]), measure, vector);
                    }
                });
                rows.clear();
                texts.clear();
                outcome
            };
            for range in ranges {
                old_keys
                    .scan::<Failure>(range.clone(), |row, found| {
                        let Some(key) = found.get(column).and_then(|found| found.key) else {
                            return Ok(());
                        };
                        if row.is_multiple_of(ROWS_BETWEEN_STOPS) {
                            self.stop.check().map_err(Failure::Other)?;
                        }
                        // Most rows stay where they are.
                        if let Some((table, keys)) = new {
                            let same = kept_in.and_then(|column| keys.get(row, column)?.key);
                            if same == Some(key) || self.is_in(&key, table)? {
                                return Ok(());
                            }
                        }
                        if seen.len() == SEEN {
                            seen.clear();
                        }
                        if !seen.insert(key) {
                            return Ok(());
                        }
                        rows.push((row, texts.len()));
                        texts.push(key.padded());
                        match texts.len() < DISPLACED_AT_ONCE {
                            true => Ok(()),
                            false => read(&mut rows, &mut texts).map_err(Failure::Other),
                        }
                    })
                    .map_err(|failure| match failure {
                        Failure::Io(cause) => failed(cause),
                        Failure::Other(error) => error,
                    })?;
            }
            read(&mut rows, &mut texts)?;
        }
        Ok(())
    }

    /// Writes the index of a dataset.
    ///
    /// # Errors
    /// `Cache`, naming the index, when it cannot be written.
    pub fn save(&self) -> Result<()> {
        let mut state = self.write_state();
        let State { index, current, .. } = &mut *state;
        index.save(&is_current(current)).map_err(|cause| unusable(&self.root, cause))
    }

    fn width(&self, table: &PublishedTable, column: usize) -> Option<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.open_table(&mut open, table.clone())?.width(column)
    }

    /// Whether a table has a text.
    fn is_in(&self, key: &ShortKey, table: &PublishedTable) -> io::Result<bool> {
        let state = self.read_state();
        let is_of_table = |number| {
            let source = state.index.source(number);
            source.is_some_and(|one| one.table == table.below && one.footer == table.footer)
        };
        Ok(!state.index.find(key, 1, is_of_table)?.is_empty())
    }

    /// The places of texts that may be right, the newest first.
    fn places(&self, texts: &[ContentKey], of_this_run: bool) -> Result<Vec<VecDeque<Place>>> {
        let state = self.read_state();
        let State { index, current, of_this_run: published } = &*state;
        let mut usable: HashMap<u32, bool> = HashMap::new();
        let mut is_usable = |number: u32| {
            *usable.entry(number).or_insert_with(|| {
                let Some(source) = index.source(number) else { return false };
                let table =
                    PublishedTable { below: source.table.clone(), footer: source.footer.clone() };
                is_current(current)(source) && (!of_this_run || published.contains_key(&table))
            })
        };
        let places = texts.iter().map(|text| {
            let found = index.find(&ShortKey::from(text), PLACES, &mut is_usable)?;
            Ok(found.into())
        });
        places.collect::<io::Result<_>>().map_err(|cause| unusable(&self.root, cause))
    }

    /// A source, and whether this run computed its vectors.
    fn source(&self, number: u32) -> Option<(Source, bool)> {
        let state = self.read_state();
        let source = state.index.source(number)?.clone();
        let table = PublishedTable { below: source.table.clone(), footer: source.footer.clone() };
        let is_new = state.of_this_run.get(&table).copied().unwrap_or(false);
        Some((source, is_new))
    }

    /// Reads rows of a table whose keys are those of the texts.
    fn read(
        &self,
        source: &Source,
        dim: usize,
        rows: &[(u64, usize)],
        texts: &[ContentKey],
        mut each: impl FnMut(usize, Measure, &[f32]),
    ) {
        let table = PublishedTable { below: source.table.clone(), footer: source.footer.clone() };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keyed) = self.open_table(&mut open, table) else { return };
        let wanted: Vec<(u64, usize, Measure)> = rows
            .iter()
            .filter_map(|(row, at)| {
                let found = keyed.key(*row, source.column)?;
                let is_same = found.key == Some(ShortKey::from(&texts[*at]));
                is_same.then_some((*row, *at, found.measure))
            })
            .collect();
        // A row is read once, whoever asks for it.
        let mut numbers: Vec<u64> = wanted.iter().map(|(row, _, _)| *row).collect();
        numbers.dedup();
        let mut next = 0;
        keyed.vectors(source.column, dim, &numbers, |position, vector| {
            let row = numbers[position];
            while next < wanted.len() && wanted[next].0 < row {
                next += 1;
            }
            while let Some((_, at, measure)) = wanted.get(next).filter(|wanted| wanted.0 == row) {
                each(*at, *measure, vector);
                next += 1;
            }
        });
    }

    /// The open table, which moves to the front.
    fn open_table<'o>(
        &self,
        open: &'o mut OpenTables,
        table: PublishedTable,
    ) -> Option<&'o mut KeyedTable> {
        let OpenTables { tables, intact } = open;
        let known = tables.iter().position(|(other, _)| *other == table);
        let entry = match known {
            Some(at) => tables.remove(at)?,
            None => {
                let place = (self.place)(&self.root, &table.below);
                let mut opened = KeyedTable::open(place.path(), &place.keys(), &table.footer)?;
                if let Some(intact) = intact.get(&table) {
                    opened.believe(intact);
                }
                (table, opened)
            }
        };
        for (table, closed) in tables.drain(tables.len().min(OPEN_TABLES - 1)..) {
            intact.insert(table, closed.into_intact());
        }
        tables.push_front(entry);
        tables.front_mut().map(|(_, table)| table)
    }

    /// Adds the keys of tables that were in place before this run.
    fn add_waiting(&self) -> Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return Ok(());
        }
        let known: HashSet<PublishedTable> = {
            let state = self.read_state();
            waiting.iter().filter(|table| state.index.has(&first_column(table))).cloned().collect()
        };
        for table in waiting.drain(..).filter(|table| !known.contains(table)) {
            let place = (self.place)(&self.root, &table.below);
            // A table of an earlier version has none.
            let Some(keys) = KeyFile::open(&place.keys(), &table.footer) else { continue };
            let mut state = self.write_state();
            let State { index, current, .. } = &mut *state;
            add_keys(index, current, (&table, &keys), (&self.root, &self.stop))?;
        }
        Ok(())
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of a key file between two looks at whether to stop.
const ROWS_BETWEEN_STOPS: u64 = 4096;

/// Vectors of a table that is replaced which are read at once.
const DISPLACED_AT_ONCE: usize = 512;

/// Displaced texts that are remembered, so that the vector of one that comes again is not read again.
const SEEN: usize = 1 << 17;

/// Why reading keys ended.
enum Failure {
    Io(io::Error),
    Other(Error),
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Failure {
        Failure::Io(cause)
    }
}

/// Adds the keys of a table to the index, those of columns whose vectors are the model's. A key file that cannot be read to
/// its end is read again by the next run.
fn add_keys(
    index: &mut KeyIndex,
    current: &Current,
    (table, keys): (&PublishedTable, &KeyFile),
    (root, stop): (&Path, &Stop),
) -> Result<()> {
    let numbers: Vec<(u32, bool)> = keys
        .columns()
        .iter()
        .enumerate()
        .map(|(column, keyed)| {
            let (below, footer) = (table.below.clone(), table.footer.clone());
            (index.add_source(Source { table: below, footer, column }), keyed.is_lossless)
        })
        .collect();
    let added = keys.scan::<Failure>(0..keys.rows(), |row, found| {
        if row.is_multiple_of(ROWS_BETWEEN_STOPS) {
            stop.check().map_err(Failure::Other)?;
        }
        for ((source, is_lossless), found) in numbers.iter().zip(found) {
            if let (true, Some(key)) = (is_lossless, found.key) {
                let added = index.add(key, Place { source: *source, row }, &is_current(current));
                added.map_err(|cause| Failure::Other(unusable(root, cause)))?;
            }
        }
        Ok(())
    });
    match added {
        Ok(()) => numbers.iter().for_each(|(source, _)| index.complete(*source)),
        Err(Failure::Io(_)) => {}
        Err(Failure::Other(error)) => return Err(error),
    }
    Ok(())
}

/// Adds the footer of a table.
fn note(current: &mut Current, table: &PublishedTable) {
    let footers = current.entry(table.below.clone()).or_default();
    if !footers.contains(&table.footer) {
        footers.push(table.footer.clone());
    }
}

/// The source that every table with keys has.
fn first_column(table: &PublishedTable) -> Source {
    Source { table: table.below.clone(), footer: table.footer.clone(), column: 0 }
}

fn is_current(current: &Current) -> impl Fn(&Source) -> bool {
    |source| current.get(&source.table).is_some_and(|footers| footers.contains(&source.footer))
}

fn unusable(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::Cache, "the index of its published vectors cannot be read or written")
        .in_file(path)
        .advice("check that the directory is writable and its disk has free space")
        .caused_by(cause)
}
