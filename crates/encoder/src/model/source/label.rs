//! The name of a model in outputs, reports and metrics.

use std::fmt;
use std::path::Path;

use super::config::SourceConfig;

/// The name of a model: the id that the user gave, or the name of its directory. Never empty.
///
/// It is no proof of what the files are: the hashes in the identity are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLabel(String);

impl ModelLabel {
    /// The label of the model that `config` describes.
    pub fn new(config: &SourceConfig) -> ModelLabel {
        let label = match (&config.id, &config.path) {
            (Some(id), _) if !id.trim().is_empty() => id.clone(),
            (_, Some(path)) => directory_name(path),
            (_, None) => config.hub_id().to_owned(),
        };
        ModelLabel(label)
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

/// The name of a directory. `.` and `models/..` have the name of the directory that they lead to.
fn directory_name(path: &Path) -> String {
    let canonical = match path.file_name() {
        Some(_) => None,
        None => path.canonicalize().ok(),
    };
    let path = canonical.as_deref().unwrap_or(path);
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::model::source::DEFAULT_ID;

    #[test]
    fn label_is_the_id_else_the_directory_s_name() {
        let here = std::env::current_dir().expect("a working directory");
        let here = here.file_name().and_then(|name| name.to_str()).expect("a name");
        for (id, path, label) in [
            (None, None, DEFAULT_ID),
            (Some("org/name"), None, "org/name"),
            (Some("org/name"), Some("models/mine"), "org/name"),
            (Some(" "), Some("models/mine"), "mine"),
            (None, Some("models/mine"), "mine"),
            (None, Some("models/mine/"), "mine"),
            (None, Some("models/mine/."), "mine"),
            (None, Some("."), here),
            (None, Some("src/.."), here),
            (None, Some("/"), "/"),
        ] {
            let config = SourceConfig {
                id: id.map(str::to_owned),
                path: path.map(Into::into),
                ..SourceConfig::with_cache(&Environment::default(), "cache".into())
            };
            assert_eq!(ModelLabel::new(&config).as_str(), label, "{id:?}, {path:?}");
        }
    }
}
