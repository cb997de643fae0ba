//! What the system offers for files that several processes use: advisory locks, and directories whose names last.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// An exclusive advisory lock on a file of its own. The system frees it when the process is gone, however it went.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Opens the lock file, or makes it. A link or a pipe under its name is not followed.
    ///
    /// # Errors
    /// The system's; also when there is something else than a regular file.
    pub fn open(path: &Path) -> io::Result<FileLock> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags.cast_signed())
            .open(path)?;
        match file.metadata()?.is_file() {
            true => Ok(FileLock(file)),
            false => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// Opens a lock file that another process made, to see whether it is held.
    ///
    /// # Errors
    /// The system's.
    pub fn open_existing(path: &Path) -> io::Result<FileLock> {
        File::open(path).map(FileLock)
    }

    /// Takes the lock if nobody holds it, and says whether it did. It is free again when this is dropped.
    ///
    /// # Errors
    /// The system's: a file system may have no locks.
    pub fn try_take(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    /// The lock file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Makes the names in a directory last through a power cut.
///
/// # Errors
/// The system's.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory in one that exists, and its name last; nothing where there is one.
///
/// # Errors
/// The system's.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(cause) => Err(cause),
        Ok(()) => match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => sync_directory(parent),
            None => sync_directory(Path::new(".")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_free_when_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let first = FileLock::open(&path).expect("a file");
        let second = FileLock::open(&path).expect("the same file");
        assert!(first.try_take().expect("locks"));
        assert!(!second.try_take().expect("locks"));
        drop(first);
        assert!(second.try_take().expect("locks"));
    }

    #[test]
    fn a_link_under_the_name_of_a_lock_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (precious, link) = (directory.path().join("precious"), directory.path().join("lock"));
        fs::write(&precious, "text").expect("a file");
        std::os::unix::fs::symlink(&precious, &link).expect("a link");
        FileLock::open(&link).expect_err("it is a link");
        FileLock::open(directory.path()).expect_err("it is a directory");
        assert_eq!(fs::read(&precious).expect("a file"), b"text");
    }

    #[test]
    fn make_directory_takes_what_exists_and_makes_one_level() {
        let directory = tempfile::tempdir().expect("a directory");
        let new = directory.path().join("new");
        make_directory(&new).expect("it is made");
        make_directory(&new).expect("it exists");
        let deep = directory.path().join("a/b");
        assert_eq!(make_directory(&deep).expect_err("no parent").kind(), io::ErrorKind::NotFound);
        fs::write(directory.path().join("file"), "").expect("a file");
        make_directory(&directory.path().join("file")).expect_err("it is a file");
    }
}
