//! A task row, the text that stands for it in front of the model, and the key that this text is known by.

use std::fmt;

use sha2::{Digest, Sha256};

/// One row of the input: what a team writes down about a piece of work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskRow {
    /// What the row is called in messages; it is not part of the text.
    pub id: String,
    /// One line that says what the task is.
    pub title: Option<String>,
    /// The task in full.
    pub description: Option<String>,
    /// Paths that the task touches.
    pub files: Option<Vec<String>>,
}

/// How a task row becomes text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate {
    /// What stands before the list of files, `Files: ` unless configured otherwise.
    pub files_prefix: String,
}

impl Default for TextTemplate {
    fn default() -> Self {
        TextTemplate { files_prefix: "Files: ".to_owned() }
    }
}

/// The input text of a row under the default template.
///
/// ```
/// use reembed::{TaskRow, build_input_text};
///
/// let row = TaskRow {
///     id: "T-1".into(),
///     title: Some("Fix the login loop".into()),
///     description: None,
///     files: Some(vec!["auth.py".into(), "views.py".into()]),
/// };
/// assert_eq!(build_input_text(&row), "Fix the login loop\nFiles: auth.py, views.py");
/// ```
pub fn build_input_text(row: &TaskRow) -> String {
    TextTemplate::default().text_of(row)
}

impl TextTemplate {
    /// The input text of a row.
    pub fn text_of(&self, row: &TaskRow) -> String {
        let mut text = String::new();
        let files = row.files.iter().flatten().map(String::as_str);
        self.append(&mut text, row.title.as_deref(), row.description.as_deref(), files);
        text
    }

    /// Appends the lines `title`, `description` and `Files: a, b, c`, joined by `\n`. A line whose field is missing or
    /// has no characters is left out; blanks are characters.
    pub fn append<'a>(
        &self,
        text: &mut String,
        title: Option<&str>,
        description: Option<&str>,
        files: impl IntoIterator<Item = &'a str>,
    ) {
        let before = text.len();
        let start_line = |text: &mut String| {
            if text.len() > before {
                text.push('\n');
            }
        };
        for line in [title, description].into_iter().flatten().filter(|line| !line.is_empty()) {
            start_line(text);
            text.push_str(line);
        }
        for (position, file) in files.into_iter().enumerate() {
            if position == 0 {
                start_line(text);
                text.push_str(&self.files_prefix);
            } else {
                text.push_str(", ");
            }
            text.push_str(file);
        }
    }
}

/// What a text's vector is known by: SHA-256 over the model's fingerprint and the text. Equal keys mean equal
/// vectors, whatever row, file or run the text stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In hexadecimal, as other tools print a SHA-256.
impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes the content keys of one model.
#[derive(Debug, Clone)]
pub struct ContentKeys {
    /// The state after the fingerprint, which every key begins with.
    begun: Sha256,
}

impl ContentKeys {
    /// Keys under this [fingerprint](crate::lineage::Lineage::fingerprint_of).
    pub fn new(fingerprint: &str) -> Self {
        let mut begun = Sha256::new();
        hash_framed(&mut begun, fingerprint);
        ContentKeys { begun }
    }

    /// The key of a text.
    pub fn of(&self, text: &str) -> ContentKey {
        let mut hash = self.begun.clone();
        hash_framed(&mut hash, text);
        ContentKey(hash.finalize().into())
    }
}

/// The length goes first: it keeps ("ab", "c") apart from ("a", "bc").
fn hash_framed(hash: &mut Sha256, part: &str) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_key_moves_with_fingerprint_and_text_and_with_where_one_ends() {
        let key = |fingerprint: &str, text: &str| ContentKeys::new(fingerprint).of(text);
        assert_eq!(key("ab", "c"), key("ab", "c"));
        for (fingerprint, text) in [("a", "bc"), ("ab", "d"), ("abc", ""), ("", "abc"), ("b", "c")]
        {
            assert_ne!(key("ab", "c"), key(fingerprint, text), "{fingerprint:?}, {text:?}");
        }
    }

    #[test]
    fn a_content_key_is_the_sha_256_of_both_parts_with_their_lengths() {
        let mut bytes = Vec::new();
        for part in ["0123", "Fix it"] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!(ContentKeys::new("0123").of("Fix it").as_bytes(), &expected);
    }

    #[test]
    fn a_line_without_characters_is_left_out_and_blanks_are_characters() {
        let template = TextTemplate::default();
        for (title, description, files, expected) in [
            (Some("t"), Some("d"), &["a", "b"][..], "t\nd\nFiles: a, b"),
            (Some("t"), None, &[], "t"),
            (None, Some("d"), &[], "d"),
            (Some(""), Some(""), &["a"], "Files: a"),
            (Some(" "), None, &[], " "),
            (None, None, &[""], "Files: "),
            (None, None, &[], ""),
        ] {
            // What stands there already is another row's.
            let mut text = "x".to_owned();
            template.append(&mut text, title, description, files.iter().copied());
            assert_eq!(text, format!("x{expected}"));
        }
    }
}
