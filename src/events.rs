//! What a run reports: [`Event`]s while it runs and a [`Report`] at its end. Plain data.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reembed_encoder::batch::escape_id;
use reembed_encoder::events::{EncodeEvent, InFlight};
use reembed_encoder::inference::Work;
use reembed_encoder::limit::{BatchLimit, LimitChange};
use reembed_encoder::model::precedent::FollowedPrecision;
use reembed_encoder::model::precision::PrecisionWarning;
use reembed_encoder::model::prompt::PromptWarning;
use reembed_encoder::model::source::FetchProgress;
use serde::{Deserialize, Serialize};

use crate::figures::bytes;
use crate::footer::{FooterForm, Lineage};

/// Something that happened during a run. A callback receives it; the library prints nothing.
#[derive(Debug, Clone)]
pub enum Event {
    /// Progress of finding or fetching the model's files.
    Model(FetchProgress),
    /// The precision was chosen for vectors that exist.
    PrecisionFollowed(FollowedPrecision),
    /// The model is loaded.
    Loaded(Box<Loaded>),
    /// The first row is about to be read. A model is loaded by now, or when the first text needs it. Later events count rows once for each
    /// vector column.
    Started {
        /// Rows of the input that are read.
        rows: u64,
        /// Number of vector columns.
        columns: u64,
    },
    /// The tables of a dataset: before the first one is published, and at the end. Events between are sums
    /// over its tables.
    Tables(TableCounts),
    /// A table of a dataset is in place.
    TableDone {
        /// Its path below the root.
        table: String,
        /// Rows of the output.
        rows: u64,
    },
    /// A range of a table is embedded, which several shards embed together.
    RangeDone {
        /// The path of the table below the root.
        table: String,
        /// Rows of the range.
        rows: u64,
    },
    /// A table of a dataset could not be published. The others are all the same.
    TableFailed {
        /// Its path below the root.
        table: String,
        /// The stable word of the error, as [`ErrorKind::code`](reembed_encoder::error::ErrorKind::code).
        code: &'static str,
        /// Why, with its place.
        message: String,
        /// What to do.
        advice: Option<String>,
    },
    /// Texts were split into chunks, each of which is a row of the output: as many more rows.
    Split {
        /// Number of rows.
        rows: u64,
    },
    /// Every row of a chunk is done.
    ChunkDone {
        /// The token count of each text after truncation, in no particular order.
        lengths: Vec<u32>,
        /// Printable ids of the rows whose text was cut at the model's maximum length.
        truncated: Vec<String>,
    },
    /// Progress of reading back the finished file before it is published.
    ReadBack {
        /// Rows checked so far.
        rows: u64,
    },
    /// The run waits for its vector cache, which another process has open.
    WaitingForCache {
        /// The path of the cache.
        path: PathBuf,
    },
    /// The memory budget of a batch.
    Budget {
        /// Bytes that a batch may take; `None` if there is no budget.
        bytes: Option<u64>,
        /// Bytes that one text of the model's maximum length takes, where known.
        least: Option<u64>,
        /// The batch limit at the start.
        limit: BatchLimit,
    },
    /// A batch is about to go through the model. If the process dies now, this batch is the reason. The
    /// parts of a batch that is not done count no more: it did not fit in memory, and its texts start again.
    BatchStarted(InFlight),
    /// A part of the batch went through the model. Several threads report parts, in any order.
    PartDone {
        /// Number of rows whose text, or last missing chunk, was in this part.
        rows: usize,
        /// Tokens of the part's texts, without padding.
        tokens: usize,
    },
    /// A batch went through the model. It counts the whole batch, parts that were reported included.
    BatchDone {
        /// Number of texts.
        rows: usize,
        /// Their tokens, without padding.
        tokens: usize,
    },
    /// Rows of a chunk that need no vector.
    Empty {
        /// Number of rows.
        rows: usize,
    },
    /// Rows of a chunk whose vector was known.
    Known {
        /// Rows whose vector an earlier run computed.
        reused: usize,
        /// Rows with the text of an earlier row of the file.
        duplicate: usize,
    },
    /// New vectors were committed to the cache. They survive a crash.
    Committed {
        /// Number of vectors.
        rows: usize,
    },
    /// The batch limit changed.
    LimitChanged(LimitChange),
    /// Something the user should know and that does not stop the run.
    Warning(Warning),
    /// The times of each stage, once all stages have ended, with or without an error.
    Stages(Vec<(Stage, StageTimes)>),
}

/// A loaded model. One may serve several vector columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The model's identity.
    pub lineage: Lineage,
    /// The engine, precision and hardware, in words.
    pub runs_on: String,
    /// The time to find, check and load it.
    pub took: Duration,
}

