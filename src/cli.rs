//! The command line: what may be typed, and which settings the flags stand for.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use reembed::bench::Way;

/// Embeds the task rows of a Parquet file with a sentence model, in batches, offline.
#[derive(Debug, Parser)]
#[command(name = "reembed", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed; 2 refused before any work (usage, configuration, \
    schema, output path); 3 the vectors at hand come from another model; 75 another run is writing \
    this output; 124 run.deadline has passed; 130, 143 interrupted, terminated."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

/// What goes to standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct Logging {
    /// No progress and no log lines; errors are still said
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More log lines; twice for everything
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Form of the log lines
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed every row of the input and write the output
    Run(RunArgs),
    /// Measure every engine of this machine, one at a time and in batches of several sizes
    Bench(BenchArgs),
    /// Check an output against its own footer, its input and its model
    Verify(VerifyArgs),
    /// Fetch the model, or show it
    #[command(subcommand)]
    Model(ModelCommand),
    /// Look after the vectors that are kept from run to run
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Write a reproducible corpus of task rows
    Sample(SampleArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Bring the model into the cache, so that later runs need no network
    Fetch(ModelArgs),
    /// Show where the model is, its hashes, and what its directory says
    Show(ModelArgs),
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Say what it holds, and when that was last used
    Stats(CacheArgs),
    /// Remove what recent runs did not use, and make the file smaller
    Prune(PruneArgs),
    /// Read every vector and every page of the file, and say what is damaged
    Verify(CacheArgs),
}

/// The configuration file, and flags that win over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pub config: PathBuf,
    /// A directory with the model; nothing is fetched then [model.path]
    #[arg(long, value_name = "DIR")]
    pub model_path: Option<PathBuf>,
    /// "cpu", or "cuda:0" in a build with CUDA [compute.device]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// "f32", "bf16x3", "bf16", "bf16-avx512" or "auto": what matrix products are made of [compute.precision]
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<String>,
    /// Threads of the CPU encoder, or "auto" [compute.threads]
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
}

impl ConfigArgs {
    /// The arguments as they were typed, for this program in another process.
    pub fn typed(&self) -> Vec<OsString> {
        let mut typed: Vec<OsString> = vec!["--config".into(), self.config.clone().into()];
        let mut flag = |flag: &str, value: Option<OsString>| {
            typed.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
        };
        flag("--model-path", self.model_path.clone().map(Into::into));
        flag("--device", self.device.clone().map(Into::into));
        flag("--precision", self.precision.clone().map(Into::into));
        flag("--threads", self.threads.clone().map(Into::into));
        typed
    }

    /// The settings that the flags stand for: key, value, flag.
    pub fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        set(&[
            ("model.path", &text(&self.model_path), "--model-path"),
            ("compute.device", &self.device, "--device"),
            ("compute.precision", &self.precision, "--precision"),
            ("compute.threads", &self.threads, "--threads"),
        ])
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The Parquet file of task rows [input.path]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// The Parquet file to write [output.path]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Fixes the batch size: no growth; memory can still make it smaller [batch.start, batch.max]
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<String>,
    /// Bytes that a batch may take, such as "2 GiB", or "auto" [batch.memory_limit]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// Whether vectors of earlier runs are reused: "read-write", "read-only" or "off" [cache.mode]
    #[arg(long, value_name = "MODE")]
    pub cache_mode: Option<String>,
    /// Embed every row again, or go on doing so, and replace what earlier runs left, of whatever model [run.rebuild]
    #[arg(long)]
    pub rebuild: bool,
    /// Replace a file at the output path that reembed did not write [run.replace]
    #[arg(long)]
    pub replace: bool,
    /// Let the output have any number of rows fewer than the one it replaces [publish.max_shrink]
    #[arg(long)]
    pub allow_shrink: bool,
    /// Do the work in this process: nobody starts it again when it is killed for its memory
    #[arg(long)]
    pub no_supervise: bool,
    /// This process does the work, and standard input is the connection to the one that started it
    #[arg(long, hide = true, conflicts_with = "no_supervise")]
    pub worker: bool,
    /// Refuse what a run would refuse before any work, count rows and tokens, price the run; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the configuration in force, with where each value came from, and stop
    #[arg(long, conflicts_with = "dry_run")]
    pub print_config: bool,
}

