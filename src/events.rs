//! What a run says while it goes on ([`Event`]) and when it is done ([`Report`]): plain data.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reembed_encoder::batch::escape_id;
use reembed_encoder::events::{EncodeEvent, InFlight};
use reembed_encoder::inference::Work;
use reembed_encoder::limit::{BatchLimit, LimitChange};
use reembed_encoder::model::precision::PrecisionWarning;
use reembed_encoder::model::source::FetchProgress;
use serde::{Deserialize, Serialize};

use crate::figures::bytes;
use crate::footer::Lineage;

/// Something that happened. The library says it to a callback and prints nothing.
#[derive(Debug, Clone)]
pub enum Event {
    /// The search for the model's files.
    Model(FetchProgress),
    /// The model is loaded.
    Loaded(Box<Loaded>),
    /// The model is ready and rows begin to flow.
    Started {
        /// Rows of the input.
        rows: u64,
        /// The limit that batches start with.
        limit: BatchLimit,
    },
    /// Every row of a chunk has its vector, or needs none.
    ChunkDone {
        /// The length of each row's text in tokens, after the cut, wherever its vector came from; in no order.
        lengths: Vec<u32>,
        /// Ids of the rows whose text was cut at the model's maximum length, as they are shown.
        truncated: Vec<String>,
    },
    /// The finished file is decoded again before it takes its place.
    ReadBack {
        /// Rows that hold what was written, so far.
        rows: u64,
    },
    /// What batches may take, in bytes, where that is counted.
    Budget {
        /// All that a batch may take.
        bytes: Option<u64>,
        /// What a single text of the model's full length takes: with less, no text is sure to fit.
        least: Option<u64>,
    },
    /// A batch is about to go through the model. Should the process die now, it was this one.
    Trying(InFlight),
    /// A batch went through the model.
    Batch {
        /// Its texts.
        rows: usize,
        /// Their tokens, without padding.
        tokens: usize,
    },
    /// Rows that need no vector went by.
    Empty {
        /// How many.
        rows: usize,
    },
    /// Rows whose vector was there already went by.
    Known {
        /// Rows whose vector an earlier run had made.
        reused: usize,
        /// Rows with the text of an earlier row of the file.
        duplicate: usize,
    },
    /// New vectors were brought to the disk, in the cache: a crash does not lose them.
    Kept {
        /// How many.
        rows: usize,
    },
    /// The batch limit moved.
    Limit(LimitChange),
    /// Something that the user should know and that does not stop the run.
    Warning(Warning),
    /// What each stage did with its time, once all have ended, in whatever way.
    Stages(Vec<(Stage, StageTimes)>),
}

/// A model that was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Which model it is.
    pub lineage: Lineage,
    /// What it runs on.
    pub runs_on: String,
    /// What it took to find, check and load it.
    pub took: Duration,
}

impl From<EncodeEvent> for Event {
    fn from(event: EncodeEvent) -> Event {
        match event {
            EncodeEvent::BatchStarted(batch) => Event::Trying(batch),
            EncodeEvent::BatchDone { rows, tokens } => Event::Batch { rows, tokens },
            EncodeEvent::LimitChanged(change) => Event::Limit(change),
        }
    }
}

/// A stage of the run. Inference and writer share a thread; each is accounted for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Parquet to rows.
    Reader,
    /// Texts to token ids and planned batches.
    Tokenizer,
    /// Batches to vectors.
    Inference,
    /// Vectors to Parquet; its end is the publishing of the file.
    Writer,
}

/// What a stage did with its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// It worked.
    pub busy: Duration,
    /// It had nothing to work on: the stage before it was slower.
    pub waiting_for_input: Duration,
    /// It could not hand on what was done: the stage behind it was slower.
    pub waiting_for_output: Duration,
}

