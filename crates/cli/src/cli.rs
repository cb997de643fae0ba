//! The command line: commands, arguments and their help.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use reembed::config::{Setting, check_local_path};

use crate::bench::Mode;
use crate::flags::{ModelScope, RunScope, Scope, SettingFlags};
use crate::renamed;
use crate::text::error_line;

/// Parses a command line.
///
/// # Errors
/// A usage error, which gives the new name of an old flag or command; and the texts of `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments).map_err(|error| match renamed::find(&error) {
        Some((old, new)) => {
            Cli::command().error(error.kind(), format!("`{old}` is now called `{new}`"))
        }
        None => error,
    })
}

/// The long flags of a command that are shown, and whether each takes a value.
pub fn flags(command: &str) -> Vec<(String, bool)> {
    let mut cli = Cli::command();
    cli.build();
    let Some(command) = cli.find_subcommand(command) else { return Vec::new() };
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    shown
        .filter_map(|flag| Some((flag.get_long()?.to_owned(), flag.get_action().takes_values())))
        .collect()
}

/// Adds a column of embeddings to Parquet tables; only rows that changed are computed.
#[derive(Debug, Parser)]
#[command(name = "reembed", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success; 1 failure; 2 refused before any work (usage, configuration, \
    input, schema, output path, model); 3 the existing vectors come from another model; 75 another run holds the lock \
    of this output or has the vector cache open; 124 deadline exceeded (run.deadline); 130 interrupted (SIGINT); 143 terminated (SIGTERM, SIGHUP)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

/// Options of the log on standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct Logging {
    /// Print errors only: no progress, no log lines
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print debug lines; -vv prints all
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of the log lines
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Seconds between log lines about progress, where no progress bar is shown
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = interval)]
    pub progress_interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// How a command answers on standard output.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Format of the result on standard output; json: exactly one object, also after a failure
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed every row of a table, or of the tables of a dataset
    ///
    /// `reembed run IN OUT` needs no configuration file. A pipeline.toml in the current directory is read if it exists;
    /// IN, OUT and flags override it.
    Run(RunArgs),
    /// Measure every engine of this machine, one text at a time and in batches
    Bench(BenchArgs),
    /// Measure the ranges of components, for int8 and uint8 vectors
    ///
    /// Embeds a sample of the rows and writes the least and greatest value of each component to a file. The
    /// setting `vector.ranges` names it. Vectors are only comparable if they were made with the same file: keep it
    /// with the configuration.
    Calibrate(CalibrateArgs),
    /// Tell what is in place of a dataset, and what the next run would do
    ///
    /// `reembed status OUT` finds the inputs in the manifest; a pipeline.toml or flags may name them too.
    Status(StatusArgs),
    /// Join what the shards of a dataset have published
    Merge(MergeArgs),
    /// Check an output against its footer, its input and its model
    ///
    /// OUTPUT may be the directory of a dataset, and the input its directory.
    /// The model is found by its name and hashes in the footer, unless the configuration or a flag names one.
    Verify(VerifyArgs),
    /// Fetch, show, pin, convert or check a model
    #[command(subcommand)]
    Model(ModelCommand),
    /// Inspect and prune the vector cache
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Write a commented pipeline.toml
    ///
    /// With INPUT, the file names that table and its columns. Review them, then start `reembed run`.
    Init(InitArgs),
    /// Write a reproducible sample table
    Sample(SampleArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Fetch the model into the model cache, so that later runs need no network
    Fetch(ModelArgs),
    /// Show the model's directory, description and checksums
    Show(ModelArgs),
    /// List the architectures that reembed runs
    List,
    /// Print the checksums of the model's files for a configuration, so that a run refuses any other files
    Pin(PinArgs),
    /// Write pickled weights (pytorch_model.bin, or its shards) as safetensors, without running code
    ///
    /// Runs refuse pickled weights, since loading a pickle can run any code. This reader builds tensors and nothing else.
    /// The weights of Dense modules are written too.
    Convert(ConvertArgs),
    /// Compare the model's vectors with those of another library, in f32
    ///
    /// Prompt and length are the model's own, whatever the configuration says of texts.
    Check(CheckArgs),
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show the number of vectors and when they were last used
    Stats(CacheArgs),
    /// Remove vectors that recent runs did not use, and shrink the file
    Prune(PruneArgs),
    /// Read every vector and every page of the file, and report damage
    Verify(CacheArgs),
}