impl From<EncodeEvent> for Event {
    fn from(event: EncodeEvent) -> Event {
        match event {
            EncodeEvent::BatchStarted(batch) => Event::BatchStarted(batch),
            EncodeEvent::PartDone { rows, tokens } => Event::PartDone { rows, tokens },
            EncodeEvent::BatchDone { rows, tokens } => Event::BatchDone { rows, tokens },
            EncodeEvent::LimitChanged(change) => Event::LimitChanged(change),
        }
    }
}

/// A stage of the run. Inference and writer share a thread; their times are measured separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Parquet to rows.
    Reader,
    /// Texts to token ids and planned batches.
    Tokenizer,
    /// Batches to vectors.
    Inference,
    /// Vectors to Parquet, up to the publication of the file.
    Writer,
}

/// How a stage spent its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// It worked.
    pub busy: Duration,
    /// It waited for input: the stage before it was slower.
    pub waiting_for_input: Duration,
    /// It waited to hand on its output: the stage after it was slower.
    pub waiting_for_output: Duration,
}

impl StageTimes {
    /// The sum of the three.
    pub fn total(&self) -> Duration {
        self.busy + self.waiting_for_input + self.waiting_for_output
    }

    /// The busy share, from 0 to 1, of the time `flow` in which any stage worked.
    pub fn busy_share(&self, flow: Duration) -> f64 {
        let flow = flow.max(self.total()).as_secs_f64();
        self.busy.as_secs_f64() / flow.max(f64::MIN_POSITIVE)
    }
}

/// Something the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Several rows have the same id.
    DuplicateIds {
        /// Rows whose id an earlier row has.
        count: u64,
        /// The first such id.
        first: String,
    },
    /// The input has no files column under its default name; texts are built without it.
    NoFilesColumn,
    /// The model could run in a better precision.
    Precision(PrecisionWarning),
    /// The model may need a prompt that it does not get.
    Prompt(PromptWarning),
    /// `cache.mode` is `read-only`, and there is no vector cache.
    NoCache {
        /// The path of the cache.
        path: PathBuf,
    },
    /// The vector cache was damaged or of another version and was replaced by a new one.
    CacheSetAside {
        /// The path of the cache.
        path: PathBuf,
        /// The new path of the old file.
        moved_to: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// Entries of the vector cache were damaged; their texts were embedded again.
    DamagedEntries {
        /// The path of the cache.
        path: PathBuf,
        /// Number of entries.
        count: u64,
    },
    /// The vector cache is full, and no entry may be evicted.
    CacheFull {
        /// The path of the cache.
        path: PathBuf,
        /// `cache.max_size` in bytes.
        max_size: u64,
    },
    /// The output is in place, and its file system has no fsync of directories.
    NoDirectorySync {
        /// The path of the output.
        path: PathBuf,
    },
    /// The input is an output of a version whose footer entry cannot be read, so that the output does not
    /// name the models of carried vector columns.
    UnreadLineage {
        /// Why.
        reason: String,
    },
    /// A warning of one table of a dataset.
    InTable {
        /// The path of the table below the root.
        table: String,
        /// The warning.
        warning: Box<Warning>,
    },
    /// Other tables of the dataset have a warning that was told of one.
    OtherTables {
        /// Its kind in a few words.
        kind: &'static str,
        /// Number of these tables.
        tables: u64,
    },
}

impl Warning {
    /// Its kind in a few words.
    pub fn kind(&self) -> &'static str {
        match self {
            Warning::DuplicateIds { .. } => "repeated ids",
            Warning::NoFilesColumn => "no files column",
            Warning::Precision(_) => "another precision",
            Warning::Prompt(_) => "a prompt that is not used",
            Warning::NoCache { .. } => "no vector cache",
            Warning::CacheSetAside { .. } => "an unusable vector cache",
            Warning::DamagedEntries { .. } => "damaged cache entries",
            Warning::CacheFull { .. } => "a full vector cache",
            Warning::NoDirectorySync { .. } => "no fsync of directories",
            Warning::UnreadLineage { .. } => "an unreadable footer entry",
            Warning::InTable { warning, .. } => warning.kind(),
            Warning::OtherTables { kind, .. } => kind,
        }
    }
}

/// The origins of a run's vectors. A row counts in one of the first three, or has no vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsByOrigin {
    /// Rows whose text went through the model.
    pub encoded: u64,
    /// Rows whose vector was cached by an earlier run, or by an earlier worker of this run.
    pub reused: u64,
    /// Rows with the text of an earlier row of the file.
    pub duplicate: u64,
    /// Reused rows whose text went through the model all the same, to compare the two vectors.
    pub sampled: u64,
    /// Tokens of reused and duplicate rows, which the model did not compute.
    pub tokens_saved: u64,
}

