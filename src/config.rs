//! The configuration: what the user wrote ([`RawConfig`]) and what the program uses ([`Config`]).
//!
//! There is one fallible step between the two, [`RawConfig::check`]; after it every size is positive, every choice is an
//! enum and every path is resolved. A setting has one home, its entry in [`SETTINGS`].

mod check;
mod layers;
mod names;
mod schema;
mod settings;
mod template;
mod values;
mod words;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use reembed_encoder::environment::Environment;
use reembed_encoder::error::Result;
use reembed_encoder::limit::RequestedLimits;
pub use reembed_encoder::model::config::{Device, Engine, ModelConfig};
use reembed_encoder::task::TextTemplate;

pub use layers::{Origin, RawConfig};
pub use schema::json_schema;
pub use settings::{DefaultValue, Flag, Kind, SETTINGS, Setting};
pub use template::template;
pub use words::{CacheMode, EngineChoice, OnEmpty, TextUse, VectorType};

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where task rows come from.
    pub input: InputConfig,
    /// How a row becomes text.
    pub text: TextTemplate,
    /// Which model embeds them.
    pub model: ModelConfig,
    /// How large batches may be.
    pub batch: BatchConfig,
    /// Where the result goes.
    pub output: OutputConfig,
    /// Where the report of a run goes.
    pub report: ReportConfig,
    /// Where vectors are kept from run to run.
    pub cache: CacheConfig,
    /// What the output must be to take its place.
    pub publish: PublishConfig,
    /// What holds for this run alone.
    pub run: RunConfig,
    /// Every setting in force, with where it came from.
    pub effective: Vec<Effective>,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Its full key, such as `batch.start`.
    pub key: &'static str,
    /// Its value, as TOML.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where task rows come from.
#[derive(Debug, Clone)]
pub struct InputConfig {
    /// A Parquet file.
    pub path: PathBuf,
    /// The names of the columns.
    pub columns: ColumnNames,
    /// Rows of a chunk, the unit of order and of memory.
    pub chunk_rows: NonZeroUsize,
    /// Bytes of a chunk: it is cut earlier where its rows are large.
    pub chunk_bytes: NonZeroUsize,
    /// Bytes that the file may decode to; `None`: what a file of its size can be expected to.
    pub decode_limit: Option<u64>,
}

impl InputConfig {
    /// How an output of this input is read. It may decode to whatever it does: what bounds the input says nothing of
    /// the vectors that stand beside it.
    #[must_use]
    pub fn of_output(&self, path: &Path) -> InputConfig {
        InputConfig { path: path.to_owned(), decode_limit: Some(u64::MAX), ..self.clone() }
    }
}

/// The input's column names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNames {
    /// What a row is called; any flat type.
    pub id: String,
    /// Strings.
    pub title: String,
    /// Strings; `None` where the table has no such column.
    pub description: Option<String>,
    /// Lists of strings; `None` where the table has no such column.
    pub files: Option<String>,
    /// Whether `files` was named by the user, and must therefore be there.
    pub files_required: bool,
}

/// How large batches may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// What the user set of rows and tokens; the rest suits the encoder.
    pub asked: RequestedLimits,
    /// Bytes that a batch may take; `None`: a share of what the machine has left.
    pub memory_limit: Option<u64>,
}

/// Where the result goes.
#[derive(Debug, Clone)]
pub struct OutputConfig {
    /// The Parquet file to write.
    pub path: PathBuf,
    /// The name of the column of vectors.
    pub column: String,
    /// Its Arrow type.
    pub vector_type: VectorType,
    /// What happens to a row without text.
    pub on_empty: OnEmpty,
    /// Rows of a row group.
    pub row_group_rows: NonZeroUsize,
}

/// Where the report of a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportConfig {
    /// The directory.
    pub dir: PathBuf,
    /// Reports that are kept; with 0 none is written.
    pub keep: usize,
}

/// Where vectors are kept from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Its file; a hidden one beside the output unless set.
    pub path: Option<PathBuf>,
    /// What a run may do with it.
    pub mode: CacheMode,
    /// Bytes that it may take.
    pub max_size: u64,
    /// New vectors that are committed together: so many are embedded again, at most, after a crash.
    pub commit_rows: NonZeroUsize,
    /// Reused vectors of a run that are compared with what the model gives now.
    pub verify_sample: u64,
}

/// What holds for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunConfig {
    /// Nothing of earlier runs is taken over, and whatever they left may be replaced.
    pub rebuild: bool,
    /// How long it may take, from its start to the vectors of its last row.
    pub deadline: Option<Duration>,
    /// A file at the output path that reembed did not write may be replaced.
    pub replace: bool,
}

/// What the output must be to take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishConfig {
    /// By how much the output may have fewer rows than the one that it replaces.
    pub max_shrink: Percent,
    /// Whether the disk must have room for the estimate of the output.
    pub check_space: bool,
}

/// A part of a whole, from 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// All of it.
    pub const ALL: Percent = Percent(100);

    /// That many percent; `None` beyond 100.
    pub fn new(percent: u64) -> Option<Percent> {
        u8::try_from(percent).ok().filter(|percent| *percent <= 100).map(Percent)
    }

    /// The number of percent.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Config {
    /// Reads the file at `path` and lays environment and flags over it.
    ///
    /// `flags` are pairs of a full key and its text, with the flag's name. `REEMBED_BATCH_START` in the
    /// environment sets `batch.start`, and so on for every key.
    ///
    /// # Errors
    /// `Config`, naming the file, line and key.
    pub fn load(
        path: &Path,
        flags: &[(&'static str, String, &'static str)],
        environment: &Environment,
    ) -> Result<Config> {
        let mut raw = RawConfig::read(path)?;
        raw.lay_environment(environment)?;
        for (key, value, flag) in flags {
            raw.set(key, value, Origin::Flag(flag))?;
        }
        raw.check(environment)
    }
}
