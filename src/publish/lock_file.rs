//! One writer per output: an advisory lock on a file in the directory `_reembed` beside it.
//!
//! The kernel releases the lock when its process exits, so a lock is never stale. The PID in the
//! file is for messages only. The holder deletes the file before it releases the lock; a process
//! that opened the file earlier may then lock a deleted file. After taking the lock, a process therefore
//! checks that the path still leads to the locked file, and otherwise starts over.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::{FileLock, lacks_locks};

use crate::file_id::FileId;

/// Attempts to lock a file that other runs keep deleting.
const ATTEMPTS: usize = 100;

/// The locked lock file of an output. Dropping it releases the lock.
pub struct LockFile {
    lock: FileLock,
    path: PathBuf,
    /// Whether this process holds the lock.
    is_owner: bool,
}

impl LockFile {
    /// Takes the lock of an output, the file at `path`, without waiting. `what` is locked, for messages: "this output".
    ///
    /// # Errors
    /// `Locked`, naming the PID of the holder; `Target` when the file system refuses the lock.
    pub fn acquire(target: &Path, what: &str, path: PathBuf) -> Result<LockFile> {
        let refuse = |message: &str, cause: io::Error| lock_error(target, message, cause);
        for _ in 0..ATTEMPTS {
            let lock = FileLock::open(&path)
                .map_err(|cause| refuse("its lock file cannot be opened", cause))?;
            if !lock.try_lock().map_err(|cause| refuse("its lock cannot be taken", cause))? {
                return Err(held_by_another(target, what, lock.file()));
            }
            let lock = LockFile { lock, path: path.clone(), is_owner: true };
            if leads_to(&path, lock.lock.file())
                .map_err(|cause| refuse("its lock file cannot be read", cause))?
            {
                lock.write_pid()
                    .map_err(|cause| refuse("its lock file cannot be written", cause))?;
                return Ok(lock);
            }
        }
        Err(Error::new(ErrorKind::Locked, "other runs take and release its lock continually")
            .in_file(target)
            .advice("start one run at a time for each output"))
    }

