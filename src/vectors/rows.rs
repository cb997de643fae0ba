//! Reads the rows of a vector column.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int8Type, UInt8Type};
use half::f16;

use super::element::Element;

/// The elements of one vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Vector<'a> {
    /// 32-bit floating point.
    F32(&'a [f32]),
    /// 16-bit floating point.
    F16(&'a [f16]),
    /// Signed bytes.
    I8(&'a [i8]),
    /// Unsigned bytes.
    U8(&'a [u8]),
}

impl<'a> Vector<'a> {
    /// Number of elements.
    pub fn width(self) -> usize {
        match self {
            Vector::F32(values) => values.len(),
            Vector::F16(values) => values.len(),
            Vector::I8(values) => values.len(),
            Vector::U8(values) => values.len(),
        }
    }

    fn slice(self, start: usize, end: usize) -> Vector<'a> {
        match self {
            Vector::F32(values) => Vector::F32(&values[start..end]),
            Vector::F16(values) => Vector::F16(&values[start..end]),
            Vector::I8(values) => Vector::I8(&values[start..end]),
            Vector::U8(values) => Vector::U8(&values[start..end]),
        }
    }
}

/// The rows of a vector column.
pub struct VectorRows<'a> {
    column: &'a dyn Array,
    values: Vector<'a>,
    layout: Layout<'a>,
}

enum Layout<'a> {
    /// The number of elements of every row.
    FixedSize(usize),
    /// The first element of each row, and the end.
    Offsets(&'a [i32]),
}

impl<'a> VectorRows<'a> {
    /// Reads a column; `None` if it is not a list or fixed-size list of an [`Element`].
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
        let values = match Element::from_data_type(values.data_type())? {
            Element::F32 => Vector::F32(values.as_primitive_opt::<Float32Type>()?.values()),
            Element::F16 => Vector::F16(values.as_primitive_opt::<Float16Type>()?.values()),
            Element::I8 => Vector::I8(values.as_primitive_opt::<Int8Type>()?.values()),
            Element::U8 => Vector::U8(values.as_primitive_opt::<UInt8Type>()?.values()),
        };
        Some(VectorRows { column, values, layout })
    }

    /// The vectors in order; `None` for a null.
    pub fn iter(&self) -> impl Iterator<Item = Option<Vector<'a>>> {
        (0..self.column.len()).map(|row| self.get(row))
    }

    /// The vector of a row; `None` for a null.
    pub fn get(&self, row: usize) -> Option<Vector<'a>> {
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
        Some(self.values.slice(start, end))
    }
}
