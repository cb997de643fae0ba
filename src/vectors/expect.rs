//! What the vectors of a column must be like.

use super::rows::Vector;
use crate::config::VectorType;
use crate::footer::EmbeddingFooter;

/// What the vectors of a column must be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorExpectation {
    /// Number of elements of a vector.
    pub width: usize,
    /// The largest deviation from length 1; `None` if vectors may have any length.
    pub length_tolerance: Option<f64>,
}

/// What is wrong with a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flaw {
    /// It has this many elements.
    Width(usize),
    /// A component is not finite.
    NotFinite,
    /// It has this length.
    Length(f64),
}

impl VectorExpectation {
    /// What the footer of an output says of a vector column.
    pub fn from_footer(footer: &EmbeddingFooter<'_>) -> VectorExpectation {
        let model = &footer.lineage.model;
        let (vector_type, dims, scaled) = match footer.form {
            Some(form) => (form.vector_type, form.dims, form.normalize),
            // Up to version 2 a column has the vectors as the model makes them.
            None => (VectorType::F32, model.dimension, false),
        };
        let is_unit = scaled || (model.normalized && dims == model.dimension);
        let tolerance = match vector_type {
            // Rounding in f32 stays far below it.
            VectorType::F32 => Some(1e-4),
            // A component is off by at most a 2048th of its value.
            VectorType::F16 => Some(1e-3),
            // Steps and signs have no length.
            VectorType::Int8 | VectorType::Uint8 | VectorType::Binary | VectorType::Ubinary => None,
        };
        VectorExpectation {
            width: vector_type.width(dims),
            length_tolerance: tolerance.filter(|_| is_unit),
        }
    }

    /// The first thing that is wrong with a vector.
    pub fn find_flaw(&self, vector: Vector<'_>) -> Option<Flaw> {
        self.flaws(vector).into_iter().flatten().next()
    }

    /// Everything that is wrong with a vector.
    pub fn flaws(&self, vector: Vector<'_>) -> [Option<Flaw>; 3] {
        let width = (vector.width() != self.width).then(|| Flaw::Width(vector.width()));
        let length = match vector {
            Vector::F32(values) => Some(euclidean_length(values)),
            Vector::F16(values) => {
                let wide: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
                Some(euclidean_length(&wide))
            }
            Vector::I8(_) | Vector::U8(_) => None,
        };
        let not_finite = length.filter(|length| !length.is_finite()).map(|_| Flaw::NotFinite);
        let length = length.zip(self.length_tolerance);
        // A length that is NaN is wrong.
        let wrong = length.filter(|(length, tolerance)| {
            !matches!((length - 1.0).abs().partial_cmp(tolerance), Some(order) if order.is_le())
        });
        [width, not_finite, wrong.map(|(length, _)| Flaw::Length(length))]
    }
}

/// The Euclidean length of a vector. It is not finite if a component is not finite.
pub fn euclidean_length(vector: &[f32]) -> f64 {
    // Eight sums, because each addition waits for the one before it in the same sum.
    let mut sums = [0f64; 8];
    let (whole, rest) = vector.as_chunks::<8>();
    for eight in whole {
        for (sum, component) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*component) * f64::from(*component);
        }
    }
    for (sum, component) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*component) * f64::from(*component);
    }
    // Squares of finite f32 values do not overflow f64, and neither does their sum.
    sums.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn vector_of_other_width_or_length_or_not_finite_is_found() {
        let unit = |at: usize, value: f32| {
            let mut vector = vec![0.0; 11];
            vector[at] = value;
            vector
        };
        for (vector, normalized, expected) in [
            (unit(3, 1.0), true, None),
            (unit(10, -1.0), true, None),
            (vec![0.30151135; 11], true, None),
            (unit(3, 1.00005), true, None),
            (unit(3, 1.001), true, Some(Flaw::Length(1.001f32.into()))),
            (unit(3, 0.0), true, Some(Flaw::Length(0.0))),
            (unit(3, 7.0), false, None),
            (unit(3, f32::MAX), false, None),
            (unit(10, f32::NAN), false, Some(Flaw::NotFinite)),
            (unit(0, f32::INFINITY), true, Some(Flaw::NotFinite)),
            (vec![1.0], true, Some(Flaw::Width(1))),
            (vec![], false, Some(Flaw::Width(0))),
        ] {
            let expectation =
                VectorExpectation { width: 11, length_tolerance: normalized.then_some(1e-4) };
            let found = expectation.find_flaw(Vector::F32(&vector));
            assert_eq!(found, expected, "{vector:?}");
        }
    }

    #[test]
    fn half_precision_has_a_wider_tolerance_and_bytes_have_none() {
        let expectation = VectorExpectation { width: 3, length_tolerance: Some(1e-3) };
        let third = f16::from_f32(3f32.sqrt().recip());
        assert_eq!(expectation.find_flaw(Vector::F16(&[third; 3])), None);
        let infinite = [third, third, f16::INFINITY];
        assert_eq!(expectation.find_flaw(Vector::F16(&infinite)), Some(Flaw::NotFinite));
        assert_eq!(expectation.find_flaw(Vector::I8(&[127; 3])), None);
        assert_eq!(expectation.find_flaw(Vector::U8(&[0; 2])), Some(Flaw::Width(2)));
    }

    #[test]
    fn length_is_euclidean_and_not_finite_for_a_bad_component() {
        assert_eq!(euclidean_length(&[3.0, 4.0]), 5.0);
        assert_eq!(euclidean_length(&[1.0; 16]), 4.0);
        assert!(euclidean_length(&[f32::MAX; 11]).is_finite());
        assert!(!euclidean_length(&[1.0, f32::NAN]).is_finite());
        assert!(!euclidean_length(&[f32::INFINITY]).is_finite());
    }
}
