//! The footer of an output: that of its input, with columns left out and one column put in.

use super::chunk::{Chunk, Placed, column_metadata};
use super::entries::{self, ColumnChange, Followed};
use super::metadata::{Metadata, RowGroup, file_metadata, row_group};
use super::schema::{Schema, element, physical, repetition};
use super::thrift::{Fields, List, encode_number, kind};
use crate::vectors::{CHILD, Element};

/// The codec of the vector column: Zstandard.
const ZSTD: i32 = 6;

/// Field of a sorting column with the number of its leaf.
const SORTING_LEAF: i16 = 1;

/// Which root columns of the input are carried, and where the vectors stand among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// For each root column of the input, whether it is carried.
    pub carried: Vec<bool>,
    /// Number of root columns of the input before the vectors. A column that they replace is not
    /// carried.
    pub vectors_after: usize,
    /// The name of the vector column.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// Whether a row may have no vector.
    pub is_nullable: bool,
}

impl Columns {
    /// The leaves of the input that are carried before the vectors, or after them.
    pub fn carried_leaves(&self, schema: &Schema<'_>) -> (Vec<usize>, Vec<usize>) {
        let leaves = |range: std::ops::Range<usize>| {
            let roots = range.filter(|root| self.carried[*root]);
            roots.flat_map(|root| schema.roots[root].leaves.clone()).collect()
        };
        (leaves(0..self.vectors_after), leaves(self.vectors_after..schema.roots.len()))
    }

    /// The position of the vectors among the root columns of the output.
    pub fn position(&self) -> usize {
        self.carried[..self.vectors_after].iter().filter(|carried| **carried).count()
    }

    /// The encoded schema elements of the vector column: a list of required numbers.
    pub fn vector_elements(&self) -> [Vec<u8>; 3] {
        const CONVERTED_LIST: i32 = 3;
        const LOGICAL_LIST: i16 = 3;
        let mut list = Fields::default();
        list.set_structure(LOGICAL_LIST, &Fields::default());
        let repetition = match self.is_nullable {
            true => repetition::OPTIONAL,
            false => repetition::REQUIRED,
        };
        let mut outer = Fields::default();
        outer.set_i32(element::REPETITION, repetition as i32);
        outer.set_bytes(element::NAME, self.name.as_bytes());
        outer.set_i32(element::NUM_CHILDREN, 1);
        outer.set_i32(element::CONVERTED_TYPE, CONVERTED_LIST);
        outer.set_structure(element::LOGICAL_TYPE, &list);
        let mut repeated = Fields::default();
        repeated.set_i32(element::REPETITION, repetition::REPEATED as i32);
        repeated.set_bytes(element::NAME, b"list");
        repeated.set_i32(element::NUM_CHILDREN, 1);
        let mut item = item_type(self.element);
        item.set_i32(element::REPETITION, repetition::REQUIRED as i32);
        item.set_bytes(element::NAME, CHILD.as_bytes());
        [outer.encode(), repeated.encode(), item.encode()]
    }
}

/// The physical type of the elements of a vector.
fn physical_type(element: Element) -> i32 {
    let number = match element {
        Element::F32 => physical::FLOAT,
        Element::F16 => physical::FIXED_LEN_BYTE_ARRAY,
        Element::I8 | Element::U8 => physical::INT32,
    };
    number as i32
}

/// The fields of a schema element that give its type.
fn item_type(element: Element) -> Fields<'static> {
    const FLOAT16: i16 = 15;
    const INTEGER: i16 = 10;
    const BIT_WIDTH: i16 = 1;
    const IS_SIGNED: i16 = 2;
    const CONVERTED_UINT_8: i32 = 11;
    const CONVERTED_INT_8: i32 = 15;
    let mut item = Fields::default();
    item.set_i32(element::TYPE, physical_type(element));
    let mut logical = Fields::default();
    match element {
        Element::F32 => return item,
        Element::F16 => {
            item.set_i32(element::TYPE_LENGTH, 2);
            logical.set_structure(FLOAT16, &Fields::default());
        }
        Element::I8 | Element::U8 => {
            let is_signed = element == Element::I8;
            let mut integer = Fields::default();
            integer.set_i8(BIT_WIDTH, 8);
            integer.set_bool(IS_SIGNED, is_signed);
            logical.set_structure(INTEGER, &integer);
            let converted = if is_signed { CONVERTED_INT_8 } else { CONVERTED_UINT_8 };
            item.set_i32(element::CONVERTED_TYPE, converted);
        }
    }
    item.set_structure(element::LOGICAL_TYPE, &logical);
    item
}

