//! Reads the tables of a flatbuffer by the numbers of their fields. Every read is checked against
//! the end of the buffer.
//!
//! <https://flatbuffers.dev/internals/>

/// The bytes are no flatbuffer of the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A table.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
    position: usize,
    /// For each field, 2 bytes: where it is in the table, or 0.
    slots: &'a [u8],
}

impl<'a> Table<'a> {
    /// The root table of a buffer.
    pub fn root(bytes: &'a [u8]) -> Result<Table<'a>, Malformed> {
        Table::new(bytes, target(bytes, 0)?)
    }

    fn new(bytes: &'a [u8], position: usize) -> Result<Table<'a>, Malformed> {
        let back = i64::from(i32::from_le_bytes(read(bytes, position)?));
        let vtable = i64::try_from(position).map_err(|_| Malformed)? - back;
        let vtable = usize::try_from(vtable).map_err(|_| Malformed)?;
        let length = usize::from(u16::from_le_bytes(read(bytes, vtable)?));
        let vtable = slice(bytes, vtable, length)?;
        // Its own length and that of the table come before the slots.
        let slots = vtable.get(4..).ok_or(Malformed)?;
        Ok(Table { bytes, position, slots })
    }

    /// Where the table is in the buffer.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether the table has fields with the number `first` or a larger one.
    pub fn has_fields_from(&self, first: usize) -> bool {
        self.slots.iter().skip(2 * first).any(|byte| *byte != 0)
    }

    /// The bytes of a scalar; `None` if the field has its default.
    pub fn scalar<const N: usize>(&self, number: usize) -> Result<Option<[u8; N]>, Malformed> {
        self.field(number).map(|field| read(self.bytes, field)).transpose()
    }

    /// Where the table, string or vector is that a field refers to; `None` if the field is absent.
    pub fn target(&self, number: usize) -> Result<Option<usize>, Malformed> {
        self.field(number).map(|field| target(self.bytes, field)).transpose()
    }

    /// The table that a field refers to.
    pub fn table(&self, number: usize) -> Result<Option<Table<'a>>, Malformed> {
        self.target(number)?.map(|position| Table::new(self.bytes, position)).transpose()
    }

    /// The bytes of a string, which may not be UTF-8.
    pub fn string(&self, number: usize) -> Result<Option<&'a [u8]>, Malformed> {
        self.target(number)?.map(|position| self.elements(position, 1)).transpose()
    }

    /// The tables of a vector; `None` if the field is absent.
    pub fn tables(&self, number: usize) -> Result<Option<Vec<Table<'a>>>, Malformed> {
        let Some(position) = self.target(number)? else { return Ok(None) };
        let elements = self.elements(position, 4)?.len() / 4;
        let table = |element| Table::new(self.bytes, target(self.bytes, position + 4 * element)?);
        (1..=elements).map(table).collect::<Result<_, _>>().map(Some)
    }

    /// The elements of a vector of elements with `size` bytes.
    fn elements(&self, position: usize, size: usize) -> Result<&'a [u8], Malformed> {
        let count = u32::from_le_bytes(read(self.bytes, position)?);
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        slice(self.bytes, position + 4, length.ok_or(Malformed)?)
    }

    /// Where a field is in the buffer.
    fn field(&self, number: usize) -> Option<usize> {
        let slot = read(self.slots, 2 * number).ok()?;
        let offset = usize::from(u16::from_le_bytes(slot));
        (offset != 0).then_some(self.position + offset)
    }
}

/// What the reference at `position` refers to.
fn target(bytes: &[u8], position: usize) -> Result<usize, Malformed> {
    let offset = u32::from_le_bytes(read(bytes, position)?);
    let target = usize::try_from(offset).ok().and_then(|offset| position.checked_add(offset));
    target.filter(|target| *target < bytes.len()).ok_or(Malformed)
}

fn read<const N: usize>(bytes: &[u8], position: usize) -> Result<[u8; N], Malformed> {
    bytes.get(position..).and_then(|bytes| bytes.first_chunk()).copied().ok_or(Malformed)
}

fn slice(bytes: &[u8], position: usize, length: usize) -> Result<&[u8], Malformed> {
    bytes.get(position..).and_then(|bytes| bytes.get(..length)).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table at 20 with a u16 = 7, nothing, the string "ab" and an empty vector.
    const BYTES: [u8; 56] = [
        20, 0, 0, 0, 0, 0, // the root, and padding
        12, 0, 14, 0, 12, 0, 0, 0, 4, 0, 8, 0, // the vtable
        0, 0, // padding
        14, 0, 0, 0, 20, 0, 0, 0, 24, 0, 0, 0, 7, 0, // the table
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padding
        2, 0, 0, 0, b'a', b'b', 0, 0, // the string
        0, 0, 0, 0, // where the vector is
    ];

    #[test]
    fn fields_are_found_by_their_numbers() {
        let mut bytes = BYTES.to_vec();
        bytes[52] = 1;
        // The vector's element: a reference to a table without fields, whose vtable follows it.
        let element = bytes.len() + 4;
        bytes.extend([[4, 0, 0, 0], (-4i32).to_le_bytes(), [4, 0, 4, 0]].concat());
        let table = Table::root(&bytes).expect("a table");
        assert_eq!(table.position(), 20);
        assert_eq!(table.scalar(0), Ok(Some([7, 0])));
        assert_eq!(table.scalar::<8>(1), Ok(None));
        assert_eq!(table.string(2), Ok(Some(&b"ab"[..])));
        let elements = table.tables(3).expect("a vector").expect("present");
        assert_eq!(elements.iter().map(Table::position).collect::<Vec<_>>(), [element]);
        assert_eq!(table.scalar::<1>(4), Ok(None));
        assert!(table.has_fields_from(3) && !table.has_fields_from(4));
        assert!(!elements[0].has_fields_from(0));
    }

    #[test]
    fn buffer_that_ends_early_is_malformed() {
        for length in 0..BYTES.len() {
            let bytes = &BYTES[..length];
            let read = Table::root(bytes).and_then(|table| {
                table.scalar::<2>(0)?;
                table.string(2)?;
                table.tables(3)
            });
            assert_eq!(read.err(), Some(Malformed), "{length} bytes");
        }
        for bytes in [[0xff; 64], [0x7f; 64], [0x80; 64], [0; 64]] {
            assert!(Table::root(&bytes).and_then(|table| table.tables(1)).is_err());
        }
    }
}
