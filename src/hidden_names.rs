//! The places of everything that is not a table: the directory `_reembed` beside an output.
//!
//! ```text
//! out/tasks.parquet                                the output
//! out/_reembed/tasks.parquet.lock                  its lock
//! out/_reembed/tasks.parquet.aB3xYz.tmp            a file that is being written
//! out/_reembed/tasks.parquet.cache                 its vector cache
//! out/_reembed/reports/tasks.parquet/report.html   its reports
//! ```
//!
//! Spark, pyarrow, pandas and DuckDB skip names that begin with `_` when they read a directory. No name below
//! it ends in `.parquet`, so a pattern finds no file there either.

use std::ffi::OsString;
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

const OLD_LOCK_SUFFIX: &str = "reembed-lock";

const OLD_CACHE_SUFFIX: &str = ".reembed-store";

const DAMAGED_SUFFIX: &str = ".damaged";

/// A file name has at most 255 bytes; prefix and suffixes fit into the rest.
const LONGEST_KEPT_NAME: usize = 200;

/// The same for the vector cache of version 0.1: a dot, both of its suffixes, this name.
const LONGEST_OLD_CACHED_NAME: usize = 255 - 1 - OLD_CACHE_SUFFIX.len() - DAMAGED_SUFFIX.len();

/// The directory of what is not a table, beside an output.
pub fn work_directory(output: &Path) -> PathBuf {
    output.with_file_name(WORK_DIRECTORY)
}

/// The prefix of the temporary files of an output: its name and a dot.
pub fn temporary_prefix(output: &Path) -> String {
    short_name(output) + "."
}

/// The lock file of an output.
pub fn lock(output: &Path) -> PathBuf {
    work_directory(output).join(short_name(output) + LOCK_SUFFIX)
}

/// The vector cache of an output, unless `cache.path` names another file.
pub fn cache(output: &Path) -> PathBuf {
    work_directory(output).join(short_name(output) + CACHE_SUFFIX)
}

/// The directory of the reports of an output, unless `report.dir` names another one.
pub fn reports(output: &Path) -> PathBuf {
    work_directory(output).join(REPORTS).join(short_name(output))
}

/// The prefix of the temporary files that version 0.1 made beside an output: a dot, its name, a dot.
pub fn old_temporary_prefix(output: &Path) -> String {
    format!(".{}.", short_name(output))
}

/// The lock file of an output in version 0.1.
pub fn old_lock(output: &Path) -> PathBuf {
    output.with_file_name(old_temporary_prefix(output) + OLD_LOCK_SUFFIX)
}

/// The vector cache of an output in version 0.1.
///
/// The rule of that version, byte for byte: another name would lose the vectors of its caches.
pub fn old_cache(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    if name.len() <= LONGEST_OLD_CACHED_NAME {
        hidden.push(name);
    } else {
        let beginning: String = name.to_string_lossy().chars().take(40).collect();
        let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
        hidden.push(format!("{beginning}.{hash:.16}"));
    }
    hidden.push(OLD_CACHE_SUFFIX);
    output.with_file_name(hidden)
}

/// The new name of a damaged vector cache.
pub fn damaged_cache(cache: &Path) -> PathBuf {
    let mut name = cache.as_os_str().to_owned();
    name.push(DAMAGED_SUFFIX);
    PathBuf::from(name)
}

/// The directory of a file; `.` for a bare file name.
pub fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file name of an output. One that is long or not UTF-8 is replaced by its beginning and its hash.
fn short_name(output: &Path) -> String {
    let name = output.file_name().unwrap_or_default();
    match name.to_str().filter(|name| name.len() <= LONGEST_KEPT_NAME) {
        Some(name) => name.to_owned(),
        None => {
            let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
            let beginning: String = name.to_string_lossy().chars().take(20).collect();
            format!("{beginning}-{hash:.32}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
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
        let mut seen: Vec<String> = names.iter().map(|name| short_name(Path::new(name))).collect();
        assert_eq!(seen[0], "tasks.parquet");
        let longest = ".cache.damaged".len().max(".123456".len() + OLD_TEMPORARY_SUFFIX.len() + 1);
        assert!(seen.iter().all(|name| name.len() + longest <= 255));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn every_place_is_below_the_work_directory() {
        let output = Path::new("out/a.parquet");
        for (place, expected) in [
            (work_directory(output), "out/_reembed"),
            (work_directory(Path::new("a.parquet")), "_reembed"),
            (lock(output), "out/_reembed/a.parquet.lock"),
            (cache(output), "out/_reembed/a.parquet.cache"),
            (damaged_cache(&cache(output)), "out/_reembed/a.parquet.cache.damaged"),
            (reports(output), "out/_reembed/reports/a.parquet"),
        ] {
            assert_eq!(place.to_str(), Some(expected));
        }
        assert_eq!(temporary_prefix(output), "a.parquet.");
    }

    #[test]
    fn old_names_are_those_of_version_0_1() {
        let output = Path::new("out/a");
        assert_eq!(old_lock(output), Path::new("out/.a.reembed-lock"));
        assert_eq!(old_lock(Path::new("a")), Path::new(".a.reembed-lock"));
        assert_eq!(old_temporary_prefix(output), ".a.");
        let at = |name: &[u8]| {
            let path = old_cache(&Path::new("out").join(OsStr::from_bytes(name)));
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
