//! A published table whose vectors are looked up by row.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use twox_hash::XxHash3_128;

use super::key_file::{KeyFile, RowKey};
use crate::carried::ChunkBytes;
use crate::config::Carry;
use crate::file_id::FileId;
use crate::footer::{EmbeddingFooter, Footer, TOOL};
use crate::format::metadata::Metadata;
use crate::group_digest::GroupDigest;
use crate::publish::readback::vector_decoder;
use crate::reader::{Decoder, PageLocation, TableFile};
use crate::vectors::{Vector, VectorRows};
use crate::writer::{locate_pages, rows_per_page};

/// XXH3-128 of the footer of a table, which has the digests of its columns: it tells a copy from another file.
pub fn footer_digest(table: &TableFile) -> String {
    format!("{:032x}", XxHash3_128::oneshot(table.footer().as_slice()))
}

/// An open table with its keys.
pub struct KeyedTable {
    table: TableFile,
    keys: KeyFile,
    /// The first row of each row group, and the number of rows.
    starts: Vec<u64>,
    columns: Vec<Column>,
}

struct Column {
    /// The leaf in the table.
    leaf: usize,
    decoder: Decoder,
    width: usize,
    /// Rows of a page; `None` if another version wrote it.
    page_rows: Option<usize>,
    groups: Vec<GroupDigest>,
    /// For each row group that was looked at, the places of its pages, if it has the bytes that were written.
    checked: HashMap<usize, Option<Vec<PageLocation>>>,
    /// Row groups that had the bytes that were written when the same file was open before.
    intact: HashSet<usize>,
}

/// The row groups of a file that have the bytes that were written, by column.
pub struct Intact {
    id: FileId,
    groups: Vec<HashSet<usize>>,
}

