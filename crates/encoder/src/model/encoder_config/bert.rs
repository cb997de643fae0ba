//! BERT and the models that differ from it in their embeddings, positions or names.

use serde::Deserialize;

use super::keys::Config;
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::json::quote;
use crate::model::spec::{
    Activation, AttentionSpec, EmbeddingSpec, EncoderSpec, FeedForwardSpec, NormKind, NormPlace,
    NormSpec, Positions,
};
use crate::model::tensor_names::RELATIVE_BUCKETS;

/// `BertConfig` and those derived from it.
#[derive(Deserialize)]
struct BertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Option<String>,
    max_position_embeddings: usize,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
    embedding_size: Option<usize>,
    num_hidden_groups: Option<usize>,
    inner_group_num: Option<usize>,
    relative_attention_num_buckets: Option<usize>,
}

/// `DistilBertConfig`.
#[derive(Deserialize)]
struct DistilBertConfig {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    activation: Option<String>,
    max_position_embeddings: usize,
    pad_token_id: Option<u32>,
}

/// BERT.
pub(super) fn bert(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: BertConfig = config.parse()?;
    from_config(config, &own, Architecture::Bert)
}

/// RoBERTa, XLM-RoBERTa and CamemBERT: positions are counted after the padding id.
pub(super) fn roberta(config: &Config<'_>, architecture: Architecture) -> Result<EncoderSpec> {
    let own: BertConfig = config.parse()?;
    let mut spec = from_config(config, &own, architecture)?;
    let padding = own.pad_token_id.unwrap_or(1);
    after_padding(&mut spec, own.max_position_embeddings, padding);
    Ok(spec)
}

/// MPNet: positions as in RoBERTa, after 1, no token types, and a bias by relative position.
pub(super) fn mpnet(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: BertConfig = config.parse()?;
    let mut spec = from_config(config, &own, Architecture::Mpnet)?;
    let buckets = own.relative_attention_num_buckets.unwrap_or(RELATIVE_BUCKETS);
    if buckets != RELATIVE_BUCKETS {
        let message = format!("is {buckets}; only {RELATIVE_BUCKETS} is supported");
        return Err(config.refuse("relative_attention_num_buckets", message));
    }
    after_padding(&mut spec, own.max_position_embeddings, 1);
    spec.embeddings.token_types = 0;
    spec.attention.is_relative = true;
    Ok(spec)
}

/// ELECTRA and ALBERT: embeddings may be narrower than token vectors, and layers may share weights.
pub(super) fn narrow(config: &Config<'_>, architecture: Architecture) -> Result<EncoderSpec> {
    let own: BertConfig = config.parse()?;
    let mut spec = from_config(config, &own, architecture)?;
    let width = config.size("embedding_size", own.embedding_size.unwrap_or(128))?;
    spec.embeddings.width = width;
    spec.embeddings.is_projected = width != spec.hidden;
    if architecture == Architecture::Albert {
        // It has the linear layer whatever the widths.
        spec.embeddings.is_projected = true;
        if own.inner_group_num.is_some_and(|layers| layers != 1) {
            let message = "several layers in a group are not supported; only 1 is";
            return Err(config.refuse("inner_group_num", message));
        }
        let groups = own.num_hidden_groups.unwrap_or(1);
        if !(1..=spec.layers).contains(&groups) {
            let message = format!("is {groups}, out of range 1 to {}", spec.layers);
            return Err(config.damaged("num_hidden_groups", message));
        }
        spec.layer_groups = groups;
    }
    Ok(spec)
}

