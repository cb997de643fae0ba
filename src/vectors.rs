//! The vector column: its Arrow type, how it is built and read, and how vectors are compared.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float32Type};
use arrow::error::ArrowError;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::ChunkVectors;

use crate::config::VectorType;

/// The name of a list's child field, as the Parquet specification gives it.
pub const CHILD: &str = "element";

/// Largest deviation from length 1 of a normalised vector. Rounding in f32 stays far below it.
pub const LENGTH_TOLERANCE: f64 = 1e-4;

/// The Arrow type of a column of vectors with `dim` components.
///
/// # Errors
/// `Model` when `dim` is more than a fixed-size list can have.
pub fn data_type(vector_type: VectorType, dim: usize) -> Result<DataType> {
    let child = Arc::new(Field::new(CHILD, DataType::Float32, false));
    match vector_type {
        VectorType::List => Ok(DataType::List(child)),
        VectorType::FixedSizeList => {
            let size = i32::try_from(dim).map_err(|cause| {
                let message = format!("vectors of {dim} components are too wide for Arrow");
                Error::new(ErrorKind::Model, message).caused_by(cause)
            })?;
            Ok(DataType::FixedSizeList(child, size))
        }
    }
}

/// Builds the vector column of a chunk. `field` has the type of [`data_type`]; a row without a
/// vector becomes null.
///
/// # Errors
/// Those of Arrow, when the vectors do not match the field.
pub fn build_column(
    field: &Field,
    vectors: ChunkVectors,
    dim: usize,
) -> Result<ArrayRef, ArrowError> {
    let ChunkVectors { mut values, present, .. } = vectors;
    let nulls = field.is_nullable().then(|| NullBuffer::from(present.clone()));
    match field.data_type() {
        DataType::FixedSizeList(child, size) => {
            let values = Arc::new(Float32Array::from(values));
            Ok(Arc::new(FixedSizeListArray::try_new(child.clone(), *size, values, nulls)?))
        }
        DataType::List(child) => {
            // A null has no components in a list, unlike in a fixed-size list.
            let mut component = 0;
            values.retain(|_| {
                component += 1;
                present[(component - 1) / dim]
            });
            let lengths = present.iter().map(|present| if *present { dim } else { 0 });
            let offsets = OffsetBuffer::from_lengths(lengths);
            let values = Arc::new(Float32Array::from(values));
            Ok(Arc::new(ListArray::try_new(child.clone(), offsets, values, nulls)?))
        }
        other => Err(ArrowError::SchemaError(format!("a vector column of type {other}"))),
    }
}

/// The rows of a vector column.
pub struct VectorRows<'a> {
    column: &'a dyn Array,
    values: &'a [f32],
    layout: Layout<'a>,
}

enum Layout<'a> {
    /// The number of components of every row.
    FixedSize(usize),
    /// The first component of each row, and the end.
    Offsets(&'a [i32]),
}

impl<'a> VectorRows<'a> {
    /// Reads a column; `None` if it is not a list or fixed-size list of `Float32`.
    pub fn new(column: &'a dyn Array) -> Option<VectorRows<'a>> {
        let (values, layout) = match column.data_type() {
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or(0);
                (column.as_fixed_size_list().values(), Layout::FixedSize(size))
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                (list.values(), Layout::Offsets(list.value_offsets()))
            }
            _ => return None,
        };
        let values = values.as_primitive_opt::<Float32Type>()?.values();
        Some(VectorRows { column, values, layout })
    }

    /// The vectors in order; `None` for a null.
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [f32]>> {
        (0..self.column.len()).map(|row| self.get(row))
    }

    /// The vector of a row; `None` for a null.
    pub fn get(&self, row: usize) -> Option<&'a [f32]> {
        if self.column.is_null(row) {
            return None;
        }
        let (start, end) = match self.layout {
            Layout::FixedSize(size) => (row * size, (row + 1) * size),
            Layout::Offsets(offsets) => {
                let offset = |at: usize| offsets[at].unsigned_abs() as usize;
                (offset(row), offset(row + 1))
            }
        };
        Some(&self.values[start..end])
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

/// Whether a length is 1 within [`LENGTH_TOLERANCE`]. It is false for NaN.
pub fn is_unit_length(length: f64) -> bool {
    (length - 1.0).abs() <= LENGTH_TOLERANCE
}

/// The largest difference between two components.
///
/// It is infinite if the vectors have different widths or a component is not finite.
pub fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return f32::INFINITY;
    }
    let differences = one.iter().zip(other).map(|(one, other)| (one - other).abs());
    // `f32::max` ignores NaN, which must not pass for a small difference.
    differences.map(|d| if d.is_nan() { f32::INFINITY } else { d }).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(rows: &[Option<[f32; 2]>]) -> ChunkVectors {
        let values = rows.iter().flat_map(|row| row.unwrap_or_default()).collect();
        let present = rows.iter().map(Option::is_some).collect();
        ChunkVectors { values, present, work: Default::default() }
    }

    #[test]
    fn column_of_either_type_reads_back_as_it_was_built() {
        let rows = [Some([1.0, 2.0]), None, Some([3.0, 4.0])];
        for vector_type in [VectorType::FixedSizeList, VectorType::List] {
            let data_type = data_type(vector_type, 2).expect("a type");
            let field = Field::new("v", data_type, true);
            let column = build_column(&field, vectors(&rows), 2).expect("a column");
            for (first, length) in [(0, 3), (1, 2)] {
                let part = column.slice(first, length);
                let read = VectorRows::new(part.as_ref()).expect("vectors");
                let read: Vec<_> = read.iter().collect();
                let expected = rows[first..first + length].iter();
                assert_eq!(
                    read,
                    expected.map(|row| row.as_ref().map(|v| &v[..])).collect::<Vec<_>>()
                );
            }
        }
        assert!(VectorRows::new(&Float32Array::from(vec![1.0])).is_none());
    }

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
    fn length_is_euclidean_and_not_finite_for_a_bad_component() {
        assert_eq!(euclidean_length(&[3.0, 4.0]), 5.0);
        assert_eq!(euclidean_length(&[1.0; 16]), 4.0);
        assert!(euclidean_length(&[f32::MAX; 11]).is_finite());
        assert!(!euclidean_length(&[1.0, f32::NAN]).is_finite());
        assert!(!euclidean_length(&[f32::INFINITY]).is_finite());
        assert!(is_unit_length(1.00005) && !is_unit_length(1.001) && !is_unit_length(f64::NAN));
    }
}
