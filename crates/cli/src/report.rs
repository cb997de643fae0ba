//! The report of a run: a [`Recorder`] turns events into a [`RunRecord`](record::RunRecord), and
//! [`directory::write`] writes it as JSON, as a page and as metrics.

mod bottleneck;
pub mod directory;
mod html;
mod prometheus;
mod record;
mod recorder;
mod series;
mod verdict;

#[cfg(test)]
mod example;

pub use recorder::{Ending, Recorder};
