//! Layer normalisation with the residual, RMS normalisation and L2 normalisation.

use crate::buffer::{AlignedBuffer, AllocationError};
use crate::isa::Isa;
use crate::simd::{Kernel, LANES, Simd};

/// Layer normalisation of each row: `(x − mean) / √(variance + epsilon) · weight + bias`.
///
/// Ba, Kiros and Hinton, <https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: AlignedBuffer,
    bias: AlignedBuffer,
    epsilon: f32,
}

impl LayerNorm {
    /// A normalisation of rows of `weight.len()` values.
    ///
    /// # Errors
    /// If the memory for its parameters cannot be allocated.
    ///
    /// # Panics
    /// If `weight` and `bias` differ in length.
    pub fn new(weight: &[f32], bias: &[f32], epsilon: f32) -> Result<Self, AllocationError> {
        assert_eq!(weight.len(), bias.len(), "weight and bias have one value for each column");
        let (weight, bias) = (AlignedBuffer::from_slice(weight)?, AlignedBuffer::from_slice(bias)?);
        Ok(LayerNorm { weight, bias, epsilon })
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Normalises each row of `hidden`, `(rows, width)`, in place.
    ///
    /// # Panics
    /// If the length of `hidden` is not a multiple of the width.
    pub fn normalize(&self, isa: Isa, hidden: &mut [f32]) {
        assert!(hidden.len().is_multiple_of(self.weight.len().max(1)), "the rows are complete");
        isa.run(NormalizeRows { norm: self, added: None, hidden });
    }

    /// `hidden = normalize(hidden + added)` for each row: the residual connection. Both are `(rows, width)`.
    ///
    /// # Panics
    /// If the two differ in length, or if the length is not a multiple of the width.
    pub fn add_and_normalize(&self, isa: Isa, added: &[f32], hidden: &mut [f32]) {
        assert_eq!(added.len(), hidden.len(), "added and hidden have the same shape");
        assert!(hidden.len().is_multiple_of(self.weight.len().max(1)), "the rows are complete");
        isa.run(NormalizeRows { norm: self, added: Some(added), hidden });
    }
}

/// RMS normalisation of each row: `x / √(mean of x² + epsilon) · weight`.
///
/// Zhang and Sennrich, 2019, <https://arxiv.org/abs/1910.07467>.
#[derive(Debug)]
pub struct RmsNorm {
    weight: AlignedBuffer,
    epsilon: f32,
}

impl RmsNorm {
    /// A normalisation of rows of `weight.len()` values.
    ///
    /// # Errors
    /// If the memory for its parameters cannot be allocated.
    pub fn new(weight: &[f32], epsilon: f32) -> Result<Self, AllocationError> {
        Ok(RmsNorm { weight: AlignedBuffer::from_slice(weight)?, epsilon })
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Normalises each row of `rows`, `(rows, width)`, in place.
    ///
    /// # Panics
    /// If the length of `rows` is not a multiple of the width.
    pub fn normalize(&self, isa: Isa, rows: &mut [f32]) {
        assert!(rows.len().is_multiple_of(self.weight.len().max(1)), "the rows are complete");
        isa.run(RmsNormalizeRows { norm: self, rows });
    }
}

/// Divides `vector` by the maximum of its L2 norm and 1e-12, as `torch.nn.functional.normalize` does.
pub fn l2_normalize(isa: Isa, vector: &mut [f32]) {
    isa.run(L2Normalize { vector });
}

struct NormalizeRows<'a> {
    norm: &'a LayerNorm,
    added: Option<&'a [f32]>,
    hidden: &'a mut [f32],
}

impl Kernel for NormalizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.norm.weight.len().max(1);
        for (index, row) in self.hidden.chunks_exact_mut(width).enumerate() {
            let added = match self.added {
                Some(added) => &added[index * width..][..width],
                None => &[],
            };
            normalize_row(simd, self.norm, added, row);
        }
    }
}

/// `row = normalize(row + added)`; an empty `added` adds nothing.
#[inline(always)]
pub(crate) fn normalize_row<S: Simd>(simd: S, norm: &LayerNorm, added: &[f32], row: &mut [f32]) {
    let count = row.len() as f32;

    let mut sum = simd.splat(0.0);
    if added.is_empty() {
        for values in row.chunks(LANES) {
            sum = simd.add(sum, simd.load_partial(values));
        }
    } else {
        for (values, added) in row.chunks_mut(LANES).zip(added.chunks(LANES)) {
            let value = simd.add(simd.load_partial(values), simd.load_partial(added));
            simd.store_partial(value, values);
            sum = simd.add(sum, value);
        }
    }
    let mean = simd.splat(simd.reduce_sum(sum) / count);

    let mut squares = simd.splat(0.0);
    let (whole, rest) = row.as_chunks_mut::<LANES>();
    for values in whole {
        let centred = simd.sub(simd.load(values), mean);
        simd.store(centred, values);
        squares = simd.mul_add(centred, centred, squares);
    }
    if !rest.is_empty() {
        // The detour through memory keeps the lanes past the row at zero instead of `−mean`.
        simd.store_partial(simd.sub(simd.load_partial(rest), mean), rest);
        let centred = simd.load_partial(rest);
        squares = simd.mul_add(centred, centred, squares);
    }
    let variance = simd.reduce_sum(squares) / count;
    let inverse = simd.splat(1.0 / (variance + norm.epsilon).sqrt());

    let parameters = norm.weight.chunks(LANES).zip(norm.bias.chunks(LANES));
    for (values, (weight, bias)) in row.chunks_mut(LANES).zip(parameters) {
        let unit = simd.mul(simd.load_partial(values), inverse);
        let (weight, bias) = (simd.load_partial(weight), simd.load_partial(bias));
        simd.store_partial(simd.mul_add(unit, weight, bias), values);
    }
}

struct RmsNormalizeRows<'a> {
    norm: &'a RmsNorm,
    rows: &'a mut [f32],
}

impl Kernel for RmsNormalizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RmsNorm { weight, epsilon } = self.norm;
        for row in self.rows.chunks_exact_mut(weight.len().max(1)) {
            let mut squares = simd.splat(0.0);
            for values in row.chunks(LANES) {
                let values = simd.load_partial(values);
                squares = simd.mul_add(values, values, squares);
            }
            let mean = simd.reduce_sum(squares) / row.len() as f32;
            let inverse = simd.splat(1.0 / (mean + epsilon).sqrt());
            for (values, weight) in row.chunks_mut(LANES).zip(weight.chunks(LANES)) {
                let unit = simd.mul(simd.load_partial(values), inverse);
                simd.store_partial(simd.mul(unit, simd.load_partial(weight)), values);
            }
        }
    }
}

struct L2Normalize<'a> {
    vector: &'a mut [f32],
}

impl Kernel for L2Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut squares = simd.splat(0.0);
        for values in self.vector.chunks(LANES) {
            let values = simd.load_partial(values);
            squares = simd.mul_add(values, values, squares);
        }
        let norm = simd.splat(simd.reduce_sum(squares).sqrt().max(1e-12));
        for values in self.vector.chunks_mut(LANES) {
            simd.store_partial(simd.div(simd.load_partial(values), norm), values);
        }
    }
}
