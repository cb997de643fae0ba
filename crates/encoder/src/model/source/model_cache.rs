//! The model cache: a directory for each model and revision, which is complete or does not exist.
//!
//! ```text
//! <cache>/models/<org>--<name>/<revision>/            the files, and SHA256SUMS, which lists them all
//!                             /.<revision>.lock       the lock file of the process that fetches
//!                             /.<revision>.partial/   the files that it writes, then renamed to <revision>
//!                             /.<revision>.old/       an invalid copy while it is replaced
//!                             /.<revision>.scratch/   temporary files of a fetch
//! ```
//! The holder of the lock is the only writer, so it removes the files of a process that died.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{ModelFile, Pins};
use super::reason::Reason;
use crate::error::limit_advice;
use crate::files::{DirectorySync, FileLock, lacks_locks, sync_directory};
use crate::stop::Stop;

/// Hashes in the format of `sha256sum`; `sha256sum -c` checks them.
const SUMS: &str = "SHA256SUMS";

const LOCK: &str = "lock";
const PARTIAL: &str = "partial";
const OLD: &str = "old";
const SCRATCH: &str = "scratch";

/// How often a lock that another process holds is tried again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The directory of one model and revision in the model cache.
pub(super) struct ModelCache {
    directory: PathBuf,
}

/// The right to write. Dropping it, or the end of the process, releases the lock.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] FileLock);

impl ModelCache {
    /// `id` and `revision` must be valid names.
    pub(super) fn new(cache: &Path, id: &str, revision: &str) -> Self {
        ModelCache { directory: model_directory(cache, id).join(revision.replace('/', "%2F")) }
    }

    /// The cached revisions of a model, sorted.
    pub(super) fn revisions(cache: &Path, id: &str) -> Vec<String> {
        let names = visible_names(&model_directory(cache, id)).into_iter();
        names.map(|name| name.replace("%2F", "/")).collect()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The expected hashes: those of `SHA256SUMS`, replaced by the pinned ones.
    pub(super) fn expected(&self, pins: &Pins) -> Result<Pins, Reason> {
        let sums = match fs::read_to_string(self.directory.join(SUMS)) {
            Ok(sums) => sums,
            Err(e) if e.kind() == ErrorKind::NotFound && !self.directory.exists() => {
                return Err("the model is not cached".into());
            }
            Err(e) => return Err(Reason::from_io(SUMS, &e)),
        };
        let mut expected = BTreeMap::new();
        for line in sums.lines() {
            let (sha256, file) =
                line.split_once("  ").ok_or_else(|| format!("{SUMS}: not a list of hashes"))?;
            expected.insert(file.to_owned(), sha256.to_owned());
        }
        expected.extend(pins.clone());
        Ok(expected)
    }

    /// Acquires the lock, and removes the files of a process that died. Calls `on_wait` once if
    /// another process holds it. A stop ends the wait.
    pub(super) fn lock(&self, stop: &Stop, on_wait: &dyn Fn()) -> Result<Lock, Reason> {
        let lock = || -> io::Result<Lock> {
            fs::create_dir_all(self.parent())?;
            let lock = FileLock::open(&self.sibling(LOCK))?;
            let mut is_waiting = false;
            // Polling, because a blocking lock could not be stopped.
            while !lock.try_lock()? {
                if !is_waiting {
                    on_wait();
                    is_waiting = true;
                }
                stop.wait(POLL_INTERVAL);
                stop.check().map_err(io::Error::other)?;
            }
            for leftover in [PARTIAL, OLD, SCRATCH] {
                remove(&self.sibling(leftover))?;
            }
            Ok(Lock(lock))
        };
        lock().map_err(not_writable)
    }

    /// Creates an empty temporary directory for a fetch.
    pub(super) fn scratch(&self, _: &Lock) -> Result<Scratch, Reason> {
        let create = || {
            let path = std::path::absolute(self.sibling(SCRATCH))?;
            fs::create_dir(&path)?;
            Ok(Scratch(path))
        };
        create().map_err(not_writable)
    }

    /// Writes the files of a model, and replaces an existing copy.
    pub(super) fn publish(
        &self,
        _: &Lock,
        files: &BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        let partial = self.sibling(PARTIAL);
        let publish = || -> io::Result<()> {
            write_files(&partial, files)?;
            let old = self.sibling(OLD);
            if self.directory.exists() {
                fs::rename(&self.directory, &old)?;
            }
            fs::rename(&partial, &self.directory)?;
            // Where it is not offered, a power failure may lose the copy, and it is fetched again.
            let _: DirectorySync = sync_directory(&self.parent())?;
            remove(&old)
        };
        publish().map_err(|e| {
            // If this fails, the next fetch removes it.
            let _ = remove(&partial);
            not_writable(e)
        })
    }

    fn parent(&self) -> PathBuf {
        self.directory.parent().unwrap_or(&self.directory).to_owned()
    }

    /// The path of `.<revision>.<suffix>` next to the directory.
    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.directory.file_name().unwrap_or_default());
        name.push(".");
        name.push(suffix);
        self.directory.with_file_name(name)
    }
}

/// The directory of the revisions of a model.
fn model_directory(cache: &Path, id: &str) -> PathBuf {
    cache.join("models").join(id.replace('/', "--"))
}

/// The names in a directory that do not begin with a dot, sorted; none if it cannot be read.
pub(super) fn visible_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// A temporary directory, removed when it is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

fn not_writable(error: io::Error) -> Reason {
    let (text, cure) = match error.kind() {
        _ if lacks_locks(&error) => (
            "the file system of the model cache has no locks (flock)",
            "set `model.cache` (REEMBED_MODEL_CACHE) to a directory on another disk",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ("the model cache is not writable", "free space on the disk of the model cache")
        }
        _ => (
            "the model cache is not writable",
            "make the directory of the model cache writable, or set `model.cache` \
             (REEMBED_MODEL_CACHE) to another one",
        ),
    };
    Reason::from(format!("{text}: {error}")).or_cure(limit_advice(&error).unwrap_or(cure))
}

/// Writes the files and `SHA256SUMS` durably into a new directory.
fn write_files(directory: &Path, files: &BTreeMap<String, ModelFile>) -> io::Result<()> {
    let mut directories = BTreeSet::from([directory.to_owned()]);
    let mut sums = String::new();
    fs::create_dir(directory)?;
    for (name, file) in files {
        let path = directory.join(name);
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != directory) {
            directories.insert(parent.to_owned());
        }
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        write(&path, &file.bytes)?;
        sums.push_str(&format!("{}  {name}\n", file.sha256));
    }
    write(&directory.join(SUMS), sums.as_bytes())?;
    directories.iter().try_for_each(|directory| sync_directory(directory).map(|_| ()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
