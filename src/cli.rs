//! The command line: what may be typed, and which settings the flags stand for.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Embeds the task rows of a Parquet file with a sentence model, in batches, offline.
#[derive(Debug, Parser)]
#[command(name = "reembed", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed; 2 refused before any work (usage, configuration, \
    schema, output path); 3 the vectors at hand come from another model."
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
    /// Measure embedding one at a time against batches of several sizes
    Bench(BenchArgs),
    /// Check an output against its own footer, its input and its model
    Verify(VerifyArgs),
    /// Fetch the model, or show it
    #[command(subcommand)]
    Model(ModelCommand),
    /// Write a reproducible corpus of task rows
    Sample(SampleArgs),
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Bring the model into the cache, so that later runs need no network
    Fetch(ModelArgs),
    /// Show where the model is, its hashes, and what its folder says
    Show(ModelArgs),
}

/// The configuration file, and flags that win over it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pub config: PathBuf,
    /// A folder with the model; nothing is fetched then [model.path]
    #[arg(long, value_name = "FOLDER")]
    pub model_path: Option<PathBuf>,
    /// "cpu", or "cuda:0" in a build with CUDA [compute.device]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads of the CPU encoder, or "auto" [compute.threads]
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
}

impl ConfigArgs {
    /// The settings that the flags stand for: key, value, flag.
    pub fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        set(&[
            ("model.path", &text(&self.model_path), "--model-path"),
            ("compute.device", &self.device, "--device"),
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
    /// Check everything, count rows and tokens, price the run; write nothing
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
        ]));
        settings
    }
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Rows of the sample corpus that is embedded
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one)]
    pub tasks: NonZeroUsize,
    /// How often each way is measured
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one)]
    pub repeats: NonZeroUsize,
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
