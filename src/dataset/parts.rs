//! The parts of a table that several shards embed: files with the vector columns of a range of its row groups.
//!
//! ```text
//! out/_reembed/dataset/parts/a.parquet.parts/2-of-8-by-1000000-…    a part
//! out/_reembed/dataset/parts/a.parquet.parts/published.json         the table that was put together from its parts
//! out/_reembed/dataset/parts/a.parquet.parts/_reembed/              locks, keys and temporary files of parts
//! ```
//!
//! The name of a part says which input and which settings it is for, so that one of other rows is not taken for it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::hash::{FramedHasher, hex};

use super::manifest::TableRecord;
use super::places::Places;
use super::stamp::Stamp;
use crate::hidden_names::{KEYS, OutputPlace, TEMPORARY_SUFFIX, WORK_DIRECTORY};
use crate::publish::{
    self, LockFile, create_like_parent, delete_temporaries, delete_temporaries_beside, write_error,
};

/// Digits of the key of a division.
const KEY_DIGITS: usize = 32;

/// How a table is divided, of which input and with which settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Division {
    /// Number of ranges.
    pub ranges: u64,
    /// `dataset.split_rows`.
    pub split_rows: u64,
    /// The digest of the input's size, time and inode, and of the settings.
    key: String,
}

impl Division {
    /// The division of an input into ranges.
    pub fn new(ranges: u64, split_rows: u64, input: &Stamp, settings: &str) -> Division {
        Division { ranges, split_rows, key: key_of(input, settings) }
    }

    /// Whether it is a division of this input with these settings.
    pub fn is_of(&self, input: &Stamp, settings: &str) -> bool {
        self.key == key_of(input, settings)
    }

    /// The name of the part of a range, by its number from 0.
    pub fn part(&self, range: u64) -> PartName {
        PartName { range, division: self.clone() }
    }
}

fn key_of(input: &Stamp, settings: &str) -> String {
    let mut hasher = FramedHasher::default();
    let Stamp { size, modified, inode } = input;
    for part in [settings, &size.to_string(), modified, &inode.to_string()] {
        hasher.update(part);
    }
    let mut key = hex(&hasher.finish());
    key.truncate(KEY_DIGITS);
    key
}

/// The file name of a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The number of its range, from 0.
    pub range: u64,
    /// The division that the range is one of.
    pub division: Division,
}

/// `2-of-8-by-1000000-0123456789abcdef0123456789abcdef`: the second of eight.
impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Division { ranges, split_rows, key } = &self.division;
        write!(f, "{}-of-{ranges}-by-{split_rows}-{key}", self.range.saturating_add(1))
    }
}

impl PartName {
    /// Reads a file name; `None` if it is not that of a part.
    pub fn parse(name: &str) -> Option<PartName> {
        let mut words = name.split('-');
        let mut number = || words.next()?.parse::<u64>().ok();
        let from_one = number()?;
        let is = |word: Option<&str>, expected: &str| (word == Some(expected)).then_some(());
        is(words.next(), "of")?;
        let ranges = words.next()?.parse::<u64>().ok()?;
        is(words.next(), "by")?;
        let split_rows = words.next()?.parse::<u64>().ok()?;
        let key = words.next()?.to_owned();
        let range = from_one.checked_sub(1).filter(|range| *range < ranges)?;
        let part = PartName { range, division: Division { ranges, split_rows, key } };
        let has_key = part.division.key.len() == KEY_DIGITS;
        // There is one way to write it.
        (has_key && part.to_string() == name).then_some(part)
    }
}

/// The directory of the parts of a table.
#[derive(Debug, Clone)]
pub struct TableParts {
    directory: PathBuf,
}

impl TableParts {
    /// The directory of the parts of a table, by its path below the root. It need not exist.
    pub fn new(places: &Places, below: &Path) -> TableParts {
        let name = OutputPlace::in_dataset(places.root(), below).short_name();
        TableParts { directory: places.parts().join(name + ".parts") }
    }

    /// Whether there may be parts.
    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// Creates the directory.
    ///
    /// # Errors
    /// `Target`, naming it.
    pub fn create(&self) -> Result<()> {
        let above = self.directory.parent().unwrap_or(Path::new("."));
        for directory in [above, &self.directory] {
            create_like_parent(directory).map_err(|cause| {
                Error::new(ErrorKind::Target, "the directory of the parts cannot be created")
                    .in_file(directory)
                    .advice("check that the output directory is writable")
                    .caused_by(cause)
            })?;
        }
        Ok(())
    }

    /// The parts that there are. A directory that cannot be read has none: they are made again.
    pub fn names(&self) -> BTreeSet<PartName> {
        names_in(&self.directory).filter_map(|name| PartName::parse(&name)).collect()
    }

