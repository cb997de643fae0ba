//! The index: where the vectors of published texts are.
//!
//! New keys are in memory until there are many, then they become a segment. Segments of one size are joined into a larger
//! one, so that there are few. Nothing of it has to be durable: what is missing is read again from key files.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::Builder;

use super::joined::Joined;
use super::segment::{Entry, Segment, SegmentWriter};
use super::short_key::ShortKey;
use crate::hidden_names::TEMPORARY_SUFFIX;
use crate::table_path;

/// Most keys in memory: some 6 MB.
const RECENT: usize = 1 << 17;

/// Segments of one size that are joined.
const FAN_OUT: usize = 4;

/// The suffix of a segment.
const SUFFIX: &str = "index";

/// A vector column of a published table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The path of the table below the output directory.
    #[serde(with = "table_path")]
    pub table: PathBuf,
    /// The digest of its footer.
    pub footer: String,
    /// The number of the column in its key file.
    pub column: usize,
}

/// A source as a segment names it.
#[derive(Debug, Serialize, Deserialize)]
struct NamedSource {
    #[serde(flatten)]
    source: Source,
    /// How many entries of it the segment has.
    entries: u64,
    /// How many all segments have together, once all keys were added.
    total: Option<u64>,
}

/// Where the vector of a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of a source.
    pub source: u32,
    /// The row in the table, from 0.
    pub row: u64,
}

/// The index of a dataset.
#[derive(Debug)]
pub struct KeyIndex {
    home: Home,
    sources: Vec<Source>,
    numbers: HashMap<Source, u32>,
    /// Key and source → row.
    recent: BTreeMap<(ShortKey, u32), u64>,
    /// By source: how many entries there are, and how many there have to be once all were added.
    entries: HashMap<u32, u64>,
    totals: HashMap<u32, u64>,
    /// Sources with a total that no segment names yet.
    unnamed: Vec<u32>,
    /// Whether entries were lost in this process, so that nothing that it adds is known to be all.
    is_damaged: bool,
    /// The oldest and largest first.
    segments: Vec<OpenSegment>,
    /// Those of another index, which is only read.
    base: Vec<OpenSegment>,
    next: u64,
}

/// Where segments are.
#[derive(Debug)]
enum Home {
    /// Files of a directory, which stay.
    Kept(PathBuf),
    /// Files without a name on the file system of a directory, which the system deletes.
    Nameless(PathBuf),
}

#[derive(Debug)]
struct OpenSegment {
    /// `None` if it has no name.
    path: Option<PathBuf>,
    segment: Segment,
    /// The numbers of its sources in this index.
    sources: Vec<u32>,
    /// How many entries it has of each.
    entries: Vec<u64>,
}

impl KeyIndex {
    /// An index for this process alone, on the file system of a directory.
    pub fn nameless(directory: &Path) -> KeyIndex {
        KeyIndex::new(Home::Nameless(directory.to_owned()))
    }

    fn new(home: Home) -> KeyIndex {
        KeyIndex {
            home,
            sources: Vec::new(),
            numbers: HashMap::new(),
            recent: BTreeMap::new(),
            entries: HashMap::new(),
            totals: HashMap::new(),
            unnamed: Vec::new(),
            is_damaged: false,
            segments: Vec::new(),
            base: Vec::new(),
            next: 1,
        }
    }

