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
//! [`Embedder`] embeds texts in memory. The crate `reembed-encoder` offers it alone.
//!
//! What this crate promises:
//! - No row is lost, duplicated or reordered, and no carried column changes its values.
//! - The output path holds the old complete file or the new complete file. The new file was read back,
//!   value by value, before it replaced the old one.
//! - A row's vector does not depend on its batch: it has the same bits in any batch with the packed
//!   engine, and differs by at most 1e-6 per component with candle on the CPU.
//! - Memory is bounded by the configuration, not by the input.
//! - The library never prints, never exits, never reads an environment variable, and answers bad input
//!   with an [`Error`] that names the place.
//!
//! Modules import in one direction:
//! ```text
//!   pipeline, dry_run, calibrate, verify
//!   writer ─► publish ─► reader, digest        cache        published
//!   vectors, text, chunk, row_parts, events, config, footer, file_id, hidden_names, figures, failpoints
//! ```

pub mod cache;
pub mod calibrate;
pub mod carried;
pub mod chunk;
pub mod config;
pub mod dataset;
pub mod digest;
pub mod dry_run;
pub mod events;
pub mod failpoints;
pub mod figures;
pub mod file_id;
pub mod footer;
mod footer_recipe;
pub mod format;
pub mod group_digest;
mod hidden_names;
pub mod pipeline;
pub mod publish;
pub mod published;
pub mod reader;
pub mod row_parts;
mod table_path;
pub mod text;
pub mod vectors;
pub mod verify;
pub mod writer;

pub use reembed_encoder::{
    BatchOptions, Embedder, Embeddings, Environment, Error, ErrorKind, ModelConfig, Progress,
    Result, Stop, StopReason, TaskRow, build_input_text,
};

pub use config::Config;
pub use events::{Event, Report};
