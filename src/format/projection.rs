//! A footer cut down to the columns that are decoded, for the Parquet library.
//!
//! The library parses every column of a footer, also those that are only carried: one annotation
//! that it does not know would refuse the file, and 5,000 columns would take their memory.

use std::collections::{HashMap, HashSet};

use super::chunk::{Chunk, column_metadata};
use super::metadata::{Metadata, file_metadata, row_group};
use super::schema::{Annotation, Root, Schema, element};
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

/// The columns that are decoded: root columns, and the leaves of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    roots: Vec<usize>,
    leaves: Vec<usize>,
}

impl Selection {
    /// Whole root columns, in this order.
    pub fn of_roots(schema: &Schema<'_>, roots: &[usize]) -> Selection {
        let leaves = roots.iter().flat_map(|root| schema.roots[*root].leaves.clone()).collect();
        Selection { roots: roots.to_vec(), leaves }
    }

    /// These leaves, with the groups around them, in the order of the file.
    pub fn of_leaves(schema: &Schema<'_>, leaves: impl IntoIterator<Item = usize>) -> Selection {
        let mut leaves: Vec<usize> = leaves.into_iter().collect();
        leaves.sort_unstable();
        leaves.dedup();
        let mut roots: Vec<usize> =
            leaves.iter().filter_map(|leaf| schema.root_of(*leaf)).collect();
        roots.dedup();
        Selection { roots, leaves }
    }

    /// The root columns.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The leaves.
    pub fn leaves(&self) -> &[usize] {
        &self.leaves
    }
}

/// The encoded footer with the selected columns alone. `sizes` has the bytes of chunks that are
/// longer than they declare, by row group and leaf.
///
/// Statistics, indexes and all other fields are left out: the rows are read from first to last.
/// `None` if a row group or a chunk is malformed.
pub fn project(
    metadata: &Metadata<'_>,
    selection: &Selection,
    types: Types,
    sizes: &dyn Fn(usize, usize) -> Option<u64>,
) -> Option<Vec<u8>> {
    let mut footer = project_head(metadata, selection, types)?;
    footer.set_i64(file_metadata::NUM_ROWS, metadata.rows());
    let mut groups = List::of_structs();
    for number in 0..metadata.group_count() {
        let group = metadata.group(number).ok()?;
        let mut chunks = List::of_structs();
        for &leaf in &selection.leaves {
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
pub fn project_schema(
    metadata: &Metadata<'_>,
    selection: &Selection,
    types: Types,
) -> Option<Vec<u8>> {
    let mut footer = project_head(metadata, selection, types)?;
    // The Arrow types describe all columns, not these alone.
    footer.remove(file_metadata::KEY_VALUES);
    footer.set_i64(file_metadata::NUM_ROWS, 0);
    footer.set_list(file_metadata::ROW_GROUPS, &List::of_structs());
    Some(footer.encode())
}

/// Schema and entries.
fn project_head(
    metadata: &Metadata<'_>,
    selection: &Selection,
    types: Types,
) -> Option<Fields<'static>> {
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
    root.set_i32(element::NUM_CHILDREN, i32::try_from(selection.roots.len()).ok()?);
    elements.push(root.encode());
    let selected: HashSet<usize> = selection.leaves.iter().copied().collect();
    for root in &selection.roots {
        let root = schema.roots.get(*root)?;
        let leaves = schema.leaves.get(root.leaves.clone())?;
        let is_whole = root.leaves.clone().all(|leaf| selected.contains(&leaf));
        let kept = (!is_whole).then(|| kept_elements(schema, root, &selected));
        for position in root.elements.clone() {
            let mut fields = schema.element(position).into_owned();
            match kept.as_ref().map(|kept| kept.get(&position)) {
                Some(None) => continue,
                Some(Some(Kept::Group(children))) => {
                    fields.set_i32(element::NUM_CHILDREN, *children);
                }
                Some(Some(Kept::Leaf)) | None => {}
            }
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

/// An element that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Leaf,
    /// With so many of its children.
    Group(i32),
}

/// The elements of a root column that lead to selected leaves, by position.
fn kept_elements(
    schema: &Schema<'_>,
    root: &Root,
    selected: &HashSet<usize>,
) -> HashMap<usize, Kept> {
    let leaves = root.leaves.clone().filter(|leaf| selected.contains(leaf));
    let leaves: HashSet<usize> =
        leaves.filter_map(|leaf| Some(schema.leaves.get(leaf)?.element)).collect();
    let mut kept = HashMap::new();
    // The groups that are open, with the number of children that are left to see.
    let mut open: Vec<(usize, i64)> = Vec::new();
    for position in root.elements.clone() {
        if let Some((_, left)) = open.last_mut() {
            *left -= 1;
        }
        if leaves.contains(&position) {
            kept.insert(position, Kept::Leaf);
            // The first kept leaf of a group makes the group a kept child of the one around it.
            for (group, _) in open.iter().rev() {
                if let Some(Kept::Group(children)) = kept.get_mut(group) {
                    *children += 1;
                    break;
                }
                kept.insert(*group, Kept::Group(1));
            }
        }
        let fields = schema.element(position);
        let children = fields.int(element::NUM_CHILDREN).unwrap_or(0);
        if children > 0 || !fields.has(element::TYPE) {
            open.push((position, children));
        }
        while open.last().is_some_and(|(_, left)| *left <= 0) {
            open.pop();
        }
    }
    kept
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::schema::repetition;

    /// A schema of nested names: `(name, number of children)`, depth first.
    fn schema(elements: &[(&str, i32)]) -> List<'static> {
        let mut list = List::of_structs();
        for (name, children) in elements {
            let mut fields = Fields::default();
            fields.set_bytes(element::NAME, name.as_bytes());
            fields.set_i32(element::REPETITION, repetition::OPTIONAL as i32);
            match *children {
                0 => fields.set_i32(element::TYPE, 6),
                children => fields.set_i32(element::NUM_CHILDREN, children),
            }
            list.push(fields.encode());
        }
        list
    }

    #[test]
    fn groups_keep_the_children_that_lead_to_selected_leaves() {
        let elements = [
            ("schema", 2),
            ("payload", 3),
            ("inner", 2),
            ("x", 0),
            ("y", 0),
            ("title", 0),
            ("other", 1),
            ("z", 0),
            ("id", 0),
        ];
        let list = schema(&elements);
        let schema = Schema::read(list).expect("a schema");
        for (leaves, expected) in [
            (&[0][..], &[(1, Kept::Group(1)), (2, Kept::Group(1)), (3, Kept::Leaf)][..]),
            (
                &[0, 1, 3],
                &[
                    (1, Kept::Group(2)),
                    (2, Kept::Group(2)),
                    (3, Kept::Leaf),
                    (4, Kept::Leaf),
                    (6, Kept::Group(1)),
                    (7, Kept::Leaf),
                ],
            ),
            (&[2], &[(1, Kept::Group(1)), (5, Kept::Leaf)]),
            (&[4], &[]),
        ] {
            let selected = leaves.iter().copied().collect();
            let mut kept: Vec<(usize, Kept)> =
                kept_elements(&schema, &schema.roots[0], &selected).into_iter().collect();
            kept.sort_unstable_by_key(|(position, _)| *position);
            assert_eq!(kept, expected, "{leaves:?}");
        }
        let selection = Selection::of_leaves(&schema, [4, 2, 0, 2]);
        assert_eq!((selection.roots(), selection.leaves()), (&[0, 1][..], &[0, 2, 4][..]));
    }
}