impl RowsByOrigin {
    /// Adds `other`.
    pub fn add(&mut self, other: &RowsByOrigin) {
        self.encoded += other.encoded;
        self.reused += other.reused;
        self.duplicate += other.duplicate;
        self.sampled += other.sampled;
        self.tokens_saved += other.tokens_saved;
    }
}

/// One sentence, safe to print: ids and paths are shown without control characters.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::DuplicateIds { count, first } => {
                write!(f, "{count} rows repeat an id; the first is {}", escape_id(first))
            }
            Warning::NoFilesColumn => {
                f.write_str("the input has no files column; texts are built without it")
            }
            Warning::Precision(warning) => warning.fmt(f),
            Warning::Prompt(warning) => warning.fmt(f),
            Warning::NoCache { path } => {
                let path = shown_path(path);
                write!(f, "there is no vector cache at {path}; every row is embedded")
            }
            Warning::CacheSetAside { path, moved_to, reason } => {
                let (path, moved_to) = (shown_path(path), shown_path(moved_to));
                let reason = without_controls(reason);
                write!(
                    f,
                    "the vector cache {path} is unusable: {reason}; it was moved to {moved_to}, and \
                     a new one was created"
                )
            }
            Warning::DamagedEntries { path, count } => write!(
                f,
                "{count} entries of the vector cache {} were damaged; their rows were embedded again",
                shown_path(path)
            ),
            Warning::CacheFull { path, max_size } => write!(
                f,
                "the vector cache {} is full (cache.max_size is {}); new vectors are not stored",
                shown_path(path),
                bytes(*max_size)
            ),
            Warning::NoDirectorySync { path } => write!(
                f,
                "the file system of {} has no fsync of directories; the new file is complete, and a \
                 power failure within seconds of the run may bring the old one back",
                shown_path(path)
            ),
            Warning::UnreadLineage { reason } => write!(
                f,
                "the input was written by reembed, and {}; the output does not name the models of \
                 vector columns that it carries",
                without_controls(reason)
            ),
            Warning::InTable { table, warning } => {
                write!(f, "{}: {warning}", without_controls(table))
            }
            Warning::OtherTables { kind, tables } => {
                write!(f, "{tables} other tables have the same warning: {kind}")
            }
        }
    }
}

fn shown_path(path: &Path) -> String {
    without_controls(&path.display().to_string())
}

/// Replaces characters that move a cursor or end a line.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How a run used its vector cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUse {
    /// The path of the cache.
    pub path: PathBuf,
    /// The size of its file in bytes, if the file can be read.
    pub file_bytes: Option<u64>,
    /// Number of entries.
    pub entries: u64,
    /// Entries that were evicted for new ones.
    pub evicted: u64,
    /// New vectors that were not stored because the cache is full.
    pub not_stored: u64,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Rows of the output: those of the input that were read, less the dropped ones, or the chunks of
    /// their texts.
    pub rows: u64,
    /// Rows of the input that were read, if rows of the output are chunks of texts.
    pub input_rows: Option<u64>,
    /// Rows of the input that were left out of the output because they have no text.
    pub dropped_rows: u64,
    /// Rows of the input that were read, the first ones; `None` if all were.
    pub limit_rows: Option<u64>,
    /// Rows whose id an earlier row has; counted to hundreds of thousands of rows, a lower bound beyond.
    pub repeated_ids: u64,
    /// The vector columns, one or more.
    pub columns: Vec<ColumnReport>,
    /// How the vector cache was used; `None` without a cache.
    pub cache: Option<CacheUse>,
    /// The time from the first row to the published output, without loading the model.
    pub elapsed: Duration,
    /// The time to find, check and load the models; `None` if no text needed one.
    pub model_load: Option<Duration>,
    /// How often a batch limit changed.
    pub limit_changes: u64,
    /// The warnings, in order.
    pub warnings: Vec<Warning>,
    /// The path of the output.
    pub output: PathBuf,
    /// The size of the output in bytes.
    pub output_bytes: u64,
    /// Whether the existing file had the same bytes and was left untouched.
    pub output_unchanged: bool,
    /// The peak resident set size of the process in bytes, where the system reports it.
    pub peak_resident: Option<u64>,
    /// The tables of a dataset; `None` for one table.
    pub tables: Option<TableCounts>,
}

