//! What was measured: the content of `bench.json`, and what page and table are made from. `docs/schemas.md` says
//! what each field means to those who read the file.

use std::time::SystemTime;

use reembed::figures::measure;
use reembed::footer::{Lineage, TOOL};
use reembed_encoder::error::Result;
use serde::Serialize;

use super::{Mode, Plan, Run, operations};
use crate::machine::Machine;
use crate::report::lengths::Lengths;
use crate::report::record::timestamp;

/// The name and version of the schema.
pub const SCHEMA: &str = "reembed-bench/1";

/// Batches shall be so many times as fast as one call for each text.
pub const TARGET: f64 = 10.0;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub tool: String,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// The machine.
    pub machine: Machine,
    /// What the machine can do; absent where it was not measured.
    #[serde(rename = "ceiling")]
    pub peak: Option<Peak>,
    /// The model.
    pub model: ModelRecord,
    /// What was embedded.
    pub corpus: CorpusRecord,
    /// How often each mode was measured.
    pub repeats: u64,
    /// The largest resident size of the process before the first pass, in bytes: all engines were loaded by then.
    pub load_peak_resident: Option<u64>,
    /// The engines and what they took.
    pub subjects: Vec<SubjectRecord>,
    /// Batches against one call for each text.
    pub acceptance: Vec<Acceptance>,
    /// A measure of what words alone cost; absent where it was not asked for.
    pub tfidf: Option<TfIdf>,
    /// Memory of batches: measured and predicted.
    pub memory: Vec<MemoryLine>,
    /// Other tools on the same texts, where they were measured.
    pub peers: Vec<Peer>,
}

/// What the machine can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Peak {
    /// Fused multiply-adds in registers on all threads, in 10⁹ floating point operations a second, in f32.
    pub f32_gflops: f64,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRecord {
    /// Its name on the hub, or the path that it was read from.
    pub id: String,
    /// Tokens that a text is cut at.
    pub max_seq_length: u64,
    /// Components of a vector.
    pub dimension: u64,
}

/// What was embedded.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CorpusRecord {
    /// Rows of the corpus.
    pub rows: u64,
    /// Tokens of the rows that the first engine had.
    pub tokens: u64,
    /// The length that half of its texts do not exceed.
    pub median_length: Option<u64>,
    /// The longest text, after the cut.
    pub longest: Option<u64>,
}

/// An engine in one precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubjectRecord {
    /// What it is called.
    pub name: String,
    /// `packed` or `candle`.
    pub engine: String,
    /// Arithmetic of its vectors.
    pub precision: String,
    /// The encoder and its version.
    pub numerics: String,
    /// Fingerprint of its vectors.
    pub fingerprint: String,
    /// Instruction set and threads, or a device.
    pub runs_on: String,
    /// Threads that it may use; absent where it does not run on the CPU.
    pub threads: Option<u64>,
    /// Whether a vector has the same bits in any batch; verified while measuring.
    pub batch_invariant: bool,
    /// Rows that it embedded in each pass.
    pub rows: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Lowest cosine of its vectors with those of the first engine, over the rows that both had.
    pub lowest_cosine: Option<f64>,
    /// Largest difference of a component from them.
    pub largest_difference: Option<f64>,
    /// The modes.
    #[serde(rename = "ways")]
    pub modes: Vec<ModeRecord>,
}

/// One mode of embedding with one engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModeRecord {
    /// What it is called.
    pub name: String,
    /// Rows of a batch; absent where they vary.
    pub batch_rows: Option<u64>,
    /// Seconds of each pass, ascending.
    pub seconds: Vec<f64>,
    /// Their median.
    pub median_seconds: f64,
    /// The slowest pass as a multiple of the fastest.
    pub spread: f64,
    /// Milliseconds a row.
    pub ms_per_task: f64,
    /// Rows a second.
    pub tasks_per_second: f64,
    /// Real tokens a second.
    pub tokens_per_second: f64,
    /// How many times as fast as one at a time with the same engine.
    pub speed_up: Option<f64>,
    /// Real tokens as a part of the computed ones.
    pub padding_efficiency: f64,
    /// 10⁹ floating point operations a second, of real tokens.
    pub gflops: f64,
    /// The same as a part of the machine's f32 peak.
    #[serde(rename = "of_ceiling")]
    pub of_peak: Option<f64>,
    /// The largest resident size of the process in a pass, with all engines loaded, in bytes.
    pub peak_resident: Option<u64>,
    /// Largest difference of a component from the engine's first pass.
    pub largest_difference: f64,
}

