//! The manifest of a dataset: which outputs were published, from which inputs, with which settings.
//!
//! It is written last and replaced in one step. docs/datasets.md describes each field.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::config::Shard;
use crate::events::Report;
use crate::footer::TOOL;
use crate::publish::{self, write_error};
use crate::table_path;

/// Name and version of the schema. The version grows when a field is removed or changes its meaning.
pub const SCHEMA: &str = "reembed-manifest/1";

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub tool: String,
    /// The run that wrote it.
    pub run_id: String,
    /// The directory of the inputs, as it was named.
    pub root: String,
    /// The part of the dataset; `None`: all of it.
    pub shard: Option<ShardRecord>,
    /// The vector columns.
    pub columns: Vec<ColumnRecord>,
    /// The digest of all that an output depends on beside its input.
    pub settings: String,
    /// The tables in the order of their paths.
    pub tables: Vec<TableRecord>,
    /// The tables that the last run could not publish.
    pub failed: Vec<FailedRecord>,
    /// Of a shard: the tables of which it has embedded its ranges, and that no shard had put together by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<UnderWay>,
    /// The manifests of shards that were joined into it, which may be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<Stamp>,
}

/// The part of a dataset that a manifest is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Its number, from 1.
    pub index: NonZeroU32,
    /// How many parts there are.
    pub count: NonZeroU32,
}

impl From<Shard> for ShardRecord {
    fn from(shard: Shard) -> Self {
        ShardRecord { index: shard.index(), count: shard.count() }
    }
}

/// A vector column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRecord {
    /// Its name.
    pub column: String,
    /// The name of its model.
    pub model: String,
    /// The fingerprint of its model.
    pub fingerprint: String,
}

/// A published table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Its path below the roots of inputs and outputs.
    #[serde(with = "table_path")]
    pub path: PathBuf,
    /// The input as it was read.
    pub input: Stamp,
    /// The output as it was published.
    pub output: Stamp,
    /// The settings of the run that published it, as [`Manifest::settings`].
    pub settings: String,
    /// That run.
    pub run_id: String,
    /// XXH3-128 of the footer of the output, which has the digests of its columns.
    pub footer: String,
    /// Rows of the output.
    pub rows: u64,
    /// Rows of the input.
    pub input_rows: u64,
    /// Rows of the input without a text, which were left out.
    pub dropped_rows: u64,
    /// What it has in each vector column.
    pub columns: Vec<ColumnCounts>,
    /// Whether its input is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub input_is_gone: bool,
}

/// Rows of a table by a vector column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnCounts {
    /// Rows without a vector.
    pub null_rows: u64,
    /// Rows whose text was truncated.
    pub truncated_rows: u64,
}

/// A table of which this shard has embedded its ranges, and that no shard had put together by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its path below the roots of inputs and outputs.
    #[serde(with = "table_path")]
    pub path: PathBuf,
    /// The input that was divided.
    pub input: Stamp,
    /// Number of its ranges.
    pub ranges: u64,
    /// `dataset.split_rows`.
    pub split_rows: u64,
}

/// A table that could not be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecord {
    /// Its path below the roots of inputs and outputs.
    #[serde(with = "table_path")]
    pub path: PathBuf,
    /// The stable word of the error, as in the result of a run.
    pub code: String,
    /// Why, with its place.
    pub message: String,
}

impl TableRecord {
    /// The record of a table that was published.
    pub fn new(
        path: &Path,
        (input, output): (Stamp, Stamp),
        (settings, run_id, footer): (&str, &str, String),
        report: &Report,
    ) -> TableRecord {
        let columns = report.columns.iter().map(|column| ColumnCounts {
            null_rows: column.null_rows,
            truncated_rows: column.truncated_rows,
        });
        TableRecord {
            path: path.to_owned(),
            input,
            output,
            settings: settings.to_owned(),
            run_id: run_id.to_owned(),
            footer,
            rows: report.rows,
            input_rows: report.input_rows.unwrap_or(report.rows + report.dropped_rows),
            dropped_rows: report.dropped_rows,
            columns: columns.collect(),
            input_is_gone: false,
        }
    }
}

