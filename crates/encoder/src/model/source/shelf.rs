//! What a model consists of, and how it is taken, checked, from wherever its files lie.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::{ModelFile, Pins, Reason};
use crate::stop::Stop;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const MODULES: &str = "modules.json";
pub(super) const POOLING: &str = "1_Pooling/config.json";
pub(super) const LENGTHS: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const PICKLED: &str = "pytorch_model.bin";

/// The largest BERT-like encoders have some 2 GB of weights.
const LARGEST_WEIGHTS: u64 = 16 << 30;
/// The tokenizers of multilingual models have some 17 MB.
const LARGEST_TEXT: u64 = 256 << 20;
/// Bytes between two words of progress.
const STEP: u64 = 1 << 20;

/// A place where the files of a model lie.
pub(super) trait Shelf {
    /// Opens a file by its name inside the model's directory; `None` where it is certain that there is none.
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason>;
}

pub(super) struct OpenFile<'a> {
    pub(super) body: Box<dyn Read + 'a>,
    /// Bytes in `body`, where the shelf says.
    pub(super) length: Option<u64>,
}

/// Told a file's name, the bytes that have come, and the bytes in all.
pub(super) type Report<'a> = &'a dyn Fn(&str, u64, Option<u64>);

/// Takes every file of the model that this program reads, and every file that is pinned. The heaviest comes
/// last, so that whatever is wrong with the others is found before it is fetched.
pub(super) fn take_model(
    shelf: &mut dyn Shelf,
    pins: &Pins,
    stop: &Stop,
    no_memory: &Cell<Option<usize>>,
    report: Report,
) -> Result<BTreeMap<String, ModelFile>, Reason> {
    let mut taking = Taking { shelf, pins, stop, no_memory, report, files: BTreeMap::new() };
    taking.take(MODULES, Need::Optional)?;
    taking.take(CONFIG, Need::Required)?;
    taking.take(TOKENIZER, Need::Required)?;
    taking.take(TOKENIZER_CONFIG, Need::Optional)?;
    taking.take(LENGTHS, Need::Optional)?;
    taking.take(PROMPTS, Need::Optional)?;
    let modules = match taking.files.get(MODULES) {
        Some(modules) => module_configs(&modules.bytes)?,
        None => vec![(POOLING.to_owned(), Need::Optional)],
    };
    for (file, need) in modules {
        taking.take(&file, need)?;
    }
    is_whole(&taking.files)?;
    for file in pins.keys().filter(|file| *file != WEIGHTS) {
        check_path(file).map_err(|why| format!("the pinned file `{file}` {why}"))?;
        taking.take(file, Need::Required)?;
    }
    taking.take(WEIGHTS, Need::Required)?;
    Ok(taking.files)
}

/// A bare transformer has no list of modules, and the mean of its tokens for a vector. Where other files of
/// sentence-transformers lie without the list, it was left behind, and with it what the pooling is.
fn is_whole(files: &BTreeMap<String, ModelFile>) -> Result<(), Reason> {
    let others: Vec<&str> =
        [POOLING, LENGTHS, PROMPTS].into_iter().filter(|file| files.contains_key(*file)).collect();
    if files.contains_key(MODULES) || others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{MODULES} is missing beside {}, so the directory is incomplete",
        others.join(", ")
    ))
}

/// SHA-256 in lower-case hexadecimal.
#[cfg(test)]
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

struct Taking<'a> {
    shelf: &'a mut dyn Shelf,
    pins: &'a Pins,
    stop: &'a Stop,
    /// Set to the bytes that could not be had.
    no_memory: &'a Cell<Option<usize>>,
    report: Report<'a>,
    files: BTreeMap<String, ModelFile>,
}

