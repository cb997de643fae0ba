//! The names of the hidden files beside an output: temporary files, its lock, its vector cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reembed_encoder::hash::hex;
use sha2::{Digest, Sha256};

/// The suffix of a temporary file. No reader takes it for a table.
pub const TEMPORARY_SUFFIX: &str = ".reembed-tmp";

const LOCK_SUFFIX: &str = "reembed-lock";

/// The suffix that version 0.1 used, whose caches are still read.
const CACHE_SUFFIX: &str = ".reembed-store";

const DAMAGED_SUFFIX: &str = ".damaged";

/// A file name has at most 255 bytes; prefix and suffixes fit into the rest.
const LONGEST_KEPT_NAME: usize = 200;

/// The same for the vector cache, as version 0.1 counted: a dot, both of its suffixes, this name.
const LONGEST_CACHED_NAME: usize = 255 - 1 - CACHE_SUFFIX.len() - DAMAGED_SUFFIX.len();

/// The prefix of all hidden names of an output: a dot, the output's name, a dot.
///
/// A name that is long or not UTF-8 is replaced by its beginning and its hash.
pub fn hidden_prefix(output: &Path) -> String {
    let name = output.file_name().unwrap_or_default();
    match name.to_str().filter(|name| name.len() <= LONGEST_KEPT_NAME) {
        Some(name) => format!(".{name}."),
        None => {
            let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
            let beginning: String = name.to_string_lossy().chars().take(20).collect();
            format!(".{beginning}-{hash:.32}.")
        }
    }
}

/// The lock file of an output.
pub fn lock(output: &Path) -> PathBuf {
    beside(output, LOCK_SUFFIX)
}

/// The vector cache of an output, unless `cache.path` names another file.
///
/// The rule of version 0.1, byte for byte: another name would lose the vectors of its caches.
pub fn cache(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    if name.len() <= LONGEST_CACHED_NAME {
        hidden.push(name);
    } else {
        let beginning: String = name.to_string_lossy().chars().take(40).collect();
        let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
        hidden.push(format!("{beginning}.{hash:.16}"));
    }
    hidden.push(CACHE_SUFFIX);
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

fn beside(output: &Path, suffix: &str) -> PathBuf {
    output.with_file_name(hidden_prefix(output) + suffix)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn hidden_names_are_distinct_and_fit_into_255_bytes() {
        let long = "n".repeat(254);
        let names: Vec<&OsStr> = vec![
            OsStr::new("tasks.parquet"),
            OsStr::new("tasks"),
            OsStr::from_bytes(b"\xff"),
            OsStr::from_bytes(b"\xfe"),
            OsStr::new(&long),
            OsStr::new(&long[1..]),
        ];
        let mut seen: Vec<String> =
            names.iter().map(|name| hidden_prefix(Path::new(name))).collect();
        assert_eq!(seen[0], ".tasks.parquet.");
        assert!(seen.iter().all(|name| name.len() + LOCK_SUFFIX.len() <= 255));
        let temporary = "123456".len() + TEMPORARY_SUFFIX.len();
        assert!(seen.iter().all(|name| name.len() + temporary <= 255));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
        assert_eq!(lock(Path::new("out/a")), Path::new("out/.a.reembed-lock"));
        assert_eq!(lock(Path::new("a")), Path::new(".a.reembed-lock"));
        let damaged = damaged_cache(Path::new("out/.a.reembed-store"));
        assert_eq!(damaged, Path::new("out/.a.reembed-store.damaged"));
    }

    #[test]
    fn caches_have_the_names_that_version_0_1_gave_them() {
        let at = |name: &[u8]| {
            let path = cache(&Path::new("out").join(OsStr::from_bytes(name)));
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
        assert!(at(&kept).len() + DAMAGED_SUFFIX.len() <= 255);
    }
}