/// DistilBERT: BERT without token types, with other keys.
pub(super) fn distilbert(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: DistilBertConfig = config.parse()?;
    for (key, size) in [
        ("vocab_size", own.vocab_size),
        ("dim", own.dim),
        ("n_layers", own.n_layers),
        ("n_heads", own.n_heads),
        ("hidden_dim", own.hidden_dim),
        ("max_position_embeddings", own.max_position_embeddings),
    ] {
        config.size(key, size)?;
    }
    let head_size = config.head_size(("dim", own.dim), ("n_heads", own.n_heads))?;
    let activation = own.activation.as_deref().unwrap_or("gelu");
    let mut spec = plain(Architecture::DistilBert, own.dim, own.n_heads, head_size);
    spec.vocab_size = own.vocab_size;
    (spec.layers, spec.layer_groups) = (own.n_layers, own.n_layers);
    spec.feed_forward.width = own.hidden_dim;
    spec.feed_forward.activation = config.activation("activation", activation)?;
    spec.embeddings.positions = Positions::FromZero { rows: own.max_position_embeddings };
    spec.embeddings.token_types = 0;
    spec.max_tokens = own.max_position_embeddings;
    spec.pad_token = own.pad_token_id.unwrap_or(0);
    Ok(spec)
}

fn from_config(
    config: &Config<'_>,
    own: &BertConfig,
    architecture: Architecture,
) -> Result<EncoderSpec> {
    if let Some(kind) = own.position_embedding_type.as_ref().filter(|kind| *kind != "absolute") {
        let message = format!("{} is not supported; only \"absolute\" is", quote(kind));
        return Err(config.refuse("position_embedding_type", message));
    }
    config.refuse_if("is_decoder", own.is_decoder, "decoders of this architecture are")?;
    let token_types = own.type_vocab_size.unwrap_or(2);
    for (key, size) in [
        ("vocab_size", own.vocab_size),
        ("hidden_size", own.hidden_size),
        ("num_hidden_layers", own.num_hidden_layers),
        ("num_attention_heads", own.num_attention_heads),
        ("intermediate_size", own.intermediate_size),
        ("max_position_embeddings", own.max_position_embeddings),
        ("type_vocab_size", token_types),
    ] {
        config.size(key, size)?;
    }
    let (hidden, heads) = (own.hidden_size, own.num_attention_heads);
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let default = if architecture == Architecture::Albert { "gelu_new" } else { "gelu" };
    let activation = own.hidden_act.as_deref().unwrap_or(default);
    let epsilon = config.epsilon("layer_norm_eps", own.layer_norm_eps.unwrap_or(1e-12))?;
    let mut spec = plain(architecture, hidden, heads, head_size);
    spec.vocab_size = own.vocab_size;
    (spec.layers, spec.layer_groups) = (own.num_hidden_layers, own.num_hidden_layers);
    spec.feed_forward.width = own.intermediate_size;
    spec.feed_forward.activation = config.activation("hidden_act", activation)?;
    spec.embeddings.positions = Positions::FromZero { rows: own.max_position_embeddings };
    spec.embeddings.token_types = token_types;
    spec.norm.epsilon = epsilon;
    spec.max_tokens = own.max_position_embeddings;
    spec.pad_token = own.pad_token_id.unwrap_or(0);
    Ok(spec)
}

fn after_padding(spec: &mut EncoderSpec, rows: usize, padding: u32) {
    spec.embeddings.positions = Positions::AfterPadding { rows, padding };
    spec.max_tokens = rows.saturating_sub(padding as usize + 1);
    spec.pad_token = padding;
}

/// A BERT of these sizes; the others are filled in.
fn plain(architecture: Architecture, hidden: usize, heads: usize, head_size: usize) -> EncoderSpec {
    EncoderSpec {
        architecture,
        vocab_size: 0,
        hidden,
        layers: 0,
        layer_groups: 0,
        embeddings: EmbeddingSpec::words(hidden),
        attention: AttentionSpec::full(heads, head_size),
        feed_forward: FeedForwardSpec {
            width: 0,
            activation: Activation::Gelu,
            is_gated: false,
            has_bias: true,
        },
        norm: NormSpec {
            kind: NormKind::Layer,
            epsilon: 1e-12,
            has_bias: true,
            place: NormPlace::After,
        },
        max_tokens: 0,
        pad_token: 0,
    }
}
