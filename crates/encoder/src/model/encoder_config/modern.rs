//! Encoders with rotary positions and gated feed-forward networks: ModernBERT and NomicBERT.

use serde::Deserialize;
use serde_json::Value;

use super::keys::{Config, RopeParameters};
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::json::quote;
use crate::model::spec::{
    AttentionSpec, EmbeddingSpec, EncoderSpec, FeedForwardSpec, LayerAttention, LocalLayers,
    NormKind, NormPlace, NormSpec,
};

/// `ModernBertConfig`.
#[derive(Deserialize)]
struct ModernBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_activation: Option<String>,
    max_position_embeddings: usize,
    norm_eps: Option<f64>,
    norm_bias: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    global_attn_every_n_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    local_attention: Option<usize>,
    global_rope_theta: Option<f64>,
    local_rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<RopeParameters>,
    pad_token_id: Option<u32>,
}

/// ModernBERT.
pub(super) fn modernbert(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: ModernBertConfig = config.parse()?;
    for (key, size) in [
        ("vocab_size", own.vocab_size),
        ("hidden_size", own.hidden_size),
        ("num_hidden_layers", own.num_hidden_layers),
        ("num_attention_heads", own.num_attention_heads),
        ("intermediate_size", own.intermediate_size),
        ("max_position_embeddings", own.max_position_embeddings),
    ] {
        config.size(key, size)?;
    }
    let (hidden, heads) = (own.hidden_size, own.num_attention_heads);
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let every = own.global_attn_every_n_layers.unwrap_or(3);
    let local_layers = match &own.layer_types {
        Some(types) => config.local_layers(types)?,
        None => {
            let period = config.size("global_attn_every_n_layers", every)?;
            LocalLayers::AllBut { first: 0, period }
        }
    };
    config.refuse_value("rope_scaling", &own.rope_scaling)?;
    // Where both are there, transformers takes the newer key.
    let written = own.rope_parameters.unwrap_or_default().thetas(config)?;
    let global = written.full.or(own.global_rope_theta).or(written.all).unwrap_or(160_000.0);
    let local = written.local.or(own.local_rope_theta).or(written.all).unwrap_or(10_000.0);
    let window = Some(own.local_attention.unwrap_or(128) / 2);
    let activation = own.hidden_activation.as_deref().unwrap_or("gelu");
    Ok(EncoderSpec {
        architecture: Architecture::ModernBert,
        vocab_size: own.vocab_size,
        hidden,
        layers: own.num_hidden_layers,
        layer_groups: own.num_hidden_layers,
        embeddings: EmbeddingSpec::words(hidden),
        attention: AttentionSpec {
            has_bias: own.attention_bias.unwrap_or(false),
            full: LayerAttention {
                seen: [None; 2],
                theta: Some(config.theta("global_rope_theta", global)?),
            },
            local: LayerAttention {
                seen: [window; 2],
                theta: Some(config.theta("local_rope_theta", local)?),
            },
            local_layers,
            ..AttentionSpec::full(heads, head_size)
        },
        feed_forward: FeedForwardSpec {
            width: own.intermediate_size,
            activation: config.activation("hidden_activation", activation)?,
            is_gated: true,
            has_bias: own.mlp_bias.unwrap_or(false),
        },
        norm: NormSpec {
            kind: NormKind::Layer,
            epsilon: config.epsilon("norm_eps", own.norm_eps.unwrap_or(1e-5))?,
            has_bias: own.norm_bias.unwrap_or(false),
            place: NormPlace::Before { first: false, and_after: false },
        },
        max_tokens: own.max_position_embeddings,
        pad_token: own.pad_token_id.unwrap_or(50_283),
    })
}

/// `NomicBertConfig`, under the keys of transformers 5 and those of nomic-ai.
#[derive(Deserialize)]
struct NomicBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: Option<usize>,
    max_position_embeddings: usize,
    hidden_act: Option<String>,
    activation_function: Option<String>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<RopeParameters>,
    pad_token_id: Option<u32>,
    causal: Option<bool>,
    mlp_fc1_bias: Option<bool>,
    mlp_fc2_bias: Option<bool>,
    parallel_block: Option<bool>,
    prenorm: Option<bool>,
    qkv_proj_bias: Option<bool>,
    rotary_emb_base: Option<f64>,
    rotary_emb_fraction: Option<f64>,
    rotary_emb_interleaved: Option<bool>,
    rotary_emb_scale_base: Option<Value>,
    rotary_scaling_factor: Option<Value>,
    scale_attn_weights: Option<bool>,
    use_rms_norm: Option<bool>,
    #[serde(default)]
    num_experts: Option<usize>,
}

