//! **reembed** turns Parquet files of *task rows* into the same files with an embedding column.
//!
//! ```text
//! pipeline.toml + flags ─► Config ─► pipeline::run(&Config, events) ─► Report
//!                                         │
//!    Parquet ─► reader ─[RowChunk]─► tokenizer ─[TokenChunk]─► inference ─► writer ─► Parquet
//!                     bounded channel         bounded channel     ▲   │
//!                                                      BatchLimit ┘   └─ splits on out-of-memory
//! ```
//!
//! For rows in memory there is [`Embedder`], with one call for one row and one for many.
//!
//! What this crate promises:
//! - No row is lost, doubled or reordered, and no carried column changes.
//! - The output path holds the old complete file or the new complete file, never anything between; and the new one
//!   was read back, value by value, before it got there.
//! - A row's vector does not depend on its batch: the same bits in any company with the packed engine, within
//!   1e-6 per component with candle on the CPU.
//! - Memory in flight is bounded by the configuration, not by the input.
//! - The library never prints, never ends the process, never reads an environment variable, and answers bad
//!   input with an [`Error`] that names its place.

#![warn(missing_docs)]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod batch;
pub mod bench;
pub mod cache;
pub mod config;
pub mod digest;
pub mod dry_run;
pub mod embedder;
pub mod error;
pub mod failpoints;
pub mod figures;
pub mod inference;
pub mod kernels;
pub mod limit;
pub mod lineage;
pub mod machine;
pub mod memory;
pub mod model;
pub mod page;
pub mod pipeline;
pub mod plan;
pub mod readback;
pub mod reader;
pub mod report;
pub mod reuse;
pub mod sample;
pub mod stamp;
pub mod stop;
pub mod strings;
pub mod target;
pub mod task;
pub mod tokenizer;
pub mod verify;
pub mod writer;

pub use config::{Config, Environment, ModelConfig};
pub use embedder::{BatchOptions, Embedder, Embeddings, Progress};
pub use error::{Error, ErrorKind, Result};
pub use report::{Event, Report};
pub use stop::{Stop, StopReason};
pub use task::{TaskRow, build_input_text};
