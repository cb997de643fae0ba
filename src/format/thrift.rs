//! Thrift's compact protocol, as Parquet's metadata uses it: a cursor, and structs whose fields
//! stay encoded.
//!
//! [`Fields`] keeps every field of a struct, known or not, as the bytes that it had. A field that
//! is changed is encoded anew; all others are written back byte for byte.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use std::borrow::Cow;

/// A cursor in Thrift bytes. Every method returns `None` if the bytes end early or are malformed.
pub struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The wire types of fields and list elements.
pub mod kind {
    /// True.
    pub const TRUE: u8 = 1;
    /// False.
    pub const FALSE: u8 = 2;
    /// A number of 8 bits.
    pub const I8: u8 = 3;
    /// A number of 16 bits.
    pub const I16: u8 = 4;
    /// A number of 32 bits.
    pub const I32: u8 = 5;
    /// A number of 64 bits.
    pub const I64: u8 = 6;
    /// Bytes or a string.
    pub const BINARY: u8 = 8;
    /// A list.
    pub const LIST: u8 = 9;
    /// A struct.
    pub const STRUCT: u8 = 12;
}

/// Maximum nesting of structs and lists. Parquet's own metadata is at most ten deep.
const MAX_DEPTH: u32 = 32;

/// Maximum number of fields of a struct. Parquet's largest has 17.
const MAX_FIELDS: usize = 256;

/// Maximum number of items of a list: row groups, or columns of one, or elements of a schema.
const MAX_ITEMS: u64 = 1 << 22;

impl<'a> Thrift<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Thrift { bytes, at: 0 }
    }

    /// Number of bytes read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads the fields of a struct. `each` gets their number and kind, and reads or skips the value.
    pub fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut number = 0i64;
        loop {
            let byte = self.byte()?;
            let (step, kind) = (byte >> 4, byte & 0x0f);
            if kind == 0 {
                return Some(());
            }
            number = if step == 0 { self.number()? } else { number.checked_add(step.into())? };
            // Other readers cut the number to 16 bits and see another field.
            i16::try_from(number).ok()?;
            each(self, number, kind)?;
        }
    }

    /// Reads the header of a list: the number and the kind of the elements.
    pub fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        let (length, kind) = (byte >> 4, byte & 0x0f);
        let length = if length == 15 { self.varint()? } else { length.into() };
        Some((length, kind))
    }

    /// Reads a signed number.
    pub fn number(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Reads a signed number of 32 bits. Readers disagree about longer ones.
    pub fn int(&mut self) -> Option<i64> {
        self.number().filter(|number| i32::try_from(*number).is_ok())
    }

    /// Reads an unsigned number.
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Reads `bytes` bytes.
    pub fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let start = self.at;
        self.advance(bytes)?;
        Some(&self.bytes[start..self.at])
    }

    /// Skips a value.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_within(kind, MAX_DEPTH)
    }

    fn skip_within(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // The kind of a boolean field is its value.
            1 | 2 => Some(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            8 => {
                let length = self.varint()?;
                self.advance(length)
            }
            9 | 10 => {
                let (length, kind) = self.list()?;
                for _ in 0..length {
                    // A boolean element takes a byte.
                    self.skip_within(if kind <= 2 { 3 } else { kind }, depth)?;
                }
                Some(())
            }
            kind::STRUCT => self.fields(|thrift, _, kind| thrift.skip_within(kind, depth)),
            // Parquet has no maps.
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn advance(&mut self, bytes: u64) -> Option<()> {
        let at = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = at;
        (at <= self.bytes.len()).then_some(())
    }
}

/// A struct, or a part of one, whose values stay encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    fields: Vec<Field<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field<'a> {
    id: i16,
    kind: u8,
    value: Cow<'a, [u8]>,
}