    /// Opens the index in a directory, which need not exist, and those of `base`, which are only read. A damaged segment
    /// is removed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(directory: &Path, base: &[PathBuf]) -> io::Result<KeyIndex> {
        let mut index = KeyIndex::new(Home::Kept(directory.to_owned()));
        sweep_index(directory);
        for (number, path) in segments_in(directory)? {
            index.next = number + 1;
            match index.open_segment(&path) {
                Some(segment) => index.segments.push(segment),
                // Its tables are read again.
                None => drop(fs::remove_file(path)),
            }
        }
        Ok(index.with_base(base))
    }

    /// The index with those in other directories behind it, which are only read.
    #[must_use]
    pub fn with_base(mut self, directories: &[PathBuf]) -> KeyIndex {
        for directory in directories {
            for path in segments_in(directory).unwrap_or_default().into_values() {
                let segment = self.open_segment(&path);
                self.base.extend(segment);
            }
        }
        self
    }

    /// Whether all rows of a source were added.
    pub fn has(&self, source: &Source) -> bool {
        let Some(number) = self.numbers.get(source) else { return false };
        let total = self.totals.get(number);
        total.is_some_and(|total| self.entries.get(number).copied().unwrap_or(0) == *total)
    }

    /// The source with a number.
    pub fn source(&self, number: u32) -> Option<&Source> {
        self.sources.get(number as usize)
    }

    /// Adds a source; its number is that of its keys.
    pub fn add_source(&mut self, source: Source) -> u32 {
        self.number(source)
    }

    /// Notes that all keys of a source were added.
    pub fn complete(&mut self, source: u32) {
        if !self.is_damaged {
            self.totals.insert(source, self.entries.get(&source).copied().unwrap_or(0));
            self.unnamed.push(source);
        }
    }

    /// Adds a key of a source. `is_current` tells for each source whether it may still be of use.
    ///
    /// # Errors
    /// When a segment cannot be written.
    pub fn add(
        &mut self,
        key: ShortKey,
        place: Place,
        is_current: &dyn Fn(&Source) -> bool,
    ) -> io::Result<()> {
        if self.recent.insert((key, place.source), place.row).is_none() {
            *self.entries.entry(place.source).or_insert(0) += 1;
        }
        match self.recent.len() < RECENT {
            true => Ok(()),
            false => self.write_recent(is_current),
        }
    }

    /// The places of a key in sources that are usable, the newest first, at most `most`.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn find(
        &self,
        key: &ShortKey,
        most: usize,
        mut is_usable: impl FnMut(u32) -> bool,
    ) -> io::Result<Vec<Place>> {
        let mut found = Vec::new();
        for ((_, source), row) in self.recent.range((*key, 0)..=(*key, u32::MAX)) {
            if is_usable(*source) && found.len() < most {
                found.push(Place { source: *source, row: *row });
            }
        }
        for open in self.segments.iter().rev().chain(self.base.iter().rev()) {
            open.segment.find(key, |Entry { source, row, .. }| {
                let number = open.sources.get(source as usize).copied();
                if let Some(source) = number.filter(|source| is_usable(*source))
                    && found.len() < most
                {
                    found.push(Place { source, row });
                }
                found.len() < most
            })?;
        }
        Ok(found)
    }

    /// Writes what is in memory, and joins segments if there are many.
    ///
    /// # Errors
    /// When a segment cannot be written.
    pub fn save(&mut self, is_current: &dyn Fn(&Source) -> bool) -> io::Result<()> {
        self.write_recent(is_current)?;
        if self.is_damaged {
            return Ok(());
        }
        let entries: u64 = self.segments.iter().map(|open| open.segment.len()).sum();
        let largest = self.segments.first().map_or(0, |open| open.segment.len());
        // Few lookups and little space are worth reading everything when a quarter is new.
        let is_scattered = self.segments.len() >= FAN_OUT && (entries - largest) * 4 > entries;
        match is_scattered.then(|| self.join(0, is_current)) {
            Some(Err(cause)) if cause.kind() == io::ErrorKind::InvalidData => {
                self.forget();
                Ok(())
            }
            joined => joined.unwrap_or(Ok(())),
        }
    }

    fn number(&mut self, source: Source) -> u32 {
        if let Some(number) = self.numbers.get(&source) {
            return *number;
        }
        let number = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        self.sources.push(source.clone());
        self.numbers.insert(source, number);
        number
    }

    fn open_segment(&mut self, path: &Path) -> Option<OpenSegment> {
        self.with_segment(Some(path.to_owned()), File::open(path).ok()?)
    }

    fn with_segment(&mut self, path: Option<PathBuf>, file: File) -> Option<OpenSegment> {
        let (segment, named) = Segment::in_file::<NamedSource>(file)?;
        let mut sources = Vec::with_capacity(named.len());
        let mut of_sources = Vec::with_capacity(named.len());
        for NamedSource { source, entries, total } in named {
            let number = self.number(source);
            *self.entries.entry(number).or_insert(0) += entries;
            self.totals.extend(total.map(|total| (number, total)));
            sources.push(number);
            of_sources.push(entries);
        }
        Some(OpenSegment { path, segment, sources, entries: of_sources })
    }

    /// Forgets everything that is in files: one of them is damaged.
    fn forget(&mut self) {
        let paths = self.segments.drain(..).filter_map(|open| open.path);
        paths.for_each(|path| drop(fs::remove_file(path)));
        self.entries.clear();
        self.totals.clear();
        self.unnamed.clear();
        self.is_damaged = true;
    }

    fn write_recent(&mut self, is_current: &dyn Fn(&Source) -> bool) -> io::Result<()> {
        if self.recent.is_empty() && self.unnamed.is_empty() {
            return Ok(());
        }
        let recent = std::mem::take(&mut self.recent);
        // What the new segment has is counted when it is opened.
        for (_, source) in recent.keys() {
            let count = self.entries.entry(*source).or_insert(0);
            *count = count.saturating_sub(1);
        }
        let entries: Vec<Entry> =
            recent.into_iter().map(|((key, source), row)| Entry { key, source, row }).collect();
        let named = std::mem::take(&mut self.unnamed);
        let entries = entries.into_iter().map(Ok);
        let open = self.write(entries, named)?;
        self.segments.push(open);
        while let Some(first) = first_to_join(&self.lengths()) {
            match self.join(first, is_current) {
                Err(cause) if cause.kind() == io::ErrorKind::InvalidData => self.forget(),
                joined => joined?,
            }
        }
        Ok(())
    }

    fn lengths(&self) -> Vec<u64> {
        self.segments.iter().map(|open| open.segment.len()).collect()
    }

    /// Joins the segments from `first` on into one.
    fn join(&mut self, first: usize, is_current: &dyn Fn(&Source) -> bool) -> io::Result<()> {
        let joined = self.segments.split_off(first);
        // What the new segment has is counted when it is opened.
        for open in &joined {
            for (source, entries) in open.sources.iter().zip(&open.entries) {
                let count = self.entries.entry(*source).or_insert(0);
                *count = count.saturating_sub(*entries);
            }
        }
        let mut named: Vec<u32> =
            joined.iter().flat_map(|open| open.sources.iter().copied()).collect();
        named.sort_unstable();
        named.dedup();
        let is_kept: Vec<bool> = self.sources.iter().map(is_current).collect();
        named.retain(|number| is_kept.get(*number as usize).copied().unwrap_or(false));
        let inputs = joined
            .iter()
            .map(|open| Ok((open.segment.entries()?, &open.sources[..])))
            .collect::<io::Result<Vec<_>>>()?;
        let entries = Joined::new(inputs)?.filter(|entry| match entry {
            Ok(entry) => is_kept.get(entry.source as usize).copied().unwrap_or(false),
            Err(_) => true,
        });
        let open = self.write(entries, named)?;
        self.segments.push(open);
        for path in joined.into_iter().filter_map(|old| old.path) {
            // One that stays is read again, and says the same.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// Writes a segment whose entries have the numbers of this index. `named` are sources without an entry.
    fn write(
        &mut self,
        entries: impl Iterator<Item = io::Result<Entry>>,
        named: Vec<u32>,
    ) -> io::Result<OpenSegment> {
        let (file, named_file) = match &self.home {
            Home::Nameless(directory) => (tempfile::tempfile_in(directory)?, None),
            Home::Kept(directory) => {
                fs::create_dir_all(directory)?;
                let file = Builder::new().suffix(TEMPORARY_SUFFIX).tempfile_in(directory)?;
                (file.reopen()?, Some((directory.clone(), file)))
            }
        };
        let mut writer = SegmentWriter::new(file);
        let mut numbers = Vec::new();
        let mut local: BTreeMap<u32, u32> = BTreeMap::new();
        let mut in_file = |source: u32, numbers: &mut Vec<u32>| {
            *local.entry(source).or_insert_with(|| {
                numbers.push(source);
                numbers.len() as u32 - 1
            })
        };
        for source in named {
            in_file(source, &mut numbers);
        }
        let mut counts: HashMap<u32, u64> = HashMap::new();
        for entry in entries {
            let entry = entry?;
            let source = in_file(entry.source, &mut numbers);
            *counts.entry(entry.source).or_insert(0) += 1;
            writer.add(&Entry { source, ..entry })?;
        }
        let named = numbers.iter().filter_map(|number| {
            let source = self.sources.get(*number as usize)?.clone();
            let entries = counts.get(number).copied().unwrap_or(0);
            Some(NamedSource { source, entries, total: self.totals.get(number).copied() })
        });
        let sources: Vec<NamedSource> = named.collect();
        let file = writer.finish(sources)?;
        let path = match named_file {
            None => None,
            Some((directory, named)) => {
                let path = directory.join(format!("{:08}.{SUFFIX}", self.next));
                self.next += 1;
                named.persist(&path).map_err(|error| error.error)?;
                Some(path)
            }
        };
        if !matches!(self.home, Home::Nameless(_)) {
            file.sync_data()?;
        }
        let open = self.with_segment(path, file);
        open.ok_or_else(|| io::Error::other("a new segment cannot be read"))
    }
}

/// The first of the last segments that are joined: as many as are of one size, and enough of them.
fn first_to_join(lengths: &[u64]) -> Option<usize> {
    let size = |length: u64| (length / RECENT as u64 + 1).ilog(FAN_OUT as u64);
    let last = size(*lengths.last()?);
    let first = lengths.iter().rposition(|length| size(*length) > last).map_or(0, |at| at + 1);
    (lengths.len() - first >= FAN_OUT).then_some(first)
}

/// Deletes what runs that were killed left in the directory of an index. What cannot be deleted is tried again.
pub fn sweep_index(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The segments of a directory, the oldest first.
fn segments_in(directory: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut segments = BTreeMap::new();
    let entries = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(segments),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if path.extension().is_some_and(|suffix| suffix == SUFFIX)
            && let Some(number) = number
        {
            segments.insert(number, path);
        }
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use reembed_encoder::task::ContentKeys;

    use super::*;

    impl KeyIndex {
        /// Number of entries, those of one key counted for each of its rows.
        fn entry_count(&self) -> u64 {
            let segments = self.segments.iter().map(|open| open.segment.len()).sum::<u64>();
            segments + self.recent.len() as u64
        }
    }

    fn key(text: u64) -> ShortKey {
        ShortKey::from(&ContentKeys::new("f").key(&text.to_string()))
    }

    fn source(table: &str, footer: &str) -> Source {
        Source { table: table.into(), footer: footer.to_owned(), column: 0 }
    }

    fn found(index: &KeyIndex, text: u64) -> Vec<(String, u64)> {
        let places = index.find(&key(text), 4, |_| true).expect("it is read");
        let name = |place: &Place| {
            let source = index.source(place.source).expect("a source");
            (format!("{} {}", source.table.display(), source.footer), place.row)
        };
        places.iter().map(name).collect()
    }

    #[test]
    fn keys_are_found_in_memory_and_after_it_was_saved() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = |_: &Source| true;
        let mut index = KeyIndex::open(directory.path(), &[]).expect("an index");
        for (number, table) in ["a", "b", "c"].into_iter().enumerate() {
            let number = number as u64;
            let source = index.add_source(source(table, "1"));
            for row in 0..100 {
                let place = Place { source, row };
                index.add(key(100 * number + row), place, &all).expect("a key");
            }
            index.complete(source);
            if number == 1 {
                index.save(&all).expect("it is saved");
            }
        }
        let without = index.add_source(source("without rows", "1"));
        index.complete(without);
        for text in [0, 99, 100, 250, 299] {
            let table = ["a 1", "b 1", "c 1"][text as usize / 100];
            assert_eq!(found(&index, text), [(table.to_owned(), text % 100)]);
        }
        assert_eq!(found(&index, 300), []);
        index.save(&all).expect("it is saved");
        let again = KeyIndex::open(directory.path(), &[]).expect("an index");
        assert_eq!((again.entry_count(), found(&again, 250)), (300, vec![("c 1".to_owned(), 50)]));
        assert!(again.has(&source("without rows", "1")) && !again.has(&source("a", "2")));
        // A shard reads the index of the whole.
        let own = tempfile::tempdir().expect("a directory");
        let base = [directory.path().to_owned()];
        let shard = KeyIndex::open(own.path(), &base).expect("an index");
        assert_eq!((shard.entry_count(), found(&shard, 7)), (0, vec![("a 1".to_owned(), 7)]));
    }

    #[test]
    fn the_newest_place_comes_first_and_old_tables_are_dropped_when_segments_are_joined() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut index = KeyIndex::open(directory.path(), &[]).expect("an index");
        for footer in 1..=6u64 {
            let footers = footer.to_string();
            let is_current = |source: &Source| source.footer == footers;
            let source = index.add_source(source("a", &footers));
            index.add(key(1), Place { source, row: footer }, &is_current).expect("a key");
            index.save(&is_current).expect("it is saved");
            assert_eq!(found(&index, 1)[0], (format!("a {footer}"), footer));
        }
        assert!(index.entry_count() < 4, "{}", index.entry_count());
        assert!(segments_in(directory.path()).expect("segments").len() < FAN_OUT);
    }

    #[test]
    fn a_source_that_was_not_added_to_its_end_is_added_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = |_: &Source| true;
        let mut index = KeyIndex::open(directory.path(), &[]).expect("an index");
        let [half, whole] = ["half", "whole"].map(|table| index.add_source(source(table, "1")));
        for (text, number) in [(1, half), (2, whole)] {
            index.add(key(text), Place { source: number, row: 0 }, &all).expect("a key");
        }
        index.complete(whole);
        // As when many keys are in memory, and the run is killed.
        index.write_recent(&all).expect("it is saved");
        let again = KeyIndex::open(directory.path(), &[]).expect("an index");
        assert!(again.has(&source("whole", "1")) && !again.has(&source("half", "1")));
        assert_eq!(found(&again, 1), [("half 1".to_owned(), 0)]);
    }

    #[test]
    fn a_damaged_segment_is_removed_and_its_tables_are_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = |_: &Source| true;
        let mut index = KeyIndex::open(directory.path(), &[]).expect("an index");
        let number = index.add_source(source("a", "1"));
        index.add(key(1), Place { source: number, row: 0 }, &all).expect("a key");
        index.complete(number);
        index.save(&all).expect("it is saved");
        let path = directory.path().join("00000001.index");
        fs::write(&path, b"RINDEX1\n").expect("a file");
        let again = KeyIndex::open(directory.path(), &[]).expect("an index");
        assert!(!again.has(&source("a", "1")) && !path.exists());
    }

    #[test]
    fn segments_are_joined_when_enough_are_of_one_size() {
        let recent = RECENT as u64;
        for (lengths, expected) in [
            (vec![], None),
            (vec![1, 1, 1], None),
            (vec![1, 1, 1, 1], Some(0)),
            (vec![20 * recent, 1, 1, 1], None),
            (vec![20 * recent, 1, 1, 1, 1], Some(1)),
            (vec![recent * 4, recent * 4, recent * 4, recent * 4], Some(0)),
            (vec![recent * 70, recent * 5, recent * 5, 1, 1], None),
        ] {
            assert_eq!(first_to_join(&lengths), expected, "{lengths:?}");
        }
    }

    #[test]
    fn many_keys_become_few_segments() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = |_: &Source| true;
        let mut index = KeyIndex::open(directory.path(), &[]).expect("an index");
        let rows = RECENT as u64 * 5 + 7;
        let number = index.add_source(source("a", "1"));
        // Keys need not be hashes here: their order alone counts.
        let key = |row: u64| {
            let mut bytes = [1; ShortKey::BYTES];
            bytes[..8].copy_from_slice(&row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            ShortKey::from_bytes(bytes).expect("a key")
        };
        for row in 0..rows {
            index.add(key(row), Place { source: number, row }, &all).expect("a key");
        }
        assert_eq!(index.entry_count(), rows);
        assert!(index.segments.len() < FAN_OUT, "{}", index.segments.len());
        index.save(&all).expect("it is saved");
        for row in (0..rows).step_by(997) {
            let places = index.find(&key(row), 4, |_| true).expect("it is read");
            assert_eq!(places, [Place { source: number, row }]);
        }
    }
}
