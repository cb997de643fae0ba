//! The pooling of a model, in every spelling that sentence-transformers reads.

use serde::Deserialize;

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
    #[serde(alias = "embedding_dimension")]
    word_embedding_dimension: Option<usize>,
    pooling_mode: Option<PoolingMode>,
    pooling_mode_cls_token: Option<bool>,
    pooling_mode_mean_tokens: Option<bool>,
    pooling_mode_max_tokens: Option<bool>,
    pooling_mode_mean_sqrt_len_tokens: Option<bool>,
    pooling_mode_weightedmean_tokens: Option<bool>,
    pooling_mode_lasttoken: Option<bool>,
    include_prompt: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PoolingMode {
    One(String),
    Several(Vec<String>),
}

/// Reads the pooling of a model whose token vectors have `hidden` components.
pub(super) fn read(files: &ModelFiles, directory: &str, hidden: usize) -> Result<PoolingSpec> {
    let file = format!("{directory}/config.json");
    let config: PoolingConfig = required_json(files, &file)?;
    if let Some(width) = config.word_embedding_dimension.filter(|width| *width != hidden) {
        return Err(refuse(files, &file, "word_embedding_dimension")
            .with(format!("is {width}, but the token vectors of config.json have {hidden}"))
            .advice(DAMAGED));
    }
    let modes = match &config.pooling_mode {
        Some(PoolingMode::One(mode)) => vec![mode.as_str()],
        Some(PoolingMode::Several(modes)) => modes.iter().map(String::as_str).collect(),
        None => config.flags(),
    };
    let known = |mode: &&str| ALL.into_iter().find(|known| name(*known) == *mode);
    let modes = modes.iter().map(|mode| {
        known(mode).ok_or_else(|| {
            let all = ALL.map(name).join(", ");
            refuse(files, &file, "pooling_mode")
                .with(format!("{} is not supported; {all} are", quote(mode)))
        })
    });
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
