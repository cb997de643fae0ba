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

    /// Whether a variable is set and not `0`, `off`, `no` or `false`. (`huggingface_hub` takes other
    /// words than `1`, `on`, `yes` and `true` for off.)
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

    /// The directory of the Hugging Face cache, as `huggingface_hub` finds it: `HF_HUB_CACHE`, its old
    /// name `HUGGINGFACE_HUB_CACHE`, or `hub` in the Hugging Face directory (`HF_HOME`,
    /// `$XDG_CACHE_HOME/huggingface`, `~/.cache/huggingface`). `None` without a home.
    pub fn hub_cache(&self) -> Option<PathBuf> {
        let own = self.get("HF_HUB_CACHE").or_else(|| self.get("HUGGINGFACE_HUB_CACHE"));
        own.map(|own| self.expanded(own)).or_else(|| Some(self.hub_home()?.join("hub")))
    }

    /// The token of the hub: `HF_TOKEN`, or its old name `HUGGING_FACE_HUB_TOKEN`, without white space
    /// around it. `None` if `HF_HUB_DISABLE_IMPLICIT_TOKEN` is on.
    pub fn hub_token(&self) -> Option<&str> {
        let names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
        let mut tokens = names.iter().filter_map(|name| self.get(name)).map(str::trim);
        tokens.find(|token| !token.is_empty()).filter(|_| self.sends_token())
    }

    /// The file in which `hf auth login` keeps the token: `HF_TOKEN_PATH`, or `token` in the Hugging
    /// Face directory. `None` if `HF_HUB_DISABLE_IMPLICIT_TOKEN` is on, and without a home.
    pub fn hub_token_file(&self) -> Option<PathBuf> {
        let own = self.get("HF_TOKEN_PATH").map(|own| self.expanded(own));
        own.or_else(|| Some(self.hub_home()?.join("token"))).filter(|_| self.sends_token())
    }

    /// Whether the network is disabled: `HF_HUB_OFFLINE` or, where that is unset,
    /// `TRANSFORMERS_OFFLINE`.
    pub fn is_offline(&self) -> bool {
        match self.get("HF_HUB_OFFLINE") {
            Some(_) => self.is_on("HF_HUB_OFFLINE"),
            None => self.is_on("TRANSFORMERS_OFFLINE"),
        }
    }

    /// The proxy for URLs of a scheme, `http` or `https`, as curl finds it: the name of the variable
    /// and its value. `http_proxy` or `HTTP_PROXY` is for http, `https_proxy` or `HTTPS_PROXY` for
    /// https, `all_proxy` or `ALL_PROXY` for both; lower case first. A CGI script (`REQUEST_METHOD`)
    /// gets `HTTP_PROXY` from its client, so it is ignored there.
    pub fn proxy(&self, scheme: &str) -> Option<(&'static str, &str)> {
        let own = match scheme {
            "http" => ["http_proxy", "HTTP_PROXY"],
            _ => ["https_proxy", "HTTPS_PROXY"],
        };
        let is_of_client =
            |name: &str| name == "HTTP_PROXY" && self.get("REQUEST_METHOD").is_some();
        own.into_iter()
            .filter(|name| !is_of_client(name))
            .chain(["all_proxy", "ALL_PROXY"])
            .find_map(|name| Some((name, self.get(name)?)))
    }

    /// The patterns of hosts that are connected to without a proxy (`no_proxy`, `NO_PROXY`),
    /// separated by commas or white space.
    pub fn no_proxy(&self) -> Vec<String> {
        let hosts = self.get("no_proxy").or_else(|| self.get("NO_PROXY")).unwrap_or("");
        let hosts = hosts.split(|c: char| c == ',' || c.is_whitespace());
        hosts.filter(|host| !host.is_empty()).map(String::from).collect()
    }

    /// The directory of `huggingface_hub`.
    fn hub_home(&self) -> Option<PathBuf> {
        let own = self.get("HF_HOME").map(|own| self.expanded(own));
        let xdg = || self.get("XDG_CACHE_HOME").map(|c| Path::new(c).join("huggingface"));
        let home = || Some(Path::new(self.home()?).join(".cache/huggingface"));
        own.or_else(xdg).or_else(home)
    }

    fn sends_token(&self) -> bool {
        !self.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    }

    /// A path with the home in the place of a leading `~`, as `huggingface_hub` reads its variables.
    fn expanded(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.home()) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => PathBuf::from(path),
        }
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

    #[test]
    fn hub_variables_are_read_as_huggingface_hub_reads_them() {
        type Case<'a> = (&'a [(&'a str, &'a str)], [Option<&'a str>; 3], bool);
        const OFF: (&str, &str) = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        let cases: [Case<'_>; 14] = [
            (
                &[("HOME", "/h")],
                [Some("/h/.cache/huggingface/hub"), None, Some("/h/.cache/huggingface/token")],
                false,
            ),
            (
                &[("XDG_CACHE_HOME", "/x")],
                [Some("/x/huggingface/hub"), None, Some("/x/huggingface/token")],
                false,
            ),
            (&[("HF_HOME", "/f"), ("HOME", "/h")], [Some("/f/hub"), None, Some("/f/token")], false),
            (
                &[("HF_HOME", "~/f"), ("HOME", "/h")],
                [Some("/h/f/hub"), None, Some("/h/f/token")],
                false,
            ),
            (
                &[("HF_TOKEN_PATH", "/t"), ("HF_HOME", "/f")],
                [Some("/f/hub"), None, Some("/t")],
                false,
            ),
            (&[("HUGGINGFACE_HUB_CACHE", "/old")], [Some("/old"), None, None], false),
            (
                &[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")],
                [Some("/c"), None, None],
                false,
            ),
            (&[("HF_TOKEN", " a\n")], [None, Some("a"), None], false),
            (
                &[("HF_TOKEN", "\n"), ("HUGGING_FACE_HUB_TOKEN", "b")],
                [None, Some("b"), None],
                false,
            ),
            (&[("HF_TOKEN", "a"), ("HF_HOME", "/f"), OFF], [Some("/f/hub"), None, None], false),
            (&[("HF_HUB_OFFLINE", "1")], [None, None, None], true),
            (&[("TRANSFORMERS_OFFLINE", "yes")], [None, None, None], true),
            (&[("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")], [None, None, None], false),
            (&[("TRANSFORMERS_OFFLINE", "0")], [None, None, None], false),
        ];
        for (variables, [cache, token, file], offline) in cases {
            let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
            let environment = Environment::new(owned);
            assert_eq!(environment.hub_cache().as_deref(), cache.map(Path::new), "{variables:?}");
            assert_eq!(environment.hub_token(), token, "{variables:?}");
            assert_eq!(
                environment.hub_token_file().as_deref(),
                file.map(Path::new),
                "{variables:?}"
            );
            assert_eq!(environment.is_offline(), offline, "{variables:?}");
        }
    }
}
