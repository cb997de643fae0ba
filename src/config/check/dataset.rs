//! The settings of a dataset: what its tables are and which of them are taken.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::layers::RawConfig;
use crate::config::only::Only;
use crate::config::origin::Origin;
use crate::config::paths::check_local_path;
use crate::config::shard::Shard;
use crate::config::words::OnMissing;
use crate::config::{DatasetConfig, Inputs};

/// The keys that name the input. One of them is in force.
const PATH: &str = "input.path";
const PATHS: &str = "input.paths";
const FILES_FROM: &str = "input.files_from";

impl RawConfig {
    /// What is read.
    pub(super) fn inputs(&self) -> Result<Inputs> {
        let key = self.key_in_force(&[PATH, PATHS, FILES_FROM])?;
        Ok(match key {
            Some(PATHS) => {
                let names = self.names(PATHS).ok_or_else(|| self.missing(PATHS))?;
                let in_file = matches!(self.origin(PATHS), Some(Origin::File(..)));
                let base = if in_file { self.base.as_path() } else { Path::new("") };
                let paths: Vec<PathBuf> = names.iter().map(|name| base.join(name)).collect();
                for name in &names {
                    check_local_path(Path::new(name)).map_err(|error| {
                        self.value_error(PATHS, &format!("holds {name:?}: {error}"))
                    })?;
                }
                Inputs::Paths(paths)
            }
            Some(FILES_FROM) => {
                Inputs::FilesFrom(self.path(FILES_FROM).ok_or_else(|| self.missing(FILES_FROM))?)
            }
            _ => Inputs::Path(self.path(PATH).ok_or_else(|| self.missing(PATH))?),
        })
    }

    pub(super) fn dataset(&self, inputs: Inputs) -> Result<DatasetConfig> {
        let text = |key: &str| self.text(key).ok();
        let only = text("dataset.only").map(|only| {
            Only::parse(&only).map_err(|problem| {
                self.value_error("dataset.only", &format!("is {only:?}: {problem}")).advice(
                    "write conditions on partitions, such as 'dt >= 2026-11-01 and country = de'",
                )
            })
        });
        let shard = text("dataset.shard").map(|shard| {
            Shard::parse(&shard).ok_or_else(|| {
                self.value_error("dataset.shard", &format!("is {shard:?}, no part of a whole"))
                    .advice("write the number of the part, from 1, and how many there are: 1/4")
            })
        });
        let config = DatasetConfig {
            inputs,
            root: self.path("dataset.root"),
            only: only.transpose()?,
            shard: shard.transpose()?,
            split_rows: self.number("dataset.split_rows").and_then(NonZeroU64::new),
            on_missing: self.word("dataset.on_missing", OnMissing::parse)?,
            success_file: self.is_on("dataset.success_file"),
            fail_fast: self.is_on("dataset.fail_fast"),
        };
        if config.shard.is_some() && config.success_file {
            let message = "`dataset.success_file` would be written by each of the shards, before the others are done";
            return Err(Error::new(ErrorKind::Config, message).advice(
                "leave it to `reembed merge --success-file`, which knows that all are done",
            ));
        }
        if config.shard.is_some() && config.on_missing == OnMissing::Delete {
            let message =
                "`dataset.on_missing` is \"delete\", but a shard does not know the whole dataset";
            return Err(Error::new(ErrorKind::Config, message)
                .advice("leave it to `reembed merge --delete-missing`, or run without --shard"));
        }
        Ok(config)
    }
}
