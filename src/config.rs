//! The configuration: what the user wrote ([`RawConfig`]) and what the program uses ([`Config`]).
//!
//! [`RawConfig::check`] is the one fallible step between the two. After it every size is positive,
//! every choice is an enum and every path is resolved. [`SETTINGS`] is the table of all settings;
//! flags, environment variables, help, template and schema are generated from it.
//!
//! ```text
//!   defaults < file < blocks < environment < flags     layers.rs, blocks.rs, presets.rs; names.rs (hints)
//!        └──────► RawConfig ──check.rs, paths.rs──► Config
//!   values.rs (parsing), settings.rs + words.rs ──► template.rs, schema.rs
//! ```

mod blocks;
mod check;
mod layers;
mod names;
mod only;
mod origin;
mod paths;
mod presets;
mod schema;
mod settings;
mod shard;
mod template;
mod values;
mod words;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use reembed_encoder::environment::Environment;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::limit::RequestedLimits;
pub use reembed_encoder::model::config::{Device, Engine, ModelConfig};

pub use crate::hidden_names::OutputPlace;
use crate::text::TextRecipe;
pub use blocks::OF_ONE_MODEL;
pub use layers::RawConfig;
pub use names::nearest;
pub use only::Only;
pub use origin::Origin;
pub use paths::check_local_path;
pub use schema::json_schema;
pub use settings::{DefaultValue, Flag, Kind, OPTIONAL_COLUMNS, SETTINGS, Setting};
pub use shard::Shard;
pub use template::template;
pub use toml::Value as TomlValue;
pub use words::{
    CacheMode, Carry, EngineChoice, InvalidUtf8, OnEmpty, OnMissing, Pool, Preset, TextUse,
    Truncate, VectorLayout, VectorType,
};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The table `[input]`.
    pub input: InputConfig,
    /// The vector columns.
    pub embeddings: Embeddings,
    /// The table `[batch]`.
    pub batch: BatchConfig,
    /// The table `[output]`.
    pub output: OutputConfig,
    /// The table `[report]`.
    pub report: ReportConfig,
    /// The table `[cache]`.
    pub cache: CacheConfig,
    /// The table `[publish]`.
    pub publish: PublishConfig,
    /// The table `[run]`.
    pub run: RunConfig,
    /// The table `[dataset]`, and what is read.
    pub dataset: DatasetConfig,
    /// Every setting that has a value, with its origin.
    pub effective: Vec<Effective>,
}

/// The vector columns of an output: one or more.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// The first one.
    pub first: EmbeddingConfig,
    /// The others.
    pub more: Vec<EmbeddingConfig>,
}

impl Embeddings {
    /// These columns; `None` if there are none.
    pub fn new(columns: Vec<EmbeddingConfig>) -> Option<Embeddings> {
        let mut columns = columns.into_iter();
        Some(Embeddings { first: columns.next()?, more: columns.collect() })
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &EmbeddingConfig> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// How many they are, at least one.
    #[allow(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        1 + self.more.len()
    }

    /// The text recipes in the order of the columns.
    pub fn recipes(&self) -> Vec<&TextRecipe> {
        self.iter().map(|embedding| &embedding.text).collect()
    }
}

/// A vector column: what is embedded, by which model, in which form. An `[[embedding]]` block, or the tables
/// of the whole configuration if there is none.
#[derive(Debug, Clone)]
pub struct EmbeddingConfig {
    /// Its name.
    pub column: String,
    /// The table `[text]`: how a row becomes text.
    pub text: TextRecipe,
    /// The tables `[model]` and `[compute]`.
    pub model: ModelConfig,
    /// The form of the vectors: the table `[vector]`.
    pub vector: VectorConfig,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Its full key, such as `batch.start`.
    pub key: &'static str,
    /// The number of its `[[embedding]]` block, from 0; `None` if it holds for all columns.
    pub block: Option<usize>,
    /// Its value, as TOML.
    pub value: String,
    /// Where the value was set.
    pub origin: Origin,
}

/// What is read: a table or the tables of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// A file, a directory or a pattern.
    Path(PathBuf),
    /// Several of them.
    Paths(Vec<PathBuf>),
    /// The file that lists them, one in each line.
    FilesFrom(PathBuf),
}

/// The settings of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetConfig {
    /// What is read.
    pub inputs: Inputs,
    /// The directory below which outputs lie as their inputs do; `None`: as the inputs say.
    pub root: Option<PathBuf>,
    /// The partitions that are taken; `None`: all.
    pub only: Option<Only>,
    /// The part of the tables that this run takes; `None`: all.
    pub shard: Option<Shard>,
    /// Rows of a range of a table that several shards embed; `None`: no table is split.
    pub split_rows: Option<NonZeroU64>,
    /// What becomes of the output of a table that is no longer there.
    pub on_missing: OnMissing,
    /// Whether a file `_SUCCESS` says that every table is in place.
    pub success_file: bool,
    /// Whether the first table that fails ends the run.
    pub fail_fast: bool,
}