impl KeyedTable {
    /// Opens a table with the footer digest `footer`, and its keys. `None` if either is not there or not that one.
    pub fn open(path: &Path, keys: &Path, footer: &str) -> Option<KeyedTable> {
        let keys = KeyFile::open(keys, footer)?;
        let table = TableFile::open(path).ok()?;
        if footer_digest(&table) != footer || table.rows() != keys.rows() {
            return None;
        }
        let metadata = table.metadata().ok()?;
        let entry = metadata.key_value(crate::footer::FOOTER_KEY)?;
        let written = Footer::parse(&entry).ok()?;
        if written.carry != Carry::Copy {
            return None;
        }
        let mut starts = vec![0];
        for group in 0..metadata.group_count() {
            starts.push(starts[group] + metadata.group(group).ok()?.rows().unsigned_abs());
        }
        let columns = keys.columns().iter().map(|column| {
            let embedding = written.embedding(&column.column)?;
            Column::open(&table, &metadata, &embedding)
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        drop(metadata);
        Some(KeyedTable { table, keys, starts, columns })
    }

    /// The components of the vectors in a column, if they are those of the model.
    pub fn width(&self, column: usize) -> Option<usize> {
        let is_lossless = self.keys.columns().get(column)?.is_lossless;
        self.columns.get(column).filter(|_| is_lossless).map(|column| column.width)
    }

    /// What was found of its row groups, for the next time that the same file is opened.
    pub fn into_intact(self) -> Intact {
        let of_column = |column: Column| {
            let checked = column.checked.into_iter();
            let intact = checked.filter_map(|(group, pages)| pages.map(|_| group));
            intact.chain(column.intact).collect()
        };
        let groups = self.columns.into_iter().map(of_column).collect();
        Intact { id: *self.table.id(), groups }
    }

    /// Believes what was found before, if the file is the same and unchanged.
    pub fn believe(&mut self, intact: &Intact) {
        if intact.id == *self.table.id() {
            for (column, groups) in self.columns.iter_mut().zip(&intact.groups) {
                column.intact.clone_from(groups);
            }
        }
    }

    /// The key of a row.
    pub fn key(&self, row: u64, column: usize) -> Option<RowKey> {
        self.keys.get(row, column)
    }

    /// Calls `each` with the vectors of rows, which ascend: the position in `rows` and the components. A row is left out
    /// if its vector has another number of components than `dim`, cannot be read, or is not as it was written.
    pub fn vectors(
        &mut self,
        column: usize,
        dim: usize,
        rows: &[u64],
        mut each: impl FnMut(usize, &[f32]),
    ) {
        let is_right = self.width(column) == Some(dim);
        let KeyedTable { table, starts, columns, .. } = self;
        let Some(column) = columns.get_mut(column).filter(|_| is_right) else { return };
        let mut at = 0;
        while at < rows.len() {
            let group = starts.partition_point(|start| *start <= rows[at]).saturating_sub(1);
            let Some(end) = starts.get(group + 1) else { return };
            let of_group = rows[at..].partition_point(|row| row < end);
            let in_group: Vec<u64> =
                rows[at..at + of_group].iter().map(|row| row - starts[group]).collect();
            // What cannot be read is computed.
            let _ = column.read(table, group, &in_group, |row, vector| each(at + row, vector));
            at += of_group.max(1);
        }
    }
}

impl Column {
    fn open(
        table: &TableFile,
        metadata: &Metadata<'_>,
        embedding: &EmbeddingFooter<'_>,
    ) -> Option<Column> {
        let mut roots = metadata.schema.roots.iter().enumerate();
        let (number, root) = roots.find(|(_, root)| root.name == embedding.column)?;
        let decoder = vector_decoder(table, number, embedding).ok()?;
        let form = embedding.form?;
        let groups = embedding.groups.to_vec();
        if groups.len() != metadata.group_count() {
            return None;
        }
        let (element, width) = (form.vector_type.element(), form.vector_type.width(form.dims));
        let is_own = embedding.lineage.tool == TOOL;
        Some(Column {
            leaf: root.leaves.start,
            decoder,
            width,
            page_rows: is_own.then(|| rows_per_page(width, element)),
            groups,
            checked: HashMap::new(),
            intact: HashSet::new(),
        })
    }

    /// Reads rows of a row group, which ascend; `None` if they cannot be read.
    fn read(
        &mut self,
        table: &TableFile,
        group: usize,
        rows: &[u64],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Option<()> {
        if !self.checked.contains_key(&group) {
            let pages = self.check(table, group);
            self.checked.insert(group, pages);
        }
        let pages = self.checked.get(&group)?.as_ref()?;
        let pages = Some(&pages[..]).filter(|pages| !pages.is_empty());
        let mut at = 0;
        for batch in self.decoder.rows_at(group, rows, pages).ok()? {
            let batch = batch.ok()?;
            let vectors = VectorRows::new(batch.column(0).as_ref())?;
            for row in 0..batch.num_rows() {
                if let Some(Vector::F32(vector)) = vectors.get(row)
                    && vector.len() == self.width
                    && at < rows.len()
                {
                    each(at, vector);
                }
                at += 1;
            }
        }
        Some(())
    }

    /// The places of the pages of a row group, empty if they are not known; `None` if it has other bytes than those that
    /// were written.
    fn check(&self, table: &TableFile, group: usize) -> Option<Vec<PageLocation>> {
        let metadata = table.metadata().ok()?;
        let parsed = metadata.group(group).ok()?;
        let written = self.groups.get(group)?;
        if !self.intact.contains(&group) {
            let mut chunks = ChunkBytes::new(table);
            let (digest, _) = chunks.pages(&metadata, (&parsed, self.leaf), |_| Ok(())).ok()?;
            if format!("{digest:032x}") != written.pages {
                return None;
            }
        }
        let range = parsed.chunk(self.leaf)?.range(metadata.pages_end())?;
        let Some(page_rows) = self.page_rows else { return Some(Vec::new()) };
        let pages = locate_pages(table.file(), range.clone(), range.start, page_rows);
        let expected = written.rows.div_ceil(page_rows as u64);
        Some(if pages.len() as u64 == expected { pages } else { Vec::new() })
    }
}
