//! Finds row groups whose texts are unchanged since the existing output, whose vectors can be copied.
//!
//! Nothing but a copy may differ: the vectors must come from the same model in the same form, written
//! by the same version of this program. Then a run from scratch would give the same bytes.

use std::collections::HashMap;

use arrow::array::{Array, LargeStringArray};
use reembed_encoder::batch::strings;
use reembed_encoder::error::Result;
use reembed_encoder::task::ContentKeys;

use crate::cache::{CacheView, VectorCache};
use crate::carried::ChunkBytes;
use crate::chunk::UnchangedGroup;
use crate::config::{CacheMode, Carry, Config, OnEmpty, TextUse};
use crate::footer::{Footer, Lineage};
use crate::group_digest::{GroupDigest, TextHasher};
use crate::publish::ExistingFile;
use crate::reader::{GroupFilter, TableFile};

/// The existing output, if its vectors can be copied.
#[derive(Debug)]
pub struct ExistingVectors {
    table: TableFile,
    groups: Vec<GroupDigest>,
    /// The leaf of the vectors.
    leaf: usize,
}

impl ExistingVectors {
    /// Opens the existing output; `None` if its vectors cannot be copied. A file that cannot be
    /// opened or has changed is no error: its vectors are made again.
    pub fn open(config: &Config, existing: &ExistingFile, lineage: &Lineage) -> Option<Self> {
        let ExistingFile::Output(footer) = existing else { return None };
        if config.run.rebuild || !is_same_form(config, footer, lineage) {
            return None;
        }
        let table = TableFile::open(&config.output.path).ok()?;
        let metadata = table.metadata().ok()?;
        let entry = metadata.key_value(crate::footer::FOOTER_KEY)?;
        if Footer::parse(&entry).ok()? != **footer || metadata.group_count() != footer.groups.len()
        {
            return None;
        }
        let root = metadata.schema.roots.iter().find(|root| root.name == footer.column)?;
        let leaf = root.leaves.start;
        drop(metadata);
        Some(ExistingVectors { table, groups: footer.groups.clone(), leaf })
    }

    /// The open file.
    pub fn table(&self) -> &TableFile {
        &self.table
    }

    /// The leaf of the vectors.
    pub fn leaf(&self) -> usize {
        self.leaf
    }

    /// The unchanged row group with a number of [`UnchangedTexts`].
    pub fn group(&self, existing: usize) -> UnchangedGroup {
        UnchangedGroup { existing, digest: self.groups[existing].clone() }
    }

    /// Whether the vectors of a row group are as they were written.
    fn is_intact(&self, group: usize) -> bool {
        let pages = || {
            let metadata = self.table.metadata()?;
            let parsed = metadata.group(group)?;
            let mut chunks = ChunkBytes::new(&self.table);
            let (digest, _) = chunks.pages(&metadata, (&parsed, self.leaf), |_| Ok(()))?;
            Ok::<_, reembed_encoder::error::Error>(format!("{digest:032x}"))
        };
        pages().is_ok_and(|found| found == self.groups[group].pages)
    }
}

/// Whether the run would write equal vectors in equal bytes.
fn is_same_form(config: &Config, footer: &Footer, lineage: &Lineage) -> bool {
    let output = &config.output;
    output.carry == Carry::Copy
        && footer.carry == Carry::Copy
        && footer.lineage.version == lineage.version
        && footer.lineage.tool == lineage.tool
        && footer.lineage.fingerprint == lineage.fingerprint
        && footer.vector_type == Some(output.vector_type)
        && footer.on_empty == Some(output.on_empty)
}

/// Compares the texts of the input's row groups with those of the existing output.
pub struct UnchangedTexts<'a> {
    existing: &'a ExistingVectors,
    by_rows: HashMap<u64, Vec<usize>>,
    keys: &'a ContentKeys,
    on_empty: OnEmpty,
    cache: Option<&'a VectorCache<'a>>,
    /// Whether new vectors go into the cache.
    fills_cache: bool,
    /// Entries of unchanged texts count as used, so that they outlive a row group that changes.
    view: Option<CacheView<'a>>,
    candidates: Vec<usize>,
    hasher: TextHasher,
}

impl<'a> UnchangedTexts<'a> {
    /// A filter of the row groups of an input.
    pub fn new(
        existing: &'a ExistingVectors,
        keys: &'a ContentKeys,
        config: &Config,
        cache: Option<&'a VectorCache<'a>>,
    ) -> Self {
        let mut by_rows: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, group) in existing.groups.iter().enumerate().filter(|(_, g)| g.rows > 0) {
            by_rows.entry(group.rows).or_default().push(number);
        }
        UnchangedTexts {
            existing,
            by_rows,
            keys,
            on_empty: config.output.on_empty,
            cache,
            fills_cache: config.cache.mode == CacheMode::ReadWrite,
            view: None,
            candidates: Vec::new(),
            hasher: TextHasher::default(),
        }
    }
}

impl GroupFilter for UnchangedTexts<'_> {
    fn begin(&mut self, rows: u64) -> bool {
        self.candidates = self.by_rows.get(&rows).cloned().unwrap_or_default();
        self.hasher = TextHasher::default();
        !self.candidates.is_empty()
    }

    fn add(&mut self, texts: &LargeStringArray) -> Result<bool> {
        if self.view.is_none() {
            self.view = self.cache.map(VectorCache::view).transpose()?;
        }
        debug_assert_eq!(texts.null_count(), 0);
        for text in strings(texts) {
            if self.on_empty.use_of(text) == TextUse::Refuse {
                return Ok(false);
            }
            let key = self.keys.key(text);
            // A vector that the cache does not have would be missed as soon as its row group changes.
            if self.on_empty.use_of(text) == TextUse::Embed
                && let Some(view) = &mut self.view
                && !view.mark_used(&key)?
                && self.fills_cache
            {
                return Ok(false);
            }
            let known = self.hasher.blocks().len();
            if self.hasher.push(&key) > known {
                let found = &self.hasher.blocks()[known];
                let groups = &self.existing.groups;
                self.candidates.retain(|number| groups[*number].texts.get(known) == Some(found));
            }
        }
        Ok(!self.candidates.is_empty())
    }

    fn end(&mut self) -> Result<Option<usize>> {
        let texts = std::mem::take(&mut self.hasher).finish();
        self.view = None;
        let existing = self.existing;
        let is_same = |number: &&usize| {
            existing.groups[**number].texts == texts && existing.is_intact(**number)
        };
        Ok(self.candidates.iter().find(is_same).copied())
    }
}

/// A filter that finds nothing.
pub struct NoFilter;

impl GroupFilter for NoFilter {
    fn begin(&mut self, _: u64) -> bool {
        false
    }

    fn add(&mut self, _: &LargeStringArray) -> Result<bool> {
        Ok(false)
    }

    fn end(&mut self) -> Result<Option<usize>> {
        Ok(None)
    }
}
