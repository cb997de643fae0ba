//! The content of `bench.json`, from which page and table are made. docs/schemas.md describes each field.

use reembed::figures::measure;
use serde::Serialize;

use super::batch_memory::MAX_PREDICTION_ERROR;
use crate::machine::Machine;

/// Name and version of the schema.
pub const SCHEMA: &str = "reembed-bench/1";

/// The target: batches are this many times as fast as one call per text.
pub const TARGET: f64 = 10.0;

/// Everything that is recorded of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub tool: String,
    /// The start, a timestamp.
    pub started: String,
    /// The machine.
    pub machine: Machine,
    /// The machine's peak; `None` if it was not measured.
    #[serde(rename = "ceiling")]
    pub peak: Option<Peak>,
    /// The model.
    pub model: ModelRecord,
    /// The rows.
    pub corpus: CorpusRecord,
    /// Passes of each mode.
    pub repeats: u64,
    /// The peak RSS of the process before the first pass, with all engines loaded, in bytes.
    pub load_peak_resident: Option<u64>,
    /// The engines and their results.
    pub subjects: Vec<SubjectRecord>,
    /// Batches compared with one call per text.
    pub acceptance: Vec<Acceptance>,
    /// The throughput of TF-IDF; `None` if it was not measured.
    pub tfidf: Option<TfIdf>,
    /// Memory of batches, measured and predicted.
    pub memory: Vec<MemoryLine>,
    /// Other tools on the same texts, with `--peers`.
    pub peers: Vec<Peer>,
}

/// The machine's peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peak {
    /// Fused multiply-adds in registers on all threads, in f32, 10⁹ operations per second.
    pub f32_gflops: f64,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRecord {
    /// Its name on the hub, or its directory.
    pub id: String,
    /// The maximum length of a text in tokens.
    pub max_seq_length: u64,
    /// The components of a vector.
    pub dimension: u64,
}

/// The embedded rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CorpusRecord {
    /// Number of rows.
    pub rows: u64,
    /// Tokens of the rows of the first engine.
    pub tokens: u64,
    /// The median length in tokens.
    pub median_length: Option<u64>,
    /// The maximum length, after truncation.
    pub longest: Option<u64>,
}

/// An engine in one precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubjectRecord {
    /// Its name, such as `packed f32`.
    pub name: String,
    /// `packed` or `candle`.
    pub engine: String,
    /// The precision of its matrix products.
    pub precision: String,
    /// The name and version of its numerics.
    pub numerics: String,
    /// The fingerprint of its vectors.
    pub fingerprint: String,
    /// Its device: instruction set and threads, or a GPU.
    pub runs_on: String,
    /// Threads that it may use; `None` on a GPU.
    pub threads: Option<u64>,
    /// Whether a vector has the same bits in any batch; the bench verified it.
    pub batch_invariant: bool,
    /// Rows of each pass.
    pub rows: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The lowest cosine of its vectors with those of the first engine, on common rows.
    pub lowest_cosine: Option<f64>,
    /// The share of the ten nearest neighbours of a row that its vectors have in common with them.
    pub shared_neighbours: Option<f64>,
    /// The largest difference of a component from them.
    pub largest_difference: Option<f64>,
    /// The modes.
    #[serde(rename = "ways")]
    pub modes: Vec<ModeRecord>,
}

/// One mode of one engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModeRecord {
    /// Its name, such as `batch 32`.
    pub name: String,
    /// Rows of a batch; `None` if they vary.
    pub batch_rows: Option<u64>,
    /// The duration of each pass, ascending.
    pub seconds: Vec<f64>,
    /// The median duration.
    pub median_seconds: f64,
    /// The slowest pass divided by the fastest.
    pub spread: f64,
    /// Milliseconds per row.
    pub ms_per_task: f64,
    /// Rows per second.
    pub tasks_per_second: f64,
    /// Real tokens per second.
    pub tokens_per_second: f64,
    /// The speed-up over one text at a time with the same engine.
    pub speed_up: Option<f64>,
    /// Real tokens divided by computed tokens.
    pub padding_efficiency: f64,
    /// Floating point operations on real tokens, 10⁹ per second.
    pub gflops: f64,
    /// The same divided by the machine's f32 peak.
    #[serde(rename = "of_ceiling")]
    pub of_peak: Option<f64>,
    /// The peak RSS of the process during a pass, with all engines loaded, in bytes.
    pub peak_resident: Option<u64>,
    /// The largest difference of a component from the engine's first pass.
    pub largest_difference: f64,
}

/// A comparison of batches with one call per text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Acceptance {
    /// The faster side.
    pub what: String,
    /// The slower side.
    pub baseline: String,
    /// The ratio of their tokens per second.
    pub times: f64,
    /// [`TARGET`].
    pub target: f64,
    /// Whether the target was reached.
    pub reached: bool,
}

/// TF-IDF on the same texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TfIdf {
    /// Rows per second, fit and transform.
    pub tasks_per_second: f64,
    /// The ratio to the fastest mode of any engine.
    pub times: f64,
}

/// The memory of one batch shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryLine {
    /// The engine.
    pub engine: String,
    /// Texts in the batch.
    pub rows: u64,
    /// Tokens of each text.
    pub length: u64,
    /// The predicted size in bytes.
    pub predicted: u64,
    /// The measured growth of the process in bytes.
    pub measured: u64,
    /// `measured / rows`.
    pub measured_per_row: f64,
    /// `measured / predicted`.
    pub ratio: f64,
}

/// Another tool on the same texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Rows per second.
    pub tasks_per_second: f64,
}

impl BenchRecord {
    /// Adds the throughput of TF-IDF.
    pub fn set_tfidf(&mut self, tasks_per_second: f64) {
        let modes = self.subjects.iter().flat_map(|subject| &subject.modes);
        let fastest = modes.map(|mode| mode.tasks_per_second).max_by(f64::total_cmp);
        let times = fastest.map_or(f64::INFINITY, |fastest| tasks_per_second / fastest);
        self.tfidf = Some(TfIdf { tasks_per_second, times });
    }

    /// Whether every predicted size is within 15 % of the measured one.
    pub fn predictions_hold(&self) -> bool {
        self.memory.iter().all(|line| (line.ratio - 1.0).abs() <= MAX_PREDICTION_ERROR)
    }
}

impl Acceptance {
    /// A comparison with the [`TARGET`].
    pub fn new(what: String, baseline: String, times: f64) -> Acceptance {
        Acceptance { what, baseline, times, target: TARGET, reached: times >= TARGET }
    }

    /// The comparison in one sentence.
    pub fn sentence(&self) -> String {
        let verdict = match self.reached {
            true => "reached",
            false => "not reached on this machine",
        };
        format!(
            "{} is {} times as fast as {} (target {}: {verdict}).",
            self.what,
            measure(self.times),
            self.baseline,
            self.target
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::json;

    #[test]
    fn sentence_says_whether_the_target_is_reached() {
        let sentence = |times| Acceptance::new("a".into(), "b".into(), times).sentence();
        assert_eq!(sentence(12.34), "a is 12.3 times as fast as b (target 10: reached).");
        let expected = "a is 3.80 times as fast as b (target 10: not reached on this machine).";
        assert_eq!(sentence(3.8), expected);
    }

    #[test]
    fn every_field_is_documented() {
        let document = json::to_document(&example::record(), "the bench").expect("JSON");
        assert_eq!(json::undocumented_fields(&document), [""; 0]);
    }
}
