//! reembed's own cache: one directory for each model and revision, complete or not there.
//!
//! ```text
//! <cache>/models/<org>--<name>/<revision>/            the files, and SHA256SUMS, which lists them all
//!                             /.<revision>.lock       held by the process that fetches
//!                             /.<revision>.partial/   what it writes, until it is renamed to <revision>
//!                             /.<revision>.old/       a copy that was refused, while it is replaced
//!                             /.<revision>.scratch/   what it needs while it fetches
//! ```
//! Under the lock there is one writer, so who gets it removes what one that died has left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ModelFile, Pins, Reason};
use crate::files::{FileLock, sync_directory};
use crate::stop::Stop;

/// Hashes in the form of `sha256sum`, for which `sha256sum -c` has a use too.
const SUMS: &str = "SHA256SUMS";

const LOCK: &str = "lock";
const PARTIAL: &str = "partial";
const OLD: &str = "old";
const SCRATCH: &str = "scratch";

/// How often a lock that another process holds is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct OwnCache {
    directory: PathBuf,
}

/// The right to write; given back when dropped, and by the system when the process dies.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] FileLock);

impl OwnCache {
    /// `id` and `revision` are checked names.
    pub(super) fn new(cache: &Path, id: &str, revision: &str) -> Self {
        let model = cache.join("models").join(id.replace('/', "--"));
        OwnCache { directory: model.join(revision.replace('/', "%2F")) }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the copy in the cache has to be: what it was when it was fetched, and what is pinned.
    pub(super) fn expected(&self, pins: &Pins) -> Result<Pins, Reason> {
        let sums = match fs::read_to_string(self.directory.join(SUMS)) {
            Ok(sums) => sums,
            Err(e) if e.kind() == ErrorKind::NotFound && !self.directory.exists() => {
                return Err("nothing there".to_owned());
            }
            Err(e) => return Err(format!("{SUMS}: {e}")),
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

    /// Waits until no other process writes, and clears up after one that died. `waiting` is called when there is
    /// one to wait for; a reason to stop ends the wait.
    pub(super) fn lock(&self, stop: &Stop, waiting: &dyn Fn()) -> Result<Lock, Reason> {
        let lock = || -> io::Result<Lock> {
            fs::create_dir_all(self.model())?;
            let lock = FileLock::open(&self.beside(LOCK))?;
            let mut is_told = false;
            // Waiting inside the system could not be stopped.
            while !lock.try_take()? {
                if !is_told {
                    waiting();
                    is_told = true;
                }
                stop.wait(LOOK_AGAIN);
                stop.check().map_err(io::Error::other)?;
            }
            for left in [PARTIAL, OLD, SCRATCH] {
                remove(&self.beside(left))?;
            }
            Ok(Lock(lock))
        };
        lock().map_err(|e| e.to_string())
    }

    /// An empty directory for the time of a fetch.
    pub(super) fn scratch(&self, _: &Lock) -> Result<Scratch, Reason> {
        let make = || {
            let path = std::path::absolute(self.beside(SCRATCH))?;
            fs::create_dir(&path)?;
            Ok(Scratch(path))
        };
        make().map_err(|e: io::Error| format!("the cache cannot be written: {e}"))
    }

    /// Puts the model in the place of whatever is there.
    pub(super) fn publish(
        &self,
        _: &Lock,
        files: &BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        let partial = self.beside(PARTIAL);
        let publish = || -> io::Result<()> {
            write_all(&partial, files)?;
            let old = self.beside(OLD);
            if self.directory.exists() {
                fs::rename(&self.directory, &old)?;
            }
            fs::rename(&partial, &self.directory)?;
            sync_directory(&self.model())?;
            remove(&old)
        };
        publish().map_err(|e| {
            // What cannot be removed now, the next fetch removes.
            let _ = remove(&partial);
            format!("the cache cannot be written: {e}")
        })
    }

    fn model(&self) -> PathBuf {
        self.directory.parent().unwrap_or(&self.directory).to_owned()
    }

    /// `.<revision>.<what>`, next to the directory.
    fn beside(&self, what: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.directory.file_name().unwrap_or_default());
        name.push(".");
        name.push(what);
        self.directory.with_file_name(name)
    }
}

/// A directory that goes when the fetch ends.
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

fn write_all(directory: &Path, files: &BTreeMap<String, ModelFile>) -> io::Result<()> {
    let mut directories = BTreeSet::from([directory.to_owned()]);
    let mut sums = String::new();
    fs::create_dir(directory)?;
    for (name, file) in files {
        let path = directory.join(name);
        for above in path.ancestors().skip(1).take_while(|above| *above != directory) {
            directories.insert(above.to_owned());
        }
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        write(&path, &file.bytes)?;
        sums.push_str(&format!("{}  {name}\n", file.sha256));
    }
    write(&directory.join(SUMS), sums.as_bytes())?;
    directories.iter().try_for_each(|directory| sync_directory(directory))
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
