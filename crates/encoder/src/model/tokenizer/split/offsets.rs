//! Where the tokens of a slice begin in its text.

use tokenizers::{Model, OffsetType, PostProcessor, PreTokenizer};

use super::super::{TextTokenizer, failed};
use super::words::TokenStart;
use crate::error::Result;

impl TextTokenizer {
    /// Encodes a slice of a text, without prompt, special tokens and truncation, and returns where
    /// its tokens begin in it, in order.
    pub(in crate::model::tokenizer) fn encode_slice(&self, slice: &str) -> Result<Vec<TokenStart>> {
        // These are the steps of `Tokenizer::encode`, which always truncates.
        let tokenizer = &self.tokenizer;
        let mut words = tokenizer
            .get_added_vocabulary()
            .extract_and_normalize(tokenizer.get_normalizer(), slice);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words).map_err(failed)?;
        }
        tokenizer.get_model().tokenize_in_pretokenized(&mut words, None).map_err(failed)?;
        let encoding = words.into_encoding(None, 0, OffsetType::Byte).map_err(failed)?;
        let mut word = None;
        let tokens = encoding.get_offsets().iter().zip(encoding.get_word_ids());
        let starts = tokens.map(|((at, _), id)| {
            let begins_word = word != Some(*id);
            word = Some(*id);
            TokenStart { at: *at, begins_word }
        });
        Ok(starts.collect())
    }

    /// The number of special tokens that every text gets.
    pub(in crate::model::tokenizer) fn special_tokens(&self) -> usize {
        let processor = self.tokenizer.get_post_processor().filter(|_| self.adds_special);
        processor.map_or(0, |processor| processor.added_tokens(false))
    }
}
