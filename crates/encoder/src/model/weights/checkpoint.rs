//! One or several safetensors files, and their tensors as f32.
//!
//! Format: <https://huggingface.co/docs/safetensors>. f16 and bf16 are converted to f32, which is
//! exact, and f64 is rounded to it; f32 is borrowed from the bytes that were hashed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::model::source::ModelFiles;
use crate::model::{json, resources};

/// The file of the weights in the model's directory, and the list of several such files.
pub const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor, row-major. Weights of linear layers have the shape `(outputs, inputs)`, as in the
/// file.
#[derive(Debug)]
pub struct Tensor<'f> {
    /// The sizes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub data: Cow<'f, [f32]>,
}

pub const NOT_OURS: &str = "this file does not belong to this config.json; fetch the model again";

/// One or several safetensors files.
pub struct Checkpoint<'f> {
    parts: Vec<(PathBuf, SafeTensors<'f>)>,
    /// The number of the part that has a tensor.
    pub places: HashMap<String, usize>,
    /// The file that lists the tensors, for messages.
    pub path: PathBuf,
}

impl<'f> Checkpoint<'f> {
    /// The weights of the encoder: a single file, or those that an index lists.
    pub fn open(files: &'f ModelFiles) -> Result<Self> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        if files.bytes(FILE).is_some() {
            return Self::open_file(files, FILE);
        }
        let Some(index) = json::json::<Index>(files, INDEX)? else {
            return Self::open_file(files, FILE);
        };
        let mut numbers = BTreeMap::new();
        let mut parts = Vec::new();
        let mut places = HashMap::new();
        for (tensor, file) in index.weight_map {
            let number = match numbers.get(&file) {
                Some(number) => *number,
                None => {
                    parts.push((files.path_of(&file), parse(files, &file)?));
                    numbers.insert(file, parts.len() - 1);
                    parts.len() - 1
                }
            };
            places.insert(tensor, number);
        }
        Ok(Checkpoint { parts, places, path: files.path_of(INDEX) })
    }

    pub fn open_file(files: &'f ModelFiles, file: &str) -> Result<Self> {
        let tensors = parse(files, file)?;
        let places = tensors.names().into_iter().map(|name| (name.to_owned(), 0)).collect();
        let path = files.path_of(file);
        Ok(Checkpoint { parts: vec![(path.clone(), tensors)], places, path })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A tensor as it is stored.
    pub fn view(&self, name: &str) -> Option<TensorView<'f>> {
        let (_, part) = self.parts.get(*self.places.get(name)?)?;
        part.tensor(name).ok()
    }

    /// Reads and checks a tensor.
    pub fn read(&self, prefix: &str, name: &str, shape: Vec<usize>) -> Result<Tensor<'f>> {
        let full = format!("{prefix}{name}");
        // Older checkpoints of BERT call the weight of a layer norm gamma, and its bias beta.
        let old = |ending: &str, old: &str| {
            let stem = full.strip_suffix(ending).filter(|stem| stem.ends_with("LayerNorm"));
            stem.map(|stem| format!("{stem}{old}"))
        };
        let other = old(".weight", ".gamma").or_else(|| old(".bias", ".beta"));
        let found = [Some(&full), other.as_ref()].into_iter().flatten();
        let found = found.filter_map(|name| Some((name, *self.places.get(name)?))).next();
        let (stored, part) = found.unwrap_or((&full, 0));
        let path = self.parts.get(part).map_or(&self.path, |(path, _)| path);
        let refuse = |message: String| {
            Error::new(ErrorKind::Model, message)
                .in_file(path)
                .at(format!("tensor `{full}`"))
                .advice(NOT_OURS)
        };
        let view = self.parts.get(part).and_then(|(_, file)| file.tensor(stored).ok());
        let view = view.ok_or_else(|| refuse("is missing".to_owned()))?;
        if view.shape() != shape {
            return Err(refuse(format!("has the shape {:?}, expected {shape:?}", view.shape())));
        }
        let data = to_f32(&view).map_err(|error| match error {
            TensorError::UnsupportedType(dtype) => refuse(format!(
                "has the type {dtype:?}, which is not supported; F32, F16, BF16 and F64 are"
            ))
            .advice("save the weights again as F32, F16 or BF16"),
            TensorError::OutOfMemory(bytes) => {
                resources::out_of_memory(bytes).in_file(path).at(format!("tensor `{full}`"))
            }
        })?;
        if let Some(position) = data.iter().position(|value| !value.is_finite()) {
            return Err(refuse(format!(
                "value {position} is {}, not a finite number",
                data[position]
            )));
        }
        Ok(Tensor { shape, data })
    }
}

fn parse<'f>(files: &'f ModelFiles, file: &str) -> Result<SafeTensors<'f>> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Model, message)
            .in_file(files.path_of(file))
            .advice("fetch the model again")
    };
    let bytes = files.bytes(file).ok_or_else(|| refuse("is missing"))?;
    SafeTensors::deserialize(bytes)
        .map_err(|cause| refuse("is not a complete safetensors file").caused_by(cause))
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
        Dtype::F64 => widen(bytes.as_chunks::<8>().0, |value| f64::from_le_bytes(*value) as f32),
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
