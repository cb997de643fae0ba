//! What a run tells while it goes on ([`Event`]) and when it is done ([`Report`]): plain data. What is kept of it
//! is a [`RunRecord`](record::RunRecord), made by a [`Recorder`] and written by [`keep`](keep::keep) as JSON, as a
//! page and as metrics.

pub mod html;
pub mod json;
pub mod keep;
pub mod lengths;
pub mod prometheus;
pub mod record;
mod recorder;
pub mod series;
pub mod stages;

#[cfg(test)]
pub(crate) mod example;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::batch::shown_id;
use crate::cache::CacheUse;
use crate::figures::bytes;
use crate::inference::Work;
use crate::kernels::{Precision, UnitRefused};
use crate::limit::{BatchLimit, LimitChange};
use crate::lineage::Lineage;
use crate::model::source::FetchProgress;

pub use recorder::{Ending, Recorder};
use stages::{Stage, StageTimes};

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

/// A batch on its way through the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Number of texts.
    pub rows: usize,
    /// Its first row in the order of the input, by position and id.
    pub first: String,
    /// Its last row.
    pub last: String,
    /// Bytes that it takes beside the model, where that is known.
    pub bytes: Option<u64>,
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
    /// The precision was asked for and is emulated: the same bits as on its unit, and no faster than f32.
    EmulatedPrecision {
        /// Which.
        precision: Precision,
        /// Why the CPU's unit is not used; `None` where it has none, or `compute.isa` leaves it out.
        refused: Option<UnitRefused>,
    },
    /// The CPU has a unit for a faster precision, which is not used.
    OtherPrecision {
        /// The faster one.
        wanted: Precision,
        /// The one that is used.
        instead: Precision,
        /// Why.
        refused: UnitRefused,
    },
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
                write!(f, "{count} rows repeat an id; the first is {}", shown_id(first))
            }
            Warning::NoFilesColumn => {
                f.write_str("the input has no column of files; texts are made without it")
            }
            Warning::EmulatedPrecision { precision, refused } => {
                let unit = precision.unit().unwrap_or("the CPU");
                write!(
                    f,
                    "{precision} is emulated, with the bits of {unit} and no faster than f32: "
                )?;
                match refused {
                    Some(refused) => write!(f, "{refused}"),
                    None => write!(f, "{unit} is not there or left out"),
                }
            }
            Warning::OtherPrecision { wanted, instead, refused } => {
                write!(f, "{instead} in the place of {wanted}: {refused}")
            }
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
