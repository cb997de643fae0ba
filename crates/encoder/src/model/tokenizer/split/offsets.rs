//! Where the tokens of a slice begin in its text, which is not the text that the tokenizer sees.

use std::str::CharIndices;

use tokenizers::{Model, OffsetType, PostProcessor, PreTokenizer};

use super::super::{TextTokenizer, failed};
use super::words::TokenStart;
use crate::error::Result;

impl TextTokenizer {
    /// Encodes a slice of a text, without prompt, special tokens and truncation, and returns where
    /// its tokens begin in it, in order.
    pub(in crate::model::tokenizer) fn encode_slice(&self, slice: &str) -> Result<Vec<TokenStart>> {
        match self.lower_case {
            true => {
                let mut offsets = LowerCaseOffsets::new(slice);
                let mut tokens = self.encode_as_is(&slice.to_lowercase())?;
                tokens.iter_mut().for_each(|token| token.at = offsets.original(token.at));
                Ok(tokens)
            }
            false => self.encode_as_is(slice),
        }
    }

    fn encode_as_is(&self, text: &str) -> Result<Vec<TokenStart>> {
        // These are the steps of `Tokenizer::encode`, which always truncates.
        let tokenizer = &self.tokenizer;
        let mut words = tokenizer
            .get_added_vocabulary()
            .extract_and_normalize(tokenizer.get_normalizer(), text);
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
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }
}

/// Finds the characters of a text at positions in its lower case, which may have another length:
/// that of `İ` is longer, that of the Kelvin sign shorter.
struct LowerCaseOffsets<'t> {
    chars: CharIndices<'t>,
    /// The position of the last character.
    at: usize,
    /// Where its lower case ends.
    end: usize,
}

impl<'t> LowerCaseOffsets<'t> {
    fn new(text: &'t str) -> Self {
        LowerCaseOffsets { chars: text.char_indices(), at: 0, end: 0 }
    }

    /// Where the character begins whose lower case has the byte at `lower`. Call it with ascending
    /// positions.
    fn original(&mut self, lower: usize) -> usize {
        while self.end <= lower {
            let Some((at, c)) = self.chars.next() else { return self.chars.offset() };
            // The length does not depend on the characters around it.
            let length: usize = c.to_lowercase().map(char::len_utf8).sum();
            (self.at, self.end) = (at, self.end + length);
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_in_lower_case_are_those_of_the_characters() {
        for (text, expected) in [
            ("", &[0][..]),
            ("aB", &[0, 1, 2]),
            // Two bytes become three.
            ("İa", &[0, 0, 0, 2, 3]),
            // Three bytes become one.
            ("\u{212a}a", &[0, 3, 4]),
            ("ΑΣ a", &[0, 0, 2, 2, 4, 5, 6]),
        ] {
            let mut offsets = LowerCaseOffsets::new(text);
            let found: Vec<usize> =
                (0..=text.to_lowercase().len()).map(|at| offsets.original(at)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