/// How a table is read.
#[derive(Debug, Clone)]
pub struct InputConfig {
    /// The Parquet file.
    pub path: PathBuf,
    /// The column of the row ids.
    pub id: IdColumn,
    /// Most rows of a chunk.
    pub chunk_rows: NonZeroUsize,
    /// Size in bytes at which a chunk ends before it has `chunk_rows` rows.
    pub chunk_bytes: NonZeroUsize,
    /// Largest decoded size of the file in bytes; `None`: a limit by the file's size.
    pub decode_limit: Option<u64>,
    /// Largest size of a decompressed page in bytes; at most [`InputConfig::MAX_PAGE_LIMIT`].
    pub page_limit: u64,
    /// How a text that is not UTF-8 is treated.
    pub on_invalid_utf8: InvalidUtf8,
    /// Whether carried columns are decoded as well, to find damaged values.
    pub check_carried: bool,
}

impl InputConfig {
    /// The largest page that Parquet can describe: its size is a signed number of 32 bits.
    pub const MAX_PAGE_LIMIT: u64 = i32::MAX as u64;

    /// How the output at `path` is read: without limits on sizes, because it also holds vectors.
    #[must_use]
    pub fn for_output(&self, path: &Path) -> InputConfig {
        InputConfig {
            path: path.to_owned(),
            decode_limit: Some(u64::MAX),
            page_limit: InputConfig::MAX_PAGE_LIMIT,
            ..self.clone()
        }
    }
}

/// The column of the row ids, by which messages name a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdColumn {
    /// Rows have no ids.
    None,
    /// This column if the table has it.
    IfPresent(String),
    /// This column.
    Required(String),
}

impl IdColumn {
    /// Its name.
    pub fn name(&self) -> Option<&str> {
        match self {
            IdColumn::None => None,
            IdColumn::IfPresent(name) | IdColumn::Required(name) => Some(name),
        }
    }
}

/// Limits on the size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchConfig {
    /// The limits on texts and tokens that the user set. The encoder decides the others.
    pub requested: RequestedLimits,
    /// Bytes that a batch may take; `None`: a share of the free memory.
    pub memory_limit: Option<u64>,
}

/// What is written, and where.
#[derive(Debug, Clone)]
pub struct OutputConfig {
    /// The Parquet file to write.
    pub place: OutputPlace,
    /// How a row without text is treated.
    pub on_empty: OnEmpty,
    /// The columns of the input that get into it.
    pub columns: ColumnChoice,
    /// How they get into it; `None`: copied, unless rows are left out. See [`Config::carry`].
    pub carry: Option<Carry>,
    /// Most rows of a row group. Used with [`Carry::Reencode`] only.
    pub row_group_rows: NonZeroUsize,
    /// What reads it.
    pub preset: Option<Preset>,
}

impl OutputConfig {
    /// Its path.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The name of the output in metrics, reports and their history: its path below the root of the output.
    ///
    /// The root of a single table is its directory, so this is the file name. It does not depend on the directory
    /// in which the program is started, and stays when the directory is moved.
    pub fn label(&self) -> String {
        self.place.label()
    }
}

/// The form of a vector column, before the model is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorConfig {
    /// The type of the components.
    pub vector_type: VectorType,
    /// The values that are converted to it.
    pub values: VectorValues,
    /// The file with the ranges of components: set exactly if the type needs them.
    pub ranges: Option<PathBuf>,
    /// The Arrow type of the column.
    pub layout: VectorLayout,
}

/// The values of a vector before they are converted to the type of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorValues {
    /// The number of components that are kept, the first ones; `None`: as the model's own
    /// configuration sets.
    pub dims: Option<NonZeroUsize>,
    /// Whether to keep `dims` components of a model that was not trained for it.
    pub force_dims: bool,
    /// Whether what is kept is scaled to Euclidean length 1.
    pub normalize: bool,
}

/// What a calibration reads and computes.
#[derive(Debug, Clone)]
pub struct CalibrationConfig {
    /// The table `[input]`.
    pub input: InputConfig,
    /// The name of the vector column.
    pub column: String,
    /// The table `[text]`: how a row becomes text.
    pub text: TextRecipe,
    /// How a row without text is treated.
    pub on_empty: OnEmpty,
    /// The tables `[model]` and `[compute]`.
    pub model: ModelConfig,
    /// The table `[batch]`.
    pub batch: BatchConfig,
    /// The values whose ranges are measured.
    pub values: VectorValues,
    /// The file with the ranges that the configuration names.
    pub ranges: Option<PathBuf>,
    /// The output whose vectors will have these ranges, if the configuration names it. It may exist.
    pub output: Option<PathBuf>,
    /// The table `[cache]`.
    pub cache: CacheConfig,
}

/// A choice among the root columns of the input. A list has one or more different names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnChoice {
    /// All columns.
    All,
    /// These columns only.
    Keep(Vec<String>),
    /// All columns but these.
    Drop(Vec<String>),
}

