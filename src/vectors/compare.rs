//! Compares two vectors of one form.

use super::rows::Vector;

/// The largest difference between two components.
///
/// It is infinite if the vectors have different widths or a component is not finite.
pub fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    largest(one, other, |one, other| (one - other).abs())
}

/// How far two vectors of one form differ. `slack` is how far the f32 components may differ that they
/// were made from; 0 asks for equal vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The largest difference between two elements: of values, of steps, or of bits that differ.
    pub largest: f32,
    /// Whether `slack` explains it.
    pub is_explained: bool,
}

/// Compares a vector with one that is made now. `made` has its elements, `components` the f32 values
/// that they were made from. `is_bits` says that an element has eight components.
pub fn compare(
    found: Vector<'_>,
    made: Vector<'_>,
    components: &[f32],
    is_bits: bool,
    slack: f32,
) -> Difference {
    let explained =
        |largest: f32, limit: f32| Difference { largest, is_explained: largest <= limit };
    match (found, made) {
        (Vector::F32(found), Vector::F32(made)) => {
            explained(largest_difference(found, made), slack)
        }
        (Vector::F16(found), Vector::F16(made)) => {
            let largest = largest(found, made, |one, other| (one.to_f32() - other.to_f32()).abs());
            // Two values that are close may be rounded to neighbours.
            let ulp =
                |value: &f32| value.abs() / 1024.0 + f32::from(half::f16::MIN_POSITIVE_SUBNORMAL);
            let widest = components.iter().map(ulp).fold(0.0, f32::max);
            explained(largest, if slack == 0.0 { 0.0 } else { slack + widest })
        }
        (Vector::I8(found), Vector::I8(made)) if is_bits => {
            let bits = |bytes: &[i8]| bytes.iter().map(|byte| *byte as u8).collect::<Vec<u8>>();
            compare_signs(&bits(found), &bits(made), components, slack)
        }
        (Vector::U8(found), Vector::U8(made)) if is_bits => {
            compare_signs(found, made, components, slack)
        }
        (Vector::I8(found), Vector::I8(made)) => {
            let steps = |one: i8, other: i8| f32::from((i16::from(one) - i16::from(other)).abs());
            explained(largest(found, made, steps), if slack == 0.0 { 0.0 } else { 1.0 })
        }
        (Vector::U8(found), Vector::U8(made)) => {
            let steps = |one: u8, other: u8| f32::from(one.abs_diff(other));
            explained(largest(found, made, steps), if slack == 0.0 { 0.0 } else { 1.0 })
        }
        _ => Difference { largest: f32::INFINITY, is_explained: false },
    }
}

/// Compares packed signs. `slack` explains another sign of a component that is as close to 0.
fn compare_signs(found: &[u8], made: &[u8], components: &[f32], slack: f32) -> Difference {
    if found.len() != made.len() {
        return Difference { largest: f32::INFINITY, is_explained: false };
    }
    let mut differing = 0u32;
    let mut is_explained = true;
    for (at, (found, made)) in found.iter().zip(made).enumerate() {
        let differ = found ^ made;
        differing += differ.count_ones();
        for bit in (0..8).filter(|bit| differ & (0x80 >> bit) != 0) {
            // A bit behind the last component is always 0.
            let component = components.get(8 * at + bit);
            is_explained &= slack > 0.0 && component.is_some_and(|value| value.abs() <= slack);
        }
    }
    Difference { largest: differing as f32, is_explained }
}

fn largest<T: Copy>(one: &[T], other: &[T], difference: impl Fn(T, T) -> f32) -> f32 {
    if one.len() != other.len() {
        return f32::INFINITY;
    }
    let differences = one.iter().zip(other).map(|(one, other)| difference(*one, *other));
    // `f32::max` ignores NaN, which must not pass for a small difference.
    differences.map(|d| if d.is_nan() { f32::INFINITY } else { d }).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn difference_is_infinite_for_nan_and_for_other_widths() {
        for (one, other, expected) in [
            (&[1.0, 2.0][..], &[1.0, 2.5][..], 0.5),
            (&[0.0], &[-0.0], 0.0),
            (&[], &[], 0.0),
            (&[1.0], &[1.0, 2.0], f32::INFINITY),
            (&[f32::NAN, 1.0], &[1.0, 1.0], f32::INFINITY),
            (&[f32::INFINITY], &[f32::INFINITY], f32::INFINITY),
        ] {
            assert_eq!(largest_difference(one, other), expected, "{one:?} and {other:?}");
        }
    }

    #[test]
    fn one_step_is_explained_only_by_an_encoder_that_is_not_exact() {
        let close = [1e-7, 0.5];
        let half = [f16::from_f32(0.5), f16::from_bits(f16::from_f32(0.5).to_bits() + 1)];
        let far = [half[0], f16::from_f32(0.6)];
        for (found, made, is_bits, largest, explained) in [
            (Vector::I8(&[-128, 3]), Vector::I8(&[-128, 4]), false, 1.0, true),
            (Vector::I8(&[-128]), Vector::I8(&[127]), false, 255.0, false),
            (Vector::U8(&[9]), Vector::U8(&[7]), false, 2.0, false),
            // The sign of a component that is nearly 0 may differ, that of another may not.
            (Vector::U8(&[0xc0]), Vector::U8(&[0x40]), true, 1.0, true),
            (Vector::I8(&[-1]), Vector::I8(&[0x3f]), true, 2.0, false),
            (Vector::U8(&[0x41]), Vector::U8(&[0x40]), true, 1.0, false),
            (Vector::F16(&half[..1]), Vector::F16(&half[1..]), false, 4.8828125e-4, true),
            (Vector::F16(&far[..1]), Vector::F16(&far[1..]), false, 0.100_097_656, false),
            (Vector::F32(&[0.5]), Vector::U8(&[1]), false, f32::INFINITY, false),
            (Vector::U8(&[1]), Vector::U8(&[1, 1]), true, f32::INFINITY, false),
        ] {
            let case = format!("{found:?} and {made:?}");
            let found_with = |slack| compare(found, made, &close, is_bits, slack);
            let expected = Difference { largest, is_explained: explained };
            assert_eq!(found_with(2e-6), expected, "{case}");
            assert_eq!(found_with(0.0), Difference { largest, is_explained: false }, "{case}");
        }
        let same = Vector::U8(&[1, 2]);
        let equal = Difference { largest: 0.0, is_explained: true };
        assert_eq!(compare(same, same, &close, true, 0.0), equal);
    }
}
