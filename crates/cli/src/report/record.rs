//! What is kept of a run: the content of `report.json`, and what page and metrics are made from.
//!
//! `docs/schemas.md` says what each field means to those who read the file. No field holds text of a row: rows
//! are named by their ids.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use reembed::events::Stage;
use reembed::figures::{count, measure, seconds};
use reembed::footer::Lineage;
use serde::Serialize;

use super::lengths::LengthBin;

/// The name and version of the schema. The number grows when a field goes or changes its meaning; new fields
/// do not change it.
pub const SCHEMA: &str = "reembed-report/1";

/// How a run ended, and all that was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub tool: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The run in one sentence.
    pub verdict: String,
    /// Which stage the others waited for, in one sentence; absent where there is too little to judge by.
    pub bottleneck: Option<String>,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// From beginning to end, in seconds.
    pub seconds: f64,
    /// What it took to find, check and load the model, in seconds.
    pub model_load_seconds: Option<f64>,
    /// From the first row read to the output in place, in seconds; rates are over this time.
    pub flow_seconds: Option<f64>,
    /// The input.
    pub input: InputRecord,
    /// The output.
    pub output: OutputRecord,
    /// Rows by what became of them.
    pub rows: RowCounts,
    /// Tokens and lengths.
    pub tokens: TokenCounts,
    /// How fast it went.
    pub speed: Speed,
    /// Where the time went.
    pub stages: Vec<StageRecord>,
    /// Batches and their limit.
    pub batches: Batches,
    /// Memory, in bytes.
    pub memory: Memory,
    /// Restarts of the worker, in order.
    pub restarts: Vec<Restart>,
    /// What the model ran on: instruction set and threads, or a device.
    pub runs_on: Option<String>,
    /// Which model made the vectors.
    pub lineage: Option<Lineage>,
    /// Every setting in force, with where it came from.
    pub config: Vec<Setting>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<ErrorRecord>,
    /// The runs of this output before this one whose reports are kept, the oldest first.
    pub earlier: Vec<EarlierRun>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The output is in place.
    Done,
    /// The output path is as it was, unless the error says otherwise.
    Failed,
}

/// The input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InputRecord {
    /// Its path, as it was used.
    pub path: String,
}

/// The output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutputRecord {
    /// Its path, as it was used.
    pub path: String,
    /// The column of vectors.
    pub column: String,
    /// Its size in bytes, once it is in place.
    pub bytes: Option<u64>,
}

/// Rows by what became of them. `input = encoded + reused + duplicate + null` after a run that is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// Rows of the input; absent when it could not be opened.
    pub input: Option<u64>,
    /// Vectors that the model made in this run.
    pub encoded: u64,
    /// Vectors that were in the cache before: an earlier run had made them, or a worker of this one that died.
    pub reused: u64,
    /// Rows with the text of an earlier row of this run, and its vector.
    pub duplicate: u64,
    /// Rows without text, and so without a vector.
    pub null: u64,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated: u64,
    /// Ids of the first [`MOST_IDS`] of them.
    pub truncated_ids: Vec<String>,
}

/// So many ids of truncated rows are kept.
pub const MOST_IDS: usize = 100;

impl RowCounts {
    /// Rows that have come out of the model or needed none.
    pub fn handled(&self) -> u64 {
        self.encoded + self.reused + self.duplicate + self.null
    }
}

/// Tokens and lengths.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TokenCounts {
    /// Tokens of the texts that went through the model.
    pub real: u64,
    /// Tokens that the model computed, padding included.
    pub computed: u64,
    /// `real / computed`, from 0 to 1.
    pub padding_efficiency: Option<f64>,
    /// The length that half of the texts do not exceed.
    pub median_length: Option<u64>,
    /// The longest text, after the cut.
    pub longest: Option<u64>,
    /// Histogram of the lengths of all texts, after the cut.
    pub lengths: Vec<LengthBin>,
}

/// How fast it went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Speed {
    /// Rows per second of `flow_seconds`.
    pub tasks_per_second: Option<f64>,
    /// Real tokens per second of `flow_seconds`.
    pub tokens_per_second: Option<f64>,
    /// Width of an interval of `over_time`, in seconds.
    pub interval_seconds: f64,
    /// What was done in each interval since the first row.
    pub over_time: Vec<SpeedSample>,
}

/// What was done in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpeedSample {
    /// Where the interval begins, in seconds since the first row.
    pub at: f64,
    /// Rows per second in it.
    pub tasks_per_second: f64,
    /// Real tokens per second in it.
    pub tokens_per_second: f64,
}

/// What a stage did with its time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageRecord {
    /// Which stage.
    pub stage: Stage,
    /// It worked.
    pub busy: f64,
    /// It had nothing to work on.
    pub waiting_for_input: f64,
    /// It could not hand on what was done.
    pub waiting_for_output: f64,
}

/// Batches and their limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Batches {
    /// Batches that ran.
    pub count: u64,
    /// How many of each number of rows, the smallest first.
    pub sizes: Vec<BatchSize>,
    /// The limit that batches started with.
    pub limit_at_start: Option<Limit>,
    /// The limit at the end.
    pub limit_at_end: Option<Limit>,
    /// How often the limit moved.
    pub limit_moves: u64,
    /// The first [`MOST_CHANGES`] moves.
    pub limit_changes: Vec<LimitMove>,
}

