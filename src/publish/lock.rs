//! One writer for each output: an advisory lock on a hidden file beside it.
//!
//! The kernel frees the lock of a process that is gone, however it went, so a lock is never stale; the process
//! number in the file is for the message alone. Who is done deletes the file while still holding the lock. A
//! process that opened the file before it was deleted then locks a file that has no name any more: so whoever
//! has the lock looks whether the name still leads to what it locked, and begins again if not.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::FileLock;

use crate::file_id::FileId;
use crate::hidden_names as names;

/// More runs than these do not end in the moment between opening and locking.
const ATTEMPTS: usize = 100;

/// A lock that is held until it is dropped.
pub struct OutputLock {
    lock: FileLock,
    path: PathBuf,
    /// Whether it is this process that has it.
    ours: bool,
}

impl OutputLock {
    /// Takes the lock of a target, at once or not at all.
    ///
    /// # Errors
    /// `Locked`, with the number of the process that has it; `Target` when there can be no lock.
    pub fn take(target: &Path) -> Result<OutputLock> {
        let path = names::lock(target);
        let refuse = |message: &str, cause: io::Error| {
            Error::new(ErrorKind::Target, message)
                .in_file(target)
                .advice(
                    "check that its directory can be written to and is on a file system with locks",
                )
                .caused_by(cause)
        };
        for _ in 0..ATTEMPTS {
            let lock = FileLock::open(&path)
                .map_err(|cause| refuse("its lock cannot be opened", cause))?;
            if !lock.try_lock().map_err(|cause| refuse("its lock cannot be taken", cause))? {
                return Err(held(target, lock.file()));
            }
            let lock = OutputLock { lock, path: path.clone(), ours: true };
            if leads_to(&path, lock.lock.file())
                .map_err(|cause| refuse("its lock cannot be read", cause))?
            {
                lock.note_process().map_err(|cause| refuse("its lock cannot be written", cause))?;
                return Ok(lock);
            }
        }
        Err(Error::new(ErrorKind::Locked, "other runs take its lock again and again")
            .in_file(target)
            .advice("start one run at a time for each output"))
    }

    /// The lock of a target that the parent of this process holds: it is looked at, and left alone.
    ///
    /// # Errors
    /// `Locked` when nobody holds it.
    pub fn of_parent(target: &Path) -> Result<OutputLock> {
        let path = names::lock(target);
        let gone = || {
            Error::new(ErrorKind::Locked, "the process that held its lock is gone")
                .in_file(target)
                .advice("start the run again")
        };
        let lock = FileLock::open_existing(&path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => gone().caused_by(cause),
            _ => Error::new(ErrorKind::Target, "its lock cannot be opened")
                .in_file(target)
                .advice(
                    "check that its directory can be written to and is on a file system with locks",
                )
                .caused_by(cause),
        })?;
        match lock.try_lock() {
            Ok(false) => Ok(OutputLock { lock, path, ours: false }),
            // Dropped here, it is free again.
            Ok(true) => Err(gone()),
            Err(cause) => Err(gone().caused_by(cause)),
        }
    }

    fn note_process(&self) -> io::Result<()> {
        let mut file = self.lock.file();
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())
    }

    /// Whether the lock still keeps others away from `target`: nobody has deleted its file.
    ///
    /// # Errors
    /// `Locked`.
    pub fn check(&self, target: &Path) -> Result<()> {
        match leads_to(&self.path, self.lock.file()) {
            Ok(true) => Ok(()),
            found => {
                let error = Error::new(ErrorKind::Locked, "its lock was deleted during the run")
                    .in_file(target)
                    .advice("leave the lock alone: it is free when its process is gone");
                Err(match found {
                    Ok(_) => error,
                    Err(cause) => error.caused_by(cause),
                })
            }
        }
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // Another's lock may stand there if ours was deleted. A file that stays does no harm.
        if self.ours && leads_to(&self.path, self.lock.file()).is_ok_and(|ours| ours) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether the name still leads to the open file.
fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(FileId::of(&named).is_same_file(&FileId::of(&file.metadata()?))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn held(target: &Path, file: &File) -> Error {
    let mut number = String::new();
    // It is empty for a moment after the lock was taken.
    let read = file.take(20).read_to_string(&mut number);
    let holder = match number.trim().parse::<u32>() {
        Ok(number) if read.is_ok() => format!("process {number}"),
        _ => "another process".to_owned(),
    };
    Error::new(ErrorKind::Locked, format!("{holder} is writing this output"))
        .in_file(target)
        .advice("wait until it is done, or stop it: its lock is free when it is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("tasks.parquet");
        (directory, target)
    }

    #[test]
    fn a_lock_is_held_by_one_and_free_when_dropped() {
        let (directory, target) = target();
        let held = OutputLock::take(&target).expect("a lock");
        let error = OutputLock::take(&target).err().expect("it is held");
        assert_eq!(error.kind(), ErrorKind::Locked);
        let process = format!("process {} is writing", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        OutputLock::take(&directory.path().join("other")).expect("another output is free");
        held.check(&target).expect("it is ours");
        drop(held);
        assert_eq!(
            fs::read_dir(directory.path()).expect("a directory").count(),
            0,
            "no file is left"
        );
        OutputLock::take(&target).expect("it is free");
    }

    #[test]
    fn the_lock_of_a_parent_is_looked_at_and_left_alone() {
        let (_directory, target) = target();
        let nobody = OutputLock::of_parent(&target).err().expect("there is none");
        assert_eq!(nobody.kind(), ErrorKind::Locked);
        fs::write(names::lock(&target), "1").expect("a file");
        assert!(OutputLock::of_parent(&target).is_err(), "a file alone is no lock");
        let parents = OutputLock::take(&target).expect("a lock");
        let seen = OutputLock::of_parent(&target).expect("it is held");
        seen.check(&target).expect("it keeps others away");
        drop(seen);
        parents.check(&target).expect("it is still there");
        assert!(OutputLock::take(&target).is_err());
    }

    #[test]
    fn what_a_dead_process_left_is_no_lock() {
        let (_directory, target) = target();
        fs::write(names::lock(&target), "99999999999999999999999").expect("a file");
        let held = OutputLock::take(&target).expect("nobody holds it");
        let error = OutputLock::take(&target).err().expect("it is held").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
    }

    #[test]
    fn a_lock_whose_file_was_deleted_is_noticed_and_leaves_the_next_ones_alone() {
        let (_directory, target) = target();
        let first = OutputLock::take(&target).expect("a lock");
        fs::remove_file(names::lock(&target)).expect("it is there");
        let second = OutputLock::take(&target).expect("it looks free");
        assert_eq!(first.check(&target).expect_err("it is gone").kind(), ErrorKind::Locked);
        drop(first);
        second.check(&target).expect("the second is as it was");
    }

    #[test]
    fn a_link_or_a_pipe_under_the_name_of_the_lock_is_refused() {
        let (directory, target) = target();
        let precious = directory.path().join("precious");
        fs::write(&precious, "text").expect("a file");
        std::os::unix::fs::symlink(&precious, names::lock(&target)).expect("a link");
        let error = OutputLock::take(&target).err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Target);
        assert_eq!(fs::read(&precious).expect("a file"), b"text");
        fs::remove_file(names::lock(&target)).expect("a link");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, names::lock(&target), kind, mode, 0).expect("a pipe");
        assert_eq!(OutputLock::take(&target).err().expect("refused").kind(), ErrorKind::Target);
    }

    #[test]
    fn of_many_threads_that_take_and_drop_it_never_two_have_it() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (_directory, target) = target();
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Ok(lock) = OutputLock::take(&target) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
