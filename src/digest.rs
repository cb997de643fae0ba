//! Digests of columns: SHA-256 over values, independent of encoding and layout.
//!
//! A digest does not depend on row groups, record batches, slices, dictionaries, views, the width
//! of offsets or the bytes in null slots. The digest of a written column equals the digest of the
//! column when it is read back. docs/decisions/0017-sha-256-digests.md gives the reasons.
//!
//! A column is a tree of nodes, like its type: a list has one child for its elements, a struct one
//! for each field. Numbers are little-endian u64. The digest of a node is SHA-256 over, in this
//! order:
//!
//! 1. its kind, one byte, and for a kind of fixed width that width;
//! 2. the number of its slots;
//! 3. SHA-256 of the positions of its nulls;
//! 4. by kind, over the slots that are not null:
//!
//! | kind | types | what follows |
//! |---|---|---|
//! | `n` | null | nothing |
//! | `b` | boolean | SHA-256 of the values, one byte of 0 or 1 each |
//! | `f` | numbers, times, decimals, fixed-size binary | SHA-256 of the values, little-endian |
//! | `s`, `y` | strings, binary | SHA-256 of the lengths in bytes; SHA-256 of the values, each value of more than 1024 bytes replaced by its own SHA-256 |
//! | `l` | lists, maps (lists of a struct of key and value) | SHA-256 of the lengths; the digest of the elements |
//! | `a` | fixed-size lists (the width is the size) | the digest of the elements |
//! | `t` | structs | the digests of the fields |
//!
//! A dictionary array counts as its values. A null in a node removes the slots below it.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::hash::hex;
use sha2::{Digest, Sha256};

use crate::footer::{ColumnDigest, ColumnHash};

/// Bytes of the longest value that is hashed as it is. A dictionary may repeat a longer one in every
/// row.
const LONGEST_INLINE: usize = 1024;

/// Bytes that are buffered before they are hashed, because hashing small pieces is slow.
const BUFFER_BYTES: usize = 4096;

/// Hashes the columns of a table, batch by batch.
pub struct TableHasher {
    /// By position in the schema; `None` for the column that is left out.
    columns: Vec<Option<(String, Node)>>,
}

impl TableHasher {
    /// A hasher for tables with `schema`, of the columns at the positions that `hashes` names.
    ///
    /// # Errors
    /// `Input`, naming the column, when its type is not one that Parquet has.
    pub fn new(schema: &Schema, hashes: impl Fn(usize) -> bool) -> Result<TableHasher> {
        let hasher = |(position, field): (usize, &arrow::datatypes::FieldRef)| {
            if !hashes(position) {
                return Ok(None);
            }
            let node = Node::new(field.data_type()).ok_or_else(|| {
                let message = format!("columns of type {} cannot be carried", field.data_type());
                Error::new(ErrorKind::Input, message)
                    .at(format!("column `{}`", field.name()))
                    .advice("remove the column from the input, or convert it")
            })?;
            Ok(Some((field.name().clone(), node)))
        };
        let columns = schema.fields().iter().enumerate().map(hasher).collect::<Result<_>>()?;
        Ok(TableHasher { columns })
    }

    /// Adds the next rows. Columns may be dictionaries or views, or have other offset widths than in
    /// the schema.
    ///
    /// # Errors
    /// `Internal` when the type of a column does not match the schema.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for (hasher, column) in self.columns.iter_mut().zip(batch.columns()) {
            let Some((name, node)) = hasher else { continue };
            update(node, name, column.as_ref())?;
        }
        Ok(())
    }

    /// The digests of the columns in the order of the schema.
    pub fn finish(self) -> Vec<ColumnDigest> {
        let digest = |(column, node): (String, Node)| ColumnDigest {
            column,
            digest: ColumnHash::Sha256(hex(&node.finish())),
        };
        self.columns.into_iter().flatten().map(digest).collect()
    }
}

/// Hashes one column, array by array.
pub struct ColumnHasher {
    name: String,
    node: Node,
}

