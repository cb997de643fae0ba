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

/// Which root columns of the input are carried, and where the vector columns stand among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// For each root column of the input, whether it is carried.
    pub carried: Vec<bool>,
    /// The vector columns.
    pub vectors: Vec<VectorColumn>,
    /// Whether rows of the output are parts of rows of the input, which have columns of their own.
    pub has_parts: bool,
}

/// A column of vectors in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorColumn {
    /// Number of root columns of the input before it. A column that it replaces is not carried.
    pub after: usize,
    /// Whether it replaces a column of the input.
    pub replaces: bool,
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// Whether a row may have no vector.
    pub is_nullable: bool,
}

/// A root column of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The root column of the input with this number.
    Carried(usize),
    /// The vector column with this number.
    Vectors(usize),
}

impl Columns {
    /// The root columns of the output in order. A vector column stands where the one that it replaces
    /// stood, others stand at the end in the order of their numbers.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.carried.len() + self.vectors.len());
        for root in 0..=self.carried.len() {
            let here = self.vectors.iter().enumerate().filter(|(_, vectors)| vectors.after == root);
            slots.extend(here.map(|(number, _)| Slot::Vectors(number)));
            if self.carried.get(root) == Some(&true) {
                slots.push(Slot::Carried(root));
            }
        }
        slots
    }

    /// The leaves of the output in order: those of the input, or the number of the vector column.
    pub fn leaves(&self, schema: &Schema<'_>) -> Vec<Slot> {
        let leaves = |slot: Slot| match slot {
            Slot::Carried(root) => schema.roots[root].leaves.clone().map(Slot::Carried).collect(),
            Slot::Vectors(_) => vec![slot],
        };
        self.slots().into_iter().flat_map(leaves).collect()
    }

    /// The position of a vector column among the root columns of the output.
    pub fn position(&self, vectors: usize) -> usize {
        let slots = self.slots();
        slots.iter().position(|slot| *slot == Slot::Vectors(vectors)).unwrap_or(slots.len())
    }

    /// The position among the root columns of the output before which those of parts stand: after the
    /// last carried one.
    pub fn parts_position(&self) -> usize {
        let is_carried = |slot: &Slot| matches!(slot, Slot::Carried(_));
        self.slots().iter().rposition(is_carried).map_or(0, |last| last + 1)
    }

    /// Puts the columns of an output in order: `carried` has an item for each root column of the input,
    /// `vectors` one for each vector column.
    pub fn arrange<T: Clone>(&self, carried: &[T], vectors: &[T]) -> Vec<T> {
        let item = |slot: Slot| match slot {
            Slot::Carried(root) => carried.get(root).cloned(),
            Slot::Vectors(number) => vectors.get(number).cloned(),
        };
        self.slots().into_iter().filter_map(item).collect()
    }
}

