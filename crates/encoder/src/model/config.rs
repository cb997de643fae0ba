//! The configuration of a model: its source, and the engine that runs it.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use reembed_kernels::{Isa, IsaName, Precision};

use super::chunk_size::ChunkSize;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::model::prompt::PromptChoice;
use crate::model::source::SourceConfig;

/// Which model computes the vectors, and what runs it. Hardware is only named here; loading the
/// model looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// Where the files of the model come from.
    pub source: SourceConfig,
    /// How the model gets its texts.
    pub text: TextOptions,
    /// The engine that runs the model.
    pub engine: Engine,
    /// The instruction set of the packed engine; `None`: the best of this CPU.
    pub isa: Option<IsaName>,
    /// The precision of the factors of matrix products. `None`: bf16 for the default model on a CPU
    /// with AMX or AVX512-BF16, else f32. See [`crate::model::precision`].
    pub precision: Option<Precision>,
    /// Threads of the tokenizer and of an encoder on the CPU; `None`: as many as CPU affinity and
    /// cgroup quota allow.
    pub threads: Option<NonZeroUsize>,
}

/// How a model gets its texts. The default is what its directory says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// The text before every input text.
    pub prompt: PromptChoice,
    /// Most tokens of a text, special tokens included; `None`: the model's own maximum, which is
    /// the largest one.
    pub max_length: Option<NonZeroUsize>,
    /// What happens to a longer text.
    pub truncation: Truncation,
    /// The vector of a text is the mean of its chunks of this size. The weight of a chunk is the
    /// number of its tokens, special tokens included; the mean is scaled to length 1 if the model
    /// scales vectors. A text that fits in one chunk has its plain vector. No text is too long then,
    /// so that `truncation` has no effect.
    pub pool: Option<ChunkSize>,
}

impl TextOptions {
    /// Whether a text with too many tokens is an error. None is if texts are split.
    pub fn refuses_long_texts(&self) -> bool {
        self.truncation == Truncation::Error && self.pool.is_none()
    }
}

/// What happens to a text with too many tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Truncation {
    /// It loses its last tokens.
    #[default]
    End,
    /// It loses its first tokens, those of the prompt included.
    Start,
    /// It is an error.
    Error,
}

impl Truncation {
    /// Refuses a prompt that the model leaves out of its pooling where a text may lose it.
    ///
    /// # Errors
    /// `Config`, if texts lose their start.
    pub(crate) fn check_keeps_prompt(self) -> Result<()> {
        if self != Truncation::Start {
            return Ok(());
        }
        let message = "`text.truncate` is \"start\", which may cut the prompt, and the model leaves the prompt out of \
                       its pooling";
        Err(Error::new(ErrorKind::Config, message)
            .advice("set `text.truncate` to \"end\", or `model.prompt` to \"\""))
    }

    /// The form in the identity of a model. [`Truncation::Error`] changes no vector, so it has that
    /// of [`Truncation::End`], which is none.
    pub fn in_identity(self) -> Option<String> {
        match self {
            Truncation::End | Truncation::Error => None,
            Truncation::Start => Some("start".to_owned()),
        }
    }
}

/// The engine that runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The kernels of reembed on the CPU; batch-invariant.
    Packed,
    /// candle, on the CPU (the reference) or on a GPU. Needs the feature `candle`.
    Candle(Device),
}

/// A CPU or a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this CUDA index.
    Cuda(usize),
}

impl Device {
    /// Parses `cpu` or `cuda:N`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Device> {
        match text {
            "cpu" => Some(Device::Cpu),
            _ => Some(Device::Cuda(text.strip_prefix("cuda:")?.parse().ok()?)),
        }
    }
}

impl ModelConfig {
    /// The default model, all-MiniLM-L6-v2, on the CPU. [`SourceConfig::from_environment`] lists
    /// the environment variables for caches, proxy and token.
    ///
    /// # Errors
    /// `Config` if the environment has no directory for the model cache.
    pub fn from_environment(environment: &Environment) -> Result<ModelConfig> {
        Ok(ModelConfig::from_source(SourceConfig::from_environment(environment)?))
    }

    /// The model in a local directory of the sentence-transformers layout, on the CPU. Loading it
    /// never uses the network.
    pub fn from_directory(directory: &Path) -> ModelConfig {
        ModelConfig::from_source(SourceConfig::from_directory(directory))
    }

    fn from_source(source: SourceConfig) -> ModelConfig {
        ModelConfig {
            source,
            text: TextOptions::default(),
            engine: Engine::Packed,
            isa: None,
            precision: None,
            threads: None,
        }
    }

    /// The number of threads on this machine; 1 if the system does not say.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The instruction set of the packed engine on this machine.
    ///
    /// # Errors
    /// `Config` if this CPU does not support the configured one.
    pub fn isa(&self) -> Result<Isa> {
        let Some(name) = self.isa else { return Ok(Isa::detect()) };
        Isa::from_name(name).ok_or_else(|| {
            let supported: Vec<&str> = Isa::available().map(Isa::as_str).collect();
            let message = format!(
                "`compute.isa` is \"{}\", which this CPU does not support; it supports {}",
                name.as_str(),
                supported.join(", ")
            );
            Error::new(ErrorKind::Config, message)
                .advice("set a supported one, or remove the setting; removing it uses the default")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_parses_cpu_and_cuda_index() {
        for (text, expected) in [
            ("cpu", Some(Device::Cpu)),
            ("cuda:0", Some(Device::Cuda(0))),
            ("cuda:12", Some(Device::Cuda(12))),
            ("cuda", None),
            ("cuda:", None),
            ("cuda:-1", None),
            ("CPU", None),
            ("", None),
        ] {
            assert_eq!(Device::parse(text), expected, "{text}");
        }
    }
}
