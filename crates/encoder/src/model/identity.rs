//! The identity of a model, and the fingerprint that says whether two vectors may be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use reembed_kernels::Precision;
use serde::{Deserialize, Serialize};

use super::chunk_size::ChunkSize;
use crate::hash::{FramedHasher, hex};
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;

/// Everything that the vectors of a model depend on, and its name. Serialized into the footer of
/// outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The name, as [`ModelLabel`](super::source::ModelLabel). Not part of the fingerprint.
    pub id: String,
    /// SHA-256 of each file in hexadecimal, as [`ModelFiles::lineage_hashes`].
    pub files: BTreeMap<String, String>,
    /// The pooling, such as `mean` or `cls`; several, side by side, are joined by `+`.
    pub pooling: String,
    /// Whether vectors are scaled to Euclidean length 1.
    pub normalized: bool,
    /// Tokens to which a text is truncated, special tokens included.
    pub max_seq_length: usize,
    /// `start` if a longer text loses its first tokens; absent if it loses its last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<String>,
    /// The chunks whose mean is the vector of a text; absent if a text is not split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunksIdentity>,
    /// What files that do not identify a model say about its tokens; absent if it is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// The text before every input text.
    pub prompt: String,
    /// Components of a vector.
    pub dimension: usize,
    /// The precision of the factors of matrix products: `f32`, `bf16x3`, `bf16`, `bf16-avx512`, `int16` or
    /// `int8`.
    pub precision: String,
    /// The numerics version. Encoders with equal ones give vectors that are equal within their
    /// tolerance.
    pub numerics: String,
}

/// How the chunks of a text become its vector, as [`TextOptions::pool`].
///
/// [`TextOptions::pool`]: super::config::TextOptions::pool
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunksIdentity {
    /// Most tokens of a chunk, prompt and special tokens included.
    pub tokens: usize,
    /// Most tokens that a chunk shares with the one before it.
    pub overlap: usize,
    /// How their vectors become one: `mean`, weighted by tokens.
    pub pool: String,
}

impl ChunksIdentity {
    /// The only pooling of this version.
    pub const MEAN: &str = "mean";

    /// The mean of chunks of this size.
    pub fn mean(size: ChunkSize) -> Self {
        ChunksIdentity {
            tokens: size.tokens().get(),
            overlap: size.overlap(),
            pool: Self::MEAN.to_owned(),
        }
    }
}

impl fmt::Display for ChunksIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChunksIdentity { tokens, overlap, pool } = self;
        write!(f, "{pool} of {tokens} tokens, overlap {overlap}")
    }
}

impl ModelIdentity {
    /// The identity of the model with these files, run in this precision and numerics version.
    pub fn new(
        files: &ModelFiles,
        description: &ModelDescription,
        precision: Precision,
        numerics: &str,
    ) -> Self {
        ModelIdentity {
            id: files.label.to_string(),
            files: files.lineage_hashes(),
            pooling: description.pooling.names(),
            normalized: description.normalizes(),
            max_seq_length: description.max_seq_length.get(),
            // Of chunks, none is too long.
            truncation: match description.pool {
                Some(_) => None,
                None => description.truncation.in_identity(),
            },
            chunks: description.pool.map(ChunksIdentity::mean),
            tokens: description.tokens.in_identity(description.lower_case),
            prompt: description.prompt.text.clone(),
            dimension: description.dim(),
            precision: precision.as_str().to_owned(),
            numerics: numerics.to_owned(),
        }
    }

