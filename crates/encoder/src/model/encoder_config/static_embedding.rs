//! Token embeddings alone. Their sizes are those of the tensor; there is no configuration.

use safetensors::tensor::SafeTensors;

use crate::error::{Error, ErrorKind, Result};
use crate::model::architecture::Architecture;
use crate::model::source::ModelFiles;
use crate::model::spec::{
    Activation, AttentionSpec, EmbeddingSpec, EncoderSpec, FeedForwardSpec, NormKind, NormPlace,
    NormSpec,
};
use crate::model::tensor_names::TensorNames;

const FILE: &str = "model.safetensors";

/// Most tokens of a text. sentence-transformers has no limit; memory wants one.
const MAX_TOKENS: usize = 8192;

/// Reads the sizes of a `StaticEmbedding`.
pub(super) fn read(files: &ModelFiles) -> Result<EncoderSpec> {
    const ARCHITECTURE: Architecture = Architecture::StaticEmbedding;
    let refuse = |message: String| {
        Error::new(ErrorKind::Model, message)
            .in_file(files.path_of(FILE))
            .advice("fetch the model again, or choose another one")
    };
    let bytes = files.bytes(FILE).ok_or_else(|| refuse("is missing".to_owned()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|cause| {
        refuse("is not a complete safetensors file".to_owned()).caused_by(cause)
    })?;
    let (names, _) = TensorNames::find(ARCHITECTURE, |name| header.info(name).is_some());
    // Vocabularies that were quantized: a row for several tokens, and weights of tokens.
    if let Some(other) = ["mapping", "weights"].into_iter().find(|name| header.info(name).is_some())
    {
        return Err(refuse(format!("has the tensor `{other}`, which is not supported")).advice(
            "load it with sentence-transformers and save it again, which makes one table of it",
        ));
    }
    let info = header.info(names.probe);
    let info = info.ok_or_else(|| refuse(format!("has no tensor `{}`", names.probe)))?;
    let [vocab_size, hidden] = info.shape[..] else {
        return Err(refuse(format!("tensor `{}` has the shape {:?}", names.probe, info.shape)));
    };
    if vocab_size == 0 || hidden == 0 {
        return Err(refuse(format!("tensor `{}` has the shape {:?}", names.probe, info.shape)));
    }
    Ok(EncoderSpec {
        architecture: ARCHITECTURE,
        vocab_size,
        hidden,
        layers: 0,
        layer_groups: 0,
        embeddings: EmbeddingSpec { is_normalized: false, ..EmbeddingSpec::words(hidden) },
        attention: AttentionSpec { has_bias: false, ..AttentionSpec::full(1, 1) },
        feed_forward: FeedForwardSpec {
            width: 1,
            activation: Activation::Relu,
            is_gated: false,
            has_bias: false,
        },
        norm: NormSpec {
            kind: NormKind::Layer,
            epsilon: 1e-12,
            has_bias: false,
            place: NormPlace::After,
        },
        max_tokens: MAX_TOKENS,
        pad_token: 0,
    })
}
