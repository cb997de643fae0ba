//! An output whose carried columns are copied from the input as the bytes that they are.
//!
//! The pages of a row group lie in the order of its columns: carried ones before the first vector
//! column, its vectors as they come from the model, then the other columns. Vectors of further columns
//! come at the same time; they wait in a temporary file until the row group ends. Bloom filters, column
//! indexes and offset indexes follow behind the last row group, then the footer. Memory does not grow
//! with the row group: chunks are copied piece by piece, vectors are written page by page.

use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, FieldRef};
use parquet::file::page_index::offset_index::PageLocation;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKey;
use tempfile::NamedTempFile;

use super::arrow_schema::arrow_schema;
use super::sink::{Sink, unwritable};
use super::vector_chunk::{ChunkFormat, VectorChunkWriter};
use super::vector_pages::locate_pages;
use crate::carried::{CarriedHasher, ChunkBytes, Indexes};
use crate::chunk::{RowFacts, UnchangedGroup};
use crate::digest::ColumnHasher;
use crate::footer::{ColumnDigest, FOOTER_KEY};
use crate::format::chunk::Placed;
use crate::format::entries::ARROW_SCHEMA;
use crate::format::metadata::{MAGIC, MAX_FOOTER_BYTES, Metadata};
use crate::format::output::{self, Columns, Slot, VectorChunk, WrittenGroup};
use crate::format::thrift::{Fields, List};
use crate::group_digest::{GroupDigest, TextHasher};
use crate::hidden_names::directory_of;
use crate::publish::write_error;
use crate::reader::{Reader, TableFile};
use crate::vectors::VectorRows;

/// Bytes that are copied at once from a temporary file with vectors.
const COPIED_BYTES: usize = 256 << 10;

/// An output that is being written.
pub struct CopiedTable<'a> {
    target: PathBuf,
    /// The directory of its temporary file, for further ones.
    beside: PathBuf,
    table: &'a TableFile,
    metadata: Metadata<'a>,
    columns: Columns,
    /// The leaves of the output.
    leaves: Vec<Slot>,
    /// Number of leaves before the first vector column.
    before: usize,
    /// The root column of each leaf of the input.
    roots: Vec<usize>,
    /// The fields and the formats of the vector columns.
    vectors: Vec<(FieldRef, ChunkFormat)>,
    stop: &'a Stop,
    sink: Sink,
    chunks: ChunkBytes<'a>,
    hasher: CarriedHasher,
    /// The first row group of the input that is written.
    first_group: usize,
    /// Number of rows of each row group that is written.
    rows: Vec<u64>,
    groups: Vec<WrittenGroup>,
    /// For each written row group, how many carried chunks have each [`Part`].
    parts: Vec<[usize; Part::ALL.len()]>,
    /// For each vector column, what the footer says of its row groups.
    digests: Vec<Vec<GroupDigest>>,
    /// The files whose vector chunks may be copied.
    existing: Vec<Existing<'a>>,
    /// The offset indexes of the vector chunks of each row group, if they are wanted.
    vector_indexes: Vec<Vec<Vec<u8>>>,
    open: Option<Box<OpenGroup>>,
}

/// A file that has vectors: the existing output, or a part.
struct Existing<'a> {
    metadata: Metadata<'a>,
    chunks: ChunkBytes<'a>,
    file: &'a File,
    /// The leaf of each vector column.
    leaves: Vec<usize>,
}

/// The row group whose vectors are being written.
struct OpenGroup {
    rows_left: u64,
    /// The chunks before the vectors of the first vector column.
    placed: Vec<Placed>,
    /// Where the vectors of the first vector column start.
    start: u64,
    columns: Vec<OpenColumn>,
}

/// The vectors of a column in the row group that is being written.
struct OpenColumn {
    rows: GroupRows,
    writer: VectorChunkWriter,
    /// Where they wait; `None` for the first vector column.
    waiting: Option<Sink<File>>,
}

/// A vector chunk in its place.
struct PlacedVectors {
    start: u64,
    chunk: VectorChunk,
    pages: Vec<PageLocation>,
    digest: GroupDigest,
}

