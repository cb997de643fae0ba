//! Text in, vectors out: sentence models on this machine, without a database, a table or a command line.
//!
//! [`Embedder`] has one call for one text and one for many. Vectors of the packed CPU engine have the same bits in any
//! batch, on any number of threads and on every instruction set of one precision.
//!
//! ```text
//!   ModelConfig ─► model::load ─► Model { tokenizer, encoder, identity }
//!                                      │
//!   texts ─► tokenizer ─► plan ─► Inference ─► vectors
//!                           ▲        │
//!                           └ limit ◄┘  halves on out-of-memory, grows back
//! ```

pub mod batch;
pub mod budget;
pub mod embedder;
pub mod environment;
pub mod error;
pub mod events;
pub mod files;
pub mod hash;
pub mod inference;
pub mod limit;
pub mod memory;
pub mod model;
pub mod plan;
pub mod stop;
pub mod task;
pub mod tokenizer;

pub use embedder::{BatchOptions, Embedder, Embeddings, Progress};
pub use environment::Environment;
pub use error::{Error, ErrorKind, Result};
pub use model::config::ModelConfig;
pub use stop::{Stop, StopReason};
pub use task::{TaskRow, build_input_text};
