//! The pooling of a model, in every spelling that sentence-transformers reads.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::model::json::{DAMAGED, quote, refuse, required_json};
use crate::model::source::ModelFiles;
use crate::model::spec::{PoolingSpec, TokenPooling, name};

/// Every pooling, in the order in which sentence-transformers puts the results of several flags.
const ALL: [TokenPooling; 6] = [
    TokenPooling::Cls,
    TokenPooling::Max,
    TokenPooling::Mean,
    TokenPooling::MeanSqrtLen,
    TokenPooling::WeightedMean,
    TokenPooling::LastToken,
];

#[derive(Deserialize)]
struct PoolingConfig {
    word_embedding_dimension: Option<usize>,
    /// Its name since version 6, which may stand beside the older one.
    embedding_dimension: Option<usize>,
    pooling_mode: Option<Value>,
    pooling_mode_cls_token: Option<bool>,
    pooling_mode_mean_tokens: Option<bool>,
    pooling_mode_max_tokens: Option<bool>,
    pooling_mode_mean_sqrt_len_tokens: Option<bool>,
    pooling_mode_weightedmean_tokens: Option<bool>,
    pooling_mode_lasttoken: Option<bool>,
    include_prompt: Option<bool>,
}

/// Reads the pooling of a model whose token vectors have `hidden` components.
pub(super) fn read(files: &ModelFiles, directory: &str, hidden: usize) -> Result<PoolingSpec> {
    let file = format!("{directory}/config.json");
    let config: PoolingConfig = required_json(files, &file)?;
    for (key, width) in [
        ("word_embedding_dimension", config.word_embedding_dimension),
        ("embedding_dimension", config.embedding_dimension),
    ] {
        if let Some(width) = width.filter(|width| *width != hidden) {
            return Err(refuse(files, &file, key)
                .with(format!("is {width}, but the token vectors of config.json have {hidden}"))
                .advice(DAMAGED));
        }
    }
    let refuse_mode = |mode: &str| {
        let all = ALL.map(name).join(", ");
        refuse(files, &file, "pooling_mode").with(format!("{mode} is not supported; {all} are"))
    };
    let modes: Vec<&str> = match &config.pooling_mode {
        Some(Value::String(mode)) => vec![mode],
        Some(Value::Array(modes)) => {
            let texts: Option<Vec<&str>> = modes.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| refuse_mode("a list of anything but names"))?
        }
        Some(other) => return Err(refuse_mode(&quote(&other.to_string()))),
        None => config.flags(),
    };
    let known = |mode: &&str| ALL.into_iter().find(|known| name(*known) == *mode);
    let modes = modes.iter().map(|mode| known(mode).ok_or_else(|| refuse_mode(&quote(mode))));
    let mut modes: Vec<TokenPooling> = modes.collect::<Result<_>>()?;
    if modes.is_empty() {
        // As in sentence-transformers.
        modes.push(TokenPooling::Mean);
    }
    Ok(PoolingSpec { modes, include_prompt: config.include_prompt.unwrap_or(true) })
}

impl PoolingConfig {
    /// The names of the poolings whose flags are true.
    fn flags(&self) -> Vec<&'static str> {
        let flags = [
            self.pooling_mode_cls_token,
            self.pooling_mode_max_tokens,
            self.pooling_mode_mean_tokens,
            self.pooling_mode_mean_sqrt_len_tokens,
            self.pooling_mode_weightedmean_tokens,
            self.pooling_mode_lasttoken,
        ];
        let set = ALL.into_iter().zip(flags).filter(|(_, flag)| *flag == Some(true));
        set.map(|(pooling, _)| name(pooling)).collect()
    }
}
