//! The lock that version 0.1 kept beside an output.

use std::fs;
use std::io::{self, Read};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::FileLock;

use crate::hidden_names::OutputPlace;

/// Checks that no program of version 0.1 is writing this output. It does not see the lock of this version.
///
/// # Errors
/// `Locked`, naming its PID; `Target` when its lock file cannot be read.
pub fn check_old_lock(output: &OutputPlace) -> Result<()> {
    if output.is_in_dataset() {
        // That version had no datasets.
        return Ok(());
    }
    let path = output.old_lock();
    let unreadable = |cause| {
        Error::new(ErrorKind::Target, "the lock file of version 0.1 cannot be read")
            .in_file(&path)
            .advice("if no reembed 0.1 is running, delete the file")
            .caused_by(cause)
    };
    match fs::symlink_metadata(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unreadable(io::Error::other("not a regular file"))),
        Err(cause) => return Err(unreadable(cause)),
    }
    let lock = match FileLock::open_existing(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        lock => lock.map_err(unreadable)?,
    };
    if lock.try_lock().map_err(unreadable)? {
        // A killed run left it. Version 0.1 deletes it in the same way, while it holds the lock.
        let _ = fs::remove_file(&path);
        return Ok(());
    }
    let mut pid = String::new();
    let holder = match lock.file().take(20).read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {} of", pid.trim()),
        _ => "a process of".to_owned(),
    };
    let message = format!("{holder} reembed 0.1 is writing this output");
    Err(Error::new(ErrorKind::Locked, message)
        .in_file(output.path())
        .advice("wait until it ends, or stop it; let one version alone write an output"))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn old_lock_that_is_held_is_noticed_and_a_dead_one_is_deleted() {
        let directory = tempfile::tempdir().expect("a directory");
        let output = OutputPlace::alone(directory.path().join("tasks.parquet"));
        let path = output.old_lock();
        check_old_lock(&output).expect("there is none");
        let held = FileLock::open(&path).expect("a file");
        assert!(held.try_lock().expect("locks"));
        fs::write(&path, "4711").expect("a PID");
        let error = check_old_lock(&output).expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("process 4711 of reembed 0.1"), "{error}");
        drop(held);
        check_old_lock(&output).expect("it is free");
        assert!(!path.exists());
        std::os::unix::fs::symlink("elsewhere", &path).expect("a link");
        assert_eq!(check_old_lock(&output).expect_err("a link").kind(), ErrorKind::Target);
    }
}
