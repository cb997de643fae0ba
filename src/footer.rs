//! The footer metadata of an output: where its vectors come from, and what its columns hold.

use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::task::TextTemplate;
use serde::{Deserialize, Serialize};

use crate::digest::ColumnDigest;

/// The key of the footer's metadata entry.
pub const FOOTER_KEY: &str = "reembed";

/// The version of the JSON form of a [`Footer`]. A reader refuses what is newer than it knows; version 1 had no
/// digests.
pub const FORMAT_VERSION: u32 = 2;

/// The program and its version, as every file that it leaves names them.
pub const TOOL: &str = concat!("reembed ", env!("CARGO_PKG_VERSION"));

/// What an output says about its vectors. Nothing in it depends on when, where or how fast it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// Two vectors may be compared only where this is equal; see [`ModelIdentity::fingerprint`].
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

impl Lineage {
    /// The lineage of vectors that this version of the program makes with `model`.
    pub fn new(model: &ModelIdentity) -> Self {
        Lineage {
            version: FORMAT_VERSION,
            tool: TOOL.to_owned(),
            fingerprint: model.fingerprint(),
            model: model.clone(),
        }
    }

    /// What keeps vectors of `self` from being compared with those of `other`, field by field; nothing when
    /// their fingerprints are equal.
    pub fn differences(&self, other: &Lineage) -> Vec<String> {
        if self.fingerprint == other.fingerprint {
            return Vec::new();
        }
        let differences = self.model.differences(&other.model);
        if differences.is_empty() {
            return vec!["the fingerprint was made in another way".to_owned()];
        }
        differences
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

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
    fn only_other_fingerprints_are_differences() {
        let here = Lineage::new(&model());
        assert_eq!(here.differences(&here), Vec::<String>::new());
        let pinned = ModelIdentity { precision: "bf16".to_owned(), ..model() };
        assert_eq!(
            here.differences(&Lineage::new(&pinned)),
            [r#"precision "bf16" there, "f32" here"#]
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
}
