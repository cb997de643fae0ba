//! The form of a vector column: what its rows hold, and how a vector of the model becomes it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float16Array, Float32Array, Int8Array, ListArray, UInt8Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use half::f16;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::ChunkVectors;
use reembed_encoder::model::ModelFacts;

use super::components::Components;
use super::element::{CHILD, Element};
use super::quantize::{Steps, signs, to_half, to_signed};
use super::ranges::Ranges;
use crate::config::{VectorConfig, VectorLayout, VectorType};
use crate::footer::FooterForm;

/// The form of a vector column. It fits the model.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorForm {
    vector_type: VectorType,
    layout: VectorLayout,
    components: Components,
    /// The steps of each component and the digest of their file, for a type with ranges.
    ranges: Option<(Vec<Steps>, String)>,
}

/// Why a column cannot be built.
#[derive(Debug)]
pub enum BuildError {
    /// The vectors do not match the field.
    Arrow(ArrowError),
    /// A component is too large for 16 bits.
    TooLarge {
        /// Its row in the chunk.
        row: usize,
        /// Its position in the vector.
        component: usize,
        /// Its value.
        value: f32,
    },
}

impl From<ArrowError> for BuildError {
    fn from(error: ArrowError) -> Self {
        BuildError::Arrow(error)
    }
}

impl VectorForm {
    /// The form that the configuration asks for, for the vectors of `model`.
    ///
    /// # Errors
    /// `Config` when the model has too few components or was not trained for as few, or when the ranges
    /// cannot be read or are not those of the model.
    pub fn new(config: &VectorConfig, model: &ModelFacts) -> Result<VectorForm> {
        let components = Components::new(config.values, model)?;
        let ranges = match &config.ranges {
            None => None,
            Some(path) => {
                let ranges = Ranges::read(path)?;
                ranges.check(&model.identity, &components).map_err(|error| error.in_file(path))?;
                Some((ranges.steps(), ranges.sha256().to_owned()))
            }
        };
        let VectorConfig { vector_type, layout, .. } = *config;
        Ok(VectorForm { vector_type, layout, components, ranges })
    }

    /// The vectors of a model as it makes them, `dim` components each.
    pub fn of_model(dim: usize) -> VectorForm {
        VectorForm {
            vector_type: VectorType::F32,
            layout: VectorLayout::FixedSizeList,
            components: Components::first(dim, dim, false),
            ranges: None,
        }
    }

    /// The form that a footer describes, for vectors of `of_model` components; `None` if it needs
    /// other ranges than these.
    pub fn from_footer(
        form: &FooterForm,
        of_model: usize,
        ranges: Option<&Ranges>,
    ) -> Option<VectorForm> {
        let components = Components::first(form.dims, of_model, form.normalize);
        let ranges = match &form.ranges {
            None => None,
            Some(sha256) => {
                let same = ranges.filter(|ranges| ranges.sha256() == sha256)?;
                Some((same.steps(), sha256.clone()))
            }
        };
        let FooterForm { vector_type, layout, .. } = *form;
        Some(VectorForm { vector_type, layout, components, ranges })
    }

    /// What the footer of an output says about it.
    pub fn to_footer(&self) -> FooterForm {
        FooterForm {
            vector_type: self.vector_type,
            layout: self.layout,
            dims: self.components.kept(),
            normalize: self.components.normalize(),
            ranges: self.ranges.as_ref().map(|(_, sha256)| sha256.clone()),
        }
    }

    /// The values before they are converted.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The type of the elements.
    pub fn element(&self) -> Element {
        self.vector_type.element()
    }

    /// Whether an element has the signs of eight components.
    pub fn is_bits(&self) -> bool {
        matches!(self.vector_type, VectorType::Binary | VectorType::Ubinary)
    }

    /// Whether a row has the vector of the model, bit for bit.
    pub fn is_lossless(&self) -> bool {
        self.vector_type == VectorType::F32 && self.components.is_whole()
    }

    /// Number of elements of a vector.
    pub fn width(&self) -> usize {
        self.vector_type.width(self.components.kept())
    }

    /// Bytes of a vector before compression.
    pub fn bytes_per_row(&self) -> u64 {
        (self.width() * self.element().bytes()) as u64
    }

    /// The field of the column.
    ///
    /// # Errors
    /// As [`data_type`].
    pub fn field(&self, name: &str, is_nullable: bool) -> Result<Field> {
        let data_type = data_type(self.layout, self.element(), self.width())?;
        Ok(Field::new(name, data_type, is_nullable))
    }

