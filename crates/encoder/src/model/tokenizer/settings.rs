//! The settings outside of `tokenizer.json` that transformers and sentence-transformers lay over it.

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer};

use crate::error::Result;
use crate::model::description::{ModelDescription, TOKENIZER_CONFIG};
use crate::model::json::{quote, refuse};
use crate::model::source::ModelFiles;
use crate::model::token_settings::TokenSettings;

/// Applies the settings of a model to its tokenizer.
pub(super) fn apply(
    tokenizer: &mut Tokenizer,
    description: &ModelDescription,
) -> tokenizers::Result<()> {
    let settings = &description.tokens;
    for token in &settings.added {
        let added = AddedToken::from(token.content.clone(), token.special)
            .single_word(token.single_word)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .normalized(token.normalized.unwrap_or(!token.special));
        match token.special {
            true => tokenizer.add_special_tokens([added])?,
            false => tokenizer.add_tokens([added])?,
        };
    }
    tokenizer.set_encode_special_tokens(settings.splits_special_tokens);
    if description.lower_case {
        let own = tokenizer.get_normalizer().cloned();
        if !lower_cases(own.as_ref()) {
            let first = NormalizerWrapper::Lowercase(Lowercase);
            let others = match own {
                None => Vec::new(),
                Some(NormalizerWrapper::Sequence(all)) => all.as_ref().to_vec(),
                Some(own) => vec![own],
            };
            let all = std::iter::once(first).chain(others).collect();
            tokenizer.with_normalizer(Some(Sequence::new(all)))?;
        }
    }
    Ok(())
}

/// Whether a normalizer has the step that sentence-transformers would put before it.
fn lower_cases(normalizer: Option<&NormalizerWrapper>) -> bool {
    match normalizer {
        Some(NormalizerWrapper::Lowercase(_)) => true,
        Some(NormalizerWrapper::Sequence(all)) => {
            all.as_ref().iter().any(|one| matches!(one, NormalizerWrapper::Lowercase(_)))
        }
        _ => false,
    }
}

/// Checks that `tokenizer.json` puts the tokens around a text that transformers would put there.
///
/// # Errors
/// `Model`, naming the key, if it puts others.
pub(super) fn check_frame(
    tokenizer: &Tokenizer,
    files: &ModelFiles,
    settings: &TokenSettings,
) -> Result<()> {
    let [first, last] = &settings.frame;
    if first.is_none() && last.is_none() {
        return Ok(());
    }
    let Ok(empty) = tokenizer.encode_fast("", true) else { return Ok(()) };
    let ids = empty.get_ids();
    for (key, token, found) in [("cls_token", first, ids.first()), ("sep_token", last, ids.last())]
    {
        let (Some(token), Some(found)) = (token, found) else { continue };
        if tokenizer.token_to_id(token) != Some(*found) {
            let found = tokenizer.id_to_token(*found).unwrap_or_default();
            return Err(refuse(files, TOKENIZER_CONFIG, key)
                .with(format!(
                    "is {}, but tokenizer.json puts {} there",
                    quote(token),
                    quote(&found)
                ))
                .advice("save the tokenizer again with transformers, which makes them agree"));
        }
    }
    Ok(())
}
