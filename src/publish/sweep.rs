//! Deletes the temporary files that killed runs left beside an output.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::hidden_names::{TEMPORARY_SUFFIX, directory_of, hidden_prefix};

/// Number of random letters and digits between the output's name and [`TEMPORARY_SUFFIX`].
const RANDOM: usize = 6;

/// Deletes the temporary files of an output. The caller holds its lock, so they are of dead runs.
///
/// # Errors
/// `Target`, naming the file that cannot be deleted.
pub fn delete_temporaries(target: &Path) -> Result<()> {
    let refuse = |path: &Path, message: &str, cause| {
        Error::new(ErrorKind::Target, message)
            .in_file(path)
            .advice("check that the directory of the output is readable and writable")
            .caused_by(cause)
    };
    let directory = directory_of(target);
    let unreadable = |cause| refuse(directory, "the directory of the output cannot be read", cause);
    let prefix = hidden_prefix(target);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if is_temporary(&entry.file_name(), &prefix) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|cause| {
                refuse(&path, "the temporary file of an earlier run cannot be deleted", cause)
            })?;
        }
    }
    Ok(())
}

/// Whether a name is that of a temporary file of the output with this hidden prefix.
fn is_temporary(name: &OsStr, prefix: &str) -> bool {
    let random = name
        .to_str()
        .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(TEMPORARY_SUFFIX))
        .unwrap_or("");
    random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporaries_of_the_same_output_are_deleted() {
        for (name, expected) in [
            (".tasks.parquet.aB3xYz.reembed-tmp", true),
            (".tasks.parquet.000000.reembed-tmp", true),
            // Of another output, also one whose name begins the same.
            (".tasks.parquet.2.aB3xYz.reembed-tmp", false),
            (".other.parquet.aB3xYz.reembed-tmp", false),
            (".tasks.parquet.old.aB3xYz.reembed-tmp", false),
            // Other hidden files of this output.
            (".tasks.parquet.reembed-lock", false),
            (".tasks.parquet.reembed-tmp", false),
            // Files of users.
            ("tasks.parquet", false),
            (".tasks.parquet.aB3xYz.tmp", false),
            (".tasks.parquet.aB3xY.reembed-tmp", false),
            (".tasks.parquet.aB3xYz1.reembed-tmp", false),
            (".tasks.parquet.aB3x-z.reembed-tmp", false),
            (".tasks.parquet.aB3xYz.reembed-tmp.bak", false),
        ] {
            assert_eq!(is_temporary(OsStr::new(name), ".tasks.parquet."), expected, "{name}");
        }
    }
}
