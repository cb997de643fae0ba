//! Digests of columns that say what the rows are, and not how they were cut or encoded.
//!
//! Row groups, record batches and slices do not show in a digest, nor do dictionaries, views, the width of
//! offsets, or what lies in the slots of nulls. So the digest of what was written is that of what is read back.
//!
//! A column is a tree of nodes, as its type is: a list has its elements below it, a struct its fields. The digest
//! of a node is SHA-256 over, in this order:
//!
//! 1. its kind, one byte, and for a kind of fixed width that width: a little-endian u64 like every number here;
//! 2. the number of its slots;
//! 3. SHA-256 of the positions of its nulls;
//! 4. by kind, looking only at slots that are not null:
//!
//! | kind | types | what follows |
//! |---|---|---|
//! | `n` | null | nothing |
//! | `b` | boolean | SHA-256 of the values, a byte of 0 or 1 each |
//! | `f` | numbers, times, decimals, binary of fixed width: all that has one | SHA-256 of the values, little-endian |
//! | `s`, `y` | strings, binary | SHA-256 of the lengths in bytes; SHA-256 of the values, where one of more than 1024 bytes is its own SHA-256 |
//! | `l` | lists, maps (lists of a struct of key and value) | SHA-256 of the lengths; the digest of the elements |
//! | `a` | lists of fixed size (the width is the size) | the digest of the elements |
//! | `t` | structs | the digests of the fields |
//!
//! A dictionary is its values. Slots below a null are not slots of the nodes below.
//!
//! **Why SHA-256.** It is the hash that the model's files and the fingerprint have, anyone can compute it again in any
//! language, and one may publish it. Processors of the last years have instructions for it and do about 1 GB/s on a
//! core, so that 100,000 vectors of 384 components, 154 MB, take 0.1 to 0.2 s: `cargo bench --bench publish`. A faster
//! hash would be one more dependency for what the pages' compression takes several times over.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use reembed_encoder::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A longer string goes in as its own hash: a dictionary or a view may repeat it for every row.
const LONGEST_INLINE: usize = 1024;

/// Small pieces are gathered up to this size before they are hashed.
const GATHERED: usize = 4096;

/// The digest of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDigest {
    /// The column's name.
    pub column: String,
    /// In hexadecimal.
    pub sha256: String,
}

/// Hashes the columns of a table, batch by batch.
pub struct TableHasher {
    /// By position in the schema; `None` for one that is left out.
    columns: Vec<Option<(String, Node)>>,
}

impl TableHasher {
    /// A hasher of tables of `schema`, but for the column at `without`.
    ///
    /// # Errors
    /// `Input`, naming a column of a type that no Parquet file holds.
    pub fn new(schema: &Schema, without: Option<usize>) -> Result<TableHasher> {
        let hasher = |(position, field): (usize, &arrow::datatypes::FieldRef)| {
            if Some(position) == without {
                return Ok(None);
            }
            let node = Node::new(field.data_type()).ok_or_else(|| {
                let message = format!("a column of type {} cannot be carried", field.data_type());
                Error::new(ErrorKind::Input, message)
                    .at(format!("column `{}`", field.name()))
                    .advice("leave the column out, or convert it")
            })?;
            Ok(Some((field.name().clone(), node)))
        };
        let columns = schema.fields().iter().enumerate().map(hasher).collect::<Result<_>>()?;
        Ok(TableHasher { columns })
    }

