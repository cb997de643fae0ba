//! Shortens a long text before it is tokenized, without changing a token id.
//!
//! The tokenizer needs seconds for 10 MB of text, and the model reads its first few hundred tokens.
//! This module copies a text without the characters that cannot change an id, and only as far as
//! needed. Which those are, and why: docs/decisions/0018-long-texts.md.

use std::sync::OnceLock;

use serde::Deserialize;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Tokenizer,
};

/// Shortens texts for one tokenizer.
pub struct Shortener {
    classes: CharClasses,
    /// Added tokens that are matched in the original text.
    added_tokens: Vec<String>,
    /// Whether added tokens are also matched in the normalized text, so that punctuation may be
    /// inside one.
    ends_at_white_space_only: bool,
    /// A longer word is `[UNK]`; `None` if that is not so, or if an added token may be part of a
    /// word.
    max_word_chars: Option<usize>,
}

/// A text with the same tokens as the original text, or with the first of them.
pub struct Shortened {
    pub text: String,
    /// Whether the text has all tokens.
    pub is_complete: bool,
}

impl Shortener {
    /// The shortener for `tokenizer`, which was read from `json`. `None` if it is not BERT's, or if
    /// matching an added token depends on the characters around it.
    pub fn from_tokenizer(tokenizer: &Tokenizer, json: &[u8]) -> Option<Self> {
        let normalizer = tokenizer.get_normalizer().filter(|normalizer| is_bert(normalizer))?;
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        let classes = CharClasses::new(normalizer.clone());
        let mut max_word_chars = match tokenizer.get_model() {
            ModelWrapper::WordPiece(_) => max_word_chars(json),
            _ => None,
        };
        let mut added_tokens = Vec::new();
        let mut ends_at_white_space_only = false;
        for token in tokenizer.get_added_tokens_decoder().into_values() {
            if token.single_word || !token.content.chars().all(|c| c.is_ascii_graphic()) {
                return None;
            }
            let is_isolated = token.content.starts_with(|c| classes.is(c, CharClass::Isolated))
                && token.content.ends_with(|c| classes.is(c, CharClass::Isolated));
            max_word_chars =
                max_word_chars.filter(|max| is_isolated && token.content.len() <= *max);
            if token.normalized {
                ends_at_white_space_only = true;
            } else {
                added_tokens.push(token.content);
            }
        }
        Some(Shortener { classes, added_tokens, ends_at_white_space_only, max_word_chars })
    }

    /// Shortens a text. The result ends at the first possible place after `min_bytes` bytes.
    pub fn shorten(&self, text: &str, min_bytes: usize) -> Shortened {
        let mut short = ShortText::default();
        for (at, c) in text.char_indices() {
            let class = self.classes.class(c);
            if short.text.len() >= min_bytes && self.may_end(&short.text, class, &text[at..]) {
                return Shortened { text: short.text, is_complete: false };
            }
            short.push(c, class, self.max_word_chars);
        }
        Shortened { text: short.text, is_complete: true }
    }

    /// The shortest end of `text` of at least `min_bytes` bytes that has the last tokens of the text;
    /// the whole text if there is none.
    pub fn tail<'a>(&self, text: &'a str, min_bytes: usize) -> &'a str {
        let begins =
            |(at, c): &(usize, char)| text.len() - at >= min_bytes && self.may_split(text, *at, *c);
        text.char_indices().rev().find(begins).map_or(text, |(at, _)| &text[at..])
    }

    /// Whether the tokens of `text` are those of its part before `at`, where `c` is, and those of its
    /// part from there on.
    pub fn may_split(&self, text: &str, at: usize, c: char) -> bool {
        self.may_end(&text[..at], self.classes.class(c), &text[at..])
    }

    /// Whether a character ends a word and is not a token.
    pub fn is_white_space(&self, c: char) -> bool {
        self.classes.is(c, CharClass::WhiteSpace)
    }

    /// Whether `text` may end before `rest`, which begins with a character of this class.
    fn may_end(&self, text: &str, class: CharClass, rest: &str) -> bool {
        let spans_the_end = |token: &String| {
            (1..token.len())
                .any(|at| text.ends_with(&token[..at]) && rest.starts_with(&token[at..]))
        };
        match class {
            CharClass::WhiteSpace => true,
            CharClass::Isolated => {
                !self.ends_at_white_space_only && !self.added_tokens.iter().any(spans_the_end)
            }
            _ => false,
        }
    }
}

/// Whether a normalizer is BERT's, perhaps after one that lower-cases each character.
fn is_bert(normalizer: &NormalizerWrapper) -> bool {
    use NormalizerWrapper::{BertNormalizer, Lowercase, Sequence};
    match normalizer {
        BertNormalizer(_) => true,
        Sequence(all) => matches!(all.as_ref(), [Lowercase(_), BertNormalizer(_)]),
        _ => false,
    }
}

/// The maximum characters of a word that WordPiece looks up. The library does not expose the
/// number.
fn max_word_chars(json: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct File {
        model: WordPiece,
    }
    #[derive(Deserialize)]
    struct WordPiece {
        max_input_chars_per_word: usize,
    }
    serde_json::from_slice::<File>(json).ok().map(|file| file.model.max_input_chars_per_word)
}