impl<'a> CopiedTable<'a> {
    /// Starts an output in an empty temporary file. It gets the row groups that the reader reads.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub fn new(
        file: NamedTempFile,
        target: &Path,
        reader: &'a Reader,
        columns: Columns,
        vectors: &[(FieldRef, usize)],
        existing: Vec<(&'a TableFile, Vec<usize>)>,
        stop: &'a Stop,
    ) -> Result<Self> {
        let (table, groups) = (reader.table(), reader.groups());
        let open = |(table, leaves): (&'a TableFile, Vec<usize>)| {
            let metadata = table.metadata()?;
            let (chunks, file) = (ChunkBytes::new(table), table.file());
            Ok::<_, Error>(Existing { metadata, chunks, file, leaves })
        };
        let existing = existing.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let metadata = table.metadata()?;
        let format = |(field, width): &(FieldRef, usize)| {
            Ok((field.clone(), ChunkFormat::new(field, *width)?))
        };
        let vectors: parquet::errors::Result<Vec<_>> = vectors.iter().map(format).collect();
        let vectors = vectors.map_err(|cause| unwritable(target, cause))?;
        let leaves = columns.leaves(&metadata.schema);
        let is_vectors = |leaf: &Slot| matches!(leaf, Slot::Vectors(_));
        let before = leaves.iter().position(is_vectors).unwrap_or(leaves.len());
        let mut roots = vec![0; metadata.schema.leaves.len()];
        for (number, root) in metadata.schema.roots.iter().enumerate() {
            roots[root.leaves.clone()].fill(number);
        }
        let hasher = CarriedHasher::new(&metadata.schema, &columns.carried);
        let rows = |number: usize| Ok(metadata.group(number)?.rows().unsigned_abs());
        let first_group = groups.start;
        let rows: Result<Vec<u64>> = groups.map(rows).collect();
        let rows = rows.map_err(|error| error.in_file(table.path()))?;
        let beside = directory_of(file.path()).to_owned();
        let sink = Sink::new(file);
        sink.write_all(MAGIC).map_err(|cause| unwritable(target, cause))?;
        Ok(CopiedTable {
            target: target.to_owned(),
            beside,
            table,
            metadata,
            columns,
            leaves,
            before,
            roots,
            digests: vec![Vec::new(); vectors.len()],
            vectors,
            stop,
            sink,
            chunks: ChunkBytes::new(table),
            hasher,
            first_group,
            rows,
            groups: Vec::new(),
            parts: Vec::new(),
            existing,
            vector_indexes: Vec::new(),
            open: None,
        })
    }

    /// Writes the vectors of the next rows, one array for each vector column, and the carried columns of
    /// row groups that begin or end.
    ///
    /// # Errors
    /// `Output`, naming the target; `Data` when a chunk does not fit its footer.
    pub fn write(&mut self, vectors: &[ArrayRef], facts: &[RowFacts]) -> Result<()> {
        let rows: Option<Vec<VectorRows<'_>>> =
            vectors.iter().map(|column| VectorRows::new(column.as_ref())).collect();
        let rows =
            rows.ok_or_else(|| Error::new(ErrorKind::Internal, "a column has no vectors (bug)"))?;
        let length = vectors.first().map_or(0, |column| column.len());
        let mut start = 0;
        while start < length {
            let mut open = self.take_open()?;
            let left = usize::try_from(open.rows_left).unwrap_or(usize::MAX);
            let end = length.min(start.saturating_add(left));
            let columns = vectors.iter().zip(&rows).zip(facts);
            for (open, ((vectors, rows), facts)) in open.columns.iter_mut().zip(columns) {
                open.rows.add_values(vectors.slice(start, end - start).as_ref())?;
                for row in start..end {
                    let vector = rows.get(row);
                    let pushed = open.writer.push(vector);
                    pushed.map_err(|cause| unwritable(&self.target, cause))?;
                    open.rows.add(facts.keys.get(row), facts.measures.get(row), vector.is_none());
                }
            }
            open.rows_left -= (end - start) as u64;
            if open.rows_left == 0 {
                self.close(*open)?
            } else {
                self.open = Some(open)
            }
            start = end;
        }
        Ok(())
    }

