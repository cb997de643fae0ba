//! The tables `[model]` and `[compute]`, and what `[text]` says of the tokens.

use std::collections::BTreeMap;

use reembed_encoder::environment::Environment;
use reembed_encoder::error::Result;
use reembed_encoder::model::config::{Device, Engine, ModelConfig, TextOptions, Truncation};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::model::prompt::PromptChoice;
use reembed_encoder::model::source::{self, SourceConfig};
use reembed_kernels::{IsaName, Precision};

use super::read::to_size;
use crate::config::layers::RawConfig;
use crate::config::values::Value;
use crate::config::words::{EngineChoice, Pool, Truncate};

/// The keys that give the prompt. One of them is in force.
pub(super) const PROMPT: &str = "model.prompt";
pub(super) const PROMPT_NAME: &str = "model.prompt_name";

impl RawConfig {
    /// Checks the tables `[model]` and `[compute]` for the model that made existing vectors: what is
    /// not set is as `identity` says.
    ///
    /// # Errors
    /// As [`RawConfig::check`]; `Model` if neither says where the model is.
    pub fn check_model_of(
        &self,
        identity: &ModelIdentity,
        environment: &Environment,
    ) -> Result<ModelConfig> {
        let set = self.check_model(environment)?;
        let is_set = |keys: &[&str]| keys.iter().any(|key| self.is_set(key));
        let source = match is_set(&["model.id", "model.path", "model.sha256"]) {
            true => set.source,
            false => source::of_files(&set.source, &identity.id, &identity.files)?,
        };
        let made = ModelConfig::from_identity(identity, source)?;
        let engine = match is_set(&["compute.engine", "compute.device"]) {
            true => set.engine,
            false => made.engine,
        };
        // The precision of the vectors is one of the packed engine.
        let precision = made.precision.filter(|_| engine == Engine::Packed);
        Ok(ModelConfig {
            source: made.source,
            text: TextOptions {
                prompt: match is_set(&[PROMPT, PROMPT_NAME]) {
                    true => set.text.prompt,
                    false => made.text.prompt,
                },
                max_length: set.text.max_length.or(made.text.max_length),
                truncation: match is_set(&["text.truncate"]) {
                    true => set.text.truncation,
                    false => made.text.truncation,
                },
                pool: set.text.pool.or(made.text.pool),
            },
            engine,
            isa: set.isa,
            precision: set.precision.or(precision),
            threads: set.threads,
        })
    }

    pub(super) fn model(&self, environment: &Environment) -> Result<ModelConfig> {
        // The default is the name of the default model, which a directory does not have.
        let id = match self.is_set("model.id") {
            true => Some(self.text("model.id")?),
            false => None,
        };
        let path = self.path("model.path");
        let cache = match self.path("model.cache") {
            Some(cache) => cache,
            // A local model needs no cache.
            None if path.is_some() => environment.model_cache().unwrap_or_default(),
            None => environment.model_cache()?,
        };
        let pins = match self.values.get("model.sha256") {
            Some((Value::Hashes(pins), _)) => pins.clone(),
            // The built-in hashes are those of the hub's files, not of a local model.
            _ if path.is_some() => BTreeMap::new(),
            _ if id.as_deref().unwrap_or(source::DEFAULT_ID) == source::DEFAULT_ID => {
                source::default_pins()
            }
            _ => BTreeMap::new(),
        };
        let standard = SourceConfig::with_cache(environment, cache);
        let offline = self.is_on("model.offline") || standard.offline;
        let revision = self.text("model.revision")?;
        let source = SourceConfig { id, revision, path, offline, pins, ..standard };
        let engine = self.engine()?;
        Ok(ModelConfig {
            source,
            text: self.text_options()?,
            engine,
            isa: self.word_or_auto("compute.isa", IsaName::parse)?,
            precision: self.precision(engine)?,
            threads: self.number("compute.threads").and_then(to_size),
        })
    }

    pub(super) fn text_options(&self) -> Result<TextOptions> {
        Ok(TextOptions {
            prompt: self.prompt()?,
            max_length: self.number("text.max_length").and_then(to_size),
            truncation: match self.word("text.truncate", Truncate::parse)? {
                Truncate::End => Truncation::End,
                Truncate::Start => Truncation::Start,
                Truncate::Error => Truncation::Error,
            },
            pool: self.pool()?.and_then(|_: Pool| self.chunk_size()),
        })
    }

    pub(super) fn prompt(&self) -> Result<PromptChoice> {
        Ok(match self.key_in_force(&[PROMPT, PROMPT_NAME])? {
            None => PromptChoice::ModelDefault,
            Some(PROMPT) => PromptChoice::Text(self.text(PROMPT)?),
            Some(named) => PromptChoice::Named(self.text(named)?),
        })
    }

    pub(super) fn engine(&self) -> Result<Engine> {
        let device = self.word("compute.device", Device::parse)?;
        match (self.word("compute.engine", EngineChoice::parse)?, device) {
            (EngineChoice::Candle, _) | (EngineChoice::Auto, Device::Cuda(_)) => {
                Ok(Engine::Candle(device))
            }
            (EngineChoice::Packed, Device::Cuda(_)) => {
                Err(self.value_error("compute.engine", "is \"packed\", which runs on the CPU only"))
            }
            (EngineChoice::Auto | EngineChoice::Packed, Device::Cpu) => Ok(Engine::Packed),
        }
    }

    pub(super) fn precision(&self, engine: Engine) -> Result<Option<Precision>> {
        let precision = self.word_or_auto("compute.precision", Precision::parse)?;
        match (engine, precision) {
            (Engine::Candle(_), Some(other)) if other != Precision::F32 => {
                let message = format!("is \"{other}\", which only the packed engine computes");
                Err(self.value_error("compute.precision", &message))
            }
            _ => Ok(precision),
        }
    }
}