    /// Builds the column of a chunk. `field` comes from [`VectorForm::field`]; a row without a vector
    /// becomes null.
    ///
    /// # Errors
    /// When the vectors do not match the field, or a component is too large for 16 bits.
    pub fn build_column(
        &self,
        field: &Field,
        vectors: ChunkVectors,
    ) -> std::result::Result<ArrayRef, BuildError> {
        let present = vectors.present.clone();
        let values = self.elements(vectors)?;
        let nulls = field.is_nullable().then(|| NullBuffer::from(present.clone()));
        match field.data_type() {
            DataType::FixedSizeList(child, size) => {
                Ok(Arc::new(FixedSizeListArray::try_new(child.clone(), *size, values, nulls)?))
            }
            DataType::List(child) => {
                let width = self.width();
                let lengths = present.iter().map(|present| if *present { width } else { 0 });
                let offsets = OffsetBuffer::from_lengths(lengths);
                Ok(Arc::new(ListArray::try_new(child.clone(), offsets, values, nulls)?))
            }
            other => {
                Err(ArrowError::SchemaError(format!("a vector column of type {other}")).into())
            }
        }
    }

    /// The elements of all rows. A row without a vector has zeros in a fixed-size list and nothing in a
    /// list.
    fn elements(&self, vectors: ChunkVectors) -> std::result::Result<ArrayRef, BuildError> {
        let steps = self.ranges.as_ref().map_or(&[][..], |(steps, _)| steps);
        Ok(match self.vector_type {
            VectorType::F32 if self.components.is_whole() => {
                let ChunkVectors { mut values, present, .. } = vectors;
                if self.layout == VectorLayout::List {
                    let (dim, mut component) = (self.width(), 0);
                    values.retain(|_| {
                        component += 1;
                        present[(component - 1) / dim]
                    });
                }
                Arc::new(Float32Array::from(values))
            }
            VectorType::F32 => {
                let values = self.convert(&vectors, |values, out| {
                    out.extend_from_slice(values);
                    None
                })?;
                Arc::new(Float32Array::from(values))
            }
            VectorType::F16 => {
                let values: Vec<f16> = self.convert(&vectors, |values, out| {
                    let start = out.len();
                    out.extend(values.iter().map(|value| to_half(*value)));
                    out[start..].iter().position(|value| !value.is_finite())
                })?;
                Arc::new(Float16Array::from(values))
            }
            VectorType::Int8 => {
                let values = self.convert(&vectors, |values, out| {
                    out.extend(steps.iter().zip(values).map(|(steps, value)| steps.signed(*value)));
                    None
                })?;
                Arc::new(Int8Array::from(values))
            }
            VectorType::Uint8 => {
                let values = self.convert(&vectors, |values, out| {
                    out.extend(steps.iter().zip(values).map(|(steps, value)| steps.of(*value)));
                    None
                })?;
                Arc::new(UInt8Array::from(values))
            }
            VectorType::Binary => {
                let values = self.convert(&vectors, |values, out| {
                    out.extend(signs(values).map(to_signed));
                    None
                })?;
                Arc::new(Int8Array::from(values))
            }
            VectorType::Ubinary => {
                let values = self.convert(&vectors, |values, out| {
                    out.extend(signs(values));
                    None
                })?;
                Arc::new(UInt8Array::from(values))
            }
        })
    }

    /// Converts row by row. `push` appends the elements of a vector, and returns the position of a
    /// component that is too large.
    fn convert<T: Copy + Default>(
        &self,
        vectors: &ChunkVectors,
        mut push: impl FnMut(&[f32], &mut Vec<T>) -> Option<usize>,
    ) -> std::result::Result<Vec<T>, BuildError> {
        let (width, dim) = (self.width(), self.components.of_model());
        let mut out = Vec::with_capacity(vectors.present.len() * width);
        let mut scaled = Vec::new();
        for (row, present) in vectors.present.iter().enumerate() {
            if *present {
                let values = self.components.of(&vectors.values[row * dim..][..dim], &mut scaled);
                if let Some(component) = push(values, &mut out) {
                    let value = values[component];
                    return Err(BuildError::TooLarge { row, component, value });
                }
            } else if self.layout == VectorLayout::FixedSizeList {
                out.resize(out.len() + width, T::default());
            }
        }
        Ok(out)
    }
}

