//! Splits a long text into chunks that the model takes.
//!
//! A chunk ends where a word begins, so that its tokens are those of the whole text. The rules are
//! in docs/text.md.

mod offsets;
mod slices;
mod windows;
mod words;

use std::ops::Range;

use super::TextTokenizer;
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::model::chunk_size::ChunkSize;
use windows::windows;
use words::{TokenStart, Word, WordList};

/// Bytes of a text that are encoded at a time, because encoding needs a hundred times the bytes.
const SLICE_BYTES: usize = 16 << 10;

/// A run of this many bytes in which no slice may end is shortened before its tokens are counted.
/// It does not depend on the slices, so that chunks do not either.
const MAX_RUN_BYTES: usize = 64 << 10;

impl TextTokenizer {
    /// Checks that the model takes chunks of this size, and that prompt and special tokens leave
    /// room for text in them.
    ///
    /// # Errors
    /// `Config` if that is not so.
    pub fn check_chunk_size(&self, size: ChunkSize) -> Result<()> {
        self.room(size).map(drop)
    }

    /// Splits a text into chunks of at most `size` and returns the range of each in bytes, in order.
    ///
    /// - Each chunk, tokenized with the prompt, has at most `size.tokens()` tokens.
    /// - A text that fits is one chunk, `0..text.len()`; so is an empty text.
    /// - A chunk begins where a word begins, and has as many words as fit. A word is what white space
    ///   separates; each ideograph is a word too. A word that does not fit in a chunk is cut: at
    ///   the words of the tokenizer, if they do not fit at its tokens, and if these do not either
    ///   at a character.
    /// - A chunk repeats the last words of the one before it, as many as have at most
    ///   `size.overlap()` tokens, and always has words that the one before it lacks.
    /// - The chunks leave out nothing but white space at their ends.
    ///
    /// Of a WordPiece tokenizer, a chunk has the tokens that its words have in the whole text, unless
    /// a word is cut at a token. It takes time in proportion to the text, and memory for its words:
    /// a few times its bytes.
    ///
    /// # Errors
    /// As [`TextTokenizer::check_chunk_size`]; `Encode` if the tokenizer fails or panics; `Data` if a
    /// single character has more tokens than fit.
    pub fn split(&self, text: &str, size: ChunkSize) -> Result<Vec<Range<usize>>> {
        let mut ranges = Vec::new();
        self.split_each(text, size, &mut |range, _| ranges.push(range))?;
        Ok(ranges)
    }

    /// As [`TextTokenizer::split`]. Calls `each` with each chunk and its token ids, those of the
    /// prompt and special tokens included.
    pub(super) fn split_each(
        &self,
        text: &str,
        size: ChunkSize,
        each: &mut dyn FnMut(Range<usize>, Vec<u32>),
    ) -> Result<()> {
        let mut splitter = Splitter { tokenizer: self, text, size, each };
        catch_panic(ErrorKind::Encode, "the tokenizer", || splitter.split(SLICE_BYTES))
    }

    /// Tokens of a chunk of this size that are left for its text, at least 1.
    fn room(&self, size: ChunkSize) -> Result<usize> {
        size.check_length(self.max_length)?;
        let special = self.special_tokens();
        let prompt = catch_panic(ErrorKind::Encode, "the tokenizer", || {
            self.encode_slice(&self.prompt).map(|tokens| tokens.len())
        })?;
        size.room(prompt + special, self.max_length)
    }
}

/// Splits one text.
struct Splitter<'a> {
    tokenizer: &'a TextTokenizer,
    text: &'a str,
    size: ChunkSize,
    /// Gets each chunk and its token ids.
    each: &'a mut dyn FnMut(Range<usize>, Vec<u32>),
}

