//! A snapshot of environment variables, and what they mean here. The library reads none itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The variables of this program that set no key of a configuration. `REEMBED_MODEL_CACHE` sets `model.cache`.
pub const OTHER_VARIABLES: [&str; 2] = ["REEMBED_CACHE", "REEMBED_PYTHON"];

/// Environment variables that the caller passes: `Environment::new(std::env::vars())`.
///
/// The library never reads the process environment itself.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// An environment of these names and values.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment { variables: variables.into_iter().collect() }
    }

    /// The value of a variable; `None` if it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names of the variables that are set and not empty, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Whether a variable is set and not `0`, `off`, `no` or `false`, as `huggingface_hub` reads
    /// its variables.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !["0", "off", "no", "false"].contains(&value.to_ascii_lowercase().as_str())
        })
    }

    /// The directory of the model cache: `REEMBED_MODEL_CACHE` or `REEMBED_CACHE`, else `$XDG_CACHE_HOME/reembed`, else
    /// `~/.cache/reembed`.
    ///
    /// # Errors
    /// `Config` if none of these variables is set.
    pub fn model_cache(&self) -> Result<PathBuf> {
        let own = self
            .get("REEMBED_MODEL_CACHE")
            .or_else(|| self.get("REEMBED_CACHE"))
            .map(PathBuf::from);
        let user = || {
            let xdg = self.get("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || Some(Path::new(self.home()?).join(".cache"));
            Some(xdg.or_else(home)?.join("reembed"))
        };
        own.or_else(user).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no directory for the model cache: HOME is not set")
                .advice("set `model.cache`, REEMBED_MODEL_CACHE or HOME")
        })
    }

    /// The directory of the Hugging Face cache, as `huggingface_hub` finds it; `None` without a
    /// home.
    pub fn hub_cache(&self) -> Option<PathBuf> {
        let own = self.get("HF_HUB_CACHE").map(PathBuf::from);
        let hf = || self.get("HF_HOME").map(|home| Path::new(home).join("hub"));
        let xdg = || self.get("XDG_CACHE_HOME").map(|c| Path::new(c).join("huggingface/hub"));
        let home = || Some(Path::new(self.home()?).join(".cache/huggingface/hub"));
        own.or_else(hf).or_else(xdg).or_else(home)
    }

    /// The URL of the proxy for https, as curl finds it.
    pub fn proxy(&self) -> Option<&str> {
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .iter()
            .find_map(|name| self.get(name))
    }

    /// Hosts that are connected to without the proxy (`NO_PROXY`).
    pub fn no_proxy(&self) -> Vec<String> {
        let hosts = self.get("NO_PROXY").or_else(|| self.get("no_proxy")).unwrap_or("");
        hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(String::from).collect()
    }

    fn home(&self) -> Option<&str> {
        self.get("HOME").or_else(|| self.get("USERPROFILE"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_cache_follows_its_own_names_then_the_user_s_directories() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("REEMBED_MODEL_CACHE", "/a"), ("REEMBED_CACHE", "/b"), ("HOME", "/c")], "/a"),
            (&[("REEMBED_MODEL_CACHE", ""), ("REEMBED_CACHE", "/b"), ("HOME", "/c")], "/b"),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/c")], "/x/reembed"),
            (&[("HOME", "/c")], "/c/.cache/reembed"),
            (&[("USERPROFILE", "/u")], "/u/.cache/reembed"),
        ];
        for (variables, expected) in cases {
            let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let found = Environment::new(owned).model_cache().expect("a directory");
            assert_eq!(found, Path::new(expected), "{variables:?}");
        }
    }
}