    /// Adds the next rows. Their columns may be dictionaries, views or of other offsets than the schema says.
    ///
    /// # Errors
    /// `Internal` when the columns are not those of the schema.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for (hasher, column) in self.columns.iter_mut().zip(batch.columns()) {
            let Some((name, node)) = hasher else { continue };
            update(node, name, column.as_ref())?;
        }
        Ok(())
    }

    /// The digests of the columns, in their order.
    pub fn finish(self) -> Vec<ColumnDigest> {
        let digest = |(column, node): (String, Node)| {
            let sha256 = hex(&node.finish());
            ColumnDigest { column, sha256 }
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
    /// A hasher of a column; `None` for a type that no Parquet file holds.
    pub fn new(name: &str, data_type: &DataType) -> Option<ColumnHasher> {
        Some(ColumnHasher { name: name.to_owned(), node: Node::new(data_type)? })
    }

    /// Adds the next rows.
    ///
    /// # Errors
    /// `Internal` when the array is not of the column's type.
    pub fn update(&mut self, array: &dyn Array) -> Result<()> {
        update(&mut self.node, &self.name, array)
    }

    /// The digest, in hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.node.finish())
    }
}

fn update(node: &mut Node, name: &str, array: &dyn Array) -> Result<()> {
    let whole = 0..array.len();
    node.update(array, &[whole]).map_err(|Misfit { array }| {
        let message = format!("an array of type {array} came for the digest of another one");
        Error::new(ErrorKind::Internal, message)
            .at(format!("column `{name}`"))
            .advice("this is a bug; please report it with this line")
    })
}

/// A node of a column's type, and what it has seen.
struct Node {
    slots: u64,
    nulls: Stream,
    kind: Kind,
}

enum Kind {
    Nothing,
    Boolean(Stream),
    Fixed { width: usize, values: Stream },
    Bytes { text: bool, lengths: Stream, values: Stream },
    List { lengths: Stream, elements: Box<Node> },
    FixedList { size: usize, elements: Box<Node> },
    Struct(Vec<Node>),
}

/// An array that is not of the node's kind.
struct Misfit {
    array: DataType,
}

impl Node {
    fn new(data_type: &DataType) -> Option<Node> {
        let boxed = |data_type: &DataType| Some(Box::new(Node::new(data_type)?));
        let kind = match data_type {
            DataType::Null => Kind::Nothing,
            DataType::Boolean => Kind::Boolean(Stream::default()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::bytes(true),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::bytes(false),
            DataType::FixedSizeBinary(width) => Kind::fixed(usize::try_from(*width).ok()?),
            DataType::Dictionary(_, values) => return Node::new(values),
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element)
            | DataType::Map(element, _) => {
                Kind::List { lengths: Stream::default(), elements: boxed(element.data_type())? }
            }
            DataType::FixedSizeList(element, size) => Kind::FixedList {
                size: usize::try_from(*size).ok()?,
                elements: boxed(element.data_type())?,
            },
            DataType::Struct(fields) => Kind::Struct(
                fields.iter().map(|field| Node::new(field.data_type())).collect::<Option<_>>()?,
            ),
            other => Kind::fixed(other.primitive_width()?),
        };
        Some(Node { slots: 0, nulls: Stream::default(), kind })
    }

    /// Adds the slots of `array` in these ranges, in their order.
    fn update(&mut self, array: &dyn Array, ranges: &[Range<usize>]) -> Result<(), Misfit> {
        match array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                self.slots += ranges.iter().map(|range| range.len() as u64).sum::<u64>();
                self.kind.update(array, ranges)
            }
            Some(nulls) => {
                let mut there = Runs::default();
                for range in ranges {
                    // The elements of vectors have nulls only where the vector is one, which no range goes over.
                    if nulls.slice(range.start, range.len()).null_count() == 0 {
                        self.slots += range.len() as u64;
                        there.push(range.clone());
                        continue;
                    }
                    for slot in range.clone() {
                        if nulls.is_null(slot) {
                            self.nulls.push(&self.slots.to_le_bytes());
                        } else {
                            there.push(slot..slot + 1);
                        }
                        self.slots += 1;
                    }
                }
                self.kind.update(array, &there.0)
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
        Kind::Fixed { width, values: Stream::default() }
    }

    fn bytes(text: bool) -> Kind {
        Kind::Bytes { text, lengths: Stream::default(), values: Stream::default() }
    }

