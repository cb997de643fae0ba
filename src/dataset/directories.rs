//! The directories between the output directory and its tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::hidden_names::directory_of;
use crate::publish::create_like_parent;

/// Creates directories for tables. Dropping it removes those of them that are empty, since their tables failed.
///
/// Not before: another table may be about to be published into one.
pub struct TableDirectories<'a> {
    /// The output directory.
    root: &'a Path,
    created: Mutex<BTreeSet<PathBuf>>,
}

impl<'a> TableDirectories<'a> {
    /// Those below an output directory, which exists.
    pub fn new(root: &'a Path) -> TableDirectories<'a> {
        TableDirectories { root, created: Mutex::default() }
    }

    /// Creates the directories of a table, and makes their entries durable.
    ///
    /// # Errors
    /// `Target`, naming the directory.
    pub fn create(&self, below: &Path) -> Result<()> {
        let mut directory = self.root.to_owned();
        for part in directory_of(below).components() {
            directory.push(part);
            if directory.is_dir() {
                continue;
            }
            let is_new = create_like_parent(&directory).map_err(|cause| {
                Error::new(ErrorKind::Target, "a directory of the output cannot be created")
                    .in_file(&directory)
                    .advice(
                        "check that the output directory is writable and has no file in its place",
                    )
                    .caused_by(cause)
            })?;
            if is_new {
                let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
                created.insert(directory.clone());
            }
        }
        Ok(())
    }
}

impl Drop for TableDirectories<'_> {
    fn drop(&mut self) {
        let created = self.created.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The inner ones first. It fails if a directory has files, which stay.
        created.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_and_empty_directories_are_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("old/empty")).expect("directories");
        let directories = TableDirectories::new(root.path());
        for table in ["old/empty/a", "old/new/b", "new/deep/c", "new/d", "kept/deep/e", "f"] {
            directories.create(Path::new(table)).expect("directories");
        }
        assert!(at("new/deep").is_dir());
        fs::write(at("kept/deep/e"), "a table").expect("a table");
        drop(directories);
        let there = ["old/empty", "old/new", "new/deep", "new", "kept/deep"];
        assert_eq!(there.map(|name| at(name).exists()), [true, false, false, false, true]);
    }
}
