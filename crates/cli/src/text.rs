//! Text for a terminal: one line, without control characters, in aligned columns.

use std::fmt::Write as _;
use std::path::Path;

use reembed::Error;
use reembed_encoder::error::limit_advice;

/// An error in one line: place, message, causes, advice.
pub fn error_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors show their cause and name it as the next one, too.
        if !line.ends_with(&cause) {
            let _ = write!(line, ": {cause}");
        }
    }
    let advice = match error.downcast_ref::<Error>() {
        Some(error) => error.advice_text(),
        None => limit_advice(error.as_ref()),
    };
    if let Some(advice) = advice {
        let _ = write!(line, " ({advice})");
    }
    printable(&line)
}

/// Replaces characters that move the cursor or end the line by spaces.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c })
        .collect()
}

/// A path as [`printable`] text.
pub fn printable_path(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// Lines of `name  value`, with the values aligned.
pub fn table(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {value}\n");
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use reembed::ErrorKind;

    use super::*;

    #[test]
    fn error_with_control_characters_stays_on_one_line() {
        let cause = std::io::Error::other("line one\nline two \u{1b}[2J");
        let error = Error::new(ErrorKind::Data, "bad").advice("fix it").caused_by(cause);
        assert_eq!(error_line(&error.into()), "bad: line one line two  [2J (fix it)");
    }

    #[test]
    fn text_of_a_cause_is_shown_once() {
        let cause = || std::io::Error::other("no room");
        let error = Error::new(ErrorKind::Data, "bad: no room").caused_by(cause());
        assert_eq!(error_line(&error.into()), "bad: no room");
        let error =
            anyhow::Error::from(std::io::Error::from_raw_os_error(24)).context("no handler");
        let line = error_line(&error);
        assert!(line.starts_with("no handler: ") && line.contains("ulimit -n"), "{line}");
    }

    #[test]
    fn table_aligns_values() {
        let lines = [("rows", "3".to_owned()), ("output", "a.parquet".to_owned())];
        assert_eq!(table(&lines), "rows    3\noutput  a.parquet\n");
    }
}
