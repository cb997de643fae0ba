//! The cache file: a redb database of six tables, and the meaning of its errors.
//!
//! ```text
//!   index   content key → slot        the slot of a text's entry
//!   places  slot → entry              slots ascend, so entries fill pages and are read in order
//!   ages    page → 1024 × u32         per slot of a page the run that last used it; 0: empty
//!   facts   name → number             format version, run numbers, counters
//!   models  fingerprint → JSON        the models that wrote; absent in files of older versions
//!   outputs path → JSON               the outputs that use it; absent in files of older versions
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use redb::{
    Builder, ConcurrencyMode, Database, Error as Cause, ReadOnlyDatabase, ReadOnlyTable,
    ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableError, WriteTransaction,
};
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};

use crate::hidden_names;

/// The version of the tables and of the entries. A file of another version is set aside.
pub const FORMAT: u64 = 1;

/// Slots whose last use is stored together.
pub const SLOTS_PER_PAGE: u64 = 1024;

/// Number of finished runs that the cache remembers.
pub const FINISHED_RUNS_KEPT: usize = 100;

/// The reason of damage for [`FileKind::Zeros`].
pub const ZEROS: &str = "it begins with zeros";

/// Bytes of redb's own page cache. The operating system caches the rest.
const PAGE_CACHE_BYTES: usize = 4 << 20;

/// The first bytes of a redb file.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

// The table names are part of the file format.
const INDEX: TableDefinition<&[u8; 32], u64> = TableDefinition::new("index");
const SLOTS: TableDefinition<u64, &[u8]> = TableDefinition::new("places");
const LAST_USED: TableDefinition<u64, &[u8]> = TableDefinition::new("ages");
const META: TableDefinition<&str, u64> = TableDefinition::new("facts");
const MODELS: TableDefinition<&str, &str> = TableDefinition::new("models");
const OUTPUTS: TableDefinition<&str, &str> = TableDefinition::new("outputs");

/// The numbers in the table `facts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaKey {
    /// [`FORMAT`].
    Format,
    /// The last run that wrote.
    Run,
    /// The last run that saw every row of its input.
    FinishedRun,
    /// The run that began an unfinished rebuild, to which the entries from that run on belong.
    RebuildingSince,
    /// The lowest slot that was never used.
    NextSlot,
    /// Number of entries.
    Entries,
    /// Bytes that the entries cost, by [`super::eviction::entry_cost`].
    Bytes,
}

impl MetaKey {
    /// The name in the file. It is part of the file format.
    fn name(self) -> &'static str {
        match self {
            MetaKey::Format => "format",
            MetaKey::Run => "run",
            MetaKey::FinishedRun => "finished run",
            MetaKey::RebuildingSince => "rebuilding since run",
            MetaKey::NextSlot => "next place",
            MetaKey::Entries => "entries",
            MetaKey::Bytes => "bytes",
        }
    }
}

/// Why an operation on the database failed.
#[derive(Debug)]
pub enum DbError {
    /// The file is damaged or of another version; holds the reason.
    Damaged(String),
    /// The disk failed, or another process has the file open.
    Failed(Error),
}

impl DbError {
    /// The error of a caller that cannot replace a damaged file.
    pub fn into_error(self, path: &Path) -> Error {
        match self {
            DbError::Failed(error) => error,
            DbError::Damaged(reason) => damaged(path, &reason),
        }
    }
}

/// An open database.
pub struct Db {
    path: PathBuf,
    /// `None` once it is closed.
    file: Option<OpenFile>,
}

enum OpenFile {
    ReadWrite(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// Closing writes to the file, and redb may panic if the file is damaged.
impl Drop for Db {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // The next open repairs what is left unfinished.
            let _ = catch_damage(&self.path, || {
                drop(file);
                Ok(())
            });
        }
    }
}

/// The tables as of one moment, for reading.
pub struct Snapshot {
    pub index: ReadOnlyTable<&'static [u8; 32], u64>,
    pub slots: ReadOnlyTable<u64, &'static [u8]>,
    pub last_used: ReadOnlyTable<u64, &'static [u8]>,
}

