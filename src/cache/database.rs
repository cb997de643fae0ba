//! The file: an embedded database of four tables, and what its failures mean.
//!
//! ```text
//!   index   content key → place     where a text's entry is
//!   places  place → entry           in the order in which they came, so that they fill pages and are read in order
//!   last_used    page → 1024 × u32       for the places of a page, the run that used each last; 0: nothing there
//!   facts   name → number           format version, runs, the last finished runs, sums
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use redb::{
    Database, Error as Cause, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};

/// The version of everything in the file that this program decides. Another one is set aside.
pub const FORMAT: u64 = 1;

/// SlotSet whose last_used are kept together.
pub const PLACES_PER_PAGE: u64 = 1024;

/// Finished runs whose numbers are kept.
pub const FINISHED_KEPT: usize = 100;

/// Bytes of pages that are kept in memory; the system's own cache has the rest.
const CACHE: usize = 4 << 20;

/// What a database file begins with.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

const INDEX: TableDefinition<&[u8; 32], u64> = TableDefinition::new("index");
const PLACES: TableDefinition<u64, &[u8]> = TableDefinition::new("places");
const AGES: TableDefinition<u64, &[u8]> = TableDefinition::new("last_used");
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");

/// Numbers that the cache keeps about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// [`FORMAT`].
    Format,
    /// The last run that wrote.
    Run,
    /// The last run that saw every row of its input.
    FinishedRun,
    /// The run that began a rebuild whose output is not in place yet; what it and later runs wrote belongs to it.
    RebuildingSince,
    /// The next place that nothing was ever put at.
    NextPlace,
    /// Number of entries.
    Entries,
    /// What they cost, by [`super::room::cost`].
    Bytes,
}

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Fact::Format => "format",
            Fact::Run => "run",
            Fact::FinishedRun => "finished run",
            Fact::RebuildingSince => "rebuilding since run",
            Fact::NextPlace => "next place",
            Fact::Entries => "entries",
            Fact::Bytes => "bytes",
        }
    }
}

/// Why something did not work.
#[derive(Debug)]
pub enum Trouble {
    /// The file is not what this program wrote: damaged, or of another version.
    Damaged(String),
    /// Everything else: the disk, or another process.
    Failed(Error),
}

/// An open database.
pub struct Base {
    path: PathBuf,
    /// Taken out when it is closed.
    file: Option<OpenFile>,
}

enum OpenFile {
    Write(Database),
    Read(ReadOnlyDatabase),
}

/// Closing writes, and may trip over what is damaged.
impl Drop for Base {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // What is not in order afterwards is repaired by the next open.
            let _ = guarded(&self.path, || {
                drop(file);
                Ok(())
            });
        }
    }
}

/// The tables as one moment had them.
pub struct Snapshot {
    pub index: ReadOnlyTable<&'static [u8; 32], u64>,
    pub places: ReadOnlyTable<u64, &'static [u8]>,
    pub last_used: ReadOnlyTable<u64, &'static [u8]>,
}

/// The tables under way to the next moment.
pub struct Tables<'t> {
    pub index: Table<'t, &'static [u8; 32], u64>,
    pub places: Table<'t, u64, &'static [u8]>,
    pub last_used: Table<'t, u64, &'static [u8]>,
    pub facts: Table<'t, &'static str, u64>,
}

/// What stands at a path, before anyone opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A database, or what is left of one.
    Database,
    /// Zeros where a database begins.
    Zeros,
    /// A file of another kind, which is not ours to touch.
    Foreign,
}

/// Looks at the first bytes of a file.
pub fn look(path: &Path) -> Result<Found> {
    let unreadable = |cause: io::Error| failed(path, "the cache cannot be read").caused_by(cause);
    match fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(cause) => return Err(unreadable(cause)),
        Ok(found) if !found.is_file() => return Ok(Found::Foreign),
        Ok(_) => {}
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(unreadable)?;
    Ok(match &start[..] {
        [] => Found::Nothing,
        start if MAGIC.starts_with(start) => Found::Database,
        start if start.iter().all(|byte| *byte == 0) => Found::Zeros,
        _ => Found::Foreign,
    })
}

/// Opens a database for reading and writing, and makes it if there is none.
pub fn open(path: &Path) -> Result<Base, Trouble> {
    let file = guarded(path, || Ok(Database::builder().set_cache_size(CACHE).create(path)?))?;
    let base = Base { path: path.to_owned(), file: Some(OpenFile::Write(file)) };
    let is_new = base.read(|read| Ok(read.list_tables()?.next().is_none()))?;
    if is_new {
        base.write(|tables| tables.set(Fact::Format, FORMAT))?;
    }
    base.check_format()?;
    base.check_order()?;
    Ok(base)
}