    /// Writes the next row group with the vectors of a row group that exists.
    ///
    /// # Errors
    /// As [`CopiedTable::write`]; `Internal` when rows of another row group are missing.
    pub fn copy_group(&mut self, unchanged: &UnchangedGroup) -> Result<()> {
        let misplaced = |message: &str| Error::new(ErrorKind::Internal, message);
        self.write_empty_groups()?;
        let own = self.groups.len();
        if self.open.is_some() || self.rows.get(own).copied() != Some(unchanged.rows()) {
            return Err(misplaced("a row group is copied between rows (bug)"));
        }
        let mut files = std::mem::take(&mut self.existing);
        let existing = files
            .get_mut(unchanged.file)
            .ok_or_else(|| misplaced("there is no file with these vectors (bug)"))?;
        self.write_group(Vec::new(), &mut |table, number| {
            table.copy_vectors(existing, unchanged, number)
        })?;
        self.existing = files;
        Ok(())
    }

    /// Copies a vector chunk of a file.
    fn copy_vectors(
        &self,
        existing: &mut Existing<'_>,
        unchanged: &UnchangedGroup,
        number: usize,
    ) -> Result<PlacedVectors> {
        let lost = |message: &str| Error::new(ErrorKind::Internal, message);
        let digest = unchanged.digests.get(number).zip(existing.leaves.get(number));
        let (digest, leaf) = digest.ok_or_else(|| lost("a vector column is lost (bug)"))?;
        let start = self.sink.position();
        let group = existing.metadata.group(unchanged.group)?;
        let (pages, _) = existing.chunks.pages(&existing.metadata, (&group, *leaf), |bytes| {
            self.stop.check()?;
            self.sink.write_all(bytes).map_err(|cause| unwritable(&self.target, cause))
        })?;
        if format!("{pages:032x}") != digest.pages {
            return Err(write_error(
                &self.target,
                "the existing file changed while it was read",
                "its bytes",
            ));
        }
        let chunk = group.chunk(*leaf).and_then(|chunk| VectorChunk::of(chunk.metadata()));
        let chunk = chunk.ok_or_else(|| lost("the existing vectors have no metadata (bug)"))?;
        let end = existing.metadata.pages_end();
        let range = group.chunk(*leaf).and_then(|chunk| chunk.range(end)).unwrap_or(4..4);
        let rows_per_page = self.vectors[number].1.rows_per_page();
        let pages = locate_pages(existing.file, range, start, rows_per_page);
        Ok(PlacedVectors { start, chunk, pages, digest: digest.clone() })
    }

    /// The digests of the carried columns, and of the row groups of each vector column, once every row
    /// is written.
    ///
    /// # Errors
    /// `Internal` when rows are missing; as [`CopiedTable::write`] for row groups without rows.
    pub fn digests(&mut self) -> Result<(Vec<ColumnDigest>, Vec<Vec<GroupDigest>>)> {
        self.write_empty_groups()?;
        if self.open.is_some() || self.groups.len() < self.rows.len() {
            return Err(Error::new(
                ErrorKind::Internal,
                "rows of the input were not written (bug)",
            )
            .in_file(&self.target));
        }
        let empty = CarriedHasher::new(&self.metadata.schema, &[]);
        let carried = std::mem::replace(&mut self.hasher, empty).finish();
        Ok((carried, std::mem::take(&mut self.digests)))
    }

    /// Writes the next row groups that have no rows.
    fn write_empty_groups(&mut self) -> Result<()> {
        while self.open.is_none() && self.rows.get(self.groups.len()) == Some(&0) {
            let open = self.begin()?;
            self.close(*open)?;
        }
        Ok(())
    }

