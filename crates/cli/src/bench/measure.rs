//! Measures every engine in every mode, and verifies the vectors.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use reembed_encoder::batch::escape_id;
use reembed_encoder::embedder::{BatchOptions, Embedder};
use reembed_encoder::error::{Error, ErrorKind, Result};
pub use reembed_encoder::inference::TOLERANCE;
use reembed_encoder::memory;
use reembed_encoder::model::spec::EncoderSpec;
use reembed_encoder::task::TaskRow;

use super::mode::Mode;

/// Rows of the warm-up, which maps memory and starts threads. Its duration also predicts the time of a pass.
const WARM_UP_ROWS: usize = 32;

/// Minimum rows of a pass, for an engine of any speed.
const MIN_ROWS: usize = 32;

/// An engine in one precision.
pub struct Subject {
    /// Its name, such as `packed f32`.
    pub name: String,
    /// `packed` or `candle`.
    pub engine: &'static str,
    /// Threads that it may use; `None` on a GPU.
    pub threads: Option<NonZeroUsize>,
    /// Its embedder.
    pub embedder: Embedder,
}

/// What is measured, and how often.
pub struct Plan<'a> {
    /// The engines. The others are compared with the first.
    pub subjects: &'a [Subject],
    /// The modes, for each engine.
    pub modes: &'a [Mode],
    /// Passes of each mode.
    pub repeats: NonZeroUsize,
    /// The approximate time of each engine; `None`: no limit.
    pub time: Option<Duration>,
    /// The encoder, from which the operations of a text follow.
    pub encoder: &'a EncoderSpec,
    /// The machine's f32 peak, in floating point operations per second.
    pub peak: Option<f64>,
}

/// All passes of one engine.
pub struct SubjectRun<'a> {
    /// The engine.
    pub subject: &'a Subject,
    /// The rows of each pass.
    pub rows: &'a [TaskRow],
    /// The token count of each row.
    pub lengths: Vec<usize>,
    /// The passes, mode by mode.
    pub modes: Vec<Passes>,
    /// The vectors of the first pass, with which every other pass is compared.
    pub first: Vec<f32>,
    /// The predicted time of all passes, in seconds.
    expected: f64,
}

/// All passes of one mode.
pub struct Passes {
    /// The mode.
    pub mode: Mode,
    /// The duration of each pass.
    pub seconds: Vec<f64>,
    /// Real tokens divided by padded tokens.
    pub padding_efficiency: f64,
    /// The largest difference of a component from the engine's first pass.
    pub largest_difference: f32,
    /// The peak RSS of the process during a pass, in bytes.
    pub peak_rss: Option<u64>,
}

/// Runs the passes of all engines, interleaved. A slow engine embeds a prefix of `rows`, so the caller shuffles them.
///
/// # Errors
/// As [`super::run`].
pub fn run<'a>(
    plan: &'a Plan<'_>,
    rows: &'a [TaskRow],
    on_step: &dyn Fn(&str, Option<Duration>),
) -> Result<Vec<SubjectRun<'a>>> {
    let mut runs = Vec::with_capacity(plan.subjects.len());
    for subject in plan.subjects {
        on_step(&format!("{}, warming up", subject.name), None);
        runs.push(SubjectRun::warm_up(plan, subject, rows)?);
    }
    let expected: f64 = runs.iter().map(|run| run.expected).sum();
    let started = Instant::now();
    let passes = plan.repeats.get() * runs.iter().map(|run| run.modes.len()).sum::<usize>();
    let mut done = 0;
    for repeat in 1..=plan.repeats.get() {
        for mode in plan.modes {
            for run in runs.iter_mut().filter(|run| run.has(*mode)) {
                let left = match done {
                    0 => expected,
                    _ => started.elapsed().as_secs_f64() * (passes - done) as f64 / done as f64,
                };
                let name = &run.subject.name;
                let step = format!("{name}, {mode}, repeat {repeat} of {}", plan.repeats);
                on_step(&step, Some(Duration::from_secs_f64(left.max(0.0))));
                run.pass(*mode)?;
                done += 1;
            }
        }
    }
    Ok(runs)
}

/// The rows in a fixed order that is independent of their own.
pub fn shuffled(rows: &[TaskRow]) -> Vec<TaskRow> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    // The multiplier of SplitMix64 moves neighbours far apart.
    order.sort_by_key(|row| (*row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32));
    order.into_iter().map(|row| rows[row].clone()).collect()
}

