//! A minimal parser of Thrift's compact protocol, to check Parquet footers and page headers before
//! the Parquet library decodes them.
//!
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

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
    /// A number of 32 bits.
    pub const I32: u8 = 5;
    /// A list.
    pub const LIST: u8 = 9;
    /// A struct.
    pub const STRUCT: u8 = 12;
}

/// Maximum nesting of structs and lists. Parquet's own metadata is at most ten deep.
const MAX_DEPTH: u32 = 32;

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
}
