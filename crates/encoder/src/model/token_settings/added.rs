//! Tokens that are matched as a whole, as transformers gathers them from the files of a model.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::files::{
    ADDED_TOKENS, AddedTokenSpec, SPECIAL_TOKENS, TOKENIZER_CONFIG, TokenizerConfig, list,
    names_token,
};
use super::rebuilt::RebuiltTokenizer;
use crate::error::Result;
use crate::model::json::{json, quote, refuse};
use crate::model::source::ModelFiles;

/// The tokens that transformers adds to those of `tokenizer.json`, or matches otherwise than it says, in its order.
/// `own`: those of `tokenizer.json`.
///
/// # Errors
/// `Model`, naming the token, if `tokenizer.json` has one that transformers would not match.
pub fn added_tokens(
    files: &ModelFiles,
    config: &TokenizerConfig,
    own: &[AddedTokenSpec],
    rebuilt: Option<RebuiltTokenizer>,
) -> Result<Vec<AddedTokenSpec>> {
    // Some models have thousands.
    let by_content: HashMap<&str, &AddedTokenSpec> =
        own.iter().map(|token| (token.content.as_str(), token)).collect();
    let is_as_it_was = |token: &AddedTokenSpec| {
        by_content.get(token.content.as_str()).is_some_and(|known| known.is_same(token))
    };
    let mut added: Vec<AddedTokenSpec> = Vec::new();
    let add = |added: &mut Vec<AddedTokenSpec>, token: AddedTokenSpec| {
        let is_known = by_content.contains_key(token.content.as_str())
            || added.iter().any(|known| known.content == token.content);
        if !is_known {
            added.push(token);
        }
    };
    let mut named: Vec<Value> = Vec::new();
    match &config.added_tokens_decoder {
        // What it says about a token counts more than tokenizer.json.
        Some(tokens) => {
            if let Some(rebuilt) = rebuilt {
                check_own(files, config, own, rebuilt, tokens)?;
            }
            let others = tokens.values().filter(|token| !is_as_it_was(token)).cloned();
            added.extend(others.map(|token| {
                let special = token.special || config.names(&token.content);
                AddedTokenSpec { special, ..token }
            }));
        }
        None => {
            let map: BTreeMap<String, Value> = json(files, SPECIAL_TOKENS)?.unwrap_or_default();
            named.extend(map.into_values());
            let tokens: BTreeMap<String, u32> = json(files, ADDED_TOKENS)?.unwrap_or_default();
            let mut tokens: Vec<(u32, String)> =
                tokens.into_iter().map(|(token, id)| (id, token)).collect();
            tokens.sort();
            for (_, token) in tokens {
                let is_named = named.iter().any(|value| names_token(value, &token));
                let special = is_named || config.names(&token);
                add(&mut added, AddedTokenSpec { special, ..AddedTokenSpec::special(&token) });
            }
        }
    }
    named.extend(config.named().into_iter().flatten().cloned());
    for value in named.iter().flat_map(list) {
        match value {
            Value::String(text) => add(&mut added, AddedTokenSpec::special(text)),
            Value::Object(_) => {
                if let Ok(token) = serde_json::from_value::<AddedTokenSpec>(value.clone()) {
                    add(&mut added, AddedTokenSpec { special: true, ..token });
                }
            }
            _ => {}
        }
    }
    if rebuilt == Some(RebuiltTokenizer::Qwen2) {
        // Its class adds the tokens that have a name once more, by their texts alone.
        let is_named = |token: &str| config.names(token) || RebuiltTokenizer::Qwen2.names(token);
        let is_plain_name = |token: &AddedTokenSpec| {
            by_content.contains_key(token.content.as_str()) && is_named(&token.content)
        };
        added.retain(|token| !is_plain_name(token));
        let plain = own.iter().map(|token| AddedTokenSpec::special(&token.content));
        added.extend(plain.filter(|token| is_named(&token.content) && !is_as_it_was(token)));
    }
    Ok(added)
}

/// Refuses a token of `tokenizer.json` that `added_tokens_decoder` lacks: a tokenizer that transformers builds itself
/// splits it like any other text.
fn check_own(
    files: &ModelFiles,
    config: &TokenizerConfig,
    own: &[AddedTokenSpec],
    rebuilt: RebuiltTokenizer,
    listed: &BTreeMap<u32, AddedTokenSpec>,
) -> Result<()> {
    let listed: HashSet<&str> = listed.values().map(|token| token.content.as_str()).collect();
    let is_matched = |token: &AddedTokenSpec| {
        let is_named = || config.names(&token.content) || rebuilt.names(&token.content);
        listed.contains(token.content.as_str())
            || token.is_same(&AddedTokenSpec::special(&token.content)) && is_named()
    };
    let Some(token) = own.iter().find(|token| !is_matched(token)) else { return Ok(()) };
    Err(refuse(files, TOKENIZER_CONFIG, "added_tokens_decoder")
        .with(format!(
            "lacks {}, which is an added token of tokenizer.json; transformers would split it or match it elsewhere",
            quote(&token.content)
        ))
        .advice("save the tokenizer again with transformers, which lists every token"))
}