/// The tables within a write transaction.
pub struct Tables<'t> {
    pub index: Table<'t, &'static [u8; 32], u64>,
    pub slots: Table<'t, u64, &'static [u8]>,
    pub last_used: Table<'t, u64, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    models: Table<'t, &'static str, &'static str>,
    outputs: Table<'t, &'static str, &'static str>,
}

/// What a path holds, judged by the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// No file, or an empty one.
    Missing,
    /// A database, or the beginning of one.
    Database,
    /// Zeros in the place of the first bytes of a database.
    Zeros,
    /// Another kind of file, which must not be changed.
    Other,
}

/// Reads the first bytes of a file.
pub fn file_kind(path: &Path) -> Result<FileKind> {
    let unreadable = |cause: io::Error| failed(path, "the cache cannot be read").caused_by(cause);
    match fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(FileKind::Missing),
        Err(cause) => return Err(unreadable(cause)),
        Ok(metadata) if !metadata.is_file() => return Ok(FileKind::Other),
        Ok(_) => {}
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unreadable)?;
    Ok(match &start[..] {
        [] => FileKind::Missing,
        start if MAGIC.starts_with(start) => FileKind::Database,
        start if start.iter().all(|byte| *byte == 0) => FileKind::Zeros,
        _ => FileKind::Other,
    })
}

/// How every process opens the file: one writes, and any number reads what is committed.
fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(PAGE_CACHE_BYTES).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

impl Db {
    /// Opens a database for reading and writing. Creates it if it does not exist.
    pub fn open(path: &Path) -> Result<Db, DbError> {
        let db = Db::open_unchecked(path)?;
        let is_new = db.read(|transaction| Ok(transaction.list_tables()?.next().is_none()))?;
        if is_new {
            db.write(|tables| tables.set(MetaKey::Format, FORMAT))?;
        }
        db.check_format()?;
        db.check_index()?;
        Ok(db)
    }

    /// Opens an existing database for reading.
    pub fn open_read_only(path: &Path) -> Result<Db, DbError> {
        let db = Db::open_read_only_unchecked(path)?;
        db.check_format()?;
        db.check_index()?;
        Ok(db)
    }

    /// As [`Db::open`], without a look at format and index.
    pub fn open_unchecked(path: &Path) -> Result<Db, DbError> {
        let file = catch_damage(path, || Ok(builder().create(path)?))?;
        Ok(Db { path: path.to_owned(), file: Some(OpenFile::ReadWrite(file)) })
    }

    /// As [`Db::open_read_only`], without a look at format and index.
    pub fn open_read_only_unchecked(path: &Path) -> Result<Db, DbError> {
        let file = catch_damage(path, || Ok(builder().open_read_only(path)?))?;
        Ok(Db { path: path.to_owned(), file: Some(OpenFile::ReadOnly(file)) })
    }

    fn check_format(&self) -> Result<(), DbError> {
        let format = self.meta(MetaKey::Format)?;
        if format == FORMAT {
            return Ok(());
        }
        Err(DbError::Damaged(format!(
            "its format version is {format}; this program uses version {FORMAT}"
        )))
    }

    /// Walks through the index, which is small. An index out of order would hide some entries for
    /// ever, and the checksums of entries cannot show that.
    fn check_index(&self) -> Result<(), DbError> {
        let damage = self.read(|transaction| {
            let (index, slots) = (transaction.open_table(INDEX)?, transaction.open_table(SLOTS)?);
            let mut last: Option<[u8; 32]> = None;
            let mut keys = 0;
            for entry in index.iter()? {
                let key = *entry?.0.value();
                if last.is_some_and(|last| last >= key) {
                    return Ok(Some("its index is out of order"));
                }
                (last, keys) = (Some(key), keys + 1);
            }
            let meta = transaction.open_table(META)?;
            let end = slots.last()?.map_or(0, |(slot, _)| slot.value().saturating_add(1));
            let adds_up = keys == index.len()?
                && slots.len()? == number(&meta, MetaKey::Entries)?
                && end <= number(&meta, MetaKey::NextSlot)?;
            Ok((!adds_up).then_some("its counters do not match its entries"))
        })?;
        damage.map_or(Ok(()), |damage| Err(DbError::Damaged(damage.to_owned())))
    }

