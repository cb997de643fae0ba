//! Small models of every architecture with the vectors that sentence-transformers gives them in float64.
//!
//! `tests/golden/models.zip` has their directories, but not their weights: these are random numbers of numpy,
//! seeded by the names of the tensors, and are drawn again here with the same bits. `weights.json` says how
//! each tensor was drawn. `golden.json` has, for each text, the prompt in front of it, the ids of its tokens
//! and its vector, by sentence-transformers 6.2.0 over transformers 5.24.0, rounded to nine digits.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use zip::ZipArchive;

use crate::model_directory::{Tensor, write_tensors};
use crate::numpy_random::{Normal, crc32};

/// A model directory, and what its vectors are.
pub struct GoldenModel {
    pub name: String,
    pub rows: Vec<GoldenRow>,
    directory: TempDir,
}

/// A text with its vector.
pub struct GoldenRow {
    pub text: String,
    /// The text before it; `None` for none.
    pub prompt: Option<String>,
    pub tokens: Vec<u32>,
    pub vector: Vec<f64>,
}

impl GoldenModel {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The names of all models.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = files()
        .iter()
        .filter_map(|file| file.strip_suffix("/golden.json"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// Writes the directory of a model.
pub fn write(name: &str) -> GoldenModel {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut archive = open();
    let prefix = format!("{name}/");
    let mut rows = Vec::new();
    for file in files().into_iter().filter(|file| file.starts_with(&prefix)) {
        let mut text = String::new();
        let mut entry = archive.by_name(&file).expect("a file of the archive");
        entry.read_to_string(&mut text).expect("UTF-8");
        match &file[prefix.len()..] {
            "golden.json" => rows = golden_rows(&text),
            "weights.json" => write_weights(directory.path(), &text),
            other => {
                let path = directory.path().join(other);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                fs::write(path, text).expect("a file of the model");
            }
        }
    }
    GoldenModel { name: name.to_owned(), rows, directory }
}

fn open() -> ZipArchive<File> {
    let path = crate::repository().join("tests/golden/models.zip");
    ZipArchive::new(File::open(path).expect("the archive")).expect("a ZIP archive")
}

fn files() -> Vec<String> {
    open().file_names().map(|name| name.expect("a name").into_owned()).collect()
}

fn golden_rows(text: &str) -> Vec<GoldenRow> {
    let rows: Vec<Value> = serde_json::from_str(text).expect("JSON");
    let numbers = |value: &Value| value.as_array().expect("a list").clone();
    rows.iter()
        .map(|row| GoldenRow {
            text: row["text"].as_str().expect("a text").to_owned(),
            prompt: row["prompt"].as_str().map(str::to_owned),
            tokens: numbers(&row["tokens"])
                .iter()
                .map(|id| id.as_u64().expect("an id") as u32)
                .collect(),
            vector: numbers(&row["vector"]).iter().map(|x| x.as_f64().expect("a number")).collect(),
        })
        .collect()
}

fn write_weights(directory: &Path, text: &str) {
    let files: Vec<Value> = serde_json::from_str(text).expect("JSON");
    for file in &files {
        let path = directory.join(file["file"].as_str().expect("a name"));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let tensors: Vec<Tensor> =
            file["tensors"].as_array().expect("tensors").iter().map(draw).collect();
        write_tensors(&path, &tensors);
    }
}

fn draw(tensor: &Value) -> Tensor {
    let text = |key: &str| tensor[key].as_str().expect("a text").to_owned();
    let shape: Vec<usize> = tensor["shape"]
        .as_array()
        .expect("a shape")
        .iter()
        .map(|size| size.as_u64().expect("a size") as usize)
        .collect();
    let count: usize = shape.iter().product();
    let dtype = text("dtype");
    let bytes = match tensor["seeds"].as_array() {
        // The ids of positions, which older checkpoints have.
        None if dtype == "I64" => (0..count as i64).flat_map(i64::to_le_bytes).collect(),
        None => vec![0; count * 4],
        Some(seeds) => {
            let number = |key: &str| tensor[key].as_f64().expect("a number");
            let (scale, centre) = (number("scale"), number("centre"));
            let values = seeds.iter().flat_map(|seed| {
                let mut random = Normal::new(crc32(seed.as_str().expect("a seed").as_bytes()));
                std::iter::repeat_with(move || (centre + scale * random.next()) as f32)
                    .take(count / seeds.len())
            });
            values.flat_map(|value| narrowed(value, &dtype)).collect()
        }
    };
    Tensor { name: text("name"), dtype, shape, bytes }
}

/// A value in its type, rounded to nearest even as torch does it.
fn narrowed(value: f32, dtype: &str) -> Vec<u8> {
    let bits = value.to_bits();
    let rounded = |bits: u32, low: u32| (bits + (1 << (low - 1)) - 1 + (bits >> low & 1)) >> low;
    match dtype {
        "F32" => bits.to_le_bytes().to_vec(),
        "BF16" => (rounded(bits, 16) as u16).to_le_bytes().to_vec(),
        "F16" => half(value).to_le_bytes().to_vec(),
        other => panic!("the type {other} is not drawn"),
    }
}

/// A value of at most 2^15 as a half.
fn half(value: f32) -> u16 {
    let (sign, magnitude) = ((value.to_bits() >> 16) as u16 & 0x8000, value.abs());
    if magnitude < 2f32.powi(-14) {
        // Subnormal: a multiple of 2^-24.
        return sign | (magnitude * 2f32.powi(24)).round_ties_even() as u16;
    }
    let bits = magnitude.to_bits() - (112 << 23);
    sign | ((bits + 0xfff + (bits >> 13 & 1)) >> 13) as u16
}
