//! The encoder that a `config.json` describes.
//!
//! Keys and defaults are those of the configuration classes of `transformers`. A key that would change the
//! forward pass to one that reembed does not have is refused by its name.

mod bert;
mod decoder;
mod keys;
mod modern;
mod static_embedding;

use super::architecture::{Architecture, CURE, KEY};
use super::source::ModelFiles;
use super::spec::EncoderSpec;
use crate::error::Result;
use keys::{Config, FILE};

/// Reads the encoder of a model. The architecture is judged before any other key is looked at.
///
/// # Errors
/// `Model`, naming the key, if the architecture or a setting is not supported.
pub(super) fn read(files: &ModelFiles) -> Result<EncoderSpec> {
    if files.is_static {
        return static_embedding::read(files);
    }
    let config = Config { files };
    let bytes = files.bytes(FILE).unwrap_or_default();
    let architecture =
        Architecture::judge(bytes).map_err(|why| config.refuse(KEY, why).advice(CURE))?;
    let spec = match architecture {
        Architecture::Albert | Architecture::Electra => bert::narrow(&config, architecture)?,
        Architecture::Bert => bert::bert(&config)?,
        Architecture::Camembert | Architecture::Roberta | Architecture::XlmRoberta => {
            bert::roberta(&config, architecture)?
        }
        Architecture::DistilBert => bert::distilbert(&config)?,
        Architecture::Mpnet => bert::mpnet(&config)?,
        Architecture::ModernBert => modern::modernbert(&config)?,
        Architecture::NomicBert => modern::nomic_bert(&config)?,
        Architecture::StaticEmbedding => {
            let message = "is model2vec, but modules.json names no StaticEmbedding";
            return Err(config.refuse(KEY, message).advice("fetch the whole model again"));
        }
        Architecture::Qwen3 => decoder::qwen3(&config)?,
        Architecture::Gemma3 => decoder::gemma3(&config)?,
    };
    config.check(&spec)?;
    Ok(spec)
}