/// The tables of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounts {
    /// Tables that there are.
    pub listed: u64,
    /// Tables that the run took: those of its shard and condition.
    pub taken: u64,
    /// Tables that were published.
    pub published: u64,
    /// Those of the published ones whose output had the same bytes already.
    pub same_bytes: u64,
    /// Tables that were in place, and were not opened.
    pub unchanged: u64,
    /// Tables that could not be published.
    pub failed: u64,
    /// Tables that were not tried after a failure.
    pub not_tried: u64,
    /// Tables of which this shard has embedded its rows, and others have not yet (`dataset.split_rows`).
    #[serde(default)]
    pub under_way: u64,
    /// Earlier tables whose input is gone.
    pub gone: u64,
    /// Their outputs that were deleted.
    pub deleted: u64,
}

/// What a run did for one vector column.
#[derive(Debug, Clone)]
pub struct ColumnReport {
    /// Its name.
    pub column: String,
    /// The form of its vectors.
    pub form: FooterForm,
    /// The model that made the vectors.
    pub lineage: Lineage,
    /// The engine, precision and hardware, in words.
    pub runs_on: String,
    /// Whether it replaced a column of the input.
    pub replaced_column: bool,
    /// Rows without a vector.
    pub null_rows: u64,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated_rows: u64,
    /// The origins of the vectors.
    pub origins: RowsByOrigin,
    /// What the model computed.
    pub work: Work,
    /// The batch limit at the end; `None` if no text needed the model.
    pub limit: Option<BatchLimit>,
}

impl ColumnReport {
    /// The report of a column without rows.
    pub fn empty(column: &str, form: FooterForm, lineage: Lineage, runs_on: String) -> Self {
        ColumnReport {
            column: column.to_owned(),
            form,
            lineage,
            runs_on,
            replaced_column: false,
            null_rows: 0,
            truncated_rows: 0,
            origins: RowsByOrigin::default(),
            work: Work::default(),
            limit: None,
        }
    }

    fn add(&mut self, other: &ColumnReport) {
        self.replaced_column |= other.replaced_column;
        self.null_rows += other.null_rows;
        self.truncated_rows += other.truncated_rows;
        self.origins.add(&other.origins);
        self.work.add(&other.work);
        self.limit = other.limit.or(self.limit);
    }
}

impl Report {
    /// The report of a dataset before its first table: the sum of nothing. `columns` has its vector columns.
    pub fn without_tables(output: &Path, columns: Vec<ColumnReport>) -> Report {
        Report {
            rows: 0,
            input_rows: None,
            dropped_rows: 0,
            limit_rows: None,
            repeated_ids: 0,
            columns,
            cache: None,
            elapsed: Duration::ZERO,
            model_load: None,
            limit_changes: 0,
            warnings: Vec::new(),
            output: output.to_owned(),
            output_bytes: 0,
            output_unchanged: true,
            peak_resident: None,
            tables: Some(TableCounts::default()),
        }
    }

    /// Adds the report of a table.
    pub fn add(&mut self, table: &Report) {
        self.rows += table.rows;
        self.input_rows = match (self.input_rows, table.input_rows) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.dropped_rows += table.dropped_rows;
        self.limit_rows = match (self.limit_rows, table.limit_rows) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.repeated_ids += table.repeated_ids;
        self.columns.iter_mut().zip(&table.columns).for_each(|(sum, column)| sum.add(column));
        self.output_bytes += table.output_bytes;
        self.output_unchanged &= table.output_unchanged;
    }

    /// The first vector column.
    pub fn first(&self) -> &ColumnReport {
        &self.columns[0]
    }

    /// Rows without a vector, summed over the vector columns.
    pub fn null_rows(&self) -> u64 {
        self.columns.iter().map(|column| column.null_rows).sum()
    }

    /// Rows whose text was cut at the model's maximum length, summed over the vector columns.
    pub fn truncated_rows(&self) -> u64 {
        self.columns.iter().map(|column| column.truncated_rows).sum()
    }

    /// The origins of the vectors of all columns.
    pub fn origins(&self) -> RowsByOrigin {
        let mut sum = RowsByOrigin::default();
        self.columns.iter().for_each(|column| sum.add(&column.origins));
        sum
    }

    /// What the models computed for all columns.
    pub fn work(&self) -> Work {
        let mut sum = Work::default();
        self.columns.iter().for_each(|column| sum.add(&column.work));
        sum
    }

    /// Rows per second of [`Report::elapsed`], dropped ones included.
    pub fn rows_per_second(&self) -> f64 {
        let rows = self.input_rows.unwrap_or(self.rows + self.dropped_rows);
        rows as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Tokens per second of [`Report::elapsed`], without padding.
    pub fn tokens_per_second(&self) -> f64 {
        self.work().tokens as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}
