//! Where a long text may be cut before it is tokenized.
//!
//! A model reads 256 tokens; a 10 MB text has millions. Tokenizing all of it to throw it away costs seconds, so
//! only a prefix is tokenized, doubled until it has enough tokens. That gives the same ids as the whole text
//! if no token of the prefix depends on what follows the cut. BERT's tokenizer makes this easy to know: it
//! splits at white space, at every ASCII punctuation mark and around every CJK ideograph, and tokens never
//! reach across a split. A cut right before such a character is therefore safe, unless the character may
//! belong to an added token such as `[SEP]`, which is matched before anything is split.

use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// The first prefix has this many bytes for each token that the model takes: most texts need 3 to 5.
pub const BYTES_PER_TOKEN: usize = 16;

/// The characters before which a text may be cut.
pub struct Boundaries {
    /// Characters of added tokens, and others that tie what precedes them to what follows.
    reserved: Vec<char>,
    ideographs: bool,
}

impl Boundaries {
    /// `None` where the tokenizer is not BERT's, or has an added token that looks at its neighbours. `lower_case`
    /// says whether the text is lower-cased before the tokenizer sees it.
    pub fn of(tokenizer: &Tokenizer, lower_case: bool) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return None;
        };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        // A capital sigma becomes ς at the end of a word and σ elsewhere, and Unicode lets these marks stand
        // within a word (they are case-ignorable): what follows one decides about the letter before it.
        let mut reserved: Vec<char> =
            if lower_case { "'.:^`".chars().collect() } else { Vec::new() };
        for token in tokenizer.get_added_tokens_decoder().values() {
            if token.single_word
                || token.content.chars().any(|c| c.is_whitespace() || !c.is_ascii())
            {
                return None;
            }
            reserved.extend(token.content.chars());
        }
        Some(Boundaries { reserved, ideographs: normalizer.handle_chinese_chars })
    }

    /// The end of a prefix of about `length` bytes: the last safe cut before that, or else the first one after
    /// it, or else the whole text.
    pub fn cut(&self, text: &str, length: usize) -> usize {
        if length >= text.len() {
            return text.len();
        }
        let middle = (0..=length).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = text[..middle].char_indices().rev().find(|(_, c)| self.may_precede(*c));
        let after = || text[middle..].char_indices().find(|(_, c)| self.may_precede(*c));
        match before.filter(|(at, _)| *at > 0) {
            Some((at, _)) => at,
            None => after().map_or(text.len(), |(at, _)| middle + at),
        }
    }

    /// Whether a cut may precede this character.
    fn may_precede(&self, c: char) -> bool {
        // The normalizer deletes control characters before it looks for white space, all but these three.
        let space = matches!(c, '\t' | '\n' | '\r') || (c.is_whitespace() && !c.is_control());
        let mark = c.is_ascii_punctuation() && !self.reserved.contains(&c);
        space || mark || (self.ideographs && is_ideograph(c))
    }
}

/// The CJK Unified Ideographs block, the largest of those around which BERT puts spaces.
fn is_ideograph(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c)
}