/// The shortened text while it is built.
struct ShortText {
    text: String,
    /// Whether the text is empty or ends with white space.
    after_white_space: bool,
    /// The class of the deleted character at the end of the text, if there is one.
    deleted: Option<CharClass>,
    /// Characters of the word at the end of the text.
    word_chars: usize,
    /// Where that word starts in the text.
    word_start: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        ShortText {
            text: String::new(),
            after_white_space: true,
            deleted: None,
            word_chars: 0,
            word_start: 0,
        }
    }
}

impl ShortText {
    fn push(&mut self, c: char, class: CharClass, max_word_chars: Option<usize>) {
        match class {
            CharClass::WhiteSpace => {
                if !self.after_white_space {
                    self.text.push(c);
                }
                (self.after_white_space, self.word_chars) = (true, 0);
            }
            CharClass::Deleted | CharClass::DeletedStarter => {
                let is_unknown_word = max_word_chars.is_some_and(|max| self.word_chars > max);
                let is_needed = match self.deleted {
                    None => true,
                    Some(kept) => kept == CharClass::Deleted && class == CharClass::DeletedStarter,
                };
                if is_needed && !self.after_white_space && !is_unknown_word {
                    self.text.push(c);
                    self.deleted = Some(class);
                }
                return;
            }
            CharClass::Word => {
                if self.word_chars == 0 {
                    self.word_start = self.text.len();
                }
                self.word_chars += 1;
                self.after_white_space = false;
                match max_word_chars {
                    Some(max) if self.word_chars == max + 1 => {
                        self.text.truncate(self.word_start);
                        self.text.extend(std::iter::repeat_n('a', self.word_chars));
                    }
                    Some(max) if self.word_chars > max => {}
                    _ => self.text.push(c),
                }
            }
            CharClass::Isolated | CharClass::Other => {
                self.text.push(c);
                (self.after_white_space, self.word_chars) = (false, 0);
            }
        }
        self.deleted = None;
    }
}

/// How BERT's tokenizer treats a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharClass {
    /// It ends a word and is not a token.
    WhiteSpace,
    /// It is deleted, and accents are sorted across it.
    Deleted,
    /// It is deleted, and accents are not sorted across it: a starter, in Unicode's terms.
    DeletedStarter,
    /// It ends a word and is a token itself: punctuation, an ideograph.
    Isolated,
    /// It becomes one or more characters of a word.
    Word,
    /// Anything else.
    Other,
}

/// The class of each character. The classes of a block are computed when a text has a character of
/// it.
struct CharClasses {
    normalizer: NormalizerWrapper,
    blocks: Vec<OnceLock<Box<[CharClass; BLOCK]>>>,
}

/// Characters of a block.
const BLOCK: usize = 256;

/// Two marks in the wrong order that are not deleted. Unicode's canonical ordering swaps them.
const UNORDERED_MARKS: [char; 2] = ['\u{302E}', '\u{1B44}'];

impl CharClasses {
    fn new(normalizer: NormalizerWrapper) -> Self {
        let blocks = (u32::from(char::MAX) as usize + 1) / BLOCK;
        CharClasses { normalizer, blocks: (0..blocks).map(|_| OnceLock::new()).collect() }
    }

    fn class(&self, c: char) -> CharClass {
        let code = u32::from(c) as usize;
        let block = code / BLOCK;
        self.blocks[block].get_or_init(|| self.classify_block(block))[code % BLOCK]
    }

    fn is(&self, c: char, class: CharClass) -> bool {
        self.class(c) == class
    }

    fn classify_block(&self, block: usize) -> Box<[CharClass; BLOCK]> {
        let character = |at: usize| char::from_u32((block * BLOCK + at) as u32);
        // Most blocks have only unassigned or private characters: one classification for all.
        let all: String = (0..BLOCK).filter_map(character).collect();
        match self.words(format!("a{all}a")).as_deref() {
            Some([word]) if *word == format!("a{all}a") => {
                return Box::new([CharClass::Word; BLOCK]);
            }
            Some([word]) if word == "aa" && self.classify(&all) == CharClass::Deleted => {
                return Box::new([CharClass::Deleted; BLOCK]);
            }
            _ => {}
        }
        Box::new(std::array::from_fn(|at| {
            character(at).map_or(CharClass::Other, |c| self.classify(c.encode_utf8(&mut [0; 4])))
        }))
    }

    /// The class of a character, found by tokenizing it between two letters.
    fn classify(&self, text: &str) -> CharClass {
        let Some(words) = self.words(format!("a{text}a")) else { return CharClass::Other };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["aa"] => {
                let [first, second] = UNORDERED_MARKS;
                let sorted = format!("{second}{first}");
                match self.words(format!("{first}{text}{second}")) {
                    Some(words) if words == [sorted] => CharClass::Deleted,
                    _ => CharClass::DeletedStarter,
                }
            }
            ["a", "a"] => CharClass::WhiteSpace,
            ["a", .., "a"] => CharClass::Isolated,
            [word] if word.len() > 2 && word.starts_with('a') && word.ends_with('a') => {
                CharClass::Word
            }
            _ => CharClass::Other,
        }
    }

    /// The words of a text that the tokenizer looks up.
    fn words(&self, text: String) -> Option<Vec<String>> {
        let mut normalized = NormalizedString::from(text);
        self.normalizer.normalize(&mut normalized).ok()?;
        let mut words = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut words).ok()?;
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Some(words.into_iter().map(|(word, _, _)| word.to_owned()).collect())
    }
}

#[cfg(test)]
mod tests;
