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
use std::path::PathBuf;
use std::time::Duration;

use crate::batch::shown_id;
use crate::inference::Work;
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
    /// The texts of a chunk became token ids.
    Tokenized {
        /// The length of each text in tokens, after the cut; in no order.
        lengths: Vec<u32>,
        /// Ids of the rows whose text was cut at the model's maximum length, as they are shown.
        truncated: Vec<String>,
    },
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
        }
    }
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