impl<'a> Fields<'a> {
    /// Reads a struct that takes all of `bytes`; `None` if it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Thrift::new(bytes);
        let fields = Fields::read(&mut cursor)?;
        (cursor.position() == bytes.len()).then_some(fields)
    }

    /// Reads a struct. A field that is there twice is malformed: readers disagree about which counts.
    pub fn read(cursor: &mut Thrift<'a>) -> Option<Self> {
        Fields::read_with(cursor, |cursor, _, kind| cursor.skip(kind))
    }

    /// As [`Fields::read`]. `value` gets the number and the kind of each field, and skips its value or
    /// parses it in the same pass.
    pub fn read_with(
        cursor: &mut Thrift<'a>,
        mut value: impl FnMut(&mut Thrift<'a>, i16, u8) -> Option<()>,
    ) -> Option<Self> {
        // The usual number in the metadata of a chunk.
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(12);
        let mut largest: Option<i16> = None;
        cursor.fields(|cursor, id, kind| {
            let id = i16::try_from(id).ok()?;
            (fields.len() < MAX_FIELDS).then_some(())?;
            // Nearly every writer sorts them, and then one comparison is enough.
            if largest.is_some_and(|largest| id <= largest)
                && fields.iter().any(|field| field.id == id)
            {
                return None;
            }
            largest = largest.max(Some(id));
            let start = cursor.at;
            value(cursor, id, kind)?;
            let value = Cow::Borrowed(&cursor.bytes[start..cursor.at]);
            fields.push(Field { id, kind, value });
            Some(())
        })?;
        Some(Fields { fields })
    }

    /// Whether there is a field with this number.
    pub fn has(&self, id: i16) -> bool {
        self.get(id).is_some()
    }

    /// The number of a field of 16, 32 or 64 bits; `None` if there is none or it has another kind.
    pub fn int(&self, id: i16) -> Option<i64> {
        let field = self.get(id)?;
        (kind::I16..=kind::I64).contains(&field.kind).then(|| Thrift::new(&field.value).number())?
    }

    /// Whether a field is the boolean `true`.
    pub fn is_true(&self, id: i16) -> bool {
        self.get(id).is_some_and(|field| field.kind == kind::TRUE)
    }

    /// The bytes of a string field.
    pub fn bytes(&self, id: i16) -> Option<&[u8]> {
        let field = self.get(id).filter(|field| field.kind == kind::BINARY)?;
        read_bytes(&field.value)
    }

    /// The fields of a struct field.
    pub fn structure(&self, id: i16) -> Option<Fields<'_>> {
        let field = self.get(id).filter(|field| field.kind == kind::STRUCT)?;
        Fields::parse(&field.value)
    }

    /// The items of a list field.
    pub fn list(&self, id: i16) -> Option<List<'_>> {
        let field = self.get(id).filter(|field| field.kind == kind::LIST)?;
        List::parse(&field.value)
    }

    /// The same fields with bytes of their own.
    pub fn into_owned(self) -> Fields<'static> {
        let owned = |field: Field<'a>| Field {
            id: field.id,
            kind: field.kind,
            value: Cow::Owned(field.value.into_owned()),
        };
        Fields { fields: self.fields.into_iter().map(owned).collect() }
    }

    /// Sets a number of 32 bits.
    pub fn set_i32(&mut self, id: i16, number: i32) {
        self.set(id, kind::I32, encode_number(number.into()));
    }

    /// Sets a number of 64 bits.
    pub fn set_i64(&mut self, id: i16, number: i64) {
        self.set(id, kind::I64, encode_number(number));
    }

    /// Sets a number of 8 bits.
    pub fn set_i8(&mut self, id: i16, number: i8) {
        self.set(id, kind::I8, vec![number as u8]);
    }

    /// Sets a boolean.
    pub fn set_bool(&mut self, id: i16, value: bool) {
        let kind = if value { kind::TRUE } else { kind::FALSE };
        self.set(id, kind, Vec::new());
    }

    /// Sets a string.
    pub fn set_bytes(&mut self, id: i16, bytes: &[u8]) {
        self.set(id, kind::BINARY, encode_bytes(bytes));
    }

    /// Sets a struct.
    pub fn set_structure(&mut self, id: i16, fields: &Fields<'_>) {
        self.set(id, kind::STRUCT, fields.encode());
    }

    /// Sets a list.
    pub fn set_list(&mut self, id: i16, list: &List<'_>) {
        self.set(id, kind::LIST, list.encode());
    }

    /// Sets a number that is there already, with the kind that it has. Nothing happens without one.
    pub fn change_int(&mut self, id: i16, number: i64) {
        if let Some(field) = self.fields.iter_mut().find(|field| field.id == id) {
            field.value = Cow::Owned(encode_number(number));
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, id: i16) {
        self.fields.retain(|field| field.id != id);
    }

    /// The encoded struct.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fields.iter().map(|f| f.value.len() + 1).sum());
        self.write(&mut out);
        out
    }

    /// Appends the encoded struct.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut last = 0i16;
        for Field { id, kind, value } in &self.fields {
            match id.checked_sub(last) {
                Some(step @ 1..=15) => out.push((step as u8) << 4 | kind),
                _ => {
                    out.push(*kind);
                    write_number(out, (*id).into());
                }
            }
            out.extend_from_slice(value);
            last = *id;
        }
        out.push(0);
    }

    fn get(&self, id: i16) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.id == id)
    }

    fn set(&mut self, id: i16, kind: u8, value: Vec<u8>) {
        let field = Field { id, kind, value: Cow::Owned(value) };
        // It may stand behind one with a larger number: fields need not be sorted.
        if let Some(old) = self.fields.iter_mut().find(|other| other.id == id) {
            *old = field;
            return;
        }
        match self.fields.iter().position(|other| other.id > id) {
            Some(at) => self.fields.insert(at, field),
            None => self.fields.push(field),
        }
    }
}

