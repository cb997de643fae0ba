//! The places of everything that is not a table: the directory `_reembed` beside an output.
//!
//! ```text
//! out/tasks.parquet                                the output
//! out/_reembed/tasks.parquet.lock                  its lock
//! out/_reembed/tasks.parquet.aB3xYz.tmp            a file that is being written
//! out/_reembed/tasks.parquet.cache                 its vector cache
//! out/_reembed/keys/tasks.parquet.keys             the content keys of its rows
//! out/_reembed/reports/tasks.parquet/report.html   its reports
//! ```
//!
//! Spark, pyarrow, pandas and DuckDB skip names that begin with `_` when they read a directory. No name below
//! it ends in `.parquet`, so a pattern finds no file there either.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use reembed_encoder::hash::hex;
use sha2::{Digest, Sha256};

/// The name of the directory.
pub const WORK_DIRECTORY: &str = "_reembed";

/// The suffix of a temporary file.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The suffix of a temporary file of version 0.1, which lay beside its output.
pub const OLD_TEMPORARY_SUFFIX: &str = ".reembed-tmp";

const REPORTS: &str = "reports";

const LOCK_SUFFIX: &str = ".lock";

const CACHE_SUFFIX: &str = ".cache";

/// The directory of the keys of tables.
pub const KEYS: &str = "keys";

const KEYS_SUFFIX: &str = ".keys";

const OLD_LOCK_SUFFIX: &str = "reembed-lock";

const OLD_CACHE_SUFFIX: &str = ".reembed-store";

const DAMAGED_SUFFIX: &str = ".damaged";

/// A file name has at most 255 bytes; prefix and suffixes fit into the rest.
const LONGEST_KEPT_NAME: usize = 200;

/// The same for the vector cache of version 0.1: a dot, both of its suffixes, this name.
const LONGEST_OLD_CACHED_NAME: usize = 255 - 1 - OLD_CACHE_SUFFIX.len() - DAMAGED_SUFFIX.len();

/// Where an output is, and where everything is that belongs to it and is not a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPlace {
    path: PathBuf,
    /// The directory that has `_reembed`.
    root: PathBuf,
    /// The path below the root, if the output is a table of a dataset.
    in_dataset: Option<PathBuf>,
}

impl OutputPlace {
    /// The place of an output alone: its root is its directory.
    pub fn alone(path: PathBuf) -> OutputPlace {
        let root = directory_of(&path).to_owned();
        OutputPlace { path, root, in_dataset: None }
    }

    /// The place of a table of a dataset at `root`, by its path below it.
    pub fn in_dataset(root: &Path, below: &Path) -> OutputPlace {
        OutputPlace {
            path: root.join(below),
            root: root.to_owned(),
            in_dataset: Some(below.to_owned()),
        }
    }

    /// The path of the output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path below its root.
    pub fn below(&self) -> PathBuf {
        let alone = || PathBuf::from(self.path.file_name().unwrap_or_default());
        self.in_dataset.clone().unwrap_or_else(alone)
    }

    /// Whether it is a table of a dataset.
    pub fn is_in_dataset(&self) -> bool {
        self.in_dataset.is_some()
    }

    /// Its path below its root, for people.
    pub fn label(&self) -> String {
        let alone = || Path::new(self.path.file_name().unwrap_or_default());
        self.in_dataset.as_deref().unwrap_or_else(alone).to_string_lossy().into_owned()
    }

    /// The directory of what is not a table.
    pub fn work_directory(&self) -> PathBuf {
        match &self.in_dataset {
            Some(_) => self.root.join(WORK_DIRECTORY),
            None => self.path.with_file_name(WORK_DIRECTORY),
        }
    }

    /// The prefix of the temporary files: the name and a dot.
    pub fn temporary_prefix(&self) -> String {
        self.short_name() + "."
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.work_directory().join(self.short_name() + LOCK_SUFFIX)
    }

    /// The vector cache, unless `cache.path` names another file.
    pub fn cache(&self) -> PathBuf {
        self.work_directory().join(self.short_name() + CACHE_SUFFIX)
    }

    /// The keys of its rows.
    pub fn keys(&self) -> PathBuf {
        self.work_directory().join(KEYS).join(self.short_name() + KEYS_SUFFIX)
    }

    /// The directory of the reports, unless `report.dir` names another one.
    pub fn reports(&self) -> PathBuf {
        self.work_directory().join(REPORTS).join(self.short_name())
    }

    /// The prefix of the temporary files that version 0.1 made beside an output: a dot, its name, a dot.
    pub fn old_temporary_prefix(&self) -> String {
        format!(".{}.", short_name(self.path.file_name().unwrap_or_default()))
    }

    /// The lock file in version 0.1.
    pub fn old_lock(&self) -> PathBuf {
        self.path.with_file_name(self.old_temporary_prefix() + OLD_LOCK_SUFFIX)
    }

    /// The vector cache in version 0.1.
    ///
    /// The rule of that version, byte for byte: another name would lose the vectors of its caches.
    pub fn old_cache(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        let mut hidden = OsString::from(".");
        if name.len() <= LONGEST_OLD_CACHED_NAME {
            hidden.push(name);
        } else {
            let beginning: String = name.to_string_lossy().chars().take(40).collect();
            let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
            hidden.push(format!("{beginning}.{hash:.16}"));
        }
        hidden.push(OLD_CACHE_SUFFIX);
        self.path.with_file_name(hidden)
    }

