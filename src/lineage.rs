//! Which model made a vector: the footer metadata of an output, and the fingerprint that says whether two
//! vectors may be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::{ColumnDigest, hex};
use crate::kernels::Precision;
use crate::model::description::ModelDescription;
use crate::model::source::ModelFiles;
use crate::task::TextTemplate;

/// The key of the footer's metadata entry.
pub const FOOTER_KEY: &str = "reembed";

/// The version of the JSON form of a [`Footer`]. A reader refuses what is newer than it knows; version 1 had no
/// digests.
pub const FORMAT_VERSION: u32 = 2;

/// The program and its version, as every file that it leaves names them.
pub const TOOL: &str = concat!("reembed ", env!("CARGO_PKG_VERSION"));

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
    /// What the columns hold; absent before version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
}

/// What the columns of an output hold, as SHA-256 in hexadecimal; [`crate::digest`] says over what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// The column of ids: where it is equal, two files hold the same rows in the same order.
    pub ids: String,
    /// Every column but that of the vectors, in order, the ids among them.
    pub carried: Vec<ColumnDigest>,
    /// The column of vectors.
    pub vectors: String,
}

/// Why an entry under [`FOOTER_KEY`] is no footer.
#[derive(Debug, thiserror::Error)]
pub enum FooterFlaw {
    /// It has a version that this program does not know.
    #[error(
        "the `reembed` entry is of version {0}, written by a newer reembed; this one knows \
         {FORMAT_VERSION}"
    )]
    Newer(u32),
    /// It is no JSON of the right form.
    #[error("the `reembed` entry cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Footer {
    /// Reads the entry.
    ///
    /// # Errors
    /// When it is of a newer version, or malformed.
    pub fn parse(entry: &str) -> Result<Footer, FooterFlaw> {
        // The version first: the rest of a newer form may be anything.
        #[derive(Deserialize)]
        struct Versioned {
            lineage: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Versioned { lineage: Version { version } } = serde_json::from_str(entry)?;
        match version {
            0..=FORMAT_VERSION => Ok(serde_json::from_str(entry)?),
            newer => Err(FooterFlaw::Newer(newer)),
        }
    }
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
            files: files.lineage_hashes(),
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
            tool: TOOL.to_owned(),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A footer of no particular file.
    pub(crate) fn footer() -> Footer {
        let digest = |column: &str| ColumnDigest { column: column.to_owned(), sha256: "00".into() };
        Footer {
            lineage: Lineage::new(&model()),
            text: FooterText { columns: vec!["title".to_owned()], files_prefix: String::new() },
            column: "embedding".to_owned(),
            rows: 7,
            null_rows: 1,
            digests: Some(Digests {
                ids: "00".to_owned(),
                carried: vec![digest("id"), digest("title")],
                vectors: "01".to_owned(),
            }),
        }
    }

    #[test]
    fn a_footer_of_this_version_and_of_those_before_is_read_and_a_newer_one_refused_by_its_version()
    {
        let entry = |change: fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(footer()).expect("JSON");
            change(&mut json);
            Footer::parse(&json.to_string())
        };
        assert_eq!(entry(|_| ()).expect("a footer"), footer());
        let first = entry(|json| {
            json["lineage"]["version"] = 1.into();
            json.as_object_mut().expect("an object").remove("digests");
        });
        assert_eq!(first.expect("a footer").digests, None);
        let newer = entry(|json| {
            json["lineage"]["version"] = (FORMAT_VERSION + 1).into();
            json["rows"] = "of another form".into();
        });
        assert!(matches!(newer, Err(FooterFlaw::Newer(version)) if version == FORMAT_VERSION + 1));
        assert!(matches!(entry(|json| json["rows"] = (-1).into()), Err(FooterFlaw::Malformed(_))));
        assert!(matches!(Footer::parse("{}"), Err(FooterFlaw::Malformed(_))));
        assert!(matches!(Footer::parse("\u{0}"), Err(FooterFlaw::Malformed(_))));
    }

    #[test]
    fn differences_are_told_field_by_field_from_here_to_there() {
        let here = Lineage::new(&model());
        assert_eq!(here.differences(&here), Vec::<String>::new());
        let renamed = ModelIdentity { id: "c/d".to_owned(), ..model() };
        assert_eq!(here.differences(&Lineage::new(&renamed)), Vec::<String>::new());
        let mut there = model();
        there.files = BTreeMap::from([("vocab.txt".to_owned(), "11".to_owned())]);
        there.prompt = "query: ".to_owned();
        there.pooling = "cls".to_owned();
        there.normalized = false;
        there.max_seq_length = 128;
        there.precision = "bf16".to_owned();
        there.numerics = "fake-2".to_owned();
        assert_eq!(
            here.differences(&Lineage::new(&there)),
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
        let otherwise = Lineage { fingerprint: "1234".to_owned(), ..here.clone() };
        assert_eq!(here.differences(&otherwise), ["the fingerprint was made in another way"]);
    }

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
