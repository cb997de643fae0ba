//! The command line: what may be typed, and which settings the flags stand for.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::bench::Mode;
use crate::flags::{OfModel, OfRun, SettingFlags};

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
    /// Inspect and prune the vector cache
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Write a commented pipeline.toml
    Init(InitArgs),
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

/// The configuration file.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file [default: pipeline.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The configuration file, and flags that win over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<OfModel>,
}

impl ConfigArgs {
    /// The arguments as they were typed, for this program in another process.
    pub fn typed(&self) -> Vec<OsString> {
        let file = self.file.config.iter().flat_map(|path| ["--config".into(), path.into()]);
        file.chain(self.flags.typed()).collect()
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The Parquet file to read [input.path]
    #[arg(value_name = "IN", conflicts_with = "input", requires = "to")]
    pub from: Option<PathBuf>,
    /// The Parquet file to write [output.path]
    #[arg(value_name = "OUT", conflicts_with = "output")]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<OfRun>,
    /// Run in one process, without restarting after out-of-memory kills
    #[arg(long)]
    pub no_supervise: bool,
    /// Be the worker of a supervisor, which is connected to standard input
    #[arg(long, hide = true, conflicts_with = "no_supervise")]
    pub worker: bool,
    /// Validate inputs, count rows and tokens, estimate cost; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the configuration in force, with where each value came from, and stop
    #[arg(long, conflicts_with = "dry_run")]
    pub print_config: bool,
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
    /// How often each mode is measured
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one)]
    pub repeats: NonZeroUsize,
    /// About how many seconds each engine may take; a slow one embeds fewer rows then. 0: as long as it takes
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub time: u64,
    /// What to measure: `single` (one call for each row), rows of a batch, `auto` (as a run plans its batches)
    /// [default: single,1,8,16,32,64,128,auto]
    #[arg(long, value_name = "MODE,…", value_delimiter = ',')]
    pub modes: Vec<Mode>,
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
    #[command(flatten)]
    pub file: ConfigFile,
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
pub struct InitArgs {
    /// A Parquet file to embed: its path and its columns are filled in
    #[arg(value_name = "INPUT")]
    pub input: Option<PathBuf>,
    /// The file to write; - for standard output
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pub config: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
    /// Print the JSON Schema of pipeline.toml for editors, and write nothing
    #[arg(long, conflicts_with_all = ["input", "force"])]
    pub schema: bool,
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
