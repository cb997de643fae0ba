//! Which model, and what runs it.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use reembed_kernels::{Isa, IsaName, Precision};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::model::source::SourceConfig;

/// Which model makes the vectors, and what it runs on. It names hardware and does not ask for it: that is done when
/// the model is loaded.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Where its files come from.
    pub source: SourceConfig,
    /// Replaces the model's default prompt.
    pub prompt: Option<String>,
    /// What runs it.
    pub engine: Engine,
    /// The most that the packed engine may use of the CPU; `None`: all that it has.
    pub isa: Option<IsaName>,
    /// What the factors of matrix products are; `None`: for a model that was validated in it, bf16 where the CPU makes
    /// it fast, on AMX or else on AVX512-BF16; f32 for any other.
    pub precision: Option<Precision>,
    /// Threads of an encoder on the CPU; `None`: as many as affinity and cgroup quota allow.
    pub threads: Option<NonZeroUsize>,
}

/// What runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our own kernels on the CPU: batch-invariant.
    Packed,
    /// candle, on the CPU (the reference) or on a GPU.
    Candle(Device),
}

/// A processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
}

impl Device {
    /// `cpu` or `cuda:N`.
    pub fn parse(text: &str) -> Option<Device> {
        match text {
            "cpu" => Some(Device::Cpu),
            _ => Some(Device::Cuda(text.strip_prefix("cuda:")?.parse().ok()?)),
        }
    }
}

impl ModelConfig {
    /// The default model, all-MiniLM-L6-v2, on the CPU; found, fetched and kept as the environment says: caches, proxy,
    /// `HF_TOKEN` and the rest of what [`SourceConfig::standard`] names.
    ///
    /// # Errors
    /// `Config` when the environment names no directory to keep a model in.
    pub fn standard(environment: &Environment) -> Result<ModelConfig> {
        Ok(ModelConfig::from_source(SourceConfig::standard(environment)?))
    }

    /// A model in a directory of the sentence-transformers layout, on the CPU. Nothing is fetched.
    pub fn from_directory(directory: &Path) -> ModelConfig {
        ModelConfig::from_source(SourceConfig::from_directory(directory))
    }

    fn from_source(source: SourceConfig) -> ModelConfig {
        ModelConfig {
            source,
            prompt: None,
            engine: Engine::Packed,
            isa: None,
            precision: None,
            threads: None,
        }
    }

    /// The threads of an encoder on this machine's CPU.
    pub fn threads(&self) -> NonZeroUsize {
        // One where the system does not say.
        self.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The instruction set of the packed engine on this machine.
    ///
    /// # Errors
    /// `Config` when this CPU lacks the one that is named.
    pub fn isa(&self) -> Result<Isa> {
        let Some(name) = self.isa else { return Ok(Isa::detect()) };
        Isa::from_name(name).ok_or_else(|| {
            let here: Vec<&str> = Isa::available().map(Isa::as_str).collect();
            let message = format!(
                "`compute.isa` is \"{}\", which this CPU lacks; it has {}",
                name.as_str(),
                here.join(", ")
            );
            Error::new(ErrorKind::Config, message)
                .advice("name another one, or remove the setting; removing it uses the default")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_cpu_or_a_numbered_gpu() {
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
