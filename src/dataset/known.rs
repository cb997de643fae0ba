//! What earlier runs published: manifest and journal together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::inputs::Dataset;
use super::journal;
use super::manifest::{FailedRecord, Manifest, TableRecord};
use crate::publish;

/// What earlier runs published.
pub struct Known {
    /// The manifest that this run will replace.
    pub manifest: Option<Manifest>,
    /// What the journal has beyond it.
    pub journal: Vec<TableRecord>,
    /// The tables of both, and those of the whole dataset that belong to the shard.
    pub tables: BTreeMap<PathBuf, TableRecord>,
    /// Those of the whole dataset that belong to other shards.
    pub others: BTreeMap<PathBuf, TableRecord>,
}

impl Known {
    /// Reads manifest and journal.
    ///
    /// # Errors
    /// `Target`, when one of them cannot be read.
    pub fn read(dataset: &Dataset) -> Result<Known> {
        let places = &dataset.places;
        let manifest = Manifest::read(&places.manifest())?;
        let journal = journal::read(&places.journal()).map_err(|cause| {
            Error::new(ErrorKind::Target, "the journal cannot be read")
                .in_file(places.journal())
                .advice("check its permissions")
                .caused_by(cause)
        })?;
        let (mut tables, mut others) = (BTreeMap::new(), BTreeMap::new());
        if let Some(shard) = dataset.config.dataset.shard {
            let whole = Manifest::read(&places.whole_manifest())?;
            let whole = whole.into_iter().flat_map(|whole| whole.tables);
            (tables, others) = whole
                .map(|table| (table.path.clone(), table))
                .partition(|(path, _)| shard.has(path));
        }
        let of_manifest = manifest.iter().flat_map(|manifest| &manifest.tables);
        tables.extend(of_manifest.chain(&journal).map(|table| (table.path.clone(), table.clone())));
        Ok(Known { manifest, journal, tables, others })
    }

    /// Checks that the outputs are not those of another directory, whose tables would be taken for gone.
    ///
    /// # Errors
    /// `Target`, naming both directories.
    pub fn check_root(&self, dataset: &Dataset) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let (before, now) = (Path::new(&manifest.root), dataset.listing.root.as_path());
        // One that is no longer there was moved, or named from another directory.
        if !before.is_dir() || publish::resolve(before) == publish::resolve(now) {
            return Ok(());
        }
        let message = format!(
            "its tables were made from those below {before:?}, and this run would read {now:?}"
        );
        Err(Error::new(ErrorKind::Target, message)
            .in_file(dataset.places.root())
            .advice(format!("name another output, or set `dataset.root` (--root) to {before:?}")))
    }

    /// The tables that failed in the last run.
    pub fn failed(&self) -> &[FailedRecord] {
        self.manifest.as_ref().map_or(&[], |manifest| &manifest.failed)
    }
}
