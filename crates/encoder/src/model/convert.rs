//! Pickled weights as safetensors: `pytorch_model.bin`, or the shards that `pytorch_model.bin.index.json` lists, in the
//! zip format of PyTorch from 1.6, read without running any of its code. candle's parser builds tensors and nothing else.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor, pickle};
use safetensors::{Dtype, View, serialize_to_file};
use serde::Deserialize;

use super::source::{
    INDEX, MODULES, PICKLED_INDEX, PICKLED_WEIGHTS, WEIGHTS, check_path, read_index,
};
use crate::error::{Error, ErrorKind, Result, catch_panic};

/// Where the weights of a transformer lie in a directory without `modules.json`.
const PLACES: [&str; 2] = ["", "0_Transformer"];

const FETCH_AGAIN: &str = "fetch the whole directory of the model again";

/// Pickled weights of a model's transformer or of another module of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickle {
    /// The file, or the index of its shards.
    from: PathBuf,
    /// The file beside it that a run reads instead.
    to: PathBuf,
}

/// What [`Pickle::convert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The file that was read; of shards, their index.
    pub from: PathBuf,
    /// The file that was written.
    pub to: PathBuf,
    /// Number of tensors.
    pub tensors: usize,
}

/// The pickled weights in a model's directory that have none in safetensors beside them, module by module.
///
/// # Errors
/// `Model` if there are none, or if `modules.json` is damaged.
pub fn pickles(directory: &Path) -> Result<Vec<Pickle>> {
    let (mut pickles, mut done) = (Vec::new(), None);
    for place in places(directory)? {
        let pickled = [PICKLED_WEIGHTS, PICKLED_INDEX].map(|name| place.join(name));
        let Some(from) = pickled.into_iter().find(|file| file.is_file()) else { continue };
        let safetensors = [WEIGHTS, INDEX].map(|name| place.join(name));
        match safetensors.into_iter().find(|file| file.exists()) {
            Some(file) => done = done.or(Some(file)),
            None => pickles.push(Pickle { from, to: place.join(WEIGHTS) }),
        }
    }
    match done {
        _ if !pickles.is_empty() => Ok(pickles),
        Some(file) => {
            let message = "the directory has weights in safetensors already";
            Err(Error::new(ErrorKind::Model, message)
                .in_file(file)
                .advice("a run reads these; remove the file to convert the pickled weights again"))
        }
        None => {
            let message = format!(
                "the directory has no {PICKLED_WEIGHTS} and no {PICKLED_INDEX}, nor has that of \
                 a module"
            );
            Err(Error::new(ErrorKind::Model, message)
                .in_file(directory)
                .advice("name the directory of a model whose weights are pickled"))
        }
    }
}

/// The directories of a model's modules. A run reads no others, such as checkpoints of a training.
fn places(directory: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Module {
        #[serde(default)]
        path: String,
    }
    let file = directory.join(MODULES);
    if !file.is_file() {
        return Ok(PLACES.map(|place| directory.join(place)).to_vec());
    }
    let refuse =
        |message: String| Error::new(ErrorKind::Model, message).in_file(&file).advice(FETCH_AGAIN);
    let modules: Vec<Module> = serde_json::from_slice(&read(&file)?).map_err(|cause| {
        refuse("does not list the modules of a model".to_owned()).caused_by(cause)
    })?;
    let mut places = Vec::new();
    for Module { path } in modules {
        let is_top = ["", "."].contains(&path.as_str());
        let place = if is_top {
            directory.to_owned()
        } else {
            check_path(&path).map_err(|why| refuse(format!("the path `{path}` {why}")))?;
            directory.join(path)
        };
        // Modules without files may share the directory of another one.
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|cause| {
        Error::new(ErrorKind::Model, "cannot be read")
            .in_file(file)
            .advice("make the file readable for this user (chmod, chown)")
            .caused_by(cause)
    })
}

impl Pickle {
    /// Writes the weights as `model.safetensors` beside them.
    ///
    /// # Errors
    /// `Model` if they hold anything but tensors, or if shards are not what their index says; `Output` if the file
    /// cannot be written, or has come into being since.
    pub fn convert(self) -> Result<Converted> {
        let Pickle { from, to } = self;
        let tensors =
            if from.ends_with(PICKLED_INDEX) { read_shards(&from)? } else { read_pickle(&from)? };
        let count = tensors.len();
        write(tensors, &to)?;
        Ok(Converted { from, to, tensors: count })
    }
}