/// The configuration file.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file [default: pipeline.toml, if it exists]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub config: Option<PathBuf>,
}

/// The configuration file, and the flags of the model.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<ModelScope>,
}

impl ConfigArgs {
    /// The arguments for another process of this program.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let file = self.file.config.iter().flat_map(|path| ["--config".into(), path.into()]);
        file.chain(self.flags.to_arguments()).collect()
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to read (files, directories or patterns) and, last, what to write: a Parquet file or a directory [input.path,
    /// output.path]
    #[arg(value_names = ["IN", "OUT"], num_args = 1.., conflicts_with_all = ["input", "files-from"])]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<RunScope>,
    /// Run in one process, without restarting after out-of-memory kills
    #[arg(long)]
    pub no_supervise: bool,
    /// Stop cleanly when standard input is closed, as by the end of the process that holds its other end
    #[arg(long)]
    pub stop_at_eof: bool,
    /// Run as the worker of a supervisor, which is connected to standard input
    #[arg(long, hide = true, conflicts_with = "no_supervise")]
    pub worker: bool,
    /// Name of this run in logs, reports and the result [default: its time and six digits]
    #[arg(long, value_name = "ID")]
    pub run_id: Option<String>,
    #[command(flatten)]
    pub format: Format,
    /// Validate inputs, count rows and tokens, estimate cost; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the configuration in force and the origin of each value; run nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub print_config: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Output directory of the dataset [output.path]
    #[arg(value_name = "OUT", conflicts_with = "output")]
    pub output_path: Option<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<RunScope>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Output directory of the dataset [output.path]
    #[arg(value_name = "OUT")]
    pub output_path: Option<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
    /// Write _SUCCESS if every table is in place
    #[arg(long)]
    pub success_file: bool,
    /// Delete the outputs of tables whose input is gone
    #[arg(long)]
    pub delete_missing: bool,
    /// Delete them whatever their share of the tables or rows [publish.max_shrink]
    #[arg(long, requires = "delete_missing")]
    pub allow_shrink: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Table to embed [default: a built-in sample]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub input: Option<PathBuf>,
    /// Maximum number of rows
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one)]
    pub tasks: NonZeroUsize,
    /// Passes of each mode
    #[arg(long, value_name = "N", default_value = "3", value_parser = at_least_one)]
    pub repeats: NonZeroUsize,
    /// Approximate time for each engine; a slow engine embeds fewer rows. 0: no limit
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub time: u64,
    /// Modes to measure: `single` (one call per row), a number of rows in a batch, `auto` (batches as a run plans them)
    /// [default: single,1,8,16,32,64,128,auto]
    #[arg(long, value_name = "MODE,…", value_delimiter = ',')]
    pub modes: Vec<Mode>,
    /// Skip the memory of batches
    #[arg(long)]
    pub no_memory: bool,
    /// Also measure other tools on the same texts, with the scripts in DIR (`benches/peers` of a checkout)
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "benches/peers")]
    pub peers: Option<PathBuf>,
    /// Results as JSON [default: bench.json in report.dir]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub json: Option<PathBuf>,
    /// Results as a page [default: bench.html in report.dir]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub format: Format,
    /// Measure the memory of one batch in this process, and print it
    #[arg(long, hide = true, value_name = "TEXTS,TOKENS", value_delimiter = ',')]
    pub memory_of: Vec<usize>,
}

/// The settings that decide what is embedded, and how.
#[derive(Debug, Clone)]
pub struct CalibrationScope;

