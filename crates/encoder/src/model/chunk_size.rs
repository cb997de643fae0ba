//! The size of the chunks that a long text is split into.

use std::num::NonZeroUsize;

use crate::error::{Error, ErrorKind, Result};

/// The size of the chunks that a long text is split into. Tokens are counted as the model sees
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    tokens: NonZeroUsize,
    overlap: usize,
}

impl ChunkSize {
    /// Chunks of at most `tokens` tokens, prompt and special tokens included, of which neighbours
    /// share at most `overlap` tokens of text.
    ///
    /// # Errors
    /// `Config` if `overlap` is not less than `tokens`.
    pub fn new(tokens: NonZeroUsize, overlap: usize) -> Result<ChunkSize> {
        if overlap < tokens.get() {
            return Ok(ChunkSize { tokens, overlap });
        }
        let message = format!(
            "`text.chunk.overlap` is {overlap}, not less than `text.chunk.tokens`, {tokens}"
        );
        Err(Error::new(ErrorKind::Config, message)
            .advice("set a smaller overlap, such as an eighth of the tokens"))
    }

    /// Most tokens of a chunk, prompt and special tokens included.
    pub fn tokens(self) -> NonZeroUsize {
        self.tokens
    }

    /// Most tokens of text that a chunk shares with the one before it.
    pub fn overlap(self) -> usize {
        self.overlap
    }

    /// Checks that a model with this maximum length takes a chunk.
    ///
    /// # Errors
    /// `Config` if a chunk may be longer.
    pub fn check_length(self, max_length: NonZeroUsize) -> Result<()> {
        let tokens = self.tokens;
        if tokens <= max_length {
            return Ok(());
        }
        let message = format!(
            "`text.chunk.tokens` is {tokens}, more than the maximum length, {max_length} tokens"
        );
        Err(Error::new(ErrorKind::Config, message)
            .advice(format!("set it to at most {max_length}")))
    }

    /// The tokens of a chunk that are left for its text, at least 1. Prompt and special tokens take
    /// `taken`; the model takes `max_length`.
    ///
    /// # Errors
    /// `Config` if no token is left.
    pub fn room(self, taken: usize, max_length: NonZeroUsize) -> Result<usize> {
        let tokens = self.tokens;
        if taken < tokens.get() {
            return Ok(tokens.get() - taken);
        }
        let message = format!(
            "`text.chunk.tokens` is {tokens}, which leaves no room for text: prompt and special \
             tokens take {taken}"
        );
        let advice = match taken < max_length.get() {
            true => format!("set it to at least {}", taken + 1),
            false => "set a shorter `model.prompt`".to_owned(),
        };
        Err(Error::new(ErrorKind::Config, message).advice(advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(tokens: usize, overlap: usize) -> Result<ChunkSize> {
        ChunkSize::new(NonZeroUsize::new(tokens).expect("not zero"), overlap)
    }

    #[test]
    fn overlap_is_less_than_the_tokens() {
        for (tokens, overlap, is_valid) in
            [(1, 0, true), (1, 1, false), (256, 255, true), (256, 256, false), (9, 10, false)]
        {
            let made = size(tokens, overlap);
            assert_eq!(made.is_ok(), is_valid, "{tokens}, {overlap}");
            if let Err(error) = made {
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(error.to_string().contains("`text.chunk.overlap` is"), "{error}");
            }
        }
    }

    #[test]
    fn chunk_fits_the_model_and_leaves_room_for_text() {
        let max = NonZeroUsize::new(256).expect("not zero");
        // Tokens of a chunk and of what is not text; the room, or the text and advice of the error.
        for (tokens, taken, expected) in [
            (256, 2, Ok(254)),
            (3, 2, Ok(1)),
            (2, 2, Err(("prompt and special tokens take 2", "set it to at least 3"))),
            (9, 12, Err(("prompt and special tokens take 12", "set it to at least 13"))),
            (9, 300, Err(("prompt and special tokens take 300", "set a shorter `model.prompt`"))),
            (257, 2, Err(("more than the maximum length, 256 tokens", "set it to at most 256"))),
        ] {
            let size = size(tokens, 0).expect("a size");
            let found = size.check_length(max).and_then(|()| size.room(taken, max));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{tokens}, {taken}"),
                (Err(error), Err((text, advice))) => {
                    assert_eq!(error.kind(), ErrorKind::Config);
                    assert!(error.to_string().contains("`text.chunk.tokens`"), "{error}");
                    assert!(error.to_string().ends_with(text), "{error}");
                    assert_eq!(error.advice_text(), Some(advice));
                }
                (found, _) => panic!("{tokens}, {taken}: {found:?}"),
            }
        }
    }
}