impl<'a> SubjectRun<'a> {
    fn warm_up(
        plan: &Plan<'_>,
        subject: &'a Subject,
        rows: &'a [TaskRow],
    ) -> Result<SubjectRun<'a>> {
        let warm_up = &rows[..rows.len().min(WARM_UP_ROWS)];
        embed(&subject.embedder, warm_up, Mode::Auto)?;
        let started = Instant::now();
        embed(&subject.embedder, warm_up, Mode::Single)?;
        let seconds_per_row = started.elapsed().as_secs_f64() / warm_up.len().max(1) as f64;
        let passes = plan.repeats.get() * plan.modes.len();
        let count = match plan.time {
            Some(time) => affordable_rows(time.as_secs_f64(), passes, seconds_per_row, rows.len()),
            None => rows.len(),
        };
        let rows = &rows[..count];
        let fits = |mode: &&Mode| match mode {
            Mode::Rows(size) => size.get() <= count.max(MIN_ROWS),
            Mode::Single | Mode::Auto => true,
        };
        let no_passes = |mode: &Mode| Passes {
            mode: *mode,
            seconds: Vec::new(),
            padding_efficiency: 1.0,
            largest_difference: 0.0,
            peak_rss: None,
        };
        Ok(SubjectRun {
            subject,
            rows,
            lengths: subject.embedder.count_tokens(rows)?,
            expected: seconds_per_row * count as f64 * passes as f64,
            modes: plan.modes.iter().filter(fits).map(no_passes).collect(),
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
        memory::reset_peak_rss();
        let started = Instant::now();
        let (vectors, padding_efficiency) = embed(embedder, self.rows, mode)?;
        passes.seconds.push(started.elapsed().as_secs_f64());
        passes.peak_rss = passes.peak_rss.max(memory::peak_rss());
        passes.padding_efficiency = padding_efficiency;
        if self.first.is_empty() {
            self.first = vectors;
            return Ok(());
        }
        let difference = verify(self.subject, self.rows, &self.first, &vectors, mode)?;
        passes.largest_difference = passes.largest_difference.max(difference);
        Ok(())
    }
}

/// How many of `rows` an engine embeds, if `passes` over them may take `time` seconds in total.
fn affordable_rows(time: f64, passes: usize, seconds_per_row: f64, rows: usize) -> usize {
    let affordable = time / (passes.max(1) as f64 * seconds_per_row.max(1e-9));
    (affordable as usize).max(MIN_ROWS).min(rows)
}

/// The vectors of all rows, and real tokens divided by padded tokens.
fn embed(embedder: &Embedder, rows: &[TaskRow], mode: Mode) -> Result<(Vec<f32>, f64)> {
    let options = match mode {
        Mode::Single => {
            let mut values = Vec::with_capacity(rows.len() * embedder.dim());
            for row in rows {
                values.extend(embedder.compute_embedding(row)?);
            }
            return Ok((values, 1.0));
        }
        Mode::Rows(rows) => BatchOptions { batch_size: Some(rows), ..BatchOptions::default() },
        Mode::Auto => BatchOptions::default(),
    };
    let embeddings = embedder.compute_embeddings_batch(rows, &options)?;
    Ok((embeddings.as_slice().to_vec(), embeddings.work().padding_efficiency()))
}

/// The largest difference of a component, if it is within the engine's tolerance.
fn verify(
    subject: &Subject,
    rows: &[TaskRow],
    first: &[f32],
    again: &[f32],
    mode: Mode,
) -> Result<f32> {
    let dim = subject.embedder.dim();
    let invariant = subject.embedder.is_batch_invariant();
    let tolerance = if invariant { 0.0 } else { TOLERANCE };
    let mut largest = 0f32;
    for (row, (a, b)) in first.chunks_exact(dim).zip(again.chunks_exact(dim)).enumerate() {
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let other_bits = a.iter().zip(b).any(|(a, b)| a.to_bits() != b.to_bits());
        // `max` ignores NaN, so it is checked by itself.
        let is_finite = b.iter().all(|component| component.is_finite());
        if difference > tolerance || (invariant && other_bits) || !is_finite {
            let message = format!(
                "{}, {mode}: the vector differs by {difference:e} from the first pass; the tolerance is {tolerance:e}",
                subject.name
            );
            let id = escape_id(&rows[row].id);
            return Err(Error::new(ErrorKind::Encode, message).at(format!("row {row} (id {id})")));
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_engine_embeds_fewer_rows_down_to_the_minimum() {
        for (time, passes, seconds_per_row, rows, expected) in [
            (120.0, 24, 0.001, 1000, 1000),
            (120.0, 24, 0.0133, 1000, 375),
            (120.0, 24, 0.125, 1000, 40),
            (120.0, 24, 1.0, 1000, MIN_ROWS),
            (120.0, 24, 1.0, 10, 10),
            (0.0, 0, 0.0, 7, 7),
        ] {
            let affordable = affordable_rows(time, passes, seconds_per_row, rows);
            assert_eq!(affordable, expected, "{seconds_per_row} s per row");
        }
    }

    #[test]
    fn shuffle_is_fixed_and_keeps_every_row() {
        let rows: Vec<TaskRow> =
            (0..200).map(|row| TaskRow { id: format!("{row}"), ..TaskRow::default() }).collect();
        let once = shuffled(&rows);
        assert_eq!(once, shuffled(&rows));
        assert_ne!(once, rows);
        let mut ids: Vec<usize> =
            once.iter().map(|row| row.id.parse().expect("a number")).collect();
        // A prefix has rows of both halves of the corpus.
        let early = ids[..100].iter().filter(|id| **id < 100).count();
        assert!((30..70).contains(&early), "{early}");
        ids.sort_unstable();
        assert_eq!(ids, (0..200).collect::<Vec<_>>());
    }
}
