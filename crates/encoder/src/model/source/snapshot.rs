//! The Hugging Face cache: what other programs on this machine have fetched from the hub.

use std::fs;
use std::path::{Path, PathBuf};

use super::Reason;
use super::shelf::{Directory, MODULES, OpenFile, Shelf};

/// A snapshot of one commit: `models--org--name/snapshots/<commit>/`, files that are links into `blobs`.
pub(super) struct Snapshot {
    directory: PathBuf,
    files: Directory,
    /// `models--org--name/.no_exist/<commit>/`: an empty file for each that the hub was asked for and has not.
    known_absent: PathBuf,
}

impl Snapshot {
    /// Finds the snapshot that a revision stands for, by `refs/<revision>` or because it is a commit itself.
    pub(super) fn find(cache: &Path, id: &str, revision: &str) -> Result<Snapshot, Reason> {
        let model = cache.join(format!("models--{}", id.replace('/', "--")));
        let commit = match fs::read_to_string(model.join("refs").join(revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => revision.to_owned(),
        };
        let directory = model.join("snapshots").join(&commit);
        let is_name = commit.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
        if !is_name || commit.starts_with('.') || commit.is_empty() || !directory.is_dir() {
            return Err(format!("no snapshot of {id} ({revision})"));
        }
        Ok(Snapshot {
            files: Directory::new(&directory),
            known_absent: model.join(".no_exist").join(&commit),
            directory,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Shelf for Snapshot {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let known_absent = self.known_absent.join(file).exists();
        let found = self.files.open(file)?;
        // A snapshot holds only what someone asked for. Without the list of modules, nothing tells whether the
        // other small files, and with them the pooling and the maximum length, are missing too.
        if found.is_none() && file == MODULES && !known_absent {
            return Err(format!("{MODULES} is not in it, so it may be a part of the model only"));
        }
        Ok(found)
    }
}
