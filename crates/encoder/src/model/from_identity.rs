//! The configuration that runs the model of existing vectors again, from their identity.

use std::num::NonZeroUsize;

use reembed_kernels::Precision;

use super::chunk_size::ChunkSize;
use super::config::{Device, Engine, ModelConfig, TextOptions, Truncation};
use super::identity::{ChunksIdentity, ModelIdentity};
use super::prompt::PromptChoice;
use super::source::SourceConfig;
use crate::error::{Error, ErrorKind, Result};

impl ModelConfig {
    /// The model of `identity` with the texts, engine and precision that made its vectors. Its files
    /// come from `source`.
    ///
    /// # Errors
    /// `Output` if a newer version of this program made the vectors in a way that this one lacks.
    pub fn from_identity(identity: &ModelIdentity, source: SourceConfig) -> Result<ModelConfig> {
        let truncation = match identity.truncation.as_deref() {
            None => Truncation::End,
            Some("start") => Truncation::Start,
            Some(other) => {
                let message = format!("its texts were truncated in an unknown way, {other:?}");
                return Err(Error::new(ErrorKind::Output, message)
                    .advice("use the version of reembed that wrote the file"));
            }
        };
        let pool = identity.chunks.as_ref().map(chunk_size).transpose()?;
        let is_candle = identity.numerics.starts_with("candle-");
        let engine = match is_candle {
            true if identity.numerics.contains("-cuda-") => Engine::Candle(Device::Cuda(0)),
            true => Engine::Candle(Device::Cpu),
            false => Engine::Packed,
        };
        Ok(ModelConfig {
            source,
            text: TextOptions {
                prompt: PromptChoice::Text(identity.prompt.clone()),
                max_length: NonZeroUsize::new(identity.max_seq_length),
                truncation,
                pool,
            },
            engine,
            isa: None,
            precision: Precision::parse(&identity.precision).filter(|_| !is_candle),
            threads: None,
        })
    }
}

/// The size of the chunks whose mean is the vector of a text.
fn chunk_size(chunks: &ChunksIdentity) -> Result<ChunkSize> {
    let tokens = NonZeroUsize::new(chunks.tokens).filter(|_| chunks.pool == ChunksIdentity::MEAN);
    let size = tokens.and_then(|tokens| ChunkSize::new(tokens, chunks.overlap).ok());
    size.ok_or_else(|| {
        let message = format!("its texts were split in an unknown way, \"{chunks}\"");
        Error::new(ErrorKind::Output, message)
            .advice("use the version of reembed that wrote the file")
    })
}

#[cfg(test)]
mod tests {
    use reembed_testing::model_directory::ModelDirectory;

    use super::*;
    use crate::model;

    #[test]
    fn model_that_is_loaded_from_its_identity_has_that_identity() {
        let written = ModelDirectory::tiny().prompt(Some("query: ")).write();
        let own = ModelConfig::from_directory(written.path());
        let passage = TextOptions {
            prompt: PromptChoice::Text("passage: ".to_owned()),
            max_length: NonZeroUsize::new(64),
            truncation: Truncation::Start,
            pool: None,
        };
        let size = ChunkSize::new(NonZeroUsize::new(64).expect("not zero"), 8).expect("a size");
        let pooled = TextOptions { pool: Some(size), ..passage.clone() };
        let refusing = TextOptions { truncation: Truncation::Error, ..TextOptions::default() };
        for config in [
            own.clone(),
            ModelConfig { precision: Some(Precision::Bf16), text: passage, ..own.clone() },
            ModelConfig { text: pooled, ..own.clone() },
            ModelConfig { text: refusing, ..own.clone() },
            #[cfg(feature = "candle")]
            ModelConfig { engine: Engine::Candle(Device::Cpu), ..own.clone() },
        ] {
            let made = model::load(&config, &|_| ()).expect("a model").facts.identity;
            let again = ModelConfig::from_identity(&made, own.source.clone()).expect("known");
            let again = model::load(&again, &|_| ()).expect("a model").facts.identity;
            assert_eq!(again, made, "{config:?}");
        }
        let identity = model::load(&own, &|_| ()).expect("a model").facts.identity;
        let chunks = |tokens, pool: &str| {
            let chunks = ChunksIdentity { tokens, overlap: 8, pool: pool.to_owned() };
            ModelIdentity { chunks: Some(chunks), ..identity.clone() }
        };
        for newer in [
            ModelIdentity { truncation: Some("middle".to_owned()), ..identity.clone() },
            chunks(64, "max"),
            chunks(0, "mean"),
            chunks(8, "mean"),
        ] {
            let error =
                ModelConfig::from_identity(&newer, own.source.clone()).expect_err("unknown");
            assert_eq!(error.kind(), ErrorKind::Output, "{newer:?}");
        }
    }
}
