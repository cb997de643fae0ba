//! The keys of a table while it is written, and what follows when it is published: its vectors need not be in the
//! cache any more, and those that it displaces do.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use super::reuse::Known;
use super::unchanged::ExistingVectors;
use crate::cache::VectorCache;
use crate::chunk::{ResolvedChunk, UnchangedGroup};
use crate::config::{Carry, Config};
use crate::hidden_names::{OutputPlace, directory_of};
use crate::publish::{self, ExistingFile, OutputLock, create_like_parent, write_error};
use crate::published::{
    KeyFile, KeyFileWriter, KeyedColumn, PublishedTable, PublishedVectors, RowKey, ShortKey,
    footer_digest,
};
use crate::reader::{Reader, TableFile};
use crate::vectors::VectorForm;

/// Keys that leave the cache in one commit.
const RELEASED_AT_ONCE: usize = 8192;

/// Displaced vectors that are looked up in one view of the cache.
const LOOKED_UP_AT_ONCE: u64 = 1024;

/// The keys of the rows that are written so far. They are kept for outputs whose columns are copied.
pub struct TableKeys {
    writer: KeyFileWriter<NamedTempFile>,
    target: PathBuf,
    previous: Option<PreviousOutput>,
    /// The keys of each file whose vectors may be copied.
    sources: Vec<Option<KeyedGroups>>,
    /// The row groups of the previous output whose vectors were copied.
    copied: Vec<usize>,
}

/// The keys of a file, and the rows of each of its row groups.
struct KeyedGroups {
    keys: KeyFile,
    groups: Vec<Range<u64>>,
    is_output: bool,
}

/// What a finished file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A table, whose vectors can be looked up.
    Table,
    /// A part of a table, which gets its vectors.
    Part,
}

/// The output that is replaced, with its keys.
pub struct PreviousOutput {
    table: PublishedTable,
    keys: KeyFile,
    /// The rows of each row group.
    groups: Vec<Range<u64>>,
}

/// The keys of a finished table, not in their place yet.
pub struct StagedKeys {
    file: NamedTempFile,
    keys: KeyFile,
    /// Entries of the cache that were evicted for displaced vectors.
    pub evicted: u64,
    /// Displaced vectors that the cache could not store.
    pub not_stored: u64,
}

impl PreviousOutput {
    /// The existing output, if it has keys.
    pub fn open(place: &OutputPlace, existing: &ExistingFile) -> Option<PreviousOutput> {
        let ExistingFile::Output(footer) = existing else { return None };
        if footer.carry != Carry::Copy {
            return None;
        }
        let file = TableFile::open(place.path()).ok()?;
        let table = published_table(place, &file);
        let KeyedGroups { keys, groups, .. } = KeyedGroups::open(place, &file)?;
        Some(PreviousOutput { table, keys, groups })
    }

    /// The table.
    pub fn table(&self) -> &PublishedTable {
        &self.table
    }

    /// Its vectors, if it is an output alone, at this place.
    pub fn published(&self, place: &OutputPlace) -> PublishedVectors {
        PublishedVectors::of_output(place, self.table.footer.clone())
    }
}

impl KeyedGroups {
    /// The keys of the file at a place; `None` if it has none.
    fn open(place: &OutputPlace, file: &TableFile) -> Option<KeyedGroups> {
        let keys = KeyFile::open(&place.keys(), &footer_digest(file))?;
        let metadata = file.metadata().ok()?;
        let mut groups = Vec::with_capacity(metadata.group_count());
        let mut start = 0;
        for group in 0..metadata.group_count() {
            let end = start + metadata.group(group).ok()?.rows().unsigned_abs();
            groups.push(start..end);
            start = end;
        }
        (start == keys.rows()).then_some(KeyedGroups { keys, groups, is_output: false })
    }

    /// The same for a file whose vectors may be copied to an output: that itself, or a part of it.
    fn of_source(output: &OutputPlace, file: &TableFile) -> Option<KeyedGroups> {
        if file.path() == output.path() {
            let found = KeyedGroups::open(output, file)?;
            return Some(KeyedGroups { is_output: true, ..found });
        }
        let name = Path::new(file.path().file_name()?);
        KeyedGroups::open(&OutputPlace::in_dataset(directory_of(file.path()), name), file)
    }
}

