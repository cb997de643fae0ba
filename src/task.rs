//! A task row, and the text that stands for it in front of the model.

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
        self.build(
            row.title.as_deref(),
            row.description.as_deref(),
            row.files.iter().flatten().map(String::as_str),
        )
    }

    /// The lines `title`, `description` and `Files: a, b, c`, joined by `\n`. A line whose field is missing or
    /// has no characters is left out; blanks are characters.
    pub fn build<'a>(
        &self,
        title: Option<&str>,
        description: Option<&str>,
        files: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let mut text = String::new();
        for line in [title, description].into_iter().flatten().filter(|line| !line.is_empty()) {
            start_line(&mut text);
            text.push_str(line);
        }
        for (position, file) in files.into_iter().enumerate() {
            if position == 0 {
                start_line(&mut text);
                text.push_str(&self.files_prefix);
            } else {
                text.push_str(", ");
            }
            text.push_str(file);
        }
        text
    }
}

fn start_line(text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(template.build(title, description, files.iter().copied()), expected);
        }
    }
}