    /// The fingerprint of the model: SHA-256 in hexadecimal over everything that changes a vector.
    ///
    /// These are the hashes of its files, prompt, pooling, normalisation, maximum length, truncation
    /// at the start, settings of tokens, chunks, precision and numerics version: names and values, framed by [`FramedHasher`]. Two vectors may be
    /// compared only if their fingerprints are equal.
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
        // Later than version 0.1, so only where it is set.
        if let Some(truncation) = &self.truncation {
            field("truncation", truncation);
        }
        if let Some(tokens) = &self.tokens {
            field("tokens", tokens);
        }
        if let Some(chunks) = &self.chunks {
            field("chunks.tokens", &chunks.tokens.to_string());
            field("chunks.overlap", &chunks.overlap.to_string());
            field("chunks.pool", &chunks.pool);
        }
        hex(&hasher.finish())
    }

    /// The precision, if the packed engine of this version makes the vectors of this model.
    pub fn packed_precision(&self) -> Option<Precision> {
        Precision::parse(&self.precision).filter(|precision| precision.numerics() == self.numerics)
    }

    /// The differences between `self` (here) and `other` (there) that make their vectors
    /// incomparable, each in a few words. [`ModelIdentity::file_differences`] has the hashes.
    pub fn differences(&self, other: &ModelIdentity) -> Vec<String> {
        let (here, there) = (self, other);
        let mut differences = Vec::new();
        let names: BTreeSet<&str> =
            here.files.keys().chain(there.files.keys()).map(String::as_str).collect();
        let files = |is_meant: fn(Option<&String>, Option<&String>) -> bool| {
            let of = |name: &&str| is_meant(here.files.get(*name), there.files.get(*name));
            names.iter().copied().filter(of).collect::<Vec<&str>>()
        };
        for (files, one, many) in [
            (files(|a, b| a.is_some() && b.is_some() && a != b), "differs", "differ"),
            (files(|a, b| a.is_none() && b.is_some()), "is there only", "are there only"),
            (files(|a, b| a.is_some() && b.is_none()), "is here only", "are here only"),
        ] {
            match files[..] {
                [] => {}
                [file] => differences.push(format!("{file} {one}")),
                _ => differences.push(format!("{} {many}", files.join(", "))),
            }
        }
        let mut compare = |name: &str, here: &str, there: &str| {
            if here != there {
                differences.push(format!("{name} {there:?} there, {here:?} here"));
            }
        };
        compare("prompt", &here.prompt, &there.prompt);
        compare("pooling", &here.pooling, &there.pooling);
        compare("normalized", &here.normalized.to_string(), &there.normalized.to_string());
        let length = |model: &ModelIdentity| model.max_seq_length.to_string();
        compare("max_seq_length", &length(here), &length(there));
        let truncation =
            |model: &ModelIdentity| model.truncation.clone().unwrap_or("end".to_owned());
        compare("truncation", &truncation(here), &truncation(there));
        let tokens = |model: &ModelIdentity| model.tokens.clone().unwrap_or("none".to_owned());
        compare("tokens", &tokens(here), &tokens(there));
        let chunks = |model: &ModelIdentity| {
            model.chunks.as_ref().map_or("none".to_owned(), ChunksIdentity::to_string)
        };
        compare("chunks", &chunks(here), &chunks(there));
        compare("precision", &here.precision, &there.precision);
        // The numerics of the packed engine follow from the precision.
        if here.packed_precision().is_none() || there.packed_precision().is_none() {
            compare("numerics", &here.numerics, &there.numerics);
        }
        differences
    }

    /// The files that differ between `self` (here) and `other` (there) with the first digits of
    /// their hashes, one line each.
    pub fn file_differences(&self, other: &ModelIdentity) -> Vec<String> {
        let names: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        let hash = |model: &ModelIdentity, name: &String| {
            model.files.get(name).map_or("absent".to_owned(), |hash| format!("SHA-256 {hash:.12}"))
        };
        let pair = |name: &&String| (hash(other, name), hash(self, name));
        names
            .iter()
            .map(|name| (name, pair(name)))
            .filter(|(_, (there, here))| there != here)
            .map(|(name, (there, here))| format!("{name}: {there} there, {here} here"))
            .collect()
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
            truncation: None,
            chunks: None,
            tokens: None,
            prompt: String::new(),
            dimension: 384,
            precision: "f32".to_owned(),
            numerics: "fake-1".to_owned(),
        }
    }

    fn chunks(tokens: usize, overlap: usize) -> ChunksIdentity {
        ChunksIdentity { tokens, overlap, pool: ChunksIdentity::MEAN.to_owned() }
    }

    #[test]
    fn fingerprint_depends_on_each_number_of_the_chunks() {
        let fingerprint = |chunks: ChunksIdentity| {
            ModelIdentity { chunks: Some(chunks), ..model() }.fingerprint()
        };
        let base = fingerprint(chunks(128, 16));
        let max = ChunksIdentity { pool: "max".to_owned(), ..chunks(128, 16) };
        for other in [chunks(129, 16), chunks(128, 15), chunks(12, 816), max] {
            assert_ne!(fingerprint(other.clone()), base, "{other}");
        }
    }

    #[test]
    fn identity_without_chunks_is_written_as_before() {
        let json = serde_json::to_value(model()).expect("JSON");
        assert!(json.get("chunks").is_none(), "{json}");
        let with = ModelIdentity { chunks: Some(chunks(128, 16)), ..model() };
        let json = serde_json::to_value(&with).expect("JSON");
        assert_eq!(
            json["chunks"],
            serde_json::json!({ "tokens": 128, "overlap": 16, "pool": "mean" })
        );
        assert_eq!(serde_json::from_value::<ModelIdentity>(json).expect("an identity"), with);
    }

    #[test]
    fn differences_lists_each_field_but_not_the_name() {
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
        there.truncation = Some("start".to_owned());
        there.chunks = Some(chunks(128, 16));
        there.precision = "bf16".to_owned();
        there.numerics = "fake-2".to_owned();
        assert_eq!(
            here.differences(&there),
            [
                "vocab.txt is there only",
                "config.json is here only",
                r#"prompt "query: " there, "" here"#,
                r#"pooling "cls" there, "mean" here"#,
                r#"normalized "false" there, "true" here"#,
                r#"max_seq_length "128" there, "256" here"#,
                r#"truncation "start" there, "end" here"#,
                r#"chunks "mean of 128 tokens, overlap 16" there, "none" here"#,
                r#"precision "bf16" there, "f32" here"#,
                r#"numerics "fake-2" there, "fake-1" here"#,
            ]
        );
        assert_eq!(
            here.file_differences(&there),
            [
                "config.json: absent there, SHA-256 00 here",
                "vocab.txt: SHA-256 11 there, absent here",
            ]
        );
        there.files = BTreeMap::from([("config.json".to_owned(), "01".to_owned())]);
        assert_eq!(here.differences(&there)[0], "config.json differs");
        let packed = |precision: Precision| ModelIdentity {
            precision: precision.as_str().to_owned(),
            numerics: precision.numerics().to_owned(),
            ..model()
        };
        let differences = packed(Precision::F32).differences(&packed(Precision::Bf16));
        assert_eq!(differences, [r#"precision "bf16" there, "f32" here"#]);
    }

    #[test]
    fn fingerprint_depends_on_each_field_but_not_the_name() {
        let base = model().fingerprint();
        let changes: [fn(&mut ModelIdentity); 9] = [
            |model| {
                model.files.insert("config.json".to_owned(), "01".to_owned());
            },
            |model| model.prompt = "query: ".to_owned(),
            |model| model.pooling = "cls".to_owned(),
            |model| model.normalized = false,
            |model| model.max_seq_length = 128,
            |model| model.truncation = Some("start".to_owned()),
            |model| model.chunks = Some(chunks(128, 16)),
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
    fn fingerprint_has_the_value_of_version_0_1() {
        // Computed with Python's hashlib. Outputs and vector caches of version 0.1 stay valid.
        let expected = "873f5a04759fef8ae1e9c2539a23baca8724d902981771c514b03ccf56e10299";
        assert_eq!(model().fingerprint(), expected);
    }
}