/// Reads the tensors that an index lists, each from the shard that it names. One shard at a time is held twice.
fn read_shards(index: &Path) -> Result<BTreeMap<String, Owned>> {
    let refuse =
        |message: String| Error::new(ErrorKind::Model, message).in_file(index).advice(FETCH_AGAIN);
    let files = read_index(&read(index)?, ".bin").map_err(refuse)?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in files {
        // transformers writes every shard beside its index.
        if shard.contains('/') {
            return Err(refuse(format!("the file `{shard}` is not in its directory")));
        }
        shards.entry(shard).or_default().push(tensor);
    }
    if shards.is_empty() {
        return Err(refuse("lists no tensors".to_owned()));
    }
    let mut tensors = BTreeMap::new();
    for (shard, names) in shards {
        let file = index.with_file_name(&shard);
        if !file.is_file() {
            let message = format!("is missing, and {PICKLED_INDEX} lists it");
            return Err(Error::new(ErrorKind::Model, message).in_file(file).advice(FETCH_AGAIN));
        }
        let mut found = read_pickle(&file)?;
        for name in names {
            let Some(tensor) = found.remove(&name) else {
                let message = format!("is missing, and {PICKLED_INDEX} lists it for this file");
                return Err(Error::new(ErrorKind::Model, message)
                    .in_file(file)
                    .at(format!("tensor {name}"))
                    .advice(FETCH_AGAIN));
            };
            tensors.insert(name, tensor);
        }
    }
    Ok(tensors)
}