impl Manifest {
    /// A manifest without tables.
    pub fn empty(run_id: &str, root: &Path, shard: Option<Shard>) -> Manifest {
        Manifest {
            schema: SCHEMA.to_owned(),
            tool: TOOL.to_owned(),
            run_id: run_id.to_owned(),
            root: root.display().to_string(),
            shard: shard.map(ShardRecord::from),
            columns: Vec::new(),
            settings: String::new(),
            tables: Vec::new(),
            failed: Vec::new(),
            under_way: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// Reads a manifest; `None` if there is none.
    ///
    /// # Errors
    /// `Target`, when it cannot be read or is not one of this version.
    pub fn read(path: &Path) -> Result<Option<Manifest>> {
        let refuse = |message: &str| {
            Error::new(ErrorKind::Target, message.to_owned()).in_file(path).advice(
                "delete it: the next run looks at every table again, and embeds none that is unchanged",
            )
        };
        let text = match fs::read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|cause| {
                Error::new(ErrorKind::Target, "the manifest cannot be read")
                    .in_file(path)
                    .advice("check its permissions")
                    .caused_by(cause)
            })?,
        };
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let damaged = |cause| refuse("the manifest is damaged").caused_by(cause);
        let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
        if head.schema != SCHEMA {
            let message = format!("the manifest has the schema {:?}, not {SCHEMA}", head.schema);
            return Err(refuse(&message));
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Writes it in one step.
    ///
    /// # Errors
    /// `Output`, naming the file. The existing one is then unchanged.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |cause: io::Error| write_error(path, "the manifest cannot be written", cause);
        let text = serde_json::to_vec(self).map_err(|cause| {
            Error::new(ErrorKind::Internal, "the manifest cannot be serialized").caused_by(cause)
        })?;
        let mut file = publish::create_temporary_beside(path)?;
        file.write_all(&text).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        // What the file system does not offer was told when the tables were published.
        publish::replace(file, path, |_| Ok(())).map(drop)
    }

    /// Its tables by their paths.
    pub fn by_path(&self) -> BTreeMap<&Path, &TableRecord> {
        self.tables.iter().map(|table| (table.path.as_path(), table)).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// A record of a table that was published with these settings.
    pub fn record(path: &str, settings: &str) -> TableRecord {
        let stamp = |inode| Stamp { size: 10, modified: "1.000000002".to_owned(), inode };
        TableRecord {
            path: PathBuf::from(path),
            input: stamp(1),
            output: stamp(2),
            settings: settings.to_owned(),
            run_id: "r".to_owned(),
            footer: "f".to_owned(),
            rows: 3,
            input_rows: 3,
            dropped_rows: 0,
            columns: vec![ColumnCounts { null_rows: 1, truncated_rows: 0 }],
            input_is_gone: false,
        }
    }

    #[test]
    fn manifest_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("manifest.json");
        assert_eq!(Manifest::read(&path).expect("none is no fault"), None);
        let mut manifest = Manifest::empty("r", Path::new("in"), Shard::parse("1/2"));
        manifest.tables = vec![record("a.parquet", "s"), record("b\n.parquet", "s")];
        manifest.tables[1].path = PathBuf::from(OsStr::from_bytes(b"x=1/\xff.parquet"));
        let input = record("c", "s").input;
        let c = PathBuf::from("c.parquet");
        manifest.under_way.push(UnderWay { path: c, input, ranges: 2, split_rows: 10 });
        manifest.write(&path).expect("it is written");
        manifest.write(&path).expect("it is replaced");
        assert_eq!(Manifest::read(&path).expect("it is read"), Some(manifest));
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1);
    }

    #[test]
    fn damaged_and_newer_manifests_are_refused_with_a_cure() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("manifest.json");
        for text in [
            "",
            "{",
            "{}",
            r#"{"schema": "reembed-manifest/2"}"#,
            r#"{"schema": "reembed-manifest/1"}"#,
        ] {
            fs::write(&path, text).expect("a file");
            let error = Manifest::read(&path).expect_err(text);
            assert_eq!(error.place().file(), Some(path.as_path()), "{text}");
            assert!(
                error.advice_text().is_some_and(|advice| advice.contains("delete it")),
                "{text}"
            );
        }
    }
}