    /// The paths of all parts, of any input and any settings.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.names().iter().map(|name| self.directory.join(name.to_string())).collect()
    }

    /// The ranges of a division that have no part.
    pub fn missing(&self, division: &Division) -> Vec<u64> {
        let names = self.names();
        (0..division.ranges).filter(|range| !names.contains(&division.part(*range))).collect()
    }

    /// Where a part is, and its lock.
    pub fn place(&self, name: &PartName) -> OutputPlace {
        OutputPlace::in_dataset(&self.directory, Path::new(&name.to_string()))
    }

    /// The record of the table that was put together last; `None` also if it is damaged.
    pub fn published(&self) -> Option<TableRecord> {
        serde_json::from_slice(&fs::read(self.published_path()).ok()?).ok()
    }

    /// Notes for the other shards that the table is in place.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn write_published(&self, record: &TableRecord) -> Result<()> {
        let path = self.published_path();
        let failed = |cause: io::Error| write_error(&path, "the record cannot be written", cause);
        let text = serde_json::to_vec(record).map_err(|cause| failed(cause.into()))?;
        let mut file = publish::create_temporary_beside(&path)?;
        file.write_all(&text).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        publish::replace(file, &path, |_| Ok(())).map(drop)
    }

    /// Deletes the parts, and what killed runs left of them. One that a run is writing stays. What cannot be deleted now is
    /// deleted by a later run.
    pub fn delete_parts(&self) {
        if !self.exist() {
            return;
        }
        let work = self.directory.join(WORK_DIRECTORY);
        // A part that was never published has a lock or a temporary file.
        let of_work = names_in(&work).filter_map(|name| {
            let name = name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or(&name);
            PartName::parse(name.split_once('.').map_or(name, |(name, _)| name))
        });
        let all: BTreeSet<PartName> = self.names().into_iter().chain(of_work).collect();
        for name in all {
            let place = self.place(&name);
            let lock = place.lock();
            let is_held =
                lock.exists() && LockFile::acquire(place.path(), "this part", lock).is_err();
            if !is_held {
                let _ = delete_temporaries(&place);
                // A part whose keys stay is found, and both are deleted, by a later run.
                let keys = fs::remove_file(place.keys()).map_err(|cause| cause.kind());
                if matches!(keys, Ok(()) | Err(io::ErrorKind::NotFound)) {
                    let _ = fs::remove_file(place.path());
                }
            }
        }
        let _ = fs::remove_dir(work.join(KEYS));
        let _ = fs::remove_dir(work);
    }

    /// Deletes everything: the whole manifest has the table, or it is gone.
    pub fn delete(&self) {
        if !self.exist() {
            return;
        }
        self.delete_parts();
        let published = self.published_path();
        let _ = delete_temporaries_beside(&published);
        let _ = fs::remove_file(published);
        let _ = fs::remove_dir(&self.directory);
        let _ = self.directory.parent().map(fs::remove_dir);
    }

    /// As [`TableParts::delete`], unless the parts are of a later input or of other settings than a table that is in
    /// place: another run goes on with them.
    pub fn delete_of(&self, record: &TableRecord) {
        let is_of = |name: &PartName| name.division.is_of(&record.input, &record.settings);
        if self.names().iter().all(is_of) {
            self.delete();
        }
    }

    fn published_path(&self) -> PathBuf {
        self.directory.join("published.json")
    }
}

/// The names in a directory that are text; none if it cannot be read.
fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::record;
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { size, modified: "1.000000002".to_owned(), inode: 3 }
    }

    #[test]
    fn names_of_parts_are_read_as_they_are_written() {
        let division = Division::new(8, 1000, &stamp(1), "settings");
        let name = division.part(1).to_string();
        assert_eq!(name, format!("2-of-8-by-1000-{}", division.key));
        assert_eq!(PartName::parse(&name), Some(division.part(1)));
        let key = &division.key;
        for other in [
            format!("0-of-8-by-1000-{key}"),
            format!("9-of-8-by-1000-{key}"),
            format!("02-of-8-by-1000-{key}"),
            format!("2-of-8-by-1000-{key}-1"),
            format!("2-of-8-by-1000-{}", &key[1..]),
            format!("2-in-8-by-1000-{key}"),
            "published.json".to_owned(),
            "_reembed".to_owned(),
            String::new(),
        ] {
            assert_eq!(PartName::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn part_belongs_to_one_input_and_one_set_of_settings() {
        let division = Division::new(8, 1000, &stamp(1), "s");
        assert!(division.is_of(&stamp(1), "s"));
        assert!(!division.is_of(&stamp(2), "s") && !division.is_of(&stamp(1), "t"));
        assert_ne!(division, Division::new(8, 2000, &stamp(1), "s"));
    }

    #[test]
    fn parts_are_found_and_deleted_but_for_those_in_work() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = Places::new(directory.path(), None);
        let parts = TableParts::new(&places, Path::new("x=1/a.parquet"));
        assert!(!parts.exist() && parts.names().is_empty());
        fs::create_dir_all(places.own_directory()).expect("directories");
        parts.create().expect("a directory");
        let division = Division::new(3, 10, &stamp(1), "s");
        let stale = Division::new(3, 10, &stamp(2), "s");
        assert_eq!(parts.missing(&division), [0, 1, 2]);
        for name in [division.part(0), division.part(2), stale.part(1)] {
            fs::write(parts.place(&name).path(), "a part").expect("a file");
        }
        assert_eq!(parts.missing(&division), [1]);
        assert_eq!(parts.paths().len(), 3);
        parts.write_published(&record("x=1/a.parquet", "s")).expect("a record");
        assert_eq!(parts.published(), Some(record("x=1/a.parquet", "s")));
        // One in work, and a temporary file of a run that was killed.
        let in_work = parts.place(&division.part(0));
        fs::create_dir(in_work.work_directory()).expect("a directory");
        let lock = LockFile::acquire(in_work.path(), "this part", in_work.lock()).expect("a lock");
        let dead = in_work.work_directory().join(format!("{}.aB3xYz.tmp", division.part(1)));
        fs::write(&dead, "half of a part").expect("a file");
        parts.delete_parts();
        assert_eq!(parts.names().into_iter().collect::<Vec<_>>(), [division.part(0)]);
        assert!(!dead.exists() && parts.published().is_some());
        drop(lock);
        parts.delete();
        assert!(!places.parts().exists());
    }
}
