//! The lock of an output, with every check that a run makes before it writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::cache_path::check_cache_path;
use super::existing::ExistingTarget;
use super::lock_file::LockFile;
use super::old_lock::check_old_lock;
use super::output_path::{check_path, create_directory, path_error};
use super::sweep::delete_temporaries;
use super::work_directory::{create_work_directory, remove_if_empty};
use crate::config::Config;
use crate::file_id::FileId;
use crate::hidden_names::OutputPlace;
use crate::reader::Reader;

/// The process that holds the lock of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockHolder {
    /// This process takes the lock.
    #[default]
    ThisProcess,
    /// The parent process holds it with a [`SupervisorLock`].
    Parent,
}

/// A locked output path. Dropping it releases the lock.
pub struct OutputLock {
    place: OutputPlace,
    lock: HeldLock,
    existing: ExistingTarget,
}

impl OutputLock {
    /// Locks the configured output for a run over `input`.
    ///
    /// # Errors
    /// `Locked` when another run holds the lock; `Target` when the path cannot be used or the
    /// existing file may not be replaced.
    pub fn acquire(config: &Config, holder: LockHolder, input: &Reader) -> Result<OutputLock> {
        let place = config.output.place.clone();
        let lock = match holder {
            LockHolder::ThisProcess => lock_in_directory(&place)?.0,
            LockHolder::Parent => {
                HeldLock::new(&place, LockFile::held_by_parent(place.path(), place.lock())?)
            }
        };
        delete_temporaries(&place)?;
        let existing = check_output(config, input)?;
        Ok(OutputLock { place, lock, existing })
    }

    /// The output path.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The place of the output.
    pub fn place(&self) -> &OutputPlace {
        &self.place
    }

    /// The file that was at the path when it was locked.
    pub fn existing(&self) -> &ExistingTarget {
        &self.existing
    }

    /// Checks that the lock is still held, also against version 0.1, and the existing file is unchanged. Call it
    /// before the file is replaced.
    ///
    /// # Errors
    /// `Locked` when the lock file is gone; `Output` when the existing file changed.
    pub fn check(&self) -> Result<()> {
        self.lock.check()?;
        let now = match fs::symlink_metadata(self.path()) {
            Ok(metadata) => Some(FileId::from(&metadata)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => {
                let error = path_error(&self.place, "the metadata of the output cannot be read");
                return Err(error.caused_by(cause));
            }
        };
        if now == self.existing.id() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Output, "another process changed this file during the run")
            .in_file(self.path())
            .advice("find the process that writes this file; reembed did not replace it"))
    }
}

/// The lock of an output that the supervisor holds for its worker processes.
///
/// A worker takes its [`OutputLock`] under [`LockHolder::Parent`]. Dropping the supervisor's lock
/// deletes the temporary files of killed workers, releases the lock, and removes the directory if
/// it was created for this run and is empty.
pub struct SupervisorLock {
    place: OutputPlace,
    lock: Option<HeldLock>,
    created: Option<PathBuf>,
}

impl SupervisorLock {
    /// Locks the configured output and checks its path, but not the existing file.
    ///
    /// # Errors
    /// `Locked` when another run holds the lock; `Target` when the path cannot be used; `Config`
    /// when `cache.path` is another file of the run.
    pub fn acquire(config: &Config) -> Result<SupervisorLock> {
        let place = &config.output.place;
        check_path(place, &config.input.path)?;
        check_cache_path(config)?;
        let (lock, created) = lock_in_directory(place)?;
        Ok(SupervisorLock { place: place.clone(), lock: Some(lock), created })
    }
}

/// Takes the lock of an output, in a directory that is created if it is missing. Returns the
/// directory if it is new; without a lock it is removed again.
fn lock_in_directory(target: &OutputPlace) -> Result<(HeldLock, Option<PathBuf>)> {
    let created = match target.is_in_dataset() {
        // The work directory is elsewhere, and a table that fails needs no directory.
        true => None,
        false => create_directory(target)?,
    };
    let lock = HeldLock::acquire(target).inspect_err(|_| {
        if let Some(created) = created {
            let _ = fs::remove_dir(created);
        }
    })?;
    Ok((lock, created.map(Path::to_owned)))
}

impl Drop for SupervisorLock {
    fn drop(&mut self) {
        // If a temporary file cannot be deleted now, the next run deletes it.
        let _ = delete_temporaries(&self.place);
        // First, because the lock is a file below the directory.
        drop(self.lock.take());
        if let Some(created) = &self.created {
            // This fails if the directory holds an output or a cache, which stay.
            let _ = fs::remove_dir(created);
        }
    }
}

/// The lock file of an output in its directory `_reembed`, which is removed at the end if it is empty.
struct HeldLock {
    place: OutputPlace,
    lock: Option<LockFile>,
}

impl HeldLock {
    fn new(place: &OutputPlace, lock: LockFile) -> HeldLock {
        HeldLock { place: place.clone(), lock: Some(lock) }
    }

    fn acquire(place: &OutputPlace) -> Result<HeldLock> {
        /// Attempts to use a directory that runs of other outputs keep removing.
        const ATTEMPTS: usize = 100;
        let mut attempt = 1;
        loop {
            let acquired = create_work_directory(place)
                .and_then(|()| LockFile::acquire(place.path(), "this output", place.lock()));
            match acquired {
                Ok(lock) => {
                    let lock = HeldLock::new(place, lock);
                    check_old_lock(place)?;
                    return Ok(lock);
                }
                Err(error) if attempt < ATTEMPTS && was_removed(&error) => attempt += 1,
                Err(error) => {
                    remove_if_empty(place);
                    return Err(error);
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check(self.place.path()))?;
        check_old_lock(&self.place)
    }
}

/// Whether another run removed the directory: before it was used, or while it was looked for.
fn was_removed(error: &Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists];
    cause.is_some_and(|cause| kinds.contains(&cause.kind()))
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // First, because it is a file in the directory.
        drop(self.lock.take());
        remove_if_empty(&self.place);
    }
}

/// Checks the configured output before the model is loaded. It creates nothing.
///
/// # Errors
/// `Target` when the path cannot be used, or the output of `input` may not replace the existing
/// file; `Config` when `cache.path` is another file of the run.
pub fn check_output(config: &Config, input: &Reader) -> Result<ExistingTarget> {
    check_path(&config.output.place, &config.input.path)?;
    check_cache_path(config)?;
    let existing = ExistingTarget::read(config.output.path())?;
    existing
        .file()
        .check_replaceable(input.rows(), config.publish.max_shrink, config.run.replace)
        .map_err(|error| error.in_file(config.output.path()))?;
    Ok(existing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_other_outputs_that_end_do_not_disturb_one_that_starts() {
        const ROUNDS: usize = 200;
        let directory = tempfile::tempdir().expect("a directory");
        std::thread::scope(|scope| {
            for output in ["a.parquet", "b.parquet", "c.parquet"] {
                let output = OutputPlace::alone(directory.path().join(output));
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let lock = HeldLock::acquire(&output)
                            .unwrap_or_else(|error| panic!("round {round}: {error:?}"));
                        lock.check().expect("it is held");
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
    }
}
