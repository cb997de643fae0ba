//! Makes a long text short before it is tokenized, without changing a token.
//!
//! A model reads 256 tokens. A text of 10 MB may hold a million of them, or, if it is one word or blanks, a single
//! one or none, and the tokenizer spends seconds on either. So a long text is copied here, without what cannot
//! matter, until there is enough of it for the tokens that the model reads.
//!
//! What cannot matter follows from how BERT's tokenizer works. It looks for added tokens such as `[SEP]`; deletes
//! control characters, puts spaces around ideographs, decomposes letters and deletes accents; splits at white
//! space and around punctuation; and looks each word up in its vocabulary, or gives `[UNK]` for one of more than
//! 100 characters. Each character is dealt with alone, but for two things: accents next to each other are sorted
//! while letters are decomposed, and added tokens are matched in the text as it stands. Therefore:
//!
//! - **Of blanks in a row one is as good as all.** No added token holds a blank.
//! - **Of characters in a row that are deleted, two are as good as all**: one keeps what stands around it from
//!   becoming an added token, and one that sorting does not pass keeps accents around it in their order. After a
//!   blank none of this is needed, and none is kept.
//! - **A word of too many letters is as good as any other such word.** It is not inside an added token if
//!   these begin and end in punctuation and are shorter than it.
//! - **A text may end before a blank, a punctuation mark or an ideograph**, if no added token reaches across:
//!   what comes before has the same tokens whatever follows.
//!
//! What a character is, is not told by tables of our own: the tokenizer is asked what it makes of it.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::Deserialize;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Tokenizer,
};

/// Shortens texts for one tokenizer.
pub struct Shortener {
    characters: Characters,
    /// Added tokens that are matched in the text as it is.
    added: Vec<String>,
    /// Others are matched after characters were deleted: punctuation may be inside of one, whatever stands there.
    ends_at_blanks_only: bool,
    /// A word of more letters is `[UNK]`; `None` where that is not so, or an added token may be part of a word.
    most_letters: Option<usize>,
}

/// A text that has the same tokens as another, or the first of them.
pub struct Shortened {
    pub text: String,
    /// Whether it has all tokens.
    pub is_whole: bool,
}

impl Shortener {
    /// The shortener for the tokenizer that `json` was read into. `None` where it is not BERT's, or has an added
    /// token that looks at its neighbours.
    pub fn of(tokenizer: &Tokenizer, json: &[u8]) -> Option<Self> {
        let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else {
            return None;
        };
        let Some(PreTokenizerWrapper::BertPreTokenizer(_)) = tokenizer.get_pre_tokenizer() else {
            return None;
        };
        let characters = Characters::of(*normalizer);
        let mut most_letters = match tokenizer.get_model() {
            ModelWrapper::WordPiece(_) => most_letters(json),
            _ => None,
        };
        let mut added = Vec::new();
        let mut ends_at_blanks_only = false;
        for token in tokenizer.get_added_tokens_decoder().into_values() {
            if token.single_word || !token.content.chars().all(|c| c.is_ascii_graphic()) {
                return None;
            }
            let stands_alone = token.content.starts_with(|c| characters.is(c, Kind::Alone))
                && token.content.ends_with(|c| characters.is(c, Kind::Alone));
            most_letters = most_letters.filter(|most| stands_alone && token.content.len() <= *most);
            if token.normalized {
                ends_at_blanks_only = true;
            } else {
                added.push(token.content);
            }
        }
        Some(Shortener { characters, added, ends_at_blanks_only, most_letters })
    }

    /// The text that the pieces make together, shortened. It ends early, at the first place where it may, once
    /// it has `enough` bytes.
    pub fn shorten<'a>(
        &self,
        pieces: impl Iterator<Item = Cow<'a, str>>,
        enough: usize,
    ) -> Shortened {
        let mut short = Copy::default();
        for piece in pieces {
            for (at, c) in piece.char_indices() {
                let kind = self.characters.kind(c);
                if short.text.len() >= enough && self.may_end(&short.text, kind, &piece[at..]) {
                    return Shortened { text: short.text, is_whole: false };
                }
                short.push(c, kind, self.most_letters);
            }
        }
        Shortened { text: short.text, is_whole: true }
    }

    /// Whether a text may end before `rest`, which begins with a character of this kind.
    fn may_end(&self, text: &str, kind: Kind, rest: &str) -> bool {
        let reaches_across = |token: &String| {
            (1..token.len())
                .any(|at| text.ends_with(&token[..at]) && rest.starts_with(&token[at..]))
        };
        match kind {
            Kind::Blank => true,
            Kind::Alone => !self.ends_at_blanks_only && !self.added.iter().any(reaches_across),
            _ => false,
        }
    }
}

