//! What the caller found in the process environment. The library itself reads no variable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// What the binary found in the process environment. The library itself reads none.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Keeps the variables given.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment { variables: variables.into_iter().collect() }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable is set to something else than a word for no, as the Hugging Face tools read theirs.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !["0", "off", "no", "false"].contains(&value.to_ascii_lowercase().as_str())
        })
    }

    /// reembed's own directory of fetched models: `REEMBED_CACHE`, else `reembed` below the user's cache directory.
    ///
    /// # Errors
    /// `Config` where the environment names neither, nor a home.
    pub fn model_cache(&self) -> Result<PathBuf> {
        let own = self.get("REEMBED_CACHE").map(PathBuf::from);
        let user = || {
            let xdg = self.get("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || Some(Path::new(self.home()?).join(".cache"));
            Some(xdg.or_else(home)?.join("reembed"))
        };
        own.or_else(user).ok_or_else(|| {
            Error::new(ErrorKind::Config, "there is no home directory to keep the model in")
                .advice("set `model.cache`, REEMBED_CACHE or HOME")
        })
    }

    /// The Hugging Face cache, as `huggingface_hub` finds it.
    pub fn hub_cache(&self) -> Option<PathBuf> {
        let own = self.get("HF_HUB_CACHE").map(PathBuf::from);
        let hf = || self.get("HF_HOME").map(|home| Path::new(home).join("hub"));
        let xdg = || self.get("XDG_CACHE_HOME").map(|c| Path::new(c).join("huggingface/hub"));
        let home = || Some(Path::new(self.home()?).join(".cache/huggingface/hub"));
        own.or_else(hf).or_else(xdg).or_else(home)
    }

    /// The proxy towards the hub, as curl finds it.
    pub fn proxy(&self) -> Option<&str> {
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
            .iter()
            .find_map(|name| self.get(name))
    }

    /// Hosts that are reached without the proxy.
    pub fn no_proxy(&self) -> Vec<String> {
        let hosts = self.get("NO_PROXY").or_else(|| self.get("no_proxy")).unwrap_or("");
        hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(String::from).collect()
    }

    fn home(&self) -> Option<&str> {
        self.get("HOME").or_else(|| self.get("USERPROFILE"))
    }
}