impl VectorColumn {
    /// The encoded schema elements of the column: a list of required numbers.
    fn elements(&self) -> [Vec<u8>; 3] {
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
    fn encode_at(&self, column: &VectorColumn, placed: &Placed) -> Vec<u8> {
        let mut encodings = List { kind: kind::I32, items: Vec::new() };
        self.encodings.iter().for_each(|number| encodings.push(encode_number((*number).into())));
        let mut path = List { kind: kind::BINARY, items: Vec::new() };
        [column.name.as_str(), "list", CHILD]
            .iter()
            .for_each(|part| path.push(super::thrift::encode_bytes(part.as_bytes())));
        let mut metadata = Fields::default();
        metadata.set_i32(column_metadata::TYPE, physical_type(column.element));
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
#[derive(Debug, Clone, Default)]
pub struct WrittenGroup {
    /// The places of the chunks, in the order of the output's leaves.
    pub placed: Vec<Placed>,
    /// The vector chunks, by the number of their columns.
    pub vectors: Vec<VectorChunk>,
}

/// The encoded footer of the output, which has `groups`: those of the input from a number on. `own` are entries of our
/// own, by key: they take the place of those of the input.
///
/// What the input's footer says stays, `created_by` included, because readers judge statistics by
/// it. `None` if a row group is malformed, which [`Metadata::check`] has refused.
pub fn encode(
    input: &Metadata<'_>,
    columns: &Columns,
    (first, groups): (usize, &[WrittenGroup]),
    vectors: &[arrow::datatypes::FieldRef],
    own: &[(&str, String)],
) -> Option<Vec<u8>> {
    let schema = &input.schema;
    let leaves = columns.leaves(schema);
    let mut footer = input.fields.clone();
    footer.set_list(file_metadata::SCHEMA, &schema_of(schema, columns)?);

    let mut encoded = List::of_structs();
    let mut rows = 0i64;
    for (number, written) in (first..).zip(groups) {
        let group = input.group(number).ok()?;
        rows = rows.saturating_add(group.rows());
        encoded.push(encode_group(&group, &leaves, columns, written)?);
    }
    footer.set_list(file_metadata::ROW_GROUPS, &encoded);
    if groups.len() < input.group_count() {
        footer.set_i64(file_metadata::NUM_ROWS, rows);
    }

    let entries = key_values(input, columns, vectors, own)?;
    footer.set_list(file_metadata::KEY_VALUES, &entries);
    if let Some(orders) = footer.list(file_metadata::COLUMN_ORDERS) {
        const TYPE_ORDER: i16 = 1;
        let mut type_order = Fields::default();
        type_order.set_structure(TYPE_ORDER, &Fields::default());
        let order = |leaf: &Slot| match leaf {
            Slot::Carried(leaf) => orders.items.get(*leaf).map(|order| order.to_vec().into()),
            Slot::Vectors(_) => Some(type_order.encode().into()),
        };
        // A list of another length means nothing, and stays out.
        let kept: Option<Vec<_>> = leaves.iter().map(order).collect();
        let orders = kept
            .filter(|_| orders.kind == kind::STRUCT)
            .map(|items| List { kind: kind::STRUCT, items });
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
    let slots = columns.slots();
    let mut root = schema.element(0).into_owned();
    root.set_i32(element::NUM_CHILDREN, i32::try_from(slots.len()).ok()?);
    let mut elements = List::of_structs();
    elements.push(root.encode());
    for slot in slots {
        match slot {
            Slot::Carried(root) => {
                for position in schema.roots[root].elements.clone() {
                    elements.push(schema.elements.items.get(position)?.to_vec());
                }
            }
            Slot::Vectors(number) => {
                for element in columns.vectors[number].elements() {
                    elements.push(element);
                }
            }
        }
    }
    Some(elements)
}

fn encode_group(
    group: &RowGroup<'_>,
    leaves: &[Slot],
    columns: &Columns,
    written: &WrittenGroup,
) -> Option<Vec<u8>> {
    let mut chunks = List::of_structs();
    let (mut uncompressed, mut compressed) = (0i64, 0i64);
    for (leaf, placed) in leaves.iter().zip(&written.placed) {
        let (bytes, compressed_bytes) = match leaf {
            Slot::Carried(leaf) => {
                let chunk = group.chunk(*leaf)?;
                chunks.push(chunk.encode_at(placed));
                (chunk.uncompressed_size().max(0), chunk.declared_range().1.max(0))
            }
            Slot::Vectors(number) => {
                let chunk = written.vectors.get(*number)?;
                chunks.push(chunk.encode_at(&columns.vectors[*number], placed));
                (chunk.uncompressed_size, chunk.compressed_size)
            }
        };
        uncompressed = uncompressed.saturating_add(bytes);
        compressed = compressed.saturating_add(compressed_bytes);
    }
    let first = written.placed.first().map_or(0, |placed| placed.start);
    let mut fields = group.fields.clone();
    fields.set_list(row_group::COLUMNS, &chunks);
    fields.set_i64(row_group::TOTAL_BYTE_SIZE, uncompressed);
    if fields.has(row_group::FILE_OFFSET) {
        fields.set_i64(row_group::FILE_OFFSET, first as i64);
    }
    if fields.has(row_group::TOTAL_COMPRESSED_SIZE) {
        fields.set_i64(row_group::TOTAL_COMPRESSED_SIZE, compressed);
    }
    if let Some(sorting) = group.fields.list(row_group::SORTING_COLUMNS) {
        match remap_sorting(&sorting, leaves) {
            Some(sorting) => fields.set_list(row_group::SORTING_COLUMNS, &sorting),
            None => fields.remove(row_group::SORTING_COLUMNS),
        }
    }
    Some(fields.encode())
}

/// The sorting columns under their numbers in the output. Rows sorted by a, b and c are sorted by a
/// if b is gone, and by nothing that a list could say if a is; `None` then.
fn remap_sorting(sorting: &List<'_>, leaves: &[Slot]) -> Option<List<'static>> {
    let mut remapped = List::of_structs();
    for column in sorting.structures()? {
        let leaf = usize::try_from(column.int(SORTING_LEAF)?).ok()?;
        let found = leaves.iter().position(|carried| *carried == Slot::Carried(leaf));
        let Some(at) = found else { break };
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
    vectors: &[arrow::datatypes::FieldRef],
    own: &[(&str, String)],
) -> Option<List<'static>> {
    const KEY: i16 = 1;
    const VALUE: i16 = 2;
    let steps = Steps::new(input, columns, vectors);
    let changes: Vec<ColumnChange<'_>> = steps.changes().collect();
    let mut list = List::of_structs();
    let entries = input.fields.list(file_metadata::KEY_VALUES);
    for entry in entries.as_ref().and_then(List::structures).unwrap_or_default() {
        let text = |id: i16| entry.bytes(id).and_then(|bytes| std::str::from_utf8(bytes).ok());
        if own.iter().any(|(key, _)| entry.bytes(KEY) == Some(key.as_bytes())) {
            continue;
        }
        let followed = match (text(KEY), text(VALUE)) {
            (Some(key), Some(value)) => follow_all(key, value, &changes),
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

/// The columns of the output after each vector column is put in, in the order of the output. An entry
/// follows one vector column after the other.
struct Steps<'a> {
    /// The columns before each step, and which of them are carried.
    columns: Vec<(Vec<&'a str>, Vec<bool>)>,
    /// The field of the vector column and its position.
    put_in: Vec<(&'a arrow::datatypes::Field, usize)>,
}

impl<'a> Steps<'a> {
    fn new(
        input: &'a Metadata<'_>,
        columns: &Columns,
        vectors: &'a [arrow::datatypes::FieldRef],
    ) -> Steps<'a> {
        let roots = input.schema.roots.iter();
        let mut names: Vec<&str> = roots.map(|root| root.name.as_str()).collect();
        let mut carried = columns.carried.clone();
        let mut steps = Steps { columns: Vec::new(), put_in: Vec::new() };
        for (position, slot) in columns.slots().into_iter().enumerate() {
            let Slot::Vectors(number) = slot else { continue };
            let Some(field) = vectors.get(number) else { continue };
            steps.columns.push((names.clone(), carried.clone()));
            steps.put_in.push((field.as_ref(), position));
            let kept = names.iter().zip(&carried).filter(|(_, carried)| **carried);
            names = kept.map(|(name, _)| *name).collect();
            names.insert(position.min(names.len()), field.name());
            carried = vec![true; names.len()];
        }
        steps
    }

    fn changes(&self) -> impl Iterator<Item = ColumnChange<'_>> {
        self.columns.iter().zip(&self.put_in).map(|((names, carried), (field, position))| {
            ColumnChange::new(names, carried, field, *position)
        })
    }
}

/// What becomes of an entry after all changes.
fn follow_all(key: &str, value: &str, changes: &[ColumnChange<'_>]) -> Followed {
    let mut now: Option<String> = None;
    for change in changes {
        match entries::follow(key, now.as_deref().unwrap_or(value), change) {
            Followed::Unchanged => {}
            Followed::Replaced(value) => now = Some(value),
            dropped @ Followed::Dropped(_) => return dropped,
        }
    }
    now.map_or(Followed::Unchanged, Followed::Replaced)
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
        use Slot::{Carried, Vectors};
        let (first, second) = (Vectors(0), Vectors(1));
        for (old, leaves, new) in [
            (&[0, 2][..], &[Carried(0), Carried(1), Carried(2), first][..], Some(vec![0, 2])),
            // Leaf 1 gave way to the vectors.
            (&[2, 0], &[Carried(0), first, Carried(2), Carried(3)], Some(vec![2, 0])),
            (&[2, 3], &[first, Carried(2), second, Carried(3)], Some(vec![1, 3])),
            (&[0, 1, 2], &[Carried(0), first, Carried(2)], Some(vec![0])),
            (&[1, 0], &[Carried(0), first, Carried(2)], None),
            (&[], &[Carried(0), first], None),
        ] {
            let remapped = remap_sorting(&sorting(old), leaves);
            let numbers = remapped.map(|list| {
                let columns = list.structures().expect("structs");
                columns.iter().filter_map(|column| column.int(SORTING_LEAF)).collect::<Vec<_>>()
            });
            assert_eq!(numbers, new, "{old:?} of {leaves:?}");
        }
    }

    #[test]
    fn vector_columns_stand_where_those_that_they_replace_stood_or_at_the_end() {
        use Slot::{Carried, Vectors};
        let vectors = |after: usize| VectorColumn {
            after,
            replaces: after < 3,
            name: format!("v{after}"),
            element: Element::F32,
            is_nullable: true,
        };
        for (carried, places, expected) in [
            ([true, true, true], vec![3], vec![Carried(0), Carried(1), Carried(2), Vectors(0)]),
            ([true, false, true], vec![1], vec![Carried(0), Vectors(0), Carried(2)]),
            ([false, true, true], vec![3, 0], vec![Vectors(1), Carried(1), Carried(2), Vectors(0)]),
            ([true, true, false], vec![3, 3], vec![Carried(0), Carried(1), Vectors(0), Vectors(1)]),
        ] {
            let vectors: Vec<VectorColumn> = places.iter().map(|after| vectors(*after)).collect();
            let columns = Columns { carried: carried.to_vec(), vectors, has_parts: false };
            assert_eq!(columns.slots(), expected, "{places:?}");
            let arranged = columns.arrange(&["a", "b", "c"], &["v", "w"][..places.len()]);
            let name = |slot: &Slot| match slot {
                Carried(root) => ["a", "b", "c"][*root],
                Vectors(number) => ["v", "w"][*number],
            };
            assert_eq!(arranged, expected.iter().map(name).collect::<Vec<_>>());
            assert_eq!(expected[columns.position(0)], Vectors(0));
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
