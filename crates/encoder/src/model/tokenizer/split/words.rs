//! The words of a text, made of its tokens.

/// A word of a text, with the white space after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Its tokens.
    pub tokens: usize,
}

/// Where a token begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenStart {
    /// Its first byte in the text, or white space before it.
    pub at: usize,
    /// Whether it is the first token of a word of the tokenizer.
    pub begins_word: bool,
}

/// Collects words from tokens.
///
/// A word is what white space separates. Within it another one begins where the tokenizer begins a
/// word with a letter or digit, if that or the character before it is of a script that is written
/// without spaces. A word of more than `room` tokens is cut.
pub struct WordList<'t, S> {
    text: &'t str,
    room: usize,
    is_space: S,
    words: Vec<Word>,
    /// The tokens of the last word.
    open: Vec<TokenStart>,
    /// Where the last word begins.
    start: usize,
    /// Where the last token begins; before it every word is known.
    position: usize,
}

impl<'t, S: Fn(char) -> bool> WordList<'t, S> {
    /// No words yet of `text`, in which `is_space` separates words.
    pub fn new(text: &'t str, room: usize, is_space: S) -> Self {
        // The first word begins here, even if its token begins later.
        let start = text.find(|c| !is_space(c)).unwrap_or(text.len());
        WordList {
            text,
            room,
            is_space,
            words: Vec::new(),
            open: Vec::new(),
            start,
            position: start,
        }
    }

    /// Adds a token. Tokens come in order.
    pub fn push(&mut self, token: TokenStart) {
        let Some(at) = self.find_letter(token.at) else {
            // It stands for white space at the end.
            return self.open.push(TokenStart { at: self.position, begins_word: false });
        };
        let passed = &self.text[self.position..at];
        let space = passed.char_indices().rev().find(|(_, c)| (self.is_space)(*c));
        let word = match space {
            Some((space, c)) => Some(self.position + space + c.len_utf8()),
            None => Some(at).filter(|at| {
                token.begins_word && *at > self.position && may_begin_without_space(self.text, *at)
            }),
        };
        // The first word begins before its token, with the first character.
        if let Some(start) = word.filter(|_| !self.open.is_empty()) {
            self.close();
            self.start = start;
        }
        self.position = at;
        self.open.push(TokenStart { at, ..token });
    }

    /// The first character that is no white space, from `at` or the last token on.
    fn find_letter(&self, at: usize) -> Option<usize> {
        let mut at = at.clamp(self.position, self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        self.text[at..].find(|c| !(self.is_space)(c)).map(|space| at + space)
    }

    /// All words, at least one.
    pub fn finish(mut self) -> Vec<Word> {
        self.close();
        if self.words.is_empty() {
            self.words.push(Word { start: self.start, tokens: 0 });
        }
        self.words
    }

    /// Ends the last word.
    fn close(&mut self) {
        if let Some(first) = self.open.first_mut() {
            // Characters without a token belong to the token after them.
            first.at = self.start;
            cut(&mut self.words, &self.open, self.room);
        }
        self.open.clear();
    }
}

/// Adds a word. If it has more than `room` tokens, each word of the tokenizer in it is added instead,
/// and if that has more, each token.
fn cut(words: &mut Vec<Word>, tokens: &[TokenStart], room: usize) {
    let word = |tokens: &[TokenStart]| Word { start: tokens[0].at, tokens: tokens.len() };
    if tokens.len() <= room {
        return words.push(word(tokens));
    }
    for part in tokens.chunk_by(|before, token| !token.begins_word || token.at == before.at) {
        match part.len() <= room {
            true => words.push(word(part)),
            // A character may have several tokens.
            false => words.extend(part.chunk_by(|before, token| token.at == before.at).map(word)),
        }
    }
}

/// Whether a word begins here although there is no white space before it.
fn may_begin_without_space(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let first = text[at..].chars().next();
    first.is_some_and(char::is_alphanumeric)
        && [before, first].into_iter().flatten().any(is_of_unspaced_script)
}

/// Whether a character is of a script that is written without spaces: Thai, Lao, Tibetan, Burmese,
/// Khmer, and those of China and Japan with their punctuation.
fn is_of_unspaced_script(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{312f}' | '\u{3190}'..='\u{a4cf}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff9f}' | '\u{1b000}'..='\u{1b16f}'
        | '\u{20000}'..='\u{3ffff}')
}
