//! What the files of a model say about tokens, as they say it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_json::Value;

/// The file in which transformers keeps most of it.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const CONFIG: &str = "config.json";
pub const ADDED_TOKENS: &str = "added_tokens.json";
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// The settings with which transformers overrides `tokenizer.json`.
#[derive(Deserialize, Default)]
pub struct TokenizerConfig {
    /// transformers writes 1e30 for no limit.
    pub model_max_length: Option<f64>,
    pub tokenizer_class: Option<String>,
    pub do_lower_case: Option<bool>,
    /// Absent or `null`: the same as `do_lower_case`.
    pub strip_accents: Option<bool>,
    pub tokenize_chinese_chars: Option<bool>,
    pub truncation_side: Option<String>,
    pub split_special_tokens: Option<bool>,
    pub add_prefix_space: Option<bool>,
    pub keep_accents: Option<bool>,
    pub added_tokens_decoder: Option<BTreeMap<u32, AddedTokenSpec>>,
    pub additional_special_tokens: Option<Value>,
    pub extra_special_tokens: Option<Value>,
    pub bos_token: Option<Value>,
    pub eos_token: Option<Value>,
    pub unk_token: Option<Value>,
    pub sep_token: Option<Value>,
    pub pad_token: Option<Value>,
    pub cls_token: Option<Value>,
    pub mask_token: Option<Value>,
}

/// The part of `tokenizer.json` that transformers overrides.
#[derive(Deserialize)]
pub struct TokenizerFile {
    pub normalizer: Option<Normalizer>,
    pub pre_tokenizer: Option<Value>,
    pub decoder: Option<Value>,
    pub model: Option<ModelPart>,
    pub truncation: Option<TruncationPart>,
    #[serde(default)]
    pub added_tokens: Vec<AddedTokenSpec>,
}

#[derive(Deserialize)]
pub struct ModelPart {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub unk_token: Option<String>,
    pub continuing_subword_prefix: Option<String>,
    pub end_of_word_suffix: Option<String>,
    pub max_input_chars_per_word: Option<usize>,
    pub byte_fallback: Option<bool>,
}

#[derive(Deserialize)]
pub struct TruncationPart {
    pub direction: Option<String>,
    pub max_length: Option<NonZeroUsize>,
}

#[derive(Deserialize)]
pub struct Normalizer {
    #[serde(rename = "type")]
    pub kind: String,
    pub lowercase: Option<bool>,
    pub strip_accents: Option<bool>,
    pub handle_chinese_chars: Option<bool>,
    pub clean_text: Option<bool>,
    #[serde(default)]
    pub pattern: Value,
    pub content: Option<String>,
    #[serde(default)]
    pub normalizers: Vec<Value>,
}

/// What `config.json` says about the tokenizer, where `tokenizer_config.json` does not.
#[derive(Deserialize)]
pub struct ModelConfigClass {
    pub tokenizer_class: Option<String>,
}

impl TokenizerConfig {
    /// The keys that name special tokens, in the order of transformers.
    pub fn named(&self) -> [Option<&Value>; 9] {
        [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.sep_token,
            &self.pad_token,
            &self.cls_token,
            &self.mask_token,
            &self.additional_special_tokens,
            &self.extra_special_tokens,
        ]
        .map(Option::as_ref)
    }

    /// Whether one of these keys names the token.
    pub fn names(&self, token: &str) -> bool {
        self.named().into_iter().flatten().any(|value| names_token(value, token))
    }
}

/// A token that is matched as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddedTokenSpec {
    /// Its text.
    pub content: String,
    /// Whether it is matched as a word only.
    #[serde(default)]
    pub single_word: bool,
    /// Whether white space before it belongs to it.
    #[serde(default)]
    pub lstrip: bool,
    /// Whether white space after it belongs to it.
    #[serde(default)]
    pub rstrip: bool,
    /// Whether it is matched in the normalized text; `None`: unless it is special.
    pub normalized: Option<bool>,
    /// Whether it is no text.
    #[serde(default)]
    pub special: bool,
}

impl AddedTokenSpec {
    /// A special token as transformers makes it of its text alone.
    pub fn special(content: &str) -> Self {
        AddedTokenSpec {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }

    fn is_normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }

    /// Whether both match the same places of any text.
    pub fn is_same(&self, other: &Self) -> bool {
        let parts = |token: &Self| {
            [token.single_word, token.lstrip, token.rstrip, token.special, token.is_normalized()]
        };
        self.content == other.content && parts(self) == parts(other)
    }

    /// What of it is part of a model's identity.
    pub fn in_identity(&self) -> String {
        let flags = [self.single_word, self.lstrip, self.rstrip, self.special];
        let flags = flags.map(|flag| if flag { '1' } else { '0' }).iter().collect::<String>();
        format!("added {:?} {flags}{}", self.content, u8::from(self.is_normalized()))
    }
}

/// The values of a key that may be one token or several.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(map) if !map.contains_key("content") => map.values().collect(),
        one => vec![one],
    }
}

/// The text of a token.
pub fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Whether the value of a key is this token, or has it.
pub fn names_token(value: &Value, token: &str) -> bool {
    list(value).into_iter().any(|value| content(value) == Some(token))
}