/// Keys of nomic-ai, and those of transformers.
const NOMIC_NAMES: [(&str, &str); 6] = [
    ("n_embd", "hidden_size"),
    ("n_layer", "num_hidden_layers"),
    ("n_head", "num_attention_heads"),
    ("n_inner", "intermediate_size"),
    ("n_positions", "max_position_embeddings"),
    ("layer_norm_epsilon", "layer_norm_eps"),
];

/// NomicBERT.
pub(super) fn nomic_bert(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: NomicBertConfig = config.parse_renamed(&NOMIC_NAMES)?;
    for (key, is_set, what) in [
        ("causal", own.causal, "causal attention is"),
        ("mlp_fc1_bias", own.mlp_fc1_bias, "biases are"),
        ("mlp_fc2_bias", own.mlp_fc2_bias, "biases are"),
        ("parallel_block", own.parallel_block, "parallel blocks are"),
        ("prenorm", own.prenorm, "norms before the layers are"),
        ("qkv_proj_bias", own.qkv_proj_bias, "biases are"),
        ("rotary_emb_interleaved", own.rotary_emb_interleaved, "interleaved rotation is"),
        ("use_rms_norm", own.use_rms_norm, "RMS norms are"),
    ] {
        config.refuse_if(key, is_set, what)?;
    }
    if own.scale_attn_weights == Some(false) {
        return Err(config
            .refuse("scale_attn_weights", "is false: scores without a scale are not supported"));
    }
    if own.rotary_emb_fraction.is_some_and(|fraction| fraction != 1.0) {
        return Err(
            config.refuse("rotary_emb_fraction", "is not 1: a partial rotation is not supported")
        );
    }
    if own.num_experts.is_some_and(|experts| experts > 0) {
        return Err(config.refuse("num_experts", "a mixture of experts is not supported"));
    }
    config.refuse_value("rotary_emb_scale_base", &own.rotary_emb_scale_base)?;
    config.refuse_value("rotary_scaling_factor", &own.rotary_scaling_factor)?;
    config.refuse_value("rope_scaling", &own.rope_scaling)?;
    let (hidden, heads) = (own.hidden_size, own.num_attention_heads);
    let inner = own.intermediate_size.unwrap_or(hidden.saturating_mul(4));
    let token_types = own.type_vocab_size.unwrap_or(2);
    for (key, size) in [
        ("vocab_size", own.vocab_size),
        ("hidden_size", hidden),
        ("num_hidden_layers", own.num_hidden_layers),
        ("num_attention_heads", heads),
        ("intermediate_size", inner),
        ("max_position_embeddings", own.max_position_embeddings),
    ] {
        config.size(key, size)?;
    }
    let head_size = config.head_size(("hidden_size", hidden), ("num_attention_heads", heads))?;
    let activation = match (own.hidden_act.as_deref(), own.activation_function.as_deref()) {
        (Some(name), _) => config.activation("hidden_act", name)?,
        (None, Some("swiglu") | None) => config.activation("hidden_act", "silu")?,
        (None, Some("geglu")) => config.activation("hidden_act", "gelu")?,
        (None, Some(other)) => {
            let message = format!("{} is not supported; swiglu and geglu are", quote(other));
            return Err(config.refuse("activation_function", message));
        }
    };
    let written = own.rope_parameters.unwrap_or_default().thetas(config)?;
    let theta = written.all.or(own.rope_theta).or(own.rotary_emb_base).unwrap_or(1000.0);
    let full = LayerAttention { seen: [None; 2], theta: Some(config.theta("rope_theta", theta)?) };
    Ok(EncoderSpec {
        architecture: Architecture::NomicBert,
        vocab_size: own.vocab_size,
        hidden,
        layers: own.num_hidden_layers,
        layer_groups: own.num_hidden_layers,
        embeddings: EmbeddingSpec { token_types, ..EmbeddingSpec::words(hidden) },
        attention: AttentionSpec {
            has_bias: false,
            full,
            local: full,
            ..AttentionSpec::full(heads, head_size)
        },
        feed_forward: FeedForwardSpec { width: inner, activation, is_gated: true, has_bias: false },
        norm: NormSpec {
            kind: NormKind::Layer,
            epsilon: config.epsilon("layer_norm_eps", own.layer_norm_eps.unwrap_or(1e-12))?,
            has_bias: true,
            place: NormPlace::After,
        },
        max_tokens: own.max_position_embeddings,
        pad_token: own.pad_token_id.unwrap_or(0),
    })
}