/// A list whose items stay encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<'a> {
    /// The wire type of the items.
    pub kind: u8,
    /// The encoded items.
    pub items: Vec<Cow<'a, [u8]>>,
}

impl<'a> List<'a> {
    /// A list of structs without items.
    pub fn of_structs() -> Self {
        List { kind: kind::STRUCT, items: Vec::new() }
    }

    /// Adds an encoded item.
    pub fn push(&mut self, item: Vec<u8>) {
        self.items.push(Cow::Owned(item));
    }

    /// The items as structs; `None` if one is malformed.
    pub fn structures(&self) -> Option<Vec<Fields<'_>>> {
        (self.kind == kind::STRUCT).then_some(())?;
        self.items.iter().map(|item| Fields::parse(item)).collect()
    }

    /// The items as numbers; `None` if they are none.
    pub fn ints(&self) -> Option<Vec<i64>> {
        (kind::I16..=kind::I64).contains(&self.kind).then_some(())?;
        self.items.iter().map(|item| Thrift::new(item).number()).collect()
    }

    /// The items as strings; `None` if they are none.
    pub fn strings(&self) -> Option<Vec<&[u8]>> {
        (self.kind == kind::BINARY).then_some(())?;
        self.items.iter().map(|item| read_bytes(item)).collect()
    }

    /// Reads a list; `None` if it is malformed or has millions of items.
    pub fn read(cursor: &mut Thrift<'a>) -> Option<Self> {
        let (length, kind) = cursor.list()?;
        (length <= MAX_ITEMS).then_some(())?;
        // An item takes at least a byte, so a length beyond the bytes is not reserved for.
        let left = cursor.bytes.len().saturating_sub(cursor.at);
        let mut items = Vec::with_capacity(usize::try_from(length).ok()?.min(left));
        for _ in 0..length {
            let start = cursor.at;
            cursor.skip(if kind <= 2 { 3 } else { kind })?;
            items.push(Cow::Borrowed(&cursor.bytes[start..cursor.at]));
        }
        Some(List { kind, items })
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Thrift::new(bytes);
        let list = List::read(&mut cursor)?;
        (cursor.at == bytes.len()).then_some(list)
    }

    fn encode(&self) -> Vec<u8> {
        let size = self.items.iter().map(|item| item.len()).sum::<usize>();
        let mut out = Vec::with_capacity(size + 6);
        match self.items.len() {
            length @ 0..15 => out.push((length as u8) << 4 | self.kind),
            length => {
                out.push(0xf0 | self.kind);
                write_varint(&mut out, length as u64);
            }
        }
        self.items.iter().for_each(|item| out.extend_from_slice(item));
        out
    }
}

/// The encoding of a signed number of any width.
pub fn encode_number(number: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    write_number(&mut out, number);
    out
}

/// The encoding of a string.
pub fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5);
    write_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