/// Batches against one call for each text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Acceptance {
    /// What was compared.
    pub what: String,
    /// With what.
    pub baseline: String,
    /// How many times as fast, by tokens a second.
    pub times: f64,
    /// [`TARGET`].
    pub target: f64,
    /// Whether it was reached.
    pub reached: bool,
}

/// Words alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TfIdf {
    /// Rows a second, fit and transform.
    pub tasks_per_second: f64,
    /// How many times as fast as the fastest mode of any engine.
    pub times: f64,
}

/// Memory of a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryLine {
    /// The engine.
    pub engine: String,
    /// Texts of the batch.
    pub rows: u64,
    /// Tokens of each.
    pub length: u64,
    /// The predicted price of the batch, in bytes.
    pub predicted: u64,
    /// What the process grew by, in bytes.
    pub measured: u64,
    /// `measured / rows`.
    pub measured_per_row: f64,
    /// `measured / predicted`.
    pub ratio: f64,
}

/// Another tool on the same texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peer {
    /// What it is.
    pub name: String,
    /// Rows a second.
    pub tasks_per_second: f64,
}

impl BenchRecord {
    pub(super) fn new(
        started: SystemTime,
        load_peak_resident: Option<u64>,
        plan: &Plan<'_>,
        runs: Vec<Run<'_>>,
    ) -> Result<Self> {
        let mut lengths = Lengths::default();
        let mut corpus = CorpusRecord::default();
        if let Some(run) = runs.first() {
            let counts: Vec<u32> = run.lengths.iter().map(|length| *length as u32).collect();
            lengths.add(&counts);
            corpus = CorpusRecord {
                rows: run.rows.len() as u64,
                tokens: run.lengths.iter().sum::<usize>() as u64,
                median_length: lengths.median(),
                longest: lengths.longest(),
            };
        }
        let model = runs.first().map(|run| run.subject.embedder.identity());
        let subjects = subjects(plan, &runs);
        Ok(BenchRecord {
            schema: SCHEMA.to_owned(),
            tool: TOOL.to_owned(),
            started: timestamp(started),
            machine: super::machine(),
            peak: plan.peak.map(|peak| Peak { f32_gflops: peak / 1e9 }),
            model: ModelRecord {
                id: model.as_ref().map_or(String::new(), |model| model.id.clone()),
                max_seq_length: model.as_ref().map_or(0, |model| model.max_seq_length as u64),
                dimension: model.as_ref().map_or(0, |model| model.dimension as u64),
            },
            corpus,
            repeats: plan.repeats.get() as u64,
            acceptance: acceptance(&subjects),
            load_peak_resident,
            subjects,
            tfidf: None,
            memory: Vec::new(),
            peers: Vec::new(),
        })
    }

    /// The fastest mode of any engine, in rows a second.
    pub fn fastest(&self) -> Option<f64> {
        let modes = self.subjects.iter().flat_map(|subject| &subject.modes);
        modes.map(|mode| mode.tasks_per_second).max_by(f64::total_cmp)
    }

    /// Takes note of what words alone cost.
    pub fn set_tfidf(&mut self, tasks_per_second: f64) {
        let times = self.fastest().map_or(f64::INFINITY, |fastest| tasks_per_second / fastest);
        self.tfidf = Some(TfIdf { tasks_per_second, times });
    }

    /// Takes note of another tool, on the rows that the first engine had and on as many threads; one that embeds one
    /// text at a time is a baseline too.
    pub fn add_peer(&mut self, name: &str, tasks_per_second: f64, is_baseline: bool) {
        self.peers.push(Peer { name: name.to_owned(), tasks_per_second });
        if !is_baseline {
            return;
        }
        // By tokens: an engine that is slower than the first had fewer rows.
        let tokens_a_row = self.corpus.tokens as f64 / self.corpus.rows.max(1) as f64;
        for subject in self.subjects.iter().filter(|subject| subject.engine != "candle") {
            let Some(batch) = batch_of_32(subject) else { continue };
            let times = batch.tokens_per_second / (tasks_per_second * tokens_a_row);
            let baseline = format!("{name}{}", on(subject.threads));
            self.acceptance.push(Acceptance::new(batch_on(subject), baseline, times));
        }
    }

    /// Whether predicted prices are within 15 % of the memory measured.
    pub fn prices_hold(&self) -> bool {
        self.memory.iter().all(|line| (line.ratio - 1.0).abs() <= super::memory_guide::TOLERANCE)
    }
}

impl Acceptance {
    fn new(what: String, baseline: String, times: f64) -> Acceptance {
        Acceptance { what, baseline, times, target: TARGET, reached: times >= TARGET }
    }

