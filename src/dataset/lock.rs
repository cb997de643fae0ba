//! One run of a dataset, or of a shard of it, at a time.

use std::fs;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;

use super::parts::TableParts;
use super::places::Places;
use crate::hidden_names::OutputPlace;
use crate::hidden_names::directory_of;
use crate::publish::{
    LockFile, LockHolder, create_like_parent, delete_temporaries, delete_temporaries_beside,
};

/// The locked output directory of a dataset. Dropping it releases the lock, and removes what was made for it
/// and is empty.
pub struct DatasetLock {
    places: Places,
    lock: Option<LockFile>,
    /// The output directory, if it is new.
    created: Option<PathBuf>,
}

impl DatasetLock {
    /// Creates the directories, not those above the output directory, and takes the lock.
    ///
    /// # Errors
    /// `Locked` when another run holds it; `Target` when a directory cannot be created.
    pub fn acquire(places: &Places, holder: LockHolder) -> Result<DatasetLock> {
        let root = places.root();
        let failed = |path: &Path, cause: std::io::Error| {
            Error::new(ErrorKind::Target, "the directory does not exist and cannot be created")
                .in_file(path)
                .advice("create the directory above it, or name another output")
                .caused_by(cause)
        };
        let is_new = files::create_directory(root).map_err(|cause| failed(root, cause))?;
        let mut lock = DatasetLock {
            places: places.clone(),
            lock: None,
            created: is_new.then(|| root.to_owned()),
        };
        for directory in [places.work_directory(), places.own_directory()] {
            create_like_parent(&directory).map_err(|cause| failed(&directory, cause))?;
        }
        lock.lock = Some(match holder {
            LockHolder::ThisProcess => LockFile::acquire(root, places.lock())?,
            LockHolder::Parent => LockFile::held_by_parent(root, places.lock())?,
        });
        // Of runs that were killed.
        delete_temporaries_beside(&places.manifest())?;
        Ok(lock)
    }
}

impl Drop for DatasetLock {
    fn drop(&mut self) {
        // First, because it is a file in the directory.
        drop(self.lock.take());
        // Each fails if the directory has files, which stay.
        let _ = fs::remove_dir(self.places.own_directory());
        let _ = fs::remove_dir(self.places.work_directory());
        if let Some(created) = &self.created {
            let _ = fs::remove_dir(created);
        }
    }
}

/// Deletes what a run that was killed left of a table: temporary files, its lock file, and parts. One that another run
/// holds stays.
pub fn sweep_table(places: &Places, below: &Path) {
    let parts = TableParts::new(places, below);
    match places.is_of_shard() {
        // Other shards learn from it that the table is in place.
        true => parts.delete_parts(),
        false => parts.delete(),
    }
    sweep_output(places, below);
}

/// As [`sweep_table`], without parts.
pub fn sweep_output(places: &Places, below: &Path) {
    let place = OutputPlace::in_dataset(places.root(), below);
    let path = place.lock();
    if path.exists()
        && let Ok(_lock) = LockFile::acquire(place.path(), path)
    {
        // If one cannot be deleted now, the next run tries it again.
        let _ = delete_temporaries(&place);
    }
}

/// Creates the directories between the output directory and a table, and makes their entries durable.
///
/// # Errors
/// `Target`, naming the table.
pub fn create_directories(root: &Path, below: &Path) -> Result<()> {
    let mut directory = root.to_owned();
    let between = directory_of(below).components();
    for part in between {
        directory.push(part);
        if directory.is_dir() {
            continue;
        }
        create_like_parent(&directory).map_err(|cause| {
            Error::new(ErrorKind::Target, "a directory of the output cannot be created")
                .in_file(&directory)
                .advice("check that the output directory is writable and has no file in its place")
                .caused_by(cause)
        })?;
    }
    Ok(())
}
