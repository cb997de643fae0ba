//! The content of `report.json`, from which the page and the metrics are made. docs/schemas.md describes each field.
//!
//! No field holds text of a row: rows are named by their ids.

use reembed::events::{Stage, TableCounts};
use reembed::footer::Lineage;
use serde::Serialize;

use crate::lengths::LengthBin;

/// Name and version of the schema. The version grows when a field is removed or changes its meaning.
pub const SCHEMA: &str = "reembed-report/1";

/// Maximum number of ids of truncated rows.
pub const MAX_IDS: usize = 100;

/// Maximum number of recorded changes of the batch limit.
pub const MAX_LIMIT_CHANGES: usize = 200;

/// Everything that is recorded of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub tool: String,
    /// The name of the run in logs and in the result on standard output.
    pub run_id: String,
    /// Whether the run succeeded.
    pub outcome: Outcome,
    /// The run in one sentence.
    pub verdict: String,
    /// The stage that the others waited for, in one sentence; `None` for a run too short to tell.
    pub bottleneck: Option<String>,
    /// The start, a timestamp.
    pub started: String,
    /// The end, a timestamp.
    pub ended: String,
    /// From start to end, in seconds.
    pub seconds: f64,
    /// To find, check and load the model, in seconds.
    pub model_load_seconds: Option<f64>,
    /// From the first row read to the output in place, in seconds; rates are over this time.
    pub flow_seconds: Option<f64>,
    /// The input.
    pub input: InputRecord,
    /// The output.
    pub output: OutputRecord,
    /// Rows by where their vectors come from.
    pub rows: RowCounts,
    /// Tokens and text lengths.
    pub tokens: TokenCounts,
    /// Throughput.
    pub speed: SpeedRecord,
    /// Where the time went.
    pub stages: Vec<StageRecord>,
    /// Batches and their limit.
    pub batches: BatchesRecord,
    /// Memory in bytes.
    pub memory: MemoryRecord,
    /// Restarts of the worker, in order.
    pub restarts: Vec<RestartRecord>,
    /// The device of the model: instruction set and threads, or a GPU.
    pub runs_on: Option<String>,
    /// The model that made the vectors of the first vector column.
    pub lineage: Option<Lineage>,
    /// Every setting in force.
    pub config: Vec<SettingRecord>,
    /// Warnings, one sentence each.
    pub warnings: Vec<String>,
    /// The tables of a dataset.
    pub tables: Option<TableCounts>,
    /// Tables of a dataset that could not be published, one sentence each, the first ones.
    pub failed_tables: Vec<String>,
    /// Why the run failed.
    pub error: Option<ErrorRecord>,
    /// Earlier runs of this output whose reports are kept, oldest first.
    pub earlier: Vec<EarlierRun>,
}

/// Whether a run succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The output is in place.
    Done,
    /// The output path is unchanged, unless the error says otherwise.
    Failed,
}

/// The input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InputRecord {
    /// The path, as configured.
    pub path: String,
}

/// The output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutputRecord {
    /// The path, as configured.
    pub path: String,
    /// Its name in metrics and in the history: [`reembed::config::OutputConfig::label`].
    pub label: String,
    /// The name of the first vector column.
    pub column: String,
    /// The form of its vectors, such as `int8 × 256`, once the output is in place.
    pub form: Option<String>,
    /// All vector columns, once the output is in place.
    pub columns: Vec<ColumnRecord>,
    /// The size in bytes, once the output is in place.
    pub bytes: Option<u64>,
}

/// A vector column of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnRecord {
    /// Its name.
    pub column: String,
    /// The form of its vectors.
    pub form: String,
    /// The name of its model.
    pub model: String,
    /// The fingerprint of its model.
    pub fingerprint: String,
    /// As [`RowCounts::encoded`].
    pub encoded: u64,
    /// As [`RowCounts::reused`].
    pub reused: u64,
    /// As [`RowCounts::duplicate`].
    pub duplicate: u64,
    /// As [`RowCounts::null`].
    pub null: u64,
    /// As [`RowCounts::truncated`].
    pub truncated: u64,
}

/// Rows by where their vectors come from. With several vector columns, a row counts once for each. After a
/// successful run, `input × columns = encoded + reused + duplicate + null + dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowCounts {
    /// Rows of the input that are read; `None` if it could not be opened.
    pub input: Option<u64>,
    /// Chunks of their texts, if each is a row of the output; then the next counts are of chunks.
    pub chunks: Option<u64>,
    /// Number of vector columns.
    pub columns: u64,
    /// Vectors that the model computed in this run.
    pub encoded: u64,
    /// Vectors from the vector cache: of an earlier run, or of a worker of this run that died.
    pub reused: u64,
    /// Rows with the text of an earlier row of this run, and its vector.
    pub duplicate: u64,
    /// Rows without text, which have no vector.
    pub null: u64,
    /// Rows without text, which were left out of the output.
    pub dropped: u64,
    /// Rows whose text was truncated at the model's maximum length.
    pub truncated: u64,
    /// Ids of the first [`MAX_IDS`] of them.
    pub truncated_ids: Vec<String>,
    /// Rows whose id an earlier row has.
    pub repeated_ids: u64,
}

impl RowCounts {
    /// The number of vectors, or of rows that need none: the rows of the output and the dropped ones, once
    /// for each vector column.
    pub fn wanted(&self) -> Option<u64> {
        Some(self.chunks.or(self.input)? * self.columns.max(1))
    }

