//! The throughput report: one at a time against batches of several sizes, verified while it is measured.

mod json;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Instant;

use crate::embedder::{BatchOptions, Embedder, Embeddings};
use crate::error::{Error, ErrorKind, Result};
use crate::lineage::Lineage;
use crate::machine::Machine;
use crate::memory;
use crate::task::TaskRow;

/// The batch sizes that are compared, unless others are asked for.
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
    /// The ways in the order in which they were asked for.
    pub lines: Vec<BenchLine>,
    /// Whether equality was asked for, or [`TOLERANCE`].
    pub batch_invariant: bool,
    /// The model.
    pub lineage: Lineage,
    /// What it ran on: instruction set and threads, or a device.
    pub runs_on: String,
    /// The machine.
    pub machine: Machine,
    /// The largest resident size of the process, in bytes, the loading of the model included.
    pub peak_resident: Option<u64>,
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

impl Way {
    /// One at a time, the [`BATCH_SIZES`], and a run's own plan.
    pub fn standard() -> Vec<Way> {
        let sizes = BATCH_SIZES.into_iter().filter_map(NonZeroUsize::new).map(Way::Rows);
        [Way::OneAtATime].into_iter().chain(sizes).chain([Way::Planned]).collect()
    }
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

impl FromStr for Way {
    type Err = String;

    /// `alone`, `plan`, or a number of rows.
    fn from_str(text: &str) -> Result<Way, String> {
        match text {
            "alone" => Ok(Way::OneAtATime),
            "plan" => Ok(Way::Planned),
            rows => rows
                .parse()
                .map(Way::Rows)
                .map_err(|_| "it is neither `alone`, `plan`, nor a number of rows".to_owned()),
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
    /// Largest difference of a component from the vector that the first way gave.
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

/// Embeds `rows` in each of the `ways`, `repeats` times, in turn so that a drift of the machine hits all alike.
/// `on_step` hears of every pass.
///
/// # Errors
/// `Encode` when a vector is not the one that the first way gave, and whatever embedding gives.
pub fn run(
    embedder: &Embedder,
    rows: &[TaskRow],
    ways: &[Way],
    repeats: NonZeroUsize,
    on_step: &dyn Fn(&str),
) -> Result<BenchReport> {
    let mut lines: Vec<BenchLine> = ways
        .iter()
        .map(|way| BenchLine {
            way: *way,
            seconds: Vec::new(),
            padding_efficiency: 1.0,
            largest_difference: 0.0,
        })
        .collect();

    let warm_up = &rows[..rows.len().min(WARM_UP_ROWS)];
    embedder.compute_embeddings_batch(warm_up, &BatchOptions::default())?;

    let mut first: Option<Vec<f32>> = None;
    for repeat in 1..=repeats.get() {
        for line in &mut lines {
            on_step(&format!("{}, repeat {repeat} of {repeats}", line.way));
            let started = Instant::now();
            let (vectors, padding_efficiency) = embed(embedder, rows, line.way)?;
            line.seconds.push(started.elapsed().as_secs_f64());
            line.padding_efficiency = padding_efficiency;
            match &first {
                None => first = Some(vectors),
                Some(first) => {
                    let difference = compare(embedder, rows, first, &vectors, line.way)?;
                    line.largest_difference = line.largest_difference.max(difference);
                }
            }
        }
    }
    for line in &mut lines {
        line.seconds.sort_by(f64::total_cmp);
    }
    Ok(BenchReport {
        rows: rows.len(),
        tokens: embedder.count_tokens(rows)?,
        lines,
        batch_invariant: embedder.is_batch_invariant(),
        lineage: embedder.lineage(),
        runs_on: embedder.runs_on(),
        machine: Machine::read(),
        peak_resident: memory::peak_resident(),
    })
}

/// Every row's vector, and real tokens as a part of the padded ones.
fn embed(embedder: &Embedder, rows: &[TaskRow], way: Way) -> Result<(Vec<f32>, f64)> {
    let options = match way {
        Way::OneAtATime => {
            let mut values = Vec::with_capacity(rows.len() * embedder.dim());
            for row in rows {
                values.extend(embedder.compute_embedding(row)?);
            }
            return Ok((values, 1.0));
        }
        Way::Rows(rows) => BatchOptions { batch_size: Some(rows), progress: None },
        Way::Planned => BatchOptions { batch_size: None, progress: None },
    };
    let embeddings: Embeddings = embedder.compute_embeddings_batch(rows, &options)?;
    let padding_efficiency = embeddings.work().padding_efficiency();
    Ok((embeddings.into_values(), padding_efficiency))
}

/// The largest difference of a component, if it is within what the encoder promises.
fn compare(
    embedder: &Embedder,
    rows: &[TaskRow],
    first: &[f32],
    again: &[f32],
    way: Way,
) -> Result<f32> {
    let allowed = if embedder.is_batch_invariant() { 0.0 } else { TOLERANCE };
    let mut largest = 0f32;
    let vectors = first.chunks_exact(embedder.dim()).zip(again.chunks_exact(embedder.dim()));
    for (row, (first, again)) in vectors.enumerate() {
        let difference = first.iter().zip(again).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        if difference > allowed {
            let id = crate::batch::shown_id(&rows[row].id);
            return Err(Error::new(
                ErrorKind::Encode,
                format!(
                    "in the pass `{way}` its vector differs by {difference:e} from the one of the first pass; \
                     at most {allowed:e} is promised"
                ),
            )
            .at(format!("row {row} (id {id})")));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_named_by_a_word_or_a_number_of_rows() {
        let rows = |n| Way::Rows(NonZeroUsize::new(n).expect("not zero"));
        for (text, way) in
            [("alone", Some(Way::OneAtATime)), ("plan", Some(Way::Planned)), ("32", Some(rows(32)))]
        {
            assert_eq!(text.parse().ok(), way, "{text}");
        }
        for text in ["0", "-1", "", "all", "32 "] {
            assert!(text.parse::<Way>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_median_and_the_spread_are_of_the_repeats() {
        let line = |seconds: &[f64]| BenchLine {
            way: Way::Planned,
            seconds: seconds.to_vec(),
            padding_efficiency: 1.0,
            largest_difference: 0.0,
        };
        assert_eq!((line(&[1.0, 2.0, 4.0]).median(), line(&[1.0, 2.0, 4.0]).spread()), (2.0, 4.0));
        assert_eq!(line(&[1.0, 2.0]).median(), 1.5);
    }
}