impl ColumnHasher {
    /// A hasher for one column; `None` for a type that Parquet does not have.
    pub fn new(name: &str, data_type: &DataType) -> Option<ColumnHasher> {
        Some(ColumnHasher { name: name.to_owned(), node: Node::new(data_type)? })
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// `Internal` when the type of the array is not the column's.
    pub fn update(&mut self, array: &dyn Array) -> Result<()> {
        update(&mut self.node, &self.name, array)
    }

    /// The digest, in hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.node.finish())
    }
}

fn update(node: &mut Node, name: &str, array: &dyn Array) -> Result<()> {
    let all = 0..array.len();
    node.update(array, &[all]).map_err(|TypeMismatch { array }| {
        let message = format!("an array of type {array} does not match the type of its column");
        Error::new(ErrorKind::Internal, message)
            .at(format!("column `{name}`"))
            .advice("this is a bug in reembed; please report it with this message")
    })
}

/// A node of a column's type, with the hashes of its slots so far.
struct Node {
    slots: u64,
    nulls: BufferedHasher,
    kind: Kind,
}

enum Kind {
    Nothing,
    Boolean(BufferedHasher),
    Fixed { width: usize, values: BufferedHasher },
    Bytes { text: bool, lengths: BufferedHasher, values: BufferedHasher },
    List { lengths: BufferedHasher, elements: Box<Node> },
    FixedList { size: usize, elements: Box<Node> },
    Struct(Vec<Node>),
}

/// The type of an array is not the type of the node.
struct TypeMismatch {
    array: DataType,
}

impl Node {
    fn new(data_type: &DataType) -> Option<Node> {
        let boxed = |data_type: &DataType| Some(Box::new(Node::new(data_type)?));
        let kind = match data_type {
            DataType::Null => Kind::Nothing,
            DataType::Boolean => Kind::Boolean(BufferedHasher::default()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::bytes(true),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::bytes(false),
            DataType::FixedSizeBinary(width) => Kind::fixed(usize::try_from(*width).ok()?),
            DataType::Dictionary(_, values) => return Node::new(values),
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element)
            | DataType::Map(element, _) => Kind::List {
                lengths: BufferedHasher::default(),
                elements: boxed(element.data_type())?,
            },
            DataType::FixedSizeList(element, size) => Kind::FixedList {
                size: usize::try_from(*size).ok()?,
                elements: boxed(element.data_type())?,
            },
            DataType::Struct(fields) => Kind::Struct(
                fields.iter().map(|field| Node::new(field.data_type())).collect::<Option<_>>()?,
            ),
            other => Kind::fixed(other.primitive_width()?),
        };
        Some(Node { slots: 0, nulls: BufferedHasher::default(), kind })
    }

    /// Adds the slots of `array` in these ranges, in order.
    fn update(&mut self, array: &dyn Array, ranges: &[Range<usize>]) -> Result<(), TypeMismatch> {
        match array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                self.slots += ranges.iter().map(|range| range.len() as u64).sum::<u64>();
                self.kind.update(array, ranges)
            }
            Some(nulls) => {
                let mut present = SlotRanges::default();
                for range in ranges {
                    // The elements of a vector are null only if the vector is, and then no range has them.
                    if nulls.slice(range.start, range.len()).null_count() == 0 {
                        self.slots += range.len() as u64;
                        present.push(range.clone());
                        continue;
                    }
                    for slot in range.clone() {
                        if nulls.is_null(slot) {
                            self.nulls.push(&self.slots.to_le_bytes());
                        } else {
                            present.push(slot..slot + 1);
                        }
                        self.slots += 1;
                    }
                }
                self.kind.update(array, &present.0)
            }
        }
    }

    fn finish(self) -> [u8; 32] {
        let (tag, width) = match &self.kind {
            Kind::Nothing => (b'n', None),
            Kind::Boolean(_) => (b'b', None),
            Kind::Fixed { width, .. } => (b'f', Some(*width)),
            Kind::Bytes { text: true, .. } => (b's', None),
            Kind::Bytes { text: false, .. } => (b'y', None),
            Kind::List { .. } => (b'l', None),
            Kind::FixedList { size, .. } => (b'a', Some(*size)),
            Kind::Struct(_) => (b't', None),
        };
        let mut hash = Sha256::new();
        hash.update([tag]);
        if let Some(width) = width {
            hash.update((width as u64).to_le_bytes());
        }
        hash.update(self.slots.to_le_bytes());
        hash.update(self.nulls.finish());
        match self.kind {
            Kind::Nothing => {}
            Kind::Boolean(values) | Kind::Fixed { values, .. } => hash.update(values.finish()),
            Kind::Bytes { lengths, values, .. } => {
                hash.update(lengths.finish());
                hash.update(values.finish());
            }
            Kind::List { lengths, elements } => {
                hash.update(lengths.finish());
                hash.update(elements.finish());
            }
            Kind::FixedList { elements, .. } => hash.update(elements.finish()),
            Kind::Struct(fields) => {
                fields.into_iter().for_each(|field| hash.update(field.finish()))
            }
        }
        hash.finalize().into()
    }
}

