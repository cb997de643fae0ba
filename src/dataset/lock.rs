//! One run of a dataset, or of a shard of it, at a time.

use std::fs;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;

use super::places::Places;
use crate::publish::{LockFile, LockHolder, create_like_parent, delete_temporaries_beside};
use crate::published::sweep_index;

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
            LockHolder::ThisProcess => LockFile::acquire(root, &locked(places), places.lock())?,
            LockHolder::Parent => LockFile::held_by_parent(root, places.lock())?,
        });
        // Of runs that were killed.
        delete_temporaries_beside(&places.manifest())?;
        sweep_index(&places.index());
        Ok(lock)
    }
}

/// What the lock is of, for messages.
fn locked(places: &Places) -> String {
    match places.shard() {
        Some(shard) => format!("shard {shard} of this dataset"),
        None => "this dataset".to_owned(),
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