impl Splitter<'_> {
    /// Splits the text, of which `slice_bytes` are encoded at a time.
    fn split(&mut self, slice_bytes: usize) -> Result<()> {
        let room = self.tokenizer.room(self.size)?;
        let max = self.size.tokens().get();
        let whole = 0..self.text.len();
        let is_short = self.text.len() <= max.saturating_mul(super::BYTES_PER_TOKEN);
        if is_short && self.accept(whole.clone())? {
            return Ok(());
        }
        let words = self.tokenizer.words(self.text, room, slice_bytes)?;
        let tokens: usize = words.iter().map(|word| word.tokens).sum();
        // Twice, because words may have fewer tokens together than each alone.
        if !is_short && tokens <= max.saturating_mul(2) && self.accept(whole)? {
            return Ok(());
        }
        let counts: Vec<usize> = words.iter().map(|word| word.tokens).collect();
        windows(&counts, room, self.size.overlap(), &mut |window| {
            let range = self.range_of(&words, &window);
            match self.accept(range.clone())? {
                false if window.len() > 1 => Ok(false),
                false => self.halve(range).map(|()| true),
                true => Ok(true),
            }
        })
    }

    /// The bytes of a window of words, without white space at its ends.
    fn range_of(&self, words: &[Word], window: &Range<usize>) -> Range<usize> {
        let start = words[window.start].start;
        let end = words.get(window.end).map_or(self.text.len(), |next| next.start);
        let trimmed = self.text[start..end].trim_end_matches(|c| self.tokenizer.is_space(c));
        start..start + trimmed.len()
    }

    /// Takes a range as a chunk if it fits.
    fn accept(&mut self, range: Range<usize>) -> Result<bool> {
        let max = self.size.tokens().get();
        let Some(ids) = self.tokenizer.encode_within(&self.text[range.clone()], max)? else {
            return Ok(false);
        };
        (self.each)(range, ids);
        Ok(true)
    }

    /// Cuts a range that does not fit at the character in its middle, and each half again until it
    /// fits.
    fn halve(&mut self, range: Range<usize>) -> Result<()> {
        let part = &self.text[range.clone()];
        let mut after_first = part.char_indices().map(|(at, _)| at).skip(1).peekable();
        let Some(second) = after_first.peek().copied() else {
            return Err(self.too_long_character(part));
        };
        let middle = after_first.find(|at| at * 2 >= part.len()).unwrap_or(second);
        for half in [range.start..range.start + middle, range.start + middle..range.end] {
            if !self.accept(half.clone())? {
                self.halve(half)?;
            }
        }
        Ok(())
    }

    fn too_long_character(&self, character: &str) -> Error {
        let message = format!(
            "the character \"{}\" of its text has more tokens than fit in a chunk of {} tokens",
            character.escape_debug(),
            self.size.tokens()
        );
        Error::new(ErrorKind::Data, message).advice("set a larger `text.chunk.tokens`")
    }
}

impl TextTokenizer {
    /// The words of a text. A word of more than `room` tokens is cut.
    fn words(&self, text: &str, room: usize, slice_bytes: usize) -> Result<Vec<Word>> {
        let mut words = WordList::new(text, room, |c| self.is_space(c));
        for slice in slices::slices(text, slice_bytes, |at, c| self.may_split(text, at, c)) {
            let part = &text[slice.clone()];
            if let Some(tokens) = self.count_tokens_of_long_run(part, room)? {
                let token = |token| TokenStart { at: slice.start, begins_word: token == 0 };
                (0..tokens).for_each(|number| words.push(token(number)));
                continue;
            }
            for token in self.encode_slice(part)? {
                words.push(TokenStart { at: slice.start + token.at, ..token });
            }
        }
        Ok(words.finish())
    }

    /// The tokens of a run that is too long to be encoded, if there are at most `room`: those of a
    /// word that is not looked up because it has too many characters. `None` for any other slice.
    fn count_tokens_of_long_run(&self, slice: &str, room: usize) -> Result<Option<usize>> {
        let Some(shortener) = self.shortener.as_ref().filter(|_| slice.len() > MAX_RUN_BYTES)
        else {
            return Ok(None);
        };
        let short = shortener.shorten(slice, usize::MAX).text;
        if short.len() > MAX_RUN_BYTES {
            return Ok(None);
        }
        let tokens = self.encode_slice(&short)?.len();
        Ok(Some(tokens).filter(|tokens| *tokens <= room))
    }

    /// Whether the tokens of a text are those of its part before `at`, where `c` is, and of its part
    /// from there on.
    fn may_split(&self, text: &str, at: usize, c: char) -> bool {
        match &self.shortener {
            Some(shortener) => shortener.may_split(text, at, c),
            // Of an unknown tokenizer, white space may be part of the word after it.
            None => c.is_whitespace() && !text[..at].ends_with(char::is_whitespace),
        }
    }

    /// Whether a character separates words.
    fn is_space(&self, c: char) -> bool {
        c.is_whitespace()
            && self.shortener.as_ref().is_none_or(|shortener| shortener.is_white_space(c))
    }
}

#[cfg(test)]
mod tests;