/// The table in a file that is, or will be, at a place.
fn published_table(place: &OutputPlace, file: &TableFile) -> PublishedTable {
    PublishedTable { below: place.below(), footer: footer_digest(file) }
}

impl TableKeys {
    /// A writer of the keys of an output; `None` if its columns are encoded anew.
    ///
    /// # Errors
    /// `Target` or `Output`, naming the output, when the file cannot be created.
    pub fn create(
        config: &Config,
        lock: &OutputLock,
        reader: &Reader,
        forms: &[VectorForm],
        previous: Option<PreviousOutput>,
        existing: Option<&ExistingVectors>,
    ) -> Result<Option<TableKeys>> {
        if reader.carry() != Carry::Copy {
            return Ok(None);
        }
        let target = lock.path().to_owned();
        let columns = config.embeddings.iter().zip(forms);
        let columns = columns.map(|(embedding, form)| KeyedColumn {
            column: embedding.column.clone(),
            is_whole: form.is_whole(),
        });
        let file = publish::create_temporary(lock.place(), lock.existing().ownership())?;
        let writer = KeyFileWriter::new(file, columns.collect())
            .map_err(|cause| unwritable(&target, cause))?;
        let files = existing.map(ExistingVectors::files).unwrap_or_default();
        let sources = files.into_iter().map(|(file, _)| KeyedGroups::of_source(lock.place(), file));
        let sources = sources.collect();
        Ok(Some(TableKeys { writer, target, previous, sources, copied: Vec::new() }))
    }

    /// Adds the rows of a chunk.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be written.
    pub fn add(&mut self, chunk: &ResolvedChunk) -> Result<()> {
        let rows = chunk.vectors.first().map_or(0, |(vectors, _)| vectors.present.len());
        for row in 0..rows {
            let keys = chunk.vectors.iter().map(|(vectors, facts)| {
                let has_vector = vectors.present.get(row).copied().unwrap_or(false);
                let measure = facts
                    .measures
                    .get(row)
                    .and_then(|(tokens, cut)| Some((u32::try_from(*tokens).ok()?, *cut)));
                let key = facts.keys.get(row).filter(|_| has_vector).map(ShortKey::from);
                RowKey { key, measure }
            });
            self.writer.add(keys).map_err(|cause| unwritable(&self.target, cause))?;
        }
        Ok(())
    }

    /// Adds the rows of a row group that is copied from another file.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be written.
    pub fn copy(&mut self, group: &UnchangedGroup) -> Result<()> {
        let source = self.sources.get(group.file).and_then(Option::as_ref);
        let known = source.and_then(|source| Some((source, source.groups.get(group.group)?)));
        let copied = match known {
            Some((source, rows)) => self.writer.copy(Some(&source.keys), rows.clone()),
            None => self.writer.copy(None, 0..group.rows()),
        };
        if source.is_some_and(|source| source.is_output) {
            self.copied.push(group.group);
        }
        copied.map_err(|cause| unwritable(&self.target, cause))
    }