impl RunArgs {
    /// The settings that the flags stand for: key, value, flag.
    pub fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut settings = self.config.settings();
        settings.extend(set(&[
            ("input.path", &text(&self.input), "--input"),
            ("output.path", &text(&self.output), "--output"),
            ("batch.start", &self.batch_size, "--batch-size"),
            ("batch.max", &self.batch_size, "--batch-size"),
            ("batch.memory_limit", &self.memory_limit, "--memory-limit"),
            ("cache.mode", &self.cache_mode, "--cache-mode"),
            ("run.rebuild", &self.rebuild.then(|| "true".to_owned()), "--rebuild"),
            ("run.replace", &self.replace.then(|| "true".to_owned()), "--replace"),
            ("publish.max_shrink", &self.allow_shrink.then(|| "100".to_owned()), "--allow-shrink"),
        ]));
        settings
    }
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Embed the rows of this file; a sample corpus unless given
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Rows that are embedded, at most
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one)]
    pub tasks: NonZeroUsize,
    /// How often each way is measured
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one)]
    pub repeats: NonZeroUsize,
    /// About how many seconds each engine may take; a slow one embeds fewer rows then. 0: as long as it takes
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub time: u64,
    /// What to measure: `alone` (one call for each row), rows of a batch, `plan` (as a run plans its batches)
    /// [default: alone,1,8,16,32,64,128,plan]
    #[arg(long, value_name = "WAY,…", value_delimiter = ',')]
    pub ways: Vec<Way>,
    /// Leave out the memory of batches
    #[arg(long)]
    pub no_memory: bool,
    /// Measure other tools too, on the same texts: the directory of their scripts, `benches/peers` of a checkout
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "benches/peers")]
    pub peers: Option<PathBuf>,
    /// Where the figures go for programs; `bench.json` in `report.dir` unless given
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the page goes; `bench.html` in `report.dir` unless given
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Measure the memory of one batch in this process, and say it
    #[arg(long, hide = true, value_name = "TEXTS,TOKENS", value_delimiter = ',')]
    pub memory_of: Vec<usize>,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The output to check
    pub output: PathBuf,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The input that it was made from: ids and carried columns are compared
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Rows that are embedded again and compared; 0 for none
    #[arg(long, value_name = "N", default_value = "32")]
    pub sample: u64,
}

#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct CacheArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pub config: PathBuf,
    /// The output whose cache it is [output.path]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The cache itself [cache.path]
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Keep what the last so many finished runs used; a cache knows a hundred of them
    #[arg(long, value_name = "N", default_value = "1")]
    pub keep_runs: NonZeroU32,
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// The Parquet file to write
    pub file: PathBuf,
    /// Number of rows
    #[arg(long, value_name = "N", default_value = "1200", value_parser = at_least_one)]
    pub rows: NonZeroUsize,
    /// The same seed gives the same rows
    #[arg(long, value_name = "S", default_value = "42")]
    pub seed: u64,
}

/// A count. The standard library's own words for a zero are about types.
fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it must be a whole number, at least 1")
}

/// A path as a setting, which is text; where it is none, see `commands::paths_as_typed`.
fn text(path: &Option<PathBuf>) -> Option<String> {
    Some(path.as_ref()?.to_string_lossy().into_owned())
}

fn set(
    flags: &[(&'static str, &Option<String>, &'static str)],
) -> Vec<(&'static str, String, &'static str)> {
    flags.iter().filter_map(|(key, value, flag)| Some((*key, (*value).clone()?, *flag))).collect()
}