/// The Arrow type of a column of vectors with `width` elements.
///
/// # Errors
/// `Model` when `width` is more than a fixed-size list can have.
pub fn data_type(layout: VectorLayout, element: Element, width: usize) -> Result<DataType> {
    let child = Arc::new(Field::new(CHILD, element.data_type(), false));
    match layout {
        VectorLayout::List => Ok(DataType::List(child)),
        VectorLayout::FixedSizeList => {
            let size = i32::try_from(width).map_err(|cause| {
                let message = format!("vectors of {width} components are too wide for Arrow");
                Error::new(ErrorKind::Model, message).caused_by(cause)
            })?;
            Ok(DataType::FixedSizeList(child, size))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;
    use crate::vectors::{Vector, VectorRows};

    fn form(vector_type: VectorType, layout: VectorLayout, kept: usize) -> VectorForm {
        let ranges = vector_type
            .needs_ranges()
            .then(|| (vec![Steps::new(-1.0, 1.0); kept], "00".to_owned()));
        VectorForm { vector_type, layout, components: Components::first(kept, 3, false), ranges }
    }

    fn vectors(rows: &[Option<[f32; 3]>]) -> ChunkVectors {
        let values = rows.iter().flat_map(|row| row.unwrap_or_default()).collect();
        let present = rows.iter().map(Option::is_some).collect();
        ChunkVectors { values, present, work: Default::default() }
    }

    #[test]
    fn column_of_every_form_reads_back_as_it_was_built() {
        let rows = [Some([1.0, -0.5, 9.0]), None, Some([-1.0, 0.0, 9.0])];
        let half = |values: [f32; 2]| values.map(f16::from_f32);
        let halves = [half([1.0, -0.5]), half([-1.0, 0.0])];
        for (vector_type, first, last) in [
            (VectorType::F32, Vector::F32(&[1.0, -0.5]), Vector::F32(&[-1.0, 0.0])),
            (VectorType::F16, Vector::F16(&halves[0]), Vector::F16(&halves[1])),
            // In f32 the greatest value is just below the last step of this range.
            (VectorType::Int8, Vector::I8(&[126, -65]), Vector::I8(&[-128, -1])),
            (VectorType::Uint8, Vector::U8(&[254, 63]), Vector::U8(&[0, 127])),
            (VectorType::Binary, Vector::I8(&[0]), Vector::I8(&[-128])),
            (VectorType::Ubinary, Vector::U8(&[0x80]), Vector::U8(&[0])),
        ] {
            for layout in [VectorLayout::FixedSizeList, VectorLayout::List] {
                let form = form(vector_type, layout, 2);
                let field = form.field("v", true).expect("a field");
                let column = form.build_column(&field, vectors(&rows)).expect("a column");
                assert_eq!(column.data_type(), field.data_type());
                let expected = [Some(first), None, Some(last)];
                for (start, length) in [(0, 3), (1, 2)] {
                    let part = column.slice(start, length);
                    let read = VectorRows::new(part.as_ref()).expect("vectors");
                    let read: Vec<_> = read.iter().collect();
                    assert_eq!(
                        read,
                        expected[start..start + length],
                        "{vector_type:?}, {layout:?}"
                    );
                }
                assert_eq!(form.width(), first.width());
            }
        }
        assert!(VectorRows::new(&Float32Array::from(vec![1.0])).is_none());
    }

    #[test]
    fn whole_vectors_keep_their_components_in_either_layout() {
        let rows = [Some([1.0, 2.0, 3.0]), None, Some([4.0, 5.0, 6.0])];
        for layout in [VectorLayout::FixedSizeList, VectorLayout::List] {
            let form = form(VectorType::F32, layout, 3);
            let field = form.field("v", true).expect("a field");
            let column = form.build_column(&field, vectors(&rows)).expect("a column");
            let read = VectorRows::new(column.as_ref()).expect("vectors");
            assert_eq!(read.get(2), Some(Vector::F32(&[4.0, 5.0, 6.0])));
            assert_eq!((read.get(1), column.len()), (None, 3));
        }
    }

    #[test]
    fn component_that_has_no_half_is_an_error_of_its_row() {
        let form = form(VectorType::F16, VectorLayout::List, 3);
        let field = form.field("v", true).expect("a field");
        let rows = [Some([0.0; 3]), None, Some([65_519.0, -65_520.0, 0.0])];
        let error = form.build_column(&field, vectors(&rows)).expect_err("too large");
        assert!(
            matches!(error, BuildError::TooLarge { row: 2, component: 1, value: -65_520.0 }),
            "{error:?}"
        );
    }

    #[test]
    fn form_is_made_again_from_its_footer_with_the_same_ranges_only() {
        let bytes = form(VectorType::F16, VectorLayout::List, 2);
        assert_eq!(VectorForm::from_footer(&bytes.to_footer(), 3, None), Some(bytes));
        let steps = form(VectorType::Int8, VectorLayout::List, 2);
        assert_eq!(VectorForm::from_footer(&steps.to_footer(), 3, None), None);
    }
}
