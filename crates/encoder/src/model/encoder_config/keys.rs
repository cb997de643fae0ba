//! The keys of a `config.json`, and errors about them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::json::{DAMAGED, from_json, quote, refuse, required_json};
use crate::model::source::ModelFiles;
use crate::model::spec::{Activation, EncoderSpec, LocalLayers};

/// The file of the keys.
pub(super) const FILE: &str = "config.json";

/// A larger size means a damaged or hostile file.
const MAX_SIZE: usize = 1 << 24;

/// `config.json` of a model.
pub(super) struct Config<'f> {
    pub files: &'f ModelFiles,
}

impl Config<'_> {
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        required_json(self.files, FILE)
    }

    /// As [`Config::parse`], for keys that have an older name as well: `(older, own)`. The own one counts if both are
    /// there, as after transformers has saved a model that it knows under its own names.
    pub fn parse_renamed<T: DeserializeOwned>(&self, names: &[(&str, &str)]) -> Result<T> {
        let mut keys: Map<String, Value> = required_json(self.files, FILE)?;
        for (older, own) in names {
            let older = keys.remove(*older);
            if keys.get(*own).is_none_or(Value::is_null) {
                keys.extend(older.map(|value| ((*own).to_owned(), value)));
            }
        }
        from_json(self.files, FILE, Value::Object(keys))
    }

    /// An error about a key.
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> Error {
        refuse(self.files, FILE, key).with(message.into())
    }

    pub fn damaged(&self, key: &str, message: String) -> Error {
        self.refuse(key, message).advice(DAMAGED)
    }

    /// Refuses a key unless it is absent, null or false.
    pub fn refuse_if(&self, key: &str, is_set: Option<bool>, what: &str) -> Result<()> {
        match is_set {
            Some(true) => Err(self.refuse(key, format!("is true: {what} not supported"))),
            _ => Ok(()),
        }
    }

    /// Refuses a key unless it is absent or null.
    pub fn refuse_value(&self, key: &str, value: &Option<serde_json::Value>) -> Result<()> {
        match value {
            None | Some(serde_json::Value::Null) => Ok(()),
            Some(value) => {
                Err(self.refuse(key, format!("{} is not supported", quote(&value.to_string()))))
            }
        }
    }

    pub fn activation(&self, key: &str, name: &str) -> Result<Activation> {
        Ok(match name {
            "gelu" | "gelu_python" => Activation::Gelu,
            // One formula under the names of its several implementations.
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast"
            | "gelu_accurate" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            other => {
                let message = format!(
                    "{} is not supported; gelu, gelu_new, gelu_pytorch_tanh, relu and silu are",
                    quote(other)
                );
                return Err(self.refuse(key, message));
            }
        })
    }

    pub fn size(&self, key: &str, size: usize) -> Result<usize> {
        match (1..=MAX_SIZE).contains(&size) {
            true => Ok(size),
            false => Err(self.damaged(key, format!("is {size}, out of range 1 to {MAX_SIZE}"))),
        }
    }

    /// The size of a head that is a share of a token vector.
    pub fn head_size(&self, hidden: (&str, usize), heads: (&str, usize)) -> Result<usize> {
        match hidden.1.is_multiple_of(heads.1) {
            true => Ok(hidden.1 / heads.1),
            false => {
                let message =
                    format!("is {}, which does not divide `{}` {}", heads.1, hidden.0, hidden.1);
                Err(self.damaged(heads.0, message))
            }
        }
    }

    pub fn epsilon(&self, key: &str, epsilon: f64) -> Result<f64> {
        match epsilon > 0.0 && epsilon < 1.0 {
            true => Ok(epsilon),
            false => Err(self.damaged(key, format!("is {epsilon}, not between 0 and 1"))),
        }
    }

    pub fn theta(&self, key: &str, theta: f64) -> Result<f64> {
        match theta > 1.0 && theta.is_finite() {
            true => Ok(theta),
            false => Err(self.damaged(key, format!("is {theta}, not a number above 1"))),
        }
    }

    /// Checks what the forward pass relies on, whatever the architecture.
    pub fn check(&self, spec: &EncoderSpec) -> Result<()> {
        let attention = &spec.attention;
        if attention.key_heads == 0 || !attention.heads.is_multiple_of(attention.key_heads) {
            let (heads, keys) = (attention.heads, attention.key_heads);
            let message =
                format!("is {keys}, which does not divide the {heads} heads of the queries");
            return Err(self.damaged("num_key_value_heads", message));
        }
        let rotates = attention.full.theta.or(attention.local.theta).is_some();
        if rotates && !attention.head_size.is_multiple_of(2) {
            let message =
                format!("is {}: rotary embeddings need an even size", attention.head_size);
            return Err(self.damaged("head_dim", message));
        }
        for (key, size) in [
            ("hidden_size", spec.hidden),
            ("head_dim", attention.head_size),
            ("num_attention_heads", attention.heads),
            ("intermediate_size", spec.feed_forward.width),
        ] {
            self.size(key, size)?;
        }
        if !(attention.divisor > 0.0 && attention.divisor.is_finite()) {
            let message = format!("is {}, not a number above 0", attention.divisor);
            return Err(self.damaged("query_pre_attn_scalar", message));
        }
        if spec.max_tokens < 3 {
            let message = "leaves no room for a text".to_owned();
            return Err(self.damaged("max_position_embeddings", message));
        }
        match &attention.local_layers {
            LocalLayers::Listed(flags) if flags.len() != spec.layers => {
                let message = format!("lists {} layers of {}", flags.len(), spec.layers);
                Err(self.damaged("layer_types", message))
            }
            _ => Ok(()),
        }
    }

    /// The layers that `layer_types` calls local.
    pub fn local_layers(&self, types: &[String]) -> Result<LocalLayers> {
        let is_local = |kind: &String| match kind.as_str() {
            "full_attention" => Ok(false),
            "sliding_attention" => Ok(true),
            other => Err(self.refuse("layer_types", format!("{} is not supported", quote(other)))),
        };
        Ok(LocalLayers::Listed(types.iter().map(is_local).collect::<Result<_>>()?))
    }
}

