//! The syntax of a choice of the grammar.
//!
//! | Syntax | Expands to |
//! |---|---|
//! | `@name`, `@{name}` | a text of that rule |
//! | `@{2..9}` | a number in this range |
//! | `@{x8}` | eight hexadecimal digits |
//! | `@{@area.part}` | a text of the rule whose name is the expansion of `@area`, then `.part` |
//! | `@^name`, `@_name`, `@-name`, `@!name` | the text in sentence, snake, kebab or Pascal case |
//! | `\n`, `\t`, `\p` | a newline, a tab, a vertical bar |

/// The reference after an `@`.
pub struct Reference<'a> {
    pub style: Style,
    pub name: &'a str,
    /// Its length in bytes, without the `@`.
    pub length: usize,
}

impl<'a> Reference<'a> {
    /// Parses the reference at the start of `text`, after the `@`.
    pub fn parse(text: &'a str) -> Self {
        let (style, rest) = match text.as_bytes().first() {
            Some(b'^') => (Style::Sentence, &text[1..]),
            Some(b'_') => (Style::Snake, &text[1..]),
            Some(b'-') => (Style::Kebab, &text[1..]),
            Some(b'!') => (Style::Pascal, &text[1..]),
            _ => (Style::Plain, text),
        };
        let before = text.len() - rest.len();
        if let Some((name, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            return Reference { style, name, length: before + name.len() + 2 };
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        Reference { style, name: &rest[..end], length: before + end }
    }
}

/// The case of an expanded text.
#[derive(Clone, Copy)]
pub enum Style {
    /// Unchanged.
    Plain,
    /// With an initial capital.
    Sentence,
    /// `like_this`.
    Snake,
    /// `like-this`.
    Kebab,
    /// `LikeThis`.
    Pascal,
}

impl Style {
    /// Appends a text in this style.
    pub fn apply(self, text: &str, out: &mut String) {
        match self {
            Style::Plain => out.push_str(text),
            Style::Sentence => push_capitalised(text, out),
            Style::Snake | Style::Kebab => {
                for (position, word) in words(text).enumerate() {
                    if position > 0 {
                        out.push(if matches!(self, Style::Snake) { '_' } else { '-' });
                    }
                    out.push_str(&word.to_lowercase());
                }
            }
            Style::Pascal => words(text).for_each(|word| push_capitalised(word, out)),
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn push_capitalised(text: &str, out: &mut String) {
    let mut characters = text.chars();
    out.extend(characters.next().into_iter().flat_map(char::to_uppercase));
    out.push_str(characters.as_str());
}
