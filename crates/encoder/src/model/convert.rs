//! Pickled weights as safetensors: `pytorch_model.bin`, in the zip format of PyTorch from 1.6, read without running
//! any of its code. candle's parser builds tensors and nothing else.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, pickle};
use safetensors::{Dtype, View, serialize_to_file};

use super::source::{PICKLED_WEIGHTS, WEIGHTS};
use crate::error::{Error, ErrorKind, Result, catch_panic};

/// Where the weights of a transformer lie in a directory of sentence-transformers.
const PLACES: [&str; 2] = ["", "0_Transformer"];

/// What [`convert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The file that was read.
    pub from: PathBuf,
    /// The file that was written.
    pub to: PathBuf,
    /// Number of tensors.
    pub tensors: usize,
}

/// Writes the pickled weights of a model's directory as `model.safetensors` beside them.
///
/// # Errors
/// `Model` if there are no pickled weights, if they hold anything but tensors, or if the directory has weights in
/// safetensors already; `Output` if the file cannot be written.
pub fn convert(directory: &Path) -> Result<Converted> {
    let place = PLACES.iter().map(|place| directory.join(place));
    let Some(place) = place.into_iter().find(|place| place.join(PICKLED_WEIGHTS).is_file()) else {
        let message = format!("the directory has no {PICKLED_WEIGHTS}");
        return Err(Error::new(ErrorKind::Model, message)
            .in_file(directory)
            .advice("name the directory of a model whose weights are pickled in one file"));
    };
    let (from, to) = (place.join(PICKLED_WEIGHTS), place.join(WEIGHTS));
    if to.exists() {
        return Err(Error::new(
            ErrorKind::Model,
            "the directory has weights in safetensors already",
        )
        .in_file(&to)
        .advice("a run reads these; remove the file to convert the pickled weights again"));
    }
    // A damaged archive may surprise the parser.
    let read = || pickle::read_all(&from).map_err(|cause| unreadable(&from).caused_by(cause));
    let tensors = catch_panic(ErrorKind::Model, "the parser of pickles", read)?;
    if tensors.is_empty() {
        return Err(unreadable(&from));
    }
    let mut owned = BTreeMap::new();
    for (name, tensor) in tensors {
        let bytes = Owned::new(&tensor).map_err(|cause| {
            Error::new(ErrorKind::Model, "the tensor cannot be read")
                .in_file(&from)
                .at(format!("tensor {name}"))
                .advice("convert the model with transformers: `model.save_pretrained(DIR)`")
                .caused_by(cause)
        })?;
        owned.insert(name, bytes);
    }
    let count = owned.len();
    write(owned, &to)?;
    Ok(Converted { from, to, tensors: count })
}

fn unreadable(from: &Path) -> Error {
    Error::new(ErrorKind::Model, "it holds no tensors that can be read without running code")
        .in_file(from)
        .advice("load it with transformers where you trust it, and save it: `model.save_pretrained(DIR)`")
}

/// Writes under a temporary name first: a run must never see half of the weights.
fn write(tensors: BTreeMap<String, Owned>, to: &Path) -> Result<()> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Output, "the weights cannot be written")
            .in_file(to)
            .advice("check the space and the permissions of the directory")
            .caused_by(cause)
    };
    let directory = to.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".model.safetensors.")
        .tempfile_in(directory)
        .map_err(|cause| failed(cause.into()))?;
    // transformers refuses files without it.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize_to_file(tensors, Some(metadata), temporary.path())
        .map_err(|cause| failed(cause.into()))?;
    temporary.as_file().sync_all().map_err(|cause| failed(cause.into()))?;
    temporary.persist_noclobber(to).map_err(|cause| failed(cause.error.into()))?;
    Ok(())
}

/// A tensor as safetensors writes it.
struct Owned {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Owned {
    fn new(tensor: &Tensor) -> candle_core::Result<Owned> {
        let flat = tensor.flatten_all()?;
        macro_rules! little_endian {
            ($number:ty) => {
                flat.to_vec1::<$number>()?.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
        }
        let (dtype, bytes) = match flat.dtype() {
            DType::F64 => (Dtype::F64, little_endian!(f64)),
            DType::F32 => (Dtype::F32, little_endian!(f32)),
            DType::F16 => (Dtype::F16, little_endian!(half::f16)),
            DType::BF16 => (Dtype::BF16, little_endian!(half::bf16)),
            DType::I64 => (Dtype::I64, little_endian!(i64)),
            DType::U32 => (Dtype::U32, little_endian!(u32)),
            DType::U8 => (Dtype::U8, flat.to_vec1::<u8>()?),
            other => candle_core::bail!("it is of type {other:?}"),
        };
        Ok(Owned { dtype, shape: tensor.dims().to_vec(), bytes })
    }
}

impl View for Owned {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;

