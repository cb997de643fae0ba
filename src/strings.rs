//! Many strings in one block of memory.
//!
//! A chunk's strings live as long as the chunk does, and that of a thousand rows is a thousand small blocks, which an
//! allocator cannot put anything large between: memory then grows with the length of a run, though what is in use does
//! not.

use std::ops::{Index, Range};

/// Strings end to end, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    /// No strings yet, and room for the ends of so many.
    pub fn for_count(count: usize) -> Self {
        Strings { text: String::new(), ends: Vec::with_capacity(count) }
    }

    /// Adds a string.
    pub fn push(&mut self, string: &str) {
        self.push_with(|text| text.push_str(string));
    }

    /// Adds the string that `append` appends.
    pub(crate) fn push_with<T>(&mut self, append: impl FnOnce(&mut String) -> T) -> T {
        let done = append(&mut self.text);
        self.ends.push(self.text.len());
        done
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at a position, if there are so many.
    pub fn get(&self, position: usize) -> Option<&str> {
        (position < self.len()).then(|| &self[position])
    }

    fn range(&self, position: usize) -> Range<usize> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[position]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|position| &self[position])
    }
}

impl Index<usize> for Strings {
    type Output = str;

    /// # Panics
    /// When there are not so many.
    fn index(&self, position: usize) -> &str {
        &self.text[self.range(position)]
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let strings = strings.into_iter();
        let mut all = Strings::for_count(strings.size_hint().0);
        strings.for_each(|string| all.push(string.as_ref()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_out_as_they_went_in() {
        let all: Strings = ["a", "", "ünï", ""].into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), ["a", "", "ünï", ""]);
        assert_eq!((all.len(), all.is_empty()), (4, false));
        assert_eq!((&all[0], &all[2], all.get(3), all.get(4)), ("a", "ünï", Some(""), None));
        assert!(Strings::default().is_empty());
    }

    #[test]
    fn a_string_can_be_built_in_its_place() {
        let mut all = Strings::for_count(2);
        all.push("a");
        let answer = all.push_with(|text| {
            text.push('b');
            text.push('c');
            7
        });
        assert_eq!((answer, &all[1]), (7, "bc"));
    }
}
