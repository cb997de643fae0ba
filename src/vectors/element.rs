//! The type of the elements of a vector column.

use arrow::datatypes::DataType;

use crate::config::VectorType;

/// The name of a list's child field, as the Parquet specification gives it.
pub const CHILD: &str = "element";

/// The type of the elements of a vector column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// Signed bytes.
    I8,
    /// Unsigned bytes.
    U8,
}

impl Element {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Element::F32 => DataType::Float32,
            Element::F16 => DataType::Float16,
            Element::I8 => DataType::Int8,
            Element::U8 => DataType::UInt8,
        }
    }

    /// The element with this Arrow type; `None` for the type of no vector column.
    pub fn from_data_type(data_type: &DataType) -> Option<Element> {
        let all = [Element::F32, Element::F16, Element::I8, Element::U8];
        all.into_iter().find(|element| element.data_type() == *data_type)
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
            Element::I8 | Element::U8 => 1,
        }
    }
}

impl VectorType {
    /// The elements that the components of a vector become.
    pub fn element(self) -> Element {
        match self {
            VectorType::F32 => Element::F32,
            VectorType::F16 => Element::F16,
            VectorType::Int8 | VectorType::Binary => Element::I8,
            VectorType::Uint8 | VectorType::Ubinary => Element::U8,
        }
    }

    /// Number of elements of a vector of `dims` components.
    pub fn width(self, dims: usize) -> usize {
        match self {
            VectorType::Binary | VectorType::Ubinary => dims.div_ceil(8),
            _ => dims,
        }
    }
}