/// Opens a database for reading only.
pub fn open_to_read(path: &Path) -> Result<Base, Trouble> {
    let file =
        guarded(path, || Ok(Database::builder().set_cache_size(CACHE).open_read_only(path)?))?;
    let base = Base { path: path.to_owned(), file: Some(OpenFile::Read(file)) };
    base.check_format()?;
    base.check_order()?;
    Ok(base)
}

impl Base {
    fn check_format(&self) -> Result<(), Trouble> {
        let format = self.fact(Fact::Format)?;
        if format == FORMAT {
            return Ok(());
        }
        Err(Trouble::Damaged(format!("its format is version {format}, this program's is {FORMAT}")))
    }

    /// Walks through the index, which is small. A tree that is out of order finds some texts and not others, and
    /// would do so for ever: entries vouch for themselves, but not for those that are not found.
    fn check_order(&self) -> Result<(), Trouble> {
        let complaint = self.read(|read| {
            let (index, places) = (read.open_table(INDEX)?, read.open_table(PLACES)?);
            let mut last: Option<[u8; 32]> = None;
            let mut keys = 0;
            for entry in index.iter()? {
                let key = *entry?.0.value();
                if last.is_some_and(|last| last >= key) {
                    return Ok(Some("its index is out of order"));
                }
                (last, keys) = (Some(key), keys + 1);
            }
            let facts = read.open_table(FACTS)?;
            let fact = |fact: Fact| -> Result<u64, Cause> {
                Ok(facts.get(fact.name())?.map_or(0, |number| number.value()))
            };
            let end = places.last()?.map_or(0, |(place, _)| place.value().saturating_add(1));
            let adds_up = keys == index.len()?
                && places.len()? == fact(Fact::Entries)?
                && end <= fact(Fact::NextPlace)?;
            Ok((!adds_up).then_some("its sums are not those of its entries"))
        })?;
        complaint.map_or(Ok(()), |complaint| Err(Trouble::Damaged(complaint.to_owned())))
    }

    /// A fact as it is now; 0 where it was never set.
    pub fn fact(&self, fact: Fact) -> Result<u64, Trouble> {
        self.read(|read| {
            let number = read.open_table(FACTS)?.get(fact.name())?;
            Ok(number.map_or(0, |number| number.value()))
        })
    }

    /// The last finished runs, as [`Tables::finished_runs`] gives them.
    pub fn finished_runs(&self) -> Result<Vec<u32>, Trouble> {
        self.read(|read| finished_runs(&read.open_table(FACTS)?))
    }

