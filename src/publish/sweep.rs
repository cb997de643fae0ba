//! Deletes the temporary files that killed runs of an output left.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::hidden_names::{
    OLD_TEMPORARY_SUFFIX, OutputPlace, TEMPORARY_SUFFIX, directory_of, temporary_prefix_of_lock,
};

/// Number of random letters and digits between prefix and suffix.
const RANDOM: usize = 6;

/// Deletes the temporary files of an output, those of version 0.1 too. The caller holds its lock, so they are of
/// dead runs.
///
/// # Errors
/// `Target`, naming the file that cannot be deleted.
pub fn delete_temporaries(output: &OutputPlace) -> Result<()> {
    delete(&output.work_directory(), &output.temporary_prefix(), TEMPORARY_SUFFIX)?;
    if output.is_in_dataset() {
        // That version had no datasets, and their directories may be large.
        return Ok(());
    }
    delete(directory_of(output.path()), &output.old_temporary_prefix(), OLD_TEMPORARY_SUFFIX)
}

/// Deletes those of the output with a lock file, for a caller who does not know its path and holds this lock.
///
/// # Errors
/// `Target`, naming the file that cannot be deleted.
pub fn delete_temporaries_of_lock(lock: &Path) -> Result<()> {
    let prefix = temporary_prefix_of_lock(lock);
    prefix.map_or(Ok(()), |prefix| delete(directory_of(lock), &prefix, TEMPORARY_SUFFIX))
}

/// Deletes those that lie [beside](super::create_temporary_beside) a target. The caller holds the lock of all its writers.
///
/// # Errors
/// `Target`, naming the file that cannot be deleted.
pub fn delete_temporaries_beside(target: &Path) -> Result<()> {
    delete(directory_of(target), &prefix_beside(target), TEMPORARY_SUFFIX)
}

/// The prefix of temporary files beside a target.
pub fn prefix_beside(target: &Path) -> String {
    format!(".{}", OutputPlace::alone(target.to_owned()).temporary_prefix())
}

fn delete(directory: &Path, prefix: &str, suffix: &str) -> Result<()> {
    let refuse = |path: &Path, message: &str, cause| {
        Error::new(ErrorKind::Target, message)
            .in_file(path)
            .advice("check that the directory of the output is readable and writable")
            .caused_by(cause)
    };
    let unreadable = |cause| refuse(directory, "the directory of the output cannot be read", cause);
    let entries = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(unreadable)?,
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if is_temporary(&entry.file_name(), prefix, suffix) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|cause| {
                refuse(&path, "the temporary file of an earlier run cannot be deleted", cause)
            })?;
        }
    }
    Ok(())
}

/// Whether a name is that of a temporary file of the output with this prefix.
fn is_temporary(name: &OsStr, prefix: &str, suffix: &str) -> bool {
    let random = name
        .to_str()
        .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(suffix))
        .unwrap_or("");
    random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporaries_of_the_same_output_are_deleted() {
        for (name, expected) in [
            ("tasks.parquet.aB3xYz.tmp", true),
            ("tasks.parquet.000000.tmp", true),
            // Of another output, also one whose name begins the same.
            ("tasks.parquet.2.aB3xYz.tmp", false),
            ("other.parquet.aB3xYz.tmp", false),
            ("tasks.parquet.old.aB3xYz.tmp", false),
            // Other files of this output.
            ("tasks.parquet.lock", false),
            ("tasks.parquet.cache", false),
            ("tasks.parquet.cache.damaged", false),
            ("tasks.parquet.tmp", false),
            // Files of users.
            ("tasks.parquet", false),
            ("tasks.parquet.aB3xY.tmp", false),
            ("tasks.parquet.aB3xYz1.tmp", false),
            ("tasks.parquet.aB3x-z.tmp", false),
            ("tasks.parquet.aB3xYz.tmp.bak", false),
            (".tasks.parquet.aB3xYz.tmp", false),
        ] {
            assert_eq!(
                is_temporary(OsStr::new(name), "tasks.parquet.", ".tmp"),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn temporaries_of_both_places_are_deleted() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = OutputPlace::alone(directory.path().join("t"));
        delete_temporaries(&target).expect("there is no `_reembed`");
        fs::create_dir(target.work_directory()).expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let dead = ["_reembed/t.aB3xYz.tmp", ".t.aB3xYz.reembed-tmp"].map(at);
        let others =
            ["t.aB3xYz.tmp", "_reembed/.t.aB3xYz.reembed-tmp", ".u.aB3xYz.reembed-tmp"].map(at);
        for path in dead.iter().chain(&others) {
            fs::write(path, "half of a file").expect("a file");
        }
        delete_temporaries(&target).expect("they are deleted");
        assert_eq!(dead.map(|path| path.exists()), [false; 2]);
        assert_eq!(others.map(|path| path.exists()), [true; 3]);
    }
}
