//! Text in, vectors out: sentence models on this machine, without a database, a table or a command
//! line.
//!
//! [`Embedder`] embeds strings, Arrow arrays of strings and task rows.
//!
//! ```no_run
//! use reembed_encoder::{Embedder, Environment, ModelConfig};
//!
//! # fn main() -> reembed_encoder::Result<()> {
//! // The default model, all-MiniLM-L6-v2. The first call fetches it into the model cache.
//! let environment = Environment::new(std::env::vars());
//! let embedder = Embedder::open(&ModelConfig::from_environment(&environment)?)?;
//!
//! let vectors = embedder.embed(&["Fix the login loop", "Add a dark theme"])?;
//! assert_eq!((vectors.len(), vectors.dim()), (2, 384));
//!
//! // Vectors have length 1, so the dot product is the cosine.
//! let cosine: f32 = vectors.row(0).iter().zip(vectors.row(1)).map(|(a, b)| a * b).sum();
//! # let _ = cosine;
//! # Ok(())
//! # }
//! ```
//!
//! [`ModelConfig::from_directory`] loads a sentence model of any supported architecture from a
//! local directory. Its fields select the engine, instruction set, precision and number of threads.
//!
//! The vectors of the packed engine, the default, have the same bits in any batch, on any number of
//! threads and on every instruction set of a precision.
//!
//! # Modules
//! ```text
//!   ModelConfig ─► model::load ─► Model { tokenizer, encoder, identity }
//!                                      │
//!   texts ─► tokenizer ─► plan ─► Inference ─► vectors
//!                           ▲        │
//!                           └ limit ◄┘  halves on out-of-memory, grows back
//! ```
//! Modules import in one direction: `error`, `hash`, `files` ← `environment`, `stop`, `limit` ←
//! `budget`, `batch`, `chunk_means`, `plan`, `events`, `memory`, `task` ← `model` ← `inference` ← `embedder`.
//!
//! # Features
//! - `candle` (default): the reference encoder on candle.
//! - `cuda`: candle on an NVIDIA GPU. It needs a CUDA toolkit to build.

pub mod batch;
pub mod budget;
mod chunk_means;
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
pub mod position;
pub mod stop;
pub mod task;

pub use embedder::{BatchOptions, Embedder, Embeddings, Progress};
pub use environment::Environment;
pub use error::{Error, ErrorKind, Place, Result};
pub use inference::Work;
pub use model::config::{Device, Engine, ModelConfig};
pub use model::identity::ModelIdentity;
pub use model::source::SourceConfig;
pub use reembed_kernels::{IsaName, Precision};
pub use stop::{Stop, StopReason};
pub use task::{TaskRow, build_input_text};
