//! The names of what lies hidden beside an output: temporaries, its lock, its vector cache. One rule for all.

use std::path::{Path, PathBuf};

use reembed_encoder::hash::hex;
use sha2::{Digest, Sha256};

/// How the name of a temporary ends. No reader takes it for data.
pub const TEMPORARY: &str = ".reembed-tmp";

const LOCK: &str = "reembed-lock";

/// As in version 0.1, whose caches are read.
const CACHE: &str = "reembed-store";

/// A name may have 255 bytes; what is put around the output's is shorter than the rest.
const LONGEST_KEPT: usize = 200;

/// How the names of all that belongs to an output begin: a dot, the output's own name, a dot. Of a name that is long
/// or no text, the beginning and its hash.
pub fn hidden_prefix(output: &Path) -> String {
    let name = output.file_name().unwrap_or_default();
    match name.to_str().filter(|name| name.len() <= LONGEST_KEPT) {
        Some(name) => format!(".{name}."),
        None => {
            let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
            let beginning: String = name.to_string_lossy().chars().take(20).collect();
            format!(".{beginning}-{hash:.32}.")
        }
    }
}

/// The lock beside an output.
pub fn lock(output: &Path) -> PathBuf {
    beside(output, LOCK)
}

/// The vector cache beside an output. Its own suffix is the last, so that no reader takes it for a table.
pub fn cache(output: &Path) -> PathBuf {
    beside(output, CACHE)
}

/// The directory that an output is in.
pub fn directory_of(output: &Path) -> &Path {
    output.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(output: &Path, what: &str) -> PathBuf {
    output.with_file_name(hidden_prefix(output) + what)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn each_output_has_hidden_names_that_a_directory_can_hold() {
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
        let longest = CACHE.len() + ".damaged".len();
        assert!(seen.iter().all(|name| name.len() + longest <= 255));
        assert!(seen.iter().all(|name| name.len() + "123456".len() + TEMPORARY.len() <= 255));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
        assert_eq!(lock(Path::new("out/a")), Path::new("out/.a.reembed-lock"));
        assert_eq!(lock(Path::new("a")), Path::new(".a.reembed-lock"));
        assert_eq!(cache(Path::new("out/a.parquet")), Path::new("out/.a.parquet.reembed-store"));
    }
}
