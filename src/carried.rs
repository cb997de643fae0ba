//! The columns that an output carries as the bytes that they have in its input: which they are, how
//! their bytes are read, and their digests.
//!
//! The digest of a column is XXH3 of 128 bits over the digests of its chunks: for each row group and
//! each leaf of the column in order, the digests of the bytes of its pages, of its column index and
//! of its bloom filter, each 16 bytes little-endian. A part that is not there has no bytes. Offset
//! indexes are left out, because the offsets in them move. The digest finds accidents, not forgers:
//! who can change a column can change the footer too. docs/decisions/0021-carried-column-chunks.md.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use reembed_encoder::error::{Error, ErrorKind, Result};
use twox_hash::XxHash3_128;

use crate::config::{ColumnChoice, Embeddings, OnEmpty, OutputConfig};
use crate::footer::{ColumnDigest, ColumnHash};
use crate::format::chunk::Chunk;
use crate::format::metadata::{Metadata, RowGroup};
use crate::format::output::{Columns, VectorColumn};
use crate::format::pages::PageWalk;
use crate::format::schema::Schema;
use crate::reader::{TableFile, all_of, check_not_encrypted, find_root};
use crate::row_parts;

/// Bytes of the longest offset index, which is edited in memory: those of some 600,000 pages.
const MAX_OFFSET_INDEX_BYTES: u64 = 16 << 20;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Decides which columns of an input its output carries, and where the vector columns stand.
///
/// # Errors
/// `Input`, without the file, naming every column of `output.keep` or `output.drop` that is not
/// there, and every carried one that is encrypted.
pub fn select(
    metadata: &Metadata<'_>,
    output: &OutputConfig,
    embeddings: &Embeddings,
) -> Result<Columns> {
    let schema = &metadata.schema;
    let mut faults = Vec::new();
    let mut named = |key: &str, names: &[String]| -> Vec<usize> {
        let find = |name: &String| {
            let found = find_root(schema, key, name);
            found.map_err(|error| faults.push(error)).ok()
        };
        names.iter().filter_map(find).collect()
    };
    let mut carried = match &output.columns {
        ColumnChoice::All => vec![true; schema.roots.len()],
        ColumnChoice::Keep(names) => {
            let kept = named("output.keep", names);
            (0..schema.roots.len()).map(|root| kept.contains(&root)).collect()
        }
        ColumnChoice::Drop(names) => {
            let dropped = named("output.drop", names);
            (0..schema.roots.len()).map(|root| !dropped.contains(&root)).collect()
        }
    };
    let mut vectors = Vec::with_capacity(embeddings.len());
    for embedding in embeddings.iter() {
        let replaced = replaced_root(schema, &embedding.column).unwrap_or_else(|error| {
            faults.push(error);
            None
        });
        if let Some(root) = replaced {
            carried[root] = false;
        }
        vectors.push(VectorColumn {
            after: replaced.unwrap_or(schema.roots.len()),
            replaces: replaced.is_some(),
            name: embedding.column.clone(),
            element: embedding.vector.vector_type.element(),
            is_nullable: output.on_empty == OnEmpty::Null,
        });
    }
    for (number, root) in schema.roots.iter().enumerate().filter(|(number, _)| carried[*number]) {
        if let Err(error) = check_not_encrypted(metadata, root.leaves.clone()) {
            let name = &schema.roots[number].name;
            faults.push(error.at(format!("column `{name}`")));
        }
    }
    let has_parts = embeddings.iter().any(|embedding| embedding.text.chunk().is_some());
    for name in row_parts::COLUMNS.into_iter().filter(|_| has_parts) {
        let mut roots = schema.roots.iter().zip(&carried);
        let is_carried = roots.any(|(root, carried)| *carried && root.name == name);
        if is_carried || vectors.iter().any(|vectors| vectors.name == name) {
            let message = format!("there would be two columns `{name}`: `text.chunk` makes one");
            faults
                .push(Error::new(ErrorKind::Input, message).advice(format!(
                    "leave out that of the input with `output.drop = [{name:?}]`"
                )));
        }
    }
    if !faults.is_empty() {
        return Err(all_of(faults));
    }
    Ok(Columns { carried, vectors, has_parts })
}

