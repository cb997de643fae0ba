//! A task row, the text that stands for it in front of the model, and the key that this text is known by.

use std::fmt::{self, Write};

use crate::hash::{FramedHasher, hex};

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
        // A String takes whatever is written to it.
        let _ = self.write(&mut text, row.title.as_deref(), row.description.as_deref(), files);
        text
    }

    /// Writes the lines `title`, `description` and `Files: a, b, c`, joined by `\n`. A line whose field is missing or
    /// has no characters is left out; blanks are characters.
    ///
    /// # Errors
    /// Those of the writer.
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
        f.write_str(&hex(&self.0))
    }
}

/// Makes the content keys of one model.
#[derive(Debug, Clone)]
pub struct ContentKeys {
    /// The state after the fingerprint, which every key begins with.
    begun: FramedHasher,
}

impl ContentKeys {
    /// Keys under this [fingerprint](crate::model::identity::ModelIdentity::fingerprint).
    pub fn new(fingerprint: &str) -> Self {
        let mut begun = FramedHasher::default();
        begun.update(fingerprint);
        ContentKeys { begun }
    }

    /// The key of a text.
    pub fn key(&self, text: &str) -> ContentKey {
        let mut hasher = self.begun.clone();
        hasher.update(text);
        ContentKey(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_key_moves_with_fingerprint_and_text_and_with_where_one_ends() {
        let key = |fingerprint: &str, text: &str| ContentKeys::new(fingerprint).key(text);
        assert_eq!(key("ab", "c"), key("ab", "c"));
        for (fingerprint, text) in [("a", "bc"), ("ab", "d"), ("abc", ""), ("", "abc"), ("b", "c")]
        {
            assert_ne!(key("ab", "c"), key(fingerprint, text), "{fingerprint:?}, {text:?}");
        }
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
            template
                .write(&mut text, title, description, files.iter().copied())
                .expect("a string takes it");
            assert_eq!(text, format!("x{expected}"));
        }
    }
}
