//! Writes an Arrow schema message in front of the messages that it refers into.

/// The alignment of the parts. Flatbuffers align values to their size, which is at most 8 in Arrow.
const ALIGNMENT: usize = 16;

/// Where the two tables and the list of fields are in the front. The message has 8 bytes of number
/// and is aligned to them.
const MESSAGE: usize = 24;
const SCHEMA: usize = 60;
const FIELDS: usize = 80;

/// A table in one of the two parts behind the front.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Its position in the old message.
    Old(usize),
    /// Its position in the added part.
    Added(usize),
}

/// What the new message says itself, and where the rest is.
pub struct Splice<'a> {
    /// The flatbuffer of the old message.
    pub old: &'a [u8],
    /// A flatbuffer with tables that the old message does not have.
    pub added: &'a [u8],
    /// The version of the format.
    pub version: Option<[u8; 2]>,
    /// The length of the body. A schema has none.
    pub body_length: Option<[u8; 8]>,
    /// The position of the message's metadata in the old message.
    pub message_metadata: Option<usize>,
    /// The endianness of the rows.
    pub endianness: Option<[u8; 2]>,
    /// The position of the list of features in the old message.
    pub features: Option<usize>,
    /// The fields of the schema.
    pub fields: Vec<Part>,
    /// The metadata entries of the schema.
    pub metadata: Vec<Part>,
}

/// The front while it is written, and where the parts behind it begin.
struct Front {
    bytes: Vec<u8>,
    old: usize,
    added: usize,
}

impl Splice<'_> {
    /// The new flatbuffer; `None` if it is too large for one.
    pub fn write(&self) -> Option<Vec<u8>> {
        let vector_length = |parts: &[Part]| 4 + 4 * parts.len();
        let metadata = FIELDS + vector_length(&self.fields);
        let end = metadata + vector_length(&self.metadata);
        let old = end.next_multiple_of(ALIGNMENT);
        let added = (old + self.old.len()).next_multiple_of(ALIGNMENT);
        let total = (added + self.added.len()).next_multiple_of(ALIGNMENT);
        i32::try_from(total).ok()?;

        let mut front = Front { bytes: Vec::with_capacity(total), old, added };
        front.refer(Some(MESSAGE))?;
        // Version, header type, header, body length and metadata of the message.
        let slots = [4, 6, 16, 8, if self.message_metadata.is_some() { 20 } else { 0 }];
        front.vtable(&slots, 24);
        front.pad_to(MESSAGE);
        front.back_to(4)?;
        front.bytes.extend(self.version.unwrap_or_default());
        // The header is a schema.
        front.bytes.extend([1, 0]);
        front.bytes.extend(self.body_length.unwrap_or_default());
        front.refer(Some(SCHEMA))?;
        front.refer(self.message_metadata.map(|position| old + position))?;
        let schema_vtable = front.bytes.len();

        // Endianness, fields, metadata and features of the schema.
        let metadata_slot = if self.metadata.is_empty() { 0 } else { 8 };
        let features_slot = if self.features.is_some() { 12 } else { 0 };
        front.vtable(&[16, 4, metadata_slot, features_slot], 20);
        front.back_to(schema_vtable)?;
        front.refer(Some(FIELDS))?;
        front.refer(Some(metadata))?;
        front.refer(self.features.map(|position| old + position))?;
        front.bytes.extend(self.endianness.unwrap_or_default());
        front.pad_to(FIELDS);

        front.vector(&self.fields)?;
        front.vector(&self.metadata)?;
        front.pad_to(old);
        front.bytes.extend(self.old);
        front.pad_to(added);
        front.bytes.extend(self.added);
        front.pad_to(total);
        Some(front.bytes)
    }
}

impl Front {
    /// Writes where the fields of a table of `size` bytes are; 0 for one that is absent.
    fn vtable(&mut self, slots: &[u16], size: u16) {
        let length = 4 + 2 * slots.len() as u16;
        for number in [length, size].iter().chain(slots) {
            self.bytes.extend(number.to_le_bytes());
        }
    }

    /// Begins a table with the reference to its vtable.
    fn back_to(&mut self, vtable: usize) -> Option<()> {
        let back = i32::try_from(self.bytes.len().checked_sub(vtable)?).ok()?;
        self.bytes.extend(back.to_le_bytes());
        Some(())
    }

    /// Writes a reference; 0 where a field is absent.
    fn refer(&mut self, target: Option<usize>) -> Option<()> {
        let target = target.unwrap_or(self.bytes.len());
        let offset = u32::try_from(target.checked_sub(self.bytes.len())?).ok()?;
        self.bytes.extend(offset.to_le_bytes());
        Some(())
    }

    fn vector(&mut self, parts: &[Part]) -> Option<()> {
        self.bytes.extend(u32::try_from(parts.len()).ok()?.to_le_bytes());
        for part in parts {
            let position = match part {
                Part::Old(position) => self.old + position,
                Part::Added(position) => self.added + position,
            };
            self.refer(Some(position))?;
        }
        Some(())
    }

    fn pad_to(&mut self, length: usize) {
        self.bytes.resize(length, 0);
    }
}