    /// Saved by `torch.save` of PyTorch 2.15: a dictionary of six tensors, one of them transposed.
    const TENSORS: &[u8] = include_bytes!("../../../../tests/golden/pickled/tensors.bin");
    /// The same with an object that runs a command when it is loaded.
    const CODE: &[u8] = include_bytes!("../../../../tests/golden/pickled/code.bin");

    fn directory(file: &str, weights: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join(file).parent().expect("a parent"))
            .expect("a directory");
        fs::write(directory.path().join(file), weights).expect("a file");
        directory
    }

    #[test]
    fn tensors_keep_type_shape_and_values() {
        for place in ["", "0_Transformer/"] {
            let directory = directory(&format!("{place}{PICKLED_WEIGHTS}"), TENSORS);
            let converted = convert(directory.path()).expect("tensors alone");
            assert_eq!(converted.tensors, 6);
            assert_eq!(converted.to, directory.path().join(place).join(WEIGHTS));
            let bytes = fs::read(&converted.to).expect("a file");
            let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("safetensors");
            let format = metadata.metadata().as_ref().and_then(|all| all.get("format"));
            assert_eq!(format.map(String::as_str), Some("pt"));
            let found = SafeTensors::deserialize(&bytes).expect("safetensors");
            let f32s = |values: &[f32]| {
                values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
            };
            let i64s: Vec<u8> =
                [0_i64, 1, 2].iter().flat_map(|value| value.to_le_bytes()).collect();
            for (name, dtype, shape, bytes) in [
                (
                    "embeddings.word.weight",
                    Dtype::F32,
                    &[2, 3][..],
                    f32s(&[0.0, 0.25, 0.5, 0.75, 1.0, 1.25]),
                ),
                ("transposed", Dtype::F32, &[3, 2], f32s(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])),
                ("half", Dtype::F16, &[2], vec![0x00, 0x38, 0x00, 0xc0]),
                ("brain", Dtype::BF16, &[2], vec![0xc0, 0x3f, 0x40, 0xc0]),
                ("double", Dtype::F64, &[1], 0.1_f64.to_le_bytes().to_vec()),
                ("ids", Dtype::I64, &[1, 3], i64s),
            ] {
                let tensor = found.tensor(name).expect(name);
                assert_eq!((tensor.dtype(), tensor.shape()), (dtype, shape), "{name}");
                assert_eq!(tensor.data(), bytes, "{name}");
            }
        }
    }

    #[test]
    fn code_in_a_pickle_is_left_out_and_not_run() {
        let directory = directory(PICKLED_WEIGHTS, CODE);
        // What it would run makes a file in the current directory.
        let trace = Path::new("pickle-ran-code");
        let converted = convert(directory.path()).expect("the tensor beside it");
        assert!(!trace.exists());
        assert_eq!(converted.tensors, 1);
    }

    #[test]
    fn what_cannot_be_converted_is_refused_with_the_cure() {
        let empty = tempfile::tempdir().expect("a directory");
        let error = convert(empty.path()).expect_err("no weights").to_string();
        assert!(error.contains("has no pytorch_model.bin"), "{error}");
        for weights in [&b""[..], b"PK\x03\x04 and no more", &TENSORS[..TENSORS.len() / 2]] {
            let damaged = directory(PICKLED_WEIGHTS, weights);
            let error = convert(damaged.path()).expect_err("a damaged file");
            assert_eq!(error.kind(), ErrorKind::Model);
            assert!(error.advice_text().is_some_and(|advice| advice.contains("save_pretrained")));
            assert!(!damaged.path().join(WEIGHTS).exists());
        }
        let done = directory(PICKLED_WEIGHTS, TENSORS);
        convert(done.path()).expect("tensors alone");
        let error = convert(done.path()).expect_err("a second time").to_string();
        assert!(error.contains("safetensors already"), "{error}");
    }
}