impl Taking<'_> {
    fn take(&mut self, file: &str, need: Need) -> Result<(), Reason> {
        if self.files.contains_key(file) {
            return Ok(());
        }
        let pin = self.pins.get(file);
        if let Some(found) = self.read(file)? {
            check(file, &found, pin)?;
            self.files.insert(file.to_owned(), found);
        } else if need == Need::Required || pin.is_some() {
            return Err(self.missing(file));
        }
        Ok(())
    }

    /// The bytes of a file, hashed where they lie, piece by piece as they come.
    fn read(&mut self, file: &str) -> Result<Option<ModelFile>, Reason> {
        let Some(OpenFile { mut body, length }) = self.shelf.open(file)? else { return Ok(None) };
        let largest = if file.ends_with(".safetensors") { LARGEST_WEIGHTS } else { LARGEST_TEXT };
        if length.unwrap_or(0) > largest {
            return Err(format!("{file}: more than {largest} bytes"));
        }
        let mut bytes = Vec::new();
        let expected = length.unwrap_or(0) as usize;
        bytes.try_reserve_exact(expected).map_err(|e| {
            self.no_memory.set(Some(expected));
            format!("{file}: {e}")
        })?;
        let mut hash = Sha256::new();
        (self.report)(file, 0, length);
        loop {
            let before = bytes.len();
            let mut arriving = Arriving { body: body.as_mut(), stop: self.stop };
            let piece = arriving.by_ref().take(STEP).read_to_end(&mut bytes);
            let done = bytes.len() as u64;
            piece.map_err(|e| format!("{file}: {e}, after {done} bytes"))?;
            if bytes.len() == before {
                break;
            }
            hash.update(&bytes[before..]);
            (self.report)(file, done, length);
            if done > largest {
                return Err(format!("{file}: more than {largest} bytes"));
            }
        }
        if let Some(length) = length.filter(|length| *length != bytes.len() as u64) {
            return Err(format!("{file}: ended after {} of {length} bytes", bytes.len()));
        }
        Ok(Some(ModelFile { bytes, sha256: hex(&hash.finalize()) }))
    }

    fn missing(&mut self, file: &str) -> Reason {
        if file == WEIGHTS && matches!(self.shelf.open(PICKLED), Ok(Some(_))) {
            return format!(
                "it has {PICKLED} and no {WEIGHTS}; a pickle can run any code when it is loaded, so it is \
                 refused: convert it once, where you trust it, with transformers' \
                 `AutoModel.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True)`"
            );
        }
        format!("{file} is missing")
    }
}

/// What arrives until there is a reason to stop: over a slow network one piece can take minutes.
struct Arriving<'a> {
    body: &'a mut dyn Read,
    stop: &'a Stop,
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.body.read(buffer)
    }
}

/// Whether the content is what is pinned, and what its name promises: a login page that a network puts in the
/// way is neither.
fn check(file: &str, found: &ModelFile, pin: Option<&String>) -> Result<(), Reason> {
    if let Some(pin) = pin.filter(|pin| !pin.eq_ignore_ascii_case(&found.sha256)) {
        return Err(format!("{file}: expected SHA-256 {pin}, found {}", found.sha256));
    }
    if file.ends_with(".json") {
        serde_json::from_slice::<IgnoredAny>(&found.bytes)
            .map_err(|e| format!("{file}: not JSON: {e}"))?;
    }
    if file.ends_with(".safetensors") && !begins_like_safetensors(&found.bytes) {
        return Err(format!("{file}: not a safetensors file"));
    }
    Ok(())
}

/// Eight bytes that tell the header's length, then the header, which is JSON.
fn begins_like_safetensors(bytes: &[u8]) -> bool {
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

/// The configs of the modules that `modules.json` names.
fn module_configs(modules: &[u8]) -> Result<Vec<(String, Need)>, Reason> {
    let modules: Vec<Module> =
        serde_json::from_slice(modules).map_err(|e| format!("{MODULES}: {e}"))?;
    let mut configs = Vec::new();
    for Module { path, kind } in modules.iter().filter(|module| !module.path.is_empty()) {
        check_path(path).map_err(|why| format!("{MODULES}: the path `{path}` {why}"))?;
        let need = match kind.rsplit('.').next() {
            Some("Transformer") => {
                return Err(format!("{MODULES}: the transformer lies in `{path}`, not at the top"));
            }
            Some("Pooling") => Need::Required,
            _ => Need::Optional,
        };
        configs.push((format!("{path}/{CONFIG}"), need));
    }
    Ok(configs)
}

/// Whether a path stays inside the directory it starts from, on every system.
fn check_path(path: &str) -> Result<(), Reason> {
    let parts_are_fine =
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let letters_are_fine = !path.contains(|c: char| c == '\\' || c == ':' || c.is_control());
    if parts_are_fine && letters_are_fine && !path.is_empty() {
        Ok(())
    } else {
        Err("leads out of the model's directory".to_owned())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A directory on this machine.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Directory(path.to_owned())
    }
}

impl Shelf for Directory {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let said = |e: std::io::Error| format!("{file}: {e}");
        let path = self.0.join(file);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {
                let opened = File::open(&path).map_err(said)?;
                Ok(Some(OpenFile { body: Box::new(opened), length: Some(found.len()) }))
            }
            Ok(_) => Err(format!("{file}: not a file")),
            Err(e) if e.kind() == ErrorKind::NotFound && self.0.is_dir() => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err("there is no such directory".to_owned())
            }
            Err(e) => Err(said(e)),
        }
    }
}
