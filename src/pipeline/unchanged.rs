//! Finds row groups whose texts are those of an existing file, whose vectors can be copied: the existing output, or a
//! part of the next one.
//!
//! Nothing but a copy may differ: the vectors must come from the same model in the same form, written
//! by the same version of this program. Then a run from scratch would give the same bytes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, LargeStringArray};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{ErrorKind, Result};
use reembed_encoder::model::config::Truncation;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use crate::cache::{CacheView, VectorCache};
use crate::carried::ChunkBytes;
use crate::chunk::UnchangedGroup;
use crate::config::{Carry, Config, OnEmpty, TextUse};
use crate::footer::{EmbeddingFooter, Footer, Lineage};
use crate::format::metadata::Metadata;
use crate::group_digest::{GroupDigest, TextHasher};
use crate::publish::ExistingFile;
use crate::reader::{GroupFilter, TableFile};
use crate::vectors::VectorForm;

/// The files whose vectors can be copied: the existing output, and parts of the next one.
#[derive(Debug)]
pub struct ExistingVectors {
    files: Vec<ExistingFileOfVectors>,
    /// The file of each row group, and its number there.
    places: Vec<(usize, usize)>,
    columns: Vec<ExistingColumn>,
}

/// A file with vectors.
#[derive(Debug)]
struct ExistingFileOfVectors {
    table: TableFile,
    /// The leaves of the vector columns.
    leaves: Vec<usize>,
}

/// A vector column of all files.
#[derive(Debug, Default)]
struct ExistingColumn {
    groups: Vec<GroupDigest>,
}

impl ExistingVectors {
    /// Opens the existing output and parts for a run that copies columns; `None` if no vectors can be copied. A file that
    /// cannot be opened or has changed is no error: its vectors are made again.
    pub fn open(
        config: &Config,
        existing: &ExistingFile,
        parts: &[PathBuf],
        columns: &[(Lineage, VectorForm)],
    ) -> Option<Self> {
        if config.run.rebuild {
            return None;
        }
        let none = columns.iter().map(|_| ExistingColumn::default()).collect();
        let mut found = ExistingVectors { files: Vec::new(), places: Vec::new(), columns: none };
        if let ExistingFile::Output(footer) = existing {
            // One that another process has replaced since is not opened.
            found.add(config, config.output.path(), Some(footer), columns);
        }
        for part in parts {
            found.add(config, part, None, columns);
        }
        (!found.files.is_empty()).then_some(found)
    }

    /// Adds the row groups of a file, if it has vectors of these columns.
    fn add(
        &mut self,
        config: &Config,
        path: &Path,
        expected: Option<&Footer>,
        columns: &[(Lineage, VectorForm)],
    ) -> Option<()> {
        let table = TableFile::open(path).ok()?;
        let metadata = table.metadata().ok()?;
        let footer = Footer::parse(&metadata.key_value(crate::footer::FOOTER_KEY)?).ok()?;
        if expected.is_some_and(|expected| *expected != footer) || !has_same_rows(config, &footer) {
            return None;
        }
        let (mut groups, mut leaves) = (Vec::new(), Vec::new());
        for (embedding, (lineage, form)) in config.embeddings.iter().zip(columns) {
            let written = footer.embedding(&embedding.column)?;
            if !has_same_vectors(&written, lineage, form)
                || metadata.group_count() != written.groups.len()
            {
                return None;
            }
            let root = metadata.schema.roots.iter().find(|root| root.name == embedding.column)?;
            groups.push(written.groups.to_vec());
            leaves.push(root.leaves.start);
        }
        self.places.extend((0..metadata.group_count()).map(|group| (self.files.len(), group)));
        for (column, groups) in self.columns.iter_mut().zip(groups) {
            column.groups.extend(groups);
        }
        drop(metadata);
        self.files.push(ExistingFileOfVectors { table, leaves });
        Some(())
    }

    /// The open files, each with the leaves of the vector columns.
    pub fn files(&self) -> Vec<(&TableFile, Vec<usize>)> {
        self.files.iter().map(|file| (&file.table, file.leaves.clone())).collect()
    }

    /// The unchanged row group with a number of [`UnchangedTexts`].
    pub fn group(&self, existing: usize) -> UnchangedGroup {
        let digests = self.columns.iter().map(|column| column.groups[existing].clone()).collect();
        let (file, group) = self.places[existing];
        UnchangedGroup { file, group, digests }
    }