    /// In one sentence.
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

fn subjects(plan: &Plan<'_>, runs: &[Run<'_>]) -> Vec<SubjectRecord> {
    let reference = runs.first().map_or(&[][..], |run| &run.first);
    let of = |(number, run): (usize, &Run<'_>)| {
        let lineage = Lineage::new(run.subject.embedder.identity());
        let dim = run.subject.embedder.dim();
        let compared = (number > 0).then(|| compare(reference, &run.first, dim));
        let operations: f64 = run.lengths.iter().map(|length| operations(plan.bert, *length)).sum();
        let tokens = run.lengths.iter().sum::<usize>() as u64;
        let alone = run.modes.iter().find(|passes| passes.mode == Mode::Single);
        let alone = alone.map(|passes| median(&sorted(&passes.seconds)));
        let rows = run.rows.len() as f64;
        let mode = |passes: &super::Passes| {
            let seconds = sorted(&passes.seconds);
            let median = median(&seconds);
            let gflops = operations / median / 1e9;
            ModeRecord {
                name: passes.mode.to_string(),
                batch_rows: passes.mode.rows(),
                median_seconds: median,
                spread: seconds.last().unwrap_or(&1.0) / seconds.first().unwrap_or(&1.0),
                seconds,
                ms_per_task: 1000.0 * median / rows,
                tasks_per_second: rows / median,
                tokens_per_second: tokens as f64 / median,
                speed_up: alone.map(|alone| alone / median),
                padding_efficiency: passes.padding_efficiency,
                gflops,
                of_peak: plan.peak.map(|peak| 1e9 * gflops / peak),
                peak_resident: passes.peak_resident,
                largest_difference: f64::from(passes.largest_difference),
            }
        };
        SubjectRecord {
            name: run.subject.name.clone(),
            engine: run.subject.engine.to_owned(),
            precision: lineage.model.precision.clone(),
            numerics: lineage.model.numerics.clone(),
            fingerprint: lineage.fingerprint,
            runs_on: run.subject.embedder.runs_on(),
            threads: run.subject.threads.map(|threads| threads.get() as u64),
            batch_invariant: run.subject.embedder.is_batch_invariant(),
            rows: run.rows.len() as u64,
            tokens,
            lowest_cosine: compared.map(|(cosine, _)| cosine),
            largest_difference: compared.map(|(_, difference)| difference),
            modes: run.modes.iter().map(mode).collect(),
        }
    };
    runs.iter().enumerate().map(of).collect()
}

/// Batch 32 of each packed engine against one call for each text: with itself, and with stock candle. How many threads
/// each had belongs to the comparison: a batch is shared among cores, and a text alone is not, in the packed engine.
fn acceptance(subjects: &[SubjectRecord]) -> Vec<Acceptance> {
    let alone = |subject: &SubjectRecord| {
        let mode = subject.modes.iter().find(|mode| mode.name == Mode::Single.to_string())?;
        let threads = match subject.engine.as_str() {
            "candle" => subject.threads,
            _ => subject.threads.map(|_| 1),
        };
        Some((format!("{}, one at a time{}", subject.name, on(threads)), mode.tokens_per_second))
    };
    let stock = subjects.iter().filter(|subject| subject.engine == "candle").filter_map(alone);
    let stock: Vec<_> = stock.map(|(name, speed)| (format!("stock {name}"), speed)).collect();
    let mut found = Vec::new();
    for subject in subjects.iter().filter(|subject| subject.engine != "candle") {
        let Some(batch) = batch_of_32(subject) else { continue };
        for (name, speed) in alone(subject).iter().chain(&stock) {
            let times = batch.tokens_per_second / speed;
            found.push(Acceptance::new(batch_on(subject), name.clone(), times));
        }
    }
    found
}

fn batch_on(subject: &SubjectRecord) -> String {
    format!("{}, batch 32{},", subject.name, on(subject.threads))
}

/// ` on 2 threads`, or nothing where that is not what it runs on.
fn on(threads: Option<u64>) -> String {
    match threads {
        None => String::new(),
        Some(1) => " on 1 thread".to_owned(),
        Some(threads) => format!(" on {threads} threads"),
    }
}

fn batch_of_32(subject: &SubjectRecord) -> Option<&ModeRecord> {
    subject.modes.iter().find(|mode| mode.name == "batch 32")
}

/// Lowest cosine and largest difference of a component, over the rows that both have.
fn compare(reference: &[f32], other: &[f32], dim: usize) -> (f64, f64) {
    let (mut lowest, mut largest) = (1f64, 0f64);
    for (a, b) in reference.chunks_exact(dim).zip(other.chunks_exact(dim)) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        lowest = lowest.min(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE));
        let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
        largest = differences.fold(largest, f64::max);
    }
    (lowest, largest)
}

