//! The Hugging Face cache, which other programs on this machine fill. It is only read.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::fetcher::{FileSource, OpenFile};
use super::files::MODULES;
use super::model_cache::visible_names;
use super::reason::Reason;

/// The snapshot of a commit: `models--org--name/snapshots/<commit>/`, with links into `blobs`.
pub(super) struct Snapshot {
    directory: PathBuf,
    files: Directory,
    /// `models--org--name/.no_exist/<commit>/` has an empty file for each file that the hub does
    /// not have.
    known_absent: PathBuf,
}

impl Snapshot {
    /// Finds the snapshot of a revision: of the commit in `refs/<revision>`, or of the revision as
    /// a commit.
    pub(super) fn find(cache: &Path, id: &str, revision: &str) -> Result<Snapshot, Reason> {
        let model = cache.join(format!("models--{}", id.replace('/', "--")));
        let commit = match fs::read_to_string(model.join("refs").join(revision)) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => revision.to_owned(),
        };
        let directory = model.join("snapshots").join(&commit);
        let is_name = commit.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
        if !is_name || commit.starts_with('.') || commit.is_empty() || !directory.is_dir() {
            return Err(format!("no snapshot of {id} ({revision})").into());
        }
        Ok(Snapshot {
            files: Directory::new(&directory),
            known_absent: model.join(".no_exist").join(&commit),
            directory,
        })
    }

    /// The commits of a model that have a snapshot, sorted.
    pub(super) fn commits(cache: &Path, id: &str) -> Vec<String> {
        visible_names(&cache.join(format!("models--{}", id.replace('/', "--"))).join("snapshots"))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl FileSource for Snapshot {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let known_absent = self.known_absent.join(file).exists();
        let found = self.files.open(file)?;
        // A snapshot has only the files that were requested. Without `modules.json`, other files
        // that decide the pooling and the maximum length may be missing too.
        if found.is_none() && file == MODULES && !known_absent {
            return Err(
                format!("{MODULES} is not cached, so the snapshot may be incomplete").into()
            );
        }
        Ok(found)
    }
}
