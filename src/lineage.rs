//! Which model made a vector: the footer metadata of an output, and the fingerprint that says whether two
//! vectors may be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kernels::Precision;
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;
use crate::task::TextTemplate;

/// The key of the footer's metadata entry.
pub const FOOTER_KEY: &str = "reembed";

/// The version of [`Lineage`]'s JSON form. A reader refuses what is newer than it knows.
pub const FORMAT_VERSION: u32 = 1;

/// A model, as far as its vectors depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Its name on the hub, or the path that it was read from.
    pub id: String,
    /// SHA-256 of each file that was read, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// `mean` or `cls`.
    pub pooling: String,
    /// Whether vectors have Euclidean length 1.
    pub normalized: bool,
    /// Tokens that a text is cut at.
    pub max_seq_length: usize,
    /// What is put before every text.
    pub prompt: String,
    /// Components of a vector.
    pub dimension: usize,
    /// What the factors of matrix products are: `f32`, `bf16x3` or `bf16`.
    pub precision: String,
    /// The encoder and its version: equal ones give vectors that are equal up to the encoder's tolerance.
    pub numerics: String,
}

/// What an output says about its vectors. Nothing in it depends on when, where or how fast it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// Two vectors may be compared only where this is equal; see [`Lineage::fingerprint_of`].
    pub fingerprint: String,
    /// The model.
    pub model: ModelIdentity,
}

/// The footer's metadata entry: the lineage, and what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Where the vectors come from.
    pub lineage: Lineage,
    /// How rows became text.
    pub text: FooterText,
    /// The column of the vectors.
    pub column: String,
    /// Number of rows.
    pub rows: u64,
    /// Rows without a vector.
    pub null_rows: u64,
}

/// How rows became text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterText {
    /// The input columns that the text was built from, in order; `files` is absent where the input has none.
    pub columns: Vec<String>,
    /// What stands before the list of files.
    pub files_prefix: String,
}

impl FooterText {
    /// The footer's form of a template over named columns.
    pub fn new(template: &TextTemplate, columns: Vec<String>) -> Self {
        FooterText { columns, files_prefix: template.files_prefix.clone() }
    }
}

impl ModelIdentity {
    /// Collects what the model's vectors depend on.
    pub fn new(
        id: &str,
        files: &ModelFiles,
        description: &ModelDescription,
        precision: Precision,
        numerics: &str,
    ) -> Self {
        ModelIdentity {
            id: id.to_owned(),
            files: files.hashes(),
            pooling: description.pooling.name().to_owned(),
            normalized: description.normalize,
            max_seq_length: description.max_seq_length.get(),
            prompt: description.prompt.clone(),
            dimension: description.bert.hidden,
            precision: precision.name().to_owned(),
            numerics: numerics.to_owned(),
        }
    }
}

impl Lineage {
    /// The lineage of vectors that this version of the program makes with `model`.
    pub fn new(model: &ModelIdentity) -> Self {
        Lineage {
            version: FORMAT_VERSION,
            tool: concat!("reembed ", env!("CARGO_PKG_VERSION")).to_owned(),
            fingerprint: Lineage::fingerprint_of(model),
            model: model.clone(),
        }
    }

    /// What keeps vectors of `self` from being compared with those of `other`, field by field; nothing when
    /// their fingerprints are equal.
    pub fn differences(&self, other: &Lineage) -> Vec<String> {
        if self.fingerprint == other.fingerprint {
            return Vec::new();
        }
        let (here, there) = (&self.model, &other.model);
        let mut differences = Vec::new();
        let mut compare = |name: &str, here: &str, there: &str| {
            if here != there {
                differences.push(format!("{name} {there:?} there, {here:?} here"));
            }
        };
        let names: BTreeSet<&String> = here.files.keys().chain(there.files.keys()).collect();
        for name in names {
            let hash = |files: &BTreeMap<String, String>| {
                files.get(name).map_or("absent".to_owned(), |hash| format!("{hash:.12}"))
            };
            compare(name, &hash(&here.files), &hash(&there.files));
        }
        compare("prompt", &here.prompt, &there.prompt);
        compare("pooling", &here.pooling, &there.pooling);
        compare("normalized", &here.normalized.to_string(), &there.normalized.to_string());
        let length = |model: &ModelIdentity| model.max_seq_length.to_string();
        compare("max_seq_length", &length(here), &length(there));
        compare("precision", &here.precision, &there.precision);
        compare("numerics", &here.numerics, &there.numerics);
        if differences.is_empty() {
            differences.push("the fingerprint was made in another way".to_owned());
        }
        differences
    }

    /// SHA-256, in hexadecimal, over everything that changes a vector: hashes of the model's files, prompt,
    /// pooling, normalisation, maximum length, precision and numerics version. The model's name is not in it:
    /// the same files under another name give the same vectors.
    pub fn fingerprint_of(model: &ModelIdentity) -> String {
        let mut hash = Sha256::new();
        let mut field = |name: &str, value: &str| {
            // Lengths keep ("ab", "c") apart from ("a", "bc").
            for part in [name, value] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        };
        for (file, sha256) in &model.files {
            field(file, sha256);
        }
        field("prompt", &model.prompt);
        field("pooling", &model.pooling);
        field("normalized", if model.normalized { "yes" } else { "no" });
        field("max_seq_length", &model.max_seq_length.to_string());
        field("precision", &model.precision);
        field("numerics", &model.numerics);
        hex(&hash.finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelIdentity {
        ModelIdentity {
            id: "a/b".to_owned(),
            files: BTreeMap::from([("config.json".to_owned(), "00".to_owned())]),
            pooling: "mean".to_owned(),
            normalized: true,
            max_seq_length: 256,
            prompt: String::new(),
            dimension: 384,
            precision: "f32".to_owned(),
            numerics: "fake-1".to_owned(),
        }
    }

    #[test]
    fn the_fingerprint_moves_with_whatever_changes_a_vector_and_not_with_the_name() {
        let base = Lineage::fingerprint_of(&model());
        let changes: [fn(&mut ModelIdentity); 7] = [
            |model| {
                model.files.insert("config.json".to_owned(), "01".to_owned());
            },
            |model| model.prompt = "query: ".to_owned(),
            |model| model.pooling = "cls".to_owned(),
            |model| model.normalized = false,
            |model| model.max_seq_length = 128,
            |model| model.precision = "bf16".to_owned(),
            |model| model.numerics = "fake-2".to_owned(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = model();
            change(&mut changed);
            assert_ne!(Lineage::fingerprint_of(&changed), base, "change {number}");
        }
        let renamed = ModelIdentity { id: "c/d".to_owned(), ..model() };
        assert_eq!(Lineage::fingerprint_of(&renamed), base);
    }
}