    /// A number of the table `facts`; 0 if it was never set.
    pub fn meta(&self, key: MetaKey) -> Result<u64, DbError> {
        self.read(|transaction| number(&transaction.open_table(META)?, key))
    }

    /// As [`Tables::finished_runs`].
    pub fn finished_runs(&self) -> Result<Vec<u32>, DbError> {
        self.read(|transaction| finished_runs(&transaction.open_table(META)?))
    }

    /// The table `models`; empty if the file does not have it.
    pub fn models(&self) -> Result<Vec<(String, String)>, DbError> {
        self.texts(MODELS)
    }

    /// The table `outputs`; empty if the file does not have it.
    pub fn outputs(&self) -> Result<Vec<(String, String)>, DbError> {
        self.texts(OUTPUTS)
    }

    fn texts(
        &self,
        table: TableDefinition<'static, &'static str, &'static str>,
    ) -> Result<Vec<(String, String)>, DbError> {
        self.read(|transaction| match transaction.open_table(table) {
            Ok(table) => texts(&table),
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        })
    }

    /// The tables as of now.
    pub fn snapshot(&self) -> Result<Snapshot, DbError> {
        self.read(|transaction| {
            Ok(Snapshot {
                index: transaction.open_table(INDEX)?,
                slots: transaction.open_table(SLOTS)?,
                last_used: transaction.open_table(LAST_USED)?,
            })
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(ReadTransaction) -> Result<T, Cause>,
    ) -> Result<T, DbError> {
        catch_damage(&self.path, || match &self.file {
            Some(OpenFile::ReadWrite(database)) => work(database.begin_read()?),
            Some(OpenFile::ReadOnly(database)) => work(database.begin_read()?),
            None => Err(Cause::DatabaseClosed),
        })
    }

    /// Runs `work` in a transaction and commits it with an fsync.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Cause>,
    ) -> Result<T, DbError> {
        let Some(OpenFile::ReadWrite(database)) = &self.file else {
            return Err(DbError::Failed(failed(&self.path, "the cache is open read-only")));
        };
        catch_damage(&self.path, || {
            let transaction = database.begin_write()?;
            let done = {
                let mut tables = Tables::open(&transaction)?;
                work(&mut tables)?
            };
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Checks the checksum of every page of the file; returns whether all were right.
    pub fn check_pages(&mut self) -> Result<bool, DbError> {
        match &mut self.file {
            Some(OpenFile::ReadWrite(database)) => {
                catch_damage(&self.path, || Ok(database.check_integrity()?))
            }
            _ => Ok(true),
        }
    }

    /// Returns unused space to the file system.
    pub fn compact(&mut self) -> Result<(), DbError> {
        match &mut self.file {
            Some(OpenFile::ReadWrite(database)) => catch_damage(&self.path, || {
                while database.compact()? {}
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// Closes the file, so that the next open needs no repair.
    pub fn close(mut self) -> Result<(), DbError> {
        match self.file.take() {
            Some(OpenFile::ReadWrite(database)) => {
                catch_damage(&self.path, || Ok(database.close()?))
            }
            Some(OpenFile::ReadOnly(database)) => {
                catch_damage(&self.path, || Ok(database.close()?))
            }
            None => Ok(()),
        }
    }
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Cause> {
        Ok(Tables {
            index: transaction.open_table(INDEX)?,
            slots: transaction.open_table(SLOTS)?,
            last_used: transaction.open_table(LAST_USED)?,
            meta: transaction.open_table(META)?,
            models: transaction.open_table(MODELS)?,
            outputs: transaction.open_table(OUTPUTS)?,
        })
    }

    /// A number of the table `facts`; 0 if it was never set.
    pub fn get(&self, key: MetaKey) -> Result<u64, Cause> {
        number(&self.meta, key)
    }

    /// Sets a number of the table `facts`.
    pub fn set(&mut self, key: MetaKey, number: u64) -> Result<(), Cause> {
        self.meta.insert(key.name(), number)?;
        Ok(())
    }

    /// The numbers of the last finished runs, ascending: at most [`FINISHED_RUNS_KEPT`].
    pub fn finished_runs(&self) -> Result<Vec<u32>, Cause> {
        finished_runs(&self.meta)
    }

    /// The table `models`.
    pub fn models(&self) -> Result<Vec<(String, String)>, Cause> {
        texts(&self.models)
    }

    /// The table `outputs`.
    pub fn outputs(&self) -> Result<Vec<(String, String)>, Cause> {
        texts(&self.outputs)
    }

    /// Sets the value of a path in the table `outputs`.
    pub fn set_output(&mut self, path: &str, value: &str) -> Result<(), Cause> {
        self.outputs.insert(path, value)?;
        Ok(())
    }

    /// Removes a path from the table `outputs`.
    pub fn remove_output(&mut self, path: &str) -> Result<(), Cause> {
        self.outputs.remove(path)?;
        Ok(())
    }

    /// Sets the value of a fingerprint in the table `models`.
    pub fn set_model(&mut self, fingerprint: &str, value: &str) -> Result<(), Cause> {
        self.models.insert(fingerprint, value)?;
        Ok(())
    }

    /// Removes a fingerprint from the table `models`.
    pub fn remove_model(&mut self, fingerprint: &str) -> Result<(), Cause> {
        self.models.remove(fingerprint)?;
        Ok(())
    }

    /// Records that a run has seen every row of its input.
    pub fn finish_run(&mut self, run: u32) -> Result<(), Cause> {
        self.set(MetaKey::Run, run.into())?;
        self.set(MetaKey::FinishedRun, run.into())?;
        self.meta.insert(&*finished_run_name(run), u64::from(run))?;
        let runs = self.finished_runs()?;
        for run in &runs[..runs.len().saturating_sub(FINISHED_RUNS_KEPT)] {
            self.meta.remove(&*finished_run_name(*run))?;
        }
        Ok(())
    }
}

/// Keys and values of a table of texts.
fn texts(
    table: &impl ReadableTable<&'static str, &'static str>,
) -> Result<Vec<(String, String)>, Cause> {
    let mut texts = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        texts.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(texts)
}

fn number(meta: &impl ReadableTable<&'static str, u64>, key: MetaKey) -> Result<u64, Cause> {
    Ok(meta.get(key.name())?.map_or(0, |number| number.value()))
}

/// The name in `facts` of a finished run. The names sort like the numbers.
fn finished_run_name(run: u32) -> String {
    format!("{FINISHED_RUN}{run:010}")
}

const FINISHED_RUN: &str = "finished run ";
/// The first name that sorts after the names of all finished runs.
const AFTER_FINISHED_RUNS: &str = "finished run!";

fn finished_runs(meta: &impl ReadableTable<&'static str, u64>) -> Result<Vec<u32>, Cause> {
    let run_number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut runs = Vec::new();
    for run in meta.range(FINISHED_RUN..AFTER_FINISHED_RUNS)? {
        runs.push(run_number(run?.1.value()));
    }
    // Early caches of format 1 have no list, only the last finished run.
    if runs.is_empty() {
        let last = run_number(number(meta, MetaKey::FinishedRun)?);
        runs.extend(Some(last).filter(|last| *last > 0));
    }
    Ok(runs)
}

/// Runs database work. A panic counts as damage, because redb trusts what it reads from its file.
pub fn catch_damage<T>(path: &Path, work: impl FnOnce() -> Result<T, Cause>) -> Result<T, DbError> {
    let mut outcome = None;
    let panicked = catch_panic(ErrorKind::Cache, "the database", || {
        outcome = Some(work());
        Ok(())
    });
    match (panicked, outcome) {
        (Err(panic), _) => Err(DbError::Damaged(panic.to_string())),
        (Ok(()), Some(outcome)) => outcome.map_err(|cause| classify(path, cause)),
        (Ok(()), None) => {
            Err(DbError::Failed(failed(path, "the database returned no result (bug)")))
        }
    }
}

fn classify(path: &Path, cause: Cause) -> DbError {
    match cause {
        Cause::DatabaseAlreadyOpen | Cause::LockProtocolMismatch => DbError::Failed(
            Error::new(ErrorKind::CacheBusy, "another process has the cache open")
                .in_file(path)
                .advice(
                    "wait until that process ends, set `cache.path` to another file, or use no \
                     cache with --cache-mode off",
                ),
        ),
        Cause::RepairAborted => DbError::Failed(
            Error::new(ErrorKind::Cache, "the cache was not closed properly and needs a repair")
                .in_file(path)
                .advice("run once with --cache-mode read-write, which repairs it"),
        ),
        Cause::Io(cause)
            if ![io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof]
                .contains(&cause.kind()) =>
        {
            DbError::Failed(failed(path, "the cache cannot be read or written").caused_by(cause))
        }
        Cause::PreviousIo | Cause::DatabaseClosed | Cause::TransactionInProgress => {
            DbError::Failed(failed(path, "the cache cannot be read or written").caused_by(cause))
        }
        damage => DbError::Damaged(damage.to_string()),
    }
}

/// The error of a cache that cannot be read or written.
pub fn failed(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Cache, message).in_file(path).advice(
        "check that its directory is writable and its disk has free space; committed vectors are \
         kept, and the next run reuses them",
    )
}

/// The error of a cache that is damaged and cannot be replaced.
pub fn damaged(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Cache, format!("the cache is damaged: {reason}"))
        .in_file(path)
        .advice("delete the file; the next run embeds every row again and creates a new cache")
}

/// The error of a file of another kind.
pub fn not_a_cache(path: &Path) -> Error {
    Error::new(ErrorKind::Cache, "this file is not a vector cache")
        .in_file(path)
        .advice("set `cache.path` to another file; reembed does not change this one")
}

/// The size of the file in bytes.
pub fn file_size(path: &Path) -> Result<u64> {
    let size = fs::metadata(path).map(|metadata| metadata.len());
    size.map_err(|cause| failed(path, "the size of the cache cannot be read").caused_by(cause))
}

/// Renames a damaged file; returns the new path.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let moved_to = hidden_names::damaged_cache(path);
    fs::rename(path, &moved_to).map_err(|cause| {
        failed(path, "the cache is damaged and cannot be renamed").caused_by(cause)
    })?;
    Ok(moved_to)
}

#[cfg(test)]
mod tests {
    use redb::TableHandle;

    use super::*;

    /// A renamed table would be empty, and every vector of the cache would be lost.
    #[test]
    fn table_and_meta_names_are_those_of_format_1() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open(&directory.path().join("cache")).expect("a cache");
        let tables = db.read(|transaction| {
            Ok(transaction.list_tables()?.map(|table| table.name().to_owned()).collect::<Vec<_>>())
        });
        assert_eq!(
            tables.expect("tables"),
            ["ages", "facts", "index", "models", "outputs", "places"]
        );
        let keys = [
            MetaKey::Format,
            MetaKey::Run,
            MetaKey::FinishedRun,
            MetaKey::RebuildingSince,
            MetaKey::NextSlot,
            MetaKey::Entries,
            MetaKey::Bytes,
        ];
        let names = [
            "format",
            "run",
            "finished run",
            "rebuilding since run",
            "next place",
            "entries",
            "bytes",
        ];
        assert_eq!(keys.map(MetaKey::name), names);
        assert_eq!(FORMAT, 1);
    }
}
