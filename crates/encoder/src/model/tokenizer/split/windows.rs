//! Which words of a text make its chunks. A pure function.

use std::ops::Range;

/// Groups words into windows of at most `room` tokens, of which neighbours share words of at most
/// `overlap` tokens. `words` has the tokens of each word.
///
/// Calls `accept` with each window, in order. If it returns `false`, the window has too many tokens
/// after all and is made smaller; it must not do so for a single word. Each window has a word that no
/// window before it has, and begins after the one before it. Together they have every word.
pub fn windows<E>(
    words: &[usize],
    room: usize,
    overlap: usize,
    accept: &mut dyn FnMut(Range<usize>) -> Result<bool, E>,
) -> Result<(), E> {
    // The first word that no window has.
    let mut next = 0;
    let mut start = 0;
    while next < words.len() {
        let mut end = fill(words, start, next, room);
        while !accept(start..end)? {
            match end > next + 1 {
                true => end -= 1,
                false => start = next.min(start + 1),
            }
        }
        let first = overlap_start(words, start, end, overlap);
        (start, next) = (leave_room(words, first, end, room), end);
    }
    Ok(())
}

/// The end of the largest window from `start` on that has the word `next` and at most `room` tokens.
fn fill(words: &[usize], start: usize, next: usize, room: usize) -> usize {
    let mut tokens: usize = words[start..=next].iter().sum();
    let fits = |count: &&usize| {
        tokens += **count;
        tokens <= room
    };
    next + 1 + words[next + 1..].iter().take_while(fits).count()
}

/// The first of the last words of a window that have at most `overlap` tokens together. It is not the
/// first word of the window.
fn overlap_start(words: &[usize], start: usize, end: usize, overlap: usize) -> usize {
    let mut tokens = 0;
    let fits = |count: &&usize| {
        tokens += **count;
        tokens <= overlap
    };
    end - words[start + 1..end].iter().rev().take_while(fits).count()
}

/// The first word, not before `first`, from which a window of at most `room` tokens reaches the word
/// `next`.
fn leave_room(words: &[usize], mut first: usize, next: usize, room: usize) -> usize {
    let mut tokens: usize = words[first..].iter().take(next + 1 - first).sum();
    while first < next && tokens > room {
        tokens -= words[first];
        first += 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start and end of the windows, of which `accept` takes those of at most `most` tokens or of one
    /// word.
    fn found(words: &[usize], room: usize, overlap: usize, most: usize) -> Vec<[usize; 2]> {
        let mut found = Vec::new();
        windows(words, room, overlap, &mut |window| {
            let tokens: usize = words[window.clone()].iter().sum();
            let accepts = window.len() == 1 || tokens <= most;
            if accepts {
                found.push([window.start, window.end]);
            }
            Ok::<bool, ()>(accepts)
        })
        .expect("no error");
        found
    }

    #[test]
    fn windows_are_full_and_overlap_by_whole_words() {
        for (words, room, overlap, expected) in [
            (&[][..], 4, 1, vec![]),
            (&[9], 4, 1, vec![[0, 1]]),
            (&[1, 1, 1, 1, 1, 1], 3, 0, vec![[0, 3], [3, 6]]),
            (&[1, 1, 1, 1, 1, 1], 3, 1, vec![[0, 3], [2, 5], [4, 6]]),
            // The last window would add nothing.
            (&[1, 1, 1, 1, 1], 3, 1, vec![[0, 3], [2, 5]]),
            (&[1, 1, 1], 3, 2, vec![[0, 3]]),
            (&[1, 1, 1, 1], 3, 2, vec![[0, 3], [1, 4]]),
            // A word that does not fit in the overlap is not repeated.
            (&[1, 1, 3, 1, 1], 5, 2, vec![[0, 3], [3, 5]]),
            (&[2, 2, 1, 1, 2], 5, 2, vec![[0, 3], [2, 5]]),
            // The overlap makes room for the next word.
            (&[1, 1, 1, 1, 4, 1], 4, 3, vec![[0, 4], [4, 5], [5, 6]]),
            (&[1, 1, 1, 1, 2, 1], 4, 3, vec![[0, 4], [2, 5], [3, 6]]),
            (&[3, 3, 3], 4, 3, vec![[0, 1], [1, 2], [2, 3]]),
            // Each window begins later, whatever the overlap.
            (&[1, 1, 1], 2, 9, vec![[0, 2], [1, 3]]),
            (&[1, 1, 1], 1, 9, vec![[0, 1], [1, 2], [2, 3]]),
            // Words without tokens.
            (&[0, 0, 2, 0, 2], 2, 1, vec![[0, 4], [3, 5]]),
        ] {
            let found = found(words, room, overlap, usize::MAX);
            assert_eq!(found, expected, "{words:?}, {room}, {overlap}");
        }
    }

    #[test]
    fn window_that_is_not_accepted_is_made_smaller() {
        for (words, room, overlap, most, expected) in [
            (&[1, 1, 1, 1, 1, 1][..], 4, 0, 3, vec![[0, 3], [3, 6]]),
            (&[1, 1, 1, 1, 1, 1], 6, 0, 2, vec![[0, 2], [2, 4], [4, 6]]),
            // The window keeps a new word and loses its overlap.
            (&[1, 1, 1, 1, 1], 4, 3, 3, vec![[0, 3], [1, 4], [2, 5]]),
            (&[2, 2, 2], 4, 2, 3, vec![[0, 1], [1, 2], [2, 3]]),
            (&[1, 1, 3, 3], 5, 2, 4, vec![[0, 2], [1, 3], [3, 4]]),
        ] {
            let found = found(words, room, overlap, most);
            assert_eq!(found, expected, "{words:?}, {room}, {overlap}, {most}");
        }
    }
}
