//! Files that several processes share: advisory locks, and directories whose entries are durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// An exclusive advisory lock on a lock file. The operating system releases it when the process
/// ends.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Opens the lock file, or creates it. It does not follow a symbolic link.
    ///
    /// # Errors
    /// The error of the operating system; an error if the path is not a regular file.
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
            false => Err(io::Error::other("not a regular file")),
        }
    }

    /// Opens the lock file of another process, to test whether that process holds the lock.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn open_existing(path: &Path) -> io::Result<FileLock> {
        File::open(path).map(FileLock)
    }

    /// Acquires the lock without waiting; `false` if another process holds it. Dropping `self`
    /// releases it.
    ///
    /// # Errors
    /// The error of the operating system, for example on a file system without locks.
    pub fn try_lock(&self) -> io::Result<bool> {
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

/// Calls fsync on a directory, which makes its entries durable.
///
/// # Errors
/// The error of the operating system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates a directory, not its parents, and makes its entry durable. An existing directory is left
/// as it is.
///
/// # Errors
/// The error of the operating system.
pub fn create_directory(directory: &Path) -> io::Result<()> {
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
    fn lock_is_exclusive_and_dropping_releases_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let first = FileLock::open(&path).expect("a file");
        let second = FileLock::open(&path).expect("the same file");
        assert!(first.try_lock().expect("locks"));
        assert!(!second.try_lock().expect("locks"));
        drop(first);
        assert!(second.try_lock().expect("locks"));
    }

    #[test]
    fn lock_file_that_is_a_link_or_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (precious, link) = (directory.path().join("precious"), directory.path().join("lock"));
        fs::write(&precious, "text").expect("a file");
        std::os::unix::fs::symlink(&precious, &link).expect("a link");
        FileLock::open(&link).expect_err("it is a link");
        FileLock::open(directory.path()).expect_err("it is a directory");
        assert_eq!(fs::read(&precious).expect("a file"), b"text");
    }

    #[test]
    fn create_directory_accepts_existing_and_creates_one_level() {
        let directory = tempfile::tempdir().expect("a directory");
        let new = directory.path().join("new");
        create_directory(&new).expect("it is created");
        create_directory(&new).expect("it exists");
        let deep = directory.path().join("a/b");
        assert_eq!(create_directory(&deep).expect_err("no parent").kind(), io::ErrorKind::NotFound);
        fs::write(directory.path().join("file"), "").expect("a file");
        create_directory(&directory.path().join("file")).expect_err("it is a file");
    }
}
