//! A sentence model: its files, its tokenizer and the encoder that runs it.
//!
//! `source` (verified bytes) → `description` (what the directory says) → [`FoundModel`] (its identity is
//! known) → `weights` (checked tensors) → an [`Encoder`].

pub mod architecture;
#[cfg(feature = "candle")]
pub mod candle;
pub mod chunk_size;
pub mod config;
#[cfg(feature = "candle")]
pub mod convert;
pub mod description;
pub mod encoder;
mod encoder_config;
mod facts;
pub mod fake;
mod found;
mod from_identity;
#[cfg(test)]
mod golden_tests;
pub mod identity;
mod json;
mod loaded;
pub mod matryoshka;
mod module_class;
pub mod packed;
pub mod precedent;
pub mod precision;
pub mod prompt;
mod resources;
#[cfg(test)]
mod settings_tests;
pub mod source;
pub mod spec;
pub mod tensor_names;
pub mod token_settings;
pub mod tokenizer;
pub mod weights;

use crate::error::Result;
use crate::stop::Stop;
use config::ModelConfig;
pub use encoder::{EncodeError, Encoder};
pub use facts::{ModelFacts, ModelNotes};
pub use found::FoundModel;
pub use loaded::{BatchSettings, Model};
use precedent::Precedents;
use source::FetchProgress;

/// Finds, verifies and loads the model. `progress` gets the progress of the search for its files.
///
/// # Errors
/// `Model`, naming the file or tensor, if files are missing, damaged or not supported; `Config` if
/// this build or this machine lacks the device or instruction set; `OutOfMemory` if the model does
/// not fit.
pub fn load(config: &ModelConfig, progress: &dyn Fn(FetchProgress)) -> Result<Model> {
    load_until(config, &Precedents::default(), &Stop::new(), progress)
}

/// As [`load`], and returns early when `stop` is requested. Unless the precision is configured, the
/// packed engine runs in that of the `precedents`.
///
/// # Errors
/// As [`load`], and `Stopped`.
pub fn load_until(
    config: &ModelConfig,
    precedents: &Precedents,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<Model> {
    FoundModel::find(config, precedents, stop, progress)?.load(stop)
}
