//! Decoders that are used as encoders: Qwen3 and the text model of Gemma 3.

use serde::Deserialize;
use serde_json::Value;

use super::keys::{Config, RopeParameters, Thetas};
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::spec::{
    AttentionSpec, EmbeddingSpec, EncoderSpec, FeedForwardSpec, LayerAttention, LocalLayers,
    NormKind, NormPlace, NormSpec,
};

/// `Qwen3Config` and `Gemma3TextConfig`.
#[derive(Deserialize)]
struct DecoderConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    max_position_embeddings: usize,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<RopeParameters>,
    attention_bias: Option<bool>,
    is_causal: Option<bool>,
    pad_token_id: Option<u32>,
    layer_types: Option<Vec<String>>,
    // Of Qwen3.
    use_sliding_window: Option<bool>,
    // Of Gemma 3.
    sliding_window: Option<usize>,
    sliding_window_pattern: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<Value>,
    use_bidirectional_attention: Option<bool>,
}

const CAUSAL: [Option<usize>; 2] = [None, Some(0)];

/// Qwen3: causal unless `is_causal` is false, with a norm of the heads of queries and keys.
pub(super) fn qwen3(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: DecoderConfig = config.parse()?;
    config.refuse_if("use_sliding_window", own.use_sliding_window, "sliding windows are")?;
    if own.layer_types.iter().flatten().any(|kind| kind != "full_attention") {
        return Err(config.refuse("layer_types", "only \"full_attention\" is supported"));
    }
    let (written, theta) = own.thetas(config)?;
    let theta = written.all.or(written.full).or(theta);
    let seen = if own.is_causal == Some(false) { [None; 2] } else { CAUSAL };
    let full = LayerAttention { seen, theta: Some(theta.unwrap_or(10_000.0)) };
    let attention = own.attention(config, full, full, LocalLayers::None)?;
    own.spec(config, Architecture::Qwen3, "hidden_act", attention)
}

/// The text model of Gemma 3: four norms a layer, and windows in most layers.
pub(super) fn gemma3(config: &Config<'_>) -> Result<EncoderSpec> {
    let own: DecoderConfig =
        config.parse_renamed(&[("_sliding_window_pattern", "sliding_window_pattern")])?;
    config.refuse_value("attn_logit_softcapping", &own.attn_logit_softcapping)?;
    let window = own.sliding_window.unwrap_or(4096);
    let is_bidirectional = own.use_bidirectional_attention.unwrap_or(false);
    if own.is_causal == Some(false) && !is_bidirectional {
        return Err(config.refuse(
            "is_causal",
            "is false while `use_bidirectional_attention` is not true: its windows would not be halved",
        ));
    }
    // The window counts the token itself, or, to both sides, half of it is on each.
    let (full, local) = match is_bidirectional {
        true => ([None; 2], [Some(window / 2); 2]),
        false => (CAUSAL, [Some(config.size("sliding_window", window)? - 1), Some(0)]),
    };
    let (written, global) = own.thetas(config)?;
    let global = written.full.or(global).or(written.all);
    let local_layers = match &own.layer_types {
        Some(types) => config.local_layers(types)?,
        None => {
            let pattern = own.sliding_window_pattern.unwrap_or(6);
            let period = config.size("sliding_window_pattern", pattern)?;
            LocalLayers::AllBut { first: period - 1, period }
        }
    };
    let theta = Some(global.unwrap_or(1e6));
    let local_theta = match (written.local, own.rope_local_base_freq) {
        (Some(theta), _) => theta,
        (None, Some(theta)) => config.theta("rope_local_base_freq", theta)?,
        (None, None) => written.all.unwrap_or(1e4),
    };
    let full = LayerAttention { seen: full, theta };
    let local = LayerAttention { seen: local, theta: Some(local_theta) };
    let mut attention = own.attention(config, full, local, local_layers)?;
    attention.divisor = own.query_pre_attn_scalar.unwrap_or(256.0);
    let mut spec = own.spec(config, Architecture::Gemma3, "hidden_activation", attention)?;
    spec.embeddings.scale = (spec.hidden as f64).sqrt();
    spec.norm.kind = NormKind::RmsPlusOne;
    spec.norm.place = NormPlace::Before { first: true, and_after: true };
    Ok(spec)
}

impl DecoderConfig {
    /// θ of `rope_parameters` and of `rope_theta`. Where both are there, transformers takes the newer key.
    fn thetas(&self, config: &Config<'_>) -> Result<(Thetas, Option<f64>)> {
        config.refuse_value("rope_scaling", &self.rope_scaling)?;
        let written = match &self.rope_parameters {
            Some(parameters) => parameters.thetas(config)?,
            None => Thetas::default(),
        };
        let own = self.rope_theta.map(|theta| config.theta("rope_theta", theta)).transpose()?;
        Ok((written, own))
    }

    fn attention(
        &self,
        config: &Config<'_>,
        full: LayerAttention,
        local: LayerAttention,
        local_layers: LocalLayers,
    ) -> Result<AttentionSpec> {
        let heads = config.size("num_attention_heads", self.num_attention_heads)?;
        let head_size = match self.head_dim {
            Some(size) => config.size("head_dim", size)?,
            None => config
                .head_size(("hidden_size", self.hidden_size), ("num_attention_heads", heads))?,
        };
        let key_heads = self.num_key_value_heads.unwrap_or(heads);
        Ok(AttentionSpec {
            heads,
            key_heads: config.size("num_key_value_heads", key_heads)?,
            head_size,
            divisor: head_size as f64,
            has_bias: false,
            normalizes_heads: true,
            is_relative: false,
            full,
            local,
            local_layers,
        })
    }

    fn spec(
        &self,
        config: &Config<'_>,
        architecture: Architecture,
        activation_key: &str,
        attention: AttentionSpec,
    ) -> Result<EncoderSpec> {
        for (key, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            config.size(key, size)?;
        }
        config.refuse_if("attention_bias", self.attention_bias, "biases are")?;
        let (name, default) = match architecture {
            Architecture::Gemma3 => (&self.hidden_activation, "gelu_pytorch_tanh"),
            _ => (&self.hidden_act, "silu"),
        };
        let activation = name.as_deref().unwrap_or(default);
        Ok(EncoderSpec {
            architecture,
            vocab_size: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            layer_groups: self.num_hidden_layers,
            embeddings: EmbeddingSpec {
                is_normalized: false,
                ..EmbeddingSpec::words(self.hidden_size)
            },
            attention,
            feed_forward: FeedForwardSpec {
                width: self.intermediate_size,
                activation: config.activation(activation_key, activation)?,
                is_gated: true,
                has_bias: false,
            },
            norm: NormSpec {
                kind: NormKind::Rms,
                epsilon: config.epsilon("rms_norm_eps", self.rms_norm_eps.unwrap_or(1e-6))?,
                has_bias: false,
                place: NormPlace::Before { first: true, and_after: false },
            },
            max_tokens: self.max_position_embeddings,
            pad_token: self.pad_token_id.unwrap_or(0),
        })
    }
}
