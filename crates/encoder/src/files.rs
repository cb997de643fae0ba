//! Files that several processes share: advisory locks, and directories whose entries are durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// An exclusive advisory lock on a lock file. The operating system releases it when the process
/// ends.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    /// The path, if [`FileLock::open`] created the file.
    created: Option<PathBuf>,
}

impl FileLock {
    /// Opens the lock file, or creates it. It does not follow a symbolic link.
    ///
    /// # Errors
    /// The error of the operating system; an error if the path is not a regular file.
    pub fn open(path: &Path) -> io::Result<FileLock> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(false).custom_flags(flags.cast_signed());
        let (file, created) = match options.clone().create_new(true).open(path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                (options.create(true).open(path)?, None)
            }
            created => (created?, Some(path.to_owned())),
        };
        match file.metadata()?.is_file() {
            true => Ok(FileLock { file, created }),
            false => Err(io::Error::other("not a regular file")),
        }
    }

    /// Opens the lock file of another process, to test whether that process holds the lock.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn open_existing(path: &Path) -> io::Result<FileLock> {
        File::open(path).map(|file| FileLock { file, created: None })
    }

    /// Acquires the lock without waiting; `false` if another process holds it. Dropping `self`
    /// releases it.
    ///
    /// # Errors
    /// The error of the operating system, for example on a file system [without
    /// locks](lacks_locks). A lock file that [`FileLock::open`] created is then deleted.
    pub fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(cause)) => {
                // One that existed may be the lock of a run that had better luck.
                if let Some(path) = &self.created {
                    let _ = fs::remove_file(path);
                }
                Err(cause)
            }
        }
    }

    /// The lock file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Whether the error of a lock means that the file system has no locks: Lustre without `flock`, NFS
/// without a lock daemon, some FUSE file systems.
pub fn lacks_locks(cause: &io::Error) -> bool {
    [Errno::NOLCK, Errno::NOSYS, Errno::NOTSUP].map(Some).contains(&Errno::from_io_error(cause))
}

/// What an fsync of a directory achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum DirectorySync {
    /// The entries of the directory are durable.
    Durable,
    /// The file system has no fsync of directories (CIFS, some FUSE file systems). When entries
    /// become durable is up to it.
    NotOffered,
}

/// Calls fsync on a directory, which makes its entries durable where the file system offers that.
///
/// # Errors
/// The error of the operating system. `EINVAL` and `ENOTSUP` are [`DirectorySync::NotOffered`].
pub fn sync_directory(directory: &Path) -> io::Result<DirectorySync> {
    directory_sync(File::open(directory)?.sync_all())
}

fn directory_sync(synced: io::Result<()>) -> io::Result<DirectorySync> {
    match synced {
        Ok(()) => Ok(DirectorySync::Durable),
        Err(cause) => match Errno::from_io_error(&cause) {
            Some(Errno::INVAL | Errno::NOTSUP) => Ok(DirectorySync::NotOffered),
            _ => Err(cause),
        },
    }
}

/// Creates a directory, not its parents, and makes its entry durable where the file system offers
/// that. Returns whether it is new: an existing directory is left as it is.
///
/// # Errors
/// The error of the operating system.
pub fn create_directory(directory: &Path) -> io::Result<bool> {
    match fs::create_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {
            Ok(false)
        }
        Err(cause) => Err(cause),
        Ok(()) => {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            let _: DirectorySync = sync_directory(parent.unwrap_or(Path::new(".")))?;
            Ok(true)
        }
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
        assert!(create_directory(&new).expect("it is created"));
        assert!(!create_directory(&new).expect("it exists"));
        let deep = directory.path().join("a/b");
        assert_eq!(create_directory(&deep).expect_err("no parent").kind(), io::ErrorKind::NotFound);
        fs::write(directory.path().join("file"), "").expect("a file");
        create_directory(&directory.path().join("file")).expect_err("it is a file");
    }

    #[test]
    fn what_a_file_system_does_not_offer_is_told_from_failures() {
        use rustix::io::Errno;
        for (errno, not_offered, no_locks) in [
            (Errno::INVAL, true, false),
            (Errno::NOTSUP, true, true),
            (Errno::NOSYS, false, true),
            (Errno::NOLCK, false, true),
            (Errno::IO, false, false),
            (Errno::NOSPC, false, false),
            (Errno::ROFS, false, false),
        ] {
            let synced = directory_sync(Err(errno.into())).ok();
            assert_eq!(synced, not_offered.then_some(DirectorySync::NotOffered), "{errno}");
            assert_eq!(lacks_locks(&errno.into()), no_locks, "{errno}");
        }
        assert_eq!(directory_sync(Ok(())).expect("it is durable"), DirectorySync::Durable);
    }
}
