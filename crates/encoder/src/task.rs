//! The row of a task, its input text, and the content key of a text in the vector cache.

use std::fmt::{self, Write};

use crate::hash::{FramedHasher, hex};

/// A row that describes a task: title, description and files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskRow {
    /// The id of the row in messages. It is not part of the input text.
    pub id: String,
    /// The title.
    pub title: Option<String>,
    /// The full description.
    pub description: Option<String>,
    /// Paths of the files that the task concerns.
    pub files: Option<Vec<String>>,
}

/// The text recipe of a task row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate {
    /// The prefix of the line of files; `Files: ` by default.
    pub files_prefix: String,
}

impl Default for TextTemplate {
    fn default() -> Self {
        TextTemplate { files_prefix: "Files: ".to_owned() }
    }
}

/// Builds the input text of a row with the default template.
///
/// ```
/// use reembed_encoder::{TaskRow, build_input_text};
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
    TextTemplate::default().render(row)
}

impl TextTemplate {
    /// Builds the input text of a row.
    pub fn render(&self, row: &TaskRow) -> String {
        let mut text = String::new();
        let files = row.files.iter().flatten().map(String::as_str);
        // Writing to a `String` never fails.
        let _ = self.write(&mut text, row.title.as_deref(), row.description.as_deref(), files);
        text
    }

    /// Appends the lines `title`, `description` and `Files: a, b, c`, joined by `\n`, to `text`.
    ///
    /// A missing or empty field has no line. White space counts as characters.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn write<'a>(
        &self,
        text: &mut impl Write,
        title: Option<&str>,
        description: Option<&str>,
        files: impl IntoIterator<Item = &'a str>,
    ) -> fmt::Result {
        let mut lines = 0;
        let mut start_line = |text: &mut dyn Write| {
            lines += 1;
            if lines > 1 { text.write_char('\n') } else { Ok(()) }
        };
        for line in [title, description].into_iter().flatten().filter(|line| !line.is_empty()) {
            start_line(text)?;
            text.write_str(line)?;
        }
        for (position, file) in files.into_iter().enumerate() {
            if position == 0 {
                start_line(text)?;
                text.write_str(&self.files_prefix)?;
            } else {
                text.write_str(", ")?;
            }
            text.write_str(file)?;
        }
        Ok(())
    }
}

/// The key of a text in the vector cache: SHA-256 over the fingerprint of the model and the text.
///
/// Texts with equal keys have equal vectors, in any row, file or run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentKey([u8; 32]);

impl ContentKey {
    /// The key with these 32 bytes, which [`ContentKeys::key`] made.
    pub fn from_bytes(bytes: [u8; 32]) -> ContentKey {
        ContentKey(bytes)
    }

    /// The 32 bytes of the SHA-256.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In lower-case hexadecimal, like `sha256sum`.
impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Computes the content keys of one model.
#[derive(Debug, Clone)]
pub struct ContentKeys {
    /// The hash state after the fingerprint.
    prefix: FramedHasher,
}

impl ContentKeys {
    /// The content keys under a model's fingerprint (`ModelIdentity::fingerprint`).
    pub fn new(fingerprint: &str) -> Self {
        let mut prefix = FramedHasher::default();
        prefix.update(fingerprint);
        ContentKeys { prefix }
    }

    /// Computes the content key of a text.
    pub fn key(&self, text: &str) -> ContentKey {
        let mut hasher = self.prefix.clone();
        hasher.update(text);
        ContentKey(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_key_depends_on_fingerprint_and_text() {
        let key = |fingerprint: &str, text: &str| ContentKeys::new(fingerprint).key(text);
        assert_eq!(key("ab", "c"), key("ab", "c"));
        for (fingerprint, text) in [("a", "bc"), ("ab", "d"), ("abc", ""), ("", "abc"), ("b", "c")]
        {
            assert_ne!(key("ab", "c"), key(fingerprint, text), "{fingerprint:?}, {text:?}");
        }
    }

    #[test]
    fn text_has_a_line_for_each_field_that_is_not_empty() {
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
            // `write` appends.
            let mut text = "x".to_owned();
            template
                .write(&mut text, title, description, files.iter().copied())
                .expect("a string takes it");
            assert_eq!(text, format!("x{expected}"));
        }
    }
}