    /// The footers of the files.
    fn metadata(&self) -> Result<Vec<Metadata<'_>>> {
        self.files.iter().map(|file| file.table.metadata()).collect()
    }

    /// Whether the vectors of a row group are as they were written.
    fn is_intact(&self, metadata: &[Metadata<'_>], number: usize, stop: &Stop) -> Result<bool> {
        let (file, group) = self.places[number];
        let ExistingFileOfVectors { table, leaves } = &self.files[file];
        let mut chunks = ChunkBytes::new(table);
        for (column, leaf) in self.columns.iter().zip(leaves) {
            let pages = metadata[file].group(group).and_then(|parsed| {
                chunks.pages(&metadata[file], (&parsed, *leaf), |_| stop.check())
            });
            let is_intact = match pages {
                Ok((digest, _)) => format!("{digest:032x}") == column.groups[number].pages,
                Err(error) if matches!(error.kind(), ErrorKind::Stopped(_)) => return Err(error),
                // Damaged vectors are made again.
                Err(_) => false,
            };
            if !is_intact {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether rows of the existing output are rows of this one.
fn has_same_rows(config: &Config, footer: &Footer) -> bool {
    footer.carry == Carry::Copy && footer.on_empty == Some(config.output.on_empty)
}

/// Whether the run would write equal vectors in equal bytes.
fn has_same_vectors(written: &EmbeddingFooter<'_>, lineage: &Lineage, form: &VectorForm) -> bool {
    written.lineage.version == lineage.version
        && written.lineage.tool == lineage.tool
        && written.lineage.fingerprint == lineage.fingerprint
        && written.form == Some(&form.to_footer())
}

/// Compares the texts of the input's row groups with those of the existing output.
pub struct UnchangedTexts<'a> {
    existing: &'a ExistingVectors,
    metadata: Vec<Metadata<'a>>,
    /// Numbers of rows of the existing row groups.
    row_counts: HashSet<u64>,
    /// The existing row groups by their rows and the digest of their first block.
    by_block: HashMap<(u64, &'a str), Vec<usize>>,
    stop: &'a Stop,
    rows: u64,
    /// Those of the vector columns.
    keys: &'a [ContentKeys],
    on_empty: OnEmpty,
    cache: Option<&'a VectorCache<'a>>,
    /// Entries of unchanged texts count as used, so that they outlive a row group that changes.
    view: Option<CacheView<'a>>,
    /// The row groups that have the blocks so far; `None` before the first block.
    candidates: Option<Vec<usize>>,
    /// Of the texts of each vector column.
    hashers: Vec<TextHasher>,
}

impl<'a> UnchangedTexts<'a> {
    /// A filter of the row groups of an input.
    ///
    /// # Errors
    /// Those of [`TableFile::metadata`], which has been parsed before.
    pub fn new(
        existing: &'a ExistingVectors,
        keys: &'a [ContentKeys],
        config: &Config,
        cache: Option<&'a VectorCache<'a>>,
        stop: &'a Stop,
    ) -> Result<Self> {
        let mut by_block: HashMap<(u64, &str), Vec<usize>> = HashMap::new();
        // A group with a text that is now refused is read again, which names the row.
        let refuses: Vec<bool> = config
            .embeddings
            .iter()
            .map(|embedding| embedding.model.text.truncation == Truncation::Error)
            .collect();
        let is_allowed = |number: usize| {
            let mut columns = existing.columns.iter().zip(&refuses);
            columns.all(|(column, refuses)| column.groups[number].truncated == 0 || !refuses)
        };
        let groups = existing.columns.first().map_or(&[][..], |column| &column.groups);
        for (number, group) in groups.iter().enumerate().filter(|(number, _)| is_allowed(*number)) {
            if let Some(block) = group.texts.first() {
                by_block.entry((group.rows, block)).or_default().push(number);
            }
        }
        let row_counts = by_block.keys().map(|(rows, _)| *rows).collect();
        Ok(UnchangedTexts {
            existing,
            metadata: existing.metadata()?,
            row_counts,
            by_block,
            stop,
            rows: 0,
            keys,
            on_empty: config.output.on_empty,
            cache,
            view: None,
            candidates: None,
            hashers: Vec::new(),
        })
    }

    /// Compares a block of texts of a vector column, the first one first; returns whether a row group is
    /// left that has it.
    fn compare(&mut self, column: usize, block: usize, found: &str) -> bool {
        let groups = &self.existing.columns[column].groups;
        let candidates = match self.candidates.take() {
            None => self.by_block.get(&(self.rows, found)).cloned().unwrap_or_default(),
            Some(mut left) => {
                left.retain(|number| groups[*number].texts.get(block).is_some_and(|t| t == found));
                left
            }
        };
        let is_left = !candidates.is_empty();
        self.candidates = Some(candidates);
        is_left
    }
}

impl GroupFilter for UnchangedTexts<'_> {
    fn begin(&mut self, rows: u64) -> bool {
        (self.rows, self.candidates) = (rows, None);
        self.hashers = self.keys.iter().map(|_| TextHasher::default()).collect();
        self.row_counts.contains(&rows)
    }

    fn add(&mut self, texts: &[LargeStringArray]) -> Result<bool> {
        self.stop.check()?;
        if self.view.is_none() {
            self.view = self.cache.map(VectorCache::view).transpose()?;
        }
        for (column, texts) in texts.iter().enumerate() {
            debug_assert_eq!(texts.null_count(), 0);
            for text in strings(texts) {
                if self.on_empty.use_of(text) == TextUse::Refuse {
                    return Ok(false);
                }
                let key = self.keys[column].key(text);
                if self.on_empty.use_of(text) == TextUse::Embed
                    && let Some(view) = &mut self.view
                {
                    view.mark_used(&key)?;
                }
                let known = self.hashers[column].blocks().len();
                if self.hashers[column].push(&key) > known {
                    let found = self.hashers[column].blocks()[known].clone();
                    if !self.compare(column, known, &found) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<Option<usize>> {
        let hashers = std::mem::take(&mut self.hashers);
        let texts: Vec<Vec<String>> = hashers.into_iter().map(TextHasher::finish).collect();
        self.view = None;
        let first = texts.first().and_then(|blocks| blocks.first());
        if let (None, Some(only)) = (&self.candidates, first) {
            self.compare(0, 0, only);
        }
        let existing = self.existing;
        for number in self.candidates.take().unwrap_or_default() {
            let mut columns = existing.columns.iter().zip(&texts);
            if columns.all(|(column, texts)| column.groups[number].texts == *texts)
                && existing.is_intact(&self.metadata, number, self.stop)?
            {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// A filter that finds nothing.
pub struct NoFilter;

impl GroupFilter for NoFilter {
    fn begin(&mut self, _: u64) -> bool {
        false
    }

    fn add(&mut self, _: &[LargeStringArray]) -> Result<bool> {
        Ok(false)
    }

    fn end(&mut self) -> Result<Option<usize>> {
        Ok(None)
    }
}