/// The root column that the vectors replace.
///
/// # Errors
/// `Input`, without the file, when two columns have the name.
pub fn replaced_root(schema: &Schema<'_>, name: &str) -> Result<Option<usize>> {
    let mut named = schema.roots.iter().enumerate().filter(|(_, root)| root.name == name);
    match (named.next(), named.next()) {
        (found, None) => Ok(found.map(|(position, _)| position)),
        _ => Err(Error::new(ErrorKind::Input, format!("there are two columns `{name}`"))
            .advice("set `output.column` to another name")),
    }
}

/// Digests of carried columns, chunk by chunk in the order of the file.
pub struct CarriedHasher {
    /// By root column; `None` for one that is not carried.
    columns: Vec<Option<(String, XxHash3_128Hasher)>>,
}

type XxHash3_128Hasher = twox_hash::xxhash3_128::Hasher;

impl CarriedHasher {
    /// A hasher of the root columns that `carried` names.
    pub fn new(schema: &Schema<'_>, carried: &[bool]) -> CarriedHasher {
        let columns =
            schema.roots.iter().zip(carried).map(|(root, carried)| {
                carried.then(|| (root.name.clone(), XxHash3_128Hasher::new()))
            });
        CarriedHasher { columns: columns.collect() }
    }

    /// Adds the next chunk of a root column: the digest of its pages, and what stands beside them.
    pub fn add(&mut self, root: usize, pages: u128, indexes: IndexDigests) {
        if let Some(Some((_, hasher))) = self.columns.get_mut(root) {
            for digest in [pages, indexes.column_index, indexes.bloom_filter] {
                hasher.write(&digest.to_le_bytes());
            }
        }
    }

    /// The digests of the carried columns in the order of the schema.
    pub fn finish(self) -> Vec<ColumnDigest> {
        let digest = |(column, hasher): (String, XxHash3_128Hasher)| {
            let digest = ColumnHash::Xxh3(format!("{:032x}", hasher.finish_128()));
            ColumnDigest { column, digest }
        };
        self.columns.into_iter().flatten().map(digest).collect()
    }
}

/// The digests of what stands beside the pages of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexDigests {
    column_index: u128,
    bloom_filter: u128,
}

/// Where the parts of a chunk beside its pages are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The offset index.
    pub offset_index: Option<Range<u64>>,
    /// The column index.
    pub column_index: Option<Range<u64>>,
    /// The bloom filter.
    pub bloom_filter: Option<Range<u64>>,
}

/// Reads the parts of column chunks. It keeps its buffers from one to the next.
pub struct ChunkBytes<'a> {
    table: &'a TableFile,
    walk: PageWalk,
    buffer: Vec<u8>,
    /// Bytes of column indexes and bloom filters so far.
    index_bytes: u64,
}

impl<'a> ChunkBytes<'a> {
    /// A reader of the chunks of a file.
    pub fn new(table: &'a TableFile) -> Self {
        ChunkBytes { table, walk: PageWalk::default(), buffer: Vec::new(), index_bytes: 0 }
    }

