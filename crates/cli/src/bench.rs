//! The throughput report: one at a time against batches of several sizes, for every engine of the machine, verified
//! while it is measured.
//!
//! Passes are interleaved, so that a drift of the machine hits all alike. An engine that is slow embeds fewer rows of
//! the corpus, so that the whole is over in bearable time; how many it had is part of the report, and engines are
//! compared by their tokens a second.

pub mod html;
pub mod json;
pub mod memory_guide;
mod mode;
pub mod peak;
mod record;
pub mod tfidf;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use reembed_encoder::embedder::{BatchOptions, Embedder};
use reembed_encoder::error::{Error, ErrorKind, Result};
pub use reembed_encoder::inference::TOLERANCE;
use reembed_encoder::memory;
use reembed_encoder::model::description::BertShape;
use reembed_encoder::task::TaskRow;

use crate::machine::Machine;
pub use mode::{BATCH_SIZES, Mode};
pub use record::{
    Acceptance, BenchRecord, CorpusRecord, MemoryLine, ModeRecord, ModelRecord, Peak, Peer, SCHEMA,
    SubjectRecord, TARGET, TfIdf,
};

/// Rows that go through the model before anything is timed: the first calls map memory and wake threads. They also
/// tell how fast an engine is.
const WARM_UP_ROWS: usize = 32;

/// However slow an engine is, it embeds so many rows.
const LEAST_ROWS: usize = 32;

/// An engine in one precision, ready to embed.
pub struct Subject {
    /// What it is called, such as `packed f32`.
    pub name: String,
    /// The engine: `packed` or `candle`.
    pub engine: &'static str,
    /// Threads that it may use; `None` where it does not run on the CPU.
    pub threads: Option<NonZeroUsize>,
    /// What embeds.
    pub embedder: Embedder,
}

/// What is measured, and how thoroughly.
pub struct Plan<'a> {
    /// The engines, the one that others are compared with first.
    pub subjects: &'a [Subject],
    /// The modes of embedding, for each engine.
    pub modes: &'a [Mode],
    /// How often each mode is measured.
    pub repeats: NonZeroUsize,
    /// About how long each engine may take; `None`: as long as it takes.
    pub time: Option<Duration>,
    /// The model's shape, from which the work of a text follows.
    pub bert: &'a BertShape,
    /// What the machine can do, in floating point operations a second, in f32.
    pub peak: Option<f64>,
}

/// Embeds `rows` in every mode of the plan, and compares every vector with the one that its engine made first.
/// `on_step` hears of every pass, and of the time that is left.
///
/// # Errors
/// `Encode` when a vector is not what its engine promises, and whatever embedding gives.
pub fn run(
    plan: &Plan<'_>,
    rows: &[TaskRow],
    on_step: &dyn Fn(&str, Option<Duration>),
) -> Result<BenchRecord> {
    let started = SystemTime::now();
    let load_peak = memory::peak_resident();
    // A slow engine gets the first rows of them: no part of the corpus must come first.
    let rows = &shuffled(rows)[..];
    let mut runs = Vec::with_capacity(plan.subjects.len());
    for subject in plan.subjects {
        on_step(&format!("{}, warming up", subject.name), None);
        runs.push(Run::start(plan, subject, rows)?);
    }
    let expected: f64 = runs.iter().map(|run| run.expected).sum();
    let clock = Instant::now();
    let passes = plan.repeats.get() * runs.iter().map(|run| run.modes.len()).sum::<usize>();
    let mut passed = 0;
    for repeat in 1..=plan.repeats.get() {
        for mode in plan.modes {
            for run in &mut runs {
                let left = match passed {
                    0 => expected,
                    _ => clock.elapsed().as_secs_f64() * (passes - passed) as f64 / passed as f64,
                };
                let name = &run.subject.name;
                let step = format!("{name}, {mode}, repeat {repeat} of {}", plan.repeats);
                if run.has(*mode) {
                    on_step(&step, Some(Duration::from_secs_f64(left.max(0.0))));
                    run.pass(*mode)?;
                    passed += 1;
                }
            }
        }
    }
    BenchRecord::new(started, load_peak, plan, runs)
}