impl StageTimes {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.busy + self.waiting_for_input + self.waiting_for_output
    }

    /// The busy part of the time that rows flowed, from 0 to 1: a stage that was done early counts as idle then.
    pub fn busy_share(&self, flow: Duration) -> f64 {
        let flow = flow.max(self.total()).as_secs_f64();
        self.busy.as_secs_f64() / flow.max(f64::MIN_POSITIVE)
    }
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The same id stands in several rows.
    DuplicateIds {
        /// Rows whose id had been seen before.
        count: u64,
        /// The first such id.
        first: String,
    },
    /// The input has no column of files under the default name, so texts are made without it.
    NoFilesColumn,
    /// The precision that the model runs in is not what it could be.
    Precision(PrecisionWarning),
    /// The vector cache may only be read, and there is none.
    NoCache {
        /// Where it would be.
        path: PathBuf,
    },
    /// The vector cache was damaged or of another version, and a new one was begun.
    CacheSetAside {
        /// The cache.
        path: PathBuf,
        /// Where the old file is now.
        moved_to: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// Entries of the vector cache could not be believed; their texts were embedded again.
    DamagedEntries {
        /// The cache.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// The vector cache has no room for more, and nothing in it may go.
    CacheFull {
        /// The cache.
        path: PathBuf,
        /// Bytes that it may take.
        max_size: u64,
    },
}

/// Where the vectors of a run came from. Every row counts in one of the first three, or has no vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsByOrigin {
    /// Rows whose text went through the model.
    pub encoded: u64,
    /// Rows whose vector was in the cache before: an earlier run had made it, or a worker of this run that died.
    pub reused: u64,
    /// Rows with the text of an earlier row of the file.
    pub duplicate: u64,
    /// Reused rows whose text went through the model all the same, to compare the two vectors.
    pub sampled: u64,
    /// Tokens that the model did not have to see, because of reused and duplicate rows.
    pub tokens_saved: u64,
}

/// One sentence, safe to print: an id is shown without control characters.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::DuplicateIds { count, first } => {
                write!(f, "{count} rows repeat an id; the first is {}", escape_id(first))
            }
            Warning::NoFilesColumn => {
                f.write_str("the input has no column of files; texts are made without it")
            }
            Warning::Precision(warning) => warning.fmt(f),
            Warning::NoCache { path } => {
                let path = shown_path(path);
                write!(f, "there is no vector cache at {path}; every row is embedded")
            }
            Warning::CacheSetAside { path, moved_to, reason } => {
                let (path, moved_to) = (shown_path(path), shown_path(moved_to));
                write!(
                    f,
                    "the vector cache {path} cannot be used and is now {moved_to}; a new one was begun: {}",
                    without_controls(reason)
                )
            }
            Warning::DamagedEntries { path, count } => write!(
                f,
                "{count} entries of the vector cache {} were damaged; their rows were embedded again",
                shown_path(path)
            ),
            Warning::CacheFull { path, max_size } => write!(
                f,
                "the vector cache {} has reached cache.max_size, {}; further vectors are not kept",
                shown_path(path),
                bytes(*max_size)
            ),
        }
    }
}

fn shown_path(path: &Path) -> String {
    without_controls(&path.display().to_string())
}

/// The text without characters that move a cursor or end a line.
fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a run did to its cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUse {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes, if it is still there to be asked.
    pub file_bytes: Option<u64>,
    /// Entries in it.
    pub entries: u64,
    /// Entries that made place for new ones.
    pub evicted: u64,
    /// Vectors that found no place.
    pub not_kept: u64,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct Report {
    /// Rows of the input, and of the output.
    pub rows: u64,
    /// Rows without a vector.
    pub null_rows: u64,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated_rows: u64,
    /// Where the vectors came from.
    pub origins: RowsByOrigin,
    /// What became of the vector cache, where there is one.
    pub cache: Option<CacheUse>,
    /// What the model did.
    pub work: Work,
    /// From the first row read to the output in place; the model's loading is not in it.
    pub elapsed: Duration,
    /// What it took to find, check and load the model.
    pub model_load: Duration,
    /// The limit at the end.
    pub limit: BatchLimit,
    /// How often the limit moved.
    pub limit_changes: u64,
    /// Whether a column of the input made place for the vectors.
    pub replaced_column: bool,
    /// The name of the column of vectors.
    pub column: String,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Which model made the vectors.
    pub lineage: Lineage,
    /// What the model ran on.
    pub runs_on: String,
    /// Where the output is.
    pub output: PathBuf,
    /// Its size.
    pub output_bytes: u64,
    /// Whether the file that was there held the very same bytes and was left untouched.
    pub output_unchanged: bool,
    /// The largest resident size of the process, in bytes, where the system tells.
    pub peak_resident: Option<u64>,
}

impl Report {
    /// Rows per second.
    pub fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Real tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.work.tokens as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}
