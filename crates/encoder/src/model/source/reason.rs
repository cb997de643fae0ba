//! Why a source does not have the model, and what helps.

use std::error::Error;
use std::fmt;
use std::io;

use crate::error::limit_advice;

/// Why a source failed, for a message, and what the user can do about it, if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    text: String,
    cure: Option<String>,
    is_other_hash: bool,
}

impl Reason {
    /// A file whose hash is not the expected one.
    pub(super) fn other_hash(file: &str, expected: &str, found: &str) -> Reason {
        let text = format!("{file}: expected SHA-256 {expected}, found {found}");
        Reason { is_other_hash: true, ..Reason::from(text) }
    }

    /// Whether a file has another hash than the expected one.
    pub(super) fn is_other_hash(&self) -> bool {
        self.is_other_hash
    }

    /// A reason with a known cure, unless it has one already.
    pub(super) fn or_cure(self, cure: impl Into<String>) -> Reason {
        Reason { cure: self.cure.or_else(|| Some(cure.into())), ..self }
    }

    /// The error of the system at a file of the model.
    pub(super) fn from_io(file: &str, error: &io::Error) -> Reason {
        let reason = Reason::from(format!("{file}: {error}"));
        match limit_advice(error) {
            Some(advice) => reason.or_cure(advice),
            None if error.kind() == io::ErrorKind::PermissionDenied => {
                reason.or_cure("make the file readable for this user (chmod, chown)")
            }
            None => reason,
        }
    }

    /// The error of reading a file of the model, after so many bytes. It may have a reason inside.
    pub(super) fn from_read(file: &str, error: &io::Error, bytes: u64) -> Reason {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Reason>());
        let reason = Reason::from_io(file, error);
        let cure = inner.and_then(|inner| inner.cure.clone()).or(reason.cure);
        Reason { text: format!("{}, after {bytes} bytes", reason.text), cure, ..reason }
    }

    /// The reason behind the name of the file that it is about.
    pub(super) fn in_file(self, file: &str) -> Reason {
        Reason { text: format!("{file}: {}", self.text), ..self }
    }

    /// The reason as text that is safe to print.
    pub(super) fn one_line(self) -> Reason {
        Reason { text: one_line(&self.text), ..self }
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What the user can do.
    pub(super) fn cure(&self) -> Option<&str> {
        self.cure.as_deref()
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason { text, cure: None, is_other_hash: false }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Reason {
        Reason::from(text.to_owned())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Reason {}

/// Replaces control characters in a text from outside and truncates it, so that it is safe to
/// print.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 600;
    let mut chars = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn error_of_the_system_has_its_cure() {
        for (errno, cure) in [
            (Errno::ACCESS, Some("make the file readable for this user (chmod, chown)")),
            (Errno::PERM, Some("make the file readable for this user (chmod, chown)")),
            (Errno::IO, None),
        ] {
            let reason = Reason::from_io("model.safetensors", &errno.into());
            assert!(reason.text().starts_with("model.safetensors: "), "{reason}");
            assert_eq!(reason.cure(), cure, "{reason}");
        }
        let too_many = Reason::from_io("config.json", &Errno::MFILE.into());
        assert!(too_many.cure().is_some_and(|cure| cure.contains("ulimit -n")), "{too_many:?}");
    }

    #[test]
    fn reason_inside_a_read_keeps_its_cure() {
        let inner = Reason::from("the connection was closed").or_cure("run again").or_cure("no");
        let reason = Reason::from_read("config.json", &io::Error::other(inner), 7);
        assert_eq!(reason.text(), "config.json: the connection was closed, after 7 bytes");
        assert_eq!(reason.cure(), Some("run again"));
    }
}