fn read_bytes(encoded: &[u8]) -> Option<&[u8]> {
    let mut cursor = Thrift::new(encoded);
    let length = cursor.varint()?;
    let start = cursor.at;
    cursor.advance(length)?;
    Some(&encoded[start..cursor.at])
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    write_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_after_skipped_ones_are_read_and_no_byte_past_the_end() {
        // 1: i32 = -3, 2: list of two strings, 4: struct { 1: true }, 20: i64 = 5.
        let bytes = [0x15, 0x05, 0x19, 0x28, 1, b'a', 0, 0x2c, 0x11, 0, 0x06, 40, 0x0a, 0];
        let mut found = Vec::new();
        let mut thrift = Thrift::new(&bytes);
        let end = thrift.fields(|thrift, number, kind| {
            if kind == kind::I32 || kind == 6 {
                found.push((number, thrift.number()?));
                return Some(());
            }
            thrift.skip(kind)
        });
        assert_eq!((end, thrift.position()), (Some(()), bytes.len()));
        assert_eq!(found, [(1, -3), (20, 5)]);
        for length in 0..bytes.len() {
            let mut thrift = Thrift::new(&bytes[..length]);
            assert_eq!(thrift.fields(|thrift, _, kind| thrift.skip(kind)), None, "{length} bytes");
        }
    }

    #[test]
    fn number_of_more_than_32_bits_is_rejected() {
        let int = |number: i64| {
            let zigzag = ((number << 1) ^ (number >> 63)) as u64;
            let bytes: Vec<u8> = (0..10)
                .map(|place| (zigzag.checked_shr(7 * place).unwrap_or(0) & 0x7f) as u8)
                .enumerate()
                .map(|(place, bits)| if place < 9 { bits | 0x80 } else { bits })
                .collect();
            Thrift::new(&bytes).int()
        };
        for number in [0, -1, i64::from(i32::MIN), i64::from(i32::MAX)] {
            assert_eq!(int(number), Some(number));
        }
        for number in [1 << 31, (1 << 32) + 5, -(1 << 31) - 1, i64::MIN, i64::MAX] {
            assert_eq!(int(number), None, "{number}");
        }
        // A varint of eleven bytes, and a field number of more than 16 bits.
        assert_eq!(Thrift::new(&[[0xff; 10].as_slice(), &[1]].concat()).int(), None);
        let far = [0x05, 0x8e, 0x80, 0x08, 2, 0];
        assert_eq!(Thrift::new(&far).fields(|thrift, _, kind| thrift.skip(kind)), None);
    }

    #[test]
    fn deep_nesting_and_huge_lengths_are_rejected() {
        for bytes in [vec![0x19; 100_000], [&[0x19, 0xf9][..], &[0xff; 9], &[0x01]].concat()] {
            assert_eq!(Thrift::new(&bytes).fields(|thrift, _, kind| thrift.skip(kind)), None);
        }
    }

    #[test]
    fn changed_fields_are_encoded_anew_and_all_others_keep_their_bytes() {
        // 1: i32 = -3, 2: list of two strings, 4: struct { 1: true }, 20: i64 = 5, then 15 again long.
        let bytes = [0x15, 0x05, 0x19, 0x28, 1, b'a', 0, 0x2c, 0x11, 0, 0x06, 40, 0x0a, 0];
        let mut fields = Fields::parse(&bytes).expect("a struct");
        assert_eq!(fields.encode(), bytes);
        assert_eq!((fields.int(1), fields.int(20), fields.int(2)), (Some(-3), Some(5), None));
        let list = fields.list(2).expect("a list");
        assert_eq!(list.strings(), Some(vec![&b"a"[..], b""]));
        assert!(fields.structure(4).expect("a struct").has(1));
        fields.set_i64(20, 6);
        fields.set_i32(3, 1);
        fields.remove(1);
        let expected = [0x29, 0x28, 1, b'a', 0, 0x15, 2, 0x1c, 0x11, 0, 0x06, 40, 0x0c, 0];
        assert_eq!(fields.encode(), expected);
        assert_eq!(Fields::parse(&expected), Some(fields));
    }

    #[test]
    fn field_behind_one_with_a_larger_number_is_set_once() {
        // 5: i32 = 1, then 2: i32 = 1.
        let mut fields = Fields::parse(&[0x55, 2, 0x05, 4, 2, 0]).expect("a struct");
        fields.set_i32(2, 7);
        fields.set_i32(3, 8);
        let encoded = fields.encode();
        let again = Fields::parse(&encoded).expect("no field is there twice");
        assert_eq!([2, 3, 5].map(|id| again.int(id)), [Some(7), Some(8), Some(1)]);
    }

    #[test]
    fn field_that_is_there_twice_is_rejected() {
        // 1 and 1; 9, 8 and 9; 9, 8 and 10.
        assert!(Fields::parse(&[0x15, 2, 0x05, 2, 4, 0]).is_none());
        assert!(Fields::parse(&[0x95, 2, 0x05, 16, 4, 0x15, 6, 0]).is_none());
        assert!(Fields::parse(&[0x95, 2, 0x05, 16, 4, 0x25, 6, 0]).is_some());
    }

    #[test]
    fn long_lists_and_numbers_survive() {
        let mut list = List { kind: kind::I64, items: Vec::new() };
        for number in [0, -1, i64::MAX, i64::MIN].into_iter().cycle().take(300) {
            list.push(encode_number(number));
        }
        let mut fields = Fields::default();
        fields.set_list(7, &list);
        fields.set_bytes(9, &[7; 1000]);
        let bytes = fields.encode();
        let read = Fields::parse(&bytes).expect("a struct");
        assert_eq!(read.list(7).expect("a list").ints(), list.ints());
        assert_eq!(read.bytes(9), Some(&[7; 1000][..]));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_back_byte_for_byte_or_refused(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)
        ) {
            if let Some(fields) = Fields::parse(&bytes) {
                let written = fields.encode();
                proptest::prop_assert_eq!(Fields::parse(&written), Some(fields));
            }
        }
    }
}