impl Kind {
    fn fixed(width: usize) -> Kind {
        Kind::Fixed { width, values: BufferedHasher::default() }
    }

    fn bytes(text: bool) -> Kind {
        Kind::Bytes { text, lengths: BufferedHasher::default(), values: BufferedHasher::default() }
    }

    /// Adds slots, none of which is null.
    fn update(&mut self, array: &dyn Array, ranges: &[Range<usize>]) -> Result<(), TypeMismatch> {
        if ranges.is_empty() {
            return Ok(());
        }
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let keys = dictionary.normalized_keys();
            let mut values = SlotRanges::default();
            for slot in ranges.iter().cloned().flatten() {
                values.push(keys[slot]..keys[slot] + 1);
            }
            return self.update(dictionary.values().as_ref(), &values.0);
        }
        let data_type = array.data_type();
        match (self, data_type) {
            (Kind::Nothing, DataType::Null) => {}
            (Kind::Boolean(values), DataType::Boolean) => {
                let array = array.as_boolean();
                for slot in ranges.iter().cloned().flatten() {
                    values.push(&[u8::from(array.value(slot))]);
                }
            }
            (Kind::Bytes { text: true, lengths, values }, _) => {
                let mut column = StringColumn { lengths, values, long: HashMap::new() };
                match data_type {
                    DataType::Utf8 => {
                        let array = array.as_string::<i32>();
                        column.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    DataType::LargeUtf8 => {
                        let array = array.as_string::<i64>();
                        column.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    DataType::Utf8View => {
                        let array = array.as_string_view();
                        column.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    other => return Err(TypeMismatch { array: other.clone() }),
                }
            }
            (Kind::Bytes { text: false, lengths, values }, _) => {
                let mut column = StringColumn { lengths, values, long: HashMap::new() };
                match data_type {
                    DataType::Binary => {
                        let array = array.as_binary::<i32>();
                        column.push(ranges, |slot| array.value(slot));
                    }
                    DataType::LargeBinary => {
                        let array = array.as_binary::<i64>();
                        column.push(ranges, |slot| array.value(slot));
                    }
                    DataType::BinaryView => {
                        let array = array.as_binary_view();
                        column.push(ranges, |slot| array.value(slot));
                    }
                    other => return Err(TypeMismatch { array: other.clone() }),
                }
            }
            (Kind::List { lengths, elements }, DataType::List(_)) => {
                let list = array.as_list::<i32>();
                let below = list_elements(list.value_offsets(), ranges, lengths);
                elements.update(list.values().as_ref(), &below)?;
            }
            (Kind::List { lengths, elements }, DataType::LargeList(_)) => {
                let list = array.as_list::<i64>();
                let below = list_elements(list.value_offsets(), ranges, lengths);
                elements.update(list.values().as_ref(), &below)?;
            }
            (Kind::List { lengths, elements }, DataType::ListView(_)) => {
                let list = array.as_list_view::<i32>();
                let (starts, sizes) = (list.value_offsets(), list.value_sizes());
                let below = view_elements(starts, sizes, ranges, lengths);
                elements.update(list.values().as_ref(), &below)?;
            }
            (Kind::List { lengths, elements }, DataType::LargeListView(_)) => {
                let list = array.as_list_view::<i64>();
                let (starts, sizes) = (list.value_offsets(), list.value_sizes());
                let below = view_elements(starts, sizes, ranges, lengths);
                elements.update(list.values().as_ref(), &below)?;
            }
            (Kind::List { lengths, elements }, DataType::Map(..)) => {
                let map = array.as_map();
                let below = list_elements(map.value_offsets(), ranges, lengths);
                elements.update(map.entries(), &below)?;
            }
            (Kind::FixedList { size, elements }, DataType::FixedSizeList(_, width))
                if usize::try_from(*width) == Ok(*size) =>
            {
                let list = array.as_fixed_size_list();
                let below = |range: &Range<usize>| range.start * *size..range.end * *size;
                let below: Vec<Range<usize>> = ranges.iter().map(below).collect();
                elements.update(list.values().as_ref(), &below)?;
            }
            (Kind::Struct(fields), DataType::Struct(_))
                if fields.len() == array.as_struct().num_columns() =>
            {
                for (field, column) in fields.iter_mut().zip(array.as_struct().columns()) {
                    field.update(column.as_ref(), ranges)?;
                }
            }
            (Kind::Fixed { width, values }, _) if width_of(data_type) == Some(*width) => {
                let data = array.to_data();
                let bytes = &data.buffers()[0].as_slice()[data.offset() * *width..];
                for range in ranges {
                    values.push(&bytes[range.start * *width..range.end * *width]);
                }
            }
            (_, other) => return Err(TypeMismatch { array: other.clone() }),
        }
        Ok(())
    }
}

fn width_of(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        other => other.primitive_width(),
    }
}

/// Hashes the lengths of lists; returns the ranges of their elements.
fn list_elements<O: OffsetSizeTrait>(
    offsets: &[O],
    ranges: &[Range<usize>],
    lengths: &mut BufferedHasher,
) -> Vec<Range<usize>> {
    let mut elements = SlotRanges::default();
    for slot in ranges.iter().cloned().flatten() {
        let (start, end) = (offsets[slot].as_usize(), offsets[slot + 1].as_usize());
        lengths.push(&((end - start) as u64).to_le_bytes());
        elements.push(start..end);
    }
    elements.0
}

/// The same for list views, which store a start and a size for each list.
fn view_elements<O: OffsetSizeTrait>(
    starts: &[O],
    sizes: &[O],
    ranges: &[Range<usize>],
    lengths: &mut BufferedHasher,
) -> Vec<Range<usize>> {
    let mut elements = SlotRanges::default();
    for slot in ranges.iter().cloned().flatten() {
        let (start, size) = (starts[slot].as_usize(), sizes[slot].as_usize());
        lengths.push(&(size as u64).to_le_bytes());
        elements.push(start..start + size);
    }
    elements.0
}

/// Ranges of slots in order. Adjacent ranges are merged.
#[derive(Default)]
struct SlotRanges(Vec<Range<usize>>);

impl SlotRanges {
    fn push(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }
}

/// Hashes the values of a string or binary column. A long value is hashed once per address, because
/// views and dictionaries repeat it.
struct StringColumn<'a> {
    lengths: &'a mut BufferedHasher,
    values: &'a mut BufferedHasher,
    long: HashMap<(usize, usize), [u8; 32]>,
}

impl StringColumn<'_> {
    fn push<'v>(&mut self, ranges: &[Range<usize>], value: impl Fn(usize) -> &'v [u8]) {
        for slot in ranges.iter().cloned().flatten() {
            let value = value(slot);
            self.lengths.push(&(value.len() as u64).to_le_bytes());
            if value.len() <= LONGEST_INLINE {
                self.values.push(value);
            } else {
                let address = (value.as_ptr() as usize, value.len());
                let hash = self.long.entry(address).or_insert_with(|| Sha256::digest(value).into());
                self.values.push(hash.as_slice());
            }
        }
    }
}

/// SHA-256 that buffers small pieces.
#[derive(Default)]
struct BufferedHasher {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl BufferedHasher {
    fn push(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
        if bytes.len() > BUFFER_BYTES {
            self.hash.update(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.buffer);
        self.hash.finalize().into()
    }
}

#[cfg(test)]
mod tests;
