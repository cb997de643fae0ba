//! Slices of a text that are encoded one after the other, because encoding needs much memory.

use std::ops::Range;

/// The slices of a text, in order: as large as possible up to `max_bytes`, or a longer run in which
/// the text may not be split. `may_split` gets the position and the character after a split.
pub fn slices(
    text: &str,
    max_bytes: usize,
    may_split: impl Fn(usize, char) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let splits = text.char_indices().filter(move |(at, c)| *at > 0 && may_split(*at, *c));
    let mut ends = splits.map(|(at, _)| at).chain([text.len()]).peekable();
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut end = ends.next()?;
        while let Some(next) = ends.next_if(|next| next - start <= max_bytes) {
            end = next;
        }
        let slice = start..end;
        start = end;
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_end_where_they_may_and_are_large() {
        for (text, max_bytes, expected) in [
            ("", 4, vec![""]),
            ("ab", 1, vec!["ab"]),
            ("ab cd e fghijkl m", 5, vec!["ab cd", " e", " fghijkl", " m"]),
            ("ab cd e fghijkl m", 7, vec!["ab cd e", " fghijkl", " m"]),
            ("ab cd e", 1, vec!["ab", " cd", " e"]),
            ("  a", 1, vec![" ", " a"]),
            ("ab cd", 100, vec!["ab cd"]),
        ] {
            let slices = slices(text, max_bytes, |_, c| c == ' ');
            let found: Vec<&str> = slices.map(|slice| &text[slice]).collect();
            assert_eq!(found, expected, "{text:?}, {max_bytes}");
        }
    }
}