impl Scope for CalibrationScope {
    fn has(setting: &Setting) -> bool {
        // The column chooses among several.
        setting.key == "output.column"
            || ["input", "text", "model", "compute", "batch", "vector"].contains(&setting.table())
    }
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Parquet file to read [input.path]
    #[arg(value_name = "IN", conflicts_with = "input")]
    pub input_path: Option<PathBuf>,
    #[command(flatten)]
    pub file: ConfigFile,
    #[command(flatten)]
    pub flags: SettingFlags<CalibrationScope>,
    /// Number of rows to embed, spread evenly from the first to the last
    #[arg(long, value_name = "N", default_value = "10000", value_parser = at_least_one)]
    pub sample: NonZeroUsize,
    /// File to write; an existing file of ranges is replaced [default: vector.ranges]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Output to check: a file, or the directory of a dataset
    #[arg(value_parser = local_path())]
    pub output: PathBuf,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Input of the output; ids and carried columns are compared
    #[arg(long, value_name = "PATH", value_parser = local_path())]
    pub input: Option<PathBuf>,
    /// Number of rows to embed again and compare; 0: none
    #[arg(long, value_name = "N", default_value = "32")]
    pub sample: u64,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Id or directory of the model [model.id, model.path]
    #[arg(value_name = "ID|DIR", conflicts_with_all = ["model", "model-path"])]
    pub name: Option<OsString>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct PinArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Write them into this configuration, in the place of its table [model.sha256]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Directory of the model
    #[arg(value_name = "DIR", value_parser = local_path())]
    pub directory: PathBuf,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Library to compare with; the Python of REEMBED_PYTHON needs it
    #[arg(long, value_name = "LIBRARY", default_value = "st")]
    pub against: Library,
    /// Number of texts
    #[arg(long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    pub texts: NonZeroUsize,
}

/// A library that runs the same models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Library {
    /// sentence-transformers
    St,
}

#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(flatten)]
    pub file: ConfigFile,
    /// Output that the cache belongs to [output.path]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub output: Option<PathBuf>,
    /// File of the cache [cache.path]
    #[arg(long, value_name = "FILE", value_parser = local_path())]
    pub cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Keep vectors that the last N finished runs of any output used; the cache remembers 100 runs of each
    #[arg(long, value_name = "N", default_value = "1")]
    pub keep_runs: NonZeroU32,
    /// Forget outputs whose last run finished more than N days ago: what they used is not kept
    #[arg(long, value_name = "N")]
    pub forget_after_days: Option<NonZeroU32>,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Parquet file to embed
    #[arg(value_name = "INPUT", value_parser = local_path())]
    pub input: Option<PathBuf>,
    /// File to write; `-` for standard output
    #[arg(long, value_name = "FILE", default_value = "pipeline.toml")]
    pub config: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub force: bool,
    /// Print the JSON Schema of pipeline.toml, for editors; write nothing
    #[arg(long, conflicts_with_all = ["input", "config", "force"])]
    pub schema: bool,
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// Parquet file to write
    #[arg(value_parser = local_path())]
    pub file: PathBuf,
    /// Number of rows
    #[arg(long, value_name = "N", default_value = "1200", value_parser = at_least_one)]
    pub rows: NonZeroUsize,
    /// Seed; equal seeds give equal rows
    #[arg(long, value_name = "S", default_value = "42")]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell
    pub shell: Shell,
}

/// Parses the path of a local file.
fn local_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match check_local_path(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(error_line(&error.into())),
    })
}

/// Parses an interval. Lines that come faster than the eye sees are of no use.
fn interval(text: &str) -> Result<Duration, &'static str> {
    const FASTEST: f64 = 0.05;
    match text.parse() {
        Ok(seconds) if seconds >= FASTEST => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    }
    .ok_or("it must be a number of seconds, at least 0.05")
}

/// Parses a count. The standard library's message for zero is about types.
fn at_least_one(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it must be a whole number, at least 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_tell_whether_they_take_a_value() {
        let flags = flags("run");
        for (name, takes_value) in [("text", true), ("rebuild", false), ("quiet", false)] {
            assert!(flags.contains(&(name.to_owned(), takes_value)), "{name}");
        }
        assert!(flags.iter().all(|(name, _)| name != "worker"));
        assert_eq!(super::flags("fly"), []);
    }

    #[test]
    fn old_names_are_refused_with_the_new_name() {
        let usage_error = |arguments: &[&str]| {
            let arguments = ["reembed"].iter().chain(arguments).map(OsString::from);
            parse(arguments).expect_err("an unknown word").to_string()
        };
        for (arguments, message) in [
            (&["run", "--store-mode", "off"][..], "`--store-mode` is now called `--cache-mode`"),
            (&["run", "--store-mode=off"], "`--store-mode` is now called `--cache-mode`"),
            (&["store", "prune"], "`store` is now called `cache`"),
            (&["cache", "stats", "--store", "x"], "`--store` is now called `--cache`"),
            (&["bench", "--ways", "plan"], "`--ways` is now called `--modes`"),
        ] {
            let error = usage_error(arguments);
            assert!(error.contains(message), "{arguments:?}: {error}");
        }
        assert!(!usage_error(&["run", "--inptu", "x"]).contains("is now called"));
    }
}