fn sorted(seconds: &[f64]) -> Vec<f64> {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// The median of ascending values.
fn median(ascending: &[f64]) -> f64 {
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => ascending[middle],
        _ => (ascending[middle - 1] + ascending[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_repeats() {
        assert_eq!(median(&sorted(&[4.0, 1.0, 2.0])), 2.0);
        assert_eq!(median(&sorted(&[2.0, 1.0])), 1.5);
    }

    #[test]
    fn vectors_are_compared_by_angle_and_by_component() {
        let (cosine, difference) = compare(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 0.6, 0.8], 2);
        assert!((cosine - 0.8).abs() < 1e-7 && (difference - 0.6).abs() < 1e-7);
        assert_eq!(compare(&[1.0, 0.0], &[1.0, 0.0], 2), (1.0, 0.0));
    }

    /// An engine with 32 rows of 100 tokens in each batch.
    fn subject(engine: &str, threads: Option<u64>, modes: &[(Mode, f64)]) -> SubjectRecord {
        let mode = |&(mode, tasks): &(Mode, f64)| ModeRecord {
            name: mode.to_string(),
            batch_rows: mode.rows(),
            seconds: vec![32.0 / tasks],
            median_seconds: 32.0 / tasks,
            spread: 1.0,
            ms_per_task: 1000.0 / tasks,
            tasks_per_second: tasks,
            tokens_per_second: 100.0 * tasks,
            speed_up: None,
            padding_efficiency: 1.0,
            gflops: 1.0,
            of_peak: None,
            peak_resident: None,
            largest_difference: 0.0,
        };
        SubjectRecord {
            name: format!("{engine} f32"),
            engine: engine.to_owned(),
            precision: "f32".to_owned(),
            numerics: "some-1".to_owned(),
            fingerprint: "00".to_owned(),
            runs_on: "a processor".to_owned(),
            threads,
            batch_invariant: true,
            rows: 32,
            tokens: 3200,
            lowest_cosine: None,
            largest_difference: None,
            modes: modes.iter().map(mode).collect(),
        }
    }

    fn subjects_on(threads: Option<u64>) -> [SubjectRecord; 2] {
        let batch = Mode::Rows(std::num::NonZeroUsize::new(32).expect("not zero"));
        let alone = Mode::Single;
        [
            subject("packed", Some(4), &[(alone, 10.0), (batch, 40.0)]),
            subject("candle", threads, &[(alone, 5.0)]),
        ]
    }

    #[test]
    fn a_comparison_says_how_many_threads_each_side_had() {
        let sentences = |threads| -> Vec<String> {
            acceptance(&subjects_on(threads)).iter().map(Acceptance::sentence).collect()
        };
        let batch = "packed f32, batch 32 on 4 threads, is";
        let missed = "(target 10: not reached on this machine).";
        let own =
            format!("{batch} 4.00 times as fast as packed f32, one at a time on 1 thread {missed}");
        let stock = |on: &str| {
            format!("{batch} 8.00 times as fast as stock candle f32, one at a time{on} {missed}")
        };
        assert_eq!(sentences(Some(4)), [own.clone(), stock(" on 4 threads")]);
        assert_eq!(sentences(None), [own, stock("")], "on a GPU");
    }

    #[test]
    fn a_peer_is_compared_by_the_tokens_of_the_rows_that_it_had() {
        let mut record = crate::bench::html::tests::record();
        record.subjects = subjects_on(Some(4)).to_vec();
        record.acceptance.clear();
        // Shorter texts than those of the second engine, which had fewer of them.
        record.corpus = CorpusRecord { rows: 200, tokens: 10_000, ..CorpusRecord::default() };
        record.add_peer("another, one call per text", 16.0, true);
        record.add_peer("another, batch 16", 30.0, false);
        let sentences: Vec<String> = record.acceptance.iter().map(Acceptance::sentence).collect();
        // 4,000 tokens a second against 800.
        let expected = "packed f32, batch 32 on 4 threads, is 5.00 times as fast as another, one call per text \
                        on 4 threads (target 10: not reached on this machine).";
        assert_eq!(sentences, [expected]);
    }

    #[test]
    fn the_target_is_reached_or_not() {
        let sentence = |times| Acceptance::new("a".into(), "b".into(), times).sentence();
        assert_eq!(sentence(12.34), "a is 12.3 times as fast as b (target 10: reached).");
        let expected = "a is 3.80 times as fast as b (target 10: not reached on this machine).";
        assert_eq!(sentence(3.8), expected);
    }
}
