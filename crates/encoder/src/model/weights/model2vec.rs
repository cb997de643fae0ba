//! The table of a model2vec model whose vocabulary was quantized: several tokens share a row, and each has a factor.
//!
//! Reference: `StaticEmbedding._fold_model2vec_weights` of sentence-transformers 6.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, TensorView};

use super::checkpoint::{Checkpoint, NOT_OURS, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::model::resources;
use crate::model::tensor_names::{MODEL2VEC_MAPPING, MODEL2VEC_WEIGHTS};

/// The table with a row for each token, `(tokens, width)`: that of a token is the one that the mapping names, times the
/// token's factor. `None` if the file has neither, so that its table is that already.
///
/// # Errors
/// `Model`, naming the tensor, if one has another shape or type, or names a row that is not there; `OutOfMemory`.
pub(super) fn fold(
    checkpoint: &Checkpoint<'_>,
    table: &str,
    [tokens, width]: [usize; 2],
) -> Result<Option<Tensor<'static>>> {
    let (mapping, factors) =
        (checkpoint.view(MODEL2VEC_MAPPING), checkpoint.view(MODEL2VEC_WEIGHTS));
    if mapping.is_none() && factors.is_none() {
        return Ok(None);
    }
    let refuse = |tensor: &str, message: String| {
        Error::new(ErrorKind::Model, message)
            .in_file(&checkpoint.path)
            .at(format!("tensor `{tensor}`"))
            .advice(NOT_OURS)
    };
    for (name, view) in [(MODEL2VEC_MAPPING, &mapping), (MODEL2VEC_WEIGHTS, &factors)] {
        if let Some(view) = view.as_ref().filter(|view| view.shape() != [tokens]) {
            let message = format!("has the shape {:?}, expected [{tokens}]", view.shape());
            return Err(refuse(name, message));
        }
    }
    let rows = checkpoint.view(table).and_then(|view| view.shape().first().copied()).unwrap_or(0);
    if mapping.is_none() && rows != tokens {
        let message = format!("has the shape [{tokens}], and the table has {rows} rows");
        return Err(refuse(MODEL2VEC_WEIGHTS, message));
    }
    let stored = checkpoint.read("", table, vec![rows, width])?;
    let unsupported = |name: &str, view: &TensorView<'_>| {
        refuse(name, format!("has the type {:?}, which is not supported", view.dtype()))
    };
    let mapping =
        mapping.map(|view| integers(&view).ok_or_else(|| unsupported(MODEL2VEC_MAPPING, &view)));
    let factors =
        factors.map(|view| floats(&view).ok_or_else(|| unsupported(MODEL2VEC_WEIGHTS, &view)));
    let (mapping, factors) = (mapping.transpose()?, factors.transpose()?);

    let size = tokens.saturating_mul(width);
    let mut data = Vec::new();
    data.try_reserve_exact(size).map_err(|_| {
        resources::out_of_memory(size.saturating_mul(size_of::<f32>())).in_file(&checkpoint.path)
    })?;
    for token in 0..tokens {
        let row = mapping.as_ref().map_or(token as i64, |mapping| mapping[token]);
        let found = usize::try_from(row).ok().filter(|row| *row < rows);
        let Some(found) = found else {
            let message = format!("names row {row} for token {token}, and there are {rows}");
            return Err(refuse(MODEL2VEC_MAPPING, message));
        };
        let row = &stored.data[found * width..][..width];
        let Some(factors) = &factors else {
            data.extend_from_slice(row);
            continue;
        };
        // A product of two f32 is exact in f64, so this is theirs in each type of a factor.
        let factor = factors[token];
        data.extend(row.iter().map(|value| (f64::from(*value) * factor) as f32));
        if data[token * width..].iter().any(|value| !value.is_finite()) {
            let message = format!("the row of token {token} times {factor} is not finite");
            return Err(refuse(MODEL2VEC_WEIGHTS, message));
        }
    }
    Ok(Some(Tensor { shape: vec![tokens, width], data: Cow::Owned(data) }))
}

/// The values of a tensor of integers; `None` for another type.
fn integers(view: &TensorView<'_>) -> Option<Vec<i64>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::I64 => bytes.as_chunks().0.iter().map(|value| i64::from_le_bytes(*value)).collect(),
        Dtype::I32 => {
            bytes.as_chunks().0.iter().map(|value| i32::from_le_bytes(*value).into()).collect()
        }
        Dtype::U32 => {
            bytes.as_chunks().0.iter().map(|value| u32::from_le_bytes(*value).into()).collect()
        }
        _ => return None,
    })
}

/// The values of a tensor of numbers; `None` for another type.
fn floats(view: &TensorView<'_>) -> Option<Vec<f64>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value)).collect(),
        Dtype::F32 => {
            bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value).into()).collect()
        }
        Dtype::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|value| half::f16::from_le_bytes(*value).into())
            .collect(),
        _ => return None,
    })
}
