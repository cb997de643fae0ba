//! The tables that a run has published so far, a line of JSON each, and those whose outputs it deletes. It makes a run
//! that was killed go on where it was: the manifest is written at the end alone, before outputs are deleted.
//!
//! A line that is lost in a crash costs a look at the table, so that nothing waits for the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use reembed_encoder::error::Result;

use super::manifest::TableRecord;
use crate::publish::write_error;

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// The records of a journal, in order. Those after a broken line are lost.
pub fn read(path: &Path) -> io::Result<Vec<TableRecord>> {
    match fs::read_to_string(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // A crash may leave anything.
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => Ok(Vec::new()),
        text => {
            let records = text?;
            Ok(records.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
        }
    }
}

impl Journal {
    /// Opens a journal, with these records in it: those that were read from it.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn start(path: &Path, records: &[TableRecord]) -> Result<Journal> {
        let failed = |cause: io::Error| write_error(path, "the journal cannot be written", cause);
        let mut options = OpenOptions::new();
        // They are written over themselves and the rest is cut off, so that a kill here loses none.
        options.create(true).write(true).truncate(false);
        let file = options.open(path).map_err(failed)?;
        let journal = Journal { path: path.to_owned(), file: Mutex::new(file) };
        records.iter().try_for_each(|record| journal.add(record))?;
        let mut file = journal.file.lock().unwrap_or_else(PoisonError::into_inner);
        let length = file.stream_position().map_err(failed)?;
        file.set_len(length).map_err(failed)?;
        drop(file);
        Ok(journal)
    }

    /// Adds tables whose outputs will be deleted, and makes them durable.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn keep(&self, gone: &[&TableRecord]) -> Result<()> {
        gone.iter().try_for_each(|record| self.add(record))?;
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_data()
            .map_err(|cause| write_error(&self.path, "the journal cannot be written", cause))
    }

    /// Adds a table.
    ///
    /// # Errors
    /// `Output`, naming the file.
    pub fn add(&self, record: &TableRecord) -> Result<()> {
        let failed =
            |cause: io::Error| write_error(&self.path, "the journal cannot be written", cause);
        let mut line = serde_json::to_vec(record).map_err(|cause| failed(cause.into()))?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(failed)
    }
}

/// Deletes a journal: the manifest has its records.
///
/// # Errors
/// `Output`, naming the file.
pub fn delete(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(write_error(path, "the journal cannot be deleted", cause))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::record;
    use super::*;

    #[test]
    fn records_up_to_a_broken_line_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        assert_eq!(read(&path).expect("none is no fault"), []);
        let records = [record("a", "s"), record("b", "s")];
        let journal = Journal::start(&path, &records[..1]).expect("a journal");
        journal.add(&records[1]).expect("a line");
        assert_eq!(read(&path).expect("a journal"), records);
        let whole = fs::read(&path).expect("a journal");
        fs::write(&path, &whole[..whole.len() - 9]).expect("a torn line");
        assert_eq!(read(&path).expect("a journal"), records[..1]);
        fs::write(&path, b"\xff\n").expect("no text");
        assert_eq!(read(&path).expect("a journal"), []);
        delete(&path).expect("it is deleted");
        delete(&path).expect("there is none");
        assert!(!path.exists());
    }
}