/// The longest word, in characters, that WordPiece looks up. The library keeps the number to itself.
fn most_letters(json: &[u8]) -> Option<usize> {
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

/// A text while it is copied.
struct Copy {
    text: String,
    /// Nothing but a blank, or nothing at all, stands before.
    after_blank: bool,
    /// What stands of deleted characters in a row.
    deleted: Option<Kind>,
    /// Letters of the word that goes on here, and where it begins in the text.
    letters: usize,
    word: usize,
}

impl Default for Copy {
    fn default() -> Self {
        Copy { text: String::new(), after_blank: true, deleted: None, letters: 0, word: 0 }
    }
}

impl Copy {
    fn push(&mut self, c: char, kind: Kind, most_letters: Option<usize>) {
        match kind {
            Kind::Blank => {
                if !self.after_blank {
                    self.text.push(c);
                }
                (self.after_blank, self.letters) = (true, 0);
            }
            Kind::Deleted | Kind::Divider => {
                let is_unknown_word = most_letters.is_some_and(|most| self.letters > most);
                let is_new = match self.deleted {
                    None => true,
                    Some(kept) => kept == Kind::Deleted && kind == Kind::Divider,
                };
                if is_new && !self.after_blank && !is_unknown_word {
                    self.text.push(c);
                    self.deleted = Some(kind);
                }
                return;
            }
            Kind::Letter => {
                if self.letters == 0 {
                    self.word = self.text.len();
                }
                self.letters += 1;
                self.after_blank = false;
                match most_letters {
                    Some(most) if self.letters == most + 1 => {
                        self.text.truncate(self.word);
                        self.text.extend(std::iter::repeat_n('a', self.letters));
                    }
                    Some(most) if self.letters > most => {}
                    _ => self.text.push(c),
                }
            }
            Kind::Alone | Kind::Mixed => {
                self.text.push(c);
                (self.after_blank, self.letters) = (false, 0);
            }
        }
        self.deleted = None;
    }
}

/// What BERT's tokenizer makes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Words end at it, and it is no token.
    Blank,
    /// It is deleted, and accents around it are sorted as if it had never been there.
    Deleted,
    /// It is deleted, and accents are not sorted across it.
    Divider,
    /// Words end at it, and it is a token of its own: punctuation, an ideograph.
    Alone,
    /// It becomes one or more characters of a word.
    Letter,
    /// Anything else.
    Mixed,
}

/// The kinds of all characters, found out block by block when one of a block is met.
struct Characters {
    normalizer: BertNormalizer,
    blocks: Vec<OnceLock<Box<[Kind; BLOCK]>>>,
}

const BLOCK: usize = 256;

/// Two spacing marks, which are not deleted and stand in the wrong order: decomposing sorts them.
const UNSORTED: [char; 2] = ['\u{302E}', '\u{1B44}'];

impl Characters {
    fn of(normalizer: BertNormalizer) -> Self {
        let blocks = (u32::from(char::MAX) as usize + 1) / BLOCK;
        Characters { normalizer, blocks: (0..blocks).map(|_| OnceLock::new()).collect() }
    }

    fn kind(&self, c: char) -> Kind {
        let code = u32::from(c) as usize;
        let block = code / BLOCK;
        self.blocks[block].get_or_init(|| self.find_out(block))[code % BLOCK]
    }

    fn is(&self, c: char, kind: Kind) -> bool {
        self.kind(c) == kind
    }

    fn find_out(&self, block: usize) -> Box<[Kind; BLOCK]> {
        let character = |at: usize| char::from_u32((block * BLOCK + at) as u32);
        // Most blocks hold nothing but unassigned or private characters, and are asked about as a whole.
        let all: String = (0..BLOCK).filter_map(character).collect();
        match self.words(format!("a{all}a")).as_deref() {
            Some([word]) if *word == format!("a{all}a") => return Box::new([Kind::Letter; BLOCK]),
            Some([word]) if word == "aa" && self.ask(&all) == Kind::Deleted => {
                return Box::new([Kind::Deleted; BLOCK]);
            }
            _ => {}
        }
        Box::new(std::array::from_fn(|at| {
            character(at).map_or(Kind::Mixed, |c| self.ask(c.encode_utf8(&mut [0; 4])))
        }))
    }

    /// What the tokenizer makes of characters between two letters.
    fn ask(&self, text: &str) -> Kind {
        let Some(words) = self.words(format!("a{text}a")) else { return Kind::Mixed };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["aa"] => {
                let [first, second] = UNSORTED;
                let sorted = format!("{second}{first}");
                match self.words(format!("{first}{text}{second}")) {
                    Some(words) if words == [sorted] => Kind::Deleted,
                    _ => Kind::Divider,
                }
            }
            ["a", "a"] => Kind::Blank,
            ["a", .., "a"] => Kind::Alone,
            [word] if word.len() > 2 && word.starts_with('a') && word.ends_with('a') => {
                Kind::Letter
            }
            _ => Kind::Mixed,
        }
    }

    /// A text as the words that the tokenizer looks up.
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
