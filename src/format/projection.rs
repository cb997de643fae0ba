//! A footer cut down to the columns that are decoded, for the Parquet library.
//!
//! The library parses every column of a footer, also those that are only carried: one annotation
//! that it does not know would refuse the file, and 5,000 columns would take their memory.

use super::chunk::{Chunk, column_metadata};
use super::metadata::{Metadata, file_metadata, row_group};
use super::schema::{Annotation, element};
use super::thrift::{Fields, List, encode_number, kind};

/// Field of `ColumnChunk` with its metadata.
const META_DATA: i16 = 3;

/// Field of `ColumnChunk` with a deprecated offset, which the library requires.
const FILE_OFFSET: i16 = 2;

/// How the decoder sees the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// Text columns as bytes: the reader itself checks that they are UTF-8, because only it can name
    /// the row. The Arrow types that the writer had are left out.
    TextAsBytes,
    /// Types by the annotations of the format alone.
    Annotated,
    /// Every type as the writer had it. All columns are decoded, as its Arrow schema lists them.
    AsWritten,
}

/// The encoded footer with the root columns `roots` alone, in the order of the file. `sizes` has
/// the bytes of chunks that are longer than they declare, by row group and leaf.
///
/// Statistics, indexes and all other fields are left out: the rows are read from first to last.
/// `None` if a row group or a chunk is malformed.
pub fn project(
    metadata: &Metadata<'_>,
    roots: &[usize],
    types: Types,
    sizes: &dyn Fn(usize, usize) -> Option<u64>,
) -> Option<Vec<u8>> {
    let schema = &metadata.schema;
    let mut footer = project_head(metadata, roots, types)?;
    footer.set_i64(file_metadata::NUM_ROWS, metadata.rows());
    let mut groups = List::of_structs();
    for number in 0..metadata.group_count() {
        let group = metadata.group(number).ok()?;
        let mut chunks = List::of_structs();
        for leaf in roots.iter().flat_map(|root| schema.roots[*root].leaves.clone()) {
            chunks.push(project_chunk(&group.chunk(leaf)?, sizes(number, leaf))?);
        }
        let mut fields = Fields::default();
        fields.set_list(row_group::COLUMNS, &chunks);
        fields.set_i64(row_group::TOTAL_BYTE_SIZE, 0);
        fields.set_i64(row_group::NUM_ROWS, group.rows());
        groups.push(fields.encode());
    }
    footer.set_list(file_metadata::ROW_GROUPS, &groups);
    Some(footer.encode())
}

/// As [`project`], without row groups: for the types of the columns.
pub fn project_schema(metadata: &Metadata<'_>, roots: &[usize], types: Types) -> Option<Vec<u8>> {
    let mut footer = project_head(metadata, roots, types)?;
    // The Arrow types describe all columns, not these alone.
    footer.remove(file_metadata::KEY_VALUES);
    footer.set_i64(file_metadata::NUM_ROWS, 0);
    footer.set_list(file_metadata::ROW_GROUPS, &List::of_structs());
    Some(footer.encode())
}

/// Schema and entries.
fn project_head(metadata: &Metadata<'_>, roots: &[usize], types: Types) -> Option<Fields<'static>> {
    let schema = &metadata.schema;
    let mut footer = Fields::default();
    footer.set_i32(file_metadata::VERSION, 1);
    if let Some(created_by) = metadata.created_by() {
        footer.set_bytes(file_metadata::CREATED_BY, created_by.as_bytes());
    }

    if let (Types::AsWritten, Some(entries)) =
        (types, metadata.fields.list(file_metadata::KEY_VALUES))
    {
        footer.set_list(file_metadata::KEY_VALUES, &entries);
    }

    let mut elements = List::of_structs();
    let mut root = Fields::default();
    root.set_bytes(element::NAME, b"schema");
    root.set_i32(element::NUM_CHILDREN, i32::try_from(roots.len()).ok()?);
    elements.push(root.encode());
    for root in roots {
        let root = schema.roots.get(*root)?;
        let leaves = schema.leaves.get(root.leaves.clone())?;
        for position in root.elements.clone() {
            let mut fields = schema.element(position).into_owned();
            let leaf = leaves.iter().find(|leaf| leaf.element == position);
            let is_text = leaf.is_some_and(|leaf| matches!(leaf.annotation, Annotation::Text(_)));
            if is_text && types == Types::TextAsBytes {
                fields.remove(element::CONVERTED_TYPE);
                fields.remove(element::LOGICAL_TYPE);
            }
            elements.push(fields.encode());
        }
    }
    footer.set_list(file_metadata::SCHEMA, &elements);
    Some(footer)
}

fn project_chunk(chunk: &Chunk<'_>, size: Option<u64>) -> Option<Vec<u8>> {
    let old = chunk.metadata();
    let mut metadata = Fields::default();
    let narrow = |id: i16| i32::try_from(old.int(id)?).ok();
    metadata.set_i32(column_metadata::TYPE, narrow(column_metadata::TYPE)?);
    // Some writers give the list another kind of number than the format has.
    let mut encodings = List { kind: kind::I32, items: Vec::new() };
    for encoding in old.list(column_metadata::ENCODINGS)?.ints()? {
        encodings.push(encode_number(encoding));
    }
    metadata.set_list(column_metadata::ENCODINGS, &encodings);
    metadata.set_list(column_metadata::PATH, &old.list(column_metadata::PATH)?);
    metadata.set_i32(column_metadata::CODEC, narrow(column_metadata::CODEC)?);
    for id in [column_metadata::NUM_VALUES, column_metadata::UNCOMPRESSED_SIZE] {
        metadata.set_i64(id, old.int(id)?);
    }
    let (start, declared) = chunk.declared_range();
    let size = size.and_then(|size| i64::try_from(size).ok()).unwrap_or(declared);
    metadata.set_i64(column_metadata::COMPRESSED_SIZE, size);
    // The first page, whichever it is: the library looks at nothing else.
    metadata.set_i64(column_metadata::DATA_PAGE_OFFSET, start);
    let mut fields = Fields::default();
    fields.set_i64(FILE_OFFSET, 0);
    fields.set_structure(META_DATA, &metadata);
    Some(fields.encode())
}
