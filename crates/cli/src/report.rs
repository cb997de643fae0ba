//! What is kept of a run: a [`RunRecord`](record::RunRecord), made by a [`Recorder`] and written by
//! [`keep`](keep::keep) as JSON, as a page and as metrics.

pub mod html;
pub mod json;
pub mod keep;
pub mod lengths;
pub mod prometheus;
pub mod record;
mod recorder;
pub mod series;
pub mod stages;

#[cfg(test)]
pub(crate) mod example;

pub use recorder::{Ending, Recorder};