/// One engine's share of the measurement.
struct Run<'a> {
    subject: &'a Subject,
    rows: &'a [TaskRow],
    lengths: Vec<usize>,
    /// Seconds that all its passes will take, about.
    expected: f64,
    modes: Vec<Passes>,
    /// Its first vectors: what all others are compared with.
    first: Vec<f32>,
}

/// What one mode took, pass by pass.
struct Passes {
    mode: Mode,
    seconds: Vec<f64>,
    padding_efficiency: f64,
    largest_difference: f32,
    peak_resident: Option<u64>,
}

impl<'a> Run<'a> {
    fn start(plan: &Plan<'_>, subject: &'a Subject, rows: &'a [TaskRow]) -> Result<Run<'a>> {
        let warm_up = &rows[..rows.len().min(WARM_UP_ROWS)];
        embed(&subject.embedder, warm_up, Mode::Auto)?;
        let started = Instant::now();
        embed(&subject.embedder, warm_up, Mode::Single)?;
        let a_row = started.elapsed().as_secs_f64() / warm_up.len().max(1) as f64;
        let passes = plan.repeats.get() * plan.modes.len();
        let count = match plan.time {
            Some(time) => affordable(time.as_secs_f64(), passes, a_row, rows.len()),
            None => rows.len(),
        };
        let rows = &rows[..count];
        let fits = |mode: &&Mode| !matches!(mode, Mode::Rows(size) if size.get() > count && size.get() > LEAST_ROWS);
        let passes = |mode: &Mode| Passes {
            mode: *mode,
            seconds: Vec::new(),
            padding_efficiency: 1.0,
            largest_difference: 0.0,
            peak_resident: None,
        };
        Ok(Run {
            subject,
            rows,
            lengths: subject.embedder.lengths(rows)?,
            expected: a_row * count as f64 * (plan.repeats.get() * plan.modes.len()) as f64,
            modes: plan.modes.iter().filter(fits).map(passes).collect(),
            first: Vec::new(),
        })
    }

    /// Whether it has enough rows for a mode.
    fn has(&self, mode: Mode) -> bool {
        self.modes.iter().any(|passes| passes.mode == mode)
    }

    fn pass(&mut self, mode: Mode) -> Result<()> {
        let embedder = &self.subject.embedder;
        let Some(passes) = self.modes.iter_mut().find(|passes| passes.mode == mode) else {
            return Ok(());
        };
        memory::forget_peak();
        let started = Instant::now();
        let (vectors, padding_efficiency) = embed(embedder, self.rows, mode)?;
        passes.seconds.push(started.elapsed().as_secs_f64());
        passes.peak_resident = passes.peak_resident.max(memory::peak_resident());
        passes.padding_efficiency = padding_efficiency;
        if self.first.is_empty() {
            self.first = vectors;
            return Ok(());
        }
        let difference = compare(self.subject, self.rows, &self.first, &vectors, mode)?;
        passes.largest_difference = passes.largest_difference.max(difference);
        Ok(())
    }
}

/// How many of `all` rows go through an engine that takes `a_row` seconds for one of them, when `passes` over them
/// may take `time` seconds together.
fn affordable(time: f64, passes: usize, a_row: f64, all: usize) -> usize {
    let rows = time / (passes.max(1) as f64 * a_row.max(1e-9));
    (rows as usize).max(LEAST_ROWS).min(all)
}

/// The rows in an order that has nothing to do with their own, and that is always the same: an engine embeds the first
/// so many of them.
pub fn shuffled(rows: &[TaskRow]) -> Vec<TaskRow> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    // The multiplier of splitmix64: neighbours end up far apart.
    order.sort_by_key(|row| (*row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32));
    order.into_iter().map(|row| rows[row].clone()).collect()
}

/// Every row's vector, and real tokens as a part of the padded ones.
fn embed(embedder: &Embedder, rows: &[TaskRow], mode: Mode) -> Result<(Vec<f32>, f64)> {
    let options = match mode {
        Mode::Single => {
            let mut values = Vec::with_capacity(rows.len() * embedder.dim());
            for row in rows {
                values.extend(embedder.compute_embedding(row)?);
            }
            return Ok((values, 1.0));
        }
        Mode::Rows(rows) => BatchOptions { batch_size: Some(rows), progress: None },
        Mode::Auto => BatchOptions::default(),
    };
    let embeddings = embedder.compute_embeddings_batch(rows, &options)?;
    Ok((embeddings.as_slice().to_vec(), embeddings.work().padding_efficiency()))
}

