//! The weights of a BERT encoder from a safetensors file: each tensor is present, finite and has
//! its expected shape.
//!
//! Format: <https://huggingface.co/docs/safetensors>. f16 and bf16 are converted to f32, which is
//! exact; f32 is borrowed from the bytes that were hashed.

use std::borrow::Cow;
use std::collections::HashMap;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::description::BertShape;
use super::resources;
use super::source::ModelFiles;
use crate::error::{Error, ErrorKind, Result};

/// The tensors of a BERT encoder under their Hugging Face names, without a leading `bert.`.
#[derive(Debug)]
pub struct BertWeights<'f> {
    tensors: HashMap<String, Tensor<'f>>,
}

/// A tensor, row-major. Weights of linear layers have the shape `(outputs, inputs)`, as in the
/// file.
#[derive(Debug)]
pub struct Tensor<'f> {
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: Cow<'f, [f32]>,
}

impl<'f> BertWeights<'f> {
    /// The values of a tensor, row-major; `None` if there is no tensor of this name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(|tensor| &*tensor.data)
    }

    /// All tensors by their name.
    pub fn into_tensors(self) -> HashMap<String, Tensor<'f>> {
        self.tensors
    }
}

/// The file of the weights in the model's directory.
pub const FILE: &str = "model.safetensors";

/// Reads and checks the tensors of an encoder of this shape. Other tensors of the file (a pooler,
/// the head of a language model) are ignored.
///
/// # Errors
/// `Model` or `OutOfMemory`, naming the file and the tensor.
pub fn read<'f>(files: &'f ModelFiles, shape: &BertShape) -> Result<BertWeights<'f>> {
    let path = files.path_of(FILE);
    let refuse = |message: String| Error::new(ErrorKind::Model, message).in_file(&path);
    let bytes = files.bytes(FILE).ok_or_else(|| refuse("is missing".to_owned()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|cause| {
        refuse("is not a complete safetensors file".to_owned())
            .advice("fetch the model again")
            .caused_by(cause)
    })?;

    if shape.layers > file.len() {
        let (layers, tensors) = (shape.layers, file.len());
        return Err(refuse(format!("has {tensors} tensors, too few for {layers} layers"))
            .advice("this file does not belong to this config.json; fetch the model again"));
    }

    // Checkpoints of `BertModel` have no prefix; those of a model that contains one have `bert.`.
    let prefix =
        if file.tensor("embeddings.word_embeddings.weight").is_ok() { "" } else { "bert." };
    let tensor = |(name, sizes): (String, Vec<usize>)| {
        let refuse = |message: String| {
            refuse(message)
                .at(format!("tensor `{prefix}{name}`"))
                .advice("this file does not belong to this config.json; fetch the model again")
        };
        let view =
            file.tensor(&format!("{prefix}{name}")).map_err(|_| refuse("is missing".to_owned()))?;
        if view.shape() != sizes {
            return Err(refuse(format!("has the shape {:?}, expected {sizes:?}", view.shape())));
        }
        let data = to_f32(&view).map_err(|error| match error {
            TensorError::UnsupportedType(dtype) => refuse(format!(
                "has the type {dtype:?}, which is not supported; F32, F16 and BF16 are"
            )),
            TensorError::OutOfMemory(bytes) => resources::out_of_memory(bytes)
                .in_file(&path)
                .at(format!("tensor `{prefix}{name}`")),
        })?;
        if let Some(position) = data.iter().position(|value| !value.is_finite()) {
            return Err(refuse(format!(
                "value {position} is {}, not a finite number",
                data[position]
            )));
        }
        Ok((name, Tensor { shape: sizes, data }))
    };
    // Collected in order, so that of several invalid tensors the first is named.
    let tensors: Vec<Result<(String, Tensor<'_>)>> =
        expected_tensors(shape).into_par_iter().map(tensor).collect();
    Ok(BertWeights { tensors: tensors.into_iter().collect::<Result<_>>()? })
}

/// The name and shape of each tensor of an encoder.
fn expected_tensors(shape: &BertShape) -> Vec<(String, Vec<usize>)> {
    let (hidden, wide) = (shape.hidden, shape.intermediate);
    let mut names = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![shape.vocab_size, hidden]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![shape.max_positions, hidden]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![shape.token_types, hidden]),
        ("embeddings.LayerNorm.weight".to_owned(), vec![hidden]),
        ("embeddings.LayerNorm.bias".to_owned(), vec![hidden]),
    ];
    for layer in 0..shape.layers {
        for (part, out, input) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", wide, hidden),
            ("output.dense", hidden, wide),
        ] {
            names.push((format!("encoder.layer.{layer}.{part}.weight"), vec![out, input]));
            names.push((format!("encoder.layer.{layer}.{part}.bias"), vec![out]));
        }
        for part in ["attention.output.LayerNorm", "output.LayerNorm"] {
            names.push((format!("encoder.layer.{layer}.{part}.weight"), vec![hidden]));
            names.push((format!("encoder.layer.{layer}.{part}.bias"), vec![hidden]));
        }
    }
    names
}

/// Why a tensor cannot be converted to f32.
enum TensorError {
    /// Its type is not supported.
    UnsupportedType(Dtype),
    /// Allocating this many bytes failed.
    OutOfMemory(usize),
}

/// The values of a tensor as f32, borrowed if the file has aligned little-endian f32.
fn to_f32<'f>(view: &TensorView<'f>) -> Result<Cow<'f, [f32]>, TensorError> {
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::F32 => match bytemuck::try_cast_slice(bytes) {
            Ok(values) if cfg!(target_endian = "little") => return Ok(Cow::Borrowed(values)),
            // Neither the file in memory nor the tensor in the file has to be aligned.
            _ => widen(bytes.as_chunks::<4>().0, |value| f32::from_le_bytes(*value)),
        },
        Dtype::F16 => widen(bytes.as_chunks::<2>().0, |value| f16::from_le_bytes(*value).to_f32()),
        Dtype::BF16 => {
            widen(bytes.as_chunks::<2>().0, |value| bf16::from_le_bytes(*value).to_f32())
        }
        other => Err(TensorError::UnsupportedType(other)),
    }?;
    Ok(Cow::Owned(values))
}

fn widen<T>(stored: &[T], convert: impl Fn(&T) -> f32) -> Result<Vec<f32>, TensorError> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(stored.len())
        .map_err(|_| TensorError::OutOfMemory(stored.len().saturating_mul(size_of::<f32>())))?;
    values.extend(stored.iter().map(convert));
    Ok(values)
}