    /// The share of them whose vectors the model computed in this run, from 0 to 1; `None` without rows.
    pub fn encoded_share(&self) -> Option<f64> {
        let wanted = self.wanted().filter(|wanted| *wanted > 0)?;
        Some(self.encoded as f64 / wanted as f64)
    }

    /// Of them, those that are done.
    pub fn handled(&self) -> u64 {
        self.encoded + self.reused + self.duplicate + self.null + self.dropped
    }
}

/// Tokens and text lengths.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TokenCounts {
    /// Tokens of the texts that went through the model.
    pub real: u64,
    /// Tokens that the model computed, padding included.
    pub computed: u64,
    /// `real / computed`, from 0 to 1.
    pub padding_efficiency: Option<f64>,
    /// The median length, after truncation.
    pub median_length: Option<u64>,
    /// The maximum length, after truncation.
    pub longest: Option<u64>,
    /// Histogram of the lengths of all texts, after truncation.
    pub lengths: Vec<LengthBin>,
}

/// Throughput.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SpeedRecord {
    /// Rows per second of `flow_seconds`.
    pub tasks_per_second: Option<f64>,
    /// Real tokens per second of `flow_seconds`.
    pub tokens_per_second: Option<f64>,
    /// Width of an interval of `over_time`, in seconds.
    pub interval_seconds: f64,
    /// Throughput in each interval since the first row.
    pub over_time: Vec<SpeedSample>,
}

/// Throughput in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpeedSample {
    /// The start of the interval, in seconds since the first row.
    pub at: f64,
    /// Rows per second.
    pub tasks_per_second: f64,
    /// Real tokens per second.
    pub tokens_per_second: f64,
}

/// How a stage spent its time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageRecord {
    /// The stage.
    pub stage: Stage,
    /// It worked.
    pub busy: f64,
    /// It waited for the stage before it.
    pub waiting_for_input: f64,
    /// It waited for the stage after it.
    pub waiting_for_output: f64,
}

/// Batches and their limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BatchesRecord {
    /// Number of batches.
    pub count: u64,
    /// Number of batches by their rows, ascending.
    pub sizes: Vec<BatchSize>,
    /// The limit at the start.
    pub limit_at_start: Option<LimitRecord>,
    /// The limit at the end.
    pub limit_at_end: Option<LimitRecord>,
    /// How often the limit changed.
    pub limit_moves: u64,
    /// The first [`MAX_LIMIT_CHANGES`] changes.
    pub limit_changes: Vec<LimitChangeRecord>,
}

/// The number of batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BatchSize {
    /// Rows of a batch.
    pub rows: u64,
    /// Batches with this number of rows.
    pub batches: u64,
}

/// The maximum size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LimitRecord {
    /// Maximum number of texts.
    pub rows: u64,
    /// Maximum number of tokens, padding included.
    pub tokens: u64,
}

impl LimitRecord {
    /// The tighter of the two limits. Each text has a token, so a row limit that reaches the token limit has no effect.
    pub fn tighter(self) -> u64 {
        self.rows.min(self.tokens)
    }

    /// The unit of [`LimitRecord::tighter`].
    pub fn unit(self) -> &'static str {
        if self.rows < self.tokens { "texts" } else { "tokens" }
    }
}

/// A change of the batch limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitChangeRecord {
    /// When, in seconds since the first row.
    pub at: f64,
    /// The limit before.
    pub from: LimitRecord,
    /// The limit after.
    pub to: LimitRecord,
    /// The reason, in words.
    pub cause: String,
}

impl LimitChangeRecord {
    /// Whether the limit was lowered.
    pub fn is_lower(&self) -> bool {
        self.to.tighter() < self.from.tighter()
    }
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryRecord {
    /// The peak RSS of the process.
    pub peak_resident: Option<u64>,
    /// The memory budget of a batch.
    pub batch_budget: Option<u64>,
}

/// A restart of the worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestartRecord {
    /// When, in seconds since the start of the run.
    pub at: f64,
    /// Why the worker died, in words.
    pub cause: String,
}

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingRecord {
    /// The full key.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// Where the value came from.
    pub origin: String,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorRecord {
    /// The name of the [`ErrorKind`](reembed::ErrorKind).
    pub kind: String,
    /// Place and message.
    pub message: String,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    pub advice: Option<String>,
    /// Whether the new output is in place although the run failed; a power failure may lose it.
    pub output_in_place: bool,
}

/// An earlier run of the same output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EarlierRun {
    /// The name of its files in `runs/`.
    pub name: String,
    /// The start, a timestamp.
    pub started: String,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// Rows of its input.
    pub rows: Option<u64>,
    /// As [`RowCounts::encoded_share`].
    pub encoded_share: Option<f64>,
    /// Its duration in seconds.
    pub seconds: f64,
    /// Its throughput.
    pub tasks_per_second: Option<f64>,
    /// The end, in seconds since 1970.
    pub ended_unix: f64,
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use crate::json;

    #[test]
    fn every_field_is_documented() {
        for record in [example::done(), example::failed()] {
            let document = json::to_document(&record, "the report").expect("JSON");
            assert_eq!(json::undocumented_fields(&document), [""; 0]);
        }
        assert!(include_str!("../../../../docs/schemas.md").contains(super::SCHEMA));
    }
}