    /// Completes the keys of the finished table at `finished`, which is not in its place yet, and keeps the vectors that it
    /// displaces. `None` if the file cannot be opened: the read-back tells why.
    ///
    /// # Errors
    /// `Output`, naming the table; `Cache` when the displaced vectors cannot be kept.
    pub fn stage(
        self,
        finished: &Path,
        place: &OutputPlace,
        role: Role,
        (cache, published): Known<'_, '_>,
        commit_rows: NonZeroUsize,
    ) -> Result<Option<StagedKeys>> {
        let TableKeys { writer, target, previous, mut copied, .. } = self;
        let Ok(finished) = TableFile::open(finished) else { return Ok(None) };
        let table = published_table(place, &finished);
        let file = writer.finish(&table.footer).map_err(|cause| unwritable(&target, cause))?;
        let keys = file.reopen().map_err(|cause| unwritable(&target, cause))?;
        let keys = KeyFile::of(keys).ok_or_else(|| {
            let message =
                "read-back of the finished file failed: the keys of its rows are not those written";
            Error::new(ErrorKind::Output, message).in_file(&target).advice(
                "the output was not replaced; check the disk and the memory of the machine, then run again",
            )
        })?;
        let mut staged = StagedKeys::new(file, keys);
        let Some(published) = published.filter(|_| role == Role::Table) else {
            return Ok(Some(staged));
        };
        published.add(&table, &staged.keys, previous.is_none())?;
        let writer = cache.and_then(|cache| cache.writer_of_displaced(commit_rows.get()));
        if let (Some(cache), Some(mut writer), Some(previous)) = (cache, writer, previous)
            && previous.table != table
            && published.believes_earlier()
        {
            copied.sort_unstable();
            let groups = previous.groups.iter().enumerate();
            let ranges: Vec<Range<u64>> = groups
                .filter(|(group, _)| copied.binary_search(group).is_err())
                .map(|(_, rows)| rows.clone())
                .collect();
            let old = (&previous.table, &previous.keys);
            let new = (&table, &staged.keys);
            let mut looked_up = 0;
            let mut view = cache.view()?;
            published.displaced(old, new, &ranges, |key, (tokens, cut), vector| {
                looked_up += 1;
                if looked_up % LOOKED_UP_AT_ONCE == 0 {
                    // An old view would keep the database from using its free pages again.
                    view = cache.view()?;
                }
                if view.has(&key)? {
                    return Ok(());
                }
                writer.insert(key.padded(), tokens as usize, cut, vector);
                writer.commit_if_due()
            })?;
            writer.commit()?;
            (staged.evicted, staged.not_stored) = writer.totals();
        }
        Ok(Some(staged))
    }
}

impl StagedKeys {
    /// The keys in a temporary file.
    pub fn new(file: NamedTempFile, keys: KeyFile) -> StagedKeys {
        StagedKeys { file, keys, evicted: 0, not_stored: 0 }
    }

    /// Puts the keys of a table in their place. They are not made durable: without them, vectors are computed again.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be renamed.
    pub fn put(self, place: &OutputPlace) -> Result<KeyFile> {
        let path = place.keys();
        let put = || {
            let directory = directory_of(&path);
            if !directory.is_dir() {
                create_like_parent(directory)?;
            }
            self.file.persist(&path).map(drop).map_err(|error| error.error)
        };
        put().map_err(|cause| unwritable(place.path(), cause))?;
        Ok(self.keys)
    }
}

/// Removes the vectors from the cache that stand in a published table now, which is at `target`.
///
/// # Errors
/// `Cache` when it cannot be written.
pub fn release(cache: &VectorCache<'_>, target: &Path, keys: &KeyFile) -> Result<()> {
    let is_whole: Vec<bool> = keys.columns().iter().map(|column| column.is_whole).collect();
    let mut released = Vec::with_capacity(RELEASED_AT_ONCE);
    let mut outcome = Ok(());
    let scanned = keys.scan::<io::Error>(0..keys.rows(), |_, found| {
        let whole = found.iter().zip(&is_whole).filter(|(_, is_whole)| **is_whole);
        released.extend(whole.filter_map(|(found, _)| found.key));
        if released.len() >= RELEASED_AT_ONCE && outcome.is_ok() {
            outcome = cache.release(&released).map(drop);
            released.clear();
        }
        Ok(())
    });
    scanned.map_err(|cause| unwritable(target, cause))?;
    outcome?;
    cache.release(&released).map(drop)
}

/// Deletes the keys of an output that is deleted next.
///
/// # Errors
/// `Output`, naming the table, when they cannot be deleted.
pub fn delete(place: &OutputPlace) -> Result<()> {
    match fs::remove_file(place.keys()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(write_error(place.path(), "the keys of its rows cannot be deleted", cause))
        }
        _ => Ok(()),
    }
}

fn unwritable(target: &Path, cause: io::Error) -> Error {
    write_error(target, "the keys of its rows cannot be written", cause)
}