    /// Adds slots of which none is null.
    fn update(&mut self, array: &dyn Array, ranges: &[Range<usize>]) -> Result<(), Misfit> {
        if ranges.is_empty() {
            return Ok(());
        }
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let keys = dictionary.normalized_keys();
            let mut values = Runs::default();
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
                let mut strings = Strings { lengths, values, long: HashMap::new() };
                match data_type {
                    DataType::Utf8 => {
                        let array = array.as_string::<i32>();
                        strings.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    DataType::LargeUtf8 => {
                        let array = array.as_string::<i64>();
                        strings.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    DataType::Utf8View => {
                        let array = array.as_string_view();
                        strings.push(ranges, |slot| array.value(slot).as_bytes());
                    }
                    other => return Err(Misfit { array: other.clone() }),
                }
            }
            (Kind::Bytes { text: false, lengths, values }, _) => {
                let mut strings = Strings { lengths, values, long: HashMap::new() };
                match data_type {
                    DataType::Binary => {
                        let array = array.as_binary::<i32>();
                        strings.push(ranges, |slot| array.value(slot));
                    }
                    DataType::LargeBinary => {
                        let array = array.as_binary::<i64>();
                        strings.push(ranges, |slot| array.value(slot));
                    }
                    DataType::BinaryView => {
                        let array = array.as_binary_view();
                        strings.push(ranges, |slot| array.value(slot));
                    }
                    other => return Err(Misfit { array: other.clone() }),
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
            (_, other) => return Err(Misfit { array: other.clone() }),
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

/// Notes the lengths of lists; gives the ranges of their elements.
fn list_elements<O: OffsetSizeTrait>(
    offsets: &[O],
    ranges: &[Range<usize>],
    lengths: &mut Stream,
) -> Vec<Range<usize>> {
    let mut elements = Runs::default();
    for slot in ranges.iter().cloned().flatten() {
        let (start, end) = (offsets[slot].as_usize(), offsets[slot + 1].as_usize());
        lengths.push(&((end - start) as u64).to_le_bytes());
        elements.push(start..end);
    }
    elements.0
}

/// The same for lists that say where each begins and how long it is.
fn view_elements<O: OffsetSizeTrait>(
    starts: &[O],
    sizes: &[O],
    ranges: &[Range<usize>],
    lengths: &mut Stream,
) -> Vec<Range<usize>> {
    let mut elements = Runs::default();
    for slot in ranges.iter().cloned().flatten() {
        let (start, size) = (starts[slot].as_usize(), sizes[slot].as_usize());
        lengths.push(&(size as u64).to_le_bytes());
        elements.push(start..start + size);
    }
    elements.0
}

/// Ranges in the order in which they come; one that follows on the last is joined to it.
#[derive(Default)]
struct Runs(Vec<Range<usize>>);

impl Runs {
    fn push(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }
}

/// Where strings go, and the hashes of the long ones among them by the place in memory where they lie: what
/// repeats there is hashed once.
struct Strings<'a> {
    lengths: &'a mut Stream,
    values: &'a mut Stream,
    long: HashMap<(usize, usize), [u8; 32]>,
}

impl Strings<'_> {
    fn push<'v>(&mut self, ranges: &[Range<usize>], value: impl Fn(usize) -> &'v [u8]) {
        for slot in ranges.iter().cloned().flatten() {
            let value = value(slot);
            self.lengths.push(&(value.len() as u64).to_le_bytes());
            if value.len() <= LONGEST_INLINE {
                self.values.push(value);
            } else {
                let place = (value.as_ptr() as usize, value.len());
                let hash = self.long.entry(place).or_insert_with(|| Sha256::digest(value).into());
                self.values.push(hash.as_slice());
            }
        }
    }
}

/// Bytes on their way into a hash.
#[derive(Default)]
struct Stream {
    hash: Sha256,
    gathered: Vec<u8>,
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > GATHERED {
            self.hash.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.gathered);
        self.hash.finalize().into()
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
