//! Token embeddings alone. Their sizes are those of the tensor; there is no configuration.

use safetensors::tensor::SafeTensors;

use crate::error::{Error, ErrorKind, Result};
use crate::model::architecture::Architecture;
use crate::model::source::ModelFiles;
use crate::model::spec::{
    Activation, AttentionSpec, EmbeddingSpec, EncoderSpec, FeedForwardSpec, NormKind, NormPlace,
    NormSpec,
};
use crate::model::tensor_names::{MODEL2VEC_MAPPING, MODEL2VEC_WEIGHTS, TensorNames};

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
    let info = header.info(names.probe);
    let info = info.ok_or_else(|| refuse(format!("has no tensor `{}`", names.probe)))?;
    let [rows, hidden] = info.shape[..] else {
        return Err(refuse(format!("tensor `{}` has the shape {:?}", names.probe, info.shape)));
    };
    // In a quantized vocabulary of model2vec a row may be that of several tokens.
    let of_tokens = [MODEL2VEC_MAPPING, MODEL2VEC_WEIGHTS].into_iter();
    let of_tokens = of_tokens.filter(|_| names.probe == "embeddings").find_map(|n| header.info(n));
    let vocab_size = match of_tokens {
        Some(info) => info.shape.first().copied().unwrap_or(0),
        None => rows,
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
