//! The files of a model: their names, and their verified bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::label::ModelLabel;
use super::progress::Origin;

pub(super) const CONFIG: &str = "config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Weights that a run refuses: loading them can run any code.
pub(crate) const PICKLED_WEIGHTS: &str = "pytorch_model.bin";
/// Lists the shards of pickled weights that are not one file.
pub(crate) const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
/// Lists the files of weights that are not one file.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub(crate) const MODULES: &str = "modules.json";
pub(super) const POOLING: &str = "1_Pooling/config.json";
/// What sentence-transformers says about a transformer: its names over the years, in the order in which it looks for
/// them. The first that says something counts.
pub(crate) const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
pub(super) const PROMPTS: &str = "config_sentence_transformers.json";

/// Expected SHA-256 in hexadecimal by the name of the file in the model's directory. A pinned file
/// is required.
pub type Pins = BTreeMap<String, String>;

/// The verified files of a model.
#[derive(Debug)]
pub struct ModelFiles {
    /// The name of the model.
    pub label: ModelLabel,
    /// The source that had the files.
    pub origin: Origin,
    /// The directory of the files; for fetched files, their directory in the model cache.
    pub directory: PathBuf,
    /// The directory of the transformer in the directory, with a slash; empty if they are one.
    pub transformer: String,
    /// Whether it is a static embedding instead of a transformer.
    pub is_static: bool,
    /// The files by their name in the directory.
    pub files: BTreeMap<String, ModelFile>,
}

impl ModelFiles {
    /// The content of a file; `None` if the model does not have it. The files of the transformer are named
    /// as if they were at the top level.
    pub fn bytes(&self, file: &str) -> Option<&[u8]> {
        self.files.get(&self.name_of(file)).map(|file| file.bytes.as_slice())
    }

    /// The path of a file of the model, whether or not it exists. For messages.
    pub fn path_of(&self, file: &str) -> PathBuf {
        self.directory.join(self.name_of(file))
    }

    fn name_of(&self, file: &str) -> String {
        let is_of_transformer = !file.contains('/') && ![MODULES, PROMPTS].contains(&file);
        format!("{}{file}", if is_of_transformer { &self.transformer } else { "" })
    }

    /// SHA-256 in hexadecimal of each file by its name.
    pub fn hashes(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(name, file)| (name.clone(), file.sha256.clone())).collect()
    }

    /// The hashes that identify a model: of every file except `tokenizer_config.json` and the other files
    /// about tokens.
    ///
    /// Not every source of a model has them. What they decide, the identity contains itself.
    pub fn lineage_hashes(&self) -> BTreeMap<String, String> {
        let mut hashes = self.hashes();
        for file in [TOKENIZER_CONFIG, ADDED_TOKENS, SPECIAL_TOKENS] {
            hashes.remove(&self.name_of(file));
        }
        hashes
    }
}

/// The content of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// The bytes that were hashed.
    pub bytes: Vec<u8>,
    /// Their SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {}", self.bytes.len(), self.sha256)
    }
}

/// The file of each tensor that an index of weights lists; every one lies in the directory of the index, or below.
///
/// # Errors
/// What is wrong with the index, as a sentence that begins after its name.
pub(crate) fn read_index(
    index: &[u8],
    extension: &str,
) -> Result<BTreeMap<String, String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|e| e.to_string())?;
    for file in index.weight_map.values() {
        check_path(file).map_err(|why| format!("the file `{file}` {why}"))?;
        if !file.ends_with(extension) {
            return Err(format!("the file `{file}` is not called {extension}"));
        }
    }
    Ok(index.weight_map)
}

/// Checks that a path stays inside its directory, on every operating system.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    let has_normal_parts =
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let has_safe_chars = !path.contains(|c: char| c == '\\' || c == ':' || c.is_control());
    if has_normal_parts && has_safe_chars && !path.is_empty() {
        Ok(())
    } else {
        Err("is outside the model's directory")
    }
}
