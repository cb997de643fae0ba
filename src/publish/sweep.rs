//! What runs that were killed left beside an output.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::hidden_names::{TEMPORARY, directory_of, hidden_prefix};

/// Letters and digits between the target's name and [`TEMPORARY`].
const RANDOM: usize = 6;

/// Deletes the temporaries of a target. Its lock has to be held: then they are those of dead runs.
///
/// # Errors
/// `Target`, naming the temporary that cannot be deleted.
pub fn sweep(target: &Path) -> Result<()> {
    let refuse = |path: &Path, message: &str, cause| {
        Error::new(ErrorKind::Target, message)
            .in_file(path)
            .advice("check that the directory of the output can be read and written to")
            .caused_by(cause)
    };
    let directory = directory_of(target);
    let unread = |cause| refuse(directory, "the directory of the output cannot be read", cause);
    let prefix = hidden_prefix(target);
    for entry in fs::read_dir(directory).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if is_temporary(&entry.file_name(), &prefix) {
            let path = entry.path();
            fs::remove_file(&path)
                .map_err(|cause| refuse(&path, "what a dead run left cannot be deleted", cause))?;
        }
    }
    Ok(())
}

/// Whether a name is that of a temporary of the target whose hidden names begin with `prefix`.
fn is_temporary(name: &OsStr, prefix: &str) -> bool {
    let random = name
        .to_str()
        .and_then(|name| name.strip_prefix(prefix)?.strip_suffix(TEMPORARY))
        .unwrap_or("");
    random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_targets_own_temporaries_are_swept() {
        for (name, expected) in [
            (".tasks.parquet.aB3xYz.reembed-tmp", true),
            (".tasks.parquet.000000.reembed-tmp", true),
            // Another target's, also one whose name begins like this one's.
            (".tasks.parquet.2.aB3xYz.reembed-tmp", false),
            (".other.parquet.aB3xYz.reembed-tmp", false),
            (".tasks.parquet.old.aB3xYz.reembed-tmp", false),
            // Something else of this target's.
            (".tasks.parquet.reembed-lock", false),
            (".tasks.parquet.reembed-tmp", false),
            // What users call theirs.
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