/// So many moves of the limit are kept.
pub const MOST_CHANGES: usize = 200;

/// How many batches had a number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchSize {
    /// Rows of the batch.
    pub rows: u64,
    /// Batches of that many rows.
    pub batches: u64,
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Most texts.
    pub rows: u64,
    /// Most tokens, padding included.
    pub tokens: u64,
}

/// The limit moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitMove {
    /// When, in seconds since the first row.
    pub at: f64,
    /// The limit before.
    pub from: Limit,
    /// The limit from then on.
    pub to: Limit,
    /// Why, in words.
    pub cause: String,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The largest resident size of the process.
    pub peak_resident: Option<u64>,
    /// What a batch was allowed to take.
    pub batch_budget: Option<u64>,
}

/// The worker died and was started again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Restart {
    /// When, in seconds since the beginning of the run.
    pub at: f64,
    /// Why, in words.
    pub cause: String,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its full key.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorRecord {
    /// The class of failure: the name of an [`ErrorKind`](crate::ErrorKind).
    pub kind: String,
    /// Place and sentence.
    pub message: String,
    /// Its causes, from the outside in.
    pub causes: Vec<String>,
    /// What to do.
    pub advice: Option<String>,
    /// The new output is in place all the same, but may not outlast a power cut.
    pub output_in_place: bool,
}

/// A run before this one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EarlierRun {
    /// The name of its files below `runs/`.
    pub name: String,
    /// When it began.
    pub started: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Rows of its input.
    pub rows: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its speed.
    pub tasks_per_second: Option<f64>,
    /// When it ended, in seconds since 1970.
    pub ended_unix: f64,
}

/// A moment as records have it: RFC 3339, UTC, to the second.
pub(crate) fn timestamp(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A run in one sentence, from its counts alone.
pub fn verdict(record: &RunRecord) -> String {
    let time = seconds(record.seconds);
    if record.outcome == Outcome::Failed {
        let handled = record.rows.handled();
        let after = match (handled, record.rows.input) {
            (0, _) => format!("Failed after {time}, before the first row."),
            (handled, Some(rows)) => {
                format!(
                    "Failed after {time}, with {} of {} rows handled.",
                    count(handled),
                    count(rows)
                )
            }
            (handled, None) => {
                format!("Failed after {time}, with {} rows handled.", count(handled))
            }
        };
        let is_in_place = record.error.as_ref().is_some_and(|error| error.output_in_place);
        return match is_in_place {
            false => format!("{after} The output is as it was."),
            true => {
                format!("{after} The new output is in place, but may not outlast a power cut.")
            }
        };
    }
    let rows = record.rows.input.unwrap_or(record.rows.handled());
    let speed = record
        .speed
        .tasks_per_second
        .map_or(String::new(), |speed| format!(", {} tasks a second", measure(speed)));
    match (rows, record.rows.encoded) {
        (0, _) => format!("The input has no rows; the output has none either, after {time}."),
        (rows, 0) => format!("{} rows in {time}, none of which needed the model.", count(rows)),
        (rows, encoded) if encoded == rows => {
            format!("{} rows embedded in {time}{speed}.", count(rows))
        }
        (rows, encoded) => {
            format!(
                "{} rows in {time}, {} of them through the model{speed}.",
                count(rows),
                count(encoded)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_run_is_told_in_one_sentence() {
        let told = |outcome, rows: RowCounts| {
            verdict(&RunRecord { outcome, rows, seconds: 34.65, ..example::done() })
        };
        let rows = |input, encoded, reused, null| RowCounts {
            input: Some(input),
            encoded,
            reused,
            null,
            ..RowCounts::default()
        };
        for (outcome, rows, expected) in [
            (
                Outcome::Done,
                rows(1200, 1200, 0, 0),
                "1,200 rows embedded in 34.6 s, 35.1 tasks a second.",
            ),
            (
                Outcome::Done,
                rows(1200, 12, 1188, 0),
                "1,200 rows in 34.6 s, 12 of them through the model, 35.1 tasks a second.",
            ),
            (Outcome::Done, rows(9, 0, 8, 1), "9 rows in 34.6 s, none of which needed the model."),
            (
                Outcome::Done,
                rows(0, 0, 0, 0),
                "The input has no rows; the output has none either, after 34.6 s.",
            ),
            (
                Outcome::Failed,
                rows(1200, 64, 0, 0),
                "Failed after 34.6 s, with 64 of 1,200 rows handled. The output is as it was.",
            ),
            (
                Outcome::Failed,
                RowCounts::default(),
                "Failed after 34.6 s, before the first row. The output is as it was.",
            ),
        ] {
            assert_eq!(told(outcome, rows.clone()), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_failure_after_the_output_is_in_place_does_not_say_that_it_is_as_it_was() {
        let mut record = RunRecord { seconds: 34.65, ..example::failed() };
        record.rows = RowCounts { input: Some(9), encoded: 9, ..RowCounts::default() };
        record.error = record.error.map(|error| ErrorRecord { output_in_place: true, ..error });
        assert_eq!(
            verdict(&record),
            "Failed after 34.6 s, with 9 of 9 rows handled. The new output is in place, but may not \
             outlast a power cut."
        );
    }
}