/// Where reports of runs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportConfig {
    /// The directory.
    pub dir: PathBuf,
    /// The uppermost directory that may be created for it: the one above has to exist.
    pub topmost: PathBuf,
    /// Number of reports to keep; 0 writes none.
    pub keep: usize,
    /// Whether the directory follows from the output.
    pub is_beside_output: bool,
}

/// The vector cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Its file; `None`: a file below `_reembed` beside the output.
    pub path: Option<PathBuf>,
    /// The cache of the whole dataset, which a shard only reads.
    pub base: Option<PathBuf>,
    /// How a run uses it.
    pub mode: CacheMode,
    /// How long a run waits while another process has it open.
    pub wait: Duration,
    /// Bytes that its entries may take.
    pub max_size: u64,
    /// New vectors per commit. A crash loses at most this many.
    pub commit_rows: NonZeroUsize,
    /// Number of reused vectors that a run computes again and compares.
    pub verify_sample: u64,
}

/// Options of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunConfig {
    /// Embed every row again, and replace an output of any model.
    pub rebuild: bool,
    /// Replace an output of another model, and reuse what the cache has of this one.
    pub switch_model: bool,
    /// Time limit of the run, up to the vector of its last row.
    pub deadline: Option<Duration>,
    /// Replace a file at the output path that reembed did not write.
    pub replace: bool,
    /// Most rows of the input that are read, the first ones; `None`: all.
    pub limit: Option<u64>,
}

impl RunConfig {
    /// Whether vectors of another model or of another text recipe may be replaced.
    pub fn replaces_other_vectors(&self) -> bool {
        self.rebuild || self.switch_model
    }
}

/// Conditions for publishing the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishConfig {
    /// Largest share of the existing output's rows that the new one may lack.
    pub max_shrink: Percent,
    /// Whether the disk must have space for the estimated output and cache.
    pub check_space: bool,
}

/// A whole number of percent, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// 100 percent.
    pub const ALL: Percent = Percent(100);

    /// The given number of percent; `None` above 100.
    pub fn new(percent: u64) -> Option<Percent> {
        u8::try_from(percent).ok().filter(|percent| *percent <= 100).map(Percent)
    }

    /// The number of percent.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Config {
    /// The number of rows that `run.limit` keeps of an input of `rows` rows; `None` if it keeps all.
    pub fn limit_of(&self, rows: u64) -> Option<u64> {
        self.run.limit.filter(|limit| *limit < rows)
    }

    /// How the columns of an input of `rows` rows get into the output. Copied columns keep every row,
    /// so that they are encoded anew if `run.limit` leaves rows out.
    ///
    /// # Errors
    /// `Config`, naming the settings that do not fit together.
    pub fn carry(&self, rows: u64) -> Result<Carry> {
        let wrong = |message: String, advice: &str| {
            Err(Error::new(ErrorKind::Config, message).advice(advice))
        };
        match (self.limit_of(rows), self.output.carry) {
            (None, carry) => Ok(carry.unwrap_or(Carry::Copy)),
            (Some(limit), Some(Carry::Copy)) => wrong(
                format!(
                    "`output.carry` is \"copy\", which keeps every row, but `run.limit` is {limit} \
                     and the input has {rows} rows"
                ),
                "remove one of the two, or set `output.carry` to \"reencode\"",
            ),
            (Some(_), None) if self.input.on_invalid_utf8 == InvalidUtf8::Replace => wrong(
                "`input.on_invalid_utf8` is \"replace\", which would change the carried texts: \
                 `run.limit` encodes them anew"
                    .to_owned(),
                "set it to \"error\", or remove `run.limit`",
            ),
            (Some(_), _) => Ok(Carry::Reencode),
        }
    }

    /// Reads the file at `path`, then applies the environment and the flags, and checks the result.
    ///
    /// Each of `flags` is a full key, its value as text and the name of the flag. A variable such as
    /// `REEMBED_BATCH_START` sets the key `batch.start`.
    ///
    /// # Errors
    /// `Config`, naming the file and line, the variable or the flag, and the key, of all that is wrong.
    pub fn load(
        path: &Path,
        flags: &[(&'static str, String, &'static str)],
        environment: &Environment,
    ) -> Result<Config> {
        let mut faults = Vec::new();
        let mut raw = RawConfig::read(path).unwrap_or_else(|error| {
            faults.push(error);
            RawConfig::default()
        });
        faults.extend(raw.apply_environment(environment).err());
        for (key, value, flag) in flags {
            faults.extend(raw.set(key, value, Origin::Flag(flag)).err());
        }
        if let Some(fault) = Error::all(faults) {
            return Err(fault);
        }
        raw.check(environment)
    }
}

/// Compares a generated file of the repository with `expected`, or writes it if `UPDATE_SNAPSHOTS` is set.
#[cfg(test)]
fn assert_generated(file: &str, expected: &str) {
    let path = reembed_testing::repository().join(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, expected).expect("a writable repository");
    }
    let found = std::fs::read_to_string(&path).expect("a generated file");
    let command = "UPDATE_SNAPSHOTS=1 cargo test -p reembed --lib config";
    assert!(found == expected, "{file} is out of date; `{command}` writes it");
}
