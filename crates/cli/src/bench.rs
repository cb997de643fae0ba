//! The throughput report: every engine, one text at a time and in batches, verified while it is measured.
//!
//! Passes are interleaved, so that a slow minute of the machine affects all engines alike. A slow engine embeds fewer
//! rows; the report has their number, and engines are compared by tokens per second.

mod acceptance;
mod batch_memory;
mod html;
mod measure;
mod mode;
mod recall;
mod record;
mod summary;
mod tfidf;

#[cfg(test)]
mod example;

use std::time::{Duration, SystemTime};

use reembed_encoder::error::Result;
use reembed_encoder::memory;
use reembed_encoder::task::TaskRow;

pub use acceptance::add_peer;
pub use batch_memory::{measure_growth, shapes, uniform_shape};
pub use html::page;
pub use measure::{Plan, Subject, TOLERANCE, shuffled};
pub use mode::Mode;
pub use record::{BenchRecord, MemoryLine};
pub use tfidf::tasks_per_second as tfidf_tasks_per_second;

/// Embeds `rows` in every mode of the plan and compares every vector with the engine's first pass. `on_step` receives
/// the name of each pass and the estimated time left.
///
/// # Errors
/// `Encode` when a vector differs by more than the engine's tolerance, and the errors of embedding.
pub fn run(
    plan: &Plan<'_>,
    rows: &[TaskRow],
    on_step: &dyn Fn(&str, Option<Duration>),
) -> Result<BenchRecord> {
    let started = SystemTime::now();
    let load_peak_rss = memory::peak_rss();
    let rows = shuffled(rows);
    let runs = measure::run(plan, &rows, on_step)?;
    Ok(summary::record(started, load_peak_rss, plan, &runs))
}