/// The vector chunk of a row group, as the Parquet library wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorChunk {
    /// Numbers of its encodings.
    pub encodings: Vec<i32>,
    /// Number of values.
    pub values: i64,
    /// Bytes before compression.
    pub uncompressed_size: i64,
    /// Bytes in the file.
    pub compressed_size: i64,
}

impl VectorChunk {
    /// What a `ColumnMetaData` says about a vector chunk; `None` if it does not say all.
    pub fn of(metadata: &Fields<'_>) -> Option<VectorChunk> {
        let encodings = metadata.list(column_metadata::ENCODINGS)?.ints()?;
        let narrow = |number: i64| i32::try_from(number).ok();
        Some(VectorChunk {
            encodings: encodings.into_iter().map(narrow).collect::<Option<_>>()?,
            values: metadata.int(column_metadata::NUM_VALUES)?,
            uncompressed_size: metadata.int(column_metadata::UNCOMPRESSED_SIZE)?,
            compressed_size: metadata.int(column_metadata::COMPRESSED_SIZE)?,
        })
    }

    /// Its encoded `ColumnChunk`.
    fn encode_at(&self, columns: &Columns, placed: &Placed) -> Vec<u8> {
        let mut encodings = List { kind: kind::I32, items: Vec::new() };
        self.encodings.iter().for_each(|number| encodings.push(encode_number((*number).into())));
        let mut path = List { kind: kind::BINARY, items: Vec::new() };
        [columns.name.as_str(), "list", CHILD]
            .iter()
            .for_each(|part| path.push(super::thrift::encode_bytes(part.as_bytes())));
        let mut metadata = Fields::default();
        metadata.set_i32(column_metadata::TYPE, physical_type(columns.element));
        metadata.set_list(column_metadata::ENCODINGS, &encodings);
        metadata.set_list(column_metadata::PATH, &path);
        metadata.set_i32(column_metadata::CODEC, ZSTD);
        metadata.set_i64(column_metadata::NUM_VALUES, self.values);
        metadata.set_i64(column_metadata::UNCOMPRESSED_SIZE, self.uncompressed_size);
        metadata.set_i64(column_metadata::COMPRESSED_SIZE, self.compressed_size);
        metadata.set_i64(column_metadata::DATA_PAGE_OFFSET, placed.start as i64);
        Chunk::new(metadata).encode_at(placed)
    }
}

/// A row group of the output whose pages are written.
#[derive(Debug, Clone)]
pub struct WrittenGroup {
    /// The places of the carried chunks, in the order of the output's leaves, without the vectors'.
    pub carried: Vec<Placed>,
    /// The vector chunk.
    pub vectors: VectorChunk,
    /// The place of the vector chunk.
    pub vectors_at: Placed,
}

/// The encoded footer of the output. `own` are entries of our own, by key: they take the place of those
/// of the input.
///
/// What the input's footer says stays, `created_by` included, because readers judge statistics by
/// it. `None` if a row group is malformed, which [`Metadata::check`] has refused.
pub fn encode(
    input: &Metadata<'_>,
    columns: &Columns,
    groups: &[WrittenGroup],
    vectors: &arrow::datatypes::Field,
    own: &[(&str, String)],
) -> Option<Vec<u8>> {
    let schema = &input.schema;
    let (before, after) = columns.carried_leaves(schema);
    let mut footer = input.fields.clone();
    footer.set_list(file_metadata::SCHEMA, &schema_of(schema, columns)?);

    let mut encoded = List::of_structs();
    for (number, written) in groups.iter().enumerate() {
        let group = input.group(number).ok()?;
        encoded.push(encode_group(&group, (&before, &after), columns, written)?);
    }
    footer.set_list(file_metadata::ROW_GROUPS, &encoded);

    let entries = key_values(input, columns, vectors, own)?;
    footer.set_list(file_metadata::KEY_VALUES, &entries);
    if let Some(orders) = footer.list(file_metadata::COLUMN_ORDERS) {
        const TYPE_ORDER: i16 = 1;
        let mut type_order = Fields::default();
        type_order.set_structure(TYPE_ORDER, &Fields::default());
        let order = |leaf: &usize| orders.items.get(*leaf).cloned();
        // A list of another length means nothing, and stays out.
        let kept: Option<Vec<_>> = before.iter().map(order).collect();
        let rest: Option<Vec<_>> = after.iter().map(order).collect();
        let orders =
            kept.zip(rest).filter(|_| orders.kind == kind::STRUCT).map(|(mut items, rest)| {
                items.push(type_order.encode().into());
                items.extend(rest);
                let owned = items.iter().map(|item| item.to_vec().into()).collect();
                List { kind: kind::STRUCT, items: owned }
            });
        match orders {
            Some(orders) => footer.set_list(file_metadata::COLUMN_ORDERS, &orders),
            None => footer.remove(file_metadata::COLUMN_ORDERS),
        }
    }
    // Encrypted columns are not carried, and the signature of a changed footer would be wrong.
    footer.remove(file_metadata::ENCRYPTION_ALGORITHM);
    footer.remove(file_metadata::SIGNING_KEY);
    Some(footer.encode())
}