    /// The lock of an output, the file at `path`, that the parent process holds. Dropping it does not release the lock.
    ///
    /// # Errors
    /// `Locked` when no process holds the lock; `Target` when the lock file cannot be opened.
    pub fn held_by_parent(target: &Path, path: PathBuf) -> Result<LockFile> {
        let released = || {
            Error::new(ErrorKind::Locked, "the process that held its lock has exited")
                .in_file(target)
                .advice("start the run again")
        };
        let lock = FileLock::open_existing(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => released().caused_by(cause),
            _ => lock_error(target, "its lock file cannot be opened", cause),
        })?;
        match lock.try_lock() {
            Ok(false) => Ok(LockFile { lock, path, is_owner: false }),
            // Dropping `lock` here releases it again.
            Ok(true) => Err(released()),
            Err(cause) => Err(released().caused_by(cause)),
        }
    }

    fn write_pid(&self) -> io::Result<()> {
        let mut file = self.lock.file();
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())
    }

    /// Checks that the lock still excludes other runs: its file was not deleted.
    ///
    /// # Errors
    /// `Locked`.
    pub fn check(&self, target: &Path) -> Result<()> {
        match leads_to(&self.path, self.lock.file()) {
            Ok(true) => Ok(()),
            found => {
                let error =
                    Error::new(ErrorKind::Locked, "its lock file was deleted during the run")
                        .in_file(target)
                        .advice(
                            "do not delete lock files; a lock is released when its process exits",
                        );
                Err(match found {
                    Ok(_) => error,
                    Err(cause) => error.caused_by(cause),
                })
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // If our file was deleted, the path may lead to the lock file of another run.
        if self.is_owner && leads_to(&self.path, self.lock.file()).is_ok_and(|ours| ours) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether the path leads to the open file.
fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(FileId::from(&named).is_same_file(&FileId::from(&file.metadata()?))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn lock_error(target: &Path, message: &str, cause: io::Error) -> Error {
    let (message, advice) = match lacks_locks(&cause) {
        true => (
            "the file system of its directory has no locks (flock), and without one two runs could \
             write this output",
            "name an output on another disk, such as a local one, and copy the finished file; or \
             mount this file system with locks (Lustre: option flock; NFS: a lock daemon, or \
             local_lock=flock)",
        ),
        false => (message, "check that its directory is writable"),
    };
    Error::new(ErrorKind::Target, message).in_file(target).advice(advice).caused_by(cause)
}

fn held_by_another(target: &Path, what: &str, file: &File) -> Error {
    let mut pid = String::new();
    // The file is empty for a moment after the lock is taken.
    let read = file.take(20).read_to_string(&mut pid);
    let holder = match pid.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    Error::new(ErrorKind::Locked, format!("{holder} is writing {what}"))
        .in_file(target)
        .advice("wait until it ends, or stop it; its lock is then released")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden_names::OutputPlace;

    fn place(target: &Path) -> OutputPlace {
        OutputPlace::alone(target.to_owned())
    }

    fn work_directory(target: &Path) -> PathBuf {
        place(target).work_directory()
    }

    fn lock_path(target: &Path) -> PathBuf {
        place(target).lock()
    }

    fn acquire(target: &Path) -> Result<LockFile> {
        LockFile::acquire(target, "this output", lock_path(target))
    }

    fn held_by_parent(target: &Path) -> Result<LockFile> {
        LockFile::held_by_parent(target, lock_path(target))
    }

    fn target() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("tasks.parquet");
        fs::create_dir(work_directory(&target)).expect("a directory");
        (directory, target)
    }

    #[test]
    fn lock_has_one_holder_and_is_released_when_dropped() {
        let (directory, target) = target();
        let held = acquire(&target).expect("a lock");
        let error = acquire(&target).err().expect("it is held");
        assert_eq!(error.kind(), ErrorKind::Locked);
        let process = format!("process {} is writing", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        acquire(&directory.path().join("other")).expect("another output is free");
        held.check(&target).expect("it is ours");
        drop(held);
        assert_eq!(
            fs::read_dir(work_directory(&target)).expect("a directory").count(),
            0,
            "no file is left"
        );
        acquire(&target).expect("it is free");
    }

    #[test]
    fn worker_uses_the_lock_of_its_parent_and_does_not_release_it() {
        let (_directory, target) = target();
        let error = held_by_parent(&target).err().expect("there is no lock");
        assert_eq!(error.kind(), ErrorKind::Locked);
        fs::write(lock_path(&target), "1").expect("a file");
        assert!(held_by_parent(&target).is_err(), "a file alone is not a lock");
        let parents = acquire(&target).expect("a lock");
        let seen = held_by_parent(&target).expect("it is held");
        seen.check(&target).expect("it excludes others");
        drop(seen);
        parents.check(&target).expect("it still exists");
        assert!(acquire(&target).is_err());
    }

    #[test]
    fn lock_file_of_a_dead_process_is_not_a_lock() {
        let (_directory, target) = target();
        fs::write(lock_path(&target), "99999999999999999999999").expect("a file");
        let held = acquire(&target).expect("it is free");
        let error = acquire(&target).err().expect("it is held").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
    }

    #[test]
    fn deleted_lock_file_is_noticed_and_the_next_lock_is_kept() {
        let (_directory, target) = target();
        let first = acquire(&target).expect("a lock");
        fs::remove_file(lock_path(&target)).expect("it exists");
        let second = acquire(&target).expect("it looks free");
        assert_eq!(first.check(&target).expect_err("it is gone").kind(), ErrorKind::Locked);
        drop(first);
        second.check(&target).expect("the second is as it was");
    }

    #[test]
    fn link_or_pipe_in_the_place_of_the_lock_file_is_refused() {
        let (directory, target) = target();
        let precious = directory.path().join("precious");
        fs::write(&precious, "text").expect("a file");
        std::os::unix::fs::symlink(&precious, lock_path(&target)).expect("a link");
        let error = acquire(&target).err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Target);
        assert_eq!(fs::read(&precious).expect("a file"), b"text");
        fs::remove_file(lock_path(&target)).expect("a link");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, lock_path(&target), kind, mode, 0).expect("a pipe");
        assert_eq!(acquire(&target).err().expect("refused").kind(), ErrorKind::Target);
    }

    #[test]
    fn no_two_threads_hold_the_lock_at_once() {
        use std::sync::Barrier;
        use std::sync::atomic::{AtomicU32, Ordering};
        const THREADS: usize = 4;
        const ROUNDS: u32 = 50;
        let (_directory, target) = target();
        let (barrier, acquired) = (Barrier::new(THREADS), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        barrier.wait();
                        let lock = acquire(&target);
                        acquired.fetch_add(u32::from(lock.is_ok()), Ordering::SeqCst);
                        // The holder keeps it until every other thread has tried.
                        barrier.wait();
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(acquired.into_inner(), ROUNDS, "one holder in each round");
    }
}
