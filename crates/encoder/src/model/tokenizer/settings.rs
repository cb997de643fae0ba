//! The settings outside of `tokenizer.json` that transformers and sentence-transformers lay over it.

use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as Steps;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

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
    if let Some(words) = settings.words {
        if !words.keeps_normalizer {
            let own = tokenizer.get_normalizer().and_then(precompiled);
            tokenizer.with_normalizer(own)?;
        }
        let scheme = match words.is_first_marked {
            true => PrependScheme::Always,
            false => PrependScheme::Never,
        };
        let steps: Vec<PreTokenizerWrapper> =
            vec![WhitespaceSplit.into(), Metaspace::new('▁', scheme, true).into()];
        tokenizer.with_pre_tokenizer(Some(Steps::new(steps)));
    }
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

/// The table of characters of a Unigram model, which transformers keeps of its normalizer.
fn precompiled(normalizer: &NormalizerWrapper) -> Option<NormalizerWrapper> {
    match normalizer {
        NormalizerWrapper::Precompiled(_) => Some(normalizer.clone()),
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().find_map(precompiled),
        _ => None,
    }
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
    let Some([first, last]) = &settings.frame else { return Ok(()) };
    let Ok(empty) = tokenizer.encode_fast("", true) else { return Ok(()) };
    let ids = empty.get_ids();
    for ((key, token), found) in [(first, ids.first()), (last, ids.last())] {
        let found = match found {
            Some(id) if tokenizer.token_to_id(token) == Some(*id) => continue,
            Some(id) => quote(&tokenizer.id_to_token(*id).unwrap_or_default()),
            None => "no token".to_owned(),
        };
        return Err(refuse(files, TOKENIZER_CONFIG, key)
            .with(format!("is {}, but tokenizer.json puts {found} there", quote(token)))
            .advice("save the tokenizer again with transformers, which makes them agree"));
    }
    Ok(())
}
