//! The keys of a table while it is written, and what follows when it is published: its vectors need not be in the
//! cache any more, and those that it displaces do.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;
use tempfile::NamedTempFile;

use super::reuse::Known;
use super::unchanged::ExistingVectors;
use crate::cache::VectorCache;
use crate::chunk::{ResolvedChunk, UnchangedGroup};
use crate::config::{Carry, ColumnChoice, Config};
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

/// The keys of the rows that are written so far.
pub struct TableKeys {
    /// `None` if columns are encoded anew: such an output has no keys.
    writer: Option<KeyFileWriter<NamedTempFile>>,
    is_durable: bool,
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
    /// `None` if the table has none.
    written: Option<(NamedTempFile, KeyFile)>,
    is_durable: bool,
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
    pub fn published(&self, place: &OutputPlace, stop: &Stop) -> PublishedVectors {
        PublishedVectors::of_output(place, self.table.footer.clone(), stop)
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
    /// A writer of the keys of an output.
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
    ) -> Result<TableKeys> {
        let target = lock.path().to_owned();
        let columns = config.embeddings.iter().zip(forms);
        let columns = columns.map(|(embedding, form)| KeyedColumn {
            column: embedding.column.clone(),
            is_lossless: form.is_lossless(),
        });
        let writer = match reader.carry() {
            Carry::Copy => {
                let file = publish::create_temporary(lock.place(), lock.existing().ownership())?;
                let writer = KeyFileWriter::new(file, columns.collect());
                Some(writer.map_err(|cause| unwritable(&target, cause))?)
            }
            Carry::Reencode => None,
        };
        // They can be made again from texts that the output carries.
        let is_durable = config.output.columns != ColumnChoice::All;
        let files = existing.map(ExistingVectors::files).unwrap_or_default();
        let sources = files.into_iter().map(|(file, _)| KeyedGroups::of_source(lock.place(), file));
        let sources = sources.collect();
        Ok(TableKeys { writer, is_durable, target, previous, sources, copied: Vec::new() })
    }

    /// Adds the rows of a chunk.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be written.
    pub fn add(&mut self, chunk: &ResolvedChunk) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
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
            writer.add(keys).map_err(|cause| unwritable(&self.target, cause))?;
        }
        Ok(())
    }

    /// Adds the rows of a row group that is copied from another file.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be written.
    pub fn copy(&mut self, group: &UnchangedGroup) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let source = self.sources.get(group.file).and_then(Option::as_ref);
        let known = source.and_then(|source| Some((source, source.groups.get(group.group)?)));
        let copied = match known {
            Some((source, rows)) => writer.copy(Some(&source.keys), rows.clone()),
            None => writer.copy(None, 0..group.rows()),
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
        let TableKeys { writer, is_durable, target, previous, mut copied, .. } = self;
        let Ok(finished) = TableFile::open(finished) else { return Ok(None) };
        let table = published_table(place, &finished);
        let write = |writer: KeyFileWriter<NamedTempFile>| {
            let file = writer.finish(&table.footer).map_err(|cause| unwritable(&target, cause))?;
            let keys = file.reopen().map_err(|cause| unwritable(&target, cause))?;
            let keys = KeyFile::in_file(keys).ok_or_else(|| {
                let message = "read-back of the finished file failed: the keys of its rows are not those written";
                Error::new(ErrorKind::Output, message).in_file(&target).advice(
                    "the output was not replaced; check the disk and the memory of the machine, then run again",
                )
            })?;
            Ok::<_, Error>((file, keys))
        };
        let written = writer.map(write).transpose()?;
        let mut staged = StagedKeys { written, is_durable, evicted: 0, not_stored: 0 };
        let Some(published) = published.filter(|_| role == Role::Table) else {
            return Ok(Some(staged));
        };
        let new = staged.written.as_ref().map(|(_, keys)| (&table, keys));
        let replaces = previous.as_ref().is_some_and(|previous| previous.table != table);
        let writer = cache
            .filter(|_| replaces && published.believes_earlier())
            .and_then(|cache| cache.writer_of_displaced(commit_rows.get()));
        // An output alone is looked up no more.
        if let Some((_, keys)) = new.filter(|_| place.is_in_dataset() || writer.is_some()) {
            published.add(&table, keys, previous.is_none())?;
        }
        if let (Some(cache), Some(mut writer), Some(previous)) = (cache, writer, previous) {
            copied.sort_unstable();
            let groups = previous.groups.iter().enumerate();
            let changed: Vec<Range<u64>> = groups
                .filter(|(group, _)| copied.binary_search(group).is_err())
                .map(|(_, rows)| rows.clone())
                .collect();
            let old = (&previous.table, &previous.keys);
            let mut looked_up = 0;
            let mut view = cache.view()?;
            published.displaced(old, new, &changed, |key, (tokens, cut), vector| {
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
        StagedKeys { written: Some((file, keys)), is_durable: false, evicted: 0, not_stored: 0 }
    }

    /// Puts the keys of a table in their place, and returns them. A table without keys must not have those of its
    /// predecessor.
    ///
    /// # Errors
    /// `Output`, naming the table, when they cannot be renamed or deleted.
    pub fn put(self, place: &OutputPlace) -> Result<Option<KeyFile>> {
        let Some((file, keys)) = self.written else { return delete(place).map(|()| None) };
        let path = place.keys();
        let put = || {
            let directory = directory_of(&path);
            if !directory.is_dir() {
                create_like_parent(directory)?;
            }
            if self.is_durable {
                file.as_file().sync_data()?;
            }
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        put().map_err(|cause| unwritable(place.path(), cause))?;
        Ok(Some(keys))
    }
}

/// Removes the vectors from the cache that stand in a published table now. Keys that cannot be read release nothing.
///
/// # Errors
/// `Cache` when it cannot be written.
pub fn release(cache: &VectorCache<'_>, keys: &KeyFile) -> Result<()> {
    let is_lossless: Vec<bool> = keys.columns().iter().map(|column| column.is_lossless).collect();
    let mut released = Vec::with_capacity(RELEASED_AT_ONCE);
    let mut outcome = Ok(());
    let scanned = keys.scan::<io::Error>(0..keys.rows(), |_, found| {
        let whole = found.iter().zip(&is_lossless).filter(|(_, is_lossless)| **is_lossless);
        released.extend(whole.filter_map(|(found, _)| found.key));
        if released.len() >= RELEASED_AT_ONCE {
            outcome = cache.release(&released).map(drop);
            released.clear();
            if outcome.is_err() {
                return Err(io::ErrorKind::Other.into());
            }
        }
        Ok(())
    });
    outcome?;
    if scanned.is_err() {
        return Ok(());
    }
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
