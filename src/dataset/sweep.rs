//! What runs that were killed left of tables that no run publishes now.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::inputs::Dataset;
use super::known::Known;
use super::parts::TableParts;
use super::places::Places;
use crate::hidden_names::{OutputPlace, is_lock};
use crate::publish::{LockFile, delete_temporaries, delete_temporaries_of_lock};

/// Deletes what a run that was killed left of a table: temporary files, its lock file, and parts. One that another run
/// holds stays.
pub fn sweep_table(places: &Places, below: &Path) {
    let parts = TableParts::new(places, below);
    match places.shard() {
        // Other shards learn from it that the table is in place.
        Some(_) => parts.delete_parts(),
        None => parts.delete(),
    }
    sweep_output(places, below);
}

/// As [`sweep_table`], without parts.
pub fn sweep_output(places: &Places, below: &Path) {
    let place = OutputPlace::in_dataset(places.root(), below);
    let path = place.lock();
    if path.exists()
        && let Ok(_lock) = LockFile::acquire(place.path(), "this output", path)
    {
        // If one cannot be deleted now, the next run tries it again.
        let _ = delete_temporaries(&place);
    }
}

/// Deletes the same of tables that are neither listed nor known: they were killed in their first run, and their input
/// is gone.
pub fn sweep_unknown(dataset: &Dataset, known: &Known) {
    let left = locks_in(&dataset.places.work_directory());
    if left.is_empty() {
        return;
    }
    let listed = dataset.listing.tables.iter().map(|table| &table.below);
    let lock = |below: &PathBuf| OutputPlace::in_dataset(dataset.places.root(), below).lock();
    let theirs: BTreeSet<PathBuf> = listed.chain(known.tables.keys()).map(lock).collect();
    for path in left.difference(&theirs) {
        if let Ok(_lock) = LockFile::acquire(dataset.places.root(), "this output", path.clone()) {
            let _ = delete_temporaries_of_lock(path);
        }
    }
}

/// The lock files of outputs in a directory.
fn locks_in(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_lock(path) && path.is_file()).collect()
}
