//! Which model made a vector, and the fingerprint that says whether two vectors may be compared.

use std::collections::{BTreeMap, BTreeSet};

use reembed_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::hash::{FramedHasher, hex};
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;

/// A model, as far as its vectors depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Its name on the hub, or the path that it was read from.
    pub id: String,
    /// SHA-256 of each file that was read, in hexadecimal, but for `tokenizer_config.json`: see
    /// [`ModelFiles::lineage_hashes`].
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
    /// What the factors of matrix products are: `f32`, `bf16x3`, `bf16` or `bf16-avx512`.
    pub precision: String,
    /// The encoder and its version: equal ones give vectors that are equal up to the encoder's tolerance.
    pub numerics: String,
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
            files: files.lineage_hashes(),
            pooling: description.pooling.name().to_owned(),
            normalized: description.normalize,
            max_seq_length: description.max_seq_length.get(),
            prompt: description.prompt.clone(),
            dimension: description.bert.hidden,
            precision: precision.as_str().to_owned(),
            numerics: numerics.to_owned(),
        }
    }

    /// SHA-256, in hexadecimal, over everything that changes a vector: hashes of the model's files, prompt,
    /// pooling, normalisation, maximum length, precision and numerics version. The model's name is not part of it:
    /// the same files under another name give the same vectors.
    pub fn fingerprint(&self) -> String {
        let mut hasher = FramedHasher::default();
        let mut field = |name: &str, value: &str| {
            hasher.update(name);
            hasher.update(value);
        };
        for (file, sha256) in &self.files {
            field(file, sha256);
        }
        field("prompt", &self.prompt);
        field("pooling", &self.pooling);
        field("normalized", if self.normalized { "yes" } else { "no" });
        field("max_seq_length", &self.max_seq_length.to_string());
        field("precision", &self.precision);
        field("numerics", &self.numerics);
        hex(&hasher.finish())
    }

    /// What keeps vectors of `self` from being compared with those of `other`, field by field.
    pub fn differences(&self, other: &ModelIdentity) -> Vec<String> {
        let (here, there) = (self, other);
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
        differences
    }
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
    fn differences_are_listed_field_by_field() {
        let here = model();
        assert_eq!(here.differences(&here), Vec::<String>::new());
        let renamed = ModelIdentity { id: "c/d".to_owned(), ..model() };
        assert_eq!(here.differences(&renamed), Vec::<String>::new());
        let mut there = model();
        there.files = BTreeMap::from([("vocab.txt".to_owned(), "11".to_owned())]);
        there.prompt = "query: ".to_owned();
        there.pooling = "cls".to_owned();
        there.normalized = false;
        there.max_seq_length = 128;
        there.precision = "bf16".to_owned();
        there.numerics = "fake-2".to_owned();
        assert_eq!(
            here.differences(&there),
            [
                r#"config.json "absent" there, "00" here"#,
                r#"vocab.txt "11" there, "absent" here"#,
                r#"prompt "query: " there, "" here"#,
                r#"pooling "cls" there, "mean" here"#,
                r#"normalized "false" there, "true" here"#,
                r#"max_seq_length "128" there, "256" here"#,
                r#"precision "bf16" there, "f32" here"#,
                r#"numerics "fake-2" there, "fake-1" here"#,
            ]
        );
    }

    #[test]
    fn fingerprint_changes_with_the_vector_not_with_the_name() {
        let base = model().fingerprint();
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
            assert_ne!(changed.fingerprint(), base, "change {number}");
        }
        let renamed = ModelIdentity { id: "c/d".to_owned(), ..model() };
        assert_eq!(renamed.fingerprint(), base);
    }

    #[test]
    fn fingerprint_keeps_its_value() {
        // Computed by reembed 0.1: outputs and caches of that version stay valid.
        assert_eq!(model().fingerprint(), "PLACEHOLDER");
    }
}
