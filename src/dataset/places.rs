//! Where the files of a dataset lie that are not tables: below `_reembed` in its output directory.
//!
//! No file of a single output has one of these names: each of those ends in a suffix.

use std::path::{Path, PathBuf};

use crate::config::Shard;
use crate::hidden_names::WORK_DIRECTORY;

/// The output directory of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    shard: Option<Shard>,
}

impl Places {
    /// The places in an output directory, for a part of the dataset or all of it.
    pub fn new(root: &Path, shard: Option<Shard>) -> Places {
        Places { root: root.to_owned(), shard }
    }

    /// The output directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The part of the dataset, if it is not all of it.
    pub fn shard(&self) -> Option<Shard> {
        self.shard
    }

    /// `_reembed`.
    pub fn work_directory(&self) -> PathBuf {
        self.root.join(WORK_DIRECTORY)
    }

    /// The directory of the files that only this program reads.
    pub fn own_directory(&self) -> PathBuf {
        self.work_directory().join("dataset")
    }

    /// The manifest of the whole dataset.
    pub fn whole_manifest(&self) -> PathBuf {
        self.work_directory().join("manifest.json")
    }

    /// The manifest that this run writes: that of its shard, or of the whole.
    pub fn manifest(&self) -> PathBuf {
        match self.shard {
            Some(_) => self.own_directory().join(self.with_shard("manifest") + ".json"),
            None => self.whole_manifest(),
        }
    }

    /// The tables that a run has published so far.
    pub fn journal(&self) -> PathBuf {
        self.own_directory().join(self.with_shard("journal"))
    }

    /// The lock of a run.
    pub fn lock(&self) -> PathBuf {
        self.own_directory().join(self.with_shard("lock"))
    }

    /// The vector cache, unless `cache.path` names another one.
    pub fn cache(&self) -> PathBuf {
        self.own_directory().join(self.with_shard("cache"))
    }

    /// The index of the published vectors.
    pub fn index(&self) -> PathBuf {
        self.own_directory().join(self.with_shard("index"))
    }

    /// The index of the whole dataset, which shards read.
    pub fn whole_index(&self) -> PathBuf {
        self.own_directory().join("index")
    }

    /// The vector cache of the whole dataset, which shards read.
    pub fn whole_cache(&self) -> PathBuf {
        self.own_directory().join("cache")
    }

    /// The directory of the parts of tables that several shards embed.
    pub fn parts(&self) -> PathBuf {
        self.own_directory().join("parts")
    }

    /// The directory of the reports, unless `report.dir` names another one. A table of a dataset does not begin with
    /// an underscore.
    pub fn reports(&self) -> PathBuf {
        self.work_directory().join("reports").join(self.with_shard("_dataset"))
    }

    /// The file that says that every table is in place.
    pub fn success_file(&self) -> PathBuf {
        self.root.join("_SUCCESS")
    }

    fn with_shard(&self, name: &str) -> String {
        match self.shard {
            Some(shard) => format!("{name}-{}-of-{}", shard.index(), shard.count()),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_files_of_their_own() {
        let at = |shard: Option<&str>| {
            let places = Places::new(Path::new("out"), shard.and_then(Shard::parse));
            [places.manifest(), places.journal(), places.lock(), places.cache(), places.reports()]
                .map(|path| path.to_string_lossy().into_owned())
        };
        assert_eq!(
            at(None),
            [
                "out/_reembed/manifest.json",
                "out/_reembed/dataset/journal",
                "out/_reembed/dataset/lock",
                "out/_reembed/dataset/cache",
                "out/_reembed/reports/_dataset",
            ]
        );
        assert_eq!(
            at(Some("2/8")),
            [
                "out/_reembed/dataset/manifest-2-of-8.json",
                "out/_reembed/dataset/journal-2-of-8",
                "out/_reembed/dataset/lock-2-of-8",
                "out/_reembed/dataset/cache-2-of-8",
                "out/_reembed/reports/_dataset-2-of-8",
            ]
        );
    }
}
