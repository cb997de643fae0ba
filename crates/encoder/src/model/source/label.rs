//! The name of a model in outputs, reports and metrics.

use std::fmt;
use std::path::Path;

/// The name of a model: its id on the hub, one that the user chose, or that of its directory.
///
/// It is no proof of what the files are: the hashes in the identity are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLabel(String);

impl ModelLabel {
    /// The label of a model with an id.
    pub fn from_id(id: &str) -> ModelLabel {
        ModelLabel(id.to_owned())
    }

    /// The name of a directory. `.` and `models/..` have the name of the directory that they lead to.
    pub fn from_directory(path: &Path) -> ModelLabel {
        let canonical = match path.file_name() {
            Some(_) => None,
            None => path.canonicalize().ok(),
        };
        let path = canonical.as_deref().unwrap_or(path);
        let name = path.file_name().unwrap_or(path.as_os_str());
        ModelLabel(name.to_string_lossy().into_owned())
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_called_by_its_own_name() {
        let here = std::env::current_dir().expect("a working directory");
        let here = here.file_name().and_then(|name| name.to_str()).expect("a name");
        for (path, label) in [
            ("models/mine", "mine"),
            ("models/mine/", "mine"),
            ("models/mine/.", "mine"),
            (".", here),
            ("src/..", here),
            ("/", "/"),
        ] {
            assert_eq!(ModelLabel::from_directory(Path::new(path)).as_str(), label, "{path}");
        }
    }
}
