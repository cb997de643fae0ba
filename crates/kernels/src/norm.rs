//! Layer normalisation with the residual, and what turns token vectors into the vector of a text.

use super::simd::{Kernel, LANES, Simd};
use super::{AlignedBuffer, AllocationError, Isa};

/// Layer normalisation: `(x − mean) / √(variance + epsilon) · weight + bias`, over each row.
#[derive(Debug)]
pub struct LayerNorm {
    weight: AlignedBuffer,
    bias: AlignedBuffer,
    epsilon: f32,
}

impl LayerNorm {
    /// A normalisation of rows as wide as `weight` and `bias`.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn new(weight: &[f32], bias: &[f32], epsilon: f32) -> Result<Self, AllocationError> {
        assert_eq!(weight.len(), bias.len(), "weight and bias are as wide as a row");
        let (weight, bias) = (AlignedBuffer::from_slice(weight)?, AlignedBuffer::from_slice(bias)?);
        Ok(LayerNorm { weight, bias, epsilon })
    }

    /// Width of a row.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Normalises each row of `hidden`.
    ///
    /// # Panics
    /// If it does not hold whole rows.
    pub fn normalize(&self, isa: Isa, hidden: &mut [f32]) {
        assert!(hidden.len().is_multiple_of(self.weight.len().max(1)), "whole rows");
        isa.run(Normalize { norm: self, added: None, hidden });
    }

    /// `hidden = normalize(hidden + added)`, row by row: the residual connection.
    ///
    /// # Panics
    /// If the two differ in length or do not hold whole rows.
    pub fn add_and_normalize(&self, isa: Isa, added: &[f32], hidden: &mut [f32]) {
        assert_eq!(added.len(), hidden.len(), "as many rows");
        assert!(hidden.len().is_multiple_of(self.weight.len().max(1)), "whole rows");
        isa.run(Normalize { norm: self, added: Some(added), hidden });
    }
}

/// The mean of the rows of `tokens`, each as wide as `mean`, summed in order.
///
/// # Panics
/// If `tokens` does not hold whole rows.
pub fn mean_of_rows(tokens: &[f32], mean: &mut [f32]) {
    assert!(tokens.len().is_multiple_of(mean.len().max(1)), "whole rows");
    mean.fill(0.0);
    // Each sum is its own chain of additions: the same bits however the compiler vectorises over them.
    for row in tokens.chunks_exact(mean.len().max(1)) {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value;
        }
    }
    let count = (tokens.len() / mean.len().max(1)) as f32;
    for sum in mean {
        *sum /= count;
    }
}

/// Divides `vector` by its length; by 1e-12 if it is shorter, as torch does.
pub fn l2_normalize(isa: Isa, vector: &mut [f32]) {
    isa.run(Unit { vector });
}

struct Normalize<'a> {
    norm: &'a LayerNorm,
    added: Option<&'a [f32]>,
    hidden: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
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

/// `added` is as wide as the row, or empty.
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
    let mean = simd.splat(simd.sum(sum) / count);

    let mut squares = simd.splat(0.0);
    let (whole, rest) = row.as_chunks_mut::<LANES>();
    for values in whole {
        let centred = simd.sub(simd.load(values), mean);
        simd.store(centred, values);
        squares = simd.mul_add(centred, centred, squares);
    }
    if !rest.is_empty() {
        // Through memory, so that the lanes past the row are zeros and not `−mean`.
        simd.store_partial(simd.sub(simd.load_partial(rest), mean), rest);
        let centred = simd.load_partial(rest);
        squares = simd.mul_add(centred, centred, squares);
    }
    let variance = simd.sum(squares) / count;
    let inverse = simd.splat(1.0 / (variance + norm.epsilon).sqrt());

    let parameters = norm.weight.chunks(LANES).zip(norm.bias.chunks(LANES));
    for (values, (weight, bias)) in row.chunks_mut(LANES).zip(parameters) {
        let unit = simd.mul(simd.load_partial(values), inverse);
        let (weight, bias) = (simd.load_partial(weight), simd.load_partial(bias));
        simd.store_partial(simd.mul_add(unit, weight, bias), values);
    }
}

struct Unit<'a> {
    vector: &'a mut [f32],
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut squares = simd.splat(0.0);
        for values in self.vector.chunks(LANES) {
            let values = simd.load_partial(values);
            squares = simd.mul_add(values, values, squares);
        }
        let length = simd.splat(simd.sum(squares).sqrt().max(1e-12));
        for values in self.vector.chunks_mut(LANES) {
            simd.store_partial(simd.div(simd.load_partial(values), length), values);
        }
    }
}