/// `rope_parameters`, as transformers 5 writes it: for all layers, or by their kind.
#[derive(Debug, Deserialize, Default)]
pub(super) struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    // Its name before it was `rope_type`.
    #[serde(rename = "type")]
    old_type: Option<String>,
    partial_rotary_factor: Option<f64>,
    full_attention: Option<Box<RopeParameters>>,
    sliding_attention: Option<Box<RopeParameters>>,
}

/// θ of `rope_parameters`, where it says so.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Thetas {
    pub all: Option<f64>,
    pub full: Option<f64>,
    pub local: Option<f64>,
}

impl RopeParameters {
    /// θ of all layers, of full and of local ones.
    pub fn thetas(&self, config: &Config<'_>) -> Result<Thetas> {
        const KEY: &str = "rope_parameters";
        let theta = |of: Option<&RopeParameters>| -> Result<Option<f64>> {
            let Some(of) = of else { return Ok(None) };
            let kind = of.rope_type.as_deref().or(of.old_type.as_deref());
            if let Some(kind) = kind.filter(|kind| *kind != "default") {
                let message =
                    format!("the type {} is not supported; only \"default\" is", quote(kind));
                return Err(config.refuse(KEY, message));
            }
            if of.partial_rotary_factor.is_some_and(|factor| factor != 1.0) {
                return Err(config.refuse(KEY, "a partial rotation is not supported"));
            }
            of.rope_theta.map(|theta| config.theta(KEY, theta)).transpose()
        };
        Ok(Thetas {
            all: theta(Some(self))?,
            full: theta(self.full_attention.as_deref())?,
            local: theta(self.sliding_attention.as_deref())?,
        })
    }
}