fn schema_of(schema: &Schema<'_>, columns: &Columns) -> Option<List<'static>> {
    let mut root = schema.element(0).into_owned();
    let count = columns.carried.iter().filter(|carried| **carried).count() + 1;
    root.set_i32(element::NUM_CHILDREN, i32::try_from(count).ok()?);
    let mut elements = List::of_structs();
    elements.push(root.encode());
    for number in 0..=schema.roots.len() {
        if number == columns.vectors_after {
            columns.vector_elements().into_iter().for_each(|element| elements.push(element));
        }
        let Some(root) = schema.roots.get(number).filter(|_| columns.carried[number]) else {
            continue;
        };
        for position in root.elements.clone() {
            elements.push(schema.elements.items.get(position)?.to_vec());
        }
    }
    Some(elements)
}

fn encode_group(
    group: &RowGroup<'_>,
    (before, after): (&[usize], &[usize]),
    columns: &Columns,
    written: &WrittenGroup,
) -> Option<Vec<u8>> {
    let mut chunks = List::of_structs();
    let (mut uncompressed, mut compressed) = (0i64, 0i64);
    let mut first: Option<u64> = None;
    let mut places = written.carried.iter();
    for (number, leaf) in before.iter().chain(after).enumerate() {
        if number == before.len() {
            chunks.push(written.vectors.encode_at(columns, &written.vectors_at));
        }
        let (chunk, placed) = (group.chunk(*leaf)?, places.next()?);
        uncompressed = uncompressed.saturating_add(chunk.uncompressed_size().max(0));
        compressed = compressed.saturating_add(chunk.declared_range().1.max(0));
        first.get_or_insert(placed.start);
        chunks.push(chunk.encode_at(placed));
    }
    if after.is_empty() {
        chunks.push(written.vectors.encode_at(columns, &written.vectors_at));
    }
    if before.is_empty() {
        first = Some(written.vectors_at.start);
    }
    let mut fields = group.fields.clone();
    fields.set_list(row_group::COLUMNS, &chunks);
    let total = uncompressed.saturating_add(written.vectors.uncompressed_size);
    fields.set_i64(row_group::TOTAL_BYTE_SIZE, total);
    if fields.has(row_group::FILE_OFFSET) {
        fields.set_i64(row_group::FILE_OFFSET, first.unwrap_or(0) as i64);
    }
    if fields.has(row_group::TOTAL_COMPRESSED_SIZE) {
        let total = compressed.saturating_add(written.vectors.compressed_size);
        fields.set_i64(row_group::TOTAL_COMPRESSED_SIZE, total);
    }
    if let Some(sorting) = group.fields.list(row_group::SORTING_COLUMNS) {
        match remap_sorting(&sorting, before, after) {
            Some(sorting) => fields.set_list(row_group::SORTING_COLUMNS, &sorting),
            None => fields.remove(row_group::SORTING_COLUMNS),
        }
    }
    Some(fields.encode())
}

/// The sorting columns under their numbers in the output. Rows sorted by a, b and c are sorted by a
/// if b is gone, and by nothing that a list could say if a is; `None` then.
fn remap_sorting(sorting: &List<'_>, before: &[usize], after: &[usize]) -> Option<List<'static>> {
    let mut remapped = List::of_structs();
    for column in sorting.structures()? {
        let leaf = usize::try_from(column.int(SORTING_LEAF)?).ok()?;
        let found = before.iter().chain(after).position(|carried| *carried == leaf);
        let Some(at) = found else { break };
        // The vectors are one leaf.
        let at = if at >= before.len() { at + 1 } else { at };
        let mut column = column.into_owned();
        column.set_i32(SORTING_LEAF, i32::try_from(at).ok()?);
        remapped.push(column.encode());
    }
    (!remapped.items.is_empty()).then_some(remapped)
}

/// The key-value entries of the output, in the order of the input's, our own last.
fn key_values(
    input: &Metadata<'_>,
    columns: &Columns,
    vectors: &arrow::datatypes::Field,
    own: &[(&str, String)],
) -> Option<List<'static>> {
    const KEY: i16 = 1;
    const VALUE: i16 = 2;
    let names: Vec<&str> = input.schema.roots.iter().map(|root| root.name.as_str()).collect();
    let change = ColumnChange::new(&names, &columns.carried, vectors, columns.position());
    let mut list = List::of_structs();
    let entries = input.fields.list(file_metadata::KEY_VALUES);
    for entry in entries.as_ref().and_then(List::structures).unwrap_or_default() {
        let text = |id: i16| entry.bytes(id).and_then(|bytes| std::str::from_utf8(bytes).ok());
        if own.iter().any(|(key, _)| entry.bytes(KEY) == Some(key.as_bytes())) {
            continue;
        }
        let followed = match (text(KEY), text(VALUE)) {
            (Some(key), Some(value)) => entries::follow(key, value, &change),
            // A key without a value, or bytes that are no text: nothing that describes a schema.
            _ => Followed::Unchanged,
        };
        match followed {
            Followed::Unchanged => list.push(entry.encode()),
            Followed::Replaced(value) => {
                let mut entry = entry.into_owned();
                entry.set_bytes(VALUE, value.as_bytes());
                list.push(entry.encode());
            }
            Followed::Dropped(_) => {}
        }
    }
    for (key, value) in own {
        let mut entry = Fields::default();
        entry.set_bytes(KEY, key.as_bytes());
        entry.set_bytes(VALUE, value.as_bytes());
        list.push(entry.encode());
    }
    Some(list)
}

/// The encoded offset index of a chunk whose pages moved from `old` to `new`; `None` if it is
/// malformed.
pub fn shift_offset_index(bytes: &[u8], old: u64, new: u64) -> Option<Vec<u8>> {
    const LOCATIONS: i16 = 1;
    const OFFSET: i16 = 1;
    let mut index = Fields::parse(bytes)?;
    let locations = index.list(LOCATIONS)?;
    let mut moved = List::of_structs();
    for location in locations.structures()? {
        let mut location = location.into_owned();
        let offset = u64::try_from(location.int(OFFSET)?).ok()?;
        let offset = offset.checked_sub(old)?.checked_add(new)?;
        location.set_i64(OFFSET, i64::try_from(offset).ok()?);
        moved.push(location.encode());
    }
    drop(locations);
    index.set_list(LOCATIONS, &moved);
    Some(index.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorting(leaves: &[i32]) -> List<'static> {
        let mut list = List::of_structs();
        for leaf in leaves {
            let mut column = Fields::default();
            column.set_i32(SORTING_LEAF, *leaf);
            list.push(column.encode());
        }
        list
    }

    #[test]
    fn sorting_columns_have_their_new_numbers_up_to_the_first_that_is_gone() {
        for (old, before, after, new) in [
            (&[0, 2][..], &[0, 1, 2][..], &[][..], Some(vec![0, 2])),
            // Leaf 1 gave way to the vectors.
            (&[2, 0], &[0], &[2, 3], Some(vec![2, 0])),
            (&[0, 1, 2], &[0], &[2], Some(vec![0])),
            (&[1, 0], &[0], &[2], None),
            (&[], &[0], &[], None),
        ] {
            let remapped = remap_sorting(&sorting(old), before, after);
            let numbers = remapped.map(|list| {
                let columns = list.structures().expect("structs");
                columns.iter().filter_map(|column| column.int(SORTING_LEAF)).collect::<Vec<_>>()
            });
            assert_eq!(numbers, new, "{old:?}, {before:?} and {after:?} carried");
        }
    }

    #[test]
    fn offset_index_moves_with_its_chunk_and_one_that_is_before_it_is_refused() {
        let mut locations = List::of_structs();
        for (offset, row) in [(100, 0), (180, 40)] {
            let mut location = Fields::default();
            location.set_i64(1, offset);
            location.set_i32(2, 80);
            location.set_i64(3, row);
            locations.push(location.encode());
        }
        let mut index = Fields::default();
        index.set_list(1, &locations);
        let moved = shift_offset_index(&index.encode(), 90, 1090).expect("an index");
        let moved = Fields::parse(&moved).expect("a struct");
        let locations = moved.list(1).expect("a list");
        let offsets: Vec<Option<i64>> =
            locations.structures().expect("structs").iter().map(|page| page.int(1)).collect();
        assert_eq!(offsets, [Some(1100), Some(1180)]);
        assert_eq!(shift_offset_index(&index.encode(), 101, 1090), None);
        assert_eq!(shift_offset_index(b"no index", 0, 1), None);
    }
}