/// Reads the tensors of one file.
fn read_pickle(from: &Path) -> Result<BTreeMap<String, Owned>> {
    // A damaged archive may surprise the parser.
    let read = || pickle::read_all(from).map_err(|cause| unreadable(from).caused_by(cause));
    let tensors = catch_panic(ErrorKind::Model, "the parser of pickles", read)?;
    if tensors.is_empty() {
        return Err(unreadable(from));
    }
    let mut owned = BTreeMap::new();
    for (name, tensor) in tensors {
        let bytes = Owned::new(&tensor).map_err(|cause| {
            Error::new(ErrorKind::Model, "the tensor cannot be read")
                .in_file(from)
                .at(format!("tensor {name}"))
                .advice("convert the model with transformers: `model.save_pretrained(DIR)`")
                .caused_by(cause)
        })?;
        owned.insert(name, bytes);
    }
    Ok(owned)
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
        // For whom the umask says, like any other file: whoever converts a model may not be who runs it.
        .permissions(fs::Permissions::from_mode(0o666))
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
    use safetensors::SafeTensors;
    use serde_json::json;

    use super::*;

    /// Saved by `torch.save` of PyTorch 2.15: a dictionary of six tensors, one of them transposed.
    const TENSORS: &[u8] = include_bytes!("../../../../tests/golden/pickled/tensors.bin");
    /// The same with an object that runs a command when it is loaded.
    const CODE: &[u8] = include_bytes!("../../../../tests/golden/pickled/code.bin");

    fn put(file: PathBuf, bytes: &[u8]) {
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs::write(file, bytes).expect("a file");
    }

    fn directory(file: &str, weights: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        put(directory.path().join(file), weights);
        directory
    }

    /// `modules.json` of a transformer in `transformer`, a pooling, and a Dense module that `2_Dense` holds.
    fn modules(transformer: &str) -> Vec<u8> {
        let modules =
            [(transformer, "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")];
        let modules = modules.map(|(path, class)| {
            json!({ "path": path, "type": format!("sentence_transformers.models.{class}") })
        });
        serde_json::to_vec(&modules).expect("JSON")
    }

    /// An index of tensors and their files.
    fn index(files: &[(&str, &str)]) -> Vec<u8> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        serde_json::to_vec(&json!({ "metadata": {}, "weight_map": files })).expect("JSON")
    }

    /// Converts all that a directory has.
    fn convert(directory: &Path) -> Result<Vec<Converted>> {
        pickles(directory)?.into_iter().map(Pickle::convert).collect()
    }

    /// The names of the tensors of a file.
    fn names(file: &Path) -> Vec<String> {
        let bytes = fs::read(file).expect("a file");
        let found = SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut names: Vec<String> = found.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    #[test]
    fn tensors_keep_type_shape_and_values() {
        for place in ["", "0_Transformer/"] {
            let directory = directory(&format!("{place}{PICKLED_WEIGHTS}"), TENSORS);
            let converted = convert(directory.path()).expect("tensors alone").remove(0);
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
        assert_eq!(converted[0].tensors, 1);
    }

    #[test]
    fn pickled_module_beside_safetensors_is_converted() {
        let model = directory(PICKLED_WEIGHTS, TENSORS);
        let at = |file: &str| model.path().join(file);
        put(at(MODULES), &modules(""));
        put(at(WEIGHTS), b"those of a run");
        put(at("2_Dense/pytorch_model.bin"), CODE);
        // No module: a checkpoint of the training.
        put(at("checkpoint-500/pytorch_model.bin"), TENSORS);
        let converted = convert(model.path()).expect("a pickled module");
        let (from, to) = (at("2_Dense/pytorch_model.bin"), at("2_Dense/model.safetensors"));
        assert_eq!(converted, [Converted { from, to: to.clone(), tensors: 1 }]);
        assert_eq!(names(&to), ["a"]);
        assert_eq!(fs::read(at(WEIGHTS)).expect("a file"), b"those of a run");
        assert!(!at("checkpoint-500/model.safetensors").exists());
        let error = convert(model.path()).expect_err("a second time").to_string();
        assert!(error.contains("safetensors already"), "{error}");
    }

    #[test]
    fn every_pickled_module_is_converted() {
        for place in ["", "0_Transformer"] {
            let model = directory(MODULES, &modules(place));
            let at = |file: &str| model.path().join(file);
            put(at(place).join(PICKLED_WEIGHTS), TENSORS);
            put(at("2_Dense/pytorch_model.bin"), CODE);
            let converted = convert(model.path()).expect("two pickles");
            let written: Vec<(&Path, usize)> =
                converted.iter().map(|one| (one.to.as_path(), one.tensors)).collect();
            let (top, dense) = (at(place).join(WEIGHTS), at("2_Dense/model.safetensors"));
            assert_eq!(written, [(top.as_path(), 6), (dense.as_path(), 1)], "{place}");
            assert!(top.is_file() && dense.is_file(), "{place}");
        }
    }

    #[test]
    fn shards_become_one_file() {
        for place in ["", "0_Transformer/"] {
            let files = [("a", "two.bin"), ("half", "one.bin"), ("transposed", "one.bin")];
            let model = directory(&format!("{place}{PICKLED_INDEX}"), &index(&files));
            let at = |file: &str| model.path().join(format!("{place}{file}"));
            put(at("one.bin"), TENSORS);
            put(at("two.bin"), CODE);
            let converted = convert(model.path()).expect("two shards");
            let (from, to) = (at(PICKLED_INDEX), at(WEIGHTS));
            assert_eq!(converted, [Converted { from, to: to.clone(), tensors: 3 }]);
            assert_eq!(names(&to), ["a", "half", "transposed"]);
        }
    }

    #[test]
    fn shards_that_contradict_their_index_are_refused() {
        for (files, told) in [
            (
                &[("half", "one.bin"), ("absent", "one.bin")][..],
                "one.bin: tensor absent: is missing",
            ),
            (&[("half", "one.bin"), ("a", "two.bin")], "two.bin: is missing"),
            (&[("a", "../two.bin")], "`../two.bin` is outside the model's directory"),
            (&[("a", "sub/two.bin")], "`sub/two.bin` is not in its directory"),
            (&[("a", "two.pkl")], "`two.pkl` is not called .bin"),
            (&[], "lists no tensors"),
        ] {
            let above = directory("two.bin", CODE);
            let model = above.path().join("model");
            put(model.join(PICKLED_INDEX), &index(files));
            put(model.join("one.bin"), TENSORS);
            put(model.join("sub/two.bin"), CODE);
            let error = convert(&model).expect_err(told);
            assert_eq!(error.kind(), ErrorKind::Model, "{error}");
            assert!(error.to_string().contains(told), "{told}: {error}");
            assert_eq!(error.advice_text(), Some(FETCH_AGAIN), "{error}");
            assert!(!model.join(WEIGHTS).exists(), "{told}");
        }
    }

    #[test]
    fn module_outside_the_directory_is_refused() {
        let above = directory("2_Dense/pytorch_model.bin", CODE);
        let model = above.path().join("model");
        put(model.join(MODULES), br#"[{"path": "../2_Dense"}]"#);
        let error = convert(&model).expect_err("a path that leads out").to_string();
        assert!(error.contains("`../2_Dense` is outside the model's directory"), "{error}");
        put(model.join(MODULES), b"{}");
        let error = convert(&model).expect_err("no list").to_string();
        assert!(error.contains("does not list the modules"), "{error}");
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
