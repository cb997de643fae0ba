//! The arithmetic that converts components to smaller types: that of sentence-transformers 6.
//!
//! Source: `quantize_embeddings` in `sentence_transformers/util/quantization.py`, version 6.2.0. Every
//! operation is in f32, as NumPy does it, so that the results are equal. Versions before 6 round int8
//! towards zero in the place of down, and wrap values outside of the range around.

use half::f16;

/// The least value of a component, and the width of a step: a 255th of its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    start: f32,
    width: f32,
}

impl Steps {
    /// The steps from `min` to `max`. A component whose values are all equal has steps of 1.
    pub fn new(min: f32, max: f32) -> Steps {
        let width = (max - min) / 255.0;
        Steps { start: min, width: if width == 0.0 { 1.0 } else { width } }
    }

    /// The number of the step that a value is in, from 0 to 255. A value below the range is in the
    /// first step, one above it in the last.
    pub fn of(self, value: f32) -> u8 {
        ((value - self.start) / self.width).floor().clamp(0.0, 255.0) as u8
    }

    /// The same, less 128.
    pub fn signed(self, value: f32) -> i8 {
        to_signed(self.of(value))
    }
}

/// Appends the signs of components: one bit for each, set where it is more than 0, the first component
/// in the highest bit of a byte. The last byte is filled up with zeros.
pub fn signs(components: &[f32]) -> impl Iterator<Item = u8> {
    let bit = |at: usize, value: f32| u8::from(value > 0.0) << (7 - at);
    components.chunks(8).map(move |eight| {
        eight.iter().enumerate().fold(0, |byte, (at, value)| byte | bit(at, *value))
    })
}

/// An unsigned byte less 128.
pub fn to_signed(byte: u8) -> i8 {
    (byte ^ 0x80) as i8
}

/// The nearest 16-bit float; of two that are equally near, the even one. It is infinite from 65,520 on.
pub fn to_half(value: f32) -> f16 {
    f16::from_f32(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What sentence-transformers makes of vectors. Floats are given as their bits.
    #[derive(Deserialize)]
    struct Golden {
        vectors: Vec<Vec<u32>>,
        min: Vec<u32>,
        max: Vec<u32>,
        int8: Vec<Vec<i8>>,
        uint8: Vec<Vec<u8>>,
        binary: Vec<Vec<i8>>,
        ubinary: Vec<Vec<u8>>,
        /// As NumPy converts the components, limited to 60,000.
        float16: Vec<Vec<u16>>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("golden.json")).expect("golden values")
    }

    fn floats(bits: &[u32]) -> Vec<f32> {
        bits.iter().map(|bits| f32::from_bits(*bits)).collect()
    }

    #[test]
    fn every_type_equals_sentence_transformers() {
        let golden = golden();
        let steps: Vec<Steps> = floats(&golden.min)
            .into_iter()
            .zip(floats(&golden.max))
            .map(|(min, max)| Steps::new(min, max))
            .collect();
        assert!(golden.vectors.len() > 20);
        for (row, bits) in golden.vectors.iter().enumerate() {
            let vector = floats(bits);
            let int8: Vec<i8> = steps.iter().zip(&vector).map(|(s, v)| s.signed(*v)).collect();
            let uint8: Vec<u8> = steps.iter().zip(&vector).map(|(s, v)| s.of(*v)).collect();
            let ubinary: Vec<u8> = signs(&vector).collect();
            let binary: Vec<i8> = ubinary.iter().map(|byte| to_signed(*byte)).collect();
            let limited = vector.iter().map(|value| value.clamp(-60_000.0, 60_000.0));
            let float16: Vec<u16> = limited.map(|value| to_half(value).to_bits()).collect();
            assert_eq!(int8, golden.int8[row], "int8, row {row}");
            assert_eq!(uint8, golden.uint8[row], "uint8, row {row}");
            assert_eq!(binary, golden.binary[row], "binary, row {row}");
            assert_eq!(ubinary, golden.ubinary[row], "ubinary, row {row}");
            assert_eq!(float16, golden.float16[row], "f16, row {row}");
        }
    }

    #[test]
    fn value_outside_of_the_range_is_in_the_nearest_step() {
        let steps = Steps::new(-127.0, 128.0);
        for (value, expected) in [
            (f32::NEG_INFINITY, 0),
            (-700.0, 0),
            (-127.0, 0),
            (0.0, 127),
            (0.9, 127),
            (128.0, 255),
            (700.0, 255),
            (f32::MAX, 255),
        ] {
            assert_eq!(steps.of(value), expected, "{value}");
        }
        let constant = Steps::new(0.25, 0.25);
        assert_eq!([-9.0, 0.25, 1.3, 9.0].map(|value| constant.of(value)), [0, 0, 1, 8]);
    }

    #[test]
    fn sign_of_zero_and_of_a_negative_zero_is_no_bit() {
        let bytes: Vec<u8> = signs(&[0.0, -0.0, 1e-40, -1.0, 2.0, 0.0, 0.0, 1.0, 1.0]).collect();
        assert_eq!(bytes, [0b0010_1001, 0b1000_0000]);
        assert_eq!([0, 127, 128, 255].map(to_signed), [-128, -1, 0, 127]);
    }
}