    /// Passes the bytes of the pages of a leaf in a row group to `each` and checks them against the
    /// footer. Returns their digest and their number.
    ///
    /// # Errors
    /// `Data`, naming row group and column, and those of `each`.
    pub fn pages(
        &mut self,
        metadata: &Metadata<'_>,
        (group, leaf): (&RowGroup<'_>, usize),
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(u128, u64)> {
        let chunk = group.chunk(leaf);
        self.pages_of(metadata, (group, leaf, chunk.as_ref()), each)
    }

    /// As [`ChunkBytes::pages`] and [`ChunkBytes::indexes`] together: the chunk's metadata is parsed
    /// once.
    ///
    /// # Errors
    /// Those of both.
    pub fn pages_and_indexes(
        &mut self,
        metadata: &Metadata<'_>,
        (group, leaf): (&RowGroup<'_>, usize),
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(u128, Indexes)> {
        let chunk = group.chunk(leaf);
        let (pages, _) = self.pages_of(metadata, (group, leaf, chunk.as_ref()), each)?;
        Ok((pages, self.indexes_of(metadata, chunk.as_ref())?))
    }

    fn pages_of(
        &mut self,
        metadata: &Metadata<'_>,
        chunk: (&RowGroup<'_>, usize, Option<&Chunk<'_>>),
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(u128, u64)> {
        let mut hasher = XxHash3_128Hasher::new();
        let bytes = self.table.walk_chunk(metadata, &mut self.walk, chunk, |bytes| {
            hasher.write(bytes);
            each(bytes)
        })?;
        Ok((hasher.finish_128(), bytes))
    }

    /// Where the other parts of a chunk are. One that is not inside of the file is none: no reader
    /// could have used it.
    ///
    /// # Errors
    /// `Data`, naming the file, when it cannot be read.
    pub fn indexes(
        &self,
        metadata: &Metadata<'_>,
        (group, leaf): (&RowGroup<'_>, usize),
    ) -> Result<Indexes> {
        self.indexes_of(metadata, group.chunk(leaf).as_ref())
    }

    fn indexes_of(&self, metadata: &Metadata<'_>, chunk: Option<&Chunk<'_>>) -> Result<Indexes> {
        let end = metadata.pages_end();
        let Some(chunk) = chunk else { return Ok(Indexes::default()) };
        let bloom_filter =
            chunk.bloom_filter(self.table.file(), end).map_err(|cause| self.unreadable(cause))?;
        let (_, size) = chunk.declared_range();
        // A page takes more bytes than its place in the index.
        let longest = size.unsigned_abs().saturating_mul(4).saturating_add(1024);
        let is_possible =
            |index: &Range<u64>| index.end - index.start <= longest.min(MAX_OFFSET_INDEX_BYTES);
        Ok(Indexes {
            offset_index: chunk.offset_index(end).filter(is_possible),
            column_index: chunk.column_index(end),
            bloom_filter,
        })
    }

    /// The digests of the other parts of a chunk. They are asked for once for each chunk.
    ///
    /// # Errors
    /// As [`ChunkBytes::indexes`], and when they are longer than the file together: several chunks
    /// then claim the same bytes.
    pub fn index_digests(&mut self, indexes: &Indexes) -> Result<IndexDigests> {
        for range in [&indexes.column_index, &indexes.bloom_filter].into_iter().flatten() {
            self.index_bytes = self.index_bytes.saturating_add(range.end - range.start);
        }
        if self.index_bytes > self.table.bytes() {
            let message = "its column indexes and bloom filters are longer than the file";
            return Err(Error::new(ErrorKind::Data, message)
                .in_file(self.table.path())
                .advice("its footer is inconsistent; write the file again from its source"));
        }
        let mut digest = |range: &Option<Range<u64>>| {
            // Most chunks have neither, and a hasher costs more than they do.
            let Some(range) = range else { return Ok(XxHash3_128::oneshot(&[])) };
            let mut hasher = XxHash3_128Hasher::new();
            self.range(range.clone(), |bytes| {
                hasher.write(bytes);
                Ok(())
            })?;
            Ok::<_, Error>(hasher.finish_128())
        };
        Ok(IndexDigests {
            column_index: digest(&indexes.column_index)?,
            bloom_filter: digest(&indexes.bloom_filter)?,
        })
    }

    /// Passes the bytes of a range of the file to `each`.
    ///
    /// # Errors
    /// `Data`, naming the file, when it cannot be read, and those of `each`.
    pub fn range(
        &mut self,
        range: Range<u64>,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let size = usize::try_from(range.end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            self.buffer.resize(self.buffer.len().max(size), 0);
            let buffer = &mut self.buffer[..size];
            let read = self.table.file().read_exact_at(buffer, at);
            read.map_err(|cause| self.unreadable(cause))?;
            each(&self.buffer[..size])?;
            at += size as u64;
        }
        Ok(())
    }

    fn unreadable(&self, cause: io::Error) -> Error {
        crate::reader::read_error(ErrorKind::Data, cause).in_file(self.table.path())
    }
}

/// The digests of the carried columns of a file. `on_chunk` is called after each chunk.
///
/// # Errors
/// `Data`, naming row group and column, and those of `on_chunk`.
pub fn digests(
    table: &TableFile,
    metadata: &Metadata<'_>,
    carried: &[bool],
    mut on_chunk: impl FnMut() -> Result<()>,
) -> Result<Vec<ColumnDigest>> {
    let mut hasher = CarriedHasher::new(&metadata.schema, carried);
    let mut chunks = ChunkBytes::new(table);
    for group in 0..metadata.group_count() {
        let group = metadata.group(group).map_err(|error| error.in_file(table.path()))?;
        for (number, root) in metadata.schema.roots.iter().enumerate() {
            if !carried[number] {
                continue;
            }
            for leaf in root.leaves.clone() {
                let (pages, indexes) =
                    chunks.pages_and_indexes(metadata, (&group, leaf), |_| Ok(()))?;
                hasher.add(number, pages, chunks.index_digests(&indexes)?);
                on_chunk()?;
            }
        }
    }
    Ok(hasher.finish())
}
