//! The names of what lies hidden beside an output while it is made.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::digest::hex;

/// How the name of a temporary ends. No reader takes it for data.
pub const TEMPORARY: &str = ".reembed-tmp";

const LOCK: &str = "reembed-lock";

/// A name may have 255 bytes; what is put around the target's is shorter than the rest.
const LONGEST_KEPT: usize = 200;

/// How the names of all that belongs to a target begin: a dot, the target's own name, a dot. Of a name that is long
/// or no text, the beginning and its hash.
pub fn hidden_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    match name.to_str().filter(|name| name.len() <= LONGEST_KEPT) {
        Some(name) => format!(".{name}."),
        None => {
            let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
            let beginning: String = name.to_string_lossy().chars().take(20).collect();
            format!(".{beginning}-{hash:.32}.")
        }
    }
}

/// The lock beside a target.
pub fn lock(target: &Path) -> PathBuf {
    directory_of(target).join(hidden_prefix(target) + LOCK)
}

/// The directory that a target is in.
pub fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn every_name_has_hidden_ones_of_its_own_that_a_directory_can_hold() {
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
        assert!(seen.iter().all(|name| name.len() + "123456".len() + TEMPORARY.len() <= 255));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), names.len());
        assert_eq!(lock(Path::new("out/a")), Path::new("out/.a.reembed-lock"));
        assert_eq!(lock(Path::new("a")), Path::new("./.a.reembed-lock"));
    }
}
