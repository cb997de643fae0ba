//! Writes a small file atomically: under a hidden name beside it, then renamed. A reader never sees half of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes and fsyncs a file in an existing directory, with the permissions of the umask.
///
/// # Errors
/// When the path has no file name, and what the system answers.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let hidden = path.with_file_name(hidden);
    let written = File::create(&hidden).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&hidden, path)).inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })
}

/// The final name of a file that [`write`] left under its hidden name, such as `.report.json.4711`.
pub fn final_name(hidden: &str) -> Option<&str> {
    let (name, pid) = hidden.strip_prefix('.')?.rsplit_once('.')?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_pid.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_the_file_and_leaves_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("report.json");
        for text in ["first", "second"] {
            write(&path, text).expect("a file");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
        }
        write(directory.path(), "text").expect_err("a directory is in the way");
        assert_eq!(fs::read_dir(&directory).expect("entries").count(), 1);
    }

    #[test]
    fn final_name_needs_a_dot_and_a_pid() {
        for (hidden, name) in [
            (".report.json.4711", Some("report.json")),
            ("report.json.4711", None),
            (".report.json.old", None),
            (".report.", None),
        ] {
            assert_eq!(final_name(hidden), name, "{hidden:?}");
        }
    }
}