    /// Writes indexes and footer. `entry` is the value of our own footer entry.
    ///
    /// # Errors
    /// As [`CopiedTable::write`].
    pub fn finish(mut self, entry: &str) -> Result<NamedTempFile> {
        self.copy_indexes()?;
        let mut entries = Vec::new();
        let vectors: Vec<FieldRef> = self.vectors.iter().map(|(field, _)| field.clone()).collect();
        if self.metadata.key_value(ARROW_SCHEMA).is_none()
            && let Some(schema) = arrow_schema(&self.metadata, &self.columns, &vectors)
        {
            entries.push((ARROW_SCHEMA, schema));
        }
        entries.push((FOOTER_KEY, entry.to_owned()));
        let groups = (self.first_group, &self.groups[..]);
        let footer = output::encode(&self.metadata, &self.columns, groups, &vectors, &entries);
        let footer = footer.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the footer of the input cannot be edited")
                .in_file(self.table.path())
        })?;
        let length = u32::try_from(footer.len())
            .ok()
            .filter(|length| u64::from(*length) <= MAX_FOOTER_BYTES);
        let length = length.ok_or_else(|| {
            let message = format!(
                "its footer would have {} bytes; the limit is {MAX_FOOTER_BYTES}",
                footer.len()
            );
            Error::new(ErrorKind::Output, message).in_file(&self.target).advice(
                "leave columns out with `output.drop`, or write the input with fewer row groups",
            )
        })?;
        for bytes in [&footer[..], &length.to_le_bytes(), MAGIC] {
            self.sink.write_all(bytes).map_err(|cause| unwritable(&self.target, cause))?;
        }
        let CopiedTable { sink, target, .. } = self;
        match sink.into_file() {
            Some(file) => file.map_err(|cause| unwritable(&target, cause)),
            None => {
                Err(Error::new(ErrorKind::Internal, "a column is still written (bug)")
                    .in_file(&target))
            }
        }
    }

    /// The open row group, or the next one with rows.
    fn take_open(&mut self) -> Result<Box<OpenGroup>> {
        loop {
            if let Some(open) = self.open.take() {
                return Ok(open);
            }
            let open = self.begin()?;
            if open.rows_left > 0 {
                return Ok(open);
            }
            self.close(*open)?;
        }
    }

    /// Begins the next row group: copies the columns before the first vector column.
    fn begin(&mut self) -> Result<Box<OpenGroup>> {
        let number = self.groups.len();
        let rows_left = self.rows.get(number).copied().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "more rows are written than the input has (bug)")
        })?;
        let mut placed = Vec::with_capacity(self.leaves.len());
        self.copy_chunks(0..self.before, &mut placed)?;
        let start = self.sink.position();
        let first = self.leaves.get(self.before).copied();
        let open = |(number, (field, format)): (usize, &(FieldRef, ChunkFormat))| {
            let cannot = |cause| unwritable(&self.target, cause);
            let (writer, waiting) = match first == Some(Slot::Vectors(number)) {
                true => (VectorChunkWriter::new(format, self.sink.clone()).map_err(cannot)?, None),
                false => {
                    let file = tempfile::tempfile_in(&self.beside)
                        .map_err(|cause| unwritable(&self.target, cause))?;
                    let sink = Sink::new(file);
                    let writer = VectorChunkWriter::new(format, sink.clone()).map_err(cannot)?;
                    (writer, Some(sink))
                }
            };
            Ok(OpenColumn { rows: GroupRows::new(rows_left, field)?, writer, waiting })
        };
        let columns = self.vectors.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(OpenGroup { rows_left, placed, start, columns }))
    }

    /// Ends a row group: completes the vectors and copies the columns after them.
    fn close(&mut self, open: OpenGroup) -> Result<()> {
        let OpenGroup { placed, start, columns, .. } = open;
        let mut finished = Vec::with_capacity(columns.len());
        for OpenColumn { rows, writer, waiting } in columns {
            let (chunk, pages, digest) =
                writer.finish().map_err(|cause| unwritable(&self.target, cause))?;
            let vectors = PlacedVectors { start, chunk, pages, digest: rows.finish(digest) };
            finished.push(Some((vectors, waiting)));
        }
        self.write_group(placed, &mut |table, number| {
            let finished = finished.get_mut(number).and_then(Option::take);
            let (vectors, waiting) = finished.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a vector column is not written (bug)")
            })?;
            match waiting {
                None => Ok(vectors),
                Some(waiting) => table.append_waiting(vectors, waiting),
            }
        })
    }

    /// Appends a vector chunk that waits in a temporary file, which ends with it.
    fn append_waiting(
        &self,
        mut vectors: PlacedVectors,
        waiting: Sink<File>,
    ) -> Result<PlacedVectors> {
        let cannot = |cause: std::io::Error| unwritable(&self.target, cause);
        let mut file = waiting
            .into_file()
            .ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a column is still written (bug)")
                    .in_file(&self.target)
            })?
            .map_err(cannot)?;
        file.rewind().map_err(cannot)?;
        vectors.start = self.sink.position();
        let mut buffer = vec![0; COPIED_BYTES];
        loop {
            self.stop.check()?;
            let read = file.read(&mut buffer).map_err(cannot)?;
            if read == 0 {
                break;
            }
            self.sink.write_all(&buffer[..read]).map_err(cannot)?;
        }
        for page in &mut vectors.pages {
            page.offset = page.offset.saturating_add_unsigned(vectors.start);
        }
        Ok(vectors)
    }

    /// Writes the rest of the next row group after the chunks that are `placed`. `vectors` places the
    /// chunk of a vector column.
    fn write_group(
        &mut self,
        mut placed: Vec<Placed>,
        vectors: &mut dyn FnMut(&Self, usize) -> Result<PlacedVectors>,
    ) -> Result<()> {
        let number = self.groups.len();
        let mut written = vec![None; self.vectors.len()];
        let mut indexes = vec![Vec::new(); self.vectors.len()];
        while placed.len() < self.leaves.len() {
            let at = placed.len();
            let Slot::Vectors(column) = self.leaves[at] else {
                let next =
                    self.leaves[at..].iter().position(|leaf| matches!(leaf, Slot::Vectors(_)));
                let end = next.map_or(self.leaves.len(), |next| at + next);
                self.copy_chunks(at..end, &mut placed)?;
                continue;
            };
            let PlacedVectors { start, chunk, pages, digest } = vectors(self, column)?;
            placed.push(Placed { start, ..Placed::default() });
            written[column] = Some(chunk);
            indexes[column] = encode_offset_index(&pages);
            self.digests[column].push(digest);
        }
        // Some readers want an offset index of every chunk or of none.
        self.parts.resize(number + 1, Default::default());
        let carried = placed.len() - self.vectors.len();
        let wanted = self.parts[number][Part::OffsetIndex as usize] == carried;
        self.vector_indexes.push(if wanted { indexes } else { Vec::new() });
        let vectors = written.into_iter().flatten().collect();
        self.groups.push(WrittenGroup { placed, vectors });
        Ok(())
    }

    /// Copies carried chunks of the next row group: those of these leaves of the output.
    fn copy_chunks(&mut self, leaves: Range<usize>, placed: &mut Vec<Placed>) -> Result<()> {
        let number = self.groups.len();
        self.parts.resize(number + 1, Default::default());
        if leaves.is_empty() {
            return Ok(());
        }
        let group = self.metadata.group(self.first_group + number);
        let group = group.map_err(|e| e.in_file(self.table.path()))?;
        let (sink, target, stop) = (&self.sink, &self.target, self.stop);
        for leaf in &self.leaves[leaves] {
            let Slot::Carried(leaf) = leaf else { continue };
            let start = sink.position();
            let (pages, indexes) =
                self.chunks.pages_and_indexes(&self.metadata, (&group, *leaf), |bytes| {
                    stop.check()?;
                    sink.write_all(bytes).map_err(|cause| unwritable(target, cause))
                })?;
            let digests = self.chunks.index_digests(&indexes)?;
            self.hasher.add(self.roots[*leaf], pages, digests);
            for part in Part::ALL {
                let is_there = part.of(&indexes).is_some();
                self.parts[number][part as usize] += usize::from(is_there);
            }
            placed.push(Placed { start, ..Placed::default() });
        }
        Ok(())
    }

    /// Copies what stands beside the pages: all bloom filters, then all column indexes, then all
    /// offset indexes, since readers fetch each kind at once.
    fn copy_indexes(&mut self) -> Result<()> {
        for part in Part::ALL {
            for number in 0..self.groups.len() {
                // Few files have all parts, and a row group of many columns takes long to parse.
                if self.parts[number][part as usize] > 0 {
                    self.copy_parts(part, number)?;
                }
                if part == Part::OffsetIndex {
                    self.write_vector_indexes(number)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the offset indexes of the vector chunks of a row group, if they are wanted.
    fn write_vector_indexes(&mut self, number: usize) -> Result<()> {
        let placed = self.leaves.iter().zip(&mut self.groups[number].placed);
        for (leaf, placed) in placed {
            let Slot::Vectors(column) = leaf else { continue };
            let Some(bytes) = self.vector_indexes[number].get(*column) else { continue };
            let start = self.sink.position();
            self.sink.write_all(bytes).map_err(|cause| unwritable(&self.target, cause))?;
            placed.offset_index = Some((start, bytes.len() as u64));
        }
        Ok(())
    }

    /// Copies one part of the carried chunks of a row group.
    fn copy_parts(&mut self, part: Part, number: usize) -> Result<()> {
        let group = self.metadata.group(self.first_group + number);
        let group = group.map_err(|e| e.in_file(self.table.path()))?;
        let written = &mut self.groups[number];
        for (leaf, placed) in self.leaves.iter().zip(&mut written.placed) {
            let Slot::Carried(leaf) = leaf else { continue };
            self.stop.check()?;
            let indexes = self.chunks.indexes(&self.metadata, (&group, *leaf))?;
            let Some(range) = part.of(&indexes).clone() else { continue };
            let start = self.sink.position();
            let (sink, target) = (&self.sink, &self.target);
            let write = |bytes: &[u8]| sink.write_all(bytes).map_err(|c| unwritable(target, c));
            if part == Part::OffsetIndex {
                let mut bytes = Vec::new();
                self.chunks.range(range, |more| {
                    bytes.extend_from_slice(more);
                    Ok(())
                })?;
                let old = group.chunk(*leaf).map_or(-1, |chunk| chunk.declared_range().0);
                let old = old.unsigned_abs();
                // One that is malformed stays out: no reader could have used it.
                let Some(moved) = output::shift_offset_index(&bytes, old, placed.start) else {
                    continue;
                };
                write(&moved)?;
            } else {
                self.chunks.range(range, write)?;
            }
            let place = Some((start, self.sink.position() - start));
            match part {
                Part::BloomFilter => placed.bloom_filter = place,
                Part::ColumnIndex => placed.column_index = place,
                Part::OffsetIndex => placed.offset_index = place,
            }
        }
        Ok(())
    }
}

/// What is told of the rows of a row group in the footer.
struct GroupRows {
    rows: u64,
    null_rows: u64,
    tokens: u64,
    truncated: u64,
    texts: TextHasher,
    values: ColumnHasher,
}

impl GroupRows {
    fn new(rows: u64, vectors: &Field) -> Result<GroupRows> {
        let values = ColumnHasher::new(vectors.name(), vectors.data_type()).ok_or_else(|| {
            let message = "no digest is defined for the type of the vector column";
            Error::new(ErrorKind::Internal, message)
        })?;
        let (null_rows, tokens, truncated) = (0, 0, 0);
        Ok(GroupRows { rows, null_rows, tokens, truncated, texts: TextHasher::default(), values })
    }

    fn add_values(&mut self, vectors: &dyn Array) -> Result<()> {
        self.values.update(vectors)
    }

    fn add(&mut self, key: Option<&ContentKey>, measure: Option<&(u64, bool)>, is_null: bool) {
        if let Some(key) = key {
            self.texts.push(key);
        }
        let (tokens, is_cut) = measure.copied().unwrap_or_default();
        self.tokens += tokens;
        self.truncated += u64::from(is_cut);
        self.null_rows += u64::from(is_null);
    }

    fn finish(self, pages: u128) -> GroupDigest {
        GroupDigest {
            rows: self.rows,
            null_rows: self.null_rows,
            tokens: self.tokens,
            truncated: self.truncated,
            texts: self.texts.finish(),
            pages: format!("{pages:032x}"),
            values: self.values.finish(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    BloomFilter,
    ColumnIndex,
    OffsetIndex,
}

impl Part {
    /// In the order of the file.
    const ALL: [Part; 3] = [Part::BloomFilter, Part::ColumnIndex, Part::OffsetIndex];

    fn of(self, indexes: &Indexes) -> &Option<Range<u64>> {
        match self {
            Part::BloomFilter => &indexes.bloom_filter,
            Part::ColumnIndex => &indexes.column_index,
            Part::OffsetIndex => &indexes.offset_index,
        }
    }
}

fn encode_offset_index(pages: &[PageLocation]) -> Vec<u8> {
    let mut locations = List::of_structs();
    for page in pages {
        let mut location = Fields::default();
        location.set_i64(1, page.offset);
        location.set_i32(2, page.compressed_page_size);
        location.set_i64(3, page.first_row_index);
        locations.push(location.encode());
    }
    let mut index = Fields::default();
    index.set_list(1, &locations);
    index.encode()
}
