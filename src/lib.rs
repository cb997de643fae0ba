//! **reembed** adds a column of embeddings to Parquet tables: tables in, tables out.
//!
//! ```text
//! pipeline.toml + flags ─► Config ─► pipeline::run(&Config, …, events) ─► Report
//!                                         │
//!    Parquet ─► reader ─[RowChunk]─► tokenizer ─[TokenChunk]─► inference ─► writer ─► publish
//!                     bounded channel         bounded channel     ▲   │
//!                                                      BatchLimit ┘   └─ splits on out-of-memory
//! ```
//!
//! For texts in memory there is [`Embedder`], which the crate `reembed-encoder` also offers alone.
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

pub mod cache;
pub mod chunk;
pub mod config;
pub mod digest;
pub mod dry_run;
pub mod events;
pub mod failpoints;
pub mod figures;
pub mod file_id;
pub mod footer;
mod hidden_names;
pub mod pipeline;
pub mod publish;
pub mod reader;
pub mod verify;
pub mod writer;

pub use reembed_encoder::{
    BatchOptions, Embedder, Embeddings, Environment, Error, ErrorKind, ModelConfig, Progress,
    Result, Stop, StopReason, TaskRow, build_input_text,
};

pub use config::Config;
pub use events::{Event, Report};
