//! The throughput report: one at a time against batches of several sizes, verified while it is measured.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Instant;

use crate::embedder::{BatchOptions, Embedder, Embeddings};
use crate::error::{Error, ErrorKind, Result};
use crate::task::TaskRow;

/// The batch sizes that are compared.
pub const BATCH_SIZES: [usize; 5] = [1, 8, 16, 32, 64];

pub use crate::inference::TOLERANCE;

/// Rows that go through the model before anything is timed: the first calls map memory and wake threads.
const WARM_UP_ROWS: usize = 64;

/// What was measured.
#[derive(Debug, Clone)]
pub struct BenchReport {
    /// Rows of the corpus.
    pub rows: usize,
    /// Its tokens, after the cut at the model's maximum length.
    pub tokens: u64,
    /// One call per row first, then one line per batch size, then a run's own plan.
    pub lines: Vec<BenchLine>,
    /// Whether equality was asked for, or [`TOLERANCE`].
    pub batch_invariant: bool,
}

/// A way of embedding the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One call of `compute_embedding` per row.
    OneAtATime,
    /// Batches of so many rows.
    Rows(NonZeroUsize),
    /// Batches as a run plans them: what suits the encoder.
    Planned,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::OneAtATime => f.pad("one at a time"),
            Way::Rows(rows) => f.pad(&format!("batch {rows}")),
            Way::Planned => f.pad("as a run plans"),
        }
    }
}

/// What one way of embedding the corpus took.
#[derive(Debug, Clone)]
pub struct BenchLine {
    /// How the rows were embedded.
    pub way: Way,
    /// Seconds of each repeat, ascending.
    pub seconds: Vec<f64>,
    /// Real tokens as a part of the padded ones.
    pub padding_efficiency: f64,
    /// Largest difference of a component from the one-at-a-time vector.
    pub largest_difference: f32,
}

impl BenchLine {
    /// The median of the repeats, in seconds.
    pub fn median(&self) -> f64 {
        let middle = self.seconds.len() / 2;
        match self.seconds.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => self.seconds[middle],
            _ => (self.seconds[middle - 1] + self.seconds[middle]) / 2.0,
        }
    }

    /// The slowest repeat as a multiple of the fastest.
    pub fn spread(&self) -> f64 {
        match (self.seconds.first(), self.seconds.last()) {
            (Some(first), Some(last)) => last / first,
            _ => f64::NAN,
        }
    }
}

/// Embeds `rows` one at a time and in batches, `repeats` times, in turn so that a drift of the machine hits
/// all alike. `on_step` hears of every pass.
///
/// # Errors
/// `Encode` when a vector from a batch is not the one-at-a-time vector, and whatever embedding gives.
pub fn run(
    embedder: &Embedder,
    rows: &[TaskRow],
    repeats: NonZeroUsize,
    on_step: &dyn Fn(&str),
) -> Result<BenchReport> {
    let sizes = BATCH_SIZES.map(|size| NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN));
    let ways = [Way::OneAtATime].into_iter().chain(sizes.map(Way::Rows)).chain([Way::Planned]);
    let mut lines: Vec<BenchLine> = ways
        .map(|way| BenchLine {
            way,
            seconds: Vec::new(),
            padding_efficiency: 1.0,
            largest_difference: 0.0,
        })
        .collect();

    let warm_up = &rows[..rows.len().min(WARM_UP_ROWS)];
    embedder.compute_embeddings_batch(warm_up, &BatchOptions::default())?;

    let mut alone: Vec<f32> = Vec::new();
    let mut tokens = 0;
    for repeat in 1..=repeats.get() {
        for line in &mut lines {
            on_step(&format!("{}, repeat {repeat} of {repeats}", line.way));
            let batch_size = match line.way {
                Way::OneAtATime | Way::Planned => None,
                Way::Rows(rows) => Some(rows),
            };
            let started = Instant::now();
            match line.way {
                Way::OneAtATime => {
                    let mut values = Vec::with_capacity(rows.len() * embedder.dim());
                    for row in rows {
                        values.extend(embedder.compute_embedding(row)?);
                    }
                    line.seconds.push(started.elapsed().as_secs_f64());
                    alone = values;
                }
                Way::Rows(_) | Way::Planned => {
                    let options = BatchOptions { batch_size, progress: None };
                    let embeddings = embedder.compute_embeddings_batch(rows, &options)?;
                    line.seconds.push(started.elapsed().as_secs_f64());
                    line.padding_efficiency = embeddings.work().padding_efficiency();
                    tokens = embeddings.work().tokens;
                    let difference = compare(embedder, rows, &alone, &embeddings, line.way)?;
                    line.largest_difference = line.largest_difference.max(difference);
                }
            }
        }
    }
    for line in &mut lines {
        line.seconds.sort_by(f64::total_cmp);
    }
    let batch_invariant = embedder.is_batch_invariant();
    Ok(BenchReport { rows: rows.len(), tokens, lines, batch_invariant })
}

/// The largest difference of a component, if it is within what the encoder promises.
fn compare(
    embedder: &Embedder,
    rows: &[TaskRow],
    alone: &[f32],
    batch: &Embeddings,
    way: Way,
) -> Result<f32> {
    let allowed = if embedder.is_batch_invariant() { 0.0 } else { TOLERANCE };
    let mut largest = 0f32;
    let vectors = alone.chunks_exact(embedder.dim()).zip(batch.rows());
    for (row, (alone, together)) in vectors.enumerate() {
        let difference =
            alone.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        if difference > allowed {
            let id = crate::batch::shown_id(&rows[row].id);
            return Err(Error::new(
                ErrorKind::Encode,
                format!(
                    "in the pass `{way}` its vector differs by {difference:e} from the one made alone; \
                     at most {allowed:e} is promised"
                ),
            )
            .at(format!("row {row} (id {id})")));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}