    /// The tables as they are now.
    pub fn snapshot(&self) -> Result<Snapshot, Trouble> {
        self.read(|read| {
            Ok(Snapshot {
                index: read.open_table(INDEX)?,
                places: read.open_table(PLACES)?,
                last_used: read.open_table(AGES)?,
            })
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(ReadTransaction) -> Result<T, Cause>,
    ) -> Result<T, Trouble> {
        guarded(&self.path, || match &self.file {
            Some(OpenFile::Write(database)) => work(database.begin_read()?),
            Some(OpenFile::Read(database)) => work(database.begin_read()?),
            None => Err(Cause::DatabaseClosed),
        })
    }

    /// Does some work on the tables and commits it: all of it is on the disk afterwards, or none.
    pub fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Cause>,
    ) -> Result<T, Trouble> {
        let Some(OpenFile::Write(database)) = &self.file else {
            return Err(Trouble::Failed(failed(&self.path, "the cache is open for reading only")));
        };
        guarded(&self.path, || {
            let transaction = database.begin_write()?;
            let done = {
                let mut tables = Tables::open(&transaction)?;
                work(&mut tables)?
            };
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Checks every page of the file against its check sum; whether all held.
    pub fn check(&mut self) -> Result<bool, Trouble> {
        match &mut self.file {
            Some(OpenFile::Write(database)) => {
                guarded(&self.path, || Ok(database.check_integrity()?))
            }
            _ => Ok(true),
        }
    }

    /// Gives room that nothing takes back to the file system.
    pub fn compact(&mut self) -> Result<(), Trouble> {
        match &mut self.file {
            Some(OpenFile::Write(database)) => guarded(&self.path, || {
                while database.compact()? {}
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    /// Closes the file, so that the next open finds it in order.
    pub fn close(mut self) -> Result<(), Trouble> {
        match self.file.take() {
            Some(OpenFile::Write(database)) => guarded(&self.path, || Ok(database.close()?)),
            Some(OpenFile::Read(database)) => guarded(&self.path, || Ok(database.close()?)),
            None => Ok(()),
        }
    }
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Cause> {
        Ok(Tables {
            index: transaction.open_table(INDEX)?,
            places: transaction.open_table(PLACES)?,
            last_used: transaction.open_table(AGES)?,
            facts: transaction.open_table(FACTS)?,
        })
    }

    /// A fact; 0 where it was never set.
    pub fn get(&self, fact: Fact) -> Result<u64, Cause> {
        Ok(self.facts.get(fact.name())?.map_or(0, |number| number.value()))
    }

    /// Sets a fact.
    pub fn set(&mut self, fact: Fact, number: u64) -> Result<(), Cause> {
        self.facts.insert(fact.name(), number)?;
        Ok(())
    }

    /// The numbers of the last finished runs, ascending: at most [`FINISHED_KEPT`].
    pub fn finished_runs(&self) -> Result<Vec<u32>, Cause> {
        finished_runs(&self.facts)
    }

    /// Notes that a run has seen every row of its input.
    pub fn finish_run(&mut self, run: u32) -> Result<(), Cause> {
        self.set(Fact::Run, run.into())?;
        self.set(Fact::FinishedRun, run.into())?;
        self.facts.insert(&*finished_name(run), u64::from(run))?;
        let runs = self.finished_runs()?;
        for run in &runs[..runs.len().saturating_sub(FINISHED_KEPT)] {
            self.facts.remove(&*finished_name(*run))?;
        }
        Ok(())
    }
}

/// The facts about finished runs are named so that their names have the order of their numbers.
fn finished_name(run: u32) -> String {
    format!("{FINISHED}{run:010}")
}

const FINISHED: &str = "finished run ";
/// The first name that comes after all of them.
const AFTER_FINISHED: &str = "finished run!";

fn finished_runs(facts: &impl ReadableTable<&'static str, u64>) -> Result<Vec<u32>, Cause> {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut runs = Vec::new();
    for fact in facts.range(FINISHED..AFTER_FINISHED)? {
        runs.push(number(fact?.1.value()));
    }
    // A cache of before there was a list knows the last one.
    if runs.is_empty() {
        let last = facts.get(Fact::FinishedRun.name())?.map(|run| number(run.value()));
        runs.extend(last.filter(|last| *last > 0));
    }
    Ok(runs)
}

/// Runs a piece of database work: a panic inside is damage, for the library trusts what it reads in its file.
pub fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Cause>) -> Result<T, Trouble> {
    let mut outcome = None;
    let panicked = catch_panic(ErrorKind::Cache, "the database", || {
        outcome = Some(work());
        Ok(())
    });
    match (panicked, outcome) {
        (Err(panic), _) => Err(Trouble::Damaged(panic.to_string())),
        (Ok(()), Some(outcome)) => outcome.map_err(|cause| trouble(path, cause)),
        (Ok(()), None) => Err(Trouble::Failed(failed(path, "the database gave no answer"))),
    }
}

fn trouble(path: &Path, cause: Cause) -> Trouble {
    match cause {
        Cause::DatabaseAlreadyOpen | Cause::LockProtocolMismatch => Trouble::Failed(
            Error::new(ErrorKind::Cache, "another process has the cache open")
                .in_file(path)
                .advice(
                    "wait until it is done, name another cache in `cache.path`, or go without with \
                     --cache-mode off",
                ),
        ),
        Cause::RepairAborted => Trouble::Failed(
            Error::new(ErrorKind::Cache, "the cache was not closed and has to be repaired")
                .in_file(path)
                .advice("let one run use it with --cache-mode read-write"),
        ),
        Cause::Io(cause)
            if ![io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof]
                .contains(&cause.kind()) =>
        {
            Trouble::Failed(failed(path, "the cache cannot be read or written").caused_by(cause))
        }
        Cause::PreviousIo | Cause::DatabaseClosed | Cause::TransactionInProgress => {
            Trouble::Failed(failed(path, "the cache cannot be read or written").caused_by(cause))
        }
        damage => Trouble::Damaged(damage.to_string()),
    }
}

/// The error of a cache that cannot be used.
pub fn failed(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Cache, message).in_file(path).advice(
        "check that its directory can be written to and its disk has room; what was committed is kept, and the \
         next run goes on from there",
    )
}

/// The error of a cache that is damaged where it cannot be mended.
pub fn damaged(path: &Path, reason: &str) -> Error {
    Error::new(ErrorKind::Cache, format!("the cache is damaged: {reason}"))
        .in_file(path)
        .advice("delete the file: the next run embeds every row again and makes a new one")
}

/// Moves a file out of the way, so that a new one can take its name; gives where it went.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    let aside = PathBuf::from(name);
    fs::rename(path, &aside).map_err(|cause| {
        failed(path, "the cache is damaged and cannot be moved out of the way").caused_by(cause)
    })?;
    Ok(aside)
}
