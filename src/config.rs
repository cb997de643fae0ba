//! The configuration: what the user wrote ([`RawConfig`]) and what the program uses ([`Config`]).
//!
//! There is one fallible step between the two, [`RawConfig::check`]; after it every size is positive, every
//! choice is an enum and every path is resolved.

mod check;
mod layers;
mod names;
mod settings;
mod values;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use layers::{Origin, RawConfig};
pub use settings::{SETTINGS, Setting};

use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, Precision};
use crate::limit::RequestedLimits;
use crate::model::source::SourceConfig;
use crate::task::TextTemplate;

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

/// Which model embeds the rows, and what it runs on.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Where its files come from.
    pub source: SourceConfig,
    /// Replaces the model's default prompt.
    pub prompt: Option<String>,
    /// What runs it.
    pub engine: Engine,
    /// What the factors of matrix products are; `None`: for a model that was validated in it, bf16 where the CPU makes it
    /// fast, on AMX or else on AVX512-BF16; f32 for any other.
    pub precision: Option<Precision>,
    /// Threads of an encoder on the CPU.
    pub threads: NonZeroUsize,
}

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our own kernels on the CPU, with this instruction set: batch-invariant.
    Packed(Isa),
    /// candle, on the CPU (the reference) or on a GPU.
    Candle(Device),
}

impl ModelConfig {
    /// The default model, all-MiniLM-L6-v2, on the CPU; found, fetched and kept as `reembed run` does it under
    /// the same environment.
    ///
    /// # Errors
    /// `Config` when the environment names no directory to keep a model in, or a `REEMBED_…` variable is wrong.
    pub fn standard(environment: &Environment) -> Result<ModelConfig> {
        let mut raw = RawConfig::default();
        raw.lay_environment(environment)?;
        raw.check_model(environment)
    }
}

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
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

/// What a run may do with the vector cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// Take vectors out of it and put new ones in.
    ReadWrite,
    /// Take vectors out of it.
    ReadOnly,
    /// Go without.
    Off,
}

/// What holds for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunConfig {
    /// Nothing of earlier runs is taken over, and whatever they left may be replaced.
    pub rebuild: bool,
    /// How long it may take, from its start to the vectors of its last row.
    pub deadline: Option<Duration>,
    /// Who has the lock of the output.
    pub lock: LockHolder,
    /// A file at the output path that reembed did not write may be replaced.
    pub replace: bool,
}

/// Who has the lock of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHolder {
    /// This process takes it.
    ThisProcess,
    /// The process that started this one, which goes on when this one dies; see [`crate::target::Hold`].
    Parent,
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

/// The Arrow type of the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorType {
    /// `FixedSizeList<Float32, dim>`.
    FixedSizeList,
    /// `List<Float32>`, for readers that know no fixed size.
    List,
}

/// What happens to a row whose text has no characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEmpty {
    /// It gets a null; the column is then nullable.
    Null,
    /// The empty text is embedded.
    Embed,
    /// The run fails, naming the row.
    Error,
}

/// What the binary found in the process environment. The library itself reads none.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Keeps the variables given.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment { variables: variables.into_iter().collect() }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable is set to something else than a word for no, as the Hugging Face tools read theirs.
    fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !["0", "off", "no", "false"].contains(&value.to_ascii_lowercase().as_str())
        })
    }

    /// reembed's own cache directory: `REEMBED_CACHE`, else `reembed` below the user's cache directory.
    fn cache(&self) -> Result<PathBuf> {
        let own = self.get("REEMBED_CACHE").map(PathBuf::from);
        let user = || {
            let xdg = self.get("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || Some(Path::new(self.home()?).join(".cache"));
            Some(xdg.or_else(home)?.join("reembed"))
        };
        own.or_else(user).ok_or_else(|| {
            Error::new(ErrorKind::Config, "there is no home directory to keep the model in")
                .advice("set `model.cache`, REEMBED_CACHE or HOME")
        })
    }

    /// The Hugging Face cache, as `huggingface_hub` finds it.
    fn hub_cache(&self) -> Option<PathBuf> {
        let own = self.get("HF_HUB_CACHE").map(PathBuf::from);
        let hf = || self.get("HF_HOME").map(|home| Path::new(home).join("hub"));
        let xdg = || self.get("XDG_CACHE_HOME").map(|c| Path::new(c).join("huggingface/hub"));
        let home = || Some(Path::new(self.home()?).join(".cache/huggingface/hub"));
        own.or_else(hf).or_else(xdg).or_else(home)
    }

    /// The proxy towards the hub, as curl finds it.
    fn proxy(&self) -> Option<&str> {
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .iter()
            .find_map(|name| self.get(name))
    }

    fn no_proxy(&self) -> Vec<String> {
        let hosts = self.get("NO_PROXY").or_else(|| self.get("no_proxy")).unwrap_or("");
        hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(String::from).collect()
    }

    fn home(&self) -> Option<&str> {
        self.get("HOME").or_else(|| self.get("USERPROFILE"))
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