/// The largest difference of a component, if it is within what the engine promises.
fn compare(
    subject: &Subject,
    rows: &[TaskRow],
    first: &[f32],
    again: &[f32],
    mode: Mode,
) -> Result<f32> {
    let embedder = &subject.embedder;
    let invariant = embedder.is_batch_invariant();
    let allowed = if invariant { 0.0 } else { TOLERANCE };
    let mut largest = 0f32;
    let vectors = first.chunks_exact(embedder.dim()).zip(again.chunks_exact(embedder.dim()));
    for (row, (first, again)) in vectors.enumerate() {
        let difference = first.iter().zip(again).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let other_bits = first.iter().zip(again).any(|(a, b)| a.to_bits() != b.to_bits());
        // `max` lets go of what is not a number.
        if difference > allowed
            || (invariant && other_bits)
            || again.iter().any(|component| !component.is_finite())
        {
            let id = reembed_encoder::batch::shown_id(&rows[row].id);
            return Err(Error::new(
                ErrorKind::Encode,
                format!(
                    "{}, {mode}: its vector differs by {difference:e} from the one of the first pass; at most \
                     {allowed:e} is promised",
                    subject.name
                ),
            )
            .at(format!("row {row} (id {id})")));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

/// Floating point operations of a text of so many tokens: products and attention, as the model's shape has them.
pub fn operations(bert: &BertShape, tokens: usize) -> f64 {
    let (hidden, wide) = (bert.hidden as f64, bert.intermediate as f64);
    let products = 2.0 * (4.0 * hidden * hidden + 2.0 * hidden * wide);
    let attention = 4.0 * tokens as f64 * hidden;
    tokens as f64 * bert.layers as f64 * (products + attention)
}

/// The machine, for the record.
fn machine() -> Machine {
    Machine::read()
}

#[cfg(test)]
mod tests {
    use reembed_encoder::model::description::Activation;

    use super::*;

    #[test]
    fn a_slow_engine_embeds_fewer_rows_and_never_fewer_than_a_few() {
        for (time, passes, a_row, all, expected) in [
            (120.0, 24, 0.001, 1000, 1000),
            (120.0, 24, 0.0133, 1000, 375),
            (120.0, 24, 0.125, 1000, 40),
            (120.0, 24, 1.0, 1000, LEAST_ROWS),
            (120.0, 24, 1.0, 10, 10),
            (0.0, 0, 0.0, 7, 7),
        ] {
            assert_eq!(affordable(time, passes, a_row, all), expected, "{a_row} s a row");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_row_and_is_always_the_same() {
        let rows: Vec<TaskRow> =
            (0..200).map(|row| TaskRow { id: format!("{row}"), ..TaskRow::default() }).collect();
        let once = shuffled(&rows);
        assert_eq!(once, shuffled(&rows));
        assert_ne!(once, rows);
        let mut ids: Vec<usize> =
            once.iter().map(|row| row.id.parse().expect("a number")).collect();
        // The first half of them is of both halves of the corpus.
        let early = ids[..100].iter().filter(|id| **id < 100).count();
        assert!((30..70).contains(&early), "{early}");
        ids.sort_unstable();
        assert_eq!(ids, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_work_of_a_text_follows_from_the_shape() {
        // all-MiniLM-L6-v2.
        let bert = BertShape {
            vocab_size: 30_522,
            hidden: 384,
            layers: 6,
            heads: 12,
            intermediate: 1536,
            activation: Activation::Gelu,
            max_positions: 512,
            token_types: 2,
            layer_norm_eps: 1e-12,
            pad_token: 0,
        };
        // 21.2 million operations a token and 9,216 for each pair of tokens.
        assert_eq!(operations(&bert, 1), 21_233_664.0 + 9216.0);
        assert_eq!(operations(&bert, 100), 100.0 * (21_233_664.0 + 921_600.0));
    }
}
