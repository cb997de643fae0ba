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
    /// Where the last token begins; before it every word is known. The end if only white space is left.
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
            // It stands for white space at the end, which is not searched again.
            self.position = self.text.len();
            let at = self.open.last().map_or(self.start, |last| last.at);
            return self.open.push(TokenStart { at, begins_word: false });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a text whose tokens begin at these positions; `true` for the first one of a word
    /// of the tokenizer.
    fn words(text: &str, room: usize, tokens: &[(usize, bool)]) -> Vec<(usize, usize)> {
        let mut words = WordList::new(text, room, |c| c == ' ');
        for (at, begins_word) in tokens {
            words.push(TokenStart { at: *at, begins_word: *begins_word });
        }
        words.finish().iter().map(|word| (word.start, word.tokens)).collect()
    }

    #[test]
    fn tokens_make_words_that_are_cut_if_they_do_not_fit() {
        const FIRST: bool = true;
        const NEXT: bool = false;
        for (text, room, tokens, expected) in [
            ("", 4, &[][..], vec![(0, 0)]),
            ("  ", 4, &[], vec![(2, 0)]),
            (" ab cd", 4, &[(1, FIRST), (4, FIRST)], vec![(1, 1), (4, 1)]),
            // A token may begin with the white space before it, or be white space alone.
            ("ab cd  ", 4, &[(0, FIRST), (2, FIRST)], vec![(0, 1), (3, 1)]),
            (
                "ab  cd  ",
                9,
                &[(0, FIRST), (2, FIRST), (3, NEXT), (6, FIRST), (7, FIRST)],
                vec![(0, 1), (4, 4)],
            ),
            // White space at the end is no place to cut.
            ("ab  ", 1, &[(0, FIRST), (2, FIRST), (3, FIRST)], vec![(0, 3)]),
            // Characters without a token belong to their word.
            ("-ab -cd", 4, &[(1, FIRST), (5, FIRST)], vec![(0, 1), (4, 1)]),
            ("ab, cd", 4, &[(0, FIRST), (2, FIRST), (4, FIRST)], vec![(0, 2), (4, 1)]),
            ("a.b.c", 2, &[(0, FIRST), (1, FIRST), (2, FIRST)], vec![(0, 1), (1, 1), (2, 1)]),
            (
                "abc.d",
                2,
                &[(0, FIRST), (1, NEXT), (2, NEXT), (3, FIRST)],
                vec![(0, 1), (1, 1), (2, 1), (3, 1)],
            ),
            (
                "文中。文",
                4,
                &[(0, FIRST), (3, FIRST), (6, FIRST), (9, FIRST)],
                vec![(0, 1), (3, 2), (9, 1)],
            ),
            // Several tokens of one character, the last one at no character of the text.
            ("ﷺa", 2, &[(0, FIRST), (0, NEXT), (1, NEXT), (3, NEXT)], vec![(0, 3), (3, 1)]),
        ] {
            assert_eq!(words(text, room, tokens), expected, "{text:?}, {room}");
        }
    }
}
