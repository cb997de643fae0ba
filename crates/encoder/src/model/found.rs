//! A model before its weights are in memory: its files are verified and its identity is known.
//!
//! Whoever has vectors of the same identity already may never need the weights.

use std::num::NonZeroUsize;
use std::sync::Arc;

use reembed_kernels::{Arithmetic, Precision};

use super::config::{Device, Engine, ModelConfig};
use super::description::{self, ModelDescription};
use super::encoder::Encoder;
use super::facts::{ModelFacts, ModelNotes};
use super::identity::ModelIdentity;
use super::loaded::Model;
use super::packed::{self, PackedEncoder};
use super::precedent::Precedents;
use super::precision::{self, PrecisionWarning};
use super::prompt;
use super::resources::start_threads;
use super::source::{self, FetchProgress, ModelFiles};
use super::tokenizer::TextTokenizer;
use super::weights::{self, ModelWeights};
use crate::error::Result;
#[cfg(not(feature = "candle"))]
use crate::error::{Error, ErrorKind};
use crate::stop::Stop;

/// A model whose files are verified and in memory, and whose weights are not packed yet.
pub struct FoundModel {
    files: ModelFiles,
    description: ModelDescription,
    runner: Runner,
    threads: NonZeroUsize,
    facts: ModelFacts,
}

impl FoundModel {
    /// Finds and verifies the files of a model and reads what they say about it. `progress` gets the
    /// progress of the search. Unless the precision is configured, the packed engine will run in that
    /// of the `precedents`.
    ///
    /// # Errors
    /// `Model`, naming the file, if files are missing, damaged or not supported; `Config` if this build
    /// lacks the engine or this machine the instruction set; `OutOfMemory` if the files do not fit;
    /// `Stopped`.
    pub fn find(
        config: &ModelConfig,
        precedents: &Precedents,
        stop: &Stop,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<FoundModel> {
        let files = source::resolve_until(&config.source, stop, progress)?;
        let description = description::read(&files, &config.text)?;
        let followed = match (config.engine, config.precision) {
            (Engine::Packed, None) => precedents.precision_of(&files, &description),
            _ => None,
        };
        let validated = source::is_default_model(&files);
        let runner = match config.engine {
            Engine::Packed => {
                let (isa, precision) = (config.isa()?, config.precision);
                let (arithmetic, warning) =
                    precision::choose_arithmetic(isa, precision, followed, validated);
                Runner::Packed(arithmetic, warning)
            }
            Engine::Candle(device) => Runner::candle(device, &description)?,
        };
        let threads = config.threads();
        let (precision, numerics) = (runner.precision(), runner.numerics());
        let facts = ModelFacts {
            identity: ModelIdentity::new(&files, &description, precision, numerics),
            truncate_dim: description.truncate_dim,
            token_operations: description.encoder.operations(1),
            prompts: description.prompt.declared.clone(),
            runs_on: runner.runs_on(threads),
            notes: ModelNotes {
                prompt: prompt::warning(&files.label, &config.text.prompt, &description.prompt),
                // For any other model, f32 is the choice on every machine.
                followed: followed
                    .filter(|followed| validated || followed.precision != Precision::F32),
                precision: runner.warning(),
            },
        };
        Ok(FoundModel { files, description, runner, threads, facts })
    }

    /// What is known about it.
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// Loads the tokenizer and the weights.
    ///
    /// # Errors
    /// `Model`, naming the file or tensor, if one is damaged or not supported; `Config` if this machine
    /// lacks the device; `OutOfMemory` if the model does not fit; `Stopped`.
    pub fn load(self, stop: &Stop) -> Result<Model> {
        let FoundModel { files, description, runner, threads, facts } = self;
        let tokenizer = || TextTokenizer::new(&files, &description)?.with_threads(threads);
        let encoder = || {
            let weights = weights::read(&files, &description)?;
            stop.check()?;
            runner.load(weights, &description, threads)
        };
        let threads = start_threads(threads, "the model")?;
        let (tokenizer, encoder) = threads.install(|| rayon::join(tokenizer, encoder));
        // In a fixed order, so that of two errors the same one is reported.
        Ok(Model { tokenizer: tokenizer?, encoder: encoder?, facts })
    }
}

/// What runs a model, before it has weights.
enum Runner {
    Packed(Arithmetic, Option<PrecisionWarning>),
    #[cfg(feature = "candle")]
    Candle(Device),
}

impl Runner {
    #[cfg(feature = "candle")]
    fn candle(device: Device, description: &ModelDescription) -> Result<Runner> {
        super::candle::check(description)?;
        Ok(Runner::Candle(device))
    }

    #[cfg(not(feature = "candle"))]
    fn candle(_: Device, _: &ModelDescription) -> Result<Runner> {
        Err(Error::new(ErrorKind::Config, "this build has no candle engine")
            .advice("set `compute.engine` to \"packed\", or build with the feature `candle`"))
    }

    fn precision(&self) -> Precision {
        match self {
            Runner::Packed(arithmetic, _) => arithmetic.precision(),
            #[cfg(feature = "candle")]
            Runner::Candle(_) => Precision::F32,
        }
    }

    fn numerics(&self) -> &'static str {
        match self {
            // One for each precision: docs/decisions/0006-one-numerics-version-per-precision.md.
            Runner::Packed(arithmetic, _) => arithmetic.precision().numerics(),
            #[cfg(feature = "candle")]
            Runner::Candle(device) => super::candle::numerics(*device),
        }
    }

    fn runs_on(&self, threads: NonZeroUsize) -> String {
        match self {
            Runner::Packed(arithmetic, _) => packed::runs_on(*arithmetic, threads),
            #[cfg(feature = "candle")]
            Runner::Candle(device) => super::candle::runs_on(*device, threads),
        }
    }

    fn warning(&self) -> Option<PrecisionWarning> {
        match self {
            Runner::Packed(_, warning) => warning.clone(),
            #[cfg(feature = "candle")]
            Runner::Candle(_) => None,
        }
    }

    fn load(
        self,
        weights: ModelWeights<'_>,
        description: &ModelDescription,
        threads: NonZeroUsize,
    ) -> Result<Arc<dyn Encoder>> {
        Ok(match self {
            Runner::Packed(arithmetic, _) => {
                Arc::new(PackedEncoder::new(&weights, description, arithmetic, threads)?)
            }
            #[cfg(feature = "candle")]
            Runner::Candle(device) => {
                Arc::new(super::candle::CandleEncoder::new(weights, description, device, threads)?)
            }
        })
    }
}