    /// The name of its files: its own name, or below directories of a dataset the name and the hash of
    /// the path.
    pub fn short_name(&self) -> String {
        match &self.in_dataset {
            Some(below) if below.components().count() > 1 => hashed_name(below.as_os_str(), below),
            _ => short_name(self.path.file_name().unwrap_or_default()),
        }
    }
}

/// The new name of a damaged vector cache.
pub fn damaged_cache(cache: &Path) -> PathBuf {
    let mut name = cache.as_os_str().to_owned();
    name.push(DAMAGED_SUFFIX);
    PathBuf::from(name)
}

/// Whether a path is that of the lock file of an output.
pub fn is_lock(path: &Path) -> bool {
    output_of_lock(path).is_some()
}

/// The prefix of the temporary files of the output with a lock file, or `None` if it is another file.
pub fn temporary_prefix_of_lock(lock: &Path) -> Option<String> {
    Some(output_of_lock(lock)?.to_owned() + ".")
}

fn output_of_lock(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_suffix(LOCK_SUFFIX)
}

/// The directory of a file; `.` for a bare file name.
pub fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file name of an output. One that is long or not UTF-8 is replaced by its beginning and its hash.
fn short_name(name: &OsStr) -> String {
    match name.to_str().filter(|name| name.len() <= LONGEST_KEPT_NAME) {
        Some(name) => name.to_owned(),
        None => hashed_name(name, Path::new(name)),
    }
}

/// The beginning of the last name of a path, and the hash of `whole`.
fn hashed_name(whole: &OsStr, path: &Path) -> String {
    let hash = hex(&Sha256::digest(whole.as_encoded_bytes()));
    let name = path.file_name().unwrap_or_default();
    let beginning: String = name.to_string_lossy().chars().take(20).collect();
    format!("{beginning}-{hash:.32}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn names_are_distinct_and_fit_into_255_bytes() {
        let long = "n".repeat(254);
        let names: Vec<&OsStr> = vec![
            OsStr::new("tasks.parquet"),
            OsStr::new("tasks"),
            OsStr::from_bytes(b"\xff"),
            OsStr::from_bytes(b"\xfe"),
            OsStr::new(&long),
            OsStr::new(&long[1..]),
        ];
        let mut seen: Vec<String> = names.iter().map(|name| short_name(name)).collect();
        assert_eq!(seen[0], "tasks.parquet");
        let longest = ".cache.damaged".len().max(".123456".len() + OLD_TEMPORARY_SUFFIX.len() + 1);
        assert!(seen.iter().all(|name| name.len() + longest <= 255));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn every_place_is_below_the_work_directory() {
        let output = OutputPlace::alone("out/a.parquet".into());
        for (place, expected) in [
            (output.work_directory(), "out/_reembed"),
            (OutputPlace::alone("a.parquet".into()).work_directory(), "_reembed"),
            (output.lock(), "out/_reembed/a.parquet.lock"),
            (output.cache(), "out/_reembed/a.parquet.cache"),
            (damaged_cache(&output.cache()), "out/_reembed/a.parquet.cache.damaged"),
            (output.keys(), "out/_reembed/keys/a.parquet.keys"),
            (output.reports(), "out/_reembed/reports/a.parquet"),
        ] {
            assert_eq!(place.to_str(), Some(expected));
        }
        assert_eq!(output.temporary_prefix(), "a.parquet.");
        assert_eq!(output.label(), "a.parquet");
    }

    #[test]
    fn tables_of_a_dataset_share_a_directory_and_no_name() {
        let at = |below: &str| OutputPlace::in_dataset(Path::new("out"), Path::new(below));
        let (top, one, two) = (at("a.parquet"), at("x=1/a.parquet"), at("x=2/a.parquet"));
        // Whether it is written alone or as one of many.
        assert_eq!(top.lock(), OutputPlace::alone("out/a.parquet".into()).lock());
        assert_eq!(one.path(), Path::new("out/x=1/a.parquet"));
        assert_eq!(one.label(), "x=1/a.parquet");
        assert_eq!(one.work_directory(), Path::new("out/_reembed"));
        let names = [&top, &one, &two].map(OutputPlace::temporary_prefix);
        assert!(names.iter().all(|name| name.starts_with("a.parquet")), "{names:?}");
        assert_ne!(names[1], names[2]);
    }

    #[test]
    fn old_names_are_those_of_version_0_1() {
        let output = OutputPlace::alone("out/a".into());
        assert_eq!(output.old_lock(), Path::new("out/.a.reembed-lock"));
        assert_eq!(OutputPlace::alone("a".into()).old_lock(), Path::new(".a.reembed-lock"));
        assert_eq!(output.old_temporary_prefix(), ".a.");
        let at = |name: &[u8]| {
            let output = Path::new("out").join(OsStr::from_bytes(name));
            let path = OutputPlace::alone(output).old_cache();
            path.strip_prefix("out").expect("a sibling").as_os_str().as_bytes().to_vec()
        };
        assert_eq!(at(b"a.parquet"), b".a.parquet.reembed-store");
        // A name that is not UTF-8 stands as it is.
        assert_eq!(at(b"\xff.parquet"), b".\xff.parquet.reembed-store");
        let kept = [b'n'; 232];
        assert_eq!(at(&kept), [b".", &kept[..], b".reembed-store"].concat());
        assert_eq!(
            String::from_utf8_lossy(&at(&[b'n'; 233])),
            format!(".{}.b9387521da3bc7fd.reembed-store", "n".repeat(40))
        );
    }
}
