//! What files beside `tokenizer.json` say about tokens, as transformers reads it.

mod added;
mod files;
mod rebuilt;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde_json::Value;

use super::architecture::Architecture;
use super::config::Truncation;
use super::json::{json, quote, refuse};
use super::source::ModelFiles;
use crate::error::Result;
use added::added_tokens;
pub(super) use files::TokenizerConfig;
pub use files::{AddedTokenSpec, TOKENIZER_CONFIG};
use files::{CONFIG, ModelConfigClass, SPECIAL_TOKENS, TOKENIZER, TokenizerFile, content};
use rebuilt::{RebuiltTokenizer, check_normalizer, has_piece_words};

/// What files beside `tokenizer.json` say about tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// Tokens that `tokenizer.json` does not have, in the order in which they get their ids, and those of which it says
    /// something else.
    pub added: Vec<AddedTokenSpec>,
    /// Whether a special token in a text is split like any other text.
    pub splits_special_tokens: bool,
    /// The first and the last token of every text, with their keys, where transformers puts them there itself.
    pub frame: Option<[(&'static str, String); 2]>,
    /// Whether a text that is too long loses its start.
    pub cuts_start: bool,
    /// How transformers splits a text into words in front of a Unigram model, where `tokenizer.json` says otherwise.
    pub words: Option<PieceWords>,
    /// Tokens to which `tokenizer.json` truncates a text.
    file_length: Option<NonZeroUsize>,
}

/// Words as XLM-RoBERTa's, CamemBERT's and ALBERT's tokenizers have them: split at white space, with a `▁` before each, or before
/// none that begins a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceWords {
    /// Whether the first word has a `▁`.
    pub is_first_marked: bool,
    /// Whether the normalizer is that of `tokenizer.json`; else, its table of characters alone.
    pub keeps_normalizer: bool,
}

/// Reads what the files of a model say about tokens.
///
/// # Errors
/// `Model`, naming file and key, if transformers would follow a setting that reembed cannot.
pub(super) fn read(
    files: &ModelFiles,
    config: &TokenizerConfig,
    architecture: Architecture,
) -> Result<TokenSettings> {
    let Some(file) = json::<TokenizerFile>(files, TOKENIZER)? else {
        return Ok(TokenSettings::default());
    };
    let named: Option<ModelConfigClass> = json(files, CONFIG)?;
    let class = config.tokenizer_class.clone().or_else(|| named?.tokenizer_class);
    let rebuilt = RebuiltTokenizer::of(class.as_deref(), architecture, &file);
    // Where there is no list of all tokens, transformers reads it, and it counts more than the configuration.
    let named: BTreeMap<String, Value> = match config.added_tokens_decoder {
        Some(_) => BTreeMap::new(),
        None => json(files, SPECIAL_TOKENS)?.unwrap_or_default(),
    };
    let token = |own: &Option<Value>, key: &'static str, default: &str| {
        let token = named.get(key).or(own.as_ref()).and_then(content);
        (key, token.unwrap_or(default).to_owned())
    };
    if let Some(rebuilt) = rebuilt {
        let (_, unknown) = token(&config.unk_token, "unk_token", rebuilt.unknown());
        rebuilt.check(files, config, &file, &unknown)?;
    }
    let is_bert = rebuilt.is_some_and(RebuiltTokenizer::is_bert);
    check_normalizer(files, config, is_bert, file.normalizer.as_ref())?;
    let is_first_marked = config.add_prefix_space.unwrap_or(true);
    let of_pieces = [RebuiltTokenizer::Pieces, RebuiltTokenizer::Albert];
    let words = rebuilt
        .filter(|rebuilt| of_pieces.contains(rebuilt))
        .filter(|rebuilt| !has_piece_words(*rebuilt, &file, is_first_marked))
        .map(|rebuilt| PieceWords {
            is_first_marked,
            keeps_normalizer: rebuilt == RebuiltTokenizer::Albert,
        });
    let side = config
        .truncation_side
        .as_deref()
        .or_else(|| file.truncation.as_ref()?.direction.as_deref());
    let cuts_start = match side.map(str::to_ascii_lowercase).as_deref() {
        None | Some("right") => false,
        Some("left") => true,
        Some(other) => {
            return Err(refuse(files, TOKENIZER_CONFIG, "truncation_side")
                .with(format!("{} is not supported; left and right are", quote(other))));
        }
    };
    let frame = rebuilt.and_then(|rebuilt| match rebuilt {
        RebuiltTokenizer::Bert | RebuiltTokenizer::Albert => Some([
            token(&config.cls_token, "cls_token", "[CLS]"),
            token(&config.sep_token, "sep_token", "[SEP]"),
        ]),
        RebuiltTokenizer::Herbert | RebuiltTokenizer::Mpnet | RebuiltTokenizer::Roberta => Some([
            token(&config.cls_token, "cls_token", "<s>"),
            token(&config.sep_token, "sep_token", "</s>"),
        ]),
        RebuiltTokenizer::Pieces => Some([
            token(&config.bos_token, "bos_token", "<s>"),
            token(&config.eos_token, "eos_token", "</s>"),
        ]),
        // They keep the frame of tokenizer.json.
        RebuiltTokenizer::Qwen2 | RebuiltTokenizer::Gemma | RebuiltTokenizer::Other => None,
    });
    Ok(TokenSettings {
        added: if files.is_static {
            Vec::new()
        } else {
            added_tokens(files, config, &file.added_tokens, rebuilt)?
        },
        splits_special_tokens: config.split_special_tokens.unwrap_or(false),
        frame,
        words,
        cuts_start,
        file_length: file.truncation.and_then(|truncation| truncation.max_length),
    })
}

impl TokenSettings {
    /// The maximum length of a model that has its tokenizer's: that of `tokenizer.json`, and at most `max`.
    pub(super) fn file_length(&self, max: usize) -> NonZeroUsize {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        self.file_length.map_or(max, |length| length.min(max))
    }

    /// What a text loses that is too long, unless the user chose.
    pub(super) fn truncation(&self, chosen: Truncation) -> Truncation {
        match chosen {
            Truncation::End if self.cuts_start => Truncation::Start,
            other => other,
        }
    }

    /// What of it changes ids and is in no file that identifies a model; `None`: nothing.
    /// `lower_case`: a text is converted to lower case first.
    pub(super) fn in_identity(&self, lower_case: bool) -> Option<String> {
        let added = self.added.iter().map(AddedTokenSpec::in_identity);
        let split = self.splits_special_tokens.then(|| "special tokens are split".to_owned());
        // Version 0.1 converted special tokens too, so its vectors may differ.
        let lower = lower_case.then(|| "lower case after special tokens".to_owned());
        let words = self.words.map(|words| {
            let mark = if words.is_first_marked { "" } else { ", the first unmarked" };
            format!("words are split at white space{mark}")
        });
        let all: Vec<String> = added.chain(split).chain(lower).chain(words).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_what_changes_ids_and_nothing_else() {
        let plain = TokenSettings { cuts_start: true, ..TokenSettings::default() };
        assert_eq!(plain.in_identity(false), None);
        let added = vec![AddedTokenSpec { lstrip: true, ..AddedTokenSpec::special("[ENT]") }];
        let all = TokenSettings { added, splits_special_tokens: true, ..plain };
        assert_eq!(
            all.in_identity(true).as_deref(),
            Some(
                "added \"[ENT]\" 01010; special tokens are split; lower case after special tokens"
            )
        );
    }
}
